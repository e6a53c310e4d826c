"""timerfd_create(2): a timer among the descriptors, which reads as the count of its expirations.

A timer with an interval expires once, and goes on when it is read: what has expired meanwhile is counted then. So one
that nobody reads is no event for ever.
"""

from __future__ import annotations

import errno
from typing import final

from mypy_extensions import i64

from lunar.net.sock import POLLIN, Sock
from weaves.scheduler import Call, Lane, Scheduler


@final
class TimerFd(Sock):
    """One timer; times are the scheduler's. It is no socket: the calls that are for sockets fail with ENOTSOCK.

    `wall` is of a timer of CLOCK_REALTIME, whose absolute times are those of the wall clock.
    """

    def __init__(self, scheduler: Scheduler, lane: Lane, wall: bool) -> None:
        super().__init__(0, 0, 0)
        self.scheduler: Scheduler = scheduler
        self.lane: Lane = lane
        self.wall: bool = wall
        self.at_ns: i64 = 0  # when it expires next, or has expired; 0 if it is not armed
        self.interval_ns: i64 = 0
        self.expired: bool = False
        self.count: i64 = 0
        self.timer: Call | None = None
        # Why `read` returned None.
        self.recv_errno: i64 = 0

    def set(self, at_ns: i64, interval_ns: i64) -> None:
        """Arm it for `at_ns`, which may have gone by, or disarm it with 0. What it has counted is forgotten."""
        self._cancel()
        self.at_ns = at_ns
        self.interval_ns = interval_ns
        self.expired = False
        self.count = 0
        if at_ns > 0:
            self._arm()

    def remaining_ns(self) -> i64:
        """The time until it expires; 0 if it is not armed, or has expired for good."""
        self._go_on()
        if self.at_ns == 0 or self.expired:
            return 0
        return self.at_ns - self.scheduler.now_ns

    def read(self, size: i64) -> bytes | None:
        """How often it has expired, as eight bytes; None with `recv_errno` EINVAL for fewer, or EAGAIN."""
        if size < 8:
            self.recv_errno = errno.EINVAL
            return None
        if self.count == 0:
            self.recv_errno = errno.EAGAIN
            return None
        self._go_on()
        taken = int(self.count)
        self.count = 0
        return taken.to_bytes(8, "little")

    def poll(self) -> int:
        return POLLIN if self.count > 0 else 0

    def close(self) -> None:
        self._cancel()

    def _go_on(self) -> None:
        """Count what has expired since the last time, and arm it for the next."""
        if not self.expired or self.interval_ns == 0:
            return
        more: i64 = (self.scheduler.now_ns - self.at_ns) // self.interval_ns
        self.count += more
        self.at_ns += (more + 1) * self.interval_ns
        self.expired = False
        self._arm()

    def _arm(self) -> None:
        timer = Call(_expire, self)
        self.timer = timer
        self.scheduler.post(timer, self.lane, max(self.at_ns, self.scheduler.now_ns))

    def _cancel(self) -> None:
        if self.timer is not None:
            self.scheduler.cancel(self.timer)
            self.timer = None

    def expire(self) -> None:
        """Its time has come."""
        self.timer = None
        self.expired = True
        self.count += 1
        self.wake(POLLIN)


def _expire(timer: TimerFd) -> None:
    timer.expire()
