"""The SACK option of the peer's ACKs: what it has beyond a hole (RFC 2018), and what it got twice (RFC 2883).

`take` marks the records that the blocks cover. What the blocks of the last ACK covered is remembered and stepped over,
so that an ACK costs what is new in it. Blocks come from outside: those that no honest peer can send are counted and
ignored. A hole that is filled by a segment that was sent once was no loss but reordering, whose extent is measured
here, in segments (`reordering`); rack.py waits longer for it.
"""

from __future__ import annotations

from mypy_extensions import i64

from lunar.tcp.loss import rack, rate, scoreboard
from lunar.tcp.loss.news import NEVER_SENT, NOWHERE, News
from lunar.tcp.seq import unwrap
from lunar.tcp.tcb import EVER_RETRANSMITTED, LOSS, LOST, RETRANSMITTED, SACKED, Sent, Tcb


def take(tcb: Tcb, news: News, wire_blocks: list[tuple[int, int]], ack: i64) -> None:
    """Take the option of an ACK of `ack`, before what that acknowledges is removed."""
    if not wire_blocks:
        return
    una: i64 = tcb.snd_una
    if tcb.sacked_out == 0:
        tcb.high_sacked = una
        tcb.sack_cache = None
    news.prior_high = tcb.high_sacked
    blocks: list[tuple[int, int]] = []
    for left, right in wire_blocks:
        blocks.append((int(unwrap(left, una)), int(unwrap(right, una))))
    duplicate = _is_duplicate(tcb, blocks, ack)
    if duplicate and not _take_duplicate(tcb, news, blocks[0][0], blocks[0][1]):
        duplicate = False
    if tcb.packets_out == 0 or ack < una - tcb.max_window:
        return
    told: list[tuple[int, int]] = []
    first = duplicate
    for left, right in blocks:
        if not _is_valid(tcb, first, left, right):
            _count_invalid(tcb, first, ack)
        elif right > una:
            if first:
                _repeat(tcb, news, left, right)
            told.append((left, right))
        first = False
    told.sort()
    known = tcb.sack_cache
    for left, right in told:
        _mark_unknown(tcb, news, known, left, right)
    tcb.sack_cache = told
    if tcb.ca_state != LOSS or tcb.undo_marker >= 0:
        measure_reordering(tcb, news.lowest, False)


def _is_duplicate(tcb: Tcb, blocks: list[tuple[int, int]], ack: i64) -> bool:
    """RFC 2883 (4): the first block tells of a duplicate if it is below the ACK or within the second block."""
    left, right = blocks[0]
    if left < ack:
        tcb.ip.counters.tcp_dsack_recv += 1
        return True
    if len(blocks) > 1 and right <= blocks[1][1] and left >= blocks[1][0]:
        tcb.ip.counters.tcp_dsack_ofo_recv += 1
        return True
    return False


def _take_duplicate(tcb: Tcb, news: News, left: i64, right: i64) -> bool:
    """Count what came twice. False when we cannot have sent that much twice: the network did, or the peer lies."""
    counters = tcb.ip.counters
    size: i64 = right - left
    if size <= 0 or size > tcb.max_window:
        counters.tcp_dsack_ignored_dubious += 1
        return False
    segments: i64 = 1
    if size > tcb.mss:
        segments = (size + tcb.mss - 1) // tcb.mss
    elif tcb.tlp_high_seq >= 0 and tcb.tlp_high_seq == right:
        news.probe_duplicated = True
    tcb.dsack_dups += segments
    if tcb.dsack_dups > tcb.total_retrans:
        counters.tcp_dsack_ignored_dubious += 1
        return False
    # RFC 8985 (6.2) step 4: a needless retransmission, perhaps because RACK did not wait for what was reordered.
    if tcb.reord_seen > 0 and not news.probe_duplicated:
        tcb.rack_duplicate = True
    news.duplicate_told = True
    tcb.delivered += segments
    counters.tcp_dsack_recv_segs += segments
    # RFC 3708: when all that was sent again came twice, nothing had been lost.
    if tcb.undo_marker >= 0 and tcb.undo_retrans > 0 and right <= news.prior_una and right > tcb.undo_marker:
        tcb.undo_retrans = max(tcb.undo_retrans - segments, 0)
    return True


def _is_valid(tcb: Tcb, duplicate: bool, left: i64, right: i64) -> bool:
    """Whether the block speaks of what we have sent, and, unless it tells of a duplicate, of what is unacknowledged."""
    if right > tcb.snd_nxt or left >= right:
        return False
    if left >= tcb.snd_una:
        return True
    if not duplicate or tcb.undo_marker < 0 or right > tcb.snd_una:
        return False
    if left >= tcb.undo_marker:
        return True
    # It began before the recovery; believed if it reaches into it, and is no larger than a window.
    return right > tcb.undo_marker and left >= right - tcb.max_window


def _count_invalid(tcb: Tcb, duplicate: bool, ack: i64) -> None:
    counters = tcb.ip.counters
    if duplicate:
        if tcb.undo_marker < 0:
            counters.tcp_dsack_ignored_no_undo += 1
        else:
            counters.tcp_dsack_ignored_old += 1
    elif ack == tcb.snd_una:
        # The blocks of an ACK that was overtaken may speak of what is acknowledged by now: those are no news, not bad.
        counters.tcp_sack_discard += 1


def _repeat(tcb: Tcb, news: News, left: i64, right: i64) -> None:
    """A duplicate of what is not acknowledged yet: no copy of it is in flight any more."""
    at: i64 = scoreboard.find(tcb, left)
    while at < len(tcb.sent) and tcb.sent[at].end_seq <= right:
        record = tcb.sent[at]
        at += 1
        marks: i64 = record.marks
        if record.seq < left or not marks & (RETRANSMITTED | EVER_RETRANSMITTED):
            continue
        if tcb.undo_marker >= 0 and tcb.undo_retrans > 0 and record.end_seq > tcb.undo_marker:
            tcb.undo_retrans = max(tcb.undo_retrans - record.segs, 0)
        if marks & SACKED and record.seq < news.lowest:
            news.lowest = record.seq
        if marks & RETRANSMITTED:
            record.marks &= ~RETRANSMITTED
            tcb.retrans_out -= record.segs


def _mark_unknown(tcb: Tcb, news: News, known: list[tuple[int, int]] | None, left: i64, right: i64) -> None:
    """Mark what the block covers, except what the last ACK covered already."""
    if known is not None:
        for known_left, known_right in known:
            if known_right <= left:
                continue
            if known_left >= right:
                break
            if known_left > left:
                _mark(tcb, news, left, known_left)
            left = known_right
            if left >= right:
                return
    _mark(tcb, news, left, right)


def _mark(tcb: Tcb, news: News, left: i64, right: i64) -> None:
    at: i64 = scoreboard.find(tcb, left)
    # `len` is read each time: a record may be split.
    while at < len(tcb.sent):
        record = tcb.sent[at]
        if record.seq >= right:
            return
        if record.seq < left or record.end_seq > right:
            if record.segs == 1 or record.marks & SACKED:
                at += 1
                continue
            # Only whole segments count. A part before the block is cut off and left alone.
            mss: i64 = record.mss
            start: i64 = record.seq
            cut: i64 = 0
            if record.seq < left:
                cut = (left - start + mss - 1) // mss * mss
            else:
                cut = (right - start) // mss * mss
            if cut <= 0 or start + cut >= record.end_seq:
                at += 1
                continue
            scoreboard.split(tcb, at, cut)
            if record.seq < left:
                at += 1
                continue
        if not record.marks & SACKED:
            _arrived(tcb, news, record)
        at += 1


def _arrived(tcb: Tcb, news: News, record: Sent) -> None:
    """The peer has `record`, which it had not before."""
    marks: i64 = record.marks
    rack.arrived(tcb, news, record)
    rate.delivered(tcb, record, tcb.tables.sample)
    if marks & RETRANSMITTED:
        # Which of the copies it was, nobody knows. The one that is marked lost is taken for gone.
        if marks & LOST:
            tcb.lost_out -= record.segs
            tcb.retrans_out -= record.segs
            marks &= ~(LOST | RETRANSMITTED)
    else:
        if not marks & EVER_RETRANSMITTED:
            if record.seq < tcb.high_sacked and record.seq < news.lowest:
                news.lowest = record.seq
            if record.end_seq <= tcb.high_seq:
                news.original = True
            if news.first_sacked_ns == NEVER_SENT:
                news.first_sacked_ns = record.sent_ns
            news.last_sacked_ns = record.sent_ns
        if marks & LOST:
            tcb.lost_out -= record.segs
            marks &= ~LOST
    record.marks = marks | SACKED
    tcb.sacked_out += record.segs
    tcb.delivered += record.segs
    news.sacked = True
    if record.end_seq > tcb.high_sacked:
        tcb.high_sacked = record.end_seq


def measure_reordering(tcb: Tcb, lowest: i64, by_timestamp: bool) -> None:
    """What begins at `lowest` was sent once, and arrived after something above it: how far was it overtaken?"""
    if lowest == NOWHERE:
        return
    highest: i64 = tcb.snd_una
    if tcb.sacked_out > 0:
        highest = tcb.high_sacked if tcb.sack_ok else tcb.snd_nxt
    distance: i64 = highest - lowest
    if distance <= 0:
        return
    counters = tcb.ip.counters
    mss: i64 = tcb.mss
    if distance > tcb.reordering * mss:
        tcb.reordering = min((distance + mss - 1) // mss, tcb.tables.sysctls.tcp_max_reordering)
    # It shows that the network reorders, whether or not more than before.
    tcb.reord_seen += 1
    if by_timestamp:
        counters.tcp_ts_reorder += 1
    else:
        counters.tcp_sack_reorder += 1
