"""IPv6 neighbours: who is asked, addresses tested before they are used, routers that do not answer any more."""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket

import pytest

import lunar
from lunar.host import Host
from lunar.net.address import IFA_F_DADFAILED, IFA_F_TENTATIVE
from lunar.net.neighbor import REACHABLE, Neighbors
from lunar.packet import Frame, IcmpMessage
from lunar.wire.address import address_text, parse_ipv6

ONE, TWO, THREE, NEW = (parse_ipv6(f"2001:db8::{end}") for end in ("1", "2", "3", "42"))


class Lan:
    """Hosts 2001:db8::1, 2 and 3 on a switch, 1 ms from each other."""

    def __init__(self) -> None:
        self.net = lunar.Network(seed=1, arp=True)
        self.hosts = [self.net.host(f"h{number}", f"2001:db8::{number}/64") for number in (1, 2, 3)]
        self.net.link(*self.hosts, delay="1ms")

    def hears(self, number: int) -> list[tuple[int, str]]:
        """The questions that come to a host from now on, with their times in milliseconds."""
        heard: list[tuple[int, str]] = []
        device = self.hosts[number - 1].devices["eth0"]

        def see(_device: object, frame: Frame) -> None:
            if isinstance(frame, IcmpMessage) and frame.type == 135 and frame.eth_src != device.mac:
                target = address_text(10, int.from_bytes(frame.payload[:16], "big"))
                source = address_text(10, frame.src)
                heard.append((self.net.scheduler.now_ns // 1_000_000, f"{source} asks for {target}"))

        device.tap = see
        return heard


def pending(host: Host) -> list[tuple[str, int]]:
    own = host.autoconf.pending(host.devices["eth0"])
    return [(address_text(10, one.address), int(one.flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED))) for one in own]


def test_only_those_in_the_group_of_an_address_hear_the_question() -> None:
    lan = Lan()
    asked, others = lan.hears(2), lan.hears(3)

    def connect() -> tuple[int, float]:
        with socket.socket(socket.AF_INET6) as sock:
            return sock.connect_ex(("2001:db8::2", 80)), lan.net.now

    # A question and its answer, then a SYN and its RST.
    assert lan.net.run(connect, on=lan.hosts[0]) == (errno.ECONNREFUSED, 0.004)
    assert asked == [(1, "2001:db8::1 asks for 2001:db8::2")]
    assert others == []
    # The switch carries it to all, and devices leave it (docs/neighbors.md).
    assert lan.hosts[2].devices["eth0"].rx_dropped == 1


def test_connect_to_nobody_fails_after_three_seconds() -> None:
    lan = Lan()

    def connect() -> tuple[int, float]:
        with socket.socket(socket.AF_INET6) as sock:
            return sock.connect_ex(("2001:db8::99", 80)), lan.net.now

    assert lan.net.run(connect, on=lan.hosts[0]) == (errno.EHOSTUNREACH, 3.0)


def test_a_new_address_can_be_used_when_nobody_has_objected() -> None:
    lan = Lan()
    one = lan.hosts[0]
    heard = lan.hears(2)
    one.add_address(one.devices["eth0"], NEW, 64)
    assert pending(one) == [("2001:db8::42", IFA_F_TENTATIVE)]

    def bind() -> int:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            try:
                sock.bind(("2001:db8::42", 0))
            except OSError as refused:
                return int(refused.errno or 0)
            return 0

    assert lan.net.run(bind, on=one) == errno.EADDRNOTAVAIL
    lan.net.run(until="2s")
    assert pending(one) == []
    assert lan.net.run(bind, on=one) == 0
    assert heard == []  # nobody else is in its group


def test_an_address_that_another_has_is_not_used() -> None:
    lan = Lan()
    one = lan.hosts[0]
    one.sh("ip addr add 2001:db8::2/64 dev eth0")
    assert "inet6 2001:db8::2/64 scope global tentative \n" in one.sh("ip addr show dev eth0")
    lan.net.run(until="5s")
    assert pending(one) == [("2001:db8::2", IFA_F_TENTATIVE | IFA_F_DADFAILED)]
    assert "inet6 2001:db8::2/64 scope global tentative dadfailed \n" in one.sh("ip addr show dev eth0")
    assert TWO not in one.ip.local
    lan.hosts[1].sh("ifconfig eth0 down")
    lan.net.run(until="100s")
    assert TWO not in one.ip.local  # it stays so until the administrator does something
    one.sh("ip addr del 2001:db8::2/64 dev eth0")
    one.sh("ip addr add 2001:db8::2/64 dev eth0")
    lan.net.run(until="105s")
    assert TWO in one.ip.local


def test_of_two_that_test_the_same_address_the_one_that_asks_first_has_it() -> None:
    lan = Lan()
    for host in lan.hosts[:2]:
        host.add_address(host.devices["eth0"], NEW, 64)
    lan.net.run(until="5s")
    failed = [("2001:db8::42", IFA_F_TENTATIVE | IFA_F_DADFAILED)]
    assert sorted(pending(host) for host in lan.hosts[:2]) == [[], failed]
    assert sum(NEW in host.ip.local for host in lan.hosts[:2]) == 1


@pytest.mark.parametrize(("name", "value"), [("dad_transmits", 0), ("accept_dad", 0)])
def test_tests_can_be_left_out(name: str, value: int) -> None:
    lan = Lan()
    one = lan.hosts[0]
    one.sh(f"sysctl -q net.ipv6.conf.eth0.{name}={value}")
    one.add_address(one.devices["eth0"], NEW, 64)
    assert NEW in one.ip.local


def test_how_often_it_is_asked_can_be_set() -> None:
    lan = Lan()
    one = lan.hosts[0]
    one.sh("sysctl -q net.ipv6.conf.eth0.dad_transmits=3")
    one.sh("sysctl -q net.ipv6.neigh.eth0.retrans_time_ms=500")
    heard = lan.hears(2)
    lan.hosts[1].devices["eth0"].join(0x3333_FF00_0042)  # as if it had such an address, too
    one.add_address(one.devices["eth0"], NEW, 64)
    lan.net.run(until="5s")
    assert NEW in one.ip.local
    times = [at for at, what in heard if what == ":: asks for 2001:db8::42"]
    assert len(times) == 3
    assert [b - a for a, b in itertools.pairwise(times)] == [500, 500]


def test_a_link_local_address_that_another_has_switches_ipv6_off_where_that_is_wanted() -> None:
    net = lunar.Network(seed=1, arp=True)
    a, b = net.host("a"), net.host("b")
    for host in (a, b):
        host.add_device([])
    net.link(a, b, delay="1ms")
    b.devices["eth0"].mac = a.devices["eth0"].mac  # two cards with one address
    a.sh("sysctl -q net.ipv6.conf.eth0.disable_ipv6=0")
    net.run(until="5s")
    assert len(a.devices["eth0"].addresses) == 1
    b.sh("sysctl -q net.ipv6.conf.eth0.accept_dad=2")
    b.sh("sysctl -q net.ipv6.conf.eth0.disable_ipv6=0")
    net.run(until="10s")
    assert b.devices["eth0"].addresses == []
    assert b.sh("sysctl -n net.ipv6.conf.eth0.disable_ipv6") == "1\n"


def test_tcp_that_gets_on_keeps_its_neighbour_reachable_without_a_question() -> None:
    lan = Lan()
    one, two = lan.hosts[:2]
    heard = lan.hears(2)

    async def serve() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(100):
                writer.write(data)
            writer.close()

        async with await asyncio.start_server(handle, "::", 80):
            await asyncio.sleep(1000)

    async def talk() -> None:
        reader, writer = await asyncio.open_connection("2001:db8::2", 80)
        for _ in range(200):
            writer.write(b"x")
            await reader.read(100)
            await asyncio.sleep(1)
        writer.close()

    lan.net.start(two, serve, background=True)
    lan.net.run(talk(), on=one)
    lan.net.run(until="210s")
    # One question at the beginning; each side hears from the other for 200 s, and neither asks again.
    assert heard == [(1, "2001:db8::1 asks for 2001:db8::2")]
    table = one.ip.inet6.neighbors
    assert isinstance(table, Neighbors)
    entry = table.find(one.devices["eth0"], TWO)
    assert entry is not None
    assert entry.state == REACHABLE


def test_link_local_addresses_alone_are_enough() -> None:
    net = lunar.Network(seed=1, arp=True)
    a, b = net.host("a"), net.host("b")
    for host in (a, b):
        host.add_device([])
    net.link(a, b, delay="1ms")
    for host in (a, b):
        host.sh("sysctl -q net.ipv6.conf.eth0.disable_ipv6=0")
    net.run(until="5s")

    def connect() -> int:
        with socket.socket(socket.AF_INET6) as sock:
            return sock.connect_ex(("fe80::ff:fe00:2%eth0", 80))

    assert net.run(connect, on=a) == errno.ECONNREFUSED


def test_a_device_with_another_name_has_the_same_ipv6_and_parameters() -> None:
    lan = Lan()
    one = lan.hosts[0]
    one.sh("sysctl -q net.ipv4.conf.eth0.rp_filter=1")
    for change in ("eth0 down", "eth0 name wan0", "wan0 up"):
        one.sh(f"ip link set {change}")
    lan.net.run(until="5s")
    assert "inet6 fe80::" in one.sh("ip -6 addr show wan0")
    one.sh("ip -6 addr add 2001:db8::42/64 dev wan0")
    lan.net.run(until="10s")
    assert one.autoconf.pending(one.devices["wan0"]) == []
    assert "2001:db8::42" in one.sh("ip -6 addr show wan0")
    one.sh("sysctl -q net.ipv4.conf.default.rp_filter=2")
    assert one.sh("sysctl -n net.ipv4.conf.wan0.rp_filter") == "1\n"
