"""Matches that read what connection tracking knows of a packet: `state`, `conntrack`, `connmark`, `connlimit`."""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.netfilter.conntrack import Track
from lunar.netfilter.headers import ports_of
from lunar.netfilter.rule import Context, Match
from lunar.packet import Packet

# States as bits, with Linux' numbers: of `ctinfo` 0, 1, 2 (3 and 4 are the reply's) the bits 1, 2, 3.
INVALID: Final = 1
ESTABLISHED: Final = 2
RELATED: Final = 4
NEW: Final = 8
UNTRACKED: Final = 64
SNAT: Final = 128
DNAT: Final = 256

# `ctinfo` of a packet that NOTRACK has marked, and the first of a reply's.
CTINFO_UNTRACKED: Final = 7
CTINFO_REPLY: Final = 3

# Bits of Track.status.
CONFIRMED: Final = 8
SRC_NAT: Final = 16
DST_NAT: Final = 32

# What `ConntrackMatch` asks for; with the same bits what of it is inverted.
STATE: Final = 1
PROTOCOL: Final = 2
ORIGINAL_SRC: Final = 4
ORIGINAL_DST: Final = 8
REPLY_SRC: Final = 16
REPLY_DST: Final = 32
STATUS: Final = 64
EXPIRES: Final = 128
ORIGINAL_SRC_PORT: Final = 256
ORIGINAL_DST_PORT: Final = 512
REPLY_SRC_PORT: Final = 1024
REPLY_DST_PORT: Final = 2048
DIRECTION: Final = 4096

# A connection that is not confirmed yet counts for so long: two ticks of Linux' clock at 250 Hz. If it never is,
# because its first packet was dropped, it does not count any more.
_UNCONFIRMED_NS: Final = 8_000_000
_MOST_KEYS: Final = 65_536


def state_of(packet: Packet) -> i64:
    """The packet's state as a bit."""
    track = packet.track
    ctinfo: i64 = packet.ctinfo
    if track is None:
        return UNTRACKED if ctinfo == CTINFO_UNTRACKED else INVALID
    one: i64 = 1
    return one << (ctinfo % 3 + 1)


@final
class StateMatch(Match):
    """`-m state`, and `-m conntrack` that asks for the state alone."""

    def __init__(self, states: i64, inverted: bool) -> None:
        self.states: i64 = states
        self.inverted: bool = inverted

    def matches(self, packet: Packet, context: Context) -> bool:
        state = state_of(packet)
        track = packet.track
        if track is not None and self.states & (SNAT | DNAT):
            assert isinstance(track, Track), "conntrack puts nothing else there"
            state |= nat_states(track)
        return (self.states & state != 0) != self.inverted


def nat_states(track: Track) -> i64:
    """The bits SNAT and DNAT of a connection whose addresses are translated."""
    status: i64 = track.status
    return (SNAT if status & SRC_NAT else 0) | (DNAT if status & DST_NAT else 0)


@final
class ConntrackMatch(Match):
    """`-m conntrack`, all of it. Addresses come with their masks, ports and seconds from first to last."""

    def __init__(self, asks: i64, inverted: i64) -> None:
        self.asks: i64 = asks
        self.inverted: i64 = inverted
        self.states: i64 = 0
        self.status: i64 = 0
        self.protocol: i64 = 0
        self.reply: bool = False
        self.addresses: list[tuple[int, int, int]] = []  # (which, address, mask)
        self.ports: list[tuple[int, int, int]] = []  # (which, first, last)
        self.first_expire_s: i64 = 0
        self.last_expire_s: i64 = 0

    def matches(self, packet: Packet, context: Context) -> bool:
        asks: i64 = self.asks
        inverted: i64 = self.inverted
        found = packet.track
        if asks & STATE:
            state = state_of(packet)
            if found is not None:
                assert isinstance(found, Track), "conntrack puts nothing else there"
                state |= nat_states(found)
            if (self.states & state != 0) == (inverted & STATE != 0):
                return False
        if found is None:
            return asks & STATE != 0
        assert isinstance(found, Track), "conntrack puts nothing else there"
        if asks & DIRECTION and ((packet.ctinfo >= CTINFO_REPLY) == self.reply) == (inverted & DIRECTION != 0):
            return False
        for which, address, mask in self.addresses:
            if (_address(found, which) & mask == address) == (inverted & which != 0):
                return False
        if asks & PROTOCOL and (found.original.protocol == self.protocol) == (inverted & PROTOCOL != 0):
            return False
        if asks & STATUS and (found.status & self.status != 0) == (inverted & STATUS != 0):
            return False
        if asks & EXPIRES:
            left: i64 = (found.expires_ns - context.now_ns) // 1_000_000_000
            if left < 0:
                left = 0
            if (self.first_expire_s <= left <= self.last_expire_s) == (inverted & EXPIRES != 0):
                return False
        for which, first, last in self.ports:
            if (first <= _port(found, which) <= last) == (inverted & which != 0):
                return False
        return True


def _address(track: Track, which: i64) -> int:
    if which == ORIGINAL_SRC:
        return track.original.src
    if which == ORIGINAL_DST:
        return track.original.dst
    return track.reply.src if which == REPLY_SRC else track.reply.dst


def _port(track: Track, which: i64) -> i64:
    if which == ORIGINAL_SRC_PORT:
        return track.original.sport
    if which == ORIGINAL_DST_PORT:
        return track.original.dport
    return track.reply.sport if which == REPLY_SRC_PORT else track.reply.dport


@final
class ConnmarkMatch(Match):
    """`-m connmark`. A packet without a connection never matches."""

    def __init__(self, mark: i64, mask: i64, inverted: bool) -> None:
        self.mark: i64 = mark
        self.mask: i64 = mask
        self.inverted: bool = inverted

    def matches(self, packet: Packet, context: Context) -> bool:
        track = packet.track
        if track is None:
            return False
        assert isinstance(track, Track), "conntrack puts nothing else there"
        return (track.mark & self.mask == self.mark) != self.inverted


@final
class _Counted:
    """A connection that `ConnlimitMatch` has seen, and when first; of an untracked packet only the ends are known."""

    def __init__(self, track: Track | None, packet: Packet, since_ns: i64) -> None:
        self.track: Track | None = track
        self.src: int = packet.src
        self.dst: int = packet.dst
        self.protocol: i64 = packet.protocol
        self.ports: i64 = ports_of(packet)
        self.since_ns: i64 = since_ns

    def is_of(self, track: Track | None, packet: Packet) -> bool:
        """Whether `packet` is of this connection."""
        if track is not None or self.track is not None:
            return self.track is track
        same = self.src == packet.src and self.dst == packet.dst and self.protocol == packet.protocol
        return same and self.ports == ports_of(packet)

    def counts(self, now_ns: i64) -> bool:
        """Whether it is there still."""
        track = self.track
        if track is None or track.status & CONFIRMED == 0:
            return now_ns - self.since_ns <= _UNCONFIRMED_NS
        return not track.dead and not track.closed()


@final
class ConnlimitMatch(Match):
    """`-m connlimit`: whether the network of the packet's source (or destination) has more than `limit` connections.

    With `up_to`: whether it has not. Connections that have ended do not count. Packets that are not tracked count for
    two ticks, as on Linux.
    """

    def __init__(self, limit: i64, mask: int, by_destination: bool, up_to: bool) -> None:
        self.limit: i64 = limit
        self.mask: int = mask
        self.by_destination: bool = by_destination
        self.up_to: bool = up_to
        self.seen: dict[int, list[_Counted]] = {}
        self.looked_ns: i64 = -_UNCONFIRMED_NS  # when it was last looked for those that can be forgotten

    def matches(self, packet: Packet, context: Context) -> bool:
        found = packet.track
        assert found is None or isinstance(found, Track), "conntrack puts nothing else there"
        track: Track | None = found
        now: i64 = context.now_ns
        key = (packet.dst if self.by_destination else packet.src) & self.mask
        seen = self.seen.get(key)
        if seen is None:
            if len(self.seen) >= _MOST_KEYS and not self._makes_room(now):
                context.hotdrop = True  # as Linux does when it has no memory for another
                return False
            seen = []
            self.seen[key] = seen
        kept: list[_Counted] = []
        known = False
        for counted in seen:
            if counted.is_of(track, packet):
                known = True
                kept.append(counted)
            elif counted.counts(now):
                kept.append(counted)
        if not known:
            kept.append(_Counted(track, packet, now))
        self.seen[key] = kept
        return (len(kept) > self.limit) != self.up_to

    def _makes_room(self, now_ns: i64) -> bool:
        """Forget the networks without connections, once in the time that an unconfirmed one counts."""
        if now_ns < self.looked_ns + _UNCONFIRMED_NS:
            return False
        self.looked_ns = now_ns
        left: dict[int, list[_Counted]] = {}
        for key, seen in self.seen.items():
            for counted in seen:
                if counted.counts(now_ns):
                    left[key] = seen
                    break
        self.seen = left
        return len(left) < _MOST_KEYS
