"""UDP, RFC 768: ports, a queue of datagrams for each socket, and the errors that ICMP brings to connected ones.

Read lunar/net/sock.py first. Calls return a count or a negative errno and never block. Groups are in
lunar/net/multicast.py, the route of what is sent in lunar/net/sock_route.py. What a program sends at once to be cut
into datagrams (UDP_SEGMENT) is cut here, but over lo it stays together up to a receiver that wants it so (UDP_GRO).
Left out: UDP-Lite, and encapsulation.
"""

from __future__ import annotations

import errno
from typing import Any, Final, final

from mypy_extensions import i64

from lunar.net import datagram_parts, icmp, ipv4_options, multicast, path_mtu
from lunar.net.bpf import Program, Seen
from lunar.net.datagram_sock import DatagramSock
from lunar.net.device import Device
from lunar.net.error_queue import of_local
from lunar.net.group_output import send_to_group
from lunar.net.ip import Handler, Ip
from lunar.net.ip_output import apply, send, source_for
from lunar.net.route import MULTICAST, Route
from lunar.net.sock import POLLERR, POLLIN, POLLOUT, covers_of
from lunar.net.sock_route import came_by, route_out
from lunar.packet import AF_INET, AF_INET6, UDP, UDP_HEADER_BYTES, IcmpMessage, Packet, UdpDatagram
from lunar.wire import inet, transport
from lunar.wire.address import family_of

SOCK_DGRAM: Final = 2
MAX_PAYLOAD: Final = 65507  # 65535 - 20 - 8
# As many datagrams one send may make (UDP_MAX_SEGMENTS, 64 before Linux 6.8).
MAX_SEGMENTS: Final = 128
# Of IP_MTU_DISCOVER, ip(7).
PMTUDISC_PROBE: Final = 3
PMTUDISC_INTERFACE: Final = 4
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
        self.secret: i64 = -1  # by which sockets of one port share what comes (SO_REUSEPORT); drawn when first needed

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
                    if _score(sock, packet, device) >= 0 and (not group or sock.hears(packet, device)):
                        sock.deliver(packet)
                        taken = True
                if taken:
                    return
            else:
                best: UdpSock | None = None
                best_score: i64 = -1
                shared = False
                for sock in socks:
                    score = _score(sock, packet, device)
                    # Of several that match alike, the one that was bound last, as on Linux.
                    if score >= best_score and score >= 0:
                        shared = score == best_score and sock.reuse_port
                        best = sock
                        best_score = score
                if best is not None:
                    if shared:
                        best = self._chosen(socks, best_score, packet, device)
                    best.deliver(packet)
                    return
        if broadcast:
            counters.udp_ignored_multi += 1
        else:
            counters.udp_no_ports += 1
            icmp.send_error(self.ip, packet, icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, 0)

    def error(self, message: IcmpMessage, errno: i64, fatal: bool, src: int, dst: int, data: bytes) -> None:
        sport = (data[0] << 8) | data[1]
        dport = (data[2] << 8) | data[3]
        # Who would get an answer to what is quoted.
        answer = UdpDatagram(message.family, dst, src, dport, sport, b"")
        best: UdpSock | None = None
        best_score: i64 = -1
        for sock in self.ports.get(sport, []):
            score = _score(sock, answer, None)
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

    def _chosen(self, socks: list[UdpSock], score: i64, packet: UdpDatagram, device: Device) -> UdpSock:
        """Of the sockets that share a port by SO_REUSEPORT the one that this sender's datagrams always go to."""
        alike = [sock for sock in socks if sock.reuse_port and _score(sock, packet, device) == score]
        if self.secret < 0:
            self.secret = self.ip.rng.getrandbits(32)
        return alike[datagram_parts.share(self.secret, packet, len(alike))]

    def free_port(self) -> i64:
        """An unused port of the ephemeral range, or -1. The start is random, the search goes upwards."""
        first: i64 = self.ip.local_port_first
        span: i64 = self.ip.local_port_last - first + 1
        start: i64 = self.ip.rng.randrange(int(span))
        tried: i64 = 0
        while tried < span:
            port: i64 = first + (start + tried) % span
            if int(port) not in self.ports and not self.ip.is_reserved(port):
                return port
            tried += 1
        return -1


def _loopback(family: i64) -> int:
    return _LOOPBACK if family == AF_INET else _LOOPBACK6


def _score(sock: UdpSock, packet: UdpDatagram, device: Device | None) -> i64:
    """How exactly `sock` matches the packet's addresses and the device that it came by; -1 for not at all. Linux
    prefers the most exact.
    """
    if not sock.covers & covers_of(packet.family):
        return -1
    score: i64 = 0
    if sock.local_addr:
        if sock.local_addr != packet.dst:
            return -1
        score += 2
    if sock.bound_device and device is not None:
        if sock.bound_device != came_by(sock.udp.ip, packet, device).name:
            return -1
        score += 4
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
        self.rcvbuf = udp.ip.rmem_default
        self.sndbuf = udp.ip.wmem_default
        self.udp: Udp = udp
        self.route: Route | None = None
        self.bound_to_many: bool = False  # to a broadcast address or a group, from which nothing is sent
        self.addr_locked: bool = False  # bound by the program to this address, to this port
        self.port_locked: bool = False
        # MSG_MORE, UDP_CORK: what waits to be sent as one datagram, to whom the first part was meant for.
        self.cork: bool = False
        self.corked: bytes | None = None
        self.corked_addr: int = 0
        self.corked_port: i64 = 0
        self.corked_segment: i64 = 0
        self.segment_bytes: i64 = 0  # UDP_SEGMENT
        self.takes_segments: bool = False  # UDP_GRO
        self.sends_unchecked: bool = False  # SO_NO_CHECK of IPv4, UDP_NO_CHECK6_TX of IPv6
        self.sends_unchecked6: bool = False
        self.takes_unchecked6: bool = False  # UDP_NO_CHECK6_RX
        self.port_later: bool = False  # IP_BIND_ADDRESS_NO_PORT
        self.peeked_at: i64 = 0  # where in the datagram that `recv` gave the data begin (SO_PEEK_OFF)

    def bind(self, addr: int, port: i64) -> i64:
        """Take `port` (0: any) at `addr` (0: all). EADDRINUSE, EADDRNOTAVAIL, EINVAL."""
        ip = self.udp.ip
        if addr and not ip.has_address(addr) and not ip.is_broadcast(addr) and not self.freebind:
            if not ip.is_multicast(addr) and not ip.binds_any(addr):
                return -errno.EADDRNOTAVAIL
        if self.local_port:
            return -errno.EINVAL
        asked: i64 = port
        if port == 0 and self.port_later and addr:
            self.local_addr = addr
            self.addr_locked = True
            return 0  # the port comes with the first use
        if port == 0:
            port = self.udp.free_port()
            if port < 0:
                return -errno.EADDRINUSE
        for other in self.udp.ports.get(int(port), []):
            if (addr and other.local_addr and other.local_addr != addr) or not self.covers & other.covers:
                continue
            if self.bound_device and other.bound_device and self.bound_device != other.bound_device:
                continue
            if (self.reuse_addr and other.reuse_addr) or (self.reuse_port and other.reuse_port):
                continue
            return -errno.EADDRINUSE
        self.local_addr = addr
        self.local_port = port
        self.bound_to_many = addr != 0 and not ip.has_address(addr) and (ip.is_broadcast(addr) or ip.is_multicast(addr))
        self.addr_locked = addr != 0
        self.port_locked = asked != 0
        self.udp.ports.setdefault(int(port), []).append(self)
        return 0

    def _autobind(self) -> i64:
        if self.local_port:
            return 0
        later, self.port_later = self.port_later, False
        address, locked = self.local_addr, self.addr_locked
        result: i64 = self.bind(address, 0)
        self.port_later = later
        self.addr_locked = locked
        return result

    def connect(self, addr: int, port: i64) -> i64:
        """Fix the peer; later sends need no address and only its datagrams are received."""
        if addr == 0:
            addr = _loopback(self.family)
        route = self._route(self.family, addr)
        if route is None:
            return -self.udp.ip.route_errno
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
        return self._send_whole(data, addr, port, self._segment())

    def _family_for(self, addr: int) -> i64:
        """The family of a datagram to `addr`."""
        if self.domain == AF_INET:
            return AF_INET
        return self.family if addr == 0 else family_of(addr)

    def _route(self, family: i64, addr: int) -> Route | None:
        """The route to `addr`, None with `Ip.route_errno`; none of a family that the socket is not bound to."""
        if not self.covers & covers_of(family):
            self.udp.ip.route_errno = errno.ENETUNREACH
            return None
        return route_out(self.udp.ip, self, int(family), addr)

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
            if self._way(addr) is None:
                return -self.recv_errno
            self.corked_addr = addr
            self.corked_port = port
            self.corked_segment = self._segment()
        if len(before) + size > MAX_PAYLOAD:
            return -errno.EMSGSIZE
        if more:
            refusal: i64 = self._refusal()
            if refusal < 0:
                return refusal
            self.corked = before + data
            return size
        self.corked = None
        result: i64 = self._send_whole(before + data, self.corked_addr, self.corked_port, self.corked_segment)
        return size if result >= 0 else result

    def set_cork(self, on: bool) -> i64:
        """UDP_CORK; switching it off sends what it held."""
        self.cork = on
        waiting = self.corked
        if not on and waiting is not None:
            self.corked = None
            result: i64 = self._send_whole(waiting, self.corked_addr, self.corked_port, self.corked_segment)
            return min(result, 0)
        return 0

    def _way(self, addr: int) -> Route | None:
        """The route to `addr`. None with `recv_errno`: ENETUNREACH and its kin, or EACCES, a broadcast without
        SO_BROADCAST.
        """
        ip = self.udp.ip
        if not self.broadcast and ip.is_broadcast(addr):
            self.recv_errno = errno.EACCES
            return None
        family: i64 = self._family_for(addr)
        route = self._route(family, addr or _loopback(family))
        if route is None:
            self.recv_errno = ip.route_errno
        return route

    def _segment(self) -> i64:
        """Into datagrams of how many bytes this call's data are to be cut; 0 for one."""
        header = self.header
        return self.segment_bytes if header is None or header.segment_bytes < 0 else header.segment_bytes

    def _send_whole(self, data: bytes, addr: int, port: i64, segment: i64) -> i64:
        route = self._way(addr)
        if route is None:
            return -self.recv_errno
        size: i64 = len(data)
        family: i64 = self._family_for(addr)
        if addr == 0:
            addr = _loopback(family)
        if size > (MAX_PAYLOAD - len(self.ip_options) if family == AF_INET else MAX_PAYLOAD6):
            return self._too_big(route.device.mtu, addr)
        refusal: i64 = self._refusal()
        if refusal < 0:
            return refusal
        ip = self.udp.ip
        if segment == 0:
            packet = self._packet(data, family, addr, port, route)
            if packet is None:
                return -self.recv_errno
            result: i64 = self._hand_down(packet, route)
            return size if result == 0 else result
        headers: i64 = (28 if family == AF_INET else 48) + len(self.ip_options)
        if segment + headers > route.device.mtu:
            return -errno.EMSGSIZE
        if (size + segment - 1) // segment > MAX_SEGMENTS:
            return -errno.EINVAL
        if size > segment and route.device is ip.loopback_device():
            whole = self._packet(data, family, addr, port, route)
            if whole is None:
                return -self.recv_errno
            whole.segment_bytes = segment
            return self._sent_whole(whole, route, size)
        at: i64 = 0
        while True:
            piece = self._packet(data[int(at) : int(at + segment)], family, addr, port, route)
            if piece is None:
                return -self.recv_errno
            failed: i64 = self._hand_down(piece, route)
            if failed < 0:
                return failed
            at += segment
            if at >= size:
                return size

    def _sent_whole(self, packet: UdpDatagram, route: Route, size: i64) -> i64:
        result: i64 = self._hand_down(packet, route)
        return size if result == 0 else result

    def _packet(self, data: bytes, family: i64, addr: int, port: i64, route: Route) -> UdpDatagram | None:
        """A datagram with the header that the socket and the call want. None with `recv_errno`."""
        ip = self.udp.ip
        six = self.ipv6
        src = self.local_addr
        if family == AF_INET6 and six is not None and six.source:
            src = six.source
        if src == 0 or self.bound_to_many:
            src = source_for(ip, addr, route)
            if src == 0 and family == AF_INET6:
                self.recv_errno = errno.EADDRNOTAVAIL
                return None
        packet = UdpDatagram(family, src, addr, self.local_port, port, data)
        if six is None or family == AF_INET:
            packet.size_bytes = 28 + len(data)
            packet.ttl = self.ttl
            packet.tos = self.tos
            if self.ip_options:
                packet.options = ipv4_options.begin(ip, self.ip_options, src)
                packet.size_bytes += len(packet.options)
            if self.sends_unchecked:
                packet.unchecked = True
            packet.dont_fragment = path_mtu.stays_whole(ip, route, addr, self.mtu_discover, packet.size_bytes)
        else:
            packet.size_bytes = 48 + len(data)
            six.dress(ip, packet)
            packet.flow_label = six.label(ip, src, self.local_port, addr, port, UDP)
            if self.sends_unchecked6:
                packet.unchecked = True
        if self.mark:
            packet.mark = self.mark
        if route.type == MULTICAST:
            own = self.multicast if family == AF_INET else self.multicast6
            packet.ttl = 1 if own is None else own.ttl
        header = self.header
        if header is not None:
            apply(header, packet)
        return packet

    def _hand_down(self, packet: UdpDatagram, route: Route) -> i64:
        """Send a datagram: 0, or -errno."""
        ip = self.udp.ip
        result: i64
        if packet.size_bytes > route.device.mtu and self.mtu_discover == PMTUDISC_INTERFACE:
            result = errno.EMSGSIZE
        elif route.type == MULTICAST:
            own = self.multicast if packet.family == AF_INET else self.multicast6
            result = send_to_group(ip, packet, route, own is None or own.loops)
        else:
            result = send(ip, packet, route, self._limit(packet, route))
        if result == errno.EHOSTUNREACH:
            return 0  # Linux learns it from ARP, later; the datagram is lost without a word to the sender
        if result == errno.EMSGSIZE:
            limit: i64 = self._limit(packet, route)
            return self._too_big(limit if limit > 0 else path_mtu.mtu(ip, route, packet.dst), packet.dst)
        if result != 0:
            return -result
        ip.family(packet.family).counters.udp_out_datagrams += 1
        if self.stamping is not None:
            self.stamp_sent(self.stamping, packet)
        return 0

    def _limit(self, packet: UdpDatagram, route: Route) -> i64:
        """The size from which on the packet is cut or refused, where the socket does not believe the path's MTU
        (IP_PMTUDISC_PROBE and those behind it), or has one of its own (IPV6_MTU); else 0.
        """
        six = self.ipv6
        discover: i64 = self.mtu_discover if six is None or packet.family == AF_INET else six.mtu_discover
        limit: i64 = route.device.mtu if discover >= PMTUDISC_PROBE else 0
        if six is not None and six.largest > 0 and packet.family == AF_INET6:
            return six.limited(limit if limit > 0 else path_mtu.mtu(self.udp.ip, route, packet.dst))
        return limit

    def _too_big(self, mtu: i64, addr: int) -> i64:
        """Refuse to send a datagram: -EMSGSIZE, and with IP_RECVERR the MTU is told."""
        if self.reports(self._family_for(addr)):
            self.report(of_local(errno.EMSGSIZE, min(mtu, 0xFFFF), addr, self.remote_port))
        return -errno.EMSGSIZE

    def recv(self, peek: bool) -> UdpDatagram | None:
        """The next datagram; None with `recv_errno` when there is none or an error is pending. Its data begin at
        `peeked_at`.
        """
        if self.peek_offset >= 0:
            return self._recv_from_offset(peek)
        packet = self.take_next(peek)
        if packet is None:
            return None
        assert isinstance(packet, UdpDatagram), "a UDP socket keeps datagrams"
        return packet

    def _recv_from_offset(self, peek: bool) -> UdpDatagram | None:
        """SO_PEEK_OFF, socket(7): what is peeked at are the bytes of all datagrams from that offset on."""
        self.peeked_at = 0
        if peek and not self.error:
            offset: i64 = self.peek_offset
            for queued in self.queue:
                assert isinstance(queued, UdpDatagram), "a UDP socket keeps datagrams"
                size: i64 = len(queued.payload)
                if offset < size or (size == 0 and offset == 0 and not queued.peeked):
                    self.peeked_at = offset
                    queued.peeked = True
                    return queued
                offset -= size
            self.recv_errno = errno.EAGAIN
            return None
        packet = self.take_next(peek)
        if packet is None:
            return None
        assert isinstance(packet, UdpDatagram), "a UDP socket keeps datagrams"
        self.peek_offset = max(0, self.peek_offset - len(packet.payload))
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
        if packet.segment_bytes > 0 and not self.takes_segments:
            for piece in datagram_parts.pieces(packet):
                self.deliver(piece)
            return
        counters = self.udp.ip.family(packet.family).counters
        if packet.unchecked and packet.family == AF_INET6 and not self.takes_unchecked6:
            counters.udp_in_csum_errors += 1
            counters.udp_in_errors += 1
            return
        if self.filter is not None:
            passed = self._filtered(self.filter, packet)
            if passed is None:
                return
            packet = passed
        if self.enqueue(packet):
            counters.udp_in_datagrams += 1
        else:
            counters.udp_rcvbuf_errors += 1
            counters.udp_in_errors += 1

    def _filtered(self, program: Program, packet: UdpDatagram) -> UdpDatagram | None:
        """What SO_ATTACH_FILTER leaves of the datagram, None if nothing. The program sees it from UDP's header on.

        What goes to a group is other sockets' too: a shorter one is another object.
        """
        whole = inet.encode(packet)
        body = transport.encode(packet)
        seen = Seen(body)
        seen.whole = whole
        seen.ethertype = packet.ethertype
        seen.mark = packet.mark
        kept: i64 = program.run(seen)
        if kept == 0:
            return None
        if kept < len(body):
            return datagram_parts.with_data(packet, packet.payload[: int(max(kept - UDP_HEADER_BYTES, 0))])
        return packet

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
