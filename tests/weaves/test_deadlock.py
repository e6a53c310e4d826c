"""Deadlocks of programs: who waits for whom is said when it happens, and what only looks like one goes on."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import pytest

from weaves.deadlock import Deadlock
from weaves.loader import LiveTapestry, load

TWO_LOCKS = """
import threading, time
a, b = threading.Lock(), threading.Lock()
def take(mine, other):
    with mine:
        time.sleep(1)
        with other:
            print("never")
threads = [threading.Thread(target=take, args=(a, b), name="first"), threading.Thread(target=take, args=(b, a))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""

BESIDE = "import time\nfor _ in range(3): time.sleep(1)\nprint('beside has ended')\n"


@pytest.fixture
def tapestry(tmp_path: Path, request: pytest.FixtureRequest) -> LiveTapestry:
    """A host with the program that the test names, and one beside it."""
    (tmp_path / "program.py").write_text(request.param)
    (tmp_path / "beside.py").write_text(BESIDE)
    (tmp_path / "site.toml").write_text(
        '[tapestry]\non_error = "continue"\n'
        '[hosts.a]\nstrings = [{ run = "program.py" }]\n[hosts.b]\nstrings = [{ run = "beside.py" }]\n'
    )
    made = load(tmp_path / "site.toml")
    request.addfinalizer(made.close)
    return made


def run(tapestry: LiveTapestry) -> tuple[str, BaseException | None, float]:
    tapestry.run_blocking()
    [program] = [string for string in tapestry.supervisor.strings if string.name == "program"]
    return program.state, program.error, tapestry.now_ns / 10**9


@pytest.mark.parametrize("tapestry", [TWO_LOCKS], indirect=True)
def test_two_threads_that_wait_for_each_other_and_one_that_waits_for_both(
    tapestry: LiveTapestry, capsys: pytest.CaptureFixture[str]
) -> None:
    state, error, now_s = run(tapestry)
    assert (state, type(error), now_s) == ("failed", Deadlock, 3.0)
    lines = str(error).splitlines()
    assert lines[0] == "no thread of the program can go on: each waits for another"
    assert [line.partition(", at ")[0] for line in lines[1:]] == [
        "  thread 'MainThread' waits for the end of thread 'first'",
        "  thread 'first' waits for a lock that thread 'Thread-1 (take)' holds",
        "  thread 'Thread-1 (take)' waits for a lock that thread 'first' holds",
    ]
    assert "program.py:7, in take" in lines[2]
    assert "beside has ended" in capsys.readouterr().out


ALONE = "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()\n"
NOBODY_PUTS = """
import queue, threading
items = queue.Queue()
threads = [threading.Thread(target=items.get) for _ in range(3)]
for thread in threads:
    thread.start()
"""
IN_A_COROUTINE = """
import asyncio, threading
async def main():
    threading.Event().wait()
asyncio.run(main())
"""


@pytest.mark.parametrize("tapestry", [ALONE, NOBODY_PUTS, IN_A_COROUTINE], indirect=True)
def test_other_programs_that_cannot_go_on(tapestry: LiveTapestry) -> None:
    state, error, _now_s = run(tapestry)
    assert (state, type(error)) == ("failed", Deadlock)
    assert "waits to be notified, or for a lock that it holds itself" in str(error)


WHEN_THE_LAST_OTHER_ENDS = """
import threading, time
threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
threading.Event().wait()
"""
BESIDE_A_LOOP_THAT_NOBODY_RUNS = """
import asyncio, threading
loop = asyncio.new_event_loop()
loop.call_later(100, print)
loop.run_until_complete(asyncio.sleep(5))
threading.Event().wait()
"""


@pytest.mark.parametrize("tapestry", [WHEN_THE_LAST_OTHER_ENDS, BESIDE_A_LOOP_THAT_NOBODY_RUNS], indirect=True)
def test_a_deadlock_is_noticed_when_what_went_on_has_ended(tapestry: LiveTapestry) -> None:
    at: list[int] = []
    tapestry.supervisor.on_failure = lambda _string: at.append(tapestry.now_ns)
    state, error, _now_s = run(tapestry)
    assert (state, type(error), at) == ("failed", Deadlock, [5 * 10**9])


WOKEN_BY_A_TIMER = """
import threading
event = threading.Event()
threading.Timer(5, event.set).start()
event.wait()
"""
WOKEN_BY_A_SIGNAL = """
import os, signal, threading
event = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: event.set())
event.wait()
"""
WOKEN_BY_A_LOOP = """
import asyncio, threading
event = threading.Event()
async def main():
    await asyncio.sleep(5)
    event.set()
threading.Thread(target=asyncio.run, args=(main(),)).start()
event.wait()
"""
WITH_A_TIMEOUT = """
import queue, threading
try:
    queue.Queue().get(timeout=5)
except queue.Empty:
    pass
"""


@pytest.mark.parametrize(
    "tapestry", [WOKEN_BY_A_TIMER, WOKEN_BY_A_SIGNAL, WOKEN_BY_A_LOOP, WITH_A_TIMEOUT], indirect=True
)
def test_what_something_can_still_wake_is_none(tapestry: LiveTapestry) -> None:
    [program] = [string for string in tapestry.supervisor.strings if string.name == "program"]
    tapestry.supervisor.stop_at(program, 6_000_000_000)
    state, error, _now_s = run(tapestry)
    assert (state, error) == ("ended", None)


WOKEN_BY_CTRL_C = """
import signal, threading
event = threading.Event()
signal.signal(signal.SIGINT, lambda *_: event.set())
event.wait()
"""


@pytest.mark.parametrize("tapestry", [WOKEN_BY_CTRL_C], indirect=True)
def test_a_handler_for_ctrl_c_that_is_the_programs_own_may_wake_it(tapestry: LiveTapestry) -> None:
    [program] = [string for string in tapestry.supervisor.strings if string.name == "program"]
    tapestry.supervisor.at(6 * 10**9, lambda: program.weave.signals.deliver(signal.SIGINT))
    state, error, _now_s = run(tapestry)
    assert (state, error) == ("ended", None)


ENDED_BY_AN_ALARM = "import signal, threading\nsignal.alarm(2)\nthreading.Event().wait()\n"


@pytest.mark.parametrize("tapestry", [ENDED_BY_AN_ALARM], indirect=True)
def test_an_alarm_ends_a_program_that_waits_for_ever(tapestry: LiveTapestry) -> None:
    state, error, _now_s = run(tapestry)
    assert (state, error) == ("killed", None)
    [program] = [string for string in tapestry.supervisor.strings if string.name == "program"]
    assert program.exit_code == -signal.SIGALRM


LEFT_A_SERVER = """
import asyncio, threading, time
event = threading.Event()
async def serve():
    await asyncio.start_server(lambda reader, writer: event.set(), port=80)
def wait():
    event.wait()
    print("woken at", time.monotonic())
"""
CALLS = "import socket, time\ntime.sleep(2)\nsocket.create_connection(('10.0.0.1', 80))\ntime.sleep(1)\n"


def test_a_server_that_a_string_has_left_in_the_loop_may_wake_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "left_a_server.py").write_text(LEFT_A_SERVER)
    (tmp_path / "calls.py").write_text(CALLS)
    (tmp_path / "site.toml").write_text(
        '[modules.left]\nmodule = "left_a_server"\n'
        '[[beads]]\nname = "left"\nmodule = "left"\n[[beads]]\nname = "a"\nmodule = "lunar"\neth0 = "10.0.0.1/24"\n'
        '[[weaves]]\nname = "w"\nbeads = ["left", "a"]\n'
        'strings = [{ call = "left_a_server:serve" }, { call = "left_a_server:wait" }]\n'
        '[hosts.b]\neth0 = "10.0.0.2/24"\nstrings = [{ run = "calls.py" }]\n[[links]]\nends = ["a", "b"]\n'
    )
    with contextlib.closing(load(tmp_path / "site.toml")) as made:
        made.run_blocking()
        [woken] = [string for string in made.supervisor.strings if string.name.endswith("wait")]
    assert (woken.state, capsys.readouterr().out) == ("ended", "woken at 2.0\n")


TWO_STRINGS = """
import asyncio, threading
async def first():
    await asyncio.sleep(5)
def second():
    threading.Event().wait()
"""


def test_a_deadlock_is_noticed_when_another_string_of_the_program_has_ended(tmp_path: Path) -> None:
    (tmp_path / "two_strings.py").write_text(TWO_STRINGS)
    (tmp_path / "site.toml").write_text(
        '[modules.two]\nmodule = "two_strings"\n'
        '[[beads]]\nname = "two"\nmodule = "two"\n[[beads]]\nname = "a"\nmodule = "lunar"\n'
        '[[weaves]]\nname = "w"\nbeads = ["two", "a"]\non_error = "continue"\n'
        'strings = [{ call = "two_strings:first" }, { call = "two_strings:second" }]\n'
    )
    with contextlib.closing(load(tmp_path / "site.toml")) as made:
        at: list[int] = []
        made.supervisor.on_failure = lambda _string: at.append(made.now_ns)
        made.run_blocking()
        first, second = made.supervisor.strings
        assert (first.state, type(second.error), at) == ("ended", Deadlock, [5 * 10**9])


SHARED = "import threading\nGATE = threading.Event()\n"


def test_what_is_shared_with_another_program_may_be_released_there(tmp_path: Path) -> None:
    (tmp_path / "gate.py").write_text(SHARED)
    (tmp_path / "waits.py").write_text("import gate\ngate.GATE.wait()\n")
    (tmp_path / "opens.py").write_text("import gate, time\ntime.sleep(5)\ngate.GATE.set()\n")
    (tmp_path / "site.toml").write_text(
        "".join(
            f'[modules.{name}]\nrun = "{name}.py"\nshare = ["gate:GATE"]\n'
            f'[[beads]]\nname = "{name}"\nmodule = "{name}"\n[[beads]]\nname = "host-{name}"\nmodule = "lunar"\n'
            f'[[weaves]]\nname = "{name}"\nbeads = ["{name}", "host-{name}"]\nstrings = [{{}}]\n'
            for name in ("waits", "opens")
        )
    )
    with contextlib.closing(load(tmp_path / "site.toml")) as made:
        made.run_blocking()
        assert [string.state for string in made.supervisor.strings] == ["ended", "ended"]


@pytest.mark.parametrize("tapestry", ["import threading\nthreading.Event().wait()\n"], indirect=True)
def test_who_waits_for_ever_until_it_is_stopped_is_not_dead(tapestry: LiveTapestry) -> None:
    [program] = [string for string in tapestry.supervisor.strings if string.name == "program"]
    tapestry.supervisor.stop_at(program, 6_000_000_000)
    assert run(tapestry) == ("killed", None, 6.0)
