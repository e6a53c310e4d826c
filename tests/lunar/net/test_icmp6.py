"""ICMPv6: echo, which errors are reported and which are not (RFC 4443 section 2.4), and what they quote."""

from __future__ import annotations

import pytest

import lunar
from lunar.net import icmp, ip_output
from lunar.net.device import Device
from lunar.net.route import Route
from lunar.packet import AF_INET6, Frame, IcmpMessage, Packet, UdpDatagram
from lunar.wire import ipv6
from lunar.wire.address import parse_ipv6

A, B, FAR = "2001:db8::1", "2001:db8::2", "2001:db8:9::1"
HOP_BY_HOP = bytes.fromhex("00 00 01 04 00000000")  # six bytes of PadN
ND = range(130, 144)


def message(type: int, code: int = 0, rest: int = 0, payload: bytes = b"", dst: str = B) -> IcmpMessage:
    made = IcmpMessage(AF_INET6, 0, parse_ipv6(dst), type, code, rest, payload)
    made.size_bytes = 48 + len(payload)
    return made


def datagram(dport: int = 9, payload: bytes = b"", dst: str = B) -> UdpDatagram:
    made = UdpDatagram(AF_INET6, 0, parse_ipv6(dst), 5000, dport, payload)
    made.size_bytes = 48 + len(payload)
    return made


def foreign(dst: str = B) -> Packet:
    """A packet of a protocol that nobody has."""
    made = Packet(AF_INET6, 0, parse_ipv6(dst), 253, b"12345678")
    made.size_bytes = 48
    return made


class Wire:
    """Hosts a (2001:db8::1) and b (::2), a router, 1 ms apart; the ICMPv6 messages that come to a."""

    def __init__(self) -> None:
        self.net = lunar.Network(seed=1)
        self.a = self.net.host("a", f"{A}/64")
        self.b = self.net.host("b", f"{B}/64")
        self.net.link(self.a, self.b, delay="1ms")
        self.b.ip.inet6.forwarding = True
        way = Route(0, 0, parse_ipv6(B), self.a.devices["eth0"], 1024, 0, AF_INET6)
        self.a.ip.inet6.routes.add(way)
        self.messages: list[IcmpMessage] = []
        self.a.devices["eth0"].tap = self._seen

    def _seen(self, device: Device, frame: Frame) -> None:
        if isinstance(frame, IcmpMessage) and frame.eth_dst == device.mac and frame.type not in ND:
            self.messages.append(frame)

    def sends(self, packet: Packet) -> Packet:
        assert ip_output.send(self.a.ip, packet, None) == 0
        return packet

    def runs(self) -> list[tuple[int, int]]:
        """The types and codes that came to a within a second."""
        self.net.run(until=f"{self.net.now + 1}s")
        return [(int(one.type), int(one.code)) for one in self.messages]


def test_an_echo_comes_back_as_it_went() -> None:
    w = Wire()
    asked = message(128, 0, 0x1234_0007, b"payload")
    asked.tos = 0x28
    w.sends(asked)
    assert w.runs() == [(129, 0)]
    reply = w.messages[0]
    assert (reply.src, reply.dst) == (parse_ipv6(B), parse_ipv6(A))
    assert (reply.rest, reply.payload, reply.tos, reply.ttl) == (0x1234_0007, b"payload", 0x28, 64)


def test_an_error_quotes_what_fits_1280_bytes() -> None:
    w = Wire()
    sent = datagram(payload=bytes(1400))
    quoted = ipv6.encode(sent)
    w.sends(sent)
    assert w.runs() == [(1, 4)]
    error = w.messages[0]
    assert (error.size_bytes, len(error.payload), error.rest) == (1280, 1232, 0)
    assert error.payload[48:] == quoted[48:1232]  # the checksum before that is over the source, which came later
    assert error.src == parse_ipv6(B)


@pytest.mark.parametrize(("options", "place"), [(b"", 6), (HOP_BY_HOP, 40)])
def test_an_unknown_next_header_is_named_by_its_place(options: bytes, place: int) -> None:
    w = Wire()
    sent = foreign()
    sent.options = options
    sent.size_bytes += len(options)
    w.sends(sent)
    assert w.runs() == [(4, 1)]
    assert w.messages[0].rest == place


def test_a_router_says_that_there_is_no_way_and_that_a_packet_has_come_to_its_end() -> None:
    w = Wire()
    w.sends(datagram(dst=FAR))
    assert w.runs() == [(1, 0)]
    on_link = Route(parse_ipv6("2001:db8:8::"), 64, 0, w.b.devices["eth0"], 1024, 0, AF_INET6)
    w.b.ip.inet6.routes.add(on_link)
    last = datagram(dst="2001:db8:8::1")
    last.ttl = 1
    w.sends(last)
    assert w.runs() == [(1, 0), (3, 0)]
    assert w.b.ip.inet6.counters.icmp_out_msgs == 2


def test_there_is_no_error_about_an_error() -> None:
    w = Wire()
    for type in (1, 2, 3, 4, 127):  # of a redirect Linux tells, whatever RFC 4443 says
        w.sends(message(type, payload=bytes(60), dst=FAR))
    assert w.runs() == []
    w.sends(message(128, dst=FAR))
    w.sends(message(200, dst=FAR))  # neither known nor an error
    assert w.runs() == [(1, 0), (1, 0)]


def test_there_is_none_to_who_is_not_one_host_nor_about_a_group() -> None:
    w = Wire()
    ip = w.b.ip
    for src, dst in (("::", B), ("ff02::1", B), (A, "ff02::1")):
        offender = datagram(dst=dst)
        offender.src = parse_ipv6(src)
        icmp.send_error(ip, offender, icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, 0)
    assert w.runs() == []
    # But that a packet is too large, or an option unknown, its sender has to learn.
    offender = datagram(dst="ff02::1")
    offender.src = parse_ipv6(A)
    icmp.send_message(ip, offender, icmp.TOO_BIG6, 0, 1300)
    icmp.send_message(ip, offender, icmp.PARAMETER_PROBLEM6, icmp.UNKNOWN_OPTION6, 42)
    assert w.runs() == [(2, 0), (4, 2)]


@pytest.mark.parametrize("protocol", [1, 2])
def test_what_is_ipv4s_alone_is_unknown(protocol: int) -> None:
    w = Wire()
    # ICMP or IGMP in an IPv6 packet.
    sent = Packet(AF_INET6, 0, parse_ipv6(B), protocol, bytes.fromhex("0800 f7ff 0000 0000"))
    sent.size_bytes = 48
    w.sends(sent)
    assert w.runs() == [(4, 1)]
    assert w.messages[0].rest == 6
    assert w.b.ip.counters.icmp_in_msgs == 0
