"""`ip route`: the routes of a host's tables, as ip-route(8) sets them.

How they are shown is in route_shown.py, `get` is in route_get.py. Left out, and refused: encapsulations, next hop
objects, realms, classes, a gateway of the other family, and metrics that nothing here obeys (window, rtt, cwnd ...).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from lunar.net import fib
from lunar.net.device import Device
from lunar.net.family import Family
from lunar.net.route import (
    BLACKHOLE,
    PROHIBIT,
    PROTO_BOOT,
    SCOPE_LINK,
    SCOPE_UNIVERSE,
    THROW,
    UNICAST,
    UNREACHABLE,
    Route,
)
from lunar.net.rule import TABLE_MAIN
from lunar.net_tools.errors import CommandError
from lunar.net_tools.ip import names, route_get, route_shown
from lunar.net_tools.ip.addr import scope_number
from lunar.net_tools.ip.words import Style, Words
from lunar.packet import AF_INET, AF_INET6
from lunar.wire.address import network_mask

if TYPE_CHECKING:
    from lunar.host import Host

METRIC_MOST: Final = 0xFFFF_FFFF
# What Linux gives an IPv6 route without a metric (IP6_RT_PRIO_USER).
IPV6_METRIC: Final = 1024
_NOWHERE: Final = (BLACKHOLE, UNREACHABLE, PROHIBIT, THROW)
_INVALID_SOURCE_6: Final = "Error: Invalid source address."
_EXPECTED: Final = (
    "via, dev, src, metric, table, proto, scope, tos, onlink, mtu, advmss, initcwnd, hoplimit or nexthop"
)
_CHANGES: Final = ("add", "append", "prepend", "replace", "change", "chg", "delete")
_ACTIONS: Final = ("show", "list", "lst", "get", "flush", *_CHANGES)


def run(host: Host, style: Style, words: Words) -> str:
    """`ip route [show|flush SELECTOR]`, `ip route get ADDRESS ...`, `ip route add|append|prepend|replace|change|del
    ROUTE`.
    """
    action = words.choose(_ACTIONS, "show")
    words.what = f"ip route {action}"
    if action in ("show", "list", "lst"):
        return route_shown.show(host, style, words)
    if action == "get":
        return route_get.get(host, style, words)
    if action == "flush":
        return _flush(host, style, words)
    _change(host, style, words, "change" if action == "chg" else action)
    return ""


@attrs.define
class _Hop:
    """One way of a route."""

    gateway: int = 0
    device: Device | None = None
    weight: int = 1
    onlink: bool = False


@attrs.define
class _Wanted:
    """What a command says of a route; -1 where it says nothing."""

    family: int = AF_INET
    network: int = 0
    prefix: int = 0
    type: int = -1
    hop: _Hop = attrs.field(factory=_Hop)
    hops: list[_Hop] = attrs.field(factory=list)
    source: int = 0
    metric: int = -1
    table: int = -1
    proto: int = -1
    scope: int = -1
    tos: int = 0
    metrics: dict[str, int] = attrs.field(factory=dict)
    mtu_locked: bool = False


def _read(host: Host, style: Style, words: Words) -> _Wanted:
    wanted = _Wanted(style.family or AF_INET)
    if words.now in names.TYPES:
        wanted.type = names.TYPES[words.take()]
        if wanted.type not in (UNICAST, *_NOWHERE):
            raise CommandError(f"{words.what}: routes of type {names.name(names.TYPES, wanted.type)} are not supported")
    words.takes("to")
    wanted.family, wanted.network, wanted.prefix = words.prefix(style.family)
    family = wanted.family
    mask = network_mask(wanted.prefix, 32 if family == AF_INET else 128)
    if wanted.network & ~mask:
        if family == AF_INET:
            raise CommandError("Error: Invalid prefix for given prefix length.")
        wanted.network &= mask  # as Linux does for IPv6
    while words:
        if words.takes("nexthop"):
            hop = _Hop()
            while words and words.now != "nexthop" and _read_hop(host, words, family, hop):
                pass
            wanted.hops.append(hop)
        elif _read_hop(host, words, family, wanted.hop) or _read_metric(words, wanted):
            pass
        elif words.takes("src"):
            wanted.source = words.address(family)
        elif words.takes("metric", "priority", "preference", short=4):
            wanted.metric = words.number("metric", 0, METRIC_MOST)
        elif words.takes("table"):
            wanted.table = names.table_number(words.take("a table"))
        elif words.takes("proto", "protocol", short=5):
            wanted.proto = names.protocol_number(words.take("a protocol"))
        elif words.takes("scope"):
            wanted.scope = scope_number(words.take("a scope"))
        elif words.takes("tos", "dsfield"):
            wanted.tos = words.number("TOS", 0, 255)
        elif words.takes("pref"):
            if words.take("a preference") != "medium":
                raise CommandError(f"{words.what}: pref: only medium is supported")
        else:
            raise words.refuse(_EXPECTED)
    if wanted.hops and (wanted.hop.gateway or wanted.hop.device is not None):
        raise CommandError(f"{words.what}: nexthop with via or dev before it; expected one or the other")
    return wanted


def _read_hop(host: Host, words: Words, family: int, hop: _Hop) -> bool:
    """A word that says which way; False if it is none."""
    if words.takes("via"):
        if words.takes("inet6" if family == AF_INET else "inet"):
            raise CommandError(f"{words.what}: via: a gateway of the other family is not supported")
        words.takes("inet" if family == AF_INET else "inet6")
        hop.gateway = gateway_address(host, words.take("a gateway"), family)
    elif words.takes("dev", "oif"):
        hop.device = words.device(host)
    elif words.takes("weight"):
        hop.weight = words.number("weight", 1, 256)
    elif words.takes("onlink"):
        hop.onlink = True
    else:
        return False
    return True


def _read_metric(words: Words, wanted: _Wanted) -> bool:
    for name, most in (("mtu", 0xFFFF_FFFF), ("advmss", 0xFFFF), ("initcwnd", 0x7FFF_FFFF), ("hoplimit", 255)):
        if words.takes(name):
            if name == "mtu" and words.takes("lock"):
                wanted.mtu_locked = True
            wanted.metrics[name] = words.number(name, 0, most)
            return True
    return False


def gateway_address(host: Host, word: str, family: int) -> int:
    """The address that `word` is, or the host of that name has. Raises `CommandError`."""
    try:
        return Words("", [word]).address(family)
    except CommandError:
        of_family = [
            address for address in host.network.names.lookup(word) if (address < 1 << 32) == (family == AF_INET)
        ]
        if not of_family:
            raise
        # Of a router's several addresses, the one on a network of this host.
        for address in of_family:
            way = host.ip.family(family).routes.lookup(address)
            if way is not None and not way.gateway:
                return address
        return of_family[0]


# Changing


def _change(host: Host, style: Style, words: Words, action: str) -> None:
    wanted = _read(host, style, words)
    family = host.ip.family(wanted.family)
    number = TABLE_MAIN if wanted.table in (-1, 0) else wanted.table
    if action == "delete":
        _delete(host, family, number, wanted)
        return
    if wanted.metric < 0:
        wanted.metric = 0 if wanted.family == AF_INET else IPV6_METRIC
    made = _made(host, family, number, wanted)
    table = fib.table(host.ip, family, number)
    same = [
        route for route in table.routes_to(wanted.network, wanted.prefix)
        if route.metric == wanted.metric and route.tos == wanted.tos
    ]  # fmt: skip
    if action == "add" and same:
        raise CommandError("RTNETLINK answers: File exists")
    if action == "change" and not same:
        raise CommandError("RTNETLINK answers: No such file or directory")
    if action in ("replace", "change") and same:
        table.discard(same[0])
        if any(_is_the_same(made, other) for other in same[1:]):
            return
    try:
        # One that is changed keeps its place before others of the same metric.
        if action in ("prepend", "replace", "change"):
            table.prepend(made)
        else:
            table.add(made)
    except FileExistsError:
        raise CommandError("RTNETLINK answers: File exists") from None


def _is_the_same(made: Route, other: Route) -> bool:
    return (made.gateway, made.device, made.type) == (other.gateway, other.device, other.type)


def _made(host: Host, family: Family, number: int, wanted: _Wanted) -> Route:
    """The route that is wanted. Raises `CommandError` in Linux' words."""
    kind = UNICAST if wanted.type < 0 else wanted.type
    lo = host.devices["lo"]
    if kind in _NOWHERE:
        if wanted.hop.gateway or wanted.hop.device not in (None, lo) or wanted.hops:
            raise CommandError("RTNETLINK answers: Invalid argument")
        made = Route(wanted.network, wanted.prefix, 0, lo, wanted.metric, wanted.source, family.number)
        made.scope = SCOPE_UNIVERSE
    else:
        hops = wanted.hops or [wanted.hop]
        devices = [_device_of(host, family, hop) for hop in hops]
        made = Route(
            wanted.network, wanted.prefix, hops[0].gateway, devices[0], wanted.metric, wanted.source, family.number
        )
        made.onlink = hops[0].onlink
        if wanted.hops or family.number == AF_INET6:
            made.scope = SCOPE_UNIVERSE
    if wanted.source and wanted.source not in host.ip.local:
        raise CommandError("Error: Invalid prefsrc address." if family.number == AF_INET else _INVALID_SOURCE_6)
    made.type = kind
    made.table = number
    made.proto = PROTO_BOOT if wanted.proto < 0 else wanted.proto
    made.tos = wanted.tos
    if wanted.scope >= 0 and family.number == AF_INET:
        if made.gateway and wanted.scope >= SCOPE_LINK:
            raise CommandError("RTNETLINK answers: Invalid argument")
        made.scope = wanted.scope
    made.mtu = wanted.metrics.get("mtu", 0)
    made.mtu_locked = wanted.mtu_locked
    made.advmss = wanted.metrics.get("advmss", 0)
    made.initcwnd = wanted.metrics.get("initcwnd", 0)
    made.hoplimit = wanted.metrics.get("hoplimit", 0)
    if len(wanted.hops) > 1:
        for hop, device in zip(wanted.hops, devices, strict=True):
            made.add_path(hop.gateway, device, hop.weight).onlink = hop.onlink
    return made


def _device_of(host: Host, family: Family, hop: _Hop) -> Device:
    """By which device a way goes; its gateway must be on a network of that device."""
    device = hop.device
    if hop.gateway:
        if hop.gateway in host.ip.local:
            raise CommandError("Error: Nexthop has invalid gateway.")
        if not hop.onlink and not (family.number == AF_INET6 and hop.gateway >> 118 == 0x3FA):
            way = _direct_way(family, hop.gateway, device)
            if way is None or way.gateway or device not in (None, way.device):
                if family.number == AF_INET:
                    raise CommandError("Error: Nexthop has invalid gateway.")
                raise CommandError("RTNETLINK answers: No route to host")
            device = way.device
    if device is None:
        if hop.gateway:
            raise CommandError("Error: Egress device not specified.")
        raise CommandError("RTNETLINK answers: No such device")
    if not device.up:
        raise CommandError("Error: Device for nexthop is not up.")
    return device


def _direct_way(family: Family, gateway: int, device: Device | None) -> Route | None:
    if device is None:
        return family.routes.lookup(gateway)
    return family.routes.lookup_by(gateway, 0, device.name, -1)


def _delete(host: Host, family: Family, number: int, wanted: _Wanted) -> None:
    table = family.routes if number == TABLE_MAIN else family.tables.get(number)
    for route in [] if table is None else table.routes_to(wanted.network, wanted.prefix):
        if _matches(route, wanted):
            assert table is not None, "it has a route"
            table.discard(route)
            return
    raise CommandError("RTNETLINK answers: No such process")


def _matches(route: Route, wanted: _Wanted) -> bool:
    """Whether a route is the one that is to go: what the command says nothing of may be anything."""
    hop = wanted.hop
    return (
        wanted.type in (-1, route.type)
        and (not hop.gateway or route.gateway == hop.gateway)
        and (hop.device is None or route.device is hop.device)
        and (not wanted.source or route.source == wanted.source)
        and wanted.metric in (-1, 0, route.metric)
        and wanted.proto in (-1, route.proto)
        and wanted.scope in (-1, route.scope)
        and wanted.tos in (0, route.tos)
        and (not wanted.hops or _same_hops(route, wanted.hops))
    )


def _same_hops(route: Route, hops: list[_Hop]) -> bool:
    paths = route.paths or [route]
    return len(paths) == len(hops) and all(
        path.gateway == hop.gateway and hop.device in (None, path.device) for path, hop in zip(paths, hops, strict=True)
    )


def _flush(host: Host, style: Style, words: Words) -> str:
    if not words:
        raise CommandError('"ip route flush" requires arguments.')
    if words.now in ("cache", "c"):
        words.take()
        words.end()
        host.ip.path_mtus.clear()
        host.ip.route_changes.changed()
        return ""
    for _, table, route in route_shown.chosen(host, style, words):
        if table is not None:
            table.discard(route)
    return ""

