"""A server that answers questions of random length after random times, and clients that ask again whatever happens."""

import asyncio
import random
import signal
import sys
import time

served = 0


async def answer(reader, writer):
    global served
    try:
        while question := await reader.readline():
            served += 1
            await asyncio.sleep(random.expovariate(20))
            writer.write(b"%d " % served + question * random.randrange(1, 400) + b"\n")
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def serve():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = await asyncio.start_server(answer, "", 80)
    await stop.wait()
    server.close()


def fails():
    time.sleep(random.uniform(1, 4))
    raise LookupError(served)


async def ask(server, name):
    while True:
        try:
            async with asyncio.timeout(20):
                reader, writer = await asyncio.open_connection(server, 80)
            while True:
                writer.write(b"%s" % name.encode() * random.randrange(1, 50) + b"\n")
                async with asyncio.timeout(1.5):
                    got = await reader.readuntil(b"\n\n")
                if not got:
                    break
                await asyncio.sleep(random.expovariate(5))
        except (OSError, EOFError, TimeoutError):
            await asyncio.sleep(random.uniform(0.1, 0.5))


if __name__ == "__main__":
    assert sys.argv[1:] == ["serve"]
    asyncio.run(serve())
