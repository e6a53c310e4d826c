"""`time` inside a weave: the clocks of its host, and a sleep that parks its flow."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from weaves.bridge import current_flow
from weaves.here import here
from weaves.interpose.replace import Replacements

_NS: Final = 1_000_000_000

# The machine's own, for the parts of this package that must not be interposed.
real_perf_counter = time.perf_counter


def install(replacements: Replacements) -> None:
    """Interpose `time`."""
    replacements.put_all(time, _time_wrappers())


def _time_wrappers() -> dict[str, Callable[..., Any]]:
    def clock(name: str, wall: bool, integer: bool) -> Callable[[], Any]:
        real = getattr(time, name)

        def virtual() -> Any:
            weave = here.weave
            if weave is None:
                return real()
            ns = weave.scheduler.now_ns + (weave.epoch_ns if wall else 0)
            return ns if integer else ns / _NS

        virtual.__name__ = virtual.__qualname__ = name
        virtual.__module__ = "time"
        virtual.__doc__ = real.__doc__
        return virtual

    wrappers: dict[str, Callable[..., Any]] = {
        "time": clock("time", True, False),
        "time_ns": clock("time_ns", True, True),
        "monotonic": clock("monotonic", False, False),
        "monotonic_ns": clock("monotonic_ns", False, True),
        "perf_counter": clock("perf_counter", False, False),
        "perf_counter_ns": clock("perf_counter_ns", False, True),
    }
    real_sleep = time.sleep

    def sleep(seconds: float, /) -> None:
        weave = here.weave
        if weave is None:
            real_sleep(seconds)
            return
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        flow = current_flow()
        end_ns = weave.scheduler.now_ns + round(seconds * _NS)
        # At least one turn for the others, as a real sleep gives.
        flow.park_for(end_ns - weave.scheduler.now_ns)
        while weave.scheduler.now_ns < end_ns:
            flow.park_for(end_ns - weave.scheduler.now_ns)

    wrappers["sleep"] = sleep
    for name in ("gmtime", "localtime", "ctime"):
        wrappers[name] = _calendar(name)
    wrappers["strftime"] = _strftime()
    wrappers["asctime"] = _asctime()
    return wrappers


def _calendar(name: str) -> Callable[..., Any]:
    real = getattr(time, name)

    def virtual(seconds: float | None = None, /) -> Any:
        weave = here.weave
        if seconds is None and weave is not None:
            seconds = (weave.scheduler.now_ns + weave.epoch_ns) / _NS
        return real() if seconds is None else real(seconds)

    virtual.__name__ = virtual.__qualname__ = name
    virtual.__module__ = "time"
    return virtual


def _strftime() -> Callable[..., str]:
    real = time.strftime
    real_localtime = time.localtime

    def strftime(format: str, when: Any = None, /) -> str:
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

    def asctime(when: Any = None, /) -> str:
        weave = here.weave
        if when is None:
            if weave is None:
                return real()
            when = real_localtime((weave.scheduler.now_ns + weave.epoch_ns) / _NS)
        return real(when)

    return asctime
