"""asyncssh: logins by password and by key, commands, a terminal, a forwarded port, and files by SFTP and SCP.

    use_asyncssh.py server
    use_asyncssh.py client SERVER
"""

import asyncio
import hashlib
import pathlib
import random
import sys
import tempfile

import asyncssh

# The server's host key and, on this machine, the user's too: an RSA key, whose signatures have one size.
KEY = asyncssh.read_private_key(pathlib.Path(__file__).parents[3] / "tapestries" / "apps" / "tls" / "server.pem")
NOBODY = asyncssh.import_private_key(
    b"""-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f
-----END PRIVATE KEY-----
"""
)


class Site(asyncssh.SSHServer):
    def begin_auth(self, username):
        return True

    def password_auth_supported(self):
        return True

    def validate_password(self, username, password):
        return (username, password) == ("alice", "secret")

    def connection_requested(self, dest_host, dest_port, orig_host, orig_port):
        return dest_port == 7


async def handle(process):
    if process.command == "sha256":
        digest = hashlib.sha256()
        while data := await process.stdin.read(32_768):
            digest.update(data)
        process.stdout.write(digest.hexdigest().encode())
        process.exit(0)
    elif process.command == "fail":
        process.stderr.write(b"as asked\n")
        process.exit(3)
    else:
        width, height, _, _ = process.term_size
        process.stdout.write(b"%s %dx%d\n" % (process.term_type.encode(), width, height))
        async for line in process.stdin:
            if line.rstrip() == b"exit":
                break
            process.stdout.write(line.upper())
        process.exit(0)


async def echo(reader, writer):
    while data := await reader.read(10_000):
        writer.write(data)
        await writer.drain()
    writer.close()


async def serve():
    with tempfile.TemporaryDirectory() as folder:
        await asyncio.start_server(echo, "127.0.0.1", 7)
        await asyncssh.create_server(
            Site, "0.0.0.0", 22, server_host_keys=[KEY], process_factory=handle, encoding=None, allow_scp=True,
            authorized_client_keys=asyncssh.import_authorized_keys(KEY.export_public_key().decode()),
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=folder),
        )  # fmt: skip
        await asyncio.get_running_loop().create_future()


async def commands(connection):
    """Three at once in one connection, each with its own data."""
    bodies = [random.randbytes(100_000 + number) for number in range(3)]
    done = await asyncio.gather(*(connection.run("sha256", input=body, encoding=None) for body in bodies))
    assert [result.stdout.decode() for result in done] == [hashlib.sha256(body).hexdigest() for body in bodies]
    failed = await connection.run("fail")
    assert (failed.exit_status, failed.stderr) == (3, "as asked\n"), failed
    async with connection.create_process(term_type="vt100", term_size=(100, 30)) as terminal:
        assert "vt100 100x30" in await terminal.stdout.readline()
        terminal.stdin.write("hello\n")
        assert "HELLO" in await terminal.stdout.readuntil("HELLO")
        terminal.stdin.write("exit\n")
        await terminal.wait()


async def forwarded(connection):
    """The server's echo port, which only its own host can reach, over the connection."""
    listener = await connection.forward_local_port("127.0.0.1", 0, "127.0.0.1", 7)
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.get_port())
    data = random.randbytes(100_000)
    writer.write(data)
    writer.write_eof()
    assert await reader.read() == data
    writer.close()
    listener.close()


async def files(connection):
    data = random.randbytes(400_000)
    with tempfile.TemporaryDirectory() as folder:
        here = pathlib.Path(folder)
        (here / "sent").write_bytes(data)
        async with connection.start_sftp_client() as sftp:
            await sftp.mkdir("box")
            await sftp.put(here / "sent", "box/file")
            assert (await sftp.stat("box/file")).size == len(data)
            await sftp.rename("box/file", "box/moved")
            assert sorted(await sftp.listdir("box")) == [".", "..", "moved"]
            async with sftp.open("box/moved", "rb") as file:
                await file.seek(123_456)
                assert await file.read(1000) == data[123_456:124_456]
            await sftp.get("box/moved", here / "got")
            assert (here / "got").read_bytes() == data
            try:
                await sftp.stat("box/file")
            except asyncssh.SFTPNoSuchFile:
                pass
            else:
                raise AssertionError("a file that was renamed is still there")
        await asyncssh.scp(here / "sent", (connection, "box/copied"))
        await asyncssh.scp((connection, "box/copied"), here / "copied")
        assert (here / "copied").read_bytes() == data
    return len(data)


async def ask(server):
    known = asyncssh.import_known_hosts(f"{server} {KEY.export_public_key().decode()}")
    async with asyncssh.connect(
        server, username="alice", password="secret", known_hosts=known, client_keys=None
    ) as connection:
        await commands(connection)
        await forwarded(connection)
    async with asyncssh.connect(server, username="alice", client_keys=[KEY], known_hosts=known) as connection:
        size = await files(connection)
    try:
        await asyncssh.connect(server, username="alice", client_keys=[NOBODY], known_hosts=known)
    except asyncssh.PermissionDenied:
        pass
    else:
        raise AssertionError("a key that is not authorized was let in")
    print(f"4 commands, a terminal, a forwarded port, 5 times {size} bytes by SFTP and SCP")


if __name__ == "__main__":
    asyncio.run(serve() if sys.argv[1] == "server" else ask(sys.argv[2]))
