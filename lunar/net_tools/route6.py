"""route(8) for IPv6: the tables main and local, as /proc/net/ipv6_route has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import attrs

from lunar.net import fib
from lunar.net.route import BLACKHOLE, PROHIBIT, PROTO_RA, UNREACHABLE, Route
from lunar.net.rule import TABLE_LOCAL
from lunar.net_tools.errors import CommandError
from lunar.net_tools.ip import route as ip_route
from lunar.net_tools.ip.route_shown import place
from lunar.net_tools.ip.words import Style, Words
from lunar.packet import AF_INET6
from lunar.wire.address import ipv6_text

if TYPE_CHECKING:
    from lunar.host import Host

# linux/route.h and ipv6_route.h
RTF_UP: Final = 0x1
RTF_GATEWAY: Final = 0x2
RTF_HOST: Final = 0x4
RTF_REJECT: Final = 0x200
RTF_ADDRCONF: Final = 0x40000
RTF_NONEXTHOP: Final = 0x200000
RTF_LOCAL: Final = 0x80000000
_GROUPS: Final = 0xFF << 120
_METRIC: Final = 256


@attrs.frozen
class Line:
    """One line of the table."""

    network: int
    prefix: int
    gateway: int
    metric: int  # -1: of what refuses all else
    flags: int
    device: str


def lines(host: Host) -> Iterator[Line]:
    """The lines in Linux' order: the table main, the table local, and the entry that refuses what no route has."""
    family = host.ip.inet6
    for route in sorted((one for one in family.routes.all() if one.table != TABLE_LOCAL), key=place):
        for way in route.paths or [route]:
            yield _line(route, way)
    for route in sorted(fib.local_routes(host.ip, family), key=place):
        yield Line(route.network, int(route.prefix), 0, 0, RTF_LOCAL | RTF_NONEXTHOP | RTF_UP, route.device.name)
    for device in host.devices.values():
        if device.name != "lo" and device.up and any(own.family == AF_INET6 for own in device.addresses):
            yield Line(_GROUPS, 8, 0, _METRIC, RTF_UP, device.name)
    yield Line(0, 0, 0, -1, RTF_REJECT | RTF_NONEXTHOP, "lo")


def _line(route: Route, way: Route) -> Line:
    flags = RTF_UP | (RTF_GATEWAY if way.gateway else 0) | (RTF_HOST if route.prefix == 128 else 0)
    if route.type in (UNREACHABLE, PROHIBIT, BLACKHOLE):
        flags |= RTF_REJECT | RTF_NONEXTHOP
    if route.proto == PROTO_RA:
        flags |= RTF_ADDRCONF
    return Line(route.network, int(route.prefix), way.gateway, int(route.metric), flags, way.device.name)


def show(host: Host, numeric: bool) -> str:
    """`route -6`."""
    text = "Kernel IPv6 routing table\n"
    text += "Destination                    Next Hop                   Flag Met Ref  Use If\n"
    for line in lines(host):
        target, hop = _shown(line.network, numeric), _shown(line.gateway, numeric)
        text += f"{f'{target}/{line.prefix}':<30} {hop:<26} {_letters(line.flags):<4} {line.metric:<3} 1      0 "
        text += f"{line.device}\n"
    return text


def _shown(address: int, numeric: bool) -> str:
    return "[::]" if not address and not numeric else ipv6_text(address)


def _letters(flags: int) -> str:
    text = "!" if flags & RTF_REJECT else "U" if flags & RTF_UP else ""
    text += "G" if flags & RTF_GATEWAY else ""
    text += "H" if flags & RTF_HOST else ""
    text += "A" if flags & RTF_ADDRCONF else ""
    return text + ("n" if flags & RTF_NONEXTHOP else "")


def change(host: Host, add: bool, words: list[str]) -> str:
    """`route -6 add|del TARGET [gw G] [metric N] [[dev] DEV]`: the words of `ip -6 route`."""
    if not words:
        raise CommandError("route: the target is missing; expected default, an address or a network")
    said = [words[0]]
    rest = words[1:]
    while rest:
        word = rest.pop(0)
        if word in ("gw", "metric", "dev"):
            if not rest:
                raise CommandError(f"route: {word}: a value is missing")
            # What is 1 without a word here, is 1024 there.
            said += ["via" if word == "gw" else word, rest.pop(0)]
        elif word in host.devices and not rest:
            said += ["dev", word]
        else:
            raise CommandError(f'route: "{word}" is not supported; expected gw, metric or dev')
    if add and "metric" not in said:
        said += ["metric", "1"]
    style = Style(family=AF_INET6)
    ip_route.run(host, style, Words("route", ["add" if add else "delete", *said]))
    return ""
