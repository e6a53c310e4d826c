"""A virtual network joined to the machine's kernel by a TAP or TUN device: ping both ways, and what may go wrong."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from lab import PATIENCE, Lab, free_name, needs

import lunar
from lunar.kernel.namespace import Namespace
from lunar.kernel.tun import IFF_TAP, IFF_TUN, TunDevice
from lunar.outside.kernel_device import KernelDevice
from lunar.wire.ethernet import mac_text

pytestmark = needs("ping")

V4, V6 = ("10.9.0.1/24", "10.9.0.2/24"), ("2001:db8::1/64", "2001:db8::2/64")


def tap(lab: Lab, own: str, kernel: str, name: str = "tap0", **options: object) -> lunar.Host:
    router = lab.net.host("router")
    lab.net.tap(router, own, name=name, kernel=kernel, netns=lab.namespace, **options)
    return router


@pytest.mark.parametrize("name", ["tap0", "tun0"])
@pytest.mark.parametrize(("own", "kernel"), [V4, V6], ids=["IPv4", "IPv6"])
def test_the_kernel_pings_a_virtual_host(own: str, kernel: str, name: str) -> None:
    with Lab() as lab:
        tap(lab, own, kernel, name)
        text = lab.has_done(f"ping -c 3 -i 0.2 {own.partition('/')[0]}")
        assert "3 packets transmitted, 3 received" in text


@pytest.mark.parametrize("name", ["tap0", "tun0"])
@pytest.mark.parametrize(("own", "kernel"), [V4, V6], ids=["IPv4", "IPv6"])
def test_a_virtual_host_pings_the_kernel(own: str, kernel: str, name: str) -> None:
    with Lab() as lab:
        router = tap(lab, own, kernel, name)
        printed: list[str] = []

        def ping() -> None:
            printed.append(router.sh(f"ping -c 3 -i 0.2 {kernel.partition('/')[0]}"))

        lab.net.run(ping, on=router, until=PATIENCE)
        assert "3 packets transmitted, 3 received" in printed[0]


def test_each_finds_the_others_hardware_address() -> None:
    with Lab() as lab:
        router = tap(lab, *V4)
        (end,) = lab.net.taps
        text = lab.has_done("ping -c 1 10.9.0.1", "ip neigh show dev tap0")
        assert f"10.9.0.1 lladdr {mac_text(router.devices['tap0'].mac)}" in text
        assert mac_text(end.mac) in router.sh("ip neigh")
        # Unlike any that a run gives to its devices by their numbers.
        assert router.devices["tap0"].mac >> 16 != 0x0200_0000


@needs("traceroute")
def test_the_way_into_the_virtual_network_goes_by_its_router() -> None:
    with Lab() as lab:
        router = tap(lab, *V4)
        router.add_device([(0x0A01_0001, 24)])
        server = lab.net.host("server", "10.1.0.2/24")
        lab.net.link("router.eth0", server, delay="2ms")
        router.sh("sysctl -w net.ipv4.ip_forward=1")
        server.sh("route add default gw 10.1.0.1")
        text = lab.has_done(
            "ip route add 10.1.0.0/24 via 10.9.0.1", "ping -c 1 10.1.0.2", "traceroute -n -q 1 -w 20 10.1.0.2"
        )
        hops = re.findall(r"lab: +([0-9]+)  ([0-9.]+)", text)
        assert hops == [("1", "10.9.0.1"), ("2", "10.1.0.2")]


def test_its_link_has_a_delay_and_a_loss_both_ways() -> None:
    with Lab() as lab:
        tap(lab, *V4, delay="1ms", loss=1.0)
        (program,) = lab.does("ping -c 1 -W 1 10.9.0.1")
        assert program.exit_code == 1
        (figures,) = lab.net.link_figures()
        assert figures["lost"] == figures["packets"] + figures["lost"] > 0


def test_what_is_larger_than_the_mtu_does_not_come_through() -> None:
    with Lab() as lab:
        tap(lab, *V4, mtu=1400)
        text = lab.has_done(
            "ip link show tap0", "ping -c 1 -M do -s 1372 10.9.0.1", "ip link set tap0 mtu 1500",
            "ping -c 1 10.9.0.1", "! ping -c 1 -W 1 -M do -s 1472 10.9.0.1",
        )
        assert "mtu 1400" in text
        assert lab.net.taps[0].oversized == 1


def test_a_device_that_is_down_takes_nothing_and_comes_back(outside: Callable[[Callable[[], Any]], Any]) -> None:
    with Lab() as lab:
        router = tap(lab, *V4)
        end = lab.net.taps[0]

        def talk() -> None:
            router.sh("ping -c 1 10.9.0.2")
            outside(lambda: lab.namespace.command("ip", "link", "set", "tap0", "down"))
            router.sh("ping -c 2 -i 0.2 -W 0.2 10.9.0.2")
            assert (end.refused, end.down) == (2, True)
            outside(lambda: lab.namespace.command("ip", "link", "set", "tap0", "up"))
            assert "1 received" in router.sh("ping -c 1 -W 20 10.9.0.2")

        lab.net.run(talk, on=router, until=PATIENCE)
        assert (end.refused, end.down, end.gone) == (2, False, False)
        assert lab.said == [
            "router.tap0: tap0 of the machine is down: what is sent to it is lost",
            "router.tap0: tap0 of the machine is up again",
        ]


def test_a_device_that_is_deleted_is_told_of_and_the_run_goes_on(
    outside: Callable[[Callable[[], Any]], Any],
) -> None:
    with Lab() as lab:
        router = tap(lab, *V4)
        end = lab.net.taps[0]

        def talk() -> None:
            router.sh("ping -c 1 10.9.0.2")
            outside(lambda: lab.namespace.command("ip", "link", "delete", "tap0"))
            assert "0 received" in router.sh("ping -c 2 -i 0.2 -W 0.2 10.9.0.2")

        lab.net.run(talk, on=router, until=PATIENCE)
        assert end.gone
        assert lab.said == ["router.tap0: tap0 of the machine was deleted: what is sent to it is lost"]
        assert end.figures()["state"] == "gone"


def test_a_device_that_was_there_stays_with_its_addresses() -> None:
    with Lab() as lab:
        run = lab.namespace.command
        run("ip", "tuntap", "add", "dev", "lunar0", "mode", "tap")
        run("ip", "link", "set", "lunar0", "address", "02:11:22:33:44:55", "up")
        run("ip", "address", "add", "10.9.0.2/24", "dev", "lunar0")
        router = lab.net.host("router")
        lab.net.tap(router, "10.9.0.1/24", device="lunar0", netns=lab.namespace)
        lab.has_done("ping -c 1 10.9.0.1")
        lab.net.close()
        assert "02:11:22:33:44:55" in run("ip", "address", "show", "lunar0")


def test_a_namespace_is_found_by_its_name() -> None:
    name = free_name("gateway")
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        with lunar.Network(clock="real") as net:
            router = net.host("router")
            net.tap(router, "10.9.0.1/24", kernel="10.9.0.2/24", netns=name)
            printed: list[str] = []
            net.run(lambda: printed.append(router.sh("ping -c 1 10.9.0.2")), on=router, until=PATIENCE)
            assert "1 received" in printed[0]
            assert "tap0" in Namespace.named(name).command("ip", "link")
        assert "tap0" not in Namespace.named(name).command("ip", "link")
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def opened(lab: Lab) -> OSError:
    with pytest.raises(OSError) as caught:
        lab.net.run(until="1s")
    return caught.value


def test_what_is_wrong_with_a_device_is_said() -> None:
    with Lab() as lab:
        busy = TunDevice(lab.namespace, "tap0", IFF_TAP)
        tap(lab, *V4)
        error = opened(lab)
        assert error.strerror == "router.tap0: no device tap0: Device or resource busy: another program has it open"
        busy.close()
    with Lab() as lab:
        other = TunDevice(lab.namespace, "tap0", IFF_TUN)
        lab.namespace.command("ip", "link", "add", "dummy0", "type", "bridge")
        tap(lab, *V4, device="dummy0")
        assert "a device of this name is there already, and it is none of mode tap" in str(opened(lab).strerror)
        other.close()
    with Lab() as lab:
        lab.net.tap(lab.net.host("router"), "10.9.0.1/24", netns="no-such-namespace")
        error = opened(lab)
        assert error.errno == errno.ENODEV
        assert error.strerror == (
            'router.tap0: there is no network namespace "no-such-namespace"; make it with: '
            "ip netns add no-such-namespace"
        )


@pytest.mark.parametrize("name", ["a-name-that-is-too-long", "", "tap/0", "tap%d", "tap 0"])
def test_a_device_has_a_name_that_the_kernel_takes(name: str) -> None:
    net = lunar.Network(clock="real")
    with pytest.raises(ValueError, match=r"is not a name for a device of the kernel"):
        net.tap(net.host("router"), "10.9.0.1/24", device=name)


@needs("setpriv")
def test_who_has_no_rights_is_told_what_to_do() -> None:
    code = (
        "import lunar; net = lunar.Network(clock='real')\n"
        "net.tap(net.host('router'), '10.9.0.1/24', device='lunar99')\n"
        "try: net.run(until='1s')\n"
        "except OSError as error: print(error.strerror)\n"
    )
    done = subprocess.run(
        ["setpriv", "--bounding-set=-net_admin,-sys_admin", sys.executable, "-c", code],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == (
        "router.tap0: no device lunar99: Operation not permitted; this needs root (CAP_NET_ADMIN), or a device that "
        "root has made for you: ip tuntap add dev lunar99 mode tap user $USER\n"
    ), done.stderr


def test_a_tap_is_a_kernel_device() -> None:
    net = lunar.Network(clock="real")
    made = net.tap(net.host("router"), "10.9.0.1/24")
    assert isinstance(made, KernelDevice) and net.taps == [made]
    assert net.hosts["router"].devices["tap0"].arp
