"""How a program ends: `atexit`, `os._exit`, `os.abort`; and what the collector and contexts are to programs."""

from __future__ import annotations

import atexit
import contextvars
import gc
import os
import signal
import textwrap
import weakref
from pathlib import Path
from typing import Any

import pytest
from lonely_hosts import Programs, World

from weaves.loader import load
from weaves.strings import FAILED, String

REGISTERS = """
import atexit, socket, sys, time
listening = socket.create_server(("0.0.0.0", 80))
atexit.register(print, "registered first, runs last")
@atexit.register
def last():
    time.sleep(1)
    print("after", time.monotonic(), "still open:", listening.fileno() >= 0 and bool(listening.getsockname()))
def fails():
    raise ValueError("in atexit")
atexit.register(fails)
def forgotten():
    print("forgotten")
atexit.register(forgotten)
atexit.unregister(forgotten)
"""
AFTERWARDS = ["after 1.0 still open: True", "registered first, runs last"]


@pytest.mark.parametrize(
    ("end", "ok"),
    [("", True), ("sys.exit(0)", True), ("sys.exit(3)", False), ("raise KeyError('x')", False)],
    ids=["return", "exit 0", "exit 3", "an exception"],
)
def test_what_a_program_registers_runs_at_its_end(programs: Programs, end: str, ok: bool) -> None:
    assert programs(REGISTERS + end + "\n", ok=ok) == AFTERWARDS


@pytest.mark.parametrize(
    "end",
    ["os._exit({code})", "os.kill(os.getpid(), signal.SIGKILL)", "os.kill(os.getpid(), signal.SIGTERM)", "os.abort()"],
)
def test_it_does_not_run_when_a_program_is_cut_off(programs: Programs, end: str) -> None:
    source = "import os, signal\n" + REGISTERS + "print('here')\n" + end.format(code=0) + "\nprint('never')\n"
    assert programs(source, ok=True) == ["here"]


def test_what_a_function_of_atexit_raises_is_told_as_the_interpreter_tells_it(programs: Programs) -> None:
    source = (
        "import atexit, io, sys\nsys.stderr = io.StringIO()\n"
        "def first():\n    print(sys.stderr.getvalue().splitlines()[1:3])\n"
        "atexit.register(first)\natexit.register(lambda: [].pop())\n"
    )
    told = programs(source, ok=True)[0]
    assert told.startswith("['Traceback (most recent call last):', '  File ")
    assert told.endswith(", line 6, in <lambda>']")


def test_os_exit_with_a_code_is_a_failure(programs: Programs) -> None:
    assert programs("import os\ntry:\n    os._exit(3)\nexcept Exception:\n    print('never')\n", ok=False) == []


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("os._exit(0)", 0),
        ("os._exit(3)", 3),
        ("os.abort()", -signal.SIGABRT),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("signal.raise_signal(signal.SIGTERM)", -signal.SIGTERM),
    ],
)
def test_the_exit_code_tells_how_a_program_ended(world: World, end: str, code: int) -> None:
    def main() -> None:
        exec(end, {"os": os, "signal": signal})

    string = String(world.host.new_weave("program", ["program"]), "main", main, on_error="continue")
    world.net.supervisor.on_failure = lambda _string: None
    world.net.supervisor.start(string, 0)
    world.net.run()
    assert string.exit_code == code


def test_os_exit_in_an_asyncio_program_ends_all_of_it(programs: Programs) -> None:
    source = """
        import asyncio, os
        async def other():
            await asyncio.sleep(1)
            print("never")
        async def main():
            task = asyncio.create_task(other())
            await asyncio.sleep(0.5)
            os._exit(0)
        asyncio.run(main())
        """
    assert programs(textwrap.dedent(source)) == []


@pytest.mark.parametrize("end", ["os._exit(0)", "os.abort()"])
@pytest.mark.parametrize("who", ["main", "a thread", "a loop in a thread"])
def test_nothing_of_a_program_runs_after_os_exit(programs: Programs, end: str, who: str) -> None:
    source = f"""
        import asyncio, os, sys, threading, time
        threading.excepthook = lambda told: print("told of", told.exc_type)
        sys.stderr = sys.stdout
        def ends():
            try:
                {end}
            finally:
                print("never")
        async def ends_later():
            await asyncio.sleep(1)
            ends()
        def waits():
            try:
                time.sleep(60)
            finally:
                print("never")
        threading.Thread(target=waits).start()
        if {who!r} == "a thread":
            threading.Timer(1, ends).start()
        elif {who!r} == "a loop in a thread":
            threading.Thread(target=lambda: asyncio.run(ends_later())).start()
        else:
            ends()
        waits()
        """
    assert programs(textwrap.dedent(source), ok=True) == []


def test_a_thread_that_kills_its_program_is_dropped_as_the_others_are(programs: Programs) -> None:
    source = """
        import os, signal, sys, threading, time
        threading.excepthook = lambda told: print("told of", told.exc_type)
        sys.stderr = sys.stdout
        def kills():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                print("never")
        threading.Timer(1, kills).start()
        try:
            time.sleep(60)
        finally:
            print("at", time.monotonic())
        """
    assert programs(textwrap.dedent(source)) == ["at 1.0"]


@pytest.mark.parametrize(
    "source", ["time.sleep(1); os._exit(3)", "threading.Timer(1, os._exit, (3,)).start(); time.sleep(60)"]
)
def test_what_ends_by_os_exit_starts_again_and_is_ended_once(tmp_path: Path, source: str) -> None:
    (tmp_path / "fails.py").write_text(f"import os, threading, time\n{source}\n")
    (tmp_path / "site.toml").write_text(
        '[tapestry]\non_error = "continue"\n[hosts.a]\n'
        'strings = [{ run = "fails.py", restart = "on-failure", restart_limit = 2 }]\n'
    )
    tapestry = load(tmp_path / "site.toml")
    tapestry.run_blocking()
    # It runs for 1 s, three times, and is dead for 1 s between them.
    assert tapestry.now_ns == 5_000_000_000
    [string] = tapestry.supervisor.strings
    assert (string.restarts, string.state) == (2, FAILED)
    tapestry.close()


def test_a_handler_that_exits_runs_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "serves.py").write_text(
        "import atexit, signal, sys, time\n"
        "atexit.register(print, 'cleaned up')\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "time.sleep(60)\n"
    )
    (tmp_path / "site.toml").write_text('[hosts.a]\nstrings = [{ run = "serves.py", stop = "5s" }]\n')
    tapestry = load(tmp_path / "site.toml")
    tapestry.run_blocking()
    assert tapestry.ok
    tapestry.close()
    assert capsys.readouterr().out.splitlines() == ["cleaned up"]


def test_what_a_function_registers_is_the_test_runners(world: World) -> None:
    def registered() -> None:
        """Never called: the test takes it out again."""

    before = atexit._ncallbacks()
    world.run(atexit.register, registered)
    assert atexit._ncallbacks() == before + 1
    atexit.unregister(registered)


def test_what_a_program_registers_is_not_the_machines(programs: Programs) -> None:
    before = atexit._ncallbacks()
    assert programs("import atexit\natexit.register(int)\nprint(atexit._ncallbacks())\n") == ["1"]
    assert atexit._ncallbacks() == before


def test_a_finalizer_of_a_program_is_not_run_by_the_end_of_another(programs: Programs) -> None:
    class Thing:
        pass

    thing = Thing()
    ran: list[int] = []
    finalizer = weakref.finalize(thing, ran.append, 1)
    source = """
        import weakref
        class Thing:
            pass
        kept, dropped = Thing(), Thing()
        weakref.finalize(dropped, print, "collected")
        weakref.finalize(kept, print, "at the end of the interpreter").atexit = False
        del dropped
        """
    # What the program leaves behind is garbage, which the collector may find at any time.
    gc.collect()
    gc.disable()
    try:
        assert programs(textwrap.dedent(source)) == ["collected"]
    finally:
        gc.enable()
    assert ran == []
    finalizer.detach()


# The collector


def test_a_program_does_not_stop_the_runs_collector(world: World, outside: Any) -> None:
    def main() -> list[bool]:
        answers = [gc.isenabled()]
        gc.disable()
        answers.append(gc.isenabled())
        gc.enable()
        gc.set_threshold(1, 1, 1)
        gc.freeze()
        return answers

    before = (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count())
    assert world.run(main) == [True, False]
    assert (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()) == before


def test_a_program_collects_when_it_says_so(world: World) -> None:
    class Ring:
        def __init__(self) -> None:
            self.ring = self

    def main() -> bool:
        dropped = weakref.ref(Ring())
        gc.collect()
        return dropped() is None

    assert world.run(main)


def test_what_a_collection_finds_is_finalized_in_no_weave_of_a_host(world: World) -> None:
    import socket

    seen: list[str] = []

    class Ring:
        def __init__(self) -> None:
            self.ring = self

        def __del__(self) -> None:
            seen.append(socket.gethostname())

    def main() -> None:
        Ring()
        gc.collect()

    world.run(main)
    assert seen == ["collector"]


# Contexts

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def test_a_program_starts_in_an_empty_context(programs: Programs) -> None:
    source = """
        import contextvars, decimal
        print([variable.name for variable in contextvars.copy_context() if not variable.name.startswith("weaves.")])
        print(decimal.getcontext().prec)
        """
    token = variable.set("the test's")
    try:
        assert programs(textwrap.dedent(source)) == ["[]", "28"]
    finally:
        variable.reset(token)


def test_two_strings_have_a_context_each(world: World) -> None:
    async def set_and_look(value: str) -> str:
        import asyncio

        variable.set(value)
        await asyncio.sleep(1)
        return variable.get()

    token = variable.set("the test's")
    try:
        one = world.net.start(world.host, set_and_look, "one")
        two = world.net.start(world.host, set_and_look, "two")
        world.net.run()
        assert (one.result, two.result, variable.get()) == ("one", "two", "the test's")
        assert world.run(variable.get) == "the test's"
    finally:
        variable.reset(token)
