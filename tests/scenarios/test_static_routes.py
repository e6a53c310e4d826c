"""Two client and server pairs through one router, by static network routes only: no host has a default route.

The first server is on a network of the router's. The way to the second spans two networks: once with a second router
between them, once with both networks on one link. Written as tapestries, with `route` lines as on a real machine.
"""

from __future__ import annotations

import asyncio
import errno
import pathlib
import textwrap
from typing import Any

import dpkt
import pytest

import weaves
from lunar.network import Network

APPLICATION = '''
import asyncio
import socket


async def serve(port):
    """Sends each line back with who asked."""

    async def handle(reader, writer):
        while line := await reader.readline():
            writer.write(writer.get_extra_info("peername")[0].encode() + b" " + line)
        writer.close()

    await asyncio.start_server(handle, port=port)
    await asyncio.Event().wait()


async def answer(port):
    """Sends each datagram back to its sender."""
    loop = asyncio.get_running_loop()
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.bind(("", port))
    sock.setblocking(False)
    while True:
        data, address = await loop.sock_recvfrom(sock, 2000)
        await loop.sock_sendto(sock, data, address)


async def talk(server, port, size):
    """(the first answer, when, how many bytes came back of `size` empty lines)"""
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection(server, port)
    writer.write(b"hello\\n")
    first = await reader.readline()
    at = round(loop.time(), 9)
    writer.write(b"\\n" * size)
    writer.write_eof()
    return first.decode(), at, len(await reader.read())


async def refused(server, port):
    """(errno of the failed connect, when)"""
    try:
        await asyncio.open_connection(server, port)
    except OSError as error:
        return error.errno, asyncio.get_running_loop().time()


async def probe(server, port):
    """For each TTL from 1 on: whether an answer came; until one did."""
    loop = asyncio.get_running_loop()
    answers = []
    while not answers or not answers[-1]:
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, len(answers) + 1)
        await loop.sock_sendto(sock, b"?", (server, port))
        try:
            async with asyncio.timeout(1):
                await loop.sock_recvfrom(sock, 10)
            answers.append(True)
        except TimeoutError:
            answers.append(False)
        sock.close()
    return answers
'''

# Both clients and the first server, on networks of the router's own.
PAIRS = """
[tapestry]
name = "routes"
seed = 1

[hosts.router]
eth0 = "10.1.0.1/24"
eth1 = "10.2.0.1/24"
eth2 = {eth2}
net = '''
{forwarding}
{router}
'''

[hosts.client-1]
eth0 = "10.1.0.2/24"
net = "route add -net 10.2.0.0 netmask 255.255.255.0 gw 10.1.0.1"
strings = [{{ call = "{application}:{client}", args = [{to_1}] }}]

[hosts.client-2]
eth0 = "10.1.0.3/24"
net = '''
route add -net 10.3.0.0/24 gw router
route add -net 10.4.0.0/24 gw router
'''
strings = [{{ call = "{application}:{client}", args = [{to_2}] }}]

[hosts.server-1]
eth0 = "10.2.0.2/24"
net = "route add -net 10.1.0.0/24 gw 10.2.0.1"
strings = [
    {{ call = "{application}:serve", args = [80], background = true }},
    {{ call = "{application}:answer", args = [7], background = true }},
]

[hosts.server-2]
eth0 = "10.4.0.2/24"
net = '''
{server_2}
'''
strings = [
    {{ call = "{application}:serve", args = [80], background = true }},
    {{ call = "{application}:answer", args = [7], background = true }},
]

[[links]]
ends = ["client-1", "client-2", "router.eth0"]
delay = "1ms"

[[links]]
ends = ["router.eth1", "server-1"]
delay = "2ms"
"""

# The second server behind a second router.
BEHIND_A_ROUTER = """
[hosts.router-2]
eth0 = "10.3.0.2/24"
eth1 = "10.4.0.1/24"
net = '''
sysctl -w net.ipv4.ip_forward=1
route add -net 10.1.0.0/24 gw 10.3.0.1
'''

[[links]]
ends = ["router.eth2", "router-2.eth0"]
delay = "3ms"

[[links]]
ends = ["router-2.eth1", "server-2"]
delay = "4ms"
"""

# Or both networks on one link, where the router has an address in each; the third server is in the first of them.
ONE_LINK = """
[hosts.server-3]
eth0 = "10.3.0.2/24"
net = "route add -net 10.1.0.0/24 gw 10.3.0.1"
strings = [{ call = "APPLICATION:serve", args = [80], background = true }]

[[links]]
ends = ["router.eth2", "server-2", "server-3"]
delay = "7ms"
"""

FORWARDING = "sysctl -w net.ipv4.ip_forward=1"
TALK = {"client": "talk", "to_1": '"server-1", 80, 10000', "to_2": '"server-2", 80, 10000'}
PROBE = {"client": "probe", "to_1": '"server-1", 7', "to_2": '"server-2", 7'}
REFUSED = {"client": "refused", "to_1": '"server-1", 81', "to_2": '"server-2", 80'}
ROUTED = {
    "eth2": '"10.3.0.1/24"',
    "forwarding": FORWARDING,
    "router": "route add -net 10.4.0.0 netmask 255.255.255.0 gw 10.3.0.2",
    "server_2": "route add -net 10.1.0.0/24 gw 10.4.0.1",
}
ON_LINK = {
    "eth2": '["10.3.0.1/24", "10.4.0.1/24"]',
    "forwarding": FORWARDING,
    "router": "",
    "server_2": "route add -net 10.1.0.0/24 gw 10.4.0.1",
}
# Or with no network in common: each end says by a route to its device that the other's network is on the link.
BY_DEVICE = {
    "eth2": '"10.3.0.1/24"',
    "forwarding": FORWARDING,
    "router": "route add -net 10.4.0.0/24 dev eth2",
    "server_2": "route add -net 10.3.0.0/24 dev eth0\nroute add -net 10.1.0.0/24 gw 10.3.0.1",
}


class Ran:
    """A tapestry that has run to its end: what the two clients returned, and the captures."""

    def __init__(self, folder: pathlib.Path, second_way: str, **parts: str) -> None:
        # A process has one module of a name, and each test has a file of its own.
        application = f"application_of_{folder.name}"
        (folder / f"{application}.py").write_text(APPLICATION)
        file = folder / "routes.toml"
        file.write_text(
            textwrap.dedent(PAIRS).format(application=application, **parts)
            + second_way.replace("APPLICATION", application)
        )
        self.folder = folder / "captures"
        self.tapestry = weaves.load(file)
        self.tapestry.network.capture(self.folder)
        self.tapestry.run_blocking()
        assert self.tapestry.ok
        results = {string.weave.host.name: string.result for string in self.tapestry.supervisor.strings}
        self.first, self.second = results["client-1"], results["client-2"]
        self.counters = {name: host.ip.counters for name, host in self.tapestry.network.hosts.items()}
        self.tapestry.close()

    def ttls(self, device: str, source: str, protocol: type = dpkt.tcp.TCP) -> set[int]:
        """The TTLs of the packets of `source` that `device` ("server-1-eth0") saw."""
        with open(self.folder / f"{device}.pcap", "rb") as file:
            packets = [dpkt.ethernet.Ethernet(data).data for _, data in dpkt.pcap.Reader(file)]
        return {
            packet.ttl
            for packet in packets
            if isinstance(packet, dpkt.ip.IP) and isinstance(packet.data, protocol)
            and packet.src == bytes(int(part) for part in source.split("."))
        }  # fmt: skip


@pytest.mark.parametrize(
    ("second_way", "parts", "hops", "delay_ms"),
    [(BEHIND_A_ROUTER, ROUTED, 2, 8), (ONE_LINK, ON_LINK, 1, 8), (ONE_LINK, BY_DEVICE, 1, 8)],
    ids=["behind a router", "two networks on one link", "routes to a device"],
)
def test_both_pairs_exchange_data(
    tmp_path: pathlib.Path, second_way: str, parts: dict[str, str], hops: int, delay_ms: int
) -> None:
    ran = Ran(tmp_path, second_way, **TALK, **parts)
    # Two round trips, for the handshake and for the first line: 2 * 2 * (1 + 2) ms, and 2 * 2 * (1 + 3 + 4) ms.
    # Each of the 10,000 empty lines comes back with the client's address (8 characters) and a space before it.
    assert ran.first == ("10.1.0.2 hello\n", 0.012, 100_000)
    assert ran.second == ("10.1.0.3 hello\n", 4 * delay_ms / 1000, 100_000)
    # Each router takes one from the TTL, both ways.
    assert ran.ttls("client-1-eth0", "10.1.0.2") == {64}
    assert ran.ttls("server-1-eth0", "10.1.0.2") == {63}
    assert ran.ttls("client-1-eth0", "10.2.0.2") == {63}
    assert ran.ttls("server-2-eth0", "10.1.0.3") == {64 - hops}
    assert ran.ttls("client-2-eth0", "10.4.0.2") == {64 - hops}
    # The pairs do not see each other's packets.
    assert ran.ttls("server-1-eth0", "10.1.0.3") == set() == ran.ttls("server-2-eth0", "10.1.0.2")


@pytest.mark.parametrize(
    ("second_way", "parts", "hops"),
    [(BEHIND_A_ROUTER, ROUTED, 2), (ONE_LINK, ON_LINK, 1), (ONE_LINK, BY_DEVICE, 1)],
    ids=["behind a router", "two networks on one link", "routes to a device"],
)
def test_a_datagram_needs_a_ttl_of_one_more_than_the_hops(
    tmp_path: pathlib.Path, second_way: str, parts: dict[str, str], hops: int
) -> None:
    ran = Ran(tmp_path, second_way, **PROBE, **parts)
    assert ran.first == [False, True]
    assert ran.second == [False] * hops + [True]
    # Who drops it says so: TIME EXCEEDED from the router (its own TTL is 64), from the second one a hop more.
    assert ran.ttls("client-2-eth0", "10.1.0.1", dpkt.icmp.ICMP) == {64}
    assert ran.ttls("client-2-eth0", "10.3.0.2", dpkt.icmp.ICMP) == ({63} if hops == 2 else set())
    assert ran.counters["router"].ip_in_hdr_errors == 2


def test_refusals_and_answers_find_their_way_back_too(tmp_path: pathlib.Path) -> None:
    ran = Ran(tmp_path, BEHIND_A_ROUTER, **REFUSED | {"to_2": '"server-2", 81'}, **ROUTED)
    assert ran.first == (errno.ECONNREFUSED, 0.006)
    assert ran.second == (errno.ECONNREFUSED, 0.016)


def test_without_the_routers_route_the_network_is_unreachable(tmp_path: pathlib.Path) -> None:
    ran = Ran(tmp_path, BEHIND_A_ROUTER, **REFUSED, **ROUTED | {"router": ""})
    assert ran.first == (errno.ECONNREFUSED, 0.006)
    # The router answers the SYN by NETWORK UNREACHABLE, 1 ms there and 1 ms back.
    assert ran.second == (errno.ENETUNREACH, 0.002)
    assert ran.counters["router"].ip_out_no_routes == 1


@pytest.mark.parametrize("missing", [{"forwarding": ""}, {"server_2": ""}], ids=["no forwarding", "no way back"])
def test_what_is_lost_on_the_way_is_a_connect_that_times_out(tmp_path: pathlib.Path, missing: dict[str, str]) -> None:
    ran = Ran(tmp_path, BEHIND_A_ROUTER, **REFUSED, **ROUTED | missing)
    # tcp_syn_linear_timeouts = 4, tcp_syn_retries = 6: 4 + 1 + 2 + 4 + 8 + 16 + 32 + 64 s.
    assert ran.second == (errno.ETIMEDOUT, 131.0)


def test_two_networks_meet_on_a_link_by_routes_to_a_device() -> None:
    # No address in common: each end says by a route that the other's network is on its link.
    with Network() as net:
        router, server = net.host("router", "10.3.0.1/24"), net.host("server", "10.4.0.2/24")
        net.link(router, server, delay="7ms")
        router.sh("route add -net 10.4.0.0/24 dev eth0")
        server.sh("route add -net 10.3.0.0/24 dev eth0")

        async def serve() -> None:
            async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(await reader.readline())
                writer.close()

            await asyncio.start_server(handle, port=80)

        async def talk() -> Any:
            reader, writer = await asyncio.open_connection("10.4.0.2", 80)
            writer.write(b"over one link\n")
            return await reader.read(), writer.get_extra_info("sockname")[0], asyncio.get_running_loop().time()

        net.run(serve, on=server)
        assert net.run(talk, on=router) == (b"over one link\n", "10.3.0.1", 0.028)
