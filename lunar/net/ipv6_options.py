"""What a socket of AF_INET6 has beside what all have: the options of ipv6(7) and RFC 3542 that are about what it sends.

`Sock.ipv6` is None for a socket of another family. lunar/sockets/ipv6_options.py sets and tells these; the headers of
what is sent get them here.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import i64

from lunar.net import flow_label
from lunar.net.ip import Ip
from lunar.packet import Packet


@final
class Ipv6Options:
    """Of one socket. -1 stands for the host's default."""

    def __init__(self) -> None:
        self.hop_limit: i64 = -1  # IPV6_UNICAST_HOPS
        self.traffic_class: i64 = 0  # IPV6_TCLASS
        self.mtu_discover: i64 = 1  # IPV6_MTU_DISCOVER: as IP_MTU_DISCOVER, 1 is IPV6_PMTUDISC_WANT
        self.largest: i64 = 0  # IPV6_MTU: datagrams are cut to this, too; 0 for no such limit
        self.dont_fragment: bool = False  # IPV6_DONTFRAG
        self.labels_flows: i64 = -1  # IPV6_AUTOFLOWLABEL, net.ipv6.auto_flowlabels
        self.flow_label: i64 = -1  # of a connection, once it is known
        # The index of the device by which link-local addresses are reached, as bind(2) or connect(2) named it, 0 for
        # none; and that of the address which the call that runs now was given.
        self.scope: i64 = 0
        self.named_scope: i64 = 0
        # IPV6_UNICAST_IF and IPV6_PKTINFO: the index of the device by which all leaves, and its source; 0 for none.
        self.device_index: i64 = 0
        self.source: int = 0

    def inherited(self) -> Ipv6Options:
        """What a connection has of its listener."""
        child = Ipv6Options()
        child.hop_limit = self.hop_limit
        child.traffic_class = self.traffic_class
        child.mtu_discover = self.mtu_discover
        child.largest = self.largest
        child.dont_fragment = self.dont_fragment
        child.labels_flows = self.labels_flows
        child.scope = self.scope
        child.device_index = self.device_index
        return child

    def dress(self, ip: Ip, packet: Packet) -> None:
        """Give `packet` the hop limit and the traffic class, which may have ECN's two bits; not the flow label."""
        packet.dont_fragment = self.dont_fragment or self.mtu_discover == 2 or self.mtu_discover == 3
        packet.ttl = self.hop_limit  # -1: the route's, or its device's
        packet.tos |= self.traffic_class

    def limited(self, mtu: i64) -> i64:
        """The MTU for what the socket sends where the way has `mtu`."""
        return min(mtu, self.largest) if self.largest > 0 else mtu

    def label(self, ip: Ip, src: int, sport: i64, dst: int, dport: i64, protocol: i64) -> i64:
        """The flow label of packets with these ends."""
        return flow_label.of(src, sport, dst, dport, protocol) if self.wants_labels(ip) else 0

    def wants_labels(self, ip: Ip) -> bool:
        """ip-sysctl, auto_flowlabels: 0 never, 3 always; 1 and 2 as the program says, and if it does not, 1."""
        mode: i64 = ip.auto_flowlabels
        if mode == 0 or mode == 3:
            return mode == 3
        return self.labels_flows == 1 or (self.labels_flows < 0 and mode == 1)
