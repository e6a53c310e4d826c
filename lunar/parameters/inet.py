"""The parameters of the network layer for a host as a whole: net.ipv4, less what is TCP's or a device's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from lunar.net import arp
from lunar.parameters import device
from lunar.parameters.parameter import INT_MAX, Parameter, Span, of_inet, of_ip

if TYPE_CHECKING:
    from lunar.host import Host


def _neighbors(host: Host) -> object:
    return arp.of(host.ip).table


@attrs.frozen
class _PingGroups(Parameter):
    """net.ipv4.ping_group_range: Linux keeps its "nobody" for a range that is none."""

    def write(self, host: Host, values: list[Any]) -> None:
        Parameter.write(self, host, values if values[0] <= values[1] else [1, 0])


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
    "net.ipv4.ping_group_range": _PingGroups(
        of_ip, ("ping_group_first", "ping_group_last"), 0, INT_MAX,
        'the groups whose programs may have ping sockets; `"1 0"` is nobody',
    ),
    "net.ipv4.route.min_pmtu": Parameter(
        of_ip, ("route_min_pmtu",), 68, INT_MAX, "the least path MTU that an ICMP message may set, in bytes"
    ),
    "net.ipv4.route.mtu_expires": Parameter(
        of_ip, ("route_mtu_expires",), 0, INT_MAX, "how long a path MTU is remembered, in seconds"
    ),
}  # fmt: skip
