"""Who drives a run: inside asyncio, inside uvloop, and without a loop; turns for the machine's loop, and Ctrl-C."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from weaves import interpose, realtime, seeds
from weaves.here import here
from weaves.interpose import collector, signal_calls
from weaves.loop import WeaveLoop
from weaves.realtime import COLLECT_EVERY, drive, drive_blocking, run_slice
from weaves.scheduler import BUDGET_SPENT, FOREVER, IDLE, REACHED, STOPPED, Call
from weaves.strings import RUNNING, String
from weaves.supervisor import RETURN, Supervisor
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
    """A weave and its scheduler."""

    def __init__(self) -> None:
        self.supervisor = Supervisor(seed=1)
        self.scheduler = self.supervisor.scheduler
        rng = seeds.generator(1, "weave", "host")
        self.weave = Weave("program", Stack(self.supervisor, "host"), self.supervisor, rng)

    def start(self, function: Any, *args: Any) -> String:
        string = String(self.weave, "main", function, args, on_error=RETURN)
        self.supervisor.start(string, self.scheduler.now_ns)
        return string

    def at(self, time_s: float, action: Callable[[], object]) -> None:
        self.scheduler.post(Call(lambda _: action(), None), self.weave.lane, round(time_s * S))

    @property
    def now(self) -> float:
        return self.scheduler.now_ns / S


    def close(self) -> None:
        self.supervisor.close()
        self.weave.loop.discard()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def in_asyncio(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(main)


def in_uvloop(main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


both_loops = pytest.mark.parametrize("run", [in_asyncio, in_uvloop])
Run = Callable[[Coroutine[Any, Any, Any]], Any]


async def busy() -> None:
    """Some minutes of the machine's time, if nobody ends it."""
    for _ in range(100_000_000):
        await asyncio.sleep(0.001)


# Inside a loop of the machine


@both_loops
def test_drive_gives_the_reason(world: World, run: Run) -> None:
    world.start(asyncio.sleep, 3)
    assert (run(drive(world.scheduler, 2 * S)), world.now) == (REACHED, 2.0)
    assert (run(drive(world.scheduler, None)), world.now) == (STOPPED, 3.0)
    assert (run(drive(world.scheduler, None)), world.now) == (IDLE, 3.0)


@both_loops
def test_a_task_beside_a_long_run_gets_turns(world: World, run: Run) -> None:
    ticks: list[str] = []

    async def tick() -> None:
        for _ in range(3):
            await asyncio.sleep(0)
            ticks.append(string.state)
        world.scheduler.stop()  # the run has no other end

    async def main() -> int:
        ticking = asyncio.create_task(tick())
        reason = await drive(world.scheduler, None)
        await ticking
        return reason

    string = world.start(busy)
    assert run(main()) == STOPPED
    # The first tick may come before the first slice.
    assert ticks[1:] == [RUNNING, RUNNING]


@both_loops
def test_on_slice_is_called_after_each_slice(world: World, run: Run) -> None:
    slices: list[float] = []

    def on_slice() -> None:
        slices.append(world.now)
        if len(slices) == 3:
            world.scheduler.stop()

    world.start(busy)
    assert run(drive(world.scheduler, None, on_slice)) == STOPPED
    assert len(slices) >= 3
    assert slices == sorted(slices)


@both_loops
def test_a_string_that_is_killed_between_two_slices_ends_the_run(world: World, run: Run) -> None:
    async def main() -> int:
        driving = asyncio.create_task(drive(world.scheduler, None))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        awaited.kill()
        return await driving

    world.start(busy).on_error = None
    awaited = world.start(asyncio.sleep, 10**9)
    assert run(main()) == STOPPED


def test_a_stop_from_before_the_run_does_not_end_it(world: World) -> None:
    world.scheduler.stop()
    world.start(asyncio.sleep, 3)
    assert (drive_blocking(world.scheduler, 1 * S), world.now) == (REACHED, 1.0)


@both_loops
def test_the_current_task_of_the_outer_loop_is_what_it_was(world: World, run: Run) -> None:
    async def main() -> bool:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        await drive(world.scheduler, None)
        return asyncio.get_running_loop() is loop and asyncio.current_task() is task

    world.start(asyncio.sleep, 3)
    assert run(main()) is True


@both_loops
def test_the_outer_loop_is_what_it_was_after_an_exception(world: World, run: Run) -> None:
    async def main() -> tuple[bool, Any]:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        with pytest.raises(IndexError):
            await drive(world.scheduler, None)
        return asyncio.get_running_loop() is loop and asyncio.current_task() is task, here.weave

    world.at(1, [].pop)
    assert run(main()) == (True, None)


@both_loops
def test_code_in_a_weave_sees_its_own_loop_and_task_only(world: World, run: Run) -> None:
    async def program() -> tuple[Any, Any]:
        return asyncio.get_running_loop(), asyncio.current_task()

    string = world.start(program)
    run(drive(world.scheduler, None))
    assert string.result == (world.weave.loop, string.task)


@both_loops
def test_blocking_code_sees_no_loop(world: World, run: Run) -> None:
    string = world.start(asyncio._get_running_loop)
    run(drive(world.scheduler, None))
    assert (string.state, string.result) == ("ended", None)


@both_loops
def test_a_program_can_run_a_loop_inside_of_a_loop_of_the_machine(world: World, run: Run) -> None:
    string = world.start(lambda: asyncio.run(asyncio.sleep(3, "slept")))
    run(drive(world.scheduler, None))
    assert (string.result, world.now) == ("slept", 3.0)


@both_loops
def test_cancelling_the_task_that_awaits_the_run(world: World, run: Run) -> None:
    async def main() -> None:
        driving = asyncio.create_task(drive(world.scheduler, None))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        driving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await driving

    string = world.start(busy)
    run(main())
    assert (string.state, here.weave) == (RUNNING, None)


def test_a_run_goes_on_after_its_task_was_cancelled(world: World) -> None:
    async def main() -> tuple[int, float]:
        driving = asyncio.create_task(drive(world.scheduler, None))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        driving.cancel()
        await asyncio.wait([driving])
        end_ns = world.scheduler.now_ns + S
        return await drive(world.scheduler, end_ns), (world.scheduler.now_ns - end_ns) / S

    world.start(busy)
    assert asyncio.run(main()) == (REACHED, 0.0)


async def test_async_generators_of_the_outer_loop_are_its_own(world: World) -> None:
    closed: list[Any] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            closed.append(asyncio.get_running_loop())

    hooks = sys.get_asyncgen_hooks()
    generator = numbers()
    await anext(generator)
    world.start(asyncio.sleep, 3)
    kept = [generator]
    world.at(1, kept.clear)
    del generator  # the last reference goes in the middle of the run
    await drive(world.scheduler, None)
    assert sys.get_asyncgen_hooks() == hooks
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert closed == [asyncio.get_running_loop()]


# Without a loop


def test_drive_blocking_gives_the_reason(world: World) -> None:
    world.start(asyncio.sleep, 3)
    assert (drive_blocking(world.scheduler, 2 * S), world.now) == (REACHED, 2.0)
    assert (drive_blocking(world.scheduler, None), world.now) == (STOPPED, 3.0)
    assert (drive_blocking(world.scheduler, None), world.now) == (IDLE, 3.0)


def test_a_slice_of_a_long_run_ends(world: World) -> None:
    world.start(busy)
    assert run_slice(world.scheduler, FOREVER) == BUDGET_SPENT


def test_a_run_in_another_thread(world: World) -> None:
    reasons: list[int] = []
    string = world.start(lambda: (time.sleep(3), time.monotonic())[1])
    thread = threading.Thread(target=lambda: reasons.append(drive_blocking(world.scheduler, None)))
    thread.start()
    thread.join()
    assert (reasons, string.result) == ([STOPPED], 3.0)


def test_two_runs_take_turns_in_one_loop() -> None:
    worlds = [World(), World()]
    strings = [world.start(asyncio.sleep, 3 + index) for index, world in enumerate(worlds)]

    async def main() -> list[int]:
        return await asyncio.gather(*(drive(world.scheduler, None) for world in worlds))

    assert asyncio.run(main()) == [STOPPED, STOPPED]
    assert [(string.state, world.now) for string, world in zip(strings, worlds, strict=True)] == [
        ("ended", 3.0),
        ("ended", 4.0),
    ]


# The garbage collector, which would otherwise run by the count of allocations


def test_the_collector_is_held_during_a_run(world: World) -> None:
    string = world.start(collector.real_isenabled)
    drive_blocking(world.scheduler, None)
    assert (string.state, string.result, gc.isenabled()) == ("ended", False, True)


@both_loops
def test_the_collector_is_held_inside_of_a_loop_too(world: World, run: Run) -> None:
    string = world.start(collector.real_isenabled)
    run(drive(world.scheduler, None))
    assert (string.state, string.result, gc.isenabled()) == ("ended", False, True)


def test_the_collector_is_back_after_an_exception(world: World) -> None:
    world.at(1, [].pop)
    with pytest.raises(IndexError):
        drive_blocking(world.scheduler, None)
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off(world: World) -> None:
    gc.disable()
    try:
        world.start(asyncio.sleep, 1)
        drive_blocking(world.scheduler, None)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_garbage_is_collected_by_the_count_of_events_and_turns(world: World) -> None:
    class Cycle:
        def __init__(self) -> None:
            self.itself = self

    counts: list[int] = []

    def collected(_: object) -> None:
        counts.append(world.scheduler.fired + world.scheduler.turns_taken)

    async def program() -> None:
        watched.append(weakref.ref(Cycle(), collected))
        while not counts:
            await asyncio.sleep(0.001)

    watched: list[Any] = []
    world.start(program)
    drive_blocking(world.scheduler, 60 * S)
    assert counts == [COLLECT_EVERY[0]]


# Ctrl-C


def test_ctrl_c_raises_keyboard_interrupt(world: World) -> None:
    world.start(busy)
    world.at(1, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        drive_blocking(world.scheduler, None)


def test_ctrl_c_ends_the_event_in_order(world: World) -> None:
    seen: list[str] = []

    def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)
        seen.append("the event went on")

    world.at(1, interrupt)
    with pytest.raises(KeyboardInterrupt):
        drive_blocking(world.scheduler, None)
    assert seen == ["the event went on"]


def test_a_second_ctrl_c_is_raised_at_once(world: World) -> None:
    seen: list[str] = []

    def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)
        seen.append("after the first")
        signal.raise_signal(signal.SIGINT)
        seen.append("after the second")

    world.at(1, interrupt)
    with pytest.raises(KeyboardInterrupt):
        drive_blocking(world.scheduler, None)
    assert seen == ["after the first"]


@pytest.mark.parametrize("times", [1, 2])
def test_a_run_goes_on_after_ctrl_c(world: World, times: int) -> None:
    def program() -> str:
        time.sleep(1)
        for _ in range(times):
            signal_calls.real_raise_signal(signal.SIGINT)  # as a person at the machine
        time.sleep(1)
        return "unharmed"

    harmless = world.start(asyncio.sleep, 5)
    string = world.start(program)
    string.on_error = None
    with pytest.raises(KeyboardInterrupt):
        drive_blocking(world.scheduler, None)
    assert (here.weave, here.flow) == (None, None)
    assert (drive_blocking(world.scheduler, None), world.now) == (STOPPED, 5.0)
    assert harmless.state == "ended"
    # The second one was raised in the middle of its code, which is gone.
    assert string.result == ("unharmed" if times == 1 else None)


def test_ctrl_c_has_its_handler_back_after_the_run(world: World) -> None:
    world.start(asyncio.sleep, 1)
    drive_blocking(world.scheduler, None)
    assert interpose.real_getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_that_was_there_is_left_alone(world: World) -> None:
    seen: list[int] = []
    before = interpose.real_signal(signal.SIGINT, lambda signum, frame: seen.append(signum))
    try:
        world.at(1, lambda: signal.raise_signal(signal.SIGINT))
        world.start(asyncio.sleep, 3)
        assert (drive_blocking(world.scheduler, None), world.now) == (STOPPED, 3.0)
    finally:
        interpose.real_signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT]


def test_async_generators_that_have_ended_are_forgotten(world: World) -> None:
    async def once() -> AsyncIterator[int]:
        yield 1

    async def main() -> None:
        # All at once, so that each has an address of its own.
        for generator in [once() for _ in range(1000)]:
            assert [number async for number in generator] == [1]
        del generator
        known = len(realtime._birthplaces)
        assert known >= 1000
        await asyncio.sleep(1)
        for _ in range(COLLECT_EVERY[1]):  # so many turns as there are from one such collection to the next
            await asyncio.sleep(0)
        assert len(realtime._birthplaces) <= known - 1000

    assert drive_blocking(world.scheduler, None) == IDLE
    string = world.start(main)
    drive_blocking(world.scheduler, None)
    assert string.error is None
