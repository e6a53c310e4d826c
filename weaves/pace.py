"""The pace of a run in real time: which virtual time it is by the machine's clock, and how late the run is for it."""

from __future__ import annotations

import time
from typing import Any, Final, final

from mypy_extensions import i64, mypyc_attr

from weaves.clock import format_duration
from weaves.clock_plan import HARD_LIMIT, REAL, ClockPlan
from weaves.scheduler import FOREVER

# The machine's own: this module is imported before the names of `time` are replaced (interpose/).
perf_counter_ns: Final[Any] = time.perf_counter_ns

# Of a meter: a bucket for each nanosecond up to twice that, from there on so many for each doubling.
PER_DOUBLING: Final = 16
_BITS: Final = 5  # of PER_DOUBLING
_LATE_NS: Final = 1_000_000
_NEARLY_FOREVER_NS: Final = 4.6e18  # the next float beyond FOREVER is more than that


@mypyc_attr(native_class=False)
class TooLate(RuntimeError):
    """The run fell behind the machine's clock by more than its hard limit."""


@final
class Meter:
    """Counts events by how late they were, in ns of real time (lateness.py tells what is read from it).

    Its buckets grow with the lateness: a run of any length costs the same, and quantiles are right to some percent.
    """

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.events: i64 = 0
        self.late: i64 = 0  # by more than a millisecond
        self.max_ns: i64 = 0

    def note(self, late_ns: i64, events: i64) -> None:
        """So many `events` were late by `late_ns`."""
        if late_ns < 0:
            late_ns = 0
        bucket: i64 = late_ns
        if late_ns >= 2 * PER_DOUBLING:
            doublings: i64 = 0
            rest: i64 = late_ns >> _BITS
            while rest > 0:
                rest >>= 1
                doublings += 1
            bucket = doublings * PER_DOUBLING + (late_ns >> doublings)
        counts = self.counts
        while len(counts) <= bucket:
            counts.append(0)
        counts[bucket] += int(events)
        self.events += events
        if late_ns > self.max_ns:
            self.max_ns = late_ns
        if late_ns > _LATE_NS:
            self.late += events

    def add(self, other: Meter) -> None:
        """Count what `other` has counted, too."""
        counts = self.counts
        while len(counts) < len(other.counts):
            counts.append(0)
        for bucket, count in enumerate(other.counts):
            counts[bucket] += count
        self.events += other.events
        self.late += other.late
        if other.max_ns > self.max_ns:
            self.max_ns = other.max_ns


@final
class Pace:
    """Keeps a run to the machine's clock, as `plan` says."""

    def __init__(self, plan: ClockPlan) -> None:
        self.plan: ClockPlan = plan
        self.speed: float = plan.speed
        self.busy_poll_ns: i64 = plan.busy_poll_ns
        self.meter: Meter = Meter()
        self._as_real: bool = plan.speed == 1.0
        self._limit_ns: i64 = plan.late_limit_ns if plan.late == HARD_LIMIT else -1
        self._real_ns: i64 = 0
        self._virtual_ns: i64 = 0

    def begin(self, virtual_ns: i64) -> None:
        """It is `virtual_ns` now, whatever went before."""
        self._virtual_ns = virtual_ns
        self._real_ns = perf_counter_ns()

    def at(self, real_ns: i64) -> i64:
        """The virtual time when the machine's clock (`perf_counter_ns`) shows `real_ns`."""
        spent_ns: i64 = real_ns - self._real_ns
        return self._virtual_ns + (spent_ns if self._as_real else i64(float(spent_ns) * self.speed))

    def now_ns(self) -> int:
        """The virtual time by the machine's clock."""
        real_ns: i64 = perf_counter_ns()
        return int(self.at(real_ns))

    def real_ns(self, virtual_ns: i64) -> i64:
        """How long `virtual_ns` of virtual time takes, FOREVER at most: a slow clock makes centuries of a timer."""
        if self._as_real:
            return virtual_ns
        real_ns = float(virtual_ns) / self.speed
        return i64(real_ns) if real_ns < _NEARLY_FOREVER_NS else FOREVER

    def judge(self, late_ns: i64, events: i64) -> None:
        """So many events were due `late_ns` of virtual time ago, and happen now. Raises `TooLate`."""
        real_ns: i64 = self.real_ns(late_ns)
        self.meter.note(real_ns, events)
        if self._limit_ns >= 0 and real_ns > self._limit_ns:
            raise TooLate(
                f"the run is {format_duration(int(real_ns))} behind the machine's clock; late_limit is "
                f"{format_duration(int(self._limit_ns))}"
            )


def pace_of(plan: ClockPlan) -> Pace | None:
    """The pace of a run that has this clock; None is virtual time."""
    return Pace(plan) if plan.kind == REAL else None
