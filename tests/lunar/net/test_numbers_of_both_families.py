"""One number, two addresses: ::10.0.0.1 is nobody's and must not be taken for 10.0.0.1, nor 0.0.0.1 for ::1.

Packets with such addresses are refused where bytes become objects; here are messages that speak of them.
"""

from __future__ import annotations

import pytest

import lunar
from lunar.net import ip_input
from lunar.net.neighbor import REACHABLE, Neighbor, Neighbors
from lunar.packet import ACK, AF_INET, AF_INET6, ArpMessage, Frame, IcmpMessage, TcpSegment, set_tcp_size
from lunar.wire import ipv4, ipv6, nd_option
from lunar.wire.address import parse_ipv4, parse_ipv6

ONE, TWO = parse_ipv4("10.0.0.1"), parse_ipv4("10.0.0.2")
ONE6, TWO6, ROUTER = parse_ipv6("2001:db8::1"), parse_ipv6("2001:db8::2"), parse_ipv6("fe80::99")
SOLICITED = 0x6000_0000
MAC, OTHER_MAC = 0x0200_0000_0002, 0x0200_0000_0099


class Host:
    """10.0.0.1 and 2001:db8::1 on one device, which asks for neighbours; what it sends."""

    def __init__(self) -> None:
        self.net = lunar.Network(seed=1, arp=True)
        self.host = self.net.host("one", "10.0.0.1/24")
        other = self.net.host("two", "10.0.0.2/24")
        self.net.link(self.host, other)
        self.ip = self.host.ip
        self.device = self.host.devices["eth0"]
        self.host.add_address(self.device, ONE6, 64, at_once=True)
        self.sent: list[Frame] = []
        self.device.tap = lambda _device, frame: self.sent.append(frame)

    def hears(self, type: int, body: bytes, src: int = TWO6, dst: int = ONE6, rest: int = 0, ttl: int = 255) -> None:
        message = IcmpMessage(AF_INET6, src, dst, type, 0, rest, body)
        message.ttl = ttl
        message.size_bytes = 48 + len(body)
        message.eth_dst = self.device.mac
        ip_input.receive(self.ip, message, self.device)

    def neighbor(self) -> Neighbor:
        """10.0.0.2, whose hardware address is known."""
        table = self.ip.inet.neighbors
        assert isinstance(table, Neighbors)
        entry = table.make(self.device, TWO)
        assert entry is not None
        table.put(entry, MAC, REACHABLE)
        return entry


def test_nobody_answers_for_an_address_that_only_looks_like_an_own_one() -> None:
    h = Host()
    h.hears(135, ONE.to_bytes(16, "big") + nd_option.address_option(1, OTHER_MAC))
    assert h.sent == []
    h.hears(135, ONE6.to_bytes(16, "big") + nd_option.address_option(1, OTHER_MAC))
    assert len(h.sent) == 1


def test_an_advertisement_says_nothing_of_ipv4s_neighbours() -> None:
    h = Host()
    entry = h.neighbor()
    h.hears(136, TWO.to_bytes(16, "big") + nd_option.address_option(2, OTHER_MAC), rest=SOLICITED)
    assert entry.mac == MAC


@pytest.mark.parametrize(("target", "dst"), [(TWO, TWO), (ROUTER, TWO)])
def test_a_redirect_leads_no_ipv4_packet_elsewhere(target: int, dst: int) -> None:
    h = Host()
    entry = h.neighbor()
    h.host.sh("ip -6 route add default via fe80::98 dev eth0")
    body = target.to_bytes(16, "big") + dst.to_bytes(16, "big") + nd_option.address_option(2, OTHER_MAC)
    h.hears(137, body, src=parse_ipv6("fe80::98"))
    assert h.ip.route_changes.redirects == {}
    assert entry.mac == MAC
    assert h.ip.inet6.counters.icmp_in_errors == 1


def quoted(family: int, src: int, dst: int) -> bytes:
    """A segment of ours, as an error quotes it, with these addresses in place of its own."""
    own = (ONE6, TWO6) if family == AF_INET6 else (ONE, TWO)
    segment = TcpSegment(family, *own, 40_000, 80, 1, 1, ACK, 1000, b"")
    set_tcp_size(segment)
    data = ipv6.encode(segment) if family == AF_INET6 else ipv4.encode(segment)
    if family == AF_INET6:
        return data[:8] + src.to_bytes(16, "big") + dst.to_bytes(16, "big") + data[40:]
    return data[:12] + src.to_bytes(4, "big") + dst.to_bytes(4, "big") + data[20:]


def test_an_icmpv6_error_is_never_about_an_ipv4_connection() -> None:
    h = Host()
    h.host.sh("ip -6 route add default via fe80::98 dev eth0")
    h.hears(2, quoted(AF_INET6, ONE, TWO), rest=1280, ttl=64)  # too big
    h.hears(2, quoted(AF_INET6, ONE6, TWO), rest=1280, ttl=64)
    assert h.ip.inet6.counters.icmp_in_errors == 2
    assert h.ip.path_mtus == {}
    h.hears(2, quoted(AF_INET6, ONE6, TWO6), rest=1280, ttl=64)
    assert h.ip.inet6.counters.icmp_in_errors == 2


def test_an_icmp_error_is_never_about_ipv6s_loopback() -> None:
    h = Host()
    message = IcmpMessage(AF_INET, TWO, ONE, 3, 3, 0, quoted(AF_INET, 1, 1))
    message.size_bytes = 28 + len(message.payload)
    ip_input.receive(h.ip, message, h.device)
    assert h.ip.counters.icmp_in_errors == 1


def test_conntrack_finds_no_ipv4_connection_for_an_icmpv6_error() -> None:
    h = Host()
    h.host.sh("iptables -A OUTPUT -m state --state NEW,ESTABLISHED -j ACCEPT")
    conntrack = h.host.netfilter.need_conntrack()
    h.neighbor()
    segment = TcpSegment(AF_INET, ONE, TWO, 40_000, 80, 1, 1, 2, 1000, b"")
    set_tcp_size(segment)
    from lunar.net.ip_output import send

    assert send(h.ip, segment, None) == 0
    assert conntrack.count() == 1
    h.hears(1, quoted(AF_INET6, ONE, TWO), ttl=64)
    assert conntrack.statistics.invalid == 1


def test_arp_does_not_answer_for_0_0_0_1() -> None:
    h = Host()
    for target in (1, ONE):
        question = ArpMessage(1, OTHER_MAC, TWO, 0, target)
        question.eth_dst = 0xFFFF_FFFF_FFFF
        h.device.receiver.receive_frame(question, h.device)
    assert [frame.sender_ip for frame in h.sent if isinstance(frame, ArpMessage)] == [ONE]


def test_a_name_server_of_nobody_is_not_written_down() -> None:
    h = Host()
    h.host.sh("sysctl -q net.ipv6.conf.eth0.accept_ra=2")
    servers = nd_option.servers_option([TWO, TWO6], 600)
    h.hears(134, bytes(8) + servers, src=ROUTER, dst=parse_ipv6("ff02::1"))
    assert [server for server, _device in h.host.autoconf.name_servers()] == [TWO6]
