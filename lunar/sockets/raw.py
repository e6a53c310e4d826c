"""Raw sockets, raw(7): packets of one protocol with their IP headers, as copies beside what the stack does with them.

Those of IPv6, which never see a header, are in raw_ipv6.py; ping sockets, which see the answers to their own echo
requests, in ping.py. What all share, and who finds them, is in raw_table.py.
"""

from __future__ import annotations

import errno
from typing import Final, final

from mypy_extensions import i64

from lunar.net import ip_output
from lunar.net.device import Device
from lunar.net.group_output import send_own
from lunar.net.ip import Ip
from lunar.net.route import Route
from lunar.packet import AF_INET, ICMP, ICMP_HEADER_BYTES, IPV4_HEADER_BYTES, IcmpMessage, Packet
from lunar.sockets.raw_table import PACKET_MAX_BYTES, PacketSock, RawTable, table
from lunar.wire import ipv4
from lunar.wire.malformed import Malformed

SOCK_RAW: Final = 3
IPPROTO_RAW: Final = 255  # sends only: its header is the program's
_ICMP_FILTERED: Final = 32  # types that ICMP_FILTER has a bit for


@final
class RawSock(PacketSock):
    """A raw socket. `local_port` is its protocol, which is what getsockname(2) shows."""

    def __init__(self, table: RawTable, protocol: i64) -> None:
        super().__init__(table, SOCK_RAW, protocol, AF_INET)
        self.local_port = protocol
        self.header_included: bool = protocol == IPPROTO_RAW  # IP_HDRINCL
        self.icmp_filter: i64 = 0  # ICMP_FILTER: a set bit keeps its type out

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


def create(ip: Ip, protocol: i64) -> RawSock:
    """A new raw socket."""
    socks = table(ip)
    sock = RawSock(socks, protocol)
    socks.add(sock)
    return sock
