"""Signatures of segments, RFC 2385 (TCP_MD5SIG): MD5 of both addresses, header, data and a key that two hosts share.

A socket has keys for peers (`add`, `find`); a listener's go to its connections. All that goes to such a peer is signed
(output.py), and what comes from one is dropped if its signature is wrong, or is there or not there where the other is
expected (`accepts`). BGP is what it is for; RFC 5925 made it obsolete.
"""

from __future__ import annotations

import hashlib
from struct import Struct
from typing import Final, final

from mypy_extensions import i64

from lunar.net.counters import Counters
from lunar.packet import AF_INET, IPV4_HEADER_BYTES, IPV6_HEADER_BYTES, TcpSegment, set_tcp_size
from lunar.wire import address

KEY_MAX: Final = 80  # TCP_MD5SIG_MAXKEYLEN, in bytes
OPTION_BYTES: Final = 20  # with two NOPs
_UNSIGNED: Final = bytes(16)

_ADDRESSES: Final = Struct(">IIHH")
_ADDRESSES6: Final = Struct(">QQQQII")
_LOW: Final = 0xFFFF_FFFF_FFFF_FFFF
_HEADER: Final = Struct(">HHIIHHHH")


@final
class Md5Key:
    """A key for the peers whose address begins with the `prefix` bits of `addr`."""

    def __init__(self, addr: int, prefix: i64, key: bytes) -> None:
        self.addr: int = addr
        self.bits: i64 = 32 if address.family_of(addr) == AF_INET else 128
        self.prefix: i64 = prefix
        self.key: bytes = key

    def is_for(self, addr: int) -> bool:
        return (addr ^ self.addr) >> int(self.bits - self.prefix) == 0


def add(keys: list[Md5Key], addr: int, prefix: i64, key: bytes) -> bool:
    """Set the key for an address or a network; an empty one takes it away. False when there was none to take."""
    for at in range(len(keys)):
        if keys[at].addr == addr and keys[at].prefix == prefix:
            if key:
                keys[at].key = key
            else:
                del keys[at]
            return True
    if key:
        keys.append(Md5Key(addr, prefix, key))
    return len(key) > 0


def find(keys: list[Md5Key] | None, addr: int) -> bytes:
    """The key for a peer, of the longest prefix; b"" for none."""
    found = b""
    longest: i64 = -1
    if keys is not None:
        for entry in keys:
            if entry.prefix > longest and entry.is_for(addr):
                found = entry.key
                longest = entry.prefix
    return found


def sign(segment: TcpSegment, key: bytes) -> None:
    """Put the option into a segment that is ready to go, and count its bytes."""
    segment.md5 = _UNSIGNED
    set_tcp_size(segment)
    segment.md5 = _digest(segment, key)


def accepts(counters: Counters, key: bytes, segment: TcpSegment) -> bool:
    """Whether a segment may be looked at, where `key` (b"" for none) is its sender's."""
    signature = segment.md5
    if signature is None:
        if not key:
            return True
        counters.tcp_md5_not_found += 1
        return False
    if not key:
        counters.tcp_md5_unexpected += 1
        return False
    if signature != _digest(segment, key):
        counters.tcp_md5_failure += 1
        return False
    return True


def _digest(segment: TcpSegment, key: bytes) -> bytes:
    """RFC 2385 section 2.0: pseudo-header, header without options and with a checksum of zero, data, key."""
    payload = segment.payload
    four = segment.family == AF_INET
    size: i64 = segment.size_bytes - (IPV4_HEADER_BYTES if four else IPV6_HEADER_BYTES) - len(segment.options)
    offset: i64 = size - len(payload)
    seq: i64 = segment.seq
    ack: i64 = segment.ack
    header = _HEADER.pack(
        segment.sport, segment.dport, seq & 0xFFFF_FFFF, ack & 0xFFFF_FFFF, (offset << 10) | segment.flags,
        segment.window, 0, segment.urgent,
    )  # fmt: skip
    src = segment.src
    dst = segment.dst
    if four:
        pseudo = _ADDRESSES.pack(src, dst, segment.protocol, size)
    else:
        pseudo = _ADDRESSES6.pack(src >> 64, src & _LOW, dst >> 64, dst & _LOW, size, segment.protocol)
    return hashlib.md5(pseudo + header + payload + key, usedforsecurity=False).digest()
