"""Unmodified zeroconf (mDNS, RFC 6762) between the hosts of a switch: services are registered, found, and gone again.

What goes over the switch is multicast to 224.0.0.251, which hosts join as on a real network. The switch is 1 ms away.
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest
from zeroconf import IPVersion, NonUniqueNameException, ServiceBrowser, ServiceInfo, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

import lunar
from lunar.packet import IGMP, Frame, Packet
from lunar.wire.address import parse_ipv4

KIND = "_lunar._tcp.local."
HOSTS = 20


def site(net: lunar.Network, count: int) -> list[lunar.Host]:
    hosts = [net.host(f"host-{at}", address(at) + "/24") for at in range(count)]
    net.link(*hosts, delay="1ms")
    return hosts


def address(at: int) -> str:
    return f"10.0.0.{at + 1}"


def service(at: int, name: str | None = None) -> ServiceInfo:
    return ServiceInfo(
        KIND, f"{name or f'peer-{at}'}.{KIND}", addresses=[socket.inet_aton(address(at))], port=8000 + at,
        properties={"at": str(at)}, server=f"host-{at}.local.",
    )  # fmt: skip


async def peer(at: int, found: dict[int, Any]) -> None:
    """Register a service, look for those of the others, and ask for what they are."""
    zeroconf = AsyncZeroconf(interfaces=[address(at)], ip_version=IPVersion.V4Only)
    await (await zeroconf.async_register_service(service(at)))
    names: list[str] = []
    browser = AsyncServiceBrowser(
        zeroconf.zeroconf, KIND, handlers=[lambda zeroconf, service_type, name, state_change: names.append(name)]
    )
    await asyncio.sleep(8)
    told = {}
    for name in sorted(names):
        info = AsyncServiceInfo(KIND, name)
        assert await info.async_request(zeroconf.zeroconf, 3000)
        assert info.properties is not None
        told[name] = info.parsed_addresses(), info.port, info.properties[b"at"]
    found[at] = told
    await asyncio.sleep(5)
    await browser.async_cancel()
    await zeroconf.async_close()


def test_twenty_hosts_find_the_services_of_all() -> None:
    found: dict[int, Any] = {}
    with lunar.Network(seed=1) as net:
        hosts = site(net, HOSTS)
        for at, host in enumerate(hosts):
            net.start(host, peer, at, found)
        net.run()
        assert all(host.devices["eth0"].groups == {} for host in hosts)  # everybody has left the group
    expected = {f"peer-{at}.{KIND}": ([address(at)], 8000 + at, str(at).encode()) for at in range(HOSTS)}
    assert found == dict.fromkeys(range(HOSTS), expected)


def test_the_same_seed_finds_them_in_the_same_way() -> None:
    def digest() -> str:
        with lunar.Network(seed=7) as net:
            for at, host in enumerate(site(net, 5)):
                net.start(host, peer, at, {})
            net.run()
            return net.digest()

    assert digest() == digest()


async def watch(states: list[tuple[float, str, ServiceStateChange]]) -> None:
    zeroconf = AsyncZeroconf(interfaces=[address(0)], ip_version=IPVersion.V4Only)

    def changed(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        states.append((asyncio.get_running_loop().time(), name.partition(".")[0], state_change))

    browser = AsyncServiceBrowser(zeroconf.zeroconf, KIND, handlers=[changed])
    await asyncio.sleep(200)
    await browser.async_cancel()
    await zeroconf.async_close()


async def offer(at: int, for_s: float) -> None:
    zeroconf = AsyncZeroconf(interfaces=[address(at)], ip_version=IPVersion.V4Only)
    await (await zeroconf.async_register_service(service(at)))
    await asyncio.sleep(for_s)
    await zeroconf.async_close()


def test_a_service_that_says_goodbye_is_gone_at_once_and_one_that_crashes_when_its_record_is_old() -> None:
    states: list[tuple[float, str, ServiceStateChange]] = []
    with lunar.Network(seed=1) as net:
        hosts = site(net, 3)
        net.start(hosts[0], watch, states)
        net.start(hosts[1], offer, 1, 10)
        net.start(hosts[2], offer, 2, 1000)
        net.at("15s", hosts[2].crash)
        net.run()
    ends = {name: at for at, name, change in states if change is ServiceStateChange.Removed}
    assert {name for _, name, change in states if change is ServiceStateChange.Added} == {"peer-1", "peer-2"}
    assert 10 < ends["peer-1"] < 13  # RFC 6762 (10.1): a record of no time, for which others wait a second
    assert "peer-2" not in ends  # a PTR record lives for 75 minutes, and nobody has told of its end


def test_a_name_that_somebody_has_is_refused() -> None:
    told: list[str] = []

    async def second() -> None:
        await asyncio.sleep(5)
        zeroconf = AsyncZeroconf(interfaces=[address(1)], ip_version=IPVersion.V4Only)
        try:
            await zeroconf.async_register_service(service(1, "peer-0"))
        except NonUniqueNameException:
            told.append("not unique")
        await zeroconf.async_close()

    with lunar.Network(seed=1) as net:
        hosts = site(net, 2)
        net.start(hosts[0], offer, 0, 20)
        net.start(hosts[1], second)
        net.run()
    assert told == ["not unique"]


def test_hosts_that_a_partition_parts_find_each_other_after_it() -> None:
    """Two hosts on a link; it is cut while both register, and both look again afterwards."""
    found: dict[int, Any] = {}

    async def late(at: int) -> None:
        zeroconf = AsyncZeroconf(interfaces=[address(at)], ip_version=IPVersion.V4Only)
        await (await zeroconf.async_register_service(service(at)))
        early = AsyncServiceInfo(KIND, f"peer-{1 - at}.{KIND}")
        assert not await early.async_request(zeroconf.zeroconf, 1000)
        await asyncio.sleep(10)
        info = AsyncServiceInfo(KIND, f"peer-{1 - at}.{KIND}")
        found[at] = await info.async_request(zeroconf.zeroconf, 3000) and info.port
        await asyncio.sleep(1)
        await zeroconf.async_close()

    with lunar.Network(seed=1) as net:
        hosts = site(net, 2)
        for at, host in enumerate(hosts):
            host.devices["eth0"].plugged = False
            net.start(host, late, at)

        def plug() -> None:
            for host in hosts:
                host.devices["eth0"].plugged = True

        net.at("5s", plug)
        net.run()
    assert found == {0: 8001, 1: 8000}


def test_a_program_with_threads_does_the_same() -> None:
    seen: list[str] = []

    def blocking(at: int) -> None:
        zeroconf = Zeroconf(interfaces=[address(at)], ip_version=IPVersion.V4Only)
        zeroconf.register_service(service(at))
        browser = ServiceBrowser(
            zeroconf, KIND, handlers=[lambda zeroconf, service_type, name, state_change: seen.append(f"{at}: {name}")]
        )
        time.sleep(6)
        browser.cancel()
        zeroconf.close()

    with lunar.Network(seed=1) as net:
        for at, host in enumerate(site(net, 3)):
            net.start(host, blocking, at)
        net.run()
    assert sorted(set(seen)) == [f"{at}: peer-{other}.{KIND}" for at in range(3) for other in range(3)]


def test_routers_are_told_of_the_group() -> None:
    told: list[bytes] = []

    def note(device: Any, frame: Frame) -> None:
        if isinstance(frame, Packet) and frame.protocol == IGMP:
            told.append(frame.payload)

    with lunar.Network(seed=1) as net:
        hosts = site(net, 2)
        hosts[0].devices["eth0"].tap = note
        net.start(hosts[0], offer, 0, 3)
        net.run()
        net.run(until=net.now + 2)
    group = parse_ipv4("224.0.0.251").to_bytes(4, "big")
    # Twice that it is heard, except from nobody; twice that it is heard no more.
    assert [(payload[8], payload[12:16]) for payload in told] == [(4, group)] * 2 + [(3, group)] * 2


@pytest.mark.parametrize("loss", ["10%"])
def test_loss_is_overcome(loss: str) -> None:
    found: dict[int, Any] = {}
    with lunar.Network(seed=3) as net:
        hosts = [net.host(f"host-{at}", address(at) + "/24") for at in range(4)]
        net.link(*hosts, delay="1ms", loss=loss)
        for at, host in enumerate(hosts):
            net.start(host, peer, at, found)
        net.run()
    assert all(len(told) == 4 for told in found.values()) and len(found) == 4
