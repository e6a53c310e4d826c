"""What address translation does to a packet, and to one that an ICMP error quotes.

Checksums of whole packets are made where bytes are made. Those inside a quote are bytes already, and perhaps cut off:
they are brought up to date by the difference (RFC 1624), where they are there.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lunar.netfilter.conntrack_error import Quote
from lunar.netfilter.conntrack_tuple import ICMPV6, Tuple
from lunar.packet import AF_INET, ICMP, TCP, UDP, IcmpMessage, Packet, TcpSegment, UdpDatagram

# Of those ICMP messages that have an identifier: echo, timestamp, information, address mask; ICMPv6's echo.
_WITH_IDENTIFIER: Final = (0, 8, 13, 14, 15, 16, 17, 18)
_WITH_IDENTIFIER_6: Final = (128, 129)
_TCP_CHECKSUM: Final = 16  # where it is in the header
_UDP_CHECKSUM: Final = 6
_ICMP_CHECKSUM: Final = 2


def change(packet: Packet, wanted: Tuple, of_source: bool) -> None:
    """Give the packet the source, or the destination, that `wanted` has."""
    change_addresses(packet, wanted, of_source)
    if isinstance(packet, (TcpSegment, UdpDatagram)):
        if of_source:
            packet.sport = wanted.sport
        else:
            packet.dport = wanted.dport
    elif isinstance(packet, IcmpMessage):
        kinds = _WITH_IDENTIFIER if packet.protocol == ICMP else _WITH_IDENTIFIER_6
        if int(packet.type) in kinds:
            packet.rest = (wanted.sport << 16) | (packet.rest & 0xFFFF)


def change_addresses(packet: Packet, wanted: Tuple, of_source: bool) -> None:
    """As `change`, of the address alone."""
    if of_source:
        packet.src = wanted.src
    else:
        packet.dst = wanted.dst


def change_quote(message: IcmpMessage, found: Quote, wanted: Tuple, of_source: bool) -> None:
    """Give the packet that `message` quotes, and `found` describes, the source or the destination that `wanted` has."""
    data = bytearray(message.payload)
    width: i64 = 4 if message.family == AF_INET else 16
    if message.family == AF_INET:
        place: i64 = 12 if of_source else 16
    else:
        place = 8 if of_source else 24
    address = wanted.src if of_source else wanted.dst
    old = bytes(data[place : place + width])
    new = address.to_bytes(int(width), "big")
    data[place : place + width] = new
    if message.family == AF_INET:
        _update(data, 10, old, new)
    start: i64 = found.transport
    if found.protocol == TCP or found.protocol == UDP:
        _change_ports(data, start, found.protocol, wanted, of_source, old, new)
    elif found.protocol == ICMP or found.protocol == ICMPV6:
        _change_identifier(data, start, found.protocol, wanted, old, new)
    message.payload = bytes(data)


def _change_ports(
    data: bytearray, start: i64, protocol: i64, wanted: Tuple, of_source: bool, old: bytes, new: bytes
) -> None:
    place: i64 = start if of_source else start + 2
    port: i64 = wanted.sport if of_source else wanted.dport
    old_port = bytes(data[place : place + 2])
    new_port = int(port).to_bytes(2, "big")
    data[place : place + 2] = new_port
    if protocol == TCP:
        if len(data) < start + 20:
            return  # its checksum has not come along
        check: i64 = start + _TCP_CHECKSUM
    else:
        check = start + _UDP_CHECKSUM
        if data[check] == 0 and data[check + 1] == 0:
            return  # RFC 768: it has none
    _update(data, check, old + old_port, new + new_port)
    if protocol == UDP and data[check] == 0 and data[check + 1] == 0:
        data[check : check + 2] = b"\xff\xff"


def _change_identifier(data: bytearray, start: i64, protocol: i64, wanted: Tuple, old: bytes, new: bytes) -> None:
    kinds = _WITH_IDENTIFIER if protocol == ICMP else _WITH_IDENTIFIER_6
    check: i64 = start + _ICMP_CHECKSUM
    if protocol == ICMPV6:
        _update(data, check, old, new)  # which covers the addresses
    if int(data[start]) in kinds:
        place: i64 = start + 4
        old_id = bytes(data[place : place + 2])
        new_id = int(wanted.sport).to_bytes(2, "big")
        data[place : place + 2] = new_id
        _update(data, check, old_id, new_id)


def _update(data: bytearray, place: i64, old: bytes, new: bytes) -> None:
    """RFC 1624, equation 3: the checksum at `place` after words that summed to `old` have become `new`."""
    total: i64 = (data[place] << 8 | data[place + 1]) ^ 0xFFFF
    at: i64 = 0
    while at < len(old):
        total += (old[at] << 8 | old[at + 1]) ^ 0xFFFF
        total += new[at] << 8 | new[at + 1]
        at += 2
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    total ^= 0xFFFF
    data[place] = total >> 8
    data[place + 1] = total & 0xFF
