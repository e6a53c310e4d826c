"""From a tapestry's description to a network."""

from __future__ import annotations

from pathlib import Path

import pytest

from lunar.builder import build
from lunar.host import Host
from lunar.links.link import Link
from lunar.links.switch import Switch
from lunar.network import Network
from lunar.wire.address import address_text, ipv4_text
from weaves.tapestry import TapestryError, parse

PAIR = '[hosts.a]\neth0 = "10.0.0.1/24"\n[hosts.b]\neth0 = "10.0.0.2/24"\n'
LINK = '[[links]]\nends = ["a", "b"]\n'


def built(text: str, **options: object) -> Network:
    return build(parse(text, Path("site.toml")), seed=1, **options)  # type: ignore[arg-type]


def addresses(host: Host) -> dict[str, list[str]]:
    return {
        name: [f"{address_text(int(own.family), own.address)}/{own.prefix}" for own in device.addresses]
        for name, device in host.devices.items()
    }


def test_hosts_have_their_devices_and_addresses() -> None:
    network = built('[hosts.a]\neth1 = ["10.1.0.1/16", "10.2.0.1/16"]\neth0 = "10.0.0.1/24"\n[hosts.b]\n')
    assert list(network.hosts) == ["a", "b"]
    assert addresses(network.hosts["a"]) == {
        "lo": ["127.0.0.1/8", "::1/128"], "eth0": ["10.0.0.1/24"], "eth1": ["10.1.0.1/16", "10.2.0.1/16"],
    }  # fmt: skip
    assert addresses(network.hosts["b"]) == {"lo": ["127.0.0.1/8", "::1/128"]}


def test_devices_have_addresses_of_both_families() -> None:
    network = built('[hosts.a]\neth0 = ["10.0.0.1/24", "2001:db8::1/64"]\n')
    assert addresses(network.hosts["a"])["eth0"][:2] == ["10.0.0.1/24", "2001:db8::1/64"]


def test_hosts_have_their_files() -> None:
    network = built('[hosts.a]\nfiles = { "/etc/resolv.conf" = "nameserver 10.0.0.53" }\n')
    assert network.hosts["a"].paths.text("/etc/resolv.conf") == "nameserver 10.0.0.53"


def test_devices_ask_for_hardware_addresses_where_they_shall() -> None:
    two = PAIR + '[hosts.c]\neth0 = "10.0.1.1/24"\n[hosts.d]\neth0 = "10.0.1.2/24"\n'
    network = built("[tapestry]\narp = true\n" + two + LINK + '[[links]]\nends = ["c", "d"]\narp = false\n')
    assert [network.hosts[name].devices["eth0"].arp for name in "abcd"] == [True, True, False, False]


def test_links_have_their_values() -> None:
    network = built(
        PAIR + '[[links]]\nname = "wire"\nends = ["b", "a"]\nrate = "10mbit"\ndelay = "5ms"\nloss = "25%"\nmtu = 576\n'
        'queue = "64 kb"\n'
    )
    [link] = network.links
    assert isinstance(link, Link)
    assert link.name == "wire"
    assert (link.a, link.b) == (network.hosts["b"].devices["eth0"], network.hosts["a"].devices["eth0"])
    assert list(network.wires) == ["wire"]
    for wire in network.wires["wire"]:
        assert (wire.rate_bps, wire.delay_ns, wire.limit_packets, wire.limit_bytes) == (10_000_000, 5_000_000, 0, 65536)
        assert wire.impairment is not None
        assert not wire.through_bytes
    assert [host.devices["eth0"].mtu for host in network.hosts.values()] == [576, 576]


def test_a_plain_link_has_the_defaults() -> None:
    network = built(PAIR + LINK)
    for wire in network.wires["a.eth0 - b.eth0"]:
        assert (wire.rate_bps, wire.delay_ns, wire.limit_packets, wire.limit_bytes) == (0, 0, 1000, 0)
        assert wire.impairment is None
    assert network.hosts["a"].devices["eth0"].mtu == 1500


def test_more_than_two_devices_are_a_switch() -> None:
    network = built('[hosts.h]\ncount = 3\neth0 = "10.0.0.{i+1}/24"\n[[links]]\nends = ["h"]\n')
    assert isinstance(network.links[0], Switch)
    assert len(network.wires["switch-1"]) == 6


def test_through_bytes_reaches_every_wire() -> None:
    network = built(PAIR + LINK, through_bytes=True)
    assert all(wire.through_bytes for wires in network.wires.values() for wire in wires)


def test_the_epoch_and_the_seed() -> None:
    network = build(parse(f'[tapestry]\nseed = 9\nepoch = "1970-01-01T00:00:01Z"\n{PAIR}', Path("x.toml")), seed=2)
    assert (network.seed, network.epoch_ns) == (2, 1_000_000_000)


def test_names_lead_to_every_address_of_a_host() -> None:
    network = built('[hosts.a]\nnames = ["www", "ftp"]\neth0 = "10.0.0.1/24"\neth1 = "10.1.0.1/24"\n')
    for name in ("a", "www", "ftp"):
        assert [ipv4_text(address) for address in network.names.lookup(name)] == ["10.0.0.1", "10.1.0.1"]


def test_net_lines_are_obeyed_in_their_order() -> None:
    network = built(
        '[hosts.a]\neth0 = "10.0.0.1/24"\n'
        'net = ["sysctl -w net.ipv4.ip_forward=1", "route add default gw b"]\n'
        f'[hosts.b]\neth0 = "10.0.0.2/24"\n{LINK}'
    )
    a = network.hosts["a"]
    assert a.ip.inet.forwarding
    way = a.ip.inet.routes.lookup(0x0808_0808)
    assert way is not None
    assert ipv4_text(way.gateway) == "10.0.0.2"  # b, though its table comes later
    assert not network.hosts["b"].ip.inet.forwarding


def test_a_line_may_need_the_one_before_it() -> None:
    text = '[hosts.a]\neth0 = "10.0.0.1/24"\nnet = ["{}", "{}"]\n'
    first, second = "route add -host 10.9.0.1 dev eth0", "route add default gw 10.9.0.1"
    built(text.format(first, second))
    with pytest.raises(TapestryError, match=r"site.toml:3: \[hosts.a\] net\[0\]: route: gateway 10.9.0.1 is not in a"):
        built(text.format(second, first))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("route add default gw 10.9.0.1", "route: gateway 10.9.0.1 is not in a network of a"),
        ("route add default gw 10.0.0.1", "route: gateway 10.0.0.1 is a itself"),
        ("route add default gw nobody", 'route: gw "nobody" is neither an address nor a host of the tapestry'),
        ("route add default", "route: add default: a gateway (gw) or a device (dev) is missing"),
        ("route del default", "route: del default: there is no such route"),
        ("route add -net 10.0.0.0/24 dev eth0 eth9", 'route: "eth9" is not supported; expected gw, netmask, '),
        ("route add -host 10.0.0.9/32 dev eth0", "route: -host 10.0.0.9/32: a host has no prefix length"),
        ("ifconfig eth9 up", "ifconfig: eth9: no such device; a has lo, eth0"),
        ("ifconfig eth0 mtu 10", "ifconfig: mtu 10: expected 68 to 65535"),
        ("sysctl net.ipv4.ip_forward=2", "sysctl: net.ipv4.ip_forward=2: expected 0 to 1"),
        ("frob", 'there is no command "frob"; expected one of '),
        ("route add 'x", '"route add \'x": No closing quotation'),
    ],
)
def test_a_wrong_line_names_its_place(line: str, message: str) -> None:
    text = f'[hosts.a]\neth0 = "10.0.0.1/24"\nnet = """\n\n# first\nroute\n{line}\n"""\n'
    with pytest.raises(TapestryError) as caught:
        built(text)
    assert str(caught.value).startswith(f"site.toml:7: [hosts.a] net: {message}")
    assert "\n" not in str(caught.value)


def test_queue_with_early_drops() -> None:
    queue = '{ kind = "red", limit = "90 packets", min = "9 packets", ecn = true }'
    (link,) = built(PAIR + LINK + f"queue = {queue}\n").wires.values()
    for wire in link:
        assert wire.red is not None
        limits = wire.red.limits
        assert (limits.least, limits.most, limits.in_bytes, limits.ecn) == (9, 27, False, True)
        assert (limits.probability, limits.weight) == (0.02, 0.002)


def test_lanes_follow_the_order_of_the_tapestry() -> None:
    network = built(PAIR + LINK)
    assert [lane.id for lane in network.lanes()] == [-1, 1, 2, 3, 4]  # the first is that of the gates
