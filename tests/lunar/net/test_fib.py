"""Which route a packet takes: rules, tables, types, several next hops. ip-rule(8) and ip-route(8) beside this file."""

from __future__ import annotations

import errno

import pytest

from lunar.host import Host
from lunar.net import fib
from lunar.net.ip_output import route_for
from lunar.net.route import BLACKHOLE, PROHIBIT, THROW, UNREACHABLE, Route
from lunar.net.rule import PROHIBIT as REFUSE
from lunar.net.rule import TABLE_LOCAL, TABLE_MAIN, TO_TABLE, Flow, Rule
from lunar.network import Network
from lunar.packet import AF_INET, AF_INET6, UdpDatagram
from lunar.wire.address import ipv4_text, parse_ipv4

EVERYBODY = parse_ipv4("99.0.0.1")


def host_with_two_devices() -> Host:
    network = Network(seed=1)
    host = network.host("host", "10.0.0.1/24", "10.1.0.1/24")
    for name, gateway in (("eth0", "10.0.0.254"), ("eth1", "10.1.0.254")):
        network.link(host.devices[name], network.host(f"via {name}", f"{gateway}/24"))
    return host


def via(host: Host, network: str, prefix: int, gateway: str, metric: int = 0) -> Route:
    device = host.devices["eth0" if gateway.startswith("10.0.") else "eth1"]
    return Route(parse_ipv4(network), prefix, parse_ipv4(gateway), device, metric, 0)


def add_rule(host: Host, table: int, priority: int = -1) -> Rule:
    rule = Rule(32, priority, TO_TABLE, table)
    fib.rules(host.ip.inet).add(rule)
    host.ip.route_changes.changed()
    return rule


def gateway(host: Host, flow: Flow) -> str:
    route = fib.lookup(host.ip, host.ip.inet, flow)
    return "none" if route is None else ipv4_text(route.gateway)


def flow(src: str = "0.0.0.0", mark: int = 0, sport: int = 0, protocol: int = 0) -> Flow:
    made = Flow(EVERYBODY)
    made.src, made.mark, made.sport, made.protocol = parse_ipv4(src), mark, sport, protocol
    return made


def test_a_host_begins_with_the_kernels_three_rules() -> None:
    host = host_with_two_devices()
    assert [(rule.priority, rule.table) for rule in fib.rules(host.ip.inet).rules] == [
        (0, 255), (32766, 254), (32767, 253),
    ]  # fmt: skip
    assert [(rule.priority, rule.table) for rule in fib.rules(host.ip.inet6).rules] == [(0, 255), (32766, 254)]


def test_a_rule_without_a_priority_comes_before_the_second_one() -> None:
    host = host_with_two_devices()
    assert add_rule(host, 7).priority == 32765
    assert add_rule(host, 8).priority == 32764


def test_the_same_rule_twice_is_refused() -> None:
    host = host_with_two_devices()
    add_rule(host, 7, 100)
    with pytest.raises(FileExistsError):
        add_rule(host, 7, 100)


def test_a_source_and_a_mark_choose_the_table() -> None:
    host = host_with_two_devices()
    host.ip.inet.routes.add(via(host, "0.0.0.0", 0, "10.0.0.254"))
    fib.table(host.ip, host.ip.inet, 7).add(via(host, "0.0.0.0", 0, "10.1.0.254"))
    by_source = add_rule(host, 7, 100)
    by_source.src, by_source.src_prefix = parse_ipv4("10.1.0.0"), 24
    by_mark = add_rule(host, 7, 101)
    by_mark.mark, by_mark.mask = 0x10, 0xF0
    assert gateway(host, flow()) == "10.0.0.254"
    assert gateway(host, flow(src="10.1.0.1")) == "10.1.0.254"
    assert gateway(host, flow(mark=0x13)) == "10.1.0.254"
    assert gateway(host, flow(mark=0x23)) == "10.0.0.254"
    by_source.inverted = True
    assert gateway(host, flow(src="10.1.0.1")) == "10.0.0.254"


def test_a_table_without_a_route_leaves_it_to_the_next_rule() -> None:
    host = host_with_two_devices()
    host.ip.inet.routes.add(via(host, "0.0.0.0", 0, "10.0.0.254"))
    thrown = Route(parse_ipv4("99.0.0.0"), 8, 0, host.devices["lo"], 0, 0)
    thrown.type = THROW
    other = fib.table(host.ip, host.ip.inet, 7)
    add_rule(host, 7, 100)
    assert gateway(host, flow()) == "10.0.0.254"
    other.add(via(host, "0.0.0.0", 0, "10.1.0.254"))
    assert gateway(host, flow()) == "10.1.0.254"
    other.add(thrown)
    assert gateway(host, flow()) == "10.0.0.254"


def test_short_prefixes_of_a_table_can_be_left_out() -> None:
    host = host_with_two_devices()
    host.ip.inet.routes.add(via(host, "0.0.0.0", 0, "10.0.0.254"))
    fib.table(host.ip, host.ip.inet, 7).add(via(host, "0.0.0.0", 0, "10.1.0.254"))
    add_rule(host, TABLE_MAIN, 99).suppress_prefix = 0
    add_rule(host, 7, 100)
    assert gateway(host, flow()) == "10.1.0.254"


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        (BLACKHOLE, errno.EINVAL), (UNREACHABLE, errno.EHOSTUNREACH), (PROHIBIT, errno.EACCES),
        (THROW, errno.ENETUNREACH),
    ],
)
def test_a_route_that_goes_nowhere_says_why(kind: int, number: int) -> None:
    host = host_with_two_devices()
    host.ip.inet.routes.add(via(host, "0.0.0.0", 0, "10.0.0.254"))
    nowhere = Route(parse_ipv4("99.0.0.0"), 8, 0, host.devices["lo"], 0, 0)
    nowhere.type = kind
    host.ip.inet.routes.add(nowhere)
    assert route_for(host.ip, AF_INET, EVERYBODY) is None
    assert host.ip.route_errno == number
    host.ip.inet.routes.discard(nowhere)
    assert host.ip.inet.routes.plain
    assert route_for(host.ip, AF_INET, EVERYBODY) is not None


def test_a_rule_can_refuse() -> None:
    host = host_with_two_devices()
    host.ip.inet.routes.add(via(host, "0.0.0.0", 0, "10.0.0.254"))
    fib.rules(host.ip.inet).add(Rule(32, 50, REFUSE, 0))
    assert route_for(host.ip, AF_INET, EVERYBODY) is None
    assert host.ip.route_errno == errno.EACCES


def test_flows_are_spread_by_weight_and_keep_their_way() -> None:
    host = host_with_two_devices()
    route = via(host, "0.0.0.0", 0, "10.0.0.254")
    route.add_path(parse_ipv4("10.0.0.254"), host.devices["eth0"], 3)
    route.add_path(parse_ipv4("10.1.0.254"), host.devices["eth1"], 1)
    host.ip.inet.routes.add(route)
    host.ip.inet.multipath_hash_policy = fib.LAYER_4
    taken = [gateway(host, flow("10.0.0.1", sport=port, protocol=17)) for port in range(4000)]
    assert taken == [gateway(host, flow("10.0.0.1", sport=port, protocol=17)) for port in range(4000)]
    assert 2800 < taken.count("10.0.0.254") < 3200  # three of four
    host.ip.inet.multipath_hash_policy = fib.LAYER_3
    assert len({gateway(host, flow("10.0.0.1", sport=port, protocol=17)) for port in range(100)}) == 1


def test_a_device_that_goes_down_takes_its_ways_along() -> None:
    host = host_with_two_devices()
    route = via(host, "0.0.0.0", 0, "10.0.0.254")
    route.add_path(parse_ipv4("10.0.0.254"), host.devices["eth0"], 1)
    route.add_path(parse_ipv4("10.1.0.254"), host.devices["eth1"], 1)
    host.ip.inet.routes.add(route)
    other = fib.table(host.ip, host.ip.inet, 9)
    other.add(via(host, "8.0.0.0", 8, "10.0.0.254"))
    host.set_up(host.devices["eth0"], False)
    assert {gateway(host, flow("10.0.0.1", sport=port)) for port in range(50)} == {"10.1.0.254"}
    assert other.all() == []
    host.set_up(host.devices["eth1"], False)
    assert gateway(host, flow()) == "none"


def test_a_packets_ports_are_seen_by_rules() -> None:
    host = host_with_two_devices()
    fib.table(host.ip, host.ip.inet, 7).add(via(host, "0.0.0.0", 0, "10.1.0.254"))
    rule = add_rule(host, 7, 100)
    rule.protocol, rule.dport_first, rule.dport_last = 17, 50, 60
    packet = UdpDatagram(AF_INET, 0, EVERYBODY, 1000, 53, b"")
    assert gateway(host, fib.flow_of_packet(packet, None)) == "10.1.0.254"
    packet.dport = 61
    assert gateway(host, fib.flow_of_packet(packet, None)) == "none"


def test_the_local_table_shows_the_hosts_addresses() -> None:
    host = host_with_two_devices()
    shown = [
        (ipv4_text(route.network), int(route.prefix), int(route.type), route.device.name)
        for route in fib.local_routes(host.ip, host.ip.inet)
    ]
    assert shown == [
        ("127.0.0.1", 32, 2, "lo"), ("127.0.0.0", 8, 2, "lo"), ("127.255.255.255", 32, 3, "lo"),
        ("10.0.0.1", 32, 2, "eth0"), ("10.0.0.255", 32, 3, "eth0"),
        ("10.1.0.1", 32, 2, "eth1"), ("10.1.0.255", 32, 3, "eth1"),
    ]  # fmt: skip
    assert TABLE_LOCAL not in host.ip.inet.tables
    assert [route.network for route in fib.local_routes(host.ip, host.ip.family(AF_INET6))] == [1]  # ::1
