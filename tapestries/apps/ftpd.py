"""An ordinary aioftp server with one user, whose files it keeps in memory.

    python ftpd.py --port 21
"""

import argparse
import asyncio

import aioftp


async def serve(port: int) -> None:
    user = aioftp.User("alice", "secret")
    server = aioftp.Server([user], path_io_factory=aioftp.MemoryPathIO)
    print(f"ftp on port {port}")
    await server.run("0.0.0.0", port)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=21)
    asyncio.run(serve(parser.parse_args().port))
