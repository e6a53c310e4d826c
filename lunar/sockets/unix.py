"""Pairs of connected Unix sockets, as socketpair(2) makes them and unix(7) describes them.

Sockets with a name (bind, connect, listen) and ancillary data are not here.
"""

from __future__ import annotations

import errno
from typing import Final, final

from mypy_extensions import i64

from lunar.net.sock import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP, Sock
from lunar.sockets.channel import Channel

AF_UNIX: Final = 1
SOCK_STREAM: Final = 1
SOCK_DGRAM: Final = 2
SOCK_SEQPACKET: Final = 5

# What Linux charges a queued piece beyond its bytes (skb->truesize); it bounds the count of small ones.
OVERHEAD_BYTES: Final = 768


@final
class UnixSock(Sock):
    """One socket of a pair. What it reads is `inbox`; what it writes is `outbox`, the other's inbox."""

    def __init__(self, type: i64, inbox: Channel, outbox: Channel) -> None:
        super().__init__(AF_UNIX, type, 0)
        self.inbox: Channel = inbox
        self.outbox: Channel = outbox
        # Why `recv` returned None.
        self.recv_errno: i64 = 0
        inbox.reader = self
        outbox.writer = self

    def send(self, data: bytes, _more: bool) -> i64:
        """Queue `data` for the other: of a stream what fits, of the other kinds all. The count, or -errno.

        EAGAIN, ECONNREFUSED (a datagram socket whose peer is gone), ECONNRESET, EMSGSIZE, EPIPE.
        """
        if self.error:
            return -self.take_error()
        outbox = self.outbox
        if outbox.deaf:
            return -errno.ECONNREFUSED if self.type == SOCK_DGRAM and outbox.reader is None else -errno.EPIPE
        if outbox.ended:
            return -errno.EPIPE
        size: i64 = len(data)
        room: i64 = self.sndbuf - outbox.charged - OVERHEAD_BYTES
        if self.type != SOCK_STREAM:
            if size > self.sndbuf - OVERHEAD_BYTES:
                return -errno.EMSGSIZE
            if size > room:
                return -errno.EAGAIN
        elif size == 0:
            return 0
        else:
            if room <= 0:
                return -errno.EAGAIN
            if size > room:
                data = data[:room]
                size = room
        outbox.put(data)
        outbox.wake_reader(POLLIN)
        return size

    def recv(self, size: i64, peek: bool) -> bytes | None:
        """Up to `size` bytes, or a message; b"" at the end; None with `recv_errno`: EAGAIN, or a pending error.

        A message that is longer than `size` is given whole: the caller cuts it.
        """
        inbox = self.inbox
        if inbox.is_empty():
            if self.error:
                self.recv_errno = self.take_error()
                return None
            if self._reads_no_more():
                return b""
            self.recv_errno = errno.EAGAIN
            return None
        was_full = not _is_writable(inbox)
        data = inbox.take(size, peek) if self.type == SOCK_STREAM else inbox.take_message(peek)
        if was_full and _is_writable(inbox):
            inbox.wake_writer(POLLOUT)
        return data

    def has_input(self) -> bool:
        """Whether `recv` has something to tell: data, the end, or an error."""
        return not self.inbox.is_empty() or self.error != 0 or self._reads_no_more()

    def _reads_no_more(self) -> bool:
        # A datagram socket does not learn that its peer is gone, only that reading was shut down.
        return self.inbox.deaf or (self.inbox.ended and (self.type != SOCK_DGRAM or self.inbox.writer is not None))

    def shutdown(self, how: i64) -> i64:
        """Stop reading (0), writing (1), or both (2). EINVAL."""
        if how < 0 or how > 2:
            return -errno.EINVAL
        if how != 1:
            self.inbox.deaf = True
        if how != 0:
            self.outbox.ended = True
        self.wake(POLLIN | POLLOUT | POLLRDHUP | POLLHUP)
        self.outbox.wake_reader(POLLIN | POLLOUT | POLLRDHUP | POLLHUP)
        return 0

    def poll(self) -> int:
        mask: i64 = 0
        reads_no_more = self._reads_no_more()
        if self.error:
            mask |= POLLERR
        if reads_no_more:
            mask |= POLLIN | POLLRDHUP
            if self.outbox.ended or self.outbox.deaf:
                mask |= POLLHUP
        if not self.inbox.is_empty():
            mask |= POLLIN
        if _is_writable(self.outbox):
            mask |= POLLOUT
        return int(mask)

    def close(self) -> None:
        inbox = self.inbox
        outbox = self.outbox
        peer = outbox.reader
        if peer is not None and self.type != SOCK_DGRAM and not inbox.is_empty():
            # What the peer wrote was never read.
            peer.error = errno.ECONNRESET
        inbox.clear()
        inbox.deaf = True
        inbox.reader = None
        outbox.ended = True
        outbox.writer = None
        if peer is not None:
            peer.wake(POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR)


def pair(type: i64) -> tuple[UnixSock, UnixSock]:
    """Two connected sockets of `type`: SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET."""
    there = Channel(OVERHEAD_BYTES)
    back = Channel(OVERHEAD_BYTES)
    return UnixSock(type, back, there), UnixSock(type, there, back)


def _is_writable(channel: Channel) -> bool:
    # Linux calls a Unix socket writable while at most a quarter of its buffer is in use (unix_writable).
    writer = channel.writer
    return writer is None or channel.charged * 4 <= writer.sndbuf
