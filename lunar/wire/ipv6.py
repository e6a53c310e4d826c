"""IPv6's header, RFC 8200 section 3, around its extension headers and what the transports' files make.

The same functions as in ipv4.py, for the same typed packets; callers take inet.py, which looks at the family. Checks on
the way in are those of Linux' ip6_rcv_core(), then the transport's own. Extension headers are in `Packet.options`
(extension.py). A fragment is a plain `Packet` with raw payload: its header is in `ident`, `fragment_offset` and
`more_fragments`, the headers before it are in `options`, what it says comes next is `protocol`, and the headers of the
cut part stay in the payload until the whole is there.

Addresses below 2**32 other than :: and ::1 are refused: they are IPv4's own here (packet.py). Left out: jumbograms.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from mypy_extensions import i64

from lunar.packet import (
    AF_INET6,
    IPV6_HEADER_BYTES,
    UDP_HEADER_BYTES,
    IcmpMessage,
    Packet,
    TcpSegment,
    UdpDatagram,
)
from lunar.wire import extension, transport
from lunar.wire.malformed import BAD_ADDRESS, BAD_HEADER_LENGTH, BAD_VERSION, TRUNCATED, Malformed

# Version, traffic class and flow label; payload length, next header, hop limit; source and destination, 64 bits twice.
_HEADER: Final = Struct(">IHBBQQQQ")
_MAX_PAYLOAD_BYTES: Final = 0xFFFF
_LOW: Final = 0xFFFF_FFFF_FFFF_FFFF

# The fragment header: next header, a reserved byte, offset in units of 8 bytes with two reserved bits and the flag of
# more to come, identification.
_FRAGMENT: Final = Struct(">BBHI")
_MORE_FRAGMENTS: Final = 0x0001
_OFFSET_MASK: Final = 0xFFF8

_TRUNCATED: Final = Malformed("ipv6", TRUNCATED)
_BAD_VERSION: Final = Malformed("ipv6", BAD_VERSION)
_BAD_HEADER_LENGTH: Final = Malformed("ipv6", BAD_HEADER_LENGTH)
_BAD_ADDRESS: Final = Malformed("ipv6", BAD_ADDRESS)


def encode(packet: Packet) -> bytes:
    """The whole packet: header, extension headers, transport header and payload, with right checksums."""
    assert packet.family == AF_INET6, "a packet of another family than IPv6 has no IPv6 header"
    options = packet.options
    protocol: i64 = packet.protocol
    if packet.more_fragments or packet.fragment_offset != 0:
        offset: i64 = packet.fragment_offset
        assert offset & 7 == 0, "a fragment starts at a multiple of 8 bytes"
        assert not isinstance(packet, (TcpSegment, UdpDatagram, IcmpMessage)), "a fragment is a plain Packet"
        if packet.more_fragments:
            offset |= _MORE_FRAGMENTS
        fragment = _FRAGMENT.pack(protocol, 0, offset, packet.ident)
        body = extension.to_wire(options, extension.FRAGMENT) + fragment + packet.payload
        first: i64 = options[0] if options else extension.FRAGMENT
    elif options:
        body = extension.to_wire(options, protocol) + transport.encode(packet)
        first = options[0]
    else:
        body = transport.encode(packet)
        first = protocol
    size: i64 = len(body)
    assert size <= _MAX_PAYLOAD_BYTES, "an IPv6 packet carries 65535 bytes at most; it was not cut to the MTU"
    word: i64 = 0x6000_0000 | (packet.tos << 20) | packet.flow_label
    src = packet.src
    dst = packet.dst
    return (
        _HEADER.pack(word, size, first, packet.ttl, src >> 64, src & _LOW, dst >> 64, dst & _LOW) + body
    )  # fmt: skip


def decode(data: bytes) -> Packet | Malformed:
    """The packet at the start of `data`, with every field set; what follows its payload length (padding) is cut.

    A `TcpSegment`, `UdpDatagram` or `IcmpMessage`; a plain `Packet` for a fragment or another protocol. Never raises.
    """
    return _decode(data, True)


def decode_header(data: bytes) -> Packet:
    """The plain `Packet` in `data`, whose IP headers `decode` found good, whatever its protocol's part says."""
    result = _decode(data, False)
    assert isinstance(result, Packet), "the headers were good before"
    return result


def _decode(data: bytes, typed: bool) -> Packet | Malformed:
    if len(data) < IPV6_HEADER_BYTES:
        return _TRUNCATED
    fields = _HEADER.unpack_from(data)
    word: i64 = fields[0]
    if word >> 28 != 6:
        return _BAD_VERSION
    end: i64 = IPV6_HEADER_BYTES + fields[1]
    if end > len(data):
        return _TRUNCATED
    src: int = (fields[4] << 64) | fields[5]
    dst: int = (fields[6] << 64) | fields[7]
    if (1 < src <= 0xFFFF_FFFF) or (1 < dst <= 0xFFFF_FFFF):
        return _BAD_ADDRESS
    protocol: i64 = fields[2]
    at: i64 = IPV6_HEADER_BYTES
    chain = b""
    if extension.is_extension(protocol) or protocol == extension.FRAGMENT:
        body = data[at:end]
        at = _end_of_chain(body, protocol)
        if at < 0:
            return _BAD_HEADER_LENGTH
        chain = _to_options(body, protocol, at)
        protocol = _following(body, protocol, at)
        at += IPV6_HEADER_BYTES
    result: Packet | Malformed
    if protocol == extension.FRAGMENT:
        if end - at < extension.FRAGMENT_HEADER_BYTES:
            return _BAD_HEADER_LENGTH
        cut = _FRAGMENT.unpack_from(data, at)
        payload = data[at + extension.FRAGMENT_HEADER_BYTES : end]
        offset: i64 = cut[2]
        packet = Packet(AF_INET6, src, dst, cut[0], payload)
        packet.ident = cut[3]
        packet.more_fragments = offset & _MORE_FRAGMENTS != 0
        packet.fragment_offset = offset & _OFFSET_MASK
    elif typed:
        result = transport.decode(AF_INET6, protocol, src, dst, data[at:end])
        if isinstance(result, Malformed):
            return result
        packet = result
    else:
        packet = Packet(AF_INET6, src, dst, protocol, data[at:end])
    packet.options = chain
    packet.tos = (word >> 20) & 0xFF
    packet.flow_label = word & 0xF_FFFF
    packet.size_bytes = end
    if isinstance(packet, UdpDatagram):
        # UDP's own length may be less: what follows is no part of it, and does not travel on.
        packet.size_bytes = at + UDP_HEADER_BYTES + len(packet.payload)
    packet.ttl = fields[3]
    return packet


def _is_cut(body: bytes, at: i64) -> bool:
    """Whether the fragment header at `at` is of a packet in pieces, and not of one that is whole (RFC 6946)."""
    high: i64 = body[at + 2]
    low: i64 = body[at + 3]
    return high != 0 or low & ~0x06 != 0


def _end_of_chain(body: bytes, first: i64) -> i64:
    """Where the extension headers of `body` end: at the transport, or at the header of a fragment. -1: they are cut."""
    number: i64 = first
    at: i64 = 0
    while extension.is_extension(number) or number == extension.FRAGMENT:
        size: i64 = extension.length(body, at, number)
        if size < 0:
            return -1
        if number == extension.FRAGMENT and _is_cut(body, at):
            break
        number = body[at]
        at += size
    return at


def _to_options(body: bytes, first: i64, end: i64) -> bytes:
    """The headers of `body` up to `end` as `Packet.options` has them."""
    chain = bytearray(body[:end])
    number: i64 = first
    at: i64 = 0
    while at < end:
        size: i64 = extension.length(body, at, number)
        following: i64 = body[at]
        chain[at] = number
        number = following
        at += size
    return bytes(chain)


def _following(body: bytes, first: i64, end: i64) -> i64:
    """The number of what comes after the headers of `body` up to `end`."""
    number: i64 = first
    at: i64 = 0
    while at < end:
        size: i64 = extension.length(body, at, number)
        number = body[at]
        at += size
    return number


def decode_payload(whole: Packet) -> Packet | Malformed:
    """The typed packet that a plain `Packet` says, put together from fragments: its payload is what they cut.

    The IPv6 fields are taken over, but it is no fragment. Extension headers at its start go to `options`.
    """
    body = whole.payload
    protocol: i64 = whole.protocol
    options = whole.options
    if extension.is_extension(protocol) or protocol == extension.FRAGMENT:
        at: i64 = _end_of_chain(body, protocol)
        if at < 0:
            return _BAD_HEADER_LENGTH
        options += _to_options(body, protocol, at)
        protocol = _following(body, protocol, at)
        body = body[at:]
    result = transport.decode(AF_INET6, protocol, whole.src, whole.dst, body)
    if isinstance(result, Malformed):
        return result
    result.options = options
    result.tos = whole.tos
    result.flow_label = whole.flow_label
    result.size_bytes = IPV6_HEADER_BYTES + len(options) + len(body)
    if isinstance(result, UdpDatagram):
        result.size_bytes = IPV6_HEADER_BYTES + len(options) + UDP_HEADER_BYTES + len(result.payload)
    result.ttl = whole.ttl
    return result
