"""Our stack under somebody else's simulator, event loop or kernel: three calls are enough, and no time goes by itself.

The simulators are the small one of small_simulator.py and simpy; docs/stacks.md runs simpy with all that it can do. The
calls one by one are in test_embedded_calls.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import simpy
import uvloop

import lunar
from lunar.embedded import Embedded, Surroundings
from lunar.kernel.namespace import KernelUnavailable, Namespace
from lunar.kernel.tun import IFF_TAP, TunDevice
from lunar.stack import Boundary, Stack
from lunar.wire import ethernet
from tests.lunar.small_simulator import (
    CONTENT,
    MS,
    PROGRAMS,
    SITE,
    WHOLE,
    Simulator,
    Station,
    all_of,
    fetch,
    join,
    pair,
    serve,
    started,
)  # fmt: skip
from tests.lunar.tiny_stack import TinyStack
from weaves.loader import load


def our_own_network(serving: Any, fetching: Any, rate: int, delay_ns: int) -> tuple[str, int]:
    with lunar.Network(seed=1, arp=True) as net:
        client, server = net.host("client", "10.0.0.1/24"), net.host("server", "10.0.0.2/24")
        net.link(client, server, rate=rate, delay=delay_ns, queue=1_000_000)
        net.start(server, serving)
        result: tuple[str, int] = net.run(fetching, on=client)
        return result


# Beside our own links


class SimpyStation(Surroundings):
    """A stack with a cable of simpy's towards another, which serializes at `rate` and delays."""

    def __init__(self, env: simpy.Environment, rate: int, delay_ns: int) -> None:
        self.env, self.rate, self.delay_ns = env, rate, delay_ns
        self.queue = simpy.Store(env)
        self.peer: SimpyStation | None = None
        env.process(self.cable())
        self.stack = Embedded(self)

    @property
    def now_ns(self) -> int:
        return int(self.env.now)

    def write_msg(self, id: int, data: bytes) -> None:
        self.queue.put(data)

    def set_timer(self, at_ns: int | None) -> None:
        if at_ns is not None:
            self.env.timeout(at_ns - self.now_ns).callbacks.append(lambda _: self.stack.timer())

    def cable(self) -> Iterator[Any]:
        while True:
            data = yield self.queue.get()
            yield self.env.timeout(-(-len(data) * 8 * 1_000_000_000 // self.rate))
            self.env.timeout(self.delay_ns, data).callbacks.append(self.arrive)

    def arrive(self, arrival: Any) -> None:
        assert self.peer is not None
        self.peer.stack.read_msg(0, arrival.value)


@pytest.mark.parametrize(("serving", "fetching"), PROGRAMS)
@pytest.mark.parametrize(("rate", "delay_ns"), [(10_000_000, 5 * MS), (1_000_000_000, 20 * MS)])
def test_under_simpy_a_transfer_ends_at_the_nanosecond_of_our_own_links(
    serving: Any, fetching: Any, rate: int, delay_ns: int
) -> None:
    env = simpy.Environment()
    client, server = SimpyStation(env, rate, delay_ns), SimpyStation(env, rate, delay_ns)
    client.peer, server.peer = server, client
    with client.stack, server.stack:
        got: list[Any] = []
        server.stack.start(server.stack.host("server", "10.0.0.2/24"), serving)
        client.stack.start(
            client.stack.host("client", "10.0.0.1/24"), fetching, on_end=lambda string: got.append(string.result)
        )
        env.run()
        assert client.stack.over and server.stack.over
    assert got == [our_own_network(serving, fetching, rate, delay_ns)]
    assert got[0][0] == WHOLE


# Back to back


@pytest.mark.parametrize("delay_ns", [0, 3 * MS])
def test_two_stacks_back_to_back(delay_ns: int) -> None:
    simulator = Simulator()
    client, server = pair(simulator)
    with all_of(client, server):
        join(client, server, delay_ns)
        got = started(client, server)
        simulator.run()
        assert [digest for digest, _ in got] == [WHOLE]


def test_one_stack_may_have_several_hosts_and_links_of_its_own() -> None:
    """Two sites behind a router, all in one stack with one open device; the clients are another's."""
    simulator = Simulator()
    inside, client = Station(simulator), Station(simulator)
    with all_of(inside, client):
        net = inside.stack.network
        router = inside.stack.host("router", "10.0.0.254/24")
        for number in (1, 2):
            site = net.host(f"site-{number}", f"10.1.{number}.2/24")
            inner = router.add_device([(0x0A01_0001 | number << 8, 24)])
            net.link(site, inner, delay="1ms")
            site.sh(f"route add default gw 10.1.{number}.1")
            inside.stack.start(site, serve)
        router.sh("sysctl -w net.ipv4.ip_forward=1")
        host = client.stack.host("client", "10.0.0.1/24")
        host.sh("route add default gw 10.0.0.254")
        join(inside, client, 2 * MS)
        got: list[Any] = []
        for number in (1, 2):
            client.stack.start(host, fetch, f"10.1.{number}.2", on_end=lambda string: got.append(string.result[0]))
        simulator.run()
        assert got == [WHOLE, WHOLE]


def test_a_tapestry_may_be_embedded(tmp_path: Path) -> None:
    (tmp_path / "site.py").write_text(
        "import socket\n"
        "with socket.create_server(('', 80)) as listener:\n"
        "    sock, peer = listener.accept()\n"
        "    sock.sendall(repr(peer).encode())\n"
    )
    (tmp_path / "site.toml").write_text(
        '[hosts.server]\neth0 = "10.0.0.2/24"\nstrings = [{ run = "site.py", start = "10ms" }]\n'
    )
    simulator = Simulator()
    client = Station(simulator)
    live = load(tmp_path / "site.toml")
    assert isinstance(live.network, lunar.Network)
    server = Station(simulator, network=live.network)
    with all_of(client, server):
        assert server.stack.open("server.eth0") == 0
        server.stack.timer()
        join(client, server, MS)
        host = client.stack.host("client", "10.0.0.1/24")
        got: list[Any] = []

        def ask() -> bytes:
            with socket.create_connection((SITE, 80)) as sock:
                return sock.recv(100)

        client.stack.start(host, ask, at="1s", on_end=lambda string: got.append(string.error or string.result))
        simulator.run()
        assert [data.startswith(b"('10.0.0.1', ") for data in got] == [True]
        assert live.ok
    live.close()


# As the stack of a host of ours: the mirror image, in the mirror


class Ours(Stack):
    """An `Embedded` is a stack for a host of another network, whose boundary is its surroundings."""

    def __init__(self, boundary: Boundary) -> None:
        super().__init__(boundary)
        self.inner: Embedded | None = None

    def configured(self) -> None:
        if self.inner is None and self.boundary.devices and self.boundary.devices[0].addresses:
            device = self.boundary.devices[0]
            self.inner = Embedded(self.boundary)
            self.inner.network.host("inner", "10.0.0.1/24")
            self.inner.open("inner", mac=int(device.mac))

    def read_msg(self, id: int, data: bytes) -> None:
        assert self.inner is not None
        self.inner.read_msg(id, data)

    def timer(self) -> None:
        assert self.inner is not None
        self.inner.timer()


def test_beside_another_stack_of_a_network_of_ours() -> None:
    """Its peer is TinyStack, which speaks no ARP."""
    with lunar.Network(seed=1) as net:
        outer = net.host("outer", "10.0.0.1/24", stack=Ours)
        tiny = net.host("tiny", "10.0.0.2/24", stack=TinyStack)
        net.link(outer, tiny, delay="5ms")

        def echo() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind(("0.0.0.0", 7))
                data, peer = sock.recvfrom(2000)
                sock.sendto(data.upper(), peer)

        def ask() -> tuple[bytes, int]:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.connect((SITE, 7))
                sock.send(b"hello")
                return sock.recv(100), time.monotonic_ns()

        boundary = outer.boundary
        assert boundary is not None and isinstance(boundary.stack, Ours)
        inner = boundary.stack.inner
        assert inner is not None
        host = inner.network.hosts["inner"]
        host.sh(f"arp -s {SITE} {ethernet.mac_text(int(tiny.devices['eth0'].mac))}")
        got: list[Any] = []
        inner.start(host, ask, on_end=lambda string: got.append(string.error or string.result))
        net.run(echo, on=tiny)
        net.run(until="1s")
        assert got == [(b"HELLO", 10 * MS)]
        inner.close()


def test_within_a_network_of_ours_beside_lunars_own_stack() -> None:
    with lunar.Network(seed=1, arp=True) as net:
        outer = net.host("outer", "10.0.0.1/24", stack=Ours)
        server = net.host("server", "10.0.0.2/24")
        net.link(outer, server, rate=10_000_000, delay=5 * MS, queue=1_000_000)
        assert outer.boundary is not None and isinstance(outer.boundary.stack, Ours)
        inner = outer.boundary.stack.inner
        assert inner is not None
        got: list[Any] = []
        host = inner.network.hosts["inner"]
        inner.start(host, fetch, on_end=lambda string: got.append(string.error or string.result))
        net.run(serve, on=server)
        net.run(until="10s")
        assert [digest for digest, _ in got] == [WHOLE]
        inner.close()


# Under the machine's kernel


def unavailable() -> str:
    try:
        TunDevice(Namespace(), "tap0", IFF_TAP).close()
    except KernelUnavailable as error:
        return str(error)
    return "" if shutil.which("curl") else "curl is not installed"


WHY_NOT = unavailable()


class RealLoop(Surroundings):
    """The 30 lines under which the stack has the machine's kernel for a neighbour."""

    def __init__(self, tap: TunDevice) -> None:
        self.tap = tap
        self.due_ns: int | None = None
        self.stack = Embedded(self)

    @property
    def now_ns(self) -> int:
        return time.monotonic_ns()

    def write_msg(self, id: int, data: bytes) -> None:
        self.tap.write(data)

    def set_timer(self, at_ns: int | None) -> None:
        self.due_ns = at_ns

    def run(self, over: Callable[[], bool]) -> None:
        while not over():
            wait_s = 0.05 if self.due_ns is None else min(0.05, max(0, (self.due_ns - self.now_ns) / 1e9))
            if select.select([self.tap.descriptor], [], [], wait_s)[0]:
                self.stack.read_msg(0, os.read(self.tap.descriptor, 65536))
            if self.due_ns is not None and self.due_ns <= self.now_ns:
                self.stack.timer()


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
def test_the_machines_kernel_fetches_from_it_over_a_tap_device() -> None:
    namespace = Namespace()
    loop = RealLoop(TunDevice(namespace, "tap0", IFF_TAP))
    namespace.command("ip", "addr", "add", "10.0.0.1/24", "dev", "tap0")
    namespace.command("ip", "link", "set", "tap0", "up")
    with loop.stack as stack, contextlib.closing(loop.tap):
        server = stack.host("server", "10.0.0.2/24")
        stack.start(server, serve)
        with namespace:
            client = subprocess.Popen(
                ["curl", "-s", "--max-time", "60", f"http://{SITE}/"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        read: list[bytes] = []
        assert client.stdout is not None
        reader = threading.Thread(target=lambda: read.append(client.stdout.read()))  # type: ignore[union-attr]
        reader.start()
        loop.run(lambda: not reader.is_alive())
        assert client.wait() == 0
        assert read == [CONTENT]


# In a loop of asyncio's


class InLoop(Surroundings):
    """A stack in a running event loop, whose timer is the loop's."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.peer: InLoop | None = None
        self.handle: asyncio.TimerHandle | None = None
        self.stack = Embedded(self)

    @property
    def now_ns(self) -> int:
        return round(self.loop.time() * 1e9)

    def write_msg(self, id: int, data: bytes) -> None:
        assert self.peer is not None
        self.loop.call_soon(self.peer.stack.read_msg, 0, data)

    def set_timer(self, at_ns: int | None) -> None:
        if self.handle is not None:
            self.handle.cancel()
        self.handle = None if at_ns is None else self.loop.call_at(at_ns / 1e9, self.stack.timer)


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize(("serving", "fetching"), PROGRAMS)
def test_inside_a_running_event_loop(runner: Callable[[Any], Any], serving: Any, fetching: Any) -> None:
    async def main() -> tuple[str, bool]:
        client, server = InLoop(), InLoop()
        client.peer, server.peer = server, client
        with client.stack, server.stack:
            done: asyncio.Future[Any] = client.loop.create_future()
            server.stack.start(server.stack.host("server", "10.0.0.2/24"), serving)
            client.stack.start(client.stack.host("client", "10.0.0.1/24"), fetching, on_end=done.set_result)
            string = await asyncio.wait_for(done, 60)
            assert string.error is None
            return string.result[0], asyncio.get_running_loop() is client.loop

    assert runner(main()) == (WHOLE, True)
