"""The words of player.py that move data, as a program of asyncio's streams: what application authors write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from player import Stream, content


class AsyncioPlayer:
    """As `player.Player`, for `listen`, `accept`, `connect`, `send`, `drain`, `recv`, `both`, `shut` and `close`."""

    def __init__(
        self, own: tuple[str, int], peer: tuple[str, int], seed: int, marks: set[str], tell: Callable[[str], None]
    ) -> None:
        self.own, self.peer, self.seed = own, peer, seed
        self.tell = tell
        self.sent, self.got = Stream(), Stream()
        self.server: asyncio.Server | None = None
        self._accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self._sends = 0
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def play(self, program: str) -> list[str]:
        """Run the words of `program`; the log."""
        for word, *args in filter(None, (part.split() for part in program.split(";"))):
            await getattr(self, f"do_{word}")(*args)
        if self.server is not None:
            self.server.close()
        return [f"sent {self.sent}", f"got {self.got}"]

    async def do_listen(self) -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._accepted.put((reader, writer))

        self.server = await asyncio.start_server(connected, *self.own, reuse_address=True)
        self.tell("listening")

    async def do_accept(self) -> None:
        self.reader, self.writer = await self._accepted.get()

    async def do_connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection(*self.peer)

    async def do_send(self, size: str) -> None:
        data = content(self.seed + self._sends, int(size))
        self._sends += 1
        self.writer.write(data)
        await self.writer.drain()
        self.sent.add(data)

    async def do_drain(self) -> None:
        while data := await self.reader.read(65_536):
            self.got.add(data)

    async def do_recv(self, size: str) -> None:
        self.got.add(await self.reader.readexactly(int(size)))

    async def do_both(self, size: str) -> None:
        async def send() -> None:
            await self.do_send(size)
            self.writer.write_eof()

        await asyncio.gather(send(), self.do_drain())

    async def do_shut(self) -> None:
        self.writer.write_eof()

    async def do_close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()
