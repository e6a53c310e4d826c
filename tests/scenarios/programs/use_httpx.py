"""httpx: a client of HTTP/1.1 and HTTP/2 over TLS; the server is hypercorn with an ASGI application.

    use_httpx.py server
    use_httpx.py client SERVER
"""

import asyncio
import hashlib
import json
import pathlib
import random
import ssl
import sys

import httpx
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config

TLS = pathlib.Path(__file__).parents[3] / "tapestries" / "apps" / "tls"
PAGES = {f"/page/{number}": random.Random(number).randbytes(60_000 + 20_000 * number) for number in range(4)}


async def application(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    path = scope["path"]
    if path in PAGES:
        status, answer = 200, PAGES[path]
    elif path == "/upload":
        digest, size, more = hashlib.sha256(), 0, True
        while more:
            event = await receive()
            digest.update(event["body"])
            size += len(event["body"])
            more = event["more_body"]
        told = {"size": size, "sha256": digest.hexdigest(), "version": scope["http_version"]}
        status, answer = 200, json.dumps(told).encode()
    elif path == "/moved":
        await send({"type": "http.response.start", "status": 302, "headers": [(b"location", b"/page/0")]})
        await send({"type": "http.response.body", "body": b""})
        return
    else:
        status, answer = 404, b"not here"
    headers = [(b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for start in range(0, len(answer), 16_384):
        more = start + 16_384 < len(answer)
        await send({"type": "http.response.body", "body": answer[start : start + 16_384], "more_body": more})


async def serve():
    config = Config()
    config.bind = ["0.0.0.0:443"]
    config.insecure_bind = ["0.0.0.0:80"]
    config.certfile = config.keyfile = str(TLS / "server.pem")
    await hypercorn_serve(application, config, shutdown_trigger=asyncio.Event().wait)


async def ask_over(client, base, version):
    got = await asyncio.gather(*(client.get(f"{base}{path}") for path in PAGES))
    assert [response.content for response in got] == list(PAGES.values()), "a page differs"
    assert {response.http_version for response in got} == {version}, got[0].http_version
    body = random.randbytes(150_000)

    async def parts():
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]
            await asyncio.sleep(0.001)

    answer = (await client.post(f"{base}/upload", content=parts())).raise_for_status().json()
    assert answer["size"] == len(body)
    assert answer["sha256"] == hashlib.sha256(body).hexdigest()
    digest = hashlib.sha256()
    async with client.stream("GET", f"{base}/page/3") as response:
        async for chunk in response.aiter_bytes(5_000):
            digest.update(chunk)
    assert digest.digest() == hashlib.sha256(PAGES["/page/3"]).digest()
    moved = await client.get(f"{base}/moved")
    assert moved.content == PAGES["/page/0"]
    assert len(moved.history) == 1
    assert (await client.get(f"{base}/nowhere")).status_code == 404
    return sum(len(response.content) for response in got)


async def ask(server):
    context = ssl.create_default_context(cafile=TLS / "authority.pem")
    async with httpx.AsyncClient(verify=context, http2=True, follow_redirects=True) as client:
        size = await ask_over(client, f"https://{server}", "HTTP/2")
    async with httpx.AsyncClient(verify=context, follow_redirects=True) as client:
        size += await ask_over(client, f"https://{server}", "HTTP/1.1")
        size += await ask_over(client, f"http://{server}", "HTTP/1.1")
        try:
            await client.get(f"http://{server}:81/")
        except httpx.ConnectError:
            pass
        else:
            raise AssertionError("port 81 answers")
    print(f"HTTP/2, HTTP/1.1 with and without TLS: {size} bytes of pages")


if __name__ == "__main__":
    asyncio.run(serve() if sys.argv[1] == "server" else ask(sys.argv[2]))
