"""The marks on what was sent: SACKED (it arrived), LOST (it did not, we think), RETRANSMITTED (a copy is in flight).

RFC 6675 section 3 with Linux' counters: what is in flight is packets_out - sacked_out - lost_out + retrans_out, all in
segments. The queue `tcb.sent[tcb.sent_head:]` is sorted by sequence number, so `find` is a binary search, and hints are
sequence numbers, which stay true when records are split and removed.

Two hints save walks over what is known: nothing below `resend_seq` waits to be sent again, nothing below `rack_seq` may
be lost for the first time. What was sent again is in `resent`, in the order in which it was.
"""

from __future__ import annotations

from mypy_extensions import i64

from lunar.tcp.sender import records
from lunar.tcp.tcb import EVER_RETRANSMITTED, LOST, RETRANSMITTED, SACKED, Sent, Tcb


def find(tcb: Tcb, seq: i64) -> i64:
    """The index of the record with the byte `seq`, or of the first one after it; len(tcb.sent) if there is none."""
    sent = tcb.sent
    low: i64 = tcb.sent_head
    high: i64 = len(sent)
    while low < high:
        middle: i64 = (low + high) >> 1
        if sent[middle].end_seq > seq:
            high = middle
        else:
            low = middle + 1
    return low


def mark_lost(tcb: Tcb, record: Sent) -> None:
    """It is lost; or, if it was sent again, that copy is."""
    marks: i64 = record.marks
    if marks & SACKED:
        return
    if marks & LOST:
        if not marks & RETRANSMITTED:
            return
        record.marks = marks & ~RETRANSMITTED
        tcb.retrans_out -= record.segs
        tcb.ip.counters.tcp_lost_retransmit += record.segs
    else:
        # A copy of what was not taken for lost (any more) may be in flight, and arrive still.
        record.marks = marks | LOST
        tcb.lost_out += record.segs
    tcb.lost += record.segs
    if record.seq < tcb.resend_seq:
        tcb.resend_seq = record.seq


def split(tcb: Tcb, index: i64, at_bytes: i64) -> None:
    """Cut a record in two; a copy of it that is in flight becomes two copies."""
    record = tcb.sent[index]
    records.split(tcb, index, at_bytes)
    if record.marks & RETRANSMITTED:
        resent = tcb.resent
        place: i64 = 0
        while place < len(resent):
            if resent[place] is record:
                resent.insert(place + 1, tcb.sent[index + 1])
                return
            place += 1


def cut_first(tcb: Tcb) -> None:
    """Make the first unacknowledged segment a record of its own."""
    head = tcb.sent[tcb.sent_head]
    if head.segs > 1:
        split(tcb, tcb.sent_head, head.mss)


def note_resent(tcb: Tcb, record: Sent, before: bool) -> None:
    """`record` went out again; `before`: not for the first time. Only RACK, and so only with SACK, asks for it."""
    if not tcb.sack_ok:
        return
    if before and record in tcb.resent:
        tcb.resent.remove(record)
    tcb.resent.append(record)


def clear_losses(tcb: Tcb) -> None:
    """Nothing was lost, as it turns out."""
    at: i64 = tcb.sent_head
    while at < len(tcb.sent):
        tcb.sent[at].marks &= ~LOST
        at += 1
    tcb.lost_out = 0
    # RACK may find them lost after all, except those that it has found before.
    tcb.rack_seq = tcb.snd_una


def is_any_retransmitted(tcb: Tcb) -> bool:
    """Whether something that was sent again may still be unacknowledged."""
    if tcb.retrans_out > 0:
        return True
    return tcb.sent_head < len(tcb.sent) and tcb.sent[tcb.sent_head].marks & EVER_RETRANSMITTED != 0
