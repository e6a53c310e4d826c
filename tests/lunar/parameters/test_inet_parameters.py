"""Parameters of the network layer for a host as a whole: ports that are kept free, and what is forgotten."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

import lunar
from lunar.host import Host
from lunar.net_tools import CommandError
from lunar.network import Network


@pytest.fixture
def host() -> Iterator[Host]:
    with Network(seed=1) as net:
        yield net.host("host", "10.0.0.1/24")


RESERVED = "net.ipv4.ip_local_reserved_ports"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("", ""), ("8080", "8080"), ("8080,9000-9002", "8080,9000-9002"), ("9001,9000,9002-9003", "9000-9003")],
)
def test_ports_are_shown_as_ranges(host: Host, text: str, shown: str) -> None:
    assert host.sh(f"sysctl -n -w {RESERVED}='{text}'") == f"{shown}\n"


@pytest.mark.parametrize("text", ["65536", "9-8", "1-", "http", "1 2", "1,,2"])
def test_what_is_no_list_of_ports(host: Host, text: str) -> None:
    with pytest.raises(CommandError, match="expected ports up to 65535"):
        host.sh(f"sysctl -w {RESERVED}='{text}'")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_reserved_port_is_had_by_asking_alone(host: Host, kind: int) -> None:
    host.sh("sysctl -w net.ipv4.ip_local_port_range='5000 5003'")
    host.sh(f"sysctl -w {RESERVED}='5000-5001,5003'")

    def main() -> tuple[int, int]:
        with socket.socket(socket.AF_INET, kind) as free, socket.socket(socket.AF_INET, kind) as asked:
            free.bind(("", 0))
            asked.bind(("", 5003))
            return free.getsockname()[1], asked.getsockname()[1]

    assert host.network.run(main, on=host) == (5002, 5003)


def test_without_a_free_port_there_is_none(host: Host) -> None:
    host.sh("sysctl -w net.ipv4.ip_local_port_range='5000 5003'")
    host.sh(f"sysctl -w {RESERVED}='5000-5003'")

    def main() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock, pytest.raises(OSError, match="Address already in use"):
            sock.bind(("", 0))

    host.network.run(main, on=host)


def test_flush_forgets_what_routers_said_of_paths() -> None:
    with lunar.Network(seed=1) as net:
        client, server = net.host("client", "10.0.0.2/24"), net.host("server", "10.0.1.2/24")
        net.host("router", "10.0.0.1/24", "10.0.1.1/24").sh("sysctl -w net.ipv4.ip_forward=1")
        net.link(client, "router.eth0", delay="1ms")
        net.link(server, "router.eth1", delay="1ms", mtu=1000)
        client.sh("ip route add default via 10.0.0.1")
        server.sh("ip route add default via 10.0.1.1")

        def known() -> int:
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                sock.connect(("10.0.1.2", 9))
                return sock.getsockopt(socket.IPPROTO_IP, 14)  # IP_MTU

        def send() -> None:
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                sock.sendto(bytes(1400), ("10.0.1.2", 9))

        net.run(send, on=client)
        net.run(until=1)
        assert net.run(known, on=client) == 1000
        assert client.sh("sysctl -w net.ipv6.route.flush=1") == "net.ipv6.route.flush = 1\n"
        assert net.run(known, on=client) == 1000
        client.sh("sysctl -w net.ipv4.route.flush=1")
        assert net.run(known, on=client) == 1500


def test_what_can_only_be_set_is_not_listed_and_not_read(host: Host) -> None:
    assert "route.flush" not in host.sh("sysctl -a")
    with pytest.raises(CommandError, match=r"net.ipv4.route.flush can only be set"):
        host.sh("sysctl net.ipv4.route.flush")

    def main() -> None:
        with pytest.raises(PermissionError):
            open("/proc/sys/net/ipv4/route/flush")  # noqa: SIM115 - it does not open
        with open("/proc/sys/net/ipv4/route/flush", "w") as file:
            file.write("1")

    host.network.run(main, on=host)


def test_an_older_name_means_the_same(host: Host) -> None:
    host.sh("sysctl -w net.nf_conntrack_max=1000")
    assert host.sh("sysctl -n net.netfilter.nf_conntrack_max") == "1000\n"
