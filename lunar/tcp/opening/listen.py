"""The passive side: connections that are being made (the SYN queue) and that wait for accept(2) (the accept queue).

RFC 9293 section 3.10.7.2. An entry of the SYN queue is a `Request` (request.py); the socket is made when the
handshake's ACK comes. As Linux with tcp_abort_on_overflow = 0: when the accept queue is full, SYNs are dropped, and so
is that ACK, whose sender already thinks that it is connected.
The SYN queue holds `backlog` + 1 requests, too; above that SYN cookies (syn_cookies.py) answer.
"""

from __future__ import annotations

from collections import deque
from typing import final

from mypy_extensions import i64

from lunar.net import ip_output, path_mtu
from lunar.net.address import needs_scope
from lunar.net.device import Device
from lunar.net.ip import Ip
from lunar.net.route import Route
from lunar.net.sock import POLLIN, covers_of
from lunar.packet import ACK, FIN, RST, SYN, TcpSegment
from lunar.tcp import input as arrival
from lunar.tcp.loss import rate, rtt
from lunar.tcp.opening import fast_accept, md5, syn_cookies
from lunar.tcp.opening.request import Request
from lunar.tcp.sender import segments
from lunar.tcp.seq import before, unwrap
from lunar.tcp.tcb import CLOSED, NEVER_NS, SYN_RECEIVED, Tcb, default_mss
from lunar.wire import inet


@final
class Listener:
    """What a listening socket has beside its TCB. The accept queue holds `backlog` + 1 connections, as on Linux."""

    def __init__(self, tcb: Tcb) -> None:
        self.tcb: Tcb = tcb
        self.backlog: i64 = 0
        self.requests: dict[int, Request] = {}  # by serial, in the order of their SYNs
        self.young: i64 = 0  # of them, those whose SYN-ACK was sent once
        self.last_cookie_ns: i64 = NEVER_NS  # when a SYN cookie was sent
        self.next_serial: i64 = 0
        self.accept_queue: deque[Tcb] = deque()
        self.fast: fast_accept.FastQueue = fast_accept.FastQueue()

    def is_full(self) -> bool:
        return len(self.accept_queue) > self.backlog

    def close(self) -> None:
        """Drop what is half open, reset what nobody accepted."""
        for request in list(self.requests.values()):
            request.drop()
        while self.accept_queue:
            child = self.accept_queue.popleft()
            child.orphan = True
            if child.state != CLOSED:
                segments.send_reset(child)
            child.done()


def receive_syn(listener: Listener, segment: TcpSegment, iss: i64) -> None:
    """A segment for a listening socket that belongs to no connection. `iss` -1: choose one."""
    tcb = listener.tcb
    tables = tcb.tables
    flags: i64 = segment.flags
    # First, RST; second, ACK; third, SYN.
    if flags & RST:
        return
    if flags & ACK:
        if flags & SYN or not _take_cookie(listener, segment):
            segments.send_reset_for(tables.ip, segment, md5.find(tcb.md5_keys, segment.src))
        return
    if not flags & SYN or flags & FIN:
        return
    if not tables.ip.has_address(segment.dst):
        return  # RFC 1122 (4.2.3.10): no connection with a broadcast address
    counters = tables.ip.counters
    sysctls = tables.sysctls
    with_cookie = False
    if iss < 0 and (sysctls.tcp_syncookies == 2 or len(listener.requests) > listener.backlog):
        if sysctls.tcp_syncookies == 0:
            counters.tcp_req_q_full_drop += 1
            counters.tcp_listen_drops += 1
            return
        counters.tcp_req_q_full_do_cookies += 1
        with_cookie = True
    if listener.is_full():
        counters.tcp_listen_overflows += 1
        counters.tcp_listen_drops += 1
        return
    route = _route_to_peer(tables.ip, segment)
    if route is None or (iss < 0 and sysctls.tcp_syncookies == 0 and _is_reserved(listener, segment)):
        counters.tcp_listen_drops += 1
        return
    mss: i64 = path_mtu.advertised_mss(tables.ip, route, segment.src)
    if tcb.user_mss > 0:
        mss = min(mss, tcb.user_mss)
    if with_cookie:
        _answer_with_cookie(listener, segment, mss)
        return
    if iss < 0:
        iss = tables.initial_sequence(segment.dst, segment.dport, segment.src, segment.sport)
    request = Request(listener, segment, iss, mss)
    if segment.fast_open is not None or segment.payload:
        verdict = fast_accept.judge(tables, listener.fast, segment)
        request.cookie = verdict.cookie
        if verdict.kind == fast_accept.AT_ONCE:
            _open_fast(request, segment)
            return
    request.start()


def _route_to_peer(ip: Ip, segment: TcpSegment) -> Route | None:
    route = ip_output.route_back(ip, segment)
    return ip_output.route_for(ip, segment.family, segment.src) if route is None else route


def _is_reserved(listener: Listener, segment: TcpSegment) -> bool:
    """ip-sysctl, tcp_max_syn_backlog: without SYN cookies the last quarter is for peers that were here before."""
    most: i64 = listener.tcb.tables.sysctls.tcp_max_syn_backlog
    if most - len(listener.requests) >= most >> 2:
        return False
    return listener.tcb.tables.metrics().find(segment.dst, segment.src) is None


def _answer_with_cookie(listener: Listener, segment: TcpSegment, mss: i64) -> None:
    """RFC 4987 (3.6): a SYN-ACK of which nothing is kept."""
    tables = listener.tcb.tables
    listener.last_cookie_ns = tables.ip.scheduler.now_ns
    tables.ip.counters.tcp_syncookies_sent += 1
    told: i64 = segment.mss if segment.mss > 0 else default_mss(segment.family)
    request = Request(listener, segment, syn_cookies.make(tables, segment, min(told, mss)), mss)
    request.by_cookie = True
    if not request.timestamps:
        # Nothing could bring them back.
        request.scaled = False
        request.sack_ok = False
        request.rcv_wscale = 0
    request.send_syn_ack()


def _take_cookie(listener: Listener, segment: TcpSegment) -> bool:
    """An ACK that belongs to no connection: the connection whose cookie it brings. False when it brings none."""
    tcb = listener.tcb
    tables = tcb.tables
    counters = tables.ip.counters
    if tables.sysctls.tcp_syncookies == 0:
        return False
    if tables.ip.scheduler.now_ns - listener.last_cookie_ns > syn_cookies.VALID_NS:
        return False
    mss: i64 = syn_cookies.check(tables, segment)
    route = _route_to_peer(tables.ip, segment)
    if mss == 0 or route is None:
        counters.tcp_syncookies_failed += 1
        return False
    counters.tcp_syncookies_recv += 1
    offset: i64 = tables.timestamp_offset(segment.dst, segment.src)
    syn = syn_cookies.syn_of(segment, mss, (segment.ts_ecr - offset) & 0xFFFF_FFFF)
    own: i64 = path_mtu.advertised_mss(tables.ip, route, segment.src)
    if tcb.user_mss > 0:
        own = min(own, tcb.user_mss)
    request = Request(listener, syn, (segment.ack - 1) & 0xFFFF_FFFF, own)
    request.by_cookie = True
    if listener.is_full():
        counters.tcp_listen_overflows += 1
        counters.tcp_listen_drops += 1
        return True
    _complete(request, segment)
    return True


def _open_fast(request: Request, segment: TcpSegment) -> None:
    """RFC 7413 (4.2.2): the program gets the connection, with the SYN's data, while the handshake goes on."""
    child = _make_socket(request)
    arrival.initialize(child)
    fast_accept.begin(child, request, segment)
    request.listener.accept_queue.append(child)
    request.tables.ip.counters.tcp_passive_opens += 1
    request.listener.tcb.wake(POLLIN)


def receive(request: Request, segment: TcpSegment) -> None:
    """A segment for a connection in SYN-RECEIVED, by RFC 9293 section 3.10.7.4 as Linux does it for requests."""
    ip = request.tables.ip
    flags: i64 = segment.flags
    rcv_nxt: i64 = request.syn.seq + 1
    seq: i64 = unwrap(segment.seq, rcv_nxt)
    end: i64 = seq + len(segment.payload) + (1 if flags & SYN else 0) + (1 if flags & FIN else 0)
    stamped = request.timestamps and segment.has_timestamps
    too_old = stamped and before(segment.ts_val, request.ts_recent)
    # The SYN again: our answer was lost.
    if flags & (SYN | ACK | RST) == SYN and seq == rcv_nxt - 1 and not too_old:
        if not request.is_limited():
            request.send_syn_ack()
        return
    if too_old or end < rcv_nxt or seq > rcv_nxt + request.rcv_wnd:
        if not flags & RST and not request.is_limited():
            _acknowledge(request, segment.tos)
        return
    # RFC 5961 (3.2), as of a connection: a RST elsewhere in the window may be forged.
    if flags & RST and seq != rcv_nxt:
        if not request.is_limited():
            ip.counters.tcp_challenge_acks += 1
            _acknowledge(request, segment.tos)
        return
    if flags & (RST | SYN):
        ip.counters.tcp_attempt_fails += 1
        if not flags & RST:
            segments.send_reset_for(ip, segment, request.md5_key)
        request.drop()
        return
    if not flags & ACK:
        return
    if segment.ack != (request.iss + 1) & 0xFFFF_FFFF:
        segments.send_reset_for(ip, segment, request.md5_key)
        return
    listener = request.listener
    # tcp(7), TCP_DEFER_ACCEPT: the ACK alone does not count, for so many timeouts.
    if request.timeouts < listener.tcb.defer_accept and end == rcv_nxt and not flags & FIN:
        request.acked = True
        ip.counters.tcp_defer_accept_drop += 1
        return
    if listener.is_full():
        ip.counters.tcp_listen_overflows += 1
        ip.counters.tcp_listen_drops += 1
        if request.tables.sysctls.tcp_abort_on_overflow:
            ip.counters.tcp_embryonic_rsts += 1
            segments.send_reset_for(ip, segment, request.md5_key)
            request.drop()
        else:
            request.acked = True
        return
    if stamped and seq <= rcv_nxt:
        request.ts_recent = segment.ts_val
    _complete(request, segment)


def _acknowledge(request: Request, tos: i64) -> None:
    """Say where the handshake stands."""
    ip = request.tables.ip
    segments.send_bare(
        ip, request.syn.family, request.local_addr, request.remote_addr, request.local_port, request.remote_port,
        request.iss + 1, request.syn.seq + 1, ACK, request.rcv_wnd >> request.rcv_wscale, request.timestamps,
        ip.scheduler.now_ns // 1_000_000 + request.ts_offset, request.ts_recent, tos, request.md5_key,
    )  # fmt: skip


def _complete(request: Request, segment: TcpSegment) -> None:
    """The handshake's ACK: make the socket, and let it take the segment."""
    listener = request.listener
    child = _make_socket(request)
    _measure(child, request, segment)
    arrival.receive(child, segment)
    if child.state == SYN_RECEIVED or (child.state == CLOSED and child.error == 0):
        child.orphan = True
        child.done()  # the segment was not acceptable after all
        return
    listener.accept_queue.append(child)
    request.tables.ip.counters.tcp_passive_opens += 1
    listener.tcb.wake(POLLIN)


def _make_socket(request: Request) -> Tcb:
    """The socket for a handshake, in SYN-RECEIVED; it takes the request's place in the table."""
    syn = request.syn
    listening = request.listener.tcb
    tcb = listening.spawn()
    tcb.family = syn.family
    six = tcb.ipv6
    if six is not None and six.scope == 0 and needs_scope(syn.src) and isinstance(syn.target, Device):
        six.scope = ip_output.index_of(tcb.ip, syn.target)
    tcb.local_addr = request.local_addr
    tcb.local_port = request.local_port
    tcb.remote_addr = request.remote_addr
    tcb.remote_port = request.remote_port
    request.drop()
    tcb.state = SYN_RECEIVED
    tcb.hash()
    tcb.bound = tcb.tables.bind(
        tcb.local_addr, tcb.local_port, covers_of(syn.family), tcb.reuse_addr, tcb.reuse_port, False
    )
    tcb.iss = request.iss
    tcb.snd_una = request.iss + 1
    tcb.acked_from = request.iss + 1
    tcb.segs_in = 1
    tcb.delivered = 1
    tcb.snd_nxt = request.iss + 1
    tcb.write_seq = request.iss + 1
    tcb.push_seq = request.iss + 1
    tcb.snd_up = request.iss
    tcb.snd_wl1 = syn.seq
    tcb.irs = syn.seq
    tcb.rcv_nxt = syn.seq + 1
    tcb.rcv_wup = syn.seq + 1
    tcb.rcv_wnd = request.rcv_wnd
    tcb.rcv_wscale = request.rcv_wscale
    tcb.advmss = request.path_mss
    tcb.path_mss = request.path_mss
    tcb.timestamps = request.timestamps
    tcb.scaled = request.scaled
    tcb.sack_ok = request.sack_ok
    tcb.ecn_ok = request.ecn_ok
    tcb.ecn_high = request.iss + 1
    tcb.ts_offset = request.ts_offset
    tcb.md5_key = request.md5_key
    if listening.save_syn and not request.by_cookie:
        whole = inet.encode(syn)
        tcb.saved_syn = whole[: len(whole) - len(syn.payload)]
    arrival.take_options(tcb, syn)
    tcb.ts_recent = request.ts_recent
    tcb.total_retrans = request.retransmits
    return tcb


def _measure(tcb: Tcb, request: Request, segment: TcpSegment) -> None:
    # RFC 6298 (2.2), by Karn's rule only if the SYN-ACK went out once; of a cookie's nobody knows when.
    if request.retransmits == 0 and not request.by_cookie:
        took: i64 = tcb.scheduler.now_ns - request.sent_ns
        rtt.sample(tcb, took)
        rate.update_min_rtt(tcb, took, False)
    elif tcb.timestamps and segment.has_timestamps:
        rtt.sample_by_timestamp(tcb, segment.ts_ecr)
