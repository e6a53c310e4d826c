"""The machine's side of a run: who calls the scheduler, and how a real event loop gets its turns meanwhile.

`drive` is awaited inside any running asyncio or uvloop loop; `drive_blocking` needs none. Both give the scheduler
slices of a few milliseconds. Inside a slice the machine's loop is not visible to the code that runs. Both jump from
event to event; `drive_live` waits for each until the machine's clock says so (pace.py), and lets in what comes from
outside meanwhile (outside.py).

Besides the watchdog and the benchmarks, no other file reads the machine's clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import select
import signal
import sys
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import uvloop

from weaves import interpose, runner
from weaves.alarm import Alarm
from weaves.directory import directory
from weaves.here import here
from weaves.live import WAITING, LiveLoop
from weaves.outside import Gates
from weaves.pace import Pace
from weaves.scheduler import BUDGET_SPENT, FOREVER, IDLE, STOPPED, Scheduler

if TYPE_CHECKING:
    from weaves.supervisor import Supervisor
    from weaves.watchdog import Watchdog

# A slice: long enough that switching costs nothing, short enough that a progress bar and Ctrl-C feel immediate.
SLICE_S: Final = 0.02
_SLICE_NS: Final = round(SLICE_S * 1e9)
# Events between two looks at the machine's clock.
_LOOK_EVERY: Final = 64

# When the cyclic garbage collector runs, in events and turns since the start: its youngest generation, the middle
# one, all. By itself it would run by the count of allocations, which differs from build to build and from run to run,
# and what it finds may be a socket whose closing sends a packet. The numbers cost about what CPython's own thresholds
# cost.
_COLLECT_EVERY: Final = (2_048, 32_768, 1_048_576)

perf_counter = interpose.real_perf_counter


class Stalled(RuntimeError):
    """No event is left, and the strings that the run waits for can never be woken."""


def run_slice(scheduler: Scheduler, until_ns: int, watchdog: Watchdog | None = None) -> int:
    """Run the scheduler for about SLICE_S. Returns what `Scheduler.run` does."""
    run = scheduler.run if watchdog is None else watchdog.run
    with _inside(), contextlib.nullcontext() if watchdog is None else watchdog.watched():
        end = perf_counter() + SLICE_S

        def slice_() -> int:
            while True:
                reason = run(until_ns, _budget(scheduler))
                _collect(scheduler, watchdog)
                if reason != BUDGET_SPENT or perf_counter() >= end:
                    return reason

        return runner.run(slice_)


def _budget(scheduler: Scheduler) -> int:
    """How many events and turns may go before the next look at the clock, and at most up to the next collection.

    A run in real time ends its slices anywhere, and its replay elsewhere; both collect garbage after the same event.
    """
    return min(_LOOK_EVERY, _COLLECT_EVERY[0] - int(scheduler.fired + scheduler.turns_taken) % _COLLECT_EVERY[0])


def settle(scheduler: Scheduler, turns: int, watchdog: Watchdog | None = None) -> None:
    """Let what is ready at this instant run, at most `turns` events and turns: the clock stands still."""
    scheduler.forget_stop()
    with _inside():
        run = scheduler.run if watchdog is None else watchdog.run
        runner.run(lambda: run(scheduler.now_ns, turns))


def step(scheduler: Scheduler, watchdog: Watchdog | None = None) -> bool:
    """Let the next event happen, and the turns that follow from it. False when nothing is left to happen."""
    next_ns = scheduler.next_ns()
    if next_ns == FOREVER and not scheduler.turns:
        return False
    scheduler.forget_stop()
    fired = scheduler.fired
    run = scheduler.run if watchdog is None else watchdog.run

    def once() -> int:
        while True:
            reason = run(next_ns, 1)
            if reason != BUDGET_SPENT or (scheduler.fired > fired and not scheduler.turns):
                return reason

    watched = contextlib.nullcontext() if watchdog is None else watchdog.watched()
    with CollectorHeld(), _on_duty(watchdog), _inside(), watched:
        runner.run(once)
        _collect(scheduler, watchdog)
    return True


@contextlib.contextmanager
def _inside() -> Iterator[None]:
    """A context in which the machine's loop, task and hooks are out of sight, and put back afterwards."""
    outer_loop = asyncio._get_running_loop()
    outer_task: Any = None
    swap = getattr(asyncio.tasks, "_swap_current_task", None)  # Python 3.12; the state is the thread's since 3.14
    if outer_loop is not None and swap is not None:
        outer_task = swap(outer_loop, None)
    asyncio._set_running_loop(None)
    outer_hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=_asyncgen_born, finalizer=_asyncgen_dropped)
    outer_weave, outer_flow = here.weave, here.flow
    here.weave = here.flow = None
    here.drives = True
    try:
        yield
    finally:
        directory.enter(None)
        here.weave, here.flow = outer_weave, outer_flow
        sys.set_asyncgen_hooks(*outer_hooks)
        asyncio._set_running_loop(outer_loop)
        if outer_task is not None and swap is not None:
            swap(outer_loop, outer_task)


class CollectorHeld:
    """A context in which the garbage collector runs only when `_collect` says so. Several runs may be in it at once."""

    _inside = 0
    _was_enabled = False

    def __enter__(self) -> None:
        cls = CollectorHeld
        if cls._inside == 0:
            cls._was_enabled = gc.isenabled()
            gc.disable()
        cls._inside += 1

    def __exit__(self, *_exc: object) -> None:
        cls = CollectorHeld
        cls._inside -= 1
        if cls._inside == 0 and cls._was_enabled:
            gc.enable()


def _collect(scheduler: Scheduler, watchdog: Watchdog | None) -> None:
    """Collect garbage, if it is time for it by the run's own count."""
    done = int(scheduler.fired + scheduler.turns_taken)
    before = int(scheduler.collected_at)
    if done // _COLLECT_EVERY[0] == before // _COLLECT_EVERY[0]:
        return
    scheduler.collected_at = done
    oldest = max(age for age, every in enumerate(_COLLECT_EVERY) if done // every != before // every)
    with contextlib.nullcontext() if watchdog is None else watchdog.watched("the garbage collector"):
        here.weave = scheduler.collector
        try:
            gc.collect(oldest)
        finally:
            here.weave = None
    if oldest > 0:
        # Here nothing is being dropped: a generator that is dead was dropped to its end. A slice is too often for this.
        for address, (_, generator) in list(_birthplaces.items()):
            if generator() is None:
                del _birthplaces[address]


async def drive(
    scheduler: Scheduler,
    until_ns: int | None,
    on_slice: Callable[[], None] | None = None,
    watchdog: Watchdog | None = None,
) -> int:
    """Run to `until_ns` (None: without end), until nothing is left, or `Scheduler.stop`. Returns the reason."""
    limit = FOREVER if until_ns is None else until_ns
    scheduler.forget_stop()
    with CollectorHeld(), _on_duty(watchdog):
        while True:
            reason = run_slice(scheduler, limit, watchdog)
            if on_slice is not None:
                on_slice()
            if reason != BUDGET_SPENT:
                return reason
            await asyncio.sleep(0)


async def drive_run(supervisor: Supervisor, until_ns: int | None, on_slice: Callable[[], None] | None = None) -> int:
    """Drive the run of `supervisor` by the clock that it has: `drive`, or `drive_live`."""
    if supervisor.pace is None:
        return await drive(supervisor.scheduler, until_ns, on_slice, supervisor.watchdog)
    live = LiveRun(supervisor.scheduler, supervisor.pace, supervisor.gates, supervisor.watchdog)
    return await live.drive(until_ns, on_slice)


def drive_run_blocking(supervisor: Supervisor, until_ns: int | None) -> int:
    """As `drive_run`, without a loop: in real time in a uvloop loop that the run has for itself."""
    if supervisor.pace is None:
        return drive_blocking(supervisor.scheduler, until_ns, supervisor.watchdog)
    if supervisor.real_loop is None:
        supervisor.real_loop = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    return supervisor.real_loop.run(drive_run(supervisor, until_ns))


class LiveRun:
    """A run at the pace of the machine's clock, in a running asyncio or uvloop loop."""

    def __init__(
        self, scheduler: Scheduler, pace: Pace, gates: Gates, watchdog: Watchdog | None = None
    ) -> None:
        self._scheduler = scheduler
        self._pace = pace
        self._gates = gates
        self._watchdog = watchdog
        self._loop = asyncio.get_running_loop()
        self._loop_of_slice = LiveLoop(
            scheduler, gates, pace, None if watchdog is None else watchdog.run, partial(_collect, scheduler, watchdog),
            _LOOK_EVERY, _COLLECT_EVERY[0],
        )  # fmt: skip
        self._sleep: asyncio.Future[None] | None = None

    async def drive(self, until_ns: int | None, on_slice: Callable[[], None] | None = None) -> int:
        """As the function `drive`. Raises `TooLate` where the pace has a hard limit, `OSError` of what is real."""
        scheduler, gates = self._scheduler, self._gates
        limit = FOREVER if until_ns is None else until_ns
        scheduler.forget_stop()
        if gates.poll is None or gates.poll.closed:
            gates.poll = select.epoll()
        alarm = Alarm()
        gates.watch(alarm.descriptor, lambda: None)
        self._loop.add_reader(gates.poll.fileno(), self._ring)
        gates.clock_ns, gates.ring = self._pace.now_ns, self._ring
        self._pace.begin(int(scheduler.now_ns))
        try:
            await self._open()
            with CollectorHeld(), _on_duty(self._watchdog):
                while True:
                    reason = self._slice(limit)
                    if on_slice is not None:
                        on_slice()
                    if reason == BUDGET_SPENT:
                        await asyncio.sleep(0)
                    elif reason == WAITING:
                        await self._wait(alarm, limit)
                    else:
                        return reason
        finally:
            self._loop.remove_reader(gates.poll.fileno())
            gates.ring = None
            gates.unwatch(alarm.descriptor)
            alarm.close()

    async def _open(self) -> None:
        if not self._gates.live:
            self._gates.live = True
            for opener in self._gates.openers:
                opened = opener()
                if inspect.isawaitable(opened):
                    await opened
            self._pace.begin(int(self._scheduler.now_ns))  # that took a while

    def _ring(self) -> None:
        """Something has come: end the sleep."""
        if self._sleep is not None and not self._sleep.done():
            self._sleep.set_result(None)

    async def _wait(self, alarm: Alarm, limit: int) -> None:
        """Sleep until the time of the next event, or an interrupt."""
        due_ns = min(self._scheduler.next_ns(), limit)
        if due_ns < FOREVER:
            alarm.set(max(self._pace.real_ns(due_ns - self._pace.now_ns()), 1))
        self._sleep = self._loop.create_future()
        try:
            await self._sleep
        finally:
            self._sleep = None
            alarm.set(0)

    def _slice(self, limit: int) -> int:
        """Let in what has come and run what is due, as long as there is such, and for about SLICE_S at most."""
        watchdog = self._watchdog
        watched = contextlib.nullcontext() if watchdog is None else watchdog.watched()
        with _inside(), watched:
            return runner.run(lambda: self._loop_of_slice.slice(limit, _SLICE_NS))


def _on_duty(watchdog: Watchdog | None) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext() if watchdog is None else watchdog.on_duty()


def drive_blocking(scheduler: Scheduler, until_ns: int | None, watchdog: Watchdog | None = None) -> int:
    """As `drive`, without a loop. Ctrl-C raises `KeyboardInterrupt` between two slices, a second one at once."""
    limit = FOREVER if until_ns is None else until_ns
    scheduler.forget_stop()
    interrupted = False

    def on_sigint(_signum: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        scheduler.stop()

    ours = (
        threading.current_thread() is threading.main_thread()
        and interpose.real_getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        interpose.real_signal(signal.SIGINT, on_sigint)
    try:
        with CollectorHeld(), _on_duty(watchdog):
            while True:
                reason = run_slice(scheduler, limit, watchdog)
                if interrupted:
                    raise KeyboardInterrupt
                if reason != BUDGET_SPENT:
                    return reason
    finally:
        if ours:
            interpose.real_signal(signal.SIGINT, signal.default_int_handler)


# The loop in which an async generator began, and the generator, by its address: whoever drops the last reference may
# run in another loop, or in none. By the address, because weak references to it are dead when its finalizer is called.
# One that ran to its end is forgotten when its address is used again, or at one of the collections.
_birthplaces: Final[dict[int, tuple[weakref.ref[Any], weakref.ref[Any]]]] = {}


def _asyncgen_born(generator: AsyncGenerator[Any, Any]) -> None:
    loop: Any = asyncio._get_running_loop()
    if loop is None:
        _birthplaces.pop(id(generator), None)
    else:
        _birthplaces[id(generator)] = (weakref.ref(loop), weakref.ref(generator))
        loop._asyncgen_firstiter_hook(generator)


def _asyncgen_dropped(generator: AsyncGenerator[Any, Any]) -> None:
    birthplace = _birthplaces.pop(id(generator), None)
    loop = None if birthplace is None else birthplace[0]()
    if loop is not None:
        loop._asyncgen_finalizer_hook(generator)


__all__ = [
    "IDLE",
    "STOPPED",
    "LiveRun",
    "Stalled",
    "drive",
    "drive_blocking",
    "drive_run",
    "drive_run_blocking",
    "run_slice",
    "step",
]
