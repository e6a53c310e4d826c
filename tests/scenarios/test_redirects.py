"""Redirects: a host whose default router is not the best one learns a shorter way, if it believes that."""

from __future__ import annotations

import itertools
import socket

import lunar
from lunar.packet import IcmpMessage, UdpDatagram

S = 1_000_000_000


def three_on_a_switch() -> tuple[lunar.Network, lunar.Host, lunar.Host, lunar.Host]:
    """A host with `wrong` for its default router; `right` is on the same network and leads to 10.9.0.0/24."""
    net = lunar.Network(seed=1)
    host, wrong = net.host("host", "10.0.0.9/24"), net.host("wrong", "10.0.0.1/24")
    right, far = net.host("right", "10.0.0.2/24", "10.9.0.1/24"), net.host("far", "10.9.0.2/24")
    net.link(host, wrong, "right.eth0", delay="1ms")
    net.link("right.eth1", far, delay="1ms")
    for router in (wrong, right):
        router.sh("sysctl -w net.ipv4.ip_forward=1")
    host.sh("ip route add default via 10.0.0.1")
    wrong.sh("ip route add 10.9.0.0/24 via 10.0.0.2")
    far.sh("ip route add default via 10.9.0.1")
    return net, host, wrong, right


def redirects(device: lunar.Host) -> list[int]:
    """When redirects arrive at the host, as a list that grows."""
    heard: list[int] = []

    def see(_device: object, frame: object) -> None:
        if isinstance(frame, IcmpMessage) and frame.type == 5:
            heard.append(int(device.scheduler.now_ns))

    device.devices["eth0"].tap = see
    return heard


def talk(net: lunar.Network, host: lunar.Host, times: int, pause_s: float) -> None:
    """Datagrams to a port that listens, so that no error comes in between."""

    def program() -> None:
        import time

        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            for _ in range(times):
                sock.sendto(b"x", ("10.9.0.2", 5000))
                time.sleep(pause_s)

    net.run(program, on=host)


def serve(net: lunar.Network, host: lunar.Host) -> list[bytes]:
    got: list[bytes] = []

    def program() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("", 5000))
            while True:
                got.append(sock.recv(100))

    net.start(host, program)
    return got


def forwarded(router: lunar.Host) -> int:
    return int(router.ip.counters.ip_forw_datagrams)


def test_a_host_learns_the_shorter_way() -> None:
    net, host, wrong, right = three_on_a_switch()
    far = net.hosts["far"]
    got = serve(net, far)
    heard = redirects(host)
    talk(net, host, 5, 0.1)
    assert len(got) == 5
    assert len(heard) == 1
    assert (forwarded(wrong), forwarded(right)) == (1, 5)
    assert "10.0.0.2" in host.sh("ip route get 10.9.0.2")


def test_another_destination_goes_as_before() -> None:
    net, host, wrong, _right = three_on_a_switch()
    serve(net, net.hosts["far"])
    talk(net, host, 2, 0.1)
    assert "via 10.0.0.1" in host.sh("ip route get 10.9.0.3")
    assert forwarded(wrong) == 1


def test_a_host_that_believes_none_is_told_more_and_more_rarely() -> None:
    net, host, wrong, _right = three_on_a_switch()
    serve(net, net.hosts["far"])
    host.sh("sysctl -w net.ipv4.conf.all.accept_redirects=0")
    host.sh("sysctl -w net.ipv4.conf.eth0.accept_redirects=0")
    heard = redirects(host)
    talk(net, host, 4000, 0.01)
    # Nine, each after twice the time of the one before: 40 ms, 80 ms ... (net.ipv4.route.redirect_load).
    gaps = [after - before for before, after in itertools.pairwise(heard)]
    assert len(heard) == 9
    assert all(2**n * 20_000_000 < gap <= 2**n * 20_000_000 + 10_000_000 for n, gap in enumerate(gaps, 1))
    assert forwarded(wrong) == 4000


def test_a_change_of_routes_forgets_it() -> None:
    net, host, wrong, _right = three_on_a_switch()
    serve(net, net.hosts["far"])
    talk(net, host, 2, 0.1)
    host.sh("ip route add 10.77.0.0/24 via 10.0.0.2")
    talk(net, host, 1, 0.1)
    assert forwarded(wrong) == 2


def test_a_router_may_keep_it_to_itself() -> None:
    net, host, wrong, _right = three_on_a_switch()
    serve(net, net.hosts["far"])
    wrong.sh("sysctl -w net.ipv4.conf.all.send_redirects=0")
    wrong.sh("sysctl -w net.ipv4.conf.eth0.send_redirects=0")
    heard = redirects(host)
    talk(net, host, 3, 0.1)
    assert (heard, forwarded(wrong)) == ([], 3)


def test_a_stranger_is_not_believed() -> None:
    net, host, _wrong, right = three_on_a_switch()
    serve(net, net.hosts["far"])
    # `right` is not the router that the host uses: what it says of another is not heard.
    quoted = UdpDatagram(2, host.devices["eth0"].primary_address(), 0x0A090002, 1, 2, b"")
    quoted.size_bytes = 28
    from lunar.net import ip_output
    from lunar.wire import ipv4

    forged = IcmpMessage(2, right.devices["eth0"].primary_address(), quoted.src, 5, 1, 0x0A000063, ipv4.encode(quoted))
    forged.size_bytes = 28 + 28
    assert ip_output.send(right.ip, forged, None) == 0
    net.run(until=1)
    assert "via 10.0.0.1" in host.sh("ip route get 10.9.0.2")
