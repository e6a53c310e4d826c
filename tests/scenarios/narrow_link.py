"""Two hosts with a router between them, the second link of which may be narrower: datagrams and what comes of them."""

from __future__ import annotations

import socket
from typing import Any

import pytest

import lunar

FAMILIES = pytest.mark.parametrize("six", [False, True], ids=["ipv4", "ipv6"])


def line(six: bool, mtu: int = 1500, **link: Any) -> tuple[lunar.Network, lunar.Host, lunar.Host, lunar.Host]:
    """Near - router - far; the router sends packets of `mtu` on the second link, which is as `link` says."""
    net = lunar.Network(seed=1)
    if six:
        near, far = net.host("near", "2001:db8::2/64"), net.host("far", "2001:db8:1::2/64")
        router = net.host("router", "2001:db8::1/64", "2001:db8:1::1/64")
        router.sh("sysctl -w net.ipv6.conf.all.forwarding=1")
        near.sh("ip -6 route add default via 2001:db8::1")
        far.sh("ip -6 route add default via 2001:db8:1::1")
    else:
        near, far = net.host("near", "10.0.0.2/24"), net.host("far", "10.1.0.2/24")
        router = net.host("router", "10.0.0.1/24", "10.1.0.1/24")
        router.sh("sysctl -w net.ipv4.ip_forward=1")
        near.sh("ip route add default via 10.0.0.1")
        far.sh("ip route add default via 10.1.0.1")
    net.link(near, "router.eth0", delay="1ms")
    net.link("router.eth1", far, delay="1ms", mtu=mtu, **link)
    far.sh("ip link set eth0 mtu 1500")  # it does not know; a stream's MSS would tell
    return net, near, router, far


def address(host: lunar.Host, six: bool) -> str:
    return {"near": ("10.0.0.2", "2001:db8::2"), "far": ("10.1.0.2", "2001:db8:1::2")}[host.name][six]


def collect(net: lunar.Network, host: lunar.Host, six: bool) -> list[bytes]:
    """What comes to port 5000 of a host from now on."""
    got: list[bytes] = []

    def program() -> None:
        with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)
            sock.bind(("", 5000))
            while True:
                got.append(sock.recv(70_000))

    net.start(host, program)
    return got


def send(net: lunar.Network, host: lunar.Host, to: str, *datagrams: bytes, discover: int | None = None) -> None:
    six = ":" in to

    def program() -> None:
        with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            if discover is not None:
                sock.setsockopt(socket.IPPROTO_IP, 10, discover)  # IP_MTU_DISCOVER
            for datagram in datagrams:
                sock.sendto(datagram, (to, 5000))

    net.run(program, on=host)
    net.run(until=net.now + 1)


def data(size: int) -> bytes:
    return bytes(number * 7 & 255 for number in range(size))
