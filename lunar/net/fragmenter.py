"""Fragmentation, of both families: a packet that is larger than the MTU in pieces that are not. RFC 791 (3.2), RFC 8200
(4.5).

IPv4's routers cut what has no DF; of IPv6 only the sender cuts. Putting together is in fragment.py.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lunar.net.ip import Ip
from lunar.packet import AF_INET, IPV4_HEADER_BYTES, IPV6_HEADER_BYTES, Packet
from lunar.wire import extension, transport

_COPIED: Final = 0x80  # RFC 791 (3.1): an option that all fragments have
_END_OF_OPTIONS: Final = 0
_NO_OPERATION: Final = 1


def split(ip: Ip, packet: Packet, mtu: i64) -> list[Packet] | None:
    """`packet` in pieces that are `mtu` bytes at most; None when that is too little for any.

    A packet that is a fragment itself is cut further (IPv4's routers do so).
    """
    body = transport.encode(packet)
    if packet.family == AF_INET:
        return _split(packet, body, packet.options, _later_options(packet.options), packet.protocol, mtu, 0)
    whole_at: i64 = _unfragmentable(packet.options)
    options = packet.options[:whole_at]
    cut_headers = packet.options[whole_at:]
    protocol: i64 = packet.protocol
    if cut_headers:
        body = extension.to_wire(cut_headers, protocol) + body
        protocol = cut_headers[0]
    if not packet.more_fragments and packet.fragment_offset == 0:
        packet.ident = ip.rng.getrandbits(32)  # RFC 7739: one that nobody can guess
    return _split(packet, body, options, options, protocol, mtu, extension.FRAGMENT_HEADER_BYTES)


def _split(
    packet: Packet, body: bytes, options: bytes, later: bytes, protocol: i64, mtu: i64, fragment_header: i64
) -> list[Packet] | None:
    base: i64 = IPV4_HEADER_BYTES if packet.family == AF_INET else IPV6_HEADER_BYTES
    header: i64 = base + len(options) + fragment_header
    room: i64 = (mtu - header) & ~7
    if room < 8:
        return None
    size: i64 = len(body)
    pieces: list[Packet] = []
    at: i64 = 0
    while at < size:
        # The last one may be as large as the MTU, and is no multiple of 8 if the packet is not.
        length: i64 = size - at if size - at <= mtu - header else room
        piece = Packet(packet.family, packet.src, packet.dst, protocol, body[at : at + length])
        piece.options = options if at == 0 else later
        piece.ttl = packet.ttl
        piece.tos = packet.tos
        piece.flow_label = packet.flow_label
        piece.ident = packet.ident
        piece.mark = packet.mark
        piece.track = packet.track
        piece.fragment_offset = packet.fragment_offset + at
        piece.more_fragments = packet.more_fragments or at + length < size
        piece.size_bytes = header + length
        pieces.append(piece)
        at += length
    return pieces


def _later_options(options: bytes) -> bytes:
    """IPv4's options as all fragments but the first have them: what is not to be copied becomes no operation.

    So the header keeps its length, as Linux' does.
    """
    if not options:
        return options
    changed = bytearray(options)
    at: i64 = 0
    while at < len(changed):
        kind: i64 = changed[at]
        if kind == _END_OF_OPTIONS:
            break
        if kind == _NO_OPERATION:
            at += 1
            continue
        length: i64 = changed[at + 1] if at + 1 < len(changed) else 0
        if length < 2 or at + length > len(changed):
            break
        if not kind & _COPIED:
            changed[at : at + length] = bytes([_NO_OPERATION]) * int(length)
        at += length
    return bytes(changed)


def _unfragmentable(options: bytes) -> i64:
    """How many bytes of IPv6's extension headers all fragments have (RFC 8200, 4.5): up to hop-by-hop options or a
    routing header, whatever stands before them.
    """
    at: i64 = 0
    end: i64 = 0
    while at < len(options):
        number: i64 = options[at]
        at += extension.length(options, at, number)
        if number == extension.HOP_BY_HOP or number == extension.ROUTING:
            end = at
    return end
