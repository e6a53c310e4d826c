"""What matches read from a packet beyond the fields that it has as an object: of first fragments, and bytes.

Without connection tracking fragments go through the rules as they are. The first one has the transport's header in its
payload, and rules see it there, as Linux does; later ones have none, and match no rule that asks for ports.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from mypy_extensions import i64

from lunar.packet import ICMP, ICMPV6, TCP, UDP, IcmpMessage, Packet, TcpSegment, UdpDatagram
from lunar.wire import inet, tcp

# Protocols that begin with two ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
WITH_PORTS: Final = (TCP, UDP, 33, 132, 136)

_TCP_HEADER: Final = Struct(">HHIIHHHH")
_PORTS: Final = Struct(">HH")


def tcp_of(packet: Packet) -> TcpSegment | None:
    """The TCP header of a segment, or of the first fragment of one, without its options; None where there is none."""
    if isinstance(packet, TcpSegment):
        return packet
    if packet.protocol != TCP or packet.fragment_offset != 0 or len(packet.payload) < 20:
        return None
    sport, dport, seq, ack, offset_flags, window, _check, _urgent = _TCP_HEADER.unpack_from(packet.payload)
    return TcpSegment(
        packet.family, packet.src, packet.dst, sport, dport, seq, ack, offset_flags & 0xFF, window, packet.payload[20:]
    )


def ports_of(packet: Packet) -> i64:
    """Both ports as source << 16 | destination; -1 where there are none to see."""
    if isinstance(packet, TcpSegment):
        return packet.sport << 16 | packet.dport
    if isinstance(packet, UdpDatagram):
        return packet.sport << 16 | packet.dport
    protocol: i64 = packet.protocol
    if protocol != 6 and protocol != 17 and protocol != 33 and protocol != 132 and protocol != 136:
        return -1
    if packet.fragment_offset != 0 or len(packet.payload) < 4:
        return -1
    ports = _PORTS.unpack_from(packet.payload)
    sport: i64 = ports[0]
    dport: i64 = ports[1]
    return sport << 16 | dport


def icmp_of(packet: Packet) -> i64:
    """ICMP's type << 8 | code; -1 where there is none to see."""
    if isinstance(packet, IcmpMessage):
        return packet.type << 8 | packet.code
    if packet.protocol != ICMP and packet.protocol != ICMPV6:
        return -1
    if packet.fragment_offset != 0 or len(packet.payload) < 4:
        return -1
    first: i64 = packet.payload[0]
    return first << 8 | packet.payload[1]


def tcp_options_of(packet: Packet) -> bytes:
    """The options of a TCP segment as on the wire."""
    if isinstance(packet, TcpSegment):
        return tcp.encode_options(packet)
    data = packet.payload
    if packet.protocol != TCP or packet.fragment_offset != 0 or len(data) < 20:
        return b""
    end: i64 = (data[12] >> 4) * 4
    return data[20:end] if end > 20 else b""  # compiled, a slice must not end before it begins


def as_bytes(packet: Packet) -> bytes:
    """The packet from its IP header on."""
    return inet.encode(packet)
