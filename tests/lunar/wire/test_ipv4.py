"""IPv4's header: dpkt both ways, each reason to refuse a packet, fragments, padding, options; and for all typed packets
that bytes lead back to the same fields, and that no bytes raise.
"""

from __future__ import annotations

from typing import Any

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunar.packet import AF_INET, ICMP, SYN, TCP, UDP, IcmpMessage, Packet, TcpSegment, UdpDatagram, set_tcp_size
from lunar.wire import checksum, ethernet, ipv4, tcp, transport
from lunar.wire.malformed import Malformed

SRC, DST = 0x0A00_0001, 0xC0A8_FFFE
IPV4_FIELDS = (
    "ethertype", "eth_src", "eth_dst", "size_bytes", "family", "src", "dst", "protocol", "payload", "ttl", "tos",
    "ident", "dont_fragment", "more_fragments", "fragment_offset",
)  # fmt: skip
TCP_FIELDS = (
    "sport", "dport", "seq", "ack", "flags", "window", "urgent", "mss", "window_scale", "sack_permitted",
    "has_timestamps", "ts_val", "ts_ecr", "sack_blocks",
)  # fmt: skip


def fields(packet: object) -> dict[str, Any]:
    """Every field that has a place on the wire, and the type."""
    assert isinstance(packet, Packet), packet
    names: tuple[str, ...] = IPV4_FIELDS
    if isinstance(packet, TcpSegment):
        names += TCP_FIELDS
    elif isinstance(packet, UdpDatagram):
        names += ("sport", "dport")
    elif isinstance(packet, IcmpMessage):
        names += ("type", "code", "rest")
    return {"class": type(packet)} | {name: getattr(packet, name) for name in names}


def plain(payload: bytes = b"payload", protocol: int = 253) -> Packet:
    """RFC 3692's protocol for experiments, unless told otherwise."""
    return Packet(AF_INET, SRC, DST, protocol, payload)


def refused(data: bytes) -> tuple[str, str]:
    result = ipv4.decode(data)
    assert isinstance(result, Malformed)
    return result.layer, result.reason


def resummed(data: bytes) -> bytes:
    """`data` with a right header checksum."""
    end = (data[0] & 0x0F) * 4
    check = checksum.internet(data[:10] + b"\0\0" + data[12:end])
    return data[:10] + check.to_bytes(2, "big") + data[12:]


def test_exact_header() -> None:
    p = plain(b"abc")
    p.tos, p.ident, p.ttl, p.dont_fragment = 0xB8, 0x1234, 63, True
    assert ipv4.encode(p) == resummed(bytes.fromhex("45 b8 0017 1234 4000 3f fd 0000 0a000001 c0a8fffe")) + b"abc"


def test_dpkt_reads_it_and_finds_the_same_checksum() -> None:
    p = plain()
    p.tos, p.ident, p.ttl, p.dont_fragment = 3, 0xFFFF, 255, True
    data = ipv4.encode(p)
    ip = dpkt.ip.IP(data)
    assert (ip.v, ip.hl, ip.tos, ip.len, ip.id, ip.ttl, ip.p) == (4, 5, 3, 27, 0xFFFF, 255, 253)
    assert (ip.src, ip.dst) == (SRC.to_bytes(4, "big"), DST.to_bytes(4, "big"))
    assert (ip.rf, ip.df, ip.mf, ip.offset, ip.data) == (0, 1, 0, 0, b"payload")
    ip.sum = 0  # dpkt fills it in
    assert bytes(ip) == data


def test_dpkt_reads_fragments() -> None:
    p = plain(bytes(16), UDP)
    p.more_fragments, p.fragment_offset = True, 1480
    ip = dpkt.ip.IP(ipv4.encode(p))
    assert (ip.df, ip.mf, ip.offset, ip.data) == (0, 1, 185, bytes(16))


@pytest.mark.parametrize("protocol", [0, 2, 41, 132, 253, 255])
def test_reads_what_dpkt_made(protocol: int) -> None:
    ip = dpkt.ip.IP(
        src=SRC.to_bytes(4, "big"), dst=DST.to_bytes(4, "big"), p=protocol, tos=1, id=2, ttl=3, df=1, data=b"x", len=21
    )
    got = fields(ipv4.decode(bytes(ip)))
    expected = plain(b"x", protocol)
    expected.tos, expected.ident, expected.ttl, expected.dont_fragment, expected.size_bytes = 1, 2, 3, True, 21
    assert got == fields(expected)


@pytest.mark.parametrize(("first", "protocol"), [(True, TCP), (False, UDP), (False, ICMP)])
def test_a_fragment_is_a_plain_packet(first: bool, protocol: int) -> None:
    # Far too short for any transport header, and nobody looks.
    p = plain(bytes(8), protocol)
    p.more_fragments, p.fragment_offset, p.size_bytes = first, 0 if first else 65528 - 8, 28
    assert fields(ipv4.decode(ipv4.encode(p))) == fields(p)


def test_a_typed_packet_cannot_be_a_fragment() -> None:
    p = UdpDatagram(AF_INET, SRC, DST, 1, 2, b"")
    p.more_fragments = True
    with pytest.raises(AssertionError, match="a fragment is a plain Packet"):
        ipv4.encode(p)


def test_a_fragment_starts_at_a_multiple_of_8() -> None:
    p = plain()
    p.fragment_offset = 12
    with pytest.raises(AssertionError, match="multiple of 8"):
        ipv4.encode(p)


def test_the_longest_packet() -> None:
    p = UdpDatagram(AF_INET, SRC, DST, 1, 2, bytes(65507))
    p.size_bytes = 65535
    assert fields(ipv4.decode(ipv4.encode(p))) == fields(p)
    with pytest.raises(AssertionError, match="65535 bytes at most"):
        ipv4.encode(plain(bytes(65516)))


def test_cut_and_put_together_again() -> None:
    whole = UdpDatagram(AF_INET, SRC, DST, 1, 2, bytes(range(100)))
    whole.tos, whole.ident, whole.ttl, whole.size_bytes = 4, 5, 6, 128
    body = transport.encode(whole)
    joined = plain(body[:48] + body[48:], UDP)
    joined.tos, joined.ident, joined.ttl = 4, 5, 6
    assert fields(ipv4.decode_payload(joined)) == fields(whole)


def test_put_together_wrongly() -> None:
    body = transport.encode(UdpDatagram(AF_INET, SRC, DST, 1, 2, bytes(range(100))))
    result = ipv4.decode_payload(plain(body[48:] + body[:48], UDP))
    assert isinstance(result, Malformed)
    assert result.layer == "udp"


def test_padding_past_the_total_length_is_cut() -> None:
    p = plain(b"abc")
    p.size_bytes = 23
    assert fields(ipv4.decode(ipv4.encode(p) + bytes(23))) == fields(p)


def test_padding_is_not_part_of_a_segment() -> None:
    p = TcpSegment(AF_INET, SRC, DST, 1, 2, 3, 4, SYN, 5, b"")
    set_tcp_size(p)
    assert fields(ipv4.decode(ipv4.encode(p).ljust(46, b"\xee"))) == fields(p)


def test_options_are_skipped_over() -> None:
    data = ipv4.encode(plain(b"abc"))
    with_options = resummed(b"\x47\x00\x00\x1f" + data[4:20] + b"\x94\x04\x00\x00\x01\x01\x01\x00" + b"abc")
    got = fields(ipv4.decode(with_options))
    assert (got["payload"], got["size_bytes"], got["protocol"]) == (b"abc", 31, 253)


def test_the_header_checksum_covers_options() -> None:
    data = ipv4.encode(plain(b"abc"))
    with_options = resummed(b"\x46\x00\x00\x1b" + data[4:20] + b"\x94\x04\x00\x00" + b"abc")
    assert refused(with_options[:23] + b"\x01" + with_options[24:]) == ("ipv4", "bad header checksum")


def test_the_reserved_flag_is_not_looked_at() -> None:
    data = ipv4.encode(plain(b"abc"))
    got = fields(ipv4.decode(resummed(data[:6] + b"\x80\x00" + data[8:])))
    assert (got["dont_fragment"], got["more_fragments"], got["payload"]) == (False, False, b"abc")


@pytest.mark.parametrize("size", range(20))
def test_truncated_header(size: int) -> None:
    assert refused(ipv4.encode(plain())[:size]) == ("ipv4", "truncated")


def test_truncated_options() -> None:
    assert refused(b"\x4f" + ipv4.encode(plain())[1:]) == ("ipv4", "truncated")


def test_truncated_payload() -> None:
    assert refused(ipv4.encode(plain())[:-1]) == ("ipv4", "truncated")


@pytest.mark.parametrize("version", [0, 5, 6, 15])
def test_bad_version(version: int) -> None:
    data = ipv4.encode(plain())
    assert refused(resummed(bytes([version << 4 | 5]) + data[1:])) == ("ipv4", "bad version")


@pytest.mark.parametrize("words", range(5))
def test_bad_header_length(words: int) -> None:
    data = ipv4.encode(plain())
    assert refused(bytes([0x40 | words]) + data[1:]) == ("ipv4", "bad header length")


@pytest.mark.parametrize("index", range(1, 20))
def test_bad_header_checksum(index: int) -> None:
    data = bytearray(ipv4.encode(plain()))
    data[index] ^= 0x10
    assert refused(bytes(data)) == ("ipv4", "bad header checksum")


@pytest.mark.parametrize("size", [0, 19])
def test_bad_total_length(size: int) -> None:
    data = ipv4.encode(plain())
    assert refused(resummed(data[:2] + size.to_bytes(2, "big") + data[4:])) == ("ipv4", "bad total length")


@pytest.mark.parametrize(("protocol", "layer"), [(TCP, "tcp"), (UDP, "udp"), (ICMP, "icmp")])
def test_transport_reasons(protocol: int, layer: str) -> None:
    assert refused(ipv4.encode(plain(b"short", protocol))) == (layer, "bad transport header")
    # As a length or data offset, and as a type and code, twenty times 55 is well formed; as a checksum it is wrong.
    well_formed = b"\x55" * 4 + b"\x00\x14" + b"\x55" * 14
    assert refused(ipv4.encode(plain(well_formed, protocol))) == (layer, "bad transport checksum")


BYTE, WORD, LONG = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF)
PAYLOAD = st.binary(max_size=80) | st.binary(min_size=300, max_size=1480)


@st.composite
def segments(draw: st.DrawFn) -> TcpSegment:
    p = TcpSegment(
        AF_INET, draw(LONG), draw(LONG), draw(WORD), draw(WORD), draw(LONG), draw(LONG), draw(BYTE), draw(WORD),
        draw(PAYLOAD),
    )  # fmt: skip
    p.urgent = draw(WORD)
    p.mss = draw(st.integers(-1, 0xFFFF))
    p.window_scale = draw(st.integers(-1, 0xFF))
    p.sack_permitted = draw(st.booleans())
    p.has_timestamps = draw(st.booleans())
    if p.has_timestamps:
        p.ts_val, p.ts_ecr = draw(LONG), draw(LONG)
    set_tcp_size(p)
    room = (40 - (p.size_bytes - 40 - len(p.payload)) - 4) // 8
    p.sack_blocks = draw(st.none() | st.lists(st.tuples(LONG, LONG), max_size=room))
    return p


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    p: Packet
    match draw(st.sampled_from(["tcp", "tcp", "udp", "icmp", "other", "fragment"])):
        case "tcp":
            p = draw(segments())
        case "udp":
            p = UdpDatagram(AF_INET, draw(LONG), draw(LONG), draw(WORD), draw(WORD), draw(PAYLOAD))
        case "icmp":
            p = IcmpMessage(AF_INET, draw(LONG), draw(LONG), draw(BYTE), draw(BYTE), draw(LONG), draw(PAYLOAD))
        case "other":
            protocol = draw(BYTE.filter(lambda number: number not in (TCP, UDP, ICMP)))
            p = Packet(AF_INET, draw(LONG), draw(LONG), protocol, draw(PAYLOAD))
        case _:
            p = Packet(AF_INET, draw(LONG), draw(LONG), draw(BYTE), draw(PAYLOAD))
            p.more_fragments = draw(st.booleans())
            p.fragment_offset = 8 * draw(st.integers(0 if p.more_fragments else 1, 0x1FFF))
    p.eth_src, p.eth_dst = draw(st.integers(0, 2**48 - 1)), draw(st.integers(0, 2**48 - 1))
    p.tos, p.ident, p.ttl, p.dont_fragment = draw(BYTE), draw(WORD), draw(BYTE), draw(st.booleans())
    p.size_bytes = 20 + len(transport.encode(p))
    return p


@given(packets())
def test_bytes_lead_back_to_the_same_packet(packet: Packet) -> None:
    data = ethernet.encode(packet)
    assert len(data) == 14 + packet.size_bytes
    assert fields(ethernet.decode(data)) == fields(packet)


@given(segments())
def test_a_segment_is_as_long_as_its_size_says(segment: TcpSegment) -> None:
    set_tcp_size(segment)
    assert len(ipv4.encode(segment)) == segment.size_bytes


def made_by_dpkt(packet: Packet) -> bytes:
    """The same packet from dpkt, which fills in lengths and checksums. It parses nothing: payloads are random bytes."""
    body: Any = packet.payload
    if isinstance(packet, TcpSegment):
        options = tcp.encode_options(packet)
        body = dpkt.tcp.TCP(
            sport=packet.sport, dport=packet.dport, seq=packet.seq, ack=packet.ack, flags=packet.flags,
            win=packet.window, urp=packet.urgent, opts=options, data=packet.payload,
        )  # fmt: skip
        body.off = 5 + len(options) // 4
    elif isinstance(packet, UdpDatagram):
        size = 8 + len(packet.payload)
        body = dpkt.udp.UDP(sport=packet.sport, dport=packet.dport, ulen=size, data=packet.payload)
    elif isinstance(packet, IcmpMessage):
        rest = int(packet.rest).to_bytes(4, "big")
        body = dpkt.icmp.ICMP(type=packet.type, code=packet.code, data=rest + packet.payload)
    ip = dpkt.ip.IP(
        src=packet.src.to_bytes(4, "big"), dst=packet.dst.to_bytes(4, "big"), p=packet.protocol, tos=packet.tos,
        id=packet.ident, ttl=packet.ttl, data=body,
    )  # fmt: skip
    ip.df, ip.mf, ip.offset = packet.dont_fragment, packet.more_fragments, packet.fragment_offset // 8
    return bytes(ip)


@given(packets())
def test_dpkt_makes_the_same_bytes_of_every_packet(packet: Packet) -> None:
    assert made_by_dpkt(packet) == ipv4.encode(packet)


def answers(data: bytes) -> None:
    """Decode, and if that gives a packet, its bytes must give it again: what is skipped or cut is gone by then."""
    result = ethernet.decode(data)
    if isinstance(result, Malformed):
        assert result.layer in ("ethernet", "ipv4", "tcp", "udp", "icmp")
        return
    again = fields(ethernet.decode(ethernet.encode(result)))
    assert again | {"size_bytes": 0} == fields(result) | {"size_bytes": 0}


@given(st.binary(max_size=200))
def test_no_bytes_raise(data: bytes) -> None:
    answers(data)
    result = ipv4.decode(data)
    assert isinstance(result, (Packet, Malformed))


@given(packets(), st.data())
def test_no_damaged_packet_raises(packet: Packet, choices: st.DataObject) -> None:
    data = bytearray(ethernet.encode(packet))
    for _ in range(choices.draw(st.integers(0, 4))):
        # Mostly in the headers, where there is something to break.
        index = choices.draw(st.integers(0, min(len(data), 90) - 1) | st.integers(0, len(data) - 1))
        data[index] = choices.draw(BYTE)
    cut = choices.draw(st.none() | st.integers(0, len(data)))
    answers(bytes(data[:cut]) + choices.draw(st.binary(max_size=20)))


@given(packets(), st.data())
def test_no_damage_that_checksums_miss_raises(packet: Packet, choices: st.DataObject) -> None:
    body = bytearray(transport.encode(packet))
    if body:
        for _ in range(choices.draw(st.integers(1, 4))):
            body[choices.draw(st.integers(0, min(len(body), 60) - 1))] = choices.draw(BYTE)
    # A right checksum over whatever is there, so that the checks behind it are reached.
    place, covered = {TCP: (16, True), UDP: (6, True), ICMP: (2, False)}.get(packet.protocol, (0, False))
    if place and len(body) >= place + 2:
        body[place : place + 2] = b"\0\0"
        initial = checksum.pseudo_header(packet.src, packet.dst, packet.protocol, len(body)) if covered else 0
        body[place : place + 2] = checksum.internet(bytes(body), initial).to_bytes(2, "big")
    damaged = Packet(AF_INET, packet.src, packet.dst, packet.protocol, bytes(body))
    answers(ethernet.encode(damaged))


def test_a_datagram_is_as_long_as_udp_says() -> None:
    body = transport.encode(UdpDatagram(AF_INET, SRC, DST, 1, 2, b"abcd")) + b"more"
    for packet in (ipv4.decode(ipv4.encode(plain(body, UDP))), ipv4.decode_payload(plain(body, UDP))):
        assert isinstance(packet, UdpDatagram)
        assert (packet.payload, packet.size_bytes) == (b"abcd", 20 + 8 + 4)
