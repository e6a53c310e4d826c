"""The stage of the asyncio tests: a server and a client on one link, 5 ms each way.

With no rate a packet takes 5 ms whatever its size, so times are sums of 5 ms: a connect is one round trip (10 ms), the
server accepts when the handshake's ACK comes (15 ms), a request and its answer are one round trip more.
"""

from __future__ import annotations

import asyncio
from typing import Any

from lunar.network import Network

SERVER = "10.0.0.2"
CLIENT = "10.0.0.3"
DELAY = 0.005
ROUND_TRIP = 2 * DELAY


class TwoHosts:
    """`serve` starts a string on the server, which the run does not wait for; `run` runs one on the client."""

    def __init__(self, **link: Any) -> None:
        self.net = Network(seed=1)
        self.server = self.net.host("server", f"{SERVER}/24")
        self.client = self.net.host("client", f"{CLIENT}/24")
        self.net.link(self.server, self.client, **{"delay": "5ms", **link})

    def serve(self, function: Any, *args: Any) -> Any:
        return self.net.start(self.server, function, *args, background=True)

    def run(self, main: Any, *args: Any, until: str | float | None = None) -> Any:
        return self.net.run(main, *args, on=self.client, until=until)

    def settle(self, seconds: float = 1.0) -> None:
        """Let what is on its way arrive."""
        self.net.run(until=self.net.now + seconds)


def now() -> float:
    """The virtual time, for code inside a coroutine string."""
    return asyncio.get_running_loop().time()


async def times(awaitable: Any) -> tuple[Any, float]:
    """The result of `awaitable`, and how long it took."""
    start = now()
    result = await awaitable
    return result, round(now() - start, 9)


class Recorder(asyncio.Protocol):
    """A protocol that notes its callbacks, and the time of each when asked to."""

    def __init__(self, keep_open: bool = False) -> None:
        self.calls: list[Any] = []
        self.times: list[float] = []
        self.data = bytearray()
        self.transport: Any = None
        self.keep_open = keep_open
        self.over: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def note(self, call: Any) -> None:
        self.calls.append(call)
        self.times.append(now())

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.note("made")

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.note(bytes(data))

    def eof_received(self) -> bool:
        self.note("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.note(("lost", type(exc).__name__ if exc else None))
        if not self.over.done():
            self.over.set_result(exc)
