"""Deadlocks of programs: who waits for whom is said when it happens, and what only looks like one goes on."""

from __future__ import annotations

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
