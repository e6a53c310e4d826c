"""Somebody else's simulator, as small as one can be: a heap of calls, and stations that hold a stack of ours each.

It shows that lunar/embedded.py is enough to be under one. Time is a whole number of nanoseconds. Besides, a client and
a server that run on the stacks, blocking and with asyncio.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import heapq
import http.server
import itertools
import random
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from lunar.embedded import Embedded, Surroundings

MS = 1_000_000
SITE = "10.0.0.2"
CONTENT = random.Random(7).randbytes(120_000)


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, format: str, *args: Any) -> None:
        """It would go to this test's stderr."""


def serve() -> None:
    with http.server.HTTPServer(("", 80), Page) as server:
        server.handle_request()


def fetch(address: str = SITE) -> tuple[str, int]:
    """The content's digest, and when the last byte of it had come, by the program's own clock."""
    with urllib.request.urlopen(f"http://{address}/") as answer:
        data = answer.read()
    return hashlib.sha256(data).hexdigest(), time.monotonic_ns()


async def serve_async(address: str = "0.0.0.0") -> None:
    over = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\n")
        writer.write(CONTENT)
        writer.close()
        await writer.wait_closed()
        over.set()

    async with await asyncio.start_server(answer, address, 80):
        await over.wait()


async def fetch_async(address: str = SITE) -> tuple[str, int]:
    reader, writer = await asyncio.open_connection(address, 80)
    writer.write(b"all\n")
    data = await reader.read()
    writer.close()
    return hashlib.sha256(data).hexdigest(), time.monotonic_ns()


WHOLE = hashlib.sha256(CONTENT).hexdigest()
PROGRAMS = [pytest.param(serve, fetch, id="blocking"), pytest.param(serve_async, fetch_async, id="asyncio")]


class Simulator:
    def __init__(self, begins_ns: int = 0) -> None:
        self.now_ns = begins_ns
        self._heap: list[tuple[int, int, Callable[..., object], tuple[Any, ...]]] = []
        self._numbers = itertools.count()

    def at(self, at_ns: int, function: Callable[..., object], *args: Any) -> None:
        assert at_ns >= self.now_ns, "asked for in the past"
        heapq.heappush(self._heap, (at_ns, next(self._numbers), function, args))

    def run(self, until_ns: int | None = None) -> None:
        """Until nothing is left, or up to and including `until_ns`."""
        while self._heap and (until_ns is None or self._heap[0][0] <= until_ns):
            self.now_ns, _, function, args = heapq.heappop(self._heap)
            function(*args)
        if until_ns is not None:
            self.now_ns = max(self.now_ns, until_ns)


# What a cable does with a frame from the device `id` of a station.
Cable = Callable[[int, bytes], object]


class Station(Surroundings):
    """A stack, whose frames go to `cable`. `asked` is what it has asked of its timer."""

    def __init__(self, simulator: Simulator, **options: Any) -> None:
        self.simulator = simulator
        self.cable: Cable = lambda id, data: None
        self.asked: list[int | None] = []
        self.due_ns: int | None = None
        self.stack = Embedded(self, **options)

    @property
    def now_ns(self) -> int:
        return self.simulator.now_ns

    def write_msg(self, id: int, data: bytes) -> None:
        self.cable(id, data)

    def set_timer(self, at_ns: int | None) -> None:
        self.asked.append(at_ns)
        self.due_ns = at_ns
        if at_ns is not None:
            self.simulator.at(at_ns, self._fire, at_ns)

    def _fire(self, at_ns: int) -> None:
        if at_ns == self.due_ns:  # it may have been put off
            self.due_ns = None
            self.stack.timer()


def join(a: Station, b: Station, delay_ns: int = 0) -> None:
    """A cable between their devices 0 that does nothing but wait; without a delay it hands on within the call."""

    def towards(station: Station) -> Cable:
        def carry(_id: int, data: bytes) -> None:
            if delay_ns == 0:
                station.stack.read_msg(0, data)
            else:
                station.simulator.at(station.simulator.now_ns + delay_ns, station.stack.read_msg, 0, data)

        return carry

    a.cable, b.cable = towards(b), towards(a)


def pair(simulator: Simulator, **options: Any) -> tuple[Station, Station]:
    """A client's stack and a server's, of two hosts of their own."""
    client, server = Station(simulator, **options), Station(simulator, **options)
    client.stack.host("client", "10.0.0.1/24")
    server.stack.host("server", "10.0.0.2/24")
    return client, server


def started(client: Station, server: Station, serving: Any = serve, fetching: Any = fetch) -> list[Any]:
    """Start both programs. What the client's gives will be in the list."""
    got: list[Any] = []
    server.stack.start(server.stack.network.hosts["server"], serving)
    client.stack.start(
        client.stack.network.hosts["client"], fetching, on_end=lambda string: got.append(string.error or string.result)
    )
    return got


def all_of(*stations: Station) -> contextlib.ExitStack:
    """A context at whose end their stacks are closed."""
    open_ones = contextlib.ExitStack()
    for station in stations:
        open_ones.enter_context(station.stack)
    return open_ones
