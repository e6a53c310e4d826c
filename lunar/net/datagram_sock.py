"""What sockets of whole packets have in common, UDP, raw and ping sockets: a queue with a limit, and its two ends."""

from __future__ import annotations

import errno
from collections import deque
from typing import Any, Final

from mypy_extensions import i64

from lunar.net import timestamping
from lunar.net.sock import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI, POLLRDHUP, Sock
from lunar.net.timestamping import Stamping
from lunar.packet import Packet

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
        self.tells_drops: bool = False  # SO_RXQ_OVFL
        self.drops: i64 = 0  # what found the receive buffer full
        self.peek_offset: i64 = -1  # SO_PEEK_OFF, of UDP
        self.came_ns: i64 = -1  # when the packet came that `take_next` gave, where the socket wants to know; else -1

    # What the protocols know.

    def data_bytes(self, queued: Any) -> i64:
        """How much data a queued packet has for the program."""
        raise NotImplementedError

    def has_peer(self) -> bool:
        """Whether connect(2) has named one."""
        raise NotImplementedError

    def now_ns(self) -> i64:
        raise NotImplementedError

    # What they share.

    def enqueue(self, packet: Any) -> bool:
        """Keep a packet for the program; False when the receive buffer is full.

        An empty queue takes any, however small the buffer, as on Linux.
        """
        charge: i64 = QUEUE_OVERHEAD_BYTES + self.data_bytes(packet)
        if self.queue and self.queued_bytes + charge > self.rcvbuf:
            self.drops += 1
            return False
        self.queue.append(packet)
        self.queued_bytes += charge
        stamping = self.stamping
        if stamping is not None and stamping.arrivals is not None:
            stamping.arrivals.append(self.now_ns())
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
        arrivals = None if self.stamping is None else self.stamping.arrivals
        if peek:
            if arrivals is not None:
                self.came_ns = arrivals[0]
            return self.queue[0]
        packet = self.queue.popleft()
        if arrivals is not None:
            self.came_ns = arrivals.popleft()
        self.queued_bytes -= QUEUE_OVERHEAD_BYTES + self.data_bytes(packet)
        return packet

    def stamp_arrivals(self, on: bool) -> None:
        """Note when packets come, from now on or no more."""
        stamping = self.stamping
        assert stamping is not None, "who wants stamps has said so"
        if not on:
            stamping.arrivals = None
            self.came_ns = -1
        elif stamping.arrivals is None:
            arrivals: deque[i64] = deque()
            for _packet in self.queue:
                arrivals.append(-1)
            stamping.arrivals = arrivals

    def stamp_sent(self, stamping: Stamping, packet: Packet) -> None:
        """A packet was given to the device: put its times on the error queue, if they are wanted."""
        wanted: i64 = stamping.wanted()
        if not wanted & timestamping.TX_RECORD:
            return
        key: i64 = stamping.key
        if stamping.flags & timestamping.OPT_ID:
            stamping.key += 1
        if not wanted & (timestamping.TX_SCHED | timestamping.TX_SOFTWARE):
            return
        frame = timestamping.copy_of(stamping, packet)
        if wanted & timestamping.TX_SCHED:
            self._report_stamp(stamping, timestamping.SCHED, key, packet, frame)
        if wanted & timestamping.TX_SOFTWARE:
            self._report_stamp(stamping, timestamping.SND, key, packet, frame)

    def _report_stamp(self, stamping: Stamping, what: i64, key: i64, packet: Packet, frame: bytes) -> None:
        report = timestamping.report(stamping, what, self.now_ns(), key, frame)
        if stamping.flags & timestamping.OPT_CMSG and frame:
            report.packet = packet
        self.report(report)

    def charged_bytes(self) -> i64:
        return self.queued_bytes

    def drop_queue(self) -> None:
        """Let go of what was not read."""
        self.queue.clear()
        if self.stamping is not None:
            self.stamping.arrivals = None
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
        if self.error or self.error_queue is not None:
            mask |= POLLERR
            if self.select_errors:
                mask |= POLLPRI
        if self.read_shut:
            mask |= POLLIN | POLLRDHUP
            if self.write_shut:
                mask |= POLLHUP
        return mask
