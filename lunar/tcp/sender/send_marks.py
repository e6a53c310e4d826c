"""Bytes of the stream whose fate a program wants to know: SO_TIMESTAMPING's stamps, MSG_ZEROCOPY's buffers.

A connection has `Marks` from when such an option is set, and None before: each segment that goes out, and each ACK that
comes, costs no more than a look at that. A stamp stands at the last byte of a write. As on Linux a record has one at
most, the last: where two writes are gathered in one, the first is not told of. A segment that goes out again is stamped
again.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from mypy_extensions import i64

from lunar.net import timestamping, zerocopy
from lunar.net.timestamping import Stamping
from lunar.net.zerocopy import ZeroCopy
from lunar.packet import TcpSegment
from lunar.tcp import info, opt_stats
from lunar.tcp.marks import Buffers, Marks, Stamp
from lunar.tcp.opt_stats import NO_TTL
from lunar.tcp.tcb import Tcb

# Linux' MAX_SKB_FRAGS: of so many pieces of memory one record is made at most.
FRAGMENTS_MAX: Final = 17

_TRANSMISSION: Final = timestamping.TX_SCHED | timestamping.TX_SOFTWARE


def wrote(tcb: Tcb, marks: Marks, size: i64, whole: bool, without_copy: bool) -> None:
    """The program wrote `size` bytes, up to write_seq; `whole` if that is all that the call gave."""
    goes_on = marks.piece_follows if whole else marks.rest_follows
    stamping = tcb.stamping
    if stamping is not None and not goes_on:
        wanted: i64 = stamping.wanted()
        # What the loop of sending has taken already has no record left to be noted at, on Linux, too.
        if wanted and tcb.write_seq > tcb.snd_nxt:
            if not tcb.unsent.is_empty():
                _forget_from(marks, tcb.unsent.last().seq)
            marks.stamps.append(Stamp(tcb.write_seq - 1, wanted))
    copies = tcb.zerocopy
    if copies is not None and without_copy and copies.on:
        _keep(tcb, marks, copies, tcb.write_seq - size)
        marks.open = marks.buffers[-1] if goes_on else None


def _forget_from(marks: Marks, seq: i64) -> None:
    """The record that begins at `seq` grows: what was to be stamped in it is its last byte no more."""
    stamps = marks.stamps
    while stamps and stamps[len(stamps) - 1].seq >= seq:
        stamps.pop()


def _keep(tcb: Tcb, marks: Marks, copies: ZeroCopy, start: i64) -> None:
    buffers = marks.open
    if buffers is None:
        newest = marks.buffers[-1] if marks.buffers else None
        if newest is not None and newest.end_seq == start and start > tcb.snd_nxt:
            # What follows bytes of the send before that were not sent yet has its report in common with them.
            buffers = newest
            buffers.last = copies.next_id
        else:
            buffers = Buffers(copies.next_id)
            marks.buffers.append(buffers)
        copies.next_id += 1
    buffers.end_seq = tcb.write_seq
    if tcb.snd_nxt > start:
        buffers.begun = True


def cut_buffers(tcb: Tcb, sizes: list[int]) -> None:
    """The next send is of buffers of these sizes, and without a copy: a record holds so many of them and no more."""
    marks, copies = tcb.marks, tcb.zerocopy
    if marks is None or copies is None or not copies.on:
        return
    marks.cuts = []
    at = 0
    count = 0
    for size in sizes:
        if size == 0:
            continue
        if count == FRAGMENTS_MAX:
            marks.cuts.append(at)
            count = 0
        count += 1
        at += size


def call_ended(tcb: Tcb, marks: Marks) -> None:
    """A call that wrote in pieces has ended, perhaps before all was written."""
    marks.piece_follows = False
    marks.rest_follows = False
    marks.cuts = []
    if marks.open is not None:
        marks.open = None
        acknowledged(tcb, marks, NO_TTL)


def sent(tcb: Tcb, marks: Marks, segment: TcpSegment, seq: i64) -> None:
    """A segment with the bytes from `seq` on was given to the device, not always for the first time."""
    end: i64 = seq + len(segment.payload)
    for buffers in marks.buffers:
        if buffers.end_seq > seq:
            buffers.begun = True
            if buffers.end_seq >= end:
                break
    stamping = tcb.stamping
    if not marks.stamps or stamping is None:
        return
    last: Stamp | None = None
    for stamp in marks.stamps:
        if seq <= stamp.seq < end:
            last = stamp
    if last is None:
        return
    last.payload = segment.payload
    if last.wanted & _TRANSMISSION:
        frame = timestamping.copy_of(stamping, segment)
        if last.wanted & timestamping.TX_SCHED:
            _report(tcb, stamping, timestamping.SCHED, last, frame, NO_TTL)
        if last.wanted & timestamping.TX_SOFTWARE:
            _report(tcb, stamping, timestamping.SND, last, frame, NO_TTL)


def acknowledged(tcb: Tcb, marks: Marks, ttl: i64) -> None:
    """snd_una has moved by a segment that came with `ttl`."""
    una: i64 = tcb.snd_una
    stamps = marks.stamps
    while stamps and stamps[0].seq < una:
        stamp = stamps.popleft()
        stamping = tcb.stamping
        if stamping is not None and stamp.wanted & timestamping.TX_ACK:
            data = b"" if stamping.flags & timestamping.OPT_TSONLY else stamp.payload
            _report(tcb, stamping, timestamping.ACK, stamp, data, ttl)
    buffers = marks.buffers
    while buffers and buffers[0].end_seq <= una and buffers[0] is not marks.open:
        done = buffers.popleft()
        tcb.free_buffers(done.first, done.last, zerocopy.COPIED)


def ended(tcb: Tcb, marks: Marks) -> None:
    """The connection is over: nothing needs the buffers, first those of what was never sent, as on Linux."""
    marks.stamps.clear()
    marks.open = None
    left = marks.buffers
    marks.buffers = deque()
    for buffers in left:
        if not buffers.begun:
            tcb.free_buffers(buffers.first, buffers.last, 0)
    for buffers in left:
        if buffers.begun:
            tcb.free_buffers(buffers.first, buffers.last, zerocopy.COPIED)


def _report(tcb: Tcb, stamping: Stamping, what: i64, stamp: Stamp, payload: bytes, ttl: i64) -> None:
    report = timestamping.report(stamping, what, tcb.scheduler.now_ns, stamp.seq - stamping.key, payload)
    if stamping.flags & timestamping.OPT_STATS:
        report.stats = opt_stats.pack(info.TcpInfo(tcb, 0, 0), ttl)
        report.payload = report.stats
    tcb.report(report)
