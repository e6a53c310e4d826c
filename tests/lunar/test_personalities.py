"""Hosts that behave as other systems: what is seen of it on the wire and in the clock."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import lunar
from lunar.builder import build
from lunar.packet import SYN, TcpSegment
from lunar.personalities import PERSONALITIES, RULES, Personality
from weaves.tapestry import parse
from weaves.tapestry_errors import TapestryError

MS = 1_000_000


def sent_by(stack: str | None, bulk: int = 100_000, loss_at: int | None = None) -> list[tuple[int, TcpSegment]]:
    """What a client of that kind sends that writes `bulk` bytes to a Linux 6.18 behind 100 ms; (ns, segment)."""
    net = lunar.Network(seed=1)
    client = net.host("client", "10.0.0.1/24", stack=stack)
    server = net.host("server", "10.0.0.2/24")
    net.link(client, server, delay="50ms")
    segments: list[tuple[int, TcpSegment]] = []

    def tap(device: Any, frame: Any) -> None:
        if isinstance(frame, TcpSegment) and frame.sport != 80:
            segments.append((net.scheduler.now_ns, frame))

    client.devices["eth0"].tap = tap

    async def serve() -> None:
        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with await asyncio.start_server(take, "0.0.0.0", 80) as listener:
            await listener.serve_forever()

    async def write() -> None:
        _reader, writer = await asyncio.open_connection("server", 80)
        writer.write(bytes(bulk))
        writer.write_eof()
        await _reader.read()
        writer.close()

    net.start(server, serve, background=True)
    net.run(write(), on=client)
    net.close()
    return segments


def first_flight(segments: list[tuple[int, TcpSegment]]) -> int:
    """How many segments with data leave before the first answer to one."""
    return sum(1 for at, segment in segments if segment.payload and at < 200 * MS)


@pytest.mark.parametrize(
    ("stack", "segments"),
    [
        (None, 10),
        ("linux-6.18", 10),
        ("linux-2.4", 3),  # RFC 3390: 4380 bytes of 1448
        ("freebsd", 10),
    ],
)
def test_the_initial_window(stack: str | None, segments: int) -> None:
    assert first_flight(sent_by(stack)) == segments


def test_the_window_scale_follows_the_buffers() -> None:
    scales = {stack: sent_by(stack)[0][1].window_scale for stack in ("linux-6.18", "linux-2.4", "freebsd")}
    # 32 MiB, 174,760 bytes and 2 MiB in 16 bits.
    assert scales == {"linux-6.18": 10, "linux-2.4": 2, "freebsd": 6}


def unanswered_syns(stack: str) -> list[float]:
    """When a client of that kind sends its SYNs to nobody, in seconds."""
    net = lunar.Network(seed=1)
    client = net.host("client", "10.0.0.1/24", stack=stack)
    server = net.host("server", "10.0.0.2/24")
    net.link(client, server, loss=1.0)
    times: list[float] = []

    def tap(device: Any, frame: Any) -> None:
        if isinstance(frame, TcpSegment) and frame.flags & SYN:
            times.append(net.now)

    client.devices["eth0"].tap = tap

    async def connect() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.open_connection("10.0.0.2", 80)

    net.run(connect(), on=client)
    return times


def test_the_first_timeout() -> None:
    assert unanswered_syns("linux-6.18")[:3] == [0.0, 1.0, 2.0]  # tcp_syn_linear_timeouts
    assert unanswered_syns("linux-2.4") == [0.0, 3.0, 9.0, 21.0, 45.0, 93.0]
    assert unanswered_syns("freebsd")[:4] == [0.0, 1.0, 3.0, 7.0]


def test_timers_fire_at_ticks() -> None:
    net = lunar.Network(seed=1)
    client = net.host("client", "10.0.0.1/24", stack="linux-2.4")
    net.link(client, net.host("server", "10.0.0.2/24"), loss=1.0)
    times: list[float] = []
    client.devices["eth0"].tap = lambda device, frame: times.append(net.now)

    async def connect() -> None:
        await asyncio.sleep(0.0123)
        with pytest.raises(TimeoutError):
            await asyncio.open_connection("10.0.0.2", 80)

    net.run(connect(), on=client)
    # Due 3 s after each, at the next multiple of 10 ms.
    assert [round(at, 6) for at in times[:3]] == [0.0123, 3.02, 9.02]


def test_round_trips_are_measured_in_ticks() -> None:
    net = lunar.Network(seed=1)
    old, new = net.host("old", "10.0.0.1/24", stack="linux-2.4"), net.host("new", "10.0.0.2/24")
    net.link(old, new, delay="3ms")
    measured: list[int] = []

    async def serve() -> None:
        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.close()

        async with await asyncio.start_server(take, "0.0.0.0", 80) as listener:
            await listener.serve_forever()

    async def connect() -> None:
        _reader, writer = await asyncio.open_connection("new", 80)
        sock: Any = writer.get_extra_info("socket")
        measured.append(int.from_bytes(sock.getsockopt(6, 11, 104)[68:72], "little"))  # tcpi_rtt, in microseconds
        writer.write(b"x")
        await _reader.read()
        writer.close()

    net.start(new, serve, background=True)
    net.run(connect(), on=old)
    assert measured == [10_000]  # 6 ms


def test_a_net_line_comes_after_it() -> None:
    text = '[hosts.a]\nstack = "linux-2.4"\nnet = "sysctl -w net.ipv4.tcp_sack=0"\n'
    net = build(parse(text, Path("t.toml")), seed=1)
    host = net.hosts["a"]
    assert host.sysctl("net.ipv4.tcp_congestion_control") == ("reno",)
    assert host.sysctl("net.ipv4.tcp_sack") == (0,)
    host.crash()
    host.boot()
    assert host.sysctl("net.ipv4.tcp_congestion_control") == ("reno",)
    assert host.sysctl("net.ipv4.tcp_sack") == (0,)


def test_a_tapestry_adds_its_own() -> None:
    text = """
    [stacks.mine]
    based_on = "linux-2.4"
    sysctl = { "net.ipv4.ip_default_ttl" = 200 }
    rules = { initial-window = 4 }
    [stacks.more]
    based_on = "mine"
    [hosts.a]
    stack = "more"
    """
    host = build(parse(text, Path("t.toml")), seed=1).hosts["a"]
    assert host.sysctl("net.ipv4.ip_default_ttl") == (200,)
    assert host.sysctl("net.ipv4.tcp_congestion_control") == ("reno",)
    assert (host.tcp.tables.rules.initial_window, host.tcp.tables.rules.tick_ns) == (4, 10 * MS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[hosts.a]\nstack = "plan9"', r'2: \[hosts.a\] stack: there is no stack "plan9"; expected linux-6.18'),
        ('[hosts.a]\nstack = "nosuch.module:Stack"', r"2: \[hosts.a\] stack: .*No module named 'nosuch'"),
        ('[hosts.a]\nstack = "json:dumps"', r"expected a class derived from lunar\.stack\.Stack"),
        ('[stacks.freebsd]\nbased_on = "linux-2.4"', r'1: \[stacks.freebsd\]: stack "freebsd" is there already'),
        ('[stacks.x]\nbased_on = "y"', r'1: \[stacks.x\].*there is no stack "y"'),
        ('[stacks.x]\nsysctl = { "net.ipv4.nosuch" = 1 }', r'does not obey the parameter "net.ipv4.nosuch"'),
        ('[stacks.x]\nsysctl = { "net.ipv4.ip_forward" = 2 }', r"net.ipv4.ip_forward=2: expected 0 to 1"),
        ('[stacks.x]\nsysctl = { "net.ipv4.ip_forward" = true }', r"true is a boolean; expected an integer or"),
        ('[stacks.x]\nrules = { warp = 9 }', r'there is no rule "warp"; expected initial-window, initial-rto, hz'),
        ('[stacks.x]\nrules = { hz = 7 }', r"hz: 7; expected 0 \(no ticks\), 100, 250"),
        ('[stacks.x]\nrules = { initial-window = "many" }', r"initial-window: 'many'; expected \"rfc3390\", or 1 to"),
        ('[stacks.x]\nrules = { initial-rto = 3 }', r"initial-rto: 3; expected a duration"),
    ],
)
def test_mistakes_have_a_place(text: str, message: str) -> None:
    with pytest.raises(TapestryError, match=message):
        build(parse(text + "\n", Path("t.toml")), seed=1)


def test_the_documentation_has_all() -> None:
    page = Path("docs/personalities.md").read_text()
    for name in [*PERSONALITIES, *RULES]:
        assert f"`{name}`" in page, name
    for one in PERSONALITIES.values():
        for parameter, value in one.sysctl.items():
            assert f"`{parameter}`" in page and str(value).split()[-1] in page, parameter


def test_python_makes_one() -> None:
    net = lunar.Network()
    host = net.host("a", stack=Personality("mine", {"net.ipv4.ip_default_ttl": 9}))
    assert host.sysctl("net.ipv4.ip_default_ttl") == (9,)
