"""Hosts that a router configures: addresses, default routers and MTU by its advertisements, until their lifetimes end.

The router runs `lunar.radvd`, a program on a packet socket; hosts are given nothing but the wish to be configured.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

import lunar
from lunar.dns.server import serve as serve_names
from lunar.host import Host
from lunar.net.address import IFA_F_DEPRECATED, SCOPE_LINK, Address
from lunar.net.device import Device
from lunar.net_tools import CommandError
from lunar.packet import AF_INET6, Frame, IcmpMessage
from lunar.radvd import __main__ as radvd
from lunar.radvd.advertiser import Advertiser, Prefix, Said
from lunar.wire.address import address_text, parse_ipv6

S = 1_000_000_000
NET, NET_2 = parse_ipv6("2001:db8:1::"), parse_ipv6("2001:db8:2::")


def text(address: int) -> str:
    return address_text(10, address)


class Lan:
    """A switch with a router (2001:db8:1::1, and a network behind it with a server) and hosts that have no address."""

    def __init__(self, hosts: int = 1, arp: bool = True) -> None:
        self.net = lunar.Network(seed=1, arp=arp)
        self.router = self.net.host("router", "2001:db8:1::1/64", "2001:db8:ff::1/64")
        self.server = self.net.host("server", "2001:db8:ff::2/64")
        self.hosts = [self.net.host(f"host-{number}") for number in range(hosts)]
        for host in self.hosts:
            host.add_device([])
        self.net.link(self.router, *self.hosts, self.spare())
        self.net.link("router.eth1", self.server, delay="1ms")
        self.router.sh("sysctl -q net.ipv6.conf.all.forwarding=1")
        self.server.sh("route -A inet6 add default gw 2001:db8:ff::1")

    def spare(self) -> Host:
        """One host more, so that it is a switch: it only listens."""
        other = self.net.host("other")
        other.add_device([])
        return other

    def advertises(self, *prefixes: Prefix, **said: Any) -> None:
        """The router begins to advertise."""
        intervals = (said.pop("least", 200.0), said.pop("most", 600.0))
        self.net.start(
            self.router, lambda: Advertiser("eth0", Said(prefixes, **said), *intervals).run(), background=True,
            name="radvd",
        )  # fmt: skip

    def asks(self, host: Host | None = None) -> None:
        """A host wants to be configured."""
        (host or self.hosts[0]).sh("sysctl -q net.ipv6.conf.eth0.accept_ra=1")


def addresses(host: Host) -> list[Address]:
    """The host's addresses that are no link-local ones."""
    own = host.devices["eth0"].addresses
    return [one for one in own if one.family == AF_INET6 and one.scope != SCOPE_LINK]


def routers(host: Host) -> list[str]:
    return [text(route.gateway) for route in host.ip.inet6.routes.routes_to(0, 0)]


def mac_id(host: Host) -> int:
    """What a host makes of its hardware address (RFC 4291, appendix A)."""
    mac = int(host.devices["eth0"].mac)
    return (mac >> 24 << 40 | 0xFFFE << 24 | mac & 0xFFFFFF) ^ 2 << 56


def heard(device: Device, net: lunar.Network) -> list[tuple[int, int]]:
    """(milliseconds, type) of the neighbour discovery that a device sends and receives from now on."""
    seen: list[tuple[int, int]] = []

    def see(_device: Device, frame: Frame) -> None:
        if isinstance(frame, IcmpMessage) and frame.family == AF_INET6 and 133 <= frame.type <= 137:
            seen.append((net.scheduler.now_ns // 1_000_000, int(frame.type)))

    device.tap = see
    return seen


def test_a_host_gets_an_address_and_a_router_by_asking() -> None:
    lan = Lan()
    host = lan.hosts[0]
    lan.advertises(Prefix(NET, 64))
    lan.net.run(until="60s")  # the router's first advertisements are over
    lan.asks()
    lan.net.run(until="65s")
    (own,) = addresses(host)
    assert own.address == NET | mac_id(host)
    assert routers(host) == ["fe80::ff:fe00:1"]

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection("2001:db8:ff::2", 80)
        told = await reader.read()
        writer.close()
        return told

    async def serve() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(writer.get_extra_info("peername")[0].encode())
            writer.close()

        async with await asyncio.start_server(handle, "::", 80):
            await asyncio.sleep(100)

    lan.net.start(lan.server, serve, background=True)
    assert lan.net.run(ask(), on=host) == text(own.address).encode()


def test_the_order_of_things_with_a_test_of_each_address() -> None:
    lan = Lan()
    host = lan.hosts[0]
    lan.advertises(Prefix(NET, 64), least=1000.0, most=1000.0)
    lan.net.run(until="60s")
    seen = heard(host.devices["eth0"], lan.net)
    lan.asks()
    lan.net.run(until="70s")
    # Its link-local address is tested for a second, then it asks for routers; the answer comes in half a second, and
    # the address that it makes of it is tested, too.
    kinds = [kind for _, kind in seen]
    assert kinds == [135, 133, 134, 135]
    tested, asked, answered, tested_2 = (at for at, _ in seen)
    assert 60_000 <= tested < 61_000
    assert asked == tested + 1000
    assert asked < answered <= asked + 510
    assert answered <= tested_2 < answered + 1000


def test_without_arp_nothing_is_tested_and_all_is_there_at_once() -> None:
    lan = Lan(arp=False)
    host = lan.hosts[0]
    lan.advertises(Prefix(NET, 64))
    lan.net.run(until="60s")
    seen = heard(host.devices["eth0"], lan.net)
    lan.asks()
    lan.net.run(until="61s")
    assert [kind for _, kind in seen] == [133, 134]
    assert len(addresses(host)) == 1


def test_hosts_that_do_not_ask_have_no_ipv6() -> None:
    lan = Lan(2)
    lan.advertises(Prefix(NET, 64))
    lan.asks(lan.hosts[0])
    lan.net.run(until="60s")
    assert len(addresses(lan.hosts[0])) == 1
    assert lan.hosts[1].devices["eth0"].addresses == []


def test_an_address_is_deprecated_and_then_gone_when_the_router_falls_silent() -> None:
    lan = Lan()
    host = lan.hosts[0]
    lan.advertises(Prefix(NET, 64, valid_s=600, preferred_s=300), least=100.0, most=100.0, lifetime_s=300)
    lan.asks()
    lan.net.run(until="250s")
    (own,) = addresses(host)
    assert not own.flags & IFA_F_DEPRECATED
    preferred, valid = own.preferred_until_ns, own.valid_until_ns
    assert valid - preferred == 300 * S
    lan.router.crash()
    lan.net.run(until=f"{preferred // S - 1}s")
    assert not own.flags & IFA_F_DEPRECATED
    assert routers(host) == ["fe80::ff:fe00:1"]
    lan.net.run(until=f"{preferred // S + 1}s")
    assert own.flags & IFA_F_DEPRECATED
    assert addresses(host) == [own]
    assert routers(host) == []
    lan.net.run(until=f"{valid // S + 1}s")
    assert addresses(host) == []
    assert host.ip.inet6.routes.lookup(NET | 5) is None


def test_a_router_that_stops_says_so() -> None:
    lan = Lan()
    host = lan.hosts[0]
    lan.advertises(Prefix(NET, 64))
    lan.asks()
    lan.net.run(until="50s")
    assert routers(host) == ["fe80::ff:fe00:1"]
    next(string for string in lan.net.supervisor.strings if string.name == "radvd").kill()
    lan.net.run(until="51s")
    assert routers(host) == []
    assert len(addresses(host)) == 1  # that lives as long as it was told


def test_a_router_that_does_not_answer_goes_behind_another() -> None:
    lan = Lan()
    host = lan.hosts[0]
    second = lan.net.hosts["other"]
    second.add_address(second.devices["eth0"], NET | 2, 64, at_once=True)
    second.sh("sysctl -q net.ipv6.conf.all.forwarding=1")
    lan.advertises(Prefix(NET, 64), preference="high")
    lan.net.start(second, lambda: Advertiser("eth0", Said(preference="low")).run(), background=True)
    lan.asks()
    lan.net.run(until="40s")
    first, other = (address_text(10, 0xFE80 << 112 | mac_id(one)) for one in (lan.router, second))
    assert routers(host) == [first, other]
    lan.router.crash()

    def send() -> None:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"is anybody there?", ("2001:db8:9::1", 9))

    lan.net.run(until="100s")
    lan.net.run(send, on=host)
    lan.net.run(until="107s")  # 5 s of trust, and three questions
    assert routers(host) == [first, other]
    lan.net.run(until="109s")
    assert routers(host) == [other, first]


def test_a_new_prefix_takes_the_place_of_one_that_is_deprecated() -> None:
    lan = Lan()
    host = lan.hosts[0]
    lan.advertises(Prefix(NET, 64), least=100.0, most=100.0)
    lan.asks()
    lan.net.run(until="50s")
    (old,) = addresses(host)
    lan.advertises(Prefix(NET, 64, preferred_s=0), Prefix(NET_2, 64), least=100.0, most=100.0)
    lan.net.run(until="60s")
    assert {text(one.address >> 64 << 64): bool(one.flags & IFA_F_DEPRECATED) for one in addresses(host)} == {
        "2001:db8:1::": True,
        "2001:db8:2::": False,
    }
    assert old in addresses(host)


def test_the_advertised_mtu_bounds_what_is_sent() -> None:
    lan = Lan()
    host = lan.hosts[0]
    lan.advertises(Prefix(NET, 64), mtu=1400)
    lan.asks()
    lan.net.run(until="20s")
    assert host.sh("sysctl -n net.ipv6.conf.eth0.mtu") == "1400\n"
    sizes: list[int] = []

    def see(device: Device, frame: Frame) -> None:
        if frame.eth_src == device.mac:
            sizes.append(int(frame.size_bytes))

    host.devices["eth0"].tap = see

    def send() -> None:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.sendto(bytes(1392), ("2001:db8:1::1", 9))

    lan.net.run(until="30s")  # the router is known by then
    sizes.clear()
    lan.net.run(send, on=host)
    lan.net.run(until="31s")
    # 1392 bytes and 8 of UDP are 1400: in fragments with headers of 48 bytes, 1352 and 48.
    assert [size for size in sizes if size > 80] == [1400, 96]


def test_name_servers_are_known_and_forgotten() -> None:
    lan = Lan()
    host = lan.hosts[0]
    server = parse_ipv6("2001:db8:ff::53")
    lan.advertises(Prefix(NET, 64), servers=(server,), servers_lifetime_s=100, least=1000.0, most=1000.0)
    lan.asks()
    lan.net.run(until="20s")
    interface = host.autoconf.find(host.devices["eth0"])
    assert interface is not None
    assert list(interface.servers) == [server]
    assert host.paths.text("/etc/resolv.conf") == "# as routers advertise\nnameserver 2001:db8:ff::53\n"
    lan.net.run(until="500s")
    assert list(interface.servers) == []
    assert host.paths.text("/etc/resolv.conf") == ""


def test_a_boot_forgets_the_name_servers_of_routers() -> None:
    lan = Lan()
    host = lan.hosts[0]
    lan.advertises(Prefix(NET, 64), servers=(parse_ipv6("2001:db8:ff::53"),), least=1000.0, most=1000.0)
    lan.asks()
    lan.net.run(until="20s")
    host.crash()
    assert host.paths.text("/etc/resolv.conf") == "# as routers advertise\nnameserver 2001:db8:ff::53\n"
    host.boot()
    assert host.paths.text("/etc/resolv.conf") == ""


@pytest.mark.parametrize("command", ["ip -6 addr add 2001:db8:9::1/64 dev eth0", "ifconfig eth0 add 2001:db8:9::1/64"])
def test_a_device_without_ipv6_takes_no_address(command: str) -> None:
    host = lunar.Network(seed=1).host("one", "10.0.0.1/24")
    host.sh("sysctl -w net.ipv6.conf.eth0.disable_ipv6=1")
    with pytest.raises(CommandError, match=r"IPv6 is disabled on this device|SIOCSIFADDR: Permission denied"):
        host.sh(command)
    host.sh("sysctl -w net.ipv6.conf.eth0.disable_ipv6=0")
    host.sh(command)
    assert len(host.devices["eth0"].addresses) == 3


def test_a_resolv_conf_of_ones_own_stays() -> None:
    lan = Lan()
    host = lan.hosts[0]
    host.paths.put("/etc/resolv.conf", "nameserver 10.0.0.53\n")
    lan.advertises(Prefix(NET, 64), servers=(parse_ipv6("2001:db8:ff::53"),))
    lan.asks()
    lan.net.run(until="20s")
    assert host.paths.text("/etc/resolv.conf") == "nameserver 10.0.0.53\n"


def test_names_are_looked_up_at_an_advertised_server() -> None:
    lan = Lan()
    host = lan.hosts[0]
    zones = {"example.org": {"www": ["2001:db8:ff::2"]}}
    lan.net.start(lan.server, serve_names, zones, background=True)
    lan.advertises(Prefix(NET, 64), servers=(parse_ipv6("2001:db8:ff::2"),))
    lan.asks()
    lan.net.run(until="20s")

    def look_up() -> list[str]:
        found = socket.getaddrinfo("www.example.org", 80, type=socket.SOCK_STREAM)
        return [str(entry[4][0]) for entry in found]

    assert lan.net.run(look_up, on=host) == ["2001:db8:ff::2"]


@pytest.mark.parametrize("mode", [2, 3])
def test_stable_addresses_say_nothing_of_the_hardware(mode: int) -> None:
    lan = Lan(2)
    lan.advertises(Prefix(NET, 64), Prefix(NET_2, 64))
    for host in lan.hosts:
        host.sh(f"sysctl -q net.ipv6.conf.eth0.addr_gen_mode={mode}")
        lan.asks(host)
    lan.net.run(until="20s")
    ids = [one.address & (1 << 64) - 1 for host in lan.hosts for one in host.devices["eth0"].addresses]
    assert len(ids) == len(set(ids)) == 6  # another in each network
    assert not [one for one in ids if one >> 24 & 0xFFFF == 0xFFFE]


def test_a_hundred_hosts_configure_themselves_alike_in_each_run() -> None:
    def run() -> tuple[str, int]:
        lan = Lan(100)
        lan.advertises(Prefix(NET, 64))
        for host in lan.hosts:
            lan.asks(host)
        lan.net.run(until="20s")
        found = {one.address for host in lan.hosts for one in addresses(host)}
        return lan.net.digest(), len(found)

    first = run()
    assert first[1] == 100
    assert run() == first


def test_a_router_without_an_address_of_the_link_cannot_advertise() -> None:
    net = lunar.Network(seed=1)
    host = net.host("four", "10.0.0.1/24")
    for device, message in (("eth0", "no IPv6 address of its link"), ("eth7", "No such device")):
        with pytest.raises(OSError, match=message):
            net.run(lambda device=device: Advertiser(device, Said()), on=host)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("2001:db8::/129", "expected a network of IPv6"),
        ("--mtu 100", "--mtu: 100: expected 1280 to 65535"),
        ("--hop-limit 256", "--hop-limit: 256: expected 0 to 255"),
        ("--lifetime 65536", "--lifetime: 65536: expected 0 to 65535"),
        ("--interval 0", "--interval: 0: expected [LEAST,]MOST seconds"),
        ("--interval nan", "--interval: nan: expected [LEAST,]MOST seconds"),
        ("--rdnss 10.0.0.1", "--rdnss: 10.0.0.1: expected an IPv6 address"),
    ],
)
def test_what_the_program_is_told_wrong(
    words: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["lunar.radvd", "eth0", *words.split()])
    with pytest.raises(SystemExit):
        radvd.main()
    assert message in capsys.readouterr().err
