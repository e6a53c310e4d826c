"""What follows an IP header of either family: the transport's header and payload, which fragments cut.

tcp.py, udp.py and icmp.py do the headers themselves; here is which of them is asked.
"""

from __future__ import annotations

from mypy_extensions import i64

from lunar.packet import AF_INET, ICMP, ICMPV6, TCP, UDP, IcmpMessage, Packet, TcpSegment, UdpDatagram
from lunar.wire import icmp, tcp, udp
from lunar.wire.malformed import Malformed


def encode(packet: Packet) -> bytes:
    """Transport header and payload, or a plain `Packet`'s payload as it is."""
    if isinstance(packet, TcpSegment):
        return tcp.encode(packet)
    if isinstance(packet, UdpDatagram):
        return udp.encode(packet)
    if isinstance(packet, IcmpMessage):
        return icmp.encode(packet)
    return packet.payload


def decode(family: i64, protocol: i64, src: int, dst: int, body: bytes) -> Packet | Malformed:
    """The typed packet that `body` is by `protocol`; a plain `Packet` of one that has no type. Never raises.

    Of the IP header it has addresses and protocol alone.
    """
    if protocol == TCP:
        return tcp.decode(family, src, dst, body)
    if protocol == UDP:
        return udp.decode(family, src, dst, body)
    if (protocol == ICMP and family == AF_INET) or (protocol == ICMPV6 and family != AF_INET):
        return icmp.decode(family, src, dst, body)
    return Packet(family, src, dst, protocol, body)
