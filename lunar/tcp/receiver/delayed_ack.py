"""When to acknowledge: at once, with the next data, or after a delay.

RFC 9293 section 3.8.6.3 and RFC 5681 section 4.2 say what must be; the rest is Linux': a connection starts with up to
16 immediate ACKs (*quick* mode), so that the peer's slow start is not held up; once the program answers what it reads,
the connection is interactive (*ping-pong*) and ACKs wait for data to ride on. `ato_ns` follows the time between
segments.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lunar.packet import FIN, PSH, SYN, TcpSegment
from lunar.tcp import timers
from lunar.tcp.receiver import sack_report, window
from lunar.tcp.sender import segments
from lunar.tcp.tcb import DELAYED_ACK_MIN_NS, Tcb

DELAYED_ACK_MAX_NS: Final = 200_000_000  # TCP_DELACK_MAX
_WITHOUT_PUSH_MAX_NS: Final = 500_000_000  # while a stream of full segments flows; RFC 9293 (3.8.6.3)
_TICK_NS: Final = 1_000_000  # of a kernel with HZ = 1000
QUICK_ACKS: Final = 16  # TCP_MAX_QUICKACKS


def data_received(tcb: Tcb, segment: TcpSegment, size: i64) -> None:
    """New data of `size` bytes came in order: an ACK is owed, and there is something to learn about the peer."""
    now: i64 = tcb.scheduler.now_ns
    tcb.ack_scheduled = True
    measure_segment(tcb, segment, size)
    window.measure_rtt(tcb, segment.ts_ecr if segment.has_timestamps else -1, size)
    if tcb.ato_ns == 0:
        # The first data of the connection.
        more_quick(tcb)
        tcb.ato_ns = DELAYED_ACK_MIN_NS
    else:
        gap: i64 = now - tcb.last_received_ns
        if gap <= DELAYED_ACK_MIN_NS // 2:
            tcb.ato_ns = (tcb.ato_ns >> 1) + DELAYED_ACK_MIN_NS // 2
        elif gap < tcb.ato_ns:
            tcb.ato_ns = min((tcb.ato_ns >> 1) + gap, tcb.rto_ns)
        elif gap > tcb.rto_ns:
            # The peer was silent for long: it probably restarts with slow start.
            more_quick(tcb)
    tcb.last_received_ns = now
    if size >= 128:
        window.grow(tcb, size)


def measure_segment(tcb: Tcb, segment: TcpSegment, size: i64) -> None:
    """Estimate the peer's full segment, and note whether this one was smaller: then a write ended here."""
    # What a device has put together (GRO) says how large its segments were.
    length: i64 = segment.gso_bytes if segment.gso_bytes > 0 else size
    if length >= tcb.rcv_mss:
        if length != tcb.rcv_mss:
            window.measure(tcb, size)
        tcb.rcv_mss = min(length, tcb.advmss)
        if segment.flags & PSH and tcb.pushed == 0:
            tcb.pushed = 1
        return
    with_header: i64 = size + (32 if segment.has_timestamps else 20)
    if with_header >= 556 or (with_header >= 108 and not segment.flags & (FIN | SYN | PSH)):
        # Twice the same size, and no reason for it to be short: the peer's segments are that small.
        last: i64 = tcb.last_rcv_size
        tcb.last_rcv_size = size
        if size == last:
            tcb.rcv_mss = size
            return
    if tcb.pushed < 2:
        tcb.pushed += 1


def more_quick(tcb: Tcb) -> None:
    """Acknowledge the next segments at once: half a window of them, 16 at most."""
    count: i64 = tcb.rcv_wnd // (2 * tcb.rcv_mss)
    if count == 0:
        count = 2
    count = min(count, QUICK_ACKS)
    tcb.quick_acks = max(tcb.quick_acks, count)


def enter_quick(tcb: Tcb) -> None:
    """Something is wrong (a duplicate, a gap): the peer should know soon."""
    more_quick(tcb)
    tcb.pingpong = False
    tcb.ato_ns = DELAYED_ACK_MIN_NS


def check(tcb: Tcb) -> None:
    """After a segment was processed: send the ACK that is owed, or have it wait."""
    if not tcb.ack_scheduled:
        return
    if (
        # RFC 5681 (4.2), RFC 9293 (3.8.6.3): for every second full segment, at once; but not (Linux) when that would
        # announce a smaller window and the program is about to read. A buffer that fills up ends quick mode, too.
        (
            tcb.rcv_nxt - tcb.rcv_wup > tcb.rcv_mss
            and (tcb.received.size == 0 or window.choose(tcb) >= tcb.rcv_wnd)
        )
        or (tcb.quick_acks > 0 and not tcb.pingpong)
        or tcb.ack_now
    ):
        segments.send_ack(tcb)
        return
    # RFC 5681 (4.2): for each segment while there is a hole.
    if tcb.out_of_order:
        if not sack_report.gather(tcb):
            segments.send_ack(tcb)
        return
    _delay(tcb)


def _delay(tcb: Tcb) -> None:
    now: i64 = tcb.scheduler.now_ns
    ato: i64 = tcb.ato_ns
    if ato > DELAYED_ACK_MIN_NS:
        most: i64 = _WITHOUT_PUSH_MAX_NS
        if tcb.pingpong or tcb.pushed > 0:
            most = DELAYED_ACK_MAX_NS
        if tcb.srtt_ns > 0:
            most = min(most, max(tcb.srtt_ns, DELAYED_ACK_MIN_NS))
        ato = min(ato, most)
    elif ato == 0:
        # No data came yet that an answer could follow: a FIN at once is acknowledged at the next tick.
        ato = _TICK_NS
    ato = min(ato, DELAYED_ACK_MAX_NS)
    at: i64 = now + ato
    pending: i64 = tcb.delayed_ack_timer.at_ns
    if pending != 0:
        if pending <= now + (ato >> 2):
            segments.send_ack(tcb)
            return
        at = min(at, pending)
    tcb.delayed_ack_timer.arm(timers.DELAYED_ACK, at)


def expired(tcb: Tcb) -> None:
    """The delay is over."""
    if not tcb.ack_scheduled:
        return
    if tcb.pingpong:
        # The program did not answer in time: no conversation.
        tcb.pingpong = False
        tcb.ato_ns = DELAYED_ACK_MIN_NS
    else:
        tcb.ato_ns = min(tcb.ato_ns << 1, tcb.rto_ns)
    tcb.ip.counters.tcp_delayed_acks += 1
    segments.send_ack(tcb)


def after_read(tcb: Tcb, copied: i64) -> None:
    """The program has taken `copied` bytes: send an ACK that waited for this, or because the window opened."""
    if tcb.ack_scheduled and (
        tcb.rcv_nxt - tcb.rcv_wup > tcb.rcv_mss
        or (copied > 0 and tcb.received.size == 0 and (tcb.pushed == 2 or (tcb.pushed == 1 and not tcb.pingpong)))
    ):
        segments.send_ack(tcb)
        return
    if copied > 0 and not tcb.read_shut:
        # RFC 9293 (3.8.6.2.2): tell of the window when it has at least doubled.
        left: i64 = window.remaining(tcb)
        if 2 * left <= tcb.window_clamp:
            new: i64 = window.choose(tcb)
            if new > 0 and new >= 2 * left:
                segments.send_ack(tcb)
