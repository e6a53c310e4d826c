"""The machine's side of a run: who calls the scheduler, and how a real event loop gets its turns meanwhile.

`drive` is awaited inside any running asyncio or uvloop loop; `drive_blocking` needs none. Both give the scheduler slices
of a few milliseconds. Inside a slice the machine's loop is not visible to the code that runs.

This is the one file, besides the benchmarks, that reads the machine's clock.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from types import FrameType
from typing import Any, Final

from weaves import interpose
from weaves.here import here
from weaves.scheduler import BUDGET_SPENT, FOREVER, STOPPED, Scheduler

# A slice: long enough that switching costs nothing, short enough that a progress bar and Ctrl-C feel immediate.
SLICE_S: Final = 0.02
# Events between two looks at the machine's clock.
_LOOK_EVERY: Final = 64

perf_counter = interpose.real_perf_counter


class Stalled(RuntimeError):
    """No event is left, and the strings that the run waits for can never be woken."""


def run_slice(scheduler: Scheduler, until_ns: int) -> int:
    """Run the scheduler for about SLICE_S. Returns what `Scheduler.run` does."""
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
    end = perf_counter() + SLICE_S
    try:
        while True:
            reason = scheduler.run(until_ns, _LOOK_EVERY)
            if reason != BUDGET_SPENT or perf_counter() >= end:
                return reason
    finally:
        here.weave, here.flow = outer_weave, outer_flow
        sys.set_asyncgen_hooks(*outer_hooks)
        asyncio._set_running_loop(outer_loop)
        if outer_task is not None and swap is not None:
            swap(outer_loop, outer_task)


async def drive(scheduler: Scheduler, until_ns: int | None, on_slice: Callable[[], None] | None = None) -> int:
    """Run to `until_ns` (None: without end), until nothing is left, or `Scheduler.stop`. Returns the reason."""
    limit = FOREVER if until_ns is None else until_ns
    while True:
        reason = run_slice(scheduler, limit)
        if on_slice is not None:
            on_slice()
        if reason != BUDGET_SPENT:
            return reason
        await asyncio.sleep(0)


def drive_blocking(scheduler: Scheduler, until_ns: int | None) -> int:
    """As `drive`, without a loop. Ctrl-C raises `KeyboardInterrupt` between two slices, a second one at once."""
    limit = FOREVER if until_ns is None else until_ns
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
        while True:
            reason = run_slice(scheduler, limit)
            if interrupted:
                raise KeyboardInterrupt
            if reason != BUDGET_SPENT:
                return reason
    finally:
        if ours:
            interpose.real_signal(signal.SIGINT, signal.default_int_handler)


def _asyncgen_born(generator: AsyncGenerator[Any, Any]) -> None:
    loop = asyncio._get_running_loop()
    if loop is not None:
        loop._asyncgen_firstiter_hook(generator)  # type: ignore[attr-defined]


def _asyncgen_dropped(generator: AsyncGenerator[Any, Any]) -> None:
    loop = asyncio._get_running_loop()
    if loop is not None:
        loop._asyncgen_finalizer_hook(generator)  # type: ignore[attr-defined]


__all__ = ["STOPPED", "Stalled", "drive", "drive_blocking", "run_slice"]
