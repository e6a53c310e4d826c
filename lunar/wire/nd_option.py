"""The options of neighbour discovery's messages: RFC 4861 section 4.6, RFC 4191, RFC 8106, RFC 3971 (nonce).

An option is a type, a length in units of 8 bytes, and what the type says. A message with an option of length 0, or one
that is cut, is dropped as a whole (RFC 4861, 6.1.1 and others).
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from mypy_extensions import i64

SOURCE_ADDRESS: Final = 1  # the sender's hardware address
TARGET_ADDRESS: Final = 2
PREFIX: Final = 3
REDIRECTED: Final = 4
MTU: Final = 5
NONCE: Final = 14
ROUTE: Final = 24
DNS_SERVERS: Final = 25

NO_MAC: Final = -1

# Of a prefix's option (RFC 4861, 4.6.2).
ON_LINK: Final = 0x80
AUTONOMOUS: Final = 0x40

FOREVER_S: Final = 0xFFFF_FFFF  # of a lifetime

_PREFIX: Final = Struct(">BBIII")  # prefix length, flags, valid and preferred lifetime, reserved
_MTU: Final = Struct(">HI")
_ROUTE: Final = Struct(">BBI")
_SERVERS: Final = Struct(">HI")


def parse(data: bytes) -> list[tuple[int, bytes]] | None:
    """(type, what follows the length) of each option in `data`; None where they are malformed."""
    found: list[tuple[int, bytes]] = []
    at: i64 = 0
    end: i64 = len(data)
    while at < end:
        if end - at < 2:
            return None
        size: i64 = data[at + 1] << 3
        if size == 0 or size > end - at:
            return None
        found.append((data[at], data[at + 2 : at + size]))
        at += size
    return found


def first(options: list[tuple[int, bytes]], type: int) -> bytes | None:
    """The first option of a type."""
    for number, body in options:
        if number == type:
            return body
    return None


def mac_of(options: list[tuple[int, bytes]], type: int) -> i64:
    """The hardware address that SOURCE_ADDRESS or TARGET_ADDRESS tells; NO_MAC without one, or of another length."""
    body = first(options, type)
    if body is None or len(body) != 6:
        return NO_MAC
    return int.from_bytes(body, "big")


def option(type: int, body: bytes) -> bytes:
    """An option, filled up to a multiple of 8 bytes."""
    size = (len(body) + 2 + 7) // 8
    return (bytes([type, size]) + body).ljust(size * 8, b"\0")


def address_option(type: int, mac: i64) -> bytes:
    """SOURCE_ADDRESS or TARGET_ADDRESS."""
    return option(type, int(mac).to_bytes(6, "big"))


def prefix_option(prefix: int, length: int, flags: int, valid_s: int, preferred_s: int) -> bytes:
    return option(PREFIX, _PREFIX.pack(length, flags, valid_s, preferred_s, 0) + prefix.to_bytes(16, "big"))


def prefix_fields(body: bytes) -> tuple[int, int, int, int, int] | None:
    """(prefix, its length, flags, valid and preferred lifetime in seconds); None where it is cut."""
    if len(body) != 30:
        return None
    length, flags, valid_s, preferred_s, _reserved = _PREFIX.unpack_from(body)
    return int.from_bytes(body[14:], "big"), length, flags, valid_s, preferred_s


def mtu_option(mtu: int) -> bytes:
    return option(MTU, _MTU.pack(0, mtu))


def mtu_of(body: bytes) -> int:
    """The MTU; 0 where it is cut."""
    return int(_MTU.unpack(body)[1]) if len(body) == 6 else 0


def route_option(prefix: int, length: int, preference: int, lifetime_s: int) -> bytes:
    """RFC 4191 (2.3). `preference` as in `route_fields`."""
    units = 0 if length == 0 else 8 if length <= 64 else 16
    return option(ROUTE, _ROUTE.pack(length, preference << 3, lifetime_s) + prefix.to_bytes(16, "big")[:units])


def route_fields(body: bytes) -> tuple[int, int, int, int] | None:
    """(prefix, its length, preference, lifetime in seconds); the preference is 0 medium, 1 high, 3 low. None where the
    prefix has less bytes than its length needs.
    """
    if len(body) < 6:
        return None
    length, flags, lifetime_s = _ROUTE.unpack_from(body)
    units = len(body) - 6
    if length > 128 or units not in (0, 8, 16) or units * 8 < length:
        return None
    prefix = int.from_bytes(body[6:].ljust(16, b"\0"), "big")
    return prefix >> (128 - length) << (128 - length), length, (flags >> 3) & 3, lifetime_s


def servers_option(servers: list[int], lifetime_s: int) -> bytes:
    return option(DNS_SERVERS, _SERVERS.pack(0, lifetime_s) + b"".join(one.to_bytes(16, "big") for one in servers))


def servers_fields(body: bytes) -> tuple[list[int], int] | None:
    """(addresses, lifetime in seconds), None where it is cut."""
    if len(body) < 22 or (len(body) - 6) % 16:
        return None
    lifetime_s: int = _SERVERS.unpack_from(body)[1]
    return [int.from_bytes(body[at : at + 16], "big") for at in range(6, len(body), 16)], lifetime_s
