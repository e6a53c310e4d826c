"""Routes and their tables: longest prefix match by one dictionary for each prefix length in use.

A host has a table for each family, `Family.routes` (main), and more once somebody makes them; which of them is asked is
in rule.py and fib.py. A `Route` is what ip-route(8) calls one. One with several next hops has `paths`, each of which is
a `Route` again, with its own device and gateway; a packet takes one of them (fib.py chooses), so that whoever has a
route to send by needs to know nothing of that.
"""

from __future__ import annotations

import errno
from typing import Final, final

from mypy_extensions import i64

from lunar.net.device import Device

# Remembered lookups; dropped at each change of the table. Bounded: a flood of destinations must not fill memory.
_CACHE_ENTRIES: Final = 4096

# Types of routes, with the numbers of rtnetlink(7) (RTN_...).
UNICAST: Final = 1
LOCAL: Final = 2
BROADCAST: Final = 3
ANYCAST: Final = 4
MULTICAST: Final = 5
BLACKHOLE: Final = 6
UNREACHABLE: Final = 7
PROHIBIT: Final = 8
THROW: Final = 9

# Who made a route (RTPROT_...), by which nothing here is decided.
PROTO_REDIRECT: Final = 1
PROTO_KERNEL: Final = 2
PROTO_BOOT: Final = 3
PROTO_STATIC: Final = 4
PROTO_RA: Final = 9

# How far away the destination is (RT_SCOPE_...).
SCOPE_UNIVERSE: Final = 0
SCOPE_SITE: Final = 200
SCOPE_LINK: Final = 253
SCOPE_HOST: Final = 254
SCOPE_NOWHERE: Final = 255

_MAIN: Final = 254


@final
class Route:
    """One route. `gateway` 0: the destination is on the device's own network. `source` is preferred, 0 for none.

    A route of a type that goes nowhere (BLACKHOLE ... THROW) has `lo` for its device.
    """

    def __init__(
        self, network: int, prefix: i64, gateway: int, device: Device, metric: i64, source: int, family: i64 = 2
    ) -> None:
        self.family: i64 = family
        self.network: int = network
        self.prefix: i64 = prefix
        self.gateway: int = gateway
        self.device: Device = device
        self.metric: i64 = metric
        self.source: int = source
        self.type: i64 = UNICAST
        self.table: i64 = _MAIN
        self.scope: i64 = SCOPE_UNIVERSE if gateway else SCOPE_LINK
        self.proto: i64 = PROTO_BOOT
        self.tos: i64 = 0  # only packets with this TOS take it; 0: all
        self.onlink: bool = False  # the gateway is taken to be on the device's network, whatever its addresses say
        # What ip-route(8) calls metrics, 0 where the route does not say: the MSS that TCP tells, the MTU and whether
        # path MTU discovery may change it, the first congestion window in segments, the TTL of what is sent.
        self.advmss: i64 = 0
        self.mtu: i64 = 0
        self.mtu_locked: bool = False
        self.initcwnd: i64 = 0
        self.hoplimit: i64 = 0
        self.paths: list[Route] | None = None  # several next hops; device and gateway are the first one's then
        self.weight: i64 = 1  # of a path among those
        self.expires_ns: i64 = -1  # of what a router advertised; -1: never

    def source_address(self) -> int:
        """The address that a packet by this route carries when its socket names none.

        Of a device's several addresses the one on the gateway's network, as Linux' inet_select_addr() picks it.
        """
        if self.source:
            return self.source
        if self.gateway:
            for own in self.device.addresses:
                if own.family == self.family and own.covers(self.gateway):
                    return own.address
        return self.device.primary_address(self.family)

    def refusal(self) -> int:
        """The errno of who sends by a route that goes nowhere; 0 for all others."""
        if self.type == BLACKHOLE:
            return errno.EINVAL
        if self.type == UNREACHABLE:
            return errno.EHOSTUNREACH
        if self.type == PROHIBIT:
            return errno.EACCES
        return errno.ENETUNREACH if self.type == THROW else 0

    def add_path(self, gateway: int, device: Device, weight: i64) -> Route:
        """One more next hop, which has all else of this route."""
        path = self.copy()
        path.gateway = gateway
        path.device = device
        path.weight = weight
        if self.paths is None:
            self.paths = []
        self.paths.append(path)
        self.gateway = self.paths[0].gateway
        self.device = self.paths[0].device
        return path

    def copy(self) -> Route:
        """Another route that says the same of one next hop."""
        other = Route(self.network, self.prefix, self.gateway, self.device, self.metric, self.source, self.family)
        other.type = self.type
        other.table = self.table
        other.scope = self.scope
        other.proto = self.proto
        other.tos = self.tos
        other.onlink = self.onlink
        other.advmss = self.advmss
        other.mtu = self.mtu
        other.mtu_locked = self.mtu_locked
        other.initcwnd = self.initcwnd
        other.hoplimit = self.hoplimit
        other.expires_ns = self.expires_ns
        return other

    def is_plain(self) -> bool:
        """Whether every packet to its network takes it, and by one way: what needs no second look."""
        return self.type == UNICAST and self.paths is None and self.tos == 0


@final
class Changes:
    """Counts the changes of a host's tables: who remembers a route looks it up again.

    `redirects` are the better ways that routers told of (redirect.py), by destination; the next change forgets them.
    """

    def __init__(self) -> None:
        self.count: i64 = 0
        self.redirects: dict[int, Route] = {}

    def changed(self) -> None:
        self.count += 1
        if self.redirects:
            self.redirects.clear()


@final
class RouteTable:
    """The routes of a host for one family, whose addresses have `bits`."""

    def __init__(self, bits: i64 = 32, changes: Changes | None = None) -> None:
        self.bits: int = int(bits)
        # Prefix lengths in use, longest first, and for each a dictionary from the network's leading bits to its
        # routes, best metric first.
        self._prefixes: list[int] = []
        self._tables: list[dict[int, list[Route]]] = []
        self._cache: dict[int, Route] = {}
        self.changes: Changes = Changes() if changes is None else changes
        self.plain: bool = True  # all of its routes are (Route.is_plain): `lookup` says all there is to say

    def add(self, route: Route) -> None:
        """Add `route`, behind those for the same network with the same metric.

        Raises `FileExistsError` (EEXIST) when one of them has the same gateway and device too.
        """
        self._put(route, last=True)

    def prepend(self, route: Route) -> None:
        """As `add`, before those with the same metric (`ip route prepend`, and route(8))."""
        self._put(route, last=False)

    def _put(self, route: Route, last: bool) -> None:
        prefix: int = int(route.prefix)
        if prefix not in self._prefixes:
            at = 0
            while at < len(self._prefixes) and self._prefixes[at] > prefix:
                at += 1
            self._prefixes.insert(at, prefix)
            self._tables.insert(at, {})
        routes = self._tables[self._prefixes.index(prefix)].setdefault(route.network >> (self.bits - prefix), [])
        for other in routes:
            if (
                other.metric == route.metric and other.gateway == route.gateway and other.device is route.device
                and other.tos == route.tos and other.type == route.type
                and other.paths is None and route.paths is None
            ):  # fmt: skip
                raise FileExistsError(errno.EEXIST, "File exists")
        # Stable, so that those of one metric keep their order.
        if last:
            routes.append(route)
        else:
            routes.insert(0, route)
        routes.sort(key=_rank)
        if not route.is_plain():
            self.plain = False
        self._changed()

    def routes_to(self, network: int, prefix: int) -> list[Route]:
        """The routes to exactly this network, in the order in which they are tried."""
        if prefix not in self._prefixes:
            return []
        return self._tables[self._prefixes.index(prefix)].get(network >> (self.bits - prefix), []).copy()

    def discard(self, route: Route) -> None:
        """Take out `route` itself. Raises `ProcessLookupError` (ESRCH) if it is not there."""
        prefix = int(route.prefix)
        if prefix in self._prefixes:
            table = self._tables[self._prefixes.index(prefix)]
            key = route.network >> (self.bits - prefix)
            routes = table.get(key, [])
            if route in routes:
                routes.remove(route)
                if not routes:
                    del table[key]
                self._changed()
                return
        raise ProcessLookupError(errno.ESRCH, "No such process")

    def remove(self, network: int, prefix: int, gateway: int, device: Device | None, metric: int = 0) -> None:
        """Remove the first route that matches; gateway 0, device None and metric 0 match any.

        Raises `ProcessLookupError` (ESRCH).
        """
        for route in self.routes_to(network, prefix):
            if (gateway and route.gateway != gateway) or (metric and route.metric != metric):
                continue
            if device is None or route.device is device:
                self.discard(route)
                return
        raise ProcessLookupError(errno.ESRCH, "No such process")

    def remove_device(self, device: Device) -> None:
        """Remove all routes by `device`, and all ways by it of those that have several: it went down."""
        for table in self._tables:
            for routes in table.values():
                routes[:] = [route for route in routes if not _loses(route, device)]
        self._forget_empty()

    def remove_network(self, network: int, prefix: int, device: Device) -> None:
        """Remove the route to a network of `device`'s own, and those by gateways that were reached over it."""
        for table in self._tables:
            for routes in table.values():
                routes[:] = [route for route in routes if not _goes_over(route, network, prefix, device, self.bits)]
        self._forget_empty()

    def remove_source(self, source: int) -> None:
        """Remove the routes whose preferred source is an address that the host does not have any more."""
        for table in self._tables:
            for routes in table.values():
                routes[:] = [route for route in routes if route.source != source]
        self._forget_empty()

    def _forget_empty(self) -> None:
        # Routers advertise what they like, and take it back: nothing may be left of a network without routes.
        for table in self._tables:
            for key in [key for key, routes in table.items() if not routes]:
                del table[key]
        self._changed()

    def _changed(self) -> None:
        self._cache.clear()
        if not self.plain:
            self.plain = self._is_plain()
        self.changes.changed()

    def _is_plain(self) -> bool:
        for table in self._tables:
            for routes in table.values():
                for route in routes:
                    if not route.is_plain():
                        return False
        return True

    def lookup(self, dst: int) -> Route | None:
        """The route for `dst`: the longest prefix, then the lowest metric."""
        found = self._cache.get(dst)
        if found is not None:
            return found
        index: i64 = 0
        count: i64 = len(self._prefixes)
        while index < count:
            routes = self._tables[index].get(dst >> (self.bits - self._prefixes[index]))
            if routes:
                route = routes[0]
                if len(self._cache) >= _CACHE_ENTRIES:
                    self._cache.clear()
                self._cache[dst] = route
                return route
            index += 1
        return None

    def lookup_by(self, dst: int, tos: i64, device: str, shorter_than: i64) -> Route | None:
        """As `lookup`, among the routes for this TOS, by the device of this name ("": any), whose prefix is longer
        than a number (ip-rule(8)'s suppress_prefixlength; -1: any).
        """
        index: i64 = 0
        count: i64 = len(self._prefixes)
        while index < count:
            prefix: i64 = self._prefixes[index]
            if prefix <= shorter_than:
                return None
            for route in self._tables[index].get(dst >> (self.bits - int(prefix)), []):
                if route.tos and route.tos != tos:
                    continue
                if device and not _reaches(route, device):
                    continue
                return route
            index += 1
        return None

    def all(self) -> list[Route]:
        """Every route, longest prefix first."""
        return [route for table in self._tables for routes in table.values() for route in routes]


def _reaches(route: Route, device: str) -> bool:
    if route.paths is None:
        return route.device.name == device
    for path in route.paths:  # noqa: SIM110 - compiled, a loop needs no generator
        if path.device.name == device:
            return True
    return False


def _loses(route: Route, device: Device) -> bool:
    """Whether nothing is left of a route without `device`."""
    paths = route.paths
    if paths is None:
        return route.device is device and route.refusal() == 0
    paths[:] = [path for path in paths if path.device is not device]
    if not paths:
        return True
    route.device = paths[0].device
    route.gateway = paths[0].gateway
    return False


def _goes_over(route: Route, network: int, prefix: int, device: Device, bits: int) -> bool:
    if route.device is not device:
        return False
    if route.gateway:
        return prefix == 0 or route.gateway >> (bits - prefix) == network >> (bits - prefix)
    return route.network == network and route.prefix == prefix


def _rank(route: Route) -> tuple[int, int]:
    # Routes for a TOS are looked at before those for all (Linux' order within a prefix).
    return -int(route.tos), int(route.metric)
