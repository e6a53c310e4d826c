"""Files that a host has of its own among its descriptors: those of /proc/sys/net and /proc/net, /etc/hosts ...

Here is what open(2) makes: a position in some `Content`. Which files there are, and what is in them, is in
lunar/host_files.
"""

from __future__ import annotations

import errno
import os
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from lunar.net.sock import POLLIN, POLLOUT, Sock

_O_ACCMODE: Final = os.O_RDONLY | os.O_WRONLY | os.O_RDWR


@mypyc_attr(allow_interpreted_subclasses=True)
class Content:
    """What is in a file. With `made`, it is made when it is read from the beginning, and a write is a setting."""

    def __init__(self, made: bool) -> None:
        self.made: bool = made

    def read(self) -> bytes:
        """All of it."""
        raise NotImplementedError

    def write(self, data: bytes, at: int) -> int:
        """Put `data` at the position `at`: the count of bytes, or -errno."""
        raise NotImplementedError

    def truncate(self, size: int) -> int:
        """Cut it, or fill it with zeros: 0, or -errno."""
        raise NotImplementedError


@final
class HostFile(Sock):
    """An open file. It is no socket: the calls that are for sockets fail with ENOTSOCK. `path` is for messages."""

    def __init__(self, path: str, content: Content, flags: int) -> None:
        super().__init__(0, 0, 0)
        self.path: str = path
        self.content: Content = content
        self.flags: int = flags
        self.position: int = 0
        self._snapshot: bytes = b""
        # Why `read` returned None.
        self.recv_errno: i64 = 0

    def read(self, size: int) -> bytes | None:
        """Up to `size` bytes from the position on; b"" at the end; None with `recv_errno` EBADF."""
        if self.flags & _O_ACCMODE == os.O_WRONLY:
            self.recv_errno = errno.EBADF
            return None
        if self.position == 0 or not self.content.made:
            self._snapshot = self.content.read()
        data = self._snapshot[self.position : self.position + size]
        self.position += len(data)
        return data

    def write(self, data: bytes) -> int:
        """The count of bytes written, or -errno."""
        if self.flags & _O_ACCMODE == os.O_RDONLY:
            return -errno.EBADF
        if self.flags & os.O_APPEND and not self.content.made:
            self.position = len(self.content.read())
        count = self.content.write(data, self.position)
        if count > 0:
            self.position += count
        return count

    def seek(self, offset: int, whence: int) -> int:
        """lseek(2): the new position, or -errno."""
        if whence == os.SEEK_CUR:
            offset += self.position
        elif whence == os.SEEK_END:
            if self.content.made:
                return -errno.EINVAL
            offset += len(self.content.read())
        elif whence != os.SEEK_SET:
            return -errno.EINVAL
        if offset < 0:
            return -errno.EINVAL
        self.position = offset
        return offset

    def poll(self) -> int:
        return POLLIN | POLLOUT
