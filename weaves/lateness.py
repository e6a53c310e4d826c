"""How late the events of a run in real time were for the machine's clock, as people ask for it."""

from __future__ import annotations

from typing import Final

import attrs

from weaves.pace import PER_DOUBLING, Meter

_NS: Final = 1_000_000_000


@attrs.frozen(slots=True)
class Lateness:
    """How late `events` events were, in seconds of real time: the median, the 99th percentile, the latest of all.

    `late` is how many were later than a millisecond.
    """

    events: int
    median_s: float
    p99_s: float
    max_s: float
    late: int


def lateness_of(meter: Meter) -> Lateness:
    """What `meter` has counted so far."""
    return Lateness(
        int(meter.events), _quantile_ns(meter, 50) / _NS, _quantile_ns(meter, 99) / _NS, int(meter.max_ns) / _NS,
        int(meter.late),
    )  # fmt: skip


def _quantile_ns(meter: Meter, percent: int) -> int:
    """So many percent were late by no more than that: the top of the bucket that it is in."""
    before = 0
    for bucket, count in enumerate(meter.counts):
        before += count
        if count and before * 100 >= int(meter.events) * percent:
            return min(_top_ns(bucket), int(meter.max_ns))
    return 0


def _top_ns(bucket: int) -> int:
    if bucket < 2 * PER_DOUBLING:
        return bucket
    doublings = bucket // PER_DOUBLING - 1
    return ((bucket - doublings * PER_DOUBLING + 1) << doublings) - 1
