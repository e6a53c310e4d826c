"""Executors, threads' stand-ins and signals: run_in_executor, asyncio.to_thread, add_signal_handler."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import signal
import socket
import threading
import time
from typing import Any

import pytest
from two_hosts import ROUND_TRIP, SERVER, TwoHosts, now


async def echo_server() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    await asyncio.start_server(handle, port=80)


# run_in_executor, to_thread


def test_a_blocking_function_sleeps_in_virtual_time_beside_the_loop(hosts: TwoHosts) -> None:
    async def main() -> Any:
        loop = asyncio.get_running_loop()
        ticks: list[float] = []

        async def tick() -> None:
            while True:
                ticks.append(now())
                await asyncio.sleep(10)

        ticking = asyncio.ensure_future(tick())
        result = await loop.run_in_executor(None, lambda: (time.sleep(25), "slept")[1])
        ticking.cancel()
        return result, now(), ticks

    assert hosts.run(main) == ("slept", 25.0, [0.0, 10.0, 20.0])


def test_blocking_functions_run_side_by_side(hosts: TwoHosts) -> None:
    async def main() -> Any:
        def sleep(seconds: float) -> float:
            time.sleep(seconds)
            return time.monotonic()

        return await asyncio.gather(*(asyncio.to_thread(sleep, seconds) for seconds in (3, 1, 2)))

    assert hosts.run(main) == [3.0, 1.0, 2.0]


def test_a_blocking_socket_works_in_a_thread(hosts: TwoHosts) -> None:
    hosts.net.run(echo_server, on=hosts.server)

    def talk() -> Any:
        with socket.create_connection((SERVER, 80)) as sock:
            sock.sendall(b"from a thread")
            return sock.recv(100), time.monotonic()

    async def main() -> Any:
        return await asyncio.to_thread(talk)

    assert hosts.run(main) == (b"from a thread", 2 * ROUND_TRIP)


def test_arguments_results_and_errors_pass(hosts: TwoHosts) -> None:
    async def main() -> Any:
        loop = asyncio.get_running_loop()

        def fail(word: str, *, end: str) -> None:
            raise LookupError(word + end)

        assert await loop.run_in_executor(None, divmod, 17, 5) == (3, 2)
        with pytest.raises(LookupError, match="not here"):
            await asyncio.to_thread(fail, "not", end=" here")
        with pytest.raises(RuntimeError, match="StopIteration"):
            await loop.run_in_executor(None, next, iter(()))
        return now()

    assert hosts.run(main) == 0.0


def test_to_thread_carries_the_context(hosts: TwoHosts) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    async def main() -> Any:
        variable.set("set by the task")

        def look() -> str:
            found = variable.get()
            variable.set("set by the thread")
            return found

        return await asyncio.to_thread(look), variable.get()

    assert hosts.run(main) == ("set by the task", "set by the task")


def test_an_executor_of_the_programs_own_has_as_many_threads_as_it_says(hosts: TwoHosts) -> None:
    async def main() -> Any:
        loop = asyncio.get_running_loop()
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            await asyncio.gather(*(loop.run_in_executor(pool, time.sleep, 100) for _ in range(4)))
            first = now(), threading.active_count()
            loop.set_default_executor(pool)
            await asyncio.gather(*(loop.run_in_executor(None, time.sleep, 100) for _ in range(4)))
            second = now(), threading.active_count()
        return first, second, threading.active_count()

    # Three at a time, so that the fourth begins when the first has ended; the pool's three and this one.
    assert hosts.run(main) == ((200.0, 4), (400.0, 4), 1)


def test_a_cancelled_future_leaves_the_function_running(hosts: TwoHosts) -> None:
    # As with a real thread: it cannot be stopped from outside.
    done: list[float] = []

    async def main() -> float:
        def work() -> None:
            time.sleep(5)
            done.append(time.monotonic())

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(work), 1)
        at = now()
        assert done == []
        await asyncio.sleep(10)
        return at

    assert hosts.run(main) == 1.0
    assert done == [5.0]


def test_a_thread_calls_back_into_its_loop(hosts: TwoHosts) -> None:
    async def main() -> Any:
        loop = asyncio.get_running_loop()
        called: list[Any] = []

        def work() -> Any:
            time.sleep(1)
            loop.call_soon_threadsafe(called.append, "soon")

            async def answer() -> float:
                await asyncio.sleep(2)
                return loop.time()

            future = asyncio.run_coroutine_threadsafe(answer(), loop)
            while not future.done():
                time.sleep(0.5)
            return future.result()

        return await asyncio.to_thread(work), called, now()

    assert hosts.run(main) == (3.0, ["soon"], 3.0)


def test_a_name_is_looked_up_in_a_thread(hosts: TwoHosts) -> None:
    async def main() -> Any:
        return await asyncio.to_thread(socket.gethostbyname, "server")

    assert hosts.run(main) == SERVER


# Signals


def test_a_signal_handler_of_the_loop_is_called_at_once(hosts: TwoHosts) -> None:
    async def main() -> Any:
        loop = asyncio.get_running_loop()
        got: list[Any] = []
        loop.add_signal_handler(signal.SIGTERM, got.append, "term")
        loop.add_signal_handler(signal.SIGHUP, lambda: got.append(("hup", now())))
        loop.call_later(5, hosts.client.weave.signals.deliver, signal.SIGTERM)
        loop.call_later(6, hosts.client.weave.signals.deliver, signal.SIGHUP)
        await asyncio.sleep(10)
        return got

    before = signal.getsignal(signal.SIGTERM)
    assert hosts.run(main) == ["term", ("hup", 6.0)]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_removed_handler_leaves_the_default(hosts: TwoHosts) -> None:
    async def victim() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, print)
        assert loop.remove_signal_handler(signal.SIGTERM) is True
        assert loop.remove_signal_handler(signal.SIGTERM) is False
        await asyncio.sleep(100)

    string = hosts.net.start(hosts.client, victim)
    hosts.net.run(until=1)
    hosts.client.weave.signals.deliver(signal.SIGTERM)
    assert string.state == "killed"


def test_a_signal_handler_must_be_a_plain_function_of_a_catchable_signal(hosts: TwoHosts) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def coroutine() -> None: ...

        with pytest.raises(TypeError):
            loop.add_signal_handler(signal.SIGTERM, coroutine)
        with pytest.raises(ValueError):
            loop.add_signal_handler(4711, print)
        with pytest.raises(RuntimeError):
            loop.add_signal_handler(signal.SIGKILL, print)

    hosts.run(main)


def test_a_signal_ends_a_server_gracefully(hosts: TwoHosts) -> None:
    async def serve() -> str:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(4))
            writer.close()

        async with await asyncio.start_server(handle, port=80):
            await stop.wait()
        return f"stopped at {now()}"

    string = hosts.net.start(hosts.server, serve)
    hosts.net.supervisor.stop_at(string, 20_000_000_000)

    async def main() -> Any:
        reader, writer = await asyncio.open_connection(SERVER, 80)
        writer.write(b"ping")
        first = await reader.read()
        await asyncio.sleep(30)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(SERVER, 80)
        return first

    assert hosts.run(main) == b"ping"
    assert string.result == "stopped at 20.0"
