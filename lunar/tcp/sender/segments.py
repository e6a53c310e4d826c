"""The segments of TCP as they leave: what is in the header, and which options.

All segments of a full connection leave through `transmit`; `send_bare` is for those that have none (RST, TIME-WAIT's
ACK). When data may go is said by output.py.
"""

from __future__ import annotations

from mypy_extensions import i64

from lunar.net import flow_label, ip_output
from lunar.net.ip import Ip
from lunar.net.route import Route
from lunar.packet import ACK, AF_INET, AF_INET6, FIN, RST, SYN, TcpSegment, set_tcp_size
from lunar.tcp import ecn, urgent
from lunar.tcp.marks import Marks
from lunar.tcp.opening import md5
from lunar.tcp.receiver import sack_report, window
from lunar.tcp.sender import send_marks
from lunar.tcp.tcb import (
    CLOSED,
    DELAYED_ACK_MIN_NS,
    SYN_RECEIVED,
    Tcb,
)


def transmit(tcb: Tcb, seq: i64, flags: i64, payload: bytes, gso_bytes: i64 = 0) -> i64:
    """Send one segment of an established (or later) connection, or one for the device to cut into segments of
    `gso_bytes`. Returns 0 or what ip_output.send says.
    """
    segment = TcpSegment(
        tcb.family, tcb.local_addr, tcb.remote_addr, tcb.local_port, tcb.remote_port, seq & 0xFFFF_FFFF,
        tcb.rcv_nxt & 0xFFFF_FFFF, flags, window.advertise(tcb), payload,
    )  # fmt: skip
    size: i64 = 40 if tcb.family == AF_INET else 60
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
    discover: i64 = tcb.mtu_discover
    if tcb.family == AF_INET:
        segment.ttl = tcb.ttl
        segment.tos |= tcb.tos  # ECN's two bits may be there
    else:
        discover = _dress6(tcb, segment)
    route = route_to(tcb)
    # RFC 1191: path MTU discovery, unless the program does not want it, or the route's MTU is not to be changed.
    if discover == 1:
        segment.dont_fragment = route is None or not route.mtu_locked
    else:
        segment.dont_fragment = discover == 2
    tcb.segs_out += 1
    tcb.ip.counters.tcp_out_segs += 1
    return ip_output.send(tcb.ip, segment, route)


def _dress6(tcb: Tcb, segment: TcpSegment) -> i64:
    """What ipv6(7) lets a program say of headers. Returns IPV6_MTU_DISCOVER."""
    six = tcb.ipv6
    assert six is not None, "a socket that sends over IPv6 is of AF_INET6"
    six.dress(tcb.ip, segment)
    if six.flow_label < 0:
        six.flow_label = six.label(
            tcb.ip, tcb.local_addr, tcb.local_port, tcb.remote_addr, tcb.remote_port, segment.protocol
        )
    segment.flow_label = six.flow_label
    return six.mtu_discover


def route_to(tcb: Tcb) -> Route | None:
    """The way to the peer, looked up when the table has changed."""
    route = tcb.route
    if route is None or tcb.route_generation != tcb.ip.route_changes.count:
        tcb.route_generation = tcb.ip.route_changes.count
        route = ip_output.route_for(tcb.ip, tcb.family, tcb.remote_addr, tcb)
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
    has_timestamps: bool, ts_val: i64, ts_ecr: i64, tos: i64, key: bytes = b"", answered: TcpSegment | None = None,
) -> None:  # fmt: skip
    """Send a segment without data for which there is no full socket, signed by `key` if there is one (md5.py).

    `answered` is the segment that it answers, if one has just come: it goes back by the same device.
    """
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
    segment.ttl = -1
    segment.tos = tos
    if family == AF_INET6 and ip.auto_flowlabels & 1:
        segment.flow_label = flow_label.of(src, sport, dst, dport, segment.protocol)
    segment.dont_fragment = True
    ip.counters.tcp_out_segs += 1
    if flags & RST:
        ip.counters.tcp_out_rsts += 1
    ip_output.send(ip, segment, None if answered is None else ip_output.route_back(ip, answered))


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
            False, 0, 0, segment.tos, key, segment,
        )  # fmt: skip
        return
    end: i64 = segment.seq + len(segment.payload)
    if flags & SYN:
        end += 1
    if flags & FIN:
        end += 1
    send_bare(
        ip, segment.family, segment.dst, segment.src, segment.dport, segment.sport, 0, end, RST | ACK, 0,
        False, 0, 0, segment.tos, key, segment,
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
