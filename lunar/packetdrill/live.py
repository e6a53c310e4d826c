"""A packet as it is on the wire, taken apart as far as scripts speak of it, and made from bytes and into bytes.

Apart from lunar/wire, because that lays options out in one way, and a script may say any: in another order, without
padding, of a wrong length.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

import attrs

from lunar.packet import AF_INET6, ICMP, ICMPV6, IPV6_HEADER_BYTES, TCP, UDP
from lunar.packetdrill.script import TcpOption
from lunar.wire import checksum
from lunar.wire.address import family_of

_IP: Final = Struct(">BBHHHBBHII")
_IP6: Final = Struct(">IHBB16s16s")
_TCP: Final = Struct(">HHIIBBHHH")
_ICMP: Final = Struct(">BBHI")
_UDP: Final = Struct(">HHHH")

# Kinds of TCP options: RFC 9293, 7323, 2018, 2385, 7413; 254 with this number is the experimental fast open.
EOL: Final = 0
NOP: Final = 1
MSS: Final = 2
WSCALE: Final = 3
SACK_OK: Final = 4
SACK: Final = 5
TIMESTAMPS: Final = 8
MD5: Final = 19
FAST_OPEN: Final = 34
EXPERIMENTAL: Final = 254
_FAST_OPEN_MAGIC: Final = 0xF989

INBOUND_TTL: Final = 255
_DONT_FRAGMENT: Final = 0x4000


@attrs.define
class LivePacket:
    """A packet that was sent. Of what is not TCP the fields of TCP are 0, of what is not ICMP those of ICMP.

    `total_length` is IPv4's; of IPv6 the header counts, too.
    """

    at_ns: int
    src: int
    dst: int
    protocol: int
    tos: int
    ttl: int
    total_length: int
    payload: int  # bytes after the transport header
    sport: int = 0
    dport: int = 0
    seq: int = 0
    ack: int = 0
    flags: int = 0
    window: int = 0
    urgent: int = 0
    options: bytes = b""
    type: int = 0
    code: int = 0
    rest: int = 0
    quoted: bytes = b""


def parse(data: bytes, at_ns: int) -> LivePacket | None:
    """The packet of these bytes, None if they are none of IP's. Extension headers are not looked behind."""
    if len(data) >= 20 and data[0] >> 4 == 4:
        version, tos, length, _ident, _fragment, ttl, protocol, _check, src, dst = _IP.unpack_from(data)
        at = (version & 0xF) * 4
    elif len(data) >= IPV6_HEADER_BYTES and data[0] >> 4 == 6:
        word, size, protocol, ttl, source, destination = _IP6.unpack_from(data)
        src, dst = (int.from_bytes(address, "big") for address in (source, destination))
        at, tos, length = IPV6_HEADER_BYTES, word >> 20 & 0xFF, IPV6_HEADER_BYTES + size
    else:
        return None
    packet = LivePacket(at_ns, src, dst, protocol, tos, ttl, length, length - at)
    if protocol == TCP and len(data) >= at + 20:
        (
            packet.sport, packet.dport, packet.seq, packet.ack, offset, packet.flags, packet.window, _check,
            packet.urgent,
        ) = _TCP.unpack_from(data, at)  # fmt: skip
        end = at + (offset >> 4) * 4
        packet.options = data[at + 20 : end]
        packet.payload = length - end
    elif protocol == UDP and len(data) >= at + 8:
        packet.sport, packet.dport, size, _check = _UDP.unpack_from(data, at)
        packet.payload = size - 8
    elif protocol in (ICMP, ICMPV6) and len(data) >= at + 8:
        packet.type, packet.code, _check, packet.rest = _ICMP.unpack_from(data, at)
        packet.quoted = data[at + 8 :]
        packet.payload = length - at - 8
    return packet


def options_bytes(options: tuple[TcpOption, ...]) -> bytes:
    """Options in their order, filled up to words with EOL. Numbers in them are as they go on the wire."""
    parts: list[bytes] = []
    for option in options:
        name, value = option.name, option.value
        if name == "nop":
            parts.append(b"\x01")
        elif name == "eol":
            parts.append(b"\x00")
        elif name == "sackOK":
            parts.append(b"\x04\x02")
        elif name == "mss":
            parts.append(b"\x02\x04" + value.to_bytes(2, "big"))
        elif name == "wscale":
            parts.append(b"\x03\x03" + bytes([value]))
        elif isinstance(value, bytes):
            kind, start = {"md5": (MD5, b""), "FO": (FAST_OPEN, b""), "FOEXP": (EXPERIMENTAL, b"\xf9\x89")}[name]
            parts.append(bytes([kind, 2 + len(start) + len(value)]) + start + value)
        else:
            words = value if name == "TS" else [edge for block in value for edge in block]
            body = b"".join((word & 0xFFFF_FFFF).to_bytes(4, "big") for word in words)
            parts.append(bytes([TIMESTAMPS if name == "TS" else SACK, 2 + len(body)]) + body)
    data = b"".join(parts)
    return data + bytes(-len(data) % 4)


def parse_options(data: bytes) -> list[TcpOption]:
    """What `options_bytes` makes, back. What cannot be read ends the list as an option named by its kind."""
    found: list[TcpOption] = []
    at = 0
    while at < len(data):
        kind = data[at]
        if kind in (EOL, NOP):
            found.append(TcpOption("eol" if kind == EOL else "nop"))
            at += 1
            if kind == EOL:
                break
            continue
        size = data[at + 1] if at + 1 < len(data) else 0
        body = data[at + 2 : at + size]
        if size < 2 or at + size > len(data):
            found.append(TcpOption(f"kind {kind}, which is cut"))
            break
        found.append(_option(kind, body))
        at += size
    return found


def _option(kind: int, body: bytes) -> TcpOption:
    words = tuple(int.from_bytes(body[at : at + 4], "big") for at in range(0, len(body) - 3, 4))
    if kind == MSS and len(body) == 2:
        return TcpOption("mss", int.from_bytes(body, "big"))
    if kind == WSCALE and len(body) == 1:
        return TcpOption("wscale", body[0])
    if kind == SACK_OK and not body:
        return TcpOption("sackOK")
    if kind == TIMESTAMPS and len(body) == 8:
        return TcpOption("TS", (words[0], words[1]))
    if kind == SACK and len(body) % 8 == 0:
        return TcpOption("sack", tuple(zip(words[::2], words[1::2], strict=True)))
    if kind == MD5:
        return TcpOption("md5", body)
    if kind == FAST_OPEN:
        return TcpOption("FO", body)
    if kind == EXPERIMENTAL and body[:2] == b"\xf9\x89":
        return TcpOption("FOEXP", body[2:])
    return TcpOption(f"kind {kind}", body)


KINDS: Final = {
    "eol": EOL, "nop": NOP, "mss": MSS, "wscale": WSCALE, "sackOK": SACK_OK, "sack": SACK, "TS": TIMESTAMPS,
    "md5": MD5, "FO": FAST_OPEN, "FOEXP": EXPERIMENTAL,
}  # fmt: skip


def ip_bytes(src: int, dst: int, protocol: int, body: bytes, tos: int = 0, ttl: int = INBOUND_TTL) -> bytes:
    """An IP packet around `body`, of the addresses' family."""
    return ip_header(src, dst, protocol, len(body), tos, ttl) + body


def ip_header(src: int, dst: int, protocol: int, size: int, tos: int = 0, ttl: int = INBOUND_TTL) -> bytes:
    """An IP header before `size` bytes."""
    if family_of(src) == AF_INET6:
        addresses = src.to_bytes(16, "big"), dst.to_bytes(16, "big")
        return _IP6.pack(6 << 28 | tos << 20, size & 0xFFFF, protocol, ttl, *addresses)
    # More than 65535 bytes do not fit; Linux reads them as if the length were its low 16 bits, and so is it sent.
    fields = (0x45, tos, (20 + size) & 0xFFFF, 0, _DONT_FRAGMENT, ttl, protocol)
    check = checksum.internet(_IP.pack(*fields, 0, src, dst))
    return _IP.pack(*fields, check, src, dst)


def tcp_bytes(
    src: int, dst: int, sport: int, dport: int, seq: int, ack: int, flags: int, window: int, urgent: int,
    options: bytes, payload: bytes, tos: int = 0, ttl: int = INBOUND_TTL,
) -> bytes:  # fmt: skip
    """An IP packet with a TCP segment, checksums and all."""
    offset = (20 + len(options)) // 4 << 4
    fields = (sport, dport, seq & 0xFFFF_FFFF, ack & 0xFFFF_FFFF, offset, flags, window)
    rest = options + payload
    segment = _TCP.pack(*fields, 0, urgent) + rest
    check = checksum.internet(segment, checksum.pseudo_header(src, dst, TCP, len(segment)))
    return ip_bytes(src, dst, TCP, _TCP.pack(*fields, check, urgent) + rest, tos, ttl)


def udp_bytes(src: int, dst: int, sport: int, dport: int, size: int, tos: int = 0, ttl: int = INBOUND_TTL) -> bytes:
    """An IP packet with a UDP datagram of `size` zero bytes."""
    fields = (sport, dport, 8 + size)
    datagram = _UDP.pack(*fields, 0) + bytes(size)
    check = checksum.internet(datagram, checksum.pseudo_header(src, dst, UDP, len(datagram)))
    return ip_bytes(src, dst, UDP, _UDP.pack(*fields, check or 0xFFFF) + bytes(size), tos, ttl)


def icmp_bytes(src: int, dst: int, type: int, code: int, rest: int, body: bytes, tos: int, ttl: int) -> bytes:
    """An IP packet with a message of ICMP or, by the addresses, ICMPv6."""
    message = _ICMP.pack(type, code, 0, rest) + body
    protocol, pseudo = ICMP, 0
    if family_of(src) == AF_INET6:
        protocol, pseudo = ICMPV6, checksum.pseudo_header(src, dst, ICMPV6, len(message))
    check = checksum.internet(message, pseudo)
    return ip_bytes(src, dst, protocol, _ICMP.pack(type, code, check, rest) + body, tos, ttl)
