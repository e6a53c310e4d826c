"""A run at the pace of the machine's clock: what programs see is what they see in virtual time, and what is let in.

No test says how late anything is: only in what order, and that it happens.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lunar
from weaves.clock_plan import REAL, ClockPlan
from weaves.drivers import NoClock, drive_run, drive_run_blocking
from weaves.live_run import CannotOpen
from weaves.loader import load
from weaves.scheduler import REACHED, STOPPED, Call
from weaves.tapestry import parse
from weaves.tapestry_errors import TapestryError

FAST = 1000  # virtual seconds a real one: what a program waits for takes no time
ANYTIME = "1h"  # of virtual time; a run that comes to that hangs


def pair(**network: Any) -> lunar.Network:
    net = lunar.Network(seed=1, **network)
    net.link(net.host("server", "10.0.0.1/24"), net.host("client", "10.0.0.2/24"), delay="5ms", loss="2%")
    return net


async def serve() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    await asyncio.start_server(echo, "", 7)


async def ask() -> tuple[float, bytes]:
    reader, writer = await asyncio.open_connection("server", 7)
    for number in range(20):
        writer.write(b"%d;" % number)
        await asyncio.sleep(0.01)
    writer.write_eof()
    return time.monotonic(), await reader.read()


def ask_blocking() -> tuple[float, bytes]:
    with socket.create_connection(("server", 7)) as connection:
        answers = []
        for number in range(20):
            connection.sendall(b"%d;" % number)
            time.sleep(0.01)
            answers.append(connection.recv(100))
        return time.monotonic(), b"".join(answers)


async def ask_at_once() -> tuple[tuple[float, bytes], ...]:
    return await asyncio.gather(ask(), asyncio.to_thread(ask_blocking), asyncio.wait_for(ask(), 10))


@pytest.mark.parametrize("program", [ask, ask_blocking, ask_at_once])
def test_programs_do_what_they_do_in_virtual_time(program: Callable[[], Any]) -> None:
    found = []
    for network in ({}, {"speed": FAST}, {"speed": 20.0, "busy_poll": 0}):
        with pair(**network) as net:
            net.start(net.hosts["server"], serve)
            found.append((net.run(program, on=net.hosts["client"]), net.now, net.digest()))
    assert found[0] == found[1] == found[2]


def test_the_same_tapestry(tmp_path: Path) -> None:
    text = """
        [tapestry]
        until = "2s"
        [hosts.server]
        eth0 = "10.0.0.1/24"
        strings = [{ run = "serve.py", background = true }]
        [hosts.client]
        eth0 = "10.0.0.2/24"
        strings = [{ run = "ask.py", restart = "always", restart_delay = "100ms" }]
        [[links]]
        ends = ["server", "client"]
        delay = "5ms"
        [[events]]
        at = "500ms"
        do = "crash"
        host = "server"
        [[events]]
        at = "900ms"
        do = "boot"
        host = "server"
    """
    (tmp_path / "serve.py").write_text(
        "import socket\nserver = socket.create_server(('', 7))\n"
        "while True:\n    with server.accept()[0] as connection:\n        connection.sendall(connection.recv(9))\n"
    )
    (tmp_path / "ask.py").write_text(
        "import socket\nwith socket.create_connection(('server', 7), 1) as connection:\n"
        "    connection.sendall(b'x')\n    connection.recv(9)\n"
    )
    ends = []
    for clock in (None, ClockPlan(REAL, FAST)):
        live = load(parse(text, tmp_path / "site.toml"), clock=clock)
        live.supervisor.on_failure = lambda string: None
        live.run_blocking()
        ends.append((live.network.digest(), live.now_ns))
        live.close()
    assert ends[0] == ends[1]
    assert ends[0][1] == 2_000_000_000


def test_until_is_the_end_and_time_goes_on_from_there() -> None:
    with pair(speed=FAST) as net:
        net.run(until="1s")
        assert net.now == 1.0
        net.start(net.hosts["client"], asyncio.sleep, 1)
        net.run()
        assert net.now == 2.0


def test_a_stall_is_told() -> None:
    async def forever() -> None:
        await asyncio.get_running_loop().create_future()

    with pair(speed=FAST) as net, pytest.raises(lunar.Stalled):
        net.run(forever, on=net.hosts["client"])


def test_every_event_is_judged_and_counted() -> None:
    with pair(speed=FAST) as net:
        net.start(net.hosts["server"], serve)
        net.run(ask, on=net.hosts["client"])
        lateness = net.lateness()
        assert lateness is not None
        assert lateness.events == net.scheduler.fired > 50
        assert 0 <= lateness.median_s <= lateness.p99_s <= lateness.max_s
        assert net.lateness() == lateness  # a frozen snapshot of a run that stands


def test_a_hard_limit_ends_the_run() -> None:
    with pair(clock="real", late="hard-limit", late_limit=1e-9) as net:
        with pytest.raises(lunar.TooLate, match="behind the machine's clock; late_limit is 1ns"):
            net.run(ask, on=net.hosts["client"], until=ANYTIME)
        # What was run is given up, so that another run does not wait for it.
        assert not net.supervisor.awaited


# The machine's loop


def test_a_run_in_real_time_needs_the_loop_that_runs() -> None:
    async def main(net: lunar.Network) -> None:
        with pytest.raises(RuntimeError, match=r"would hold up the loop that runs here; expected run_async\(\)"):
            net.run(until="1s")

    with pair(speed=FAST) as net:
        asyncio.run(main(net))


def test_a_task_beside_a_run_wakes_it() -> None:
    # The run sleeps for an hour when the task starts a string, which makes it come to its end.
    async def main(net: lunar.Network) -> float:
        async def beside() -> None:
            await asyncio.sleep(0)
            net.start(net.hosts["client"], net.scheduler.stop)

        task = asyncio.create_task(beside())
        net.start(net.hosts["client"], asyncio.sleep, 3600)
        assert await drive_run(net.supervisor, None) == STOPPED
        await task
        return net.now

    with pair(clock="real") as net:
        assert asyncio.run(main(net)) < 3600


def test_a_task_beside_a_run_has_its_turns() -> None:
    async def main(net: lunar.Network) -> int:
        turns = 0

        async def beside() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        task = asyncio.create_task(beside())
        await net.run_async(asyncio.sleep, 1, on=net.hosts["client"])
        task.cancel()
        return turns

    with pair(speed=100) as net:
        assert asyncio.run(main(net)) > 0


def test_who_shows_how_far_a_run_is_is_asked_while_nothing_happens() -> None:
    looks: list[float] = []

    def on_slice() -> None:
        looks.append(net.now)
        if len(looks) == 5:
            net.supervisor.stop()

    async def main() -> None:
        await drive_run(net.supervisor, None, on_slice)

    with pair(clock="real") as net:
        net.supervisor.gates.gate("somebody", lambda data: Call(print, data))
        asyncio.run(main())
    assert len(looks) >= 5
    assert looks == sorted(looks)  # and time goes by meanwhile
    assert looks[-1] > looks[0]


# Gates


class Pipe:
    """A gate of a network that reads a pipe. `seen` are the inputs with their times, where the run sees them."""

    def __init__(self, net: lunar.Network) -> None:
        self.net = net
        self.gates = net.supervisor.gates
        self.seen: list[tuple[int, bytes]] = []
        self.opened = self.closed = 0
        self.gate = self.gates.gate("pipe", lambda data: Call(self._arrived, data))
        self.gates.on_open(self._open)
        self.gates.on_close(self._close)
        self.descriptors: tuple[int, int] | None = None

    def _arrived(self, data: bytes) -> None:
        self.seen.append((int(self.net.scheduler.now_ns), data))
        if data == b".":
            self.net.supervisor.stop()

    def _open(self) -> None:
        self.opened += 1
        self.descriptors = os.pipe()
        os.set_blocking(self.descriptors[0], False)
        self.gates.watch(self.descriptors[0], self._readable)

    def _readable(self) -> None:
        assert self.descriptors is not None
        self.gate.admit(os.read(self.descriptors[0], 1))

    def _close(self) -> None:
        self.closed += 1
        if self.descriptors is not None:
            self.gates.unwatch(self.descriptors[0])
            os.close(self.descriptors[0])
            os.close(self.descriptors[1])
            self.descriptors = None

    def write(self, data: bytes) -> None:
        assert self.descriptors is not None
        os.write(self.descriptors[1], data)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    with pair(clock="real") as net:
        yield Pipe(net)


def test_what_comes_wakes_the_run(pipe: Pipe) -> None:
    def write() -> None:
        pipe.write(b"ab.")

    # In a thread, and before it in an opener that is called when the pipe is there: the run sleeps, or is about to.
    thread = threading.Thread(target=write)
    pipe.gates.on_open(thread.start)
    assert drive_run_blocking(pipe.net.supervisor, None) == STOPPED
    thread.join()
    assert [data for _, data in pipe.seen] == [b"a", b"b", b"."]
    times = [at_ns for at_ns, _ in pipe.seen]
    assert times == sorted(times)
    assert times[0] > 0


def test_an_input_is_later_than_all_that_has_happened(pipe: Pipe) -> None:
    order: list[str] = []

    def work() -> None:
        # At 1 ms, by a run that is late for it; what comes meanwhile comes after that.
        pipe.write(b".")
        order.append("work")

    pipe.net.start(pipe.net.hosts["client"], asyncio.sleep, 3600)
    pipe.net.at("1ms", work)
    pipe.net.at("1ms", lambda: order.append("work of the same time"))
    assert drive_run_blocking(pipe.net.supervisor, None) == STOPPED
    assert order == ["work", "work of the same time"]
    assert pipe.seen[0][0] > 1_000_000


def test_what_has_come_goes_before_what_is_overdue(pipe: Pipe) -> None:
    order: list[str] = []

    def first() -> None:
        pipe.write(b"x")
        while pipe.gates.clock_ns() < 3_000_000:  # until the next one is overdue
            pass

    pipe.net.at("1ms", first)
    pipe.net.at("2ms", lambda: order.append(f"after {len(pipe.seen)}"))
    pipe.net.run(until="10ms")
    # One round may have both in it, without a look at the pipe between them.
    assert order in (["after 1"], ["after 0"])
    assert pipe.seen[0][1] == b"x"
    if order == ["after 1"]:
        assert 1_000_000 < pipe.seen[0][0] <= 2_000_000


def test_more_input_than_is_worked_off_does_not_stop_the_clock() -> None:
    with pair(clock="real") as net:
        gates, scheduler = net.supervisor.gates, net.scheduler
        lane = net.supervisor.new_lane()
        admitted = worked_off = most = 0
        times: list[int] = []

        def work(left: int) -> None:
            # Each input makes work, more than there is room for in a round of the driver.
            nonlocal worked_off
            if left:
                scheduler.post(Call(work, left - 1), lane, scheduler.now_ns)
            else:
                worked_off += 1
                times.append(int(scheduler.now_ns))

        gate = gates.gate("flood", lambda _data: Call(work, 3))
        source = os.eventfd(1)  # it can always be read, as nobody does

        def readable() -> None:
            nonlocal admitted, most
            for _ in range(64):
                gate.admit(b"")
            admitted += 64
            most = max(most, admitted - worked_off)
            assert admitted < 10_000_000, "time stands still"

        gates.on_open(lambda: gates.watch(source, readable))
        gates.on_close(lambda: gates.unwatch(source))
        net.run(until="50ms")
        assert net.now == 0.05
        assert most <= 2 * 64  # the rest waits outside
        assert times == sorted(times)
        net.close()
        os.close(source)


def test_it_is_opened_once_and_closed_once(pipe: Pipe) -> None:
    assert pipe.opened == 0
    for until in ("1ms", "2ms", "3ms"):
        pipe.net.run(until=until)
        assert (pipe.opened, pipe.closed) == (1, 0)
    pipe.net.close()
    pipe.net.close()
    assert (pipe.opened, pipe.closed) == (1, 1)


def test_what_comes_between_two_runs_is_there_in_the_next(pipe: Pipe) -> None:
    pipe.net.run(until="1ms")
    pipe.write(b"x")
    pipe.gate.admit(b"y")  # as a callback of the loop does, whenever
    assert drive_run_blocking(pipe.net.supervisor, 2_000_000) == REACHED
    assert pipe.seen[0] == (1_000_001, b"y")
    assert pipe.seen[1][1] == b"x"


def test_an_opener_may_be_awaited(pipe: Pipe) -> None:
    async def slow() -> None:
        await asyncio.sleep(0)
        opened.append(1)

    opened: list[int] = []
    pipe.gates.on_open(slow)
    pipe.net.run(until="1ms")
    assert opened == [1]


def test_what_cannot_be_opened(pipe: Pipe) -> None:
    def fail() -> None:
        if pipe.opened == 1:
            raise OSError(98, "left: port 9: Address already in use")

    pipe.gates.on_open(fail)
    with pytest.raises(CannotOpen, match="left: port 9: Address already in use"):
        pipe.net.run(asyncio.sleep, 1, on=pipe.net.hosts["client"])
    assert (pipe.opened, pipe.closed) == (1, 1)
    pipe.net.run(until="1ms")  # another run tries again
    assert (pipe.opened, pipe.closed) == (2, 1)


def test_what_cannot_be_closed_keeps_nothing_else_open(pipe: Pipe) -> None:
    def fail() -> None:
        raise OSError(5, "left: it is stuck")

    closed: list[int] = []
    pipe.gates.on_close(fail)
    pipe.gates.on_close(lambda: closed.append(1))
    pipe.net.run(until="1ms")
    with pytest.raises(OSError, match="left: it is stuck"):
        pipe.net.close()
    assert (pipe.closed, closed, pipe.gates.poll) == (1, [1], None)
    assert pipe.net.supervisor.real_loop is None


def test_what_has_gone_out_to_the_end_is_sent(pipe: Pipe) -> None:
    out: list[str] = []
    sent: list[str] = []

    def flush() -> None:
        sent.extend(out)
        out.clear()

    async def to_the_end() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            out.append("goodbye")

    pipe.gates.on_flush(flush)
    pipe.net.start(pipe.net.hosts["client"], to_the_end, background=True)
    pipe.net.run(until="1ms")
    pipe.net.close()
    assert sent == ["goodbye"]


# Virtual time


def test_gates_need_a_clock_that_waits(tmp_path: Path) -> None:
    with pair() as net:
        net.supervisor.gates.gate("cable", lambda data: Call(print, data))
        with pytest.raises(NoClock, match='"cable" leads out of the run, and the clock is virtual; expected clock = '):
            net.run(until="1s")
        with pytest.raises(NoClock):
            asyncio.run(net.run_async(until="1s"))
    live = load(parse('[tapestry]\nclock = "virtual"\n[hosts.a]\n', tmp_path / "site.toml"))
    live.supervisor.gates.gate("cable", lambda data: Call(print, data))
    with pytest.raises(TapestryError, match='"cable" leads out of the run, and the clock is virtual'):
        live.run_blocking()
    live.close()
