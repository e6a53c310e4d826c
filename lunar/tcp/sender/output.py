"""TCP output: which bytes go into a segment, when it may go, and the segment itself.

`push` is the sender's rule book: congestion window, peer's window, Nagle, silly-window avoidance, in Linux' order. All
segments of a full connection leave through `transmit`; `send_bare` is for those that have none (RST, TIME-WAIT's ACK).
Read RFC 9293 sections 3.8.6.2.1 and 3.7.4 beside `push`.
"""

from __future__ import annotations

import errno
from typing import Final

from mypy_extensions import i64

from lunar.net import ip_output
from lunar.net.ip import Ip
from lunar.net.route import Route
from lunar.packet import ACK, FIN, PSH, RST, SYN, TcpSegment, set_tcp_size
from lunar.tcp import chronograph, ecn, timers, urgent
from lunar.tcp.congestion import cwnd as congestion_window
from lunar.tcp.congestion.control import TX_START
from lunar.tcp.loss import rate, retransmit_timer
from lunar.tcp.loss.rtt import RTO_MAX_NS
from lunar.tcp.marks import Marks
from lunar.tcp.opening import md5
from lunar.tcp.receiver import sack_report, window
from lunar.tcp.sender import mtu_probe, pacing, records, segment_size, send_marks
from lunar.tcp.tcb import (
    CLOSED,
    CWR,
    DELAYED_ACK_MIN_NS,
    EVER_RETRANSMITTED,
    RECOVERY,
    RETRANSMITTED,
    SYN_RECEIVED,
    Sent,
    Tcb,
)

RTO_MIN_NS: Final = 200_000_000  # TCP_RTO_MIN: the least first interval of window probes


def transmit(tcb: Tcb, seq: i64, flags: i64, payload: bytes, gso_bytes: i64 = 0) -> i64:
    """Send one segment of an established (or later) connection, or one for the device to cut into segments of
    `gso_bytes`. Returns 0 or what ip_output.send says.
    """
    segment = TcpSegment(
        tcb.family, tcb.local_addr, tcb.remote_addr, tcb.local_port, tcb.remote_port, seq & 0xFFFF_FFFF,
        tcb.rcv_nxt & 0xFFFF_FFFF, flags, window.advertise(tcb), payload,
    )  # fmt: skip
    size: i64 = 40 if tcb.family == 2 else 60
    if tcb.timestamps:
        segment.has_timestamps = True
        segment.ts_val = (tcb.scheduler.now_ns // 1_000_000 + tcb.ts_offset) & 0xFFFF_FFFF
        segment.ts_ecr = tcb.ts_recent
        size += 12
    length: i64 = len(payload)
    if tcb.ecn_ok:
        ecn.mark(tcb, segment, seq)
    segment.size_bytes = size + length
    segment.gso_bytes = gso_bytes
    if tcb.sack_report is not None:
        segment.size_bytes += sack_report.attach(tcb, segment, 0)
    if length > 0:
        tcb.bytes_sent += length
        segs: i64 = 1 if gso_bytes == 0 else (length + gso_bytes - 1) // gso_bytes
        tcb.data_segs_out += segs
        tcb.segs_out += segs - 1
    if tcb.snd_up > tcb.snd_una:
        urgent.point(tcb, segment, seq)
    # It carries the ACK that was owed; what only repeats the last one uses up no quick ACK.
    if tcb.quick_acks > 0 and tcb.ack_scheduled:
        tcb.quick_acks -= 1
        if tcb.quick_acks == 0:
            tcb.ato_ns = DELAYED_ACK_MIN_NS
    tcb.ack_scheduled = False
    tcb.ack_now = False
    tcb.pushed = 0
    if tcb.delayed_ack_timer.at_ns != 0:
        tcb.delayed_ack_timer.disarm()
    if tcb.md5_key:
        md5.sign(segment, tcb.md5_key)
    if tcb.marks is not None and length > 0:
        return _hand_down_marked(tcb, segment, seq, tcb.marks)
    return _hand_down(tcb, segment)


def send_made(tcb: Tcb, segment: TcpSegment) -> i64:
    """Send a segment of the handshake, whose options are set. Returns 0 or what ip_output.send says."""
    set_tcp_size(segment)
    if tcb.md5_key:
        md5.sign(segment, tcb.md5_key)
    return _hand_down(tcb, segment)


def _hand_down_marked(tcb: Tcb, segment: TcpSegment, seq: i64, marks: Marks) -> i64:
    """As `_hand_down`, of bytes whose fate the program may want to know."""
    result: i64 = _hand_down(tcb, segment)
    if result == 0:
        send_marks.sent(tcb, marks, segment, seq)
    return result


def _hand_down(tcb: Tcb, segment: TcpSegment) -> i64:
    segment.ttl = tcb.ttl
    segment.tos |= tcb.tos  # ECN's two bits may be there
    route = route_to(tcb)
    # RFC 1191: path MTU discovery, unless the program does not want it, or the route's MTU is not to be changed.
    discover: i64 = tcb.mtu_discover
    if discover == 1:
        segment.dont_fragment = route is None or not route.mtu_locked
    else:
        segment.dont_fragment = discover == 2
    tcb.segs_out += 1
    tcb.ip.counters.tcp_out_segs += 1
    return ip_output.send(tcb.ip, segment, route)


def route_to(tcb: Tcb) -> Route | None:
    """The way to the peer, looked up when the table has changed."""
    route = tcb.route
    if route is None or tcb.route_generation != tcb.ip.routes.generation:
        tcb.route_generation = tcb.ip.routes.generation
        route = ip_output.route_for(tcb.ip, tcb.remote_addr)
        tcb.route = route
        if route is not None and route.device.paces:
            tcb.needs_pacing = True
    return route


def send_syn(tcb: Tcb) -> i64:
    """Send, or send again, our SYN; in SYN-RECEIVED with an ACK (simultaneous open)."""
    return send_made(tcb, syn(tcb))


def syn(tcb: Tcb) -> TcpSegment:
    """Our SYN."""
    flags: i64 = SYN
    ack: i64 = 0
    if tcb.state == SYN_RECEIVED:
        flags = SYN | ACK
        ack = tcb.rcv_nxt & 0xFFFF_FFFF
    segment = TcpSegment(
        tcb.family, tcb.local_addr, tcb.remote_addr, tcb.local_port, tcb.remote_port, tcb.iss, ack, flags,
        min(tcb.rcv_wnd, 65_535), b"",
    )  # fmt: skip
    segment.mss = min(tcb.advmss, tcb.path_mss)
    # RFC 7323 (1.3): in answer to a SYN, only what that SYN offered.
    if tcb.scaled:
        segment.window_scale = tcb.rcv_wscale
    segment.sack_permitted = tcb.sack_ok
    if tcb.timestamps:
        segment.has_timestamps = True
        segment.ts_val = tcb.timestamp()
        segment.ts_ecr = tcb.ts_recent
    if tcb.ecn_asks:
        ecn.mark_syn(tcb, segment, tcb.total_retrans > 0)
    return segment


def send_bare(
    ip: Ip, family: i64, src: int, dst: int, sport: i64, dport: i64, seq: i64, ack: i64, flags: i64, window_field: i64,
    has_timestamps: bool, ts_val: i64, ts_ecr: i64, tos: i64, key: bytes = b"",
) -> None:  # fmt: skip
    """Send a segment without data for which there is no full socket; signed by `key` if there is one (md5.py)."""
    segment = TcpSegment(
        family, src, dst, sport, dport, seq & 0xFFFF_FFFF, ack & 0xFFFF_FFFF, flags, window_field, b""
    )
    if has_timestamps:
        segment.has_timestamps = True
        segment.ts_val = ts_val & 0xFFFF_FFFF
        segment.ts_ecr = ts_ecr
    set_tcp_size(segment)
    if key:
        md5.sign(segment, key)
    segment.ttl = ip.default_ttl
    segment.tos = tos
    segment.dont_fragment = True
    ip.counters.tcp_out_segs += 1
    if flags & RST:
        ip.counters.tcp_out_rsts += 1
    ip_output.send(ip, segment, None)


def send_reset_for(ip: Ip, segment: TcpSegment, key: bytes = b"") -> None:
    """RFC 9293 (3.5.2): answer a segment that belongs to nothing; never a RST."""
    flags: i64 = segment.flags
    if flags & RST:
        return
    if not ip.has_address(segment.dst):
        return  # RFC 1122 (4.2.3.10): a broadcast is answered by nobody
    if flags & ACK:
        send_bare(
            ip, segment.family, segment.dst, segment.src, segment.dport, segment.sport, segment.ack, 0, RST, 0,
            False, 0, 0, segment.tos, key,
        )  # fmt: skip
        return
    end: i64 = segment.seq + len(segment.payload)
    if flags & SYN:
        end += 1
    if flags & FIN:
        end += 1
    send_bare(
        ip, segment.family, segment.dst, segment.src, segment.dport, segment.sport, 0, end, RST | ACK, 0,
        False, 0, 0, segment.tos, key,
    )  # fmt: skip


def send_ack(tcb: Tcb) -> None:
    """Send a segment without data."""
    if tcb.state == CLOSED:
        return
    seq: i64 = tcb.snd_nxt
    edge: i64 = tcb.snd_una + tcb.snd_wnd
    if edge < seq:
        seq = max(edge, tcb.snd_una)  # the peer took its window back: stay where it accepts
    transmit(tcb, seq, ACK, b"")


def send_reset(tcb: Tcb) -> None:
    """RFC 9293 (3.10.4, 3.10.5): tell the peer that the connection is gone."""
    tcb.ip.counters.tcp_out_rsts += 1
    transmit(tcb, tcb.snd_nxt, RST | ACK, b"")


def send_challenge_ack(tcb: Tcb) -> None:
    """RFC 5961: ask a suspicious peer to prove that it knows the sequence numbers; limited in rate."""
    if limited(tcb) or not tcb.tables.may_challenge():
        return
    tcb.ip.counters.tcp_challenge_acks += 1
    send_ack(tcb)


def limited(tcb: Tcb) -> bool:
    """Whether the socket has answered an invalid segment too recently to answer another: tcp_invalid_ratelimit, by
    which Linux breaks loops of two sides that find each other's ACKs invalid. RFC 5961 (7) allows it.
    """
    now: i64 = tcb.scheduler.now_ns
    if now - tcb.last_challenge_ns < tcb.tables.sysctls.tcp_invalid_ratelimit * 1_000_000:
        return True
    tcb.last_challenge_ns = now
    return False


def forget_route(tcb: Tcb) -> None:
    """The route may have changed, or its device: the next segment looks it up again."""
    tcb.route = None


def push(tcb: Tcb, more: bool) -> None:
    """Send what may be sent of what was never sent. `more`: the program will write more at once, so hold small ones."""
    nagle: i64 = records.NAGLE
    if tcb.push_all:
        nagle = records.HOLD_NOTHING
    elif more or tcb.cork:
        nagle = records.CORK
    elif tcb.nodelay:
        nagle = records.NODELAY
    _push(tcb, nagle, False)


def push_full(tcb: Tcb) -> None:
    """In the middle of a long write: send all that may go, for what waits will not grow."""
    _push(tcb, records.HOLD_NOTHING, False)


def push_one(tcb: Tcb) -> None:
    """In the middle of a long write, whose first record is full: send one as large as may be, and go on writing."""
    _push(tcb, records.HOLD_NOTHING, True)


def _push(tcb: Tcb, nagle: i64, only_one: bool) -> None:
    idle = tcb.packets_out == 0
    unsent = tcb.unsent
    mss: i64 = segment_size.current(tcb)
    most: i64 = records.segments_at_once(tcb, mss)
    limited_by_cwnd = False
    limited_by_window = False
    something = False
    if tcb.mtu_search is not None and not only_one:
        probe: i64 = mtu_probe.next_size(tcb, mss, tcb.reordering)
        if probe < 0:
            return
        if probe > 0:
            mtu_probe.prepare(tcb, probe)
            if _send_new(tcb, probe, False, probe) == 0:
                mtu_probe.sent(tcb, probe)
                something = True
    while True:
        if unsent.head == len(unsent.records):
            if not tcb.fin_queued:
                break
            unsent.append(Sent(tcb.snd_nxt, tcb.snd_nxt, b"", ACK, 0))
        if tcb.needs_pacing and pacing.holds(tcb):
            break
        flying: i64 = tcb.packets_out - tcb.sacked_out - tcb.lost_out + tcb.retrans_out
        cwnd: i64 = tcb.cwnd
        if flying >= cwnd:
            limited_by_cwnd = True
            break
        # No more than half of cwnd in one record, so that ACKs go on coming.
        quota: i64 = min(cwnd - flying, max(cwnd >> 1, 1), most)
        record = unsent.records[unsent.head]
        last = unsent.head + 1 == len(unsent.records)
        size: i64 = record.end_seq - record.seq
        if not last and size < quota * mss:
            records.grow(tcb, record, quota * mss - size)
            size = record.end_seq - record.seq
            last = unsent.head + 1 == len(unsent.records)
        fin = last and tcb.fin_queued
        room: i64 = tcb.snd_una + tcb.snd_wnd - tcb.snd_nxt
        if size > mss:
            if mss > room:
                limited_by_window = True
                break
            by_cwnd: i64 = (cwnd - flying) * mss
            if not only_one and records.should_wait(tcb, record, size, most * mss, room, by_cwnd, fin, last):
                limited_by_cwnd = limited_by_cwnd or by_cwnd < room
                limited_by_window = by_cwnd >= room and room <= size
                break
            limit: i64 = mss
            if tcb.snd_up <= tcb.snd_una:
                limit = records.split_point(tcb, size, quota, mss, room, last, nagle)
            if limit < size:
                size = limit
                fin = False
        else:
            if size > room or (size == 0 and room <= 0):
                limited_by_window = True
                break
            if fin and size == room:
                fin = False  # The FIN occupies one sequence number after the data.
            # Nothing comes after the last segment before a FIN, or into a record that another follows, so nothing is
            # gained by holding it. What is urgent is not held either.
            if size < mss and last and not tcb.fin_queued and tcb.snd_up <= tcb.snd_una:
                if records.holds_small(tcb, nagle):
                    break
        if _send_new(tcb, size, fin, mss) != 0:
            break
        something = True
        if only_one:
            break
    if limited_by_window:
        chronograph.start(tcb, chronograph.RWND_LIMITED)
    elif tcb.chrono == chronograph.RWND_LIMITED:
        chronograph.stop(tcb, chronograph.RWND_LIMITED)
    if something:
        _time(tcb, idle)
    if something or limited_by_cwnd:
        if not limited_by_cwnd:
            limited_by_cwnd = tcb.in_flight() >= tcb.cwnd
        congestion_window.validate(tcb, limited_by_cwnd)
        if tcb.want_space and not limited_by_cwnd and tcb.unsent.size == 0:
            chronograph.start(tcb, chronograph.SNDBUF_LIMITED)
    if tcb.packets_out == 0 and tcb.retransmit_timer.at_ns == 0 and tcb.has_unsent():
        # Closed window, or corked: the probe timer sees to it (tcp(7): a cork holds 200 ms at most).
        tcb.retransmit_timer.arm(timers.PROBE, tcb.scheduler.now_ns + probe_interval(tcb))


def push_probe(tcb: Tcb) -> bool:
    """RFC 8985 (7.3): send one new segment, whatever cwnd is, as a probe for the loss of a tail; False without one."""
    room: i64 = tcb.snd_una + tcb.snd_wnd - tcb.snd_nxt
    if not tcb.has_unsent() or room <= 0:
        return False
    mss: i64 = segment_size.current(tcb)
    unsent = tcb.unsent
    if unsent.is_empty():
        unsent.append(Sent(tcb.snd_nxt, tcb.snd_nxt, b"", ACK, 0))
    record = unsent.first()
    whole: i64 = record.end_seq - record.seq
    size: i64 = min(whole, mss)
    if size > room:
        return False
    fin = tcb.fin_queued and size == whole and unsent.count() == 1 and size < room
    return _send_new(tcb, size, fin, mss) == 0


def _time(tcb: Tcb, idle: bool) -> None:
    """Something was sent for the first time, see that it is sent again if lost. `idle`: nothing had been in flight."""
    if tcb.syn_ack_pending:
        return  # the timer is the SYN-ACK's
    if not retransmit_timer.schedule_probe(tcb, False) and (idle or tcb.retransmit_timer.kind == timers.TAIL_LOSS):
        retransmit_timer.restart(tcb, False)


def _send_new(tcb: Tcb, size: i64, fin: bool, mss: i64) -> i64:
    """Send the first record, or its first `size` bytes, with the FIN if `fin`, for the first time.

    Returns 0, or an errno with which it stays unsent: our own device has no room, or there is no way to the peer.
    """
    now: i64 = tcb.scheduler.now_ns
    unsent = tcb.unsent
    record = unsent.records[unsent.head]
    if size < record.end_seq - record.seq:
        records.cut_unsent(tcb, record, size)
    record = unsent.take()
    end: i64 = record.end_seq
    if fin:
        record.flags |= FIN
        end += 1
        record.end_seq = end
    record.sent_ns = now
    record.mss = mss
    segs: i64 = 1
    if size > mss:
        segs = (size + mss - 1) // mss
    record.segs = segs
    rate.sent(tcb, record)
    failed: i64 = _transmit_record(tcb, record)
    if failed == errno.ENOBUFS or failed == errno.ENETUNREACH:
        record.end_seq = record.seq + size
        record.flags &= ~FIN
        unsent.put_back(record)
        return failed
    if fin:
        tcb.fin_queued = False
    if size < segs * mss and size > 0:
        tcb.small_end = end
    if tcb.packets_out == 0:
        tcb.congestion.on_event(tcb, TX_START)
    tcb.sent.append(record)
    tcb.snd_nxt = end
    tcb.packets_out += segs
    if tcb.ca_state == RECOVERY or tcb.ca_state == CWR:
        tcb.prr_out += segs
    _note_data_sent(tcb, now)
    return 0


def _note_data_sent(tcb: Tcb, now: i64) -> None:
    # An answer within the delayed-ACK time: a conversation, in which ACKs can ride on data. Linux takes what is sent
    # again for one, too.
    if now - tcb.last_received_ns < tcb.ato_ns:
        tcb.pingpong = True
    tcb.last_sent_ns = now


def _transmit_record(tcb: Tcb, record: Sent) -> i64:
    """Send a record: whole where the device takes that, else as segments of the MSS. Returns 0 or an errno.

    Linux leaves it to the device or to the last step before it in the same way.
    """
    payload = record.data()
    failed: i64 = 0
    if record.segs <= 1:
        failed = transmit(tcb, record.seq, record.flags, payload)
    else:
        # The receiver is not to wait for more: Linux sets PSH on the last segment of such a record, wherever a write
        # ended.
        flags: i64 = record.flags | PSH
        route = route_to(tcb)
        if route is not None and route.device.gso and not tcb.md5_key:
            failed = transmit(tcb, record.seq, flags, payload, record.mss)
        else:
            failed = _transmit_cut(tcb, record.seq, flags, payload, record.mss)
    if tcb.needs_pacing and failed == 0:
        pacing.sent(tcb, len(payload))
    return failed


def _transmit_cut(tcb: Tcb, seq: i64, flags: i64, payload: bytes, mss: i64) -> i64:
    """Send a record as its segments. Returns 0 or the errno of the first."""
    size: i64 = len(payload)
    at: i64 = 0
    first: i64 = 0
    while at < size:
        after: i64 = at + mss
        failed: i64 = 0
        if after < size:
            failed = transmit(tcb, seq + at, flags & ~(FIN | PSH), payload[at:after])
        else:
            failed = transmit(tcb, seq + at, flags, payload[at:])
        if at == 0:
            first = failed
        at = after
    return first


def probe_interval(tcb: Tcb) -> i64:
    """How long to wait before the next window probe."""
    base: i64 = max(tcb.rto_ns, RTO_MIN_NS)
    shift: i64 = min(tcb.backoff, 10)
    return min(base << shift, RTO_MAX_NS)


def wake_up(tcb: Tcb) -> i64:
    """Make the peer answer: by data if its window has any room, else by an ACK of an old sequence number.

    RFC 9293 (3.8.6.1, 3.8.4); as Linux, a probe carries no data, and is answered because it is not acceptable.
    """
    room: i64 = tcb.snd_una + tcb.snd_wnd - tcb.snd_nxt
    unsent = tcb.unsent
    if tcb.has_unsent() and room > 0:
        if unsent.is_empty():
            unsent.append(Sent(tcb.snd_nxt, tcb.snd_nxt, b"", ACK, 0))
        record = unsent.first()
        whole: i64 = record.end_seq - record.seq
        mss: i64 = segment_size.current(tcb)
        size: i64 = min(whole, room, mss)
        fin = tcb.fin_queued and size == whole and unsent.count() == 1 and size < room
        if size < whole:
            records.cut_unsent(tcb, record, size)
        if size > 0:
            record.flags |= PSH
        idle = tcb.packets_out == 0
        failed: i64 = _send_new(tcb, size, fin, mss)
        if failed == 0:
            _time(tcb, idle)
        return failed
    if tcb.snd_up > tcb.snd_una:
        # RFC 9293 (3.8.5): the pointer is told though the byte cannot go; a pointer counts from what is not received.
        transmit(tcb, tcb.snd_una, ACK, b"")
    return transmit(tcb, tcb.snd_una - 1, ACK, b"")


def retransmit(tcb: Tcb, index: i64, segs: i64 = 1) -> i64:
    """Send tcb.sent[index] again, `segs` segments of it at most. Returns 0 or an errno, with which nothing was sent.

    What is larger is cut: tcb.sent[index] is then what was sent, and the next record the rest.
    """
    record = tcb.sent[index]
    now: i64 = tcb.scheduler.now_ns
    if record.flags & SYN:
        tcb.note_retransmission(record)
        record.marks |= EVER_RETRANSMITTED
        record.sent_ns = now
        return send_syn(tcb)
    if record.seq < tcb.snd_una:
        records.trim(tcb, record)  # The peer acknowledged part of it.
    mss: i64 = segment_size.current(tcb)
    # The peer took its window back: only the first segment may go, as a probe.
    room: i64 = tcb.snd_una + tcb.snd_wnd - record.seq
    if room <= 0:
        if record.seq != tcb.snd_una:
            return errno.EAGAIN
        room = mss
    size: i64 = len(record.payload) - record.acked
    most: i64 = mss * segs
    if most > room:
        most = max(room // mss * mss, min(room, mss))
    if size > most:
        records.split(tcb, index, most)
    elif size < mss and record.segs == 1 and tcb.tables.sysctls.tcp_retrans_collapse != 0:
        records.collapse(tcb, index, min(room, mss))
    if record.mss != mss:
        records.recount(tcb, record, mss)
    if tcb.mtu_search is not None:
        tcb.mtu_search.size = 0  # whatever becomes of a probe, it tells nothing any more
    record.marks |= EVER_RETRANSMITTED
    tcb.note_retransmission(record)
    failed: i64 = _transmit_record(tcb, record)
    if failed != 0:
        return failed
    if not record.marks & RETRANSMITTED:
        record.marks |= RETRANSMITTED
        tcb.retrans_out += record.segs
    record.sent_ns = now
    rate.sent(tcb, record)
    if len(record.payload) > 0:
        _note_data_sent(tcb, now)
    return 0
