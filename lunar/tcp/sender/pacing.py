"""Pacing: records go at a rate, not in bursts, where congestion control asks for it, the program
(SO_MAX_PACING_RATE), or the device's queue (`fq`).

The rate is `tcb.pacing_rate`, which congestion control keeps. As Linux does it: each record that is sent puts off the
next by its size over the rate; the first ten segments of a connection are free; and who was held up or idle may catch
up by half of a record's time. A timer goes on where one had to wait.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lunar.tcp import timers
from lunar.tcp.tcb import Tcb

_FREE_SEGMENTS: Final = 10
_SECOND_NS: Final = 1_000_000_000


def holds(tcb: Tcb) -> bool:
    """Whether the next record has to wait. Then the timer sends it."""
    if tcb.departure_ns <= tcb.scheduler.now_ns:
        return False
    timer = tcb.pacing_timer
    if timer is None:
        timer = timers.Timer(tcb)
        tcb.pacing_timer = timer
    if timer.at_ns == 0:
        timer.arm(timers.PACING, tcb.departure_ns)
    return True


def sent(tcb: Tcb, size: i64) -> None:
    """A record of `size` bytes went out, and is counted in `data_segs_out`."""
    before: i64 = tcb.departure_ns
    departure: i64 = max(before, tcb.scheduler.now_ns)
    rate: i64 = tcb.pacing_rate
    if rate > 0 and tcb.data_segs_out >= _FREE_SEGMENTS:
        took: i64 = size * _SECOND_NS // rate
        took -= min(took >> 1, departure - before)
        departure += took
    tcb.departure_ns = departure


def limit(tcb: Tcb, rate: i64) -> None:
    """SO_MAX_PACING_RATE in bytes a second; -1 for none. Once set, the connection is paced from then on."""
    tcb.max_pacing_rate = rate
    if rate >= 0:
        tcb.needs_pacing = True
        if tcb.pacing_rate > rate or tcb.pacing_rate == 0:
            tcb.pacing_rate = rate
