"""An ordinary aioftp client: it stores files, lists them, fetches them again, and compares.

    python ftp.py HOST --files 4
"""

import argparse
import asyncio
import random

import aioftp


async def visit(host: str, port: int, files: dict[str, bytes]) -> None:
    async with aioftp.Client.context(host, port, user="alice", password="secret") as client:
        for name, content in files.items():
            async with client.upload_stream(name) as stream:
                await stream.write(content)
        sizes = {path.name: int(info["size"]) for path, info in await client.list()}
        if sizes != {name: len(content) for name, content in files.items()}:
            raise ValueError(f"wrong list of files: {sizes}")
    # With a second login, so that it is the server that remembers.
    async with aioftp.Client.context(host, port, user="alice", password="secret") as client:
        for name, content in files.items():
            async with client.download_stream(name) as stream:
                got = await stream.read()
            if got != content:
                raise ValueError(f"{name} has come back with {len(got)} bytes that differ")
    print(f"{len(files)} files, {sum(sizes.values()):,} bytes there and back as they were")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("--port", type=int, default=21)
    parser.add_argument("--files", type=int, default=4)
    options = parser.parse_args()
    contents = {f"file-{number}": random.randbytes(25_000 * (number + 1)) for number in range(options.files)}
    asyncio.run(visit(options.host, options.port, contents))
