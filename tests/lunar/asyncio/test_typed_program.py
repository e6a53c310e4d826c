"""A program of a user's, with types: `make types` checks this file with `mypy --strict`, and here it is run.

`assert_type` does nothing at run time; to mypy it says what the type of an expression must be.
"""

from __future__ import annotations

from typing import Any, assert_type

import lunar
from lunar import asyncio


class Greeting(asyncio.Protocol):
    def connection_made(self, transport: asyncio.transports.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


async def echo(listener: asyncio.socket) -> None:
    sock, _address = await listener.accept()
    assert_type(sock, asyncio.socket)
    async with sock:
        while data := await sock.recv(100):
            await sock.sendall(memoryview(data))


async def awaited_sockets() -> bytes:
    listener = asyncio.create_server(("127.0.0.1", 7))
    serving = asyncio.create_task(echo(listener))
    assert_type(serving, asyncio.Task[None])
    async with asyncio.socket(asyncio.AF_INET, asyncio.SOCK_STREAM) as sock, asyncio.timeout(5):
        assert_type(sock, asyncio.socket)
        await sock.connect(("localhost", 7))
        sock.setsockopt(asyncio.IPPROTO_TCP, asyncio.TCP_NODELAY, 1)
        assert_type(sock.getsockopt(asyncio.SOL_SOCKET, asyncio.SO_ERROR), int)
        assert_type(sock.getsockopt(asyncio.SOL_SOCKET, asyncio.SO_ERROR, 4), bytes)
        assert_type(await sock.send(bytearray(b"one ")), int)
        assert_type(await sock.sendmsg([b"two", b" "]), int)
        await sock.sendall(b"three")
        await sock.shutdown(asyncio.SHUT_WR)
        first, _sender = await sock.recvfrom(4, asyncio.MSG_PEEK)
        assert_type(first, bytes)
        buffer = bytearray(4)
        count, _sender = await sock.recvfrom_into(buffer)
        assert_type(count, int)
        rest = b""
        while data := await sock.recv(100):
            rest += data
        assert_type((sock.family, sock.type, sock.proto, sock.fileno()), tuple[int, int, int, int])
        assert_type((sock.gettimeout(), sock.timeout, sock.getblocking()), tuple[float | None, float | None, bool])
    listener.close()
    await serving
    return first + buffer + rest


async def datagrams() -> tuple[bytes, int]:
    with asyncio.socket(type=asyncio.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 53))
        assert_type(await sock.sendto(b"question", ("127.0.0.1", 53)), int)
        assert_type(await sock.sendto(b"x", asyncio.MSG_DONTWAIT, ("127.0.0.1", 53)), int)
        data, ancillary, flags, _address = await sock.recvmsg(5)
        assert_type(ancillary, list[tuple[int, int, bytes]])
        return data, flags


async def names() -> str:
    try:
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(asyncio.getaddrinfo("nobody", 80))
    except* asyncio.gaierror:
        assert looking.done()
    loop = asyncio.events.get_running_loop()
    assert_type(loop, asyncio.AbstractEventLoop)
    server = await loop.create_server(Greeting, "127.0.0.1", 80)
    assert_type(server, asyncio.Server)
    reader, writer = await asyncio.streams.open_connection(sock=await connected())
    assert_type(writer, asyncio.StreamWriter)
    assert await reader.read() == b"hello"
    writer.close()
    server.close()
    return asyncio.gethostname()


async def connected() -> Any:
    import socket

    sock = await asyncio.create_connection(("localhost", 80))
    return socket.socket(fileno=sock.detach())


def test_a_typed_program_runs() -> None:
    with lunar.Network(seed=1) as net:
        host = net.host("host", "10.0.0.1/24")
        assert net.run(awaited_sockets, on=host) == b"one one two three"
        assert net.run(datagrams, on=host) == (b"quest", asyncio.MSG_TRUNC)
        assert net.run(names, on=host) == "host"
