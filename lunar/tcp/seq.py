"""Sequence numbers, RFC 9293 section 3.4.

On the wire they are 32 bits and wrap. Inside a connection we count on in 64 bits from the initial sequence number, so
that `<` is all that a comparison needs: `unwrap` makes such a number of what comes in, by the rule that it lies within
2**31 of one that is known, and `& MASK` makes the wire's of what goes out. Timestamps (RFC 7323) stay 32 bits and are
compared by `before`.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

MASK: Final = 0xFFFF_FFFF


def unwrap(wire: i64, near: i64) -> i64:
    """The number whose low 32 bits are `wire` and that lies within 2**31 of `near`."""
    return near + ((wire - near + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000


def before(a: i64, b: i64) -> bool:
    """Whether the 32-bit number `a` comes before `b`, RFC 1982's way."""
    return ((a - b) & 0xFFFF_FFFF) >= 0x8000_0000
