"""Received data on its way into the receive queue: in order, old, beyond the window, or early.

RFC 9293 section 3.10.7.4, "process the segment text". Early data waits in `tcb.out_of_order`, sorted and without
overlaps: of bytes that come twice, those that came first stay.
"""

from __future__ import annotations

from mypy_extensions import i64

from lunar.net.sock import POLLIN
from lunar.packet import TcpSegment
from lunar.tcp.receiver import delayed_ack, receive_buffer, sack_report, window
from lunar.tcp.sender import segments
from lunar.tcp.tcb import Held, Tcb


def receive(tcb: Tcb, segment: TcpSegment, seq: i64, fin: bool) -> bool:
    """Take the segment's data, which starts at `seq`, and its FIN. Returns whether a FIN is now next in order."""
    payload = segment.payload
    size: i64 = len(payload)
    if size == 0 and not fin:
        return False
    end: i64 = seq + size
    nxt: i64 = tcb.rcv_nxt
    if end + (1 if fin else 0) <= nxt:
        # All of it is old: our ACK was lost, or the peer retransmits too much.
        sack_report.duplicate(tcb, seq, end)
        _out_of_window(tcb)
        return False
    left: i64 = window.remaining(tcb)
    if seq > nxt:
        if seq >= nxt + left:
            _out_of_window(tcb)
            return False
        tcb.ack_scheduled = True
        if not _fits(tcb, True):
            return False
        tcb.ip.counters.tcp_out_of_order += 1
        tcb.rcv_ooopack += 1
        if size > 0:
            delayed_ack.measure_segment(tcb, segment, size)
        _hold(tcb, seq, payload, fin)
        return False
    if seq < nxt:
        sack_report.duplicate(tcb, seq, nxt)
        payload = payload[nxt - seq :]
        size = len(payload)
    if size > 0:
        if left == 0:
            _out_of_window(tcb)
            return False
        if not _fits(tcb, False):
            return False
        tcb.received.append(payload)
        receive_buffer.queued(tcb, size)
        tcb.rcv_nxt = nxt + size
        tcb.bytes_received += size
        tcb.pending_wake |= POLLIN
        delayed_ack.data_received(tcb, segment, size)
    if fin:
        if size == 0 and tcb.rmem + tcb.rmem_held > tcb.rcvbuf:
            # Taken even so: a peer that sends its FIN into a closed window would repeat it for ever.
            tcb.ack_now = True
        return True
    if tcb.out_of_order:
        fin = _drain(tcb)
        sack_report.advanced(tcb)
        # RFC 5681 (4.2): when a hole was filled, at once.
        if not tcb.out_of_order:
            tcb.ack_now = True
    return fin


def _fits(tcb: Tcb, early: bool) -> bool:
    """Whether the receive buffer has room for it, whatever was offered; if not it is dropped, and the peer told."""
    if receive_buffer.fits(tcb, early):
        return True
    tcb.ack_scheduled = True
    tcb.ack_now = True
    return False


def _out_of_window(tcb: Tcb) -> None:
    delayed_ack.enter_quick(tcb)
    tcb.ack_scheduled = True


def _hold(tcb: Tcb, seq: i64, payload: bytes, fin: bool) -> None:
    """Put early data into its place, without what is there already, and have the next ACK tell of it."""
    queue = tcb.out_of_order
    end: i64 = seq + len(payload)
    first: i64 = seq
    last: i64 = end + (1 if fin else 0)
    at: i64 = len(queue)
    while at > 0 and queue[at - 1].seq > seq:
        at -= 1
    if at > 0:
        # The one before may cover its start, or all of it.
        left = queue[at - 1]
        if left.end_seq >= end:
            if fin and left.end_seq == end:
                left.fin = True
            sack_report.duplicate(tcb, seq, end)
            return
        if left.end_seq > seq:
            sack_report.duplicate(tcb, seq, left.end_seq)
            payload = payload[left.end_seq - seq :]
            seq = left.end_seq
    while at < len(queue) and queue[at].end_seq <= end:
        # It covers the one after.
        covered = queue.pop(at)
        _release(tcb, covered.end_seq - covered.seq)
        sack_report.duplicate_more(tcb, covered.seq, covered.end_seq)
        if covered.fin and covered.end_seq == end:
            fin = True
    if at < len(queue) and queue[at].seq < end:
        sack_report.duplicate_more(tcb, queue[at].seq, end)
        end = queue[at].seq
        payload = payload[: end - seq]
        fin = False
    if end == seq and not fin:
        return
    queue.insert(at, Held(seq, end, payload, fin))
    tcb.out_of_order_bytes += end - seq
    tcb.rmem_held += receive_buffer.truesize(end - seq)
    if tcb.sack_ok:
        window.grow(tcb, end - seq)
    if sack_report.forgets_untold(tcb, first, last):
        segments.send_ack(tcb)
    sack_report.arrived(tcb, first, last)


def _release(tcb: Tcb, size: i64) -> None:
    """A piece of `size` bytes waits no longer."""
    tcb.out_of_order_bytes -= size
    if tcb.out_of_order_bytes == 0:
        tcb.rmem_held = 0
    else:
        # A buffer that was packed meanwhile charges less.
        tcb.rmem_held = max(tcb.rmem_held - receive_buffer.truesize(size), 0)


def _drain(tcb: Tcb) -> bool:
    """Move what is now in order to the receive queue. Returns whether a FIN is next."""
    queue = tcb.out_of_order
    count: i64 = 0
    fin = False
    while count < len(queue) and not fin:
        held = queue[count]
        if held.seq > tcb.rcv_nxt:
            break
        count += 1
        _release(tcb, held.end_seq - held.seq)
        if held.seq < tcb.rcv_nxt:
            # What filled the hole had this already.
            sack_report.duplicate_more(tcb, held.seq, min(held.end_seq, tcb.rcv_nxt))
        if held.end_seq > tcb.rcv_nxt:
            payload = held.payload[tcb.rcv_nxt - held.seq :] if held.seq < tcb.rcv_nxt else held.payload
            tcb.received.append(payload)
            receive_buffer.queued(tcb, len(payload))
            tcb.bytes_received += len(payload)
            tcb.rcv_nxt = held.end_seq
        if held.fin and held.end_seq == tcb.rcv_nxt:
            fin = True
    if count > 0:
        del queue[:count]
    return fin
