"""Frames for the network layer: IPv4 and IPv6 with all that may stand in their headers, ICMP, ARP, ND, IGMP, MLD, NAT.

Most are nearly right: addresses of the bench's hosts and groups, identifications that come again, quotations of what
the host may have sent; then bits are flipped, lengths changed, and checksums made right again in half of those. All are
bytes; what a device finds in them is `ethernet.frame_of`'s.
"""

from __future__ import annotations

import random
import struct

from lunar.wire import checksum

HOST4, NEAR4, FAR4, OUTSIDE4 = 0x0A00_0001, 0x0A00_0042, 0x0A01_0002, 0x0A01_0001
PREFIX6 = 0x2001_0DB8 << 96
HOST6, NEAR6 = PREFIX6 | 1, PREFIX6 | 0x42
FAR6 = PREFIX6 | 1 << 64 | 2
LINK6 = 0xFE80 << 112
ICMP, IGMP, TCP, UDP, ICMPV6 = 1, 2, 6, 17, 58

_PAYLOAD = random.Random(2).randbytes(3000)
_SIZES = (0, 0, 1, 7, 8, 8, 20, 64, 100, 500, 1400)
_GROUPS4 = (0xE000_0001, 0xE000_0016, 0xE000_00FB, 0xEF01_0203)
_ALL_NODES6, _ALL_ROUTERS6 = (0xFF02 << 112) | 1, (0xFF02 << 112) | 2
_GROUPS6 = (_ALL_NODES6, _ALL_ROUTERS6, (0xFF02 << 112) | 0x16, (0xFF02 << 112) | 0x0001_FF00_0001, (0xFF05 << 112) | 9)


class NetworkFrames:
    """Makes frames for a device with the hardware address `mac`. `link_local` is the host's there."""

    def __init__(self, rng: random.Random, mac: int, link_local: int) -> None:
        self.rng = rng
        self.mac = mac
        self.link_local = link_local
        self.ports = [53, 80, 4000]
        self.pieces: list[bytes] = []  # of packets that were cut, to come later

    def frame(self) -> bytes:
        """One frame of any kind."""
        rng = self.rng
        if self.pieces and rng.random() < 0.4:
            return self.pieces.pop(rng.randrange(len(self.pieces)))
        kind = rng.random()
        if kind < 0.02:
            return rng.randbytes(rng.randrange(100))
        if kind < 0.05:
            self._cut()
        if kind < 0.10:
            data = self._frame(0x0806, self._arp())
        elif kind < 0.55:
            data = self._frame(0x0800, self._ipv4())
        else:
            data = self._frame(0x86DD, self._ipv6())
        if rng.random() < 0.15:
            return self._changed(data)
        return data

    def _frame(self, ethertype: int, body: bytes) -> bytes:
        rng = self.rng
        draw = rng.random()
        if draw < 0.9:
            dst = self.mac
        elif draw < 0.94:
            dst = 0xFFFF_FFFF_FFFF
        else:
            dst = rng.choice((0x0100_5E00_0001, 0x3333_0000_0001, 0x3333_FF00_0001, rng.getrandbits(48)))
        src = 0x0200_0000_0063 + rng.randrange(200) if rng.random() < 0.9 else rng.getrandbits(48)
        return dst.to_bytes(6, "big") + src.to_bytes(6, "big") + struct.pack("!H", ethertype) + body

    def _cut(self) -> None:
        """A packet in pieces, in whichever order, one of them perhaps twice, lost or other than it was."""
        rng = self.rng
        six = rng.random() < 0.4
        src, dst = (NEAR6, rng.choice((HOST6, HOST6, FAR6))) if six else (NEAR4, rng.choice((HOST4, HOST4, FAR4)))
        protocol = rng.choice((UDP, UDP, TCP, ICMPV6 if six else ICMP))
        if protocol in (UDP, TCP):
            body = self._transport(protocol, src, dst)
        else:
            body = struct.pack("!BBHI", 128 if six else 8, 0, 0, rng.getrandbits(32)) + _PAYLOAD[: rng.randrange(2000)]
            body = self._summed(body, checksum.pseudo_header(src, dst, protocol, len(body)) if six else 0, 1.0)
        ident = rng.getrandbits(16)
        step = 8 * rng.randrange(1, 40)
        made = []
        for start in range(0, len(body), step):
            part, more = body[start : start + step], start + step < len(body)
            if six:
                head = struct.pack("!IHBB", 6 << 28, 8 + len(part), 44, 64) + src.to_bytes(16, "big")
                head += dst.to_bytes(16, "big") + struct.pack("!BBHI", protocol, 0, start | more, ident)
                made.append(self._frame(0x86DD, head + part))
            else:
                header = bytearray(
                    struct.pack(
                        "!BBHHHBBHII", 0x45, 0, 20 + len(part), ident, (0x2000 if more else 0) | start // 8, 64,
                        protocol, 0, src, dst,
                    )
                )  # fmt: skip
                header[10:12] = checksum.internet(bytes(header)).to_bytes(2, "big")
                made.append(self._frame(0x0800, bytes(header) + part))
        draw = rng.random()
        if draw < 0.1:
            made.append(rng.choice(made))
        elif draw < 0.2:
            made.remove(rng.choice(made))
        elif draw < 0.3:
            made.append(self._changed(rng.choice(made)))
        self.pieces = (self.pieces + made)[-400:]

    def _changed(self, data: bytes) -> bytes:
        rng = self.rng
        if rng.random() < 0.3:
            return data[: rng.randrange(len(data) + 1)]
        changed = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            changed[rng.randrange(12, len(changed))] ^= 1 << rng.randrange(8)
        if len(changed) > 34 and changed[12:14] == b"\x08\0" and rng.random() < 0.7:
            header = 4 * (changed[14] & 15)
            if header >= 20:
                changed[24:26] = b"\0\0"
                changed[24:26] = checksum.internet(bytes(changed[14 : 14 + header])).to_bytes(2, "big")
        return bytes(changed)

    # Addresses

    def _address4(self, source: bool) -> int:
        rng = self.rng
        draw = rng.random()
        if source:
            if draw < 0.8:
                return rng.choice((NEAR4, NEAR4, NEAR4 + rng.randrange(100), 0x6300_0000 + rng.randrange(50_000)))
            return rng.choice((HOST4, 0, 0x7F00_0001, 0xFFFF_FFFF, 0x0A00_00FF, *_GROUPS4, rng.getrandbits(32), FAR4))
        if draw < 0.55:
            return HOST4
        if draw < 0.85:
            return rng.choice((FAR4, FAR4, FAR4 + rng.randrange(50), 0x6300_0000 + rng.randrange(1000), OUTSIDE4))
        return rng.choice(
            (0x0A00_00FF, 0xFFFF_FFFF, 0x7F00_0001, 0, *_GROUPS4, rng.getrandbits(32), 0x0A01_00FF, NEAR4)
        )

    def _address6(self, source: bool) -> int:
        rng = self.rng
        draw = rng.random()
        if source:
            if draw < 0.8:
                return rng.choice((NEAR6, NEAR6 + rng.randrange(1000), LINK6 | 0x42, LINK6 | rng.randrange(1, 300)))
            return rng.choice((HOST6, 0, 1, _ALL_NODES6, self.link_local, FAR6, rng.getrandbits(128), 5))
        if draw < 0.5:
            return rng.choice((HOST6, HOST6, self.link_local))
        if draw < 0.75:
            return rng.choice((FAR6, FAR6, FAR6 + rng.randrange(100), rng.getrandbits(128)))
        return rng.choice((*_GROUPS6, *_GROUPS6, 0, 1, 7, NEAR6))

    # ARP

    def _arp(self) -> bytes:
        rng = self.rng
        sender = rng.choice((NEAR4, NEAR4 + rng.randrange(2000), HOST4, 0, rng.getrandbits(32)))
        target = rng.choice((HOST4, HOST4, OUTSIDE4, FAR4, sender, rng.getrandbits(32)))
        body = struct.pack(
            "!HHBBH", rng.choice((1, 1, 1, 6, 0)), rng.choice((0x0800, 0x0800, 0x0800, 0)), 6, 4,
            rng.choice((1, 1, 2, 2, 3, 8, 0)),
        )  # fmt: skip
        body += rng.getrandbits(48).to_bytes(6, "big") + sender.to_bytes(4, "big")
        body += rng.choice((0, self.mac)).to_bytes(6, "big") + target.to_bytes(4, "big")
        return body[: rng.randrange(28)] if rng.random() < 0.05 else body

    # IPv4

    def _ipv4(self) -> bytes:
        rng = self.rng
        src, dst = self._address4(True), self._address4(False)
        protocol = rng.choice((ICMP, ICMP, ICMP, UDP, UDP, TCP, IGMP, rng.getrandbits(8)))
        if protocol == IGMP and rng.random() < 0.7:
            dst = rng.choice(_GROUPS4)
        body = self._body4(protocol, src, dst)
        options = self._options4() if rng.random() < 0.25 else b""
        word = 0x4000 if rng.random() < 0.2 else 0
        if rng.random() < 0.25:
            start = 8 * rng.choice((0, 0, 1, 2, 3, 10, 100, 8189, 8191))
            more = rng.random() < 0.6
            word = (0x2000 if more else 0) | start // 8
            body = (body + _PAYLOAD)[: rng.choice((0, 5, 8, 16, 24, 64, 800))]
        tos = rng.choice((0, 0, 0, 1, 2, 3, 0x10, rng.getrandbits(8)))
        ttl = rng.choice((64, 64, 64, 255, 1, 0, 2))
        length = 20 + len(options)
        header = bytearray(
            struct.pack(
                "!BBHHHBBHII", 0x40 | length // 4, tos, length + len(body), rng.randrange(6), word, ttl, protocol, 0,
                src, dst,
            )
            + options
        )  # fmt: skip
        header[10:12] = checksum.internet(bytes(header)).to_bytes(2, "big")
        return bytes(header) + body

    def _options4(self) -> bytes:
        rng = self.rng
        made = bytearray()
        while len(made) < 36 and rng.random() < 0.8:
            kind = rng.choice((0, 1, 1, 7, 68, 131, 137, 148, 130, rng.getrandbits(8)))
            made.append(kind)
            if kind > 1:
                length = rng.choice((2, 3, 4, 7, 8, 11, 12, 15, 20, 36, rng.getrandbits(8)))
                made.append(length)
                body = bytearray(rng.randbytes(min(max(length - 2, 0), 38)))
                if body:
                    body[0] = rng.choice((0, 3, 4, 5, 8, 9, length, length + 1, rng.getrandbits(8))) & 0xFF
                if len(body) > 5 and rng.random() < 0.7:
                    body[-4:] = rng.choice((FAR4, HOST4, OUTSIDE4, NEAR4)).to_bytes(4, "big")
                made += body
        del made[40:]
        return bytes(made + bytes(-len(made) % 4))

    def _transport(self, protocol: int, src: int, dst: int) -> bytes:
        """A UDP datagram or a TCP segment, for either family."""
        rng = self.rng
        sport, dport = rng.choice((1024, 4000, rng.getrandbits(16))), rng.choice((*self.ports, rng.getrandbits(16)))
        data = _PAYLOAD[: rng.choice(_SIZES)]
        if protocol == UDP:
            body = bytearray(struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data)
            at = 6
        else:
            body = bytearray(
                struct.pack(
                    "!HHIIHHHH", sport, dport, rng.getrandbits(32), rng.getrandbits(32),
                    5 << 12 | rng.choice((0x02, 0x10, 0x11, 0x04, 0x12, rng.getrandbits(8))), 1000, 0, 0,
                )
                + data
            )  # fmt: skip
            at = 16
        total = checksum.pseudo_header(src, dst, protocol, len(body))
        if rng.random() < 0.95:
            body[at : at + 2] = checksum.internet(bytes(body), total).to_bytes(2, "big")
        return bytes(body)

    def _body4(self, protocol: int, src: int, dst: int) -> bytes:
        rng = self.rng
        if protocol in (UDP, TCP):
            return self._transport(protocol, src, dst)
        if protocol == ICMP:
            kind = rng.choice((8, 8, 0, 3, 3, 3, 4, 5, 5, 11, 12, 13, 17, 10, rng.getrandbits(8)))
            code = rng.choice((0, 0, 1, 3, 4, 5, 13, rng.getrandbits(8)))
            rest = rng.choice((0, 576, 100, 1400, NEAR4 + 7, NEAR4 + rng.randrange(100), rng.getrandbits(32)))
            data = _PAYLOAD[: rng.choice(_SIZES)]
            if kind in (3, 4, 5, 11, 12):
                data = self._quote4(src)
            return self._summed(struct.pack("!BBHI", kind, code, 0, rest) + data, 0, 0.95)
        if protocol == IGMP:
            kind = rng.choice((0x11, 0x11, 0x12, 0x16, 0x17, 0x22, rng.getrandbits(8)))
            body = struct.pack("!BBHI", kind, rng.getrandbits(8), 0, rng.choice((0, *_GROUPS4, rng.getrandbits(32))))
            if kind == 0x11 and rng.random() < 0.6:
                count = rng.choice((0, 1, 3, 1000))
                body += struct.pack("!BBH", rng.getrandbits(8), rng.getrandbits(8), count)
                body += rng.randbytes(4 * min(count, 5))
            return self._summed(body, 0, 0.95)
        return rng.randbytes(rng.randrange(60))

    def _quote4(self, src: int) -> bytes:
        """A packet that the host, or somebody behind it, may have sent to who complains."""
        rng = self.rng
        sender = rng.choice((HOST4, HOST4, OUTSIDE4, FAR4, rng.getrandbits(32)))
        protocol = rng.choice((UDP, TCP, ICMP, rng.getrandbits(8)))
        length = rng.choice((5, 5, 5, 6, 15, 4))
        quote = struct.pack(
            "!BBHHHBBHII", 0x40 | length, 0, 60, rng.getrandbits(16), 0, 60, protocol, 0, sender,
            rng.choice((src, src, rng.getrandbits(32))),
        )  # fmt: skip
        quote += rng.randbytes(max(4 * length - 20, 0))
        if protocol == ICMP:
            quote += struct.pack("!BBHI", rng.choice((0, 8)), 0, 0, rng.getrandbits(32))
        else:
            quote += struct.pack("!HHHH", rng.choice((*self.ports, 1024)), rng.choice((1024, 4000)), 30, 0)
        quote += rng.randbytes(rng.randrange(30))
        return quote[: rng.randrange(len(quote) + 1)] if rng.random() < 0.1 else quote

    def _summed(self, body: bytes, initial: int, share: float) -> bytes:
        if self.rng.random() >= share:
            return body
        return body[:2] + checksum.internet(body, initial).to_bytes(2, "big") + body[4:]

    # IPv6

    def _ipv6(self) -> bytes:
        rng = self.rng
        src, dst = self._address6(True), self._address6(False)
        protocol = rng.choice((ICMPV6, ICMPV6, ICMPV6, ICMPV6, UDP, TCP, 59, rng.getrandbits(8)))
        hops = rng.choice((64, 64, 255, 255, 1, 0, 2))
        if protocol == ICMPV6:
            body, hops = self._icmp6(src, dst, hops)
        elif protocol in (UDP, TCP):
            body = self._transport(protocol, src, dst)
        else:
            body = rng.randbytes(rng.randrange(60))
        first, body = self._chain(protocol, body)
        word = 6 << 28 | rng.choice((0, 0, 1, 2, 3, rng.getrandbits(8))) << 20 | rng.choice((0, rng.getrandbits(20)))
        size = len(body) if rng.random() < 0.97 else rng.getrandbits(16)
        return struct.pack("!IHBB", word, size, first, hops) + src.to_bytes(16, "big") + dst.to_bytes(16, "big") + body

    def _chain(self, protocol: int, body: bytes) -> tuple[int, bytes]:
        """Extension headers before `body`, from the last to the first."""
        rng = self.rng
        following = protocol
        while rng.random() < 0.3:
            kind = rng.choice((0, 60, 43, 44, 44))
            if kind == 44:
                start = 8 * rng.choice((0, 0, 1, 2, 10, 8191))
                more = rng.random() < 0.6
                if rng.random() < 0.8:
                    body = (body + _PAYLOAD)[: rng.choice((0, 5, 8, 16, 24, 64, 800))]
                body = struct.pack("!BBHI", following, 0, start | more, rng.randrange(4)) + body
            elif kind == 43:
                body = bytes([following, 2, rng.choice((0, 2, 3, 4, rng.getrandbits(8))), rng.choice((0, 1, 9))]) + (
                    bytes(4) + rng.choice((HOST6, FAR6)).to_bytes(16, "big") + body
                )
            else:
                body = self._tlvs(following) + body
            following = kind
        return following, body

    def _tlvs(self, following: int) -> bytes:
        rng = self.rng
        made = bytearray([following, 0])
        while rng.random() < 0.7 and len(made) < 60:
            kind = rng.choice((0, 1, 1, 5, 0xC2, 0x1E, 0x5E, 0x9E, 0xDE, rng.getrandbits(8)))
            made.append(kind)
            if kind:
                length = rng.choice((0, 1, 2, 4, 6, rng.getrandbits(8)))
                made.append(length)
                made += bytes(min(length, 20)) if rng.random() < 0.7 else rng.randbytes(min(length, 20))
        room = -len(made) % 8
        made += b"\0" if room == 1 else bytes([1, room - 2]) + bytes(room - 2) if room else b""
        made[1] = len(made) // 8 - 1 if rng.random() < 0.9 else rng.getrandbits(8)
        return bytes(made)

    def _icmp6(self, src: int, dst: int, hops: int) -> tuple[bytes, int]:
        rng = self.rng
        kind = rng.choice(
            (128, 128, 129, 1, 2, 3, 4, 133, 134, 134, 135, 135, 136, 136, 137, 130, 131, 143, rng.getrandbits(8))
        )
        code = rng.choice((0, 0, 0, 1, 3, 4, rng.getrandbits(8)))
        rest = rng.choice((0, 1280, 1000, 100, 0x4000_0708, 0xE000_0000, rng.getrandbits(32)))
        data = _PAYLOAD[: rng.choice(_SIZES)]
        if kind < 128:
            data = self._quote6(src)
        elif kind in range(133, 138):
            hops = 255 if rng.random() < 0.9 else hops
            data = self._discovery(kind, src)
        elif kind == 130:
            hops = 1 if rng.random() < 0.9 else hops
            data = rng.choice((0, *_GROUPS6)).to_bytes(16, "big")
            if rng.random() < 0.6:
                count = rng.choice((0, 1, 2000))
                data += struct.pack("!BBH", rng.getrandbits(8), rng.getrandbits(8), count)
                data += rng.randbytes(16 * min(count, 2))
        body = struct.pack("!BBHI", kind, code, 0, rest) + data
        return self._summed(body, checksum.pseudo_header(src, dst, ICMPV6, len(body)), 0.95), hops

    def _quote6(self, src: int) -> bytes:
        rng = self.rng
        protocol = rng.choice((UDP, TCP, ICMPV6, 0, 44, rng.getrandbits(8)))
        sender = rng.choice((HOST6, HOST6, self.link_local, FAR6, rng.getrandbits(128)))
        quote = struct.pack("!IHBB", 6 << 28, 40, protocol, 60)
        quote += sender.to_bytes(16, "big") + rng.choice((src, rng.getrandbits(128))).to_bytes(16, "big")
        if protocol == ICMPV6:
            quote += struct.pack("!BBHI", rng.choice((128, 129)), 0, 0, rng.getrandbits(32))
        else:
            quote += struct.pack("!HHHH", rng.choice((*self.ports, 1024)), rng.choice((1024, 4000)), 30, 0)
        quote += rng.randbytes(rng.randrange(30))
        return quote[: rng.randrange(len(quote) + 1)] if rng.random() < 0.1 else quote

    def _discovery(self, kind: int, src: int) -> bytes:
        rng = self.rng
        target = rng.choice((HOST6, self.link_local, NEAR6 + rng.randrange(3000), src, FAR6, _ALL_NODES6))
        if kind == 134:
            data = struct.pack("!II", rng.choice((0, 30_000, 3_700_000, rng.getrandbits(32))), rng.choice((0, 1000)))
        elif kind == 137:
            data = target.to_bytes(16, "big") + rng.choice((FAR6, target, rng.getrandbits(128))).to_bytes(16, "big")
        elif kind == 133:
            data = b""
        else:
            data = target.to_bytes(16, "big")
        while rng.random() < 0.6:
            data += self._discovery_option()
        return data

    def _discovery_option(self) -> bytes:
        rng = self.rng
        kind = rng.choice((1, 2, 3, 3, 4, 5, 14, 24, 25, rng.getrandbits(8)))
        if kind in (1, 2):
            body = rng.getrandbits(48).to_bytes(6, "big")
        elif kind == 3:
            prefix = PREFIX6 | rng.randrange(40) << 64 if rng.random() < 0.8 else rng.getrandbits(128)
            lifetimes = (rng.choice((0, 100, 7200, 0xFFFF_FFFF)), rng.choice((0, 50, 3600, 0xFFFF_FFFF)))
            body = struct.pack(
                "!BBIII", rng.choice((64, 64, 64, 0, 128, 200)), rng.choice((0xC0, 0x80, 0x40, 0)), *lifetimes, 0
            ) + prefix.to_bytes(16, "big")
        elif kind == 5:
            body = struct.pack("!HI", 0, rng.choice((1280, 1400, 1500, 100, rng.getrandbits(32))))
        elif kind == 14:
            body = rng.randbytes(6)
        else:
            body = rng.randbytes(rng.choice((6, 14, 22)))
        length = (len(body) + 2) // 8 if rng.random() < 0.93 else rng.getrandbits(8)
        return bytes([kind, length]) + body
