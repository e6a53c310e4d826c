"""What holds for one device: net.ipv4.conf.DEV, net.ipv6.conf.DEV, and the same of neigh.

Linux has each of these parameters three times: for `all` devices, for devices to come (`default`), and for each device.
What is set for all and what is set for one are put together by a rule of each parameter (ip-sysctl in the kernel's
documentation): both must be on, either is enough, the larger counts ... Here that is done when one is written. So who
asks in the way of a packet reads `device.inet.rp_filter` (`device.inet6` of IPv6), and that is what holds.

A device that nothing was said of has the same objects as all others: they are replaced, never changed. What they may
be stands in lunar/parameters/device.py.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64


@final
class DeviceConf:
    """Parameters of a device, of one family; times in the unit of their names, or as Linux has them. Do not change it.

    Both families have one class, since much of it is said of both; what only one has is left at its first value.
    """

    def __init__(self) -> None:
        self.forwarding: i64 = 0
        # What is believed of a source, a redirect, a route in a packet.
        self.rp_filter: i64 = 0
        self.accept_local: i64 = 0
        self.route_localnet: i64 = 0
        self.accept_redirects: i64 = 1
        self.secure_redirects: i64 = 1
        self.send_redirects: i64 = 1
        self.shared_media: i64 = 1
        self.accept_source_route: i64 = 1
        self.src_valid_mark: i64 = 0
        self.bc_forwarding: i64 = 0
        self.promote_secondaries: i64 = 0
        # ARP.
        self.proxy_arp: i64 = 0
        self.proxy_arp_pvlan: i64 = 0
        self.arp_filter: i64 = 0
        self.arp_announce: i64 = 0
        self.arp_ignore: i64 = 0
        self.arp_accept: i64 = 0
        self.arp_notify: i64 = 0
        self.drop_gratuitous_arp: i64 = 0
        # Groups.
        self.force_igmp_version: i64 = 0
        self.igmpv2_unsolicited_report_interval: i64 = 10_000
        self.igmpv3_unsolicited_report_interval: i64 = 1000
        self.force_mld_version: i64 = 0
        self.mldv1_unsolicited_report_interval: i64 = 10_000
        self.mldv2_unsolicited_report_interval: i64 = 1000
        # IPv6 alone.
        self.disable_ipv6: i64 = 0
        self.hop_limit: i64 = 64
        self.mtu: i64 = 0  # as the device's
        self.accept_ra: i64 = 1
        self.accept_ra_defrtr: i64 = 1
        self.accept_ra_from_local: i64 = 0
        self.accept_ra_min_hop_limit: i64 = 1
        self.accept_ra_mtu: i64 = 1
        self.accept_ra_pinfo: i64 = 1
        self.accept_ra_rtr_pref: i64 = 1
        self.accept_ra_rt_info_min_plen: i64 = 0
        self.accept_ra_rt_info_max_plen: i64 = 0
        self.ra_defrtr_metric: i64 = 1024
        self.router_solicitations: i64 = -1
        self.router_solicitation_interval: i64 = 4
        self.router_solicitation_max_interval: i64 = 3600
        self.autoconf: i64 = 1
        self.addr_gen_mode: i64 = 0
        self.max_addresses: i64 = 16
        self.accept_dad: i64 = 1
        self.dad_transmits: i64 = 1
        self.enhanced_dad: i64 = 1
        self.keep_addr_on_down: i64 = 0
        self.ndisc_notify: i64 = 0
        self.ndisc_tclass: i64 = 0
        self.proxy_ndp: i64 = 0
        self.force_tllao: i64 = 0
        self.drop_unsolicited_na: i64 = 0
        # neigh.DEV: the states of neighbours (net/neighbor.py).
        self.neigh_mcast_solicit: i64 = 3
        self.neigh_ucast_solicit: i64 = 3
        self.neigh_mcast_resolicit: i64 = 0
        self.neigh_retrans_time_ms: i64 = 1000
        self.neigh_base_reachable_time_ms: i64 = 30_000
        self.neigh_delay_first_probe_time: i64 = 5  # in seconds
        self.neigh_gc_stale_time: i64 = 60
        self.neigh_unres_qlen_bytes: i64 = 212_992
        self.neigh_locktime: i64 = 100  # in hundredths of a second, as those that follow
        self.neigh_proxy_delay: i64 = 80
        self.neigh_proxy_qlen: i64 = 64


# How what is set for all goes together with what is set for a device. Of those without a rule, the device's holds.
EITHER: Final = 1  # one of both is enough; the value is 0 or 1
BOTH: Final = 2
LARGER: Final = 3
SMALLER: Final = 4
ALL_FIRST: Final = 5  # that of all, if it is not 0
BOTH_IF_FORWARDING: Final = 6  # else either

INET_RULES: Final[dict[str, int]] = {
    "accept_local": EITHER, "accept_redirects": BOTH_IF_FORWARDING, "accept_source_route": BOTH, "arp_accept": LARGER,
    "arp_announce": LARGER, "arp_filter": EITHER, "arp_ignore": LARGER, "arp_notify": LARGER,
    "bc_forwarding": EITHER, "drop_gratuitous_arp": EITHER, "force_igmp_version": ALL_FIRST,
    "promote_secondaries": EITHER, "proxy_arp": EITHER, "route_localnet": EITHER, "rp_filter": LARGER,
    "secure_redirects": EITHER, "send_redirects": EITHER, "shared_media": EITHER, "src_valid_mark": EITHER,
}  # fmt: skip
INET6_RULES: Final[dict[str, int]] = {
    "accept_dad": LARGER, "accept_source_route": SMALLER, "drop_unsolicited_na": EITHER, "enhanced_dad": EITHER,
    "force_mld_version": ALL_FIRST, "ndisc_notify": EITHER, "proxy_ndp": EITHER,
}  # fmt: skip


def changed(conf: DeviceConf, name: str, value: int) -> DeviceConf:
    """As `conf`, with this value of the parameter `name`."""
    made = DeviceConf()
    for other in _NAMES:
        setattr(made, other, getattr(conf, other))
    setattr(made, name, value)
    return made


def holding(rules: dict[str, int], for_all: DeviceConf, own: DeviceConf) -> DeviceConf:
    """What holds for a device for which `own` was set."""
    made = own
    for name, rule in rules.items():
        everywhere: i64 = getattr(for_all, name)
        here: i64 = getattr(own, name)
        value = _together(rule, everywhere, here, own.forwarding != 0)
        if value != here:
            made = changed(made, name, value)
    return made


def _together(rule: int, everywhere: i64, here: i64, forwards: bool) -> i64:
    if rule == LARGER:
        return here if here > everywhere else everywhere
    if rule == SMALLER:
        return here if here < everywhere else everywhere
    if rule == ALL_FIRST:
        return everywhere if everywhere != 0 else here
    if rule == BOTH or (rule == BOTH_IF_FORWARDING and forwards):
        return 1 if everywhere != 0 and here != 0 else 0
    return 1 if everywhere != 0 or here != 0 else 0


_NAMES: Final = [name for name in dir(DeviceConf()) if name[0] != "_"]

# What Linux 6.18 begins with: for all, for a device, and what holds for it then. Seen in a namespace of it.
INET_ALL: Final = changed(DeviceConf(), "accept_source_route", 0)
INET_OWN: Final = DeviceConf()
INET: Final = holding(INET_RULES, INET_ALL, INET_OWN)


def _inet6() -> DeviceConf:
    made = changed(DeviceConf(), "accept_source_route", 0)
    return changed(made, "neigh_locktime", 0)


INET6_OWN: Final = _inet6()
INET6_ALL: Final = changed(INET6_OWN, "accept_dad", 0)
INET6: Final = holding(INET6_RULES, INET6_ALL, INET6_OWN)
