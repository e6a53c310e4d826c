"""What TCP does in another way on another kind of host, where no parameter of sysctl says so.

A host has one object of these, set by its personality (lunar/personalities.py); as made here it is Linux 6.18's. A rule
is a name, a value and the places that ask for it; each costs its users one attribute.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

RTO_INITIAL_NS: Final = 1_000_000_000  # RFC 6298 (2.1)
INITIAL_WINDOW: Final = 10  # RFC 6928
# RFC 3390 (1): at most four segments, at most two if they are large, 4380 bytes between.
_RFC3390_BYTES: Final = 4380


@final
class Rules:
    """One host's rules. `initial_window` in segments, 0 for as many as RFC 3390 says; `tick_ns` 0 for none."""

    def __init__(self) -> None:
        self.initial_window: i64 = INITIAL_WINDOW
        self.initial_rto_ns: i64 = RTO_INITIAL_NS
        self.tick_ns: i64 = 0  # timers fire at multiples of it, and round-trip times are measured in it

    def window(self, mss: i64) -> i64:
        """The initial window in segments of `mss` bytes."""
        if self.initial_window > 0:
            return self.initial_window
        return max(min(4 * mss, max(2 * mss, _RFC3390_BYTES)) // mss, 1)
