"""Who watches over the strings: when the run ends, what a failure does, restarts, and stops at a time."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from weaves import interpose, seeds
from weaves.loop import WeaveLoop
from weaves.realtime import drive_blocking
from weaves.scheduler import IDLE, REACHED, STOPPED
from weaves.strings import ENDED, FAILED, KILLED, RUNNING, WAITING_TO_START, String
from weaves.supervisor import CONTINUE, RESTART, RETURN, STOP, Supervisor, counts
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
    """A supervisor and hosts; failures are written down."""

    def __init__(self, on_error: str = STOP) -> None:
        self.supervisor = Supervisor(seed=1, on_error=on_error)
        self.failures: list[tuple[str, float]] = []
        self.supervisor.on_failure = lambda string: self.failures.append((string.name, self.now))
        self.events: list[tuple[str, str, float]] = []
        self.supervisor.trace.subscribe_strings(
            lambda time_ns, string, what: self.events.append((string.name, what, time_ns / S))
        )

    def start(self, function: Any, *args: Any, name: str = "main", at: float = 0, **options: Any) -> String:
        """A string on a host of its own."""
        rng = seeds.generator(1, "weave", name)
        weave = Weave("program", Stack(self.supervisor, f"host of {name}"), self.supervisor, rng)
        string = String(weave, name, function, args, **options)
        self.supervisor.start(string, round(at * S))
        return string

    def run(self, until: float | None = None) -> int:
        return drive_blocking(self.supervisor.scheduler, None if until is None else round(until * S))

    @property
    def now(self) -> float:
        return self.supervisor.scheduler.now_ns / S


async def fail_after(seconds: float) -> None:
    await asyncio.sleep(seconds)
    raise ValueError("no")


def fail_after_blocking(seconds: float) -> None:
    time.sleep(seconds)
    raise ValueError("no")


# The end of a run


def test_the_run_ends_when_the_last_string_has_ended() -> None:
    world = World()
    world.start(asyncio.sleep, 1)
    world.start(asyncio.sleep, 3)
    assert (world.run(), world.now, world.supervisor.over) == (STOPPED, 3.0, True)


def test_a_background_string_does_not_keep_the_run_going() -> None:
    world = World()
    server = world.start(asyncio.sleep, 100, background=True)
    world.start(asyncio.sleep, 1)
    assert (world.run(), world.now, server.state) == (STOPPED, 1.0, RUNNING)


def test_the_end_of_a_background_string_does_not_end_the_run() -> None:
    world = World()
    world.start(asyncio.sleep, 1, background=True)
    world.start(asyncio.sleep, 5)
    world.run()
    assert world.now == 5.0


def test_a_string_that_starts_later_is_waited_for() -> None:
    world = World()
    world.start(asyncio.sleep, 1)
    world.start(asyncio.sleep, 1, at=10)
    assert (world.run(), world.now) == (STOPPED, 11.0)


def test_a_killed_string_is_waited_for_no_longer() -> None:
    world = World()
    string = world.start(asyncio.sleep, 100)
    world.run(until=2)
    string.kill()
    assert (world.supervisor.awaited, world.supervisor.over) == (0, True)


def test_a_string_that_waits_for_nothing_leaves_the_run_idle() -> None:
    world = World()
    string = world.start(asyncio.Event().wait)
    assert (world.run(), world.supervisor.over) == (IDLE, False)
    assert world.supervisor.waiting() == [string]


def test_waiting_leaves_out_what_is_over_or_in_the_background() -> None:
    world = World()
    world.start(asyncio.sleep, 1)
    world.start(asyncio.sleep, 100, background=True)
    string = world.start(asyncio.sleep, 100)
    assert world.run(until=5) == REACHED
    assert world.supervisor.waiting() == [string]


def test_a_run_without_strings_is_not_over() -> None:
    assert World().supervisor.over is False


def test_starts_and_ends_are_traced() -> None:
    world = World(CONTINUE)
    world.start(asyncio.sleep, 1, name="a", at=2)
    world.start(fail_after, 4, name="b")
    world.run()
    assert world.events == [("b", "started", 0.0), ("a", "started", 2.0), ("a", "ended", 3.0), ("b", "failed", 4.0)]


def test_counts() -> None:
    world = World(CONTINUE)
    strings = [world.start(int), world.start(int), world.start(fail_after, 0), world.start(asyncio.sleep, 100)]
    world.run(until=1)
    assert counts(strings) == {ENDED: 2, FAILED: 1, RUNNING: 1}


# Failures


@pytest.mark.parametrize("function", [fail_after, fail_after_blocking])
def test_stop_ends_the_run_at_the_failure(function: Callable[[float], Any]) -> None:
    world = World(STOP)
    other = world.start(asyncio.sleep, 100, name="other")
    failing = world.start(function, 2, name="failing")
    assert (world.run(), world.now) == (STOPPED, 2.0)
    assert world.supervisor.stopped_by is failing
    assert other.state == RUNNING


def test_a_failure_in_the_background_stops_the_run_too() -> None:
    world = World(STOP)
    world.start(asyncio.sleep, 100)
    failing = world.start(fail_after, 2, background=True)
    world.run()
    assert (world.supervisor.stopped_by, world.now) == (failing, 2.0)


def test_continue_lets_the_others_go_on() -> None:
    world = World(CONTINUE)
    world.start(fail_after, 2, name="failing")
    other = world.start(asyncio.sleep, 5, name="other")
    assert (world.run(), world.now, other.state) == (STOPPED, 5.0, ENDED)
    assert world.failures == [("failing", 2.0)]


def test_restart_begins_again_a_second_after_the_failure() -> None:
    world = World(RESTART)
    world.start(asyncio.sleep, 10, name="other")
    world.start(fail_after, 2, name="failing", background=True)
    world.run()
    # It fails at 2 s, is dead for 1 s, and so on: it begins every 3 s.
    starts = [at for name, what, at in world.events if (name, what) == ("failing", "started")]
    assert starts == [0.0, 3.0, 6.0, 9.0]
    assert world.failures == [("failing", 2.0), ("failing", 5.0), ("failing", 8.0)]


def test_a_string_that_fails_at_once_lets_the_clock_move() -> None:
    world = World(RESTART)
    string = world.start(fail_after_blocking, 0)
    assert (world.run(until=3.5), world.now) == (REACHED, 3.5)
    assert (string.restarts, string.state) == (4, WAITING_TO_START)


def test_a_string_that_is_to_restart_is_still_waited_for() -> None:
    attempts: list[float] = []

    async def succeed_at_last() -> str:
        attempts.append(world.now)
        if len(attempts) < 3:
            raise ValueError("not yet")
        return "result"

    world = World(RESTART)
    string = world.start(succeed_at_last)
    assert (world.run(), world.now) == (STOPPED, 2.0)
    assert (string.state, string.result, string.restarts) == (ENDED, "result", 2)


def test_a_restarted_string_forgets_its_error() -> None:
    world = World(RESTART)
    string = world.start(fail_after, 2)
    world.run(until=2.5)
    assert repr(string.error) == "ValueError('no')"
    world.run(until=3.5)
    assert (string.error, string.state) == (None, RUNNING)


def test_a_string_that_is_killed_while_it_is_dead_does_not_restart() -> None:
    world = World(RESTART)
    string = world.start(fail_after, 2)
    world.run(until=2.5)
    string.kill()
    world.run(until=10)
    assert (string.state, [what for _, what, _ in world.events]) == (KILLED, ["started", "failed", "killed"])


def test_a_killed_string_does_not_restart() -> None:
    world = World(RESTART)
    string = world.start(asyncio.sleep, 100)
    world.run(until=2)
    string.kill()
    world.run(until=10)
    assert (string.state, string.restarts) == (KILLED, 0)


def test_a_coroutine_object_cannot_restart_and_has_ended() -> None:
    world = World(RESTART)
    string = world.start(fail_after(2))
    assert (world.run(), world.now) == (STOPPED, 2.0)
    assert (string.state, string.restarts) == (FAILED, 0)


def test_an_error_of_a_handler_restarts_the_string_once() -> None:
    async def main() -> None:
        signal.signal(signal.SIGTERM, lambda signum, frame: [].pop())
        await asyncio.sleep(100)

    world = World(RESTART)
    string = world.start(main)
    world.supervisor.at(3 * S, lambda: string.weave.signals.deliver(signal.SIGTERM))
    world.run(until=50)
    # What ran until 3 s has ended, and its end is not taken for that of the new one.
    assert [(what, at) for _, what, at in world.events] == [("started", 0.0), ("failed", 3.0), ("started", 4.0)]
    assert string.state == RUNNING


def test_a_string_has_its_own_policy_before_the_runs() -> None:
    world = World(STOP)
    world.start(fail_after, 1, name="careless", on_error=CONTINUE)
    world.start(asyncio.sleep, 3, name="other")
    world.run()
    assert (world.supervisor.stopped_by, world.now) == (None, 3.0)


def test_return_stops_the_scheduler_at_any_end_and_tells_nobody() -> None:
    world = World(STOP)
    world.start(asyncio.sleep, 100, name="other")
    string = world.start(fail_after, 2, on_error=RETURN)
    assert (world.run(), world.now, string.state) == (STOPPED, 2.0, FAILED)
    assert (world.failures, world.supervisor.failures, world.supervisor.stopped_by) == ([], [], None)


def test_failures_are_kept_in_their_order() -> None:
    world = World(CONTINUE)
    late = world.start(fail_after, 2)
    early = world.start(fail_after, 1)
    world.run()
    assert world.supervisor.failures == [early, late]


def test_a_failure_is_printed_to_stderr_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    world = World(CONTINUE)
    world.supervisor.on_failure = Supervisor(seed=1).on_failure
    world.start(fail_after, 2, name="failing")
    world.run()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "host host of failing, weave program, string failing:"
    assert lines[-1] == "ValueError: no"


# Stops


def test_stop_at_kills_what_does_not_handle_sigterm() -> None:
    world = World()
    string = world.start(asyncio.sleep, 100)
    world.supervisor.stop_at(string, 5 * S)
    assert (world.run(), world.now, string.state) == (STOPPED, 5.0, KILLED)


def test_stop_at_calls_the_handler_of_sigterm() -> None:
    async def main() -> str:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await stop.wait()
        await asyncio.sleep(1)
        return "stopped in order"

    world = World()
    string = world.start(main)
    world.supervisor.stop_at(string, 5 * S)
    world.run()
    assert (string.state, string.result, world.now) == (ENDED, "stopped in order", 6.0)


def test_stop_at_after_the_end_does_nothing() -> None:
    world = World()
    string = world.start(asyncio.sleep, 1)
    world.start(asyncio.sleep, 10)
    world.supervisor.stop_at(string, 5 * S)
    world.run()
    assert string.state == ENDED


def test_stop_at_before_the_start_keeps_it_from_starting() -> None:
    world = World()
    string = world.start(asyncio.sleep, 1, at=10)
    world.supervisor.stop_at(string, 5 * S)
    assert (world.run(), world.now, string.state) == (STOPPED, 5.0, KILLED)


def test_a_start_in_the_past_is_now() -> None:
    world = World()
    world.start(asyncio.sleep, 5, name="first")
    world.run(until=3)
    world.start(asyncio.sleep, 0, name="late", at=1)
    world.run()
    assert ("late", "started", 3.0) in world.events


# The end of everything


def test_close_kills_what_still_runs() -> None:
    ended: list[str] = []

    def main() -> None:
        try:
            time.sleep(100)
        finally:
            ended.append("finally")

    world = World()
    strings = [world.start(main), world.start(asyncio.sleep, 100), world.start(asyncio.sleep, 1, at=50)]
    world.run(until=2)
    world.supervisor.close()
    assert [string.state for string in strings] == [KILLED] * 3
    assert ended == ["finally"]


def test_close_leaves_ended_strings_as_they_are() -> None:
    world = World(CONTINUE)
    strings = [world.start(int), world.start(fail_after, 1)]
    world.run()
    world.supervisor.close()
    assert [string.state for string in strings] == [ENDED, FAILED]


# Lanes


def test_lanes_count_from_one() -> None:
    supervisor = Supervisor(seed=1)
    assert [supervisor.new_lane().id for _ in range(3)] == [1, 2, 3]


def digest_of(seconds: float, fails: bool) -> tuple[int, int]:
    world = World(CONTINUE)
    string = world.start(fail_after if fails else asyncio.sleep, seconds)
    world.run()
    lane = string.weave.lane
    return lane.digest_a, lane.digest_b


def test_the_end_of_a_string_is_in_the_digest() -> None:
    assert digest_of(1, False) == digest_of(1, False)
    assert digest_of(1, False) != digest_of(2, False)
    assert digest_of(1, False) != digest_of(1, True)
