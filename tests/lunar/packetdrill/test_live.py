"""Bytes of packets: made, taken apart, and in agreement with the stack's own wire formats."""

from __future__ import annotations

import pytest

from lunar.packet import ACK, PSH, SYN, IcmpMessage, TcpSegment, UdpDatagram
from lunar.packetdrill import live
from lunar.packetdrill.script import TcpOption
from lunar.wire import ipv4, ipv6
from lunar.wire.address import parse_ipv6

SRC, DST = 0xC000_0201, 0xC0A8_0001

OPTIONS = (
    TcpOption("mss", 1460), TcpOption("sackOK"), TcpOption("TS", (7, 9)), TcpOption("nop"), TcpOption("wscale", 8),
)  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        OPTIONS,
        (TcpOption("nop"), TcpOption("nop"), TcpOption("sack", ((1, 2), (5, 6)))),
        (TcpOption("FO", b"\1\2\3\4\5\6"),),
        (TcpOption("FOEXP", b"\1\2\3\4"),),
        (TcpOption("md5", bytes(16)), TcpOption("nop"), TcpOption("nop")),
    ],
)
def test_options_there_and_back(options: tuple[TcpOption, ...]) -> None:
    data = live.options_bytes(options)
    assert len(data) % 4 == 0
    assert [one for one in live.parse_options(data) if one.name != "eol"] == list(options)


def test_options_that_cannot_be_read() -> None:
    assert [one.name for one in live.parse_options(b"\x02\x04\x05")] == ["kind 2, which is cut"]
    assert live.parse_options(b"\x63\x03\x07") == [TcpOption("kind 99", b"\x07")]
    assert [one.name for one in live.parse_options(b"\x00\x02\x04\x05\xb4")] == ["eol"]


def test_the_stack_reads_what_is_made() -> None:
    data = live.tcp_bytes(
        SRC, DST, 1234, 80, 100, 200, SYN | ACK, 300, 0, live.options_bytes(OPTIONS), b"abc", tos=2, ttl=9
    )
    segment = ipv4.decode(data)
    assert isinstance(segment, TcpSegment), segment
    assert (segment.src, segment.dst, segment.sport, segment.dport) == (SRC, DST, 1234, 80)
    assert (segment.seq, segment.ack, segment.flags, segment.window) == (100, 200, SYN | ACK, 300)
    assert (segment.mss, segment.window_scale, segment.ts_val, segment.ts_ecr) == (1460, 8, 7, 9)
    assert segment.sack_permitted and segment.payload == b"abc"
    assert (segment.tos, segment.ttl) == (2, 9)


def test_what_the_stack_makes_is_read() -> None:
    segment = TcpSegment(2, SRC, DST, 1234, 80, 100, 200, PSH | ACK, 300, b"abcde")
    segment.mss = 1000
    packet = live.parse(ipv4.encode(segment), 17)
    assert packet is not None
    assert (packet.at_ns, packet.sport, packet.dport, packet.seq, packet.ack) == (17, 1234, 80, 100, 200)
    assert (packet.flags, packet.window, packet.payload) == (PSH | ACK, 300, 5)
    assert packet.total_length == 20 + 24 + 5
    assert live.parse_options(packet.options) == [TcpOption("mss", 1000)]


def test_datagrams_and_messages() -> None:
    datagram = ipv4.decode(live.udp_bytes(SRC, DST, 1, 2, 10))
    assert isinstance(datagram, UdpDatagram) and len(datagram.payload) == 10
    message = ipv4.decode(live.icmp_bytes(SRC, DST, 3, 4, 800, b"quoted", 0, 64))
    assert isinstance(message, IcmpMessage)
    assert (message.type, message.code, message.rest, message.payload) == (3, 4, 800, b"quoted")
    packet = live.parse(live.icmp_bytes(SRC, DST, 3, 4, 800, b"quoted", 0, 64), 0)
    assert packet is not None and (packet.type, packet.code, packet.rest, packet.quoted) == (3, 4, 800, b"quoted")


def test_packets_of_ipv6() -> None:
    here, there = parse_ipv6("fd00::1"), parse_ipv6("fd00::2")
    options = live.options_bytes((TcpOption("mss", 1440), TcpOption("nop")))
    data = live.tcp_bytes(here, there, 1234, 80, 100, 200, SYN, 300, 0, options, b"abc", 2, 9)
    segment = ipv6.decode(data)
    assert isinstance(segment, TcpSegment), segment
    assert (segment.src, segment.dst, segment.sport, segment.seq, segment.mss) == (here, there, 1234, 100, 1440)
    assert (segment.tos, segment.ttl, segment.payload) == (2, 9, b"abc")
    packet = live.parse(data, 5)
    assert packet is not None
    assert (packet.src, packet.dst, packet.tos, packet.ttl, packet.payload) == (here, there, 2, 9, 3)
    assert (packet.total_length, packet.options, packet.flags) == (40 + 28 + 3, options, SYN)
    message = ipv6.decode(live.icmp_bytes(here, there, 2, 0, 1300, b"quoted", 0, 64))
    assert isinstance(message, IcmpMessage)
    assert (message.type, message.code, message.rest, message.payload) == (2, 0, 1300, b"quoted")


def test_what_is_no_packet() -> None:
    assert live.parse(b"", 0) is None
    assert live.parse(b"\x60" + bytes(38), 0) is None
    assert live.parse(b"\x50" + bytes(39), 0) is None
