"""How large what is sent becomes: the records that writes are gathered in, and how much of one goes at once.

Linux hands whole records of up to 64 KiB to the device, which cuts them into segments (TSO). When that helps, how much
waits for more (Nagle, TSO deferral), and where a record is cut, decides what a capture before the cutting shows; so
the rules are here as Linux has them. output.py sends by them. Read RFC 9293 sections 3.7.4 and 3.8.6.2.1.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lunar.packet import ACK, FIN, PSH
from lunar.tcp.loss import rate
from lunar.tcp.tcb import EVER_RETRANSMITTED, LOST, RECOVERY, RETRANSMITTED, SACKED, Sent, Tcb

# How small segments are held.
NAGLE: Final = 0
NODELAY: Final = 1
CORK: Final = 2
HOLD_NOTHING: Final = 3

# The payload of the largest record: an IP packet's 64 KiB less the room that Linux keeps for headers.
RECORD_MAX: Final = 65_215

# Of a pacing rate in bytes a second, what goes at once: a 1024th, which is about a millisecond's (sk_pacing_shift).
_PACING_SHIFT: Final = 10
_DEFER_WINDOW_NS: Final = 1_000_000  # only a sender that was busy within the last millisecond waits for more
_DEFER_SEGMENTS: Final = 3  # without a divisor: what is above this goes


def size_goal(tcb: Tcb, mss: i64) -> i64:
    """How many bytes of writes are gathered in one record: whole segments, at most half of the peer's window."""
    goal: i64 = RECORD_MAX
    half: i64 = tcb.max_window >> 1 if tcb.max_window > 536 else tcb.max_window
    if 0 < half < goal:
        goal = half
    return max(goal // mss * mss, mss)


def segments_at_once(tcb: Tcb, mss: i64) -> i64:
    """How many segments one record that is sent may have: what the pacing rate sends in a millisecond, and more when
    the peer is near; not less than `tcp_min_tso_segs`, or than congestion control asks for.
    """
    size: i64 = RECORD_MAX
    if tcb.pacing_rate > 0:
        size = tcb.pacing_rate >> _PACING_SHIFT
        near: i64 = rate.min_rtt(tcb) // 1000 >> tcb.tables.sysctls.tcp_tso_rtt_log
        if near < 32:
            size += RECORD_MAX >> near
        size = min(size, RECORD_MAX)
    least: i64 = 0
    if tcb.full_control:
        least = tcb.congestion.min_tso_segs(tcb)
    if least == 0:
        least = tcb.tables.sysctls.tcp_min_tso_segs
    # A large tcp_min_tso_segs does not make a packet larger than IP's can be.
    return max(size // mss, min(least, max(RECORD_MAX // mss, 2)))


def grow(tcb: Tcb, first: Sent, more: i64) -> None:
    """Move up to `more` bytes from the second unsent record to the first, so that less is left for a small one."""
    unsent = tcb.unsent
    while more > 0 and not first.eor and unsent.count() > 1:
        second = unsent.second()
        have: i64 = second.end_seq - second.seq
        moved: i64 = min(more, have)
        first.end_seq += moved
        if moved < have:
            second.seq += moved
            return
        first.flags |= second.flags
        first.eor = second.eor
        unsent.remove_second()
        more -= moved


def cut_unsent(tcb: Tcb, first: Sent, size: i64) -> None:
    """Cut the first unsent record after `size` bytes; where the write ended is in the rest."""
    rest = Sent(first.seq + size, first.end_seq, b"", first.flags, 0)
    rest.eor = first.eor
    first.end_seq = first.seq + size
    first.flags = ACK
    first.eor = False
    tcb.unsent.insert_after_first(rest)


def mark_pushed(tcb: Tcb) -> None:
    """RFC 9293 (3.9.1.2): a write ends here, and the segment of its last byte has PSH."""
    tcb.unsent.last().flags |= PSH
    tcb.push_seq = tcb.write_seq


def is_push_due(tcb: Tcb) -> bool:
    """Whether so much was written since the last mark, half of the peer's largest window, that it is time for one."""
    return tcb.write_seq > tcb.push_seq + (tcb.max_window >> 1)


def holds_small(tcb: Tcb, nagle: i64) -> bool:
    """Whether a segment below the MSS, the last that there is, has to wait.

    Nagle, RFC 9293 (3.7.4), as Minshall changed it: only one small segment unacknowledged.
    """
    if nagle == NAGLE:
        return tcb.packets_out > 0 and tcb.snd_una < tcb.small_end <= tcb.snd_nxt
    return nagle == CORK


def split_point(tcb: Tcb, size: i64, quota: i64, mss: i64, room: i64, last: bool, nagle: i64) -> i64:
    """How many of the first record's `size` bytes go now: `quota` segments, as the window has room, and what is small
    at its end only where Nagle lets it go.
    """
    most: i64 = quota * mss
    if most <= room and not last:
        return most
    needed: i64 = min(size, room)
    if most <= needed:
        return most
    partial: i64 = needed % mss
    if partial > 0 and holds_small(tcb, nagle):
        return needed - partial
    return needed


def should_wait(tcb: Tcb, record: Sent, size: i64, most: i64, room: i64, by_cwnd: i64, fin: bool, last: bool) -> bool:
    """TSO deferral: whether a record of several segments should wait for the next ACK, and then go with more.

    Not when the sender was idle, when all that fits goes anyway, when a good part of the window is free
    (`tcp_tso_win_divisor`), or when that ACK is not near: more than a millisecond away, or half of a round trip if that
    is less. Sizes are in bytes: `most` of what goes at once, `room` of the peer's window, `by_cwnd` of cwnd.
    """
    now: i64 = tcb.scheduler.now_ns
    since: i64 = now - max(tcb.last_sent_ns, tcb.departure_ns)
    if tcb.ca_state >= RECOVERY or since >= _DEFER_WINDOW_NS or tcb.packets_out == 0:
        return False
    limit: i64 = min(room, by_cwnd)
    if limit >= most or (not last and limit >= size):
        return False
    divisor: i64 = tcb.tables.sysctls.tcp_tso_win_divisor
    if divisor > 0:
        if limit >= min(tcb.snd_wnd, tcb.cwnd * tcb.mss) // divisor:
            return False
    elif limit > _DEFER_SEGMENTS * tcb.mss:
        return False
    head = tcb.sent[tcb.sent_head]
    if head.sent_ns + tcb.srtt_ns - now > min(tcb.srtt_ns >> 1, _DEFER_WINDOW_NS):
        return False
    if by_cwnd < room:
        if by_cwnd <= size:
            return True
    elif room <= size:
        return True
    # What will not get more data need not wait for it.
    return not fin and not record.eor


# Records that were sent.


def split(tcb: Tcb, index: i64, at_bytes: i64) -> None:
    """Cut tcb.sent[index], which is longer, after `at_bytes` bytes. What counts segments counts those of both."""
    record = tcb.sent[index]
    old: i64 = record.segs
    seq: i64 = record.seq
    data = record.data()
    mss: i64 = record.mss
    rest = Sent(seq + at_bytes, record.end_seq, data[at_bytes:], record.flags, record.sent_ns)
    rest.turn = record.turn
    rest.mss = mss
    rest.marks = record.marks
    rest.eor = record.eor
    rest.first_tx_ns = record.first_tx_ns
    rest.delivered_ns = record.delivered_ns
    rest.delivered = record.delivered
    rest.delivered_ce = record.delivered_ce
    rest.app_limited = record.app_limited
    rest.segs = max((len(rest.payload) + mss - 1) // mss, 1)
    record.payload = data[:at_bytes]
    record.acked = 0
    record.end_seq = seq + at_bytes
    record.flags &= ~(FIN | PSH)
    record.eor = False
    record.segs = (at_bytes + mss - 1) // mss
    tcb.sent.insert(index + 1, rest)
    _count(tcb, record.marks, record.segs + rest.segs - old)


def trim(tcb: Tcb, record: Sent) -> i64:
    """The peer has acknowledged the start of `record`: how many segments fewer it is."""
    una: i64 = tcb.snd_una
    record.acked += una - record.seq
    record.seq = una
    fewer: i64 = record.segs - _segments(record)
    record.segs -= fewer
    _count(tcb, record.marks, -fewer)
    return fewer


def recount(tcb: Tcb, record: Sent, mss: i64) -> None:
    """Count `record` in segments of `mss`."""
    record.mss = mss
    more: i64 = _segments(record) - record.segs
    record.segs += more
    _count(tcb, record.marks, more)
    _forget_duplicates(tcb, -more)


def _segments(record: Sent) -> i64:
    return max((len(record.payload) - record.acked + record.mss - 1) // record.mss, 1)


def _count(tcb: Tcb, marks: i64, more: i64) -> None:
    """A record with these marks became `more` segments."""
    if more != 0:
        tcb.packets_out += more
        if marks & SACKED:
            tcb.sacked_out += more
        if marks & LOST:
            tcb.lost_out += more
        if marks & RETRANSMITTED:
            tcb.retrans_out += more


def _forget_duplicates(tcb: Tcb, fewer: i64) -> None:
    """What is in flight became `fewer` segments. Without SACK `sacked_out` counts duplicate ACKs, of which there may
    not be more.
    """
    if fewer > 0 and not tcb.sack_ok and tcb.sacked_out > 0:
        tcb.sacked_out = max(tcb.sacked_out - fewer, 0)


def collapse(tcb: Tcb, index: i64, most: i64) -> None:
    """Before tcb.sent[index], a small segment, is sent again: add what follows it, as long as that is one of at most
    `most` bytes (tcp_retrans_collapse). Not beyond MSG_EOR, nor what the peer has, nor what was sent again already.
    """
    record = tcb.sent[index]
    edge: i64 = tcb.snd_una + tcb.snd_wnd
    while index + 1 < len(tcb.sent) and not record.eor and not record.flags & FIN:
        following = tcb.sent[index + 1]
        size: i64 = len(record.payload) - record.acked
        more: i64 = len(following.payload) - following.acked
        if following.segs > 1 or size + more > most or following.end_seq > edge:
            return
        if following.marks & (SACKED | RETRANSMITTED) or record.end_seq != following.seq:
            return
        record.payload = record.data() + following.data()
        record.acked = 0
        record.end_seq = following.end_seq
        record.flags |= following.flags
        record.eor = following.eor
        record.marks |= following.marks & EVER_RETRANSMITTED
        _count(tcb, following.marks, -following.segs)
        _forget_duplicates(tcb, following.segs)
        if following.marks & EVER_RETRANSMITTED and following in tcb.resent:
            tcb.resent.remove(following)  # or it would be found lost, though it is in flight no more
        del tcb.sent[index + 1]
