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
    """The open sockets of one host. The lowest free number is given, as POSIX asks."""

    def __init__(self) -> None:
        self._socks: dict[int, Sock] = {}
        self._lowest: i64 = 0

    def install(self, sock: Sock) -> i64:
        """The new descriptor of `sock`, or -EMFILE."""
        number: i64 = self._lowest
        while FD_BASE + number in self._socks:
            number += 1
        if number >= FD_LIMIT:
            return -errno.EMFILE
        self._lowest = number + 1
        self._socks[int(FD_BASE + number)] = sock
        sock.descriptors += 1
        return FD_BASE + number

    def get(self, fd: int) -> Sock | None:
        """The socket of `fd`, None if it is not open."""
        return self._socks.get(fd)

    def remove(self, fd: int) -> Sock | None:
        """Free `fd`; its socket, None if it was not open."""
        sock = self._socks.pop(fd, None)
        if sock is not None:
            sock.descriptors -= 1
            if fd - FD_BASE < self._lowest:
                self._lowest = fd - FD_BASE
        return sock

    def all(self) -> list[Sock]:
        """Every open socket."""
        return list(self._socks.values())


def is_virtual(fd: int) -> bool:
    """Whether `fd` belongs to a virtual host."""
    return fd >= FD_BASE
