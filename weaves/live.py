"""The inner loop of a run in real time: let in what has come, run what is due, send what has gone out, look again.

Each round costs what a small message costs before it reaches its program, so the loop is compiled, and looks on for a
while (`Pace.busy_poll_ns`) before it says that it could sleep. Who sleeps, and calls it, is in realtime.py.
"""

from __future__ import annotations

from typing import Any, Final, final

from mypy_extensions import i64

from weaves.outside import Gates
from weaves.pace import Pace, perf_counter_ns
from weaves.scheduler import BUDGET_SPENT, IDLE, REACHED, STOPPED, Scheduler

# What a slice says besides what `Scheduler.run` does: nothing is to do before the next event, or an interrupt.
WAITING: Final = -1


@final
class LiveLoop:
    """`run` is what runs the scheduler in its place, None for itself; `collect` is called after each `collect_every`
    events and turns: garbage is collected after the same event, however a run is cut into slices.
    """

    def __init__(
        self, scheduler: Scheduler, gates: Gates, pace: Pace, run: Any, collect: Any, look_every: i64,
        collect_every: i64,
    ) -> None:
        self.scheduler: Scheduler = scheduler
        self.gates: Gates = gates
        self.pace: Pace = pace
        self.run: Any = run
        self.collect: Any = collect
        self.look_every: i64 = look_every
        self.collect_every: i64 = collect_every

    def slice(self, limit_ns: i64, length_ns: i64) -> int:
        """Go on for about `length_ns` of real time, up to `limit_ns` of virtual. BUDGET_SPENT, REACHED ... or WAITING.

        Raises `TooLate`.
        """
        scheduler = self.scheduler
        gates = self.gates
        pace = self.pace
        now_ns: i64 = perf_counter_ns()
        end_ns: i64 = now_ns + length_ns
        looked_from_ns: i64 = now_ns
        while True:
            came = gates.take()
            now_ns = perf_counter_ns()
            target_ns: i64 = pace.at(now_ns)
            if target_ns > limit_ns:
                target_ns = limit_ns
            due_ns: i64 = scheduler.next_ns()
            if due_ns <= target_ns:
                came = True
                pace.judge(target_ns - due_ns)
            done: i64 = scheduler.fired + scheduler.turns_taken
            budget: i64 = self.collect_every - done % self.collect_every
            if budget > self.look_every:
                budget = self.look_every
            reason: i64 = 0
            if self.run is None:
                reason = scheduler.run(target_ns, budget)
            else:
                reason = self.run(int(target_ns), int(budget))
            after: i64 = scheduler.fired + scheduler.turns_taken
            if after // self.collect_every != done // self.collect_every:
                self.collect()
            if came or after != done:
                gates.flush()
                looked_from_ns = now_ns
            if reason == STOPPED or (reason == IDLE and not gates.gates):
                return int(reason)
            if now_ns >= end_ns:
                return BUDGET_SPENT
            if reason != BUDGET_SPENT:
                if target_ns >= limit_ns:
                    return REACHED
                if now_ns - looked_from_ns >= pace.busy_poll_ns and scheduler.next_ns() > target_ns:
                    return WAITING
