"""Gates: the only ways by which something comes into a run from outside of it.

A run without them repeats by itself. One with gates repeats when each input comes again at its virtual time: so each is
stamped, with a time later than all that has happened, may be logged, and becomes an event on one lane, which comes
before all others of its time. What the inside does may depend on nothing else from outside: that a peer has closed, or
has room again, is an input, too.

Read live_run.py beside this file: its driver calls `take`, runs the scheduler, and calls `flush`. What opens real
descriptors does so in a function given to `on_open`, which a replay never calls.
"""

from __future__ import annotations

import select
from typing import Any, Final, final

from mypy_extensions import i64

from weaves.scheduler import Event, Lane, Scheduler

_LANE: Final = -1  # before that of what is planned (supervisor.py), which is 0


def _stands() -> int:
    """The clock between two drives: whatever comes in is for the first moment of the next."""
    return 0


@final
class Gate:
    """One way in. `number` counts the gates of a run in the order in which it was built."""

    def __init__(self, gates: Gates, number: i64, name: str, event_of: Any) -> None:
        self.gates: Gates = gates
        self.number: i64 = number
        self.name: str = name
        self.event_of: Any = event_of

    def admit(self, data: bytes) -> None:
        """`data` has come: the event that `event_of(data)` makes of it happens as soon as it is its turn.

        In a run that is late it goes before what is overdue: timers that wait for an answer must not go off because
        both have waited for this process.

        Call it from a `readable` function or from a callback of the machine's loop, never from code of a weave.
        """
        gates = self.gates
        at_ns: i64 = gates.clock_ns()
        due_ns: i64 = gates.scheduler.next_ns()
        if at_ns > due_ns:
            at_ns = due_ns
        if at_ns <= gates.scheduler.now_ns:
            at_ns = gates.scheduler.now_ns + 1
        if gates.log is not None:
            gates.log(int(at_ns), int(self.number), data)
        gates.admitted_ns = at_ns
        self.post(data, at_ns)
        if gates.ring is not None:
            gates.ring()

    def post(self, data: bytes, at_ns: i64) -> None:
        """Let `data` come in at `at_ns`: what `admit` does, and a replay."""
        gates = self.gates
        lane = gates.lane
        lane.fold(at_ns)
        lane.fold((self.number << 40) | len(data))
        event: Event = self.event_of(data)
        gates.scheduler.post(event, lane, at_ns)


@final
class Gates:
    """All gates of one run, and the real descriptors behind them."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler: Scheduler = scheduler
        self.lane: Lane = Lane(_LANE)
        self.gates: list[Gate] = []
        self.live: bool = False  # real descriptors are open
        self.admitted_ns: i64 = -1  # when the last input is due, or was
        # Of a run that goes on: the virtual time that it is by the machine's clock, who logs, who wakes the driver.
        self.clock_ns: Any = _stands
        self.log: Any = None
        self.ring: Any = None
        self.openers: list[Any] = []
        self.closers: list[Any] = []
        self._flushers: list[Any] = []
        self._readable: dict[int, Any] = {}
        self.poll: Any = None  # select.epoll of the descriptors, made when the run opens

    def gate(self, name: str, event_of: Any) -> Gate:
        """A new gate. `event_of(data: bytes)` makes the `Event` that an input is. Made while the run is built."""
        made = Gate(self, len(self.gates), name, event_of)
        self.gates.append(made)
        return made

    def on_open(self, function: Any) -> None:
        """Call `function` when a live run begins: it opens what is real. It may be a coroutine function, may raise."""
        self.openers.append(function)

    def on_close(self, function: Any) -> None:
        """Call `function` when the run is closed, if it was live, also if what was to be opened could not be."""
        self.closers.append(function)

    def on_flush(self, function: Any) -> None:
        """Call `function` after each slice of the run, and before the driver sleeps: it sends what has gone out."""
        self._flushers.append(function)

    def watch(self, descriptor: int, readable: Any) -> None:
        """Call `readable` when there is something to read: it reads a bounded batch without blocking, and admits it."""
        self._readable[descriptor] = readable
        self.poll.register(descriptor, 1)  # EPOLLIN; errors are always told

    def unwatch(self, descriptor: int) -> None:
        """Take `watch` back, before the descriptor is closed."""
        del self._readable[descriptor]
        self.poll.unregister(descriptor)

    def take(self) -> bool:
        """Let in what waits outside. False when there was nothing."""
        found = self.poll.poll(0)
        for descriptor, _ in found:
            readable = self._readable.get(descriptor)
            if readable is not None:  # it may have been taken away by the one before it
                readable()
        return bool(found)

    def flush(self) -> None:
        """Send what has gone out."""
        for flusher in self._flushers:
            flusher()

    def begin(self) -> None:
        """A drive begins: its driver sets `clock_ns` and `ring`, and watches `poll`."""
        if self.poll is None:
            self.poll = select.epoll()

    def end(self) -> None:
        """A drive has ended. What is open stays so, for the next one."""
        self.clock_ns = _stands
        self.ring = None

    def shut(self) -> None:
        """Close what is real: all of it, also where one cannot be closed in good order, which is raised."""
        self.live = False
        failed: BaseException | None = None
        for closer in self.closers:
            try:
                closer()
            except BaseException as error:  # noqa: BLE001 - raised when the others are closed, too
                failed = failed or error
        if failed is not None:
            raise failed

    def close(self) -> None:
        """The run is over: what has gone out to its end is sent, and all is closed."""
        try:
            if self.live:
                try:
                    self.flush()
                finally:
                    self.shut()
        finally:
            if self.poll is not None:
                self.poll.close()
                self.poll = None
