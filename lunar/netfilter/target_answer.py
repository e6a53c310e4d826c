"""Targets that end a packet's way with an answer: REJECT and MIRROR.

MIRROR was taken out of Linux after 2.4; it is here because the thesis' Linux had it. As there, what it sends back is
not seen by rules or tracking, so that two mirrors cannot fill a host; and it costs one of the packet's hops, so that
they come to an end.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net import icmp
from lunar.net.ip import FORWARD
from lunar.net.ip_output import emit, route_for, send_complete
from lunar.netfilter.headers import tcp_of
from lunar.netfilter.rule import ACTS, DROP, STOLEN, Context, Target
from lunar.packet import ACK, AF_INET, FIN, RST, SYN, Packet, TcpSegment, relate, set_tcp_size
from lunar.wire import checksum

# DCCP, GRE, ESP, AH, SCTP, UDP-Lite.
_WITHOUT_INTERNET_CHECKSUM: Final = (33, 47, 50, 51, 132, 136)


@final
class RejectTarget(Target):
    """REJECT with an ICMP error of this type and code, to the packet's sender."""

    def __init__(self, type: i64, code: i64) -> None:
        super().__init__(ACTS)
        self.type: i64 = type
        self.code: i64 = code

    def act(self, packet: Packet, context: Context) -> i64:
        if _is_sound(packet):
            icmp.send_message(context.netfilter.ip, packet, self.type, self.code, 0)
        return DROP


def _is_sound(packet: Packet) -> bool:
    """Linux answers nothing that is damaged. What it knows no better checksum of must have the Internet's, from its
    header's end on, as OSPF has (over IPv6 with the pseudo-header); TCP, UDP and ICMP were looked at when bytes became
    objects.
    """
    if type(packet) is not Packet or packet.fragment_offset != 0 or packet.more_fragments:
        return True
    if int(packet.protocol) in _WITHOUT_INTERNET_CHECKSUM:
        return True
    before = 0
    if packet.family != AF_INET:
        before = checksum.pseudo_header(packet.src, packet.dst, packet.protocol, len(packet.payload))
    return checksum.internet(packet.payload, before) == 0


@final
class ResetTarget(Target):
    """REJECT with a TCP reset, as if the port were closed (RFC 9293 section 3.10.7.1)."""

    def __init__(self) -> None:
        super().__init__(ACTS)

    def act(self, packet: Packet, context: Context) -> i64:
        segment = tcp_of(packet)
        ip = context.netfilter.ip
        if segment is None or segment.flags & RST or (packet.family == AF_INET and ip.is_broadcast(packet.dst)):
            return DROP
        seq: i64 = 0
        ack: i64 = 0
        flags: i64 = RST
        if segment.flags & ACK:
            seq = segment.ack
        else:
            flags = RST | ACK
            ack = segment.seq + len(segment.payload)
            if segment.flags & SYN:
                ack += 1
            if segment.flags & FIN:
                ack += 1
            ack &= 0xFFFF_FFFF
        reset = TcpSegment(packet.family, packet.dst, packet.src, segment.dport, segment.sport, seq, ack, flags, 0, b"")
        reset.ttl = ip.family(packet.family).hop_limit
        reset.dont_fragment = packet.family == AF_INET  # and the identification is 0, as Linux' is
        set_tcp_size(reset)
        relate(reset, packet)
        conntrack = context.netfilter.conntrack
        if conntrack is not None:
            conntrack.is_reset(packet)
        send_complete(ip, reset)
        return DROP


@final
class MirrorTarget(Target):
    """MIRROR: back to where it came from, with source and destination exchanged."""

    def __init__(self) -> None:
        super().__init__(ACTS)

    def act(self, packet: Packet, context: Context) -> i64:
        ip = context.netfilter.ip
        if context.point != FORWARD:  # where a hop has been taken already
            if packet.ttl <= 1:
                icmp.send_error(ip, packet, icmp.TIME_EXCEEDED, icmp.TTL_EXCEEDED, 0)
                return DROP
            packet.ttl -= 1
        src = packet.src
        packet.src = packet.dst
        packet.dst = src
        route = route_for(ip, packet.family, src)
        if route is None or ip.is_broadcast(packet.src) or ip.is_multicast(packet.src):
            return DROP
        filter = ip.filter
        ip.filter = None
        emit(ip, packet, route)
        ip.filter = filter
        return STOLEN
