"""The inner loop of a run in real time: let in what has come, run what is due, send what has gone out, look again.

Each round costs what a small message costs before it reaches its program, so the loop is compiled, and looks on for a
while (`ClockPlan.busy_poll_ns`) before it says that it could sleep. Who sleeps, and calls it, is in live_run.py.
"""

from __future__ import annotations

from typing import Any, Final, final

from mypy_extensions import i64

from weaves.outside import Gates
from weaves.pace import Pace, perf_counter_ns
from weaves.scheduler import BUDGET_SPENT, FOREVER, IDLE, REACHED, STOPPED, Scheduler

# What a slice says besides what `Scheduler.run` does: nothing is to do before the next event, or an interrupt.
WAITING: Final = -1


@final
class LiveLoop:
    """`run` is what runs the scheduler in its place, None for itself; `collect` is called after each `collect_every`
    events and turns: garbage is collected after the same event, however a run is cut into slices. `flush_log` is told
    the place of the run, events and turns done and the virtual time, before it goes on; None: nothing is logged.
    """

    def __init__(
        self, scheduler: Scheduler, gates: Gates, pace: Pace, run: Any, collect: Any, flush_log: Any, look_every: i64,
        collect_every: i64,
    ) -> None:
        self.scheduler: Scheduler = scheduler
        self.gates: Gates = gates
        self.pace: Pace = pace
        self.run: Any = run
        self.collect: Any = collect
        self.flush_log: Any = flush_log
        self.in_run: bool = False  # an exception came out of the middle of the run
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
        self.collect()  # the slice before this one may have stayed behind, in the middle (runner.py)
        while True:
            came = False
            if scheduler.next_ns() > gates.admitted_ns:
                # Not while an input waits. Where more comes than is worked off, it is the machine's queues that grow,
                # which have their bounds, and the clock goes on: no stamp has to be before one that waits.
                came = gates.take()
            done: i64 = scheduler.fired + scheduler.turns_taken
            if self.flush_log is not None:
                self.flush_log(int(done), int(scheduler.now_ns))
            now_ns = perf_counter_ns()
            clock_ns: i64 = pace.at(now_ns)
            target_ns: i64 = clock_ns if clock_ns < limit_ns else limit_ns
            due_ns: i64 = scheduler.next_ns()
            fired: i64 = scheduler.fired
            if due_ns <= target_ns:
                came = True
                pace.judge(clock_ns - due_ns, 1)
            budget: i64 = self.collect_every - done % self.collect_every
            if budget > self.look_every:
                budget = self.look_every
            reason: i64 = 0
            self.in_run = True
            if self.run is None:
                reason = scheduler.run(target_ns, budget)
            else:
                reason = self.run(int(target_ns), int(budget))
            self.in_run = False
            after: i64 = scheduler.fired + scheduler.turns_taken
            if after // self.collect_every != done // self.collect_every:
                self.collect()
            if came or after != done:
                gates.flush()
                looked_from_ns = now_ns
            if scheduler.fired - fired > 1:
                self._judge_more(scheduler.fired - fired - 1, clock_ns - due_ns)
            if reason == STOPPED or (reason == IDLE and not gates.gates):
                return int(reason)
            if now_ns >= end_ns:
                return BUDGET_SPENT
            if reason != BUDGET_SPENT:
                if reason == IDLE and target_ns > scheduler.now_ns:
                    scheduler.advance(target_ns)  # time goes by, also where nothing is to happen
                if target_ns >= limit_ns:
                    return REACHED
                if now_ns - looked_from_ns >= pace.busy_poll_ns:
                    due_ns = scheduler.next_ns()
                    if due_ns > limit_ns:
                        due_ns = limit_ns
                    # What is due so soon is waited for awake.
                    if due_ns >= FOREVER or pace.real_ns(due_ns - target_ns) > pace.busy_poll_ns:
                        return WAITING

    def _judge_more(self, events: i64, first_ns: i64) -> None:
        """Events after the first of a round count with the last of them, or with the first if that was later."""
        real_ns: i64 = perf_counter_ns()
        late_ns: i64 = self.pace.at(real_ns) - self.scheduler.fired_ns
        self.pace.judge(late_ns if late_ns > first_ns else first_ns, events)
