"""A megabyte each way over a link that loses every twentieth packet, twenty times over, by each of asyncio's faces.

The programs are ordinary asyncio programs. Each end sends its own megabyte and gets the other's at the same time, and
what arrives is compared by SHA-256. TCP repairs the loss by itself; over UDP the program does, with a window, numbers
and retries of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lunar.network import Network

SIZE = 1_000_000
SEEDS = range(1, 21)
SERVER, PORT = "10.0.0.2", 7000

Transfer = Callable[[bytes], Awaitable[str]]


def megabyte(name: str, seed: int) -> bytes:
    return random.Random(f"{name} {seed}").randbytes(SIZE)


def sha256(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()


def exchange(seed: int, server: Transfer, client: Transfer) -> Network:
    """Run the two ends; each gets its megabyte and returns the digest of what it received."""
    net = Network(seed=seed)
    a = net.host("server", f"{SERVER}/24")
    b = net.host("client", "10.0.0.3/24")
    net.link(a, b, rate="100mbit", delay="2ms", loss="5%")
    servers, clients = megabyte("server", seed), megabyte("client", seed)
    at_server = net.start(a, server, servers)
    at_client = net.start(b, client, clients, at="1ms")
    net.run()
    net.close()
    assert at_server.result == sha256(clients)
    assert at_client.result == sha256(servers)
    link = net.link_figures()[0]
    # 5% of some 1,500 to 3,000 packets: fewer than half or more than double of the expected is no chance.
    assert 0.025 < link["lost"] / link["packets"] < 0.1
    return net


# Streams


async def over_a_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mine: bytes) -> str:
    async def send() -> None:
        for start in range(0, SIZE, 10_000):
            writer.write(mine[start : start + 10_000])
            await writer.drain()

    sending = asyncio.create_task(send())
    received = await reader.readexactly(SIZE)
    await sending
    writer.close()
    await writer.wait_closed()
    return sha256(received)


async def stream_server(mine: bytes) -> str:
    over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        over.set_result(await over_a_stream(reader, writer, mine))

    async with await asyncio.start_server(handle, port=PORT):
        return await over


async def stream_client(mine: bytes) -> str:
    reader, writer = await asyncio.open_connection(SERVER, PORT)
    return await over_a_stream(reader, writer, mine)


# Protocols


class Megabyte(asyncio.Protocol):
    """Writes its own as long as the transport takes it, and closes when both directions are through."""

    def __init__(self, mine: bytes) -> None:
        self.rest = memoryview(mine)
        self.received = bytearray()
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.paused = self.ended = False
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.write_on()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.write_on()

    def write_on(self) -> None:
        while self.rest and not self.paused:
            piece, self.rest = self.rest[:10_000], self.rest[10_000:]
            self.transport.write(piece)
        if not self.rest and self.ended:
            self.transport.close()
        elif not self.rest:
            self.transport.write_eof()

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> bool:
        self.ended = True
        return bool(self.rest)  # keep it open until our own is written

    def connection_lost(self, exc: BaseException | None) -> None:
        if exc is None:
            self.over.set_result(sha256(self.received))
        else:
            self.over.set_exception(exc)


async def protocol_server(mine: bytes) -> str:
    made: asyncio.Future[Megabyte] = asyncio.get_running_loop().create_future()

    def factory() -> Megabyte:
        protocol = Megabyte(mine)
        made.set_result(protocol)
        return protocol

    async with await asyncio.get_running_loop().create_server(factory, port=PORT):
        return await (await made).over


async def protocol_client(mine: bytes) -> str:
    _transport, protocol = await asyncio.get_running_loop().create_connection(lambda: Megabyte(mine), SERVER, PORT)
    return await protocol.over


# loop.sock_*


async def over_a_socket(sock: socket.socket, mine: bytes) -> str:
    loop = asyncio.get_running_loop()

    async def send() -> None:
        await loop.sock_sendall(sock, mine)
        sock.shutdown(socket.SHUT_WR)

    sending = asyncio.create_task(send())
    received, buffer = bytearray(), bytearray(65536)
    while count := await loop.sock_recv_into(sock, buffer):
        received += buffer[:count]
    await sending
    sock.close()
    return sha256(received)


async def sock_server(mine: bytes) -> str:
    with socket.create_server(("", PORT)) as listener:
        listener.setblocking(False)
        sock, _address = await asyncio.get_running_loop().sock_accept(listener)
    return await over_a_socket(sock, mine)


async def sock_client(mine: bytes) -> str:
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (SERVER, PORT))
    return await over_a_socket(sock, mine)


# UDP, with retries of the program's own


class Reliable(asyncio.DatagramProtocol):
    """Numbered pieces, each acknowledged and sent again until it is; at most WINDOW of them are on their way.

    A datagram is its kind (1 byte), a number (4 bytes) and for DATA the piece. Who has everything and was told that the
    other has too stays for a while (LINGER_S), because its last acknowledgement may be lost.
    """

    DATA, ACK = 0, 1
    PIECE, WINDOW, RETRY_S, LINGER_S = 1400, 64, 0.05, 2.0

    def __init__(self, mine: bytes, peer: Any = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.peer = peer
        self.pieces = [mine[start : start + self.PIECE] for start in range(0, SIZE, self.PIECE)]
        self.next = 0
        self.timers: dict[int, asyncio.TimerHandle] = {}
        self.received: dict[int, bytes] = {}
        self.over: asyncio.Future[str] = self.loop.create_future()
        self.transport: Any = None
        self.retries = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self.peer is not None:
            self.fill_window()

    def fill_window(self) -> None:
        while self.next < len(self.pieces) and len(self.timers) < self.WINDOW:
            self.send(self.next)
            self.next += 1

    def send(self, number: int) -> None:
        self.transport.sendto(struct.pack("!BI", self.DATA, number) + self.pieces[number], self.peer)
        self.timers[number] = self.loop.call_later(self.RETRY_S, self.send_again, number)

    def send_again(self, number: int) -> None:
        self.retries += 1
        self.send(number)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self.peer is None:
            self.peer = addr
            self.fill_window()
        kind, number = struct.unpack_from("!BI", data)
        if kind == self.DATA:
            self.received[number] = data[5:]
            self.transport.sendto(struct.pack("!BI", self.ACK, number), addr)
        else:
            timer = self.timers.pop(number, None)
            if timer is not None:
                timer.cancel()
            self.fill_window()
        if len(self.received) == len(self.pieces) and not self.timers and not self.over.done():
            self.over.set_result(sha256(b"".join(self.received[number] for number in sorted(self.received))))


async def reliable(mine: bytes, **kwargs: Any) -> str:
    peer = kwargs.pop("peer", None)
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Reliable(mine, peer), **kwargs
    )
    digest = await protocol.over
    assert protocol.retries > 0
    await asyncio.sleep(Reliable.LINGER_S)
    transport.close()
    return digest


async def udp_server(mine: bytes) -> str:
    return await reliable(mine, local_addr=(SERVER, PORT))


async def udp_client(mine: bytes) -> str:
    return await reliable(mine, local_addr=("0.0.0.0", 0), peer=(SERVER, PORT))


FACES: dict[str, tuple[Transfer, Transfer]] = {
    "streams": (stream_server, stream_client),
    "protocols": (protocol_server, protocol_client),
    "sock methods": (sock_server, sock_client),
    "udp": (udp_server, udp_client),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("face", FACES)
def test_a_megabyte_each_way_is_intact(face: str, seed: int) -> None:
    net = exchange(seed, *FACES[face])
    if face != "udp":
        assert net.tcp_figures()["retransmissions"] > 0


@pytest.mark.parametrize("face", FACES)
def test_the_same_seed_is_the_same_run_and_another_is_another(face: str) -> None:
    first, again, other = (exchange(seed, *FACES[face]) for seed in (1, 1, 2))
    assert (again.digest(), again.now) == (first.digest(), first.now)
    assert other.digest() != first.digest()
