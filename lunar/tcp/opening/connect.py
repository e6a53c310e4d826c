"""The active open: what connect(2) does, and the SYN that it sends.

RFC 9293 section 3.10.1. The calls of sock.py come here; fast open (fast_open.py) sends another SYN, or a later one.
What comes back is in input.py, and when nothing does in timeouts.py.
"""

from __future__ import annotations

import errno
from typing import Final

from mypy_extensions import i64

from lunar.net import ip_output, path_mtu
from lunar.net.route import Route
from lunar.net.sock import covers_of
from lunar.packet import AF_INET, SYN
from lunar.tcp import ecn, time_wait, timers
from lunar.tcp.opening import fast_open, md5
from lunar.tcp.receiver import window
from lunar.tcp.sender import segment_size, segments
from lunar.tcp.tcb import (
    CLOSED,
    CONNECTED,
    CONNECTING,
    LISTEN,
    SYN_RECEIVED,
    SYN_SENT,
    Sent,
    Tcb,
)

_LOOPBACK: Final = 0x7F00_0001


def connect(tcb: Tcb, addr: int, port: i64) -> i64:
    """RFC 9293 section 3.10.1, the active OPEN. The first call returns -EINPROGRESS or the reason why not.

    With TCP_FASTOPEN_CONNECT, and a cookie of the peer's, it returns 0, and the first `send` opens.

    As on Linux, the call after the handshake returns 0 once and then -EISCONN; EALREADY while it lasts; after it
    failed, the pending error (ECONNABORTED when that was taken), and then the socket can be used again.
    """
    if tcb.progress == CONNECTED or tcb.state == LISTEN:
        return -errno.EISCONN
    if tcb.progress == CONNECTING:
        if tcb.state == CLOSED:
            error = tcb.take_error()
            tcb.renew()
            return -error if error else -errno.ECONNABORTED
        if tcb.deferred:
            return -errno.EISCONN
        if tcb.state in (SYN_SENT, SYN_RECEIVED):
            return -errno.EALREADY
        tcb.progress = CONNECTED
        return 0
    failed: i64 = begin(tcb, addr, port)
    if failed:
        return failed
    if tcb.fastopen_connect and fast_open.has_cookie(tcb):
        tcb.deferred = True
        return 0
    send_first_syn(tcb, b"", tcb.fastopen_connect)
    return -errno.EINPROGRESS


def begin(tcb: Tcb, addr: int, port: i64) -> i64:
    """Find the way and the port, and enter SYN-SENT without a SYN. 0 or the reason why not."""
    ip = tcb.ip
    tables = tcb.tables
    if addr == 0:
        addr = _LOOPBACK if tcb.family == AF_INET else 1
    if ip.is_broadcast(addr) or (tcb.family == AF_INET and addr >= 0xE000_0000) or ip.is_multicast(addr):
        return -errno.ENETUNREACH
    route = ip_output.route_for(ip, tcb.family, addr, tcb)
    if route is None:
        return -errno.ENETUNREACH
    local = tcb.local_addr
    if local == 0:
        local = ip_output.source_for(ip, addr, route)
        if local == 0:
            return -errno.EADDRNOTAVAIL
    if tcb.bound is None:
        chosen: i64 = tables.port_for(local, addr, port)
        if chosen < 0:
            return -errno.EADDRNOTAVAIL
        tcb.bound = tables.bind(local, chosen, covers_of(tcb.family), tcb.reuse_addr, tcb.reuse_port, True)
        tcb.local_port = chosen
    elif not tables.is_free(local, tcb.local_port, addr, port):
        return -errno.EADDRNOTAVAIL
    tcb.local_addr = local
    tcb.remote_addr = addr
    tcb.remote_port = port
    tcb.route = route
    tcb.error = 0
    tcb.progress = CONNECTING
    iss: i64 = -1
    before = tables.find(local, tcb.local_port, addr, port)
    if isinstance(before, time_wait.TimeWait):
        iss = before.reopen_iss()
        ip.counters.tcp_tw_recycled += 1
        before.end()
    _choose_numbers(tcb, route, iss)
    tcb.hash()
    tcb.set_state(SYN_SENT)
    return 0


def _choose_numbers(tcb: Tcb, route: Route, iss: i64) -> None:
    """What our SYN will say. `iss` -1: choose one."""
    tables = tcb.tables
    now: i64 = tcb.scheduler.now_ns
    if iss < 0:
        iss = tables.initial_sequence(tcb.local_addr, tcb.local_port, tcb.remote_addr, tcb.remote_port)
    tcb.iss = iss
    tcb.snd_una = iss
    tcb.acked_from = iss
    tcb.snd_nxt = iss + 1
    tcb.write_seq = iss + 1
    tcb.push_seq = iss + 1
    tcb.snd_up = iss
    segment_size.sync(tcb, route)
    tcb.advmss = path_mtu.advertised_mss(tcb.ip, route, tcb.remote_addr)
    if tcb.user_mss > 0:
        tcb.advmss = min(tcb.advmss, tcb.user_mss)
    sysctls = tables.sysctls
    tcb.timestamps = sysctls.tcp_timestamps != 0
    ecn.offer(tcb)
    tcb.sack_ok = sysctls.tcp_sack != 0
    tcb.scaled = sysctls.tcp_window_scaling != 0
    tcb.ts_offset = tables.timestamp_offset(tcb.local_addr, tcb.remote_addr)
    tcb.ts_recent = 0
    tcb.md5_key = md5.find(tcb.md5_keys, tcb.remote_addr)
    if tcb.md5_key and tcb.timestamps and tcb.sack_ok:
        tcb.timestamps = False  # as of a SYN-ACK: there is no room for all three
    tcb.rcv_wscale = window.scale(tcb) if tcb.scaled else 0
    tcb.rcv_wnd = window.initial(tcb, tcb.advmss, tcb.rcv_wscale)
    tcb.last_ack_ns = now
    tcb.last_received_ns = now


def send_first_syn(tcb: Tcb, data: bytes, fast: bool) -> i64:
    """Send the SYN; with `fast` it opens fast, and takes as much of `data` as is returned."""
    now: i64 = tcb.scheduler.now_ns
    iss: i64 = tcb.iss
    tcb.deferred = False
    tcb.retransmit_began_ns = now
    tcb.ip.counters.tcp_active_opens += 1
    # RFC 9293 (3.4): the SYN occupies one sequence number, and is retransmitted like data.
    tcb.sent.append(Sent(iss, iss + 1, b"", SYN, now))
    tcb.packets_out = 1
    took: i64 = 0
    if fast:
        took = fast_open.first_syn(tcb, data)
    else:
        segments.send_syn(tcb)
    tcb.retransmit_timer.arm(timers.RETRANSMIT, now + tcb.rto_ns)
    return took
