"""TIME-WAIT, and FIN-WAIT-2 without an owner: a connection that is over but must still answer, as a small object.

RFC 9293 section 3.10.7.4 and 3.6.1; RFC 6191 for when a new SYN may take the place, and by it tcp_tw_reuse for when a
connect(2) of this host may. The object is its own timer and is in the table of connections in the place of the socket.
RFC 1337's hazard, a RST that ends TIME-WAIT, is as on Linux: believed, unless tcp_rfc1337 is set.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net.sock import covers_of
from lunar.packet import ACK, AF_INET, FIN, RST, SYN, TcpSegment
from lunar.tcp.sender import segments
from lunar.tcp.seq import before, unwrap
from lunar.tcp.tables import Bound, Remnant, Tables
from lunar.tcp.tcb import FIN_WAIT_2, NEVER_NS, TIME_WAIT, Tcb

# Linux: TCP_TIMEWAIT_LEN, and tcp_fin_timeout for FIN-WAIT-2. RFC 9293 says 2 MSL, which would be 240 s.
TIME_WAIT_NS: Final = 60_000_000_000

# What becomes of a segment.
HANDLED: Final = 0
REOPENS: Final = 1  # a SYN that starts a new connection, whose initial sequence number is `reopen_iss()`


@final
class TimeWait(Remnant):
    """What is left of a connection."""

    def __init__(self, tcb: Tcb, substate: i64) -> None:
        super().__init__()
        self.tables: Tables = tcb.tables
        self.family: i64 = tcb.family
        self.local_addr: int = tcb.local_addr
        self.local_port: i64 = tcb.local_port
        self.remote_addr: int = tcb.remote_addr
        self.remote_port: i64 = tcb.remote_port
        six = tcb.ipv6
        self.tos: i64 = tcb.tos if six is None or tcb.family == AF_INET else six.traffic_class
        self.substate: i64 = substate
        self.rcv_nxt: i64 = tcb.rcv_nxt
        self.snd_nxt: i64 = tcb.snd_nxt
        self.rcv_wnd: i64 = tcb.rcv_wnd
        self.rcv_wscale: i64 = tcb.rcv_wscale
        self.timestamps: bool = tcb.timestamps
        self.ts_offset: i64 = tcb.ts_offset
        self.ts_recent: i64 = tcb.ts_recent
        self.ts_recent_ns: i64 = tcb.ts_recent_ns
        self.md5_key: bytes = tcb.md5_key
        self.bound: Bound | None = None
        self.until_ns: i64 = 0
        self.last_answer_ns: i64 = NEVER_NS

    def fire(self) -> None:
        if self.until_ns > self.tables.ip.scheduler.now_ns:
            self.tables.ip.scheduler.post(self, self.tables.ip.lane, self.until_ns)
        else:
            self.tables.ip.counters.tcp_tw += 1
            self.end()

    def end(self) -> None:
        """Forget the connection."""
        self.tables.time_waits -= 1
        if self.queued:
            self.tables.ip.scheduler.cancel(self)
        self.tables.remove(self.local_addr, self.local_port, self.remote_addr, self.remote_port)
        if self.bound is not None:
            self.tables.release(self.bound)
            self.bound = None

    def may_follow(self) -> bool:
        """ip-sysctl, tcp_tw_reuse: 1; or 2, of addresses of loopback. The timestamps tell old segments from new ones,
        once their clock has gone on (tcp_tw_reuse_delay).
        """
        sysctls = self.tables.sysctls
        if self.substate != TIME_WAIT or not self.timestamps or sysctls.tcp_timestamps == 0:
            return False
        loopback = _is_loopback(self.local_addr) or _is_loopback(self.remote_addr)
        if sysctls.tcp_tw_reuse == 0 or (sysctls.tcp_tw_reuse == 2 and not loopback):
            return False
        return self.tables.ip.scheduler.now_ns - self.ts_recent_ns > sysctls.tcp_tw_reuse_delay * 1_000_000

    def reopen_iss(self) -> i64:
        """RFC 9293 (3.10.7.4): larger than all that the old connection used; the number is Linux'."""
        return (self.snd_nxt + 65_535 + 2) & 0xFFFF_FFFF


def _is_loopback(address: int) -> bool:
    return address >> 24 == 127 or address == 1


def enter(tcb: Tcb, substate: i64) -> None:
    """Put a small object in the place of `tcb`, whose connection is thereby over."""
    tables = tcb.tables
    if tables.time_waits >= tables.sysctls.tcp_max_tw_buckets:
        # ip-sysctl: a simple defence. The connection is forgotten at once.
        tables.ip.counters.tcp_time_wait_overflow += 1
        tcb.done()
        return
    tables.time_waits += 1
    waiting = TimeWait(tcb, substate)
    own = tcb.bound
    waiting.bound = tables.bind(
        tcb.local_addr, tcb.local_port, covers_of(tcb.family), tcb.reuse_addr, tcb.reuse_port,
        own.auto if own is not None else False,
    )
    waiting.until_ns = tcb.scheduler.now_ns + (_fin_timeout(tcb) if substate == FIN_WAIT_2 else TIME_WAIT_NS)
    tables.ip.scheduler.post(waiting, tables.ip.lane, waiting.until_ns)
    tcb.hashed = False
    tables.add(tcb.local_addr, tcb.local_port, tcb.remote_addr, tcb.remote_port, waiting)
    tcb.done()


def _fin_timeout(tcb: Tcb) -> i64:
    """How long FIN-WAIT-2 waits for the peer's FIN: TCP_LINGER2 or tcp_fin_timeout, and three timeouts and a half."""
    seconds: i64 = tcb.linger2_s if tcb.linger2_s > 0 else tcb.tables.sysctls.tcp_fin_timeout
    return max(seconds * 1_000_000_000, (tcb.rto_ns << 2) - (tcb.rto_ns >> 1))


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
            segments.send_reset_for(waiting.tables.ip, segment, waiting.md5_key)
            waiting.end()
            return HANDLED
        waiting.substate = TIME_WAIT
        waiting.rcv_nxt = end
        if stamped:
            waiting.ts_recent = segment.ts_val
            waiting.ts_recent_ns = waiting.tables.ip.scheduler.now_ns
        _restart(waiting)
        _answer(waiting, False)
        return HANDLED

    if not too_old and seq == waiting.rcv_nxt and (seq == end or flags & RST):
        if flags & RST:
            if waiting.tables.sysctls.tcp_rfc1337 == 0:
                waiting.end()
            return HANDLED
        if stamped:
            waiting.ts_recent = segment.ts_val
            waiting.ts_recent_ns = waiting.tables.ip.scheduler.now_ns
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
        if now - waiting.last_answer_ns < waiting.tables.sysctls.tcp_invalid_ratelimit * 1_000_000:
            return
        waiting.last_answer_ns = now
    segments.send_bare(
        ip, waiting.family, waiting.local_addr, waiting.remote_addr, waiting.local_port, waiting.remote_port,
        waiting.snd_nxt, waiting.rcv_nxt, ACK, waiting.rcv_wnd >> waiting.rcv_wscale,
        waiting.timestamps, now // 1_000_000 + waiting.ts_offset, waiting.ts_recent, waiting.tos,
        waiting.md5_key,
    )  # fmt: skip
