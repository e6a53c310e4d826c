"""Unix sockets by name on virtual hosts: whose names they are, and waiting for a place in the queue, in virtual time.

That results and errors are the machine's is shown in tests/parity/test_descriptor_parity.py.
"""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from two_hosts import TwoHosts

NAME = b"\0service"


def listening(name: Any, backlog: int = 0) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(name)
    except OSError:
        listener.close()
        raise
    listener.listen(backlog)
    return listener


def connected(name: Any) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(name)
    except OSError:
        sock.close()
        raise
    return sock


def test_names_are_the_hosts(hosts: TwoHosts, tmp_path: Path) -> None:
    path = str(tmp_path / "name")

    def serve() -> list[socket.socket]:
        return [listening(name) for name in (NAME, path)]

    def ask() -> list[str]:
        refused = []
        for name in (NAME, path):
            with pytest.raises(ConnectionRefusedError) as caught:
                connected(name)
            refused.append(type(caught.value).__name__)
        return refused

    kept = hosts.net.run(serve, on=hosts.server)
    # The file is there for all; who listens is known to the server's host alone.
    assert hosts.net.run(ask, on=hosts.client) == ["ConnectionRefusedError"] * 2
    own = hosts.net.run(lambda: [connected(name) for name in (NAME, path)], on=hosts.server)
    for sock in [*own, *kept]:
        sock.close()
    assert hosts.server.descriptors.all() == hosts.client.descriptors.all() == []


def test_a_full_queue_lets_callers_wait(hosts: TwoHosts) -> None:
    async def main() -> list[float]:
        listener = listening(NAME)
        first = connected(NAME)

        def call() -> float:
            with connected(NAME):
                return time.monotonic()

        def call_for_a_second() -> float:
            with socket.socket(socket.AF_UNIX) as sock, pytest.raises(TimeoutError):
                sock.settimeout(1)
                sock.connect(NAME)
            return time.monotonic()

        calling = [asyncio.create_task(asyncio.to_thread(what)) for what in (call, call_for_a_second)]
        await asyncio.sleep(3)
        accepted, _ = listener.accept()
        times = [await call for call in calling]
        for sock in (first, accepted, listener):
            sock.close()
        return times

    assert hosts.net.run(main, on=hosts.server) == [3.0, 1.0]


def test_a_name_is_free_when_its_socket_is_closed(hosts: TwoHosts) -> None:
    def main() -> None:
        for _ in range(3):
            listener = listening(NAME)
            with pytest.raises(OSError, match="Address already in use"):
                listening(NAME)
            listener.close()

    hosts.net.run(main, on=hosts.server)


def test_a_server_under_asyncio_is_woken_at_once(hosts: TwoHosts, tmp_path: Path) -> None:
    path = tmp_path / "name"

    async def main() -> tuple[bytes, float]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(2)
            writer.write(await reader.read(100))
            writer.close()

        async with await asyncio.start_unix_server(answer, path):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"echo")
            got = await reader.read()
            writer.close()
            return got, asyncio.get_running_loop().time()

    assert hosts.net.run(main, on=hosts.server) == (b"echo", 2.0)
