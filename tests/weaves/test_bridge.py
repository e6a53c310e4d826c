"""Blocking flows: they park, are woken, time out and are killed, and what is around them stays as it was."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import greenlet
import pytest

from weaves import seeds
from weaves.bridge import Flow, current_flow
from weaves.here import here
from weaves.loop import WeaveLoop
from weaves.scheduler import FOREVER, IDLE, Call
from weaves.supervisor import Supervisor
from weaves.weave import NoFiles, Weave

ms = 1_000_000


class Stack:
    """The least host that a weave can have: a name, a lane, and loops without sockets."""

    def __init__(self, supervisor: Supervisor, name: str) -> None:
        self.name = name
        self.lane = supervisor.new_lane()
        self.files = self.paths = NoFiles()

    def new_loop(self, weave: Weave, direct: bool = False) -> WeaveLoop:
        return WeaveLoop(weave, direct)


class World:
    """Weaves, and flows whose ends are written down."""

    def __init__(self) -> None:
        self.supervisor = Supervisor(seed=1)
        self.scheduler = self.supervisor.scheduler
        self.weave = self.new_weave("host")
        self.log: list[Any] = []
        self.ends: list[tuple[Any, BaseException | None]] = []

    def new_weave(self, name: str) -> Weave:
        return Weave("program", Stack(self.supervisor, name), self.supervisor, seeds.generator(1, "weave", name))

    def flow(self, function: Callable[[], Any], weave: Weave | None = None) -> Flow:
        flow = Flow(weave or self.weave, function, lambda result, error: self.ends.append((result, error)))
        flow.start()
        return flow

    def note(self, what: Any) -> None:
        self.log.append((what, self.scheduler.now_ns))

    def at(self, time_ns: int, action: Callable[[], object]) -> None:
        self.scheduler.post(Call(lambda _: action(), None), self.weave.lane, time_ns)

    def run(self) -> int:
        return self.scheduler.run(FOREVER, 10_000)


@pytest.fixture
def world() -> World:
    return World()


def test_a_flow_runs_at_its_turn_and_not_at_its_start(world: World) -> None:
    world.flow(lambda: world.note("ran"))
    assert world.log == []
    world.run()
    assert world.log == [("ran", 0)]


def test_the_result_is_told(world: World) -> None:
    world.flow(lambda: 42)
    world.run()
    assert world.ends == [(42, None)]


def test_the_exception_is_told(world: World) -> None:
    error = ValueError("no")

    def fail() -> None:
        raise error

    world.flow(fail)
    world.run()
    assert world.ends == [(None, error)]


def test_a_parked_flow_goes_on_when_it_is_woken(world: World) -> None:
    def body() -> None:
        current_flow().park()
        world.note("woken")

    flow = world.flow(body)
    world.at(5 * ms, flow.wake)
    world.run()
    assert world.log == [("woken", 5 * ms)]


def test_a_parked_flow_keeps_nothing_pending(world: World) -> None:
    world.flow(lambda: current_flow().park())
    assert world.run() == IDLE
    assert world.ends == []


def test_park_for_ends_at_its_time(world: World) -> None:
    world.flow(lambda: (current_flow().park_for(7 * ms), world.scheduler.now_ns))
    world.run()
    assert world.ends == [((False, 7 * ms), None)]


def test_park_for_says_that_it_was_woken_before(world: World) -> None:
    flow = world.flow(lambda: (current_flow().park_for(7 * ms), world.scheduler.now_ns))
    world.at(3 * ms, flow.wake)
    world.run()
    assert world.ends == [((True, 3 * ms), None)]


def test_park_for_leaves_no_timer_when_it_was_woken(world: World) -> None:
    flow = world.flow(lambda: current_flow().park_for(7 * ms))
    world.at(3 * ms, flow.wake)
    world.run()
    assert (world.scheduler.pending(), world.scheduler.now_ns) == (0, 3 * ms)


def test_park_for_a_negative_time_is_a_turn_for_the_others(world: World) -> None:
    def body() -> None:
        current_flow().park_for(-1)
        world.note("first flow")

    world.flow(body)
    world.flow(lambda: world.note("second flow"))
    world.run()
    assert world.log == [("second flow", 0), ("first flow", 0)]


def test_flows_run_in_the_order_in_which_they_were_woken(world: World) -> None:
    def body(name: str) -> None:
        current_flow().park()
        world.note(name)

    a = world.flow(lambda: body("a"))
    b = world.flow(lambda: body("b"))
    world.at(1 * ms, lambda: (b.wake(), a.wake()))
    world.run()
    assert [name for name, _ in world.log] == ["b", "a"]


def test_waking_twice_is_waking_once(world: World) -> None:
    def body() -> None:
        current_flow().park()
        world.note("first")
        current_flow().park()
        world.note("second")

    flow = world.flow(body)
    world.at(1 * ms, lambda: (flow.wake(), flow.wake()))
    world.run()
    assert world.log == [("first", 1 * ms)]


def test_waking_a_flow_that_has_ended_does_nothing(world: World) -> None:
    flow = world.flow(lambda: None)
    world.run()
    flow.wake()
    assert not world.scheduler.turns


def test_parking_works_in_a_function_of_a_function(world: World) -> None:
    def inner(depth: int) -> int:
        if depth:
            return 1 + inner(depth - 1)
        current_flow().park_for(1 * ms)
        return 0

    world.flow(lambda: inner(50))
    world.run()
    assert world.ends == [(50, None)]


# The weave that runs


def test_a_flow_runs_in_its_weave(world: World) -> None:
    world.flow(lambda: here.weave)
    world.run()
    assert world.ends == [(world.weave, None)]


def test_a_flow_is_in_its_weave_after_it_was_parked(world: World) -> None:
    def body() -> object:
        current_flow().park_for(1 * ms)
        return here.weave

    other = world.new_weave("other")
    world.flow(body)
    world.flow(body, other)
    world.run()
    assert world.ends == [(world.weave, None), (other, None)]


def test_between_turns_there_is_no_weave(world: World) -> None:
    flow = world.flow(lambda: current_flow().park())
    world.at(1 * ms, lambda: world.note((here.weave, here.flow)))
    world.at(2 * ms, flow.wake)
    world.at(3 * ms, lambda: world.note((here.weave, here.flow)))
    world.run()
    assert world.log == [((None, None), 1 * ms), ((None, None), 3 * ms)]


def test_current_flow_is_the_flow_that_runs(world: World) -> None:
    flow = world.flow(current_flow)
    world.run()
    assert world.ends == [(flow, None)]


def test_outside_of_flows_there_is_no_current_flow() -> None:
    with pytest.raises(RuntimeError, match="a blocking call outside of all strings"):
        current_flow()


# Context variables


_variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def test_a_flow_starts_with_a_copy_of_the_context(world: World) -> None:
    token = _variable.set("caller's")
    world.flow(_variable.get)
    _variable.reset(token)
    world.run()
    assert world.ends == [("caller's", None)]


def test_context_variables_are_kept_while_parked(world: World) -> None:
    def body(value: str) -> str:
        _variable.set(value)
        current_flow().park_for(1 * ms)
        return _variable.get()

    world.flow(lambda: body("a"))
    world.flow(lambda: body("b"))
    world.run()
    assert [result for result, _ in world.ends] == ["a", "b"]


def test_context_variables_of_a_flow_are_not_seen_outside(world: World) -> None:
    world.flow(lambda: _variable.set("inside"))
    world.run()
    assert _variable.get() == "unset"


# Killing


def test_kill_runs_the_finally_clauses(world: World) -> None:
    def body() -> None:
        try:
            current_flow().park()
        finally:
            world.note("finally")

    flow = world.flow(body)
    world.at(4 * ms, flow.kill)
    world.run()
    assert world.log == [("finally", 4 * ms)]


def test_kill_is_told_as_the_end(world: World) -> None:
    flow = world.flow(lambda: current_flow().park())
    world.at(4 * ms, flow.kill)
    world.run()
    assert [type(error) for _, error in world.ends] == [greenlet.GreenletExit]


def test_except_exception_does_not_survive_a_kill(world: World) -> None:
    def body() -> None:
        try:
            current_flow().park()
        except Exception:  # noqa: BLE001
            world.note("survived")

    flow = world.flow(body)
    world.at(4 * ms, flow.kill)
    world.run()
    assert flow.ended
    assert world.log == []


def test_kill_before_the_first_turn_runs_nothing(world: World) -> None:
    flow = world.flow(lambda: world.note("ran"))
    flow.kill()
    world.run()
    assert world.log == []
    assert [type(error) for _, error in world.ends] == [greenlet.GreenletExit]


def test_killing_what_has_ended_does_nothing(world: World) -> None:
    flow = world.flow(lambda: "result")
    world.run()
    flow.kill()
    assert world.ends == [("result", None)]


def test_a_finally_clause_may_park(world: World) -> None:
    def body() -> None:
        try:
            current_flow().park()
        finally:
            current_flow().park_for(3 * ms)
            world.note("cleaned up")

    flow = world.flow(body)
    world.at(4 * ms, flow.kill)
    world.run()
    assert world.log == [("cleaned up", 7 * ms)]


def test_a_finally_clause_runs_in_its_own_weave(world: World) -> None:
    def body() -> None:
        try:
            current_flow().park()
        finally:
            world.note((here.weave, here.flow))

    flow = world.flow(body)
    world.at(4 * ms, flow.kill)
    world.run()
    assert world.log == [((world.weave, flow), 4 * ms)]


def test_who_kills_another_flow_stays_in_its_own_weave(world: World) -> None:
    other = world.new_weave("other")
    victim = world.flow(lambda: current_flow().park(), other)

    def killer() -> tuple[object, object]:
        victim.kill()
        return here.weave, here.flow

    flow = world.flow(killer)
    world.run()
    assert world.ends[-1] == ((world.weave, flow), None)


def test_who_kills_another_flow_keeps_its_running_loop(world: World) -> None:
    victim = world.flow(lambda: current_flow().park())
    loop = world.weave.loop
    world.run()
    loop.call_soon(lambda: (victim.kill(), world.note(asyncio._get_running_loop())))
    world.run()
    assert world.log == [(loop, 0)]


def test_a_finally_clause_does_not_see_the_loop_of_who_kills(world: World) -> None:
    def body() -> None:
        try:
            current_flow().park()
        finally:
            world.note(asyncio._get_running_loop())

    victim = world.flow(body)
    world.run()
    world.weave.loop.call_soon(victim.kill)
    world.run()
    assert world.log == [(None, 0)]


def test_a_flow_that_kills_itself_ends_where_it_parks_next(world: World) -> None:
    def body() -> None:
        current_flow().kill()
        world.note("still here")
        current_flow().park_for(1 * ms)
        world.note("never")

    world.flow(body)
    world.run()
    assert world.log == [("still here", 0)]
    assert [type(error) for _, error in world.ends] == [greenlet.GreenletExit]


# The person at the machine


def test_keyboard_interrupt_ends_the_run(world: World) -> None:
    def body() -> None:
        raise KeyboardInterrupt

    world.flow(body)
    with pytest.raises(KeyboardInterrupt):
        world.run()


def test_a_run_can_go_on_after_a_keyboard_interrupt(world: World) -> None:
    def body() -> None:
        raise KeyboardInterrupt

    world.flow(body)
    world.flow(lambda: "other")
    with pytest.raises(KeyboardInterrupt):
        world.run()
    world.run()
    assert world.ends == [("other", None)]


def test_system_exit_is_the_flows_own_end(world: World) -> None:
    def body() -> None:
        raise SystemExit(3)

    world.flow(body)
    world.run()
    assert [(type(error), getattr(error, "code", None)) for _, error in world.ends] == [(SystemExit, 3)]
