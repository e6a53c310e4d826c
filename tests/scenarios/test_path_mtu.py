"""Path MTU discovery of datagrams and streams, in both families: routers tell, hosts remember, and forget."""

from __future__ import annotations

import errno
import socket

import pytest
from narrow_link import FAMILIES, address, collect, data, line, send

import lunar

IP_MTU = 14


def mtu_of(net: lunar.Network, host: lunar.Host, to: str) -> int:
    """IP_MTU or IPV6_MTU of a connected socket."""
    six = ":" in to

    def program() -> int:
        with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((to, 9))
            return sock.getsockopt(*((socket.IPPROTO_IPV6, 24) if six else (socket.IPPROTO_IP, IP_MTU)))

    found: int = net.run(program, on=host)
    return found


@FAMILIES
def test_a_datagram_teaches_the_mtu(six: bool) -> None:
    net, near, router, far = line(six, mtu=1400)
    got = collect(net, far, six)
    to = address(far, six)
    send(net, near, to, data(1450 - 48 * six))
    assert got == []  # it stayed whole, and the router had to refuse it
    assert mtu_of(net, near, to) == 1400
    send(net, near, to, data(1450 - 48 * six))
    assert got == [data(1450 - 48 * six)]  # its sender cut it
    assert (router.ip.inet6 if six else router.ip.inet).counters.ip_frag_creates == 0


@FAMILIES
def test_it_is_forgotten_after_ten_minutes(six: bool) -> None:
    net, near, _router, far = line(six, mtu=1400)
    to = address(far, six)
    send(net, near, to, data(1450 - 48 * six))
    net.run(until=net.now + 599 - 2)
    assert mtu_of(net, near, to) == 1400
    net.run(until=net.now + 4)
    assert mtu_of(net, near, to) == 1500


def test_a_router_that_says_too_little_is_not_believed() -> None:
    net, near, _router, far = line(False, mtu=300)
    send(net, near, address(far, False), data(1400))
    assert mtu_of(net, near, "10.1.0.2") == 552  # net.ipv4.route.min_pmtu


def test_a_locked_mtu_stays() -> None:
    net, near, router, far = line(False, mtu=700)
    near.sh("ip route add 10.1.0.2/32 via 10.0.0.1 mtu lock 1300")
    got = collect(net, far, False)
    send(net, near, "10.1.0.2", data(1200))
    assert mtu_of(net, near, "10.1.0.2") == 1300
    # Its packets have no DF then, and the router cuts them.
    assert (got, router.ip.counters.ip_frag_oks) == ([data(1200)], 1)


def test_a_socket_may_insist() -> None:
    net, near, _router, _far = line(False, mtu=1400)

    def program() -> list[str]:
        said = []
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_PMTUDISC_DO
            sock.connect(("10.1.0.2", 9))
            for _ in range(3):
                try:
                    sock.send(data(1450))
                    said.append("sent")
                except OSError as error:
                    said.append(errno.errorcode[error.errno or 0])
                import time

                time.sleep(0.1)
        return said

    # The first is sent, and the router's answer is the second's error; from then on it is known.
    assert net.run(program, on=near) == ["sent", "EMSGSIZE", "EMSGSIZE"]


@FAMILIES
def test_a_stream_finds_its_way_under_a_narrow_link(six: bool) -> None:
    net, near, router, far = line(six, mtu=1300)

    def serve() -> bytes:
        with socket.create_server(("", 80), family=socket.AF_INET6 if six else socket.AF_INET) as server:
            connection, _ = server.accept()
            with connection:
                return b"".join(iter(lambda: connection.recv(65_536), b""))

    def visit() -> None:
        with socket.create_connection((address(far, six), 80)) as sock:
            sock.sendall(data(50_000))

    serving = net.start(far, serve)
    net.run(visit, on=near)
    net.run(until=net.now + 5)
    assert serving.result == data(50_000)
    counters = (router.ip.inet6 if six else router.ip.inet).counters
    assert (counters.ip_frag_creates, counters.ip_frag_fails > 0) == (0, True)


@pytest.mark.parametrize("mtu", [1280, 1500])
def test_a_black_hole_is_what_it_is_on_linux(mtu: int) -> None:
    """A router that tells nothing: large datagrams vanish, small ones pass."""
    net, near, router, far = line(False, mtu=mtu)
    router.sh("sysctl -w net.ipv4.icmp_msgs_per_sec=0")
    got = collect(net, far, False)
    send(net, near, "10.1.0.2", data(100), data(1450))
    # "Fragmentation needed" is not limited (icmp_ratemask does not hold for it), so it is told all the same.
    assert got == ([data(100)] if mtu == 1280 else [data(100), data(1450)])
    assert mtu_of(net, near, "10.1.0.2") == mtu
