"""Raw sockets of IPv6, raw(7) and RFC 3542 section 3: packets of one protocol, without their headers either way.

What the header says a program asks for beside (IPV6_RECVHOPLIMIT ...). ICMPv6's checksum the kernel makes and checks;
for other protocols it does so where IPV6_CHECKSUM tells the place.
"""

from __future__ import annotations

import errno
from typing import Final, final

from mypy_extensions import i64

from lunar.net import ip_output
from lunar.net.device import Device
from lunar.net.ip import Ip
from lunar.net.route import Route
from lunar.packet import AF_INET6, ICMPV6, IPV6_HEADER_BYTES, Packet
from lunar.sockets.raw import IPPROTO_RAW, SOCK_RAW
from lunar.sockets.raw_table import PACKET_MAX_BYTES, PacketSock, RawTable, table
from lunar.wire import checksum, inet, ipv6, transport
from lunar.wire.malformed import Malformed

NO_CHECKSUM: Final = -1
_ICMPV6_CHECKSUM_AT: Final = 2


@final
class RawSixSock(PacketSock):
    """A raw socket of IPv6. `local_port` is its protocol, which is what getsockname(2) shows."""

    def __init__(self, table: RawTable, protocol: i64) -> None:
        super().__init__(table, SOCK_RAW, protocol, AF_INET6)
        self.local_port = protocol
        self.icmp_filter: int = 0  # ICMPV6_FILTER: 256 bits, of which a set one keeps its type out
        # IPV6_CHECKSUM: where in the data the checksum is.
        self.checksum_at: i64 = _ICMPV6_CHECKSUM_AT if protocol == ICMPV6 else NO_CHECKSUM

    def take(self, packet: Packet, device: Device) -> bool:
        if not self.matches(packet, device):
            return False
        data = transport.encode(packet)
        if self.protocol == ICMPV6:
            if not data or self.icmp_filter >> data[0] & 1:
                return True
        elif self.checksum_at >= 0:
            total = checksum.pseudo_header(packet.src, packet.dst, int(packet.protocol), len(data))
            if checksum.internet(data, total) != 0:
                return True
        self.keep(data, packet, device)
        return True

    def send(self, data: bytes, addr: int) -> i64:
        """Send `data` behind a header of ours; as IPPROTO_RAW with the program's. EMSGSIZE, EDESTADDRREQ, ENETUNREACH,
        EADDRNOTAVAIL, EINVAL (no room for the checksum, a header that is none).
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
        if self.protocol == IPPROTO_RAW:
            if size > route.device.mtu:
                return self.too_big(route.device.mtu, addr)
            whole = ipv6.decode(data)
            if isinstance(whole, Malformed):
                return -errno.EINVAL if size < IPV6_HEADER_BYTES else size  # everybody drops what is none
            whole.mark = self.mark
            sent: i64 = self._send_whole(whole, route)
            return sent if sent < 0 else size
        source = self.source_of(addr, route)
        if source == 0:
            return -errno.EADDRNOTAVAIL
        limit: i64 = self.limit(route, addr)
        whole_bytes: i64 = size + IPV6_HEADER_BYTES
        if limit > 0 and whole_bytes > limit:
            return self.too_big(limit, addr)
        packet = Packet(AF_INET6, source, addr, self.protocol, data)
        packet.size_bytes = whole_bytes
        self.dress(packet, route)
        at: i64 = self.checksum_at
        if self.protocol == ICMPV6 and size < 2:
            return -errno.EFAULT  # Linux looks at type and code
        if at >= 0:
            if at + 2 > size:
                return -errno.EINVAL
            bare = data[: int(at)] + b"\0\0" + data[int(at) + 2 :]
            total = checksum.pseudo_header(packet.src, packet.dst, int(self.protocol), len(bare))
            check = checksum.internet(bare, total)
            if check == 0 and self.protocol != ICMPV6:
                check = 0xFFFF
            packet.payload = bare[: int(at)] + check.to_bytes(2, "big") + bare[int(at) + 2 :]
        typed = inet.decode_payload(packet)
        if not isinstance(typed, Malformed):
            typed.mark = packet.mark
            typed.flow_label = packet.flow_label
            packet = typed
        failed: i64 = self.hand_down(packet, route)
        return failed if failed < 0 else size

    def _send_whole(self, packet: Packet, route: Route) -> i64:
        """Send what the program has written wholly: a fragment keeps its identification, by which it finds others."""
        if not packet.more_fragments and packet.fragment_offset == 0:
            return self.hand_down(packet, route)
        if packet.ident != 0:
            return self.handed_down(packet, ip_output.send_own(self.ip, packet, route, packet.ident))
        return self.handed_down(packet, ip_output.send_complete(self.ip, packet))


def create(ip: Ip, protocol: i64) -> RawSixSock:
    """A new raw socket of IPv6."""
    socks = table(ip)
    sock = RawSixSock(socks, protocol)
    socks.add(sock)
    return sock
