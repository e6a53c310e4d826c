"""BBR's detector of token-bucket policers: a path that gives a high rate for a while, and then drops what is above.

The sign is two intervals in a row, each of 4 to 16 round trips that begin and end with losses, with a fifth of the
segments lost and the same throughput within an eighth. Then that throughput is the rate for 48 round trips.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.tcp.tcb import Tcb

# What `update` found.
NOTHING: Final = 0
FOUND: Final = 1
ABANDONED: Final = 2  # after 48 round trips: probe again

_LEAST_ROUNDS: Final = 4
_LONGEST_ROUNDS: Final = 16
_LOSS_OF_256: Final = 50
_NEAR_SHIFT: Final = 3  # an eighth
_NEAR_BYTES: Final = 500  # or 4 kbit/s
_USE_ROUNDS: Final = 48
_RATE_BITS: Final = 24


@final
class Policer:
    """`rate` is in segments a microsecond in 1/2**24; `in_use` while the path is taken for a policed one."""

    def __init__(self) -> None:
        self.rate: i64 = 0
        self.in_use: bool = False
        self.sampling: bool = False
        self.rounds: i64 = 0
        self.at_ms: i64 = 0  # when this interval began, with
        self.delivered: i64 = 0
        self.lost: i64 = 0

    def reset(self, tcb: Tcb) -> None:
        """Forget all."""
        self.rate = 0
        self.in_use = False
        self.sampling = False
        self._start_interval(tcb)

    def _start_interval(self, tcb: Tcb) -> None:
        self.at_ms = tcb.delivered_ns // 1_000_000
        self.delivered = tcb.delivered
        self.lost = tcb.lost
        self.rounds = 0

    def update(self, tcb: Tcb, losses: i64, app_limited: bool, round_start: bool, probing: bool) -> i64:
        """An ACK with a sample of the rate came: NOTHING, FOUND or ABANDONED."""
        if self.in_use:
            if probing and round_start:
                self.rounds += 1
                if self.rounds >= _USE_ROUNDS:
                    self.reset(tcb)
                    return ABANDONED
            return NOTHING
        if not self.sampling:
            if losses == 0:
                return NOTHING
            self._start_interval(tcb)
            self.sampling = True
        if app_limited:
            self.reset(tcb)
            return NOTHING
        if round_start:
            self.rounds += 1
        if self.rounds < _LEAST_ROUNDS:
            return NOTHING
        if self.rounds > _LONGEST_ROUNDS:
            self.reset(tcb)
            return NOTHING
        # An interval ends with a loss, when the bucket is empty again.
        delivered: i64 = tcb.delivered - self.delivered
        if losses == 0 or delivered <= 0 or (tcb.lost - self.lost) << 8 < _LOSS_OF_256 * delivered:
            return NOTHING
        took_ms: i64 = tcb.delivered_ns // 1_000_000 - self.at_ms
        if took_ms < 1:
            return NOTHING
        return self._end_interval(tcb, (delivered << _RATE_BITS) // (took_ms * 1000))

    def _end_interval(self, tcb: Tcb, rate: i64) -> i64:
        if self.rate > 0:
            difference: i64 = rate - self.rate if rate > self.rate else self.rate - rate
            difference_bytes: i64 = (difference * tcb.mss * 1_000_000) >> _RATE_BITS
            if difference <= self.rate >> _NEAR_SHIFT or difference_bytes <= _NEAR_BYTES:
                self.rate = (rate + self.rate) >> 1
                self.in_use = True
                self.rounds = 0
                return FOUND
        self.rate = rate
        self._start_interval(tcb)
        return NOTHING
