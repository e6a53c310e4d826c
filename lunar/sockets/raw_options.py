"""The options of raw sockets of IPv6: RFC 3542 sections 3.1 (IPV6_CHECKSUM) and 3.2 (ICMP6_FILTER)."""

from __future__ import annotations

import errno
from typing import Final

from lunar.packet import ICMPV6
from lunar.sockets.raw_ipv6 import NO_CHECKSUM, RawSixSock

IPPROTO_IPV6: Final = 41
IPPROTO_ICMPV6: Final = 58
SOL_RAW: Final = 255
IPV6_CHECKSUM: Final = 7
ICMPV6_FILTER: Final = 1

_FILTER_BYTES: Final = 32  # struct icmp6_filter: a bit for each type


def set_integer(sock: RawSixSock, level: int, name: int, value: int) -> int:
    """0 or -errno. The checksum of ICMPv6 stays where it is."""
    if level not in (IPPROTO_IPV6, SOL_RAW) or name != IPV6_CHECKSUM:
        return -errno.ENOPROTOOPT
    if sock.protocol == ICMPV6 and level == IPPROTO_IPV6:
        return -errno.EINVAL
    if value > 0 and value & 1:
        return -errno.EINVAL
    sock.checksum_at = NO_CHECKSUM if value < 0 else value
    return 0


def set_filter(sock: RawSixSock, name: int, value: bytes) -> int:
    if sock.protocol != ICMPV6:
        return -errno.EOPNOTSUPP
    if name != ICMPV6_FILTER:
        return -errno.ENOPROTOOPT
    part = value[:_FILTER_BYTES]
    kept = int(sock.icmp_filter).to_bytes(_FILTER_BYTES, "little")
    sock.icmp_filter = int.from_bytes(part + kept[len(part) :], "little")
    return 0


def get_bytes(sock: RawSixSock, level: int, name: int) -> bytes | None:
    """The value of an option, which may be -1."""
    if level == IPPROTO_ICMPV6 and name == ICMPV6_FILTER and sock.protocol == ICMPV6:
        return int(sock.icmp_filter).to_bytes(_FILTER_BYTES, "little")
    if level in (IPPROTO_IPV6, SOL_RAW) and name == IPV6_CHECKSUM:
        return int(sock.checksum_at).to_bytes(4, "little", signed=True)
    return None
