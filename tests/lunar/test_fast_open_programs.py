"""Fast open as programs use it, tcp(7): the first request asks for a cookie, later ones save a round trip."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from lunar.network import Network

MS = 1_000_000
TCP_FASTOPEN_CONNECT = 30


class World:
    """A server that echoes one message a connection, and a client, 10 ms apart."""

    def __init__(self, mode: int = 3) -> None:
        self.network = Network(seed=1)
        self.server = self.network.host("server", "10.0.0.1/24")
        self.client = self.network.host("client", "10.0.0.2/24")
        self.network.link(self.server, self.client, delay="10ms")
        self.server.sh(f"sysctl -w net.ipv4.tcp_fastopen={mode}")
        self.network.start(self.server, self._serve)

    def _serve(self) -> None:
        with socket.create_server(("", 80)) as listener:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
            while True:
                sock, _ = listener.accept()
                with sock, contextlib.suppress(ConnectionResetError):
                    while data := sock.recv(65_536):
                        sock.sendall(data.upper())

    def run(self, program: Callable[[], Any]) -> Any:
        found: list[Any] = []
        self.network.start(self.client, lambda: found.append(program()))
        self.network.run(until="10s")
        return found[0]


def ask(data: bytes) -> tuple[bytes, int]:
    """The answer, and how many nanoseconds it took."""
    began = time.monotonic_ns()
    with socket.socket() as sock:
        assert sock.sendto(data, socket.MSG_FASTOPEN, ("server", 80)) == len(data)
        answer = b""
        while len(answer) < len(data):
            answer += sock.recv(65_536)
    return answer, time.monotonic_ns() - began


def test_a_cookie_saves_a_round_trip() -> None:
    world = World()
    assert world.run(lambda: [ask(b"one"), ask(b"two"), ask(b"three")]) == [
        (b"ONE", 40 * MS), (b"TWO", 20 * MS), (b"THREE", 20 * MS),
    ]  # fmt: skip
    assert world.server.ip.counters.tcp_fast_open_passive == 2


def test_what_does_not_fit_into_the_syn_follows() -> None:
    def program() -> list[Any]:
        return [ask(b"x"), ask(b"y" * 100_000)[0] == b"Y" * 100_000]

    assert World().run(program) == [(b"X", 40 * MS), True]


def test_a_server_that_does_not_open_fast_is_reached_by_three_steps() -> None:
    assert World(mode=1).run(lambda: [ask(b"one"), ask(b"two")]) == [(b"ONE", 40 * MS), (b"TWO", 40 * MS)]


def test_connect_that_waits_for_the_first_write() -> None:
    def one(data: bytes) -> tuple[bytes, int, int]:
        with socket.socket() as sock:
            sock.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
            began = time.monotonic_ns()
            sock.connect(("server", 80))
            connected = time.monotonic_ns() - began
            sock.sendall(data)
            return sock.recv(100), connected, time.monotonic_ns() - began

    # The first asks for a cookie, and is a handshake like any other.
    assert World().run(lambda: [one(b"one"), one(b"two")]) == [(b"ONE", 20 * MS, 40 * MS), (b"TWO", 0, 20 * MS)]


def test_a_connection_that_nobody_takes_is_told_by_the_call() -> None:
    def program() -> list[str]:
        log = []
        for _ in range(2):
            with socket.socket() as sock:
                try:
                    sock.sendto(b"x", socket.MSG_FASTOPEN, ("server", 81))
                except OSError as failed:
                    log.append(errno.errorcode[failed.errno or 0])
        return log

    assert World().run(program) == ["ECONNREFUSED", "ECONNREFUSED"]


@pytest.mark.parametrize("timeout", [0.0, 5.0])
def test_a_call_that_may_not_wait_says_what_went_out(timeout: float) -> None:
    def program() -> list[Any]:
        log: list[Any] = []
        for _ in range(2):
            with socket.socket() as sock:
                sock.settimeout(timeout)
                try:
                    log.append(sock.sendto(b"x" * 2000, socket.MSG_FASTOPEN, ("server", 80)))
                except OSError as failed:
                    log.append(errno.errorcode[failed.errno or 0])
                time.sleep(0.1)
        return log

    assert World().run(program) == ["EINPROGRESS", 1420]


def test_asyncio_sends_by_a_deferred_connect() -> None:
    async def main() -> list[Any]:
        log: list[Any] = []
        for data in (b"one", b"two"):
            loop = asyncio.get_running_loop()
            sock = socket.socket()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
            began = time.monotonic_ns()
            await loop.sock_connect(sock, ("10.0.0.1", 80))
            reader, writer = await asyncio.open_connection(sock=sock)
            writer.write(data)
            log += [await reader.read(100), time.monotonic_ns() - began]
            writer.close()
            await writer.wait_closed()
        return log

    assert World().run(lambda: asyncio.run(main())) == [b"ONE", 40 * MS, b"TWO", 20 * MS]
