"""The TTL and the hop limit of what nobody gave one: the route's, the device's, the host's."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

import lunar
from lunar.network import Network
from lunar.packet import Packet

FOUR, SIX = "10.0.0.2", "2001:db8::2"


@pytest.fixture
def net() -> Iterator[Network]:
    with lunar.Network(seed=1) as made:
        a, b = made.host("a", ["10.0.0.1/24", "2001:db8::1/64"]), made.host("b", [f"{FOUR}/24", f"{SIX}/64"])
        made.link(a, b, delay="1ms")
        yield made


def heard(net: Network, address: str) -> set[int]:
    """The TTLs of a TCP connection, a datagram, and the refusal of another, as they reach the other end."""
    seen: set[int] = set()

    def tap(device: Any, frame: Any) -> None:
        if isinstance(frame, Packet) and frame.eth_src != device.mac and frame.protocol in (6, 17, 1):
            seen.add(int(frame.ttl))

    def main() -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as sock, pytest.raises(ConnectionRefusedError):
            sock.connect((address, 80))
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", (address, 9))

    net.hosts["b"].devices["eth0"].tap = tap
    net.run(main, on=net.hosts["a"])
    net.run(until=net.now + 1)
    return seen


def test_at_first_it_is_64(net: Network) -> None:
    assert heard(net, FOUR) == heard(net, SIX) == {64}


def test_ip_default_ttl_is_ipv4s(net: Network) -> None:
    net.hosts["a"].sh("sysctl -w net.ipv4.ip_default_ttl=33")
    assert (heard(net, FOUR), heard(net, SIX)) == ({33}, {64})


def test_a_device_has_its_own_hop_limit(net: Network) -> None:
    net.hosts["a"].sh("sysctl -w net.ipv6.conf.eth0.hop_limit=44")
    assert (heard(net, FOUR), heard(net, SIX)) == ({64}, {44})


def test_a_routes_own_comes_first(net: Network) -> None:
    net.hosts["a"].sh("ip route add 10.0.0.2/32 dev eth0 hoplimit 11")
    net.hosts["a"].sh("ip -6 route add 2001:db8::2/128 dev eth0 hoplimit 12")
    net.hosts["a"].sh("sysctl -w net.ipv4.ip_default_ttl=33")
    assert (heard(net, FOUR), heard(net, SIX)) == ({11}, {12})


def test_a_programs_own_comes_before_all(net: Network) -> None:
    def main() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 5)
            sock.sendto(b"x", (FOUR, 9))

    seen: list[int] = []
    net.hosts["a"].sh("ip route add 10.0.0.2/32 dev eth0 hoplimit 11")
    net.hosts["b"].devices["eth0"].tap = lambda device, frame: seen.append(int(frame.ttl))
    net.run(main, on=net.hosts["a"])
    net.run(until=net.now + 1)
    assert seen[0] == 5
