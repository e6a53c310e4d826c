"""The network layer of one host: its devices, addresses, routes, parameters and counters.

`Ip` is the object that ip_input.py, ip_output.py and forward.py work on. Transport protocols register themselves in
`handlers`; upward the layer only delivers. Nothing here is shared between hosts.
"""

from __future__ import annotations

import errno
from typing import Any, Final

from mypy_extensions import i64

from lunar.net.counters import Counters, IpCounters
from lunar.net.device import Device, Sniffer
from lunar.net.device_conf import DeviceConf
from lunar.net.family import Family
from lunar.net.route import Changes
from lunar.packet import AF_INET, AF_INET6, IcmpMessage, Packet
from lunar.wire.address import family_of
from weaves.scheduler import Lane, Scheduler

LOOPBACK_BROADCAST: Final = 0x7FFF_FFFF
DEFAULT_TTL: Final = 64  # net.ipv4.ip_default_ttl

# The points of a packet's way at which a filter is asked, with Linux' numbers (NF_INET_...).
PRE_ROUTING: Final = 0
LOCAL_IN: Final = 1
FORWARD: Final = 2
LOCAL_OUT: Final = 3
POST_ROUTING: Final = 4


class Handler:
    """A transport protocol, as the network layer sees it."""

    def receive(self, packet: Packet, device: Device) -> None:
        """Take a packet that is addressed to this host. Bad input is counted and dropped, never raised."""
        raise NotImplementedError

    def error(self, message: IcmpMessage, errno: i64, fatal: bool, src: int, dst: int, data: bytes) -> None:
        """An ICMP error concerns a packet that this host sent from `src` to `dst`.

        `data` starts with the offending transport header (8 bytes at least). `errno` is what Linux maps the message
        to; a `fatal` one ends a connection attempt at once.
        """
        raise NotImplementedError


class RawReceiver:
    """Who takes copies of packets, as the network layer sees it: a host's raw sockets."""

    def receive(self, packet: Packet, device: Device) -> bool:
        """See a packet that is addressed to this host, before its protocol does. Whether somebody took a copy."""
        raise NotImplementedError

    def error(
        self, protocol: int, message: IcmpMessage, number: i64, fatal: bool, src: int, dst: int, data: bytes
    ) -> None:
        """As `Handler.error`, of a packet of any protocol; `number` is the errno."""
        raise NotImplementedError


class Filter:
    """Who may stop or change packets on their way, as the network layer sees it: netfilter."""

    def passes(self, point: i64, packet: Packet, came_by: Device | None, goes_by: Device | None) -> bool:
        """Whether `packet` goes on from `point` of its way; if not, it has been dropped, answered or taken.

        It may have been changed: addresses, ports, TOS, TTL, mark.
        """
        raise NotImplementedError

    def lost(self, device: Device, address: int) -> None:
        """`device` has lost `address`; 0: it went down."""
        raise NotImplementedError


class Ip:
    """The network layer of one host."""

    def __init__(self, scheduler: Scheduler, lane: Lane, rng: Any) -> None:
        self.scheduler: Scheduler = scheduler
        self.lane: Lane = lane  # what the host posts (timers) carries this lane
        self.rng: Any = rng  # a random.Random, perhaps not made yet: initial sequence numbers, ports, identifiers
        self.devices: list[Device] = []
        # Own address -> the device that has it; broadcast addresses of the devices' networks.
        self.local: dict[int, Device] = {}
        self.broadcasts: dict[int, Device] = {}
        self.handlers: dict[int, Handler] = {}
        self.raw: RawReceiver | None = None  # made with the first raw socket
        self.counters: Counters = Counters()
        self.route_changes: Changes = Changes()
        self.inet: Family = Family(AF_INET, self.counters, self.route_changes)
        self.inet6: Family = Family(AF_INET6, IpCounters(), self.route_changes)
        self.filter: Filter | None = None  # netfilter, once there is a rule
        # Of the last packet that was to be delivered here: where from, to and by what it came, and as of which changes.
        self.known_src: int = -1
        self.known_dst: int = -1
        self.known_device: Device | None = None
        self.known_conf: DeviceConf | None = None
        self.known_changes: i64 = -1
        self.route_errno: i64 = errno.ENETUNREACH  # why the last lookup found no route (ip_output.py: route_for)
        self.conntrack_sysctls: object | None = None  # netfilter/conntrack_sysctls.py, once one is set or needed
        self.sniffer: Sniffer | None = None  # the packet sockets, once there was one
        self.listeners: object | None = None  # of groups (listener.py), once there is a membership
        # net.ipv4.igmp_max_memberships (of a socket), igmp_max_msf (sources of one), igmp_qrv (how often a change is
        # told), igmp_link_local_mcast_reports; net.ipv6.mld_max_msf, mld_qrv.
        self.igmp_max_memberships: i64 = 20
        self.igmp_max_msf: i64 = 10
        self.igmp_qrv: i64 = 2
        self.igmp_link_local_reports: bool = True
        self.mld_max_msf: i64 = 64
        self.mld_qrv: i64 = 2
        self.reassembly: object | None = None  # fragment.py's, once a fragment has come
        self.frag_max_dist: i64 = 64  # net.ipv4.ipfrag_max_dist
        # What routers said of paths (path_mtu.py), and how often something new.
        self.path_mtus: dict[int, object] = {}
        self.path_mtu_changes: i64 = 0
        self.no_pmtu_disc: i64 = 0  # net.ipv4.ip_no_pmtu_disc: whether sockets leave packets to be fragmented
        self.route_min_pmtu: i64 = 552  # net.ipv4.route.min_pmtu, in bytes
        self.route_mtu_expires: i64 = 600  # net.ipv4.route.mtu_expires, in seconds
        self.auto_flowlabels: i64 = 1  # net.ipv6.auto_flowlabels, see ipv6_options.py
        self.bindv6only: bool = False  # net.ipv6.bindv6only: what new AF_INET6 sockets have as IPV6_V6ONLY
        self.tcp_stdurg: bool = False  # net.ipv4.tcp_stdurg
        # net.core: the buffers that sockets begin with, but TCP's, and the most that programs may ask for, in bytes.
        self.rmem_default: i64 = 212_992
        self.wmem_default: i64 = 212_992
        self.rmem_max: i64 = 4_194_304
        self.wmem_max: i64 = 4_194_304
        # net.ipv4.ip_nonlocal_bind, net.ipv6.ip_nonlocal_bind: sockets may have addresses that are not the host's.
        self.nonlocal_bind: bool = False
        self.nonlocal_bind6: bool = False
        # net.ipv4.ping_group_range: who may have ping sockets (raw.py). As Linux has it at first, nobody.
        self.ping_group_first: i64 = 1
        self.ping_group_last: i64 = 0
        # net.ipv4.ip_local_port_range: where bind(0) and connect(2) find a port.
        self.local_port_first: i64 = 32_768
        self.local_port_last: i64 = 60_999
        # net.ipv4.ip_local_reserved_ports: those that they do not take of themselves; None for none.
        self.reserved_ports: set[int] | None = None
        self.next_ident: i64 = 0
        # What was sent to whom (peer.py), and the limits (icmp_limits.py): net.ipv4.icmp_msgs_per_sec, icmp_msgs_burst.
        self.peers: dict[int, object] = {}
        self.icmp_msgs_per_sec: i64 = 1000
        self.icmp_msgs_burst: i64 = 50
        # net.ipv4.route.error_cost and error_burst: of errors that say that there is no route.
        self.error_cost_ms: i64 = 1000
        self.error_burst_ms: i64 = 5000
        # net.ipv4.route.redirect_number, redirect_load and redirect_silence.
        self.redirect_number: i64 = 9
        self.redirect_load_ms: i64 = 20
        self.redirect_silence_ms: i64 = 20_480
        # Limits of IPv6's options (extension_headers.py): net.ipv6.max_hbh_opts_number ...
        self.max_hbh_opts_number: i64 = 8
        self.max_hbh_length: i64 = 0x7FFF_FFFF
        self.max_dst_opts_number: i64 = 8
        self.max_dst_opts_length: i64 = 0x7FFF_FFFF
        self.epoch_ns: i64 = 0  # the host's wall clock at the beginning of the run
        self.icmp_sends: bool = False  # while a message of ICMP's is on its way through the rules
        self.icmp_tokens: i64 = 50
        self.icmp_stamp_ns: i64 = 0

    def is_reserved(self, port: i64) -> bool:
        """Whether nobody gets `port` without asking for it."""
        return self.reserved_ports is not None and int(port) in self.reserved_ports

    def forget_paths(self, family: i64) -> None:
        """What was learned of ways to addresses of `family` is forgotten: path MTUs, better gateways."""
        redirects = self.route_changes.redirects
        for dst in [dst for dst in self.path_mtus if family_of(dst) == family]:
            del self.path_mtus[dst]
        for dst in [dst for dst in redirects if family_of(dst) == family]:
            del redirects[dst]
        self.path_mtu_changes += 1  # whoever remembers one looks again
        self.route_changes.count += 1

    def binds_any(self, address: int) -> bool:
        """Whether sockets may be bound to `address` although the host does not have it."""
        return self.nonlocal_bind if address < 1 << 32 else self.nonlocal_bind6

    def family(self, number: i64) -> Family:
        """What the host keeps for AF_INET or AF_INET6."""
        return self.inet if number == AF_INET else self.inet6

    def is_martian(self, src: int) -> bool:
        """Whether no packet on a network can have the source `src`, as Linux calls it; of own addresses only IPv4's."""
        if src > 0xFFFF_FFFF:
            return src >> 120 == 0xFF
        return src in self.local or src >= 0xE000_0000 or src >> 24 == 127

    def loopback_device(self) -> Device | None:
        """`lo`, if the host has made it."""
        route = self.inet.loopback_route
        return route.device if route is not None else None

    def is_multicast(self, address: int) -> bool:
        """Whether `address` is a group: of 224.0.0.0/4 or ff00::/8."""
        return 0xE000_0000 <= address < 0xF000_0000 or address >> 120 == 0xFF

    def has_address(self, address: int) -> bool:
        """Whether `address` is this host's own. All of 127.0.0.0/8 is, as on Linux."""
        return address in self.local or address >> 24 == 127

    def is_broadcast(self, address: int) -> bool:
        """Whether `address` is everybody on a network of this host's."""
        return address == 0xFFFF_FFFF or address in self.broadcasts or address == LOOPBACK_BROADCAST
