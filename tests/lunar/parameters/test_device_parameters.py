"""Parameters of devices: what holds when something is set for all, for those to come, and for one.

The rules are those that ip-sysctl tells of; the examples were tried in a namespace of Linux 6.18.
"""

from __future__ import annotations

import contextlib
import socket

import pytest

import lunar
from lunar.host import Host
from lunar.net.device_conf import DeviceConf
from lunar.net.device_confs import DeviceConfs
from lunar.packet import AF_INET, AF_INET6
from lunar.parameters import device


def host_with_two() -> Host:
    return lunar.Network(seed=1).host("host", "10.0.0.1/24", "10.0.1.1/24")


def confs(host: Host, family: int = AF_INET) -> DeviceConfs:
    return host.ip.family(family).confs


@pytest.mark.parametrize(
    ("name", "for_all", "own", "holds"),
    [
        ("rp_filter", 0, 2, 2),  # the larger
        ("rp_filter", 2, 1, 2),
        ("proxy_arp", 1, 0, 1),  # either
        ("proxy_arp", 0, 0, 0),
        ("accept_source_route", 1, 0, 0),  # both
        ("accept_source_route", 1, 1, 1),
        ("force_igmp_version", 2, 3, 2),  # that of all, if there is one
        ("force_igmp_version", 0, 3, 3),
        ("accept_redirects", 0, 1, 1),  # either, as long as the device does not forward
        ("igmpv2_unsolicited_report_interval", 5, 7, 7),  # the device's own
    ],
)
def test_what_holds_for_a_device(name: str, for_all: int, own: int, holds: int) -> None:
    host = host_with_two()
    eth0 = host.devices["eth0"]
    confs(host).set_all(host.ip.devices, name, for_all)
    confs(host).set_own(eth0, name, own)
    assert getattr(eth0.inet, name) == holds
    assert getattr(confs(host).own(eth0), name) == own
    # In the other order it is the same.
    other = host_with_two()
    confs(other).set_own(other.devices["eth0"], name, own)
    confs(other).set_all(other.ip.devices, name, for_all)
    assert getattr(other.devices["eth0"].inet, name) == holds


def test_all_that_is_kept_can_be_set() -> None:
    kept = {name for name in dir(DeviceConf()) if not name.startswith("_")}
    assert kept == {row.attribute for rows in device.ROWS.values() for row in rows.values()}


def test_ipv6_takes_the_smaller_for_routes_in_packets() -> None:
    host = host_with_two()
    confs(host, AF_INET6).set_all(host.ip.devices, "accept_source_route", -1)
    assert host.devices["eth0"].inet6.accept_source_route == -1


def test_a_host_that_said_nothing_keeps_no_values_of_its_own() -> None:
    one, two = host_with_two(), host_with_two()
    assert one.devices["eth0"].inet is two.devices["eth1"].inet
    assert one.devices["eth0"].inet6 is two.devices["lo"].inet6


def test_forwarding_for_all_is_forwarding_for_each() -> None:
    host = host_with_two()
    host.sh("sysctl -w net.ipv4.ip_forward=1")
    assert host.sh("sysctl -n net.ipv4.conf.eth0.forwarding net.ipv4.conf.default.forwarding") == "1\n1\n"
    # A router does not believe redirects, of which "all" is 0 from then on; its devices' own values stay.
    assert confs(host).all.accept_redirects == 0
    assert confs(host).own(host.devices["eth0"]).accept_redirects == 1
    assert host.devices["eth0"].inet.accept_redirects == 0
    host.sh("sysctl -w net.ipv4.conf.all.forwarding=0")
    assert host.sh("sysctl -n net.ipv4.ip_forward net.ipv4.conf.eth1.forwarding") == "0\n0\n"
    assert host.devices["eth0"].inet.accept_redirects == 1


def test_a_default_is_for_devices_to_come_and_for_those_that_nobody_spoke_of() -> None:
    host = host_with_two()
    confs(host).set_own(host.devices["eth1"], "rp_filter", 2)
    confs(host).set_default(host.ip.devices, "rp_filter", 1)
    eth2 = host.add_device([])
    assert [device.inet.rp_filter for device in host.devices.values()] == [1, 1, 2, 1]
    assert confs(host).all.rp_filter == 0
    confs(host).set_default(host.ip.devices, "rp_filter", 0)
    assert [device.inet.rp_filter for device in host.devices.values()] == [0, 0, 2, 0]
    assert eth2.inet.rp_filter == 0


def test_in_ipv6_a_default_is_for_devices_to_come_alone() -> None:
    host = host_with_two()
    confs(host, AF_INET6).set_default(host.ip.devices, "hop_limit", 33)
    assert (host.devices["eth0"].inet6.hop_limit, host.add_device([]).inet6.hop_limit) == (64, 33)


def test_of_neighbours_a_default_is_for_both_in_ipv6_too() -> None:
    host = host_with_two()
    confs(host, AF_INET6).set_default(host.ip.devices, "neigh_retrans_time_ms", 500)
    assert host.devices["eth0"].inet6.neigh_retrans_time_ms == 500


def test_after_a_boot_all_is_as_at_first() -> None:
    host = host_with_two()
    confs(host).set_own(host.devices["eth0"], "rp_filter", 2)
    host.sh("sysctl -w net.ipv4.conf.eth0.forwarding=1")
    host.crash()
    host.boot()
    assert host.devices["eth0"].inet.rp_filter == 0
    assert host.sh("sysctl -n net.ipv4.conf.eth0.forwarding") == "0\n"


def test_a_device_of_another_host_has_its_own() -> None:
    one, two = host_with_two(), host_with_two()
    confs(one).set_all(one.ip.devices, "rp_filter", 1)
    assert (one.devices["eth0"].inet.rp_filter, two.devices["eth0"].inet.rp_filter) == (1, 0)


def test_a_device_that_does_not_forward_keeps_what_comes_in_there() -> None:
    net = lunar.Network(seed=1)
    left, right = net.host("left", "10.0.0.2/24"), net.host("right", "10.0.1.2/24")
    router = net.host("router", "10.0.0.1/24", "10.0.1.1/24")
    net.link(left, "router.eth0")
    net.link(right, "router.eth1")
    left.sh("route add default gw 10.0.0.1")
    right.sh("route add default gw 10.0.1.1")
    router.sh("sysctl -w net.ipv4.ip_forward=1 net.ipv4.conf.eth1.forwarding=0")

    def answers(client: Host, server: Host) -> bool:
        def serve() -> None:
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                sock.bind(("", 9))
                sock.settimeout(5)
                with contextlib.suppress(TimeoutError):
                    sock.recv(10)
                    heard.append(True)

        def send() -> None:
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                sock.sendto(b"x", (server.address, 9))

        heard: list[bool] = []
        net.start(server, serve)
        net.start(client, send, at=1)
        net.run()
        return heard == [True]

    assert answers(left, right)
    assert not answers(right, left)
