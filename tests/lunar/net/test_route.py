"""The routing table: which route a destination takes, and what adding and removing say."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunar.net.address import Address
from lunar.net.device import Device
from lunar.net.ip import Ip
from lunar.net.ip_input import IpInput
from lunar.net.route import Route, RouteTable
from lunar.packet import AF_INET
from lunar.wire.address import network_mask, parse_ipv4
from weaves.scheduler import Lane, Scheduler


def device(name: str, *addresses: str) -> Device:
    made = Device(name, 1, 1500, IpInput(Ip(Scheduler(), Lane(1), None)))
    for text in addresses:
        address, _, prefix = text.partition("/")
        made.addresses.append(Address(AF_INET, parse_ipv4(address), int(prefix)))
    return made


ETH0 = device("eth0", "10.0.0.2/24")
ETH1 = device("eth1", "10.1.0.2/24")


def route(network: str, gateway: str = "0.0.0.0", to: Device = ETH0, metric: int = 0) -> Route:
    address, _, prefix = network.partition("/")
    return Route(parse_ipv4(address), int(prefix), parse_ipv4(gateway), to, metric, 0)


def table(*routes: Route) -> RouteTable:
    made = RouteTable()
    for one in routes:
        made.add(one)
    return made


def test_an_empty_table_has_no_route() -> None:
    assert RouteTable().lookup(parse_ipv4("10.0.0.1")) is None


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        ("10.1.2.3", "10.1.2.3/32"),
        ("10.1.2.4", "10.1.2.0/24"),
        ("10.1.3.1", "10.1.0.0/16"),
        ("10.2.0.1", "10.0.0.0/8"),
        ("11.0.0.1", "0.0.0.0/0"),
    ],
)
def test_the_longest_prefix_wins(destination: str, expected: str) -> None:
    networks = ("10.1.0.0/16", "0.0.0.0/0", "10.1.2.3/32", "10.0.0.0/8", "10.1.2.0/24")
    routes = {network: route(network) for network in networks}
    assert table(*routes.values()).lookup(parse_ipv4(destination)) is routes[expected]


def test_a_longer_prefix_wins_over_a_better_metric() -> None:
    near, far = route("10.0.0.0/24", metric=100), route("10.0.0.0/8", metric=1)
    assert table(far, near).lookup(parse_ipv4("10.0.0.9")) is near


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_the_lowest_metric_wins_whatever_the_order(order: tuple[int, int, int]) -> None:
    routes = [route("0.0.0.0/0", f"10.0.0.{metric + 1}", metric=metric) for metric in (5, 10, 20)]
    assert table(*(routes[i] for i in order)).lookup(1) is routes[0]


def test_of_equal_metrics_the_first_wins() -> None:
    first, second = route("10.0.0.0/8", "10.0.0.1"), route("10.0.0.0/8", "10.0.0.3")
    assert table(first, second).lookup(parse_ipv4("10.9.9.9")) is first


def test_the_default_route_takes_the_extreme_addresses() -> None:
    default = route("0.0.0.0/0")
    assert [table(default).lookup(address) for address in (0, 0xFFFF_FFFF)] == [default, default]


def test_bits_beyond_the_prefix_do_not_matter() -> None:
    sloppy = route("10.0.0.77/24")
    assert table(sloppy).lookup(parse_ipv4("10.0.0.1")) is sloppy


# Errors


def test_the_same_route_twice_is_eexist() -> None:
    routes = table(route("10.0.0.0/8", "10.0.0.1", metric=3))
    with pytest.raises(FileExistsError) as raised:
        routes.add(route("10.0.0.0/8", "10.0.0.1", metric=3))
    assert raised.value.errno == errno.EEXIST


@pytest.mark.parametrize(
    "other",
    [
        route("10.0.0.0/8", "10.0.0.3"),
        route("10.0.0.0/8", "10.0.0.1", metric=1),
        route("10.0.0.0/8", "10.0.0.1", to=ETH1),
        route("10.0.0.0/9", "10.0.0.1"),
        route("11.0.0.0/8", "10.0.0.1"),
    ],
    ids=["gateway", "metric", "device", "prefix", "network"],
)
def test_a_route_that_differs_in_one_thing_is_another(other: Route) -> None:
    routes = table(route("10.0.0.0/8", "10.0.0.1"))
    routes.add(other)
    assert len(routes.all()) == 2


@pytest.mark.parametrize(
    ("network", "prefix", "gateway", "to", "metric"),
    [
        ("10.0.0.0", 9, "0.0.0.0", None, 0),
        ("11.0.0.0", 8, "0.0.0.0", None, 0),
        ("10.0.0.0", 8, "10.0.0.3", None, 0),
        ("10.0.0.0", 8, "0.0.0.0", ETH1, 0),
        ("10.0.0.0", 8, "0.0.0.0", None, 6),
    ],
    ids=["prefix", "network", "gateway", "device", "metric"],
)
def test_removing_what_is_not_there_is_esrch(
    network: str, prefix: int, gateway: str, to: Device | None, metric: int
) -> None:
    routes = table(route("10.0.0.0/8", "10.0.0.1", metric=5))
    with pytest.raises(ProcessLookupError) as raised:
        routes.remove(parse_ipv4(network), prefix, parse_ipv4(gateway), to, metric)
    assert raised.value.errno == errno.ESRCH
    assert len(routes.all()) == 1


def test_removing_twice_is_esrch() -> None:
    routes = table(route("10.0.0.0/8"))
    routes.remove(parse_ipv4("10.0.0.0"), 8, 0, None)
    with pytest.raises(ProcessLookupError):
        routes.remove(parse_ipv4("10.0.0.0"), 8, 0, None)


# Changes


def test_without_details_the_best_of_several_is_removed() -> None:
    best, second = route("10.0.0.0/8", metric=1), route("10.0.0.0/8", metric=2)
    routes = table(second, best)
    routes.remove(parse_ipv4("10.0.0.0"), 8, 0, None)
    assert routes.all() == [second]


@pytest.mark.parametrize(
    ("gateway", "to", "metric"), [("10.0.0.3", None, 0), ("0.0.0.0", ETH1, 0), ("0.0.0.0", None, 7)]
)
def test_details_choose_which_is_removed(gateway: str, to: Device | None, metric: int) -> None:
    stays, goes = route("10.0.0.0/8", "10.0.0.1"), route("10.0.0.0/8", "10.0.0.3", to=ETH1, metric=7)
    routes = table(stays, goes)
    routes.remove(parse_ipv4("10.0.0.0"), 8, parse_ipv4(gateway), to, metric)
    assert routes.all() == [stays]


def test_a_remembered_lookup_sees_a_better_route() -> None:
    routes = table(route("0.0.0.0/0"))
    destination = parse_ipv4("10.0.0.9")
    routes.lookup(destination)
    better = route("10.0.0.0/24")
    routes.add(better)
    assert routes.lookup(destination) is better


def test_a_remembered_lookup_sees_a_removal() -> None:
    default, near = route("0.0.0.0/0"), route("10.0.0.0/24")
    routes = table(default, near)
    destination = parse_ipv4("10.0.0.9")
    routes.lookup(destination)
    routes.remove(near.network, 24, 0, None)
    assert routes.lookup(destination) is default


def test_a_replaced_route() -> None:
    old, new = route("0.0.0.0/0", "10.0.0.1"), route("0.0.0.0/0", "10.0.0.3")
    routes = table(old)
    routes.lookup(1)
    routes.remove(0, 0, old.gateway, None)
    routes.add(new)
    assert routes.lookup(1) is new


def test_a_removed_prefix_length_can_be_used_again() -> None:
    again = route("10.0.0.0/8")
    routes = table(route("10.0.0.0/8"))
    routes.remove(again.network, 8, 0, None)
    routes.add(again)
    assert routes.lookup(parse_ipv4("10.1.1.1")) is again


def test_more_destinations_than_are_remembered() -> None:
    default, odd = route("0.0.0.0/0"), route("0.0.4.3/32")
    routes = table(default, odd)
    found = [routes.lookup(address) for address in range(10_000)]
    assert found.index(odd) == 0x0403
    assert found.count(default) == 9_999


def test_all_lists_the_longest_prefix_first() -> None:
    routes = table(route("0.0.0.0/0"), route("10.0.0.0/24"), route("10.0.0.0/8"))
    assert [one.prefix for one in routes.all()] == [24, 8, 0]


# The source address


def test_the_preferred_source_comes_first() -> None:
    assert Route(0, 0, parse_ipv4("10.0.0.1"), ETH0, 0, 77).source_address() == 77


def test_otherwise_the_first_address_of_the_device() -> None:
    assert route("10.0.0.0/8").source_address() == parse_ipv4("10.0.0.2")


def test_of_several_addresses_the_one_on_the_gateways_network() -> None:
    both = device("eth0", "10.0.0.2/24", "192.168.0.2/24")
    assert route("0.0.0.0/0", "192.168.0.1", both).source_address() == parse_ipv4("192.168.0.2")


def test_a_device_without_an_address_gives_none() -> None:
    assert route("0.0.0.0/0", "10.0.0.1", device("eth0")).source_address() == 0


# Against a search through a list

# Few leading bits, so that networks nest and destinations hit them.
ADDRESSES = st.integers(0, 255).map(lambda top: (top * 0x0101_0101) & 0xFFFF_FFFF)
ROUTES = st.tuples(ADDRESSES, st.integers(0, 32), st.integers(0, 2), st.integers(0, 2))


def naive(routes: list[Route], destination: int) -> tuple[int, int] | None:
    """The prefix length and metric of the best match, by looking at every route."""
    matches = [
        (-int(one.prefix), int(one.metric))
        for one in routes
        if (one.network ^ destination) & network_mask(int(one.prefix)) == 0
    ]
    return min(matches, default=None)


@given(st.lists(st.tuples(ROUTES, st.booleans()), max_size=30), st.lists(ADDRESSES, min_size=1, max_size=10))
def test_lookup_agrees_with_a_search_through_all_routes(
    changes: list[tuple[tuple[int, int, int, int], bool]], destinations: list[int]
) -> None:
    routes, known = RouteTable(), list[Route]()
    for (address, prefix, gateway, metric), remove in changes:
        network = address & network_mask(prefix)
        same = [one for one in known if (one.network, one.prefix, one.gateway) == (network, prefix, gateway)]
        if remove and same:
            gone = same[0] if metric == 0 else next((one for one in same if one.metric == metric), None)
            if gone is not None and gateway:
                best = min(same, key=lambda one: int(one.metric)) if metric == 0 else gone
                routes.remove(network, prefix, gateway, None, metric)
                known.remove(best)
        elif not any(one.metric == metric for one in same):
            made = Route(network, prefix, gateway, ETH0, metric, 0)
            routes.add(made)
            known.append(made)
        for destination in destinations:
            found = routes.lookup(destination)
            assert (None if found is None else (-int(found.prefix), int(found.metric))) == naive(known, destination)
    assert sorted(map(id, routes.all())) == sorted(map(id, known))


def test_nothing_is_left_of_networks_without_routes() -> None:
    # What a router advertises and takes back, again and again, must not fill memory.
    t = table()
    for number in range(100):
        made = route(f"10.{number}.0.0/16", to=ETH0)
        t.add(made)
        t.discard(made)
        t.add(route(f"10.{number}.0.0/16", to=ETH1))
        t.remove_network(made.network, 16, ETH1)
        t.add(route(f"10.{number}.0.0/16", "10.0.0.1", to=ETH1))
        t.remove_device(ETH1)
    assert [len(one) for one in t._tables] == [0]
