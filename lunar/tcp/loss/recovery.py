"""Loss: what an ACK or a timeout means for the state of a connection, and what is sent again.

RFC 5681 section 3.2, RFC 6582, RFC 6675 and RFC 5682 in Linux' form: each sent record can be marked sacked, lost and
retransmitted (scoreboard.py). What is lost is found by rack.py where the peer sends SACK, else by duplicates.py. Once
something is, the connection is in RECOVERY, while cwnd goes down by prr.py; undo.py takes it back if it was needless.

States: OPEN; DISORDER, something arrived out of order, or a reduction may still be undone; CWR, cwnd goes down though
nothing was lost; RECOVERY; LOSS, after a timeout. The last three end when all is acknowledged that had been sent when
they began (`high_seq`, RFC 6582's "recover").
"""

from __future__ import annotations

import errno
from typing import Final

from mypy_extensions import i64

from lunar.packet import SYN
from lunar.tcp import ecn, timers
from lunar.tcp.congestion.control import TIMEOUT
from lunar.tcp.loss import duplicates, prr, rack, scoreboard, undo
from lunar.tcp.loss.news import News
from lunar.tcp.sender import mtu_probe, output, pacing, records, segment_size
from lunar.tcp.tcb import (
    CWR,
    DISORDER,
    EVER_RETRANSMITTED,
    LOSS,
    LOST,
    OPEN,
    RECOVERY,
    RETRANSMITTED,
    SACKED,
    Tcb,
)

# What is to be sent once cwnd is known.
NOTHING: Final = 0
RESEND: Final = 1  # what is lost
SEND_NEW: Final = 2  # F-RTO: what was never sent, and what is lost only if there is none

_RENEGED_MIN_NS: Final = 10_000_000


def alert(tcb: Tcb, news: News) -> i64:
    """An ACK came that is not just the next one: find out what was lost. Returns what is to be sent."""
    if tcb.packets_out == 0:
        tcb.sacked_out = 0
    if news.echo:
        tcb.prior_ssthresh = 0
    if _reneged(tcb, news):
        return NOTHING
    if tcb.ca_state == OPEN:
        tcb.retrans_stamp = -1
    elif tcb.snd_una >= tcb.high_seq and _ends(tcb, news):
        return NOTHING
    state: i64 = tcb.ca_state
    if state == RECOVERY:
        return _in_recovery(tcb, news)
    if state == LOSS:
        todo: i64 = _in_loss(tcb, news)
        if tcb.ca_state != LOSS and tcb.rto_began_ns >= 0:
            tcb.total_rto_time_ns += tcb.scheduler.now_ns - tcb.rto_began_ns
            tcb.rto_began_ns = -1
        _find_lost(tcb, news)
        # Go on only if the timeout is undone; or if a retransmission is lost as well, for which cwnd goes down again.
        if tcb.ca_state != OPEN and not news.lost_again:
            return todo
    if not tcb.sack_ok:
        if news.advanced:
            tcb.sacked_out = 0
        if news.duplicate:
            duplicates.count(tcb)
    if tcb.ca_state <= DISORDER:
        undo.by_duplicates(tcb)
    _find_lost(tcb, news)
    if tcb.lost_out == 0:
        # RFC 3042, limited transmit, needs nothing more: as `sacked_out` grows, new segments may go out.
        _try_open(tcb, news)
        return NOTHING
    if tcb.mtu_search is not None and tcb.ca_state < CWR and mtu_probe.was_lost(tcb):
        # It was too large, and its loss is no sign of congestion.
        resend_larger(tcb)
        return NOTHING
    enter_recovery(tcb, news.echo)
    return RESEND


def _ends(tcb: Tcb, news: News) -> bool:
    """All that was in flight when this state began is acknowledged. True: nothing is to be done any more."""
    state: i64 = tcb.ca_state
    if state == CWR:
        # Held until something above `high_seq` is acknowledged, so that two reductions are a window apart.
        if tcb.snd_una != tcb.high_seq:
            prr.end(tcb)
            tcb.set_ca_state(OPEN)
    elif state == RECOVERY:
        if not tcb.sack_ok:
            tcb.sacked_out = 0
        if undo.at_end(tcb, news):
            return True
        prr.end(tcb)
    return False


def _in_recovery(tcb: Tcb, news: News) -> i64:
    if not news.advanced:
        if not tcb.sack_ok and news.duplicate:
            duplicates.count(tcb)
    elif undo.at_partial(tcb, news):
        return NOTHING
    if undo.by_duplicates(tcb):
        _try_open(tcb, news)
    _find_lost(tcb, news)
    if tcb.ca_state != RECOVERY:
        if tcb.lost_out == 0:
            return NOTHING
        enter_recovery(tcb, news.echo)
    return RESEND


def _in_loss(tcb: Tcb, news: News) -> i64:
    """After a timeout: F-RTO, RFC 5682 section 3.1 in its form with SACK, and what becomes of the recovery."""
    recovered = tcb.snd_una >= tcb.high_seq
    if news.advanced and undo.after_timeout(tcb, news, False):
        return NOTHING
    if tcb.frto:
        # Step 3b: something arrived that was sent before the timeout, and only then. So the timeout was spurious.
        if news.original and undo.after_timeout(tcb, news, True):
            return NOTHING
        if tcb.snd_nxt > tcb.high_seq:
            if news.sacked or news.duplicate:
                tcb.frto = False  # step 3a: it was not
        elif news.advanced and not recovered:
            # Step 2b: try new data.
            tcb.high_seq = tcb.snd_nxt
            if tcb.has_unsent() and tcb.snd_una + tcb.snd_wnd > tcb.snd_nxt:
                return SEND_NEW
            tcb.frto = False
    if recovered:
        # Step 2a, and the first part of 3a.
        undo.at_end(tcb, news)
        return NOTHING
    if not tcb.sack_ok:
        # A duplicate tells that new data of step 2b arrived; what is in flight falls.
        if tcb.snd_nxt > tcb.high_seq and news.duplicate:
            duplicates.count(tcb)
        elif news.advanced:
            tcb.sacked_out = 0
    return RESEND


def _reneged(tcb: Tcb, news: News) -> bool:
    """Whether the peer has dropped what it told of: what it has by SACK is not acknowledged though it is next.

    RFC 2018 (8) allows that. As Linux: if the next ACK, within half a round trip, does not acknowledge it, time out.
    """
    if not news.advanced or tcb.sacked_out == 0 or not tcb.sack_ok or tcb.sent_head >= len(tcb.sent):
        return False
    if not tcb.sent[tcb.sent_head].marks & SACKED:
        return False
    wait: i64 = max(tcb.srtt_ns >> 1, _RENEGED_MIN_NS)
    tcb.retransmit_timer.arm(timers.RETRANSMIT, tcb.scheduler.now_ns + wait)
    news.timer = False
    return True


def _find_lost(tcb: Tcb, news: News) -> None:
    if tcb.packets_out == 0:
        return
    if tcb.sack_ok:
        rack.mark_lost(tcb, news)
    else:
        duplicates.mark_lost(tcb, news.advanced)


def _try_open(tcb: Tcb, news: News) -> None:
    if not scoreboard.is_any_retransmitted(tcb):
        tcb.retrans_stamp = -1
    if news.echo:
        prr.enter_cwr(tcb)
    if tcb.ca_state != CWR:
        undo.keep_open(tcb)


def enter_recovery(tcb: Tcb, echo: bool) -> None:
    """RFC 5681 (3.2) step 2: something is lost. `echo`: the network said so by ECN, which cannot be undone."""
    if tcb.sack_ok:
        tcb.ip.counters.tcp_sack_recovery += 1
    else:
        tcb.ip.counters.tcp_reno_recovery += 1
    tcb.prior_ssthresh = 0
    undo.begin(tcb)
    if not prr.is_reducing(tcb):
        if not echo:
            tcb.prior_ssthresh = undo.current_ssthresh(tcb)
        prr.begin(tcb)
    tcb.set_ca_state(RECOVERY)


def enter_loss(tcb: Tcb) -> None:
    """RFC 5681 (3.1), RFC 6582 (4): the retransmission timer fired."""
    state: i64 = tcb.ca_state
    new = state < RECOVERY
    _mark_timed_out(tcb)
    # One reduction of ssthresh for each window of data; and once for a row of timeouts of the same segment.
    if state <= DISORDER or tcb.snd_una >= tcb.high_seq or (state == LOSS and tcb.retransmits == 0):
        tcb.prior_ssthresh = undo.current_ssthresh(tcb)
        tcb.prior_cwnd = tcb.cwnd
        tcb.set_ssthresh(tcb.congestion.on_loss(tcb))
        tcb.congestion.on_event(tcb, TIMEOUT)
        undo.begin(tcb)
    tcb.set_cwnd(tcb.in_flight() + 1)
    tcb.cwnd_count = 0
    tcb.cwnd_stamp_ns = tcb.scheduler.now_ns
    # So many were reported, and it was a loss: what was learnt of reordering is too much.
    sysctls = tcb.tables.sysctls
    if state == DISORDER and tcb.sacked_out >= sysctls.tcp_reordering:
        tcb.reordering = min(tcb.reordering, sysctls.tcp_reordering)
    tcb.set_ca_state(LOSS)
    tcb.high_seq = tcb.snd_nxt
    ecn.reduced(tcb)
    tcb.tlp_high_seq = -1
    # RFC 5682 (2.1) step 1: not in the middle of another recovery, whose retransmissions would blur what ACKs tell.
    tcb.frto = sysctls.tcp_frto != 0 and (new or tcb.retransmits > 0)


def _mark_timed_out(tcb: Tcb) -> None:
    """All that is in flight is lost; except (RFC 8985 section 6.3) what was sent less than a round trip ago."""
    if tcb.sent_head >= len(tcb.sent):
        return
    head = tcb.sent[tcb.sent_head]
    reneged = head.marks & SACKED != 0
    if reneged:
        tcb.ip.counters.tcp_sack_reneging += 1
        tcb.sacked_out = 0
        tcb.sack_cache = None
        tcb.reneged = True
    elif not tcb.sack_ok:
        tcb.sacked_out = 0
    at: i64 = tcb.sent_head
    while at < len(tcb.sent):
        record = tcb.sent[at]
        if reneged:
            record.marks &= ~SACKED
        elif at != tcb.sent_head and tcb.sack_ok and not rack.is_overdue(tcb, record):
            at += 1
            continue
        scoreboard.mark_lost(tcb, record)
        at += 1


def resend(tcb: Tcb, index: i64, segs: i64) -> i64:
    """Send tcb.sent[index] again, `segs` segments of it at most. Returns 0 or an errno, with which nothing was sent."""
    before = tcb.sent[index].marks & EVER_RETRANSMITTED != 0
    failed: i64 = output.retransmit(tcb, index, segs)
    record = tcb.sent[index]
    if record.flags & SYN:
        return failed
    if failed == 0:
        scoreboard.note_resent(tcb, record, before)
    elif failed == errno.EAGAIN:
        return failed  # it was not tried: the peer has no window for it
    else:
        tcb.ip.counters.tcp_retrans_fail += 1
    if tcb.retrans_stamp < 0:
        tcb.retrans_stamp = tcb.timestamp()
    if tcb.undo_retrans < 0:
        tcb.undo_retrans = 0
    tcb.undo_retrans += record.segs
    return failed


def repeat(tcb: Tcb, index: i64) -> bool:
    """Send tcb.sent[index] again though it is not lost, as a probe: what is in flight is not counted higher by it."""
    marks: i64 = tcb.sent[index].marks
    if output.retransmit(tcb, index, 1) != 0:
        tcb.ip.counters.tcp_retrans_fail += 1
        return False
    record = tcb.sent[index]
    scoreboard.note_resent(tcb, record, marks & EVER_RETRANSMITTED != 0)
    if not marks & RETRANSMITTED:
        record.marks &= ~RETRANSMITTED
        tcb.retrans_out -= record.segs
    return True


def resend_lost(tcb: Tcb) -> None:
    """Send again what is lost, as far as cwnd allows."""
    at: i64 = scoreboard.find(tcb, tcb.resend_seq)
    rearm = False
    stopped = False
    counters = tcb.ip.counters
    most: i64 = records.segments_at_once(tcb, segment_size.current(tcb))
    # `len` is read each time: a record may be split.
    while at < len(tcb.sent):
        record = tcb.sent[at]
        if record.marks & (LOST | RETRANSMITTED | SACKED) == LOST:
            room: i64 = tcb.cwnd - tcb.in_flight()
            if tcb.needs_pacing and pacing.holds(tcb):
                room = 0
            if room <= 0 or resend(tcb, at, min(room, most)) != 0:
                tcb.resend_seq = record.seq
                stopped = True
                break
            record = tcb.sent[at]
            if tcb.ca_state == LOSS:
                counters.tcp_slow_start_retrans += record.segs
            else:
                counters.tcp_fast_retrans += record.segs
            if prr.is_reducing(tcb):
                tcb.prr_out += record.segs
            if at == tcb.sent_head:
                rearm = True
        at += 1
    if not stopped:
        tcb.resend_seq = tcb.snd_nxt
    timer = tcb.retransmit_timer
    if rearm and (timer.at_ns == 0 or timer.kind != timers.REORDERING):
        timer.arm(timers.RETRANSMIT, tcb.scheduler.now_ns + tcb.rto_ns)


def resend_larger(tcb: Tcb) -> None:
    """The MSS became smaller: what is larger was lost, by size and not by congestion, so cwnd stays."""
    at: i64 = tcb.sent_head
    while at < len(tcb.sent):
        record = tcb.sent[at]
        if len(record.payload) - record.acked > tcb.mss and record.mss > tcb.mss and not record.marks & SACKED:
            if not record.marks & LOST or record.marks & RETRANSMITTED:
                scoreboard.mark_lost(tcb, record)
        at += 1
    if tcb.lost_out > 0:
        resend_uncongested(tcb)


def resend_uncongested(tcb: Tcb) -> None:
    """Send again what is marked lost for another reason than congestion, with the window as it is."""
    if not tcb.sack_ok:
        tcb.sacked_out = min(tcb.sacked_out, tcb.packets_out - tcb.lost_out)
    if tcb.lost_out > 0 and tcb.ca_state != LOSS:
        tcb.high_seq = tcb.snd_nxt
        tcb.set_ssthresh(undo.current_ssthresh(tcb))
        tcb.prior_ssthresh = 0
        tcb.undo_marker = -1
        tcb.set_ca_state(LOSS)
    resend_lost(tcb)
