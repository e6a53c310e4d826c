"""How often a host sends ICMP errors, to one peer and in all: net.ipv4.icmp_ratelimit, icmp_msgs_per_sec and others.

Linux asks three things: whether the type is limited at all (icmp_ratemask; what path MTU discovery needs is not),
whether the host may send another one now, and whether the peer may be sent one (peer.py). Both families share the
host's.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lunar.net import peer
from lunar.net.family import Family
from lunar.net.ip import Ip
from lunar.packet import AF_INET

_S: Final = 1_000_000_000

# "Fragmentation needed", which is no type of its own in IPv4 (RFC 1191).
_UNREACHABLE: Final = 3
_FRAGMENTATION_NEEDED: Final = 4


def allows(ip: Ip, family: Family, dst: int, type: i64, code: i64) -> bool:
    """Whether an error of this type may go to `dst` now; it is counted."""
    conf = family.icmp
    if family.number == AF_INET and type == _UNREACHABLE and code == _FRAGMENTATION_NEEDED:
        return True
    if not conf.ratemask >> int(type) & 1:
        return True
    if not _has_token(ip):
        family.counters.icmp_out_rate_limited += 1
        return False
    # Without a limit it costs nothing, and nothing is saved up for what has one (forward.py).
    if family.number == AF_INET or conf.ratelimit_ms > 0:
        if not peer.of(ip, dst).may_be_told(ip.scheduler.now_ns, conf.ratelimit_ms * 1_000_000):
            family.counters.icmp_out_rate_limited_host += 1
            return False
    ip.icmp_tokens -= 1
    return True


def _has_token(ip: Ip) -> bool:
    """Whether the host's bucket, which refills with time, has one."""
    if ip.icmp_msgs_per_sec == 0:
        return False
    every_ns: i64 = max(_S // ip.icmp_msgs_per_sec, 1)
    now: i64 = ip.scheduler.now_ns
    grown: i64 = (now - ip.icmp_stamp_ns) // every_ns
    if grown > 0:
        ip.icmp_tokens = min(ip.icmp_msgs_burst, ip.icmp_tokens + grown)
        ip.icmp_stamp_ns += grown * every_ns  # what is left of a token's time counts for the next
    return ip.icmp_tokens > 0
