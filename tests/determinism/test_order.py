"""What happens first when several things happen at one instant, and why: each scenario has its order written down.

The order of a run is (time, lane, number in lane), and all turns finish before the next event, even one of the same
time (docs/design.md, "Time and order"). Hosts have their lanes in the order in which they were made, links after them
in theirs; a host that is made after a link comes after it.

Each scenario is a function that returns a log. The tests below compare it with what is expected, and once more in other
processes with other hash seeds: `python tests/determinism/test_order.py` prints all logs.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import lunar

# For processes that this one starts: a relative PYTHONPATH means the folder in which we were started.
_PATHS = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
if not sys.flags.safe_path:
    _PATHS.append(str(Path(lunar.__file__).parents[1]))
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(_PATHS)}

Log = list[str]
SCENARIOS: dict[str, Callable[[], Log]] = {}


def scenario(function: Callable[[], Log]) -> Callable[[], Log]:
    SCENARIOS[function.__name__] = function
    return function


def one_host(main: Callable[[Log], Coroutine[Any, Any, None]]) -> Log:
    """The log that `main` writes on a host of its own."""
    log: Log = []
    with lunar.Network() as net:
        net.run(main, log, on=net.host("host", "10.0.0.1/24"))
    return log


def ms() -> str:
    """The virtual time, for logs."""
    return f"{asyncio.get_running_loop().time() * 1000:g}ms"


# Two hosts that start at the same instant


@scenario
def two_hosts() -> Log:
    log: Log = []

    async def main(name: str) -> None:
        log.append(f"{name} starts")
        asyncio.get_running_loop().call_soon(log.append, f"{name} soon")
        await asyncio.sleep(0)
        log.append(f"{name} goes on")
        await asyncio.sleep(0.001)
        log.append(f"{name} wakes {ms()}")

    with lunar.Network() as net:
        first, second = net.host("first", "10.0.0.1/24"), net.host("second", "10.0.0.2/24")
        net.link(first, second)
        # Given in the other order: that of the hosts counts.
        net.start(second, main, "second")
        net.start(first, main, "first")
        net.run()
    return log


def test_two_hosts_that_start_at_the_same_instant() -> None:
    assert two_hosts() == [
        # The start of a string is an event of its host's lane, and the turns that it leads to, with all that these make
        # ready, come before the next event. So the first host is through before the second one begins.
        "first starts", "first soon", "first goes on",
        "second starts", "second soon", "second goes on",
        # Two timers of one nanosecond: the lower lane first.
        "first wakes 1ms", "second wakes 1ms",
    ]  # fmt: skip


def crossing(reverse: bool) -> Log:
    """Two hosts send to a third at the same instant over links of the same delay; it has a timer for the arrival."""
    log: Log = []

    async def send(name: str) -> None:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=("10.0.0.2", 5000)
        )
        transport.sendto(name.encode())

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, address: Any) -> None:
            log.append(f"from {data.decode()} {ms()}")

    async def receive() -> None:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(Receiver, local_addr=("0.0.0.0", 5000))
        loop.call_later(0.005, lambda: log.append(f"timer {ms()}"))
        await asyncio.sleep(0.01)

    with lunar.Network() as net:
        left = net.host("left", "10.0.0.1/24")
        right = net.host("right", "10.0.1.1/24")
        hub = net.host("hub", "10.0.0.2/24", "10.0.1.2/24")
        right.sh("route add 10.0.0.2 gw 10.0.1.2")
        links = [(left, "hub.eth0"), (right, "hub.eth1")]
        for ends in reversed(links) if reverse else links:
            net.link(*ends, delay="5ms")
        net.start(hub, receive)
        net.start(right, send, "right")
        net.start(left, send, "left")
        net.run()
    return log


@scenario
def packets() -> Log:
    return crossing(False)


@scenario
def packets_over_links_made_in_the_other_order() -> Log:
    return crossing(True)


def test_packets_and_a_timer_of_one_nanosecond() -> None:
    # The timer is of the host's lane, and hosts were made before links. Then the links, in their order: not that of the
    # hosts that sent, nor that in which these were started.
    assert packets() == ["timer 5ms", "from left 5ms", "from right 5ms"]
    assert packets_over_links_made_in_the_other_order() == ["timer 5ms", "from right 5ms", "from left 5ms"]


# Timeouts that land exactly on their deadline


@scenario
def timers_of_one_time() -> Log:
    async def main(log: Log) -> None:
        loop = asyncio.get_running_loop()

        def fire(name: str) -> None:
            log.append(f"{name} {ms()}")
            loop.call_soon(log.append, f"soon after {name}")

        when = loop.time() + 1
        loop.call_at(when, fire, "a")
        loop.call_later(1, fire, "b")
        loop.call_at(when, fire, "c").cancel()
        loop.call_at(when, fire, "d")
        await asyncio.sleep(1)
        log.append("main")

    return one_host(main)


def test_timers_of_one_time_fire_in_the_order_of_their_setting() -> None:
    # Each is an event of its own, so what it makes ready comes before the next timer. (asyncio on a machine runs all
    # timers that are due in one turn; but there two have never exactly one time.)
    assert timers_of_one_time() == [
        "a 1000ms", "soon after a", "b 1000ms", "soon after b", "d 1000ms", "soon after d", "main",
    ]  # fmt: skip


@scenario
def deadlines() -> Log:
    async def main(log: Log) -> None:
        loop = asyncio.get_running_loop()

        async def attempt(name: str, make: Callable[[], Coroutine[Any, Any, Any]]) -> None:
            try:
                log.append(f"{name}: {await make()}")
            except TimeoutError:
                log.append(f"{name}: timeout")

        def value_in(seconds: float) -> asyncio.Future[str]:
            future = loop.create_future()
            loop.call_later(seconds, lambda: future.done() or future.set_result("value"))
            return future

        async def timeout_first() -> str:
            async with asyncio.timeout(1):
                return await value_in(1)

        async def value_first() -> str:
            future = value_in(1)
            async with asyncio.timeout(1):
                return await future

        async def sleep() -> str:
            async with asyncio.timeout(1):
                return await asyncio.sleep(1, "slept")

        async def wait_for_value() -> str:
            return await asyncio.wait_for(value_in(1), 1)

        async def wait_for_sleep() -> str:
            return await asyncio.wait_for(asyncio.sleep(1, "slept"), 1)

        async def wait() -> str:
            done, pending = await asyncio.wait([value_in(1)], timeout=1)
            return f"{len(done)} done, {len(pending)} pending"

        async def nested() -> str:
            async with asyncio.timeout(1):
                try:
                    async with asyncio.timeout(1):
                        await asyncio.sleep(2)
                except TimeoutError:
                    return "the inner one"
            return "none"

        async def at_once() -> str:
            async with asyncio.timeout(0):
                return await asyncio.sleep(0, "slept")

        for make in (timeout_first, value_first, sleep, wait_for_value, wait_for_sleep, wait, nested, at_once):
            await attempt(make.__name__, make)

    return one_host(main)


def test_timeouts_on_their_deadline() -> None:
    assert deadlines() == [
        # What was set first happens first, to its end.
        "timeout_first: timeout",
        "value_first: value",
        "sleep: timeout",  # the context is entered before the sleep begins
        "wait_for_value: value",  # the argument is made before wait_for sets its timer
        "wait_for_sleep: timeout",  # the coroutine begins after it
        "wait: 1 done, 0 pending",
        "nested: timeout",  # the outer one was set first; it cancels, and the inner one cannot know that it would have
        "at_once: timeout",  # a deadline that has passed cancels before the first wait ends
    ]


def arrivals(microseconds_early: int) -> Log:
    """A datagram under way for a second meets deadlines of a second, or comes a little earlier."""
    log: Log = []
    deadline = 1 + microseconds_early / 1_000_000

    def blocking() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("", 1))
            sock.settimeout(deadline)
            try:
                log.append(f"blocking: {sock.recv(10)!r}")
            except TimeoutError:
                time.sleep(0.001)
                log.append(f"blocking: timeout, then {sock.recv(10)!r}")

    async def awaited() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("", 2))
            sock.setblocking(False)
            try:
                async with asyncio.timeout(deadline):
                    log.append(f"awaited: {await loop.sock_recv(sock, 10)!r}")
            except TimeoutError:
                await asyncio.sleep(0.001)
                log.append(f"awaited: timeout, then {sock.recv(10)!r}")

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for port in (1, 2):
                sock.sendto(b"late", ("receiver", port))

    with lunar.Network() as net:
        sender, receiver = net.host("sender", "10.0.0.1/24"), net.host("receiver", "10.0.0.2/24")
        net.link(sender, receiver, delay="1s")
        for host, function in ((receiver, blocking), (receiver, awaited), (sender, send)):
            net.start(host, function)
        net.run()
    return log


@scenario
def arrivals_on_the_deadline() -> Log:
    return arrivals(0)


@scenario
def arrivals_before_the_deadline() -> Log:
    return arrivals(1)


def test_what_arrives_at_the_very_deadline_is_late() -> None:
    # The deadline is of the host's lane, the packet of the link's, which comes after all hosts that were made before.
    # Nothing is lost: the next call finds it.
    assert arrivals_on_the_deadline() == ["blocking: timeout, then b'late'", "awaited: timeout, then b'late'"]
    assert arrivals_before_the_deadline() == ["blocking: b'late'", "awaited: b'late'"]


# Ten tasks that end at once


@scenario
def ten_tasks() -> Log:
    async def main(log: Log) -> None:
        loop = asyncio.get_running_loop()

        async def waits_for(gate: asyncio.Event, number: int, fails: bool = False) -> int:
            await gate.wait()
            if fails:
                raise ValueError(number)
            return number

        def ten(gate: asyncio.Event, fails: tuple[int, ...] = ()) -> list[asyncio.Task[int]]:
            loop.call_later(1, gate.set)
            return [asyncio.create_task(waits_for(gate, number, number in fails)) for number in range(10)]

        def numbers(name: str, tasks: Any, found: Any) -> None:
            log.append(f"{name}: {' '.join(str(tasks.index(task)) for task in found)}")

        for condition in (asyncio.FIRST_COMPLETED, asyncio.ALL_COMPLETED, asyncio.FIRST_EXCEPTION):
            tasks = ten(asyncio.Event())
            done, pending = await asyncio.wait(tasks, return_when=condition)
            numbers(condition, tasks, done)
            assert not pending
        tasks = ten(asyncio.Event())
        numbers("the arguments backwards", tasks, (await asyncio.wait(tasks[::-1]))[0])

        # A timer each, at one time: the first is an event, and what it leads to comes before the second.
        tasks = [asyncio.create_task(asyncio.sleep(1)) for _ in range(10)]  # type: ignore[misc]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        numbers("a timer each, done", tasks, done)
        numbers("a timer each, pending", tasks, pending)
        await asyncio.wait(tasks)

        tasks = ten(asyncio.Event())
        found = [await first for first in asyncio.as_completed(tasks[::-1])]
        log.append(f"as_completed: {' '.join(map(str, found))}")
        found = await asyncio.gather(*ten(asyncio.Event())[::-1])
        log.append(f"gather: {' '.join(map(str, found))}")
        try:
            await asyncio.gather(*ten(asyncio.Event(), (7, 3)))
        except ValueError as error:
            log.append(f"gather fails: {error}")
        gate = asyncio.Event()
        loop.call_later(1, gate.set)
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(10):
                    group.create_task(waits_for(gate, number, number in (7, 3)))
        except ExceptionGroup as errors:
            log.append(f"TaskGroup: {' '.join(map(str, errors.exceptions))}")
        tasks = ten(asyncio.Event())
        for task in tasks:
            task.add_done_callback(lambda task: log.append(f"callback {task.result()}") if task.result() > 7 else None)
        await asyncio.wait(tasks)
        waiting = [asyncio.create_task(asyncio.sleep(9)) for _ in range(10)]
        await asyncio.sleep(0)
        everyone = asyncio.all_tasks() - {asyncio.current_task()}
        numbers("all_tasks", waiting, everyone)
        for each in waiting:
            each.add_done_callback(lambda task: log.append(f"cancelled {waiting.index(task)}"))
            each.cancel()
        await asyncio.wait(everyone)

    return one_host(main)


def in_making_order(log: Log) -> Log:
    """The log with its sets turned to their first task.

    Tasks hash by their number, not by their address, and a set is a table in which 8 follows 7, and the first place the
    last one. So a set of tasks has the order of their making, begun somewhere; the same in every run, see below.
    """
    turned: Log = []
    for line in log:
        name, colon, rest = line.partition(": ")
        numbers = rest.split()
        if len(numbers) == 10 and name not in ("as_completed", "gather"):
            first = numbers.index("0")
            rest = " ".join(numbers[first:] + numbers[:first])
        turned.append(f"{name}{colon}{rest}")
    return turned


def test_ten_tasks_that_end_at_once() -> None:
    making = "0 1 2 3 4 5 6 7 8 9"
    assert in_making_order(ten_tasks()) == [
        # The event's waiters are woken first in, first out, all in one turn; `wait` is woken by the first, and finds
        # all of them done one turn later.
        f"FIRST_COMPLETED: {making}",
        f"ALL_COMPLETED: {making}",
        f"FIRST_EXCEPTION: {making}",
        f"the arguments backwards: {making}",
        "a timer each, done: 0",
        "a timer each, pending: 1 2 3 4 5 6 7 8 9",
        f"as_completed: {making}",  # in the order of their ends
        "gather: 9 8 7 6 5 4 3 2 1 0",  # in the order of the arguments: asyncio promises that
        "gather fails: 3",  # whose end came first
        "TaskGroup: 3 7",  # both had failed before the group could cancel anybody
        "callback 8",
        "callback 9",
        f"all_tasks: {making}",
        *(f"cancelled {number}" for number in range(10)),
    ]


@scenario
def futures_of_gather() -> Log:
    async def main(log: Log) -> None:
        gathered = [asyncio.gather(asyncio.sleep(1), asyncio.sleep(1)) for _ in range(100)]
        # Among tasks, as in a set of what to wait for.
        waited = [*gathered, *(asyncio.create_task(asyncio.sleep(1)) for _ in range(100))]
        log.extend(str(waited.index(each)) for each in set(waited))  # type: ignore[arg-type]
        await asyncio.wait(gathered)

    return one_host(main)


def test_a_set_of_futures_of_gather() -> None:
    # By their numbers, too. They have them from their first use in a set, which is in the order of the list here; tasks
    # have theirs from the start.
    found = [int(number) for number in futures_of_gather()]
    assert sorted(found) == list(range(200))
    for kind in (range(100), range(100, 200)):
        of_kind = [number for number in found if number in kind]
        first = of_kind.index(kind[0])
        assert of_kind[first:] + of_kind[:first] == list(kind)

    async def outside() -> bool:
        future = asyncio.gather(asyncio.sleep(0))
        await future
        return hash(future) == object.__hash__(future)

    assert asyncio.run(outside())


# Cancellation at every await of a small program

STEPS = ("sleep", "connect", "drain", "read", "lock", "queue", "wait_for", "gather", "group", "bye")


class Visit:
    """A client with awaits of ten kinds, each of which suspends it once; cancelled at the one called `at`."""

    def __init__(self, at: str) -> None:
        self.at = at
        self.log: Log = []

    async def step(self, name: str, awaitable: Coroutine[Any, Any, Any]) -> Any:
        self.log.append(name)
        if name != self.at:
            return await awaitable
        task = asyncio.current_task()
        assert task is not None
        # It is suspended there, or the cancellation would come at the next await.
        asyncio.get_running_loop().call_soon(task.cancel)
        try:
            return await awaitable
        except asyncio.CancelledError:
            self.log.append(f"cancelled in {name} {ms()}")
            raise

    async def child(self, name: str) -> None:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            self.log.append(f"{name} is cancelled")
            raise

    async def main(self) -> None:
        loop = asyncio.get_running_loop()
        lock, queue = asyncio.Lock(), asyncio.Queue[int]()
        writer: asyncio.StreamWriter | None = None
        await lock.acquire()
        tasks = asyncio.all_tasks()
        try:
            await self.step("sleep", asyncio.sleep(1))
            reader, writer = await self.step("connect", asyncio.open_connection("server", 80))
            writer.write(bytes(1_000_000))  # more than the buffers hold
            await self.step("drain", writer.drain())
            await self.step("read", reader.readexactly(2))
            loop.call_later(1, lambda: lock.locked() and lock.release())
            await self.step("lock", lock.acquire())
            loop.call_later(1, queue.put_nowait, 7)
            await self.step("queue", queue.get())
            await self.step("wait_for", asyncio.wait_for(self.child("child"), 5))
            await self.step("gather", asyncio.wait_for(asyncio.gather(*map(self.child, "ab")), None))
            await self.step("group", self.group())
            writer.close()
            await self.step("bye", writer.wait_closed())
            self.log.append("through")
        finally:
            if writer is not None:
                writer.close()
            await asyncio.sleep(0.001)  # a `finally` clause may await
            # Nothing is left of it: no task, nobody who waits for the lock or in the queue.
            self.log.append(f"{len(asyncio.all_tasks() - tasks)} tasks left")
            if lock.locked():
                lock.release()
            assert not lock._waiters  # type: ignore[attr-defined]
            assert not any(not getter.done() for getter in queue._getters)  # type: ignore[attr-defined]

    async def group(self) -> None:
        async with asyncio.TaskGroup() as group:
            for name in "cd":
                group.create_task(self.child(name))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read all, slowly at first, and answer what was asked for."""
        size = 0
        try:
            await asyncio.sleep(1)
            while size < 1_000_000 and (data := await reader.read(65536)):
                size += len(data)
            if size == 1_000_000:
                await asyncio.sleep(1)
                writer.write(b"ok")
                await reader.read()
            self.log.append(f"the server sees the end after {'all' if size == 1_000_000 else 'some'}")
        except ConnectionResetError:
            self.log.append("the server sees a reset")
        finally:
            writer.close()


def visit(at: str) -> tuple[Log, str]:
    """The log of a visit that is cancelled at step `at`, and the run's digest."""
    visited = Visit(at)
    with lunar.Network() as net:
        server, client = net.host("server", "10.0.0.1/24"), net.host("client", "10.0.0.2/24")
        net.link(server, client, delay="5ms")
        net.start(server, asyncio.start_server, visited.serve, port=80)
        string = net.start(client, visited.main, on_error="continue")
        net.run(until=300)
        visited.log.append(string.state)
        assert client.descriptors.all() == []
        assert len(server.descriptors.all()) == 1  # the listener
        return visited.log, net.digest()


@scenario
def cancellations() -> Log:
    found = []
    for at in (*STEPS, "none"):
        log, digest = visit(at)
        found.append(f"{at}: {', '.join(log)} {digest}")
    return found


# What is to be seen after the step that is cancelled: in the program and, later, at the server.
ENDS: dict[str, Log] = {
    "sleep": ["cancelled in sleep 0ms", "0 tasks left"],
    # The SYN is on its way. Its socket is closed; the SYN-ACK meets nobody and is answered by a reset, so the server's
    # program never hears of it.
    "connect": ["cancelled in connect 1000ms", "0 tasks left"],
    # `close` sends what is in the buffers first, as it does after each of the following, and then its end.
    "drain": ["cancelled in drain 1010ms", "0 tasks left", "the server sees the end after all"],
    "read": ["cancelled in read 1050ms", "0 tasks left", "the server sees the end after all"],
    "lock": ["cancelled in lock 3070ms", "0 tasks left", "the server sees the end after all"],
    "queue": ["cancelled in queue 4070ms", "0 tasks left", "the server sees the end after all"],
    # Who waits for others cancels them first, in the order of their making, and hears of it only when all have ended.
    "wait_for": [
        "child is cancelled", "cancelled in wait_for 5070ms", "0 tasks left", "the server sees the end after all",
    ],
    "gather": [
        "a is cancelled", "b is cancelled", "cancelled in gather 6070ms", "0 tasks left",
        "the server sees the end after all",
    ],
    "group": [
        "c is cancelled", "d is cancelled", "cancelled in group 7070ms", "0 tasks left",
        "the server sees the end after all",
    ],
    "bye": ["cancelled in bye 8070ms", "0 tasks left", "the server sees the end after all"],
    "none": ["through", "0 tasks left", "the server sees the end after all"],
}  # fmt: skip


@pytest.mark.parametrize("at", ENDS)
def test_cancellation_at_every_await(at: str) -> None:
    log, digest = visit(at)
    steps = STEPS if at == "none" else STEPS[: STEPS.index(at) + 1]
    assert log == [*steps, *ENDS[at], "ended" if at == "none" else "killed"]
    assert visit(at) == (log, digest)


# The same in other processes


@pytest.mark.parametrize("hash_seed", ["0", "1", "2"])
def test_the_order_is_the_same_in_another_process(hash_seed: str) -> None:
    done = subprocess.run(
        [sys.executable, __file__], env={**ENVIRONMENT, "PYTHONHASHSEED": hash_seed}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    here = {name: function() for name, function in SCENARIOS.items()}
    assert json.loads(done.stdout) == here


if __name__ == "__main__":
    print(json.dumps({name: function() for name, function in SCENARIOS.items()}, indent=1))
