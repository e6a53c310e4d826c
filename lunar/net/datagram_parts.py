"""Parts of UDP without a socket: datagrams that stay together (UDP_SEGMENT), and who of several sockets gets what."""

from __future__ import annotations

from mypy_extensions import i64

from lunar.packet import UdpDatagram


def pieces(packet: UdpDatagram) -> list[UdpDatagram]:
    """The datagrams that one stands for."""
    found: list[UdpDatagram] = []
    segment = int(packet.segment_bytes)
    for at in range(0, len(packet.payload), segment):
        found.append(with_data(packet, packet.payload[at : at + segment]))
    return found


def with_data(packet: UdpDatagram, data: bytes) -> UdpDatagram:
    """Another datagram, with the same headers and other data."""
    made = UdpDatagram(packet.family, packet.src, packet.dst, packet.sport, packet.dport, data)
    made.ttl = packet.ttl
    made.tos = packet.tos
    made.options = packet.options
    made.flow_label = packet.flow_label
    made.target = packet.target
    made.mark = packet.mark
    made.unchecked = packet.unchecked
    made.size_bytes = packet.size_bytes - len(packet.payload) + len(data)
    return made


def share(secret: i64, packet: UdpDatagram, count: i64) -> i64:
    """Which of `count` sockets gets what has these ends: always the same one, and each about as many (SO_REUSEPORT)."""
    value: i64 = secret
    ports: i64 = (packet.sport << 16) | packet.dport
    for word in (packet.src & 0xFFFF_FFFF, packet.src >> 96, packet.dst & 0xFFFF_FFFF, int(ports)):
        mixed: i64 = word
        value = _scattered(value ^ mixed)
    return (value * count) >> 32


def _scattered(value: i64) -> i64:
    """Each bit of 32 depends on each: two multiplications whose products stay below 2**63."""
    value ^= value >> 16
    value = (value * 0x21F0_AAAD) & 0xFFFF_FFFF
    value ^= value >> 15
    value = (value * 0x735A_2D97) & 0xFFFF_FFFF
    return value ^ (value >> 15)
