"""Unmodified aiohttp and asyncio over IPv6: alone, beside IPv4, and where IPv6 is broken (RFC 8305, happy eyeballs).

A round trip takes 10 ms, and no link has a rate: times are sums. The names are the hosts' own; the order of a name's
addresses is RFC 6724's, so that programs try IPv6 first.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import web

import lunar
from lunar.links.impairments import Impairment
from lunar.packet import AF_INET6, Frame, Packet

ROUND_TRIP = 0.010
SIX = ("2001:db8::2/64", "2001:db8::3/64")
FOUR = ("10.0.0.2/24", "10.0.0.3/24")
# RFC 8305 section 8 recommends 250 ms between attempts; so do aiohttp and asyncio's documentation.
ATTEMPT_DELAY = 0.25


class WithoutIpv6(Impairment):
    """A path that loses IPv6, without a word."""

    def drops(self, frame: Frame) -> bool:
        return isinstance(frame, Packet) and frame.family == AF_INET6


def two_hosts(*families: tuple[str, str], **link: Any) -> tuple[lunar.Network, lunar.Host, lunar.Host]:
    """A server and a client on one link, with an address of each family."""
    net = lunar.Network(seed=1)
    server = net.host("server", [family[0] for family in families])
    client = net.host("client", [family[1] for family in families])
    net.link(server, client, delay="5ms", **link)
    return net, server, client


async def site(context: ssl.SSLContext | None = None) -> None:
    """A site on all addresses, that says who asks."""

    async def who(request: web.Request) -> web.Response:
        return web.json_response({"remote": request.remote, "host": request.host, "scheme": request.scheme})

    app = web.Application()
    app.router.add_get("/", who)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, None, 443 if context else 80, ssl_context=context).start()
    await asyncio.Event().wait()


async def ask(url: str, **options: Any) -> tuple[dict[str, Any], float]:
    """What the site says, and when."""
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as session, session.get(url, **options) as response:
        return await response.json(), round(loop.time(), 6)


def test_a_site_over_ipv6_alone() -> None:
    net, server, client = two_hosts(SIX)
    net.start(server, site, background=True)
    answer, at = net.run(ask("http://server/"), on=client)
    assert answer == {"remote": "2001:db8::3", "host": "server", "scheme": "http"}
    assert at == 2 * ROUND_TRIP


def test_a_literal_address_in_a_url() -> None:
    net, server, client = two_hosts(SIX)
    net.start(server, site, background=True)
    answer, at = net.run(ask("http://[2001:db8::2]:80/"), on=client)
    assert (answer["remote"], at) == ("2001:db8::3", 2 * ROUND_TRIP)


def test_tls_over_ipv6() -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("server").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    net, server, client = two_hosts(SIX)
    net.start(server, site, context, background=True)
    answer, at = net.run(ask("https://server/", ssl=trusting), on=client)
    assert (answer["remote"], answer["scheme"]) == ("2001:db8::3", "https")
    assert at == 3 * ROUND_TRIP


def test_both_families_prefer_ipv6() -> None:
    net, server, client = two_hosts(FOUR, SIX)
    net.start(server, site, background=True)
    answer, at = net.run(ask("http://server/"), on=client)
    assert (answer["remote"], at) == ("2001:db8::3", 2 * ROUND_TRIP)


def test_a_host_without_ipv6_uses_ipv4() -> None:
    net = lunar.Network(seed=1)
    server, client = net.host("server", ["10.0.0.2/24", "2001:db8::2/64"]), net.host("client", "10.0.0.3/24")
    net.link(server, client, delay="5ms")
    net.start(server, site, background=True)
    answer, at = net.run(ask("http://server/"), on=client)
    assert (answer["remote"], at) == ("10.0.0.3", 2 * ROUND_TRIP)


def test_aiohttp_falls_back_when_ipv6_is_silent() -> None:
    net, server, client = two_hosts(FOUR, SIX, impairment=WithoutIpv6)
    net.start(server, site, background=True)
    answer, at = net.run(ask("http://server/"), on=client)
    # The SYN over IPv6 gets no answer; 250 ms later another goes over IPv4.
    assert answer["remote"] == "10.0.0.3"
    assert at == ATTEMPT_DELAY + 2 * ROUND_TRIP


def test_asyncio_falls_back_as_well() -> None:
    net, server, client = two_hosts(FOUR, SIX, impairment=WithoutIpv6)
    net.start(server, site, background=True)

    async def connect(delay: float | None) -> tuple[str, float]:
        _reader, writer = await asyncio.open_connection("server", 80, happy_eyeballs_delay=delay)
        name = writer.get_extra_info("peername")[0]
        writer.close()
        return name, round(asyncio.get_running_loop().time(), 6)

    assert net.run(connect(ATTEMPT_DELAY), on=client) == ("10.0.0.2", ATTEMPT_DELAY + ROUND_TRIP)


def test_without_happy_eyeballs_the_program_waits_for_the_timeout() -> None:
    net, server, client = two_hosts(FOUR, SIX, impairment=WithoutIpv6)
    client.sh("sysctl -w net.ipv4.tcp_syn_retries=1")
    net.start(server, site, background=True)

    async def connect() -> tuple[str, float]:
        _reader, writer = await asyncio.open_connection("server", 80)
        name = writer.get_extra_info("peername")[0]
        writer.close()
        return name, round(asyncio.get_running_loop().time(), 6)

    # Two SYNs, of which the second waits a second and then two (RFC 6298); only then is the other address tried.
    name, at = net.run(connect(), on=client)
    assert name == "10.0.0.2"
    assert at > 3


def test_a_refusal_is_not_waited_for() -> None:
    net, server, client = two_hosts(FOUR, SIX)

    async def four_only() -> None:
        async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with await asyncio.start_server(greet, "0.0.0.0", 80) as listener:
            await listener.serve_forever()

    async def connect() -> tuple[str, float]:
        _reader, writer = await asyncio.open_connection("server", 80, happy_eyeballs_delay=ATTEMPT_DELAY)
        name = writer.get_extra_info("peername")[0]
        writer.close()
        return name, round(asyncio.get_running_loop().time(), 6)

    net.start(server, four_only, background=True)
    # A RST after one round trip; RFC 8305 section 5: a failed attempt starts the next one at once.
    assert net.run(connect(), on=client) == ("10.0.0.2", 2 * ROUND_TRIP)


def test_a_slow_ipv6_path_loses_the_race() -> None:
    """RFC 8305 section 5: all attempts run on; the first to succeed wins, and the others are cancelled."""
    net = lunar.Network(seed=1)
    server, client = net.host("server", SIX[0], FOUR[0]), net.host("client", SIX[1], FOUR[1])
    net.link(server.devices["eth0"], client.devices["eth0"], delay="400ms")
    net.link(server.devices["eth1"], client.devices["eth1"], delay="5ms")
    net.start(server, site, background=True)
    answer, at = net.run(ask("http://server/"), on=client)
    assert answer["remote"] == "10.0.0.3"
    assert at == ATTEMPT_DELAY + 2 * ROUND_TRIP


@pytest.mark.parametrize("clients", [20])
def test_many_clients_of_both_kinds(clients: int) -> None:
    """Clients with IPv4, IPv6 or both, on one switch with a site that has both."""
    net = lunar.Network(seed=1)
    server = net.host("server", ["10.0.0.200/24", "2001:db8::200/64"])
    hosts = [
        net.host(
            f"client-{number}",
            [f"10.0.0.{number + 1}/24"] * (number % 3 != 0) + [f"2001:db8::{number + 1}/64"] * (number % 3 != 1),
        )
        for number in range(clients)
    ]
    net.link(server, *hosts, delay="5ms")
    net.start(server, site, background=True)
    remotes: dict[int, str] = {}

    async def visit(number: int) -> None:
        answer, _ = await ask("http://server/")
        remotes[number] = answer["remote"]

    for number, host in enumerate(hosts):
        net.start(host, visit, number)
    net.run(until="1s")
    assert remotes == {
        number: f"10.0.0.{number + 1}" if number % 3 == 1 else f"2001:db8::{number + 1}" for number in range(clients)
    }
