"""The parameters of multicast for a host as a whole; those of a device are in device.py."""

from __future__ import annotations

from typing import Final

from lunar.parameters.parameter import INT_MAX, Parameter, of_ip

ROWS: Final[dict[str, Parameter]] = {
    "net.ipv4.igmp_link_local_mcast_reports": Parameter(
        of_ip, ("igmp_link_local_reports",), 0, 1, "routers are told of the groups of 224.0.0.0/24, too"
    ),
    "net.ipv4.igmp_max_memberships": Parameter(
        of_ip, ("igmp_max_memberships",), 0, INT_MAX, "the most groups of a socket"
    ),
    "net.ipv4.igmp_max_msf": Parameter(
        of_ip, ("igmp_max_msf",), 0, INT_MAX, "the most sources in the list of a membership"
    ),
    "net.ipv4.igmp_qrv": Parameter(
        of_ip, ("igmp_qrv",), 1, INT_MAX, "how often a change of groups is told, unless a router says how often"
    ),
    "net.ipv6.mld_max_msf": Parameter(
        of_ip, ("mld_max_msf",), 0, INT_MAX, "the most sources in the list of an IPv6 membership"
    ),
    "net.ipv6.mld_qrv": Parameter(
        of_ip, ("mld_qrv",), 1, INT_MAX, "how often a change of IPv6 groups is told, unless a router says how often"
    ),
}
