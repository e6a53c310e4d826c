"""The targets of the nat table: SNAT, DNAT, MASQUERADE, REDIRECT, NETMAP. iptables-extensions(8).

Each says from what range the connection's new source or destination is to be; lunar/netfilter/nat.py chooses. They see
the first packet of a connection only.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net.address import SCOPE_GLOBAL
from lunar.net.device import Device
from lunar.netfilter import nat
from lunar.netfilter.conntrack import LOCAL_OUT, POST_ROUTING, PRE_ROUTING, Track
from lunar.netfilter.rule import ACTS, DROP, MAP_ADDRESS, Context, Range, Target
from lunar.packet import AF_INET, Packet

_LOOPBACK: Final = 0x7F00_0001
_LOOPBACK_6: Final = 1


def _bind(packet: Packet, context: Context, range: Range, of_source: bool) -> i64:
    track = packet.track
    conntrack = context.netfilter.conntrack
    if not isinstance(track, Track) or conntrack is None:
        return DROP  # only what is tracked can be translated, and only that is led through this table
    return nat.bind(conntrack, track, range, of_source)


def _moved(range: Range, address: int) -> Range:
    """The range with one address, whatever it had."""
    return Range(range.flags | MAP_ADDRESS, address, address, range.min_port, range.max_port, range.base_port)


@final
class Snat(Target):
    """`-j SNAT --to-source ...`."""

    def __init__(self, range: Range) -> None:
        super().__init__(ACTS)
        self.range: Range = range

    def act(self, packet: Packet, context: Context) -> i64:
        return _bind(packet, context, self.range, True)


@final
class Dnat(Target):
    """`-j DNAT --to-destination ...`."""

    def __init__(self, range: Range) -> None:
        super().__init__(ACTS)
        self.range: Range = range

    def act(self, packet: Packet, context: Context) -> i64:
        return _bind(packet, context, self.range, False)


@final
class Masquerade(Target):
    """`-j MASQUERADE`: the source becomes the address that the way out has, and the connection ends with the device."""

    def __init__(self, range: Range) -> None:
        super().__init__(ACTS)
        self.range: Range = range

    def act(self, packet: Packet, context: Context) -> i64:
        device = context.goes_by
        if device is None:
            return DROP
        address = _outer_address(packet, context, device)
        if address == 0:
            return DROP
        track = packet.track
        if isinstance(track, Track):
            track.masquerade = device
        return _bind(packet, context, _moved(self.range, address), True)


@final
class Redirect(Target):
    """`-j REDIRECT`: the destination becomes this host itself."""

    def __init__(self, range: Range) -> None:
        super().__init__(ACTS)
        self.range: Range = range

    def act(self, packet: Packet, context: Context) -> i64:
        if context.point == LOCAL_OUT:
            address = _LOOPBACK if packet.family == AF_INET else _LOOPBACK_6
        else:
            device = context.came_by
            address = _first_address(packet.family, device) if device is not None else 0
            if address == 0:
                return DROP
        return _bind(packet, context, _moved(self.range, address), False)


@final
class Netmap(Target):
    """`-j NETMAP --to NETWORK/MASK`: another network, the same host's part. `range` is from its first to its last."""

    def __init__(self, range: Range) -> None:
        super().__init__(ACTS)
        self.range: Range = range

    def act(self, packet: Packet, context: Context) -> i64:
        of_destination = context.point == PRE_ROUTING or context.point == LOCAL_OUT
        # What the first and the last address have in common is the network's part.
        hosts = self.range.min_address ^ self.range.max_address
        own = packet.dst if of_destination else packet.src
        address = (self.range.min_address & ~hosts) | (own & hosts)
        return _bind(packet, context, _moved(self.range, address), not of_destination)


def _outer_address(packet: Packet, context: Context, device: Device) -> int:
    """The address of `device` for packets that leave by it to where this one goes; 0 if it has none for that.

    Linux asks for one on the network of the next hop, and takes none that is for this host or this link only.
    """
    assert context.point == POST_ROUTING, "iptables allows MASQUERADE in POSTROUTING only"
    route = context.netfilter.ip.family(packet.family).routes.lookup(packet.dst)
    hop = packet.dst
    if route is not None and route.device is device and route.gateway:
        hop = route.gateway
    first = 0
    for one in device.addresses:
        if one.family != packet.family or one.scope > SCOPE_GLOBAL:
            continue
        if one.covers(hop):
            return one.address
        if first == 0:
            first = one.address
    return first


def _first_address(family: i64, device: Device) -> int:
    for one in device.addresses:
        if one.family == family:
            return one.address
    return 0
