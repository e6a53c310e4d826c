"""TIME-WAIT, and FIN-WAIT-2 without an owner: a connection that is over but must still answer, as a small object.

RFC 9293 section 3.10.7.4 and 3.6.1; RFC 6191 for when a new SYN may take the place. The object is its own timer and is
in the table of connections in the place of the socket. RFC 1337's hazard, a RST that ends TIME-WAIT, is as on Linux
(tcp_rfc1337 = 0): believed.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net.sock import COVERS_IPV4
from lunar.packet import ACK, FIN, RST, SYN, TcpSegment
from lunar.tcp import output
from lunar.tcp.seq import before, unwrap
from lunar.tcp.tables import Bound, Tables
from lunar.tcp.tcb import FIN_WAIT_2, NEVER_NS, TIME_WAIT, Tcb
from weaves.scheduler import Event

# Linux: TCP_TIMEWAIT_LEN, and tcp_fin_timeout for FIN-WAIT-2. RFC 9293 says 2 MSL, which would be 240 s.
TIME_WAIT_NS: Final = 60_000_000_000

# What becomes of a segment.
HANDLED: Final = 0
REOPENS: Final = 1  # a SYN that starts a new connection, whose initial sequence number is `reopen_iss()`


@final
class TimeWait(Event):
    """What is left of a connection."""

    def __init__(self, tcb: Tcb, substate: i64) -> None:
        super().__init__()
        self.tables: Tables = tcb.tables
        self.family: i64 = tcb.family
        self.local_addr: int = tcb.local_addr
        self.local_port: i64 = tcb.local_port
        self.remote_addr: int = tcb.remote_addr
        self.remote_port: i64 = tcb.remote_port
        self.tos: i64 = tcb.tos
        self.substate: i64 = substate
        self.rcv_nxt: i64 = tcb.rcv_nxt
        self.snd_nxt: i64 = tcb.snd_nxt
        self.rcv_wnd: i64 = tcb.rcv_wnd
        self.rcv_wscale: i64 = tcb.rcv_wscale
        self.timestamps: bool = tcb.timestamps
        self.ts_offset: i64 = tcb.ts_offset
        self.ts_recent: i64 = tcb.ts_recent
        self.bound: Bound | None = None
        self.until_ns: i64 = 0
        self.last_answer_ns: i64 = NEVER_NS

    def fire(self) -> None:
        if self.until_ns > self.tables.ip.scheduler.now_ns:
            self.tables.ip.scheduler.post(self, self.tables.ip.lane, self.until_ns)
        else:
            self.end()

    def end(self) -> None:
        """Forget the connection."""
        if self.queued:
            self.tables.ip.scheduler.cancel(self)
        self.tables.remove(self.local_addr, self.local_port, self.remote_addr, self.remote_port)
        if self.bound is not None:
            self.tables.release(self.bound)
            self.bound = None

    def reopen_iss(self) -> i64:
        """RFC 9293 (3.10.7.4): larger than all that the old connection used; the number is Linux'."""
        return (self.snd_nxt + 65_535 + 2) & 0xFFFF_FFFF


def enter(tcb: Tcb, substate: i64) -> None:
    """Put a small object in the place of `tcb`, whose connection is thereby over."""
    waiting = TimeWait(tcb, substate)
    tables = tcb.tables
    own = tcb.bound
    waiting.bound = tables.bind(
        tcb.local_addr, tcb.local_port, COVERS_IPV4, tcb.reuse_addr, tcb.reuse_port,
        own.auto if own is not None else False,
    )
    waiting.until_ns = tcb.scheduler.now_ns + TIME_WAIT_NS
    tables.ip.scheduler.post(waiting, tables.ip.lane, waiting.until_ns)
    tcb.hashed = False
    tables.add(tcb.local_addr, tcb.local_port, tcb.remote_addr, tcb.remote_port, waiting)
    tcb.done()


def receive(waiting: TimeWait, segment: TcpSegment) -> i64:
    """A segment for a connection that is over. Returns HANDLED or REOPENS."""
    flags: i64 = segment.flags
    seq: i64 = unwrap(segment.seq, waiting.rcv_nxt)
    end: i64 = seq + len(segment.payload) + (1 if flags & SYN else 0) + (1 if flags & FIN else 0)
    stamped = waiting.timestamps and segment.has_timestamps
    too_old = stamped and before(segment.ts_val, waiting.ts_recent)

    if waiting.substate == FIN_WAIT_2:
        if too_old or seq > waiting.rcv_nxt + waiting.rcv_wnd or end < waiting.rcv_nxt:
            if not flags & RST:
                _answer(waiting, seq == end)
            return HANDLED
        if flags & RST:
            waiting.end()
            return HANDLED
        if not flags & ACK or end <= waiting.rcv_nxt or seq == end:
            if flags & SYN:
                _answer(waiting, True)
            return HANDLED
        if not flags & FIN or end != waiting.rcv_nxt + 1:
            # Data that nobody will read.
            output.send_reset_for(waiting.tables.ip, segment)
            waiting.end()
            return HANDLED
        waiting.substate = TIME_WAIT
        waiting.rcv_nxt = end
        if stamped:
            waiting.ts_recent = segment.ts_val
        _restart(waiting)
        _answer(waiting, False)
        return HANDLED

    if not too_old and seq == waiting.rcv_nxt and (seq == end or flags & RST):
        if flags & RST:
            waiting.end()
            return HANDLED
        if stamped:
            waiting.ts_recent = segment.ts_val
        _restart(waiting)
        return HANDLED
    # RFC 6191: a SYN that is certainly new, by its sequence number or its timestamp.
    if (
        flags & SYN
        and not flags & (RST | ACK)
        and not too_old
        and (seq > waiting.rcv_nxt or (stamped and before(waiting.ts_recent, segment.ts_val)))
    ):
        return REOPENS
    if not flags & RST:
        # Our last ACK was lost, and the FIN came again; or something else that is old.
        if too_old or flags & ACK:
            _restart(waiting)
        _answer(waiting, seq == end or bool(flags & SYN))
    return HANDLED


def _restart(waiting: TimeWait) -> None:
    waiting.until_ns = waiting.tables.ip.scheduler.now_ns + TIME_WAIT_NS


def _answer(waiting: TimeWait, limited: bool) -> None:
    """Acknowledge; what has no data at most once in a while, because two sides could answer each other for ever."""
    ip = waiting.tables.ip
    now: i64 = ip.scheduler.now_ns
    if limited:
        if now - waiting.last_answer_ns < output.CHALLENGE_INTERVAL_NS:
            return
        waiting.last_answer_ns = now
    output.send_bare(
        ip, waiting.family, waiting.local_addr, waiting.remote_addr, waiting.local_port, waiting.remote_port,
        waiting.snd_nxt, waiting.rcv_nxt, ACK, waiting.rcv_wnd >> waiting.rcv_wscale,
        waiting.timestamps, now // 1_000_000 + waiting.ts_offset, waiting.ts_recent, waiting.tos,
    )  # fmt: skip
