"""Strings of all kinds, for test_strings_of_all_kinds.py: blocking, awaiting, and with pools of threads.

Two servers turn round what they get, one in a thread for each connection, one in asyncio. Each client checks what comes
back, and prints a number that sums up its data and the order in which things happened to it.
"""

import asyncio
import concurrent.futures
import random
import socket
import socketserver
import struct
import threading
import time
import zlib

PORT = 7000
EXCHANGES = 2
LARGEST = 2000


class Turn(socketserver.BaseRequestHandler):
    def handle(self):
        while header := receive(self.request, 4):
            self.request.sendall(header + receive(self.request, struct.unpack("!I", header)[0])[::-1])
            with self.server.lock:
                self.server.served += 1


class Threaded(socketserver.ThreadingTCPServer):
    request_queue_size = 3000
    daemon_threads = True

    def __init__(self, *args):
        super().__init__(*args)
        self.lock = threading.Lock()
        self.served = 0


def serve_blocking():
    with Threaded(("", PORT), Turn) as server:
        server.serve_forever()


async def serve_awaiting():
    async def turn(reader, writer):
        try:
            while True:
                header = await reader.readexactly(4)
                data = await reader.readexactly(struct.unpack("!I", header)[0])
                writer.write(header + data[::-1])
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(turn, "0.0.0.0", PORT, backlog=3000)
    await server.serve_forever()


def receive(sock, size):
    """`size` bytes, or none at the end."""
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            assert not data, "the end comes between two messages"
            return b""
        data += more
    return data


def exchange(sock, data):
    sock.sendall(struct.pack("!I", len(data)) + data)
    assert receive(sock, 4 + len(data))[4:] == data[::-1]
    return zlib.crc32(data)


def blocking(server):
    """One connection, and pauses of random length."""
    told = []
    with socket.create_connection((server, PORT), timeout=30) as sock:
        for _ in range(EXCHANGES):
            told.append(exchange(sock, random.randbytes(random.randrange(1, LARGEST))))
            time.sleep(random.random() / 10)
    print(sum(told), time.monotonic())


async def awaiting(server):
    """The same, awaited; a second task waits meanwhile."""
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    told = []
    ticking = asyncio.create_task(tick())
    reader, writer = await asyncio.open_connection(server, PORT)
    for _ in range(EXCHANGES):
        data = random.randbytes(random.randrange(1, LARGEST))
        writer.write(struct.pack("!I", len(data)) + data)
        assert (await reader.readexactly(4 + len(data)))[4:] == data[::-1]
        told.append(zlib.crc32(data))
        await asyncio.sleep(random.random() / 10)
    ticking.cancel()
    writer.close()
    print(sum(told), ticks, asyncio.get_running_loop().time())


def pooled(*servers):
    """A pool of threads whose connections are their own; who gets which piece of work is part of the order."""
    own = threading.local()
    lock = threading.Lock()
    order = []

    def work(number, data):
        if not hasattr(own, "sock"):
            own.sock = socket.create_connection((servers[number % len(servers)], PORT), timeout=30)
        told = exchange(own.sock, data)
        with lock:
            time.sleep(0.001)  # the others want the lock meanwhile
            order.append((number, threading.current_thread().name))
        return told

    pieces = [random.randbytes(random.randrange(1, LARGEST)) for _ in range(12)]
    with concurrent.futures.ThreadPoolExecutor(4, thread_name_prefix="pool") as pool:
        futures = {pool.submit(work, number, data): number for number, data in enumerate(pieces)}
        finished = [futures[future] for future in concurrent.futures.as_completed(futures)]
        told = [future.result() for future in futures]
        assert list(pool.map(len, pieces)) == [len(data) for data in pieces]
    assert told == [zlib.crc32(data) for data in pieces]
    assert sorted(finished) == sorted(number for number, _ in order) == list(range(len(pieces)))

    async def by_threads():
        loop = asyncio.get_running_loop()
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return await asyncio.gather(
                asyncio.to_thread(blocking, servers[0]), loop.run_in_executor(pool, blocking, servers[1])
            )

    asyncio.run(by_threads())
    print(order, finished)
