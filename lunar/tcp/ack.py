"""An acknowledgment from the peer: what it removes from the retransmission queue, and the window that it offers.

RFC 9293 section 3.10.7.4, "fifth, check the ACK field". What it means for loss and cwnd is in recovery.py.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lunar.packet import FIN, SYN, TcpSegment
from lunar.tcp import chronograph, output, rate, recovery, rtt, timers
from lunar.tcp.congestion import cwnd
from lunar.tcp.tcb import EVER_RETRANSMITTED, LOST, OPEN, RETRANSMITTED, Tcb

# What `process` made of it.
UNACCEPTABLE: Final = 0
OLD: Final = 1
TAKEN: Final = 2

_COMPACT_FROM: Final = 32  # acknowledged records stay in the list until they are this many and the majority


def process(tcb: Tcb, segment: TcpSegment, seq: i64, ack: i64, size: i64) -> i64:
    """Take the ACK and window of `segment`, whose data of `size` bytes starts at `seq`; both numbers unwrapped."""
    una: i64 = tcb.snd_una
    if ack > tcb.snd_nxt:
        # RFC 9293 wants an ACK in answer; Linux drops silently, and so do we.
        return UNACCEPTABLE
    if ack < una:
        # RFC 5961 (5.2): older than any window that we were offered is an attack or a very old duplicate.
        if ack < una - tcb.max_window:
            output.send_challenge_ack(tcb)
            return UNACCEPTABLE
        return OLD
    now: i64 = tcb.scheduler.now_ns
    tcb.last_ack_ns = now
    tcb.probes_out = 0
    # RFC 7323 (4.3): remember the timestamp of what begins at or before the last ACK that we sent.
    if tcb.timestamps and segment.has_timestamps and seq <= tcb.rcv_wup:
        tcb.ts_recent = segment.ts_val
        tcb.ts_recent_ns = now
    # The window: from a newer segment, or a newer ACK, or (Linux) a larger or a zero one of the same.
    offered: i64 = segment.window
    if not segment.flags & SYN:
        offered <<= tcb.snd_wscale
    window_moved = False
    if ack > una or seq > tcb.snd_wl1 or (seq == tcb.snd_wl1 and (offered > tcb.snd_wnd or offered == 0)):
        tcb.snd_wl1 = seq
        if offered != tcb.snd_wnd:
            window_moved = True
            tcb.snd_wnd = offered
            if offered > tcb.max_window:
                tcb.max_window = offered
                output.update_mss(tcb)
            if tcb.packets_out == 0 and tcb.unsent.size > 0:
                cwnd.restart_after_idle(tcb)
    if tcb.packets_out == 0:
        tcb.snd_una = ack
        if tcb.has_unsent():
            _probe_answered(tcb)
        return TAKEN
    if ack == una:
        # RFC 5681 (2): a duplicate has no data, no new window, no SYN or FIN, while something is outstanding.
        if size == 0 and not window_moved and not segment.flags & (SYN | FIN):
            _repeated(tcb, True)
        elif tcb.ca_state != OPEN:
            _repeated(tcb, False)
        return TAKEN
    _advance(tcb, segment, ack)
    return TAKEN


def _advance(tcb: Tcb, segment: TcpSegment, ack: i64) -> None:
    """snd_una moves to `ack`: take what is acknowledged off the retransmission queue, measure, and go on sending."""
    now: i64 = tcb.scheduler.now_ns
    sample = rate.begin(tcb)
    tcb.snd_una = ack
    tcb.retransmits = 0
    sent = tcb.sent
    count: i64 = len(sent)
    head: i64 = tcb.sent_head
    acked: i64 = 0
    removed: i64 = 0
    delivered: i64 = 0
    first_sent_ns: i64 = -1
    last_sent_ns: i64 = -1
    retransmitted = False
    while head < count:
        record = sent[head]
        marks: i64 = record.marks
        if record.end_seq > ack:
            if record.segs > 1 and ack > record.seq:
                partly: i64 = output.trim(tcb, record)
                acked += partly
                delivered += partly
                if marks & EVER_RETRANSMITTED:
                    retransmitted = True
                if first_sent_ns < 0:
                    first_sent_ns = record.sent_ns
                last_sent_ns = -1 if marks & EVER_RETRANSMITTED else record.sent_ns
                rate.delivered(tcb, record, sample)
            break
        head += 1
        segs: i64 = record.segs
        removed += segs
        if marks != 0:
            if marks & LOST:
                tcb.lost_out -= segs
            if marks & RETRANSMITTED:
                tcb.retrans_out -= segs
            if marks & EVER_RETRANSMITTED:
                retransmitted = True
        if first_sent_ns < 0:
            first_sent_ns = record.sent_ns
        last_sent_ns = -1 if marks & EVER_RETRANSMITTED else record.sent_ns
        rate.delivered(tcb, record, sample)
        if not record.flags & SYN:
            acked += segs
    tcb.packets_out -= removed
    delivered += removed
    tcb.delivered += delivered
    if head == count:
        sent.clear()
        head = 0
    elif head >= 32 and head * 2 >= count:
        del sent[:head]
        head = 0
    tcb.sent_head = head
    # Karn's rule, RFC 6298 (3): what was sent twice is not measured, unless the timestamp tells which one it was.
    if first_sent_ns >= 0 and not retransmitted:
        rtt.sample(tcb, now - first_sent_ns)
    elif tcb.timestamps and segment.has_timestamps:
        rtt.sample_by_timestamp(tcb, segment.ts_ecr)
    if tcb.packets_out == 0:
        # RFC 6298 (5.2), (5.3).
        tcb.retransmit_timer.disarm()
        chronograph.stop(tcb, chronograph.BUSY)
    else:
        tcb.retransmit_timer.arm(timers.RETRANSMIT, now + tcb.rto_ns)
    sample.acked = delivered
    if last_sent_ns >= 0:
        sample.rtt_ns = now - last_sent_ns
        rate.update_min_rtt(tcb, sample.rtt_ns, False)
    tcb.congestion.on_sample(tcb, sample)
    growth: i64 = recovery.on_ack(tcb, acked, True, False)
    rate.generate(tcb, sample, False)
    cwnd.control(tcb, sample, growth)
    if tcb.lost_out > tcb.retrans_out:
        recovery.retransmit_lost(tcb, 0)


def _repeated(tcb: Tcb, duplicate: bool) -> None:
    """An ACK that acknowledges nothing new, while something is in flight or was lost."""
    sample = rate.begin(tcb)
    growth: i64 = recovery.on_ack(tcb, 0, False, duplicate)
    rate.generate(tcb, sample, False)
    cwnd.control(tcb, sample, growth)
    if tcb.lost_out > tcb.retrans_out:
        recovery.retransmit_lost(tcb, 0)


def _probe_answered(tcb: Tcb) -> None:
    """Something waits to be sent and nothing is in flight: has the window opened enough?"""
    need: i64 = min(max(tcb.unsent.size, 1), tcb.mss)
    if need <= tcb.snd_una + tcb.snd_wnd - tcb.snd_nxt:
        tcb.backoff = 0
        tcb.retransmit_timer.disarm()
    elif tcb.retransmit_timer.at_ns != 0:
        # Still closed: the peer lives, and the interval goes on growing.
        tcb.retransmit_timer.arm(timers.PROBE, tcb.scheduler.now_ns + output.probe_interval(tcb))
