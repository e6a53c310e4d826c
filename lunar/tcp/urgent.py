"""The urgent pointer: one byte of the stream that its sender calls urgent, and the mark that it leaves in the stream.

RFC 9293 section 3.8.5 and RFC 6093 say what the pointer is; tcp(7), recv(2) and sockatmark(3) what programs have from
it, and that is Linux': only the last byte of a send with MSG_OOB is urgent. The receiver takes it out of the stream
into a place of its own, where MSG_OOB finds it, or with SO_OOBINLINE leaves it in. Reading stops at the mark.

A connection knows one mark at a time. While it is neither in urgent mode nor has a mark nothing here costs anything.
Other names than RFC 9293's: `snd_up` is SND.UP; RCV.UP is `urgent_seq`, the sequence number of the byte itself.
"""

from __future__ import annotations

import errno
from typing import Final

from mypy_extensions import i64

from lunar.net.sock import POLLIN, POLLPRI
from lunar.packet import URG, TcpSegment
from lunar.tcp.receiver import receive_buffer
from lunar.tcp.tcb import CLOSED, LISTEN, Tcb

# What became of the last mark.
NONE: Final = 0  # there was none, or the program has read beyond it
AWAITED: Final = 1  # the pointer came, the byte did not
READY: Final = 2
TAKEN: Final = 3  # read with MSG_OOB, while the stream was not read so far

_FAR: Final = 0xFFFF  # the most that the pointer's 16 bits can say


# Sending.


def point(tcb: Tcb, segment: TcpSegment, seq: i64) -> None:
    """Set URG and the pointer of a segment that starts at `seq`, of a connection in urgent mode.

    The pointer says what follows the urgent byte, as every stack has it since 4.2BSD, and now RFC 6093 (3.1).
    """
    distance: i64 = tcb.snd_up - seq
    if distance <= 0:
        return
    if distance > _FAR:
        # It lies beyond what 16 bits can say. Linux: as far as they reach, if that is all that was sent yet.
        if seq + _FAR <= tcb.snd_nxt:
            return
        distance = _FAR
    segment.flags |= URG
    segment.urgent = distance


# Receiving.


def read_seq(tcb: Tcb) -> i64:
    """The sequence number of the next byte that the program reads."""
    return tcb.rcv_nxt - tcb.received.size - (1 if tcb.fin_received else 0)


def arrived(tcb: Tcb, segment: TcpSegment, seq: i64) -> None:
    """RFC 9293 section 3.10.7.4, sixth: the URG bit of an acceptable segment that starts at `seq`, and the byte."""
    if segment.flags & URG:
        _pointer_arrived(tcb, segment, seq)
    if tcb.urgent_state == AWAITED:
        payload = segment.payload
        at: i64 = tcb.urgent_seq - seq
        if 0 <= at < len(payload):
            tcb.urgent_byte = payload[at]
            tcb.urgent_state = READY
            tcb.pending_wake |= POLLIN | POLLPRI


def _pointer_arrived(tcb: Tcb, segment: TcpSegment, seq: i64) -> None:
    pointed: i64 = segment.urgent
    # tcp(7), tcp_stdurg: RFC 1122 (4.2.2.4) meant the urgent byte itself, nearly all stacks mean the one after it.
    if pointed > 0 and not tcb.ip.tcp_stdurg:
        pointed -= 1
    mark: i64 = seq + pointed
    if mark < tcb.rcv_nxt or (tcb.urgent_state != NONE and mark <= tcb.urgent_seq):
        return  # received before, or no news
    reading: i64 = read_seq(tcb)
    if tcb.urgent_state != NONE and tcb.urgent_seq == reading and not tcb.oob_inline and tcb.received.size > 0:
        # The program stands at the old mark, whose byte is not for it to read. This one makes it forget that.
        tcb.received.take(1)
        receive_buffer.taken(tcb, 1)
    tcb.urgent_state = AWAITED
    tcb.urgent_seq = mark
    hook = tcb.on_urgent
    if hook is not None and not tcb.orphan:
        hook()


def receive(tcb: Tcb, size: i64, peek: bool) -> bytes | None:
    """recv(2) with MSG_OOB: the urgent byte. None with `recv_errno` set when there is none: EINVAL, ENOTCONN, EAGAIN.

    It never blocks. What `peek` leaves can be read again; otherwise the byte is gone, and the mark stays.
    """
    if tcb.state == LISTEN:
        tcb.recv_errno = errno.ENOTCONN
        return None
    state: i64 = tcb.urgent_state
    if tcb.oob_inline or state == NONE or state == TAKEN:
        tcb.recv_errno = errno.EINVAL
        return None
    if tcb.state == CLOSED and not tcb.fin_received:
        tcb.recv_errno = errno.ENOTCONN
        return None
    if state == READY:
        if not peek:
            tcb.urgent_state = TAKEN
        return bytes([int(tcb.urgent_byte)]) if size > 0 else b""
    if tcb.read_shut:
        return b""
    tcb.recv_errno = errno.EAGAIN
    return None


def at_mark(tcb: Tcb) -> bool:
    """sockatmark(3), SIOCATMARK: whether the next byte to read is the one that the mark stands at."""
    return tcb.urgent_state != NONE and tcb.urgent_seq == read_seq(tcb)


def readable_bytes(tcb: Tcb) -> i64:
    """How many bytes of the stream the program can read, to the end of what came."""
    have: i64 = tcb.received.size
    if have > 0 and tcb.urgent_state != NONE and not tcb.oob_inline and tcb.urgent_seq == read_seq(tcb):
        return have - 1  # the urgent byte is not in the stream
    return have


def bytes_before_mark(tcb: Tcb) -> i64:
    """FIONREAD, SIOCINQ: what one read can give, which is no further than to the mark."""
    have: i64 = tcb.received.size
    ahead: i64 = tcb.urgent_seq - read_seq(tcb)
    if tcb.oob_inline or tcb.urgent_state == NONE or ahead < 0 or ahead >= have:
        return have
    return ahead


def take(tcb: Tcb, size: i64, peek: bool) -> bytes:
    """Up to `size` bytes of the stream of a connection with a mark; b"" when only the urgent byte is there.

    A read ends before the mark; the next one begins behind the urgent byte, or with SO_OOBINLINE at it.
    """
    queue = tcb.received
    ahead: i64 = tcb.urgent_seq - read_seq(tcb)
    size = min(size, queue.size)
    if 0 < ahead < size:
        size = ahead
    if ahead != 0 or tcb.oob_inline:
        if peek:
            return queue.peek(size)
        data = queue.take(size)
        receive_buffer.taken(tcb, size)
        if ahead < size:
            tcb.urgent_state = NONE
        return data
    # Step over the urgent byte.
    size = min(size, queue.size - 1)
    if peek:
        return queue.peek(size + 1)[1:] if size > 0 else b""
    queue.take(1)
    tcb.urgent_state = NONE
    data = queue.take(size) if size > 0 else b""
    receive_buffer.taken(tcb, size + 1)
    return data
