"""IPv4 of one host and of two on a wire: where a packet goes, from which source, and what is refused."""

from __future__ import annotations

import errno

import pytest

import lunar
from lunar.net import ip_output
from lunar.net.device import Device
from lunar.net.icmp import ECHO, ECHO_REPLY
from lunar.packet import AF_INET, BROADCAST_MAC, Frame, IcmpMessage, Packet
from lunar.wire.address import parse_ipv4

MS = 1_000_000


def message(dst: str, type: int = ECHO_REPLY, size: int = 28) -> IcmpMessage:
    """An echo reply, which nobody answers, of `size` bytes in all."""
    made = IcmpMessage(AF_INET, 0, parse_ipv4(dst), type, 0, 0, bytes(size - 28))
    made.size_bytes = size
    return made


class Wire:
    """Hosts a (10.0.0.1) and b (10.0.0.2), 1 ms apart, and what comes to each device as (time, device, packet)."""

    def __init__(self) -> None:
        self.net = lunar.Network(seed=1)
        self.a = self.net.host("a", "10.0.0.1/24")
        self.b = self.net.host("b", "10.0.0.2/24")
        self.net.link(self.a, self.b, delay="1ms")
        self.arrivals: list[tuple[int, str, Packet]] = []
        for host in (self.a, self.b):
            for device in host.devices.values():
                device.tap = self._seen

    def _seen(self, device: Device, frame: Frame) -> None:
        assert isinstance(frame, Packet)
        host = self.a if device in self.a.devices.values() else self.b
        outgoing = frame.eth_src == device.mac and frame.target is None
        if not outgoing:
            self.arrivals.append((self.net.scheduler.now_ns, f"{host.name}.{device.name}", frame))

    def sends(self, packet: Packet) -> int:
        return int(ip_output.send(self.a.ip, packet, None))

    def ends(self) -> list[tuple[int, str]]:
        self.net.run(until="10s")
        return [(time, name) for time, name, _ in self.arrivals]


def test_a_neighbour_is_reached_over_the_wire() -> None:
    w = Wire()
    assert w.sends(message("10.0.0.2")) == 0
    assert w.ends() == [(1 * MS, "b.eth0")]


@pytest.mark.parametrize("destination", ["127.0.0.1", "10.0.0.1", "127.0.0.2", "127.255.255.254"])
def test_an_own_address_is_reached_by_lo_at_once(destination: str) -> None:
    w = Wire()
    assert w.sends(message(destination)) == 0
    assert w.ends() == [(0, "a.lo")]
    assert w.a.ip.counters.ip_in_delivers == 1


def test_delivery_is_counted() -> None:
    w = Wire()
    w.sends(message("10.0.0.2"))
    w.ends()
    counters = w.b.ip.counters
    assert (counters.ip_in_receives, counters.ip_in_delivers, counters.icmp_in_msgs) == (1, 1, 1)
    assert w.a.ip.counters.ip_out_requests == 1


@pytest.mark.parametrize(
    ("destination", "source"),
    [("10.0.0.2", "10.0.0.1"), ("10.0.0.1", "10.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("127.0.0.2", "127.0.0.1")],
)
def test_the_source_that_is_chosen(destination: str, source: str) -> None:
    packet = message(destination)
    Wire().sends(packet)
    assert packet.src == parse_ipv4(source)


def test_a_source_that_was_given_is_kept() -> None:
    w, packet = Wire(), message("10.0.0.2")
    packet.src = parse_ipv4("10.0.0.77")
    w.sends(packet)
    assert packet.src == parse_ipv4("10.0.0.77")


def test_identifications_count_up() -> None:
    w, packets = Wire(), [message("10.0.0.2") for _ in range(3)]
    for packet in packets:
        w.sends(packet)
    assert [packet.ident for packet in packets] == [0, 1, 2]


def test_identifications_have_16_bits() -> None:
    w, packets = Wire(), [message("10.0.0.2") for _ in range(2)]
    w.a.ip.next_ident = 0xFFFF
    for packet in packets:
        w.sends(packet)
    assert [packet.ident for packet in packets] == [0xFFFF, 0]


# What is refused


def test_no_route_is_enetunreach() -> None:
    w = Wire()
    assert w.sends(message("192.168.0.1")) == errno.ENETUNREACH
    assert w.a.ip.counters.ip_out_no_routes == 1


def test_no_neighbour_is_ehostunreach() -> None:
    w = Wire()
    assert w.sends(message("10.0.0.3")) == errno.EHOSTUNREACH
    assert w.a.ip.counters.ip_out_discards == 1


def test_no_link_is_ehostunreach() -> None:
    host = lunar.Network(seed=1).host("a", "10.0.0.1/24")
    assert ip_output.send(host.ip, message("10.0.0.2"), None) == errno.EHOSTUNREACH


def test_a_gateway_that_does_not_exist_is_ehostunreach() -> None:
    w = Wire()
    w.a.sh("route add default gw 10.0.0.3")
    assert w.sends(message("192.168.0.1")) == errno.EHOSTUNREACH


@pytest.mark.parametrize(("size", "expected"), [(1500, 0), (1501, errno.EMSGSIZE)])
def test_the_mtu_is_the_largest_packet_that_stays_whole(size: int, expected: int) -> None:
    packet = message("10.0.0.2", size=size)
    packet.dont_fragment = True
    assert Wire().sends(packet) == expected


def test_a_larger_one_that_may_be_cut_arrives() -> None:
    w = Wire()
    assert w.sends(message("10.0.0.2", size=1501)) == 0
    w.ends()
    sent, came = w.a.ip.counters, w.b.ip.counters
    assert (sent.ip_frag_oks, sent.ip_frag_creates) == (1, 2)
    assert (came.ip_reasm_reqds, came.ip_reasm_oks, came.ip_in_delivers) == (2, 1, 1)


def test_lo_has_an_mtu_of_its_own() -> None:
    assert Wire().sends(message("10.0.0.1", size=65_535)) == 0


def test_a_device_without_its_cable_swallows_without_an_error() -> None:
    w = Wire()
    w.a.devices["eth0"].plugged = False
    assert w.sends(message("10.0.0.2")) == 0
    assert w.ends() == []
    assert w.a.devices["eth0"].tx_dropped == 1


def test_over_a_device_that_is_down_there_is_no_way() -> None:
    w = Wire()
    w.a.sh("ifconfig eth0 down")
    assert w.sends(message("10.0.0.2")) == errno.ENETUNREACH
    assert w.ends() == []


# Broadcasts


@pytest.mark.parametrize("destination", ["10.0.0.255", "255.255.255.255"])
def test_a_broadcast_is_heard_by_the_others_and_by_oneself(destination: str) -> None:
    w = Wire()
    w.a.sh("route add default dev eth0")
    assert w.sends(message(destination)) == 0
    assert w.ends() == [(1 * MS, "b.eth0")]  # what comes back at eth0 itself is not captured there again
    assert (w.a.ip.counters.ip_in_delivers, w.b.ip.counters.ip_in_delivers) == (1, 1)


def test_a_broadcast_goes_to_the_broadcast_address_of_ethernet() -> None:
    w, packet = Wire(), message("10.0.0.255")
    w.sends(packet)
    assert packet.eth_dst == BROADCAST_MAC


def test_a_broadcast_that_is_refused_is_not_heard_by_oneself() -> None:
    w = Wire()
    packet = message("10.0.0.255", size=1501)
    packet.dont_fragment = True
    assert w.sends(packet) == errno.EMSGSIZE
    assert w.ends() == []


def test_the_limited_broadcast_needs_a_route() -> None:
    # As on Linux, for a sender that is bound to no address.
    assert Wire().sends(message("255.255.255.255")) == errno.ENETUNREACH


def test_a_point_to_point_network_has_no_broadcast_address() -> None:
    net = lunar.Network(seed=1)
    a, b = net.host("a", "10.0.0.0/31"), net.host("b", "10.0.0.1/31")
    net.link(a, b)
    assert [device.name for device in a.ip.broadcasts.values()] == ["lo"]
    assert ip_output.send(a.ip, message("10.0.0.1"), None) == 0
    net.run(until="1s")
    assert b.ip.counters.ip_in_delivers == 1


# Input


def test_a_packet_for_another_is_not_delivered_to_a_host_that_does_not_forward() -> None:
    w = Wire()
    w.a.sh("route add 10.9.0.0/16 gw 10.0.0.2")
    assert w.sends(message("10.9.0.1", ECHO)) == 0
    w.ends()
    counters = w.b.ip.counters
    assert (counters.ip_in_receives, counters.ip_in_delivers, counters.ip_in_addr_errors) == (1, 0, 1)
    assert counters.icmp_out_msgs == 0


def test_an_address_of_another_device_is_ones_own() -> None:
    # The weak host model of RFC 1122 (3.3.4.2), which Linux has.
    w = Wire()
    w.b.add_device([(parse_ipv4("10.9.0.1"), 16)])
    w.a.sh("route add 10.9.0.0/16 gw 10.0.0.2")
    w.sends(message("10.9.0.1"))
    w.ends()
    assert w.b.ip.counters.ip_in_delivers == 1


@pytest.mark.parametrize(("offset", "more"), [(0, True), (8, False), (8, True)])
def test_a_fragment_alone_is_not_delivered(offset: int, more: bool) -> None:
    w = Wire()
    piece = Packet(AF_INET, 0, parse_ipv4("10.0.0.2"), 17, b"12345678")
    piece.size_bytes, piece.fragment_offset, piece.more_fragments = 28, offset, more
    w.sends(piece)
    w.ends()
    counters = w.b.ip.counters
    assert (counters.ip_reasm_reqds, counters.ip_in_delivers, counters.icmp_out_msgs) == (1, 0, 0)


def test_an_icmp_packet_without_a_header_is_an_error() -> None:
    w = Wire()
    raw = Packet(AF_INET, 0, parse_ipv4("10.0.0.2"), 1, b"")
    raw.size_bytes = 20
    w.sends(raw)
    w.ends()
    assert (w.b.ip.counters.icmp_in_msgs, w.b.ip.counters.icmp_in_errors) == (1, 1)
