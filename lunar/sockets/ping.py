"""Ping sockets, icmp(7): socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP), for programs that want echo and nothing else; and
the same of IPv6 with IPPROTO_ICMPV6.

What is written is an echo request, whose identifier becomes the socket's own; what is read are the replies to it,
without IP headers. In the place of a port stands the identifier. Who may have one says net.ipv4.ping_group_range.
"""

from __future__ import annotations

import errno
from typing import Final, final

from mypy_extensions import i64

from lunar.net import icmp
from lunar.net.device import Device
from lunar.net.ip import Ip
from lunar.packet import AF_INET, ICMP, ICMP_HEADER_BYTES, ICMPV6, IcmpMessage, Packet
from lunar.sockets.raw_table import PACKET_MAX_BYTES, PacketSock, RawTable, table
from lunar.udp import SOCK_DGRAM
from lunar.wire import transport

_IDENTIFIERS: Final = 65_535
# RFC 4443 section 4.
ECHO_REQUEST6: Final = 128
ECHO_REPLY6: Final = 129


@final
class PingSock(PacketSock):
    """A ping socket."""

    def __init__(self, socks: RawTable, family: i64) -> None:
        super().__init__(socks, SOCK_DGRAM, ICMP if family == AF_INET else ICMPV6, family)
        self.request: i64 = icmp.ECHO if family == AF_INET else ECHO_REQUEST6
        self.reply: i64 = icmp.ECHO_REPLY if family == AF_INET else ECHO_REPLY6

    def bind(self, addr: int, port: i64) -> i64:
        """Take the identifier `port` (0: any) at `addr` (0: all). EADDRNOTAVAIL, EADDRINUSE, EINVAL if it has one."""
        if self.local_port:
            return -errno.EINVAL
        if not self.is_ours(addr):
            return -errno.EADDRNOTAVAIL
        if port == 0:
            port = self._free_identifier()
        elif self._taken(port, not self.reuse_addr):
            return -errno.EADDRINUSE
        self.local_addr = addr
        self.local_port = port
        return 0

    def _taken(self, port: i64, whoever: bool) -> bool:
        """Whether another socket has the identifier; one that shares (SO_REUSEADDR) counts if `whoever`."""
        for other in self.table.socks.get(int(self.protocol), []):
            if isinstance(other, PingSock) and other is not self and other.local_port == port:
                if whoever or not other.reuse_addr:
                    return True
        return False

    def _free_identifier(self) -> i64:
        start: i64 = self.ip.rng.randrange(65_535)
        tried: i64 = 0
        while tried < _IDENTIFIERS:
            port: i64 = 1 + (start + tried) % _IDENTIFIERS
            if not self._taken(port, True):
                return port
            tried += 1
        return 1 + start  # all are taken, and shared then

    def connect(self, addr: int, port: i64) -> i64:
        """As for datagrams; the socket gets its identifier, too."""
        result: i64 = super().connect(addr, port)
        if result == 0 and self.local_port == 0:
            return self.bind(self.local_addr, 0)
        return result

    def take(self, packet: Packet, device: Device) -> bool:
        if (
            isinstance(packet, IcmpMessage)
            and packet.type == self.reply
            and self.local_port != 0
            and packet.rest >> 16 == self.local_port
            and self.matches(packet, device)
        ):
            self.keep(transport.encode(packet), packet, device)
        return False  # the protocol delivers to it: it is no copy beside

    def send(self, data: bytes, addr: int) -> i64:
        """Send an echo request. EINVAL for anything else; EMSGSIZE, EDESTADDRREQ, EACCES, ENETUNREACH, EPIPE."""
        if self.local_port == 0:
            bound: i64 = self.bind(self.local_addr, 0)  # before all checks, as on Linux
            if bound < 0:
                return bound
        size: i64 = len(data)
        if size > PACKET_MAX_BYTES:
            return -errno.EMSGSIZE
        if size < ICMP_HEADER_BYTES or data[0] != self.request or data[1] != 0:
            return -errno.EINVAL
        addr = self.to_whom(addr)
        if addr < 0:
            return -errno.EDESTADDRREQ
        route = self.route_to(addr)
        if route is None:
            return -self.recv_errno
        whole: i64 = size + self.ip.family(self.family).header_bytes
        limit: i64 = self.limit(route, addr)
        if whole + len(self.ip_options) > PACKET_MAX_BYTES or (limit > 0 and whole > limit):
            return self.too_big(limit if limit > 0 else route.device.mtu, addr)
        refused: i64 = self.refusal()
        if refused < 0:
            return refused
        source = self.source_of(addr, route)
        sequence: i64 = (int(data[6]) << 8) | int(data[7])
        rest: i64 = (self.local_port << 16) | sequence
        message = IcmpMessage(self.family, source, addr, self.request, 0, rest, data[ICMP_HEADER_BYTES:])
        message.size_bytes = whole
        self.dress(message, route)
        failed: i64 = self.hand_down(message, route)
        if failed < 0:
            return failed
        self.ip.family(self.family).counters.icmp_out_msgs += 1
        return size

    def error_about(self, src: int, dst: int, data: bytes) -> bool:
        identifier: i64 = (int(data[4]) << 8) | int(data[5])
        return (
            data[0] == self.request
            and identifier == self.local_port
            and (self.local_addr == 0 or self.local_addr == src)
            and (not self.connected or self.remote_addr == dst)
        )


def is_allowed(ip: Ip) -> bool:
    """Whether root's group, which is that of all programs here, is in net.ipv4.ping_group_range."""
    return ip.ping_group_first <= 0 <= ip.ping_group_last


def create(ip: Ip, family: i64) -> PingSock:
    """A new ping socket."""
    socks = table(ip)
    sock = PingSock(socks, family)
    socks.add(sock)
    return sock
