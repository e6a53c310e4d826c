"""The event loop in virtual time: asyncio's promises, and what unmodified asyncio programs do with it."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import logging
import math
import sys
import time
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from weaves import interpose, seeds
from weaves.here import here
from weaves.loader import load
from weaves.loop import WeaveLoop
from weaves.output import Output
from weaves.realtime import drive_blocking
from weaves.scheduler import IDLE
from weaves.strings import FAILED, KILLED, String
from weaves.supervisor import RETURN, Supervisor
from weaves.tapestry import parse
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
    """A weave, and `run` for one string of it, as Network.run does it."""

    def __init__(self) -> None:
        self.supervisor = Supervisor(seed=1)
        self.scheduler = self.supervisor.scheduler
        self.weave = self.new_weave("host")
        self.log: list[Any] = []

    def new_weave(self, name: str) -> Weave:
        return Weave("program", Stack(self.supervisor, name), self.supervisor, seeds.generator(1, "weave", name))

    def start(self, function: Any, *args: Any, weave: Weave | None = None) -> String:
        """A string beside the one of `run`."""
        string = String(weave or self.weave, "beside", function, args, background=True)
        self.supervisor.start(string, self.scheduler.now_ns)
        return string

    def run(self, function: Any, *args: Any, weave: Weave | None = None) -> Any:
        """Run a string to its end; its result, or its exception."""
        string = String(weave or self.weave, "main", function, args, on_error=RETURN)
        self.supervisor.start(string, self.scheduler.now_ns)
        drive_blocking(self.scheduler, None)
        if string.error is not None:
            raise string.error
        assert string.over, "nothing is left that could wake the string"
        return string.result

    def run_rest(self) -> None:
        """Run what is left."""
        assert drive_blocking(self.scheduler, None) == IDLE

    @property
    def now(self) -> float:
        return self.scheduler.now_ns / S

    def note(self, what: Any) -> None:
        self.log.append((what, self.now))

    @property
    def names(self) -> list[Any]:
        return [what for what, _ in self.log]


@pytest.fixture
def world() -> World:
    return World()


# Callbacks


def test_call_soon_runs_first_in_first_out(world: World) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in range(10):
            loop.call_soon(world.note, number)
        await asyncio.sleep(0)

    world.run(main)
    assert world.names == list(range(10))


def test_what_a_callback_adds_runs_at_the_next_turn(world: World) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: (world.note("a"), loop.call_soon(world.note, "c")))
        loop.call_soon(world.note, "b")
        await asyncio.sleep(0)
        world.note("main")
        await asyncio.sleep(0)

    world.run(main)
    assert world.names == ["a", "b", "main", "c"]


def test_a_cancelled_handle_does_not_run(world: World) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(world.note, "x").cancel()
        await asyncio.sleep(0)

    world.run(main)
    assert world.log == []


def test_callbacks_take_no_time(world: World) -> None:
    async def main() -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return asyncio.get_running_loop().time()

    assert world.run(main) == 0.0


def test_a_callback_that_raises_does_not_end_the_loop(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> str:
        asyncio.get_running_loop().call_soon([].pop)
        await asyncio.sleep(1)
        return "went on"

    with caplog.at_level(logging.ERROR, "asyncio"):
        assert world.run(main) == "went on"
    assert [record.message.splitlines()[0] for record in caplog.records] == ["Exception in callback list.pop()"]


def test_an_exception_handler_of_the_program_hears_of_it(world: World) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: world.note(repr(context["exception"])))
        loop.call_soon([].pop)
        await asyncio.sleep(1)

    world.run(main)
    assert world.log == [("IndexError('pop from empty list')", 0.0)]


def test_two_weaves_take_turns(world: World) -> None:
    def step(loop: asyncio.AbstractEventLoop, name: str, number: int) -> None:
        world.note(f"{name}{number}")
        if number < 2:
            loop.call_soon(step, loop, name, number + 1)

    for name in "ab":
        loop = world.new_weave(name).loop
        loop.call_soon(step, loop, name, 0)
    world.run_rest()
    assert world.names == ["a0", "b0", "a1", "b1", "a2", "b2"]


# Timers


def test_timers_of_one_deadline_fire_in_the_order_of_their_calls(world: World) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in range(10):
            loop.call_later(1, world.note, number)
        await asyncio.sleep(1)

    world.run(main)
    assert world.log == [(number, 1.0) for number in range(10)]


def test_timers_fire_in_the_order_of_their_deadlines(world: World) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for delay in (0.3, 0.1, 0.2):
            loop.call_later(delay, world.note, delay)
        await asyncio.sleep(1)

    world.run(main)
    assert world.log == [(0.1, 0.1), (0.2, 0.2), (0.3, 0.3)]


def test_call_at_is_in_the_loops_time(world: World) -> None:
    async def main() -> None:
        await asyncio.sleep(2)
        asyncio.get_running_loop().call_at(5, world.note, "x")
        await asyncio.sleep(10)

    world.run(main)
    assert world.log == [("x", 5.0)]


def test_a_deadline_in_the_past_fires_now(world: World) -> None:
    async def main() -> None:
        await asyncio.sleep(2)
        asyncio.get_running_loop().call_at(1, world.note, "x")
        await asyncio.sleep(1)

    world.run(main)
    assert world.log == [("x", 2.0)]


@pytest.mark.parametrize("call", ["call_later", "call_at"])
def test_a_timer_without_a_time_is_a_type_error(world: World, call: str) -> None:
    async def main() -> None:
        with pytest.raises(TypeError):
            getattr(asyncio.get_running_loop(), call)(None, print)

    world.run(main)


def test_a_cancelled_timer_leaves_no_event(world: World) -> None:
    async def main() -> int:
        before = world.scheduler.pending()
        timers = [asyncio.get_running_loop().call_later(5, world.note, "x") for _ in range(10)]
        assert world.scheduler.pending() == before + 10
        for timer in timers:
            timer.cancel()
        return world.scheduler.pending() - before

    assert world.run(main) == 0


def test_a_timeout_that_was_not_needed_leaves_no_event(world: World) -> None:
    async def main() -> None:
        async with asyncio.timeout(3600):
            await asyncio.sleep(1)
        await asyncio.wait_for(asyncio.sleep(1), 3600)

    world.run(main)
    assert (world.now, world.scheduler.pending()) == (2.0, 0)


def test_a_timer_that_is_over_is_freed_without_the_garbage_collector(world: World) -> None:
    class Noted:
        def call(self) -> None:
            """Nothing: what is looked at is when it is freed."""

    async def main() -> list[Noted | None]:
        loop = asyncio.get_running_loop()
        left = []
        for cancelled in (False, True):
            noted = Noted()
            timer = loop.call_later(1, noted.call)
            if cancelled:
                timer.cancel()
            left.append(weakref.ref(noted))
            del noted, timer
            await asyncio.sleep(2)
        return [reference() for reference in left]

    gc.disable()
    try:
        assert world.run(main) == [None, None]
    finally:
        gc.enable()


def test_a_timer_that_is_cancelled_between_its_time_and_its_turn_does_not_fire(world: World) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        timers: list[asyncio.TimerHandle] = []

        def cancel() -> None:
            timers[0].cancel()

        loop.call_later(1, cancel)
        timers.append(loop.call_later(1, world.note, "x"))
        await asyncio.sleep(2)

    world.run(main)
    assert world.log == []


def test_sums_of_decimal_fractions_land_on_the_nanosecond(world: World) -> None:
    async def main() -> None:
        for _ in range(10):
            await asyncio.sleep(0.1)

    world.run(main)
    assert world.scheduler.now_ns == S


def test_a_timer_below_a_nanosecond_moves_the_clock(world: World) -> None:
    async def main() -> None:
        await asyncio.sleep(1e-12)

    world.run(main)
    assert world.scheduler.now_ns == 1


# Each start is one at which the least float above loop.time(), times 10**9, is a float that is not above the
# nanoseconds; so the comparison has to be in seconds.
@pytest.mark.parametrize("start_ns", [3_127_877_499, 26_153_210_692, 1_011_884_851_545, 1_899_995_598_142_614])
def test_waiting_out_the_rest_of_a_rounding_error_ends(world: World, start_ns: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        deadline = math.nextafter(loop.time(), math.inf)
        for _ in range(3):
            if loop.time() >= deadline:
                return
            await asyncio.sleep(deadline - loop.time())
        raise AssertionError("the clock stands still")

    world.scheduler.advance(start_ns)
    world.run(main)


def test_timers_that_are_due_lead_to_the_next_without_the_clock_a_hundred_times(world: World) -> None:
    """The 101st goes on by a nanosecond, and so does each hundred after it: what waits for the clock to move ends.

    Not each one after it: a chain without end is a livelock, which the watchdog knows by how slowly the clock goes.
    """
    times: list[int] = []

    def again(loop: asyncio.AbstractEventLoop) -> None:
        times.append(world.scheduler.now_ns)
        if len(times) < 205:
            loop.call_at(loop.time(), again, loop)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(1, again, loop)  # not due when it was set: round 0
        await asyncio.sleep(2)

    world.run(main)
    assert times == [S] * 101 + [S + 1] * 101 + [S + 2] * 3


def test_many_timers_that_are_due_are_one_round(world: World) -> None:
    times: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(300):
            loop.call_later(0, lambda: loop.call_later(0, lambda: times.append(world.scheduler.now_ns)))
        await asyncio.sleep(1)

    world.run(main)
    assert times == [0] * 300


def test_a_program_that_compares_a_deadline_by_another_sum_ends(world: World) -> None:
    """As aioquic: lost at `sent + delay`, but not lost before `sent <= now - delay`, which rounding makes later."""
    sent, delay = 1.430817065, 0.005946224
    assert not sent <= (sent + delay) - delay

    async def main() -> None:
        loop = asyncio.get_running_loop()
        lost: asyncio.Future[None] = loop.create_future()

        def look() -> None:
            if sent <= loop.time() - delay:
                lost.set_result(None)
            else:
                loop.call_at(sent + delay, look)

        loop.call_at(sent + delay, look)
        await lost

    world.run(main)


def test_an_infinite_sleep_is_no_event(world: World) -> None:
    async def main() -> None:
        await asyncio.sleep(math.inf)

    string = world.start(main)
    world.run_rest()
    assert (string.over, world.now, world.scheduler.pending()) == (False, 0.0, 0)


def test_an_infinite_timer_can_be_cancelled(world: World) -> None:
    async def main() -> None:
        await asyncio.wait_for(asyncio.sleep(1), math.inf)

    world.run(main)
    assert (world.now, world.scheduler.pending()) == (1.0, 0)


def test_a_deadline_beyond_the_end_of_time_is_no_event(world: World) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_later(1e12, world.note, "x")

    world.run(main)
    assert world.scheduler.pending() == 0


# A deadline that is hit exactly. Two timers of one instant are two events: what the first one leads to, through any
# number of turns, is over before the second.


def test_a_timeout_that_was_set_before_the_sleep_wins(world: World) -> None:
    async def main() -> str:
        try:
            async with asyncio.timeout(1):
                await asyncio.sleep(1)
        except TimeoutError:
            return "timeout"
        return "slept"

    assert (world.run(main), world.now) == ("timeout", 1.0)


def test_wait_for_sets_its_timeout_before_the_sleep(world: World) -> None:
    async def main() -> str:
        try:
            await asyncio.wait_for(asyncio.sleep(1), 1)
        except TimeoutError:
            return "timeout"
        return "slept"

    assert (world.run(main), world.now) == ("timeout", 1.0)


def test_a_sleep_that_began_before_the_timeout_wins(world: World) -> None:
    async def main() -> str:
        sleeping = asyncio.create_task(asyncio.sleep(1, "slept"))
        await asyncio.sleep(0)
        async with asyncio.timeout(1):
            return await sleeping

    assert (world.run(main), world.now) == ("slept", 1.0)


def test_a_timeout_of_zero_gives_one_turn(world: World) -> None:
    async def main() -> str:
        try:
            async with asyncio.timeout(0):
                await asyncio.sleep(0)
                world.note("one turn")
                await asyncio.sleep(1)
        except TimeoutError:
            return "timeout"
        return "slept"

    assert (world.run(main), world.now) == ("timeout", 0.0)


def test_a_timeout_can_be_moved(world: World) -> None:
    async def main() -> None:
        async with asyncio.timeout(1) as timeout:
            timeout.reschedule(asyncio.get_running_loop().time() + 3)
            await asyncio.sleep(2)

    world.run(main)
    assert world.now == 2.0


# Tasks


def test_names_of_tasks_count_in_each_loop(world: World) -> None:
    async def main() -> list[str]:
        return [asyncio.create_task(asyncio.sleep(0)).get_name() for _ in range(3)]

    assert world.run(main) == ["Task-1", "Task-2", "Task-3"]
    assert world.run(main, weave=world.new_weave("other")) == ["Task-1", "Task-2", "Task-3"]


def test_a_task_has_the_name_that_it_was_given(world: World) -> None:
    async def main() -> str:
        return asyncio.create_task(asyncio.sleep(0), name="named").get_name()

    assert world.run(main) == "named"


def test_the_task_of_a_string_has_its_name(world: World) -> None:
    async def main() -> str:
        task = asyncio.current_task()
        assert task is not None
        return task.get_name()

    assert world.run(main) == "main"


def test_tasks_hash_by_a_counter(world: World) -> None:
    async def main() -> list[int]:
        return [hash(asyncio.create_task(asyncio.sleep(0))) for _ in range(3)]

    first, second, third = world.run(main)
    assert (second - first, third - second) == (1, 1)


def test_futures_hash_by_a_counter(world: World) -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        return [hash(loop.create_future()) for _ in range(3)]

    first, second, third = world.run(main)
    assert (second - first, third - second) == (1, 1)


def test_different_tasks_are_different(world: World) -> None:
    async def main() -> int:
        # Numbers count in each loop, so that equal hashes occur; equality stays identity.
        return len({asyncio.create_task(asyncio.sleep(0)) for _ in range(100)})

    assert world.run(main) == 100


def test_asyncio_wait_gives_a_set_in_the_order_of_creation(world: World) -> None:
    async def main() -> list[str]:
        tasks = [asyncio.create_task(asyncio.sleep(1), name=str(number)) for number in range(10)]
        done, _ = await asyncio.wait(reversed(tasks))
        return [task.get_name() for task in done]

    # Numbers 2 to 11 (the string's task is 1) in a table of 32 slots or more: no number wraps around.
    assert world.run(main) == [str(number) for number in range(10)]


def test_a_set_of_tasks_has_the_same_order_in_every_run(world: World) -> None:
    async def main() -> list[str]:
        litter = [object() for _ in range(len(sets))]
        tasks = {asyncio.create_task(asyncio.sleep(1), name=str(number)) for number in range(100)}
        done, _ = await asyncio.wait(tasks)
        del litter
        return [task.get_name() for task in done]

    sets: list[list[str]] = []
    for name in "abcde":
        sets.append(world.run(main, weave=world.new_weave(name)))
    assert sets == [sets[0]] * 5


def test_current_task_and_all_tasks_are_the_loops_own(world: World) -> None:
    async def main() -> tuple[int, bool]:
        tasks = [asyncio.create_task(asyncio.sleep(1)) for _ in range(3)]
        found = asyncio.all_tasks()
        return len(found), asyncio.current_task() in found and set(tasks) < found

    world.start(main, weave=world.new_weave("other"))
    assert world.run(main) == (4, True)


def test_a_task_factory_is_used(world: World) -> None:
    class OwnTask(asyncio.Task[Any]):
        pass

    async def main() -> str:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda loop, coro, **options: OwnTask(coro, loop=loop, **options))
        task = asyncio.create_task(asyncio.sleep(1, "slept"), name="own")
        assert type(task) is OwnTask
        return f"{task.get_name()} {await task}"

    assert world.run(main) == "own slept"


def test_system_exit_in_a_task_ends_the_task_alone(world: World) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    async def main() -> Any:
        task = asyncio.create_task(leave())
        await asyncio.sleep(1)
        return type(task.exception())

    assert world.run(main) is SystemExit


def test_callbacks_behind_a_system_exit_still_run(world: World) -> None:
    async def leave() -> None:
        raise SystemExit(0)

    async def main() -> None:
        task = asyncio.create_task(leave())
        asyncio.get_running_loop().call_soon(world.note, "behind")
        await asyncio.sleep(1)
        task.exception()

    world.run(main)
    assert world.log == [("behind", 0.0)]


def test_context_variables_of_tasks_are_their_own(world: World) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def child(value: str) -> str:
        variable.set(value)
        await asyncio.sleep(1)
        return variable.get()

    async def main() -> list[str]:
        variable.set("main")
        return [*await asyncio.gather(child("a"), child("b")), variable.get()]

    assert world.run(main) == ["a", "b", "main"]


# The tools of asyncio, under virtual time


def test_gather(world: World) -> None:
    async def main() -> list[int]:
        return await asyncio.gather(*(asyncio.sleep(3 - number, number) for number in range(3)))

    assert (world.run(main), world.now) == ([0, 1, 2], 3.0)


def test_a_task_group_cancels_the_others_when_one_fails(world: World) -> None:
    async def fail() -> None:
        await asyncio.sleep(2)
        raise ValueError("no")

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(100))
                group.create_task(fail())
        world.note(repr(caught.value.exceptions))

    world.run(main)
    assert world.log == [("(ValueError('no'),)", 2.0)]


def test_as_completed_gives_tasks_in_the_order_of_their_ends(world: World) -> None:
    async def main() -> list[int]:
        tasks = [asyncio.create_task(asyncio.sleep(delay, delay)) for delay in (3, 1, 2)]
        return [await task for task in asyncio.as_completed(tasks)]

    assert world.run(main) == [1, 2, 3]


def test_as_completed_starts_coroutines_in_the_order_in_which_they_are_given(world: World) -> None:
    async def work(number: int) -> None:
        world.note(number)

    async def main() -> None:
        coroutines = [work(number) for number in range(20)]
        # Not in the order of their addresses, by which a set would have them.
        coroutines.sort(key=lambda coroutine: -id(coroutine))
        expected.extend(coroutine.cr_frame.f_locals["number"] for coroutine in coroutines)
        for done in asyncio.as_completed([coroutines[0], *coroutines]):
            await done

    expected: list[int] = []
    world.run(main)
    assert world.names == expected


def test_as_completed_gives_up_at_its_timeout(world: World) -> None:
    async def main() -> None:
        for done in asyncio.as_completed([asyncio.sleep(1), asyncio.sleep(100)], timeout=5):
            try:
                await done
            except TimeoutError:
                world.note("timeout")
            else:
                world.note("done")

    world.run(main)
    assert world.log == [("done", 1.0), ("timeout", 5.0)]


def test_as_completed_refuses_what_is_no_list(world: World) -> None:
    async def main() -> None:
        one = asyncio.sleep(1)
        try:
            next(iter(asyncio.as_completed(one)))  # type: ignore[call-overload]
        finally:
            one.close()

    with pytest.raises(TypeError, match="expect"):
        world.run(main)


def test_queue(world: World) -> None:
    async def main() -> None:
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)

        async def produce() -> None:
            for number in range(3):
                await queue.put(number)
                world.note(f"put {number}")

        producing = asyncio.create_task(produce())
        for _ in range(3):
            await asyncio.sleep(1)
            await queue.get()
        await producing

    world.run(main)
    # The queue holds one: a put ends when the one before was taken.
    assert world.log == [("put 0", 0.0), ("put 1", 1.0), ("put 2", 2.0)]


def test_lock(world: World) -> None:
    async def main() -> None:
        lock = asyncio.Lock()

        async def work(name: str) -> None:
            async with lock:
                world.note(name)
                await asyncio.sleep(1)

        await asyncio.gather(work("a"), work("b"), work("c"))

    world.run(main)
    assert world.log == [("a", 0.0), ("b", 1.0), ("c", 2.0)]


def test_event(world: World) -> None:
    async def main() -> None:
        event = asyncio.Event()

        async def wait(name: str) -> None:
            await event.wait()
            world.note(name)

        async with asyncio.TaskGroup() as group:
            group.create_task(wait("a"))
            group.create_task(wait("b"))
            await asyncio.sleep(5)
            event.set()

    world.run(main)
    assert world.log == [("a", 5.0), ("b", 5.0)]


def test_semaphore(world: World) -> None:
    async def main() -> None:
        semaphore = asyncio.Semaphore(2)

        async def work(name: int) -> None:
            async with semaphore:
                world.note(name)
                await asyncio.sleep(1)

        await asyncio.gather(*map(work, range(5)))

    world.run(main)
    assert world.log == [(0, 0.0), (1, 0.0), (2, 1.0), (3, 1.0), (4, 2.0)]


def test_condition(world: World) -> None:
    async def main() -> None:
        condition = asyncio.Condition()

        async def wait() -> None:
            async with condition:
                await condition.wait()
                world.note("notified")

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(2)
        async with condition:
            condition.notify()
        await waiting

    world.run(main)
    assert world.log == [("notified", 2.0)]


# Executors


def test_an_executor_gives_the_result(world: World) -> None:
    async def main() -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, pow, 2, 10)

    assert world.run(main) == 1024


def test_an_executor_gives_the_exception(world: World) -> None:
    async def main() -> None:
        await asyncio.get_running_loop().run_in_executor(None, int, "x")

    with pytest.raises(ValueError, match="invalid literal"):
        world.run(main)


def test_stop_iteration_of_an_executor_is_a_runtime_error(world: World) -> None:
    async def main() -> RuntimeError:
        try:
            await asyncio.get_running_loop().run_in_executor(None, next, iter(()))
        except RuntimeError as error:
            return error
        raise AssertionError("no error")

    assert isinstance(world.run(main).__cause__, StopIteration)


def test_blocking_code_of_executors_runs_side_by_side(world: World) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(None, time.sleep, seconds) for seconds in (1, 2, 3)))

    world.run(main)
    assert world.now == 3.0


def test_an_executors_code_runs_in_the_weave(world: World) -> None:
    async def main() -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, lambda: here.weave)

    assert world.run(main) is world.weave


def test_an_executors_code_does_not_see_a_running_loop(world: World) -> None:
    async def main() -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, asyncio._get_running_loop)

    assert world.run(main) is None


def test_to_thread_carries_context_variables(world: World) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def main() -> str:
        variable.set("carried")
        return await asyncio.to_thread(variable.get)

    assert world.run(main) == "carried"


def test_cancelling_the_wait_for_an_executor_does_not_end_its_code(world: World) -> None:
    async def main() -> None:
        try:
            async with asyncio.timeout(1):
                await asyncio.to_thread(lambda: (time.sleep(5), world.note("ended")))
        except TimeoutError:
            world.note("timeout")
        await asyncio.sleep(10)

    world.run(main)
    assert world.log == [("timeout", 1.0), ("ended", 5.0)]


# A program's own loop


def blocking(coroutine: Callable[[], Any]) -> Callable[[], Any]:
    """A blocking function that is a whole asyncio program."""
    return lambda: asyncio.run(coroutine())


def test_asyncio_run_in_a_blocking_string(world: World) -> None:
    async def main() -> float:
        await asyncio.sleep(1.5)
        return asyncio.get_running_loop().time()

    assert world.run(blocking(main)) == 1.5


def test_asyncio_run_makes_a_loop_of_its_own(world: World) -> None:
    async def main() -> Any:
        return asyncio.get_running_loop()

    loop = world.run(blocking(main))
    assert loop is not world.weave.loop
    assert loop.is_closed()


def test_asyncio_run_twice(world: World) -> None:
    async def main() -> None:
        await asyncio.sleep(1)

    def program() -> None:
        asyncio.run(main())
        asyncio.run(main())

    world.run(program)
    assert world.now == 2.0


def test_asyncio_run_gives_the_exception(world: World) -> None:
    async def main() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        world.run(blocking(main))


def test_asyncio_run_inside_a_coroutine_is_refused(world: World) -> None:
    async def main() -> None:
        inner = asyncio.sleep(1)
        try:
            asyncio.run(inner)
        finally:
            inner.close()

    with pytest.raises(RuntimeError, match="cannot be called from a running event loop"):
        world.run(main)
    with pytest.raises(RuntimeError, match="cannot be called from a running event loop"):
        world.run(blocking(main))


def test_two_programs_run_side_by_side(world: World) -> None:
    async def main(name: str, seconds: float) -> None:
        for _ in range(2):
            await asyncio.sleep(seconds)
            world.note(name)

    world.start(blocking(functools.partial(main, "a", 1)))
    world.start(blocking(functools.partial(main, "b", 1.5)), weave=world.new_weave("other"))
    world.run_rest()
    assert world.log == [("a", 1.0), ("b", 1.5), ("a", 2.0), ("b", 3.0)]


def test_a_blocking_call_in_a_coroutine_stops_that_program_alone(world: World) -> None:
    async def tick(name: str) -> None:
        for _ in range(3):
            await asyncio.sleep(1)
            world.note(name)

    async def blocked() -> None:
        ticking = asyncio.create_task(tick("blocked"))
        await asyncio.sleep(1.5)
        time.sleep(10)
        await ticking

    world.start(blocking(functools.partial(tick, "free")), weave=world.new_weave("other"))
    world.run(blocking(blocked))
    # From 1.5 s to 11.5 s; the tick of 2 s comes late, and so does the one after it.
    assert [entry for entry in world.log if entry[0] == "blocked"] == [
        ("blocked", 1.0),
        ("blocked", 11.5),
        ("blocked", 12.5),
    ]
    assert [entry for entry in world.log if entry[0] == "free"] == [("free", 1.0), ("free", 2.0), ("free", 3.0)]


def test_the_running_loop_is_back_after_a_blocking_call(world: World) -> None:
    async def main() -> bool:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        time.sleep(1)
        return asyncio.get_running_loop() is loop and asyncio.current_task() is task

    assert world.run(blocking(main)) is True


def test_a_blocking_call_in_a_coroutine_string_stops_its_loop_alone(world: World) -> None:
    log: list[tuple[str, float]] = []

    async def tick(name: str) -> None:
        for _ in range(3):
            await asyncio.sleep(1)
            log.append((name, time.monotonic()))

    async def main() -> tuple[bool, float]:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        beside = asyncio.create_task(tick("same loop"))
        await asyncio.sleep(0)
        time.sleep(2.5)
        unchanged = asyncio.get_running_loop() is loop and asyncio.current_task() is task
        at = time.monotonic()
        await beside
        return unchanged, at

    world.start(tick, "other weave", weave=world.new_weave("other"))
    assert world.run(main) == (True, 2.5)
    assert [at for name, at in log if name == "other weave"] == [1.0, 2.0, 3.0]
    # The first of its timers is late by as long as the call took; the next go from there.
    assert [at for name, at in log if name == "same loop"] == [2.5, 3.5, 4.5]


def test_a_coroutine_that_blocks_can_be_killed(world: World) -> None:
    log: list[object] = []

    async def main() -> None:
        try:
            time.sleep(100)
        finally:
            log.append(time.monotonic())

    string = world.start(main)
    world.supervisor.at(3 * S, string.kill)
    drive_blocking(world.scheduler, None)
    assert (string.state, log) == (KILLED, [3.0])


def test_context_variables_are_kept_across_a_blocking_call(world: World) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def child(value: str) -> str:
        variable.set(value)
        time.sleep(1)
        return variable.get()

    async def main() -> list[str]:
        return list(await asyncio.gather(child("a"), child("b")))

    world.start(blocking(main), weave=world.new_weave("other"))
    assert world.run(blocking(main)) == ["a", "b"]


def test_runner(world: World) -> None:
    async def step(value: int) -> int:
        await asyncio.sleep(1)
        return value

    def program() -> list[int]:
        with asyncio.Runner() as runner:
            return [runner.run(step(1)), runner.run(step(2))]

    assert (world.run(program), world.now) == ([1, 2], 2.0)


def test_a_runner_closes_async_generators(world: World) -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(1)
            world.note("closed")

    async def main() -> None:
        generator = numbers()
        await anext(generator)
        kept.append(generator)

    kept: list[Any] = []
    world.run(blocking(main))
    assert world.log == [("closed", 1.0)]


def test_an_async_generator_that_is_dropped_is_closed_by_its_loop(world: World) -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(1)
            world.note("closed")

    async def main() -> None:
        async for _ in numbers():
            break
        await asyncio.sleep(5)

    world.run(main)
    assert world.log == [("closed", 1.0)]


def test_an_async_generator_that_another_host_drops_is_closed_by_its_own_loop(world: World) -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            world.note(here.weave)

    async def make() -> None:
        generator = numbers()
        await anext(generator)
        kept.append(generator)
        del generator
        await asyncio.sleep(5)

    async def drop() -> None:
        await asyncio.sleep(1)
        kept.clear()
        gc.collect()

    kept: list[Any] = []
    world.start(drop, weave=world.new_weave("other"))
    world.run(make)
    assert world.log == [(world.weave, 1.0)]


def test_a_runner_cancels_tasks_that_are_left(world: World) -> None:
    async def forever() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            world.note("cancelled")

    async def main() -> None:
        kept.append(asyncio.create_task(forever()))
        await asyncio.sleep(2)

    kept: list[Any] = []
    world.run(blocking(main))
    assert world.log == [("cancelled", 2.0)]
    assert world.scheduler.pending() == 0


def test_run_until_complete(world: World) -> None:
    def program() -> str:
        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(asyncio.sleep(3, "slept"))
        finally:
            loop.close()

    assert (world.run(program), world.now) == ("slept", 3.0)


def test_run_forever_until_stop(world: World) -> None:
    def program() -> None:
        loop = asyncio.new_event_loop()
        loop.call_later(4, loop.stop)
        loop.run_forever()
        world.note("stopped")
        loop.run_until_complete(asyncio.sleep(1))
        loop.close()

    world.run(program)
    assert (world.log, world.now) == ([("stopped", 4.0)], 5.0)


def test_stop_from_other_code_of_the_program(world: World) -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    def stopper() -> None:
        time.sleep(2)
        loops[0].stop()
        loops[0].call_soon(world.note, "last round")

    def program() -> None:
        loop = asyncio.new_event_loop()
        loops.append(loop)
        loop.run_in_executor(None, stopper)
        loop.run_forever()
        loop.call_soon(world.note, "while the loop does not run")
        time.sleep(1)
        world.note("closing")
        loop.close()

    world.run(program)
    assert world.log == [("last round", 2.0), ("closing", 3.0)]


def test_a_loop_that_does_not_run_keeps_its_callbacks(world: World) -> None:
    def program() -> None:
        loop = asyncio.new_event_loop()
        loop.call_soon(world.note, "callback")
        time.sleep(1)
        world.note("run")
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    world.run(program)
    assert world.names == ["run", "callback"]


def test_get_event_loop_gives_the_loop_that_was_set(world: World) -> None:
    def program() -> bool:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        found = asyncio.get_event_loop()
        loop.close()
        return found is loop

    assert world.run(program) is True


def test_get_event_loop_gives_each_blocking_string_its_own(world: World) -> None:
    def program() -> Any:
        found = asyncio.get_event_loop()
        assert asyncio.get_event_loop() is found
        found.close()
        return found

    first, second = world.run(program), world.run(program)
    assert isinstance(first, WeaveLoop)
    assert first is not second


def test_get_event_loop_in_a_coroutine_is_the_running_loop(world: World) -> None:
    async def main() -> bool:
        return asyncio.get_event_loop() is asyncio.get_running_loop()

    assert world.run(main) is True
    assert world.run(blocking(main)) is True


def test_gather_outside_of_coroutines_is_of_the_set_loop(world: World) -> None:
    def program() -> list[str]:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        gathered = asyncio.gather(asyncio.sleep(1, "a"), asyncio.sleep(2, "b"))
        result = loop.run_until_complete(gathered)
        loop.close()
        return result

    assert (world.run(program), world.now) == (["a", "b"], 2.0)


def test_sys_exit_in_a_program_ends_it_alone(world: World) -> None:
    async def main() -> None:
        await asyncio.sleep(1)
        sys.exit(3)

    async def other() -> None:
        await asyncio.sleep(5)

    string = world.start(blocking(main))
    string.on_error = "continue"
    world.supervisor.on_failure = lambda string: world.note(string.name)
    world.run(other, weave=world.new_weave("other"))
    assert string.state == FAILED
    assert isinstance(string.error, SystemExit)
    assert world.log == [("beside", 1.0)]


# Loops of hosts


def test_the_loop_of_a_host_runs(world: World) -> None:
    async def main() -> bool:
        return asyncio.get_running_loop().is_running()

    assert world.run(main) is True


def test_the_loop_of_a_host_cannot_be_stopped_from_inside(world: World) -> None:
    async def main() -> None:
        asyncio.get_running_loop().stop()

    with pytest.raises(RuntimeError, match="the loop of a host cannot be stopped from inside"):
        world.run(main)


def test_the_loop_of_a_host_cannot_be_run(world: World) -> None:
    async def main() -> None:
        asyncio.get_running_loop().run_forever()

    with pytest.raises(RuntimeError, match="already running"):
        world.run(main)


def test_a_closed_loop_takes_no_callbacks(world: World) -> None:
    loop = world.weave.loop
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.call_soon(print)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.call_later(1, print)


def test_a_timer_of_a_loop_that_was_closed_does_nothing(world: World) -> None:
    loop = world.weave.loop
    loop.call_later(1, world.note, "x")
    loop.close()
    world.run_rest()
    assert (world.log, world.now) == ([], 1.0)


def test_a_task_that_is_lost_while_its_loop_runs_is_reported(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def wait() -> None:
            await loop.create_future()

        task = asyncio.create_task(wait())
        await asyncio.sleep(1)
        del task
        gc.collect()

    gc.collect()  # what tests before this one have left
    caplog.clear()
    world.run(main)
    assert [record.message.splitlines()[0] for record in caplog.records] == ["Task was destroyed but it is pending!"]


def test_discard_is_silent_about_tasks_that_are_left(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        kept.append(asyncio.create_task(asyncio.sleep(1000)))

    gc.collect()  # what tests before this one have left
    caplog.clear()
    kept: list[Any] = []
    world.run(main)
    world.weave.loop.discard()
    kept.clear()
    gc.collect()
    assert caplog.records == []


# The end of a blocking string


def test_cancelling_a_blocking_string_runs_its_finally_clauses(world: World) -> None:
    def program() -> None:
        try:
            time.sleep(100)
        finally:
            world.note("finally")

    string = world.start(program)
    world.weave.loop.call_later(3, string.cancel)
    world.run_rest()
    assert (world.log, string.state) == ([("finally", 3.0)], KILLED)


def test_cancelling_a_blocking_string_leaves_the_rest_of_the_turn_in_its_loop(world: World) -> None:
    string = world.start(time.sleep, 100)
    loop = world.weave.loop

    def look() -> None:
        world.note((asyncio._get_running_loop(), here.weave))

    def cancel() -> None:
        string.cancel()
        # Behind the step of the string's task, in which the flow is killed, and in the same turn.
        loop.call_soon(look)

    loop.call_later(3, cancel)
    world.run_rest()
    assert world.log == [((loop, world.weave), 3.0)]


def test_cancelling_a_program_runs_the_finally_clauses_of_its_tasks(world: World) -> None:
    async def main() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(1)
            world.note("finally")

    string = world.start(blocking(main))
    world.weave.loop.call_later(3, string.cancel)
    world.run_rest()
    assert world.log == [("finally", 4.0)]


def test_a_program_that_blocks_in_a_coroutine_sees_its_loop_in_finally_when_cancelled(world: World) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        try:
            time.sleep(100)
        finally:
            world.note(asyncio.get_running_loop() is loop)

    string = world.start(blocking(main))
    world.weave.loop.call_later(3, string.cancel)
    world.run_rest()
    assert world.log == [(True, 3.0)]


def test_a_server_that_the_end_of_the_run_cuts_off_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    # Until Python 3.12 the callback of start_server asks the cancelled task of a connection for its exception.
    (tmp_path / "p.py").write_text(
        "import asyncio, sys\n"
        "async def handle(reader, writer):\n"
        "    await reader.read()\n"
        "async def main():\n"
        "    if len(sys.argv) > 1:\n"
        "        streams = await asyncio.open_connection('127.0.0.1', 80)\n"
        "        return await asyncio.sleep(1)\n"
        "    await (await asyncio.start_server(handle, port=80)).serve_forever()\n"
        "asyncio.run(main())\n"
    )
    strings = '[{ run = "p.py", background = true }, { run = "p.py client", start = "1s" }]'
    live = load(parse(f"[hosts.a]\nstrings = {strings}\n", tmp_path / "site.toml"))
    with Output() as output:
        live.run_blocking()
        live.close()
    assert live.ok
    assert output.text("a", stream="err") == ""
    assert not caplog.records
    assert capsys.readouterr().err == ""
