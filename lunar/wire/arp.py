"""ARP's message, RFC 826, of IPv4 addresses over Ethernet; of other addresses nobody here speaks.

What follows its 28 bytes is Ethernet's padding.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from mypy_extensions import i64

from lunar.packet import ARP_BYTES, ArpMessage
from lunar.wire.malformed import BAD_HEADER_LENGTH, BAD_PROTOCOL, TRUNCATED, Malformed

# Hardware type, protocol type, their lengths, operation, sender's and target's hardware and network addresses.
_MESSAGE: Final = Struct(">HHBBHHIIHII")
_ETHERNET: Final = 1
_IPV4: Final = 0x0800

_TRUNCATED: Final = Malformed("arp", TRUNCATED)
_BAD_PROTOCOL: Final = Malformed("arp", BAD_PROTOCOL)
_BAD_LENGTH: Final = Malformed("arp", BAD_HEADER_LENGTH)


def encode(message: ArpMessage) -> bytes:
    """The message without Ethernet's header."""
    sender_mac: i64 = message.sender_mac
    target_mac: i64 = message.target_mac
    return _MESSAGE.pack(
        _ETHERNET, _IPV4, 6, 4, message.operation, sender_mac >> 32, sender_mac & 0xFFFF_FFFF, message.sender_ip,
        target_mac >> 32, target_mac & 0xFFFF_FFFF, message.target_ip,
    )  # fmt: skip


def copy(message: ArpMessage) -> ArpMessage:
    """The same message as another object."""
    other = ArpMessage(
        message.operation, message.sender_mac, message.sender_ip, message.target_mac, message.target_ip
    )
    other.eth_dst = message.eth_dst
    other.eth_src = message.eth_src
    return other


def decode(data: bytes) -> ArpMessage | Malformed:
    """The message at the start of `data`. Never raises."""
    if len(data) < ARP_BYTES:
        return _TRUNCATED
    fields = _MESSAGE.unpack_from(data)
    if fields[0] != _ETHERNET or fields[1] != _IPV4:
        return _BAD_PROTOCOL
    if fields[2] != 6 or fields[3] != 4:
        return _BAD_LENGTH
    sender_high: i64 = fields[5]
    sender_low: i64 = fields[6]
    target_high: i64 = fields[8]
    target_low: i64 = fields[9]
    return ArpMessage(
        fields[4], (sender_high << 32) | sender_low, fields[7], (target_high << 32) | target_low, fields[10]
    )
