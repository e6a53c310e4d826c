"""How a blocking call waits: it parks its string until its socket tells of something, or until its time is over.

No call of the stack blocks (lunar/sockets/syscalls.py); each says EAGAIN where it would. Whoever may block parks then,
and asks again: woken does not mean ready, since another string may have come first.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from lunar.errors import error
from lunar.net.sock import POLLERR, POLLHUP, Sock
from lunar.sockets import syscalls
from lunar.tcp.sock import TcpSock
from weaves.bridge import current_flow
from weaves.here import here

if TYPE_CHECKING:
    from lunar.host import Host


class _LastCall:
    """A turn of the scheduler's, after that of a call which has waited: it closes a socket that nobody has any more."""

    def __init__(self, sock: Sock) -> None:
        self._sock = sock

    def turn(self) -> None:
        syscalls.close_unused(self._sock)


def park(host: Host, sock: Sock, mask: int, deadline_ns: int | None) -> bool:
    """Park the string until a condition of `mask` may hold of `sock`. False when the deadline came first.

    Meanwhile the socket stays open, though its descriptor may be closed: as on Linux, where a call holds the file that
    it found.
    """
    flow = current_flow()

    def waiter(happened: int) -> None:
        if happened & (mask | POLLERR | POLLHUP):
            flow.wake()

    sock.waiters.append(waiter)
    sock.held += 1
    try:
        if deadline_ns is None:
            flow.park()
            return True
        return flow.park_for(deadline_ns - host.scheduler.now_ns)
    finally:
        # Closing the socket has cleared the list.
        if waiter in sock.waiters:
            sock.waiters.remove(waiter)
        sock.held -= 1
        if not sock.descriptors and not sock.held:
            # In the rest of this turn the call takes what it waited for, or parks again.
            host.scheduler.turns.append(_LastCall(sock))


def linger(host: Host, sock: Sock) -> None:
    """What close(2) still does, socket(7): SO_LINGER's seconds at most it waits until the peer has got everything.

    Outside of all strings, as at the end of a run, it does not wait.
    """
    if not isinstance(sock, TcpSock) or here.flow is None:
        return
    deadline = host.scheduler.now_ns + int(sock.linger_s) * 1_000_000_000
    while sock.is_lingering() and park(host, sock, POLLHUP, deadline):
        pass


class Patience:
    """How long one call on one descriptor may wait: not at all, for ever, or for `timeout_ns` (0: for ever).

    The time runs from the first wait on, which is in the same virtual instant as the call.
    """

    def __init__(self, host: Host, fd: int, sock: Sock, timeout_ns: int, none: bool) -> None:
        self._host = host
        self._fd = fd
        self._sock = sock
        self._timeout_ns = timeout_ns
        self._deadline_ns: int | None = None
        self.none = none

    def wait(self, mask: int, other: Sock | None = None) -> None:
        """Park until the call is worth another try; `other` is the socket to look at, if it is not the call's own.

        OSError: EAGAIN when the call may not wait, or not longer.
        """
        if self.none:
            raise error(errno.EAGAIN)
        if self._deadline_ns is None and self._timeout_ns:
            self._deadline_ns = self._host.scheduler.now_ns + self._timeout_ns
        woken = park(self._host, other or self._sock, mask, self._deadline_ns)
        if not woken:
            raise error(errno.EAGAIN)
