"""The TCP of one host: to whom a segment belongs.

An established connection is looked up first, by both addresses and ports; then who listens; a segment for nobody is
answered with a RST (RFC 9293 section 3.10.7.1). Segments come in runs, so the socket of the last one is tried before
the table.
"""

from __future__ import annotations

import errno
from typing import Any, final

from mypy_extensions import i64

from lunar.net import icmp, ip_output, path_mtu
from lunar.net.device import Device
from lunar.net.ip import Handler, Ip
from lunar.net.sock import POLLERR, POLLIN, POLLOUT
from lunar.net.sock_route import came_by
from lunar.packet import AF_INET6, IcmpMessage, Packet, TcpSegment
from lunar.tcp import input as arrival
from lunar.tcp import time_wait
from lunar.tcp.congestion import registry
from lunar.tcp.loss import recovery
from lunar.tcp.opening import fast_open, listen, md5
from lunar.tcp.opening.request import Request
from lunar.tcp.sender import segment_size, segments
from lunar.tcp.seq import unwrap
from lunar.tcp.sock import TcpSock
from lunar.tcp.tables import Tables
from lunar.tcp.tcb import CLOSED, SYN_RECEIVED, SYN_SENT, Tcb


@final
class Tcp(Handler):
    """A host's TCP. `congestion` is the class that new sockets get their congestion control from."""

    def __init__(self, ip: Ip) -> None:
        self.ip: Ip = ip
        self.tables: Tables = Tables(ip)
        self.tables.congestion = registry.find("cubic")
        self._last: TcpSock | None = None

    @property
    def congestion(self) -> Any:
        return self.tables.congestion

    @congestion.setter
    def congestion(self, algorithm: Any) -> None:
        self.tables.congestion = algorithm

    def create(self, family: i64) -> TcpSock:
        """A new socket, closed and unbound."""
        return TcpSock(self.tables, family, self.tables.congestion())

    def receive(self, packet: Packet, device: Device) -> None:
        counters = self.ip.counters
        counters.tcp_in_segs += 1
        if not isinstance(packet, TcpSegment):
            counters.tcp_in_errs += 1
            return
        if (packet.md5 is not None or self.tables.md5_used) and not self._is_signed_well(packet):
            return
        last = self._last
        if (
            last is not None
            and last.remote_port == packet.sport
            and last.local_port == packet.dport
            and last.remote_addr == packet.src
            and last.local_addr == packet.dst
            and last.hashed
        ):
            arrival.receive(last, packet)
            return
        row = self.tables.connections.get((packet.dst << 16) | int(packet.dport))
        if row is not None:
            end = row.get((packet.src << 16) | int(packet.sport))
            if end is not None:
                self._for_connection(end, packet)
                return
        self._for_listener(packet, -1)

    def _is_signed_well(self, segment: TcpSegment) -> bool:
        """RFC 2385, as its sender's key for this connection, or for who listens, asks."""
        end = self.tables.find(segment.dst, segment.dport, segment.src, segment.sport)
        key = b""
        if isinstance(end, (TcpSock, Request, time_wait.TimeWait)):
            key = end.md5_key
        else:
            sock = self._listener(segment)
            if sock is not None:
                key = md5.find(sock.md5_keys, segment.src)
        return md5.accepts(self.ip.counters, key, segment)

    def _for_connection(self, end: object, segment: TcpSegment) -> None:
        if isinstance(end, TcpSock):
            self._last = end
            arrival.receive(end, segment)
        elif isinstance(end, Request):
            listen.receive(end, segment)
        elif isinstance(end, time_wait.TimeWait):
            if time_wait.receive(end, segment) == time_wait.REOPENS:
                if self._listener(segment) is None:
                    return
                iss: i64 = end.reopen_iss()
                self.ip.counters.tcp_tw_recycled += 1
                end.end()
                self._for_listener(segment, iss)

    def _listener(self, segment: TcpSegment) -> TcpSock | None:
        peer: i64 = segment.src & 0xFFFF_FFFF
        target = segment.target
        device = came_by(self.ip, segment, target).name if isinstance(target, Device) else ""
        found = self.tables.find_listener(
            segment.family, segment.dst, segment.dport, (peer * 31 + segment.sport) & 0xFFFF_FFFF, device
        )
        return found if isinstance(found, TcpSock) else None

    def _for_listener(self, segment: TcpSegment, iss: i64) -> None:
        sock = self._listener(segment)
        if sock is None or sock.listener is None:
            segments.send_reset_for(self.ip, segment)
            return
        listen.receive_syn(sock.listener, segment, iss)

    def error(self, message: IcmpMessage, errno: i64, fatal: bool, src: int, dst: int, data: bytes) -> None:
        """What ICMP says of a segment of ours. As Linux: the end of a connection attempt, else a hint for later."""
        sport: i64 = (data[0] << 8) | data[1]
        dport: i64 = (data[2] << 8) | data[3]
        seq: i64 = (data[4] << 24) | (data[5] << 16) | (data[6] << 8) | data[7]
        end = self.tables.find(src, sport, dst, dport)
        counters = self.ip.counters
        if isinstance(end, Request):
            if seq != end.iss:
                counters.tcp_out_of_window_icmps += 1
            elif (fatal and not is_too_big(errno)) if message.family == AF_INET6 else is_unreachable(errno):
                # As Linux: over IPv4 what is not reached, over IPv6 what ends an attempt to connect.
                counters.tcp_listen_drops += 1
                end.drop()
            return
        if not isinstance(end, TcpSock):
            return
        # RFC 5927 (4.1): believe only what quotes something in flight, which our SYN-ACK may be too.
        number: i64 = unwrap(seq, end.snd_una)
        if number < (end.iss if end.syn_ack_pending else end.snd_una) or number > end.snd_nxt:
            counters.tcp_out_of_window_icmps += 1
            return
        handshake = end.state in (SYN_SENT, SYN_RECEIVED)
        fast = end.fast_open
        if end.syn_ack_pending and fast is not None and fast.accepted:
            handshake = False  # the program has it already
        if is_too_big(errno):
            if self.ip.no_pmtu_disc != 2:
                _path_mtu(end, icmp.mtu_of(message))
        elif handshake:
            if end.reports(end.family):
                end.report(icmp.report_of(message, errno, dst, dport, data))
            end.fail(errno)
            end.flush_wake()
        elif end.reports(end.family):
            # tcp(7): with IP_RECVERR every error is told at once, and ends the connection no more than without.
            end.error = errno
            end.wake(POLLERR | POLLIN | POLLOUT)
        else:
            end.soft_error = errno


def is_unreachable(number: i64) -> bool:
    return number in (errno.ENETUNREACH, errno.EHOSTUNREACH)


def is_too_big(number: i64) -> bool:
    return number == errno.EMSGSIZE


def _path_mtu(tcb: Tcb, mtu: i64) -> None:
    """RFC 1191: a router cannot pass segments of this size. Send smaller ones, at once those that were lost by it."""
    ip = tcb.ip
    route = ip_output.route_for(ip, tcb.family, tcb.remote_addr, tcb)
    if route is None or tcb.state == CLOSED:
        return
    path_mtu.note(ip, route, tcb.remote_addr, mtu)
    # With IP_PMTUDISC_DONT, INTERFACE and OMIT a program has said that it does not want this.
    discover: i64 = tcb.discovers_mtu()
    if discover == 0 or discover > 3:
        return
    before: i64 = tcb.path_mss
    now: i64 = path_mtu.mtu(ip, route, tcb.remote_addr)
    if segment_size.of_mtu(now, tcb.family) >= before:
        return
    if mtu < now:
        tcb.soft_error = errno.EMSGSIZE
    segment_size.sync(tcb, route)
    if tcb.state == SYN_SENT:
        fast_open.too_big(tcb)
        return
    recovery.resend_larger(tcb)
