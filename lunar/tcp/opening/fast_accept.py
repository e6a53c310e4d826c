"""Fast open of a server, RFC 7413 section 4.2.2: connections that programs have before their handshake is over.

Whether a SYN may open one (`judge`), by which cookie; what becomes of it until the ACK of the SYN-ACK comes
(`syn_ack_timeout`, `receive`, `acknowledged`). The socket is a full one in SYN-RECEIVED with `syn_ack_pending`, and its
`Request` sends the SYN-ACK. A cookie is SipHash of the two addresses, as Linux makes it, so that hosts which share a
key share their cookies. The client is in fast_open.py.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from lunar.packet import ACK, RST, SYN, TcpSegment
from lunar.tcp import timers
from lunar.tcp.loss import rate, recovery, rtt
from lunar.tcp.loss.rtt import RTO_MAX_NS
from lunar.tcp.opening import fast_open
from lunar.tcp.opening.siphash import KEY_BYTES, siphash
from lunar.tcp.rules import RTO_INITIAL_NS
from lunar.tcp.sender import segment_size, segments
from lunar.tcp.seq import before, unwrap
from lunar.tcp.tables import Tables
from lunar.tcp.tcb import LISTEN, FastOpen, Tcb

if TYPE_CHECKING:
    from lunar.tcp.opening.request import Request

# Bits of tcp_fastopen (ip-sysctl).
SERVER: Final = 0x2
SERVER_NEEDS_NO_COOKIE: Final = 0x200
ALL_LISTENERS: Final = 0x400  # without TCP_FASTOPEN

# RFC 7413 (5.1): how long a connection that a RST ended still counts as pending. Linux' number.
_RESET_COUNTS_NS: Final = 60_000_000_000

# What a listener makes of a SYN.
ORDINARY: Final = 0  # a handshake of three steps; with a cookie in its answer, if `Verdict.cookie` is not None
AT_ONCE: Final = 1


def cookie(key: bytes, client: int, server: int) -> bytes:
    """RFC 7413 (4.1.2): what a server gives to `client` under one key of KEY_BYTES bytes."""
    size = 4 if client < 1 << 32 and server < 1 << 32 else 16
    return siphash(key, client.to_bytes(size, "big") + server.to_bytes(size, "big")).to_bytes(8, "little")


def host_keys(tables: Tables) -> bytes:
    """tcp_fastopen_key: one key, or two, of which the first makes cookies. Drawn when it is first needed."""
    sysctls = tables.sysctls
    if not sysctls.tcp_fastopen_key:
        sysctls.tcp_fastopen_key = int(tables.ip.rng.getrandbits(8 * KEY_BYTES)).to_bytes(KEY_BYTES, "little")
    return sysctls.tcp_fastopen_key


@final
class FastQueue:
    """The connections of a listener whose handshake is not over though they were opened. RFC 7413 (4.2.2).

    `limit` is TCP_FASTOPEN's; 0 refuses all. `keys` is TCP_FASTOPEN_KEY's; b"" for the host's.
    """

    def __init__(self) -> None:
        self.limit: i64 = 0
        self.keys: bytes = b""
        self.pending: i64 = 0
        self.resets: deque[int] = deque()  # when those that a RST ended are counted no more

    def has_room(self, now_ns: i64) -> bool:
        if self.pending + len(self.resets) < self.limit:
            return True
        # One that was reset long ago makes room for one.
        if self.resets and self.resets[0] <= now_ns:
            self.resets.popleft()
            return True
        return False


@final
class Verdict:
    """What becomes of a SYN: ORDINARY or AT_ONCE, and the cookie that goes with the answer, None for none."""

    def __init__(self, kind: i64, cookie: bytes | None) -> None:
        self.kind: i64 = kind
        self.cookie: bytes | None = cookie


def judge(tables: Tables, queue: FastQueue, segment: TcpSegment) -> Verdict:
    """RFC 7413 (4.2.2), of a SYN for a listener whose queue is `queue`."""
    counters = tables.ip.counters
    mode: i64 = tables.sysctls.tcp_fastopen
    came = segment.fast_open
    if came is not None and not came:
        counters.tcp_fast_open_cookie_reqd += 1
    if not mode & SERVER or (came is None and not segment.payload):
        return Verdict(ORDINARY, None)
    if queue.limit == 0:
        return Verdict(ORDINARY, None)
    if not queue.has_room(tables.ip.scheduler.now_ns):
        counters.tcp_fast_open_listen_overflow += 1
        return Verdict(ORDINARY, None)
    if mode & SERVER_NEEDS_NO_COOKIE:
        return Verdict(AT_ONCE, None)
    if came is None:
        return Verdict(ORDINARY, None)
    keys = queue.keys if queue.keys else host_keys(tables)
    current = cookie(keys[:KEY_BYTES], segment.src, segment.dst)
    if came == current:
        return Verdict(AT_ONCE, None)
    if came and len(keys) > KEY_BYTES and came == cookie(keys[KEY_BYTES:], segment.src, segment.dst):
        # Of the key before: good, and the client gets one that will last.
        counters.tcp_fast_open_passive_alt_key += 1
        return Verdict(AT_ONCE, current)
    if came:
        counters.tcp_fast_open_passive_fail += 1
    return Verdict(ORDINARY, current)


def begin(tcb: Tcb, request: Request, segment: TcpSegment) -> None:
    """`tcb`, in SYN-RECEIVED, is used before its handshake is over: take the SYN's data, answer, and watch."""
    state = FastOpen()
    state.request = request
    tcb.fast_open = state
    tcb.opened_fast = True
    if segment.payload:
        tcb.data_segs_in = 1
    tcb.syn_ack_pending = True
    queue = request.listener.fast
    queue.pending += 1
    tcb.ip.counters.tcp_fast_open_passive += 1
    tcb.delivered = 0
    tcb.snd_wnd = segment.window
    tcb.max_window = segment.window
    segment_size.update(tcb)
    fast_open.take_payload(tcb, segment)
    request.rcv_nxt = tcb.rcv_nxt
    request.sent_ns = tcb.scheduler.now_ns
    request.send_syn_ack()
    tcb.retransmit_timer.arm(timers.RETRANSMIT, tcb.scheduler.now_ns + RTO_INITIAL_NS)


def request_of(tcb: Tcb) -> Request | None:
    """The unfinished handshake of a connection that is used already."""
    state = tcb.fast_open
    return None if state is None else state.request


def syn_ack_timeout(tcb: Tcb) -> bool:
    """The SYN-ACK again, and nothing else (RFC 7413 4.2.2). False when it has been sent often enough."""
    request = request_of(tcb)
    assert request is not None, "the timer was armed for it"
    limit: i64 = (tcb.syn_retries if tcb.syn_retries > 0 else tcb.tables.sysctls.tcp_synack_retries) + 1
    if request.retransmits >= limit:
        return False
    # RFC 5681 (3.1): one segment if the SYN-ACK was lost; Linux forgives the first.
    if tcb.retransmits == 1:
        if tcb.packets_out > 0:
            recovery.enter_loss(tcb)
        else:
            tcb.set_cwnd(1)
    request.retransmits += 1
    tcb.retransmits += 1
    tcb.total_retrans += 1
    counters = tcb.ip.counters
    counters.tcp_retrans_segs += 1
    counters.tcp_timeouts += 1
    request.send_syn_ack()
    # A number shifted by a variable has 32 bits when compiled; this is the small one of the two.
    intervals: i64 = 1 << min(request.retransmits, 10)
    wait: i64 = min(RTO_INITIAL_NS * intervals, RTO_MAX_NS)
    tcb.retransmit_timer.arm(timers.RETRANSMIT, tcb.scheduler.now_ns + wait)
    return True


def receive(tcb: Tcb, segment: TcpSegment) -> bool:
    """A segment for a connection whose SYN-ACK is not acknowledged: whether no more is to be done with it."""
    request = request_of(tcb)
    if request is None:
        return False
    flags: i64 = segment.flags
    seq: i64 = unwrap(segment.seq, tcb.rcv_nxt)
    # The SYN again: our answer was lost.
    if flags & (SYN | ACK | RST) == SYN and seq == tcb.irs:
        if not (tcb.timestamps and segment.has_timestamps and before(segment.ts_val, tcb.ts_recent)):
            if not segments.limited(tcb):
                request.send_syn_ack()
        return True
    return False


def handshake_over(tcb: Tcb, by_reset: bool) -> None:
    """The ACK of the SYN-ACK came, or the connection is over before."""
    state = tcb.fast_open
    request = request_of(tcb)
    if state is None or request is None:
        return
    state.request = None
    tcb.syn_ack_pending = False
    queue = request.listener.fast
    queue.pending -= 1
    if by_reset and state.accepted and request.listener.tcb.state == LISTEN:
        # RFC 7413 (5.1): who forges SYNs fills the queue with what the forged hosts reset.
        queue.resets.append(int(tcb.scheduler.now_ns + _RESET_COUNTS_NS))


def acknowledged(tcb: Tcb, segment: TcpSegment) -> None:
    """The first acceptable ACK came: the handshake is over, and what waited in its shadow gets its timer."""
    request = request_of(tcb)
    if request is None:
        return
    now: i64 = tcb.scheduler.now_ns
    if tcb.srtt_ns == 0:
        if request.retransmits == 0:
            rtt.sample(tcb, now - request.sent_ns)
            rate.update_min_rtt(tcb, now - request.sent_ns, False)
        elif tcb.timestamps and segment.has_timestamps:
            rtt.sample_by_timestamp(tcb, segment.ts_ecr)
    handshake_over(tcb, False)
    tcb.delivered += 1
    tcb.retransmits = 0
    if tcb.packets_out > 0:
        tcb.retransmit_timer.arm(timers.RETRANSMIT, now + tcb.rto_ns)
    else:
        tcb.retransmit_timer.disarm()
