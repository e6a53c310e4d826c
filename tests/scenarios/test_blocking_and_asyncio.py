"""A blocking program and an asyncio program on one virtual host talk to each other, in both directions.

Meanwhile the machine's own threads, and the test between two slices, talk over the machine's loopback through the same
modules: `socket`, `select`, `selectors`, `ssl`, `threading`, `queue`. Nothing of one world is seen in the other.
"""

from __future__ import annotations

import asyncio
import os
import queue
import select
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from lunar.network import Network
from lunar.sockets.fdtable import is_virtual
from weaves.clock import EPOCH_NS

TLS = Path(__file__).parents[2] / "tapestries" / "apps" / "tls"
YEAR_2024 = 1_704_067_200
DATA = bytes(range(256)) * 400
TIMEOUT_S = 30  # of what is outside, if it should hang


class Outside:
    """What goes on over the machine's loopback, by its own threads, while a network runs."""

    def __init__(self) -> None:
        self.rounds: list[str] = []
        self.errors: list[BaseException] = []
        self.done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outside")

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        """Wait for its end. Raises what it has raised."""
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()
        if self.errors:
            raise self.errors[0]

    def _run(self) -> None:
        try:
            for _ in range(3):
                for one in (through_queues, through_select, through_tls):
                    self.rounds.append(one())
        except BaseException as error:  # noqa: BLE001 `join` raises whatever it was
            self.errors.append(error)
        finally:
            self.done.set()


def outside_only(*socks: socket.socket) -> None:
    assert all(type(sock) in (socket.socket, ssl.SSLSocket) and not is_virtual(sock.fileno()) for sock in socks)
    assert time.time() > YEAR_2024 > EPOCH_NS / 1e9


def through_queues() -> str:
    """A thread that answers, by two queues, a lock and a condition."""
    there: queue.Queue[int | None] = queue.Queue()
    back: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()

    def square() -> None:
        while (number := there.get(timeout=TIMEOUT_S)) is not None:
            back.put((number * number, threading.get_ident()))

    thread = threading.Thread(target=square)
    thread.start()
    for number in range(100):
        there.put(number)
        squared, ident = back.get(timeout=TIMEOUT_S)
        assert squared == number * number and ident == thread.ident != threading.get_ident()
    there.put(None)
    thread.join(TIMEOUT_S)
    return "queues"


def through_select() -> str:
    """One thread that serves, with a selector, and one that asks, with select."""

    def serve(listener: socket.socket) -> None:
        with selectors.DefaultSelector() as selector, listener:
            selector.register(listener, selectors.EVENT_READ)
            assert selector.select(TIMEOUT_S)
            sock, _ = listener.accept()
            with sock:
                selector.register(sock, selectors.EVENT_READ)
                while True:
                    for key, _events in selector.select(TIMEOUT_S):
                        if key.fileobj is sock:
                            data = sock.recv(4096)
                            if not data:
                                return
                            sock.sendall(data)

    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    thread = threading.Thread(target=serve, args=(listener,))
    thread.start()
    with socket.create_connection(address, timeout=TIMEOUT_S) as sock:
        outside_only(sock)
        sock.sendall(b"selected")
        received = b""
        while len(received) < len(b"selected"):
            assert select.select([sock], [], [], TIMEOUT_S)[0] == [sock]
            received += sock.recv(100)
        assert received == b"selected"
    thread.join(TIMEOUT_S)
    return "select"


def through_tls() -> str:
    """An echo over TLS."""

    def serve(listener: socket.socket) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(TLS / "server.pem")
        with listener:
            plain, _ = listener.accept()
        with context.wrap_socket(plain, server_side=True) as sock:
            sock.sendall(sock.recv(100))

    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(TIMEOUT_S)
    address = listener.getsockname()
    thread = threading.Thread(target=serve, args=(listener,))
    thread.start()
    context = ssl.create_default_context(cafile=TLS / "authority.pem")
    plain = socket.create_connection(address, timeout=TIMEOUT_S)
    with context.wrap_socket(plain, server_hostname="server") as sock:
        outside_only(sock)
        sock.sendall(b"secret")
        assert sock.recv(100) == b"secret"
    thread.join(TIMEOUT_S)
    return "tls"


class World:
    """A network of one host, and what goes on outside of it."""

    def __init__(self) -> None:
        self.net = Network(seed=1)
        self.host = self.net.host("one", "10.0.0.1/24")
        self.outside = Outside()

    def inside_only(self, *socks: socket.socket) -> None:
        """The callers are in virtual time, with sockets of their host."""
        assert all(isinstance(sock, socket.socket) and is_virtual(sock.fileno()) for sock in socks)
        assert time.time_ns() == EPOCH_NS + self.net.scheduler.now_ns
        assert socket.gethostname() == "one"

    def run(self, blocking: Callable[[], Any], awaiting: Callable[[], Any]) -> tuple[Any, Any]:
        """What both return, run again and again on the host until what is outside is done."""
        self.outside.start()
        results: list[tuple[Any, Any]] = []
        while not results or not self.outside.done.is_set():
            string = self.net.start(self.host, blocking, on_error="continue")
            awaited = self.net.run(awaiting, on=self.host)
            self.net.run()
            assert string.error is None, string.describe_failure()
            results.append((string.result, awaited))
            through_queues()  # the test itself, between two runs
            assert socket.gethostname() == os.uname().nodename
        self.outside.join()
        assert self.outside.rounds == ["queues", "select", "tls"] * 3
        assert all(result == results[0] for result in results)
        return results[0]


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.net.close()


def receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        assert more, "the end comes too early"
        data += more
    return data


def serve_once(world: World, family: int, address: Any) -> Callable[[], bytes]:
    """A blocking server of one connection, which it serves in a thread of its own: turns round what it gets."""

    def serve() -> bytes:
        with socket.socket(family) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
            sock, _ = listener.accept()
        world.inside_only(sock)
        got: queue.Queue[bytes] = queue.Queue()

        def turn() -> None:
            with sock:
                data = receive(sock, len(DATA))
                sock.sendall(data[::-1])
            got.put(data)

        thread = threading.Thread(target=turn)
        thread.start()
        data = got.get()
        thread.join()
        return data

    return serve


STREAMS = [
    pytest.param(socket.AF_INET, ("127.0.0.1", 7000), id="tcp"),
    pytest.param(socket.AF_UNIX, "\0service", id="unix"),
]


async def open_stream(family: int, address: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    await asyncio.sleep(0.1)  # the other one comes to its accept
    if family == socket.AF_UNIX:
        return await asyncio.open_unix_connection(address)
    return await asyncio.open_connection(*address)


@pytest.mark.parametrize(("family", "address"), STREAMS)
def test_an_asyncio_client_of_a_blocking_server(world: World, family: int, address: Any) -> None:
    async def ask() -> bytes:
        reader, writer = await open_stream(family, address)
        world.inside_only()
        writer.write(DATA)
        data = await reader.readexactly(len(DATA))
        writer.close()
        await writer.wait_closed()
        return data

    assert world.run(serve_once(world, family, address), ask) == (DATA, DATA[::-1])


@pytest.mark.parametrize(("family", "address"), STREAMS)
def test_a_blocking_client_of_an_asyncio_server(world: World, family: int, address: Any) -> None:
    async def serve() -> bytes:
        got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def turn(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            data = await reader.readexactly(len(DATA))
            writer.write(data[::-1])
            await writer.drain()
            writer.close()
            got.set_result(data)

        start: Any = asyncio.start_unix_server if family == socket.AF_UNIX else asyncio.start_server
        place = (address,) if family == socket.AF_UNIX else address
        async with await start(turn, *place):
            return await got

    def ask() -> bytes:
        time.sleep(0.1)  # the other one comes to its accept
        with socket.socket(family) as sock:
            sock.connect(address)
            world.inside_only(sock)
            sock.sendall(DATA)
            assert select.select([sock], [], [], 60) == ([sock], [], [])
            return receive(sock, len(DATA))

    assert world.run(ask, serve) == (DATA[::-1], DATA)


def test_datagrams_in_both_directions(world: World) -> None:
    class Peer(asyncio.DatagramProtocol):
        def __init__(self) -> None:
            self.heard: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.heard.put_nowait((data, addr))

    async def awaiting() -> list[bytes]:
        transport, peer = await asyncio.get_running_loop().create_datagram_endpoint(Peer, ("127.0.0.1", 7001))
        transport.sendto(b"too early", ("127.0.0.1", 7002))
        heard = []
        for _ in range(3):
            data, address = await peer.heard.get()
            heard.append(data)
            transport.sendto(data[::-1], address)
        transport.close()
        return heard

    def blocking() -> list[bytes]:
        time.sleep(0.1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 7002))
            world.inside_only(sock)
            heard = []
            for number in range(3):
                sock.sendto(b"%d datagrams" % number, ("127.0.0.1", 7001))
                sock.settimeout(5)
                heard.append(sock.recv(100))
            return heard

    sent = [b"%d datagrams" % number for number in range(3)]
    assert world.run(blocking, awaiting) == ([data[::-1] for data in sent], sent)


def test_socket_pairs_pipes_and_queues_between_the_two(world: World) -> None:
    def blocking_end(ours: socket.socket, reading: int, writing: int, told: queue.Queue[str]) -> list[bytes]:
        world.inside_only(ours)
        heard = [ours.recv(100)]
        ours.sendall(heard[0].upper())
        heard.append(os.read(reading, 100))
        os.write(writing, heard[1].upper())
        told.put("all of it")
        for descriptor in (reading, writing):
            os.close(descriptor)
        ours.close()
        return heard

    async def awaiting() -> Any:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        (there, to_there), (back, to_back) = os.pipe(), os.pipe()
        assert all(is_virtual(descriptor) for descriptor in (there, to_there, back, to_back))
        told: queue.Queue[str] = queue.Queue()
        other = asyncio.create_task(asyncio.to_thread(blocking_end, theirs, there, to_back, told))
        await loop.sock_sendall(ours, b"by the pair")
        answers = [await loop.sock_recv(ours, 100)]
        os.write(to_there, b"by the pipe")
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(back, "rb"))
        answers.append(await reader.read())
        transport.close()
        os.close(to_there)
        ours.close()
        return answers, await other, await asyncio.to_thread(told.get)

    def blocking() -> Any:
        # The same, in a loop of its own in a thread of its own.
        result: list[Any] = []
        thread = threading.Thread(target=lambda: result.append(asyncio.run(awaiting())))
        thread.start()
        thread.join()
        return result[0]

    heard = [b"by the pair", b"by the pipe"]
    expected = [data.upper() for data in heard], heard, "all of it"
    assert world.run(blocking, awaiting) == (expected, expected)


PROGRAMS = {
    "blocking.py": """
import queue, socket, threading, time

def serve(sock, heard):
    with sock, sock.makefile("rw") as file:
        for line in file:
            file.write(line.upper())
            file.flush()
            heard.put(line.strip())

heard = queue.Queue()
with socket.create_server(("", 7000)) as listener:
    threads = []
    for _ in range(3):
        sock, _ = listener.accept()
        threads.append(threading.Thread(target=serve, args=(sock, heard)))
        threads[-1].start()
    for thread in threads:
        thread.join()
with socket.create_connection(("127.0.0.1", 7001)) as sock:
    sock.sendall(b"bye\\n")
    assert sock.recv(100) == b"BYE\\n"
print(sorted(heard.get_nowait() for _ in range(heard.qsize())))
""",
    "awaiting.py": """
import asyncio

async def talk(number):
    reader, writer = await asyncio.open_connection("127.0.0.1", 7000)
    heard = []
    for word in ("one", "two"):
        writer.write(f"{word} {number}\\n".encode())
        heard.append((await reader.readline()).decode().strip())
        await asyncio.sleep(1)
    writer.close()
    return heard

async def main():
    over = asyncio.Event()

    async def shout(reader, writer):
        writer.write((await reader.readline()).upper())
        writer.close()
        over.set()

    async with await asyncio.start_server(shout, "", 7001):
        print(await asyncio.gather(*map(talk, range(3))))
        await over.wait()

asyncio.run(main())
""",
}

TAPESTRY = """
[hosts.one]
eth0 = "10.0.0.1/24"
strings = [{ run = "blocking.py" }, { run = "awaiting.py", start = "1s" }]
"""


def test_two_programs_in_a_run_that_shares_a_real_loop_with_others(tmp_path: Path) -> None:
    import weaves
    from weaves.output import Streams
    from weaves.tapestry import parse
    from weaves.weave import Weave

    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(text)
    printed: list[str] = []

    def note(_weave: Weave, line: str) -> None:
        printed.append(line)

    async def echo_outside() -> bytes:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(4))
            writer.close()

        async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"real")
            data = await reader.read()
            writer.close()
            return data

    async def main() -> bytes:
        outside = Outside()
        outside.start()
        beside = asyncio.create_task(echo_outside())
        tapestry = weaves.load(parse(TAPESTRY, tmp_path / "one.toml"))
        try:
            with Streams(note, note):
                await tapestry.run()
            assert tapestry.ok and tapestry.now_ns == 3_000_000_000
        finally:
            tapestry.close()
        await asyncio.to_thread(outside.join)
        return await beside

    assert uvloop.run(main()) == b"real"
    assert printed == [
        "[['ONE 0', 'TWO 0'], ['ONE 1', 'TWO 1'], ['ONE 2', 'TWO 2']]",
        "['one 0', 'one 1', 'one 2', 'two 0', 'two 1', 'two 2']",
    ]
