"""How ACKs come in bunches: the segments that are acknowledged beyond what the delivery rate explains.

Where receivers or links gather ACKs, a cwnd of what the path holds leaves the sender idle between two bunches; BBR adds
the most that such a bunch had, of the last five to ten round trips.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.tcp.tcb import Tcb

_RATE_BITS: Final = 24  # rates as in bbr.py
_ROUNDS: Final = 5
_EPOCH_MAX: Final = 1 << 20  # segments
_INTERVAL_MAX_NS: Final = 2_000_000_000_000  # so that its product with the greatest rate stays below 2**63
_MOST_US: Final = 100_000


@final
class AckAggregation:
    """The most segments beyond the rate: of this window of rounds and of the one before."""

    def __init__(self) -> None:
        self.extra: i64 = 0
        self.extra_before: i64 = 0
        self.rounds: i64 = 0
        self.epoch_ns: i64 = 0
        self.epoch_acked: i64 = 0

    def restart(self, now_ns: i64) -> None:
        """Count from now on."""
        self.epoch_ns = now_ns
        self.epoch_acked = 0

    def update(self, tcb: Tcb, acked: i64, rate: i64, round_start: bool) -> None:
        """An ACK delivered `acked` segments, at a time when the path gives `rate`."""
        if round_start:
            self.rounds += 1
            if self.rounds >= _ROUNDS:
                self.rounds = 0
                self.extra_before = self.extra
                self.extra = 0
        elapsed_us: i64 = min(tcb.delivered_ns - self.epoch_ns, _INTERVAL_MAX_NS) // 1000
        expected: i64 = (rate * elapsed_us) >> _RATE_BITS
        if self.epoch_acked <= expected or self.epoch_acked + acked >= _EPOCH_MAX:
            # They came no faster than the rate: a new epoch.
            self.restart(tcb.delivered_ns)
            expected = 0
        self.epoch_acked += acked
        self.extra = max(self.extra, min(self.epoch_acked - expected, tcb.cwnd))

    def segments(self, rate: i64) -> i64:
        """What cwnd has to have more: a tenth of a second's at most."""
        return min(max(self.extra, self.extra_before), (rate * _MOST_US) >> _RATE_BITS)
