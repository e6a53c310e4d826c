"""`time` inside a weave: the clocks of its host, and a sleep that parks its flow.

There are two clocks: that of the wall, and that of the time since the start of the run, which all clocks of Linux that
cannot be set show. Code takes no virtual time, so the clocks of the processor stand at 0. The zone is the machine's
(`weave run` sets it to UTC); dates.py has what `datetime` adds.
"""

from __future__ import annotations

import errno
import os
import time
import types
from collections.abc import Callable
from typing import Any, Final

from weaves.bridge import current_flow
from weaves.here import here
from weaves.interpose.replace import Replacements

_NS: Final = 1_000_000_000

# The machine's own, for the parts of this package that must not be interposed.
real_perf_counter = time.perf_counter

_WALL: Final = ("CLOCK_REALTIME", "CLOCK_TAI")
_SINCE_START: Final = ("CLOCK_MONOTONIC", "CLOCK_MONOTONIC_RAW", "CLOCK_BOOTTIME")
_PROCESSOR: Final = ("CLOCK_PROCESS_CPUTIME_ID", "CLOCK_THREAD_CPUTIME_ID")


def install(replacements: Replacements) -> None:
    """Interpose `time`, and `os.times`."""
    for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time"):
        replacements.put_c(time, name, _clock(name))
        replacements.put_c(time, f"{name}_ns", _clock(f"{name}_ns"))
    replacements.put_c(time, "sleep", _sleep())
    replacements.put_all_c(time, _numbered_clocks())
    for name in ("gmtime", "localtime", "ctime"):
        replacements.put_c(time, name, _calendar(name))
    replacements.put_c(time, "strftime", _strftime())
    replacements.put_c(time, "asctime", _asctime())
    replacements.put_c(time, "tzset", _tzset())
    replacements.put_c(os, "times", _times())


def _clock(name: str) -> Callable[..., Any]:
    real = getattr(time, name)
    if name.startswith(("process_time", "thread_time")):

        def standing(_stand: object) -> Any:
            if here.weave is None:
                return real()
            return 0 if name.endswith("_ns") else 0.0

        return standing
    if name == "time":

        def wall(_stand: object) -> float:
            weave = here.weave
            return real() if weave is None else (weave.scheduler.now_ns + weave.epoch_ns) / _NS

        return wall
    if name == "time_ns":

        def wall_ns(_stand: object) -> int:
            weave = here.weave
            return real() if weave is None else weave.scheduler.now_ns + weave.epoch_ns

        return wall_ns
    if name.endswith("_ns"):

        def since_start_ns(_stand: object) -> int:
            weave = here.weave
            return real() if weave is None else int(weave.scheduler.now_ns)

        return since_start_ns

    def since_start(_stand: object) -> float:
        weave = here.weave
        return real() if weave is None else weave.scheduler.now_ns / _NS

    return since_start


def _sleep() -> Callable[..., None]:
    real = time.sleep

    def sleep(_stand: object, seconds: float, /) -> None:
        weave = here.weave
        if weave is None:
            real(seconds)
            return
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        flow = current_flow()
        end_ns = weave.scheduler.now_ns + round(seconds * _NS)
        # At least one turn for the others, as a real sleep gives.
        flow.park_for(end_ns - weave.scheduler.now_ns)
        while weave.scheduler.now_ns < end_ns:
            flow.park_for(end_ns - weave.scheduler.now_ns)

    return sleep


def _numbered_clocks() -> dict[str, Callable[..., Any]]:
    """The functions that take one of the numbers CLOCK_..., and `get_clock_info`, which takes a name."""
    real_gettime, real_gettime_ns = time.clock_gettime, time.clock_gettime_ns
    real_settime, real_settime_ns = time.clock_settime, time.clock_settime_ns
    real_getres, real_get_clock_info = time.clock_getres, time.get_clock_info
    wall = {getattr(time, name) for name in _WALL if hasattr(time, name)}
    since_start = {getattr(time, name) for name in _SINCE_START if hasattr(time, name)}
    processor = {getattr(time, name) for name in _PROCESSOR if hasattr(time, name)}

    def clock_gettime_ns(_stand: object, clk_id: int, /) -> int:
        weave = here.weave
        if weave is None:
            return real_gettime_ns(clk_id)
        if clk_id in wall:
            return int(weave.scheduler.now_ns) + weave.epoch_ns
        if clk_id in since_start:
            return int(weave.scheduler.now_ns)
        # The negative ones are the processor clocks of threads (pthread_getcpuclockid).
        if clk_id in processor or clk_id < 0:
            return 0
        raise OSError(errno.EINVAL, "Invalid argument")

    def clock_gettime(stand: object, clk_id: int, /) -> float:
        return real_gettime(clk_id) if here.weave is None else clock_gettime_ns(stand, clk_id) / _NS

    def clock_settime(_stand: object, clk_id: int, seconds: float, /) -> None:
        if here.weave is None:
            real_settime(clk_id, seconds)
        else:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    def clock_settime_ns(_stand: object, clk_id: int, ns: int, /) -> None:
        if here.weave is None:
            real_settime_ns(clk_id, ns)
        else:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    def clock_getres(stand: object, clk_id: int, /) -> float:
        if here.weave is None:
            return real_getres(clk_id)
        clock_gettime_ns(stand, clk_id)
        return 1e-9

    def get_clock_info(_stand: object, name: str, /) -> Any:
        info = real_get_clock_info(name)  # type: ignore[arg-type]
        return info if here.weave is None else types.SimpleNamespace(**{**vars(info), "resolution": 1e-9})

    return {
        "clock_gettime": clock_gettime,
        "clock_gettime_ns": clock_gettime_ns,
        "clock_settime": clock_settime,
        "clock_settime_ns": clock_settime_ns,
        "clock_getres": clock_getres,
        "get_clock_info": get_clock_info,
    }


def _calendar(name: str) -> Callable[..., Any]:
    real = getattr(time, name)

    def calendar(_stand: object, seconds: float | None = None, /) -> Any:
        weave = here.weave
        if seconds is None and weave is not None:
            seconds = (weave.scheduler.now_ns + weave.epoch_ns) / _NS
        return real() if seconds is None else real(seconds)

    return calendar


def _strftime() -> Callable[..., str]:
    real = time.strftime
    real_localtime = time.localtime

    def strftime(_stand: object, format: str, when: Any = None, /) -> str:
        weave = here.weave
        if when is None:
            if weave is None:
                return real(format)
            when = real_localtime((weave.scheduler.now_ns + weave.epoch_ns) / _NS)
        return real(format, when)

    return strftime


def _asctime() -> Callable[..., str]:
    real = time.asctime
    real_localtime = time.localtime

    def asctime(_stand: object, when: Any = None, /) -> str:
        weave = here.weave
        if when is None:
            if weave is None:
                return real()
            when = real_localtime((weave.scheduler.now_ns + weave.epoch_ns) / _NS)
        return real(when)

    return asctime


def _times() -> Callable[..., os.times_result]:
    real = os.times

    def times(_stand: object) -> os.times_result:
        weave = here.weave
        return real() if weave is None else os.times_result((0.0, 0.0, 0.0, 0.0, weave.scheduler.now_ns / _NS))

    return times


def _tzset() -> Callable[..., None]:
    real = time.tzset

    def tzset(_stand: object) -> None:
        # The zone is of the whole process.
        if here.weave is None:
            real()

    return tzset
