"""`ip route get`: the route that a packet would take, and what is remembered of its path."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from lunar.net import fib
from lunar.net.family import Family
from lunar.net.route import BROADCAST, LOCAL, MULTICAST, PROTO_REDIRECT, UNICAST, Route
from lunar.net.rule import TABLE_MAIN, Flow
from lunar.net_tools.errors import CommandError
from lunar.net_tools.ip import names
from lunar.net_tools.ip.route_shown import FIELDS, metrics_of, metrics_text
from lunar.net_tools.ip.shown import Row, shown
from lunar.net_tools.ip.words import Style, Words
from lunar.packet import AF_INET, AF_INET6
from lunar.wire.address import address_text

if TYPE_CHECKING:
    from lunar.host import Host


def get(host: Host, style: Style, words: Words) -> str:
    """`ip route get ADDRESS [from ADDRESS [iif DEV]] [oif DEV] [mark N] [tos N] [ipproto P] [sport N] [dport N]`."""
    flow, family = _flow(host, style, words)
    if not flow.dst and family.number == AF_INET:
        raise CommandError("need at least a destination address")
    ip = host.ip
    number = int(family.number)
    kind = UNICAST
    source = flow.src
    if flow.dst in ip.local or (number == AF_INET and flow.dst >> 24 == 127):
        kind = LOCAL
        route = family.loopback_route
        source = source or flow.dst
    elif number == AF_INET and flow.dst in ip.broadcasts:
        kind = BROADCAST
        device = ip.broadcasts[flow.dst]
        route = Route(flow.dst, 32, 0, device, 0, 0, number)
    else:
        route = ip.route_changes.redirects.get(flow.dst) or fib.lookup(ip, family, flow)
        if number == AF_INET and flow.dst >> 28 == 14:
            kind = MULTICAST
    if route is None and flow.oif and not flow.src:
        # With a device and no route Linux takes the destination to be on its network.
        route = Route(flow.dst, 32, 0, host.devices[flow.oif], 0, 0, number)
    if route is None:
        raise CommandError("RTNETLINK answers: Network is unreachable")
    refused = route.refusal()
    if refused:
        raise CommandError(f"RTNETLINK answers: {os.strerror(refused)}")
    row = _got(host, family, route, flow, kind, source or route.source_address())
    return shown([row], style, lambda one: _got_text(one, number, style))


def _flow(host: Host, style: Style, words: Words) -> tuple[Flow, Family]:
    words.takes("to")
    if not words:
        raise CommandError("need at least a destination address")
    number, address, _prefix = words.prefix(style.family)
    flow = Flow(address)
    while words:
        if words.takes("from"):
            flow.src = words.address(number)
        elif words.takes("iif"):
            flow.iif = words.device(host).name
        elif words.takes("oif", "dev"):
            flow.oif = words.device(host).name
        elif words.takes("mark"):
            flow.mark = words.number("mark", 0, 0xFFFF_FFFF)
        elif words.takes("tos", "dsfield"):
            flow.tos = words.number("TOS", 0, 255)
        elif words.takes("uid"):
            flow.uid = words.number("uid", 0, 0xFFFF_FFFF)
        elif words.takes("ipproto"):
            protocols = {"icmp": 1, "tcp": 6, "udp": 17, "ipv6-icmp": 58}
            flow.protocol = names.number(protocols, words.take("a protocol"), "ipproto", 255)
        elif words.takes("sport"):
            flow.sport = words.number("port", 0, 65535)
        elif words.takes("dport"):
            flow.dport = words.number("port", 0, 65535)
        else:
            raise words.refuse("from, iif, oif, mark, tos, uid, ipproto, sport or dport")
    if flow.iif != "lo" and not flow.src:
        raise CommandError(f"{words.what}: iif without from")
    if flow.uid < 0:
        flow.uid = 0
    return flow, host.ip.family(number)


def _got(host: Host, family: Family, route: Route, flow: Flow, kind: int, source: int) -> Row:
    number = int(family.number)
    row: Row = {} if kind == UNICAST else {"type": names.name(names.TYPES, kind)}
    row["dst"] = address_text(number, flow.dst)
    if flow.src:
        row["src"] = address_text(number, flow.src)
    elif number == AF_INET6:
        row["from"] = "::"
    if route.gateway:
        row["gateway"] = address_text(number, route.gateway)
    row["dev"] = route.device.name
    if kind in (LOCAL, BROADCAST):
        row["table"] = "local"
    elif route.table != TABLE_MAIN:
        row["table"] = names.name(names.TABLES, int(route.table))
    if number == AF_INET6:
        if kind == LOCAL:
            row["protocol"] = "kernel"
        elif route.proto != names.PROTOCOLS["boot"]:
            row["protocol"] = names.name(names.PROTOCOLS, int(route.proto))
    if not flow.src:
        row["prefsrc"] = address_text(number, source)
    if number == AF_INET6:
        row["metric"] = int(route.metric)
    if flow.mark:
        row["mark"] = int(flow.mark)
    row["flags"] = []
    if number == AF_INET:
        row["uid"] = int(flow.uid)
        cache = {LOCAL: ["local"], BROADCAST: ["local", "brd"], MULTICAST: ["mc"]}.get(kind, [])
        if route.proto == PROTO_REDIRECT:
            cache.append("redirected")
        row["cache"] = cache
    metrics = metrics_of(route)
    learned: Any = host.ip.path_mtus.get(flow.dst)
    if learned is not None and "mtu" not in metrics:
        metrics["mtu"] = int(learned.mtu)
    if metrics:
        row["metrics"] = [metrics]
    if number == AF_INET6:
        row["pref"] = "medium"
    if flow.iif != "lo":
        row["iif"] = flow.iif
    return row


def _got_text(row: Row, family: int, style: Style) -> str:
    kind = f"{row['type']} " if "type" in row else ""
    text = f"{kind}{row['dst']} "
    for name, word in (("from", "from"), *FIELDS):
        if name in row:
            text += f"{word} {row[name]} "
    text += f"mark {row['mark']} " if "mark" in row else ""
    if family == AF_INET6:
        return f"{text}{metrics_text(row)}pref medium\n"
    text += f"uid {row['uid']} " if "iif" not in row else ""
    cache = f"<{','.join(row['cache'])}> " if row["cache"] else ""
    iif = f"iif {row['iif']} " if "iif" in row else ""
    return f"{text}{style.end}    cache {cache}{metrics_text(row)}{iif}\n"
