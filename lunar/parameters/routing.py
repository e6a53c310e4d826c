"""The parameters of fragments, ICMP, redirects, routes and IPv6's options for a host as a whole."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import attrs

from lunar.packet import AF_INET, AF_INET6
from lunar.parameters.parameter import INT_MAX, Parameter, of_inet, of_ip

if TYPE_CHECKING:
    from lunar.host import Host

_TYPES: Final = 256  # of ICMPv6


def _of_inet6(host: Host) -> object:
    return host.ip.inet6


def _icmp(family: int) -> Callable[[Host], object]:
    return lambda host: host.ip.family(family).icmp


@attrs.frozen
class _TypeSet(Parameter):
    """net.ipv6.icmp.ratemask: a list of types and ranges of them, "0-1,3-127"."""

    def parse(self, name: str, text: str) -> list[Any]:
        mask = 0
        for part in text.strip().split(",") if text.strip() else []:
            found = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
            first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
            if not first <= last < _TYPES:
                raise ValueError(f"{name}={text.strip()}: expected types of 0 to {_TYPES - 1}, as 0-1,3-127")
            mask |= (1 << (last + 1)) - (1 << first)
        return [mask]

    def shown(self, values: tuple[Any, ...]) -> str:
        types = [number for number in range(_TYPES) if values[0] >> number & 1]
        ranges: list[list[int]] = []
        for number in types:
            if ranges and ranges[-1][1] == number - 1:
                ranges[-1][1] = number
            else:
                ranges.append([number, number])
        return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


ROWS: Final[dict[str, Parameter]] = {
    "net.ipv4.fib_multipath_hash_policy": Parameter(
        of_inet, ("multipath_hash_policy",), 0, 1, "what of a packet chooses among several next hops: 1: ports, too"
    ),
    "net.ipv6.fib_multipath_hash_policy": Parameter(
        _of_inet6, ("multipath_hash_policy",), 0, 1, "as net.ipv4.fib_multipath_hash_policy"
    ),
    "net.ipv4.icmp_echo_ignore_all": Parameter(_icmp(AF_INET), ("echo_ignore_all",), 0, 1, "no echo is answered"),
    "net.ipv4.icmp_echo_ignore_broadcasts": Parameter(
        _icmp(AF_INET), ("echo_ignore_broadcasts",), 0, 1, "no echo or timestamp to a broadcast or group is answered"
    ),
    "net.ipv4.icmp_errors_use_inbound_ifaddr": Parameter(
        _icmp(AF_INET), ("errors_use_inbound_ifaddr",), 0, 1,
        "a router's errors come from the device that the packet came by",
    ),
    "net.ipv4.icmp_msgs_burst": Parameter(
        of_ip, ("icmp_msgs_burst",), 0, INT_MAX, "so many ICMP errors may go out at once"
    ),
    "net.ipv4.icmp_msgs_per_sec": Parameter(
        of_ip, ("icmp_msgs_per_sec",), 0, INT_MAX, "so many ICMP errors go out in a second at most, to all hosts"
    ),
    "net.ipv4.icmp_ratelimit": Parameter(
        _icmp(AF_INET), ("ratelimit_ms",), 0, INT_MAX, "the time in ms between two errors to one host; 0: no limit"
    ),
    "net.ipv4.icmp_ratemask": Parameter(
        _icmp(AF_INET), ("ratemask",), 0, INT_MAX, "the bits of the types of ICMP for which the limits are"
    ),
    "net.ipv4.ipfrag_high_thresh": Parameter(
        of_inet, ("frag_high_thresh",), 0, INT_MAX, "so many bytes of incomplete packets are kept; 0: none"
    ),
    "net.ipv4.ipfrag_max_dist": Parameter(
        of_ip, ("frag_max_dist",), 0, INT_MAX,
        "so many fragments of a sender may lie between two of one packet; 0: any number",
    ),
    "net.ipv4.ipfrag_time": Parameter(
        of_inet, ("frag_time",), 0, INT_MAX // 1000, "how long an incomplete packet is kept, in seconds"
    ),
    "net.ipv4.route.redirect_load": Parameter(
        of_ip, ("redirect_load_ms",), 0, INT_MAX, "the time in ms between two redirects to a host, doubled by each"
    ),
    "net.ipv4.route.redirect_number": Parameter(
        of_ip, ("redirect_number",), 0, INT_MAX, "so many redirects go to a host that does not listen"
    ),
    "net.ipv4.route.redirect_silence": Parameter(
        of_ip, ("redirect_silence_ms",), 0, INT_MAX, "after so many ms it is told of shorter ways again"
    ),
    "net.ipv6.icmp.echo_ignore_all": Parameter(_icmp(AF_INET6), ("echo_ignore_all",), 0, 1, "no echo is answered"),
    "net.ipv6.icmp.echo_ignore_multicast": Parameter(
        _icmp(AF_INET6), ("echo_ignore_multicast",), 0, 1, "no echo to a group is answered"
    ),
    "net.ipv6.icmp.ratelimit": Parameter(
        _icmp(AF_INET6), ("ratelimit_ms",), 0, INT_MAX, "the time in ms between two errors to one host; 0: no limit"
    ),
    "net.ipv6.icmp.ratemask": _TypeSet(
        _icmp(AF_INET6), ("ratemask",), 0, INT_MAX, "the types of ICMPv6 for which the limits are"
    ),
    "net.ipv6.ip6frag_high_thresh": Parameter(
        _of_inet6, ("frag_high_thresh",), 0, INT_MAX, "so many bytes of incomplete packets are kept; 0: none"
    ),
    "net.ipv6.ip6frag_time": Parameter(
        _of_inet6, ("frag_time",), 0, INT_MAX // 1000, "how long an incomplete packet is kept, in seconds"
    ),
    "net.ipv6.max_dst_opts_length": Parameter(
        of_ip, ("max_dst_opts_length",), 0, INT_MAX, "the longest header of destination options, in bytes"
    ),
    "net.ipv6.max_dst_opts_number": Parameter(
        of_ip, ("max_dst_opts_number",), -INT_MAX, INT_MAX,
        "the most destination options; below 0: so many without the sign, and none that are unknown",
    ),
    "net.ipv6.max_hbh_length": Parameter(
        of_ip, ("max_hbh_length",), 0, INT_MAX, "the longest header of hop-by-hop options, in bytes"
    ),
    "net.ipv6.max_hbh_opts_number": Parameter(
        of_ip, ("max_hbh_opts_number",), -INT_MAX, INT_MAX, "as max_dst_opts_number, of hop-by-hop options"
    ),
}  # fmt: skip
