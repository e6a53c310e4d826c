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

from lunar.packet import ACK, AF_INET, FIN, PSH, RST, SYN, IcmpMessage, Packet, TcpSegment, UdpDatagram, set_tcp_size
from lunar.wire import ipv4
from lunar.wire.malformed import Malformed

_BEHIND: Final = {"ta": 0x0A00_0000, "tb": 0x0A01_0000}
_ROUTER: Final = (0x0A00_0001, 0x0A01_0001)
_PAYLOADS: Final = (b"", b"x", b"GET /index.html HTTP/1.0\r\n\r\n", b"something evil here", bytes(200))


class Conversation:
    """Two ends; `far` is the last packet of the near end as it came out, by which the far end answers."""

    def __init__(self, rng: random.Random, number: int) -> None:
        self.near = rng.choice(("ta", "tb"))
        self.protocol = rng.choice(("tcp", "tcp", "udp", "udp", "icmp"))
        self.src = _BEHIND[self.near] + rng.choice((2, 3, 4))
        self.dst = _BEHIND["tb" if self.near == "ta" else "ta"] + rng.choice((2, 3, 4))
        if rng.random() < 0.25:
            self.dst = rng.choice(_ROUTER)
        self.sport = rng.choice((20_000, 300, 700)) + number
        self.dport = rng.choice(PORTS)
        self.far: tuple[str, Packet] | None = None
        self.steps = 0
        self.seq = {True: 1000, False: 5000}


class Traffic:
    """What comes in, packet by packet; tell it with `heard` what went out because of each."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"traffic {seed}")
        self._conversations: list[Conversation] = []
        self._talking: Conversation | None = None
        self._strays = 0

    def next(self) -> tuple[str, bytes]:
        """A device and the packet that comes in there."""
        rng = self._rng
        self._talking = None
        chosen = rng.random()
        if len(self._conversations) < 3 or chosen < 0.2:
            self._conversations.append(Conversation(rng, len(self._conversations)))
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
            packet = ipv4.decode(data)
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
        return ipv4.encode(packet)

    def _packet(self, talk: Conversation, src: int, dst: int, sport: int, dport: int, *, by_near: bool) -> Packet:
        rng = self._rng
        payload = rng.choice(_PAYLOADS)
        if talk.protocol == "udp":
            return UdpDatagram(AF_INET, src, dst, sport, dport, payload)
        if talk.protocol == "icmp":
            return IcmpMessage(AF_INET, src, dst, 8 if by_near else 0, 0, (sport << 16) | talk.steps, payload)
        flags = self._flags(talk, by_near)
        if flags & (SYN | RST):
            payload = b""
        ack = talk.seq[not by_near] if flags & ACK else 0
        segment = TcpSegment(AF_INET, src, dst, sport, dport, talk.seq[by_near], ack, flags, 60_000, payload)
        if flags & SYN:
            segment.mss = rng.choice((1460, 500))
        set_tcp_size(segment)
        talk.seq[by_near] += len(payload) + bool(flags & (SYN | FIN))
        return segment

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
        kind, code = rng.choice(((3, 3), (3, 1), (3, 13), (11, 0), (12, 0), (5, 1)))
        quoted = ipv4.encode(heard)[: rng.choice((28, 40, 1000))]
        src = rng.choice((heard.dst, _BEHIND[device] + 9))
        message = IcmpMessage(AF_INET, src, heard.src, kind, code, 0, quoted)
        return device, self._finished(message)

    def _stray(self) -> tuple[str, bytes]:
        """What belongs to nothing."""
        rng = self._rng
        device = rng.choice(("ta", "tb"))
        src, dst = _BEHIND[device] + 7, rng.choice((0x0A00_0003, 0x0A01_0003, *_ROUTER, 0x0A00_00FF))
        kind = rng.randrange(4)
        self._strays += 1
        port = 40_000 + self._strays
        packet: Packet
        if kind == 0:
            packet = Packet(AF_INET, src, dst, rng.choice((2, 89, 100)), b"12345678")
        elif kind == 1:
            packet = IcmpMessage(AF_INET, src, dst, rng.choice((0, 13, 3, 9, 40)), 0, port << 16, b"")
        elif kind == 2:
            packet = TcpSegment(AF_INET, src, dst, port, 22, 1, 2, rng.choice((ACK, SYN | ACK, RST, 0)), 9, b"")
            set_tcp_size(packet)
        else:
            packet = UdpDatagram(AF_INET, src, dst, port, rng.choice(PORTS), b"")
        return device, self._finished(packet)
