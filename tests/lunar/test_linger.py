"""SO_LINGER of some seconds, socket(7): close() waits until the peer has acknowledged all, or the time is over."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from typing import Any

import pytest

from lunar.network import Network

MS = 1_000_000
# A round trip, and the 40 ms for which the server's ACK of the FIN waits to ride on its own FIN.
ACKNOWLEDGED = 50 * MS


class World:
    """A client and a server, 5 ms apart. The server accepts one connection and reads it after `reads_at` seconds."""

    def __init__(self, reads_at: float | None) -> None:
        self.network = Network(seed=1)
        self.server = self.network.host("server", "10.0.0.1/24")
        self.client = self.network.host("client", "10.0.0.2/24")
        self.network.link(self.server, self.client, delay="5ms")
        self.reads_at = reads_at
        self.read = 0
        self.network.start(self.server, self._serve)

    def _serve(self) -> None:
        with socket.create_server(("", 80)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock, _ = listener.accept()
        with sock:
            if self.reads_at is not None:
                time.sleep(self.reads_at)
                while data := sock.recv(65536):
                    self.read += len(data)
            else:
                time.sleep(100)

    def close_takes(self, size: int, seconds: int, close: Any = socket.socket.close) -> int:
        """How long close() of a connection takes, to which `size` bytes were written before, in nanoseconds."""
        took: list[int] = []

        def run() -> None:
            sock = socket.create_connection(("server", 80))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, seconds))
            sock.send(bytes(size))
            began = time.monotonic_ns()
            close(sock)
            took.append(time.monotonic_ns() - began)

        self.network.start(self.client, run)
        self.network.run(until="60s")
        return took[0]


def test_it_waits_for_the_acknowledgment_of_the_fin() -> None:
    world = World(reads_at=1)
    assert world.close_takes(size=100, seconds=5) == ACKNOWLEDGED
    assert world.read == 100


def test_a_slow_reader_holds_it_up() -> None:
    world = World(reads_at=2)
    took = world.close_takes(size=20_000, seconds=5)
    assert 1_900 * MS < took < 5_000 * MS
    assert world.read == 20_000


def test_it_gives_up_after_its_time() -> None:
    assert World(reads_at=None).close_takes(size=20_000, seconds=3) == 3_000 * MS


def test_what_it_leaves_is_still_delivered() -> None:
    world = World(reads_at=4)
    assert world.close_takes(size=20_000, seconds=1) == 1_000 * MS
    assert world.read == 20_000


@pytest.mark.parametrize("close", [lambda sock: os.close(sock.detach()), lambda sock: sock.__exit__()])
def test_so_do_the_other_ways_to_close(close: Any) -> None:
    assert World(reads_at=1).close_takes(size=100, seconds=5, close=close) == ACKNOWLEDGED


def test_another_descriptor_keeps_it_open() -> None:
    held: list[Any] = []

    def close(sock: socket.socket) -> None:
        held.append(sock.dup())
        sock.close()

    assert World(reads_at=1).close_takes(size=100, seconds=5, close=close) == 0


def test_a_coroutine_holds_up_its_own_loop() -> None:
    world = World(reads_at=1)
    log: list[Any] = []

    async def close() -> None:
        sock = socket.create_connection(("server", 80))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 5))
        sock.send(bytes(100))
        began = time.monotonic_ns()
        asyncio.get_running_loop().call_later(0.001, lambda: log.append(time.monotonic_ns() - began))
        sock.close()
        await asyncio.sleep(1)

    world.network.start(world.client, close)
    world.network.run(until="60s")
    assert log == [ACKNOWLEDGED]


def test_unread_data_resets_at_once() -> None:
    network = Network(seed=1)
    host = network.host("host", "10.0.0.1/24")
    took: list[int] = []

    def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            near = socket.create_connection(listener.getsockname())
            far, _ = listener.accept()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 5))
        far.send(b"x")
        near.send(b"y")
        time.sleep(1)
        began = time.monotonic_ns()
        near.close()
        took.append(time.monotonic_ns() - began)
        far.close()

    network.start(host, run)
    network.run()
    assert took == [0]
