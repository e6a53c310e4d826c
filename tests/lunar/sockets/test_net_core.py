"""net.core and the like: what sockets begin with, and the most that their programs may ask for."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

import lunar

KINDS = {
    "udp": (socket.AF_INET, socket.SOCK_DGRAM, 0),
    "udp6": (socket.AF_INET6, socket.SOCK_DGRAM, 0),
    "raw": (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "unix": (socket.AF_UNIX, socket.SOCK_STREAM, 0),
}


def on_a_host(main: Any, *commands: str) -> Any:
    with lunar.Network(seed=1) as net:
        host = net.host("host", ["10.0.0.1/24", "2001:db8::1/64"])
        for command in commands:
            host.sh(f"sysctl -w {command}")
        return net.run(main, on=host)


@pytest.mark.parametrize("kind", KINDS)
def test_new_sockets_have_the_defaults(kind: str) -> None:
    def main() -> tuple[int, int]:
        with socket.socket(*KINDS[kind]) as sock:
            return (
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
            )

    assert on_a_host(main) == (212_992, 212_992)
    assert on_a_host(main, "net.core.rmem_default=3000", "net.core.wmem_default=5000") == (3000, 5000)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_buffer_is_at_most_twice_the_maximum(kind: int) -> None:
    def main() -> tuple[int, int]:
        with socket.socket(socket.AF_INET, kind) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000_000)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1_000_000_000)
            return (
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
            )

    assert on_a_host(main) == (8_388_608, 8_388_608)
    assert on_a_host(main, "net.core.rmem_max=10000", "net.core.wmem_max=20000") == (20_000, 40_000)


@pytest.mark.parametrize(("address", "name"), [("10.9.9.9", "ipv4"), ("2001:db8::99", "ipv6")])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_addresses_that_are_not_the_hosts_can_be_bound_to(address: str, name: str, kind: int) -> None:
    def main() -> int:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as sock:
            try:
                sock.bind((address, 80))
            except OSError as failed:
                return failed.errno or -1
            return 0

    assert on_a_host(main) == errno.EADDRNOTAVAIL
    assert on_a_host(main, f"net.{name}.ip_nonlocal_bind=1") == 0


def test_a_socket_without_a_ttl_follows_the_host() -> None:
    def main() -> list[int]:
        def ttl() -> int:
            return sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL)

        with socket.socket() as sock:
            told = [ttl()]
            with open("/proc/sys/net/ipv4/ip_default_ttl", "w") as file:
                file.write("9")
            told.append(ttl())
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 33)
            told.append(ttl())
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, -1)
            return [*told, ttl()]

    assert on_a_host(main) == [64, 9, 33, 9]


def test_new_sockets_of_ipv6_are_of_ipv6_alone() -> None:
    def main() -> int:
        with socket.socket(socket.AF_INET6) as sock:
            return sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)

    assert (on_a_host(main), on_a_host(main, "net.ipv6.bindv6only=1")) == (0, 1)
