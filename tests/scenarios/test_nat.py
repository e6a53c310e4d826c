"""Address translation: 200 clients behind three layers of it, peers that punch holes, ports that run out.

What the translators are called is RFC 4787's: MASQUERADE maps endpoint-independently as long as ports can be kept and
filters by address and port; with --random-fully it maps by address and port, too, which people call symmetric. What
Linux does when ports run out was measured; tests/netfilter/test_nat_duel.py measures it again.
"""

from __future__ import annotations

import asyncio
import errno
import pathlib
import socket
from collections.abc import Callable, Iterator

import pytest

import weaves
from lunar.host import Host
from lunar.network import Network
from weaves.tapestry import parse

ROOT = pathlib.Path(__file__).parent.parent.parent
SERVER = "198.51.100.10"
FORWARD = "sysctl -w net.ipv4.ip_forward=1"
MASQUERADE = "iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE"


def translator(net: Network, name: str, outside: str, inside: str, gateway: str | None = None) -> Host:
    """A router that hides what is behind eth1."""
    host = net.host(name, outside, inside)
    host.sh(FORWARD)
    host.sh(MASQUERADE)
    if gateway is not None:
        host.sh(f"route add default gw {gateway}")
    return host


async def echo_server(seen: set[tuple[str, str, int]]) -> None:
    """TCP and UDP echo on port 7; where they come from, into `seen`."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.add(("tcp", *writer.get_extra_info("peername")))
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    await asyncio.start_server(handle, port=7)
    loop = asyncio.get_running_loop()
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.bind(("", 7))
    sock.setblocking(False)
    while True:
        data, address = await loop.sock_recvfrom(sock, 2000)
        seen.add(("udp", *address))
        await loop.sock_sendto(sock, data, address)


async def ask(text: bytes, port: int = 0, server: str = SERVER, wait: float = 5) -> bytes:
    """What comes back of a datagram from local `port`. Raises `TimeoutError`, or what ICMP says."""
    loop = asyncio.get_running_loop()
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(("", port))
        sock.connect((server, 7))
        await loop.sock_sendall(sock, text)
        async with asyncio.timeout(wait):
            return await loop.sock_recv(sock, 100)


async def use(host: Host, text: bytes) -> tuple[bytes, bytes, bool]:
    """What a client gets by TCP and by UDP, all clients from the same port, and whether ping hears an answer."""
    reader, writer = await asyncio.open_connection(SERVER, 7, local_addr=("0.0.0.0", 5000))
    writer.write(text)
    by_tcp = await reader.readexactly(len(text))
    writer.close()
    by_udp = await ask(text, 5000)
    pinged = await host.sh_async(f"ping -c 1 {SERVER}")
    return by_tcp, by_udp, "1 received" in pinged


def test_200_clients_behind_three_layers_reach_a_server_by_tcp_udp_and_icmp() -> None:
    with Network(seed=1) as net:
        server = net.host("server", f"{SERVER}/24")
        seen: set[tuple[str, str, int]] = set()
        net.start(server, echo_server, seen, background=True)
        carriers, clients = [], []
        for c in range(2):
            carrier = translator(net, f"carrier-{c}", f"198.51.100.{c + 1}/24", "100.64.0.1/16")
            carriers.append(carrier)
            streets = []
            for s in range(4):
                street = translator(net, f"street-{c}-{s}", f"100.64.0.{s + 2}/16", "172.16.0.1/16", "100.64.0.1")
                streets.append(street)
                homes = []
                for h in range(5):
                    name = f"{c}-{s}-{h}"
                    home = translator(net, f"home-{name}", f"172.16.0.{h + 2}/16", "192.168.1.1/24", "172.16.0.1")
                    homes.append(home)
                    # The same private addresses in each home.
                    people = [net.host(f"client-{name}-{n}", f"192.168.1.{n + 2}/24") for n in range(5)]
                    for one in people:
                        one.sh("route add default gw 192.168.1.1")
                    clients += people
                    net.link(home.devices["eth1"], *people, delay="1ms")
                net.link(street.devices["eth1"], *[home.devices["eth0"] for home in homes], delay="2ms")
            net.link(carrier.devices["eth1"], *[street.devices["eth0"] for street in streets], delay="3ms")
        net.link(server, *[carrier.devices["eth0"] for carrier in carriers], delay="10ms")
        assert len(clients) == 200
        strings = [net.start(one, use, one, one.name.encode()) for one in clients]
        net.run()
        for one, string in zip(clients, strings, strict=True):
            assert string.result == (one.name.encode(), one.name.encode(), True)
        # The server has met two hosts, and each client at a port of its own.
        assert {address for _protocol, address, _port in seen} == {"198.51.100.1", "198.51.100.2"}
        assert len([one for one in seen if one[0] == "tcp"]) == len([one for one in seen if one[0] == "udp"]) == 200
        for carrier in carriers:
            # Echoes, datagrams and connections of a hundred clients each; one of each kind kept its port.
            assert carrier.sh("conntrack -C") == "300\n"
            kept = [line for line in carrier.sh("conntrack -L -p tcp").splitlines() if line.count("port=5000 ") == 2]
            assert len(kept) == 1


@pytest.mark.parametrize(("flags", "outcome"), [("", "is reached at"), (" --random-fully", "is not reached")])
def test_two_peers_punch_holes_unless_ports_depend_on_the_destination(
    flags: str, outcome: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "tapestries" / "nat.toml").read_text(encoding="utf-8")
    assert "-j MASQUERADE\n" in text
    text = text.replace("-j MASQUERADE\n", f"-j MASQUERADE{flags}\n")
    tapestry = weaves.load(parse(text, ROOT / "tapestries" / "nat.toml"))
    try:
        tapestry.run_blocking()
    finally:
        tapestry.close()
    said = [line for line in capsys.readouterr().out.splitlines() if "reached" in line]
    assert len(said) == 4  # both peers, by UDP and then by TCP
    assert all(outcome in line for line in said)


def test_a_datagram_to_a_closed_port_is_refused_through_three_translators() -> None:
    """The port unreachable quotes what the server got; each translator quotes to the next what that one sent."""
    with Network(seed=1) as net:
        server = net.host("server", f"{SERVER}/24")
        carrier = translator(net, "carrier", "198.51.100.1/24", "100.64.0.1/16")
        street = translator(net, "street", "100.64.0.2/16", "172.16.0.1/16", "100.64.0.1")
        home = translator(net, "home", "172.16.0.2/16", "192.168.1.1/24", "172.16.0.1")
        client = net.host("client", "192.168.1.2/24")
        client.sh("route add default gw 192.168.1.1")
        for one, other in ((server, carrier), (carrier, street), (street, home), (home, client)):
            net.link(one.devices["eth1" if one in (carrier, street, home) else "eth0"], other.devices["eth0"])
        with pytest.raises(ConnectionRefusedError):
            net.run(ask, b"x", 4000, on=client)
        # And a router's time exceeded, whatever stands between: that is how traceroute sees the translators.
        hops = []
        for ttl in (1, 2, 3):
            heard = client.sh(f"ping -c 1 -W 2 -t {ttl} {SERVER}").splitlines()
            hops += [line.split()[1] for line in heard if "Time to live exceeded" in line]
        assert hops == ["192.168.1.1", "172.16.0.1", "100.64.0.1"]


@pytest.fixture
def site() -> Iterator[Callable[[str], Site]]:
    """Makes sites, and closes them."""
    made: list[Site] = []

    def make(rule: str) -> Site:
        made.append(Site(rule))
        return made[-1]

    yield make
    for one in made:
        one.net.close()


class Site:
    """One translator with `rule` in place of MASQUERADE, three hosts behind it and a server before it."""

    def __init__(self, rule: str) -> None:
        self.net = Network(seed=1)
        self.server = self.net.host("server", f"{SERVER}/24")
        self.seen: set[tuple[str, str, int]] = set()
        self.net.start(self.server, echo_server, self.seen, background=True)
        self.router = self.net.host("router", "198.51.100.1/24", "192.168.1.1/24")
        self.router.sh(FORWARD)
        self.router.sh(f"iptables -t nat -A POSTROUTING -o eth0 {rule}")
        self.clients = [self.net.host(f"client-{n}", f"192.168.1.{n + 2}/24") for n in range(3)]
        for client in self.clients:
            client.sh("route add default gw 192.168.1.1")
        self.net.link(self.server, self.router.devices["eth0"])
        self.net.link(self.router.devices["eth1"], *self.clients)

    def ask(self, client: int, port: int, server: str = SERVER, wait: float = 5) -> bytes:
        answer: bytes = self.net.run(ask, b"?", port, server, wait, on=self.clients[client])
        return answer

    def ports(self) -> list[int]:
        return sorted(port for _protocol, _address, port in self.seen)


def test_a_port_is_kept_and_of_two_that_clash_one_gets_another_of_its_class(site: Callable[[str], Site]) -> None:
    one = site("-j MASQUERADE")
    one.ask(0, 5000)
    one.ask(0, 400)
    one.ask(0, 700)
    assert one.ports() == [400, 700, 5000]
    for client in (1, 2):
        for port in (5000, 400, 700):
            one.ask(client, port)
    others = [port for port in one.ports() if port not in (400, 700, 5000)]
    # 1 to 511, 600 to 1023, and 1024 on: iptables-extensions(8), and as the kernel was seen to choose.
    assert len([port for port in others if port < 512]) == 2
    assert len([port for port in others if 600 <= port < 1024]) == 2
    assert len([port for port in others if port >= 1024]) == 2


def test_when_ports_have_run_out_packets_are_dropped_until_one_is_free(site: Callable[[str], Site]) -> None:
    one = site("-p udp -j MASQUERADE --to-ports 6000-6003")
    for port in range(1, 5):
        assert one.ask(0, port) == b"?"
    assert one.ports() == [6000, 6001, 6002, 6003]
    # A fifth finds none: nothing is sent, and nobody is told.
    with pytest.raises(TimeoutError):
        one.ask(1, 5)
    assert "insert_failed=1 drop=1 " in one.router.sh("conntrack -S")
    # To another server the same four are free.
    other = one.net.host("other", "198.51.100.11/24")
    assert other is not None
    # After nf_conntrack_udp_timeout without a packet the four are forgotten.
    one.net.run(until=one.net.now + 31)
    assert one.ask(1, 5) == b"?"
    assert one.ports() == [6000, 6001, 6002, 6003]


def test_masquerade_forgets_its_connections_when_the_device_goes_down(site: Callable[[str], Site]) -> None:
    one = site("-j MASQUERADE")
    one.ask(0, 5000)
    assert one.router.sh("conntrack -C") == "1\n"
    one.router.sh("ifconfig eth0 down")
    assert one.router.sh("conntrack -C") == "0\n"
    kept = site("-j SNAT --to-source 198.51.100.1")
    kept.ask(0, 5000)
    kept.router.sh("ifconfig eth0 down")
    assert kept.router.sh("conntrack -C") == "1\n"


def test_a_port_is_forwarded_and_from_inside_too(site: Callable[[str], Site]) -> None:
    """DNAT, and the hairpin of RFC 4787 (6): inside hosts reach each other by the outside address."""
    one = site("-j MASQUERADE")
    for rule in (
        "iptables -t nat -A PREROUTING -d 198.51.100.1 -p udp --dport 7 -j DNAT --to-destination 192.168.1.2:7",
        "iptables -t nat -A POSTROUTING -s 192.168.1.0/24 -d 192.168.1.2 -j MASQUERADE",
    ):
        one.router.sh(rule)
    seen: set[tuple[str, str, int]] = set()
    one.net.start(one.clients[0], echo_server, seen, background=True)
    assert one.net.run(ask, b"out", 0, "198.51.100.1", on=one.server) == b"out"
    assert one.net.run(ask, b"in", 4444, "198.51.100.1", on=one.clients[1]) == b"in"
    addresses = {address for _protocol, address, _port in seen}
    assert addresses == {SERVER, "192.168.1.1"}


def test_a_full_table_takes_nothing_new_but_for_what_was_never_answered(site: Callable[[str], Site]) -> None:
    one = site("-j MASQUERADE")
    one.router.sh("sysctl -w net.netfilter.nf_conntrack_max=2")
    one.net.run(talk_long, 5001, on=one.clients[0])
    one.net.run(talk_long, 5002, on=one.clients[0])
    assert one.router.sh("conntrack -L").count("[ASSURED]") == 2
    with pytest.raises(TimeoutError):
        one.ask(1, 5003)
    assert " drop=1 " in one.router.sh("conntrack -S")
    one.router.sh("conntrack -F")
    # Nobody answers these: they may be given up for a third.
    for port in (1, 2, 3):
        with pytest.raises(TimeoutError):
            one.ask(0, port, server="198.51.100.99", wait=0.1)
    assert one.router.sh("conntrack -C") in ("1\n", "2\n")
    assert one.ask(1, 5003) == b"?"


async def talk_long(port: int) -> None:
    """A stream, as conntrack calls it: answered beyond two seconds."""
    loop = asyncio.get_running_loop()
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(("", port))
        sock.connect((SERVER, 7))
        for _ in range(4):
            await loop.sock_sendall(sock, b"?")
            await loop.sock_recv(sock, 100)
            await asyncio.sleep(1)


def test_redirect_brings_programs_of_this_host_to_itself(site: Callable[[str], Site]) -> None:
    one = site("-j ACCEPT")
    client = one.clients[0]
    client.sh("iptables -t nat -A OUTPUT -d 203.0.113.9 -p tcp --dport 7 -j REDIRECT")
    seen: set[tuple[str, str, int]] = set()
    one.net.start(client, echo_server, seen, background=True)

    async def connect() -> tuple[bytes, str]:
        reader, writer = await asyncio.open_connection("203.0.113.9", 7)
        writer.write(b"me")
        data = await reader.readexactly(2)
        peer: str = writer.get_extra_info("peername")[0]
        writer.close()
        return data, peer

    # The program believes to have reached another; the server sees the source that was chosen for the way there.
    assert one.net.run(connect, on=client) == (b"me", "203.0.113.9")
    assert {address for _protocol, address, _port in seen} == {"192.168.1.2"}


def test_what_cannot_be_masqueraded_is_dropped() -> None:
    """A device without an address of its own for the world has none to give, as `lo` on Linux."""
    with Network(seed=1) as net:
        host = net.host("host", "10.0.0.1/24")
        host.sh("iptables -t nat -A POSTROUTING -o lo -j MASQUERADE")
        with pytest.raises(OSError) as refused:
            net.run(ask, b"x", 0, "127.0.0.1", on=host)
        assert refused.value.errno == errno.EPERM
