"""`ip route show`: which routes are meant, and how they are written.

What routes are chosen by is not said again of each of them: `ip route show dev eth0` leaves `dev eth0` out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import attrs

from lunar.net import fib
from lunar.net.device import Device
from lunar.net.family import Family
from lunar.net.route import UNICAST, Route, RouteTable
from lunar.net.rule import TABLE_LOCAL, TABLE_MAIN
from lunar.net_tools.errors import CommandError
from lunar.net_tools.ip import names
from lunar.net_tools.ip.addr import scope_name, scope_number
from lunar.net_tools.ip.shown import Row, shown
from lunar.net_tools.ip.words import Style, Words
from lunar.packet import AF_INET, AF_INET6
from lunar.wire.address import address_text

if TYPE_CHECKING:
    from lunar.host import Host

_NS: Final = 1_000_000_000
_EXPECTED: Final = "table, dev, via, src, proto, scope, type, metric, root, match, exact or a network"
Found = tuple[Family, RouteTable | None, Route]  # no table: of what is shown of the table `local`


@attrs.define
class _Filter:
    """What routes are chosen by."""

    table: int = TABLE_MAIN  # 0: all
    device: Device | None = None
    gateway: int = 0
    source: int = 0
    proto: int = -1
    scope: int = -1
    type: int = -1
    metric: int = -1
    network: tuple[int, int, int] | None = None
    how: str = "exact"
    hidden: set[str] = attrs.field(factory=set)

    def keeps(self, route: Route) -> bool:
        # One with several next hops is of none of them.
        alone = route.paths is None
        return (
            (self.device is None or (alone and route.device is self.device))
            and (not self.gateway or (alone and route.gateway == self.gateway))
            and (not self.source or route.source == self.source)
            and self.proto in (-1, route.proto)
            and self.scope in (-1, route.scope)
            and self.type in (-1, route.type)
            and self.metric in (-1, route.metric)
            and (self.network is None or self._fits(route))
        )

    def _fits(self, route: Route) -> bool:
        assert self.network is not None
        family, network, prefix = self.network
        if family != route.family:
            return False
        if self.how == "exact":
            return (route.network, route.prefix) == (network, prefix)
        bits = 32 if family == AF_INET else 128
        shorter = prefix if self.how == "root" else int(route.prefix)
        if (route.prefix < prefix) if self.how == "root" else (route.prefix > prefix):
            return False
        return (route.network ^ network) >> (bits - shorter) == 0


def _read(host: Host, style: Style, words: Words) -> _Filter:
    found = _Filter()
    while words:
        if words.takes("table"):
            word = words.take("a table")
            found.table = 0 if word in ("all", "0") else names.table_number(word)
        elif words.takes("dev", "oif"):
            found.device = words.device(host)
            found.hidden.add("dev")
        elif words.takes("via"):
            found.gateway = words.address(style.family)
            found.hidden.add("gateway")
        elif words.takes("src"):
            found.source = words.address(style.family)
        elif words.takes("proto", "protocol", short=5):
            word = words.take("a protocol")
            if word != "all":
                found.proto = names.protocol_number(word)
                found.hidden.add("protocol")
        elif words.takes("scope"):
            word = words.take("a scope")
            if word != "all":
                found.scope = scope_number(word)
                found.hidden.add("scope")
        elif words.takes("type"):
            found.type = names.number(names.TYPES, words.take("a type"), "type", 255)
        elif words.takes("metric", "priority", "preference", short=4):
            found.metric = words.number("metric", 0, 0xFFFF_FFFF)
        elif words.now in names.TYPES:
            found.type = names.TYPES[words.take()]
        elif words.now == "cache":
            raise CommandError(f"{words.what}: cache: what a host has learned of paths is not shown")
        else:
            for how in ("root", "match", "exact"):
                if words.takes(how):
                    found.how = how
            words.takes("to")
            if found.network is not None:
                raise words.refuse(_EXPECTED)
            found.network = words.prefix(style.family, "prefix")
    return found


def chosen(host: Host, style: Style, words: Words) -> Iterator[Found]:
    """The routes that the words mean, for `flush`: what is deleted from."""
    wanted = _read(host, style, words)
    yield from [found for found in _all(host, style, wanted) if wanted.keeps(found[2])]


def _all(host: Host, style: Style, wanted: _Filter) -> Iterator[Found]:
    """All routes of the tables that are wanted, in the order in which Linux tells them."""
    families = [style.family] if style.family else [AF_INET] if wanted.table else [AF_INET, AF_INET6]
    if not style.family and wanted.network is not None:
        families = [wanted.network[0]]
    for number in families:
        family = host.ip.family(number)
        made = {TABLE_MAIN: family.routes, **family.tables}
        numbers = sorted({*made, TABLE_LOCAL}) if not wanted.table else [wanted.table]
        for one in numbers:
            table = made.get(one)
            if one == TABLE_LOCAL:
                routes = [(None if table is None or route not in table.all() else table, route)
                          for route in fib.local_routes(host.ip, family)]  # fmt: skip
            else:
                # What Linux has in the table `local` and this stack finds in main is not shown there.
                routes = [] if table is None else [(table, route) for route in table.all() if route.table == one]
            # A sort is stable: of the same network and metric the order is the table's.
            for where, route in sorted(routes, key=lambda pair: place(pair[1])):
                yield family, where, route


def place(route: Route) -> tuple[int, ...]:
    """Where Linux tells a route: of IPv4 by network, the longest prefix first; of IPv6 what is within another first."""
    if route.family == AF_INET:
        return route.network, -int(route.prefix), -int(route.tos), int(route.metric)
    last = route.network | ((1 << (128 - int(route.prefix))) - 1)
    return last, -int(route.prefix), int(route.metric)


def show(host: Host, style: Style, words: Words) -> str:
    """`ip route show [SELECTOR]`."""
    wanted = _read(host, style, words)
    rows = [
        row_of(route, style, wanted.hidden, with_table=wanted.table == 0 and route.table != TABLE_MAIN, host=host)
        for _, _, route in _all(host, style, wanted) if wanted.keeps(route)
    ]  # fmt: skip
    return shown(rows, style, lambda row: text_of(row, style))


def row_of(route: Route, style: Style, hidden: set[str], *, with_table: bool, host: Host) -> Row:
    """A route as a row."""
    family = int(route.family)
    details = style.details > 0
    row: Row = {}
    if route.type != UNICAST or details:
        row["type"] = str(int(route.type)) if style.numeric else names.name(names.TYPES, int(route.type))
    row["dst"] = _prefix_text(family, route.network, int(route.prefix))
    if route.tos:
        row["tos"] = f"0x{int(route.tos):02x}"
    goes_nowhere = int(route.type) in (names.TYPES["blackhole"], names.TYPES["unreachable"], names.TYPES["prohibit"],
                                       names.TYPES["throw"])  # fmt: skip
    if route.paths is None:
        if route.gateway and "gateway" not in hidden:
            row["gateway"] = address_text(family, route.gateway)
        # IPv6 says lo of those, IPv4 nothing.
        if "dev" not in hidden and not (goes_nowhere and family == AF_INET):
            row["dev"] = route.device.name
    if with_table:
        row["table"] = names.name(names.TABLES, int(route.table))
    if (details or route.proto != names.PROTOCOLS["boot"]) and "protocol" not in hidden:
        row["protocol"] = (
            str(int(route.proto)) if style.numeric else names.name(names.PROTOCOLS, int(route.proto))
        )
    if (details or (family == AF_INET and route.scope)) and "scope" not in hidden:
        scope = int(route.scope) if family == AF_INET else 0
        row["scope"] = str(scope) if style.numeric else scope_name(scope)
    if route.source:
        row["prefsrc"] = address_text(family, route.source)
    if route.metric or family == AF_INET6:
        row["metric"] = int(route.metric)
    row["flags"] = ["onlink"] if route.onlink and route.paths is None else []
    metrics = metrics_of(route)
    if metrics:
        row["metrics"] = [metrics]
    if route.expires_ns >= 0:
        row["expires"] = max(0, (int(route.expires_ns) - int(host.scheduler.now_ns)) // _NS)
    if family == AF_INET6:
        row["pref"] = "medium"
    if route.paths is not None:
        row["nexthops"] = [_hop(path, family) for path in route.paths]
    return row


def _hop(path: Route, family: int) -> Row:
    row: Row = {"gateway": address_text(family, path.gateway)} if path.gateway else {}
    flags = ["onlink"] if path.onlink else []
    if not path.device.up:
        flags = ["dead", *flags, "linkdown"]
    return row | {"dev": path.device.name, "weight": int(path.weight), "flags": flags}


def metrics_of(route: Route) -> Row:
    found: Row = {}
    if route.mtu:
        if route.mtu_locked:
            found["lock"] = ["mtu"]
        found["mtu"] = int(route.mtu)
    for name in ("advmss", "hoplimit", "initcwnd"):
        value = int(getattr(route, name))
        if value:
            found[name] = value
    return found


def _prefix_text(family: int, network: int, prefix: int) -> str:
    if prefix == 0:
        return "default"
    text = address_text(family, network)
    return text if prefix == (32 if family == AF_INET else 128) else f"{text}/{prefix}"


def text_of(row: Row, style: Style) -> str:
    """The text of a route."""
    text = _text(row)
    if "pref" in row:
        text += f"pref {row['pref']}"
    for hop in row.get("nexthops", ()):
        gateway = f"via {hop['gateway']} " if "gateway" in hop else ""
        flags = "".join(f"{flag} " for flag in hop["flags"])
        text += f"{style.end}\tnexthop {gateway}dev {hop['dev']} weight {hop['weight']} {flags}"
    return text + "\n"


FIELDS: Final = (
    ("tos", "tos"), ("src", "from"), ("gateway", "via"), ("dev", "dev"), ("table", "table"), ("protocol", "proto"),
    ("scope", "scope"), ("prefsrc", "src"), ("metric", "metric"),
)  # fmt: skip


def _text(row: Row) -> str:
    text = f"{row['type']} " if "type" in row else ""
    text += f"{row['dst']} "
    for name, word in FIELDS:
        if name in row:
            text += f"{word} {row[name]} "
    text += "".join(f"{flag} " for flag in row["flags"])
    return text + metrics_text(row) + (f"expires {row['expires']}sec " if "expires" in row else "")


def metrics_text(row: Row) -> str:
    text = ""
    for metrics in row.get("metrics", ()):
        locked = metrics.get("lock", ())
        for name, value in metrics.items():
            if name != "lock":
                text += f"{name} {'lock ' if name in locked else ''}{value} "
    return text
