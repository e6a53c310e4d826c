"""A timer of the machine's that a poll can watch: timerfd_create(2), in nanoseconds.

Timers of uvloop, and the timeouts of epoll_wait(2), count in milliseconds.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

# linux/timerfd.h, time.h
_CLOCK_MONOTONIC: Final = 1
_TFD_NONBLOCK, _TFD_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
_NS: Final = 1_000_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Alarm:
    """Its `descriptor` can be read from the time on that was set. Raises `OSError` where there are no descriptors."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor: int = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self.descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self._setting = _Itimerspec()
        self._address = ctypes.byref(self._setting)

    def set(self, after_ns: int) -> None:
        """Go off in `after_ns`, at least 1; 0: not at all. Whatever was set before is forgotten."""
        self._setting.value.seconds, self._setting.value.nanoseconds = divmod(after_ns, _NS)
        self._libc.timerfd_settime(self.descriptor, 0, self._address, None)

    def close(self) -> None:
        os.close(self.descriptor)
