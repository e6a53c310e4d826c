"""The raw and ping sockets of a host, and what they have in common: an address, a peer, packets that wait.

`RawTable` is what lunar/net/ip_input.py asks before a packet goes to its protocol; a host has one while a socket of
this kind is open. The kinds are in raw.py, raw_ipv6.py and ping.py; what they share is `PacketSock`.
"""

from __future__ import annotations

import errno
from typing import Any, Final, final

from mypy_extensions import i64

from lunar.net import icmp, ip_output, ipv4_options, multicast, path_mtu
from lunar.net.bpf import Seen
from lunar.net.datagram_sock import DatagramSock
from lunar.net.device import Device
from lunar.net.error_queue import of_local
from lunar.net.group_output import send_to_group
from lunar.net.groups import Multicast
from lunar.net.ip import Ip, RawReceiver
from lunar.net.route import Route
from lunar.net.sock import COVERS_IPV6, POLLERR, POLLIN, POLLOUT
from lunar.net.sock_route import came_by, route_out
from lunar.packet import AF_INET, IcmpMessage, Packet

PACKET_MAX_BYTES: Final = 65535

_LOOPBACK: Final = 0x7F00_0001
_LOOPBACK6: Final = 1
# Of IP_MTU_DISCOVER, ip(7).
_PMTUDISC_DO: Final = 2
_PMTUDISC_PROBE: Final = 3
_PMTUDISC_INTERFACE: Final = 4


@final
class Taken:
    """A packet as its socket will give it."""

    def __init__(self, data: bytes, packet: Packet, device: Device) -> None:
        self.data: bytes = data
        self.src: int = packet.src
        self.dst: int = packet.dst
        self.ttl: i64 = packet.ttl
        self.tos: i64 = packet.tos
        self.device: Device = device


class PacketSock(DatagramSock):
    """What raw and ping sockets have in common: an address, a peer, packets as the program will get them."""

    def __init__(self, table: RawTable, type: i64, protocol: i64, family: i64) -> None:
        super().__init__(family, type, protocol)
        self.table: RawTable = table
        self.ip: Ip = table.ip
        self.rcvbuf = table.ip.rmem_default
        self.sndbuf = table.ip.wmem_default
        self.reuse_addr = True  # Linux' default for both kinds
        self.connected: bool = False
        if family != AF_INET:
            self.covers = COVERS_IPV6

    # What the kinds do. A ping socket is bound otherwise than the raw ones, and knows its packets better.

    def take(self, packet: Packet, device: Device) -> bool:
        """Queue what of `packet` the socket wants. Whether it counts as delivered to its protocol."""
        raise NotImplementedError

    def bind(self, addr: int, port: i64) -> i64:
        """Take packets for `addr` only (0: all), and send from it. As often as wanted. EADDRNOTAVAIL, EINVAL."""
        if self.connected:
            return -errno.EINVAL
        if not self.is_ours(addr):
            return -errno.EADDRNOTAVAIL
        self.local_addr = addr
        return 0

    def send(self, data: bytes, addr: int) -> i64:
        """Send to `addr`, or with -1 to the peer. The length or -errno."""
        raise NotImplementedError

    def error_about(self, src: int, dst: int, data: bytes) -> bool:
        """Whether an ICMP error that quotes `data`, sent from `src` to `dst`, is about a packet of this socket's."""
        return (self.local_addr == 0 or self.local_addr == src) and (not self.connected or self.remote_addr == dst)

    # What they share.

    def is_ours(self, addr: int) -> bool:
        """Whether a socket can be bound to `addr`."""
        ip = self.ip
        if addr == 0 or ip.has_address(addr) or ip.is_broadcast(addr) or ip.is_multicast(addr) or self.freebind:
            return True
        return ip.binds_any(addr)

    def loopback(self) -> int:
        """What 0.0.0.0 and :: mean as a destination."""
        return _LOOPBACK if self.family == AF_INET else _LOOPBACK6

    def connect(self, addr: int, port: i64) -> i64:
        """Name the peer: to whom `send` goes, and from whom alone packets come. ENETUNREACH, EACCES."""
        if addr == 0:
            addr = self.loopback()
        route = route_out(self.ip, self, int(self.family), addr)
        if route is None:
            return -self.ip.route_errno
        if self.ip.is_broadcast(addr) and not self.broadcast:
            return -errno.EACCES
        if self.local_addr == 0:
            self.local_addr = ip_output.source_for(self.ip, addr, route)
        self.remote_addr = addr
        self.remote_port = port
        self.connected = True
        return 0

    def disconnect(self) -> i64:
        """Forget the peer (connect to AF_UNSPEC)."""
        self.remote_addr = 0
        self.remote_port = 0
        self.connected = False
        return 0

    def to_whom(self, addr: int) -> int:
        """The address that a packet for `addr` goes to, where -1 means the peer; -1 if there is none."""
        if addr < 0:
            if not self.connected:
                return -1
            addr = self.remote_addr
        return addr if addr else self.loopback()

    def source_of(self, addr: int, route: Route) -> int:
        """The source of a packet to `addr`, which sendmsg may still change."""
        own = self.local_addr
        if own and not self.ip.is_multicast(own) and not self.ip.is_broadcast(own):
            return own
        return ip_output.source_for(self.ip, addr, route)

    def dress(self, packet: Packet, route: Route) -> None:
        """Give the packet's header what the socket's options and sendmsg want."""
        ip = self.ip
        six = self.ipv6
        if six is None:
            packet.ttl = self.ttl
            packet.tos = self.tos
            if self.ip_options:
                packet.options = ipv4_options.begin(ip, self.ip_options, packet.src)
                packet.size_bytes += len(packet.options)
            packet.dont_fragment = path_mtu.stays_whole(ip, route, packet.dst, self.mtu_discover, packet.size_bytes)
        else:
            six.dress(ip, packet)
        if self.mark:
            packet.mark = self.mark
        own = self.groups()
        if ip.is_multicast(packet.dst):
            packet.ttl = 1 if own is None else own.ttl
        header = self.header
        if header is not None:
            ip_output.apply(header, packet)

    def groups(self) -> Multicast | None:
        """What was set of multicast, of the socket's family."""
        return self.multicast if self.family == AF_INET else self.multicast6

    def limit(self, route: Route, addr: int) -> i64:
        """The size above which a packet is refused with EMSGSIZE (IP_MTU_DISCOVER, ip(7)); 0 for what IP can have."""
        discover: i64 = self.discovers_mtu()
        if discover == _PMTUDISC_DO:
            return path_mtu.mtu(self.ip, route, addr)
        return route.device.mtu if discover == _PMTUDISC_PROBE or discover == _PMTUDISC_INTERFACE else 0

    def hand_down(self, packet: Packet, route: Route) -> i64:
        """Send a packet: 0 or -errno."""
        own = self.groups()
        result: i64
        if self.ip.is_multicast(packet.dst):
            result = send_to_group(self.ip, packet, route, own is None or own.loops)
        else:
            limit: i64 = route.device.mtu if self.discovers_mtu() >= _PMTUDISC_PROBE else 0
            six = self.ipv6
            if six is not None and six.largest > 0:
                limit = six.limited(limit if limit > 0 else path_mtu.mtu(self.ip, route, packet.dst))
            result = ip_output.send(self.ip, packet, route, limit)
        return self.handed_down(packet, result)

    def route_to(self, addr: int) -> Route | None:
        """The route for a packet to `addr`; None with `recv_errno` ENETUNREACH or EACCES."""
        route = route_out(self.ip, self, int(self.family), addr)
        if route is None:
            self.recv_errno = self.ip.route_errno
        elif self.ip.is_broadcast(addr) and not self.broadcast:
            self.recv_errno = errno.EACCES
            return None
        return route

    def matches(self, packet: Packet, device: Device) -> bool:
        """Whether the packet is from the peer and for the address, by the device and of the group, where the socket has
        them.
        """
        if packet.family != self.family:
            return False
        if self.local_addr != 0 and self.local_addr != packet.dst:
            # Linux lets a socket that is bound to an address hear groups, over IPv6.
            if self.family == AF_INET or not self.ip.is_multicast(packet.dst):
                return False
        if self.connected and self.remote_addr != packet.src:
            return False
        if self.bound_device and self.bound_device != came_by(self.ip, packet, device).name:
            return False
        own = self.groups()
        return own is None or not self.ip.is_multicast(packet.dst) or own.hears(packet.dst, packet.src, device)

    def keep(self, data: bytes, packet: Packet, device: Device) -> None:
        """Keep `data`, what the program will read, if its filter lets it in; dropped when the buffer is full."""
        if self.filter is not None:
            seen = Seen(data)
            seen.ethertype = packet.ethertype
            seen.mark = packet.mark
            kept: i64 = self.filter.run(seen)
            if kept == 0:
                return
            data = data[: int(min(kept, len(data)))]
        self.enqueue(Taken(data, packet, device))

    def recv(self, peek: bool) -> Taken | None:
        """The next packet; None with `recv_errno` when there is none or an error is pending."""
        taken = self.take_next(peek)
        if taken is None:
            return None
        assert isinstance(taken, Taken), "what is queued is a packet as the program will get it"
        return taken

    def data_bytes(self, queued: Any) -> i64:
        assert isinstance(queued, Taken), "what is queued is a packet as the program will get it"
        return len(queued.data)

    def has_peer(self) -> bool:
        return self.connected

    def now_ns(self) -> i64:
        return self.ip.scheduler.now_ns

    def handed_down(self, packet: Packet, result: i64) -> i64:
        """What to make of what ip_output.send said of `packet`: 0 or -errno."""
        # Linux learns from ARP, later, that nobody has the address; the packet is lost without a word to the sender.
        if result != 0 and result != errno.EHOSTUNREACH:
            return -result
        if result == 0 and self.stamping is not None:
            self.stamp_sent(self.stamping, packet)
        return 0

    def refusal(self) -> i64:
        """What the socket itself has against a packet: the pending error, or EPIPE; 0 if nothing."""
        if self.error:
            return -self.take_error()
        return -errno.EPIPE if self.write_shut else 0

    def heard_error(self, message: IcmpMessage, number: i64, fatal: bool, dst: int, data: bytes) -> None:
        """ICMP tells of a packet of ours. Only a connected socket hears it, and only what is final (raw(7)), but with
        IP_RECVERR any.
        """
        if self.reports(self.family):
            self.report(icmp.report_of(message, number, dst, 0, self.quoted(message.payload, data)))
        elif not self.connected or not fatal:
            return
        self.error = number
        self.wake(POLLERR | POLLIN | POLLOUT)

    def quoted(self, packet: bytes, data: bytes) -> bytes:
        """What the program is told of its own packet, of which it may have written `data` alone."""
        return data

    def too_big(self, mtu: i64, addr: int) -> i64:
        """Refuse to send a packet: -EMSGSIZE, and with IP_RECVERR the MTU is told."""
        if self.reports(self.family):
            self.report(of_local(errno.EMSGSIZE, min(mtu, 0xFFFF), addr, self.remote_port if self.connected else 0))
        return -errno.EMSGSIZE

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.table.remove(self)
        for own in (self.multicast, self.multicast6):
            if own is not None:
                multicast.leave_all(self.ip, own)
        self.drop_queue()


@final
class RawTable(RawReceiver):
    """The raw and ping sockets of one host, by protocol, in the order of their making."""

    def __init__(self, ip: Ip) -> None:
        self.ip: Ip = ip
        self.socks: dict[int, list[PacketSock]] = {}

    def add(self, sock: PacketSock) -> None:
        self.socks.setdefault(int(sock.protocol), []).append(sock)
        self.ip.raw = self

    def remove(self, sock: PacketSock) -> None:
        socks = self.socks.get(int(sock.protocol))
        if socks is not None and sock in socks:
            socks.remove(sock)
            if not socks:
                del self.socks[int(sock.protocol)]

    def receive(self, packet: Packet, device: Device) -> bool:
        taken = False
        socks = self.socks.get(int(packet.protocol))
        if socks is not None:
            for sock in socks.copy():
                if sock.take(packet, device):
                    taken = True
        return taken

    def error(
        self, protocol: int, message: IcmpMessage, number: i64, fatal: bool, src: int, dst: int, data: bytes
    ) -> None:
        socks = self.socks.get(protocol)
        if socks is not None:
            for sock in socks.copy():
                if sock.family == message.family and sock.error_about(src, dst, data):
                    sock.heard_error(message, number, fatal, dst, data)


def table(ip: Ip) -> RawTable:
    """The table of the host whose network layer is `ip`, made when a socket first needs it."""
    found = ip.raw
    if isinstance(found, RawTable):
        return found
    made = RawTable(ip)
    ip.raw = made
    return made
