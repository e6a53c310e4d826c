"""aioftp: a server with two users, and clients that list, upload, download, resume, and are refused.

    use_aioftp.py server
    use_aioftp.py client SERVER
"""

import asyncio
import hashlib
import pathlib
import random
import sys
import tempfile

import aioftp


async def serve():
    with tempfile.TemporaryDirectory() as folder:
        users = [
            aioftp.User("alice", "secret", base_path=folder),
            aioftp.User("bob", "hush", base_path=folder, permissions=[aioftp.Permission("/", writable=False)]),
        ]
        await aioftp.Server(users).run("0.0.0.0", 21)


async def upload(server, name, data):
    async with aioftp.Client.context(server, user="alice", password="secret") as client:
        async with client.upload_stream(name) as stream:
            for start in range(0, len(data), 10_000):
                await stream.write(data[start : start + 10_000])
        assert int((await client.stat(name))["size"]) == len(data)


async def download(server, name):
    async with (
        aioftp.Client.context(server, user="bob", password="hush") as client,
        client.download_stream(name) as stream,
    ):
        return b"".join([block async for block in stream.iter_by_block(8192)])


async def ask(server):
    data = {f"file-{number}": random.randbytes(80_000 + 20_000 * number) for number in range(4)}
    await asyncio.gather(*(upload(server, name, content) for name, content in data.items()))
    got = await asyncio.gather(*(download(server, name) for name in data))
    assert got == list(data.values()), "a file differs"

    async with aioftp.Client.context(server, user="alice", password="secret") as client:
        listed = sorted([str(path) for path, _ in await client.list("/")])
        assert listed == [f"/{name}" for name in data], listed
        # The rest of a file, as after a broken download.
        async with client.download_stream("file-1", offset=50_000) as stream:
            assert await stream.read() == data["file-1"][50_000:]
        async with client.append_stream("file-0") as stream:
            await stream.write(b"more")
        await client.rename("file-0", "file-9")
        with tempfile.TemporaryDirectory() as folder:
            here = pathlib.Path(folder)
            (here / "tree" / "below").mkdir(parents=True)
            (here / "tree" / "a").write_bytes(b"a" * 1000)
            (here / "tree" / "below" / "b").write_bytes(b"b" * 1000)
            await client.upload(here / "tree")
            await client.download("tree", here / "back", write_into=True)
            assert (here / "back" / "below" / "b").read_bytes() == b"b" * 1000
            await client.download("file-9", here / "file-9", write_into=True)
            assert (here / "file-9").read_bytes() == data["file-0"] + b"more"
        await client.remove("tree")
        assert not await client.exists("tree")

    async with aioftp.Client.context(server, user="bob", password="hush") as client:
        try:
            async with client.upload_stream("forbidden") as stream:
                await stream.write(b"x")
        except aioftp.StatusCodeError as refused:
            assert refused.received_codes[-1] == "550", refused
        else:
            raise AssertionError("bob may write")
    try:
        async with aioftp.Client.context(server, user="alice", password="wrong"):
            raise AssertionError("a wrong password was taken")
    except aioftp.StatusCodeError as refused:
        assert refused.received_codes[-1] == "530", refused
    whole = hashlib.sha256(b"".join(got)).hexdigest() == hashlib.sha256(b"".join(data.values())).hexdigest()
    assert whole
    print(f"{len(data)} files, {sum(map(len, got))} bytes up and down; 1 resumed, 1 appended, 1 tree, 2 refusals")


if __name__ == "__main__":
    asyncio.run(serve() if sys.argv[1] == "server" else ask(sys.argv[2]))
