"""What the tools print is read by jc, which parses what the real ones print: without a complaint, with right values."""

from __future__ import annotations

import json
from typing import Any

import pytest

import lunar

jc = pytest.importorskip("jc")


class Site:
    """A client, a router and a server in a row, with a TCP connection from end to end, a listener, datagram sockets."""

    def __init__(self) -> None:
        self.net = lunar.Network(seed=1)
        self.client = self.net.host("client", "10.0.0.2/24")
        self.router = self.net.host("router", "10.0.0.1/24", "10.1.0.1/24")
        self.server = self.net.host("server", "10.1.0.2/24")
        self.net.link("client", "router.eth0", delay="5ms")
        self.net.link("server", "router.eth1", delay="5ms")
        self.router.sh("sysctl -w net.ipv4.ip_forward=1")
        self.client.sh("route add default gw 10.0.0.1")
        self.server.sh("route add default gw 10.1.0.1")
        self.client.sh("ip addr add 2001:db8::2/64 dev eth0 nodad")
        self.client.sh("ip addr add 10.0.0.7/24 dev eth0 label eth0:1")

    def parsed(self, parser: str, command: str, host: lunar.Host | None = None) -> Any:
        """What jc makes of what `command` prints."""
        return jc.parse(parser, (host or self.client).sh(command), quiet=False)

    def talk(self, then: Any) -> Any:
        """Call `then` while connections are open; its result."""

        def serve() -> None:
            import socket

            with socket.create_server(("0.0.0.0", 80)) as listener:
                connection, _ = listener.accept()
                connection.recv(1000)
                connection.close()

        def main() -> Any:
            import socket

            with (
                socket.create_connection(("10.1.0.2", 80)) as connection,
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
                socket.create_server(("127.0.0.1", 631)),
                socket.create_server(("::1", 8080), family=socket.AF_INET6),
                socket.socket(socket.AF_UNIX) as unix,
            ):
                datagrams.bind(("10.0.0.2", 53))
                unix.bind("\0name")
                unix.listen(3)
                result = then(self)
                connection.send(b"bye")
                return result

        self.net.start(self.server, serve)
        return self.net.run(main, on=self.client)


@pytest.fixture
def site() -> Site:
    return Site()


def test_ifconfig(site: Site) -> None:
    site.client.sh("ping -c 2 10.0.0.1")
    devices = {one["name"]: one for one in site.parsed("ifconfig", "ifconfig")}
    assert list(devices) == ["eth0", "eth0:1", "lo"]
    eth0 = devices["eth0"]
    assert eth0["state"] == ["UP", "BROADCAST", "RUNNING", "NOARP", "MULTICAST"]
    assert (eth0["ipv4_addr"], eth0["ipv4_mask"], eth0["ipv4_bcast"]) == ("10.0.0.2", "255.255.255.0", "10.0.0.255")
    assert (eth0["mac_addr"], eth0["mtu"], eth0["tx_packets"], eth0["rx_packets"]) == ("02:00:00:00:00:01", 1500, 2, 2)
    assert "2001:db8::2" in [own["address"] for own in eth0["ipv6"]]
    assert devices["lo"]["state"] == ["UP", "LOOPBACK", "RUNNING"]


def test_ip_route(site: Site) -> None:
    found = site.parsed("ip_route", "ip route")
    assert {"ip": "default", "via": "10.0.0.1", "dev": "eth0"} in [
        {name: row[name] for name in ("ip", "via", "dev") if name in row} for row in found
    ]
    assert any(row.get("ip") == "10.0.0.0/24" and row.get("src") == "10.0.0.2" for row in found)


def test_ips_own_json_is_json(site: Site) -> None:
    for command in ("ip -j addr", "ip -j -p addr", "ip -j link", "ip -j route", "ip -j -p route", "ip -j rule"):
        assert json.loads(site.client.sh(command)), command


def test_route(site: Site) -> None:
    default = site.parsed("route", "route -n")[0]
    assert (default["destination"], default["gateway"], default["iface"]) == ("0.0.0.0", "10.0.0.1", "eth0")
    assert default["flags_pretty"] == ["UP", "GATEWAY"]
    of_ipv6 = site.parsed("route", "route -6 -n")
    assert any(row["destination"] == "2001:db8::/64" and row["iface"] == "eth0" for row in of_ipv6)


def test_arp(site: Site) -> None:
    site.client.sh("arp -s 10.0.0.1 02:00:00:00:00:02")
    (entry,) = site.parsed("arp", "arp -n")
    assert (entry["address"], entry["hwaddress"], entry["iface"]) == ("10.0.0.1", "02:00:00:00:00:02", "eth0")
    (entry,) = site.parsed("arp", "arp -an")
    assert (entry["address"], entry["hwaddress"]) == ("10.0.0.1", "02:00:00:00:00:02")


def test_netstat(site: Site) -> None:
    found = site.talk(lambda site: site.parsed("netstat", "netstat -an"))
    tcp = [row for row in found if row["proto"] == "tcp"]
    assert {(row["local_address"], row["local_port"], row["state"]) for row in tcp} >= {("127.0.0.1", "631", "LISTEN")}
    connection = next(row for row in tcp if row["state"] == "ESTABLISHED")
    assert (connection["foreign_address"], connection["foreign_port_num"]) == ("10.1.0.2", 80)
    assert [row["local_port"] for row in found if row["proto"] == "udp"] == ["53"]
    assert [row["path"] for row in found if row["proto"] == "unix"] == ["@name"]


def test_netstat_routes_and_interfaces(site: Site) -> None:
    assert site.parsed("netstat", "netstat -rn")[0]["gateway"] == "10.0.0.1"
    assert {row["iface"]: row["mtu"] for row in site.parsed("netstat", "netstat -i")}["lo"] == 65536


def test_ss(site: Site) -> None:
    found = site.talk(lambda site: site.parsed("ss", "ss -an"))
    tcp = [row for row in found if row["netid"] == "tcp"]
    connection = next(row for row in tcp if row["state"] == "ESTAB")
    assert (connection["peer_address"], connection["peer_port_num"]) == ("10.1.0.2", 80)
    assert ("127.0.0.1", 631, "LISTEN") in [(row["local_address"], row["local_port_num"], row["state"]) for row in tcp]
    assert [(row["local_port_num"], row["state"]) for row in found if row["netid"] == "udp"] == [(53, "UNCONN")]
    assert any(row["netid"] == "u_str" and row["path"].startswith("@name") for row in found)


def test_ping(site: Site) -> None:
    told = site.parsed("ping", "ping -c 3 10.1.0.2")
    assert (told["destination_ip"], told["packets_transmitted"], told["packets_received"]) == ("10.1.0.2", 3, 3)
    assert told["packet_loss_percent"] == 0.0
    assert [reply["icmp_seq"] for reply in told["responses"]] == [1, 2, 3]
    assert {reply["ttl"] for reply in told["responses"]} == {63}
    assert told["round_trip_ms_avg"] == 20.0


def test_traceroute(site: Site) -> None:
    told = site.parsed("traceroute", "traceroute server")
    assert (told["destination_ip"], told["destination_name"]) == ("10.1.0.2", "server")
    assert [hop["probes"][0]["ip"] for hop in told["hops"]] == ["10.0.0.1", "10.1.0.2"]
    assert [probe["rtt"] for probe in told["hops"][0]["probes"]] == [10.0, 10.0, 10.0]


def test_sysctl(site: Site) -> None:
    assert site.parsed("sysctl", "sysctl -a", site.router)["net.ipv4.ip_forward"] == 1


def test_iptables(site: Site) -> None:
    site.router.sh("iptables -A FORWARD -p tcp --dport 22 -j DROP")
    chains = {one["chain"]: one for one in site.parsed("iptables", "iptables -L -v -n", site.router)}
    (rule,) = chains["FORWARD"]["rules"]
    assert (rule["target"], rule["prot"], rule["source"]) in (("DROP", "tcp", "0.0.0.0/0"), ("DROP", "6", "0.0.0.0/0"))


def test_conntrack(site: Site) -> None:
    site.router.sh("iptables -A FORWARD -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT")

    def parsed(site: Site) -> Any:
        import time

        time.sleep(1)  # until the last ACK of the handshake has passed the router
        return site.parsed("conntrack", "conntrack -L", site.router)

    (found,) = [one for one in site.talk(parsed) if one["protocol"] == "tcp"]
    assert (found["state"], found["orig_src"], found["orig_dst"]) == ("ESTABLISHED", "10.0.0.2", "10.1.0.2")
    assert (found["reply_src"], found["reply_sport"], found["status"]) == ("10.1.0.2", 80, ["ASSURED"])


def test_neighbours_as_json(site: Site) -> None:
    site.client.sh("ip neigh add 10.0.0.1 lladdr 02:00:00:00:00:02 dev eth0")
    assert json.loads(site.client.sh("ip -j neigh")) == [
        {"dst": "10.0.0.1", "dev": "eth0", "lladdr": "02:00:00:00:00:02", "state": ["PERMANENT"]}
    ]


@pytest.mark.parametrize(
    ("name", "parser"),
    [
        ("arp", "proc_net_arp"), ("dev", "proc_net_dev"), ("dev_mcast", "proc_net_dev_mcast"),
        ("if_inet6", "proc_net_if_inet6"), ("igmp", "proc_net_igmp"), ("igmp6", "proc_net_igmp6"),
        ("ipv6_route", "proc_net_ipv6_route"), ("route", "proc_net_route"), ("tcp", "proc_net_tcp"),
        ("tcp6", "proc_net_tcp"), ("unix", "proc_net_unix"), ("netstat", "proc_net_netstat"),
    ],
)  # fmt: skip
def test_proc_net(site: Site, name: str, parser: str) -> None:
    def read(_site: Site) -> str:
        with open(f"/proc/net/{name}") as file:
            return file.read()

    text = site.talk(read)
    found = jc.parse(parser, text, quiet=False)
    assert found or name == "arp"
    if name == "tcp":
        opened = next(row for row in found if row["state"] == "01")
        assert (opened["remote_address"], opened["remote_port"]) == ("10.1.0.2", 80)
    if name == "dev":
        assert next(row for row in found if row["interface"] == "eth0")["r_packets"] > 0
