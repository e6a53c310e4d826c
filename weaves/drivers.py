"""By which clock a run is driven: virtual time, the machine's, or a session's that is repeated."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import uvloop

from weaves.live_run import LiveRun
from weaves.realtime import drive, drive_blocking
from weaves.replay import Interrupted

if TYPE_CHECKING:
    from weaves.supervisor import Supervisor


class NoClock(RuntimeError):
    """A run with ways to the outside has a virtual clock, which would not wait for what comes."""


async def drive_run(supervisor: Supervisor, until_ns: int | None, on_slice: Callable[[], None] | None = None) -> int:
    """Drive the run of `supervisor` by the clock that it has, in a running loop. See `weaves.realtime.drive`."""
    if supervisor.replay is None and supervisor.pace is not None:
        return await LiveRun(supervisor, supervisor.pace).drive(until_ns, on_slice)
    run = _run_of(supervisor)
    return await drive(supervisor.scheduler, until_ns, on_slice, supervisor.watchdog, run)


def drive_run_blocking(supervisor: Supervisor, until_ns: int | None) -> int:
    """As `drive_run`, without a loop: in real time in a uvloop loop that the run has for itself."""
    if supervisor.replay is None and supervisor.pace is not None:
        if asyncio._get_running_loop() is not None:
            raise RuntimeError("a run in real time would hold up the loop that runs here; expected run_async()")
        if supervisor.real_loop is None:
            supervisor.real_loop = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        return supervisor.real_loop.run(drive_run(supervisor, until_ns))
    run = _run_of(supervisor)
    try:
        return drive_blocking(supervisor.scheduler, until_ns, supervisor.watchdog, run)
    except asyncio.CancelledError:
        # Of a session: Ctrl-C cancels the task that drives in a loop of its own, which then raises this.
        raise Interrupted(signal.SIGINT) from None


def check_clock(supervisor: Supervisor) -> None:
    """Raise `NoClock` where the run leads to the outside, and time would not wait for what comes from there."""
    if supervisor.gates.gates and supervisor.pace is None and supervisor.replay is None:
        name = supervisor.gates.gates[0].name
        raise NoClock(f'"{name}" leads out of the run, and the clock is virtual; expected clock = "real"')


def _run_of(supervisor: Supervisor) -> Callable[[int, int], int] | None:
    """What stands in for `Scheduler.run`, in virtual time. Raises `NoClock`."""
    check_clock(supervisor)
    return None if supervisor.replay is None else supervisor.replay.run
