"""IPv6's flow label, RFC 6437: 20 bits by which routers tell flows apart without a look at the transport.

A hash of both ends, so that all packets of a flow have the same; Linux makes its labels so, too
(net.ipv6.auto_flowlabels at 1), of a hash with a secret. Ours has none: what a label is depends on nothing but the
addresses, in every run.
"""

from __future__ import annotations

from mypy_extensions import i64


def of(src: int, sport: i64, dst: int, dport: i64, protocol: i64) -> i64:
    """The label of the flow between these ends, 1 to 0xfffff; 0 would say that there is none."""
    x: i64 = _mix(_folded(src), _folded(dst))
    x = _mix(x, (sport << 16) | dport)
    x = _mix(x, protocol) & 0xF_FFFF
    return x if x != 0 else 1


def _folded(address: int) -> i64:
    return (address ^ (address >> 32) ^ (address >> 64) ^ (address >> 96)) & 0xFFFF_FFFF


def _mix(a: i64, b: i64) -> i64:
    # 32 bits; products stay below 2**63, so that native and interpreted integers agree. The rotation makes it matter
    # which of two comes first: a flow and the one back have labels of their own.
    x: i64 = ((a << 5) & 0xFFFF_FFFF) ^ (a >> 27) ^ b
    x = ((x ^ (x >> 16)) * 0x7FEB_352D) & 0xFFFF_FFFF
    x = ((x ^ (x >> 15)) * 0x6C8E_9CF5) & 0xFFFF_FFFF
    return x ^ (x >> 16)
