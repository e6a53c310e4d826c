"""Targets that change a packet and let it go on: MARK, CONNMARK, TOS and DSCP, TTL and HL, TCPMSS, NOTRACK.

Checksums are made when a packet becomes bytes, so that nothing has to be mended here.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net import path_mtu
from lunar.net.ip_output import route_for
from lunar.netfilter.conntrack import Track
from lunar.netfilter.headers import tcp_of
from lunar.netfilter.match_state import CTINFO_UNTRACKED
from lunar.netfilter.rule import ACTS, CONTINUE, DROP, Context, Target
from lunar.packet import AF_INET, Packet, TcpSegment, set_tcp_size, tcp_options_bytes

# What `ConnmarkTarget` does.
SET: Final = 0
SAVE: Final = 1
RESTORE: Final = 2

# What `HopsTarget` does.
SET_HOPS: Final = 0
MORE_HOPS: Final = 1
LESS_HOPS: Final = 2

_MOST_HOPS: Final = 255
_ALL: Final = 0xFFFF_FFFF
# The MSS of a peer that names none: RFC 9293 (3.7.1), and RFC 8200 (8.3) less the headers.
_DEFAULT_MSS: Final = 536
_MOST_OPTIONS: Final = 40
_DEFAULT_MSS6: Final = 1220


@final
class MarkTarget(Target):
    """MARK: zero the bits of `mask`, then exclusive or with `mark`."""

    def __init__(self, mark: i64, mask: i64) -> None:
        super().__init__(ACTS)
        self.mark: i64 = mark
        self.mask: i64 = mask

    def act(self, packet: Packet, context: Context) -> i64:
        kept: i64 = self.mask ^ _ALL
        packet.mark = (packet.mark & kept) ^ self.mark
        return CONTINUE


@final
class ConnmarkTarget(Target):
    """CONNMARK: as MARK for the connection, or between it and the packet. Untracked packets are left alone."""

    def __init__(self, mode: i64, mark: i64, ct_mask: i64, nf_mask: i64) -> None:
        super().__init__(ACTS)
        self.mode: i64 = mode
        self.mark: i64 = mark
        self.ct_mask: i64 = ct_mask
        self.nf_mask: i64 = nf_mask

    def act(self, packet: Packet, context: Context) -> i64:
        track = packet.track
        if track is None:
            return CONTINUE
        assert isinstance(track, Track), "conntrack puts nothing else there"
        if self.mode == RESTORE:
            kept: i64 = self.nf_mask ^ _ALL
            packet.mark = (packet.mark & kept) ^ (track.mark & self.ct_mask)
            return CONTINUE
        kept = self.ct_mask ^ _ALL
        new: i64 = self.mark if self.mode == SET else packet.mark & self.nf_mask
        track.mark = (track.mark & kept) ^ new
        return CONTINUE


@final
class TosTarget(Target):
    """TOS, and DSCP, whose mask is the six upper bits: zero the bits of `mask`, then exclusive or with `value`."""

    def __init__(self, value: i64, mask: i64) -> None:
        super().__init__(ACTS)
        self.value: i64 = value
        self.mask: i64 = mask

    def act(self, packet: Packet, context: Context) -> i64:
        kept: i64 = self.mask ^ 0xFF
        packet.tos = (packet.tos & kept) ^ self.value
        return CONTINUE


@final
class HopsTarget(Target):
    """TTL and HL."""

    def __init__(self, mode: i64, value: i64) -> None:
        super().__init__(ACTS)
        self.mode: i64 = mode
        self.value: i64 = value

    def act(self, packet: Packet, context: Context) -> i64:
        ttl: i64 = self.value
        if self.mode == MORE_HOPS:
            ttl = packet.ttl + self.value
            if ttl > _MOST_HOPS:
                ttl = _MOST_HOPS
        elif self.mode == LESS_HOPS:
            ttl = packet.ttl - self.value
            if ttl < 0:
                ttl = 0
        packet.ttl = ttl
        return CONTINUE


@final
class NotrackTarget(Target):
    """NOTRACK: connection tracking, which comes behind the raw table, leaves the packet alone."""

    def __init__(self) -> None:
        super().__init__(ACTS)

    def act(self, packet: Packet, context: Context) -> i64:
        if packet.track is None:
            packet.ctinfo = CTINFO_UNTRACKED
        return CONTINUE


@final
class TcpMssTarget(Target):
    """TCPMSS: lower the MSS of a SYN to `mss`, or with 0 to what fits the smaller MTU of the ways to both ends.

    It is never raised. A segment that names none is given one, but none above the default of RFC 9293.
    """

    def __init__(self, mss: i64) -> None:
        super().__init__(ACTS)
        self.mss: i64 = mss

    def act(self, packet: Packet, context: Context) -> i64:
        if not isinstance(packet, TcpSegment):
            return DROP if packet.fragment_offset == 0 and tcp_of(packet) is None else CONTINUE
        headers: i64 = 40 if packet.family == AF_INET else 60
        mss: i64 = self.mss
        if mss == 0:
            mtu = _smaller_mtu(packet, context)
            if mtu <= headers:
                return DROP
            mss = mtu - headers
        if packet.mss >= 0:
            if packet.mss > mss:
                packet.mss = mss
            return CONTINUE
        if packet.payload or tcp_options_bytes(packet) > _MOST_OPTIONS - 4:
            return CONTINUE
        most: i64 = _DEFAULT_MSS if packet.family == AF_INET else _DEFAULT_MSS6
        packet.mss = mss if mss < most else most
        set_tcp_size(packet)
        return CONTINUE


def _smaller_mtu(packet: Packet, context: Context) -> i64:
    ip = context.netfilter.ip
    mtu: i64 = 0xFFFF
    back = route_for(ip, packet.family, packet.src)
    if back is not None:
        mtu = back.device.mtu
    ahead = route_for(ip, packet.family, packet.dst)
    if ahead is not None:
        there: i64 = path_mtu.mtu(ip, ahead, packet.dst)
        if there < mtu:
            mtu = there
    return mtu
