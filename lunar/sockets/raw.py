"""Raw sockets, raw(7): packets of one protocol with their IP headers, as copies beside what the stack does with them.

`RawTable` is what lunar/net/ip_input.py asks before a packet goes to its protocol; a host has one while a socket of
this kind is open. Those of IPv6, which never see a header, are in raw_ipv6.py; ping sockets, which see the answers to
their own echo requests, in ping.py. All share `PacketSock`.
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
from lunar.net.group_output import send_own, send_to_group
from lunar.net.groups import Multicast
from lunar.net.ip import Ip, RawReceiver
from lunar.net.route import Route
from lunar.net.sock import COVERS_IPV6, POLLERR, POLLIN, POLLOUT
from lunar.net.sock_route import came_by, route_out
from lunar.packet import AF_INET, ICMP, ICMP_HEADER_BYTES, IPV4_HEADER_BYTES, IcmpMessage, Packet
from lunar.wire import ipv4
from lunar.wire.malformed import Malformed

SOCK_RAW: Final = 3
IPPROTO_RAW: Final = 255  # sends only: its header is the program's
PACKET_MAX_BYTES: Final = 65535

_LOOPBACK: Final = 0x7F00_0001
_LOOPBACK6: Final = 1
# Of IP_MTU_DISCOVER, ip(7).
_PMTUDISC_DO: Final = 2
_PMTUDISC_PROBE: Final = 3
_PMTUDISC_INTERFACE: Final = 4
_ICMP_FILTERED: Final = 32  # types that ICMP_FILTER has a bit for


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

    # What the kinds do.

    def take(self, packet: Packet, device: Device) -> bool:
        """Queue what of `packet` the socket wants. Whether it counts as delivered to its protocol."""
        raise NotImplementedError

    def bind(self, addr: int, port: i64) -> i64:
        raise NotImplementedError

    def send(self, data: bytes, addr: int) -> i64:
        """Send to `addr`, or with -1 to the peer. The length or -errno."""
        raise NotImplementedError

    def error_about(self, src: int, dst: int, data: bytes) -> bool:
        """Whether an ICMP error that quotes `data`, sent from `src` to `dst`, is about a packet of this socket's."""
        raise NotImplementedError

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
class RawSock(PacketSock):
    """A raw socket. `local_port` is its protocol, which is what getsockname(2) shows."""

    def __init__(self, table: RawTable, protocol: i64) -> None:
        super().__init__(table, SOCK_RAW, protocol, AF_INET)
        self.local_port = protocol
        self.header_included: bool = protocol == IPPROTO_RAW  # IP_HDRINCL
        self.icmp_filter: i64 = 0  # ICMP_FILTER: a set bit keeps its type out

    def bind(self, addr: int, port: i64) -> i64:
        """Take packets for `addr` only (0: all), and send from it. As often as wanted. EADDRNOTAVAIL, EINVAL."""
        if self.connected:
            return -errno.EINVAL
        if not self.is_ours(addr):
            return -errno.EADDRNOTAVAIL
        self.local_addr = addr
        return 0

    def disconnect(self) -> i64:
        # Linux forgets the address, too, also one that was bound, and shows no protocol any more.
        self.local_addr = 0
        self.local_port = 0
        return super().disconnect()

    def take(self, packet: Packet, device: Device) -> bool:
        if not self.matches(packet, device):
            return False
        if self.protocol == ICMP and self._is_filtered(packet):
            return True
        self.keep(ipv4.encode(packet), packet, device)
        return True

    def _is_filtered(self, packet: Packet) -> bool:
        type: i64 = 0
        if isinstance(packet, IcmpMessage):
            type = packet.type
        elif len(packet.payload) < ICMP_HEADER_BYTES:
            return True  # the filter finds no type in it
        else:
            type = int(packet.payload[0])  # a broken one
        return type < _ICMP_FILTERED and self.icmp_filter >> type & 1 != 0

    def send(self, data: bytes, addr: int) -> i64:
        """Send a packet: `data` behind a header of ours, or with IP_HDRINCL the header too.

        EMSGSIZE, EDESTADDRREQ, EINVAL (a header that is none), EACCES (broadcast), ENETUNREACH. With IP_HDRINCL alone,
        as on Linux, a pending error and EPIPE.
        """
        size: i64 = len(data)
        if size > PACKET_MAX_BYTES:
            return -errno.EMSGSIZE
        addr = self.to_whom(addr)
        if addr < 0:
            return -errno.EDESTADDRREQ
        route = self.route_to(addr)
        if route is None:
            return -self.recv_errno
        source = self.source_of(addr, route)
        if self.header_included:
            return self._send_whole(data, source, addr, route)
        if self.protocol == ICMP and size == 0:
            return -errno.EFAULT  # Linux looks at the type
        whole: i64 = size + IPV4_HEADER_BYTES + len(self.ip_options)
        limit: i64 = self.limit(route, addr)
        if whole > PACKET_MAX_BYTES or (limit > 0 and whole > limit):
            return self.too_big(limit if limit > 0 else route.device.mtu, addr)
        packet = Packet(AF_INET, source, addr, self.protocol, data)
        packet.size_bytes = size + IPV4_HEADER_BYTES
        self.dress(packet, route)
        typed = ipv4.decode_payload(packet)
        if not isinstance(typed, Malformed):
            typed.options = packet.options
            typed.size_bytes = packet.size_bytes
            typed.mark = packet.mark
            packet = typed  # otherwise it goes as it is, for its receiver to drop
        failed: i64 = self.hand_down(packet, route)
        return failed if failed < 0 else size

    def _send_whole(self, data: bytes, source: int, addr: int, route: Route) -> i64:
        """The header is the program's. Linux sets total length and checksum, and the source and identification if 0."""
        size: i64 = len(data)
        if size > route.device.mtu:
            return self.too_big(route.device.mtu, addr)
        refused: i64 = self.refusal()
        if refused < 0:
            return refused
        header: i64 = (data[0] & 0x0F) << 2 if size > 0 else 0
        if header < IPV4_HEADER_BYTES or header > size:
            return -errno.EINVAL
        src = int.from_bytes(data[12:16], "big")
        dst = int.from_bytes(data[16:20], "big")
        packet = Packet(AF_INET, src if src else source, dst, int(data[9]), data[header:])
        packet.options = data[IPV4_HEADER_BYTES:header]
        packet.size_bytes = size
        packet.mark = self.mark
        packet.ttl = int(data[8])
        packet.tos = int(data[1])
        high: i64 = data[4]
        low: i64 = data[5]
        word: i64 = (int(data[6]) << 8) | int(data[7])
        packet.dont_fragment = word & 0x4000 != 0
        packet.more_fragments = word & 0x2000 != 0
        packet.fragment_offset = (word & 0x1FFF) << 3
        if data[0] >> 4 != 4:
            return size  # of another version: everybody drops it
        if not packet.more_fragments and packet.fragment_offset == 0:
            typed = ipv4.decode_payload(packet)
            if not isinstance(typed, Malformed):
                typed.options = packet.options
                typed.size_bytes = packet.size_bytes
                typed.mark = packet.mark
                packet = typed
        ident: i64 = (high << 8) | low
        if self.ip.is_multicast(dst):
            own = self.multicast
            packet.ident = ident
            return self._sent(packet, send_own(self.ip, packet, route, own is None or own.loops), size)
        return self._sent(packet, ip_output.send_own(self.ip, packet, route, ident), size)

    def _sent(self, packet: Packet, result: i64, size: i64) -> i64:
        failed: i64 = self.handed_down(packet, result)
        return failed if failed < 0 else size

    def quoted(self, packet: bytes, data: bytes) -> bytes:
        return packet if self.header_included else data

    def error_about(self, src: int, dst: int, data: bytes) -> bool:
        return (self.local_addr == 0 or self.local_addr == src) and (not self.connected or self.remote_addr == dst)


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


def create(ip: Ip, protocol: i64) -> RawSock:
    """A new raw socket."""
    socks = table(ip)
    sock = RawSock(socks, protocol)
    socks.add(sock)
    return sock
