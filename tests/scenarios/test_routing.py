"""Routers between networks: policy routing, several next hops, routes that refuse, redirects, reverse paths.

Configured by the real tools' lines, as in a tapestry; watched by what programs get and what devices carry.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

import lunar
from lunar.packet import IcmpMessage, Packet, UdpDatagram
from lunar.wire.address import ipv4_text


def two_ways() -> tuple[lunar.Network, dict[str, lunar.Host]]:
    """Client - r - (up | down) - server: r reaches the server's network by either of two routers."""
    net = lunar.Network(seed=1)
    hosts = {
        "client": net.host("client", "10.1.0.2/24"),
        "r": net.host("r", "10.1.0.1/24", "10.2.0.1/24", "10.3.0.1/24"),
        "up": net.host("up", "10.2.0.2/24", "10.4.0.1/24"),
        "down": net.host("down", "10.3.0.2/24", "10.4.0.2/24"),
        "server": net.host("server", "10.4.0.9/24"),
    }
    net.link("client", "r.eth0", delay="1ms")
    net.link("r.eth1", "up.eth0", delay="1ms")
    net.link("r.eth2", "down.eth0", delay="1ms")
    net.link("up.eth1", "down.eth1", "server", delay="1ms")
    for name in ("r", "up", "down"):
        hosts[name].sh("sysctl -w net.ipv4.ip_forward=1")
    hosts["client"].sh("ip route add default via 10.1.0.1")
    hosts["up"].sh("ip route add 10.1.0.0/24 via 10.2.0.1")
    hosts["down"].sh("ip route add 10.1.0.0/24 via 10.3.0.1")
    hosts["server"].sh("ip route add 10.1.0.0/24 via 10.4.0.1")
    return net, hosts


def listen(host: lunar.Host, device: str) -> list[Packet]:
    """The packets that a device carries from now on."""
    seen: list[Packet] = []
    host.devices[device].tap = lambda _device, frame: seen.append(frame) if isinstance(frame, Packet) else None
    return seen


def send(net: lunar.Network, host: lunar.Host, address: str, *ports: int, **options: Any) -> str:
    """Datagrams to `ports` of an address; the name of the errno of the first that fails, or ""."""

    def program() -> str:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            for (level, name), value in options.get("sockopt", {}).items():
                sock.setsockopt(level, name, value)
            if "bind" in options:
                sock.bind((options["bind"], 0))
            for port in ports:
                try:
                    sock.sendto(b"x" * options.get("size", 1), (address, port))
                except OSError as error:
                    return errno.errorcode[error.errno or 0]
        return ""

    result: str = net.run(program, on=host)
    net.run(until=net.now + 1)
    return result


def test_a_rule_by_source_chooses_the_table() -> None:
    net, hosts = two_ways()
    hosts["client"].sh("ip addr add 10.1.0.3/24 dev eth0")
    hosts["r"].sh("ip route add 10.4.0.0/24 via 10.2.0.2")
    hosts["r"].sh("ip route add 10.4.0.0/24 via 10.3.0.2 table 100")
    hosts["r"].sh("ip rule add from 10.1.0.3 lookup 100")
    up, down = listen(hosts["r"], "eth1"), listen(hosts["r"], "eth2")
    send(net, hosts["client"], "10.4.0.9", 7)
    first = [ipv4_text(packet.src) for packet in up if isinstance(packet, UdpDatagram)]
    send(net, hosts["client"], "10.4.0.9", 7, bind="10.1.0.3")
    second = [ipv4_text(packet.src) for packet in down if isinstance(packet, UdpDatagram)]
    assert (first, second) == (["10.1.0.2"], ["10.1.0.3"])


def test_a_mark_of_a_socket_chooses_the_table_of_its_own_host() -> None:
    net, hosts = two_ways()
    r = hosts["r"]
    r.sh("ip route add 10.4.0.0/24 via 10.2.0.2")
    r.sh("ip route add 10.4.0.0/24 via 10.3.0.2 table 7")
    r.sh("ip rule add fwmark 5 lookup 7")
    up, down = listen(r, "eth1"), listen(r, "eth2")
    send(net, r, "10.4.0.9", 7)
    assert [type(packet).__name__ for packet in up][:1] == ["UdpDatagram"] and down == []
    up.clear()
    send(net, r, "10.4.0.9", 7, sockopt={(socket.SOL_SOCKET, socket.SO_MARK): 5})
    assert [ipv4_text(packet.src) for packet in down if isinstance(packet, UdpDatagram)] == ["10.3.0.1"]
    assert not any(isinstance(packet, UdpDatagram) for packet in up)


@pytest.mark.parametrize(("policy", "ways"), [(0, 1), (1, 2)])
def test_flows_are_spread_over_several_next_hops(policy: int, ways: int) -> None:
    net, hosts = two_ways()
    hosts["r"].sh(f"sysctl -w net.ipv4.fib_multipath_hash_policy={policy}")
    hosts["r"].sh("ip route add 10.4.0.0/24 nexthop via 10.2.0.2 nexthop via 10.3.0.2")
    up, down = listen(hosts["r"], "eth1"), listen(hosts["r"], "eth2")
    for _ in range(2):
        send(net, hosts["client"], "10.4.0.9", *range(2000, 2020), bind="10.1.0.2")
    counts = [sum(isinstance(packet, UdpDatagram) for packet in seen) for seen in (up, down)]
    assert sum(counts) == 40
    assert sum(count > 0 for count in counts) == ways


def test_a_flow_moves_when_its_way_goes_down() -> None:
    net, hosts = two_ways()
    r = hosts["r"]
    r.sh("ip route add 10.4.0.0/24 nexthop via 10.2.0.2 nexthop via 10.3.0.2")
    seen = {"eth1": listen(r, "eth1"), "eth2": listen(r, "eth2")}
    send(net, hosts["client"], "10.4.0.9", 7)
    (taken,) = [name for name, packets in seen.items() if any(isinstance(packet, UdpDatagram) for packet in packets)]
    other = "eth2" if taken == "eth1" else "eth1"
    r.sh(f"ip link set {taken} down")
    send(net, hosts["client"], "10.4.0.9", 7)
    assert any(isinstance(packet, UdpDatagram) for packet in seen[other])


@pytest.mark.parametrize(
    ("kind", "own", "told"),
    [
        ("unreachable", "EHOSTUNREACH", (3, 1)), ("prohibit", "EACCES", (3, 13)), ("blackhole", "EINVAL", None),
        ("throw", "ENETUNREACH", (3, 0)),
    ],
)
def test_a_route_that_refuses(kind: str, own: str, told: tuple[int, int] | None) -> None:
    net, hosts = two_ways()
    hosts["r"].sh(f"ip route add {kind} 10.4.0.0/24")
    assert send(net, hosts["r"], "10.4.0.9", 7) == own
    heard = listen(hosts["client"], "eth0")
    send(net, hosts["client"], "10.4.0.9", 7)
    errors = [(packet.type, packet.code) for packet in heard if isinstance(packet, IcmpMessage)]
    assert errors == ([] if told is None else [told])


def test_the_metric_decides_and_the_next_one_follows() -> None:
    net, hosts = two_ways()
    r = hosts["r"]
    r.sh("ip route add 10.4.0.0/24 via 10.2.0.2 metric 10")
    r.sh("ip route add 10.4.0.0/24 via 10.3.0.2 metric 20")
    up, down = listen(r, "eth1"), listen(r, "eth2")
    send(net, hosts["client"], "10.4.0.9", 7)
    assert any(isinstance(packet, UdpDatagram) for packet in up)
    r.sh("ip route del 10.4.0.0/24 via 10.2.0.2 metric 10")
    send(net, hosts["client"], "10.4.0.9", 7)
    assert any(isinstance(packet, UdpDatagram) for packet in down)


def test_a_strict_reverse_path_drops_what_comes_the_wrong_way() -> None:
    net, hosts = two_ways()
    server, r = hosts["server"], hosts["r"]
    r.sh("ip route add 10.4.0.0/24 via 10.2.0.2")
    server.sh("ip route replace 10.1.0.0/24 via 10.4.0.2")  # its answers come by the other router
    send(net, hosts["client"], "10.4.0.9", 7)
    assert r.ip.counters.ip_rp_filter == 0
    r.sh("sysctl -w net.ipv4.conf.all.rp_filter=1")
    send(net, hosts["client"], "10.4.0.9", 7)
    assert r.ip.counters.ip_rp_filter == 1
    r.sh("sysctl -w net.ipv4.conf.all.rp_filter=2")
    send(net, hosts["client"], "10.4.0.9", 7)
    assert r.ip.counters.ip_rp_filter == 1
