"""Forwarding: a row of hosts a - r1 - r2 - b with static routes, each link 1 ms and without a rate.

a is 10.0.1.2, r1 10.0.1.1 and 10.0.2.1, r2 10.0.2.2 and 10.0.3.1, b 10.0.3.2.
"""

from __future__ import annotations

import socket
import time

import pytest

import lunar
from lunar.net import ip_output
from lunar.net.device import Device
from lunar.net.icmp import (
    ECHO,
    ECHO_REPLY,
    FRAGMENTATION_NEEDED,
    HOST_UNREACHABLE,
    NET_UNREACHABLE,
    TIME_EXCEEDED,
    TTL_EXCEEDED,
    UNREACHABLE,
)
from lunar.packet import AF_INET, Frame, IcmpMessage, Packet
from lunar.wire.address import ipv4_text, parse_ipv4

MS = 1_000_000


class Row:
    """The row; what a hears of its echoes as (time, from, type, code, rest), and what reaches b as packets."""

    def __init__(self, mtu: int = 1500) -> None:
        self.net = lunar.Network(seed=1)
        self.a = self.net.host("a", "10.0.1.2/24")
        self.r1 = self.net.host("r1", "10.0.1.1/24", "10.0.2.1/24")
        self.r2 = self.net.host("r2", "10.0.2.2/24", "10.0.3.1/24")
        self.b = self.net.host("b", "10.0.3.2/24")
        self.net.link(self.a, "r1.eth0", delay="1ms")
        self.net.link("r1.eth1", "r2.eth0", delay="1ms", mtu=mtu)
        self.net.link("r2.eth1", self.b, delay="1ms")
        self.a.sh("route add default gw 10.0.1.1")
        self.b.sh("route add default gw 10.0.3.1")
        self.r1.sh("route add 10.0.3.0/24 gw 10.0.2.2")
        self.r2.sh("route add 10.0.1.0/24 gw 10.0.2.1")
        for router in (self.r1, self.r2):
            router.sh("sysctl -w net.ipv4.ip_forward=1")
        self.heard: list[tuple[int, str, int, int, int]] = []
        self.messages: list[IcmpMessage] = []
        self.reached: list[Packet] = []
        self.a.icmp.echo_waiter = self._heard
        self.b.devices["eth0"].tap = self._reached

    def _heard(self, message: IcmpMessage) -> None:
        self.messages.append(message)
        self.heard.append(
            (self.net.scheduler.now_ns, ipv4_text(message.src), message.type, message.code, message.rest)
        )

    def _reached(self, device: Device, frame: Frame) -> None:
        assert isinstance(frame, Packet)
        if frame.eth_dst == device.mac:
            self.reached.append(frame)

    def pings(self, dst: str, ttl: int = 64, size: int = 28, rest: int = 0, whole: bool = True) -> IcmpMessage:
        echo = IcmpMessage(AF_INET, 0, parse_ipv4(dst), ECHO, 0, rest, bytes(size - 28))
        echo.size_bytes, echo.ttl, echo.dont_fragment = size, ttl, whole
        assert ip_output.send(self.a.ip, echo, None) == 0
        return echo

    def ends(self) -> list[tuple[int, str, int, int, int]]:
        self.net.run(until=f"{self.net.now + 10}s")
        return self.heard


def test_there_and_back_over_two_routers() -> None:
    row = Row()
    row.pings("10.0.3.2", rest=0x0001_0002)
    assert row.ends() == [(6 * MS, "10.0.3.2", ECHO_REPLY, 0, 0x0001_0002)]


def test_each_router_takes_one_from_the_ttl() -> None:
    row = Row()
    row.pings("10.0.3.2")
    row.ends()
    assert [packet.ttl for packet in row.reached] == [62]


def test_nothing_else_of_the_packet_changes() -> None:
    row = Row()
    row.a.ip.next_ident = 500
    row.pings("10.0.3.2", rest=7)
    row.ends()
    (packet,) = row.reached
    assert isinstance(packet, IcmpMessage)
    assert (ipv4_text(packet.src), packet.ident, packet.rest, packet.size_bytes) == ("10.0.1.2", 500, 7, 28)


def test_each_router_counts_what_it_forwards() -> None:
    row = Row()
    row.pings("10.0.3.2")
    row.ends()
    assert [host.ip.counters.ip_forw_datagrams for host in (row.a, row.r1, row.r2, row.b)] == [0, 2, 2, 0]


def test_a_routers_own_far_address_is_delivered_not_forwarded() -> None:
    row = Row()
    row.pings("10.0.2.1")
    assert row.ends() == [(2 * MS, "10.0.2.1", ECHO_REPLY, 0, 0)]
    assert row.r1.ip.counters.ip_forw_datagrams == 0


# Time exceeded


@pytest.mark.parametrize(("ttl", "time", "router"), [(1, 2, "10.0.1.1"), (2, 4, "10.0.2.2")])
def test_the_router_where_the_ttl_ends_says_so(ttl: int, time: int, router: str) -> None:
    row = Row()
    row.pings("10.0.3.2", ttl=ttl)
    assert row.ends() == [(time * MS, router, TIME_EXCEEDED, TTL_EXCEEDED, 0)]


def test_a_ttl_of_three_gets_there() -> None:
    row = Row()
    row.pings("10.0.3.2", ttl=3)
    assert row.ends() == [(6 * MS, "10.0.3.2", ECHO_REPLY, 0, 0)]
    assert [packet.ttl for packet in row.reached] == [1]


def test_the_last_ttl_is_enough_for_the_router_itself() -> None:
    row = Row()
    row.pings("10.0.1.1", ttl=1)
    assert row.ends() == [(2 * MS, "10.0.1.1", ECHO_REPLY, 0, 0)]


def test_an_expired_packet_is_not_counted_as_forwarded() -> None:
    row = Row()
    row.pings("10.0.3.2", ttl=1)
    row.ends()
    assert (row.r1.ip.counters.ip_in_hdr_errors, row.r1.ip.counters.ip_forw_datagrams) == (1, 0)


def test_the_report_carries_the_address_of_the_way_back() -> None:
    # a sends by eth0 with the address of eth1, so r's report leaves by another device than the packet came in.
    net = lunar.Network(seed=1)
    a, r = net.host("a", "10.0.1.2/24", "10.0.9.2/24"), net.host("r", "10.0.1.1/24", "10.0.9.1/24")
    net.link("a.eth0", "r.eth0")
    net.link("a.eth1", "r.eth1")
    a.sh("route add default gw 10.0.1.1")
    r.sh("sysctl -w net.ipv4.ip_forward=1")
    heard: list[str] = []
    a.icmp.echo_waiter = lambda message: heard.append(ipv4_text(message.src))
    echo = IcmpMessage(AF_INET, parse_ipv4("10.0.9.2"), parse_ipv4("10.5.0.1"), ECHO, 0, 0, b"")
    echo.size_bytes, echo.ttl = 28, 1
    assert ip_output.send(a.ip, echo, None) == 0
    net.run(until="1s")
    assert heard == ["10.0.9.1"]
    assert a.devices["eth1"].rx_packets == 1


# Unreachable


def test_no_route_at_a_router_is_net_unreachable() -> None:
    row = Row()
    row.pings("10.0.99.1")
    assert row.ends() == [(2 * MS, "10.0.1.1", UNREACHABLE, NET_UNREACHABLE, 0)]
    assert row.r1.ip.counters.ip_out_no_routes == 1


def test_no_such_host_on_the_last_network_is_host_unreachable() -> None:
    row = Row()
    row.pings("10.0.3.77")
    assert row.ends() == [(4 * MS, "10.0.2.2", UNREACHABLE, HOST_UNREACHABLE, 0)]


def test_a_host_that_does_not_forward_is_silent() -> None:
    row = Row()
    row.r1.sh("sysctl -w net.ipv4.ip_forward=0")
    row.pings("10.0.3.2")
    assert row.ends() == []
    assert (row.r1.ip.counters.ip_in_addr_errors, row.r1.ip.counters.icmp_out_msgs) == (1, 0)


def test_forwarding_can_be_turned_on_while_it_runs() -> None:
    row = Row()
    row.r1.sh("sysctl -w net.ipv4.ip_forward=0")
    row.pings("10.0.3.2", rest=1)
    row.ends()
    row.r1.sh("sysctl -w net.ipv4.ip_forward=1")
    row.pings("10.0.3.2", rest=2)
    assert [rest for _, _, _, _, rest in row.ends()] == [2]


def test_without_a_way_back_nothing_is_heard() -> None:
    row = Row()
    row.b.sh("route del default")
    row.pings("10.0.3.2")
    assert row.ends() == []
    assert row.b.ip.counters.ip_out_no_routes == 1


def test_a_changed_route_holds_for_the_next_packet() -> None:
    row = Row()
    row.pings("10.0.3.2")
    row.ends()
    row.r1.sh("route del 10.0.3.0/24")
    row.pings("10.0.3.2")
    assert row.ends()[-1][1:4] == ("10.0.1.1", UNREACHABLE, NET_UNREACHABLE)


def test_a_loop_ends_with_the_ttl() -> None:
    row = Row()
    row.r1.sh("route add 10.0.50.0/24 gw 10.0.2.2")
    row.r2.sh("route add 10.0.50.0/24 gw 10.0.2.1")
    row.pings("10.0.50.1", ttl=10)
    # The ninth hop, 9 ms on, is r1 again and has a TTL of 2 left; the tenth is r2, whose report takes 2 ms back.
    assert row.ends() == [(12 * MS, "10.0.2.2", TIME_EXCEEDED, TTL_EXCEEDED, 0)]


# Too big


def test_a_packet_that_does_not_fit_the_next_link_is_reported_with_its_mtu() -> None:
    row = Row(mtu=1000)
    row.pings("10.0.3.2", size=1001)
    assert row.ends() == [(2 * MS, "10.0.1.1", UNREACHABLE, FRAGMENTATION_NEEDED, 1000)]


def test_a_packet_without_df_that_does_not_fit_is_cut() -> None:
    row = Row(mtu=1000)
    row.pings("10.0.3.2", size=1001, whole=False)
    assert row.ends() == [(6 * MS, "10.0.3.2", ECHO_REPLY, 0, 0)]
    counters = row.r1.ip.counters
    assert (counters.ip_frag_oks, counters.ip_frag_creates, counters.ip_frag_fails) == (1, 2, 0)


def test_a_packet_that_just_fits_passes() -> None:
    row = Row(mtu=1000)
    row.pings("10.0.3.2", size=1000)
    assert row.ends() == [(6 * MS, "10.0.3.2", ECHO_REPLY, 0, 0)]


def test_what_does_not_fit_is_quoted_as_it_came() -> None:
    row = Row(mtu=1000)
    row.pings("10.0.3.2", size=1001, ttl=33)
    row.ends()
    assert row.messages[0].payload[8] == 33  # the TTL of the quoted header
    assert row.r1.ip.counters.ip_frag_fails == 1


def test_an_error_on_the_way_back_through_a_router_is_forwarded() -> None:
    row = Row()
    row.pings("10.0.3.77")
    row.ends()
    assert row.messages[0].ttl == 63  # r2 sent 64, r1 took one


@pytest.mark.parametrize("mtu", [1500, 1400])
def test_what_a_device_was_to_cut_passes_a_router_as_its_segments_would(mtu: int) -> None:
    net = lunar.Network(seed=1)
    near, router = net.host("near", "10.0.0.2/24"), net.host("router", "10.0.0.1/24", "10.1.0.1/24")
    middle, far = net.host("middle", "10.1.0.2/24", "10.2.0.1/24"), net.host("far", "10.2.0.2/24")
    net.link(near, "router.eth0", delay="1ms")
    net.link("router.eth1", "middle.eth0", delay="1ms", mtu=mtu)
    net.link("middle.eth1", far, delay="1ms")
    for host in (router, middle):
        host.sh("sysctl -q net.ipv4.ip_forward=1")
    near.sh("ip route add default via 10.0.0.1")
    router.sh("ip route add 10.2.0.0/24 via 10.1.0.2")
    middle.sh("ip route add default via 10.1.0.1")
    far.sh("ip route add default via 10.2.0.1")
    near.sh("ethtool -K eth0 gso on")

    def serve() -> int:
        with socket.create_server(("10.2.0.2", 80)) as listener:
            stream, _address = listener.accept()
            count = 0
            while data := stream.recv(65_536):
                count += len(data)
            return count

    def send() -> None:
        time.sleep(0.001)
        with socket.create_connection(("10.2.0.2", 80)) as stream:
            stream.sendall(bytes(200_000))

    net.start(near, send)
    assert net.run(serve, on=far) == 200_000
    assert net.now < 1
    # Only where the segments would not have fitted: the MSS is of an MTU of 1500.
    assert (router.ip.counters.ip_frag_fails > 0) == (mtu < 1500)
