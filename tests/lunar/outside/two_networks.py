"""Two networks of one process, in real time, joined by a UDP link over the machine's loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import lunar
from lunar.host import Host
from lunar.outside.udp_link import UdpLink
from tests.lunar.outside.ports import free_ports

# Guards against a test that hangs, in seconds of the machine's clock.
LIMIT_S = 60


class Side:
    """One network with a host, and its end of the link."""

    def __init__(
        self, name: str, address: str, local: int, remote: int, record: Path | None = None, **traits: Any
    ) -> None:
        self.net = lunar.Network(clock="real", record=record)
        self.host: Host = self.net.host(name, address)
        self.link: UdpLink = self.net.udp_link(self.host, local=local, remote=f"127.0.0.1:{remote}", **traits)

    def figures(self) -> dict[str, Any]:
        return self.link.figures()


class Pair:
    """Two sides that are each other's peers: `server` is 10.0.0.1, `client` 10.0.0.2."""

    def __init__(self, record: Path | None = None, **traits: Any) -> None:
        """What comes to the client is recorded, if there is a file for that."""
        first, second = free_ports(2)
        self.ports = first, second
        self.server = Side("server", "10.0.0.1/24", first, second, **traits)
        self.client = Side("client", "10.0.0.2/24", second, first, record, **traits)

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.server.net.close()
        self.client.net.close()

    def run(self, serve: Callable[[], Awaitable[Any]], main: Callable[[], Awaitable[Any]]) -> Any:
        """Run `serve` on one side until `main` on the other has ended; its result."""
        return asyncio.run(self.together(serve, main))

    async def together(self, serve: Callable[[], Awaitable[Any]], main: Callable[[], Awaitable[Any]]) -> Any:
        """As `run`, inside a loop."""
        serving = asyncio.ensure_future(self.server.net.run_async(serve, on=self.server.host))
        try:
            async with asyncio.timeout(LIMIT_S):
                return await self.client.net.run_async(main, on=self.client.host)
        finally:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving


async def sink(address: str = "0.0.0.0") -> None:
    """Serve on port 80 for ever: what a connection brings is counted, hashed and answered by its SHA-256."""
    import hashlib

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        digest = hashlib.sha256()
        while data := await reader.read(65536):
            digest.update(data)
        writer.write(digest.hexdigest().encode())
        writer.close()

    async with await asyncio.start_server(serve, address, 80) as server:
        await server.serve_forever()


async def connected(host: str = "10.0.0.1", port: int = 80) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection, as soon as somebody listens there."""
    while True:
        try:
            return await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.01)
