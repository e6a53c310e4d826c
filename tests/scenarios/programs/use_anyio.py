"""anyio: many clients in a task group, TLS with a relay behind it, datagrams, deadlines, memory streams.

    use_anyio.py server
    use_anyio.py client SERVER
"""

import hashlib
import pathlib
import random
import ssl
import sys

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSListener, TLSStream

TLS = pathlib.Path(__file__).parents[3] / "tapestries" / "apps" / "tls"
PLAIN, SECURE, DATAGRAMS, SILENT = 4000, 4443, 4053, 4999
CLIENTS = 8


async def send_frame(stream, data):
    await stream.send(len(data).to_bytes(4) + data)


async def receive_frame(buffered):
    size = int.from_bytes(await buffered.receive_exactly(4))
    return await buffered.receive_exactly(size)


async def digest(stream):
    """Answer each frame with its digest."""
    async with stream:
        buffered = BufferedByteReceiveStream(stream)
        try:
            while True:
                await send_frame(stream, hashlib.sha256(await receive_frame(buffered)).digest())
        except anyio.IncompleteRead:
            pass


async def silent(stream):
    await anyio.sleep_forever()


async def relay(stream):
    """Give what comes by TLS to the plain server, and back."""
    async with stream, await anyio.connect_tcp("127.0.0.1", PLAIN) as inner, anyio.create_task_group() as group:

        async def pump(source, sink):
            async for data in source:
                await sink.send(data)
            group.cancel_scope.cancel()

        group.start_soon(pump, stream, inner)
        group.start_soon(pump, inner, stream)


async def datagrams(*, task_status=anyio.TASK_STATUS_IGNORED):
    async with await anyio.create_udp_socket(local_host="0.0.0.0", local_port=DATAGRAMS) as udp:
        task_status.started()
        async for packet, (host, port) in udp:
            await udp.sendto(packet[::-1], host, port)


async def server():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "server.pem")
    plain = await anyio.create_tcp_listener(local_host="0.0.0.0", local_port=PLAIN)
    quiet = await anyio.create_tcp_listener(local_host="0.0.0.0", local_port=SILENT)
    secure = TLSListener(await anyio.create_tcp_listener(local_host="0.0.0.0", local_port=SECURE), context)
    async with anyio.create_task_group() as group:
        await group.start(datagrams)
        group.start_soon(plain.serve, digest)
        group.start_soon(quiet.serve, silent)
        group.start_soon(secure.serve, relay)


async def ask(host, size, results):
    async with await anyio.connect_tcp(host, PLAIN) as stream, results:
        buffered = BufferedByteReceiveStream(stream)
        for count in range(3):
            data = random.randbytes(size * (count + 1))
            async with anyio.create_task_group() as group:
                group.start_soon(send_frame, stream, data)
                assert await receive_frame(buffered) == hashlib.sha256(data).digest()
            await results.send(len(data))


async def ask_securely(host):
    context = ssl.create_default_context(cafile=TLS / "authority.pem")
    async with await anyio.connect_tcp(host, SECURE, ssl_context=context, tls_hostname="server") as stream:
        assert isinstance(stream, TLSStream)
        buffered = BufferedByteReceiveStream(stream)
        data = random.randbytes(150_000)
        async with anyio.create_task_group() as group:
            group.start_soon(send_frame, stream, data)
            assert await receive_frame(buffered) == hashlib.sha256(data).digest()
        return stream.extra(anyio.streams.tls.TLSAttribute.tls_version)


async def ask_by_datagrams(host):
    """The network loses some: ask again after a while."""
    async with await anyio.create_connected_udp_socket(host, DATAGRAMS) as udp:
        answered = 0
        for number in range(20):
            packet = f"packet {number}".encode()
            while True:
                await udp.send(packet)
                with anyio.move_on_after(0.5):
                    if await udp.receive() == packet[::-1]:
                        answered += 1
                        break
        return answered


async def client(host):
    sender, receiver = anyio.create_memory_object_stream(10)
    total = 0
    async with anyio.create_task_group() as group, receiver:
        for number in range(CLIENTS):
            group.start_soon(ask, host, 1 + 5000 * number, sender.clone())
        sender.close()
        async for size in receiver:
            total += size
    version = await ask_securely(host)
    answered = await ask_by_datagrams(host)
    start = anyio.current_time()
    with anyio.move_on_after(2) as scope:
        async with await anyio.connect_tcp(host, SILENT) as stream:
            await stream.receive()
    assert scope.cancelled_caught
    waited = round(anyio.current_time() - start, 3)
    try:
        await anyio.connect_tcp(host, 1)
        raise SystemExit("nobody is there")
    except OSError as error:
        refused = type(error.__cause__).__name__
    print(f"digests of {total} bytes, {version}, {answered} datagrams, waited {waited}, {refused}")


if __name__ == "__main__":
    if sys.argv[1] == "server":
        anyio.run(server)
    else:
        anyio.run(client, sys.argv[2])
