"""UDP, RFC 768: ports, a queue of datagrams for each socket, and the errors that ICMP brings to connected ones.

Read lunar/net/sock.py first. Calls return a count or a negative errno and never block. Multicast and segmentation
offload are not here.
"""

from __future__ import annotations

import errno
from typing import Any, Final, final

from mypy_extensions import i64

from lunar.net import icmp, multicast, path_mtu
from lunar.net.datagram_sock import DatagramSock
from lunar.net.device import Device
from lunar.net.error_queue import of_local
from lunar.net.group_output import send_to_group
from lunar.net.ip import Handler, Ip
from lunar.net.ip_output import apply, route_by, route_for, send, source_for
from lunar.net.route import Route
from lunar.net.sock import POLLERR, POLLIN, POLLOUT, covers_of
from lunar.packet import AF_INET, AF_INET6, UDP, UDP_HEADER_BYTES, IcmpMessage, Packet, UdpDatagram
from lunar.wire.address import family_of

SOCK_DGRAM: Final = 2
MAX_PAYLOAD: Final = 65507  # 65535 - 20 - 8
MAX_PAYLOAD6: Final = 65527  # IPv6 does not count its header

_LOOPBACK: Final = 0x7F00_0001
_LOOPBACK6: Final = 1


@final
class Udp(Handler):
    """The UDP of one host: who has which port."""

    def __init__(self, ip: Ip) -> None:
        self.ip: Ip = ip
        # port -> the sockets bound to it, in the order of their binding.
        self.ports: dict[int, list[UdpSock]] = {}

    def create(self, family: i64) -> UdpSock:
        """A new unbound socket."""
        return UdpSock(self, family)

    def receive(self, packet: Packet, device: Device) -> None:
        counters = self.ip.family(packet.family).counters
        if not isinstance(packet, UdpDatagram):
            counters.udp_in_errors += 1
            return
        socks = self.ports.get(int(packet.dport))
        broadcast = not self.ip.has_address(packet.dst)
        if socks is not None:
            if broadcast:
                taken = False
                group = self.ip.is_multicast(packet.dst)
                for sock in socks.copy():
                    if _score(sock, packet) >= 0 and (not group or sock.hears(packet, device)):
                        sock.deliver(packet)
                        taken = True
                if taken:
                    return
            else:
                best: UdpSock | None = None
                best_score: i64 = -1
                for sock in socks:
                    score = _score(sock, packet)
                    # Of several that match alike, the one that was bound last, as on Linux.
                    if score >= best_score and score >= 0:
                        best = sock
                        best_score = score
                if best is not None:
                    best.deliver(packet)
                    return
        counters.udp_no_ports += 1
        if not broadcast:
            icmp.send_error(self.ip, packet, icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, 0)

    def error(self, message: IcmpMessage, errno: i64, fatal: bool, src: int, dst: int, data: bytes) -> None:
        sport = (data[0] << 8) | data[1]
        dport = (data[2] << 8) | data[3]
        # Who would get an answer to what is quoted.
        answer = UdpDatagram(message.family, dst, src, dport, sport, b"")
        best: UdpSock | None = None
        best_score: i64 = -1
        for sock in self.ports.get(sport, []):
            score = _score(sock, answer)
            if score >= best_score and score >= 0:
                best = sock
                best_score = score
        if best is None:
            return
        if best.reports(message.family):
            best.report(icmp.report_of(message, errno, dst, dport, data[UDP_HEADER_BYTES:]))
        elif not fatal or best.remote_port == 0:
            # RFC 1122 (4.1.3.3): errors are told to connected sockets; an unconnected one would not know whose it is.
            return
        best.error = errno
        best.wake(POLLERR | POLLIN | POLLOUT)

    def free_port(self) -> i64:
        """An unused port of the ephemeral range, or -1. The start is random, the search goes upwards."""
        first: i64 = self.ip.local_port_first
        span: i64 = self.ip.local_port_last - first + 1
        start: i64 = self.ip.rng.randrange(int(span))
        tried: i64 = 0
        while tried < span:
            port: i64 = first + (start + tried) % span
            if int(port) not in self.ports:
                return port
            tried += 1
        return -1


def _loopback(family: i64) -> int:
    return _LOOPBACK if family == AF_INET else _LOOPBACK6


def _score(sock: UdpSock, packet: UdpDatagram) -> i64:
    """How exactly `sock` matches the packet's addresses; -1 for not at all. Linux prefers the most exact."""
    if not sock.covers & covers_of(packet.family):
        return -1
    score: i64 = 0
    if sock.local_addr:
        if sock.local_addr != packet.dst:
            return -1
        score += 2
    if sock.remote_port:
        if sock.remote_addr != packet.src or sock.remote_port != packet.sport:
            return -1
        score += 4
    return score


@final
class UdpSock(DatagramSock):
    """A UDP socket."""

    def __init__(self, udp: Udp, family: i64) -> None:
        super().__init__(family, SOCK_DGRAM, UDP)
        self.ttl = udp.ip.inet.hop_limit
        self.udp: Udp = udp
        self.route: Route | None = None
        self.addr_locked: bool = False  # bound by the program to this address, to this port
        self.port_locked: bool = False
        # MSG_MORE, UDP_CORK: what waits to be sent as one datagram, to whom the first part was meant for.
        self.cork: bool = False
        self.corked: bytes | None = None
        self.corked_addr: int = 0
        self.corked_port: i64 = 0

    def bind(self, addr: int, port: i64) -> i64:
        """Take `port` (0: any) at `addr` (0: all). EADDRINUSE, EADDRNOTAVAIL, EINVAL."""
        ip = self.udp.ip
        if addr and not ip.has_address(addr) and not ip.is_broadcast(addr) and not self.freebind:
            if not ip.is_multicast(addr):
                return -errno.EADDRNOTAVAIL
        if self.local_port:
            return -errno.EINVAL
        asked: i64 = port
        if port == 0:
            port = self.udp.free_port()
            if port < 0:
                return -errno.EADDRINUSE
        for other in self.udp.ports.get(int(port), []):
            if (addr and other.local_addr and other.local_addr != addr) or not self.covers & other.covers:
                continue
            if (self.reuse_addr and other.reuse_addr) or (self.reuse_port and other.reuse_port):
                continue
            return -errno.EADDRINUSE
        self.local_addr = addr
        self.local_port = port
        self.addr_locked = addr != 0
        self.port_locked = asked != 0
        self.udp.ports.setdefault(int(port), []).append(self)
        return 0

    def _autobind(self) -> i64:
        return self.bind(0, 0) if self.local_port == 0 else 0

    def connect(self, addr: int, port: i64) -> i64:
        """Fix the peer; later sends need no address and only its datagrams are received."""
        if addr == 0:
            addr = _loopback(self.family)
        route = self._route(self.family, addr)
        if route is None:
            return -errno.ENETUNREACH
        if self.udp.ip.is_broadcast(addr) and not self.broadcast:
            return -errno.EACCES
        bound = self._autobind()
        if bound < 0:
            return bound
        if self.local_addr == 0:
            self.local_addr = source_for(self.udp.ip, addr, route)
            if self.local_addr == 0:
                return -errno.EADDRNOTAVAIL
        self.remote_addr = addr
        self.remote_port = port
        return 0

    def disconnect(self) -> i64:
        """Forget the peer (connect to AF_UNSPEC), and what `bind` was not asked for: the address, the port."""
        self.remote_addr = 0
        self.remote_port = 0
        if not self.addr_locked:
            self.local_addr = 0
        if not self.port_locked:
            self._give_port_back()
        return 0

    def _give_port_back(self) -> None:
        socks = self.udp.ports.get(int(self.local_port))
        if socks is not None and self in socks:
            socks.remove(self)
            if not socks:
                del self.udp.ports[int(self.local_port)]
        self.local_port = 0

    def send(self, data: bytes, addr: int, port: i64, more: bool) -> i64:
        """Send one datagram to `addr`, `port`, or with port 0 to the connected peer. The length, or -errno.

        With `more` (MSG_MORE) it waits for the rest of the datagram, up to the first send without, which goes where
        the first part was to go.

        EDESTADDRREQ, EMSGSIZE, EACCES (a broadcast without SO_BROADCAST), EPIPE, ENETUNREACH, a pending error.
        """
        size: i64 = len(data)
        if size > 0xFFFF:
            return -errno.EMSGSIZE
        bound = self._autobind()  # before the checks, as on Linux: a send that fails takes a port too
        if bound < 0:
            return bound
        if port == 0:
            if self.remote_port == 0 and self.corked is None:
                return -errno.EDESTADDRREQ
            addr = self.remote_addr
            port = self.remote_port
        more = more or self.cork
        if more or self.corked is not None:
            return self._send_part(data, addr, port, more)
        return self._send_whole(data, addr, port)

    def _denial(self, addr: int) -> i64:
        """What forbids to send to `addr`: 0, -ENETUNREACH, or -EACCES, a broadcast without SO_BROADCAST."""
        ip = self.udp.ip
        if ip.is_broadcast(addr) and not self.broadcast:
            return -errno.EACCES
        family: i64 = self._family_for(addr)
        return -errno.ENETUNREACH if self._route(family, addr or _loopback(family)) is None else 0

    def _family_for(self, addr: int) -> i64:
        """The family of a datagram to `addr`."""
        if self.domain == AF_INET:
            return AF_INET
        return self.family if addr == 0 else family_of(addr)

    def _route(self, family: i64, addr: int) -> Route | None:
        """The route to `addr`, to a group by the device that the socket has for it; none of a family that the socket
        is not bound to.
        """
        if not self.covers & covers_of(family):
            return None
        ip = self.udp.ip
        header = self.header
        device = None if header is None else header.device
        if not ip.is_multicast(addr):
            if family == AF_INET6 and device is not None:
                return route_by(ip, device, family, addr)
            return route_for(ip, family, addr, self)
        own = self.multicast if family == AF_INET else self.multicast6
        return multicast.route_to(ip, own, addr, family, device, self.local_addr)

    def hears(self, packet: UdpDatagram, device: Device) -> bool:
        """Whether the socket wants what came to a group by `device`."""
        own = self.multicast if packet.family == AF_INET else self.multicast6
        return own is None or own.hears(packet.dst, packet.src, device)

    def _refusal(self) -> i64:
        """What forbids to send, once it is known where to: a pending error, or the end of writing. 0, or -errno."""
        if self.error:
            return -self.take_error()
        return -errno.EPIPE if self.write_shut else 0

    def _send_part(self, data: bytes, addr: int, port: i64, more: bool) -> i64:
        before = self.corked
        size: i64 = len(data)
        if before is None:
            before = b""
            denied: i64 = self._denial(addr)
            if denied < 0:
                return denied
            self.corked_addr = addr
            self.corked_port = port
        if len(before) + size > MAX_PAYLOAD:
            return -errno.EMSGSIZE
        if more:
            refusal: i64 = self._refusal()
            if refusal < 0:
                return refusal
            self.corked = before + data
            return size
        self.corked = None
        result: i64 = self._send_whole(before + data, self.corked_addr, self.corked_port)
        return size if result >= 0 else result

    def set_cork(self, on: bool) -> i64:
        """UDP_CORK; switching it off sends what it held."""
        self.cork = on
        waiting = self.corked
        if not on and waiting is not None:
            self.corked = None
            result: i64 = self._send_whole(waiting, self.corked_addr, self.corked_port)
            return min(result, 0)
        return 0

    def _send_whole(self, data: bytes, addr: int, port: i64) -> i64:
        size: i64 = len(data)
        family: i64 = self._family_for(addr)
        if addr == 0:
            addr = _loopback(family)
        ip = self.udp.ip
        denied: i64 = self._denial(addr)
        route = self._route(family, addr)
        if denied < 0 or route is None:
            return denied
        if size > (MAX_PAYLOAD if family == AF_INET else MAX_PAYLOAD6):
            return self._too_big(route.device.mtu, addr, port)
        refusal: i64 = self._refusal()
        if refusal < 0:
            return refusal
        six = self.ipv6
        src = self.local_addr
        if family == AF_INET6 and six is not None and six.source:
            src = six.source
        if src == 0 or ip.is_broadcast(src) or ip.is_multicast(src):
            src = source_for(ip, addr, route)
            if src == 0 and family == AF_INET6:
                return -errno.EADDRNOTAVAIL
        packet = UdpDatagram(family, src, addr, self.local_port, port, data)
        packet.size_bytes = (28 if family == AF_INET else 48) + size
        if six is None or family == AF_INET:
            packet.ttl = self.ttl
            packet.tos = self.tos
        else:
            six.dress(ip, packet)
            packet.flow_label = six.label(ip, src, self.local_port, addr, port, UDP)
        header = self.header
        if header is not None:
            if header.device is not None and header.device is not route.device:
                return -errno.ENETUNREACH
            apply(header, packet)
        if family == AF_INET:
            packet.dont_fragment = path_mtu.stays_whole(ip, route, addr, self.mtu_discover, packet.size_bytes)
        elif six is not None:
            packet.dont_fragment = six.dont_fragment
        result: i64 = self._send_packet(packet, route)
        if result == errno.EHOSTUNREACH:
            # Linux learns it from ARP, later; the datagram is lost without a word to the sender.
            return size
        if result == errno.EMSGSIZE:
            return self._too_big(route.device.mtu, addr, port)
        if result != 0:
            return -result
        ip.family(family).counters.udp_out_datagrams += 1
        if self.stamping is not None:
            self.stamp_sent(self.stamping, packet)
        return size

    def _send_packet(self, packet: UdpDatagram, route: Route) -> i64:
        ip = self.udp.ip
        if not ip.is_multicast(packet.dst):
            return send(ip, packet, route)
        own = self.multicast if packet.family == AF_INET else self.multicast6
        header = self.header
        if header is None or header.ttl < 0:
            packet.ttl = 1 if own is None else own.ttl
        return send_to_group(ip, packet, route, own is None or own.loops)

    def _too_big(self, mtu: i64, addr: int, port: i64) -> i64:
        """Refuse to send a datagram: -EMSGSIZE, and with IP_RECVERR the MTU is told."""
        if self.reports(self._family_for(addr)):
            self.report(of_local(errno.EMSGSIZE, min(mtu, 0xFFFF), addr, port))
        return -errno.EMSGSIZE

    def recv(self, peek: bool) -> UdpDatagram | None:
        """The next datagram; None with `recv_errno` when there is none or an error is pending."""
        packet = self.take_next(peek)
        if packet is None:
            return None
        assert isinstance(packet, UdpDatagram), "a UDP socket keeps datagrams"
        return packet

    def data_bytes(self, queued: Any) -> i64:
        assert isinstance(queued, UdpDatagram), "a UDP socket keeps datagrams"
        return len(queued.payload)

    def has_peer(self) -> bool:
        return self.remote_port != 0

    def now_ns(self) -> i64:
        return self.udp.ip.scheduler.now_ns

    def deliver(self, packet: UdpDatagram) -> None:
        """Queue a datagram that came in; dropped and counted when the receive buffer is full."""
        counters = self.udp.ip.family(packet.family).counters
        if self.enqueue(packet):
            counters.udp_in_datagrams += 1
        else:
            counters.udp_rcvbuf_errors += 1
            counters.udp_in_errors += 1

    def close(self) -> None:
        """Give the port back."""
        if self.closed:
            return
        self.closed = True
        port = self.local_port
        self._give_port_back()
        self.local_port = port
        if self.multicast is not None:
            multicast.leave_all(self.udp.ip, self.multicast)
        if self.multicast6 is not None:
            multicast.leave_all(self.udp.ip, self.multicast6)
        self.drop_queue()
