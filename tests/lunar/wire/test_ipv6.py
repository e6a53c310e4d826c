"""IPv6's header: dpkt both ways, each reason to refuse a packet, extension headers, fragments; for all typed packets
that bytes lead back to the same fields, and that no bytes raise.
"""

from __future__ import annotations

from typing import Any

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunar.packet import AF_INET6, ICMPV6, TCP, UDP, IcmpMessage, Packet, TcpSegment, UdpDatagram, set_tcp_size
from lunar.wire import checksum, ethernet, extension, ipv6, tcp, transport
from lunar.wire.malformed import Malformed

SRC = 0x2001_0DB8_0000_0000_0000_0000_0000_0001
DST = 0xFE80_0000_0000_0000_0200_5EFF_FE00_5301
IPV6_FIELDS = (
    "ethertype", "eth_src", "eth_dst", "size_bytes", "family", "src", "dst", "protocol", "payload", "ttl", "tos",
    "ident", "dont_fragment", "more_fragments", "fragment_offset", "options", "flow_label",
)  # fmt: skip
TCP_FIELDS = (
    "sport", "dport", "seq", "ack", "flags", "window", "urgent", "mss", "window_scale", "sack_permitted",
    "has_timestamps", "ts_val", "ts_ecr", "sack_blocks",
)  # fmt: skip
# Hop-by-hop with a router alert (RFC 2711) and two bytes of PadN; the others with six bytes of PadN.
ROUTER_ALERT = bytes.fromhex("00 00 05 02 0000 01 00")
DESTINATION = bytes.fromhex("3c 00 01 04 00000000")
ROUTING = bytes.fromhex("2b 02 00 01 00000000") + DST.to_bytes(16, "big")
TRANSPORTS = (TCP, UDP, ICMPV6)


def fields(packet: object) -> dict[str, Any]:
    """Every field that has a place on the wire, and the type."""
    assert isinstance(packet, Packet), packet
    names: tuple[str, ...] = IPV6_FIELDS
    if isinstance(packet, TcpSegment):
        names += TCP_FIELDS
    elif isinstance(packet, UdpDatagram):
        names += ("sport", "dport")
    elif isinstance(packet, IcmpMessage):
        names += ("type", "code", "rest")
    return {"class": type(packet)} | {name: getattr(packet, name) for name in names}


def plain(payload: bytes = b"payload", protocol: int = 253) -> Packet:
    """RFC 3692's protocol for experiments, unless told otherwise."""
    return Packet(AF_INET6, SRC, DST, protocol, payload)


def refused(data: bytes) -> tuple[str, str]:
    result = ipv6.decode(data)
    assert isinstance(result, Malformed)
    return result.layer, result.reason


def test_exact_header() -> None:
    p = plain(b"abc")
    p.tos, p.flow_label, p.ttl = 0xB8, 0x12345, 63
    addresses = "20010db8000000000000000000000001 fe80000000000000 02005efffe005301"
    assert ipv6.encode(p) == bytes.fromhex("6b812345 0003 fd 3f" + addresses) + b"abc"


def test_dpkt_reads_it() -> None:
    p = plain()
    p.tos, p.flow_label, p.ttl = 3, 0xFFFFF, 255
    ip = dpkt.ip6.IP6(ipv6.encode(p))
    assert (ip.v, ip.fc, ip.flow, ip.plen, ip.nxt, ip.hlim) == (6, 3, 0xFFFFF, 7, 253, 255)
    assert (ip.src, ip.dst, ip.data) == (SRC.to_bytes(16, "big"), DST.to_bytes(16, "big"), b"payload")


@pytest.mark.parametrize("protocol", [2, 41, 50, 51, 59, 132, 253, 255])
def test_reads_what_dpkt_made(protocol: int) -> None:
    ip = dpkt.ip6.IP6(src=SRC.to_bytes(16, "big"), dst=DST.to_bytes(16, "big"), nxt=protocol, hlim=3, plen=8)
    ip.fc, ip.flow = 1, 2
    expected = plain(bytes(8), protocol)
    expected.tos, expected.flow_label, expected.ttl, expected.size_bytes = 1, 2, 3, 48
    assert fields(ipv6.decode(ip.pack_hdr()[:40] + bytes(8))) == fields(expected)


def test_extension_headers_go_out_as_a_chain() -> None:
    p = UdpDatagram(AF_INET6, SRC, DST, 1, 2, b"data")
    p.options = ROUTER_ALERT + ROUTING + DESTINATION
    p.size_bytes = 40 + len(p.options) + 12
    data = ipv6.encode(p)
    # Each header says what follows: hop-by-hop (0), routing (43), destination options (60), UDP (17).
    assert (data[6], data[40], data[48], data[72]) == (0, 43, 60, 17)
    assert data[41:48] == ROUTER_ALERT[1:]
    ip = dpkt.ip6.IP6(data)
    assert [type(header).__name__ for header in ip.all_extension_headers] == [
        "IP6HopOptsHeader", "IP6RoutingHeader", "IP6DstOptsHeader",
    ]  # fmt: skip
    assert isinstance(ip.data, dpkt.udp.UDP)
    assert fields(ipv6.decode(data)) == fields(p)
    assert extension.headers(p.options) == [(0, ROUTER_ALERT), (43, ROUTING), (60, DESTINATION)]


def test_a_fragment_has_a_header_behind_those_for_each_hop() -> None:
    p = plain(bytes(16), UDP)
    p.options, p.more_fragments, p.fragment_offset, p.ident, p.size_bytes = ROUTER_ALERT, True, 1448, 0x12345678, 72
    data = ipv6.encode(p)
    assert (data[6], data[40]) == (0, 44)
    assert data[48:56] == bytes.fromhex("11 00 05a9 12345678")
    fragment = dpkt.ip6.IP6(data).extension_hdrs[44]
    assert (fragment.frag_off, fragment.m_flag, fragment.id) == (181, 1, 0x12345678)
    assert fields(ipv6.decode(data)) == fields(p)


def test_cut_and_put_together_again() -> None:
    whole = UdpDatagram(AF_INET6, SRC, DST, 1, 2, bytes(range(100)))
    whole.tos, whole.flow_label, whole.ttl, whole.options = 4, 5, 6, ROUTER_ALERT + DESTINATION
    whole.size_bytes = 40 + 16 + 108
    # Hop-by-hop options stay before the fragment header; destination options are cut with the rest.
    cut = extension.to_wire(DESTINATION, UDP) + transport.encode(whole)
    joined = plain(cut[:48] + cut[48:], extension.DESTINATION)
    joined.tos, joined.flow_label, joined.ttl, joined.options = 4, 5, 6, ROUTER_ALERT
    assert fields(ipv6.decode_payload(joined)) == fields(whole)


def test_put_together_wrongly() -> None:
    body = transport.encode(UdpDatagram(AF_INET6, SRC, DST, 1, 2, bytes(range(100))))
    result = ipv6.decode_payload(plain(body[48:] + body[:48], UDP))
    assert isinstance(result, Malformed)
    assert result.layer == "udp"
    result = ipv6.decode_payload(plain(DESTINATION[:7], extension.DESTINATION))
    assert isinstance(result, Malformed)
    assert (result.layer, result.reason) == ("ipv6", "bad header length")


def test_an_atomic_fragment_is_whole() -> None:
    # RFC 6946: offset 0 and nothing more to come. The header stays where it was, and the datagram is read.
    p = UdpDatagram(AF_INET6, SRC, DST, 1, 2, b"data")
    p.options, p.size_bytes = bytes.fromhex("2c 00 0000 12345678"), 60
    data = ipv6.encode(p)
    assert data[40:48] == bytes.fromhex("11 00 0000 12345678")
    assert fields(ipv6.decode(data)) == fields(p)


def test_a_typed_packet_cannot_be_a_fragment() -> None:
    p = UdpDatagram(AF_INET6, SRC, DST, 1, 2, b"")
    p.more_fragments = True
    with pytest.raises(AssertionError, match="a fragment is a plain Packet"):
        ipv6.encode(p)


def test_a_fragment_starts_at_a_multiple_of_8() -> None:
    p = plain()
    p.fragment_offset = 12
    with pytest.raises(AssertionError, match="multiple of 8"):
        ipv6.encode(p)


def test_the_longest_packet() -> None:
    p = UdpDatagram(AF_INET6, SRC, DST, 1, 2, bytes(65527))
    p.size_bytes = 65575
    assert fields(ipv6.decode(ipv6.encode(p))) == fields(p)
    with pytest.raises(AssertionError, match="65535 bytes at most"):
        ipv6.encode(plain(bytes(65536)))


def test_padding_past_the_payload_length_is_cut() -> None:
    p = plain(b"abc")
    p.size_bytes = 43
    assert fields(ipv6.decode(ipv6.encode(p) + bytes(3))) == fields(p)


@pytest.mark.parametrize("size", range(40))
def test_truncated_header(size: int) -> None:
    assert refused(ipv6.encode(plain())[:size]) == ("ipv6", "truncated")


def test_truncated_payload() -> None:
    assert refused(ipv6.encode(plain())[:-1]) == ("ipv6", "truncated")


@pytest.mark.parametrize("version", [0, 4, 5, 7, 15])
def test_bad_version(version: int) -> None:
    assert refused(bytes([version << 4]) + ipv6.encode(plain())[1:]) == ("ipv6", "bad version")


@pytest.mark.parametrize(
    ("first", "body"), [(0, b""), (60, DESTINATION[:7]), (43, b"\x3b\x01" + bytes(6)), (0, b"\x2c" + bytes(10))]
)
def test_an_extension_header_that_is_cut(first: int, body: bytes) -> None:
    assert refused(ipv6.encode(plain(body, first))) == ("ipv6", "bad header length")


def test_addresses_that_are_ipv4s_own_here() -> None:
    # All of ::/96 but :: and ::1.
    for address in (0, 1):
        p = plain()
        p.src = address
        assert isinstance(ipv6.decode(ipv6.encode(p)), Packet)
    for address in (2, 0x7F00_0001, 0xFFFF_FFFF):
        for name in ("src", "dst"):
            p = plain()
            setattr(p, name, address)
            assert refused(ipv6.encode(p)) == ("ipv6", "bad address")


@pytest.mark.parametrize(("protocol", "layer"), [(TCP, "tcp"), (UDP, "udp"), (ICMPV6, "icmp")])
def test_transport_reasons(protocol: int, layer: str) -> None:
    assert refused(ipv6.encode(plain(b"short", protocol))) == (layer, "bad transport header")
    # As a length or data offset, and as a type and code, twenty times 55 is well formed; as a checksum it is wrong.
    well_formed = b"\x55" * 4 + b"\x00\x14" + b"\x55" * 14
    assert refused(ipv6.encode(plain(well_formed, protocol))) == (layer, "bad transport checksum")


def test_udp_without_a_checksum_says_so() -> None:
    data = bytearray(ipv6.encode(UdpDatagram(AF_INET6, SRC, DST, 1, 2, b"data")))
    data[46:48] = b"\0\0"
    result = ipv6.decode(bytes(data))
    assert isinstance(result, UdpDatagram) and result.unchecked  # sockets refuse it, unless they want it (RFC 6936)
    assert ipv6.encode(result) == bytes(data)


def test_the_checksum_of_icmp_covers_the_addresses() -> None:
    data = bytearray(ipv6.encode(IcmpMessage(AF_INET6, SRC, DST, 128, 0, 7, b"ping")))
    data[23] ^= 1
    assert refused(bytes(data)) == ("icmp", "bad transport checksum")


BYTE, WORD, LONG = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF)
ADDRESS = st.integers(0, 1) | st.integers(2**32, 2**128 - 1)
PAYLOAD = st.binary(max_size=80) | st.binary(min_size=300, max_size=1480)


@st.composite
def chains(draw: st.DrawFn) -> bytes:
    chain = b""
    for number in draw(st.lists(st.sampled_from([0, 43, 60]), max_size=3)):
        units = draw(st.integers(0, 3))
        chain += bytes([number, units]) + draw(st.binary(min_size=6 + 8 * units, max_size=6 + 8 * units))
    return chain


@st.composite
def segments(draw: st.DrawFn) -> TcpSegment:
    p = TcpSegment(
        AF_INET6, draw(ADDRESS), draw(ADDRESS), draw(WORD), draw(WORD), draw(LONG), draw(LONG), draw(BYTE), draw(WORD),
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
    room = (40 - (p.size_bytes - 60 - len(p.payload)) - 4) // 8
    p.sack_blocks = draw(st.none() | st.lists(st.tuples(LONG, LONG), max_size=room))
    return p


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    p: Packet
    header = 40
    match draw(st.sampled_from(["tcp", "tcp", "udp", "icmp", "other", "fragment"])):
        case "tcp":
            p = draw(segments())
        case "udp":
            p = UdpDatagram(AF_INET6, draw(ADDRESS), draw(ADDRESS), draw(WORD), draw(WORD), draw(PAYLOAD))
        case "icmp":
            p = IcmpMessage(AF_INET6, draw(ADDRESS), draw(ADDRESS), draw(BYTE), draw(BYTE), draw(LONG), draw(PAYLOAD))
        case "other":
            protocol = draw(BYTE.filter(lambda number: number not in (*TRANSPORTS, 0, 43, 44, 60)))
            p = Packet(AF_INET6, draw(ADDRESS), draw(ADDRESS), protocol, draw(PAYLOAD))
        case _:
            p = Packet(AF_INET6, draw(ADDRESS), draw(ADDRESS), draw(BYTE), draw(PAYLOAD))
            p.more_fragments = draw(st.booleans())
            p.fragment_offset = 8 * draw(st.integers(0 if p.more_fragments else 1, 0x1FFF))
            p.ident = draw(LONG)
            header = 48
    p.eth_src, p.eth_dst = draw(st.integers(0, 2**48 - 1)), draw(st.integers(0, 2**48 - 1))
    p.tos, p.flow_label, p.ttl, p.options = draw(BYTE), draw(st.integers(0, 0xF_FFFF)), draw(BYTE), draw(chains())
    p.size_bytes = header + len(p.options) + len(transport.encode(p))
    return p


@given(packets())
def test_bytes_lead_back_to_the_same_packet(packet: Packet) -> None:
    data = ethernet.encode(packet)
    assert len(data) == 14 + packet.size_bytes
    assert fields(ethernet.decode(data)) == fields(packet)
    assert fields(ethernet.copy(packet)) == fields(packet)


@given(segments(), chains())
def test_a_segment_is_as_long_as_its_size_says(segment: TcpSegment, chain: bytes) -> None:
    segment.options = chain
    set_tcp_size(segment)
    assert len(ipv6.encode(segment)) == segment.size_bytes


def made_by_dpkt(packet: Packet) -> bytes:
    """The same packet from dpkt, which fills in lengths and checksums; it has no extension headers."""
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
        body = dpkt.icmp6.ICMP6(type=packet.type, code=packet.code, data=rest + packet.payload)
    ip = dpkt.ip6.IP6(
        src=packet.src.to_bytes(16, "big"), dst=packet.dst.to_bytes(16, "big"), nxt=packet.protocol, hlim=packet.ttl,
        plen=len(body), data=body,
    )  # fmt: skip
    ip.extension_hdrs, ip.all_extension_headers = {}, []
    ip.fc, ip.flow = packet.tos, packet.flow_label
    return bytes(ip)


@given(packets())
def test_dpkt_makes_the_same_bytes_of_every_packet(packet: Packet) -> None:
    if packet.more_fragments or packet.fragment_offset:
        return  # the exact test above has them
    packet.options = b""
    assert made_by_dpkt(packet) == ipv6.encode(packet)


def answers(data: bytes) -> None:
    """Decode, and if that gives a packet, its bytes must give it again: what is skipped or cut is gone by then."""
    result = ethernet.decode(data)
    if isinstance(result, Malformed):
        assert result.layer in ("ethernet", "ipv4", "ipv6", "tcp", "udp", "icmp")
        ethernet.frame_of(data)
        return
    again = fields(ethernet.decode(ethernet.encode(result)))
    assert again | {"size_bytes": 0} == fields(result) | {"size_bytes": 0}


@given(st.binary(max_size=200))
def test_no_bytes_raise(data: bytes) -> None:
    answers(data)
    answers(bytes(12) + b"\x86\xdd\x60" + data)
    result = ipv6.decode(b"\x60" + data)
    assert isinstance(result, (Packet, Malformed))


@given(packets(), st.data())
def test_no_damaged_packet_raises(packet: Packet, choices: st.DataObject) -> None:
    data = bytearray(ethernet.encode(packet))
    for _ in range(choices.draw(st.integers(0, 4))):
        # Mostly in the headers, where there is something to break.
        index = choices.draw(st.integers(0, min(len(data), 110) - 1) | st.integers(0, len(data) - 1))
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
    place = {TCP: 16, UDP: 6, ICMPV6: 2}.get(packet.protocol, 0)
    if place and len(body) >= place + 2:
        body[place : place + 2] = b"\0\0"
        initial = checksum.pseudo_header(packet.src, packet.dst, packet.protocol, len(body))
        body[place : place + 2] = checksum.internet(bytes(body), initial).to_bytes(2, "big")
    damaged = Packet(AF_INET6, packet.src, packet.dst, packet.protocol, bytes(body))
    answers(ethernet.encode(damaged))


def test_a_datagram_is_as_long_as_udp_says() -> None:
    body = transport.encode(UdpDatagram(AF_INET6, SRC, DST, 1, 2, b"abcd")) + b"more"
    for packet in (ipv6.decode(ipv6.encode(plain(body, UDP))), ipv6.decode_payload(plain(body, UDP))):
        assert isinstance(packet, UdpDatagram)
        assert (packet.payload, packet.size_bytes) == (b"abcd", 40 + 8 + 4)
