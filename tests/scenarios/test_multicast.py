"""Programs that speak to groups and to everybody: discovery as of SSDP, a router, and one that asks who listens."""

from __future__ import annotations

import socket
import struct
import time
from typing import Any

import pytest

import lunar
from lunar.wire import checksum

IP, GROUP, PORT = socket.IPPROTO_IP, "239.255.255.250", 1900


def aton(*addresses: str) -> bytes:
    return b"".join(map(socket.inet_aton, addresses))


def site(net: lunar.Network, count: int) -> list[lunar.Host]:
    hosts = [net.host(f"host-{at}", f"10.0.0.{at + 1}/24") for at in range(count)]
    net.link(*hosts, delay="1ms")
    return hosts


def device(address: str, name: str, group: str | None = GROUP, for_s: float = 10) -> None:
    """Answer each search with its name."""
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", PORT))
    if group is not None:
        sock.setsockopt(IP, socket.IP_ADD_MEMBERSHIP, aton(group, address))
    until = time.monotonic() + for_s
    while (left := until - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            data, sender = sock.recvfrom(1000)
        except TimeoutError:
            return
        if data == b"M-SEARCH":
            sock.sendto(name.encode(), sender)


def search(address: str, found: list[str], to: str = GROUP, ttl: int = 1) -> None:
    """Ask who is there, for a second."""
    time.sleep(1)
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(IP, socket.IP_MULTICAST_IF, aton(address))
    sock.setsockopt(IP, socket.IP_MULTICAST_TTL, ttl)
    sock.sendto(b"M-SEARCH", (to, PORT))
    until = time.monotonic() + 1
    while (left := until - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            data, sender = sock.recvfrom(1000)
        except TimeoutError:
            break
        found.append(f"{data.decode()} at {sender[0]}")


def test_a_search_finds_the_devices_of_the_group() -> None:
    found: list[str] = []
    with lunar.Network(seed=1) as net:
        hosts = site(net, 6)
        for at in range(1, 6):
            group = GROUP if at < 5 else "239.1.1.1"  # the last one listens to another
            net.start(hosts[at], device, f"10.0.0.{at + 1}", f"device-{at}", group)
        net.start(hosts[0], search, "10.0.0.1", found)
        net.run()
    assert sorted(found) == [f"device-{at} at 10.0.0.{at + 1}" for at in range(1, 5)]


def test_a_broadcast_finds_all() -> None:
    found: list[str] = []
    with lunar.Network(seed=1) as net:
        hosts = site(net, 4)
        for at in range(1, 4):
            net.start(hosts[at], device, f"10.0.0.{at + 1}", f"device-{at}", None)
        net.start(hosts[0], search, "10.0.0.1", found, "10.0.0.255")
        net.run()
    assert sorted(found) == [f"device-{at} at 10.0.0.{at + 1}" for at in range(1, 4)]


def test_a_router_does_not_forward_groups() -> None:
    """As Linux without a multicast routing daemon; the router itself may listen on both of its networks."""
    found: list[str] = []
    with lunar.Network(seed=1) as net:
        near, far = net.host("near", "10.0.0.1/24"), net.host("far", "10.1.0.1/24")
        router = net.host("router", "10.0.0.9/24", "10.1.0.9/24")
        net.link(near, router.devices["eth0"], delay="1ms")
        net.link(far, router.devices["eth1"], delay="1ms")
        router.sh("sysctl -w net.ipv4.ip_forward=1")
        net.start(far, device, "10.1.0.1", "far")
        net.start(router, device, "10.0.0.9", "router")
        net.start(near, search, "10.0.0.1", found, GROUP, 8)
        net.run()
        assert router.ip.counters.icmp_out_msgs == 0
    assert found == ["router at 10.0.0.9"]


def test_a_program_that_asks_knows_who_listens() -> None:
    """A querier of IGMP in a program, with a raw socket: it asks all hosts, and reads the reports."""
    known: dict[str, set[str]] = {}

    def querier() -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, 2)
        sock.setsockopt(IP, socket.IP_MULTICAST_IF, aton("10.0.0.1"))
        sock.setsockopt(IP, socket.IP_ADD_MEMBERSHIP, aton("224.0.0.22", "10.0.0.1"))
        sock.setsockopt(IP, 4, b"\x94\x04\0\0")  # IP_OPTIONS: router alert
        time.sleep(5)
        message = bytes((0x11, 10, 0, 0)) + bytes(4) + bytes((2, 125, 0, 0))
        sock.sendto(message[:2] + checksum.internet(message).to_bytes(2, "big") + message[4:], ("224.0.0.1", 0))
        until = time.monotonic() + 2
        while (left := until - time.monotonic()) > 0:
            sock.settimeout(left)
            try:
                packet, (sender, _) = sock.recvfrom(2000)
            except TimeoutError:
                break
            body = packet[(packet[0] & 15) * 4 :]
            if body[0] != 0x22:
                continue
            at = 8
            for _ in range(int.from_bytes(body[6:8], "big")):
                if body[at] == 2:  # MODE_IS_EXCLUDE
                    known.setdefault(socket.inet_ntoa(body[at + 4 : at + 8]), set()).add(sender)
                at += 8 + 4 * int.from_bytes(body[at + 2 : at + 4], "big")

    with lunar.Network(seed=1) as net:
        hosts = site(net, 5)
        net.start(hosts[0], querier)
        for at in range(1, 5):
            net.start(hosts[at], device, f"10.0.0.{at + 1}", "", GROUP if at % 2 else "239.1.1.1")
        net.run()
    assert known == {GROUP: {"10.0.0.2", "10.0.0.4"}, "239.1.1.1": {"10.0.0.3", "10.0.0.5"}}


def test_groups_of_ipv6() -> None:
    found: list[Any] = []

    def listen(at: int) -> None:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.bind(("::", PORT))
        request = socket.inet_pton(socket.AF_INET6, "ff15::1234") + struct.pack("i", socket.if_nametoindex("eth0"))
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
        sock.settimeout(5)
        data, sender = sock.recvfrom(100)
        found.append((at, data, sender[0]))

    def call() -> None:
        time.sleep(1)
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex("eth0"))
        sock.sendto(b"hello", ("ff15::1234", PORT))

    with lunar.Network(seed=1) as net:
        hosts = [net.host(f"host-{at}", f"2001:db8::{at + 1}/64") for at in range(4)]
        net.link(*hosts, delay="1ms")
        for at in range(1, 4):
            net.start(hosts[at], listen, at)
        net.start(hosts[0], call)
        net.run()
    assert sorted(found) == [(at, b"hello", "2001:db8::1") for at in range(1, 4)]


def test_a_group_of_ipv6_needs_no_route_and_no_device() -> None:
    """As Linux, which has ff00::/8 in its table local by each device with IPv6."""

    def tell() -> list[int]:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            return [sock.sendto(b"x", (group, 9)) for group in ("ff02::1", "ff05::1")]

    net = lunar.Network(seed=1)
    one, two = net.host("one", "2001:db8::1/64"), net.host("two", "2001:db8::2/64")
    net.link(one, two)
    assert net.run(tell, on=one) == [1, 1]
    net.run(until=1)
    assert two.ip.inet6.counters.ip_in_receives == 2
    with pytest.raises(OSError, match="Network is unreachable"):
        net.run(tell, on=net.host("four", "10.0.0.1/24"))
