"""The routing table of a host: longest prefix match by one dictionary for each prefix length in use."""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net.device import Device

# Remembered lookups; dropped at each change of the table. Bounded: a flood of destinations must not fill memory.
_CACHE_ENTRIES: Final = 4096


@final
class Route:
    """One route. `gateway` 0: the destination is on the device's own network. `source` is preferred, 0 for none."""

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
        # What ip-route(8) calls metrics, 0 where the route does not say: the MSS that TCP tells, the MTU and whether
        # path MTU discovery may change it, the first congestion window in segments.
        self.advmss: i64 = 0
        self.mtu: i64 = 0
        self.mtu_locked: bool = False
        self.initcwnd: i64 = 0

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


@final
class Changes:
    """Counts the changes of a host's tables: who remembers a route looks it up again."""

    def __init__(self) -> None:
        self.count: i64 = 0


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

    def add(self, route: Route) -> None:
        """Add `route`, behind those for the same network with the same metric.

        Raises `FileExistsError` (EEXIST) when one of them has the same gateway and device too.
        """
        prefix: int = int(route.prefix)
        if prefix not in self._prefixes:
            at = 0
            while at < len(self._prefixes) and self._prefixes[at] > prefix:
                at += 1
            self._prefixes.insert(at, prefix)
            self._tables.insert(at, {})
        routes = self._tables[self._prefixes.index(prefix)].setdefault(route.network >> (self.bits - prefix), [])
        for other in routes:
            if other.metric == route.metric and other.gateway == route.gateway and other.device is route.device:
                raise FileExistsError(17, "File exists")
        routes.append(route)
        routes.sort(key=_metric)
        self._changed()

    def remove(self, network: int, prefix: int, gateway: int, device: Device | None, metric: int = 0) -> None:
        """Remove the first route that matches; gateway 0, device None and metric 0 match any.

        Raises `ProcessLookupError` (ESRCH).
        """
        if prefix in self._prefixes:
            table = self._tables[self._prefixes.index(prefix)]
            routes = table.get(network >> (self.bits - prefix), [])
            for route in routes:
                if (gateway and route.gateway != gateway) or (metric and route.metric != metric):
                    continue
                if device is None or route.device is device:
                    routes.remove(route)
                    self._changed()
                    return
        raise ProcessLookupError(3, "No such process")

    def remove_device(self, device: Device) -> None:
        """Remove all routes by `device`: it went down."""
        for table in self._tables:
            for routes in table.values():
                routes[:] = [route for route in routes if route.device is not device]
        self._changed()

    def remove_network(self, network: int, prefix: int, device: Device) -> None:
        """Remove the route to a network of `device`'s own, and those by gateways that were reached over it."""
        for table in self._tables:
            for routes in table.values():
                routes[:] = [route for route in routes if not _goes_over(route, network, prefix, device, self.bits)]
        self._changed()

    def _changed(self) -> None:
        self._cache.clear()
        self.changes.count += 1

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

    def all(self) -> list[Route]:
        """Every route, longest prefix first."""
        return [route for table in self._tables for routes in table.values() for route in routes]


def _goes_over(route: Route, network: int, prefix: int, device: Device, bits: int) -> bool:
    if route.device is not device:
        return False
    if route.gateway:
        return prefix == 0 or route.gateway >> (bits - prefix) == network >> (bits - prefix)
    return route.network == network and route.prefix == prefix


def _metric(route: Route) -> int:
    return int(route.metric)
