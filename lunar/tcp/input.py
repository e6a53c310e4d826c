"""TCP receive path: one segment in, changes to one TCB, perhaps an ACK owed.

Read RFC 9293 section 3.10.7 beside this file; the order of checks below is its order, with RFC 7323's PAWS and
RFC 5961's challenge ACKs where they belong. Where Linux differs we follow Linux and say so. Before all checks stands
the fast path for what nearly all segments are: in order, nothing but ACK and data.

Listening sockets are in listen.py, what is left in TIME-WAIT in time_wait.py, segments for nobody in demux.py.
"""

from __future__ import annotations

import errno
from typing import Final

from mypy_extensions import i64

from lunar.net.sock import POLLHUP, POLLIN, POLLOUT, POLLRDHUP
from lunar.packet import ACK, CWR, FIN, RST, SYN, URG, TcpSegment
from lunar.tcp import ecn, time_wait, timers, urgent
from lunar.tcp.congestion import cwnd
from lunar.tcp.loss import ack as acknowledgment
from lunar.tcp.opening import fast_accept, fast_open
from lunar.tcp.receiver import delayed_ack, reassembly, receive_buffer, sack_report, window
from lunar.tcp.sender import output, probes, segment_size, segments, send_buffer
from lunar.tcp.seq import before, unwrap
from lunar.tcp.tcb import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
    Tcb,
    default_mss,
)

# RFC 7323 (5.3) wants none that is older; Linux lets one tick pass (TCP_PAWS_WINDOW).
PAWS_WINDOW: Final = 1

RTO_FALLBACK_NS: Final = 3_000_000_000
_SOON_NS: Final = 2_000_000  # TCP_TIMEOUT_MIN: two ticks of a kernel with 1000 a second
_WSCALE_MAX: Final = 14  # RFC 7323 (2.3)


def receive(tcb: Tcb, segment: TcpSegment) -> None:
    """A segment for a full socket that is not listening."""
    tcb.segs_in += 1
    if segment.payload:
        tcb.data_segs_in += 1
    if tcb.state != ESTABLISHED or not _fast(tcb, segment):
        if tcb.state == SYN_SENT:
            _syn_sent(tcb, segment)
        else:
            _in_order(tcb, segment)
    if tcb.pending_wake != 0:
        tcb.flush_wake()


def _fast(tcb: Tcb, segment: TcpSegment) -> bool:
    """Van Jacobson's header prediction. False, with nothing changed, when the segment is not of the common kind."""
    nxt: i64 = tcb.rcv_nxt
    if (
        segment.flags & (FIN | SYN | RST | ACK | URG | CWR) != ACK
        or segment.seq != nxt & 0xFFFF_FFFF
        or segment.has_timestamps != tcb.timestamps
        or (segment.has_timestamps and (segment.ts_val - tcb.ts_recent) & 0xFFFF_FFFF >= 0x8000_0000)
    ):
        return False
    una: i64 = tcb.snd_una
    ack: i64 = una + ((segment.ack - una + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000
    if ack < una or ack > tcb.snd_nxt:
        return False
    payload = segment.payload
    size: i64 = len(payload)
    if size > 0 and (
        tcb.out_of_order
        or tcb.urgent_state == urgent.AWAITED
        or size > tcb.rcv_wup + tcb.rcv_wnd - nxt
        or tcb.rmem > tcb.rcvbuf
    ):
        return False
    acknowledgment.process(tcb, segment, nxt, ack, size)
    if size > 0:
        if tcb.ecn_ok:
            ecn.data_received(tcb, segment, True)
        tcb.received.append(payload)
        receive_buffer.queued(tcb, size)
        tcb.rcv_nxt = nxt + size
        tcb.bytes_received += size
        tcb.pending_wake |= POLLIN
        delayed_ack.data_received(tcb, segment, size)
    if tcb.unsent.size > 0 or tcb.fin_queued:
        output.push(tcb, False)
    if tcb.want_space:
        send_buffer.freed(tcb)
    if tcb.ack_scheduled:
        delayed_ack.check(tcb)
    return True


def _in_order(tcb: Tcb, segment: TcpSegment) -> None:
    """All states from SYN-RECEIVED on, by the RFC's list."""
    if tcb.syn_ack_pending and fast_accept.receive(tcb, segment):
        return
    flags: i64 = segment.flags
    size: i64 = len(segment.payload)
    seq: i64 = unwrap(segment.seq, tcb.rcv_nxt)
    end: i64 = seq + size + (1 if flags & SYN else 0) + (1 if flags & FIN else 0)
    if tcb.state == CLOSED or not _acceptable(tcb, segment, seq, end):
        return

    # Fifth, the ACK field.
    if not flags & ACK:
        return
    ack: i64 = unwrap(segment.ack, tcb.snd_una)
    verdict: i64 = acknowledgment.process(tcb, segment, seq, ack, size)
    if tcb.syn_ack_pending:
        if verdict == acknowledgment.TAKEN:
            fast_accept.acknowledged(tcb, segment)
            if tcb.state == SYN_RECEIVED:
                tcb.set_state(ESTABLISHED)
                tcb.pending_wake |= POLLOUT
                _shut_after_handshake(tcb)
        elif tcb.state == SYN_RECEIVED:
            segments.send_reset_for(tcb.ip, segment, tcb.md5_key)
            return
    elif tcb.state == SYN_RECEIVED:
        if verdict != acknowledgment.TAKEN or tcb.snd_una <= tcb.iss:
            segments.send_reset_for(tcb.ip, segment, tcb.md5_key)
            return
        establish(tcb)
        _shut_after_handshake(tcb)
        if flags & SYN:
            # The second half of a simultaneous open has nothing new but its ACK.
            sack_report.duplicate(tcb, seq, tcb.rcv_nxt)
            tcb.ack_scheduled = True
            tcb.ack_now = True
    elif verdict == acknowledgment.UNACCEPTABLE:
        return
    if tcb.state == FIN_WAIT_1 and tcb.snd_una == tcb.write_seq:
        # Our FIN is acknowledged.
        tcb.set_state(FIN_WAIT_2)
        if tcb.orphan:
            if size > 0 and seq + size > tcb.rcv_nxt:
                _abort_on_data(tcb, segment)
                return
            if not flags & FIN:
                # Nobody will read: a small object waits for the peer's FIN (tcp_fin_timeout, TCP_LINGER2).
                if tcb.linger2_s < 0:
                    tcb.ip.counters.tcp_abort_on_data += 1
                    tcb.done()
                else:
                    time_wait.enter(tcb, FIN_WAIT_2)
                return
    elif tcb.state == CLOSING and tcb.snd_una == tcb.write_seq:
        time_wait.enter(tcb, TIME_WAIT)
        return
    elif tcb.state == LAST_ACK and tcb.snd_una == tcb.write_seq:
        tcb.done()
        return

    # Sixth, the URG bit.
    if flags & URG or tcb.urgent_state == urgent.AWAITED:
        urgent.arrived(tcb, segment, seq)

    # Seventh, the segment text; eighth, the FIN bit.
    if tcb.ecn_ok and size > 0:
        ecn.data_received(tcb, segment, seq + size > tcb.rcv_nxt)
    state: i64 = tcb.state
    if state in (CLOSE_WAIT, CLOSING, LAST_ACK):
        # After the peer's FIN only repetitions can come; they are acknowledged.
        if seq < tcb.rcv_nxt:
            reassembly.receive(tcb, segment, seq, bool(flags & FIN))
    else:
        if (state in (FIN_WAIT_1, FIN_WAIT_2)) and tcb.read_shut:
            # RFC 9293 (3.6.1): data for a program that will not read is answered by a RST. An ACK that has
            # overtaken the peer's FIN is none.
            if size > 0 and seq + size > tcb.rcv_nxt:
                _abort_on_data(tcb, segment)
                return
        if reassembly.receive(tcb, segment, seq, bool(flags & FIN)):
            fin(tcb)
            if tcb.state == CLOSED:
                return
    if tcb.has_unsent():
        output.push(tcb, False)
    if tcb.want_space:
        send_buffer.freed(tcb)
    if tcb.ack_scheduled:
        delayed_ack.check(tcb)


def _acceptable(tcb: Tcb, segment: TcpSegment, seq: i64, end: i64) -> bool:
    """First to fourth: PAWS, the sequence number, RST, SYN. False when the segment needs no more processing."""
    flags: i64 = segment.flags
    size: i64 = len(segment.payload)
    # RFC 7323 (5.3) R1: PAWS. A RST is exempt.
    if segment.has_timestamps and tcb.timestamps and before(segment.ts_val + PAWS_WINDOW, tcb.ts_recent):
        idle: i64 = tcb.scheduler.now_ns - tcb.ts_recent_ns
        if idle < acknowledgment.PAWS_IDLE_NS and not _reordered_ack(tcb, segment, seq, end):
            if not flags & RST:
                tcb.ip.counters.tcp_paws_estab += 1
                _answer_old(tcb, seq, end, flags)
                return False

    # First, the sequence number. Linux accepts what overlaps the window at all, from the last ACK it sent.
    beyond = seq > tcb.rcv_nxt + window.remaining(tcb)
    if end < tcb.rcv_wup or beyond:
        if beyond:
            tcb.ip.counters.tcp_beyond_window += 1
        if flags & RST:
            if seq == tcb.rcv_nxt - 1 and _is_reset_expected(tcb, seq):
                _reset(tcb)
            return False
        if flags & SYN:
            segments.send_challenge_ack(tcb)
            return False
        _answer_old(tcb, seq, end, flags)
        return False

    # Linux since 6.17: nor what ends beyond it, unless the queue is empty (then a peer that miscounts gets on).
    if size > 0 and tcb.received.size > 0 and seq + size > tcb.rcv_nxt + window.remaining(tcb):
        tcb.ip.counters.tcp_beyond_window += 1
        _answer_old(tcb, seq, end, flags)
        return False

    # Second, RST: RFC 5961 (3.2). Exactly at rcv_nxt it is believed, elsewhere the peer must prove itself.
    if flags & RST:
        if _is_reset_expected(tcb, seq):
            fast_accept.handshake_over(tcb, True)
            _reset(tcb)
        else:
            fast_open.odd_reset(tcb)
            segments.send_challenge_ack(tcb)
        return False

    # Fourth, SYN: RFC 5961 (4.2). The one that is right is the second half of a simultaneous open.
    if flags & SYN:
        if tcb.state == SYN_RECEIVED and flags & ACK and end == tcb.rcv_nxt and seq + 1 == end:
            return True
        if tcb.syn_ack_pending:
            # As Linux, which does not end what a program has already for a SYN that may be forged.
            segments.send_reset_for(tcb.ip, segment, tcb.md5_key)
            return False
        tcb.ip.counters.tcp_syn_challenge += 1
        segments.send_challenge_ack(tcb)
        return False
    return True


def _is_reset_expected(tcb: Tcb, seq: i64) -> bool:
    """RFC 5961 (3.2): the next sequence number; Linux adds what the peer may think that is.

    It may know by our SACK blocks of no hole; and after its FIN it may count from before it.
    """
    if seq == tcb.rcv_nxt:
        return True
    if seq == tcb.rcv_nxt - 1 and tcb.state in (CLOSE_WAIT, LAST_ACK, CLOSING):
        return True
    held = tcb.out_of_order
    return tcb.sack_ok and len(held) > 0 and seq == held[-1].end_seq


def _reordered_ack(tcb: Tcb, segment: TcpSegment, seq: i64, end: i64) -> bool:
    """Linux' exception from PAWS: a pure ACK that was overtaken, and says nothing new, needs no answer."""
    return (
        seq == tcb.rcv_nxt
        and seq == end
        and unwrap(segment.ack, tcb.snd_una) == tcb.snd_una
        and segment.window << tcb.snd_wscale == tcb.snd_wnd
        and ((tcb.ts_recent - segment.ts_val) & 0xFFFF_FFFF) * 1_000_000 <= tcb.rto_ns
    )


def _answer_old(tcb: Tcb, seq: i64, end: i64, flags: i64) -> None:
    """An ACK for an unacceptable segment. Without data it may be half of a loop of two such answers: limited."""
    if (seq == end or flags & SYN) and segments.limited(tcb):
        return
    if end != seq and seq < tcb.rcv_nxt:
        delayed_ack.enter_quick(tcb)
        sack_report.duplicate(tcb, seq, min(end, tcb.rcv_nxt))
    segments.send_ack(tcb)


def _reset(tcb: Tcb) -> None:
    """The peer's RST is believed. RFC 9293 section 3.10.7.4; errnos as Linux."""
    if tcb.state == CLOSE_WAIT:
        tcb.fail(errno.EPIPE)
    else:
        tcb.fail(errno.ECONNRESET)


def _abort_on_data(tcb: Tcb, segment: TcpSegment) -> None:
    """RFC 9293 (3.6.1): data for a program that does not read any more; answered as a segment for nobody is."""
    tcb.ip.counters.tcp_abort_on_data += 1
    segments.send_reset_for(tcb.ip, segment)
    tcb.fail(errno.ECONNRESET)


def fin(tcb: Tcb) -> None:
    """Eighth, the FIN bit: the stream has ended."""
    tcb.rcv_nxt += 1
    tcb.ack_scheduled = True
    tcb.fin_received = True
    tcb.read_shut = True
    tcb.out_of_order.clear()
    tcb.out_of_order_bytes = 0
    tcb.rmem_held = 0
    tcb.sack_report = None
    tcb.pending_wake |= POLLIN | POLLRDHUP
    if tcb.write_shut:
        tcb.pending_wake |= POLLHUP
    state: i64 = tcb.state
    if state in (SYN_RECEIVED, ESTABLISHED):
        tcb.set_state(CLOSE_WAIT)
        # The program will probably close soon: let the ACK ride on its FIN.
        tcb.pingpong = True
    elif state == FIN_WAIT_1:
        # Simultaneous close.
        segments.send_ack(tcb)
        tcb.set_state(CLOSING)
    elif state == FIN_WAIT_2:
        segments.send_ack(tcb)
        time_wait.enter(tcb, TIME_WAIT)


def take_options(tcb: Tcb, segment: TcpSegment) -> None:
    """The options of the peer's SYN."""
    tcb.peer_mss = segment.mss if segment.mss > 0 else default_mss(segment.family)
    if segment.window_scale >= 0 and tcb.scaled:
        tcb.snd_wscale = min(segment.window_scale, _WSCALE_MAX)
    else:
        # RFC 7323 (1.3): scaling needs both.
        tcb.snd_wscale = 0
        tcb.scaled = False
        tcb.rcv_wscale = 0
    tcb.sack_ok = tcb.sack_ok and segment.sack_permitted
    tcb.timestamps = tcb.timestamps and segment.has_timestamps
    if tcb.timestamps:
        tcb.ts_recent = segment.ts_val
        tcb.ts_recent_ns = tcb.scheduler.now_ns


def _syn_sent(tcb: Tcb, segment: TcpSegment) -> None:
    """RFC 9293 section 3.10.7.3."""
    flags: i64 = segment.flags
    # First, the ACK bit.
    if flags & ACK:
        ack: i64 = unwrap(segment.ack, tcb.snd_nxt)
        if ack <= tcb.iss or ack > tcb.snd_nxt:
            if not flags & RST:
                segments.send_reset_for(tcb.ip, segment, tcb.md5_key)
            if tcb.retransmits == 0 and tcb.retransmit_timer.at_ns != 0:
                # Linux: a connection of the past is in the way there, and the RST has ended it. Try again at once.
                tcb.retransmit_timer.arm(timers.RETRANSMIT, tcb.scheduler.now_ns + _SOON_NS)
            return
        # RFC 7323 (5.3): the echo of a timestamp that we have not sent is not for this SYN.
        if segment.has_timestamps and segment.ts_ecr != 0 and _never_sent(tcb, segment.ts_ecr):
            tcb.ip.counters.tcp_paws_active += 1
            if not flags & RST:
                segments.send_reset_for(tcb.ip, segment, tcb.md5_key)
            return
    # Second, the RST bit.
    if flags & RST:
        if flags & ACK:
            tcb.fail(errno.ECONNREFUSED)
        return
    # Fourth, the SYN bit.
    if not flags & SYN:
        return
    take_options(tcb, segment)
    if tcb.ecn_ok:
        ecn.answered(tcb, segment)
    tcb.irs = segment.seq
    tcb.rcv_nxt = segment.seq + 1
    tcb.rcv_wup = tcb.rcv_nxt
    tcb.snd_wl1 = segment.seq
    if flags & ACK:
        acknowledgment.process(tcb, segment, segment.seq, unwrap(segment.ack, tcb.snd_nxt), 0)
        establish(tcb)
        fast = tcb.fast_open
        if fast is not None and (fast.sent or fast.data):
            if fast_open.take_syn_ack(tcb, segment):
                return  # what goes out again has the ACK
            # RFC 7413 (4.2.1): data that a server sends at once. Others' are sent again when they are not acknowledged.
            fast_open.take_payload(tcb, segment)
            if segment.payload:
                tcb.pending_wake |= POLLIN
            if flags & FIN:
                fin(tcb)
        if tcb.received.size == 0 and (tcb.write_pending or tcb.pingpong):
            # Linux: data are about to go, and have the ACK.
            tcb.ack_scheduled = True
            delayed_ack.enter_quick(tcb)
            tcb.delayed_ack_timer.arm(
                timers.DELAYED_ACK, tcb.scheduler.now_ns + delayed_ack.DELAYED_ACK_MAX_NS
            )
            return
        segments.send_ack(tcb)
        return
    # Simultaneous open: our SYN goes out again, now with an ACK.
    tcb.snd_wnd = segment.window
    tcb.max_window = segment.window
    tcb.set_state(SYN_RECEIVED)
    segments.send_syn(tcb)


def _never_sent(tcb: Tcb, echo: i64) -> bool:
    """Whether a timestamp is none of those that we had from the first SYN on."""
    first: i64 = (tcb.retransmit_began_ns // 1_000_000 + tcb.ts_offset) & 0xFFFF_FFFF
    return (echo - first) & 0xFFFF_FFFF > (tcb.timestamp() - first) & 0xFFFF_FFFF


def _shut_after_handshake(tcb: Tcb) -> None:
    """The program has shut writing in SYN-RECEIVED: now the FIN may go."""
    if tcb.write_shut:
        tcb.queue_fin()


def establish(tcb: Tcb) -> None:
    """The handshake is complete."""
    initialize(tcb)
    tcb.set_state(ESTABLISHED)
    tcb.pending_wake |= POLLOUT


def initialize(tcb: Tcb) -> None:
    """Begin with the stream: what the handshake's options say is in force from here on."""
    now: i64 = tcb.scheduler.now_ns
    if tcb.timestamps:
        tcb.advmss -= 12  # what a full segment of the peer carries
    segment_size.start(tcb, segments.route_to(tcb), tcb.state == SYN_SENT)
    send_buffer.expand(tcb)
    window.start(tcb)
    cwnd.start(tcb)
    tcb.last_sent_ns = now
    tcb.last_received_ns = now
    tcb.high_seq = tcb.iss
    if tcb.srtt_ns == 0:
        # RFC 6298 (5.7): the SYN timed out and nothing could be measured.
        tcb.rto_ns = RTO_FALLBACK_NS
        tcb.backoff = 0
    if tcb.keepalive:
        tcb.keepalive_timer.arm(timers.KEEPALIVE, now + probes.idle_ns(tcb))
