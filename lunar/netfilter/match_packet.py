"""Matches of the packet as a whole: `mark`, `ttl`, `tos`, `dscp`, `length`, `mac`, `addrtype`, `string`, `owner`."""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net.device import Device
from lunar.netfilter.headers import as_bytes
from lunar.netfilter.rule import Context, Match
from lunar.packet import AF_INET, Packet

# How `HopsMatch` compares.
EQUAL: Final = 0
NOT_EQUAL: Final = 1
LESS: Final = 2
GREATER: Final = 3

# Types of addresses, as bits, by the numbers of route types (rtnetlink(7)).
UNSPEC: Final = 1 << 0
UNICAST: Final = 1 << 1
LOCAL: Final = 1 << 2
BROADCAST: Final = 1 << 3
ANYCAST: Final = 1 << 4
MULTICAST: Final = 1 << 5
UNREACHABLE: Final = 1 << 7

# `OwnerMatch.asks` and `inverted`.
UID: Final = 1
GID: Final = 2
SOCKET: Final = 4
PID: Final = 8
COMMAND: Final = 16


@final
class CommentMatch(Match):
    """`-m comment`: matches all."""

    def matches(self, packet: Packet, context: Context) -> bool:
        return True


@final
class MarkMatch(Match):
    """`-m mark`."""

    def __init__(self, mark: i64, mask: i64, inverted: bool) -> None:
        self.mark: i64 = mark
        self.mask: i64 = mask
        self.inverted: bool = inverted

    def matches(self, packet: Packet, context: Context) -> bool:
        return (packet.mark & self.mask == self.mark) != self.inverted


@final
class HopsMatch(Match):
    """`-m ttl` and `-m hl`."""

    def __init__(self, mode: i64, value: i64) -> None:
        self.mode: i64 = mode
        self.value: i64 = value

    def matches(self, packet: Packet, context: Context) -> bool:
        ttl: i64 = packet.ttl
        mode: i64 = self.mode
        if mode == EQUAL:
            return ttl == self.value
        if mode == NOT_EQUAL:
            return ttl != self.value
        return ttl < self.value if mode == LESS else ttl > self.value


@final
class TosMatch(Match):
    """`-m tos` and, with the six upper bits as mask, `-m dscp`."""

    def __init__(self, value: i64, mask: i64, inverted: bool) -> None:
        self.value: i64 = value
        self.mask: i64 = mask
        self.inverted: bool = inverted

    def matches(self, packet: Packet, context: Context) -> bool:
        return (packet.tos & self.mask == self.value) != self.inverted


@final
class LengthMatch(Match):
    """`-m length`: of the whole packet with its IP header, from first to last."""

    def __init__(self, first: i64, last: i64, inverted: bool) -> None:
        self.first: i64 = first
        self.last: i64 = last
        self.inverted: bool = inverted

    def matches(self, packet: Packet, context: Context) -> bool:
        return (self.first <= packet.size_bytes <= self.last) != self.inverted


@final
class MacMatch(Match):
    """`-m mac`: the hardware address that a frame came from. What has come by `lo` has none."""

    def __init__(self, mac: i64, inverted: bool) -> None:
        self.mac: i64 = mac
        self.inverted: bool = inverted

    def matches(self, packet: Packet, context: Context) -> bool:
        device = context.came_by
        if device is None or device is context.netfilter.ip.loopback_device():
            return False
        return (packet.eth_src == self.mac) != self.inverted


@final
class AddrTypeMatch(Match):
    """`-m addrtype`: bits of the types that source and destination may have; 0 asks for nothing.

    `limit_in` and `limit_out`: an address counts as the host's own only if it is the device's.
    """

    def __init__(
        self, src: i64, src_inverted: bool, dst: i64, dst_inverted: bool, limit_in: bool, limit_out: bool
    ) -> None:
        self.src: i64 = src
        self.src_inverted: bool = src_inverted
        self.dst: i64 = dst
        self.dst_inverted: bool = dst_inverted
        self.limit_in: bool = limit_in
        self.limit_out: bool = limit_out

    def matches(self, packet: Packet, context: Context) -> bool:
        device: Device | None = None
        if self.limit_in:
            device = context.came_by
        elif self.limit_out:
            device = context.goes_by
        if packet.family == AF_INET:
            if self.src and (self.src & address_type(packet.src, device, context) != 0) == self.src_inverted:
                return False
            return self.dst == 0 or (self.dst & address_type(packet.dst, device, context) != 0) != self.dst_inverted
        if self.src and _is_of_types6(self.src, packet.src, device, context) == self.src_inverted:
            return False
        return self.dst == 0 or _is_of_types6(self.dst, packet.dst, device, context) != self.dst_inverted


def address_type(address: int, device: Device | None, context: Context) -> i64:
    """What an IPv4 address is to this host, as one bit; with a device, only its own are LOCAL or BROADCAST.

    What the local table does not know is UNICAST, routed or not, as on Linux.
    """
    ip = context.netfilter.ip
    if ip.is_multicast(address):
        return MULTICAST
    if address >> 24 == 0 or address == 0xFFFF_FFFF:
        return BROADCAST
    if ip.has_address(address):
        holder = ip.local.get(address) or ip.loopback_device()
        return LOCAL if device is None or holder is device else UNICAST
    if ip.is_broadcast(address):
        return BROADCAST if device is None or ip.broadcasts.get(address) is device else UNICAST
    return UNICAST


def _is_of_types6(types: i64, address: int, device: Device | None, context: Context) -> bool:
    """Of IPv6 Linux asks otherwise: what an address is by its form has to be all that is named, and what it is to the
    host one of what is named. Types that IPv6 has not are not looked at.
    """
    ip = context.netfilter.ip
    group = ip.is_multicast(address)
    if types & MULTICAST and not group:
        return False
    if types & UNICAST and (group or address == 0):
        return False
    if types & UNSPEC and address != 0:
        return False
    if types & (LOCAL | ANYCAST | UNREACHABLE) == 0:
        return True
    if ip.has_address(address):
        return types & LOCAL != 0 and (device is None or ip.local.get(address) is device)
    return types & UNREACHABLE != 0 and ip.inet6.routes.lookup(address) is None


@final
class StringMatch(Match):
    """`-m string`: bytes that lie between `first` and `last`, counted from the IP header's start."""

    def __init__(self, pattern: bytes, first: i64, last: i64, ignores_case: bool, inverted: bool) -> None:
        self.pattern: bytes = pattern.upper() if ignores_case else pattern
        self.first: i64 = first
        self.last: i64 = last
        self.ignores_case: bool = ignores_case
        self.inverted: bool = inverted

    def matches(self, packet: Packet, context: Context) -> bool:
        data = as_bytes(packet)
        if self.ignores_case:
            data = data.upper()
        found = data.find(self.pattern, int(self.first), int(self.last))
        return (found >= 0) != self.inverted


@final
class OwnerMatch(Match):
    """`-m owner`: whose program sends the packet, by user, group, number or name; and whether a socket does at all."""

    def __init__(self, uids: tuple[int, int], gids: tuple[int, int], asks: i64, inverted: i64) -> None:
        self.first_uid: i64 = uids[0]
        self.last_uid: i64 = uids[1]
        self.first_gid: i64 = gids[0]
        self.last_gid: i64 = gids[1]
        self.pid: i64 = 0
        self.command: str = ""
        self.asks: i64 = asks
        self.inverted: i64 = inverted

    def matches(self, packet: Packet, context: Context) -> bool:
        owner = context.netfilter.senders.owner(packet)
        asks: i64 = self.asks
        if owner is None:
            return asks ^ self.inverted == 0
        if asks & self.inverted & SOCKET:
            return False
        inverted: i64 = self.inverted
        if asks & UID and (self.first_uid <= owner.uid <= self.last_uid) == (inverted & UID != 0):
            return False
        if asks & GID and (self.first_gid <= owner.gid <= self.last_gid) == (inverted & GID != 0):
            return False
        if asks & PID and (self.pid == owner.pid) == (inverted & PID != 0):
            return False
        if asks & COMMAND and (self.command == owner.command) == (inverted & COMMAND != 0):
            return False
        return True
