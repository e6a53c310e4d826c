"""Who watches over the strings of a run: starts them, hears of their ends, and says when the run is over.

The run ends when every string that is not a background string has ended, at `until`, or when a string failed and
`on_error` says "stop".
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from weaves.hang import Hang, HangReport
from weaves.outside import Gates
from weaves.pace import Pace
from weaves.restart import AFTER_FAILURES, NEVER
from weaves.scheduler import Call, Lane, Scheduler
from weaves.strings import ENDED, FAILED, KILLED, String
from weaves.trace import Trace
from weaves.weave import Weave

if TYPE_CHECKING:
    from weaves.replay import Replay
    from weaves.session_log import SessionLog
    from weaves.watchdog import Watchdog

STOP: Final = "stop"
CONTINUE: Final = "continue"
RESTART: Final = "restart"
# Not for tapestries: the failure is handed to whoever runs the string (Network.run), and its end stops the scheduler.
RETURN: Final = "return"


class Supervisor:
    """The strings of one run. `on_failure` is called with each string that fails; by default it prints to stderr."""

    def __init__(self, seed: int, on_error: str = STOP) -> None:
        self.seed = seed
        self.on_error = on_error
        self.scheduler = Scheduler()
        self.trace = Trace()
        self._strings: dict[String, None] = {}
        # The states of those that went with a host that crashed (`forget`), and how often they were started again.
        self.forgotten: Counter[str] = Counter()
        self.failures: list[String] = []
        self.on_failure: Callable[[String], None] = _print_failure
        # What the watchdog found, if there is one; a run with a hang in it is not repeatable.
        self.watchdog: Watchdog | None = None
        self.hangs: list[HangReport] = []
        self.on_hang: Callable[[HangReport], None] = _print_hang
        # Strings, not in the background, that have not ended, their threads, and plans that are to come.
        self.awaited = 0
        self._anything = False  # was ever there to wait for
        # Others than strings that are waited for, programs of the machine: whether there are any, how many failed.
        self.has_others = False
        self.others_failed = 0
        # What is planned from outside of all hosts (`at`) comes before everything else of its time.
        self.outside = Lane(0)
        self.stopped_by: String | None = None
        self.halted_by: HangReport | None = None  # a hang that is no string's
        self.closing = False
        self._next_lane = 0
        self.gates = Gates(self.scheduler)
        self.pace: Pace | None = None  # None: virtual time
        self.real_loop: asyncio.Runner | None = None  # of a run in real time that has no other loop (drivers.py)
        self.log: SessionLog | None = None  # of a session that is recorded
        self.replay: Replay | None = None  # of one that is repeated, in virtual time
        self.digest: Callable[[], str] = str  # of what happened so far; the network says how

    @property
    def strings(self) -> list[String]:
        """All strings, in the order in which they were given, without those that went with a host that crashed."""
        return list(self._strings)

    def new_lane(self) -> Lane:
        """The next lane; hosts and links take theirs in the order of the tapestry."""
        self._next_lane += 1
        return Lane(self._next_lane)

    def start(self, string: String, at_ns: int) -> None:
        """Let `string` begin at `at_ns` of virtual time."""
        self._strings[string] = None
        self._anything = True
        if not string.background:
            self.awaited += 1
        string.start_ns = max(at_ns, self.scheduler.now_ns)
        self._post_begin(string, at_ns)
        self.ring()

    def at(self, at_ns: int, function: Callable[[], object]) -> Call:
        """Call `function` at `at_ns`, outside of all hosts and before all else of that time. The run waits for it."""
        self.await_one_more()
        plan = Call(self._carry_out, function)
        self.scheduler.post(plan, self.outside, max(at_ns, self.scheduler.now_ns))
        self.ring()
        return plan

    def take_back(self, plan: Call) -> None:
        """The same will not happen, if it has not yet."""
        if plan.queued:
            self.scheduler.cancel(plan)
            self.await_one_less()

    def _carry_out(self, function: Callable[[], object]) -> None:
        try:
            function()
        finally:
            self.await_one_less()

    def await_one_more(self) -> None:
        """The run waits for one thing more."""
        self.awaited += 1
        self._anything = True

    def await_one_less(self) -> None:
        """For one that it has waited for, it waits no more."""
        self.awaited -= 1
        if self.awaited == 0:
            self.stop()

    def stop(self) -> None:
        """Stop the scheduler before its next event, also if a driver in real time sleeps."""
        self.scheduler.stop()
        self.ring()

    def ring(self) -> None:
        """A driver in real time that sleeps shall look at what there is to do: it may be from outside of the run."""
        ring = self.gates.ring
        if ring is not None:
            ring()

    def forget(self, weave: Weave, only: String | None = None) -> None:
        """Count the strings of `weave`, or `only` one of them, which are over, and let go of them."""
        for string in weave.strings.copy() if only is None else [only]:
            if string in self._strings:
                del self._strings[string]
                self.forgotten[string.state] += 1
                self.forgotten["restarts"] += string.restarts
                weave.strings.remove(string)

    def _post_begin(self, string: String, at_ns: int) -> None:
        self.scheduler.post(Call(self.begin, string), string.weave.lane, max(at_ns, self.scheduler.now_ns))

    def stop_at(self, string: String, at_ns: int) -> None:
        """End `string` at `at_ns` as SIGTERM would: its handlers run, without one it is killed."""
        string.has_stop = True
        self.scheduler.post(Call(self._stop_string, string), string.weave.lane, max(at_ns, self.scheduler.now_ns))

    def _stop_string(self, string: String) -> None:
        if not string.over:
            string.stopped = True
            string.weave.signals.deliver(signal.SIGTERM)

    def begin(self, string: String) -> None:
        """Let `string` begin now, unless it is over."""
        if string.over:
            return
        if string.restarts and string.is_alone:
            string.weave.renew()
        self.trace.string_event(self.scheduler.now_ns, string, "started")
        string.begin()

    def string_over(self, string: String) -> None:
        """A string tells that it has ended."""
        now = self.scheduler.now_ns
        lane = string.weave.lane
        lane.fold(now)
        lane.fold({ENDED: 1, FAILED: 2, KILLED: 3}[string.state])
        self.trace.string_event(now, string, string.state)
        if self.closing:
            return
        policy = self._policy(string)
        weave = string.weave
        if weave.known_threads is not None:
            weave.known_threads.string_over(string)
        again = policy != RETURN and not weave.gone and self._starts_again(string, policy)
        if not weave.gone and ((weave.is_program and weave.over) or (again and string.is_alone)):
            weave.exit()
        weave.look_for_deadlock()  # those that are left of its strings may have waited for what this one could do
        if weave.on_exit is not None:
            weave.on_exit()
        if policy == RETURN:
            self.stop()
        elif string.state == FAILED:
            self.failures.append(string)
            self.on_failure(string)
            if policy == STOP and not again:
                self.stopped_by = string
                self.stop()
        if again:
            string.prepare_restart()
            self._post_begin(string, now + (string.restart or AFTER_FAILURES).delay_ns)
        elif not string.background:
            self.await_one_less()

    def _starts_again(self, string: String, on_error: str) -> bool:
        restart = string.restart or (AFTER_FAILURES if on_error == RESTART else NEVER)
        if not string.can_restart or self._hang_ends_all(string):
            return False
        if string.stopped:
            return False
        if string.state == FAILED:
            return restart.after_failure(string.restarts)
        if string.state == ENDED:
            return restart.after_end(string.restarts)
        signum = string.weave.signals.killed_by
        return signum is not None and restart.after_signal(signum, string.restarts)

    def _policy(self, string: String) -> str:
        policy = string.on_error or self.on_error
        if isinstance(string.error, Hang) and self.watchdog is not None and policy != RETURN:
            # What a hang ends is said apart from what a failure ends: the string, which may start again, or all.
            if self._hang_ends_all(string):
                return STOP
            return RESTART if policy == RESTART else CONTINUE
        return policy

    def _hang_ends_all(self, string: String) -> bool:
        return isinstance(string.error, Hang) and self.watchdog is not None and self.watchdog.on_hang == "run"

    def hang(self, report: HangReport) -> None:
        """The watchdog tells of code that holds the processor or the clock; perhaps from its own thread."""
        self.hangs.append(report)
        self.on_hang(report)

    @property
    def over(self) -> bool:
        """Whether the run is at its end by itself: nobody is left to wait for, or a failure stopped it."""
        return self.stopped or (self.awaited == 0 and self._anything)

    @property
    def stopped(self) -> bool:
        """Whether a failure or a hang stopped the run."""
        return self.stopped_by is not None or self.halted_by is not None

    def halt(self, report: HangReport) -> None:
        """Stop the run for code that is no string's."""
        self.halted_by = report
        self.scheduler.stop()

    def waiting(self) -> list[String]:
        """The awaited strings that have not ended."""
        return [string for string in self.strings if not string.over and not string.background]

    def waiting_threads(self) -> list[Weave]:
        """The weaves with threads that the run waits for, and that have not ended."""
        weaves = dict.fromkeys(string.weave for string in self.strings)
        return [weave for weave in weaves if weave.known_threads is not None and weave.known_threads.awaited]

    def close_outside(self) -> None:
        """Close what is real. Raises `OSError` if the log of the session cannot be written."""
        with contextlib.ExitStack() as stack:
            if self.log is not None:
                stack.callback(self.log.close)
            if self.real_loop is not None:
                stack.callback(self.real_loop.close)
                self.real_loop = None
            self.gates.close()

    def close(self) -> None:
        """Kill what still runs."""
        self.closing = True
        seen: set[int] = set()
        for string in self.strings:
            weave = string.weave
            if id(weave) not in seen:
                seen.add(id(weave))
                weave.kill()


def _print_failure(string: String) -> None:
    print(string.describe_failure(), file=sys.stderr)


def _print_hang(report: HangReport) -> None:
    print(report.text(), file=sys.stderr)


def counts(strings: Iterable[String]) -> dict[str, Any]:
    """How many strings are in which state."""
    totals: dict[str, int] = {}
    for string in strings:
        totals[string.state] = totals.get(string.state, 0) + 1
    return totals
