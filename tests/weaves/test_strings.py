"""Strings: how they start, wait in `schedule`, are woken, cancelled and killed, and what their failure says."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import math
import time
from collections.abc import Callable
from typing import Any

import pytest

from weaves import interpose, seeds
from weaves.bridge import current_flow
from weaves.here import here
from weaves.loop import WeaveLoop
from weaves.realtime import drive_blocking
from weaves.scheduler import IDLE, Call
from weaves.strings import ENDED, FAILED, KILLED, RUNNING, WAITING_TO_START, String, current_string, schedule
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
    """A weave "program" on the host "server", whose strings start at 0 and may fail."""

    def __init__(self) -> None:
        self.supervisor = Supervisor(seed=1, on_error=CONTINUE)
        self.supervisor.on_failure = lambda string: None
        self.scheduler = self.supervisor.scheduler
        self.weave = self.new_weave("server")
        self.log: list[Any] = []

    def new_weave(self, host: str) -> Weave:
        return Weave("program", Stack(self.supervisor, host), self.supervisor, seeds.generator(1, "weave", host))

    def start(self, function: Any, *args: Any, at: float = 0, weave: Weave | None = None) -> String:
        string = String(weave or self.weave, "main", function, args, background=True)
        self.supervisor.start(string, round(at * S))
        return string

    def at(self, time_s: float, action: Callable[[], object]) -> None:
        self.scheduler.post(Call(lambda _: action(), None), self.weave.lane, round(time_s * S))

    def run(self) -> None:
        """Run until nothing is left to happen."""
        assert drive_blocking(self.scheduler, None) == IDLE

    def run_one(self, function: Any, *args: Any) -> String:
        string = self.start(function, *args)
        self.run()
        return string

    def note(self, what: Any) -> None:
        self.log.append((what, self.now))

    @property
    def now(self) -> float:
        return self.scheduler.now_ns / S


@pytest.fixture
def world() -> World:
    return World()


# What can be a string


async def coroutine_function(value: str) -> str:
    await asyncio.sleep(1)
    return value


def blocking_function(value: str) -> str:
    time.sleep(1)
    return value


class AsyncCallable:
    async def __call__(self, value: str) -> str:
        return await coroutine_function(value)


@pytest.mark.parametrize(
    "function", [coroutine_function, functools.partial(coroutine_function), AsyncCallable(), blocking_function]
)
def test_a_function_with_arguments(world: World, function: Callable[[str], Any]) -> None:
    string = world.run_one(function, "result")
    assert (string.state, string.result, world.now) == (ENDED, "result", 1.0)


def test_a_coroutine(world: World) -> None:
    assert world.run_one(coroutine_function("result")).result == "result"


def test_keyword_arguments(world: World) -> None:
    string = String(world.weave, "main", coroutine_function, (), {"value": "result"}, background=True)
    world.supervisor.start(string, 0)
    world.run()
    assert string.result == "result"


def test_a_string_starts_at_its_time(world: World) -> None:
    world.start(lambda: world.note("started"), at=2.5)
    world.run()
    assert world.log == [("started", 2.5)]


def test_strings_of_one_weave_start_in_the_order_of_their_making(world: World) -> None:
    for name in "abc":
        world.start(world.note, name)
    world.run()
    assert [what for what, _ in world.log] == ["a", "b", "c"]


def test_the_code_of_a_string_knows_its_string(world: World) -> None:
    async def main() -> String | None:
        await asyncio.sleep(1)
        return current_string()

    string = world.run_one(main)
    assert string.result is string


def test_blocking_code_knows_its_string(world: World) -> None:
    string = world.run_one(lambda: (time.sleep(1), current_string())[1])
    assert string.result is string


def test_tasks_of_a_string_know_its_string(world: World) -> None:
    async def child() -> String | None:
        return current_string()

    async def main() -> String | None:
        return await asyncio.create_task(child())

    string = world.run_one(main)
    assert string.result is string


def test_outside_there_is_no_string() -> None:
    assert current_string() is None


# States


def test_states_in_their_order(world: World) -> None:
    string = world.start(coroutine_function, "x", at=1)
    states = [string.state]
    world.at(1.5, lambda: states.append(string.state))
    world.run()
    states.append(string.state)
    assert states == [WAITING_TO_START, RUNNING, ENDED]
    assert states == ["waiting to start", "running", "ended"]


async def fail_at_once() -> None:
    raise ValueError("no")


def fail_blocking() -> None:
    raise ValueError("no")


@pytest.mark.parametrize("function", [fail_at_once, fail_blocking])
def test_a_string_that_raises_has_failed(world: World, function: Callable[[], Any]) -> None:
    string = world.run_one(function)
    assert (string.state, repr(string.error)) == ("failed", "ValueError('no')")


def test_a_string_that_was_killed_has_that_state(world: World) -> None:
    string = world.start(coroutine_function, "x")
    world.at(0.5, string.kill)
    world.run()
    assert string.state == "killed"


def test_over_is_every_kind_of_end(world: World) -> None:
    ended, failed, killed = world.start(int), world.start(fail_at_once), world.start(coroutine_function, "x")
    assert not (ended.over or failed.over or killed.over)
    world.at(0.5, killed.kill)
    world.run()
    assert [string.state for string in (ended, failed, killed)] == [ENDED, FAILED, KILLED]
    assert ended.over and failed.over and killed.over


def test_repr_names_string_weave_host_and_state(world: World) -> None:
    string = world.start(coroutine_function, "x")
    assert repr(string) == "<String 'main' of 'program' on 'server': waiting to start>"


@pytest.mark.parametrize("code", [None, 0])
def test_system_exit_without_a_code_is_an_end(world: World, code: int | None) -> None:
    def main() -> None:
        raise SystemExit(code)

    assert world.run_one(main).state == ENDED


async def leave_with_3() -> None:
    raise SystemExit(3)


def leave_with_3_blocking() -> None:
    raise SystemExit(3)


@pytest.mark.parametrize("function", [leave_with_3, leave_with_3_blocking])
def test_system_exit_with_a_code_is_a_failure(world: World, function: Callable[[], Any]) -> None:
    string = world.run_one(function)
    assert string.state == FAILED
    assert isinstance(string.error, SystemExit)
    assert string.error.code == 3


def test_stop_iteration_in_blocking_code_is_a_failure(world: World) -> None:
    string = world.run_one(next, iter(()))
    assert (string.state, repr(string.error)) == (FAILED, "RuntimeError('the string raised StopIteration')")


@pytest.mark.parametrize("function", [coroutine_function, blocking_function])
def test_wrong_arguments_are_the_strings_failure(world: World, function: Callable[..., Any]) -> None:
    string = world.run_one(function, "one", "too many")
    assert string.state == FAILED
    assert isinstance(string.error, TypeError)


def test_a_string_whose_task_was_cancelled_counts_as_killed(world: World) -> None:
    async def main() -> None:
        raise asyncio.CancelledError

    assert world.run_one(main).state == KILLED


# schedule()


def test_schedule_is_woken(world: World) -> None:
    async def main() -> tuple[bool, float]:
        return await schedule(), world.now

    string = world.start(main)
    world.at(2, string.wake)
    world.run()
    assert string.result == (True, 2.0)


def test_schedule_times_out(world: World) -> None:
    async def main() -> tuple[bool, float]:
        return await schedule(1.5), world.now

    assert world.run_one(main).result == (False, 1.5)


def test_schedule_that_is_woken_in_time_leaves_no_timer(world: World) -> None:
    async def main() -> tuple[bool, float]:
        return await schedule(10), world.now

    string = world.start(main)
    world.at(2, string.wake)
    world.run()
    assert (string.result, world.now) == ((True, 2.0), 2.0)


@pytest.mark.parametrize("timeout", [0, -1])
def test_schedule_without_any_time_gives_the_others_a_turn(world: World, timeout: float) -> None:
    async def main() -> tuple[bool, float]:
        woken = await schedule(timeout)
        world.note("main")
        return woken, world.now

    string = world.start(main)
    world.start(world.note, "other")
    world.run()
    assert string.result == (False, 0.0)
    assert world.log == [("other", 0.0), ("main", 0.0)]


def test_schedule_without_end_is_no_event(world: World) -> None:
    async def main() -> bool:
        return await schedule(math.inf)

    string = world.run_one(main)
    assert (string.state, world.scheduler.pending()) == (RUNNING, 0)
    string.wake()
    world.run()
    assert string.result is True


async def test_schedule_outside_of_a_string_is_refused() -> None:
    with pytest.raises(RuntimeError, match="outside a string"):
        await schedule()


def test_wake_without_a_sleeper_is_lost(world: World) -> None:
    async def main() -> tuple[bool, float]:
        await asyncio.sleep(5)
        return await schedule(1), world.now

    string = world.start(main)
    world.at(2, string.wake)
    world.run()
    assert string.result == (False, 6.0)


def test_waking_twice_wakes_once(world: World) -> None:
    async def main() -> tuple[bool, bool]:
        return await schedule(), await schedule(1)

    string = world.start(main)
    world.at(2, lambda: (string.wake(), string.wake()))
    world.run()
    assert string.result == (True, False)


def test_the_timeout_of_the_instant_of_the_wake_comes_too_late(world: World) -> None:
    async def main() -> bool:
        return await schedule(2)

    string = world.start(main)
    world.at(2, string.wake)  # posted before the timer, and so before it
    world.run()
    assert string.result is True


def test_two_strings_wake_each_other(world: World) -> None:
    async def ping() -> None:
        for _ in range(3):
            await asyncio.sleep(1)
            world.note("ping")
            pong_string.wake()
            await schedule()

    async def pong() -> None:
        for _ in range(3):
            await schedule()
            world.note("pong")
            ping_string.wake()

    ping_string, pong_string = world.start(ping), world.start(pong)
    world.run()
    assert world.log == [("ping", 1.0), ("pong", 1.0), ("ping", 2.0), ("pong", 2.0), ("ping", 3.0), ("pong", 3.0)]


def test_a_string_can_wait_in_schedule_inside_a_timeout(world: World) -> None:
    async def main() -> tuple[bool, float]:
        try:
            async with asyncio.timeout(1):
                await schedule()
        except TimeoutError:
            pass
        return await schedule(1), world.now

    assert world.run_one(main).result == (False, 2.0)


def test_two_tasks_of_a_string_do_not_wait_in_schedule_at_once(world: World) -> None:
    async def main() -> None:
        first = asyncio.create_task(schedule())
        await asyncio.sleep(1)
        try:
            await schedule()
        finally:
            first.cancel()

    assert isinstance(world.run_one(main).error, AssertionError)


def test_schedule_in_a_program(world: World) -> None:
    async def main() -> tuple[bool, float]:
        return await schedule(), world.now

    string = world.start(lambda: asyncio.run(main()))
    world.at(2, string.wake)
    world.run()
    assert string.result == (True, 2.0)


# cancel()


def test_cancel_raises_cancelled_error_where_the_string_waits(world: World) -> None:
    async def main() -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            world.note("cancelled")
            raise

    string = world.start(main)
    world.at(3, string.cancel)
    world.run()
    assert (world.log, string.state) == ([("cancelled", 3.0)], KILLED)


def test_a_string_may_survive_cancel(world: World) -> None:
    async def main() -> str:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        return "survived"

    string = world.start(main)
    world.at(3, string.cancel)
    world.run()
    assert (string.state, string.result, world.now) == (ENDED, "survived", 4.0)


def test_cancel_in_schedule_leaves_no_timer(world: World) -> None:
    async def main() -> None:
        await schedule(100)

    string = world.start(main)
    world.at(3, string.cancel)
    world.run()
    assert (string.state, world.now) == (KILLED, 3.0)


def test_cancel_of_a_blocking_string_ends_its_code(world: World) -> None:
    def main() -> None:
        try:
            time.sleep(100)
        finally:
            world.note("finally")

    string = world.start(main)
    world.at(3, string.cancel)
    world.run()
    assert (world.log, string.state, world.now) == ([("finally", 3.0)], KILLED, 3.0)


def test_cancel_before_the_start_keeps_it_from_starting(world: World) -> None:
    string = world.start(coroutine_function, "x", at=1)
    string.cancel()
    world.run()
    assert string.state == KILLED


# kill()


def test_kill_before_the_start_runs_nothing(world: World) -> None:
    string = world.start(world.note, "ran", at=1)
    string.kill()
    world.run()
    assert (world.log, string.state) == ([], KILLED)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_kill_before_the_start_closes_a_coroutine(world: World) -> None:
    coroutine = coroutine_function("x")
    string = world.start(coroutine, at=1)
    string.kill()
    world.run()
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        coroutine.send(None)


@pytest.mark.parametrize("function", [coroutine_function, blocking_function])
def test_kill_between_the_start_and_the_first_step(world: World, function: Callable[[str], Any]) -> None:
    string = world.start(function, "x")
    world.supervisor.trace.subscribe_strings(
        lambda _, string, what: world.scheduler.turns.appendleft(Killer(string)) if what == "started" else None
    )
    world.run()
    assert (string.state, world.now) == (KILLED, 0.0)


class Killer:
    """A turn that kills a string."""

    def __init__(self, string: String) -> None:
        self._string = string

    def turn(self) -> None:
        self._string.kill()


def test_kill_runs_the_finally_clauses_of_a_coroutine(world: World) -> None:
    async def main() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            world.note("finally")

    string = world.start(main)
    world.at(3, string.kill)
    world.run()
    assert (world.log, world.now) == ([("finally", 3.0)], 3.0)


def test_kill_runs_the_finally_clauses_of_blocking_code(world: World) -> None:
    def main() -> None:
        try:
            time.sleep(100)
        finally:
            world.note("finally")

    string = world.start(main)
    world.at(3, string.kill)
    world.run()
    assert (world.log, world.now) == ([("finally", 3.0)], 3.0)


def test_a_killed_string_is_killed_although_it_catches_the_cancellation(world: World) -> None:
    async def main() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(100)
        return "survived"

    string = world.start(main)
    world.at(3, string.kill)
    world.run()
    assert (string.state, string.result) == (KILLED, None)


def test_kill_twice_is_kill_once(world: World) -> None:
    ends: list[str] = []
    world.supervisor.trace.subscribe_strings(lambda _, string, what: ends.append(what))
    string = world.start(coroutine_function, "x")
    world.at(0.5, lambda: (string.kill(), string.kill()))
    world.run()
    assert ends == ["started", "killed"]


def test_killing_what_has_ended_changes_nothing(world: World) -> None:
    string = world.run_one(coroutine_function, "result")
    string.kill()
    assert (string.state, string.result) == (ENDED, "result")


@pytest.mark.parametrize("function", [coroutine_function, blocking_function])
def test_kill_is_silent(world: World, caplog: pytest.LogCaptureFixture, function: Callable[[str], Any]) -> None:
    gc.collect()  # what tests before this one have left
    caplog.clear()
    string = world.start(function, "x")
    world.at(0.5, string.kill)
    with caplog.at_level(logging.DEBUG, "asyncio"):
        world.run()
        string.task = None
        gc.collect()
    assert caplog.records == []


def test_one_string_kills_another(world: World) -> None:
    async def killer() -> object:
        await asyncio.sleep(3)
        victim.kill()
        return here.weave

    victim = world.start(blocking_function, "x", weave=world.new_weave("other"), at=2.5)
    string = world.start(killer)
    world.run()
    assert (victim.state, string.state) == (KILLED, ENDED)
    assert string.result is world.weave


def test_a_blocking_string_that_kills_itself_ends_where_it_blocks_next(world: World) -> None:
    def main() -> None:
        string = current_string()
        assert string is not None
        string.kill()
        world.note("still here")
        time.sleep(1)
        world.note("never")

    string = world.run_one(main)
    assert (world.log, string.state) == ([("still here", 0.0)], KILLED)


def test_a_string_that_was_killed_leaves_others_of_its_weave_alone(world: World) -> None:
    victim, other = world.start(coroutine_function, "x"), world.start(coroutine_function, "result")
    world.at(0.5, victim.kill)
    world.run()
    assert (victim.state, other.result) == (KILLED, "result")


def test_kill_of_a_weave_ends_all_its_strings(world: World) -> None:
    strings = [world.start(coroutine_function, "x"), world.start(blocking_function, "x"), world.start(int, at=2)]
    other = world.start(coroutine_function, "result", weave=world.new_weave("other"))
    world.at(0.5, world.weave.kill)
    world.run()
    assert [string.state for string in strings] == [KILLED] * 3
    assert other.result == "result"


def test_kill_of_a_weave_ends_its_executors_code(world: World) -> None:
    async def main() -> None:
        await asyncio.to_thread(lambda: (time.sleep(10), world.note("ended")))

    world.start(main)
    world.at(0.5, world.weave.kill)
    world.run()
    assert (world.log, world.now, world.weave.helpers) == ([], 0.5, {})


# Failures


def test_a_failure_names_host_weave_string_and_traceback(world: World) -> None:
    lines = world.run_one(fail_at_once).describe_failure().splitlines()
    assert lines[0] == "host server, weave program, string main:"
    assert lines[1] == "Traceback (most recent call last):"
    assert any("in fail_at_once" in line for line in lines)
    assert lines[-1] == "ValueError: no"


def test_the_traceback_of_blocking_code_names_its_lines(world: World) -> None:
    text = world.run_one(fail_blocking).describe_failure()
    assert "in fail_blocking" in text


def test_the_cause_of_a_failure_is_shown(world: World) -> None:
    async def main() -> None:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error

    text = world.run_one(main).describe_failure()
    assert text.index("KeyError: 'first'") < text.index("direct cause") < text.index("ValueError: second")


# Code of the weave that nobody waits for


def test_an_error_of_a_helper_is_the_failure_of_the_string(world: World) -> None:
    string = world.start(coroutine_function, "x")
    world.at(0.5, lambda: world.weave.spawn(fail_blocking, world.weave.report_helper))
    world.run()
    assert (string.state, repr(string.error)) == (FAILED, "ValueError('no')")


def test_an_error_of_a_helper_ends_what_the_string_was_doing(world: World) -> None:
    async def main() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            world.note("finally")

    world.start(main)
    world.at(0.5, lambda: world.weave.spawn(fail_blocking, world.weave.report_helper))
    world.run()
    assert (world.log, world.now) == ([("finally", 0.5)], 0.5)


def test_an_error_of_a_helper_ends_what_blocking_code_was_doing(world: World) -> None:
    def main() -> None:
        try:
            time.sleep(100)
        finally:
            world.note("finally")

    world.start(main)
    world.at(0.5, lambda: world.weave.spawn(fail_blocking, world.weave.report_helper))
    world.run()
    assert (world.log, world.now) == ([("finally", 0.5)], 0.5)


def test_an_error_of_a_helper_fails_the_first_string_that_still_runs(world: World) -> None:
    first, second = world.start(int), world.start(coroutine_function, "x")
    world.at(0.5, lambda: world.weave.spawn(fail_blocking, world.weave.report_helper))
    world.run()
    assert (first.state, second.state) == (ENDED, FAILED)


def test_system_exit_of_a_helper_ends_the_program(world: World) -> None:
    string = world.start(coroutine_function, "x")
    world.at(0.5, lambda: world.weave.spawn(leave_with_3_blocking, world.weave.report_helper))
    world.run()
    assert (string.state, repr(string.error)) == (FAILED, "SystemExit(3)")


def test_a_helper_may_block(world: World) -> None:
    world.weave.spawn(lambda: (current_flow().park_for(2 * S), world.note("done")), world.weave.report_helper)
    world.run()
    assert (world.log, world.weave.helpers) == ([("done", 2.0)], {})
