"""Redirects that a host hears of: a router knows a shorter way, and is believed or not. RFC 1122 (3.2.2.2), RFC 4861
(8.3). When a router sends them is in forward.py.

What was believed is kept by destination in `Changes.redirects`, where every lookup finds it, until the next change of
the routes. Who may tell what: net.ipv4.conf.DEV.accept_redirects, secure_redirects, shared_media (ip-sysctl).
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lunar.net import fib
from lunar.net.device import Device
from lunar.net.ip import Ip
from lunar.net.route import PROTO_REDIRECT, UNICAST
from lunar.net.rule import Flow
from lunar.packet import AF_INET, AF_INET6, IcmpMessage
from lunar.wire.address import family_of

_ENTRIES: Final = 4096  # a flood of messages must not fill memory


def heard(ip: Ip, message: IcmpMessage, device: Device) -> None:
    """An ICMP redirect: packets to the quoted destination go by the gateway that it names, if it may say so."""
    quoted = message.payload
    if len(quoted) < 28:
        ip.counters.icmp_in_errors += 1
        return
    dst = int.from_bytes(quoted[16:20], "big")
    gateway = message.rest
    conf = device.inet
    if conf.accept_redirects == 0 or message.code > 3:
        return
    if ip.is_multicast(gateway) or ip.is_broadcast(gateway) or gateway >> 24 == 0 or ip.has_address(gateway):
        return
    if conf.shared_media == 0:
        if not same_network(device, message.src, gateway):
            return
        if conf.secure_redirects != 0 and not _is_default_gateway(ip, gateway):
            return
    elif on_link(device, gateway, AF_INET) < 0 and ip.inet.routes.lookup(gateway) is None:
        return
    _learn(ip, AF_INET, dst, message.src, gateway, device)


def heard6(ip: Ip, message: IcmpMessage, device: Device) -> None:
    """ICMPv6's: the payload is the target, the destination, and options."""
    data = message.payload
    if message.ttl != 255 or message.src >> 118 != 0x3FA or message.code != 0 or len(data) < 32:
        ip.inet6.counters.icmp_in_errors += 1
        return
    target = int.from_bytes(data[:16], "big")
    dst = int.from_bytes(data[16:32], "big")
    if family_of(target) != AF_INET6 or family_of(dst) != AF_INET6:
        ip.inet6.counters.icmp_in_errors += 1  # of ::/96, which nobody has
        return
    if device.inet6.accept_redirects == 0 or ip.inet6.forwarding or dst >> 120 == 0xFF:
        return
    on_link = target == dst
    if not on_link and target >> 118 != 0x3FA:
        return
    _learn(ip, AF_INET6, dst, message.src, 0 if on_link else target, device)


def _is_default_gateway(ip: Ip, gateway: int) -> bool:
    for route in ip.inet.routes.routes_to(0, 0):  # noqa: SIM110 - compiled, a loop needs no generator
        if route.gateway == gateway:
            return True
    return False


def _learn(ip: Ip, family: i64, dst: int, teller: int, gateway: int, device: Device) -> None:
    if dst in ip.local:
        return
    found = ip.family(family)
    known = ip.route_changes.redirects.get(dst)
    flow = Flow(dst)
    route = known if known is not None else fib.lookup(ip, found, flow)
    # RFC 1122 (3.2.2.2): only the router that a host uses now may tell it of another.
    if route is None or route.type != UNICAST or route.device is not device or route.gateway != teller:
        return
    if gateway == route.gateway:
        return
    better = route.copy()
    better.network = dst
    better.prefix = found.bits
    better.gateway = 0 if gateway == dst else gateway
    better.proto = PROTO_REDIRECT
    changes = ip.route_changes
    if len(changes.redirects) >= _ENTRIES:
        changes.redirects.clear()
    changes.redirects[dst] = better
    changes.count += 1


def on_link(device: Device, address: int, family: i64) -> int:
    """The device's own address on the network of `address`; -1 if there is none."""
    for own in device.addresses:
        if own.family == family and own.covers(address):
            return own.address
    return -1


def same_network(device: Device, one: int, other: int) -> bool:
    """Whether both addresses are on one network of the device's."""
    for own in device.addresses:  # noqa: SIM110 - compiled, a loop needs no generator
        if own.family == AF_INET and own.covers(one) and own.covers(other):
            return True
    return False
