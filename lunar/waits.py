"""Work that waits for sockets in the middle, for blocking and for asynchronous callers alike: generators of `Wait`.

A function that has to wait is written once, as a generator that yields what it waits for and returns its result. A
blocking call is driven by `block`, which parks its string; a loop's by `lunar.asyncio.loop.HostLoop.drive`. A generator
that is closed early, because its caller was killed, cleans up in its `finally`.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import attrs

from lunar.net.sock import Sock
from lunar.waiting import park

if TYPE_CHECKING:
    from lunar.host import Host

T = TypeVar("T")


@attrs.frozen
class Wait:
    """Until a condition of `mask` may hold of `sock`, at the latest until `deadline_ns` of virtual time."""

    sock: Sock
    mask: int
    deadline_ns: int


Steps: TypeAlias = Generator[Wait, None, T]


def block(host: Host, steps: Steps[T]) -> T:
    """The result of `steps`, in a string that blocks, which is parked meanwhile; anywhere, if there is no wait."""
    try:
        while True:
            wait = next(steps)
            park(host, wait.sock, wait.mask, wait.deadline_ns)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        steps.close()
