"""What runs outside of the hosts stays outside.

While a run goes on inside a uvloop loop, another task of that loop and a thread use the machine's own sockets, clock
and random numbers, and the strings use their hosts'. One process, one `socket.socket`.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import threading
import time
from typing import Any

import pytest
import uvloop

from lunar.host_socket import LunarSocket
from lunar.network import Network
from lunar.sockets.fdtable import is_virtual
from weaves.clock import EPOCH_NS

YEAR_2024 = 1_704_067_200


class Run:
    """A network whose strings go on talking, in virtual time, until what is outside has had its turn."""

    def __init__(self) -> None:
        self.net = Network(seed=1)
        self.server = self.net.host("server", "10.0.0.2/24")
        self.client = self.net.host("client", "10.0.0.3/24")
        self.net.link(self.server, self.client, delay="5ms")
        self.outside_is_done = threading.Event()

    async def serve(self) -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                writer.write(line)

        await asyncio.start_server(handle, port=80)

    async def talk(self) -> int:
        """A line each second of virtual time."""
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            assert isinstance(sock, LunarSocket) and is_virtual(sock.fileno())
        reader, writer = await asyncio.open_connection("server", 80)
        lines = 0
        while not self.outside_is_done.is_set():
            assert time.time_ns() == EPOCH_NS + self.net.scheduler.now_ns
            assert time.monotonic() == loop.time() == self.net.now
            writer.write(b"%d\n" % lines)
            assert await reader.readline() == b"%d\n" % lines
            lines += 1
            await asyncio.sleep(1)
        return lines

    async def run(self, outside: Any) -> Any:
        """The result of `outside`, a coroutine of the machine's loop, awaited while the strings talk."""

        async def watched() -> Any:
            try:
                return await outside
            finally:
                self.outside_is_done.set()

        self.net.start(self.server, self.serve)
        task = asyncio.create_task(watched())
        lines = await self.net.run_async(self.talk, on=self.client)
        result = await task
        # They had turns on both sides. A line is 1.01 s, after the connect's 0.01 s.
        assert lines >= 1 and self.net.scheduler.now_ns == 10_000_000 + lines * 1_010_000_000
        self.net.close()
        return result


async def on_real_streams() -> bytes:
    """An echo over the machine's loopback, by asyncio."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(4))
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        address = server.sockets[0].getsockname()
        assert not is_virtual(server.sockets[0].fileno())
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"real")
        data = await reader.read()
        writer.close()
        await writer.wait_closed()
    return data


def on_real_sockets() -> bytes:
    """An echo over the machine's loopback, by plain sockets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert type(listener) is socket.socket and not is_virtual(listener.fileno())
        with socket.create_connection(listener.getsockname(), timeout=30) as client:
            assert type(client) is socket.socket
            accepted, _address = listener.accept()
            with accepted:
                client.sendall(b"real")
                accepted.sendall(accepted.recv(4))
                return client.recv(4)


def real_clock_and_names() -> None:
    assert time.time() > YEAR_2024 > EPOCH_NS / 1e9
    before = time.perf_counter_ns()
    time.sleep(0.001)
    assert time.perf_counter_ns() - before >= 1_000_000
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("server", 80, family=socket.AF_INET, flags=socket.AI_NUMERICHOST)
    assert socket.gethostname() == os.uname().nodename


def test_another_task_of_the_real_loop_is_outside() -> None:
    async def outside() -> Any:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, uvloop.Loop)
        data = [await on_real_streams() for _ in range(3)]
        for _ in range(3):
            await asyncio.sleep(0.001)
            real_clock_and_names()
        data.append(await asyncio.to_thread(on_real_sockets))
        return data

    async def main() -> Any:
        return await Run().run(outside())

    assert uvloop.run(main()) == [b"real"] * 4


def test_a_thread_is_outside_and_can_have_a_loop_of_its_own() -> None:
    found: list[Any] = []

    def thread() -> None:
        try:
            for _ in range(3):
                found.append(on_real_sockets())
                real_clock_and_names()
            found.append(asyncio.run(on_real_streams()))
        except BaseException as error:  # noqa: BLE001 what happens in the thread is for the test to say
            found.append(error)

    async def outside() -> None:
        started = threading.Thread(target=thread)
        started.start()
        while started.is_alive():
            await asyncio.sleep(0.001)

    async def main() -> None:
        await Run().run(outside())

    uvloop.run(main())
    assert found == [b"real"] * 4


def test_random_numbers_outside_are_not_drawn_from_a_weave_and_do_not_disturb_it() -> None:
    def drawn_inside(disturb: bool) -> Any:
        numbers: list[float] = []

        async def draw() -> None:
            for _ in range(5):
                numbers.append(random.random())
                await asyncio.sleep(1)

        async def main() -> None:
            with Network(seed=1) as net:
                task = asyncio.create_task(outside())
                await net.run_async(draw, on=net.host("one"))
                await task

        async def outside() -> None:
            random.seed(5)
            expected = random.Random(5)
            for _ in range(10 if disturb else 0):
                assert random.random() == expected.random()
                await asyncio.sleep(0)

        uvloop.run(main())
        return numbers

    assert drawn_inside(True) == drawn_inside(False)


def test_two_networks_run_at_once_in_one_real_loop() -> None:
    def start() -> Any:
        net = Network(seed=1)
        a, b = net.host("server", "10.0.0.2/24"), net.host("client", "10.0.0.3/24")
        net.link(a, b, delay="5ms", loss="2%", rate="10mbit")

        async def serve() -> None:
            async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(bytes(3_000_000))
                writer.close()

            await asyncio.start_server(handle, port=80)

        async def fetch() -> int:
            reader, _writer = await asyncio.open_connection("server", 80)
            return len(await reader.read())

        net.start(a, serve)
        return net, net.run_async(fetch, on=b)

    async def main() -> Any:
        (one, first), (two, second) = start(), start()
        sizes = await asyncio.gather(first, second)
        results = [(net.now, net.digest()) for net in (one, two)]
        one.close()
        two.close()
        return sizes, results

    sizes, (one, two) = uvloop.run(main())
    assert sizes == [3_000_000, 3_000_000]
    assert one == two
