"""Sources by RFC 6724, as `ip -6 route get` of Linux 6.18 shows them for the same addresses and routes."""

from __future__ import annotations

import pytest

import lunar
from lunar.net import ip_output, source
from lunar.net.address import IFA_F_DEPRECATED, IFA_F_SECONDARY
from lunar.net.route import Route
from lunar.packet import AF_INET, AF_INET6
from lunar.wire.address import ipv6_text, parse_ipv4, parse_ipv6


def host_of(net: lunar.Network) -> lunar.Host:
    """d0 has 2001:db8::1, ::2, ::3 and fc00::1, given in this order, and the default route; d1 has 2001:db8:1::1."""
    host = net.host("a")
    for name, addresses in (
        ("d0", ["2001:db8::1", "2001:db8::2", "2001:db8::3", "fc00::1"]), ("d1", ["2001:db8:1::1"])
    ):  # fmt: skip
        host.add_device([(parse_ipv6(text), 64) for text in addresses], name)
    gateway = parse_ipv6("2001:db8::99")
    host.ip.inet6.routes.add(Route(0, 0, gateway, host.devices["d0"], 1024, 0, AF_INET6))
    return host


def chosen(host: lunar.Host, dst: str) -> str:
    address = parse_ipv6(dst)
    route = ip_output.route_for(host.ip, AF_INET6, address)
    assert route is not None
    return ipv6_text(ip_output.source_for(host.ip, address, route))


def mark(host: lunar.Host, address: str, flag: int) -> None:
    own = next(own for own in host.devices["d0"].addresses if own.address == parse_ipv6(address))
    own.flags |= flag


@pytest.mark.parametrize(
    ("dst", "expected"),
    [
        ("2001:db8::9", "2001:db8::3"),  # of equal ones the last
        ("2001:db8::1", "2001:db8::1"),  # rule 1
        ("2001:db8:1::5", "2001:db8:1::1"),  # rule 5
        ("2001:db8:1:1::5", "2001:db8::3"),  # rule 5 before rule 8
        ("fc00::5", "fc00::1"), ("fc00:1::3", "fc00::1"), ("fd00::1", "fc00::1"),  # rule 6
        ("2002::1", "2001:db8::3"), ("2001::1", "2001:db8::3"),
    ],
)  # fmt: skip
def test_the_source_is_linux(dst: str, expected: str) -> None:
    with lunar.Network(seed=1) as net:
        assert chosen(host_of(net), dst) == expected


def test_one_that_is_deprecated_or_temporary_comes_after_others() -> None:
    with lunar.Network(seed=1) as net:
        host = host_of(net)
        mark(host, "2001:db8::3", IFA_F_DEPRECATED)  # rule 3
        assert chosen(host, "2001:db8::9") == "2001:db8::2"
        mark(host, "2001:db8::2", IFA_F_SECONDARY)  # rule 7
        assert chosen(host, "2001:db8::9") == "2001:db8::1"
        assert chosen(host, "2001:db8::2") == "2001:db8::2"


def test_a_link_local_destination_is_met_by_a_link_local_source_of_its_device() -> None:
    with lunar.Network(seed=1) as net:
        host = host_of(net)
        for device in (host.devices["d0"], host.devices["d1"]):
            own = [one.address for one in device.addresses if one.address >> 118 == 0x3FA]
            assert own == [source.select(host.ip, device, parse_ipv6("fe80::77"))]
            # Rule 2: to a group of the link, too.
            assert own == [source.select(host.ip, device, parse_ipv6("ff02::1"))]


def test_a_host_without_an_address_takes_that_of_lo() -> None:
    with lunar.Network(seed=1) as net:
        host = net.host("a", "10.0.0.1/24")
        assert source.select(host.ip, host.devices["eth0"], parse_ipv6("2001:db8::1")) == 1
        assert source.select(host.ip, host.devices["eth0"], parse_ipv6("fe80::1")) == 0


@pytest.mark.parametrize(
    ("address", "precedence", "label"),
    [
        ("::1", 50, 0), ("2001:db8::1", 40, 1), ("::ffff:10.0.0.1", 35, 4), ("2002:a00:1::", 30, 2), ("2001::1", 5, 5),
        ("fd00::1", 3, 13), ("fec0::1", 1, 11), ("3ffe::1", 1, 12), ("::7", 1, 3), ("fe80::1", 40, 1),
    ],
)  # fmt: skip
def test_the_policy_table(address: str, precedence: int, label: int) -> None:
    assert source.policy(parse_ipv6(address)) == (precedence, label)


@pytest.mark.parametrize(
    ("address", "scope"),
    [
        ("::1", 2), ("fe80::1", 2), ("fec0::1", 5), ("2001:db8::1", 14), ("fd00::1", 14), ("ff01::1", 1),
        ("ff02::1", 2), ("ff05::1", 5), ("ff0e::1", 14), ("::ffff:127.0.0.1", 2), ("::ffff:169.254.3.4", 2),
        ("::ffff:10.0.0.1", 14),
    ],
)  # fmt: skip
def test_scopes(address: str, scope: int) -> None:
    assert source.scope(parse_ipv6(address)) == scope


def test_common_bits_and_mapped_addresses() -> None:
    assert source.common_bits(parse_ipv6("2001:db8::1"), parse_ipv6("2001:db8::1")) == 128
    assert source.common_bits(parse_ipv6("2001:db8::1"), parse_ipv6("2001:db8::2")) == 126
    assert source.common_bits(parse_ipv6("2001:db8::"), parse_ipv6("a001:db8::")) == 0
    assert source.as_six(AF_INET, parse_ipv4("10.0.0.1")) == parse_ipv6("::ffff:10.0.0.1")
    assert source.as_six(AF_INET6, parse_ipv6("2001:db8::1")) == parse_ipv6("2001:db8::1")
