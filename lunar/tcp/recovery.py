"""Loss: how it is detected, what is sent again, and how cwnd answers.

RFC 5681 section 3.2 and RFC 6582 (NewReno) in Linux' form: each sent segment can be marked lost and retransmitted, and
what is in flight is packets_out - sacked_out - lost_out + retrans_out. RFC 5681's inflation of cwnd by duplicate ACKs
is here the deflation of what is in flight: each means that one segment has left the network; `sacked_out` counts them.

States: OPEN; DISORDER, after a duplicate ACK; RECOVERY, after the third; LOSS, after a timeout. Both of the last end
when all is acknowledged that had been sent when they began (`high_seq`, RFC 6582's "recover").
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lunar.tcp import output, records, timers
from lunar.tcp.congestion.control import COMPLETE_CWR, TIMEOUT
from lunar.tcp.tcb import DISORDER, LOSS, LOST, OPEN, RECOVERY, RETRANSMITTED, Tcb

DUP_THRESHOLD: Final = 3  # RFC 5681 (3.2)


def on_ack(tcb: Tcb, acked: i64, advanced: bool, duplicate: bool) -> i64:
    """An ACK came. `acked` segments left the retransmission queue; `advanced`: snd_una moved.

    For how many segments cwnd may grow.
    """
    state: i64 = tcb.ca_state
    if advanced and state >= RECOVERY and tcb.snd_una >= tcb.high_seq:
        tcb.sacked_out = 0
        tcb.set_ca_state(OPEN)
        if state == RECOVERY:
            # RFC 6582 (3.2) step 3: a full acknowledgment. The first choice of the two, which prevents a burst.
            tcb.set_cwnd(min(tcb.ssthresh, max(tcb.in_flight(), 1) + 1))
            tcb.cwnd_stamp_ns = tcb.scheduler.now_ns
            tcb.congestion.on_event(tcb, COMPLETE_CWR)
            return 0
        state = OPEN
    if state == RECOVERY:
        if advanced:
            # Step 3, partial acknowledgment: the next segment is lost too. One of the duplicate ACKs that we counted
            # was for each segment but the first that is acknowledged now.
            tcb.sacked_out = max(tcb.sacked_out - max(acked - 1, 0), 0)
            _mark_head_lost(tcb)
            retransmit_lost(tcb, 1)
        elif duplicate:
            _count_duplicate(tcb)
            retransmit_lost(tcb, 0)
        return 0
    if state == LOSS:
        if advanced:
            tcb.sacked_out = 0
        elif duplicate and tcb.snd_nxt > tcb.high_seq:
            _count_duplicate(tcb)
        return acked  # ack.py sends again what the window that has grown then allows
    if advanced:
        tcb.sacked_out = 0
        if state != OPEN:
            tcb.set_ca_state(OPEN)
    elif duplicate:
        # RFC 3042, limited transmit: as `sacked_out` grows, new segments may go out.
        _count_duplicate(tcb)
        tcb.set_ca_state(DISORDER)
        # RFC 6582 (3.2) step 2, the careful variant: not for duplicates that our own retransmissions may have caused.
        if tcb.sacked_out >= DUP_THRESHOLD and tcb.snd_una > tcb.high_seq:
            _enter_recovery(tcb)
    return acked


def _count_duplicate(tcb: Tcb) -> None:
    # At least one segment is missing, or there would be no duplicates.
    if tcb.sacked_out + max(tcb.lost_out, 1) < tcb.packets_out:
        tcb.sacked_out += 1


def _enter_recovery(tcb: Tcb) -> None:
    """RFC 5681 (3.2) steps 2 and 3: fast retransmit."""
    tcb.ip.counters.tcp_fast_retrans += 1
    tcb.prior_cwnd = tcb.cwnd
    tcb.set_ssthresh(tcb.congestion.on_loss(tcb))
    tcb.set_cwnd(tcb.ssthresh)
    tcb.cwnd_count = 0
    tcb.high_seq = tcb.snd_nxt
    tcb.set_ca_state(RECOVERY)
    _mark_head_lost(tcb)
    retransmit_lost(tcb, 1)


def _mark_head_lost(tcb: Tcb) -> None:
    if tcb.sent_head >= len(tcb.sent):
        return
    head = tcb.sent[tcb.sent_head]
    if not head.marks & LOST:
        if head.segs > 1:
            output.split(tcb, tcb.sent_head, head.mss)
        head.marks |= LOST
        tcb.lost_out += head.segs
        tcb.lost += head.segs
        if tcb.sacked_out + tcb.lost_out > tcb.packets_out:
            tcb.sacked_out = tcb.packets_out - tcb.lost_out


def retransmit_lost(tcb: Tcb, forced: i64) -> None:
    """Send again what is marked lost, as far as cwnd allows; the first `forced` ones in any case."""
    at: i64 = tcb.sent_head
    # `len` is read each time: a segment may be split.
    while tcb.lost_out > tcb.retrans_out and at < len(tcb.sent):
        if forced <= 0 and tcb.in_flight() >= tcb.cwnd:
            return
        record = tcb.sent[at]
        if record.marks & LOST and not record.marks & RETRANSMITTED:
            allowed: i64 = 1 if forced > 0 else min(tcb.cwnd - tcb.in_flight(), records.segments_at_once(tcb, tcb.mss))
            if output.retransmit(tcb, at, allowed) != 0:
                return
            forced -= record.segs
            if at == tcb.sent_head:
                tcb.retransmit_timer.arm(timers.RETRANSMIT, tcb.scheduler.now_ns + tcb.rto_ns)
        at += 1


def enter_loss(tcb: Tcb) -> None:
    """RFC 5681 (3.1), RFC 6582 (4): the retransmission timer fired. All that is in flight counts as lost."""
    state: i64 = tcb.ca_state
    # One reduction of ssthresh for each window of data; and once for a row of timeouts of the same segment.
    if state <= DISORDER or tcb.snd_una >= tcb.high_seq or (state == LOSS and tcb.retransmits == 0):
        tcb.prior_cwnd = tcb.cwnd
        tcb.set_ssthresh(tcb.congestion.on_loss(tcb))
        tcb.congestion.on_event(tcb, TIMEOUT)
    mark_all_lost(tcb)
    tcb.set_cwnd(tcb.in_flight() + 1)
    tcb.cwnd_count = 0
    tcb.cwnd_stamp_ns = tcb.scheduler.now_ns
    tcb.high_seq = tcb.snd_nxt
    tcb.set_ca_state(LOSS)


def mark_all_lost(tcb: Tcb) -> None:
    tcb.sacked_out = 0
    tcb.lost_out = 0
    tcb.retrans_out = 0
    at: i64 = tcb.sent_head
    while at < len(tcb.sent):
        record = tcb.sent[at]
        if not record.marks & LOST:
            tcb.lost += record.segs
        record.marks = (record.marks | LOST) & ~RETRANSMITTED
        tcb.lost_out += record.segs
        at += 1


def resend_larger(tcb: Tcb) -> None:
    """The MSS became smaller: what is larger was lost, by size and not by congestion, so cwnd stays."""
    at: i64 = tcb.sent_head
    while at < len(tcb.sent):
        record = tcb.sent[at]
        if len(record.payload) - record.acked > tcb.mss and record.mss > tcb.mss:
            if record.marks & RETRANSMITTED:
                tcb.retrans_out -= record.segs
            if not record.marks & LOST:
                tcb.lost_out += record.segs
            record.marks = (record.marks | LOST) & ~RETRANSMITTED
        at += 1
    tcb.sacked_out = min(tcb.sacked_out, tcb.packets_out - tcb.lost_out)
    if tcb.lost_out > 0 and tcb.ca_state < RECOVERY:
        tcb.high_seq = tcb.snd_nxt
        tcb.set_ca_state(LOSS)
    retransmit_lost(tcb, 0)
