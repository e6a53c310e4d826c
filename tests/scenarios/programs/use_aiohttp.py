"""aiohttp: a site with TLS, and a client that downloads, uploads, and talks over a websocket, several at once.

    use_aiohttp.py server
    use_aiohttp.py client SERVER
"""

import asyncio
import hashlib
import pathlib
import random
import ssl
import sys

import aiohttp
from aiohttp import web

TLS = pathlib.Path(__file__).parents[3] / "tapestries" / "apps" / "tls"
PAGES = {str(number): random.Random(number).randbytes(60_000 + 20_000 * number) for number in range(4)}


async def page(request: web.Request) -> web.Response:
    return web.Response(body=PAGES[request.match_info["name"]])


async def upload(request: web.Request) -> web.Response:
    digest, size = hashlib.sha256(), 0
    async for chunk in request.content.iter_chunked(8192):
        digest.update(chunk)
        size += len(chunk)
    return web.json_response({"size": size, "sha256": digest.hexdigest()})


async def chat(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_bytes(message.data[::-1])
    return socket


async def serve() -> None:
    app = web.Application()
    app.add_routes([web.get("/page/{name}", page), web.post("/upload", upload), web.get("/chat", chat)])
    runner = web.AppRunner(app)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "server.pem")
    await web.TCPSite(runner, port=80).start()
    await web.TCPSite(runner, port=443, ssl_context=context).start()
    await asyncio.Event().wait()


async def fetch(session: aiohttp.ClientSession, url: str) -> bytes:
    async with session.get(url) as response:
        assert response.status == 200, response.status
        return await response.read()


async def ask(server: str) -> None:
    context = ssl.create_default_context(cafile=TLS / "authority.pem")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        got = await asyncio.gather(
            *(fetch(session, f"{scheme}://{server}/page/{name}") for scheme in ("http", "https") for name in PAGES)
        )
        assert got == [*PAGES.values(), *PAGES.values()], "a page differs"

        body = random.randbytes(150_000)
        async with session.post(f"https://{server}/upload", data=body) as response:
            answer = await response.json()
        assert answer == {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}, answer

        async with session.ws_connect(f"ws://{server}/chat") as socket:
            for size in (1, 1_000, 100_000):
                sent = random.randbytes(size)
                await socket.send_bytes(sent)
                assert await socket.receive_bytes() == sent[::-1]

        async with session.get(f"http://{server}/nowhere") as response:
            assert response.status == 404
    print(f"{len(got)} pages, {sum(map(len, got))} bytes; upload of {len(body)}; 3 messages")


if __name__ == "__main__":
    asyncio.run(serve() if sys.argv[1] == "server" else ask(sys.argv[2]))
