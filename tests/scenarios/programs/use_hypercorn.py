"""Hypercorn with Starlette: a site over HTTP/2 with TLS, and HTTP/1.1 beside; asked by httpx, several streams at once.

    use_hypercorn.py server
    use_hypercorn.py client SERVER
"""

import asyncio
import hashlib
import pathlib
import random
import ssl
import sys

import httpx
from hypercorn.asyncio import serve
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

TLS = pathlib.Path(__file__).parents[3] / "tapestries" / "apps" / "tls"
SIZES = [100, 5_000, 60_000, 250_000]


async def echo(request):
    body = await request.body()
    return Response(body, headers={"x-sha256": hashlib.sha256(body).hexdigest()})


async def numbers(request):
    count = int(request.query_params["count"])
    return PlainTextResponse("".join(f"{number}\n" for number in range(count)))


async def version(request):
    return PlainTextResponse(request.scope["http_version"])


app = Starlette(
    routes=[
        Route("/echo", echo, methods=["POST"]),
        Route("/numbers", numbers),
        Route("/version", version),
    ]
)


async def server():
    config = Config()
    config.bind = ["0.0.0.0:443"]
    config.insecure_bind = ["0.0.0.0:80"]
    config.certfile = config.keyfile = str(TLS / "server.pem")
    config.errorlog = None
    await serve(app, config)


async def post(session, size):
    body = random.randbytes(size)
    response = await session.post("/echo", content=body)
    response.raise_for_status()
    assert response.headers["x-sha256"] == hashlib.sha256(body).hexdigest()
    assert response.content == body
    return len(body)


async def client(server):
    context = ssl.create_default_context(cafile=TLS / "authority.pem")
    async with httpx.AsyncClient(base_url=f"https://{server}", http2=True, verify=context) as session:
        response = await session.get("/version")
        secure = f"{response.http_version} says {response.text}"
        # Streams of one connection.
        echoed = sum(await asyncio.gather(*(post(session, size) for size in SIZES)))
        listed = (await session.get("/numbers", params={"count": 20_000})).text.split()
        assert listed == [str(number) for number in range(20_000)]
    async with httpx.AsyncClient(base_url=f"http://{server}") as session:
        response = await session.get("/version")
        plain = f"{response.http_version} says {response.text}"
        echoed += await post(session, 100_000)
    print(f"{secure}, {plain}, echoed {echoed} bytes, listed {len(listed)} numbers")


if __name__ == "__main__":
    asyncio.run(server() if sys.argv[1] == "server" else client(sys.argv[2]))
