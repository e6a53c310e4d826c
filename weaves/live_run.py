"""A run at the pace of the machine's clock, in a running asyncio or uvloop loop.

The scheduler is that of any run, told how far it may go: to the virtual time that it is by now (pace.py). In between
what has come from outside is let in (outside.py), and what has gone out is sent: live.py has that loop. When nothing is
due the driver sleeps in the machine's loop, until the time of the next event or an interrupt. Its timer and its
descriptors are in an epoll of its own, which the loop watches: timers of a loop count in milliseconds, and looking for
input between two slices must not cost a turn of the loop.

Nothing here decides what the run does, but when it is stopped from outside. With a log (session_log.py) it can be
repeated, replay.py: so whatever is let in, and every end, is noted with its place, the events and turns done so far.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import signal
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from weaves import runner
from weaves.alarm import Alarm
from weaves.live import WAITING, LiveLoop
from weaves.pace import Pace, TooLate, perf_counter_ns
from weaves.realtime import COLLECT_EVERY, LOOK_EVERY, SLICE_S, CollectorHeld, collect, inside, on_duty
from weaves.scheduler import BUDGET_SPENT, FOREVER, IDLE, REACHED, STOPPED

if TYPE_CHECKING:
    from weaves.session_log import SessionLog
    from weaves.supervisor import Supervisor

_SLICE_NS: Final = round(SLICE_S * 1_000_000_000)
# Who shows how far the run is wants to be asked so often, in real time, also while nothing happens.
_LOOK_NS: Final = 100_000_000

# A digest is noted in the log so often, in real time, and no more often than in a hundred times what it costs: a run
# of thousands of hosts must not halt for it.
_MARK_EVERY_NS: Final = 1_000_000_000
_MARK_COSTS: Final = 100

# How a drive has ended, in a log.
REASONS: Final = {IDLE: "idle", REACHED: "reached", STOPPED: "stopped"}
LATE: Final = "late"  # TooLate was raised
INTERRUPTED: Final = "interrupted"  # a signal, between two events
CANCELLED: Final = "cancelled"  # the task that drove
FAILED: Final = "failed"  # something of the machine's, between two events
TORN: Final = "torn"  # in the middle of an event or turn, by a second signal or a failure of ours


class CannotOpen(OSError):
    """What is real could not be opened: a port that is in use, a device that is not allowed. Its text says which."""


class LiveRun:
    """One drive of the run of `supervisor`, which has the pace `pace`."""

    def __init__(self, supervisor: Supervisor, pace: Pace) -> None:
        self._supervisor = supervisor
        self._scheduler = supervisor.scheduler
        self._gates = supervisor.gates
        self._watchdog = supervisor.watchdog
        self._log = supervisor.log
        self._pace = pace
        self._loop = asyncio.get_running_loop()
        self._sleep: asyncio.Future[None] | None = None
        self._rung = False
        self._inner = LiveLoop(
            self._scheduler, self._gates, pace, None if self._watchdog is None else self._watchdog.run,
            partial(collect, self._scheduler, self._watchdog), None if self._log is None else self._log.flush,
            LOOK_EVERY, COLLECT_EVERY[0],
        )  # fmt: skip
        self._marked_at = perf_counter_ns()
        self._marked_steps = 0
        self._mark_every_ns = _MARK_EVERY_NS

    async def drive(self, until_ns: int | None, on_slice: Callable[[], None] | None = None) -> int:
        """As `weaves.realtime.drive`. Raises `TooLate` where the pace has a hard limit, `OSError` of what is real."""
        gates = self._gates
        gates.begin()
        if self._log is not None:
            gates.log = self._log.note
        alarm = Alarm()
        gates.watch(alarm.descriptor, _nothing)
        self._loop.add_reader(gates.poll.fileno(), self._ring)
        gates.clock_ns, gates.ring = self._pace.now_ns, self._ring
        self._pace.begin(int(self._scheduler.now_ns))
        try:
            if self._log is None:
                return await self._drive(until_ns, on_slice, alarm)
            return await self._drive_logged(self._log, until_ns, on_slice, alarm)
        finally:
            gates.end()
            self._loop.remove_reader(gates.poll.fileno())
            gates.unwatch(alarm.descriptor)
            alarm.close()

    async def _drive(self, until_ns: int | None, on_slice: Callable[[], None] | None, alarm: Alarm) -> int:
        limit = FOREVER if until_ns is None else until_ns
        self._scheduler.forget_stop()
        await self._open()
        with CollectorHeld(), on_duty(self._watchdog):
            self._pace.begin(int(self._scheduler.now_ns))
            try:
                return await self._go_on(limit, on_slice, alarm)
            except (KeyboardInterrupt, asyncio.CancelledError):
                if not self._inner.in_run:
                    self._catch_up(limit)
                raise

    async def _go_on(self, limit: int, on_slice: Callable[[], None] | None, alarm: Alarm) -> int:
        while True:
            self._rung = False
            reason = self._slice(limit)
            if on_slice is not None:
                on_slice()
            if self._log is not None and reason in (BUDGET_SPENT, WAITING):
                self._mark(self._log)
            if reason == BUDGET_SPENT:
                await asyncio.sleep(0)
            elif reason == WAITING:
                await self._wait(alarm, limit, FOREVER if on_slice is None else _LOOK_NS)
            else:
                return reason

    def _catch_up(self, limit: int) -> None:
        """Who ends a run while nothing happens ends it at the time that it is by now."""
        scheduler = self._scheduler
        now_ns = min(self._pace.now_ns(), limit)
        if not scheduler.turns and scheduler.now_ns < now_ns < scheduler.next_ns():
            scheduler.advance(now_ns)

    async def _open(self) -> None:
        gates = self._gates
        if gates.live:
            return
        gates.live = True
        try:
            for opener in gates.openers:
                opened = opener()
                if inspect.isawaitable(opened):
                    await opened
        except BaseException as error:
            gates.shut()  # what is open; another run may try again
            if isinstance(error, OSError):
                raise CannotOpen(error.errno, error.strerror or str(error)) from error
            raise

    def _ring(self) -> None:
        """Something has come: end the sleep, or do not begin it."""
        self._rung = True
        if self._sleep is not None and not self._sleep.done():
            self._sleep.set_result(None)

    async def _wait(self, alarm: Alarm, limit: int, most_ns: int) -> None:
        """Sleep until shortly before the next event, or an interrupt, for `most_ns` of real time at most."""
        if self._rung:
            await asyncio.sleep(0)
            return
        due_ns = min(self._scheduler.next_ns(), limit)
        if due_ns < FOREVER:
            # The rest of the time is waited for awake: what wakes a process costs more, and differs.
            due_ns = int(self._pace.real_ns(due_ns - self._pace.now_ns())) - int(self._pace.busy_poll_ns)
        if min(due_ns, most_ns) < FOREVER:
            alarm.set(max(min(due_ns, most_ns), 1))
        self._sleep = self._loop.create_future()
        try:
            await self._sleep
        finally:
            self._sleep = None
            alarm.set(0)

    def _slice(self, limit: int) -> int:
        """Let in what has come and run what is due, as long as there is such, and for about SLICE_S at most."""
        watched = contextlib.nullcontext() if self._watchdog is None else self._watchdog.watched()
        with inside(), watched:
            return runner.run(lambda: self._inner.slice(limit, _SLICE_NS))

    # The log

    async def _drive_logged(
        self, log: SessionLog, until_ns: int | None, on_slice: Callable[[], None] | None, alarm: Alarm
    ) -> int:
        for gate in self._gates.gates[log.gates :]:
            log.gate(gate.name)
        told: dict[str, Any] = {}
        try:
            reason = await self._drive(until_ns, on_slice, alarm)
            told = {"how": REASONS[reason]}
            return reason
        except BaseException as error:
            told = _told_of(error, self._inner.in_run)
            raise
        finally:
            steps = self._steps()
            if told["how"] == TORN:
                steps -= 1  # the one that it ended in
            hangs = len(self._supervisor.hangs)
            log.end(steps, int(self._scheduler.now_ns), {**told, "digest": self._supervisor.digest(), "hangs": hangs})

    def _steps(self) -> int:
        return int(self._scheduler.fired + self._scheduler.turns_taken)

    def _mark(self, log: SessionLog) -> None:
        """Note how far the run is, for who repeats it after the process was killed, and now and then its digest."""
        steps, now_ns, real_ns = self._steps(), int(self._scheduler.now_ns), perf_counter_ns()
        log.flush(steps, now_ns)
        if real_ns - self._marked_at >= self._mark_every_ns:
            log.mark(steps, now_ns, self._supervisor.digest())
            self._marked_at = perf_counter_ns()
            self._mark_every_ns = max(_MARK_EVERY_NS, _MARK_COSTS * (self._marked_at - real_ns))
        elif steps != self._marked_steps:
            log.mark(steps, now_ns, "")
        self._marked_steps = steps


def _told_of(error: BaseException, in_run: bool) -> dict[str, Any]:
    """How `error` ended a drive, for a log."""
    if isinstance(error, TooLate):
        return {"how": LATE, "told": str(error)}
    if in_run:
        return {"how": TORN, "told": str(error) or type(error).__name__, "signum": _signum(error)}
    if isinstance(error, KeyboardInterrupt):
        return {"how": INTERRUPTED, "signum": _signum(error)}
    if isinstance(error, asyncio.CancelledError):
        return {"how": CANCELLED}
    return {"how": FAILED, "told": str(error) or type(error).__name__}


def _signum(error: BaseException) -> int:
    return int(getattr(error, "signum", signal.SIGINT)) if isinstance(error, KeyboardInterrupt) else 0


def _nothing() -> None:
    """The alarm has gone off: that the driver is awake is all."""
