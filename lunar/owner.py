"""Who is told by a signal of what happens at a descriptor: fcntl(2), "Managing signals", and socket(7).

F_SETOWN names a program of the host. It gets SIGURG when urgent data is announced, and with O_ASYNC a SIGIO, or what
F_SETSIG says instead, whenever input, room, a connection or an error may have come. As with an edge of epoll(7), it is
told of what is new, not of what is so. Signals of the same instant are one, as they are while a signal is pending.
"""

from __future__ import annotations

import errno
import signal
from typing import TYPE_CHECKING, Final

from lunar.errors import error
from lunar.net.sock import Sock
from lunar.sockets.epoll import Epoll
from lunar.sockets.eventfd import EventFd
from lunar.sockets.timerfd import TimerFd
from weaves.scheduler import Call

if TYPE_CHECKING:
    from lunar.host import Host

# F_SETOWN_EX: what the number is of.
_THREAD: Final = 0
_PROCESS: Final = 1
_GROUP: Final = 2

_WITHOUT_SIGNALS: Final = (Epoll, EventFd, TimerFd)


class Owner:
    """What a program has said of the signals of one socket or pipe; a waiter of it.

    `pid` is the program, or negative a group of programs, 0 for none; `kind` is F_SETOWN_EX's word for it.
    `signum` is 0 for SIGIO.
    """

    def __init__(self, host: Host, sock: Sock) -> None:
        self._host = host
        self._sock = sock
        self._due: set[int] = set()  # signals of this instant that are on their way
        self.pid = 0
        self.kind = _THREAD
        self.signum = 0
        self.told = False  # O_ASYNC
        sock.on_urgent = self._urgent
        sock.waiters.append(self)

    def __call__(self, _mask: int) -> None:
        if self.told:
            self._send(self.signum or signal.SIGIO)

    def _urgent(self) -> None:
        self._send(signal.SIGURG)

    def _send(self, signum: int) -> None:
        # As an event, because the stack is in the middle of something, and a signal may end the program.
        if self.pid and self._sock.descriptors and signum not in self._due:
            self._due.add(signum)
            scheduler = self._host.scheduler
            scheduler.post(Call(self._deliver, signum), self._host.lane, scheduler.now_ns)

    def _deliver(self, signum: int) -> None:
        self._due.discard(signum)
        # Whoever closes it is not told of that.
        weave = self._host.weave_with_pid(abs(self.pid)) if self._sock.descriptors else None
        if weave is not None:
            weave.signals.deliver(signum)


def known(sock: Sock) -> Owner | None:
    """What was said of `sock`, if anything was."""
    return next((waiter for waiter in sock.waiters if isinstance(waiter, Owner)), None)


def of(host: Host, sock: Sock) -> Owner:
    """What is said of `sock`, to be changed."""
    return known(sock) or Owner(host, sock)


def pid(sock: Sock) -> int:
    """F_GETOWN."""
    owner = known(sock)
    return 0 if owner is None else owner.pid


def set_pid(host: Host, sock: Sock, number: int) -> None:
    """F_SETOWN. ESRCH if there is no such program. Each program is a group of its own."""
    if number and host.weave_with_pid(abs(number)) is None:
        raise error(errno.ESRCH)
    owner = of(host, sock)
    owner.pid = number
    owner.kind = _GROUP if number < 0 else _PROCESS


def kind_and_pid(sock: Sock) -> tuple[int, int]:
    """F_GETOWN_EX."""
    owner = known(sock)
    return (_THREAD, 0) if owner is None else (owner.kind, abs(owner.pid))


def set_kind_and_pid(host: Host, sock: Sock, kind: int, number: int) -> None:
    """F_SETOWN_EX. EINVAL, ESRCH. A thread stands for its program."""
    if kind not in (_THREAD, _PROCESS, _GROUP):
        raise error(errno.EINVAL)
    if number < 0:
        raise error(errno.ESRCH)
    set_pid(host, sock, -number if kind == _GROUP else number)
    of(host, sock).kind = kind


def signum(sock: Sock) -> int:
    """F_GETSIG."""
    owner = known(sock)
    return 0 if owner is None else owner.signum


def set_signum(host: Host, sock: Sock, number: int) -> None:
    """F_SETSIG. EINVAL."""
    if not 0 <= number < signal.NSIG:
        raise error(errno.EINVAL)
    if number or known(sock) is not None:
        of(host, sock).signum = number


def is_told(sock: Sock) -> bool:
    """Whether O_ASYNC is set."""
    owner = known(sock)
    return owner is not None and owner.told


def set_told(host: Host, sock: Sock, told: bool) -> None:
    """Set O_ASYNC, or clear it. What has no such signals does not keep it."""
    if isinstance(sock, _WITHOUT_SIGNALS):
        return
    if told or known(sock) is not None:
        of(host, sock).told = told


def set_told_by_ioctl(host: Host, sock: Sock, told: bool) -> None:
    """FIOASYNC. ENOTTY of what has no such signals."""
    if told and isinstance(sock, _WITHOUT_SIGNALS):
        raise error(errno.ENOTTY)
    set_told(host, sock, told)
