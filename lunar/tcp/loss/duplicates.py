"""Duplicate ACKs of a peer without SACK: each means that one more segment has arrived, we do not know which.

RFC 5681 section 3.2 and RFC 6582 (NewReno) in Linux' form: in place of inflating cwnd, `sacked_out` counts the
duplicates, as if SACK had told of so many segments.
"""

from __future__ import annotations

from mypy_extensions import i64

from lunar.tcp.loss import scoreboard
from lunar.tcp.tcb import LOST, RECOVERY, Tcb


def count(tcb: Tcb) -> None:
    """One duplicate more."""
    before: i64 = tcb.sacked_out
    tcb.sacked_out += 1
    _limit(tcb, 0)
    if tcb.sacked_out > before:
        tcb.delivered += tcb.sacked_out - before


def acknowledged(tcb: Tcb, acked: i64) -> None:
    """`acked` segments are acknowledged: one that was missing, and those that caused the duplicates before."""
    if acked > 0:
        tcb.delivered += max(acked - tcb.sacked_out, 1)
        tcb.sacked_out = max(tcb.sacked_out - (acked - 1), 0)
    _limit(tcb, acked)


def _limit(tcb: Tcb, acked: i64) -> None:
    """At least one segment is missing, or there would be no duplicates. More of them than that show reordering."""
    missing: i64 = min(max(tcb.lost_out, 1), tcb.packets_out)
    if tcb.sacked_out + missing <= tcb.packets_out:
        return
    tcb.sacked_out = tcb.packets_out - missing
    tcb.reordering = min(tcb.packets_out + acked, tcb.tables.sysctls.tcp_max_reordering)
    tcb.reord_seen += 1
    tcb.ip.counters.tcp_reno_reorder += 1


def mark_lost(tcb: Tcb, advanced: bool) -> None:
    """RFC 5681 (3.2) step 2: enough duplicates; RFC 6582 (3.2) step 3: a partial acknowledgment in a recovery."""
    if tcb.sent_head >= len(tcb.sent):
        return
    in_recovery = tcb.ca_state == RECOVERY
    if (tcb.ca_state < RECOVERY and tcb.sacked_out >= tcb.reordering) or (in_recovery and advanced):
        head = tcb.sent[tcb.sent_head]
        if head.marks & LOST:
            return
        scoreboard.cut_first(tcb)
        scoreboard.mark_lost(tcb, tcb.sent[tcb.sent_head])
