"""Longer sessions through real sockets: WebSockets, large bodies, clients that are slow, hosts that crash."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import struct
from typing import Any

import aiohttp
import pytest
import uvloop
from aiohttp import web

from lunar.gateway.messages import WINDOW


async def websocket_site(port: int) -> None:
    """An aiohttp site, as it would run on the machine: a WebSocket that answers in capitals."""

    async def talk(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data.upper())
        return socket

    app = web.Application()
    app.router.add_get("/talk", talk)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", port).start()
    await asyncio.Event().wait()


async def test_a_websocket_by_upgrade(live: Any) -> None:
    live.net.start(live.server, websocket_site, 80, background=True)
    proxy = live.net.proxy(0)
    async with (
        live.running(proxy),
        aiohttp.ClientSession() as session,
        # aiohttp sends a whole URL with Upgrade to a proxy.
        session.ws_connect("http://10.0.0.1/talk", proxy=f"http://127.0.0.1:{proxy.port}") as socket,
    ):
        for number in range(20):
            await socket.send_str(f"message {number}")
            assert await socket.receive_str() == f"MESSAGE {number}"


async def test_a_websocket_by_connect(live: Any) -> None:
    live.net.start(live.server, websocket_site, 80, background=True)
    proxy = live.net.proxy(0)
    async with live.running(proxy):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"CONNECT server:80 HTTP/1.1\r\nHost: server:80\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.write(
            b"GET /talk HTTP/1.1\r\nHost: server\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 ") and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer  # RFC 6455's own
        writer.write(b"\x81\x85\0\0\0\0hello")  # a text frame, masked by zeros
        assert await reader.readexactly(7) == b"\x81\x05HELLO"
        writer.close()


async def test_a_client_that_reads_slowly_holds_up_the_server_and_nothing_else(live: Any) -> None:
    size = 30_000_000
    live.serve_http()
    proxy = live.net.proxy(0)
    async with live.running(proxy):
        # The reader takes what it is asked for, so the kernel's buffers and the windows fill.
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port, limit=16_384)
        writer.write(b"GET http://server/bytes/%d HTTP/1.1\r\nHost: server\r\n\r\n" % size)
        await reader.readuntil(b"\r\n\r\n")
        # Meanwhile another client gets all of its own.
        quick, sender = await asyncio.open_connection("127.0.0.1", proxy.port)
        sender.write(b"GET http://server/bytes/1000000 HTTP/1.1\r\nHost: server\r\n\r\n")
        await quick.readuntil(b"\r\n\r\n")
        assert await quick.readexactly(1_000_000) == live.pattern(0, 1_000_000)
        sender.close()
        # Of the slow one's body, no more has left the virtual host than both windows and the kernel's buffers hold.
        while not (stuck := [client for client in proxy.clients if client.transport.get_write_buffer_size()]):
            await asyncio.sleep(0)
        (held,) = stuck
        assert held.transport.get_write_buffer_size() <= 2 * WINDOW
        digest, got = hashlib.sha256(), 0
        while got < size:
            data = await reader.read(65_536)
            digest.update(data)
            got += len(data)
            assert held.transport.get_write_buffer_size() <= 2 * WINDOW
        assert digest.hexdigest() == hashlib.sha256(live.pattern(0, size)).hexdigest()
        writer.close()


async def test_a_gateway_host_that_crashes_and_boots(live: Any) -> None:
    live.serve_http()
    live.net.at("500ms", live.client.crash)
    live.net.at("1s", live.client.boot)
    proxy = live.net.proxy(0)
    async with live.running(proxy):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"CONNECT server:80 HTTP/1.1\r\nHost: server:80\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()

        async def ask() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(b"GET http://server/ HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
            return answer

        answers = [await ask()]
        while b" 200 " not in answers[-1]:
            assert b" 503 " in answers[-1] and b"connect to server:80: host client is down." in answers[-1]
            answers.append(await ask())
        assert answers[-1].endswith(b"GET /\n")


async def test_the_run_goes_on_for_who_may_come(live: Any) -> None:
    async def ends_at_once() -> None:
        pass

    live.net.start(live.client, ends_at_once)
    live.serve_http()
    proxy = live.net.proxy(0)
    async with live.running(proxy):
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(b"GET http://server/ HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).endswith(b"GET /\n")
            writer.close()
    assert live.net.outside_figures()["gateway"][0]["connections"] == 2


async def test_a_port_in_use_is_told_when_the_run_begins(live: Any) -> None:
    taken = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    live.net.proxy(port)
    with pytest.raises(OSError, match=f"the proxy cannot listen at 127.0.0.1:{port}: Address already in use"):
        await live.net.run_async(until="1s")
    live.net.close()
    taken.close()


async def test_who_has_reset_the_connection_before_it_is_taken_is_no_client(live: Any) -> None:
    failures: list[Any] = []
    proxy = live.net.proxy(0)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context))
        run = asyncio.create_task(live.net.run_async())
        port = await proxy.listening()
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port)) as gone:  # and the loop has no turn meanwhile
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\5\1\0")
        assert await reader.readexactly(2) == b"\5\0"
        writer.close()
        run.cancel()
        await asyncio.wait([run])
        live.net.close()

    # With uvloop nobody knows any more who it was.
    await asyncio.to_thread(uvloop.run, main())
    assert failures == []
