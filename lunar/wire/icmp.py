"""ICMP's header, RFC 792, and ICMPv6's, RFC 4443: type, code, checksum and a word whose meaning depends on the type.

The payload stays bytes; of an error it is the offending packet's header and the start of its data. The families differ
in the checksum: ICMPv6's covers the addresses, too.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from mypy_extensions import i64

from lunar.packet import AF_INET6, ICMP_HEADER_BYTES, ICMPV6, IcmpMessage
from lunar.wire import checksum
from lunar.wire.malformed import BAD_TRANSPORT_CHECKSUM, BAD_TRANSPORT_HEADER, Malformed

# Type, code, checksum, rest.
_HEADER: Final = Struct(">BBHI")

_BAD_HEADER: Final = Malformed("icmp", BAD_TRANSPORT_HEADER)
_BAD_CHECKSUM: Final = Malformed("icmp", BAD_TRANSPORT_CHECKSUM)


def encode(message: IcmpMessage) -> bytes:
    """Header and payload."""
    payload = message.payload
    type: i64 = message.type
    code: i64 = message.code
    rest: i64 = message.rest
    pseudo = 0
    if message.family == AF_INET6:
        pseudo = checksum.pseudo_header(message.src, message.dst, ICMPV6, ICMP_HEADER_BYTES + len(payload))
    check = checksum.internet(payload, pseudo + (type << 8) + code + rest)
    return _HEADER.pack(type, code, check, rest) + payload


def decode(family: i64, src: int, dst: int, data: bytes) -> IcmpMessage | Malformed:
    """The message in an IP packet's payload. The addresses are for ICMPv6's checksum."""
    if len(data) < ICMP_HEADER_BYTES:
        return _BAD_HEADER
    pseudo = checksum.pseudo_header(src, dst, ICMPV6, len(data)) if family == AF_INET6 else 0
    if checksum.internet(data, pseudo) != 0:
        return _BAD_CHECKSUM
    fields = _HEADER.unpack_from(data)
    return IcmpMessage(family, src, dst, fields[0], fields[1], fields[3], data[ICMP_HEADER_BYTES:])
