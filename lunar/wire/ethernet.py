"""Ethernet II's header around an IP packet or an ARP message: destination, source, EtherType.

Frames have no padding to 60 bytes and no frame check sequence: a real device adds them below the place where captures
and raw sockets see a frame. Padding that comes in, IP's own length cuts.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from mypy_extensions import i64

from lunar.packet import (
    ETHERNET_HEADER_BYTES,
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    IPV4_HEADER_BYTES,
    ArpMessage,
    Damaged,
    Frame,
    Packet,
    RawFrame,
)
from lunar.wire import arp, inet, ipv4, ipv6
from lunar.wire.malformed import ETHERTYPE, TRUNCATED, Malformed

# Two addresses of 16 + 32 bits, EtherType.
_HEADER: Final = Struct(">HIHIH")

# RFC 3168 (5): both bits of the field. In IPv6 it is 20 bits from the packet's start: the second byte's upper half.
CE: Final = 3

_HEX_DIGITS: Final = "0123456789abcdefABCDEF"

_TRUNCATED: Final = Malformed("ethernet", TRUNCATED)
_ETHERTYPE: Final = Malformed("ethernet", ETHERTYPE)


def encode(frame: Frame) -> bytes:
    """Header and body of a frame that carries IP or ARP, or did before it was damaged; of a raw one what it is."""
    if isinstance(frame, RawFrame):
        return frame.data
    dst: i64 = frame.eth_dst
    src: i64 = frame.eth_src
    header = _HEADER.pack(dst >> 32, dst & 0xFFFF_FFFF, src >> 32, src & 0xFFFF_FFFF, frame.ethertype)
    if isinstance(frame, Damaged):
        return header + frame.data
    if isinstance(frame, ArpMessage):
        return header + arp.encode(frame)
    assert isinstance(frame, Packet), "a frame that is no packet has no bytes"
    return header + inet.encode(frame)


def decode(data: bytes) -> Packet | Malformed:
    """The packet in a frame, with the frame's addresses set. Never raises."""
    if len(data) < ETHERNET_HEADER_BYTES:
        return _TRUNCATED
    fields = _HEADER.unpack_from(data)
    ethertype: i64 = fields[4]
    result: Packet | Malformed
    if ethertype == ETHERTYPE_IPV4:
        result = ipv4.decode(data[ETHERNET_HEADER_BYTES:])
    elif ethertype == ETHERTYPE_IPV6:
        result = ipv6.decode(data[ETHERNET_HEADER_BYTES:])
    else:
        return _ETHERTYPE
    if isinstance(result, Malformed):
        return result
    dst_high: i64 = fields[0]
    dst_low: i64 = fields[1]
    src_high: i64 = fields[2]
    src_low: i64 = fields[3]
    result.eth_dst = (dst_high << 32) | dst_low
    result.eth_src = (src_high << 32) | src_low
    return result


def copy(frame: Frame) -> Frame:
    """The same frame as another object, by way of its bytes."""
    if isinstance(frame, RawFrame):
        return RawFrame(frame.data)
    if isinstance(frame, (ArpMessage, Damaged)):
        return frame_of(encode(frame))
    result = decode(encode(frame))
    if not isinstance(result, Malformed):
        return result
    assert isinstance(frame, Packet), "a frame of ours did not survive its own bytes"
    other = inet.copy(frame)
    other.eth_dst = frame.eth_dst
    other.eth_src = frame.eth_src
    return other


def corrupt(frame: Frame, flipped: tuple[int, ...]) -> Frame:
    """The frame as it is after those bits of its IP packet were flipped; bit 0 is the first byte's highest."""
    data = bytearray(encode(frame))
    for bit in flipped:
        data[ETHERNET_HEADER_BYTES + (bit >> 3)] ^= 0x80 >> (bit & 7)
    return RawFrame(bytes(data)) if isinstance(frame, RawFrame) else frame_of(bytes(data))


def mark_congested(data: bytes) -> bytes:
    """The frame with its packet marked by ECN (RFC 3168), its checksum right; b"" if its sender cannot do ECN."""
    if len(data) < ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES:
        return b""
    ethertype = data[12:14]
    at = ETHERNET_HEADER_BYTES + 1
    if ethertype == b"\x08\x00":
        if not data[at] & CE:
            return b""
        marked = bytearray(data)
        marked[at] |= CE
        # RFC 1624: HC' = ~(~HC + ~m + m'), of the word that holds the version, the header's length and the field.
        old: i64 = (data[at - 1] << 8) | data[at]
        new: i64 = old | CE
        checksum: i64 = (data[at + 9] << 8) | data[at + 10]
        total: i64 = (checksum ^ 0xFFFF) + (old ^ 0xFFFF) + new
        total = (total & 0xFFFF) + (total >> 16)
        total = ((total & 0xFFFF) + (total >> 16)) ^ 0xFFFF
        marked[at + 9] = total >> 8
        marked[at + 10] = total & 0xFF
        return bytes(marked)
    if ethertype == b"\x86\xdd":
        if not data[at] & (CE << 4):
            return b""
        marked = bytearray(data)
        marked[at] |= CE << 4
        return bytes(marked)
    return b""


def frame_of(data: bytes) -> Frame:
    """What a device finds in `data`, whatever it is. Never raises.

    A packet whose IP header holds together finds its way, though its transport's part may be wrong: it is a plain
    `Packet` then, which its destination counts and drops. What has no good IP header is `Damaged`.
    """
    result = decode(data)
    if not isinstance(result, Malformed):
        return result
    header = data[:ETHERNET_HEADER_BYTES].ljust(ETHERNET_HEADER_BYTES, b"\0")
    fields = _HEADER.unpack_from(header)
    dst_high: i64 = fields[0]
    dst_low: i64 = fields[1]
    src_high: i64 = fields[2]
    src_low: i64 = fields[3]
    body = data[ETHERNET_HEADER_BYTES:]
    frame: Frame
    ethertype: i64 = fields[4]
    message = arp.decode(body) if ethertype == ETHERTYPE_ARP else result
    if not isinstance(message, Malformed):
        frame = message
    elif result.layer == "ethernet" or result.layer == "ipv4" or result.layer == "ipv6":
        frame = Damaged(ethertype, body)
    elif ethertype == ETHERTYPE_IPV6:
        frame = ipv6.decode_header(body)
    else:
        frame = ipv4.decode_header(body)
    frame.eth_dst = (dst_high << 32) | dst_low
    frame.eth_src = (src_high << 32) | src_low
    return frame


def mac_text(mac: int) -> str:
    """`mac`, 0 to 2**48 - 1, as ip-link(8) prints it: "02:00:00:00:00:01"."""
    assert 0 <= mac <= 0xFFFF_FFFF_FFFF, "a hardware address has 48 bits"
    digits = f"{mac:012x}"
    return f"{digits[0:2]}:{digits[2:4]}:{digits[4:6]}:{digits[6:8]}:{digits[8:10]}:{digits[10:12]}"


def parse_mac(text: str) -> int:
    """The hardware address that six two-digit hexadecimal numbers with colons say. Raises `ValueError`."""
    parts = text.split(":")
    if len(parts) != 6:
        raise _not_mac(text)
    mac = 0
    for part in parts:
        # int() alone would also take "+1", " 1" and the digits of other scripts.
        if len(part) != 2 or part[0] not in _HEX_DIGITS or part[1] not in _HEX_DIGITS:
            raise _not_mac(text)
        mac = (mac << 8) | int(part, 16)
    return mac


def _not_mac(text: str) -> ValueError:
    return ValueError(f'"{text}" is not a hardware address; expected six hexadecimal pairs, as 02:00:00:00:00:01')
