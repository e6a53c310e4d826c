"""A server over TLS with the quickstart's certificate, and clients that check it; `ask 2` and `ask 3` name TLS 1.x."""

import asyncio
import pathlib
import random
import ssl
import sys

TLS = pathlib.Path(__file__).parents[2] / "tapestries" / "apps" / "tls"


async def answer(reader, writer):
    while size := int.from_bytes(await reader.read(4)):
        writer.write(bytes(size))
        await writer.drain()
    writer.close()


async def serve():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "server.pem")
    server = await asyncio.start_server(answer, "0.0.0.0", 443, ssl=context)
    await server.serve_forever()


async def ask(minor):
    context = ssl.create_default_context(cafile=TLS / "authority.pem")
    context.minimum_version = context.maximum_version = ssl.TLSVersion[f"TLSv1_{minor}"]
    reader, writer = await asyncio.open_connection("server", 443, ssl=context)
    for _ in range(4):
        size = random.randrange(1, 30_000)
        writer.write(size.to_bytes(4))
        await reader.readexactly(size)
    writer.close()
    await writer.wait_closed()


asyncio.run(serve() if sys.argv[1] == "serve" else ask(sys.argv[2]))
