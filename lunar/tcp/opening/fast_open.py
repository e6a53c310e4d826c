"""Fast open, RFC 7413: data in the SYN, by a cookie that the server gave at an earlier connection.

The client: which option and which data its SYN carries (`first_syn`), what a SYN-ACK says of them (`take_syn_ack`),
when not to try (`is_paused`: middleboxes that swallow such connections). What is remembered of servers is in
metrics.py; the server itself is fast_accept.py. Bits and names of the parameters are those of ip-sysctl and tcp(7).
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lunar.packet import ACK, PSH, TcpSegment
from lunar.tcp import timers
from lunar.tcp.loss import recovery, scoreboard
from lunar.tcp.opening.metrics import PeerMetrics
from lunar.tcp.receiver import receive_buffer
from lunar.tcp.sender import output, segments
from lunar.tcp.tables import Tables
from lunar.tcp.tcb import ESTABLISHED, LOST, FastOpen, Sent, Tcb

# Bits of tcp_fastopen; those of servers are in fast_accept.py.
CLIENT: Final = 0x1
CLIENT_NEEDS_NO_COOKIE: Final = 0x4

# RFC 7413 (4.2): room that the data of a SYN leaves, for options that middleboxes add.
_OPTION_SPACE: Final = 40

# ip-sysctl, tcp_fastopen_blackhole_timeout_sec: the pause doubles each time, up to 64 times the first.
_PAUSE_DOUBLINGS_MAX: Final = 6
_PAUSE_MAX_S: Final = 100_000_000  # three years: so that 64 times it, in nanoseconds, stays below 2**63

# Why a client's fast open failed, as tcpi_fastopen_client_fail tells it (linux/tcp.h).
COOKIE_UNAVAILABLE: Final = 1
DATA_NOT_ACKED: Final = 2
SYN_RETRANSMITTED: Final = 3


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
    segment = segments.syn(tcb)
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
    segments.send_made(tcb, segment)
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
    first_s: i64 = min(tables.sysctls.tcp_fastopen_blackhole_timeout_sec, _PAUSE_MAX_S)
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
