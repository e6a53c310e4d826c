"""What a host keeps for each of the two families, IPv4 and IPv6: the same things twice, so that the code is one.

Who has a packet or a socket asks `Ip.family` for this object and goes on without minding which it is. What only one of
them has (broadcast, neighbour solicitations) is in a file of its own.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import i64

from lunar.net.counters import IpCounters
from lunar.net.device import Receiver
from lunar.net.device_confs import DeviceConfs
from lunar.net.icmp_conf import IcmpConf
from lunar.net.route import Changes, Route, RouteTable
from lunar.net.rule import Rules
from lunar.packet import AF_INET, IPV4_HEADER_BYTES, IPV6_HEADER_BYTES


@final
class Family:
    """One host's `number` (AF_INET or AF_INET6): addresses of `bits`, a header of `header_bytes` without options."""

    def __init__(self, number: i64, counters: IpCounters, changes: Changes) -> None:
        self.number: i64 = number
        self.bits: i64 = 32 if number == AF_INET else 128
        self.header_bytes: i64 = IPV4_HEADER_BYTES if number == AF_INET else IPV6_HEADER_BYTES
        self.counters: IpCounters = counters
        self.routes: RouteTable = RouteTable(self.bits, changes)  # the main table
        self.tables: dict[int, RouteTable] = {}  # the others, by their numbers (fib.py: table)
        self.rules: Rules | None = None  # None: those that each host has at first
        self.icmp: IcmpConf = IcmpConf(number)
        # Reassembly (fragment.py): net.ipv4.ipfrag_time and ipfrag_high_thresh, net.ipv6.ip6frag_...; seconds, bytes.
        self.frag_time: i64 = 30 if number == AF_INET else 60
        self.frag_high_thresh: i64 = 4_194_304
        self.multipath_hash_policy: i64 = 0  # net.ipv4.fib_multipath_hash_policy: 0 addresses, 1 ports too
        # How packets to an own address go: by lo. Set when the host makes its lo.
        self.loopback_route: Route | None = None
        self.confs: DeviceConfs = DeviceConfs(number)  # net.ipv4.conf, net.ipv6.conf, and neigh
        self.neighbors: Receiver | None = None  # neighbor.py, once a device of the host asks for any
        self.forwarding: bool = False  # net.ipv4.ip_forward, net.ipv6.conf.all.forwarding
        self.hop_limit: i64 = 64  # net.ipv4.ip_default_ttl, net.ipv6.conf.all.hop_limit
