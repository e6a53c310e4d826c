"""poll(2) and select(2) on descriptors of one host, without the waiting: what holds now, and who is told of a change.

A socket says in the few masks of lunar/net/sock.py what holds (`Sock.poll`) and what happens (`Sock.wake`); programs
may ask in more of them, which Linux reports beside those (POLLRDNORM ...). The faces (lunar/poll_calls.py) look, park
while a `Watch` stands at each socket, and look again. What epoll(7) keeps between two waits is in epoll.py.
"""

from __future__ import annotations

from typing import Any, Final, final

from mypy_extensions import i64

from lunar.net.sock import POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, Sock
from lunar.sockets.eventfd import EventFd
from lunar.sockets.fdtable import FdTable
from lunar.sockets.timerfd import TimerFd

POLLRDNORM: Final = 0x040
POLLRDBAND: Final = 0x080
POLLWRNORM: Final = 0x100
POLLWRBAND: Final = 0x200
# What is reported without being asked for.
POLL_ALWAYS: Final = POLLERR | POLLHUP

# The conditions that select(2) takes for readable, writable and exceptional; an error makes a descriptor both of the
# first two, a hang-up readable only.
SELECT_READ: Final = POLLIN | POLLHUP | POLLERR
SELECT_WRITE: Final = POLLOUT | POLLERR
SELECT_EXCEPT: Final = 0x002  # POLLPRI

_AF_UNIX: Final = 1
_SOCK_STREAM: Final = 1


def conditions(sock: Sock) -> i64:
    """What holds now, in all the bits of poll(2).

    As on Linux POLLRDNORM is said with POLLIN and POLLWRNORM with POLLOUT, POLLWRBAND by datagram and Unix sockets.
    """
    mask: i64 = sock.poll()
    if not isinstance(sock, (EventFd, TimerFd)):
        if mask & POLLIN:
            mask |= POLLRDNORM
        if mask & POLLOUT:
            mask |= POLLWRNORM
            if sock.family == _AF_UNIX or sock.type > _SOCK_STREAM:
                mask |= POLLWRBAND
    return mask


def wake_mask(events: i64) -> i64:
    """The masks of `Sock.wake` that concern who waits for `events`."""
    mask: i64 = events
    if mask & (POLLRDNORM | POLLRDBAND):
        mask |= POLLIN
    if mask & (POLLWRNORM | POLLWRBAND):
        mask |= POLLOUT
    return mask


def ready(table: FdTable, asked: dict[int, int]) -> list[tuple[int, int]]:
    """What poll(2) finds now: (descriptor, what holds of what was asked), in the order of `asked`.

    Descriptors that are not open have POLLNVAL.
    """
    found: list[tuple[int, int]] = []
    for fd, events in asked.items():
        sock = table.get(fd)
        if sock is None:
            found.append((fd, POLLNVAL))
            continue
        wanted: i64 = events
        now: i64 = conditions(sock) & (wanted | POLL_ALWAYS)
        if now:
            found.append((fd, int(now)))
    return found


@final
class Watch:
    """A waiter of the socket that `fd` names. It calls `told()`, of who waits for `events`, when they may have come.

    It holds the socket, as on Linux a wait does: a descriptor that is closed meanwhile ends no wait, and the socket is
    closed when the wait has ended.
    """

    def __init__(self, table: FdTable, fd: int, sock: Sock, events: i64, told: Any) -> None:
        self.table: FdTable = table
        self.fd: int = fd
        self.sock: Sock = sock
        self.wanted: i64 = wake_mask(events | POLL_ALWAYS)
        self.told: Any = told
        sock.waiters.append(self)
        sock.held += 1

    def __call__(self, happened: i64) -> None:
        if happened & self.wanted == 0:
            return
        if happened == POLL_ALWAYS and self.table.get(self.fd) is not self.sock:
            return  # that is the closing of the descriptor, told to others
        self.told()

    def end(self) -> None:
        """Watch no longer. The caller closes the socket if nobody else has it."""
        self.sock.held -= 1
        if self in self.sock.waiters:
            self.sock.waiters.remove(self)


def watch(table: FdTable, asked: dict[int, int], told: Any) -> list[Watch]:
    """A watch at each socket of `asked` that is open. The caller ends them."""
    made: list[Watch] = []
    for fd, events in asked.items():
        sock = table.get(fd)
        if sock is not None:
            made.append(Watch(table, fd, sock, events, told))
    return made
