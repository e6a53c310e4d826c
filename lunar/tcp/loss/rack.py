"""RACK: what was sent before something that has arrived, by more than a round trip and a little, is lost.

RFC 8985 section 6.2 as Linux does it; it takes the place of counting duplicates whenever the peer sends SACK. "A
little" is the reordering window: nothing at first, so that three segments that arrived are enough; a quarter of the
least RTT once the network is known to reorder, or while fewer than three have arrived; and more quarters, up to one
smoothed RTT, after D-SACKs told that it was too little. What may be lost soon has a timer (timeouts.py).
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lunar.tcp import timers
from lunar.tcp.loss import rate, scoreboard
from lunar.tcp.loss.news import News
from lunar.tcp.loss.retransmit_timer import TIMER_MIN_NS
from lunar.tcp.tcb import EVER_RETRANSMITTED, FOUND_LOST, LOST, RECOVERY, RETRANSMITTED, SACKED, Sent, Tcb

# Bits of tcp_recovery. Bit 0x1 is RACK itself, which Linux does not leave away any more.
STATIC_WINDOW: Final = 0x2
NO_THRESHOLD: Final = 0x4

PERSISTENCE: Final = 16  # recoveries that a widened window lasts, RFC 8985 (6.2) step 4
_STEPS_MAX: Final = 255


def arrived(tcb: Tcb, news: News, record: Sent) -> None:
    """RFC 8985 (6.2) steps 1 and 2: `record` was delivered; is it the most recently sent one?"""
    if record.marks & EVER_RETRANSMITTED:
        # A retransmission whose answer comes too soon is an answer to what was sent before.
        if news.echoes_before((record.sent_ns // 1_000_000 + tcb.ts_offset) & 0xFFFF_FFFF):
            return
        if tcb.scheduler.now_ns - record.sent_ns < rate.min_rtt(tcb):
            return
    newest(tcb, record)


def newest(tcb: Tcb, record: Sent) -> None:
    """Remember `record`, which was delivered, if it was sent after all others that were."""
    tcb.rack_rtt_ns = tcb.scheduler.now_ns - record.sent_ns
    tcb.rack_advanced = True
    if record.turn > tcb.rack_turn or (record.turn == tcb.rack_turn and record.end_seq > tcb.rack_end_seq):
        tcb.rack_turn = record.turn
        tcb.rack_end_seq = record.end_seq


def reordering_window(tcb: Tcb) -> i64:
    """RFC 8985 (6.2) step 4: how long to wait for what may have been overtaken, in nanoseconds."""
    if tcb.reord_seen == 0:
        # So far the network keeps the order.
        if tcb.ca_state >= RECOVERY:
            return 0
        if tcb.sacked_out >= tcb.reordering and not tcb.tables.sysctls.tcp_recovery & NO_THRESHOLD:
            return 0
    # The least RTT, since the smoothed one grows with queues that do not reorder.
    return min((rate.min_rtt(tcb) >> 2) * tcb.rack_steps, tcb.srtt_ns)


def adapt_window(tcb: Tcb, sample: rate.Sample) -> None:
    """RFC 8985 (6.2) step 4: a step more for each round trip with a D-SACK; back to one after 16 recoveries without."""
    if tcb.tables.sysctls.tcp_recovery & STATIC_WINDOW or sample.prior_delivered == 0:
        return
    if sample.prior_delivered < tcb.rack_last_delivered:
        # A round trip since the last change is not over.
        tcb.rack_duplicate = False
    if tcb.rack_duplicate:
        tcb.rack_steps = min(tcb.rack_steps + 1, _STEPS_MAX)
        tcb.rack_duplicate = False
        tcb.rack_last_delivered = tcb.delivered
        tcb.rack_persist = PERSISTENCE
    elif tcb.rack_persist == 0:
        tcb.rack_steps = 1


def sent_before_newest(tcb: Tcb, record: Sent) -> bool:
    """Whether `record` was sent before the most recently sent one that has arrived.

    Of what was sent at the same time RFC 8985 takes the one with the higher sequence number for the later one. Here all
    that ACKs of one instant let go has the same time, new data and what is sent again, so turns are compared. Parts of
    what was sent as one still go by their numbers.
    """
    turn: i64 = record.turn
    return turn < tcb.rack_turn or (turn == tcb.rack_turn and record.end_seq < tcb.rack_end_seq)


def mark_lost(tcb: Tcb, news: News) -> None:
    """Steps 3 to 5, when an ACK told something new."""
    if not tcb.rack_advanced:
        return
    tcb.rack_advanced = False
    again: i64 = tcb.retrans_out
    wait: i64 = detect(tcb)
    if wait > 0:
        tcb.retransmit_timer.arm(timers.REORDERING, tcb.scheduler.now_ns + wait + TIMER_MIN_NS)
        news.timer = False
    if tcb.retrans_out < again:
        news.lost_again = True


def detect(tcb: Tcb) -> i64:
    """Step 5: mark what is lost. Returns how long the last one that may be lost has to wait, 0 for nothing."""
    window: i64 = tcb.rack_rtt_ns + reordering_window(tcb)
    now: i64 = tcb.scheduler.now_ns
    wait: i64 = 0
    # What was sent once: its order in time is that of the queue.
    at: i64 = scoreboard.find(tcb, tcb.rack_seq)
    leading = True
    count: i64 = len(tcb.sent)
    while at < count:
        record = tcb.sent[at]
        at += 1
        if record.marks & (SACKED | LOST | EVER_RETRANSMITTED | FOUND_LOST):
            if leading:
                tcb.rack_seq = record.end_seq
            continue
        if not sent_before_newest(tcb, record):
            break
        left: i64 = record.sent_ns + window - now
        if left <= 0:
            scoreboard.mark_lost(tcb, record)
            record.marks |= FOUND_LOST
            if leading:
                tcb.rack_seq = record.end_seq
        else:
            leading = False
            wait = max(wait, left)
    if tcb.resent:
        wait = max(wait, _detect_again(tcb, window, now))
    return wait


def _detect_again(tcb: Tcb, window: i64, now: i64) -> i64:
    """The same for what was sent again, in the order in which it was."""
    wait: i64 = 0
    resent = tcb.resent
    kept: list[Sent] = []
    at: i64 = 0
    count: i64 = len(resent)
    while at < count:
        record = resent[at]
        if record.marks & SACKED or record.end_seq <= tcb.snd_una:
            at += 1
            continue
        if record.marks & (LOST | RETRANSMITTED) == LOST:
            # A timeout has marked it, and may be undone.
            kept.append(record)
            at += 1
            continue
        if not sent_before_newest(tcb, record):
            break
        at += 1
        left: i64 = record.sent_ns + window - now
        if left <= 0:
            scoreboard.mark_lost(tcb, record)
        else:
            wait = max(wait, left)
            kept.append(record)
    if at > 0:
        tcb.resent = kept + resent[at:]
    return wait


def is_overdue(tcb: Tcb, record: Sent) -> bool:
    """Whether a round trip has passed since `record` was sent (RFC 8985 section 6.3: what a timeout marks as lost)."""
    return record.sent_ns + tcb.rack_rtt_ns <= tcb.scheduler.now_ns
