"""An ordinary aiohttp site: a few pages from 1 KB to 1 MB over HTTP, and the same over TLS.

    python site.py --port 80 --tls-port 443

`/index.json` lists the pages with their size and SHA-256.
"""

import argparse
import asyncio
import hashlib
import pathlib
import ssl

from aiohttp import web

SIZES = {"/small": 1_000, "/medium": 10_000, "/large": 100_000, "/huge": 1_000_000}
TLS = pathlib.Path(__file__).parent / "tls"


def content(path: str) -> bytes:
    """The bytes of a page: any will do, as long as they are the same each time."""
    return hashlib.shake_128(path.encode()).digest(SIZES[path])


PAGES = {path: content(path) for path in SIZES}
INDEX = [
    {"path": path, "size": len(body), "sha256": hashlib.sha256(body).hexdigest()} for path, body in PAGES.items()
]


async def index(_request: web.Request) -> web.Response:
    return web.json_response(INDEX)


async def page(request: web.Request) -> web.Response:
    body = PAGES.get(request.path)
    if body is None:
        raise web.HTTPNotFound
    return web.Response(body=body, content_type="application/octet-stream")


async def serve(port: int, tls_port: int) -> None:
    app = web.Application()
    app.add_routes([web.get("/index.json", index), web.get("/{name}", page)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "server.pem")
    await web.TCPSite(runner, port=port, backlog=1024).start()
    await web.TCPSite(runner, port=tls_port, ssl_context=context, backlog=1024).start()
    print(f"serving {len(PAGES)} pages on port {port} and, over TLS, on port {tls_port}")
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=80)
    parser.add_argument("--tls-port", type=int, default=443)
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.tls_port))


if __name__ == "__main__":
    main()
