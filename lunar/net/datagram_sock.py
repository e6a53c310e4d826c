"""What sockets of whole packets have in common, UDP, raw and ping sockets: a queue with a limit, and its two ends."""

from __future__ import annotations

import errno
from collections import deque
from typing import Any, Final

from mypy_extensions import i64

from lunar.net.sock import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP, Sock

# What Linux charges a queued packet beyond its data (skb->truesize); it bounds the count of small ones.
QUEUE_OVERHEAD_BYTES: Final = 768


class DatagramSock(Sock):
    """A socket with a queue of packets, of whatever kind its protocol keeps."""

    def __init__(self, family: i64, type: i64, protocol: i64) -> None:
        super().__init__(family, type, protocol)
        self.queue: deque[Any] = deque()
        self.queued_bytes: i64 = 0
        self.closed: bool = False
        self.read_shut: bool = False
        self.write_shut: bool = False
        self.recv_errno: i64 = 0  # why `take_next` returned None

    # What the protocols know.

    def data_bytes(self, queued: Any) -> i64:
        """How much data a queued packet has for the program."""
        raise NotImplementedError

    def has_peer(self) -> bool:
        """Whether connect(2) has named one."""
        raise NotImplementedError

    # What they share.

    def enqueue(self, packet: Any) -> bool:
        """Keep a packet for the program; False when the receive buffer is full.

        An empty queue takes any, however small the buffer, as on Linux.
        """
        charge: i64 = QUEUE_OVERHEAD_BYTES + self.data_bytes(packet)
        if self.queue and self.queued_bytes + charge > self.rcvbuf:
            return False
        self.queue.append(packet)
        self.queued_bytes += charge
        self.wake(POLLIN)
        return True

    def take_next(self, peek: bool) -> Any:
        """The next packet; None with `recv_errno` when there is none or an error is pending."""
        if self.error:
            self.recv_errno = self.take_error()
            return None
        if not self.queue:
            # Who may not wait is not told of the end of reading: Linux looks for it while it waits.
            self.recv_errno = 0 if self.read_shut and not self.nonblocking else errno.EAGAIN
            return None
        if peek:
            return self.queue[0]
        packet = self.queue.popleft()
        self.queued_bytes -= QUEUE_OVERHEAD_BYTES + self.data_bytes(packet)
        return packet

    def drop_queue(self) -> None:
        """Let go of what was not read."""
        self.queue.clear()
        self.queued_bytes = 0

    def shutdown(self, how: i64) -> i64:
        """End reading (0), writing (1) or both (2). ENOTCONN without a peer, though it takes effect, as on Linux."""
        if how == 0 or how == 2:
            self.read_shut = True
        if how == 1 or how == 2:
            self.write_shut = True
        self.wake(POLLIN | POLLOUT | POLLHUP)
        return 0 if self.has_peer() else -errno.ENOTCONN

    def poll(self) -> int:
        mask: int = POLLOUT
        if self.queue:
            mask |= POLLIN
        if self.error:
            mask |= POLLERR
        if self.read_shut:
            mask |= POLLIN | POLLRDHUP
            if self.write_shut:
                mask |= POLLHUP
        return mask
