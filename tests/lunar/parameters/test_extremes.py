"""Every parameter at its smallest, its largest and a wrong value, with traffic after each.

With an extreme value traffic may come to nothing: a TTL of 1, no room, no retries. What must not be is an exception in
the stack, wrong data, or that the host is broken when the parameter is what it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import lunar
from lunar.host import Host
from lunar.network import Network
from lunar.parameters import table
from lunar.parameters.parameter import READ_ONLY, WRITE_ONLY, Parameter

DATA = random.Random(1).randbytes(30_000)
# How long traffic may try, in seconds of virtual time.
PATIENCE = 120

# What is not a number: two values that it can have, and one that it cannot.
TEXTS = {
    "net/ipv4/tcp_congestion_control": ("reno", "vegas", "nosuch"),
    "net/ipv4/tcp_allowed_congestion_control": ("reno", "reno cubic bbr dctcp vegas", "reno nosuch"),
    "net/ipv6/icmp/ratemask": ("0", "0-255", "256"),
    "net/ipv4/ip_local_reserved_ports": ("", "0-65535", "65536"),
    "net/ipv4/tcp_fastopen_key": ("0-0-0-0", "-".join(["ffffffff"] * 4) + "," + "-".join(["1"] * 4), "12"),
}


def parameters() -> list[str]:
    """The paths of all that can be set; of devices those of all and of one."""
    with lunar.Network(seed=0) as net:
        host = net.host("host", ["10.0.0.1/24", "2001:db8::1/64"])
        paths = [path for path in table.paths(host) if found(host, path).mode != READ_ONLY]
    once = {name.replace(".", "/") for name in table.PARAMETERS}
    return [path for path in paths if path in once or not {"lo", "default"} & set(path.split("/"))]


def found(host: Host, path: str) -> Parameter:
    parameter = table.find(host, path)
    assert parameter is not None
    return parameter


class Pair:
    """Two hosts behind a router, which all obey the same; each speaks both families."""

    def __init__(self, net: Network) -> None:
        self.net = net
        self.client = net.host("client", ["10.0.0.2/24", "2001:db8::2/64"])
        self.server = net.host("server", ["10.0.1.2/24", "2001:db8:1::2/64"])
        self.router = net.host("router", ["10.0.0.1/24", "2001:db8::1/64"], ["10.0.1.1/24", "2001:db8:1::1/64"])
        net.link(self.client, "router.eth0", delay="1ms", arp=True)
        net.link(self.server, "router.eth1", delay="1ms", loss="1%", arp=True)
        self.hosts = [self.client, self.server, self.router]
        self.router.sh("sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        for host, gateway in ((self.client, ""), (self.server, ":1")):
            host.sh(f"ip route add default via 10.0.{1 if gateway else 0}.1")
            host.sh(f"ip -6 route add default via 2001:db8{gateway}::1")
        net.start(self.server, serve, 80, background=True)

    def set(self, path: str, text: str) -> None:
        for host in self.hosts:
            if table.find(host, path) is not None:
                host.sh(f"sysctl -q -w {table.name_of(path)}='{text}'")

    def traffic(self, address: str, port: int = 80) -> str:
        """What becomes of a transfer there and back: "intact", or how it failed."""
        return str(self.net.run(echo, address, port, on=self.client, until=self.net.now + 4 * PATIENCE))


async def serve(port: int) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                writer.write(data)
                await writer.drain()
        writer.close()

    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(data, addr)

    loop = asyncio.get_running_loop()
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        sock = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind((address, port))
        await loop.create_datagram_endpoint(Echo, sock=sock)
    await (await asyncio.start_server(handle, ["0.0.0.0", "::"], port)).serve_forever()


class Answer(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if not self.heard.done():
            self.heard.set_result(data)


async def echo(address: str, port: int) -> str:
    """TCP and UDP to the server and back."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(address, port)
            writer.write(DATA)
            writer.write_eof()
            back = await reader.read(-1)
            writer.close()
        transport, protocol = await loop.create_datagram_endpoint(Answer, remote_addr=(address, port))
        try:
            for _attempt in range(5):
                transport.sendto(b"question")
                with contextlib.suppress(TimeoutError):
                    back += await asyncio.wait_for(asyncio.shield(protocol.heard), 2)
                    break
        finally:
            transport.close()
    except (OSError, TimeoutError) as failed:
        return type(failed).__name__
    if hashlib.sha256(back).digest() == hashlib.sha256(DATA + b"question").digest():
        return "intact"
    assert (DATA + b"question").startswith(back), "what comes is what was sent, as far as it comes"
    return "cut short"


def extremes(host: Host, path: str) -> tuple[str, str, str]:
    """A parameter's smallest and largest value, and one that it cannot have."""
    if path in TEXTS:
        return TEXTS[path]
    parameter = found(host, path)
    count = len(parameter.attributes)
    smallest, largest = (" ".join([str(value)] * count) for value in (parameter.smallest, parameter.largest))
    return smallest, largest, f"{parameter.largest + 1}"


@pytest.fixture
def pair() -> Iterator[Pair]:
    with lunar.Network(seed=1) as net:
        yield Pair(net)


@pytest.mark.parametrize("path", parameters())
def test_a_parameter_at_its_ends(path: str, pair: Pair) -> None:
    host = pair.router if "/eth1/" in path else pair.server
    parameter = found(host, path)
    smallest, largest, wrong = extremes(host, path)
    before = {
        known.name: "" if parameter.mode == WRITE_ONLY else found(known, path).shown(found(known, path).read(known))
        for known in pair.hosts
    }
    assert pair.traffic("10.0.1.2") == "intact"
    for port, value in ((81, smallest), (82, largest)):
        pair.set(path, value)
        # With sockets that were there before, and with new ones.
        pair.net.start(pair.server, serve, port, background=True, on_error="continue")
        for address in ("10.0.1.2", "2001:db8:1::2"):
            pair.traffic(address)
            pair.traffic(address, port)
    with pytest.raises(lunar.net_tools.CommandError):
        pair.set(path, wrong)
    if parameter.mode != WRITE_ONLY:
        for known in pair.hosts:
            known.sh(f"sysctl -q -w {table.name_of(path)}='{before[known.name]}'")
    pair.net.run(until=pair.net.now + 700)  # until what was learned meanwhile is forgotten
    assert pair.traffic("10.0.1.2") == "intact"


def test_traffic_is_intact_where_nothing_was_set(pair: Pair) -> None:
    assert pair.traffic("10.0.1.2") == pair.traffic("2001:db8:1::2") == "intact"
