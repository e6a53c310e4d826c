"""The machine's side of a run: who calls the scheduler, and how a real event loop gets its turns meanwhile.

`drive` is awaited inside any running asyncio or uvloop loop; `drive_blocking` needs none. Both give the scheduler
slices of a few milliseconds. Inside a slice the machine's loop is not visible to the code that runs. Both jump from
event to event; live_run.py waits for each until the machine's clock says so, and lets in what comes from outside.

Besides that driver, the watchdog and the benchmarks, nothing reads the machine's clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from weaves import interpose, runner
from weaves.directory import directory
from weaves.here import here
from weaves.scheduler import BUDGET_SPENT, FOREVER, IDLE, STOPPED, Scheduler

if TYPE_CHECKING:
    from weaves.watchdog import Watchdog

# A slice: long enough that switching costs nothing, short enough that a progress bar and Ctrl-C feel immediate.
SLICE_S: Final = 0.02
# Events between two looks at the machine's clock.
LOOK_EVERY: Final = 64

# When the cyclic garbage collector runs, in events and turns since the start: its youngest generation, the middle
# one, all. By itself it would run by the count of allocations, which differs from build to build and from run to run,
# and what it finds may be a socket whose closing sends a packet. The numbers cost about what CPython's own thresholds
# cost.
COLLECT_EVERY: Final = (2_048, 32_768, 1_048_576)

perf_counter = interpose.real_perf_counter

Run: TypeAlias = Callable[[int, int], int]  # as `Scheduler.run`


class Stalled(RuntimeError):
    """No event is left, and the strings that the run waits for can never be woken."""


def run_slice(
    scheduler: Scheduler, until_ns: int, watchdog: Watchdog | None = None, run: Run | None = None
) -> int:
    """Run the scheduler for about SLICE_S, by `run` if it is given. Returns what `Scheduler.run` does."""
    if run is None:
        run = scheduler.run if watchdog is None else watchdog.run
    with inside(), contextlib.nullcontext() if watchdog is None else watchdog.watched():
        end = perf_counter() + SLICE_S

        def slice_() -> int:
            collect(scheduler, watchdog)  # the slice before this one may have stayed behind
            while True:
                reason = run(until_ns, budget(scheduler))
                collect(scheduler, watchdog)
                if reason != BUDGET_SPENT or perf_counter() >= end:
                    return reason

        return runner.run(slice_)


def budget(scheduler: Scheduler) -> int:
    """How many events and turns may go before the next look at the clock, and at most up to the next collection.

    A run in real time looks at any moment, and its replay at others; both collect garbage after the same event.
    """
    return min(LOOK_EVERY, COLLECT_EVERY[0] - int(scheduler.fired + scheduler.turns_taken) % COLLECT_EVERY[0])


def settle(scheduler: Scheduler, turns: int, watchdog: Watchdog | None = None) -> None:
    """Let what is ready at this instant run, at most `turns` events and turns: the clock stands still."""
    scheduler.forget_stop()
    with inside():
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
    with CollectorHeld(), on_duty(watchdog), inside(), watched:
        runner.run(once)
        collect(scheduler, watchdog)
    return True


@contextlib.contextmanager
def inside() -> Iterator[None]:
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


def collect(scheduler: Scheduler, watchdog: Watchdog | None) -> None:
    """Collect garbage, if it is time for it by the run's own count."""
    done = int(scheduler.fired + scheduler.turns_taken)
    before = int(scheduler.collected_at)
    if done // COLLECT_EVERY[0] == before // COLLECT_EVERY[0]:
        return
    scheduler.collected_at = done
    oldest = max(age for age, every in enumerate(COLLECT_EVERY) if done // every != before // every)
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
    run: Run | None = None,
) -> int:
    """Run to `until_ns` (None: without end), until nothing is left, or `Scheduler.stop`. Returns the reason.

    `run` stands in for `Scheduler.run`, for a run that is repeated (replay.py).
    """
    limit = FOREVER if until_ns is None else until_ns
    scheduler.forget_stop()
    with CollectorHeld(), on_duty(watchdog):
        while True:
            reason = run_slice(scheduler, limit, watchdog, run)
            if on_slice is not None:
                on_slice()
            if reason != BUDGET_SPENT:
                return reason
            await asyncio.sleep(0)


def on_duty(watchdog: Watchdog | None) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext() if watchdog is None else watchdog.on_duty()


def drive_blocking(
    scheduler: Scheduler, until_ns: int | None, watchdog: Watchdog | None = None, run: Run | None = None
) -> int:
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
        with CollectorHeld(), on_duty(watchdog):
            while True:
                reason = run_slice(scheduler, limit, watchdog, run)
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


__all__ = ["IDLE", "STOPPED", "Stalled", "drive", "drive_blocking", "run_slice", "step"]
