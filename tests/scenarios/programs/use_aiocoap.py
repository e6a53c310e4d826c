"""aiocoap: a block-wise store, something to observe, a slow answer; over UDP, and over TCP beside.

    use_aiocoap.py server
    use_aiocoap.py client SERVER

aiocoap's default on Linux is its udp6 transport, which needs IPv6 sockets. A virtual host has IPv4, so the program
names the transports that aiocoap has for that: simple6 (whose sockets have the family of the name) for requests, and
simplesocketserver.
"""

import asyncio
import hashlib
import random
import socket
import sys

import aiocoap
import aiocoap.error
import aiocoap.resource


class Store(aiocoap.resource.Resource):
    def __init__(self):
        super().__init__()
        self.content = b""

    async def render_get(self, request):
        return aiocoap.Message(payload=self.content)

    async def render_put(self, request):
        self.content = request.payload
        return aiocoap.Message(code=aiocoap.CHANGED, payload=hashlib.sha256(self.content).digest())


class Clock(aiocoap.resource.ObservableResource):
    """Counts its ticks for those who observe it."""

    def __init__(self):
        super().__init__()
        self.ticks = 0
        self.ticking = None

    async def tick(self):
        while True:
            await asyncio.sleep(0.5)
            self.ticks += 1
            self.updated_state()

    def update_observation_count(self, count):
        if count and self.ticking is None:
            self.ticking = asyncio.create_task(self.tick())
        elif not count and self.ticking is not None:
            self.ticking.cancel()
            self.ticking = None

    async def render_get(self, request):
        return aiocoap.Message(payload=str(self.ticks).encode())


class Slow(aiocoap.resource.Resource):
    """Answers after the empty acknowledgement: a separate response."""

    async def render_get(self, request):
        await asyncio.sleep(3)
        return aiocoap.Message(payload=b"at last")


async def server():
    site = aiocoap.resource.Site()
    site.add_resource([".well-known", "core"], aiocoap.resource.WKCResource(site.get_resources_as_linkheader))
    site.add_resource(["store"], Store())
    site.add_resource(["clock"], Clock())
    site.add_resource(["slow"], Slow())
    address = socket.gethostbyname(socket.gethostname())
    await aiocoap.Context.create_server_context(
        site, bind=(address, None), transports=["simplesocketserver", "simple6", "tcpserver"]
    )
    await asyncio.Event().wait()


async def get(context, uri, **options):
    return await context.request(aiocoap.Message(code=aiocoap.GET, uri=uri, **options)).response


async def keep(context, uri, size):
    """Put and get, block by block."""
    body = random.randbytes(size)
    request = aiocoap.Message(code=aiocoap.PUT, uri=uri, payload=body)
    response = await context.request(request).response
    assert response.code == aiocoap.CHANGED, response
    assert response.payload == hashlib.sha256(body).digest()
    assert (await get(context, uri)).payload == body
    return size


async def observe(context, uri, count):
    request = context.request(aiocoap.Message(code=aiocoap.GET, uri=uri, observe=0))
    seen = [int((await request.response).payload)]
    async for response in request.observation:
        seen.append(int(response.payload))
        if len(seen) == count:
            break
    request.observation.cancel()
    return seen


async def client(host):
    context = await aiocoap.Context.create_client_context(transports=["simple6", "tcpclient"])
    links = (await get(context, f"coap://{host}/.well-known/core")).payload.decode()
    assert "</store>" in links, links
    kept = await keep(context, f"coap://{host}/store", 20_000)
    kept += await keep(context, f"coap+tcp://{host}/store", 100_000)
    seen, slow = await asyncio.gather(
        observe(context, f"coap://{host}/clock", 5), get(context, f"coap://{host}/slow")
    )
    assert seen == sorted(seen) and len(set(seen)) == 5, seen
    missing = (await get(context, f"coap://{host}/nothing")).code
    try:
        await get(context, f"coap://{host}:5684/store")
        raise SystemExit("who answers there?")
    except aiocoap.error.NetworkError as error:
        refused = type(error).__name__
    await context.shutdown()
    print(f"kept {kept} bytes, observed {len(seen)}, {slow.payload.decode()}, {missing}, {refused}")


if __name__ == "__main__":
    asyncio.run(server() if sys.argv[1] == "server" else client(sys.argv[2]))
