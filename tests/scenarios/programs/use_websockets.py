"""websockets: an echo and a chat with broadcasts, with compression, over TCP and TLS, several clients at once.

    use_websockets.py server
    use_websockets.py client SERVER
"""

import asyncio
import hashlib
import pathlib
import random
import ssl
import sys

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import broadcast, serve

TLS = pathlib.Path(__file__).parents[3] / "tapestries" / "apps" / "tls"
CHATTERS = 5

# A dictionary for its order: a set of objects that hash by their address has another one in each process.
chatting = {}


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def chat(socket):
    chatting[socket] = True
    try:
        async for message in socket:
            broadcast(chatting, message)
    finally:
        chatting.pop(socket, None)


async def handle(socket):
    if socket.request.path == "/chat":
        await chat(socket)
    else:
        await echo(socket)


async def run_server():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "server.pem")
    async with (
        serve(handle, "0.0.0.0", 80),
        serve(handle, "0.0.0.0", 443, ssl=context, ping_interval=1, ping_timeout=5),
    ):
        await asyncio.get_running_loop().create_future()


async def echoes(uri, context):
    async with connect(uri, ssl=context, max_size=2**21) as socket:
        for size in (0, 125, 126, 65_535, 65_536, 300_000):
            data = random.randbytes(size)
            await socket.send(data)
            assert hashlib.sha256(await socket.recv()).digest() == hashlib.sha256(data).digest()
        text = "Grüße, κόσμε \N{SNOWMAN} " * 5_000  # compresses well
        await socket.send(text[i : i + 1000] for i in range(0, len(text), 1000))  # a message in fragments
        assert await socket.recv() == text
        await asyncio.sleep(3)  # of silence: the server's pings keep it open
        latency = await (await socket.ping())
        assert latency > 0.005, latency
    assert socket.close_code == 1000


async def chatter(uri, number, arrived):
    heard = []
    async with connect(uri) as socket:
        await arrived.wait()
        await socket.send(f"{number} says hello")
        while len(heard) < CHATTERS:
            heard.append(await socket.recv())
        await arrived.wait()
    return heard


async def run_client(server):
    context = ssl.create_default_context(cafile=TLS / "authority.pem")
    await asyncio.gather(
        echoes(f"ws://{server}/", None), echoes(f"wss://{server}/", context), echoes(f"wss://{server}/", context)
    )
    heard = await asyncio.gather(
        *(chatter(f"ws://{server}/chat", number, BARRIER) for number in range(CHATTERS))
    )
    assert sorted(heard[0]) == [f"{number} says hello" for number in range(CHATTERS)]
    assert all(one == heard[0] for one in heard), heard
    try:
        await connect(f"ws://{server}:443/", open_timeout=5)
    except websockets.InvalidMessage:
        pass
    else:
        raise AssertionError("a TLS port took a handshake in the clear")
    print(f"3 echoes of 7 messages; {CHATTERS} heard {len(heard[0])} messages each")


BARRIER = asyncio.Barrier(CHATTERS)

if __name__ == "__main__":
    asyncio.run(run_server() if sys.argv[1] == "server" else run_client(sys.argv[2]))
