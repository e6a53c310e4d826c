"""What the way in remembers of the last packet holds for no packet that is unlike it, nor after a change."""

from __future__ import annotations

import lunar
from lunar.net import ip_input
from lunar.net.icmp import ECHO_REPLY
from lunar.net.ip_output import route_for
from lunar.net.route import Route
from lunar.packet import AF_INET, BROADCAST_MAC, IcmpMessage
from lunar.sockets import syscalls
from lunar.wire.address import parse_ipv4

OWN, OTHER, BROADCAST, FAR = (parse_ipv4(text) for text in ("10.0.0.1", "10.0.0.2", "10.0.0.255", "10.9.0.1"))


class Host:
    """10.0.0.1 on eth0 and 10.1.0.1 on eth1."""

    def __init__(self) -> None:
        self.net = lunar.Network(seed=1)
        self.host = self.net.host("one", "10.0.0.1/24", "10.1.0.1/24")
        self.net.link("one.eth0", self.net.host("two", "10.0.0.2/24"))
        self.net.link("one.eth1", self.net.host("three", "10.1.0.2/24"))
        self.ip = self.host.ip
        self.eth0 = self.host.devices["eth0"]

    def hears(self, src: int, dst: int, tos: int = 0, eth_src: int = 1) -> bool:
        """Whether a packet by eth0 is delivered."""
        message = IcmpMessage(AF_INET, src, dst, ECHO_REPLY, 0, 0, b"")
        message.size_bytes = 28
        message.tos = tos
        message.eth_src = eth_src
        message.eth_dst = BROADCAST_MAC if dst == BROADCAST else self.eth0.mac
        before = self.ip.counters.ip_in_delivers
        ip_input.receive(self.ip, message, self.eth0)
        return self.ip.counters.ip_in_delivers > before


def test_an_own_broadcast_that_came_back_lets_nobody_else_speak_in_the_hosts_name() -> None:
    h = Host()
    assert h.hears(OWN, BROADCAST, eth_src=int(h.eth0.mac))
    assert not h.hears(OWN, BROADCAST)


def test_rp_filter_looks_at_each_packet_where_rules_look_at_more_than_addresses() -> None:
    h = Host()
    h.host.sh("sysctl -q net.ipv4.conf.all.rp_filter=1")
    h.host.sh("ip route add unreachable default table 100")
    h.host.sh("ip rule add tos 0x10 table 100")
    assert h.hears(OTHER, OWN)
    assert not h.hears(OTHER, OWN, tos=0x10)
    assert h.hears(OTHER, OWN)


def test_an_address_stays_as_long_as_any_device_has_it() -> None:
    h = Host()
    h.host.sh("ip addr add 10.0.0.1/32 dev lo")
    h.host.sh("ip addr add 10.0.0.77/24 brd + dev eth1")
    h.host.sh("ip addr del 10.0.0.1/32 dev lo")
    assert h.ip.local[OWN] is h.eth0
    assert h.hears(OTHER, OWN)
    h.host.sh("ip addr del 10.0.0.77/24 dev eth1")
    assert h.ip.broadcasts[BROADCAST] is h.eth0
    assert h.hears(OTHER, BROADCAST)
    assert h.net.names.reverse(OWN) == "one"
    h.host.sh("ip addr del 10.0.0.1/24 dev eth0")
    assert OWN not in h.ip.local
    assert BROADCAST not in h.ip.broadcasts
    assert 0 not in h.ip.broadcasts


def test_a_better_way_is_for_those_who_go_by_the_device_where_it_was_told() -> None:
    h = Host()
    h.host.sh("ip route add default via 10.0.0.2")
    h.host.sh("ip route add default via 10.1.0.2 metric 5")
    told = Route(FAR, 32, parse_ipv4("10.0.0.3"), h.eth0, 0, 0)
    h.ip.route_changes.redirects[FAR] = told
    assert route_for(h.ip, AF_INET, FAR) is told
    sock = syscalls.socket(h.host.tcp, h.host.udp, AF_INET, 2, 0)
    assert sock is not None
    sock.bound_device = "eth1"
    route = route_for(h.ip, AF_INET, FAR, sock)
    assert route is not None
    assert (route.device.name, route.gateway) == ("eth1", parse_ipv4("10.1.0.2"))
