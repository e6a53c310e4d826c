"""Datagrams that are larger than a link's packets: cut by their sender or by a router, put together at their end."""

from __future__ import annotations

import socket

import pytest
from narrow_link import FAMILIES, address, collect, data, line, send

from lunar.packet import Packet


@FAMILIES
@pytest.mark.parametrize("size", [1472, 1473, 4000, 65_000])
def test_the_sender_cuts(six: bool, size: int) -> None:
    net, near, _router, far = line(six)
    got = collect(net, far, six)
    send(net, near, address(far, six), data(size))
    assert got == [data(size)]
    counters = (near.ip.inet6 if six else near.ip.inet).counters
    # 1480 and 1448 bytes of each packet are of the datagram, whose header has 8.
    pieces = -(-(size + 8) // (1448 if six else 1480))
    assert counters.ip_frag_creates == (0 if pieces == 1 else pieces)
    assert (far.ip.inet6 if six else far.ip.inet).counters.ip_reasm_reqds == (0 if pieces == 1 else pieces)


def test_a_router_cuts_what_may_be_cut() -> None:
    net, near, router, far = line(False, mtu=600)
    got = collect(net, far, False)
    send(net, near, "10.1.0.2", data(3000), discover=0)
    assert got == [data(3000)]
    assert near.ip.counters.ip_frag_creates == 3
    # Pieces of 1480, 1480 and 48 bytes, of 576 each.
    assert (router.ip.counters.ip_frag_oks, router.ip.counters.ip_frag_creates) == (2, 6)


@FAMILIES
def test_one_lost_piece_is_a_lost_datagram(six: bool) -> None:
    net, near, _router, far = line(six)
    seen: list[Packet] = []

    def lose_the_second(_device: object, frame: Packet) -> None:
        seen.append(frame)
        if len(seen) == 2:
            frame.ident += 100  # nobody waits for this one

    near.devices["eth0"].tap = lose_the_second
    got = collect(net, far, six)
    send(net, near, address(far, six), data(4000))
    send(net, near, address(far, six), data(3999))
    assert got == [data(3999)]
    net.run(until=net.now + 70)
    counters = (far.ip.inet6 if six else far.ip.inet).counters
    assert (counters.ip_reasm_oks, counters.ip_reasm_timeout) == (1, 2)
    assert (near.ip.inet6 if six else near.ip.inet).counters.icmp_in_msgs == 1  # of the datagram that had its first


@FAMILIES
def test_random_loss_duplication_and_reordering_never_give_wrong_bytes(six: bool) -> None:
    net, near, _router, far = line(six, loss="3%", duplicate="5%", reorder="20%")
    got = collect(net, far, six)
    wanted = [bytes([number]) * (2000 + 13 * number) for number in range(100)]
    for number in range(0, 100, 10):
        send(net, near, address(far, six), *wanted[number : number + 10])
    assert set(got) <= set(wanted)
    assert len(got) > 60


def test_a_stream_without_path_mtu_discovery_is_cut_on_its_way() -> None:
    net, near, router, far = line(False, mtu=600)
    near.sh("sysctl -w net.ipv4.ip_no_pmtu_disc=1")

    def serve() -> bytes:
        with socket.create_server(("", 80)) as server:
            connection, _ = server.accept()
            with connection:
                return b"".join(iter(lambda: connection.recv(65_536), b""))

    def visit() -> None:
        with socket.create_connection(("10.1.0.2", 80)) as sock:
            sock.sendall(data(20_000))

    serving = net.start(far, serve)
    net.run(visit, on=near)
    net.run(until=net.now + 5)
    assert serving.result == data(20_000)
    assert router.ip.counters.ip_frag_creates > 20
    assert far.ip.counters.ip_reasm_oks == router.ip.counters.ip_frag_oks
