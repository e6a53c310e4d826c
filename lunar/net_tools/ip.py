"""ip(8), as much as scripts of packetdrill use: `ip route add|replace|change|del`, `ip tcp_metrics flush`.

A route may carry what ip-route(8) calls its metrics: `advmss`, `mtu`, `mtu lock`, `initcwnd`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lunar.net.route import Route, RouteTable
from lunar.net_tools import neigh
from lunar.net_tools.errors import CommandError, parsed
from lunar.net_tools.ifconfig import prefix_length
from lunar.net_tools.route import gateway_address
from lunar.packet import AF_INET, AF_INET6
from lunar.wire.address import ipv4_text, network_mask, parse_ipv4

if TYPE_CHECKING:
    from lunar.host import Host

_NUMBERS: Final = ("advmss", "mtu", "initcwnd", "metric")


def run(host: Host, words: list[str]) -> str:
    """`ip [-4] route add|replace|change|del TARGET [via G] [dev D] [METRIC N ...]`, `ip tcp_metrics flush [all]`."""
    family = {"-4": AF_INET, "-6": AF_INET6}.get(words[0], 0) if words else 0
    if family:
        words = words[1:]
    if words[:2] == ["tcp_metrics", "flush"] and words[2:] in ([], ["all"]):
        host.tcp.tables.metrics().flush()
        return ""
    if words[:1] == ["-s"] and len(words) > 1 and "neighbour".startswith(words[1]) and words[1]:
        return neigh.run(host, family, words[2:], True)
    if words and words[0] != "" and "neighbour".startswith(words[0]):
        return neigh.run(host, family, words[1:])
    if len(words) == 5 and words[:2] == ["link", "set"] and words[3] == "arp" and words[4] in ("on", "off"):
        device = host.devices.get(words[2])
        if device is None:
            raise CommandError(f'Cannot find device "{words[2]}"')
        host.set_arp(device, words[4] == "on")
        return ""
    if words[:1] in (["route"], ["r"]) and len(words) > 2:
        _route(host, words[1], words[2:])
        return ""
    raise CommandError(f'ip: "{" ".join(words)}" is not supported; expected route add, replace, change, del TARGET ...')


def _route(host: Host, action: str, words: list[str]) -> None:
    if action not in ("add", "replace", "change", "del"):
        raise CommandError(f'ip: route {action} is not supported; expected add, replace, change or del')
    network, prefix = _target(words[0])
    gateway = 0
    device = None
    numbers: dict[str, int] = {}
    locked = False
    rest = words[1:]
    while rest:
        word = rest.pop(0)
        if word == "mtu" and rest[:1] == ["lock"]:
            locked = True
            rest.pop(0)
        if not rest:
            raise CommandError(f"ip: {word}: a value is missing")
        value = rest.pop(0)
        if word == "via":
            gateway = gateway_address(host, value, "ip: via")
        elif word == "dev":
            device = host.devices.get(value)
            if device is None:
                raise CommandError(f"ip: {value}: no such device; {host.name} has {', '.join(host.devices)}")
        elif word in _NUMBERS:
            numbers[word] = parsed(int, value, "a number")
        else:
            raise CommandError(f'ip: "{word}" is not supported; expected via, dev, {", ".join(_NUMBERS)}')
    table = host.ip.inet.routes
    metric = numbers.get("metric", 0)
    old = [route for route in table.all() if (route.network, route.prefix, route.metric) == (network, prefix, metric)]
    if action in ("change", "del") and not old:
        raise CommandError(f"ip: route {action} {words[0]}: there is no such route")
    if action == "add" and old:
        raise CommandError(f"ip: route add {words[0]}: there is one already")
    if action == "del":
        _remove(table, old[0])
        return
    if gateway:
        way = table.lookup(gateway)
        if way is None or way.gateway or device not in (None, way.device):
            where = host.name if device is None else f"{host.name}'s {device.name}"
            raise CommandError(f"ip: via {ipv4_text(gateway)} is not in a network of {where}")
        device = way.device
    if device is None:
        raise CommandError(f"ip: route {action} {words[0]}: a gateway (via) or a device (dev) is missing")
    made = Route(network, prefix, gateway, device, metric, 0)
    made.advmss = numbers.get("advmss", 0)
    made.mtu = numbers.get("mtu", 0)
    made.mtu_locked = locked
    made.initcwnd = numbers.get("initcwnd", 0)
    for route in old:
        _remove(table, route)
    table.add(made)


def _remove(table: RouteTable, route: Route) -> None:
    table.remove(route.network, int(route.prefix), route.gateway, route.device, int(route.metric))


def _target(text: str) -> tuple[int, int]:
    if text == "default":
        return 0, 0
    address, slash, length = text.partition("/")
    network = parsed(parse_ipv4, address, "an IPv4 address")
    prefix = prefix_length(length, "ip") if slash else 32
    if network & ~network_mask(prefix) & 0xFFFF_FFFF:
        raise CommandError(f"ip: {ipv4_text(network)}/{prefix} has bits set beyond the prefix length")
    return network, prefix
