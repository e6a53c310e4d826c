"""IPv4's header, RFC 791 section 3.1, around what the transports' files make.

Checks on the way in are those of Linux' ip_rcv_core(), in its order, then the transport's own. A fragment is a plain
`Packet` with raw payload, whatever its protocol: only the whole has a transport header to read. Who cuts packets and
puts them together uses `transport.encode` and `decode_payload`.

Options are bytes here, `Packet.options`; what they say is lunar/net/ipv4_options.py's. What goes out with options that
end within a word is padded.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from mypy_extensions import i64

from lunar.packet import (
    AF_INET,
    IPV4_HEADER_BYTES,
    UDP_HEADER_BYTES,
    IcmpMessage,
    Packet,
    TcpSegment,
    UdpDatagram,
)
from lunar.wire import checksum, transport
from lunar.wire.malformed import (
    BAD_HEADER_CHECKSUM,
    BAD_HEADER_LENGTH,
    BAD_TOTAL_LENGTH,
    BAD_VERSION,
    TRUNCATED,
    Malformed,
)

# Version and header length, TOS, total length, identification, flags and fragment offset, TTL, protocol, checksum,
# source, destination.
_HEADER: Final = Struct(">BBHHHBBHII")
_VERSION_LENGTH: Final = 0x45  # version 4, five words of header
_MAX_TOTAL_BYTES: Final = 0xFFFF
_MAX_HEADER_BYTES: Final = 60
_CHECKSUM_AT: Final = 10
_CHECKSUM: Final = Struct(">H")

# In the word of flags and fragment offset. The topmost bit is reserved; Linux does not look at it, and nor do we.
_DONT_FRAGMENT: Final = 0x4000
_MORE_FRAGMENTS: Final = 0x2000
_OFFSET_MASK: Final = 0x1FFF  # in units of 8 bytes

_TRUNCATED: Final = Malformed("ipv4", TRUNCATED)
_BAD_VERSION: Final = Malformed("ipv4", BAD_VERSION)
_BAD_HEADER_LENGTH: Final = Malformed("ipv4", BAD_HEADER_LENGTH)
_BAD_HEADER_CHECKSUM: Final = Malformed("ipv4", BAD_HEADER_CHECKSUM)
_BAD_TOTAL_LENGTH: Final = Malformed("ipv4", BAD_TOTAL_LENGTH)


def encode(packet: Packet) -> bytes:
    """The whole packet: header, transport header and payload, with right checksums.

    A `TcpSegment`, `UdpDatagram` or `IcmpMessage` must be whole. A plain `Packet` carries its payload as it is.
    """
    assert packet.family == AF_INET, "a packet of another family than IPv4 has no IPv4 header"
    body = transport.encode(packet)
    if packet.options:
        return _encode_with_options(packet, body)
    size: i64 = IPV4_HEADER_BYTES + len(body)
    assert size <= _MAX_TOTAL_BYTES, "an IPv4 packet has 65535 bytes at most; it was not cut to the MTU"
    word: i64 = _flags_and_offset(packet)
    tos: i64 = packet.tos
    ident: i64 = packet.ident
    ttl: i64 = packet.ttl
    protocol: i64 = packet.protocol
    words: i64 = (_VERSION_LENGTH << 8) + tos + size + ident + word + (ttl << 8) + protocol
    check = checksum.fold(packet.src + packet.dst + words)
    return _HEADER.pack(_VERSION_LENGTH, tos, size, ident, word, ttl, protocol, check, packet.src, packet.dst) + body


def _flags_and_offset(packet: Packet) -> i64:
    offset: i64 = packet.fragment_offset
    word: i64 = offset >> 3
    if packet.dont_fragment:
        word |= _DONT_FRAGMENT
    if packet.more_fragments:
        word |= _MORE_FRAGMENTS
    if word & (_MORE_FRAGMENTS | _OFFSET_MASK):
        assert offset & 7 == 0, "a fragment starts at a multiple of 8 bytes"
        assert not isinstance(packet, (TcpSegment, UdpDatagram, IcmpMessage)), "a fragment is a plain Packet"
    return word


def _encode_with_options(packet: Packet, body: bytes) -> bytes:
    options = packet.options
    if len(options) & 3:
        options += b"\0" * (4 - (len(options) & 3))
    length: i64 = IPV4_HEADER_BYTES + len(options)
    assert length <= _MAX_HEADER_BYTES, "an IPv4 header has 40 bytes of options at most"
    size: i64 = length + len(body)
    assert size <= _MAX_TOTAL_BYTES, "an IPv4 packet has 65535 bytes at most; it was not cut to the MTU"
    header = _HEADER.pack(
        0x40 | length >> 2, packet.tos, size, packet.ident, _flags_and_offset(packet), packet.ttl, packet.protocol, 0,
        packet.src, packet.dst,
    ) + options  # fmt: skip
    return header[:_CHECKSUM_AT] + _CHECKSUM.pack(checksum.internet(header)) + header[_CHECKSUM_AT + 2 :] + body


def decode(data: bytes) -> Packet | Malformed:
    """The packet at the start of `data`, with every field set; what follows its total length (padding) is cut.

    A `TcpSegment`, `UdpDatagram` or `IcmpMessage`; a plain `Packet` for a fragment or another protocol. Never raises.
    """
    length: i64 = len(data)
    if length < IPV4_HEADER_BYTES:
        return _TRUNCATED
    fields = _HEADER.unpack_from(data)
    version_length: i64 = fields[0]
    if version_length >> 4 != 4:
        return _BAD_VERSION
    header: i64 = (version_length & 0x0F) << 2
    if header < IPV4_HEADER_BYTES:
        return _BAD_HEADER_LENGTH
    if header > length:
        return _TRUNCATED
    if checksum.internet(data[:header]) != 0:
        return _BAD_HEADER_CHECKSUM
    size: i64 = fields[2]
    if size > length:
        return _TRUNCATED
    if size < header:
        return _BAD_TOTAL_LENGTH
    word: i64 = fields[4]
    protocol: i64 = fields[6]
    if word & (_MORE_FRAGMENTS | _OFFSET_MASK):
        packet = Packet(AF_INET, fields[8], fields[9], protocol, data[header:size])
        packet.more_fragments = word & _MORE_FRAGMENTS != 0
        packet.fragment_offset = (word & _OFFSET_MASK) << 3
    else:
        result = transport.decode(AF_INET, protocol, fields[8], fields[9], data[header:size])
        if isinstance(result, Malformed):
            return result
        packet = result
    if header != IPV4_HEADER_BYTES:
        packet.options = data[IPV4_HEADER_BYTES:header]
    packet.tos = fields[1]
    packet.size_bytes = size
    if isinstance(packet, UdpDatagram):
        # UDP's own length may be less: what follows is no part of it, and does not travel on.
        packet.size_bytes = header + UDP_HEADER_BYTES + len(packet.payload)
    packet.ident = fields[3]
    packet.dont_fragment = word & _DONT_FRAGMENT != 0
    packet.ttl = fields[5]
    return packet


def decode_header(data: bytes) -> Packet:
    """The plain `Packet` in `data`, whatever its protocol's part says. `decode` found its IP header good, or it is
    quoted: then `data` has 20 bytes at least, and lengths may be wrong.
    """
    fields = _HEADER.unpack_from(data)
    version_length: i64 = fields[0]
    size: i64 = fields[2]
    word: i64 = fields[4]
    # Compiled, a slice must not end before it begins.
    header: i64 = max((version_length & 0x0F) << 2, IPV4_HEADER_BYTES)
    packet = Packet(AF_INET, fields[8], fields[9], fields[6], data[header : max(size, header)])
    packet.options = data[IPV4_HEADER_BYTES:header]
    packet.tos = fields[1]
    packet.size_bytes = size
    packet.ident = fields[3]
    packet.dont_fragment = word & _DONT_FRAGMENT != 0
    packet.ttl = fields[5]
    return packet


def decode_payload(whole: Packet) -> Packet | Malformed:
    """The typed packet that a plain `Packet` says, put together from fragments: its payload is the transport's bytes.

    The IPv4 fields are taken over, but it is no fragment. A protocol without a type gives a plain `Packet` again.
    """
    result = transport.decode(AF_INET, whole.protocol, whole.src, whole.dst, whole.payload)
    if isinstance(result, Malformed):
        return result
    result.tos = whole.tos
    result.options = whole.options
    result.size_bytes = IPV4_HEADER_BYTES + len(whole.options) + len(whole.payload)
    if isinstance(result, UdpDatagram):
        result.size_bytes = IPV4_HEADER_BYTES + len(whole.options) + UDP_HEADER_BYTES + len(result.payload)
    result.ident = whole.ident
    result.dont_fragment = whole.dont_fragment
    result.ttl = whole.ttl
    return result
