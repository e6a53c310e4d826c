"""IP packets <-> bytes, of either family: what a caller uses who has no reason to ask which it is.

A packet has its family; bytes say it by the version in their first four bits.
"""

from __future__ import annotations

from typing import Final

from lunar.packet import AF_INET6, Packet
from lunar.wire import ipv4, ipv6
from lunar.wire.malformed import BAD_VERSION, TRUNCATED, Malformed

_TRUNCATED: Final = Malformed("ip", TRUNCATED)
_BAD_VERSION: Final = Malformed("ip", BAD_VERSION)


def encode(packet: Packet) -> bytes:
    """The whole packet, with right checksums."""
    return ipv6.encode(packet) if packet.family == AF_INET6 else ipv4.encode(packet)


def decode(data: bytes) -> Packet | Malformed:
    """The packet at the start of `data`, by its version. Never raises."""
    if not data:
        return _TRUNCATED
    version = data[0] >> 4
    if version == 4:
        return ipv4.decode(data)
    if version == 6:
        return ipv6.decode(data)
    return _BAD_VERSION


def copy(packet: Packet) -> Packet:
    """The same packet as another object, by way of its bytes."""
    result = ipv6.decode(encode(packet)) if packet.family == AF_INET6 else ipv4.decode(encode(packet))
    if not isinstance(result, Malformed):
        return result
    # Only what a raw socket sends can be bad inside; it is a plain Packet, and stays one.
    other = Packet(packet.family, packet.src, packet.dst, packet.protocol, packet.payload)
    other.size_bytes = packet.size_bytes
    other.ttl = packet.ttl
    other.tos = packet.tos
    other.ident = packet.ident
    other.dont_fragment = packet.dont_fragment
    other.options = packet.options
    other.flow_label = packet.flow_label
    return other


def decode_payload(whole: Packet) -> Packet | Malformed:
    """The typed packet that a plain `Packet` says, put together from fragments."""
    return ipv6.decode_payload(whole) if whole.family == AF_INET6 else ipv4.decode_payload(whole)
