"""What a host makes of routers' advertisements: RFC 4861 section 6.3, RFC 4191, RFC 8106; and of redirects, section 8.

Default routers become routes in the order in which they are to be tried: those that answer first, then by preference,
then as they were heard. What Linux lets an administrator leave out is left out by net.ipv6.conf.DEV.accept_ra and its
kin. Addresses are autoconf.py's: `heard` returns the prefixes of which a device may make some.
"""

from __future__ import annotations

import contextlib
from typing import Final, final

from mypy_extensions import i64

from lunar.net import path_mtu
from lunar.net.address import is_link_local
from lunar.net.device import Device
from lunar.net.interface6 import FOREVER, HIGH, LOW, MEDIUM, Advertised, Interface, Router
from lunar.net.ip import Ip
from lunar.net.route import PROTO_KERNEL, PROTO_RA, Route
from lunar.packet import AF_INET6, IcmpMessage
from lunar.wire import nd_option
from lunar.wire.address import family_of

_S: Final = 1_000_000_000
_MS: Final = 1_000_000
_LEAST_MTU: Final = 1280
_PREFIX_METRIC: Final = 256
_HEADER_BYTES: Final = 8  # reachable time and retransmission timer
# Linux' least: HZ / 100 and HZ / 10, of a kernel with 250 ticks a second.
_RETRANS_LEAST_MS: Final = 8
_REACHABLE_LEAST_MS: Final = 100
_MANAGED: Final = 0x80
_OTHER: Final = 0x40
_MOST_ROUTERS: Final = 64  # a flood of advertisements must not fill memory
_MOST_ROUTES: Final = 256
_MOST_SERVERS: Final = 8


@final
class Autonomous:
    """A prefix of which a device may make itself addresses. Lifetimes in seconds."""

    def __init__(self, prefix: int, length: int, valid_s: i64, preferred_s: i64) -> None:
        self.prefix: int = prefix
        self.length: int = length
        self.valid_s: i64 = valid_s
        self.preferred_s: i64 = preferred_s


def accepts(device: Device) -> bool:
    """net.ipv6.conf.DEV.accept_ra: 1 where it does not forward, 2 always."""
    conf = device.inet6
    return conf.accept_ra == 2 or (conf.accept_ra == 1 and conf.forwarding == 0)


def until(ip: Ip, lifetime_s: i64) -> i64:
    """The time at which a lifetime that begins now ends."""
    return FOREVER if lifetime_s == nd_option.FOREVER_S else ip.scheduler.now_ns + lifetime_s * _S


def heard(ip: Ip, interface: Interface, message: IcmpMessage, options: list[tuple[int, bytes]]) -> list[Autonomous]:
    """An advertisement by a neighbour (6.3.4). It has been found valid, and is to be believed."""
    device = interface.device
    conf = device.inet6
    lifetime_s: i64 = message.rest & 0xFFFF
    flags: i64 = (message.rest >> 16) & 0xFF
    interface.managed = flags & _MANAGED != 0
    interface.other = flags & _OTHER != 0
    if conf.accept_ra_defrtr != 0:
        preference: i64 = preference_of((flags >> 3) & 3) if conf.accept_ra_rtr_pref != 0 else MEDIUM
        _heard_default(ip, interface, message.src, lifetime_s, preference)
    hops: i64 = message.rest >> 24
    # Linux believes the hop limit of default routers alone.
    if conf.accept_ra_defrtr != 0 and hops != 0 and hops >= conf.accept_ra_min_hop_limit:
        _set(ip, device, "hop_limit", hops)
    _heard_times(ip, device, message.payload)
    mtu: int = 0
    found: list[Autonomous] = []
    for number, body in options:
        if number == nd_option.ROUTE and conf.accept_ra_rtr_pref != 0:
            _heard_route(ip, interface, message.src, body)
        elif number == nd_option.PREFIX and conf.accept_ra_pinfo != 0:
            _heard_prefix(ip, interface, body, found)
        elif number == nd_option.MTU and conf.accept_ra_mtu != 0:
            mtu = nd_option.mtu_of(body)
        elif number == nd_option.DNS_SERVERS:
            _heard_servers(ip, interface, body)
    if _LEAST_MTU <= mtu <= device.mtu:
        _set(ip, device, "mtu", mtu)
    return found


def preference_of(bits: i64) -> i64:
    """RFC 4191 (2.1): 01 high, 11 low; 10 is to be taken for 00, medium."""
    return HIGH if bits == 1 else LOW if bits == 3 else MEDIUM


def _set(ip: Ip, device: Device, name: str, value: i64) -> None:
    """What an advertisement says of a device is found in its sysctls."""
    if getattr(device.inet6_own, name) != value:
        ip.inet6.confs.set_own(device, name, int(value))
        if name == "mtu":
            path_mtu.changed(ip)


def _heard_times(ip: Ip, device: Device, payload: bytes) -> None:
    """How long an answer of a neighbour holds, and when it is asked again."""
    reachable_ms: i64 = int.from_bytes(payload[0:4], "big")
    retrans_ms: i64 = int.from_bytes(payload[4:8], "big")
    if 0 < retrans_ms < 0x8000_0000:
        _set(ip, device, "neigh_retrans_time_ms", max(retrans_ms, _RETRANS_LEAST_MS))
    if 0 < reachable_ms < 0x8000_0000 // 3 and device.inet6_own.neigh_base_reachable_time_ms != reachable_ms:
        _set(ip, device, "neigh_base_reachable_time_ms", max(reachable_ms, _REACHABLE_LEAST_MS))
        _set(ip, device, "neigh_gc_stale_time", max(3 * reachable_ms // 1000, 1))


# Default routers


def _heard_default(ip: Ip, interface: Interface, address: int, lifetime_s: i64, preference: i64) -> None:
    known = interface.router(address)
    if lifetime_s == 0:
        if known is not None:
            drop_router(ip, interface, known)
        return
    if known is None:
        if len(interface.routers) >= _MOST_ROUTERS:
            return
        known = Router(address)
        interface.routers.append(known)
        known.preference = preference
        place_routers(ip, interface)
    elif known.preference != preference:
        known.preference = preference
        place_routers(ip, interface)
    known.until_ns = ip.scheduler.now_ns + lifetime_s * _S
    route = known.route
    if route is not None:
        route.expires_ns = known.until_ns


def drop_router(ip: Ip, interface: Interface, router: Router) -> None:
    """It is a default router no more."""
    interface.routers.remove(router)
    _take_back(ip, router.route)


def place_routers(ip: Ip, interface: Interface) -> None:
    """Put the routes by the default routers into the table anew, the one to be tried first before the others."""
    for router in interface.routers:
        _take_back(ip, router.route)
        router.route = None
    for silent in (False, True):
        for preference in (HIGH, MEDIUM, LOW):
            for router in interface.routers:
                if router.silent == silent and router.preference == preference:
                    route = _route(interface, 0, 0, router.address, interface.device.inet6.ra_defrtr_metric)
                    route.expires_ns = router.until_ns
                    router.route = route
                    with contextlib.suppress(FileExistsError):
                        ip.inet6.routes.add(route)


def _route(interface: Interface, network: int, prefix: i64, gateway: int, metric: i64) -> Route:
    made = Route(network, prefix, gateway, interface.device, metric, 0, AF_INET6)
    made.proto = PROTO_RA
    return made


def _take_back(ip: Ip, route: Route | None) -> None:
    if route is not None:
        with contextlib.suppress(ProcessLookupError):  # the administrator has been there before
            ip.inet6.routes.discard(route)


def forget(ip: Ip, interface: Interface) -> None:
    """All that was advertised is believed no more: the host has become a router, or the device has gone down."""
    for router in list(interface.routers):
        drop_router(ip, interface, router)
    for known in interface.routes:
        _take_back(ip, known.route)
    interface.routes.clear()
    interface.servers.clear()
    _set(ip, interface.device, "mtu", 0)


# Prefixes and routes


def _heard_prefix(ip: Ip, interface: Interface, body: bytes, found: list[Autonomous]) -> None:
    fields = nd_option.prefix_fields(body)
    if fields is None:
        return
    prefix, length, flags, valid_s, preferred_s = fields
    if length > 128 or ip.is_multicast(prefix) or is_link_local(prefix) or preferred_s > valid_s:
        return
    network = (prefix >> (128 - length)) << (128 - length)
    if flags & nd_option.ON_LINK:
        keep_route(ip, interface, network, length, 0, _PREFIX_METRIC, valid_s)
    if flags & nd_option.AUTONOMOUS and interface.device.inet6.autoconf != 0:
        found.append(Autonomous(network, length, valid_s, preferred_s))


def keep_route(
    ip: Ip, interface: Interface, network: int, length: i64, gateway: int, metric: i64, lifetime_s: i64
) -> None:
    """A route that holds for `lifetime_s`; 0 takes it back."""
    known: Advertised | None = None
    for other in interface.routes:
        route = other.route
        if route.network == network and route.prefix == length and route.gateway == gateway:
            known = other
    if lifetime_s == 0:
        if known is not None:
            interface.routes.remove(known)
            _take_back(ip, known.route)
        return
    if known is None:
        if len(interface.routes) >= _MOST_ROUTES:
            return
        made = _route(interface, network, length, gateway, metric)
        if gateway == 0:
            made.proto = PROTO_KERNEL
        try:
            ip.inet6.routes.add(made)
        except FileExistsError:
            return  # one that the administrator made, or that an address by hand has brought
        known = Advertised(made, 0)
        interface.routes.append(known)
    known.until_ns = until(ip, lifetime_s)
    known.route.expires_ns = known.until_ns


def _heard_route(ip: Ip, interface: Interface, src: int, body: bytes) -> None:
    """RFC 4191 (3.1)."""
    fields = nd_option.route_fields(body)
    conf = interface.device.inet6
    if fields is None:
        return
    network, length, bits, lifetime_s = fields
    if bits == 2 or not conf.accept_ra_rt_info_min_plen <= length <= conf.accept_ra_rt_info_max_plen:
        return
    if length == 0:
        if conf.accept_ra_defrtr != 0:
            _heard_default(ip, interface, src, min(lifetime_s, 0xFFFF), preference_of(bits))
        return
    # Routes of one network stand by metric: the preference is in it, as hosts look at nothing else.
    metric: i64 = conf.ra_defrtr_metric + MEDIUM - preference_of(bits)
    for other in list(interface.routes):
        route = other.route
        if route.network == network and route.prefix == length and route.gateway == src and route.metric != metric:
            interface.routes.remove(other)
            _take_back(ip, route)
    keep_route(ip, interface, network, length, src, metric, lifetime_s)


def _heard_servers(ip: Ip, interface: Interface, body: bytes) -> None:
    """RFC 8106 (5.3.1)."""
    fields = nd_option.servers_fields(body)
    if fields is None:
        return
    servers, lifetime_s = fields
    for server in servers:
        if lifetime_s == 0:
            interface.servers.pop(server, None)
        elif family_of(server) != AF_INET6:
            continue  # of ::/96, which nobody has
        elif server in interface.servers or len(interface.servers) < _MOST_SERVERS:
            interface.servers[server] = until(ip, lifetime_s)


def expire(ip: Ip, interface: Interface) -> None:
    """Let go of what has come to its end."""
    now: i64 = ip.scheduler.now_ns
    for router in list(interface.routers):
        if router.until_ns <= now:
            drop_router(ip, interface, router)
    for known in list(interface.routes):
        if known.until_ns != FOREVER and known.until_ns <= now:
            interface.routes.remove(known)
            _take_back(ip, known.route)
    for server in list(interface.servers):
        end: i64 = interface.servers[server]
        if end != FOREVER and end <= now:
            del interface.servers[server]


def next_end(interface: Interface) -> i64:
    """When the next thing comes to its end; FOREVER when nothing does."""
    found: i64 = FOREVER
    for router in interface.routers:
        found = sooner(found, router.until_ns)
    for known in interface.routes:
        found = sooner(found, known.until_ns)
    for server in interface.servers:
        found = sooner(found, interface.servers[server])
    return found


def sooner(a: i64, b: i64) -> i64:
    """The earlier of two times, of which each may be FOREVER."""
    if a == FOREVER:
        return b
    return a if b == FOREVER or a < b else b
