"""kademlia: nodes of a distributed hash table, of which one stores keys and another finds them.

    use_kademlia.py server
    use_kademlia.py node SERVER
    use_kademlia.py store SERVER COUNT
    use_kademlia.py find SERVER COUNT
"""

import asyncio
import socket
import sys

from kademlia.network import Server

PORT = 8468


async def node(bootstrap=None):
    server = Server()
    await server.listen(PORT)
    if bootstrap:
        await server.bootstrap([(socket.gethostbyname(bootstrap), PORT)])  # which takes addresses, no names
    return server


async def serve(bootstrap=None):
    await node(bootstrap)
    await asyncio.Event().wait()


async def store(bootstrap, count):
    server = await node(bootstrap)
    for number in range(count):
        assert await server.set(f"key-{number}", f"value-{number} " * 100)
    print(f"stored {count}, knows {len(server.bootstrappable_neighbors())}")
    server.stop()


async def find(bootstrap, count):
    server = await node(bootstrap)
    found = await asyncio.gather(*(server.get(f"key-{number}") for number in range(count)))
    assert found == [f"value-{number} " * 100 for number in range(count)], found
    nothing = await server.get("nobody stored this")
    print(f"found {len(found)}, and {nothing}")
    server.stop()


if __name__ == "__main__":
    role, *rest = sys.argv[1:]
    if role in ("server", "node"):
        asyncio.run(serve(*rest))
    else:
        asyncio.run((store if role == "store" else find)(rest[0], int(rest[1])))
