"""A virtual site behind a gateway, and clients of the machine that come to it through real sockets on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import pathlib
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import lunar
from lunar.gateway.service import Service

# The modules of this folder can be imported: its tests have no package (importlib mode).
sys.path.insert(0, str(pathlib.Path(__file__).parent))

# What a test that hangs runs into; no test measures time.
TIMEOUT_S = 60


class Live:
    """A network in real time, with hosts `client` (the gateway's) and `server`, and a switch for more."""

    def __init__(self) -> None:
        self.net = lunar.Network(seed=1, clock="real")
        self.client = self.net.host("client", ["10.0.0.2/24", "2001:db8::2/64"])
        self.server = self.net.host("server", ["10.0.0.1/24", "2001:db8::1/64"])
        self.net.link(self.client, self.server, delay="1ms")
        self.lines: list[str] = []
        self.net.supervisor.trace.subscribe_changes(lambda _at, name, what: self.lines.append(f"{name}: {what}"))
        self._run: asyncio.Task[Any] | None = None

    def serve(self, handler: Callable[..., Any], port: int = 80, **options: Any) -> None:
        """Let `handler` have the connections to a port of the server."""

        async def main() -> None:
            server = await asyncio.start_server(handler, port=port, **options)
            await server.serve_forever()

        self.net.start(self.server, main, background=True)

    def serve_http(self, port: int = 80) -> None:
        """Let a small HTTP server have them: `http_site` below."""
        self.serve(http_site, port)

    @staticmethod
    def pattern(at: int, size: int) -> bytes:
        """`size` bytes of an endless sequence, from its byte `at` on: a piece in a wrong place shows."""
        return pattern(at, size)

    @contextlib.asynccontextmanager
    async def running(self, *services: Service) -> AsyncIterator[None]:
        """While the network runs and the services listen."""
        self._run = asyncio.create_task(self.net.run_async())
        try:
            async with asyncio.timeout(TIMEOUT_S):
                for service in services:
                    await service.listening()
                yield
        finally:
            self._run.cancel()
            await asyncio.wait([self._run])
            self.net.close()
            # What was closed gets its turns.
            for _ in range(5):
                await asyncio.sleep(0)
        if not self._run.cancelled():
            self._run.result()


@pytest.fixture
def live() -> Live:
    return Live()


async def http_site(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A small HTTP/1.1 server: /echo gives back the body, /sha its SHA-256, /bytes/N so many bytes, / says hello.

    /until-close ends its body by closing, /headers tells the request's head, /both says by two headers where its body
    ends, which contradict each other. Connections are kept.
    """
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            request, *lines = head.decode("latin-1").split("\r\n")
            method, path, _ = request.split(" ")
            headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines if line)}
            if "100-continue" in headers.get("expect", ""):
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            pieces = await _body(reader, headers)
            if path == "/until-close":
                writer.write(b"HTTP/1.1 200 OK\r\n\r\nto the end")
                break
            if path == "/truncated":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nnot all")
                break
            if path == "/not-http":
                writer.write(b"what?\r\n\r\n")
                break
            if path == "/both":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n")
                writer.write(b"5\r\nwhole\r\n0\r\n\r\n")
                continue
            if path == "/silent":
                break
            size, chunks = _answer(method, path, head, pieces)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n" % size)
            for chunk in chunks if method != "HEAD" else ():
                writer.write(chunk)
                await writer.drain()
    writer.close()


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> list[bytes]:
    if headers.get("transfer-encoding") == "chunked":
        pieces = []
        while size := int(await reader.readline(), 16):
            pieces.append(await reader.readexactly(size))
            await reader.readline()
        await reader.readline()
        return pieces
    return [await reader.readexactly(int(headers.get("content-length", 0)))]


def _answer(method: str, path: str, head: bytes, pieces: list[bytes]) -> tuple[int, Any]:
    if path.startswith("/bytes/"):
        size = int(path.removeprefix("/bytes/"))
        return size, (pattern(at, min(65_536, size - at)) for at in range(0, size, 65_536))
    if path == "/sha":
        text = hashlib.sha256(b"".join(pieces)).hexdigest().encode()
    elif path == "/echo":
        text = b"".join(pieces)
    elif path == "/headers":
        text = head
    else:
        text = f"{method} {path}\n".encode()
    return len(text), [text]


def pattern(at: int, size: int) -> bytes:
    first = at // 8
    words = b"".join(number.to_bytes(8, "big") for number in range(first, (at + size + 7) // 8 + 1))
    return words[at - 8 * first : at - 8 * first + size]
