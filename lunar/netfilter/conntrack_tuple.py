"""A connection's tuple: who speaks to whom, in one direction, as conntrack tells packets apart.

A connection has two: that of its first packet and that of the answers to it, which differ by more than their order when
addresses are translated. ICMP has no ports; where a port would stand are its identifier (`sport`) and type and code
(`dport`), as Linux has it. What has neither, and what this stack does not look into, is told apart by its addresses.

An IPv4 and an IPv6 address are never the same number, so a tuple needs no family to be a key.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.packet import ICMP, TCP, UDP, IcmpMessage, Packet, TcpSegment, UdpDatagram

ICMPV6: Final = 58

# What answers what: RFC 792 and RFC 950 (echo, timestamp, information, address mask), RFC 4443 and RFC 4620 (echo, node
# information). The first of a connection is a request.
_ANSWERS: Final[dict[int, int]] = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17}
_REQUESTS: Final = (8, 13, 15, 17)
_ANSWERS_6: Final[dict[int, int]] = {128: 129, 129: 128, 139: 140, 140: 139}
_REQUESTS_6: Final = (128, 139)


@final
class Tuple:
    """One direction. `key` is all of it, for dictionaries."""

    def __init__(self, family: i64, protocol: i64, src: int, dst: int, sport: i64, dport: i64) -> None:
        self.family: i64 = family
        self.protocol: i64 = protocol
        self.src: int = src
        self.dst: int = dst
        self.sport: i64 = sport
        self.dport: i64 = dport
        self.key: tuple[int, int, int, int] = (src, dst, (sport << 16) | dport, protocol)

    def __repr__(self) -> str:
        return f"<Tuple {self.protocol}: {self.src:x} {self.sport} to {self.dst:x} {self.dport}>"


def of_packet(packet: Packet) -> Tuple | None:
    """The tuple of a whole packet; None for one in whose transport header there is nothing to go by."""
    protocol: i64 = packet.protocol
    sport: i64 = 0
    dport: i64 = 0
    if isinstance(packet, TcpSegment):
        sport = packet.sport
        dport = packet.dport
    elif isinstance(packet, UdpDatagram):
        sport = packet.sport
        dport = packet.dport
    elif isinstance(packet, IcmpMessage):
        sport = packet.rest >> 16
        dport = (packet.type << 8) | packet.code
    elif protocol == TCP or protocol == UDP or protocol == ICMP or protocol == ICMPV6:
        return None
    return Tuple(packet.family, protocol, packet.src, packet.dst, sport, dport)


def of_quote(family: i64, protocol: i64, src: int, dst: int, data: bytes) -> Tuple | None:
    """The tuple of a packet that an ICMP error quotes: `data` is what follows its IP header, 8 bytes at least."""
    if len(data) < 8:
        return None
    sport: i64 = 0
    dport: i64 = 0
    if protocol == TCP or protocol == UDP:
        sport = (data[0] << 8) | data[1]
        dport = (data[2] << 8) | data[3]
    elif protocol == ICMP or protocol == ICMPV6:
        sport = (data[4] << 8) | data[5]
        dport = (data[0] << 8) | data[1]
    return Tuple(family, protocol, src, dst, sport, dport)


def inverted(one: Tuple) -> Tuple | None:
    """The tuple of the answers to `one`; None for an ICMP message that is neither a request nor an answer."""
    if one.protocol == ICMP or one.protocol == ICMPV6:
        table = _ANSWERS if one.protocol == ICMP else _ANSWERS_6
        answer = table.get(int(one.dport >> 8))
        if answer is None:
            return None
        kind: i64 = answer
        return Tuple(one.family, one.protocol, one.dst, one.src, one.sport, (kind << 8) | (one.dport & 0xFF))
    return Tuple(one.family, one.protocol, one.dst, one.src, one.dport, one.sport)


def begins(one: Tuple) -> bool:
    """Whether an ICMP message can be the first of a connection: a request."""
    return int(one.dport >> 8) in (_REQUESTS if one.protocol == ICMP else _REQUESTS_6)
