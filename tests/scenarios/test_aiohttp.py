"""Unmodified aiohttp, server and clients, on virtual hosts: HTTP, TLS, uploads, streams, websockets, and all that fails.

The link has no rate and 5 ms each way, so that times are sums of round trips of 10 ms: one to connect, one for TLS 1.3,
one for a request and its answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import signal
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import web

from lunar.network import Network

SERVER = "10.0.0.2"
ROUND_TRIP = 0.010
CLIENTS = 5
AUTHORITY = trustme.CA()
CERTIFICATE = AUTHORITY.issue_cert("site", SERVER)
MEGABYTE = random.Random("aiohttp").randbytes(1_000_000)


def now() -> float:
    return round(asyncio.get_running_loop().time(), 9)


# The site


async def hello(request: web.Request) -> web.Response:
    return web.json_response({"from": request.remote, "scheme": request.scheme, "port": request.transport_port()})


async def upload(request: web.Request) -> web.Response:
    body = await request.read()
    return web.json_response({"size": len(body), "sha256": hashlib.sha256(body).hexdigest()})


async def download(_request: web.Request) -> web.Response:
    return web.Response(body=MEGABYTE)


async def ticks(request: web.Request) -> web.StreamResponse:
    """A number each second, as a chunk of its own."""
    response = web.StreamResponse()
    await response.prepare(request)
    for number in range(int(request.query.get("count", 3))):
        await response.write(b"%d" % number)
        await asyncio.sleep(1)
    await response.write_eof()
    return response


async def slow(request: web.Request) -> web.Response:
    await asyncio.sleep(float(request.query["seconds"]))
    return web.Response(text="at last")


async def broken(_request: web.Request) -> web.Response:
    raise LookupError("in the handler")


async def hang_up(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def hang_up_in_the_middle(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"x" * 10)
    assert request.transport is not None
    request.transport.close()
    return response


async def echo_websocket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            if message.data == "close":
                await socket.close(code=4001, message=b"as asked")
            else:
                await socket.send_str(message.data.upper())
        elif message.type is aiohttp.WSMsgType.BINARY:
            await socket.send_bytes(message.data[::-1])
    return socket


async def silent_websocket(request: web.Request) -> web.WebSocketResponse:
    """Reads nothing, so that not even a ping is answered."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await asyncio.sleep(3600)
    return socket


class Request(web.Request):
    def transport_port(self) -> int:
        """The client's port, by which a connection is known again."""
        assert self.transport is not None
        return int(self.transport.get_extra_info("peername")[1])


def application() -> web.Application:
    app = web.Application(client_max_size=2_000_000)
    app._make_request = lambda *args, **kwargs: Request(*args, **kwargs, loop=asyncio.get_running_loop())  # type: ignore
    app.add_routes(
        [
            web.get("/", hello), web.post("/upload", upload), web.get("/download", download), web.get("/ticks", ticks),
            web.get("/slow", slow), web.get("/broken", broken), web.get("/hang-up", hang_up),
            web.get("/hang-up-in-the-middle", hang_up_in_the_middle), web.get("/websocket", echo_websocket),
            web.get("/silent-websocket", silent_websocket),
        ]
    )  # fmt: skip
    return app
