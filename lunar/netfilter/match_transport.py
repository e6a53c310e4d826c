"""Matches of the transports' headers: `tcp`, `udp`, `icmp`, `icmp6`, `multiport`, `tcpmss`."""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.netfilter.headers import icmp_of, ports_of, tcp_of, tcp_options_of
from lunar.netfilter.rule import Context, Match
from lunar.packet import Packet, TcpSegment

# `TcpMatch.inverted` and `UdpMatch.inverted`.
NOT_SPORT: Final = 1
NOT_DPORT: Final = 2
NOT_FLAGS: Final = 4
NOT_OPTION: Final = 8

# Which ports `MultiportMatch` looks at.
SOURCE: Final = 0
DESTINATION: Final = 1
EITHER: Final = 2

_NO_OPTION: Final = 0
_MSS: Final = 2


def _within(first: i64, port: i64, last: i64, inverted: bool) -> bool:
    return (first <= port <= last) != inverted


@final
class TcpMatch(Match):
    """`-m tcp`: ports from first to last, the flags of `mask` that must be `flags`, an option (0: none is asked)."""

    def __init__(
        self, sports: tuple[int, int], dports: tuple[int, int], mask: i64, flags: i64, option: i64, inverted: i64
    ) -> None:
        self.first_sport: i64 = sports[0]
        self.last_sport: i64 = sports[1]
        self.first_dport: i64 = dports[0]
        self.last_dport: i64 = dports[1]
        self.mask: i64 = mask
        self.flags: i64 = flags
        self.option: i64 = option
        self.inverted: i64 = inverted

    def matches(self, packet: Packet, context: Context) -> bool:
        segment = packet if isinstance(packet, TcpSegment) else tcp_of(packet)
        if segment is None:
            # A fragment that begins within the header is there to get a forbidden one past the rules (RFC 1858), and a
            # first one with less than the header cannot be judged.
            context.hotdrop = packet.fragment_offset == 8 or packet.fragment_offset == 0
            return False
        inverted: i64 = self.inverted
        if not _within(self.first_sport, segment.sport, self.last_sport, inverted & NOT_SPORT != 0):
            return False
        if not _within(self.first_dport, segment.dport, self.last_dport, inverted & NOT_DPORT != 0):
            return False
        if (segment.flags & self.mask == self.flags) == (inverted & NOT_FLAGS != 0):
            return False
        if self.option != _NO_OPTION:
            return _has_option(tcp_options_of(packet), self.option) != (inverted & NOT_OPTION != 0)
        return True


def _has_option(options: bytes, wanted: i64) -> bool:
    at: i64 = 0
    while at < len(options):
        kind: i64 = options[at]
        if kind == wanted:
            return True
        if kind < 2 or at + 1 >= len(options):
            at += 1
        else:
            at += options[at + 1] or 1
    return False


@final
class UdpMatch(Match):
    """`-m udp`: ports from first to last."""

    def __init__(self, sports: tuple[int, int], dports: tuple[int, int], inverted: i64) -> None:
        self.first_sport: i64 = sports[0]
        self.last_sport: i64 = sports[1]
        self.first_dport: i64 = dports[0]
        self.last_dport: i64 = dports[1]
        self.inverted: i64 = inverted

    def matches(self, packet: Packet, context: Context) -> bool:
        both = ports_of(packet)
        if both < 0:
            context.hotdrop = packet.fragment_offset == 0
            return False
        inverted: i64 = self.inverted
        if not _within(self.first_sport, both >> 16, self.last_sport, inverted & NOT_SPORT != 0):
            return False
        return _within(self.first_dport, both & 0xFFFF, self.last_dport, inverted & NOT_DPORT != 0)


@final
class IcmpMatch(Match):
    """`-m icmp` and `-m icmp6`: a type with codes from first to last; `any_type` is the type that means any, or -1."""

    def __init__(self, type: i64, first_code: i64, last_code: i64, inverted: bool, any_type: i64) -> None:
        self.type: i64 = type
        self.first_code: i64 = first_code
        self.last_code: i64 = last_code
        self.inverted: bool = inverted
        self.any_type: i64 = any_type

    def matches(self, packet: Packet, context: Context) -> bool:
        both = icmp_of(packet)
        if both < 0:
            context.hotdrop = packet.fragment_offset == 0
            return False
        same = self.type == self.any_type or (
            both >> 8 == self.type and self.first_code <= both & 0xFF <= self.last_code
        )
        return same != self.inverted


@final
class MultiportMatch(Match):
    """`-m multiport`: one of several ranges of ports."""

    def __init__(self, side: i64, ranges: list[tuple[int, int]], inverted: bool) -> None:
        self.side: i64 = side
        self.ranges: list[tuple[int, int]] = ranges
        self.inverted: bool = inverted

    def matches(self, packet: Packet, context: Context) -> bool:
        both = ports_of(packet)
        if both < 0:
            context.hotdrop = packet.fragment_offset == 0
            return False
        found = False
        for first, last in self.ranges:
            if self.side != DESTINATION and first <= both >> 16 <= last:
                found = True
            if self.side != SOURCE and first <= both & 0xFFFF <= last:
                found = True
        return found != self.inverted


@final
class TcpMssMatch(Match):
    """`-m tcpmss`: the MSS that a segment carries, from first to last. One that carries none is as one out of range."""

    def __init__(self, first: i64, last: i64, inverted: bool) -> None:
        self.first: i64 = first
        self.last: i64 = last
        self.inverted: bool = inverted

    def matches(self, packet: Packet, context: Context) -> bool:
        mss: i64 = -1
        if isinstance(packet, TcpSegment):
            mss = packet.mss
        else:
            if tcp_of(packet) is None:
                context.hotdrop = packet.fragment_offset == 0
                return False
            mss = _mss(tcp_options_of(packet))
        return (self.first <= mss <= self.last) != self.inverted


def _mss(options: bytes) -> i64:
    at: i64 = 0
    while at + 3 < len(options):
        kind: i64 = options[at]
        if kind == _MSS and options[at + 1] == 4:
            high: i64 = options[at + 2]
            return high << 8 | options[at + 3]
        at += 1 if kind < 2 else options[at + 1] or 1
    return -1
