"""The parameters of the network layer for a host as a whole: net.ipv4, less what is TCP's or a device's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import attrs

from lunar.net import arp
from lunar.packet import AF_INET, AF_INET6
from lunar.parameters import device
from lunar.parameters.parameter import INT_MAX, WRITE_ONLY, Parameter, Span, of_inet, of_ip

if TYPE_CHECKING:
    from lunar.host import Host


def _neighbors(host: Host) -> object:
    return arp.of(host.ip).table


def _neighbors6(host: Host) -> object:
    return host.autoconf.ndisc.table


@attrs.frozen
class _PingGroups(Parameter):
    """net.ipv4.ping_group_range: Linux keeps its "nobody" for a range that is none."""

    def write(self, host: Host, values: list[Any]) -> None:
        Parameter.write(self, host, values if values[0] <= values[1] else [1, 0])


@attrs.frozen
class _ReservedPorts(Parameter):
    """net.ipv4.ip_local_reserved_ports: a list of ports and ranges of them, "8080,9000-9010"; "" for none."""

    @property
    def bounds(self) -> str:
        return "ports and ranges of them"

    def parse(self, name: str, text: str) -> list[Any]:
        ports: set[int] = set()
        for part in text.strip().split(",") if text.strip() else []:
            found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", part)
            first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
            if not first <= last <= self.largest:
                raise ValueError(f"{name}={text.strip()}: expected ports up to {self.largest}, as 8080,9000-9010")
            ports.update(range(first, last + 1))
        return [ports]

    def read(self, host: Host) -> tuple[Any, ...]:
        return (host.ip.reserved_ports or set(),)

    def write(self, host: Host, values: list[Any]) -> None:
        host.ip.reserved_ports = values[0] or None

    def shown(self, values: tuple[Any, ...]) -> str:
        ranges: list[tuple[int, int]] = []
        for port in sorted(values[0]):
            if ranges and ranges[-1][1] == port - 1:
                ranges[-1] = (ranges[-1][0], port)
            else:
                ranges.append((port, port))
        return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


@attrs.frozen
class _Flush(Parameter):
    """net.ipv4.route.flush, net.ipv6.route.flush: whatever is written, what was learned of paths is forgotten."""

    family: int = attrs.field(kw_only=True)

    @property
    def bounds(self) -> str:
        return "any; write only"

    def write(self, host: Host, values: list[Any]) -> None:
        host.ip.forget_paths(self.family)


ROWS: Final[dict[str, Parameter]] = {
    "net.ipv4.ip_default_ttl": Parameter(
        of_inet, ("hop_limit",), 1, 255, "the time to live of what has no `IP_TTL`"
    ),
    # Another name of net.ipv4.conf.all.forwarding.
    "net.ipv4.ip_forward": attrs.evolve(
        device.ROWS["net.ipv4.conf"]["forwarding"].of(device.ALL), effect="packets for others are passed on"
    ),
    "net.ipv4.ip_local_port_range": Span(
        of_ip, ("local_port_first", "local_port_last"), 1, 65535,
        "the ports that `connect` and `bind` to port 0 choose from",
    ),
    "net.ipv4.ip_local_reserved_ports": _ReservedPorts(
        of_ip, ("reserved_ports",), 0, 65535, "ports that `connect` and `bind` to port 0 never choose", counts=False
    ),
    "net.ipv4.ip_no_pmtu_disc": Parameter(
        of_ip, ("no_pmtu_disc",), 0, 3,
        "1: IPv4 sends without DF and learns no path MTU; 2: it does not believe ICMP either",
    ),
    "net.ipv4.neigh.default.gc_thresh1": Parameter(
        _neighbors, ("gc_thresh1",), 0, INT_MAX, "so many neighbours are all kept"
    ),
    "net.ipv4.neigh.default.gc_thresh2": Parameter(
        _neighbors, ("gc_thresh2",), 0, INT_MAX, "above so many, old entries go each 5 s"
    ),
    "net.ipv4.neigh.default.gc_thresh3": Parameter(
        _neighbors, ("gc_thresh3",), 0, INT_MAX, "a table has no more neighbours"
    ),
    "net.ipv4.ip_nonlocal_bind": Parameter(
        of_ip, ("nonlocal_bind",), 0, 1, "sockets may be bound to addresses that the host does not have"
    ),
    "net.ipv6.ip_nonlocal_bind": Parameter(of_ip, ("nonlocal_bind6",), 0, 1, "the same of IPv6"),
    "net.ipv6.bindv6only": Parameter(of_ip, ("bindv6only",), 0, 1, "new sockets of IPv6 have `IPV6_V6ONLY`"),
    "net.ipv6.auto_flowlabels": Parameter(
        of_ip, ("auto_flowlabels",), 0, 3,
        "flow labels: 0 none; 1 unless a socket declines; 2 if a socket asks; 3 always",
    ),
    "net.ipv6.neigh.default.gc_thresh1": Parameter(
        _neighbors6, ("gc_thresh1",), 0, INT_MAX, "so many neighbours are all kept"
    ),
    "net.ipv6.neigh.default.gc_thresh2": Parameter(
        _neighbors6, ("gc_thresh2",), 0, INT_MAX, "above so many, old entries go each 5 s"
    ),
    "net.ipv6.neigh.default.gc_thresh3": Parameter(
        _neighbors6, ("gc_thresh3",), 0, INT_MAX, "a table has no more neighbours"
    ),
    "net.ipv4.ping_group_range": _PingGroups(
        of_ip, ("ping_group_first", "ping_group_last"), 0, INT_MAX,
        'the groups whose programs may have ping sockets; `"1 0"` is nobody',
    ),
    "net.ipv4.route.flush": _Flush(
        of_ip, ("flush",), -(2**31), INT_MAX, "path MTUs and redirects are forgotten", mode=WRITE_ONLY, family=AF_INET
    ),
    "net.ipv6.route.flush": _Flush(
        of_ip, ("flush",), -(2**31), INT_MAX, "those of IPv6", mode=WRITE_ONLY, family=AF_INET6
    ),
    "net.ipv4.route.min_pmtu": Parameter(
        of_ip, ("route_min_pmtu",), 68, INT_MAX, "the least path MTU that an ICMP message may set, in bytes"
    ),
    "net.ipv4.route.mtu_expires": Parameter(
        of_ip, ("route_mtu_expires",), 0, INT_MAX, "how long a path MTU is remembered, in seconds"
    ),
}  # fmt: skip
