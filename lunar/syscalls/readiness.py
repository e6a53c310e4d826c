"""The calls that wait for several descriptors: select, poll, epoll."""

from __future__ import annotations

from collections.abc import Iterable

from lunar.net.sock import POLLERR, POLLHUP, Sock
from lunar.syscalls.descriptor import current_host
from weaves.bridge import current_flow

_POLLNVAL = 0x20


def poll(descriptors: Iterable[tuple[int, int]], timeout_ms: int = -1) -> list[tuple[int, int]]:
    """`poll(2)`. Of the pairs (descriptor, conditions asked for) those that hold, as (descriptor, conditions).

    Waits for `timeout_ms` at most, for ever if it is negative. A descriptor that is not open has POLLNVAL.
    """
    host = current_host()
    asked = list(descriptors)

    def look() -> list[tuple[int, int]]:
        found = []
        for fd, events in asked:
            sock = host.descriptors.get(fd)
            now = _POLLNVAL if sock is None else sock.poll() & (events | POLLERR | POLLHUP)
            if now:
                found.append((fd, now))
        return found

    found = look()
    if found or timeout_ms == 0:
        return found
    flow = current_flow()
    wake = lambda _mask: flow.wake()  # noqa: E731
    socks: list[Sock] = [s for fd, _ in asked if (s := host.descriptors.get(fd)) is not None]
    for s in socks:
        s.waiters.append(wake)
    try:
        end = host.scheduler.now_ns + timeout_ms * 1_000_000
        while not found:
            if timeout_ms < 0:
                flow.park()
            else:
                flow.park_for(int(end - host.scheduler.now_ns))
            found = look()
            if timeout_ms >= 0 and host.scheduler.now_ns >= end:
                break
    finally:
        for s in socks:
            if wake in s.waiters:
                s.waiters.remove(wake)
    return found
