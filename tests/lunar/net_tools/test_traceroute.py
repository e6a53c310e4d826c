"""traceroute: the routers between two hosts, by three kinds of probes, and what stands for those that do not answer."""

from __future__ import annotations

import pytest

import lunar
from lunar.net_tools import CommandError

HOPS = (
    " 1  r1 (10.0.0.1)  2.000 ms  2.000 ms  2.000 ms\n"
    " 2  r2 (10.1.0.2)  12.000 ms  12.000 ms  12.000 ms\n"
    " 3  server (10.2.0.2)  14.000 ms  14.000 ms  14.000 ms\n"
)


class Row:
    """A client, two routers and a server: 1 ms, 5 ms and 1 ms apart. Errors of ICMP are told without a limit."""

    def __init__(self) -> None:
        self.net = lunar.Network(seed=1)
        self.client = self.net.host("client", "10.0.0.2/24")
        self.first = self.net.host("r1", "10.0.0.1/24", "10.1.0.1/24")
        self.second = self.net.host("r2", "10.1.0.2/24", "10.2.0.1/24")
        self.server = self.net.host("server", "10.2.0.2/24")
        self.net.link("client", "r1.eth0", delay="1ms")
        self.net.link("r1.eth1", "r2.eth0", delay="5ms")
        self.net.link("r2.eth1", "server", delay="1ms")
        for host in (self.first, self.second, self.server):
            host.sh("sysctl -w net.ipv4.icmp_ratelimit=0 net.ipv4.ip_forward=1")
        self.client.sh("route add default gw 10.0.0.1")
        self.first.sh("route add default gw 10.1.0.2")
        self.second.sh("route add -net 10.0.0.0/24 gw 10.1.0.1")
        self.server.sh("route add default gw 10.2.0.1")


@pytest.fixture
def row() -> Row:
    return Row()


@pytest.mark.parametrize("method", ["", "-I ", "-U ", "-T -p 81 "])
def test_the_way_to_a_server(row: Row, method: str) -> None:
    assert row.client.sh(f"traceroute {method}server") == (
        f"traceroute to server (10.2.0.2), 30 hops max, 60 byte packets\n{HOPS}"
    )
    assert row.net.now == 0.014  # all probes go at once


def test_addresses_alone_and_one_probe_each(row: Row) -> None:
    assert row.client.sh("traceroute -n -q 1 -f 2 10.2.0.2 100") == (
        "traceroute to 10.2.0.2 (10.2.0.2), 30 hops max, 100 byte packets\n"
        " 2  10.1.0.2  12.000 ms\n"
        " 3  10.2.0.2  14.000 ms\n"
    )


def test_who_does_not_answer_is_waited_for_at_most_ten_times_as_long_as_a_later_hop_takes(row: Row) -> None:
    row.first.sh("iptables -A OUTPUT -p icmp -j DROP")
    assert row.client.sh("traceroute -n -m 3 server").splitlines()[1:] == [
        " 1  * * *",
        " 2  10.1.0.2  12.000 ms  12.000 ms  12.000 ms",
        " 3  10.2.0.2  14.000 ms  14.000 ms  14.000 ms",
    ]
    assert row.net.now == 0.120


def test_behind_a_wall_there_is_nothing_but_stars(row: Row) -> None:
    row.second.sh("iptables -A FORWARD -j DROP")
    told = row.client.sh("traceroute -n -m 4 server").splitlines()
    assert told[3:] == [" 3  * * *", " 4  * * *"]
    assert row.net.now == 5.0


@pytest.mark.parametrize(
    ("route", "mark"),
    [("unreachable", "!H"), ("prohibit", "!X"), ("unreachable default", "!H")],
)
def test_what_a_router_says_is_marked(row: Row, route: str, mark: str) -> None:
    row.second.sh(f"ip route add {route if ' ' in route else route + ' 10.3.0.0/16'}")
    row.first.sh("ip route add 10.3.0.0/16 via 10.1.0.2")
    told = row.client.sh("traceroute -n 10.3.0.1").splitlines()
    assert told[-1] == f" 2  10.1.0.2  12.000 ms {mark}  12.000 ms {mark}  12.000 ms {mark}"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("traceroute", "traceroute: expected one destination and perhaps a length; there is none"),
        ("traceroute a b c", 'traceroute: expected one destination and perhaps a length; found "a b c"'),
        ("traceroute server x", 'traceroute: length "x": expected 28 to 65000'),
        ("traceroute -q 11 server", "traceroute: -q 11: expected 1 to 10"),
        ("traceroute -f 9 -m 8 server", "first hop out of range"),
        ("traceroute -i eth3 server", "traceroute: eth3: no such device; client has lo, eth0"),
        ("traceroute nobody", "traceroute: nobody: Name or service not known"),
        (
            "traceroute --mtu server",
            'traceroute: "--mtu" is not supported; expected -4, -6, -n, -I, -T, -U, -F, -f, -i, -m, -N, -p, -t, -w, '
            "-q, -s",
        ),
    ],
)
def test_refused(row: Row, command: str, message: str) -> None:
    with pytest.raises(CommandError) as raised:
        row.client.sh(command)
    assert str(raised.value) == message


def test_without_a_way_there_is_none() -> None:
    lonely = lunar.Network(seed=1).host("lonely", "10.0.0.2/24")
    with pytest.raises(CommandError, match=r"^connect: Network is unreachable$"):
        lonely.sh("traceroute 10.9.9.9")
