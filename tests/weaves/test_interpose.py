"""What the standard library means inside a weave, and that outside, at the same moment, it means what it always did."""

from __future__ import annotations

import _socket
import argparse
import asyncio
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import lunar
from lunar.host_socket import HostSocket, LunarSocket
from weaves import interpose
from weaves.clock import EPOCH_NS
from weaves.here import here
from weaves.loop import WeaveLoop
from weaves.scheduler import Call

EPOCH = EPOCH_NS // 10**9  # 2000-01-01T00:00:00Z


class World:
    """Two hosts without a link: what a program does alone."""

    def __init__(self, seed: int = 1) -> None:
        self.net = lunar.Network(seed=seed)
        self.host = self.net.host("alpha", "10.0.0.1/24")
        self.other = self.net.host("beta", "10.0.0.2/24")

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a blocking or coroutine function on alpha."""
        return self.net.run(function, *args, on=self.host)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.net.close()


def in_coroutine(function: Callable[[], Any]) -> Callable[[], Any]:
    """`function`, called by a coroutine string in place of a blocking one."""

    async def main() -> Any:
        await asyncio.sleep(0)
        return function()

    return main


both_kinds = pytest.mark.parametrize("kind", [lambda function: function, in_coroutine], ids=["blocking", "coroutine"])
Kind = Callable[[Callable[[], Any]], Callable[[], Any]]


# time


CLOCKS: dict[str, Any] = {
    "time": EPOCH + 2.5,
    "time_ns": EPOCH_NS + 2_500_000_000,
    "monotonic": 2.5,
    "monotonic_ns": 2_500_000_000,
    "perf_counter": 2.5,
    "perf_counter_ns": 2_500_000_000,
}


@both_kinds
@pytest.mark.parametrize("name", CLOCKS)
def test_clocks_show_virtual_time(world: World, kind: Kind, name: str) -> None:
    world.net.run(until=2.5)
    assert world.run(kind(getattr(time, name))) == CLOCKS[name]


def test_the_wall_clock_starts_at_the_networks_epoch() -> None:
    with lunar.Network(epoch_ns=10**18) as net:
        assert net.run(time.time_ns, on=net.host("alpha")) == 10**18


def test_the_calendar_is_virtual(world: World) -> None:
    world.net.run(until=3661)  # 01:01:01

    def calendar() -> tuple[Any, ...]:
        now = time.localtime(time.time())
        return (
            time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
            time.localtime() == now,
            time.strftime("%c") == time.strftime("%c", now),
            time.ctime() == time.ctime(time.time()) == time.asctime() == time.asctime(now),
        )

    assert world.run(calendar) == ("2000-01-01 01:01:01", True, True, True)


def test_the_calendar_of_a_given_time_is_that_times(world: World) -> None:
    assert world.run(lambda: time.gmtime(0).tm_year) == 1970


def test_sleep_takes_virtual_time(world: World) -> None:
    world.run(time.sleep, 3600)
    assert world.net.now == 3600.0


def test_sleep_of_nothing_takes_no_time(world: World) -> None:
    world.run(time.sleep, 0)
    assert world.net.now == 0.0


def test_sleep_backwards_is_a_value_error(world: World) -> None:
    with pytest.raises(ValueError, match="sleep length must be non-negative"):
        world.run(time.sleep, -1)


def test_a_woken_flow_sleeps_on(world: World) -> None:
    def main() -> float:
        flow = here.flow
        assert flow is not None
        world.net.start(world.other, lambda: (time.sleep(1), flow.wake()), background=True)
        time.sleep(3)
        return time.monotonic()

    assert world.run(main) == 3.0


def test_clocks_keep_their_names() -> None:
    assert [getattr(time, name).__name__ for name in CLOCKS] == list(CLOCKS)
    assert time.monotonic.__module__ == "time"


# Names that were captured before. `install` works once in a process, so that a new one is needed to come before it.


def run_python(program: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_names_captured_before_the_first_network_are_virtual_too() -> None:
    assert (
        run_python("""
            import sys, types
            captured = types.ModuleType("captured")
            exec('''
            from time import monotonic, time as wall_clock, sleep
            from random import random
            from os import urandom
            from socket import gethostname, socket
            from signal import getsignal
            from asyncio import get_event_loop_policy
            '''.replace("            ", ""), vars(captured))
            sys.modules["captured"] = captured

            import lunar
            net = lunar.Network(seed=1)
            host = net.host("alpha")

            def main():
                import os, random
                captured.sleep(2)
                state = random.getstate()
                print(captured.monotonic(), captured.wall_clock(), captured.gethostname())
                print(random.random() == (random.setstate(state), captured.random())[1])
                print(captured.urandom is os.urandom, captured.socket().fileno() >= 2**30)
                print(captured.get_event_loop_policy() is not outside)

            outside = captured.get_event_loop_policy()
            net.run(main, on=host)
        """)
        == "2.0 946684802.0 alpha\nTrue\nTrue True\nTrue\n"
    )


def test_installing_again_has_no_effect() -> None:
    before = (time.monotonic, random.random, socket.socket.__new__, sys.__class__)
    interpose.install()
    assert before == (time.monotonic, random.random, socket.socket.__new__, sys.__class__)


# Outside, at the same moment


def test_a_real_thread_stays_outside_during_a_run(world: World, outside: Any) -> None:
    def look() -> tuple[Any, ...]:
        with socket.socket() as sock:
            return here.weave, time.gmtime().tm_year > 2000, type(sock), sys.argv is argv

    argv = sys.argv
    # In the middle of a turn, which waits for the thread.
    assert world.run(outside, look) == (None, True, socket.socket, True)


def test_the_clock_of_a_real_thread_is_the_machines(world: World, outside: Any) -> None:
    def look() -> list[float]:
        return [time.perf_counter(), interpose.real_perf_counter()]

    before = interpose.real_perf_counter()
    first, second = world.run(outside, look)
    assert before <= first <= second


async def test_a_real_loop_beside_the_run_stays_outside(world: World) -> None:
    seen: list[tuple[Any, bool, Any]] = []

    async def ticker() -> None:
        while True:
            loop = asyncio.get_running_loop()
            seen.append((here.weave, time.time() > EPOCH + 10**8, isinstance(loop, WeaveLoop)))
            await asyncio.sleep(0)

    async def program() -> str:
        for _ in range(20_000):  # some slices long
            await asyncio.sleep(0.001)
        return socket.gethostname()

    ticking = asyncio.create_task(ticker())
    assert await world.net.run_async(program, on=world.host) == "alpha"
    ticking.cancel()
    assert len(seen) > 1
    assert set(seen) == {(None, True, False)}


async def test_inside_and_outside_in_one_function(world: World) -> None:
    def look() -> tuple[str, bool]:
        return socket.gethostname(), time.monotonic() == 0.0

    machine = os.uname().nodename
    assert look() == (machine, False)
    assert await world.net.run_async(look, on=world.host) == ("alpha", True)
    assert look() == (machine, False)


def test_an_exception_in_a_run_restores_everything(world: World) -> None:
    hooks, argv = sys.get_asyncgen_hooks(), sys.argv
    with pytest.raises(ZeroDivisionError):
        world.run(lambda: 1 / 0)
    assert (here.weave, here.flow, asyncio._get_running_loop()) == (None, None, None)
    assert (sys.get_asyncgen_hooks(), sys.argv is argv) == (hooks, True)
    assert type(socket.socket.__new__(socket.socket)) is socket.socket


def test_an_exception_of_the_scheduler_itself_restores_everything(world: World) -> None:
    hooks = sys.get_asyncgen_hooks()
    world.net.scheduler.post(Call([].pop, 0), world.host.lane, 0)
    with pytest.raises(IndexError):
        world.run(time.sleep, 1)
    assert (here.weave, here.flow, asyncio._get_running_loop()) == (None, None, None)
    assert sys.get_asyncgen_hooks() == hooks
    assert time.time() > EPOCH + 10**8


# random


def draw() -> list[Any]:
    """One of everything that is random."""
    return [
        random.random(),
        random.randint(0, 10**9),
        random.choice(range(10**9)),
        random.sample(range(10**9), 3),
        random.uniform(0, 1),
        random.gauss(0, 1),
        random.getrandbits(64),
        random.randbytes(8),
        os.urandom(8),
        uuid.uuid4(),
        secrets.token_hex(8),
        secrets.randbelow(10**9),
        random.SystemRandom().random(),
        random.Random().random(),
    ]


DRAWS = range(14)


@both_kinds
@pytest.mark.parametrize("index", DRAWS)
def test_what_is_random_repeats_with_the_seed(kind: Kind, index: int) -> None:
    assert World(seed=1).run(kind(draw))[index] == World(seed=1).run(kind(draw))[index]


@pytest.mark.parametrize("index", DRAWS)
def test_what_is_random_differs_with_the_seed(index: int) -> None:
    assert World(seed=1).run(draw)[index] != World(seed=2).run(draw)[index]


@pytest.mark.parametrize("index", DRAWS)
def test_what_is_random_differs_from_host_to_host(world: World, index: int) -> None:
    assert world.run(draw)[index] != world.net.run(draw, on=world.other)[index]


def test_what_one_host_draws_does_not_depend_on_the_others() -> None:
    busy = World()
    busy.net.run(draw, on=busy.other)
    assert busy.run(draw) == World().run(draw)


def test_outside_what_is_random_does_not_repeat() -> None:
    assert draw() != draw()


def test_a_run_does_not_touch_the_machines_generator(world: World) -> None:
    state = random.getstate()
    world.run(draw)
    assert random.getstate() == state


def test_a_program_can_seed_its_generator(world: World) -> None:
    def main() -> float:
        random.seed(42)
        return random.random()

    assert world.run(main) == random.Random(42).random()


def test_a_program_that_seeds_its_generator_does_not_fix_its_entropy(world: World) -> None:
    def main() -> tuple[bytes, uuid.UUID]:
        random.seed(42)
        return os.urandom(8), uuid.uuid4()

    # Two hosts that run the same program still have different identifiers, as two machines have.
    mine, others = world.run(main), world.net.run(main, on=world.other)
    assert mine[0] != others[0]
    assert mine[1] != others[1]


def seed_from_nothing() -> float:
    random.seed()
    return random.random()


def test_seeding_from_nothing_repeats_with_the_runs_seed() -> None:
    assert World(seed=1).run(seed_from_nothing) == World(seed=1).run(seed_from_nothing)
    assert World(seed=1).run(seed_from_nothing) != World(seed=2).run(seed_from_nothing)


def test_seeding_from_nothing_makes_a_new_start(world: World) -> None:
    assert world.run(seed_from_nothing) != world.run(seed_from_nothing)


def test_the_state_of_the_generator_can_be_kept_and_put_back(world: World) -> None:
    def main() -> bool:
        state = random.getstate()
        first = random.random()
        random.setstate(state)
        return random.random() == first

    assert world.run(main) is True


# socket


@both_kinds
def test_the_name_of_the_host(world: World, kind: Kind) -> None:
    assert world.run(kind(socket.gethostname)) == "alpha"
    assert world.run(kind(socket.getfqdn)) == "alpha"


def test_names_are_those_of_the_network(world: World) -> None:
    assert world.run(socket.gethostbyname, "beta") == "10.0.0.2"
    assert world.run(socket.getnameinfo, ("10.0.0.2", 80), 0) == ("beta", "http")
    assert world.run(socket.getaddrinfo, "beta", 80, socket.AF_INET, socket.SOCK_STREAM) == [
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("10.0.0.2", 80))
    ]


def test_a_name_that_the_network_does_not_know_is_not_asked_of_the_machine(world: World) -> None:
    with pytest.raises(socket.gaierror):
        world.run(socket.gethostbyname, os.uname().nodename)


def test_the_class_stays_the_class_it_was(world: World) -> None:
    before = socket.socket
    assert world.run(lambda: socket.socket) is before


@both_kinds
def test_a_socket_inside_is_the_hosts(world: World, kind: Kind) -> None:
    def main() -> tuple[type, bool, bool]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            return type(sock), isinstance(sock, socket.socket), isinstance(sock, _socket.socket)

    assert world.run(kind(main)) == (HostSocket, True, True)


def test_a_socket_outside_is_the_machines(world: World) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert type(sock) is socket.socket
        sock.bind(("127.0.0.1", 0))
        assert sock.getsockname()[1] > 0


class NamedSocket(socket.socket):
    """A subclass, as programs make them: with an attribute and a method of its own."""

    def __init__(self, name: str) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        self.name = name

    def greeting(self) -> str:
        return f"I am {self.name}"


def test_a_subclass_of_socket_inside(world: World) -> None:
    def main() -> tuple[str, bool, bool, str]:
        with NamedSocket("fred") as sock:
            return sock.greeting(), isinstance(sock, NamedSocket), isinstance(sock, LunarSocket), type(sock).__name__

    assert world.run(main) == ("I am fred", True, True, "NamedSocket")


def test_a_subclass_of_socket_outside() -> None:
    with NamedSocket("fred") as sock:
        assert type(sock) is NamedSocket
        assert sock.greeting() == "I am fred"


def test_a_descriptor_of_the_machine_stays_the_machines(world: World) -> None:
    ours, theirs = socket.socketpair()

    def main() -> bytes:
        with socket.socket(fileno=theirs.detach()) as sock:
            return sock.recv(10)

    with ours:
        ours.send(b"hello")
        assert world.run(main) == b"hello"


# signal


@both_kinds
def test_signal_handlers_are_the_weaves(world: World, kind: Kind) -> None:
    def handler(signum: int, frame: object) -> None:
        """Never called."""

    def main() -> tuple[Any, Any]:
        return signal.signal(signal.SIGTERM, handler), signal.getsignal(signal.SIGTERM)

    before = interpose.real_getsignal(signal.SIGTERM)
    assert world.run(kind(main)) == (signal.SIG_DFL, handler)
    assert interpose.real_getsignal(signal.SIGTERM) is before
    assert signal.getsignal(signal.SIGTERM) is before


def test_signal_handlers_of_another_host_are_its_own(world: World) -> None:
    world.run(signal.signal, signal.SIGTERM, signal.SIG_IGN)
    assert world.net.run(signal.getsignal, signal.SIGTERM, on=world.other) == signal.SIG_DFL


def test_a_handler_outside_is_the_machines() -> None:
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        assert interpose.real_getsignal(signal.SIGUSR1) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before)


# asyncio's policy


def test_new_loops_are_the_hosts(world: World) -> None:
    def main() -> bool:
        loop = asyncio.new_event_loop()
        loop.close()
        return isinstance(loop, WeaveLoop)

    assert world.run(main) is True


def test_the_policy_inside_is_the_weaves(world: World) -> None:
    def main() -> list[bool]:
        policy = asyncio.DefaultEventLoopPolicy()
        first = asyncio.get_event_loop_policy()
        asyncio.set_event_loop_policy(policy)
        loop = asyncio.new_event_loop()
        loop.close()
        with pytest.raises(TypeError):
            asyncio.set_event_loop_policy(loop)  # type: ignore[arg-type]
        return [isinstance(loop, WeaveLoop), asyncio.get_event_loop_policy() is policy, first is not before]

    before = asyncio.get_event_loop_policy()
    assert world.run(main) == [True, True, True]
    assert asyncio.get_event_loop_policy() is before


def test_a_policy_of_the_programs_own_is_asked(world: World) -> None:
    class Policy(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self) -> asyncio.AbstractEventLoop:
            loop = super().new_event_loop()
            loop.set_debug(True)
            return loop

    def main() -> bool:
        asyncio.set_event_loop_policy(Policy())
        return asyncio.run(debugging())

    async def debugging() -> bool:
        return asyncio.get_running_loop().get_debug()

    assert world.run(main) is True


def test_a_future_made_outside_of_coroutines_is_of_the_set_loop(world: World) -> None:
    def main() -> bool:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        made = asyncio.Future[None]()
        loop.close()
        return made.get_loop() is loop

    assert world.run(main) is True


def test_after_asyncio_run_no_loop_is_set(world: World) -> None:
    def main() -> None:
        asyncio.run(asyncio.sleep(0))
        with pytest.raises(RuntimeError, match="There is no current event loop"):
            asyncio.get_event_loop()

    world.run(main)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="Python 3.14 has no child watchers")
def test_a_child_watcher_can_be_set(world: World) -> None:
    def main() -> bool:
        watcher = asyncio.SafeChildWatcher()
        with asyncio.Runner() as runner:
            watcher.attach_loop(runner.get_loop())
            asyncio.set_child_watcher(watcher)
            return asyncio.get_child_watcher() is watcher

    assert world.run(main) is True


def test_each_flow_has_its_own_set_loop(world: World) -> None:
    def main() -> list[bool]:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        time.sleep(1)
        found = asyncio.get_event_loop()
        loop.close()
        return [found is loop]

    strings = [world.net.start(world.host, main) for _ in range(2)]
    world.net.run()
    assert [string.result for string in strings] == [[True], [True]]


def test_loops_outside_are_the_machines() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    assert not isinstance(loop, WeaveLoop)


# sys.argv


@both_kinds
def test_argv_is_the_weaves(world: World, kind: Kind) -> None:
    world.host.weave.argv = ["program", "--port", "80"]
    assert world.run(kind(lambda: sys.argv)) == ["program", "--port", "80"]


def test_argv_outside_is_what_it_was(world: World) -> None:
    before = list(sys.argv)
    world.run(lambda: sys.argv.append("inside"))
    assert sys.argv == before


def test_a_program_can_set_its_argv(world: World) -> None:
    def main() -> list[str]:
        sys.argv = ["other"]
        time.sleep(1)
        return sys.argv

    before = sys.argv
    assert world.run(main) == ["other"]
    assert sys.argv is before


def test_argv_can_be_set_outside(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    monkeypatch.setattr(sys, "argv", ["outside"])
    assert world.run(lambda: sys.argv) == ["alpha"]
    assert sys.argv == ["outside"]


def test_argparse_reads_the_weaves_argv(world: World) -> None:
    def main() -> int:
        parser = argparse.ArgumentParser()
        parser.add_argument("--port", type=int)
        return int(parser.parse_args().port)

    world.host.weave.argv = ["program", "--port", "80"]
    assert world.run(main) == 80


# asyncio.all_tasks


def test_a_loop_knows_its_own_tasks_however_they_were_made(world: World) -> None:
    seen: list[set[str]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        made = [
            loop.create_task(asyncio.sleep(1), name="created"),
            asyncio.Task(asyncio.sleep(1), loop=loop, name="by hand"),
        ]
        ended = loop.create_task(asyncio.sleep(0), name="ended")
        await asyncio.sleep(0.5)
        assert ended.done()
        seen.append({task.get_name() for task in asyncio.all_tasks()})
        seen.append({task.get_name() for task in asyncio.all_tasks(loop)})
        del made

    def program() -> None:
        asyncio.run(main())

    world.run(program)
    assert [names & {"created", "by hand", "ended"} for names in seen] == [{"created", "by hand"}] * 2


async def test_all_tasks_outside_are_those_of_the_machines_loop(world: World) -> None:
    await world.net.run_async(asyncio.sleep, 1, on=world.host)
    outside = asyncio.create_task(asyncio.sleep(0), name="outside")
    assert outside in asyncio.all_tasks()
    assert all(task.get_loop() is asyncio.get_running_loop() for task in asyncio.all_tasks())
    await outside


def test_the_end_of_asyncio_run_cancels_what_was_made_by_hand(world: World) -> None:
    ends: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.sleep(9)
        finally:
            ends.append("cancelled")

    async def main() -> None:
        task = asyncio.Task(waits(), loop=asyncio.get_running_loop())
        await asyncio.sleep(1)
        assert not task.done()

    world.run(lambda: asyncio.run(main()))
    assert (ends, world.net.now) == (["cancelled"], 1.0)
