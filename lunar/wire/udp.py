"""UDP's header, RFC 768; over IPv6 RFC 8200 section 8.1.

A checksum of zero means that the sender made none. Over IPv4 it is accepted, as RFC 1122 section 4.1.3.4 asks; over
IPv6 only by a socket that wants it (RFC 6936), which lunar/udp.py knows.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from mypy_extensions import i64

from lunar.packet import UDP, UDP_HEADER_BYTES, UdpDatagram
from lunar.wire import checksum
from lunar.wire.malformed import BAD_TRANSPORT_CHECKSUM, BAD_TRANSPORT_HEADER, Malformed

# Source port, destination port, length, checksum.
_HEADER: Final = Struct(">HHHH")

_BAD_HEADER: Final = Malformed("udp", BAD_TRANSPORT_HEADER)
_BAD_CHECKSUM: Final = Malformed("udp", BAD_TRANSPORT_CHECKSUM)


def encode(datagram: UdpDatagram) -> bytes:
    """Header and payload. The checksum covers the addresses that the datagram has now."""
    payload = datagram.payload
    sport: i64 = datagram.sport
    dport: i64 = datagram.dport
    length: i64 = UDP_HEADER_BYTES + len(payload)
    total = checksum.pseudo_header(datagram.src, datagram.dst, datagram.protocol, length) + sport + dport + length
    if datagram.unchecked:
        return _HEADER.pack(sport, dport, length, 0) + payload
    # Zero would say "no checksum"; its other form, -0, is sent in its place.
    check = checksum.internet(payload, total) or 0xFFFF
    return _HEADER.pack(sport, dport, length, check) + payload


def decode(family: i64, src: int, dst: int, data: bytes) -> UdpDatagram | Malformed:
    """The datagram in an IP packet's payload. The addresses are for its checksum. Bytes past its length are cut."""
    size: i64 = len(data)
    if size < UDP_HEADER_BYTES:
        return _BAD_HEADER
    fields = _HEADER.unpack_from(data)
    length: i64 = fields[2]
    if length < UDP_HEADER_BYTES or length > size:
        return _BAD_HEADER
    check: i64 = fields[3]
    if check != 0:
        covered = data if length == size else data[:length]
        if checksum.internet(covered, checksum.pseudo_header(src, dst, UDP, length)) != 0:
            return _BAD_CHECKSUM
    datagram = UdpDatagram(family, src, dst, fields[0], fields[1], data[UDP_HEADER_BYTES:length])
    datagram.unchecked = check == 0
    return datagram
