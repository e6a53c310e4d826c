"""Who watches over the strings of a run: starts them, hears of their ends, and says when the run is over.

The run ends when every string that is not a background string has ended, at `until`, or when a string failed and
`on_error` says "stop".
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Any, Final

from weaves.scheduler import Call, Lane, Scheduler
from weaves.strings import ENDED, FAILED, KILLED, String
from weaves.trace import Trace

STOP: Final = "stop"
CONTINUE: Final = "continue"
RESTART: Final = "restart"
# Not for tapestries: the failure is handed to whoever runs the string (Network.run), and its end stops the scheduler.
RETURN: Final = "return"

# How long a string that failed is dead before it is started again. Longer than an instant, so that a program which
# fails at once does not keep the clock from moving; as systemd's RestartSec, a second is easy to reckon with.
RESTART_DELAY_NS: Final = 1_000_000_000


class Supervisor:
    """The strings of one run. `on_failure` is called with each string that fails; by default it prints to stderr."""

    def __init__(self, seed: int, on_error: str = STOP) -> None:
        self.seed = seed
        self.on_error = on_error
        self.scheduler = Scheduler()
        self.trace = Trace()
        self.strings: list[String] = []
        self.failures: list[String] = []
        self.on_failure: Callable[[String], None] = _print_failure
        # Strings, not in the background, that have not ended; the run waits for them.
        self.awaited = 0
        self.stopped_by: String | None = None
        self.closing = False
        self._next_lane = 0

    def new_lane(self) -> Lane:
        """The next lane; hosts and links take theirs in the order of the tapestry."""
        self._next_lane += 1
        return Lane(self._next_lane)

    def start(self, string: String, at_ns: int) -> None:
        """Let `string` begin at `at_ns` of virtual time."""
        self.strings.append(string)
        if not string.background:
            self.awaited += 1
        self._post_begin(string, at_ns)

    def _post_begin(self, string: String, at_ns: int) -> None:
        self.scheduler.post(Call(self._begin, string), string.weave.lane, max(at_ns, self.scheduler.now_ns))

    def stop_at(self, string: String, at_ns: int) -> None:
        """End `string` at `at_ns` as SIGTERM would: its handlers run, without one it is killed."""
        self.scheduler.post(Call(self._stop_string, string), string.weave.lane, max(at_ns, self.scheduler.now_ns))

    def _stop_string(self, string: String) -> None:
        if not string.over:
            string.weave.signals.deliver(signal.SIGTERM)

    def _begin(self, string: String) -> None:
        if string.over:
            return
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
        if string.weave.is_program and all(other.over for other in string.weave.strings):
            string.weave.exit()
        policy = string.on_error or self.on_error
        if policy == RETURN:
            self.scheduler.stop()
        elif string.state == FAILED:
            self.failures.append(string)
            self.on_failure(string)
            if policy == RESTART and string.can_restart:
                string.prepare_restart()
                self._post_begin(string, now + RESTART_DELAY_NS)
                return
            if policy == STOP:
                self.stopped_by = string
                self.scheduler.stop()
        if not string.background:
            self.awaited -= 1
            if self.awaited == 0:
                self.scheduler.stop()

    @property
    def over(self) -> bool:
        """Whether the run is at its end by itself: nobody is left to wait for, or a failure stopped it."""
        return self.stopped_by is not None or (self.awaited == 0 and bool(self.strings))

    def waiting(self) -> list[String]:
        """The awaited strings that have not ended."""
        return [string for string in self.strings if not string.over and not string.background]

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


def counts(strings: list[String]) -> dict[str, Any]:
    """How many strings are in which state."""
    totals: dict[str, int] = {}
    for string in strings:
        totals[string.state] = totals.get(string.state, 0) + 1
    return totals
