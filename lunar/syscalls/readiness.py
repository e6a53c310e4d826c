"""The calls that wait for several descriptors: select, poll, epoll. What they wait with is in lunar/poll_calls.py.

Times are as C has them: seconds for `select`, milliseconds for the others. Descriptors of the machine may stand beside
the host's; they are looked at, not waited for.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from typing import Final

from lunar.errors import error
from lunar.net.sock import POLLNVAL
from lunar.sockets.epoll import EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD
from lunar.sockets.poll import SELECT_EXCEPT, SELECT_READ, SELECT_WRITE
from lunar.syscalls.descriptor import SOCK_CLOEXEC, current_host, opened

__all__ = ["EPOLL_CTL_ADD", "EPOLL_CTL_DEL", "EPOLL_CTL_MOD"]

_NS_PER_S: Final = 1_000_000_000
_NS_PER_MS: Final = 1_000_000


def select(
    readable: Sequence[int], writable: Sequence[int], exceptional: Sequence[int], timeout_s: float | None = None
) -> tuple[list[int], list[int], list[int]]:
    """`select(2)`. Those of the descriptors that can be read, be written, or have urgent data; waits up to `timeout_s`.

    None waits for ever.
    """
    host = current_host()
    if timeout_s is not None and timeout_s < 0:
        raise error(errno.EINVAL)
    asked: dict[int, int] = {}
    for descriptors, mask in ((readable, SELECT_READ), (writable, SELECT_WRITE), (exceptional, SELECT_EXCEPT)):
        for fd in descriptors:
            if fd < 0:
                raise error(errno.EBADF)
            asked[fd] = asked.get(fd, 0) | mask
    found = dict(host.select.wait(asked, None if timeout_s is None else round(timeout_s * _NS_PER_S)))
    if any(events & POLLNVAL for events in found.values()):
        raise error(errno.EBADF)
    return (
        [fd for fd in readable if found.get(fd, 0) & SELECT_READ],
        [fd for fd in writable if found.get(fd, 0) & SELECT_WRITE],
        [fd for fd in exceptional if found.get(fd, 0) & SELECT_EXCEPT],
    )


def poll(descriptors: Iterable[tuple[int, int]], timeout_ms: int = -1) -> list[tuple[int, int]]:
    """`poll(2)`. Of the pairs (descriptor, conditions asked for) those of which some hold, as (descriptor, conditions).

    Waits for `timeout_ms` at most, for ever if it is negative. A descriptor that is not open has POLLNVAL; a negative
    number is passed over.
    """
    host = current_host()
    asked: dict[int, int] = {}
    order: list[tuple[int, int]] = []
    for fd, events in descriptors:
        if fd >= 0:
            asked[fd] = asked.get(fd, 0) | events
            order.append((fd, events))
    found = dict(host.select.wait(asked, _nanoseconds(timeout_ms)))
    # Told without being asked for: POLLERR, POLLHUP, POLLNVAL.
    held = [(fd, found.get(fd, 0) & (events | 0x38)) for fd, events in order]
    return [(fd, events) for fd, events in held if events]


def _nanoseconds(timeout_ms: int) -> int | None:
    return None if timeout_ms < 0 else timeout_ms * _NS_PER_MS


def epoll_create(size: int) -> int:
    """`epoll_create(2)`. Makes an empty set and returns its descriptor; `size` is a hint, more than zero."""
    if size <= 0:
        raise error(errno.EINVAL)
    return epoll_create1(0)


def epoll_create1(flags: int) -> int:
    """`epoll_create1(2)`. As `epoll_create`, with EPOLL_CLOEXEC."""
    host = current_host()
    if flags & ~SOCK_CLOEXEC:
        raise error(errno.EINVAL)
    epfd = int(host.select.epoll_create())
    host.descriptors.set_inheritable(epfd, not flags & SOCK_CLOEXEC)
    return epfd


def epoll_ctl(epfd: int, operation: int, fd: int, events: int = 0) -> None:
    """`epoll_ctl(2)`. Adds `fd` to a set (EPOLL_CTL_ADD), changes what is waited for (MOD), takes it out (DEL)."""
    host, _ = opened(epfd)
    if fd < 0:
        raise error(errno.EBADF)
    host.select.epoll_ctl(epfd, operation, fd, events)


def epoll_wait(epfd: int, most: int, timeout_ms: int = -1) -> list[tuple[int, int]]:
    """`epoll_wait(2)`. Pairs (descriptor, conditions) of up to `most` that are ready. Waits as `poll` does."""
    host, _ = opened(epfd)
    return host.select.epoll_wait(epfd, most, _nanoseconds(timeout_ms))
