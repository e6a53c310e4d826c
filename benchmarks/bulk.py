"""200 MB of TCP by asyncio protocols through MTU 1500: two virtual hosts against uvloop in a network namespace. MB/s.

    python benchmarks/bulk.py [ROUNDS]

`lunar`: sender and receiver on two virtual hosts joined by a link with MTU 1500, one process. `uvloop`: both on one
uvloop loop, over the loopback of a new network namespace with MTU 1500 and segmentation offloads off, so that the
kernel too handles each packet. The namespace needs root and unshare(1); without them that contestant is named as not
measured.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import socket
import struct
import sys
import time

import turns
import uvloop

TOTAL = 200_000_000
CHUNK = bytes(64 * 1024)
PORT = 7008

# linux/ethtool.h and linux/sockios.h
SIOCETHTOOL = 0x8946
SIOCSIFMTU = 0x8922
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO = 0x1F, 0x24, 0x2C


class Sender(asyncio.Protocol):
    """Writes TOTAL bytes as fast as flow control lets it, then ends the stream."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.left = TOTAL
        self.paused = False
        self.fill()

    def fill(self) -> None:
        while self.left and not self.paused:
            chunk = CHUNK if self.left >= len(CHUNK) else CHUNK[: self.left]
            self.left -= len(chunk)
            self.transport.write(chunk)
        if not self.left:
            self.transport.write_eof()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.fill()


class Receiver(asyncio.Protocol):
    def __init__(self, done: asyncio.Future[int]) -> None:
        self.done = done
        self.received = 0

    def data_received(self, data: bytes) -> None:
        self.received += len(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.done.set_result(self.received)


async def serve(host: str, ready: asyncio.Event | None = None) -> None:
    server = await asyncio.get_running_loop().create_server(Sender, host, PORT)
    if ready is not None:
        ready.set()
    await server.serve_forever()


async def fetch(host: str) -> None:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    await loop.create_connection(lambda: Receiver(done), host, PORT)
    received = await done
    assert received == TOTAL, f"{received} of {TOTAL} bytes arrived"


def lunar() -> float:
    import lunar as package

    net = package.Network(seed=1)
    server, client = net.host("server", "10.0.0.1/24"), net.host("client", "10.0.0.2/24")
    net.link(server, client, rate="10gbit", delay="50us", mtu=1500)
    net.start(server, serve, "0.0.0.0", background=True)
    started = time.perf_counter()
    net.run(fetch, "server", on=client)
    return TOTAL / 1e6 / (time.perf_counter() - started)


def in_namespace() -> float:
    _set_up_loopback()

    async def both() -> float:
        ready = asyncio.Event()
        server = asyncio.create_task(serve("127.0.0.1", ready))
        await ready.wait()
        started = time.perf_counter()
        await fetch("127.0.0.1")
        result = TOTAL / 1e6 / (time.perf_counter() - started)
        server.cancel()
        return result

    return uvloop.run(both())


def _set_up_loopback() -> None:
    """MTU 1500, no segmentation offloads, up; in the namespace that this process is alone in."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFMTU, struct.pack("16si20x", b"lo", 1500))
        for command in (ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO):
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))
            fcntl.ioctl(control, SIOCETHTOOL, struct.pack("16sP16x", b"lo", ctypes.addressof(value)))
        flags = struct.unpack("16sh", fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16sh22x", b"lo", 0))[:18])[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))


def main() -> None:
    if sys.argv[1:] == ["--lunar"]:
        print(lunar())
    elif sys.argv[1:] == ["--uvloop"]:
        print(in_namespace())
    else:
        rounds = int(sys.argv[1]) if sys.argv[1:] else 5
        turns.compare(
            "200 MB of TCP, MTU 1500",
            "MB/s",
            {
                "lunar": [sys.executable, __file__, "--lunar"],
                "uvloop, namespace's loopback": ["unshare", "--net", sys.executable, __file__, "--uvloop"],
            },
            rounds,
            goal=0.3,
        )


if __name__ == "__main__":
    main()
