"""Random packets for duel.py: conversations that go on while rules let them, and what disturbs them.

A conversation's answers are made from what came out on the other side, as a real host there would make them; so they
go back through whatever translation there was. Each has a source port of its own, since of two that clash one gets
another by chance.
"""

from __future__ import annotations

import random
from typing import Final

from random_rules import PORTS
from routers import Sent

from lunar.packet import (
    ACK,
    AF_INET,
    AF_INET6,
    FIN,
    ICMPV6,
    PSH,
    RST,
    SYN,
    IcmpMessage,
    Packet,
    TcpSegment,
    UdpDatagram,
    set_tcp_size,
)
from lunar.wire import inet
from lunar.wire.malformed import Malformed

_BEHIND: Final = {
    AF_INET: {"ta": 0x0A00_0000, "tb": 0x0A01_0000},
    AF_INET6: {"ta": 0x2001_0DB8 << 96, "tb": 0x2001_0DB8_000B << 80},
}
_ROUTER: Final = tuple(network + 1 for networks in _BEHIND.values() for network in networks.values())
# Of ICMP and ICMPv6: echo and its reply; errors by type and code; what belongs to nothing.
_ECHO: Final = {AF_INET: (8, 0), AF_INET6: (128, 129)}
_ERRORS: Final = {
    AF_INET: ((3, 3), (3, 1), (3, 13), (11, 0), (12, 0), (5, 1)),
    AF_INET6: ((1, 4), (1, 0), (1, 1), (3, 0), (4, 0), (4, 1)),
}
_STRAY: Final = {AF_INET: (0, 13, 3, 9, 40), AF_INET6: (129, 1, 4, 127, 200)}
_WORDS: Final = (b"", b"x", b"GET /index.html HTTP/1.0\r\n\r\n", b"something evil here")
# Over IPv6 nothing long: where a rule has changed the header of a datagram of more than 76 bytes for the router itself,
# the kernel takes it for damaged, since the sum that conntrack left with it is that of the old header.
_PAYLOADS: Final = {AF_INET: (*_WORDS, bytes(200)), AF_INET6: (*_WORDS, bytes(20))}


class Conversation:
    """Two ends; `far` is the last packet of the near end as it came out, by which the far end answers."""

    def __init__(self, rng: random.Random, number: int, family: int) -> None:
        behind = _BEHIND[family]
        self.near = rng.choice(("ta", "tb"))
        self.protocol = rng.choice(("tcp", "tcp", "udp", "udp", "icmp"))
        self.src = behind[self.near] + rng.choice((2, 3, 4))
        self.dst = behind["tb" if self.near == "ta" else "ta"] + rng.choice((2, 3, 4))
        if rng.random() < 0.25:
            self.dst = rng.choice(list(behind.values())) + 1
        self.sport = rng.choice((20_000, 300, 700)) + number
        self.dport = rng.choice(PORTS)
        self.far: tuple[str, Packet] | None = None
        self.steps = 0
        self.seq = {True: 1000, False: 5000}


class Traffic:
    """What comes in, packet by packet; tell it with `heard` what went out because of each."""

    def __init__(self, seed: int, family: int = AF_INET) -> None:
        self._rng = random.Random(f"traffic {seed}")
        self._family = family
        self._conversations: list[Conversation] = []
        self._talking: Conversation | None = None
        self._strays = 0

    def next(self) -> tuple[str, bytes]:
        """A device and the packet that comes in there."""
        rng = self._rng
        self._talking = None
        chosen = rng.random()
        if len(self._conversations) < 3 or chosen < 0.2:
            self._conversations.append(Conversation(rng, len(self._conversations), self._family))
        talk = rng.choice(self._conversations[-4:])
        if chosen < 0.25 and talk.far is not None:
            return self._error_about(talk)
        if chosen < 0.3:
            return self._stray()
        if chosen < 0.65 and talk.far is not None and talk.far[1].dst not in _ROUTER:
            return self._answer(talk)
        self._talking = talk
        packet = self._packet(talk, talk.src, talk.dst, talk.sport, talk.dport, by_near=True)
        talk.steps += 1
        return talk.near, self._finished(packet)

    def heard(self, sent: Sent) -> None:
        """What the routers, or the first of them, sent because of the last packet."""
        talk = self._talking
        if talk is None:
            return
        for device, data in sent:
            packet = inet.decode(data)
            if isinstance(packet, Malformed):
                continue
            if packet.src not in _ROUTER or device != talk.near:
                talk.far = device, packet

    def _finished(self, packet: Packet) -> bytes:
        rng = self._rng
        packet.ttl = rng.choice((64, 64, 64, 63, 5, 2, 1))
        packet.tos = rng.choice((0, 0, 0x10, 0x08, 0xB8))
        packet.ident = rng.randrange(0x10000)
        packet.dont_fragment = rng.random() < 0.5
        return inet.encode(packet)

    def _packet(self, talk: Conversation, src: int, dst: int, sport: int, dport: int, *, by_near: bool) -> Packet:
        rng = self._rng
        payload = rng.choice(_PAYLOADS[self._family])
        if talk.protocol == "udp":
            return UdpDatagram(self._family, src, dst, sport, dport, payload)
        if talk.protocol == "icmp":
            kind = _ECHO[self._family][0 if by_near else 1]
            return self._icmp(src, dst, kind, 0, (sport << 16) | talk.steps, payload)
        flags = self._flags(talk, by_near)
        if flags & (SYN | RST):
            payload = b""
        ack = talk.seq[not by_near] if flags & ACK else 0
        segment = TcpSegment(self._family, src, dst, sport, dport, talk.seq[by_near], ack, flags, 60_000, payload)
        if flags & SYN:
            segment.mss = rng.choice((1460, 500))
        set_tcp_size(segment)
        talk.seq[by_near] += len(payload) + bool(flags & (SYN | FIN))
        return segment

    def _icmp(self, src: int, dst: int, kind: int, code: int, rest: int, payload: bytes) -> IcmpMessage:
        message = IcmpMessage(self._family, src, dst, kind, code, rest, payload)
        if self._family == AF_INET6:
            message.protocol = ICMPV6
        return message

    def _flags(self, talk: Conversation, by_near: bool) -> int:
        if self._rng.random() < 0.06:
            return self._rng.choice((RST, RST | ACK, FIN | ACK, SYN, 0, SYN | FIN))
        if talk.steps == 0:
            return SYN if by_near else SYN | ACK
        if not by_near and talk.seq[False] == 5000:
            return SYN | ACK
        return self._rng.choice((ACK, ACK | PSH, ACK | PSH))

    def _answer(self, talk: Conversation) -> tuple[str, bytes]:
        assert talk.far is not None, "there is something to answer"
        device, heard = talk.far
        sport = getattr(heard, "dport", getattr(heard, "rest", 0) >> 16)
        dport = getattr(heard, "sport", 0)
        packet = self._packet(talk, heard.dst, heard.src, sport, dport, by_near=False)
        return device, self._finished(packet)

    def _error_about(self, talk: Conversation) -> tuple[str, bytes]:
        """A router behind the far device, or the far end itself, reports on what it got."""
        assert talk.far is not None, "there is something to report on"
        rng = self._rng
        device, heard = talk.far
        kind, code = rng.choice(_ERRORS[self._family])
        header = 20 if self._family == AF_INET else 40
        quoted = inet.encode(heard)[: rng.choice((header + 8, header + 20, 1000))]
        src = rng.choice((heard.dst, _BEHIND[self._family][device] + 9))
        return device, self._finished(self._icmp(src, heard.src, kind, code, 0, quoted))

    def _stray(self) -> tuple[str, bytes]:
        """What belongs to nothing."""
        rng = self._rng
        device = rng.choice(("ta", "tb"))
        family, behind = self._family, _BEHIND[self._family]
        src = behind[device] + 7
        dst = rng.choice((behind["ta"] + 3, behind["tb"] + 3, behind["ta"] + 1, behind["tb"] + 1, behind["ta"] + 255))
        kind = rng.randrange(4)
        self._strays += 1
        port = 40_000 + self._strays
        packet: Packet
        if kind == 0:
            packet = Packet(family, src, dst, rng.choice((89, 100)), b"12345678")
        elif kind == 1:
            packet = self._icmp(src, dst, rng.choice(_STRAY[family]), 0, port << 16, b"")
        elif kind == 2:
            packet = TcpSegment(family, src, dst, port, 22, 1, 2, rng.choice((ACK, SYN | ACK, RST, 0)), 9, b"")
            set_tcp_size(packet)
        else:
            packet = UdpDatagram(family, src, dst, port, rng.choice(PORTS), b"")
        return device, self._finished(packet)
