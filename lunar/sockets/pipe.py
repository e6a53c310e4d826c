"""Pipes, as pipe(7) describes them. A pipe's end stands among the host's descriptors as a socket does, and waits alike.

FIFOs with a name are not here.
"""

from __future__ import annotations

import errno
from typing import Final, final

from mypy_extensions import i64

from lunar.net.sock import POLLERR, POLLHUP, POLLIN, POLLOUT, Sock
from lunar.sockets.channel import Channel

# pipe(7): the capacity on Linux since 2.6.11, in bytes.
CAPACITY: Final = 65536
# Writes of up to this many bytes are not mingled with others'.
PIPE_BUF: Final = 4096


@final
class PipeEnd(Sock):
    """One end, for reading or for `writing`. It is no socket: the calls that are for sockets fail with ENOTSOCK."""

    def __init__(self, channel: Channel, writing: bool) -> None:
        super().__init__(0, 0, 0)
        self.channel: Channel = channel
        self.writing: bool = writing
        # Why `read` returned None.
        self.recv_errno: i64 = 0

    def read(self, size: i64) -> bytes | None:
        """Up to `size` bytes; b"" when there is no writer left; None with `recv_errno` EAGAIN or EBADF."""
        channel = self.channel
        if self.writing:
            self.recv_errno = errno.EBADF
            return None
        if size <= 0:
            return b""
        if channel.is_empty():
            if channel.ended:
                return b""
            self.recv_errno = errno.EAGAIN
            return None
        was_full = not _has_room(channel)
        data = channel.take(size, False)
        if was_full and _has_room(channel):
            channel.wake_writer(POLLOUT)
        return data

    def write(self, data: bytes) -> i64:
        """The count of bytes that were taken: all of PIPE_BUF or fewer. EAGAIN, EBADF, EPIPE."""
        channel = self.channel
        if not self.writing:
            return -errno.EBADF
        size: i64 = len(data)
        if size == 0:
            return 0
        if channel.deaf:
            return -errno.EPIPE
        room: i64 = CAPACITY - channel.charged
        if room <= 0 or (size <= PIPE_BUF and size > room):
            return -errno.EAGAIN
        if size > room:
            data = data[:room]
            size = room
        channel.put(data)
        channel.wake_reader(POLLIN)
        return size

    def poll(self) -> int:
        channel = self.channel
        if self.writing:
            return (POLLOUT if _has_room(channel) else 0) | (POLLERR if channel.deaf else 0)
        return (0 if channel.is_empty() else POLLIN) | (POLLHUP if channel.ended else 0)

    def close(self) -> None:
        channel = self.channel
        if self.writing:
            channel.ended = True
            channel.writer = None
            channel.wake_reader(POLLHUP)
        else:
            channel.deaf = True
            channel.reader = None
            channel.clear()
            channel.wake_writer(POLLERR | POLLOUT)


def pipe() -> tuple[PipeEnd, PipeEnd]:
    """The two ends: for reading, and for writing."""
    channel = Channel(0)
    reading = PipeEnd(channel, False)
    writing = PipeEnd(channel, True)
    channel.reader = reading
    channel.writer = writing
    return reading, writing


def _has_room(channel: Channel) -> bool:
    # A writer that finds an end writable may write PIPE_BUF bytes.
    return CAPACITY - channel.charged >= PIPE_BUF
