"""Frames for probes, made byte by byte, so that nothing of the stack under test has a hand in them."""

from __future__ import annotations

import ipaddress
import struct
from typing import Final

from network_sides import MACS, NEIGHBOR_MACS, Sent

ICMP, UDP, TCP, ICMPV6 = 1, 17, 6, 58
MORE: Final = 0x2000
DONT_FRAGMENT: Final = 0x4000


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) & 1)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def ethernet(packet: bytes, device: int = 0, dst: int | None = None) -> Sent:
    """The frame by which a neighbour hands `packet` to the host, and the device at which it arrives."""
    ethertype = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
    target = MACS[device] if dst is None else dst
    header = target.to_bytes(6, "big") + NEIGHBOR_MACS[device].to_bytes(6, "big") + struct.pack("!H", ethertype)
    return device, header + packet


def ip4(
    src: str, dst: str, protocol: int, body: bytes, *, ttl: int = 64, tos: int = 0, ident: int = 0x1234, word: int = 0,
    options: bytes = b"", total: int | None = None,
) -> bytes:
    """An IPv4 packet. `word` has the flags, and the fragment offset in units of 8 bytes."""
    length = 20 + len(options)
    size = length + len(body) if total is None else total
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x40 | length // 4, tos, size, ident, word, ttl, protocol, 0, packed(src), packed(dst)
    ) + options
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + body


def icmp(kind: int, code: int, rest: int, data: bytes = b"") -> bytes:
    """An ICMP message."""
    bare = struct.pack("!BBHI", kind, code, 0, rest) + data
    return bare[:2] + struct.pack("!H", checksum(bare)) + bare[4:]


def pseudo(src: str, dst: str, protocol: int, size: int) -> bytes:
    return packed(src) + packed(dst) + struct.pack("!II", size, protocol)


def icmp6(src: str, dst: str, kind: int, code: int, rest: int, data: bytes = b"") -> bytes:
    """An ICMPv6 message."""
    bare = struct.pack("!BBHI", kind, code, 0, rest) + data
    return bare[:2] + struct.pack("!H", checksum(pseudo(src, dst, ICMPV6, len(bare)) + bare)) + bare[4:]


def udp(src: str, dst: str, sport: int, dport: int, data: bytes) -> bytes:
    """A UDP datagram, for either family."""
    bare = struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data
    return bare[:6] + struct.pack("!H", checksum(pseudo(src, dst, UDP, len(bare)) + bare) or 0xFFFF) + bare[8:]


def ip6(src: str, dst: str, next_header: int, body: bytes, *, hops: int = 64, flow: int = 0, tos: int = 0) -> bytes:
    """An IPv6 packet; extension headers are the front of `body`."""
    word = 6 << 28 | tos << 20 | flow
    return struct.pack("!IHBB", word, len(body), next_header, hops) + packed(src) + packed(dst) + body


def fragment_header(next_header: int, offset: int, more: bool, ident: int) -> bytes:
    """IPv6's; `offset` in bytes."""
    return struct.pack("!BBHI", next_header, 0, offset | more, ident)
