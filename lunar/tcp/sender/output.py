"""TCP output: which bytes go into a segment, and when it may go.

`push` is the sender's rule book: congestion window, peer's window, Nagle, silly-window avoidance, in Linux' order. Read
RFC 9293 sections 3.8.6.2.1 and 3.7.4 beside it. The segments themselves are made in segments.py.
"""

from __future__ import annotations

import errno
from typing import Final

from mypy_extensions import i64

from lunar.packet import ACK, FIN, PSH, SYN
from lunar.tcp import chronograph, timers
from lunar.tcp.congestion import cwnd as congestion_window
from lunar.tcp.congestion.control import TX_START
from lunar.tcp.loss import rate, retransmit_timer
from lunar.tcp.loss.rtt import RTO_MAX_NS
from lunar.tcp.sender import mtu_probe, pacing, records, segment_size, segments
from lunar.tcp.tcb import (
    CWR,
    EVER_RETRANSMITTED,
    RECOVERY,
    RETRANSMITTED,
    Sent,
    Tcb,
)

RTO_MIN_NS: Final = 200_000_000  # TCP_RTO_MIN: the least first interval of window probes


def push(tcb: Tcb, more: bool) -> None:
    """Send what may be sent of what was never sent. `more`: the program will write more at once, so hold small ones."""
    nagle: i64 = records.NAGLE
    if tcb.push_all:
        nagle = records.HOLD_NOTHING
    elif more or tcb.cork:
        nagle = records.CORK
    elif tcb.nodelay:
        nagle = records.NODELAY
    _push(tcb, nagle, False)


def push_full(tcb: Tcb) -> None:
    """In the middle of a long write: send all that may go, for what waits will not grow."""
    _push(tcb, records.HOLD_NOTHING, False)


def push_one(tcb: Tcb) -> None:
    """In the middle of a long write, whose first record is full: send one as large as may be, and go on writing."""
    _push(tcb, records.HOLD_NOTHING, True)


def _push(tcb: Tcb, nagle: i64, only_one: bool) -> None:
    idle = tcb.packets_out == 0
    unsent = tcb.unsent
    mss: i64 = segment_size.current(tcb)
    most: i64 = records.segments_at_once(tcb, mss)
    limited_by_cwnd = False
    limited_by_window = False
    something = False
    if tcb.mtu_search is not None and not only_one:
        probe: i64 = mtu_probe.next_size(tcb, mss, tcb.reordering)
        if probe < 0:
            return
        if probe > 0:
            mtu_probe.prepare(tcb, probe)
            if _send_new(tcb, probe, False, probe) == 0:
                mtu_probe.sent(tcb, probe)
                something = True
    while True:
        if unsent.head == len(unsent.records):
            if not tcb.fin_queued:
                break
            unsent.append(Sent(tcb.snd_nxt, tcb.snd_nxt, b"", ACK, 0))
        if tcb.needs_pacing and pacing.holds(tcb):
            break
        flying: i64 = tcb.packets_out - tcb.sacked_out - tcb.lost_out + tcb.retrans_out
        cwnd: i64 = tcb.cwnd
        if flying >= cwnd:
            limited_by_cwnd = True
            break
        # No more than half of cwnd in one record, so that ACKs go on coming.
        quota: i64 = min(cwnd - flying, max(cwnd >> 1, 1), most)
        record = unsent.records[unsent.head]
        last = unsent.head + 1 == len(unsent.records)
        size: i64 = record.end_seq - record.seq
        if not last and size < quota * mss:
            records.grow(tcb, record, quota * mss - size)
            size = record.end_seq - record.seq
            last = unsent.head + 1 == len(unsent.records)
        fin = last and tcb.fin_queued
        room: i64 = tcb.snd_una + tcb.snd_wnd - tcb.snd_nxt
        if size > mss:
            if mss > room:
                limited_by_window = True
                break
            by_cwnd: i64 = (cwnd - flying) * mss
            if not only_one and records.should_wait(tcb, record, size, most * mss, room, by_cwnd, fin, last):
                limited_by_cwnd = limited_by_cwnd or by_cwnd < room
                limited_by_window = by_cwnd >= room and room <= size
                break
            limit: i64 = mss
            if tcb.snd_up <= tcb.snd_una:
                limit = records.split_point(tcb, size, quota, mss, room, last, nagle)
            if limit < size:
                size = limit
                fin = False
        else:
            if size > room or (size == 0 and room <= 0):
                limited_by_window = True
                break
            if fin and size == room:
                fin = False  # The FIN occupies one sequence number after the data.
            # Nothing comes after the last segment before a FIN, or into a record that another follows, so nothing is
            # gained by holding it. What is urgent is not held either.
            if size < mss and last and not tcb.fin_queued and tcb.snd_up <= tcb.snd_una:
                if records.holds_small(tcb, nagle):
                    break
        if _send_new(tcb, size, fin, mss) != 0:
            break
        something = True
        if only_one:
            break
    if limited_by_window:
        chronograph.start(tcb, chronograph.RWND_LIMITED)
    elif tcb.chrono == chronograph.RWND_LIMITED:
        chronograph.stop(tcb, chronograph.RWND_LIMITED)
    if something:
        _time(tcb, idle)
    if something or limited_by_cwnd:
        if not limited_by_cwnd:
            limited_by_cwnd = tcb.in_flight() >= tcb.cwnd
        congestion_window.validate(tcb, limited_by_cwnd)
        if tcb.want_space and not limited_by_cwnd and tcb.unsent.size == 0:
            chronograph.start(tcb, chronograph.SNDBUF_LIMITED)
    if tcb.packets_out == 0 and tcb.retransmit_timer.at_ns == 0 and tcb.has_unsent():
        # Closed window, or corked: the probe timer sees to it (tcp(7): a cork holds 200 ms at most).
        tcb.retransmit_timer.arm(timers.PROBE, tcb.scheduler.now_ns + probe_interval(tcb))


def push_probe(tcb: Tcb) -> bool:
    """RFC 8985 (7.3): send one new segment, whatever cwnd is, as a probe for the loss of a tail; False without one."""
    room: i64 = tcb.snd_una + tcb.snd_wnd - tcb.snd_nxt
    if not tcb.has_unsent() or room <= 0:
        return False
    mss: i64 = segment_size.current(tcb)
    unsent = tcb.unsent
    if unsent.is_empty():
        unsent.append(Sent(tcb.snd_nxt, tcb.snd_nxt, b"", ACK, 0))
    record = unsent.first()
    whole: i64 = record.end_seq - record.seq
    size: i64 = min(whole, mss)
    if size > room:
        return False
    fin = tcb.fin_queued and size == whole and unsent.count() == 1 and size < room
    return _send_new(tcb, size, fin, mss) == 0


def _time(tcb: Tcb, idle: bool) -> None:
    """Something was sent for the first time, see that it is sent again if lost. `idle`: nothing had been in flight."""
    if tcb.syn_ack_pending:
        return  # the timer is the SYN-ACK's
    if not retransmit_timer.schedule_probe(tcb, False) and (idle or tcb.retransmit_timer.kind == timers.TAIL_LOSS):
        retransmit_timer.restart(tcb, False)


def _send_new(tcb: Tcb, size: i64, fin: bool, mss: i64) -> i64:
    """Send the first record, or its first `size` bytes, with the FIN if `fin`, for the first time.

    Returns 0, or an errno with which it stays unsent: our own device has no room, or there is no way to the peer.
    """
    now: i64 = tcb.scheduler.now_ns
    unsent = tcb.unsent
    record = unsent.records[unsent.head]
    if size < record.end_seq - record.seq:
        records.cut_unsent(tcb, record, size)
    record = unsent.take()
    end: i64 = record.end_seq
    if fin:
        record.flags |= FIN
        end += 1
        record.end_seq = end
    record.sent_ns = now
    record.mss = mss
    segs: i64 = 1
    if size > mss:
        segs = (size + mss - 1) // mss
    record.segs = segs
    rate.sent(tcb, record)
    failed: i64 = _transmit_record(tcb, record)
    if failed == errno.ENOBUFS or failed == errno.ENETUNREACH:
        record.end_seq = record.seq + size
        record.flags &= ~FIN
        unsent.put_back(record)
        return failed
    if fin:
        tcb.fin_queued = False
    if size < segs * mss and size > 0:
        tcb.small_end = end
    if tcb.packets_out == 0:
        tcb.congestion.on_event(tcb, TX_START)
    tcb.sent.append(record)
    tcb.snd_nxt = end
    tcb.packets_out += segs
    if tcb.ca_state == RECOVERY or tcb.ca_state == CWR:
        tcb.prr_out += segs
    _note_data_sent(tcb, now)
    return 0


def _note_data_sent(tcb: Tcb, now: i64) -> None:
    # An answer within the delayed-ACK time: a conversation, in which ACKs can ride on data. Linux takes what is sent
    # again for one, too.
    if now - tcb.last_received_ns < tcb.ato_ns:
        tcb.pingpong = True
    tcb.last_sent_ns = now


def _transmit_record(tcb: Tcb, record: Sent) -> i64:
    """Send a record: whole where the device takes that, else as segments of the MSS. Returns 0 or an errno.

    Linux leaves it to the device or to the last step before it in the same way.
    """
    payload = record.data()
    failed: i64 = 0
    if record.segs <= 1:
        failed = segments.transmit(tcb, record.seq, record.flags, payload)
    else:
        # The receiver is not to wait for more: Linux sets PSH on the last segment of such a record, wherever a write
        # ended.
        flags: i64 = record.flags | PSH
        route = segments.route_to(tcb)
        if route is not None and route.device.gso and not tcb.md5_key:
            failed = segments.transmit(tcb, record.seq, flags, payload, record.mss)
        else:
            failed = _transmit_cut(tcb, record.seq, flags, payload, record.mss)
    if tcb.needs_pacing and failed == 0:
        pacing.sent(tcb, len(payload))
    return failed


def _transmit_cut(tcb: Tcb, seq: i64, flags: i64, payload: bytes, mss: i64) -> i64:
    """Send a record as its segments. Returns 0 or the errno of the first."""
    size: i64 = len(payload)
    at: i64 = 0
    first: i64 = 0
    while at < size:
        after: i64 = at + mss
        failed: i64 = 0
        if after < size:
            failed = segments.transmit(tcb, seq + at, flags & ~(FIN | PSH), payload[at:after])
        else:
            failed = segments.transmit(tcb, seq + at, flags, payload[at:])
        if at == 0:
            first = failed
        at = after
    return first


def probe_interval(tcb: Tcb) -> i64:
    """How long to wait before the next window probe."""
    base: i64 = max(tcb.rto_ns, RTO_MIN_NS)
    shift: i64 = min(tcb.backoff, 10)
    return min(base << shift, RTO_MAX_NS)


def wake_up(tcb: Tcb) -> i64:
    """Make the peer answer: by data if its window has any room, else by an ACK of an old sequence number.

    RFC 9293 (3.8.6.1, 3.8.4); as Linux, a probe carries no data, and is answered because it is not acceptable.
    """
    room: i64 = tcb.snd_una + tcb.snd_wnd - tcb.snd_nxt
    unsent = tcb.unsent
    if tcb.has_unsent() and room > 0:
        if unsent.is_empty():
            unsent.append(Sent(tcb.snd_nxt, tcb.snd_nxt, b"", ACK, 0))
        record = unsent.first()
        whole: i64 = record.end_seq - record.seq
        mss: i64 = segment_size.current(tcb)
        size: i64 = min(whole, room, mss)
        fin = tcb.fin_queued and size == whole and unsent.count() == 1 and size < room
        if size < whole:
            records.cut_unsent(tcb, record, size)
        if size > 0:
            record.flags |= PSH
        idle = tcb.packets_out == 0
        failed: i64 = _send_new(tcb, size, fin, mss)
        if failed == 0:
            _time(tcb, idle)
        return failed
    if tcb.snd_up > tcb.snd_una:
        # RFC 9293 (3.8.5): the pointer is told though the byte cannot go; a pointer counts from what is not received.
        segments.transmit(tcb, tcb.snd_una, ACK, b"")
    return segments.transmit(tcb, tcb.snd_una - 1, ACK, b"")


def retransmit(tcb: Tcb, index: i64, segs: i64 = 1) -> i64:
    """Send tcb.sent[index] again, `segs` segments of it at most. Returns 0 or an errno, with which nothing was sent.

    What is larger is cut: tcb.sent[index] is then what was sent, and the next record the rest.
    """
    record = tcb.sent[index]
    now: i64 = tcb.scheduler.now_ns
    if record.flags & SYN:
        tcb.note_retransmission(record)
        record.marks |= EVER_RETRANSMITTED
        record.sent_ns = now
        return segments.send_syn(tcb)
    if record.seq < tcb.snd_una:
        records.trim(tcb, record)  # The peer acknowledged part of it.
    mss: i64 = segment_size.current(tcb)
    # The peer took its window back: only the first segment may go, as a probe.
    room: i64 = tcb.snd_una + tcb.snd_wnd - record.seq
    if room <= 0:
        if record.seq != tcb.snd_una:
            return errno.EAGAIN
        room = mss
    size: i64 = len(record.payload) - record.acked
    most: i64 = mss * segs
    if most > room:
        most = max(room // mss * mss, min(room, mss))
    if size > most:
        records.split(tcb, index, most)
    elif size < mss and record.segs == 1 and tcb.tables.sysctls.tcp_retrans_collapse != 0:
        records.collapse(tcb, index, min(room, mss))
    if record.mss != mss:
        records.recount(tcb, record, mss)
    if tcb.mtu_search is not None:
        tcb.mtu_search.size = 0  # whatever becomes of a probe, it tells nothing any more
    record.marks |= EVER_RETRANSMITTED
    tcb.note_retransmission(record)
    failed: i64 = _transmit_record(tcb, record)
    if failed != 0:
        return failed
    if not record.marks & RETRANSMITTED:
        record.marks |= RETRANSMITTED
        tcb.retrans_out += record.segs
    record.sent_ns = now
    rate.sent(tcb, record)
    if len(record.payload) > 0:
        _note_data_sent(tcb, now)
    return 0
