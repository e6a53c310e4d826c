"""What a socket has to do with multicast, ip(7) and ipv6(7): its groups, and how it sends to groups.

The calls work on a `Multicast` (groups.py) and return 0 or -errno, Linux' own: EADDRINUSE for a group that the socket
is in, ENOBUFS for too many, EADDRNOTAVAIL for one that it is not in ...
What a device hears in sum is in groups.py, what routers are told in listener.py.
"""

from __future__ import annotations

import errno

from mypy_extensions import i64

from lunar.net import igmp, listener, mld
from lunar.net.device import Device
from lunar.net.group_output import route_by
from lunar.net.groups import EXCLUDE, INCLUDE, Membership, Multicast, is_multicast
from lunar.net.ip import Ip
from lunar.net.listener import Listener
from lunar.net.route import Route
from lunar.packet import AF_INET, AF_INET6


def listener_of(ip: Ip, device: Device, group: int) -> Listener:
    """Who listens for `group` at `device`."""
    return listener.at(ip, device, igmp.SPEAKER if group < 1 << 32 else mld.SPEAKER)


def join_own(ip: Ip, device: Device, group: int) -> Membership:
    """A membership of the kernel's own; `leave_own` ends it."""
    member = Membership(group, device, EXCLUDE)
    listener_of(ip, device, group).add(member)
    return member


def leave_own(ip: Ip, member: Membership) -> None:
    listener_of(ip, member.device, member.group).remove(member)


def device_for(ip: Ip, family: i64, group: int) -> Device | None:
    """The device that the routes have for `group`."""
    route = ip.family(family).routes.lookup(group)
    return None if route is None else route.device


def join(ip: Ip, own: Multicast, group: int, device: Device, mode: i64 = EXCLUDE) -> i64:
    """Become a member of `group` at `device`, of all sources (EXCLUDE) or of none yet (INCLUDE)."""
    if own.find(group, device) is not None:
        return -errno.EADDRINUSE
    if own.family == AF_INET and len(own.memberships) >= ip.igmp_max_memberships:
        return -errno.ENOBUFS
    member = Membership(group, device, mode)
    own.memberships.append(member)
    listener_of(ip, device, group).add(member)
    return 0


def leave(ip: Ip, own: Multicast, group: int, device: Device) -> i64:
    member = own.find(group, device)
    if member is None:
        return -errno.EADDRNOTAVAIL
    own.memberships.remove(member)
    listener_of(ip, device, group).remove(member)
    return 0


def leave_all(ip: Ip, own: Multicast) -> None:
    """The socket is closed. Linux lets the newest membership go first."""
    while own.memberships:
        member = own.memberships.pop()
        listener_of(ip, member.device, member.group).remove(member)


def _most_sources(ip: Ip, own: Multicast) -> i64:
    return ip.igmp_max_msf if own.family == AF_INET else ip.mld_max_msf


def change_source(ip: Ip, own: Multicast, group: int, device: Device, source: int, mode: i64, adds: bool) -> i64:
    """Add `source` to the list of a membership, or take it away, where the list is of `mode`.

    The first source of an INCLUDE list makes the membership, the last one's end is the membership's. EINVAL for a list
    of the other mode or no membership, EADDRNOTAVAIL for what is in the list already, or not.
    """
    member = own.find(group, device)
    if member is None:
        if not (adds and mode == INCLUDE):
            return -errno.EINVAL
        joined: i64 = join(ip, own, group, device, INCLUDE)
        if joined < 0:
            return joined
        member = own.find(group, device)
        assert member is not None, "it has just been joined"
    found = listener_of(ip, device, group)
    if member.mode != mode:
        # RFC 3678: the mode changes by the full-state calls alone; on Linux also where there was no list yet.
        if member.has_list:
            return -errno.EINVAL
        member.mode = mode
        found.changed(found.groups[group])
    known = source in member.sources
    if adds:
        if known:
            return -errno.EADDRNOTAVAIL
        if len(member.sources) >= _most_sources(ip, own):
            return -errno.ENOBUFS
        member.sources.insert(0, source)
        member.has_list = True
    else:
        if not known:
            return -errno.EADDRNOTAVAIL
        if member.mode == INCLUDE and len(member.sources) == 1:
            return leave(ip, own, group, device)
        member.sources.remove(source)
    found.changed(found.groups[group])
    return 0


def set_filter(ip: Ip, own: Multicast, group: int, device: Device, mode: i64, sources: list[int]) -> i64:
    """IP_MSFILTER, MCAST_MSFILTER (RFC 3678 section 4.2): the whole list at once. INCLUDE without sources leaves."""
    if mode == INCLUDE and not sources:
        return leave(ip, own, group, device)
    member = own.find(group, device)
    if member is None:
        return -errno.EINVAL
    if len(sources) > _most_sources(ip, own):
        return -errno.ENOBUFS
    member.mode = mode
    member.sources = sources.copy()
    member.has_list = len(sources) > 0
    found = listener_of(ip, device, group)
    found.changed(found.groups[group])
    return 0


def route_to(
    ip: Ip, own: Multicast | None, group: int, family: i64, device: Device | None, source: int
) -> Route | None:
    """By which device a socket sends to `group`: the one that it is bound to (`device`), that of IP_MULTICAST_IF, that
    of its `source`, or what the routes say. None for none.
    """
    if device is None and own is not None and own.device is not None:
        device = own.device
    wanted: int = 0
    if own is not None and own.source and source == 0:
        wanted = own.source
    if device is None and source and not is_multicast(source):
        device = ip.local.get(source)
    if device is not None:
        return route_by(device, family, group, wanted)
    found = ip.family(family).routes.lookup(group)
    if found is None:
        # Linux has ff00::/8 in its table local, by each device with IPv6: the first is taken.
        for one in ip.devices:
            if family == AF_INET6 and one.up and one.name != "lo" and _has_ipv6(one):
                return route_by(one, family, group, wanted)
        return None
    return route_by(found.device, family, group, found.source)


def _has_ipv6(device: Device) -> bool:
    for own in device.addresses:  # noqa: SIM110 - compiled, a loop needs no generator
        if own.family == AF_INET6:
            return True
    return False
