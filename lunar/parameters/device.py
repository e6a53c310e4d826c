"""The parameters that each device has: net.ipv4.conf, net.ipv6.conf, and neigh of both, with `all` and `default`.

How what is set for all and for one device go together is in net/device_conf.py, which keeps the values. In a name a
device's own name may have dots ("eth0.5"), which sysctl(8) writes as slashes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from lunar.net import path_mtu
from lunar.net.device import Device
from lunar.net.device_confs import DeviceConfs
from lunar.packet import AF_INET, AF_INET6
from lunar.parameters.parameter import INT_MAX, Parameter

if TYPE_CHECKING:
    from lunar.host import Host

After: TypeAlias = "Callable[[Host, Device | None], None]"

ALL: Final = "all"
DEFAULT: Final = "default"
_LEAST_MTU: Final = 1280  # RFC 8200 (5)


def confs_of(host: Host, family: int) -> DeviceConfs:
    """What a host has set for its devices."""
    return host.ip.family(family).confs


@attrs.frozen
class DeviceRow:
    """A parameter of each device: `attribute` of `DeviceConf`. `after` is called with the device, None for several."""

    family: int
    attribute: str
    smallest: int
    largest: int
    effect: str
    after: After | None = None

    def of(self, which: str) -> Parameter:
        """The parameter of the device `which`, or of all or the default."""
        return _OfDevice(
            lambda host: confs_of(host, self.family), (self.attribute,), self.smallest, self.largest, self.effect,
            row=self, which=which,
        )  # fmt: skip


@attrs.frozen
class _OfDevice(Parameter):
    row: DeviceRow = attrs.field(kw_only=True)
    which: str = attrs.field(kw_only=True)

    def read(self, host: Host) -> tuple[Any, ...]:
        confs = confs_of(host, self.row.family)
        if self.which == ALL:
            conf = confs.all
        elif self.which == DEFAULT:
            conf = confs.default
        else:
            conf = confs.own(host.devices[self.which])
        value = int(getattr(conf, self.row.attribute))
        if value == 0 and self.row.attribute == "mtu":
            # Nothing was said: IPv6's MTU is the device's.
            value = _LEAST_MTU if self.which in (ALL, DEFAULT) else int(host.devices[self.which].mtu)
        return (value,)

    def write(self, host: Host, values: list[Any]) -> None:
        confs = confs_of(host, self.row.family)
        device: Device | None = None
        if self.which == ALL:
            confs.set_all(host.ip.devices, self.row.attribute, values[0])
        elif self.which == DEFAULT:
            confs.set_default(host.ip.devices, self.row.attribute, values[0])
        else:
            device = host.devices[self.which]
            confs.set_own(device, self.row.attribute, values[0])
        if self.row.after is not None:
            self.row.after(host, device)


def _inet(name: str, smallest: int, largest: int, effect: str, after: After | None = None) -> DeviceRow:
    return DeviceRow(AF_INET, name, smallest, largest, effect, after)


def _inet6(name: str, smallest: int, largest: int, effect: str, after: After | None = None) -> DeviceRow:
    return DeviceRow(AF_INET6, name, smallest, largest, effect, after)


def _neigh(name: str, smallest: int, largest: int, effect: str, after: After | None = None) -> DeviceRow:
    """One that both families have."""
    return DeviceRow(AF_INET, f"neigh_{name}", smallest, largest, effect, after)


def _forwarding(host: Host, _device: Device | None) -> None:
    for family in (host.ip.inet, host.ip.inet6):
        family.forwarding = family.confs.all.forwarding != 0


def _hops(host: Host, device: Device | None) -> None:
    if device is None:
        host.ip.inet6.hop_limit = host.ip.inet6.confs.all.hop_limit


_INET: Final = (
    _inet("accept_local", 0, 1, "packets from outside may have one of the host's own addresses as their source"),
    _inet("accept_redirects", 0, 1, "a router's redirects are believed; on a router only if all says so, too"),
    _inet("accept_source_route", 0, 1, "packets with a source route are taken and passed on"),
    _inet("arp_accept", 0, 2, "1: gratuitous ARP of an unknown neighbour makes an entry; 2: only in the own network"),
    _inet("arp_announce", 0, 2, "whose address ARP asks in: any own; 1: one of the network; 2: the best of the device"),
    _inet("arp_filter", 0, 1, "ARP answers only where packets to the asker would leave by the device"),
    _inet("arp_ignore", 0, 8, "1: ARP answers for the device's own addresses alone; 2: to its network; 8: never ..."),
    _inet("arp_notify", 0, 1, "a device that comes up tells its addresses by gratuitous ARP"),
    _inet("bc_forwarding", 0, 1, "a router passes on what goes to the broadcast address of one of its networks"),
    _inet("drop_gratuitous_arp", 0, 1, "gratuitous ARP is not believed"),
    _inet("force_igmp_version", 0, 3, "1 to 3: groups are told in this version of IGMP; 0: in that of the routers"),
    _inet("forwarding", 0, 1, "packets that arrive at the device for others are passed on", _forwarding),
    _inet(
        "igmpv2_unsolicited_report_interval", 0, INT_MAX,
        "within how many ms a new group is told again, in IGMP's versions 1 and 2",
    ),
    _inet("igmpv3_unsolicited_report_interval", 0, INT_MAX, "within how many ms a change of groups is told again"),
    _inet("promote_secondaries", 0, 1, "a secondary address takes the place of the primary one, when that is removed"),
    _inet("proxy_arp", 0, 1, "a router answers ARP for what it reaches by its other devices"),
    _inet("proxy_arp_pvlan", 0, 1, "a router answers ARP for what it reaches by the same device, too"),
    _inet("route_localnet", 0, 1, "127.0.0.0/8 is an address as any other"),
    _inet("rp_filter", 0, 2, "1: a packet must come by the device of the route to its source; 2: there must be one"),
    _inet("secure_redirects", 0, 1, "redirects are believed only to default gateways, if shared_media is 0"),
    _inet("send_redirects", 0, 1, "a router tells of shorter ways"),
    _inet("shared_media", 0, 1, "redirects go beyond the device's own networks"),
    _inet("src_valid_mark", 0, 1, "rp_filter looks for a route with the packet's mark"),
)  # fmt: skip
def _of_device(host: Host, device: Device | None) -> list[Device]:
    """The devices that a change is about."""
    return [one for one in host.ip.devices if one.name != "lo"] if device is None else [device]


def _forwarding6(host: Host, device: Device | None) -> None:
    _forwarding(host, device)
    if host.has_autoconf:
        for one in _of_device(host, device):
            host.autoconf.role_changed(one)


def _disabled6(host: Host, device: Device | None) -> None:
    for one in _of_device(host, device):
        if one.inet6.disable_ipv6:
            if host.has_autoconf:
                host.autoconf.disable(one)
        elif one.name != "lo":
            host.autoconf.ask_for_routers(one)


def _accepts6(host: Host, device: Device | None) -> None:
    """Who wants a device configured by routers wants IPv6 there."""
    if device is not None and device.name != "lo" and device.inet6.accept_ra and not device.inet6.disable_ipv6:
        host.autoconf.ask_for_routers(device)


def _routed6(host: Host, _device: Device | None) -> None:
    path_mtu.changed(host.ip)


_INET6: Final = (
    _inet6("accept_dad", 0, 2, "0: addresses are not tested; 2: a taken link-local one switches IPv6 off"),
    _inet6("accept_ra", 0, 2, "routers configure the device: 1: if it does not forward; 2: always", _accepts6),
    _inet6("accept_ra_defrtr", 0, 1, "routers that advertise themselves become default routers"),
    _inet6("accept_ra_from_local", 0, 1, "advertisements of own addresses are believed"),
    _inet6("accept_ra_min_hop_limit", 0, 255, "a smaller hop limit is not believed"),
    _inet6("accept_ra_mtu", 0, 1, "an advertised MTU is believed"),
    _inet6("accept_ra_pinfo", 0, 1, "advertised prefixes are believed"),
    _inet6("accept_ra_rt_info_max_plen", 0, 128, "longer prefixes of advertised routes are not believed"),
    _inet6("accept_ra_rt_info_min_plen", 0, 128, "shorter ones are not believed"),
    _inet6("accept_ra_rtr_pref", 0, 1, "preferences of routers, and advertised routes, are believed"),
    _inet6("accept_redirects", 0, 1, "a router's redirects are believed, by a host that is none"),
    _inet6("addr_gen_mode", 0, 3, "own addresses: 0: of the hardware address; 1: none link-local; 2, 3: by RFC 7217"),
    _inet6("autoconf", 0, 1, "advertised prefixes make addresses"),
    _inet6("dad_transmits", 0, 255, "how often an address is tested"),
    _inet6("disable_ipv6", 0, 1, "1: the device has no IPv6 addresses; 0: it has, and asks for routers", _disabled6),
    _inet6("drop_unsolicited_na", 0, 1, "what a neighbour tells without being asked is dropped"),
    _inet6("enhanced_dad", 0, 1, "tests carry a nonce, so that their own echo is known"),
    _inet6("force_tllao", 0, 1, "each answer to a neighbour has the hardware address"),
    _inet6("force_mld_version", 0, 2, "1, 2: IPv6 groups are told in this version of MLD; 0: in that of the routers"),
    _inet6("forwarding", 0, 1, "all: packets for others are passed on; a device: it is a router's", _forwarding6),
    _inet6("hop_limit", 1, 255, "the hop limit of what has no `IPV6_UNICAST_HOPS`; routers may advertise it", _hops),
    _inet6("keep_addr_on_down", 0, 1, "a device that goes down keeps its IPv6 addresses"),
    _inet6("max_addresses", 0, INT_MAX, "how many IPv6 addresses a device makes itself; 0: no limit"),
    _inet6("mldv1_unsolicited_report_interval", 0, INT_MAX, "within how many ms a new group is told again: MLD 1"),
    _inet6("mtu", _LEAST_MTU, 65_536, "the largest packet of IPv6, if it is less than the device's MTU", _routed6),
    _inet6("ndisc_notify", 0, 1, "a new address is told to all neighbours"),
    _inet6("ndisc_tclass", 0, 255, "the traffic class of neighbour discovery"),
    _inet6("proxy_ndp", 0, 1, "a router answers for the addresses of `ip neigh add proxy`"),
    _inet6("ra_defrtr_metric", 1, INT_MAX, "the metric of routes by default routers"),
    _inet6("router_solicitation_interval", 0, 3600, "when routers are asked again the first time, in seconds"),
    _inet6("router_solicitation_max_interval", 0, 86_400, "how long it takes at most, in seconds; 0: no limit"),
    _inet6("router_solicitations", -1, INT_MAX, "how often routers are asked; -1: until the interval is the longest"),
    _inet6("mldv2_unsolicited_report_interval", 0, INT_MAX, "within how many ms a change of groups is told again"),
)  # fmt: skip
_NEIGH: Final = (
    _neigh("base_reachable_time_ms", 0, INT_MAX, "how long a neighbour's answer holds, about, in milliseconds"),
    _neigh("delay_first_probe_time", 0, INT_MAX, "how long a stale neighbour is used before it is asked, in seconds"),
    _neigh("gc_stale_time", 0, INT_MAX, "how long an unused entry of a large table is kept, in seconds"),
    _neigh("mcast_resolicit", 0, INT_MAX, "how often all are asked when a known neighbour does not answer"),
    _neigh("mcast_solicit", 0, INT_MAX, "how often all are asked for an unknown neighbour"),
    _neigh("proxy_delay", 0, INT_MAX, "how late, at most, an answer in another's place comes, in 1/100 s"),
    _neigh("proxy_qlen", 0, INT_MAX, "how many such answers may wait"),
    _neigh("retrans_time_ms", 0, INT_MAX, "when a question is asked again, in milliseconds"),
    _neigh("ucast_solicit", 0, INT_MAX, "how often a known neighbour itself is asked"),
    _neigh("unres_qlen_bytes", 0, INT_MAX, "how much may wait for an unknown neighbour"),
)
# Of IPv4 alone.
_LOCKTIME: Final = _neigh("locktime", 0, INT_MAX, "for how long another answer changes nothing, in 1/100 s")

# By the tree that they are in, and the last word of their name.
ROWS: Final[dict[str, dict[str, DeviceRow]]] = {
    "net.ipv4.conf": {row.attribute: row for row in _INET},
    "net.ipv6.conf": {row.attribute: row for row in _INET6},
    "net.ipv4.neigh": {row.attribute.removeprefix("neigh_"): row for row in (*_NEIGH, _LOCKTIME)},
    "net.ipv6.neigh": {row.attribute.removeprefix("neigh_"): attrs.evolve(row, family=AF_INET6) for row in _NEIGH},
}


def places(tree: str, host: Host) -> list[str]:
    """For what a host has the parameters of `tree`: all, the default, each device."""
    return [*([] if tree.endswith("neigh") else [ALL]), DEFAULT, *host.devices]
