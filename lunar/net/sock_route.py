"""By which route what a datagram or raw socket sends goes: the device that it is bound to, groups, and what routes say.

Read socket(7) of SO_BINDTODEVICE, ip(7) of IP_UNICAST_IF and IP_PKTINFO. With a device and no route by it, Linux takes
an IPv4 destination for one on the device's own network. TCP asks ip_output.py alone.
"""

from __future__ import annotations

import errno

from lunar.net import fib, multicast
from lunar.net.address import needs_scope
from lunar.net.device import Device
from lunar.net.ip import Ip
from lunar.net.ip_output import device_at, route_by, route_for
from lunar.net.route import Route
from lunar.net.sock import Sock
from lunar.packet import AF_INET, AF_INET6, Packet


def route_out(ip: Ip, sock: Sock, family: int, dst: int) -> Route | None:
    """The route to `dst`; None with `Ip.route_errno`."""
    header = sock.header
    device = None if header is None else header.device
    if device is None and sock.bound_device:
        device = named(ip, sock.bound_device)
        if device is None:
            ip.route_errno = errno.ENODEV
            return None
    six = sock.ipv6
    if device is None and six is not None and family == AF_INET6 and needs_scope(dst):
        # The device that the program named with the address, now or at connect(2).
        scope = six.named_scope if six.named_scope != 0 else six.scope
        device = device_at(ip, scope)
    if ip.is_multicast(dst):
        own = sock.multicast if family == AF_INET else sock.multicast6
        route = multicast.route_to(ip, own, dst, family, device, sock.local_addr)
        if route is None:
            ip.route_errno = errno.ENETUNREACH
        return route
    if device is None:
        device = sock.unicast_device
        if device is None or family != AF_INET:
            return route_for(ip, family, dst, sock)
    return _route_by(ip, sock, device, family, dst)


def _route_by(ip: Ip, sock: Sock, device: Device, family: int, dst: int) -> Route | None:
    found = ip.family(family)
    if ip.has_address(dst) and (device is ip.loopback_device() or ip.local.get(dst) is device):
        return found.loopback_route
    if found.rules is None:
        route = found.routes.lookup_by(dst, int(sock.tos), device.name, -1)
    else:
        flow = fib.flow_of_sock(sock, dst)
        flow.oif = device.name
        route = fib.lookup(ip, found, flow)
    if route is not None and route.refusal():
        ip.route_errno = route.refusal()
        return None
    if route is not None:
        return route
    if family == AF_INET:
        return Route(dst, 32, 0, device, 0, 0)
    return route_by(ip, device, family, dst)


def came_by(ip: Ip, packet: Packet, device: Device) -> Device:
    """By which device programs see `packet` come: what the host sends to an address of its own by that address' device,
    though it is lo that brings it.
    """
    if device is ip.loopback_device():
        return ip.local.get(packet.dst, device)
    return device


def named(ip: Ip, name: str) -> Device | None:
    """The device of this name."""
    for device in ip.devices:
        if device.name == name:
            return device
    return None
