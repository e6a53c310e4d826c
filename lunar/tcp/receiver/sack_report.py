"""The SACK option that we send: what we have beyond a hole, and what came twice.

RFC 2018 section 4 (which blocks, the most recent first), RFC 2883 (D-SACK: a first block about a duplicate). Linux'
choices where they leave room: four blocks are remembered, as many told as the header has room for; a D-SACK is told
once. While a hole lasts each segment is acknowledged; after the first three such ACKs, which are what the peer's fast
retransmit may wait for, Linux gathers them for a twentieth of a round trip, a millisecond at most (tcp_comp_sack_*).
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.packet import TcpSegment
from lunar.tcp import timers
from lunar.tcp.opening import md5
from lunar.tcp.tcb import Report, Tcb

_REMEMBERED: Final = 4
_AT_ONCE: Final = 3  # RFC 5681's threshold of duplicate ACKs
_ALIGN: Final = 4  # two NOPs, kind, length
_BLOCK: Final = 8


@final
class SackReport(Report):
    """What a connection that has met a hole or a duplicate remembers for its ACKs."""

    def __init__(self) -> None:
        # (left edge, right edge), unwrapped; the most recently changed first. Apart from one another, except that what
        # they say may have been filled in meanwhile.
        self.blocks: list[tuple[int, int]] = []
        # The duplicate that the next ACK tells of, RFC 2883; none while the edges are equal.
        self.duplicate_left: i64 = 0
        self.duplicate_right: i64 = 0
        # ACKs that were not sent one by one, and for which hole the first three were.
        self.gathered: i64 = 0
        self.hole: i64 = -1
        self.told: i64 = 0

    def is_empty(self) -> bool:
        return not self.blocks and self.duplicate_left == self.duplicate_right


def of(tcb: Tcb) -> SackReport:
    """The connection's report, made when it first has something to tell."""
    report = tcb.sack_report
    if report is None:
        made = SackReport()
        tcb.sack_report = made
        return made
    assert isinstance(report, SackReport), "only this module makes reports"
    return report


def arrived(tcb: Tcb, left: i64, right: i64) -> None:
    """Data beyond a hole came: its block comes first, together with those that it touches."""
    if not tcb.sack_ok:
        return
    report = of(tcb)
    blocks = report.blocks
    at: i64 = 0
    count: i64 = len(blocks)
    while at < count:
        block_left, block_right = blocks[at]
        if left <= block_right and block_left <= right:
            # RFC 2018 (4): the first block has what came last.
            del blocks[at]
            blocks.insert(0, (min(int(left), block_left), max(int(right), block_right)))
            _join(blocks)
            return
        at += 1
    if count >= _REMEMBERED:
        blocks.pop()
    blocks.insert(0, (int(left), int(right)))


def forgets_untold(tcb: Tcb, left: i64, right: i64) -> bool:
    """Whether `arrived` would give up a block of which no ACK has told yet."""
    report = tcb.sack_report
    if report is None:
        return False
    assert isinstance(report, SackReport), "only this module makes reports"
    if report.gathered == 0 or len(report.blocks) < _REMEMBERED:
        return False
    touched = False
    for block_left, block_right in report.blocks:
        if left <= block_right and block_left <= right:
            touched = True
    return not touched


def _join(blocks: list[tuple[int, int]]) -> None:
    """The first block has grown: others that it touches now become part of it."""
    at: i64 = 1
    while at < len(blocks):
        left, right = blocks[0]
        other_left, other_right = blocks[at]
        if left <= other_right and other_left <= right:
            blocks[0] = (min(left, other_left), max(right, other_right))
            del blocks[at]
            at = 1
        else:
            at += 1


def advanced(tcb: Tcb) -> None:
    """rcv_nxt moved: what is in order now needs no block."""
    report = tcb.sack_report
    if report is None:
        return
    assert isinstance(report, SackReport), "only this module makes reports"
    if not tcb.out_of_order:
        report.blocks.clear()
        return
    nxt = int(tcb.rcv_nxt)
    report.blocks = [block for block in report.blocks if block[0] > nxt]


def duplicate(tcb: Tcb, left: i64, right: i64) -> None:
    """RFC 2883: the bytes from `left` to `right` came once more; the next ACK says so."""
    if not tcb.sack_ok or tcb.tables.sysctls.tcp_dsack == 0 or left >= right:
        return
    if left < tcb.rcv_nxt:
        tcb.ip.counters.tcp_dsack_old_sent += 1
    else:
        tcb.ip.counters.tcp_dsack_ofo_sent += 1
    report = of(tcb)
    report.duplicate_left = left
    report.duplicate_right = right


def duplicate_more(tcb: Tcb, left: i64, right: i64) -> None:
    """As `duplicate`, where one segment repeated several: one block for all that it can be one for."""
    report = tcb.sack_report
    if report is not None and tcb.sack_ok:
        assert isinstance(report, SackReport), "only this module makes reports"
        if report.duplicate_left != report.duplicate_right:
            if left <= report.duplicate_right and report.duplicate_left <= right:
                report.duplicate_left = min(left, report.duplicate_left)
                report.duplicate_right = max(right, report.duplicate_right)
            return
    duplicate(tcb, left, right)


def option_bytes(tcb: Tcb) -> i64:
    """How many bytes of header the next segment's SACK option takes."""
    report = tcb.sack_report
    if report is None:
        return 0
    assert isinstance(report, SackReport), "only this module makes reports"
    if report.is_empty():
        return 0
    count: i64 = len(report.blocks)
    if report.duplicate_left != report.duplicate_right:
        count += 1
    room: i64 = _room(tcb, 0)
    return _ALIGN + _BLOCK * min(count, room) if room > 0 else 0


def _room(tcb: Tcb, taken: i64) -> i64:
    """How many blocks the header has room for; `taken` bytes of options besides timestamps and signature."""
    room: i64 = 40 - _ALIGN - taken - (12 if tcb.timestamps else 0) - (md5.OPTION_BYTES if tcb.md5_key else 0)
    return room // _BLOCK


def attach(tcb: Tcb, segment: TcpSegment, taken: i64) -> i64:
    """Put the option into a segment that goes out, with `taken` bytes of options that we do not know here.

    Returns its bytes.
    """
    report = tcb.sack_report
    assert isinstance(report, SackReport), "only this module makes reports"
    if report.gathered > 0:
        tcb.ip.counters.tcp_ack_compressed += report.gathered
        report.gathered = 0
    if report.is_empty():
        return 0
    room: i64 = _room(tcb, taken)
    if room <= 0:
        return 0
    told: list[tuple[int, int]] = []
    if report.duplicate_left != report.duplicate_right:
        told.append((int(report.duplicate_left & 0xFFFF_FFFF), int(report.duplicate_right & 0xFFFF_FFFF)))
        report.duplicate_left = report.duplicate_right
    for left, right in report.blocks:
        if len(told) == room:
            break
        told.append((left & 0xFFFF_FFFF, right & 0xFFFF_FFFF))
    segment.sack_blocks = told
    return _ALIGN + _BLOCK * len(told)


def gather(tcb: Tcb) -> bool:
    """Whether an ACK that is owed while there is a hole may wait a little, with a timer set; False: send it now."""
    if not tcb.sack_ok:
        return False
    sysctls = tcb.tables.sysctls
    report = of(tcb)
    if report.gathered >= sysctls.tcp_comp_sack_nr:
        return False
    if report.hole != tcb.rcv_nxt:
        report.hole = tcb.rcv_nxt
        report.told = 0
    if report.told < _AT_ONCE:
        report.told += 1
        return False
    report.gathered += 1
    if tcb.delayed_ack_timer.at_ns != 0 and tcb.delayed_ack_timer.kind == timers.GATHERED_ACK:
        return True
    rtt: i64 = tcb.rcv_rtt_ns
    if rtt == 0 or (tcb.srtt_ns > 0 and tcb.srtt_ns < rtt):
        rtt = tcb.srtt_ns
    delay: i64 = min(sysctls.tcp_comp_sack_delay_ns, rtt // 20)
    tcb.delayed_ack_timer.arm(timers.GATHERED_ACK, tcb.scheduler.now_ns + delay)
    return True
