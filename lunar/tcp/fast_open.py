"""Fast open, RFC 7413: data in the SYN, by a cookie that the server gave at an earlier connection.

The client's side: which option and which data its SYN carries (`first_syn`), what a SYN-ACK says of them
(`take_syn_ack`), when not to try (`is_paused`: middleboxes that swallow such connections). The server's side: whether a
SYN may open a connection at once (`judge`), and its handshake until the ACK comes (`syn_ack_timeout`, `receive`).

A cookie is SipHash of the two addresses, as Linux makes it, so that hosts which share a key share their cookies. Bits
and names of the parameters are those of ip-sysctl and tcp(7). tcp_fastopen, the socket options: sock.py and listen.py.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from lunar.packet import ACK, PSH, RST, SYN, TcpSegment
from lunar.tcp import output, receive_buffer, recovery, rtt, scoreboard, segment_size, timers
from lunar.tcp.metrics import PeerMetrics
from lunar.tcp.rtt import RTO_MAX_NS
from lunar.tcp.seq import before, unwrap
from lunar.tcp.siphash import KEY_BYTES, siphash
from lunar.tcp.tables import Tables
from lunar.tcp.tcb import ESTABLISHED, LISTEN, LOST, RTO_INITIAL_NS, FastOpen, Sent, Tcb

if TYPE_CHECKING:
    from lunar.tcp.listen import Request

# Bits of tcp_fastopen.
CLIENT: Final = 0x1
SERVER: Final = 0x2
CLIENT_NEEDS_NO_COOKIE: Final = 0x4
SERVER_NEEDS_NO_COOKIE: Final = 0x200
ALL_LISTENERS: Final = 0x400  # without TCP_FASTOPEN

# RFC 7413 (4.2): room that the data of a SYN leaves, for options that middleboxes add.
_OPTION_SPACE: Final = 40

# RFC 7413 (5.1): how long a connection that a RST ended still counts as pending. Linux' number.
_RESET_COUNTS_NS: Final = 60_000_000_000

# ip-sysctl, tcp_fastopen_blackhole_timeout_sec: the pause doubles each time, up to 64 times the first.
_PAUSE_DOUBLINGS_MAX: Final = 6

# Why a client's fast open failed, as tcpi_fastopen_client_fail tells it (linux/tcp.h).
COOKIE_UNAVAILABLE: Final = 1
DATA_NOT_ACKED: Final = 2
SYN_RETRANSMITTED: Final = 3

# What a listener makes of a SYN.
ORDINARY: Final = 0  # a handshake of three steps; with a cookie in its answer, if `Verdict.cookie` is not None
AT_ONCE: Final = 1


# Cookies.


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


# The server's side.


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
    """`tcb`, in SYN-RECEIVED, is used before its handshake is over: take the SYN's data, answer, and watch.

    The caller deals with a FIN among them.
    """
    state = FastOpen()
    state.request = request
    tcb.fast_open = state
    tcb.syn_ack_pending = True
    queue = request.listener.fast
    queue.pending += 1
    tcb.ip.counters.tcp_fast_open_passive += 1
    tcb.delivered = 0
    tcb.snd_wnd = segment.window
    tcb.max_window = segment.window
    segment_size.update(tcb)
    take_payload(tcb, segment)
    request.rcv_nxt = tcb.rcv_nxt
    request.sent_ns = tcb.scheduler.now_ns
    request.send_syn_ack()
    tcb.retransmit_timer.arm(timers.RETRANSMIT, tcb.scheduler.now_ns + RTO_INITIAL_NS)


def take_payload(tcb: Tcb, segment: TcpSegment) -> None:
    """The data that a SYN (or SYN-ACK) brought, as the first of the stream."""
    payload = segment.payload
    if payload:
        tcb.received.append(payload)
        receive_buffer.queued(tcb, len(payload))
        tcb.rcv_nxt += len(payload)
        tcb.rcv_wup = tcb.rcv_nxt
        tcb.bytes_received += len(payload)
        tcb.syn_data_acked = True


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
    if tcb.retransmits == 0 and tcb.packets_out > 0:
        recovery.enter_loss(tcb)
    request.retransmits += 1
    tcb.retransmits += 1
    tcb.total_retrans += 1
    counters = tcb.ip.counters
    counters.tcp_retrans_segs += 1
    counters.tcp_timeouts += 1
    request.send_syn_ack()
    wait: i64 = min(RTO_INITIAL_NS << min(request.retransmits, 10), RTO_MAX_NS)
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
            if not output.limited(tcb):
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
        elif tcb.timestamps and segment.has_timestamps:
            rtt.sample_by_timestamp(tcb, segment.ts_ecr)
    handshake_over(tcb, False)
    tcb.delivered += 1
    tcb.retransmits = 0
    if tcb.packets_out > 0:
        tcb.retransmit_timer.arm(timers.RETRANSMIT, now + tcb.rto_ns)
    else:
        tcb.retransmit_timer.disarm()


# The client's side.


def metrics_of(tcb: Tcb) -> PeerMetrics | None:
    return tcb.tables.metrics().find(tcb.local_addr, tcb.remote_addr)


def has_cookie(tcb: Tcb) -> bool:
    """Whether a SYN to the peer may carry data: with a cookie, or where none is needed."""
    if is_paused(tcb.tables):
        return False
    if needs_no_cookie(tcb):
        return True
    known = metrics_of(tcb)
    return known is not None and len(known.cookie) > 0


def needs_no_cookie(tcb: Tcb) -> bool:
    return tcb.fastopen_no_cookie or tcb.tables.sysctls.tcp_fastopen & CLIENT_NEEDS_NO_COOKIE != 0


def first_syn(tcb: Tcb, data: bytes) -> i64:
    """Send the SYN of a connection that shall open fast; how many bytes of `data` go with it.

    RFC 7413 (4.2.1): with the cookie and data, or with the question for a cookie.
    """
    state = FastOpen()
    tcb.fast_open = state
    known = metrics_of(tcb)
    if known is not None and known.mss > 0:
        tcb.peer_mss = known.mss
    size: i64 = 0
    if not is_paused(tcb.tables):
        if needs_no_cookie(tcb):
            size = min(len(data), _room(tcb, known))
        elif known is not None and known.cookie:
            state.cookie = known.cookie
            state.experimental = known.experimental
            size = min(len(data), _room(tcb, known))
        else:
            state.cookie = b""
            state.failure = COOKIE_UNAVAILABLE
            state.experimental = known is not None and known.try_experimental == 1
    segment = output.syn(tcb)
    state.sent = state.cookie is not None
    segment.fast_open = state.cookie
    segment.fast_open_experimental = state.experimental
    if size > 0:
        payload = data[:size]
        segment.payload = payload
        # In the queue the data are a segment of their own: nothing but the SYN itself goes again without an answer.
        now: i64 = tcb.scheduler.now_ns
        record = Sent(tcb.snd_nxt, tcb.snd_nxt + size, payload, ACK | PSH, now)
        tcb.sent.append(record)
        tcb.packets_out += record.segs
        tcb.snd_nxt += size
        tcb.write_seq += size
        tcb.push_seq = tcb.write_seq
        state.data = True
    output.send_made(tcb, segment)
    return size


def _room(tcb: Tcb, known: PeerMetrics | None) -> i64:
    """The data that a SYN takes: a segment of the path's, the program's and the peer's MSS, less room for options."""
    mss: i64 = tcb.path_mss
    if known is not None and known.mss > 0:
        mss = min(mss, known.mss)
    if tcb.user_mss > 0:
        mss = min(mss, tcb.user_mss)
    return max(mss - _OPTION_SPACE, 0)


def take_syn_ack(tcb: Tcb, segment: TcpSegment) -> bool:
    """What a SYN-ACK says of our cookie and data, RFC 7413 (4.1.3, 4.2.1). Whether data went again, with the ACK."""
    state = tcb.fast_open
    if state is None:
        return False
    given = segment.fast_open if state.sent else None
    unanswered: i64 = tcb.snd_nxt - tcb.snd_una if state.data else 0
    lost = False
    try_experimental: i64 = 0
    if tcb.total_retrans > 0:
        # The plain SYN was answered: the one with data, or its answer, was lost.
        lost = not given and unanswered > 0
    elif not given and not state.data and state.sent:
        # Asked in vain: by the other option next time, and then by this one for ever.
        try_experimental = 2 if state.experimental else 1
    remember(tcb, segment.mss, given, segment.fast_open_experimental, lost, try_experimental)
    if unanswered > 0:
        state.failure = SYN_RETRANSMITTED if tcb.total_retrans > 0 else DATA_NOT_ACKED
        tcb.ip.counters.tcp_fast_open_active_fail += 1
        _send_again(tcb)
        return True
    tcb.syn_data_acked = state.data
    if state.data:
        tcb.ip.counters.tcp_fast_open_active += 1
        if tcb.delivered > 1:
            tcb.delivered -= 1  # SYN and data were one segment
    return False


def _send_again(tcb: Tcb) -> None:
    """The data of the SYN, which the server did not take: at once, and not as a sign of congestion."""
    at: i64 = tcb.sent_head
    while at < len(tcb.sent):
        record = tcb.sent[at]
        if not record.marks & LOST:
            scoreboard.mark_lost(tcb, record)
        at += 1
    recovery.resend_uncongested(tcb)


def remember(
    tcb: Tcb, mss: i64, cookie: bytes | None, experimental: bool, lost: bool, try_experimental: i64
) -> None:
    """RFC 7413 (4.1.3): the peer's MSS and cookie, and what did not work."""
    entry = tcb.tables.metrics().entry(tcb.local_addr, tcb.remote_addr)
    if mss > 0:
        entry.mss = mss
    if cookie:
        entry.cookie = cookie
        entry.experimental = experimental
    elif try_experimental > entry.try_experimental and not entry.cookie:
        entry.try_experimental = try_experimental
    if lost:
        entry.syn_losses += 1
        entry.last_syn_loss_ns = tcb.scheduler.now_ns
    else:
        entry.syn_losses = 0


def syn_timed_out(tcb: Tcb) -> None:
    """A SYN-SENT that was to be fast waited in vain."""
    state = tcb.fast_open
    if state is None:
        return
    if state.data and tcb.retransmits == 1:
        tcb.ip.counters.tcp_fast_open_active_fail += 1
    if state.sent or state.data:
        remember(tcb, 0, None, False, True, 0)


def too_big(tcb: Tcb) -> bool:
    """A router could not pass our SYN with its data: the plain SYN goes at once. Whether there was such a SYN."""
    state = tcb.fast_open
    if state is None or not state.data or state.plain:
        return False
    state.plain = True
    tcb.ip.counters.tcp_fast_open_active_fail += 1
    output.retransmit(tcb, tcb.sent_head)
    tcb.retransmit_timer.arm(timers.RETRANSMIT, tcb.scheduler.now_ns + tcb.rto_ns)
    return True


# Paths that swallow fast connections: RFC 7413 section 7.


def is_paused(tables: Tables) -> bool:
    """Whether fast opens are given up for a while, because some were swallowed."""
    first_s: i64 = tables.sysctls.tcp_fastopen_blackhole_timeout_sec
    known = tables.metrics()
    if first_s == 0 or known.pauses == 0:
        return False
    doublings: i64 = min(known.pauses - 1, _PAUSE_DOUBLINGS_MAX)
    return tables.ip.scheduler.now_ns < known.paused_ns + (first_s << doublings) * 1_000_000_000


def timed_out(tcb: Tcb, expired: bool) -> None:
    """The retransmission timer fired, for the third time in a row or for the last."""
    state = tcb.fast_open
    if state is None or not (state.sent or state.data):
        return
    if tcb.retransmits == 2 or (tcb.retransmits < 2 and expired):
        _pause(tcb.tables)


def odd_reset(tcb: Tcb) -> None:
    """A RST that is not in order, where no data has come yet: of a middlebox that fast open confuses."""
    state = tcb.fast_open
    if state is not None and state.sent and tcb.bytes_received == 0 and tcb.state == ESTABLISHED:
        _pause(tcb.tables)


def over(tcb: Tcb) -> None:
    """The connection has ended: see what it says about its path."""
    state = tcb.fast_open
    if state is None:
        return
    handshake_over(tcb, False)
    if not (state.sent or state.data):
        return
    if tcb.bytes_received == 0:
        # Nothing but a FIN, which came before the data that the path has swallowed.
        if len(tcb.out_of_order) == 1 and tcb.out_of_order[0].fin:
            _pause(tcb.tables)
        return
    known = tcb.tables.metrics()
    route = tcb.route
    if known.pauses > 0 and route is not None and route.device.name != "lo":
        known.pauses = 0


def _pause(tables: Tables) -> None:
    if tables.sysctls.tcp_fastopen_blackhole_timeout_sec == 0:
        return
    known = tables.metrics()
    known.pauses += 1
    known.paused_ns = tables.ip.scheduler.now_ns
    tables.ip.counters.tcp_fast_open_blackhole += 1
