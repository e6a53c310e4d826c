"""Frames that nobody should send: random bytes, valid frames that were changed, and headers with any fields.

Most are aimed: `Aim` says what the receiver expects next, so that numbers lie at the edges where its checks are. All
are bytes; what a device finds in them is `ethernet.frame_of`'s.
"""

from __future__ import annotations

import random
from struct import Struct

from lunar.packet import (
    ACK,
    AF_INET,
    FIN,
    ICMP,
    PSH,
    RST,
    SYN,
    TCP,
    UDP,
    URG,
    IcmpMessage,
    Packet,
    TcpSegment,
    UdpDatagram,
)
from lunar.packet import set_tcp_size as set_size
from lunar.wire import checksum, ethernet

_MASK = 0xFFFF_FFFF
_COMMON_FLAGS = (
    ACK, ACK, ACK, ACK | PSH, ACK | PSH, SYN, SYN, SYN | ACK, RST, RST | ACK, FIN | ACK, FIN | PSH | ACK, URG | ACK,
    FIN, 0, SYN | FIN, SYN | RST, 0xFF,
)  # fmt: skip
_SIZES = (0, 0, 0, 0, 1, 2, 7, 100, 536, 1000, 1448, 1460)
_PAYLOAD = random.Random(1).randbytes(2000)
_IP = Struct(">BBHHHBBHII")
# Options that RFCs define, cut and whole, and some that nobody has: kinds 2-5, 8, 19 (MD5), 28, 29, 30, 34 (fast open).
_KINDS = (0, 1, 2, 3, 4, 5, 8, 19, 28, 29, 30, 34, 69, 253, 254, 255)


class Aim:
    """A connection as its peer would know it: addresses, ports, and the numbers that the receiver expects."""

    def __init__(self, src: int, dst: int, sport: int, dport: int) -> None:
        self.src, self.dst, self.sport, self.dport = src, dst, sport, dport
        self.seq = self.ack = self.una = 0  # of the next segment; `una` the least that is not acknowledged
        self.window = 65_535
        self.ts_val = self.ts_ecr = 0


class Frames:
    """Makes frames for a device with the hardware address `mac`."""

    def __init__(self, rng: random.Random, mac: int) -> None:
        self.rng = rng
        self.mac = mac

    def frame(self, aim: Aim) -> bytes:
        """One frame, probably for the connection of `aim`."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.02:
            return rng.randbytes(rng.randrange(120))
        if kind < 0.04:
            return self._ethernet() + rng.randbytes(rng.randrange(120))
        if kind < 0.08:
            return self._fragment(aim)
        if kind < 0.13:
            return self._icmp_error(aim)
        if kind < 0.16:
            return self._other(aim)
        if kind < 0.24:
            return self._with_raw_options(aim)
        data = ethernet.encode(self._segment(aim))
        return self._changed(data) if rng.random() < 0.15 else data

    def _ethernet(self) -> bytes:
        ethertype = b"\x08\x00" if self.rng.random() < 0.8 else self.rng.randbytes(2)
        return self.mac.to_bytes(6, "big") + b"\x02\x00\x00\x00\x00\x63" + ethertype

    def _near(self, center: int, window: int) -> int:
        """A number at or around the place where it should be."""
        rng = self.rng
        draw = rng.random()
        if draw < 0.4:
            return center
        if draw < 0.6:
            return center + rng.randrange(-3, 4)
        if draw < 0.8:
            return center + rng.randrange(-window - 2, window + 3)
        if draw < 0.9:
            return center + rng.choice((window, window - 1, window + 1, -window, 1 << 31, (1 << 31) - 1, -(1 << 31)))
        return rng.getrandbits(32)

    def _segment(self, aim: Aim) -> TcpSegment:
        rng = self.rng
        flags = rng.choice(_COMMON_FLAGS) if rng.random() < 0.9 else rng.getrandbits(8)
        size = rng.choice(_SIZES)
        segment = TcpSegment(
            AF_INET, aim.src, aim.dst, aim.sport, aim.dport, self._near(aim.seq, aim.window) & _MASK,
            self._near(aim.ack if rng.random() < 0.7 else aim.una, 30_000) & _MASK, flags,
            rng.choice((0, 1, 100, 1000, 65_535, rng.getrandbits(16))), _PAYLOAD[:size],
        )  # fmt: skip
        segment.eth_dst = self.mac
        segment.ident = rng.getrandbits(16)
        draw = rng.random()
        if draw < 0.6:
            segment.has_timestamps = True
            segment.ts_val = self._near(aim.ts_val, 1000) & _MASK
            segment.ts_ecr = self._near(aim.ts_ecr, 1000) & _MASK
        if flags & SYN and draw < 0.9:
            segment.mss = rng.choice((0, 1, 48, 88, 536, 1460, 65_535))
            segment.window_scale = rng.choice((-1, 0, 7, 14, 15, 255))
            segment.sack_permitted = rng.random() < 0.5
        elif 0.3 < draw < 0.5:
            left, right = self._near(aim.una, 30_000), self._near(aim.ack, 30_000)
            segment.sack_blocks = [
                (left & _MASK, (right if rng.random() < 0.5 else left + 100) & _MASK) for _ in range(rng.randrange(4))
            ]
        if flags & URG:
            segment.urgent = rng.choice((0, 1, 2, size, 65_535, rng.getrandbits(16)))
        if rng.random() < 0.05:
            segment.tos = rng.getrandbits(8)
        if rng.random() < 0.02:
            # Somebody else's address, our own, a group's, everybody's; or another port.
            segment.src = rng.choice((aim.dst, 0, 0xFFFF_FFFF, 0xE000_0001, 0x7F00_0001, rng.getrandbits(32)))
        if rng.random() < 0.02:
            segment.dst = rng.choice((0xFFFF_FFFF, 0xE000_0001, aim.dst | 0xFF, rng.getrandbits(32)))
        if rng.random() < 0.02:
            segment.dport = rng.getrandbits(16)
        set_size(segment)
        return segment

    def _changed(self, data: bytes) -> bytes:
        """Cut, lengthened, or with bits flipped; half of those with checksums made anew, so that they are looked at."""
        rng = self.rng
        draw = rng.random()
        if draw < 0.2:
            return data[: rng.randrange(len(data) + 1)]
        if draw < 0.3:
            return data + rng.randbytes(rng.randrange(1, 30))
        changed = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(12, len(changed))
            changed[at] = rng.getrandbits(8) if rng.random() < 0.5 else changed[at] ^ 1 << rng.randrange(8)
        if draw < 0.65 and len(changed) >= 54:
            _mend(changed)
        return bytes(changed)

    def _with_raw_options(self, aim: Aim) -> bytes:
        """A TCP header with any options, of any lengths, after an IP header with or without options."""
        rng = self.rng
        options = bytearray()
        while len(options) < 40 and rng.random() < 0.8:
            kind = rng.choice(_KINDS)
            options.append(kind)
            if kind > 1:
                length = rng.choice((0, 1, 2, 3, 4, 6, 8, 10, 12, 18, 34, 40, rng.getrandbits(8)))
                options.append(length)
                options += rng.randbytes(max(min(length, 40) - 2, 0))
        del options[40:]
        options += b"\0" * (-len(options) % 4)
        offset = 5 + len(options) // 4 if rng.random() < 0.9 else rng.randrange(16)
        flags = rng.choice(_COMMON_FLAGS)
        header = bytearray(
            Struct(">HHIIHHHH").pack(
                aim.sport, aim.dport, self._near(aim.seq, aim.window) & _MASK, self._near(aim.ack, 30_000) & _MASK,
                offset << 12 | rng.getrandbits(4) << 8 | flags, rng.getrandbits(16), 0, rng.getrandbits(16),
            )
        )  # fmt: skip
        body = header + options + _PAYLOAD[: rng.choice(_SIZES)]
        ip_options = rng.randbytes(4 * rng.randrange(11)) if rng.random() < 0.2 else b""
        data = bytearray(self._ethernet()[:12] + b"\x08\x00" + self._ip(aim, TCP, 0, ip_options, len(body)) + body)
        _mend(data)
        return bytes(data)

    def _ip(self, aim: Aim, protocol: int, word: int, options: bytes, size: int) -> bytes:
        first = 0x45 + len(options) // 4
        total = 20 + len(options) + size
        return _IP.pack(first, 0, total, self.rng.getrandbits(16), word, 64, protocol, 0, aim.src, aim.dst) + options

    def _fragment(self, aim: Aim) -> bytes:
        """A piece of a packet; pieces overlap, lie beyond the end, or are alone."""
        rng = self.rng
        body = ethernet.encode(self._segment(aim))[34:]
        offset = rng.choice((0, 0, 1, 2, 3, 100, 8000, 8191))
        more = rng.random() < 0.6 or offset == 0
        packet = Packet(AF_INET, aim.src, aim.dst, TCP, body[: rng.randrange(len(body) + 1)])
        packet.eth_dst = self.mac
        packet.fragment_offset = 8 * offset
        packet.more_fragments = more
        packet.ident = rng.randrange(4)
        return ethernet.encode(packet)

    def _icmp_error(self, aim: Aim) -> bytes:
        """An error about a segment that the receiver might have sent, quoted rightly or not."""
        rng = self.rng
        quote = bytearray(
            _IP.pack(0x45, 0, 60, rng.getrandbits(16), 0x4000, 60, TCP, 0, aim.dst, aim.src)
            + Struct(">HHI").pack(aim.dport, aim.sport, self._near(aim.una, 30_000) & _MASK)
            + rng.randbytes(rng.randrange(20))
        )
        if rng.random() < 0.3:
            quote[rng.randrange(len(quote))] = rng.getrandbits(8)
        if rng.random() < 0.1:
            del quote[rng.randrange(len(quote)) :]
        kind = rng.choice((3, 3, 3, 3, 4, 5, 11, 12, rng.getrandbits(8)))
        code = rng.choice((0, 1, 2, 3, 4, 4, 4, 5, 13, rng.getrandbits(8)))
        rest = rng.choice((0, 1, 20, 68, 296, 552, 576, 1000, 1400, 1500, 65_535, rng.getrandbits(32)))
        message = IcmpMessage(AF_INET, rng.choice((aim.src, 0x0A00_0063)), aim.dst, kind, code, rest, bytes(quote))
        message.eth_dst = self.mac
        message.size_bytes = 28 + len(quote)
        return ethernet.encode(message)

    def _other(self, aim: Aim) -> bytes:
        """UDP, an echo, or a protocol that nobody has."""
        rng = self.rng
        if rng.random() < 0.2:
            datagram = UdpDatagram(AF_INET, aim.src, aim.dst, aim.sport, 53, rng.randbytes(rng.randrange(100)))
            datagram.size_bytes = 28 + len(datagram.payload)
            datagram.eth_dst = self.mac
            return ethernet.encode(datagram)
        protocol = rng.choice((UDP, ICMP, 47, 132, rng.getrandbits(8)))
        body = rng.randbytes(rng.randrange(40))
        data = bytearray(self._ethernet()[:12] + b"\x08\x00" + self._ip(aim, protocol, 0, b"", len(body)) + body)
        _mend(data)
        return bytes(data)


def _mend(frame: bytearray) -> None:
    """Make the checksums of an IPv4 packet right, its transport's too where there is one at the usual place."""
    header = 4 * (frame[14] & 0x0F)
    if header < 20 or 14 + header > len(frame):
        return
    frame[24:26] = b"\0\0"
    frame[24:26] = checksum.internet(bytes(frame[14 : 14 + header])).to_bytes(2, "big")
    body_at = 14 + header
    total = int.from_bytes(frame[16:18], "big")
    body = frame[body_at : 14 + total]
    at = {TCP: 16, UDP: 6, ICMP: 2}.get(frame[23])
    if at is None or len(body) < at + 2:
        return
    body[at : at + 2] = b"\0\0"
    initial = 0
    if frame[23] != ICMP:
        src, dst = int.from_bytes(frame[26:30], "big"), int.from_bytes(frame[30:34], "big")
        initial = checksum.pseudo_header(src, dst, frame[23], len(body))
    frame[body_at + at : body_at + at + 2] = checksum.internet(bytes(body), initial).to_bytes(2, "big")
