"""A live session with something of everything, whose inputs come from a thread of the machine at moments of its own.

`Session` is a network of two hosts and a gate that reads a pipe. Each message that comes in makes a program open a
connection, over a link that loses packets, to another that answers; besides, there are timers, a blocking program with
a thread, random numbers, and sockets that only the garbage collector closes. `heard` is what happened, with its virtual
times. Nothing in it is different when the session is repeated: that is what the tests look at.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import lunar
from weaves.scheduler import Call

PORT = 7
WORK_BYTES = 1_000_000


class Session:
    """One run of it. `network` are arguments of `lunar.Network`; the others say what the thread does."""

    def __init__(
        self, *, messages: int = 60, seed: int = 1, interrupt_after: int | None = None, **network: Any
    ) -> None:
        self.net = net = lunar.Network(seed=1, **network)
        self.heard: list[tuple[float, str]] = []
        self._messages = messages
        self._interrupt_after = interrupt_after
        self._chance = random.Random(seed)
        self._left = messages
        self._reader = self._writer = -1
        self._thread: threading.Thread | None = None
        self._wanted: list[asyncio.Future[bytes]] = []
        self._waiting: list[bytes] = []
        self.client = net.host("client", "10.0.0.1/24")
        self.server = net.host("server", "10.0.0.2/24")
        net.link(self.client, self.server, rate="10mbit", delay="1ms", loss="2%", queue=20)
        gates = net.supervisor.gates
        self._gate = gates.gate("pipe", lambda data: Call(self._arrived, data))
        gates.on_open(self._open)
        gates.on_close(self._close)
        net.start(self.server, self._serve, background=True)
        net.start(self.server, self._block, background=True)
        net.start(self.client, self._tick, background=True)

    def run(self, **options: Any) -> int:
        """Until all messages have been answered. Returns how many bytes came back."""
        result: int = self.net.run(self._talk, on=self.client, **options)
        return result

    def end(self) -> tuple[str, float, int, list[tuple[float, str]]]:
        """What a repetition must have, too."""
        net = self.net
        steps = int(net.scheduler.fired + net.scheduler.turns_taken)
        found = net.digest(), net.now, steps, list(self.heard)
        net.close()
        return found

    # The machine's side

    def _open(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        self.net.supervisor.gates.watch(self._reader, self._readable)
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        for number in range(self._messages):
            if number == self._interrupt_after:
                os.kill(os.getpid(), signal.SIGINT)
                return
            # Work of some length: no two runs have their messages at the same times.
            hashlib.sha256(bytes(self._chance.randrange(WORK_BYTES))).digest()
            os.write(self._writer, bytes([number, self._chance.randrange(256)]))

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(64):
                data = os.read(self._reader, 2)
                if not data:
                    return
                self._gate.admit(data)

    def _close(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self.net.supervisor.gates.unwatch(self._reader)
            os.close(self._reader)
            os.close(self._writer)

    # Inside

    def _note(self, what: str) -> None:
        self.heard.append((time.monotonic(), what))

    def _arrived(self, data: bytes) -> None:
        self.heard.append((self.net.now, f"came {data.hex()}"))
        if self._wanted and not self._wanted[0].done():
            self._wanted.pop(0).set_result(data)
        else:
            self._waiting.append(data)

    async def _next(self) -> bytes:
        if self._waiting:
            return self._waiting.pop(0)
        self._wanted.append(asyncio.get_running_loop().create_future())
        return await self._wanted[-1]

    async def _talk(self) -> int:
        received = 0
        for _ in range(self._messages):
            data = await self._next()
            reader, writer = await asyncio.open_connection("server", PORT)
            writer.write(data * random.randrange(1, 2_000))
            writer.write_eof()
            answer = await reader.read()
            received += len(answer)
            self._note(f"got {len(answer)} {random.random()}")
            # Closed by whom only the collector finds: the FIN leaves when that runs.
            knot: list[Any] = [writer]
            knot.append(knot)
        return received

    async def _serve(self) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            data = await reader.read()
            await asyncio.sleep(random.random() / 1000)
            writer.write(data[::-1])
            writer.close()

        server = await asyncio.start_server(answer, "", PORT)
        # Nothing is to be awaited when a session that was cut off is thrown away, as at the end of an "async with".
        await asyncio.get_running_loop().create_future()
        server.close()

    def _block(self) -> None:
        """Datagrams between two threads of a program that blocks."""
        box = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        box.bind(("127.0.0.1", 9))

        def post() -> None:
            for number in range(10_000):
                time.sleep(0.005)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                    sender.sendto(b"%d" % number, ("127.0.0.1", 9))

        threading.Thread(target=post, daemon=True).start()
        while True:
            self._note(f"box {box.recv(100).decode()}")

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.0017)


@contextlib.contextmanager
def session(**options: Any) -> Iterator[Session]:
    """A `Session` that is closed at the end."""
    made = Session(**options)
    try:
        yield made
    finally:
        made.net.close()
