"""How late events were: buckets that are exact for little, and right to a sixteenth for much."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weaves.clock_plan import HARD_LIMIT, REAL, ClockPlan
from weaves.lateness import Lateness, lateness_of
from weaves.pace import Meter, Pace, TooLate
from weaves.scheduler import FOREVER

NS = 1_000_000_000


def of(*late_ns: int) -> Lateness:
    meter = Meter()
    for one in late_ns:
        meter.note(one, 1)
    return lateness_of(meter)


def test_nothing_was_late_yet() -> None:
    assert of() == Lateness(0, 0.0, 0.0, 0.0, 0)


def test_the_median_the_99th_percentile_and_the_latest() -> None:
    # 1 ... 31 ns have a bucket each.
    found = of(*range(1, 31))
    assert (found.events, found.median_s, found.p99_s, found.max_s) == (30, 15 / NS, 30 / NS, 30 / NS)


def test_later_than_a_millisecond() -> None:
    assert of(1_000_000, 1_000_001, 5_000_000).late == 2


def test_what_is_early_is_on_time() -> None:
    assert of(-5) == Lateness(1, 0.0, 0.0, 0.0, 0)


def test_many_events_at_once() -> None:
    meter = Meter()
    meter.note(10, 99)
    meter.note(1_000, 1)
    found = lateness_of(meter)
    assert (found.events, found.p99_s, found.max_s) == (100, 10 / NS, 1_000 / NS)


@given(st.lists(st.integers(0, 10**15), min_size=1, max_size=50))
def test_quantiles_are_right_to_a_sixteenth(late_ns: list[int]) -> None:
    found = of(*late_ns)
    late_ns.sort()
    median = late_ns[(len(late_ns) + 1) // 2 - 1]
    assert median <= round(found.median_s * NS) + 1
    assert found.median_s * NS <= median * 17 / 16 + 1
    assert round(found.max_s * NS) == pytest.approx(late_ns[-1])


def test_a_hard_limit_is_in_real_time() -> None:
    pace = Pace(ClockPlan(REAL, speed=10.0, late=HARD_LIMIT, late_limit_ns=1_000))
    pace.judge(10_000, 1)  # of virtual time
    with pytest.raises(TooLate, match=r"the run is 1\.001us behind the machine's clock; late_limit is 1us"):
        pace.judge(10_010, 1)
    assert lateness_of(pace.meter).events == 2


def test_best_effort_has_none() -> None:
    pace = Pace(ClockPlan(REAL, late_limit_ns=1_000))
    pace.judge(10**12, 1)
    assert lateness_of(pace.meter).max_s == 1000.0


def test_the_pace_in_both_directions() -> None:
    pace = Pace(ClockPlan(REAL, speed=2.5))
    pace.begin(100)
    begun = pace.at(0)
    assert pace.at(1_000_000) - begun == 2_500_000
    assert pace.real_ns(2_500_000) == 1_000_000
    # A timer of a hundred years by a clock that takes a thousand times as long: for ever, and not out of range.
    assert Pace(ClockPlan(REAL, speed=0.001)).real_ns(100 * 365 * 86_400 * 1_000_000_000) == FOREVER
    assert pace.now_ns() >= 100
