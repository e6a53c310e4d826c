"""The descriptors of a host: of sockets, and of pipes' ends, which here are sockets of a kind.

They start above any that the machine can give, so that a number tells whose it is.
"""

from __future__ import annotations

import errno
from typing import Final, final

from mypy_extensions import i64

from lunar.net.sock import Sock

# Above the largest limit that Linux lets a process have (fs.nr_open is at most 2**30 - 64) and still a C int.
FD_BASE: Final = 1 << 30
# What RLIMIT_NOFILE commonly is: how many a virtual host may have open at once.
FD_LIMIT: Final = 65536


@final
class FdTable:
    """The open sockets of one host. The lowest free number is given, as POSIX asks.

    `limit` is RLIMIT_NOFILE. A descriptor is closed at exec(2) if it is not told otherwise, as Python has it; there is
    no exec on a virtual host, so that this is a flag to be read and set, no more.
    """

    def __init__(self) -> None:
        self._socks: dict[int, Sock] = {}
        self._lowest: i64 = 0
        self._inheritable: set[int] | None = None  # made when there is one
        self.limit: i64 = FD_LIMIT

    def install(self, sock: Sock) -> i64:
        """The new descriptor of `sock`, or -EMFILE."""
        return self.install_from(sock, FD_BASE)

    def install_from(self, sock: Sock, fd: int) -> i64:
        """As `install`, with a number that is `fd` or more."""
        number: i64 = max(fd - FD_BASE, self._lowest)
        while FD_BASE + number in self._socks:
            number += 1
        if number >= self.limit:
            return -errno.EMFILE
        if fd - FD_BASE <= self._lowest:
            self._lowest = number + 1
        self._socks[int(FD_BASE + number)] = sock
        sock.descriptors += 1
        return FD_BASE + number

    def install_at(self, sock: Sock, fd: int) -> i64:
        """Let `fd`, which is free, be a descriptor of `sock`. -EBADF for a number that cannot be."""
        if not self.is_possible(fd):
            return -errno.EBADF
        assert fd not in self._socks, "two sockets with one number"
        self._socks[fd] = sock
        sock.descriptors += 1
        return fd

    def is_possible(self, fd: int) -> bool:
        """Whether a descriptor of this table may have the number `fd`."""
        return FD_BASE <= fd < FD_BASE + self.limit

    def is_full(self) -> bool:
        """Whether `install` would fail."""
        number: i64 = self._lowest
        while FD_BASE + number in self._socks:
            number += 1
        self._lowest = number
        return number >= self.limit

    def get(self, fd: int) -> Sock | None:
        """The socket of `fd`, None if it is not open."""
        return self._socks.get(fd)

    def remove(self, fd: int) -> Sock | None:
        """Free `fd`; its socket, None if it was not open."""
        sock = self._socks.pop(fd, None)
        if sock is not None:
            if self._inheritable is not None:
                self._inheritable.discard(fd)
            sock.descriptors -= 1
            if fd - FD_BASE < self._lowest:
                self._lowest = fd - FD_BASE
        return sock

    def is_inheritable(self, fd: int) -> bool:
        """Whether an exec would leave `fd` open: not FD_CLOEXEC."""
        return self._inheritable is not None and fd in self._inheritable

    def set_inheritable(self, fd: int, inheritable: bool) -> None:
        if self._inheritable is None:
            if not inheritable:
                return
            self._inheritable = set()
        if inheritable:
            self._inheritable.add(fd)
        else:
            self._inheritable.discard(fd)

    def numbered(self) -> list[tuple[int, Sock]]:
        """Every descriptor with its socket, by their numbers."""
        return sorted(self._socks.items())

    def all(self) -> list[Sock]:
        """Every open socket."""
        return list(self._socks.values())


def is_virtual(fd: int) -> bool:
    """Whether `fd` belongs to a virtual host."""
    return FD_BASE <= fd < 2 * FD_BASE  # what is no C int is nobody's
