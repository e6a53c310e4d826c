"""The virtual signals of a weave: what is registered, and who gets what is delivered."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from weaves import interpose, seeds
from weaves.here import here
from weaves.loop import WeaveLoop
from weaves.realtime import drive_blocking
from weaves.scheduler import IDLE, Call
from weaves.strings import ENDED, FAILED, KILLED, String
from weaves.supervisor import CONTINUE, Supervisor
from weaves.weave import NoFiles, Weave

interpose.install()

S = 1_000_000_000


class Stack:
    """The least host that a weave can have: a name, a lane, and loops without sockets."""

    def __init__(self, supervisor: Supervisor, name: str) -> None:
        self.name = name
        self.lane = supervisor.new_lane()
        self.files = self.paths = NoFiles()

    def new_loop(self, weave: Weave, direct: bool = False) -> WeaveLoop:
        return WeaveLoop(weave, direct)


class World:
    """A weave with one string, to which signals are delivered."""

    def __init__(self) -> None:
        self.supervisor = Supervisor(seed=1, on_error=CONTINUE)
        self.supervisor.on_failure = lambda string: None
        self.scheduler = self.supervisor.scheduler
        rng = seeds.generator(1, "weave", "host")
        self.weave = Weave("program", Stack(self.supervisor, "host"), self.supervisor, rng)
        self.log: list[Any] = []

    def run(self, function: Callable[[], Any], signum: int, at: float = 3) -> String:
        """Run `function` as a string to which `signum` is delivered at `at`."""
        string = String(self.weave, "main", function, background=True)
        self.supervisor.start(string, 0)
        self.scheduler.post(Call(self.weave.signals.deliver, signum), self.weave.lane, round(at * S))
        assert drive_blocking(self.scheduler, None) == IDLE
        return string

    def note(self, what: Any) -> None:
        self.log.append((what, self.now))

    @property
    def now(self) -> float:
        return self.scheduler.now_ns / S


@pytest.fixture
def world() -> World:
    return World()


def ignore(signum: int, frame: object) -> None:
    """A handler."""


# The table


def test_the_default_of_sigint_is_pythons(world: World) -> None:
    assert world.weave.signals.get(signal.SIGINT) is signal.default_int_handler


def test_the_default_of_others_is_the_systems(world: World) -> None:
    assert world.weave.signals.get(signal.SIGTERM) == signal.SIG_DFL


def test_set_gives_the_handler_before(world: World) -> None:
    signals = world.weave.signals
    assert signals.set(signal.SIGTERM, ignore) == signal.SIG_DFL
    assert signals.set(signal.SIGTERM, signal.SIG_IGN) is ignore
    assert signals.get(signal.SIGTERM) == signal.SIG_IGN


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
def test_some_signals_cannot_be_caught(world: World, signum: int) -> None:
    with pytest.raises(OSError, match="Invalid argument") as caught:
        world.weave.signals.set(signum, ignore)
    assert caught.value.errno == 22


@pytest.mark.parametrize("signum", [0, 65, -1])
def test_a_number_that_is_no_signal_is_a_value_error(world: World, signum: int) -> None:
    with pytest.raises(ValueError, match="signal"):
        world.weave.signals.set(signum, ignore)


@pytest.mark.parametrize("handler", [None, "handler", 7])
def test_what_is_not_callable_is_no_handler(world: World, handler: Any) -> None:
    with pytest.raises(TypeError, match="signal handler must be"):
        world.weave.signals.set(signal.SIGTERM, handler)


def test_remove_loop_handler_says_whether_there_was_one(world: World) -> None:
    world.weave.loop.add_signal_handler(signal.SIGTERM, print)
    assert world.weave.loop.remove_signal_handler(signal.SIGTERM) is True
    assert world.weave.loop.remove_signal_handler(signal.SIGTERM) is False


def test_a_handler_of_a_loop_shows_in_the_table_until_the_loop_gives_it_up(world: World) -> None:
    signals = world.weave.signals
    loop = world.weave.loop
    for signum, default in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
        loop.add_signal_handler(signum, print)
        assert callable(signals.get(signum)) and signals.get(signum) is not default
        loop.remove_signal_handler(signum)
        assert signals.get(signum) is default
    loop.add_signal_handler(signal.SIGTERM, print)
    loop.close()
    assert signals.get(signal.SIGTERM) is signal.SIG_DFL


def test_a_loop_refuses_a_coroutine_function_as_handler(world: World) -> None:
    async def handler() -> None:
        """Never called."""

    with pytest.raises(TypeError, match="coroutines cannot be used"):
        world.weave.loop.add_signal_handler(signal.SIGTERM, handler)


def test_a_loop_cannot_catch_sigkill(world: World) -> None:
    with pytest.raises(RuntimeError, match="sig 9 cannot be caught"):
        world.weave.loop.add_signal_handler(signal.SIGKILL, print)


# Delivery


def sleep_blocking() -> None:
    time.sleep(100)


async def sleep_awaiting() -> None:
    await asyncio.sleep(100)


@pytest.mark.parametrize("function", [sleep_blocking, sleep_awaiting])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGHUP])
def test_the_default_is_the_end(world: World, function: Callable[[], Any], signum: int) -> None:
    assert (world.run(function, signum).state, world.now) == (KILLED, 3.0)


@pytest.mark.parametrize("signum", [signal.SIGCHLD, signal.SIGWINCH, signal.SIGURG, signal.SIGCONT])
def test_some_signals_are_ignored_by_default(world: World, signum: int) -> None:
    assert (world.run(sleep_blocking, signum).state, world.now) == (ENDED, 100.0)


def test_an_ignored_signal_does_nothing(world: World) -> None:
    world.weave.signals.set(signal.SIGTERM, signal.SIG_IGN)
    assert (world.run(sleep_blocking, signal.SIGTERM).state, world.now) == (ENDED, 100.0)


def test_a_handler_is_called_with_the_number(world: World) -> None:
    world.weave.signals.set(signal.SIGTERM, lambda signum, frame: world.note(signum))
    string = world.run(sleep_blocking, signal.SIGTERM)
    assert (world.log, string.state, world.now) == ([(15, 3.0)], ENDED, 100.0)


def test_a_handler_runs_in_the_weave(world: World) -> None:
    world.weave.signals.set(signal.SIGTERM, lambda signum, frame: world.note(here.weave))
    world.run(sleep_blocking, signal.SIGTERM)
    assert world.log == [(world.weave, 3.0)]


def test_a_handler_may_block(world: World) -> None:
    world.weave.signals.set(signal.SIGTERM, lambda signum, frame: (time.sleep(2), world.note("handled")))
    world.run(sleep_blocking, signal.SIGTERM)
    assert world.log == [("handled", 5.0)]


def test_a_handler_that_exits_ends_the_program(world: World) -> None:
    world.weave.signals.set(signal.SIGTERM, lambda signum, frame: sys.exit(0))
    assert (world.run(sleep_blocking, signal.SIGTERM).state, world.now) == (ENDED, 3.0)


def test_a_handler_that_exits_with_a_code_fails_the_program(world: World) -> None:
    world.weave.signals.set(signal.SIGTERM, lambda signum, frame: sys.exit(3))
    string = world.run(sleep_blocking, signal.SIGTERM)
    assert (string.state, repr(string.error), world.now) == (FAILED, "SystemExit(3)", 3.0)


def test_an_asyncio_program_that_is_interrupted_ends_and_the_run_goes_on(world: World) -> None:
    def program() -> None:
        asyncio.run(asyncio.sleep(9))

    assert (world.run(program, signal.SIGINT).state, world.now) == (KILLED, 3.0)


def test_a_handler_that_fails_fails_the_string(world: World) -> None:
    world.weave.signals.set(signal.SIGTERM, lambda signum, frame: [].pop())
    string = world.run(sleep_blocking, signal.SIGTERM)
    assert (string.state, repr(string.error), world.now) == (FAILED, "IndexError('pop from empty list')", 3.0)


def test_a_handler_that_raises_keyboard_interrupt_ends_the_program_and_not_the_run(world: World) -> None:
    # What is left after asyncio.Runner has put back the handler that it found.
    world.weave.signals.set(signal.SIGINT, signal.default_int_handler)
    assert (world.run(sleep_blocking, signal.SIGINT).state, world.now) == (KILLED, 3.0)


def test_a_handler_of_a_loop_is_called(world: World) -> None:
    async def main() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, world.note, "handled")
        await asyncio.sleep(100)

    string = world.run(main, signal.SIGTERM)
    assert (world.log, string.state) == ([("handled", 3.0)], ENDED)


def test_a_handler_of_a_programs_loop_is_called_in_it(world: World) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, lambda: world.note(asyncio.get_running_loop() is loop))
        await asyncio.sleep(100)

    world.run(lambda: asyncio.run(main()), signal.SIGTERM)
    assert world.log == [(True, 3.0)]


def test_a_program_that_stops_in_order(world: World) -> None:
    async def main() -> str:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await stop.wait()
        await asyncio.sleep(1)
        return "cleaned up"

    string = world.run(lambda: asyncio.run(main()), signal.SIGTERM)
    assert (string.state, string.result, world.now) == (ENDED, "cleaned up", 4.0)


def test_a_handler_of_a_loop_comes_before_a_plain_one(world: World) -> None:
    world.weave.signals.set(signal.SIGTERM, lambda signum, frame: world.note("plain"))
    world.weave.loop.add_signal_handler(signal.SIGTERM, world.note, "loop")
    world.run(sleep_blocking, signal.SIGTERM)
    assert world.log == [("loop", 3.0)]


def test_a_removed_handler_of_a_loop_is_not_called(world: World) -> None:
    world.weave.loop.add_signal_handler(signal.SIGTERM, world.note, "loop")
    world.weave.loop.remove_signal_handler(signal.SIGTERM)
    assert world.run(sleep_blocking, signal.SIGTERM).state == KILLED
    assert world.log == []


def test_a_handler_of_a_closed_loop_does_not_count(world: World) -> None:
    async def main() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, world.note, "loop")

    string = world.run(lambda: (asyncio.run(main()), time.sleep(100)), signal.SIGTERM)
    assert (world.log, string.state, world.now) == ([], KILLED, 3.0)


def test_each_weave_has_its_own_handlers(world: World) -> None:
    world.weave.signals.set(signal.SIGTERM, ignore)
    rng = seeds.generator(1, "weave", "other")
    other = Weave("program", Stack(world.supervisor, "other"), world.supervisor, rng)
    assert other.signals.get(signal.SIGTERM) == signal.SIG_DFL


def test_the_machines_handlers_are_untouched(world: World) -> None:
    before = interpose.real_getsignal(signal.SIGTERM)
    world.weave.signals.set(signal.SIGTERM, ignore)
    assert interpose.real_getsignal(signal.SIGTERM) is before


# A blocking call is interrupted, and goes on (PEP 475)


def test_a_call_goes_on_after_a_handler(world: World) -> None:
    world.weave.signals.set(signal.SIGUSR1, lambda signum, frame: world.note(type(frame)))

    def program() -> None:
        time.sleep(10)
        world.note("slept")

    world.run(program, signal.SIGUSR1)
    assert world.log == [(FrameType, 3.0), ("slept", 10.0)]


def test_what_a_handler_raises_comes_out_of_the_call_that_waits(world: World) -> None:
    def handler(signum: int, frame: object) -> None:
        raise LookupError("from the handler")

    world.weave.signals.set(signal.SIGUSR1, handler)

    def program() -> None:
        with pytest.raises(LookupError):
            time.sleep(10)
        world.note("caught")
        time.sleep(1)
        world.note("slept")

    assert world.run(program, signal.SIGUSR1).state == ENDED
    assert world.log == [("caught", 3.0), ("slept", 4.0)]


def test_ctrl_c_is_an_exception_in_the_code_that_waits(world: World) -> None:
    def program() -> str:
        try:
            time.sleep(10)
        except KeyboardInterrupt:
            time.sleep(1)
            return "bye"
        return ""

    string = world.run(program, signal.SIGINT)
    assert (string.state, string.result, world.now) == (ENDED, "bye", 4.0)


def test_a_handler_that_waits_takes_its_time_from_the_call(world: World) -> None:
    world.weave.signals.set(signal.SIGUSR1, lambda signum, frame: (time.sleep(2), world.note("handled")))

    def program() -> None:
        time.sleep(4)
        world.note("slept")
        time.sleep(1)
        world.note("slept again")

    world.run(program, signal.SIGUSR1)
    # The first sleep was over at 4 s, while the handler slept; it returned after it.
    assert world.log == [("handled", 5.0), ("slept", 5.0), ("slept again", 6.0)]


def test_many_signals_in_one_wait_need_no_stack(world: World) -> None:
    world.weave.signals.set(signal.SIGALRM, lambda signum, frame: world.log.append(signum))

    def program() -> float:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        time.sleep(9.9995)
        signal.setitimer(signal.ITIMER_REAL, 0)
        return time.monotonic()

    string = world.run(program, signal.SIGCHLD)
    assert string.result == 9.9995
    assert len(world.log) == 9999


def test_the_handler_of_a_helpers_signal_runs_in_the_main_code(world: World) -> None:
    def program() -> None:
        main = here.flow
        signal.signal(signal.SIGUSR1, lambda signum, frame: world.note(here.flow is main))
        world.weave.spawn(lambda: (signal.raise_signal(signal.SIGUSR1), world.note("sent")), lambda *_: None)
        time.sleep(1)

    world.run(program, signal.SIGCHLD)
    assert world.log == [("sent", 0.0), (True, 0.0)]


def test_the_loop_that_a_handler_interrupts_goes_on(world: World) -> None:
    async def main() -> None:
        signal.signal(signal.SIGUSR1, lambda signum, frame: world.note("handled"))
        asyncio.get_running_loop().call_later(3, world.note, "at the same time")
        await asyncio.sleep(5)
        world.note("slept")

    world.run(lambda: asyncio.run(main()), signal.SIGUSR1)
    assert sorted(world.log) == [("at the same time", 3.0), ("handled", 3.0), ("slept", 5.0)]
