"""Control messages of packets, cmsg(3): what recvmsg(2) tells beside the data of an IP socket, as items.

When it came (SO_TIMESTAMP and its kin), what its header said (ip(7): IP_PKTINFO, IP_TTL, IP_TOS), how much of a stream
is left (TCP_CM_INQ); and of the error queue what has happened to what packet (IP_RECVERR, SCM_TIMESTAMPING). The order
is Linux'. How many of them a program gets is for lunar/ancillary.py, which has those of Unix sockets, too.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from lunar import interfaces
from lunar.net import source, timestamping
from lunar.net.address import needs_scope
from lunar.net.datagram_sock import DatagramSock
from lunar.net.device import Device
from lunar.net.error_queue import Report, is_of_icmp
from lunar.net.sock import Sock
from lunar.packet import AF_INET, AF_INET6, ETHERNET_HEADER_BYTES
from lunar.sockets import packet_info
from lunar.sockets.packet_info import PacketInfo
from lunar.sockets.packet_sock import SOCK_RAW, Caught, LinkSock
from lunar.sockets.syscalls import NO_STAMP, Received
from weaves.here import here

if TYPE_CHECKING:
    from lunar.host import Host

Item = tuple[int, int, bytes]  # level, type, data

_SOL_SOCKET: Final = 1
_IPPROTO_IP: Final = 0
_IPPROTO_IPV6: Final = 41
_IPPROTO_TCP: Final = 6
_IP_TOS: Final = 1
_IP_TTL: Final = 2
_IP_PKTINFO: Final = 8
_IP_RECVERR: Final = 11
_IPV6_FLOWINFO: Final = 11
_IPV6_RECVERR: Final = 25
_IPV6_PKTINFO: Final = 50
_IPV6_HOPLIMIT: Final = 52
_IPV6_TCLASS: Final = 67
_TCP_CM_INQ: Final = 36
# The control messages have the numbers of the options: SCM_TIMESTAMP is SO_TIMESTAMP ...
_SO_TIMESTAMP: Final = 29
_SO_TIMESTAMP_NEW: Final = 63
_SCM_TIMESTAMPING: Final = 37
_SCM_TIMESTAMPING_NEW: Final = 65
_SCM_TIMESTAMPING_OPT_STATS: Final = 54

_IPPROTO_UDP: Final = 17
_UDP_GRO: Final = 104
_SO_RXQ_OVFL: Final = 40
_IP_RECVOPTS: Final = 6
_IP_ORIGDSTADDR: Final = 20
_SOL_PACKET: Final = 263
_PACKET_AUXDATA: Final = 8

_NS_PER_S: Final = 1_000_000_000


def items_of(host: Host, sock: Sock, got: Received) -> list[Item]:
    """All that is told beside what was received from an IP socket."""
    if got.report is not None:
        return _of_report(host, sock, got.report)
    items: list[Item] = []
    if sock.stamping is not None and got.stamp_ns != NO_STAMP:
        items += _of_arrival(host, sock.stamping, int(got.stamp_ns))
    if isinstance(sock, DatagramSock) and sock.tells_drops and sock.drops:
        items.append((_SOL_SOCKET, _SO_RXQ_OVFL, struct.pack("=I", sock.drops)))
    if got.segment_bytes:
        items.append((_IPPROTO_UDP, _UDP_GRO, struct.pack("=i", got.segment_bytes)))
    if got.packet is not None:
        items += _of_packet(host, got.packet)
    if got.caught is not None and isinstance(sock, LinkSock) and sock.tells_more:
        items.append(_of_frame(got.caught, sock.type == SOCK_RAW))
    if got.inq >= 0:
        items.append((_IPPROTO_TCP, _TCP_CM_INQ, struct.pack("=i", got.inq)))
    return items


def _of_frame(caught: Caught, with_header: bool) -> Item:
    """`struct tpacket_auxdata`: TP_STATUS_USER, the frame's length, how much of it there is, where its network header
    is. There are no VLANs.
    """
    net = ETHERNET_HEADER_BYTES if with_header else 0
    return _SOL_PACKET, _PACKET_AUXDATA, struct.pack("=IIIHHHH", 1, caught.size, len(caught.data), 0, net, 0, 0)


def _real_time(host: Host, at_ns: int) -> tuple[int, int]:
    """A time of the run as CLOCK_REALTIME of who asks: seconds and nanoseconds."""
    epoch_ns = host.network.epoch_ns if here.weave is None else here.weave.epoch_ns
    return divmod(at_ns + epoch_ns, _NS_PER_S)


def _of_arrival(host: Host, stamping: timestamping.Stamping, at_ns: int) -> list[Item]:
    items: list[Item] = []
    told_by = int(stamping.told_by)
    if told_by:
        # What came before it was asked for has the time at which it is read, as on Linux.
        seconds, ns = _real_time(host, int(host.scheduler.now_ns) if at_ns < 0 else at_ns)
        in_us = told_by in (_SO_TIMESTAMP, _SO_TIMESTAMP_NEW)
        items.append((_SOL_SOCKET, told_by, struct.pack("=qq", seconds, ns // 1000 if in_us else ns)))
    if at_ns >= 0 and stamping.flags & timestamping.SOFTWARE and stamping.flags & timestamping.RX_SOFTWARE:
        items.append(_stamp(host, stamping, at_ns))
    return items


def _stamp(host: Host, stamping: timestamping.Stamping | None, at_ns: int) -> Item:
    """`struct scm_timestamping`: by software; a place that nothing uses; by hardware."""
    new = stamping is not None and stamping.new_form
    kind = _SCM_TIMESTAMPING_NEW if new else _SCM_TIMESTAMPING
    return _SOL_SOCKET, kind, struct.pack("=6q", *_real_time(host, at_ns), 0, 0, 0, 0)


def _of_packet(host: Host, packet: PacketInfo) -> list[Item]:
    """What the packet's header said."""
    items: list[Item] = []
    tells = int(packet.tells)
    if tells & packet_info.TELL6_ADDRESSES:
        index = 0 if packet.device is None else interfaces.index_of(host, packet.device)
        data = source.as_six(packet.family, packet.dst).to_bytes(16, "big") + struct.pack("=i", index)
        items.append((_IPPROTO_IPV6, _IPV6_PKTINFO, data))
    if packet.family == AF_INET6:
        if tells & packet_info.TELL6_HOP_LIMIT:
            items.append((_IPPROTO_IPV6, _IPV6_HOPLIMIT, struct.pack("=i", packet.ttl)))
        if tells & packet_info.TELL6_CLASS:
            items.append((_IPPROTO_IPV6, _IPV6_TCLASS, struct.pack("=i", packet.tos)))
        flow = int(packet.tos << 20 | packet.flow_label)
        if tells & packet_info.TELL6_FLOW and flow:
            items.append((_IPPROTO_IPV6, _IPV6_FLOWINFO, struct.pack(">I", flow)))
        return items
    if packet.tells & packet_info.TELL_ADDRESSES:
        index = 0 if packet.device is None else interfaces.index_of(host, packet.device)
        data = struct.pack("=i", index) + struct.pack(">II", packet.local, packet.dst)
        items.append((_IPPROTO_IP, _IP_PKTINFO, data))
    if packet.tells & packet_info.TELL_TTL:
        items.append((_IPPROTO_IP, _IP_TTL, struct.pack("=i", packet.ttl)))
    if packet.tells & packet_info.TELL_TOS:
        items.append((_IPPROTO_IP, _IP_TOS, struct.pack("B", packet.tos)))
    if tells & packet_info.TELL_OPTIONS and packet.options:
        items.append((_IPPROTO_IP, _IP_RECVOPTS, packet.options))
    if tells & packet_info.TELL_DESTINATION:
        address = struct.pack("=H", AF_INET) + struct.pack(">HI8x", packet.port, packet.dst)
        items.append((_IPPROTO_IP, _IP_ORIGDSTADDR, address))
    return items


def _of_report(host: Host, sock: Sock, report: Report) -> list[Item]:
    """A report of the error queue: its time, the header of the packet that told of it, the error itself."""
    items: list[Item] = []
    if report.stamp_ns >= 0:
        items.append(_stamp(host, sock.stamping, int(report.stamp_ns)))
    if report.stats:
        items.append((_SOL_SOCKET, _SCM_TIMESTAMPING_OPT_STATS, bytes(report.stats)))
    packet = report.packet
    if packet is not None and sock.tells:
        device = packet.target if isinstance(packet.target, Device) else None
        told = PacketInfo(sock.tells, host.ip, packet.src, packet.dst, packet.ttl, packet.tos, device)
        # No route was looked up for an ICMP message; a packet of ours has the address that it was sent from.
        told.local = 0 if is_of_icmp(report) else packet.src
        items += _of_packet(host, told)
    error = struct.pack(
        "=IBBBBII", report.number, report.origin, report.type, report.code, 0, report.info, report.data
    )
    offender = 0 if packet is None else packet.src
    if sock.domain == AF_INET6:
        address = bytes(28)
        if packet is not None:
            address = struct.pack("=HHI", AF_INET6, 0, 0)
            address += source.as_six(packet.family, offender).to_bytes(16, "big")
            device = packet.target if isinstance(packet.target, Device) else None
            scope = 0 if device is None or not needs_scope(offender) else interfaces.index_of(host, device)
            address += struct.pack("=I", scope)
        items.append((_IPPROTO_IPV6, _IPV6_RECVERR, error + address))
    else:
        address = bytes(16)
        if packet is not None:
            address = struct.pack("=HH", AF_INET, 0) + offender.to_bytes(4, "big") + bytes(8)
        items.append((_IPPROTO_IP, _IP_RECVERR, error + address))
    return items
