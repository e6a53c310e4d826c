"""64-byte TCP echo by asyncio protocols: two virtual hosts against uvloop on the kernel's loopback. Round trips/s.

    python benchmarks/echo.py [ROUNDS]

The same two protocol classes run in all contestants. `lunar`: client and server on two virtual hosts joined by a link,
one process. `uvloop`: both on one uvloop loop over 127.0.0.1, one process, as ours. `uvloop, two processes`: the same
with the server in a process of its own, so that two processors share the work. `lunar, interpreted` is not run by
default: it is what LUNAR_PURE=1 gives.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time

import turns
import uvloop

MESSAGE = b"x" * 64
ROUND_TRIPS = 40_000
WARM_UP = 2_000
PORT = 7007


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Client(asyncio.Protocol):
    """Sends the message, and again when it is back, until `count` round trips are done."""

    def __init__(self, count: int, done: asyncio.Future[float], clock: object = time.perf_counter) -> None:
        self.left = count + WARM_UP
        self.count = count
        self.done = done
        self.clock = clock
        self.started = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        transport.write(MESSAGE)

    def data_received(self, data: bytes) -> None:
        assert len(data) == len(MESSAGE)
        self.left -= 1
        if self.left == self.count:
            self.started = self.clock()  # type: ignore[operator]
        if self.left == 0:
            self.done.set_result(self.count / (self.clock() - self.started))  # type: ignore[operator]
            self.transport.close()
        else:
            self.transport.write(MESSAGE)


async def serve(host: str, ready: asyncio.Event | None = None) -> None:
    server = await asyncio.get_running_loop().create_server(Echo, host, PORT)
    if ready is not None:
        ready.set()
    await server.serve_forever()


async def measure(host: str) -> float:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    await loop.create_connection(lambda: Client(ROUND_TRIPS, done, WALL_CLOCK), host, PORT)
    return await done


# Captured before the first Network makes `time` virtual inside hosts: what is measured is the machine's time.
WALL_CLOCK = [time.perf_counter][0]


def lunar() -> float:
    import lunar as package
    from weaves import realtime

    global WALL_CLOCK
    net = package.Network(seed=1)
    WALL_CLOCK = realtime.perf_counter
    server, client = net.host("server", "10.0.0.1/24"), net.host("client", "10.0.0.2/24")
    net.link(server, client, rate="1gbit", delay="50us")
    net.start(server, serve, "0.0.0.0", background=True)
    return net.run(measure, "server", on=client)


def uvloop_alone() -> float:
    async def both() -> float:
        ready = asyncio.Event()
        server = asyncio.create_task(serve("127.0.0.1", ready))
        await ready.wait()
        result = await measure("127.0.0.1")
        server.cancel()
        return result

    return uvloop.run(both())


def uvloop_two() -> float:
    process = subprocess.Popen([sys.executable, __file__, "--server"])
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", PORT)) == 0:
                    break
            time.sleep(0.02)
        return uvloop.run(measure("127.0.0.1"))
    finally:
        process.terminate()
        process.wait()


CONTESTANTS = {"--lunar": lunar, "--uvloop": uvloop_alone, "--uvloop-two": uvloop_two}


def main() -> None:
    if sys.argv[1:] == ["--server"]:
        uvloop.run(serve("127.0.0.1"))
    elif sys.argv[1:] and sys.argv[1] in CONTESTANTS:
        print(CONTESTANTS[sys.argv[1]]())
    else:
        rounds = int(sys.argv[1]) if sys.argv[1:] else 5
        me = [sys.executable, __file__]
        turns.compare(
            "64-byte TCP echo by asyncio protocols",
            "round trips/s",
            {
                "lunar": [*me, "--lunar"],
                "uvloop": [*me, "--uvloop"],
                "uvloop, two processes": [*me, "--uvloop-two"],
            },
            rounds,
            goal=1.0,
        )


if __name__ == "__main__":
    main()
