"""Output to multicast groups: the copy that comes back to this host, and the frame for everybody who listens.

Who may send to groups (UDP, raw sockets, IGMP, MLD) calls this in place of `ip_output.send`, so that nobody else pays
for it. By which device a socket sends to a group is in multicast.py. RFC 1112 section 6.
"""

from __future__ import annotations

import errno

from mypy_extensions import i64

from lunar.net.device import Device
from lunar.net.echo import come_back
from lunar.net.groups import hardware_address
from lunar.net.ip import LOCAL_OUT, Ip
from lunar.net.ip_output import emit, source_for
from lunar.net.route import MULTICAST, Route
from lunar.packet import AF_INET, Packet
from lunar.wire import inet


def route_by(device: Device, family: i64, group: int, source: int) -> Route:
    """A route to `group` by `device`: a group has no gateway. `source` is that of what is sent, 0 for the device's."""
    route = Route(group, 32 if family == AF_INET else 128, 0, device, 0, source, family)
    route.type = MULTICAST
    return route


def send_to_group(ip: Ip, packet: Packet, route: Route, loops: bool) -> i64:
    """As `ip_output.send`, of a packet to a group. With `loops` (IP_MULTICAST_LOOP) this host hears it, too, if it
    listens to the group by the same device. What has no hop left goes no further.
    """
    if packet.src == 0:
        packet.src = source_for(ip, packet.dst, route)
    packet.ident = ip.next_ident
    ip.next_ident = (ip.next_ident + 1) & 0xFFFF
    return send_own(ip, packet, route, loops)


def send_own(ip: Ip, packet: Packet, route: Route, loops: bool) -> i64:
    """The same with the packet's own source and identification."""
    counters = ip.family(packet.family).counters
    counters.ip_out_requests += 1
    counters.ip_out_mcast_pkts += 1
    if packet.ttl < 0:
        packet.ttl = 1  # what nobody has said of a group stays on the link
    device = route.device
    filter = ip.filter
    if filter is not None and not filter.passes(LOCAL_OUT, packet, None, device):
        return errno.EPERM
    away = device is not ip.loopback_device()
    if away and loops and device.hears(packet.dst, packet.src):
        come_back(ip, inet.copy(packet), device, hardware_address(packet.dst))
    if away and packet.ttl <= 0:
        return 0
    return emit(ip, packet, route)


def send_report(ip: Ip, packet: Packet, device: Device) -> None:
    """Send what tells routers of groups. This host needs not to hear it."""
    send_own(ip, packet, route_by(device, packet.family, packet.dst, packet.src), False)
