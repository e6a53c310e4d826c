"""A server that answers with as many bytes as it is asked for, and clients that ask for what they draw."""

import asyncio
import os
import random
import secrets
import sys
import uuid


async def answer(reader, writer):
    while line := await reader.readline():
        _name, size = line.split()
        writer.write(os.urandom(int(size)))
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def serve():
    server = await asyncio.start_server(answer, "0.0.0.0", 9000)
    async with server:
        await server.serve_forever()


async def ask(times):
    for _ in range(times):
        reader, writer = await asyncio.open_connection("server", 9000)
        size = random.choice([100, 5_000, 60_000]) + secrets.randbelow(1_000)
        writer.write(f"{uuid.uuid4()} {size}\n".encode())
        await reader.readexactly(size)
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(random.uniform(0, 0.2))


asyncio.run(serve() if sys.argv[1] == "serve" else ask(int(sys.argv[2])))
