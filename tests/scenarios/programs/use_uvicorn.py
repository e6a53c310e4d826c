"""uvicorn with Starlette: a store of files over HTTP, and a WebSocket; asked by aiohttp, several files at once.

    use_uvicorn.py server
    use_uvicorn.py client SERVER

`uvicorn.run` as its users call it: the loop is uvloop's where uvloop is installed.
"""

import asyncio
import contextlib
import hashlib
import random
import sys

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

PORT = 8000
SIZES = [1, 1000, 70_000, 300_000]


@contextlib.asynccontextmanager
async def lifespan(app):
    app.state.files = {}
    yield
    app.state.files.clear()


async def upload(request):
    digest = hashlib.sha256()
    parts = []
    async for part in request.stream():
        digest.update(part)
        parts.append(part)
    name = request.path_params["name"]
    request.app.state.files[name] = b"".join(parts)
    return JSONResponse({"name": name, "size": len(request.app.state.files[name]), "sha256": digest.hexdigest()})


async def download(request):
    data = request.app.state.files.get(request.path_params["name"])
    if data is None:
        return JSONResponse({"error": "not here"}, status_code=404)

    async def pieces():
        for at in range(0, len(data), 10_000):
            yield data[at : at + 10_000]
            await asyncio.sleep(0.001)

    return StreamingResponse(pieces(), media_type="application/octet-stream")


async def shout(websocket):
    await websocket.accept()
    count = 0
    async for text in websocket.iter_text():
        if text == "bye":
            break
        count += 1
        await websocket.send_text(text.upper())
    await websocket.send_json({"count": count})
    await websocket.close()


app = Starlette(
    routes=[
        Route("/files/{name}", upload, methods=["PUT"]),
        Route("/files/{name}", download, methods=["GET"]),
        WebSocketRoute("/shout", shout),
    ],
    lifespan=lifespan,
)


async def keep(session, site, name, data):
    """Put a file, get it back; the size."""
    async with session.put(f"{site}/files/{name}", data=data) as response:
        answer = await response.json()
    assert answer == {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}, answer
    async with session.get(f"{site}/files/{name}") as response:
        assert response.status == 200
        assert response.headers["server"] == "uvicorn"
        assert await response.read() == data
    return len(data)


async def client(server):
    site = f"http://{server}:{PORT}"
    async with aiohttp.ClientSession() as session:
        kept = await asyncio.gather(
            *(keep(session, site, f"file-{size}", random.randbytes(size)) for size in SIZES)
        )
        async with session.get(f"{site}/files/nothing") as response:
            missing = response.status
        async with session.ws_connect(f"{site}/shout") as websocket:
            words = ["one", "two", "x" * 100_000]
            for word in words:
                await websocket.send_str(word)
            for word in words:
                assert await websocket.receive_str() == word.upper()
            await websocket.send_str("bye")
            counted = await websocket.receive_json()
            ended = await websocket.receive()
    said = f"shouted {counted['count']}, {ended.type.name}"
    print(f"kept {sum(kept)} bytes in {len(kept)} files, missing {missing}, {said}")


if __name__ == "__main__":
    if sys.argv[1] == "server":
        uvicorn.run(app, host="0.0.0.0", port=PORT, log_level="warning")
    else:
        asyncio.run(client(sys.argv[2]))
