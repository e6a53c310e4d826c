"""ICMP's errors: the packet that one quotes, as conntrack and NAT read and rewrite it.

Read RFC 792, RFC 4443 section 2.4 and RFC 5508 (7) beside this file. A quote is bytes, perhaps only the first of a
packet: its IP header and 8 bytes more at least, or it belongs to no connection.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.netfilter import conntrack_tuple
from lunar.netfilter.conntrack_tuple import ICMPV6, Tuple
from lunar.packet import AF_INET6, ICMP, IcmpMessage
from lunar.wire.address import family_of

# Unreachable, source quench, redirect, time exceeded, parameter problem.
_ERRORS: Final = (3, 4, 5, 11, 12)
# Hop-by-hop options, routing, fragment, authentication, destination options: the headers that may stand between IPv6's
# and the transport's (RFC 8200 section 4).
_EXTENSIONS: Final = (0, 43, 44, 51, 60)
_FRAGMENT: Final = 44
_AUTHENTICATION: Final = 51


@final
class Quote:
    """Where the parts of a quoted packet are: its addresses, its protocol, and the offset of the transport header."""

    def __init__(self, src: int, dst: int, protocol: i64, transport: i64) -> None:
        self.src: int = src
        self.dst: int = dst
        self.protocol: i64 = protocol
        self.transport: i64 = transport


def is_error(message: IcmpMessage) -> bool:
    """Whether it reports on another packet."""
    if message.protocol == ICMPV6:
        return message.type < 128
    return int(message.type) in _ERRORS


def quote(message: IcmpMessage) -> Quote | None:
    """The parts of what `message` quotes; None when it is no IP packet, a later fragment, or too short."""
    data = message.payload
    size: i64 = len(data)
    if message.protocol == ICMP:
        if size < 20 or data[0] >> 4 != 4:
            return None
        start: i64 = (data[0] & 0x0F) << 2
        if start < 20 or size < start + 8 or (data[6] << 8 | data[7]) & 0x1FFF:
            return None
        return Quote(int.from_bytes(data[12:16], "big"), int.from_bytes(data[16:20], "big"), data[9], start)
    if size < 40 or data[0] >> 4 != 6:
        return None
    protocol: i64 = data[6]
    start = 40
    while int(protocol) in _EXTENSIONS:
        if size < start + 8:
            return None
        if protocol == _FRAGMENT:
            if (data[start + 2] << 8 | data[start + 3]) & 0xFFF8:
                return None
            length: i64 = 8
        elif protocol == _AUTHENTICATION:
            length = (data[start + 1] + 2) << 2
        else:
            length = (data[start + 1] + 1) << 3
        protocol = data[start]
        start += length
    if size < start + 8:
        return None
    src = int.from_bytes(data[8:24], "big")
    dst = int.from_bytes(data[24:40], "big")
    if family_of(src) != AF_INET6 or family_of(dst) != AF_INET6:
        return None  # of ::/96: the numbers would be those of a connection of IPv4's
    return Quote(src, dst, protocol, start)


def quoted_tuple(message: IcmpMessage) -> Tuple | None:
    """The tuple of the packet that `message` quotes."""
    found = quote(message)
    if found is None:
        return None
    return conntrack_tuple.of_quote(
        message.family, found.protocol, found.src, found.dst, message.payload[found.transport :]
    )
