"""eventfd(2): a counter among the descriptors. Writing adds to it; reading takes it, or 1 of it from a semaphore."""

from __future__ import annotations

import errno
from typing import Final, final

from mypy_extensions import i64

from lunar.net.sock import POLLERR, POLLIN, POLLOUT, Sock

# The counter is of 64 bits without a sign, and its greatest value is one that nobody can write.
OVERFLOW: Final = 2**64 - 1


@final
class EventFd(Sock):
    """One counter. It is no socket: the calls that are for sockets fail with ENOTSOCK."""

    def __init__(self, count: int, semaphore: bool) -> None:
        super().__init__(0, 0, 0)
        self.count: int = count
        self.semaphore: bool = semaphore
        # Why `read` returned None.
        self.recv_errno: i64 = 0

    def read(self, size: i64) -> bytes | None:
        """What was counted, as eight bytes; None with `recv_errno` EINVAL for fewer, or EAGAIN."""
        if size < 8:
            self.recv_errno = errno.EINVAL
            return None
        if self.count == 0:
            self.recv_errno = errno.EAGAIN
            return None
        taken = 1 if self.semaphore else self.count
        self.count -= taken
        self.wake(POLLOUT)
        return taken.to_bytes(8, "little")

    def write(self, data: bytes) -> i64:
        """Add the number in eight bytes. 8; EINVAL of more or fewer, EAGAIN while there is no room for so much."""
        if len(data) != 8:
            return -errno.EINVAL
        added = int.from_bytes(data, "little")
        if added == OVERFLOW:
            return -errno.EINVAL
        if self.count + added >= OVERFLOW:
            return -errno.EAGAIN
        self.count += added
        self.wake(POLLIN)
        return 8

    def poll(self) -> int:
        mask: int = POLLIN if self.count > 0 else 0
        if self.count == OVERFLOW:
            mask |= POLLERR
        if self.count < OVERFLOW - 1:
            mask |= POLLOUT
        return mask
