"""Programs that hold up all others: each is named, with its place, and stopped; the others go on.

Nothing here asks how long that took. Each program's line that must be named has a comment "NAME hangs here".
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lunar
from weaves import realtime, simple_queue
from weaves.hang import INSTALLED, OURS, OWN, STANDARD, Hang, HangReport, kind_of
from weaves.scheduler import Call
from weaves.strings import ENDED, FAILED, KILLED, String

# For processes that this one starts: a relative PYTHONPATH means the folder in which we were started.
_PATHS = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(_PATHS)}

# Short, so that the suite is; what is found does not depend on it.
LIMIT_S = 0.2
S = 1_000_000_000


def line_of(name: str) -> int:
    """The line of this file that `name` must be caught at."""
    lines = Path(__file__).read_text("utf-8").splitlines()
    return 1 + next(number for number, line in enumerate(lines) if line.endswith(f"# {name} hangs here"))


def is_at(report: HangReport, name: str) -> bool:
    """Whether the report names that line; or the next, where it is an empty loop, which has two."""
    place = report.place
    return place is not None and place.file == __file__ and 0 <= place.line - line_of(name) <= 1


class World:
    """Two hosts: `bad` runs what hangs; on it and on the other a string counts to ten seconds."""

    def __init__(self, on_hang: Any = "string", **options: Any) -> None:
        self.net = lunar.Network(watchdog=LIMIT_S, on_hang=on_hang, **options)
        self.bad = self.net.host("bad", "10.0.0.1/24")
        other = self.net.host("other", "10.0.0.2/24")
        self.net.link(self.bad, other)
        self.reports: list[HangReport] = []
        self.net.supervisor.on_hang = self.reports.append
        self.net.supervisor.on_failure = lambda string: None
        self.string: String | None = None
        self.others = [self.net.start(host, ten_seconds, name="good") for host in (self.bad, other)]

    def start(self, function: Callable[..., Any], **options: Any) -> String:
        # In a weave of its own, as a program is: what it does to its weave must not end the string beside it.
        weave = self.bad.new_weave(function.__name__)
        self.string = String(weave, function.__name__, function, **options)
        self.net.supervisor.start(self.string, 0)
        return self.string

    def check_others(self) -> None:
        assert [(string.state, string.result) for string in self.others] == [(ENDED, "counted")] * 2
        assert self.net.now == 10.0


async def ten_seconds() -> str:
    for _ in range(10):
        await asyncio.sleep(1)
    return "counted"


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    with made.net:
        yield made


# Code that never gives the processor back


async def coroutine() -> None:
    await asyncio.sleep(1)
    while True:  # coroutine hangs here
        pass


def blocking() -> None:
    time.sleep(1)
    while True:  # blocking hangs here
        pass


def callback() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_later(1, spin)
        await asyncio.sleep(5)

    def spin() -> None:
        while True:  # callback hangs here
            pass

    asyncio.run(main())


def subtask() -> None:
    async def spin() -> None:
        while True:  # subtask hangs here
            pass

    async def main() -> None:
        task = asyncio.create_task(spin())
        await asyncio.sleep(5)
        task.cancel()

    asyncio.run(main())


async def direct_subtask() -> None:
    async def spin() -> None:
        while True:  # direct_subtask hangs here
            pass

    task = asyncio.create_task(spin())
    await asyncio.sleep(5)
    task.cancel()


async def executor() -> None:
    def spin() -> None:
        while True:  # executor hangs here
            pass

    await asyncio.to_thread(spin)


def handler() -> None:
    def spin(_signum: int, _frame: object) -> None:
        while True:  # handler hangs here
            pass

    signal.signal(signal.SIGUSR1, spin)
    time.sleep(50)


def swallower() -> None:
    while True:
        try:
            while True:  # swallower hangs here
                pass
        except BaseException:  # noqa: BLE001 - what the test is about
            pass


def expression() -> None:
    # It gives no other thread a turn, but heeds signals.
    re.match(r"(a+)+b", "a" * 60)  # expression hangs here


def deadlock() -> None:
    # A queue of the machine's, as C code has: no other thread will ever put something there.
    simple_queue.MachineQueue().get()  # deadlock hangs here


HOLDERS = [coroutine, blocking, callback, subtask, direct_subtask, executor, handler, swallower, expression, deadlock]


@pytest.mark.parametrize("function", HOLDERS, ids=lambda function: function.__name__)
def test_code_that_holds_the_processor(world: World, function: Callable[..., Any]) -> None:
    name = function.__name__
    string = world.start(function)
    if function is handler:
        deliver = Call(lambda _: string.weave.signals.deliver(signal.SIGUSR1), None)
        world.net.scheduler.post(deliver, world.bad.lane, S)
    world.net.run()
    assert (string.state, isinstance(string.error, Hang)) == (FAILED, True)
    [report] = world.reports
    assert report.who in (f"host bad, weave {name}, string {name}", f"host bad, weave {name}, no string of its own")
    assert report.string is string or function is handler
    assert is_at(report, name)
    assert report.real_s >= LIMIT_S
    assert str(report.place) in str(string.error)
    world.check_others()


# A clock that stands, while turns go on


async def yielder() -> None:
    while True:
        await asyncio.sleep(0)  # yielder hangs here


def program_yielder() -> None:
    async def main() -> None:
        while True:
            await asyncio.sleep(0)  # program_yielder hangs here

    asyncio.run(main())


def sleeper() -> None:
    while True:
        time.sleep(0)  # sleeper hangs here


def rearming() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        def again() -> None:  # rearming hangs here
            loop.call_later(0, again)

        again()
        await asyncio.sleep(5)

    asyncio.run(main())


async def soon() -> None:
    loop = asyncio.get_running_loop()

    def again() -> None:  # soon hangs here
        loop.call_soon(again)

    again()
    await asyncio.sleep(5)


# Once a test is over, those that catch everything may end: Python complains of a coroutine that does not let itself be
# closed.
RELEASED: list[bool] = []


def stubborn() -> None:
    mine = len(RELEASED)

    async def main() -> None:
        while True:
            try:
                await asyncio.sleep(0)  # stubborn hangs here
            except BaseException:
                if len(RELEASED) > mine:
                    raise

    asyncio.run(main())


async def direct_stubborn() -> None:
    mine = len(RELEASED)
    while True:
        try:
            await asyncio.sleep(0)  # direct_stubborn hangs here
        except BaseException:
            if len(RELEASED) > mine:
                raise


LIVELOCKS = [yielder, program_yielder, sleeper, rearming, soon, stubborn, direct_stubborn]


@pytest.mark.parametrize("function", LIVELOCKS, ids=lambda function: function.__name__)
def test_a_livelock(world: World, function: Callable[..., Any]) -> None:
    name = function.__name__
    string = world.start(function)
    try:
        world.net.run()
    finally:
        RELEASED.append(True)
    assert string.state == FAILED
    assert isinstance(string.error, Hang)
    report = world.reports[0]
    assert report.who == f"host bad, weave {name}, string {name}"
    assert report.string is string
    assert is_at(report, name)
    assert "turns while the virtual clock stood still" in str(string.error)
    # Who catches everything is found a second time, and then is not asked any more.
    assert len(world.reports) == (2 if function is direct_stubborn else 1)
    world.check_others()


def test_a_clock_that_stands_is_seen_from_between_two_slices(world: World) -> None:
    class Turn:
        def turn(self) -> None:
            pass

    watchdog, scheduler = world.net.supervisor.watchdog, world.net.supervisor.scheduler
    assert watchdog is not None

    def looks(works: bool) -> float:
        watchdog._still_s = 0.0
        for _ in range(1, 6):
            if works:
                scheduler.turns.append(Turn())
                scheduler.run(0, 1)
            watchdog._look(watchdog._looked_at + LIMIT_S / 20, threading.Event())
        return watchdog._still_s

    looks(works=True)
    assert looks(works=True) == pytest.approx(5 * LIMIT_S / 20)
    assert looks(works=False) == 0.0


def test_two_strings_that_wake_each_other_are_both_named(world: World) -> None:
    # Through two queues: neither yields by itself, and neither is more to blame than the other.
    here: asyncio.Queue[int] = asyncio.Queue()
    there: asyncio.Queue[int] = asyncio.Queue()

    async def player(own: asyncio.Queue[int], other: asyncio.Queue[int]) -> None:
        while True:
            other.put_nowait(await own.get())

    here.put_nowait(0)
    ping, pong = (
        world.net.start(world.bad, player, *queues, name=name, background=True)
        for name, queues in (("ping", (here, there)), ("pong", (there, here)))
    )
    world.net.run()
    [report] = world.reports
    stopped, named = (ping, pong) if report.string is ping else (pong, ping)
    assert stopped.state == FAILED
    assert f"({named.name} on bad took as many)" in report.what
    assert not named.over  # it waits for the other, like any string for a peer that is gone
    world.check_others()


def test_who_is_only_woken_is_not_to_blame(world: World) -> None:
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def consumer() -> None:
        while True:
            await queue.get()

    async def producer() -> None:
        while True:
            queue.put_nowait(0)
            await asyncio.sleep(0)

    victim = world.net.start(world.bad, consumer, background=True)
    culprit = world.net.start(world.bad, producer, background=True)
    world.net.run()
    assert [report.string for report in world.reports] == [culprit]
    assert not victim.over
    world.check_others()


def test_many_strings_at_one_instant_are_no_livelock(world: World) -> None:
    # Together they take longer than the limit, each by itself does little: a start of many hosts looks like this.
    done: list[int] = []

    async def little(number: int) -> None:
        for _ in range(3):
            for _ in range(20_000):
                pass
            await asyncio.sleep(0)
        done.append(number)

    count = 400
    for number in range(count):
        world.net.start(world.bad, little, number)
    began = time.perf_counter()
    world.net.run(until=1)
    took = time.perf_counter() - began
    assert done == list(range(count))
    assert world.reports == []
    assert took > LIMIT_S / 10, "the machine is so fast that the test shows nothing: let the strings do more"


def test_a_healthy_run_is_let_alone(world: World) -> None:
    world.net.run()
    assert world.reports == []
    world.check_others()
    assert not any(thread.name == "weaves watchdog" for thread in threading.enumerate())
    assert signal.getsignal(signal.SIGVTALRM) is signal.SIG_DFL


# At ends, and where exceptions are lost


def at_end() -> None:
    try:
        time.sleep(100)
    finally:
        while True:  # at_end hangs here
            pass


async def at_cancel() -> None:
    try:
        await asyncio.sleep(100)
    finally:
        while True:  # at_cancel hangs here
            pass


@pytest.mark.parametrize("function", [at_end, at_cancel], ids=lambda function: function.__name__)
def test_a_finally_clause_during_a_kill(world: World, function: Callable[..., Any]) -> None:
    string = world.start(function)
    world.net.scheduler.post(Call(lambda _: string.kill(), None), world.bad.lane, S)
    world.net.run()
    assert string.state == KILLED
    [report] = world.reports
    name = function.__name__
    assert report.who == f"host bad, weave {name}, string {name}"
    assert is_at(report, name)
    world.check_others()


def test_finally_clauses_during_close() -> None:
    world = World()
    for function in (at_end, at_cancel):
        world.start(function)
    world.net.run(until=1)
    assert world.reports == []
    world.net.close()
    assert [(report.subject, report.who) for report in world.reports] == [
        ("the end of the run", "host bad, weave at_end, string at_end"),
        ("the end of the run", "host bad, weave at_cancel, string at_cancel"),
    ]


class Dropped:
    """Its finalizer never ends."""

    def __init__(self) -> None:
        self.itself: Dropped | None = None

    def __del__(self) -> None:
        while True:  # Dropped hangs here
            pass


def drops() -> None:
    dropped = Dropped()
    del dropped
    time.sleep(1)


def test_a_finalizer(world: World) -> None:
    # Python prints what a finalizer raises and goes on, so that only who watches from outside can end the string.
    string = world.start(drops)
    with Quiet() as raised:
        world.net.run()
    assert [isinstance(error, Hang) for error in raised] == [True]
    assert (string.state, isinstance(string.error, Hang)) == (FAILED, True)
    [report] = world.reports
    assert report.string is string
    assert is_at(report, "Dropped")
    world.check_others()


def test_a_finalizer_that_the_collector_runs(world: World) -> None:
    def drops_a_cycle() -> None:
        dropped = Dropped()
        dropped.itself = dropped
        del dropped
        for _ in range(3_000):  # until the collector has its turn
            time.sleep(0.001)

    string = world.start(drops_a_cycle)
    with Quiet():
        world.net.run()
    [report] = world.reports
    # Whose it was cannot be known any more. So nobody is stopped for it; the finalizer is.
    assert (report.who, report.string) == ("the garbage collector", None)
    assert is_at(report, "Dropped")
    assert string.state == ENDED
    world.check_others()


class Quiet:
    """A context in which what finalizers raise is gathered, not printed."""

    def __enter__(self) -> list[BaseException | None]:
        self.raised: list[BaseException | None] = []
        self.before = sys.unraisablehook
        sys.unraisablehook = lambda told: self.raised.append(told.exc_value)
        return self.raised

    def __exit__(self, *_exc: object) -> None:
        gc.collect()
        sys.unraisablehook = self.before


# What is stopped


def test_the_whole_run_is_stopped() -> None:
    world = World(on_hang="run")
    with world.net:
        string = world.start(blocking)
        with pytest.raises(lunar.StringFailed, match="string blocking on host bad failed: Hang") as caught:
            world.net.run()
        assert caught.value.__cause__ is string.error
        assert world.net.now == 1.0
        assert [other.state for other in world.others] == ["running", "running"]
        assert world.reports[0].consequence == "the run is stopped"


def test_the_whole_run_is_stopped_for_a_finalizer() -> None:
    world = World(on_hang="run")

    def drop_and_collect(_argument: object) -> None:  # in no weave
        dropped = Dropped()
        dropped.itself = dropped
        del dropped
        gc.collect()

    with world.net, Quiet():
        world.net.scheduler.post(Call(drop_and_collect, None), world.bad.lane, S)
        with pytest.raises(RuntimeError, match=r"the run has held the processor .*, in Dropped.__del__"):
            world.net.run()
        assert world.net.now == 1.0


def test_a_hang_of_the_main_string_is_an_exception_of_a_usual_kind(world: World) -> None:
    with pytest.raises(lunar.StringFailed) as caught:
        world.net.run(blocking, on=world.bad)
    assert isinstance(caught.value.__cause__, Hang)


def test_a_string_that_is_restarted_after_a_hang(world: World) -> None:
    starts: list[float] = []

    def once() -> None:
        starts.append(time.monotonic())
        while len(starts) == 1:
            pass

    string = world.start(once, on_error="restart")
    world.net.run()
    assert (starts, string.restarts, string.state) == ([0.0, 1.0], 1, ENDED)
    world.check_others()


def test_the_digest_up_to_a_hang_is_that_of_the_run_without_it() -> None:
    def digest(hangs: bool) -> str:
        world = World()

        async def main() -> None:
            reader, writer = await asyncio.open_connection("other", 80)
            await reader.read()
            writer.close()
            await asyncio.sleep(1)
            while hangs:
                pass

        async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello")
            writer.close()

        with world.net:
            server = world.net.start(world.net.hosts["other"], asyncio.start_server, serve, port=80)
            string = world.start(main)
            before = ""

            def note(_argument: object) -> None:
                nonlocal before
                before = world.net.digest()

            world.net.scheduler.post(Call(note, None), world.bad.lane, S)
            world.net.run()
            assert server.state == ENDED
            assert (string.state == FAILED) is hangs
            return before

    assert digest(True) == digest(False)


def test_there_is_none_under_a_debugger(world: World) -> None:
    # A person at a breakpoint takes longer than any limit. The string ends by itself, long after.
    def patient() -> None:
        end = realtime.perf_counter() + 3 * LIMIT_S
        while realtime.perf_counter() < end:
            pass

    string = world.start(patient)
    sys.settrace(lambda *_: None)
    try:
        world.net.run()
    finally:
        sys.settrace(None)
    assert (string.state, world.reports) == (ENDED, [])


def test_there_is_none_at_a_breakpoint_of_a_running_string(world: World) -> None:
    def patient() -> None:
        frame = sys._getframe()
        frame.f_trace = lambda *_: None  # as pdb.set_trace() does
        end = realtime.perf_counter() + 3 * LIMIT_S
        while realtime.perf_counter() < end:
            pass

    string = world.start(patient)
    world.net.run()
    assert (string.state, world.reports) == (ENDED, [])


def test_in_another_thread_than_the_main_one() -> None:
    results: list[Any] = []

    def run() -> None:
        world = World()
        with world.net:
            string = world.start(blocking)
            world.net.run()
            results.append((string.state, world.reports[0].who))
            world.check_others()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert results == [(FAILED, "host bad, weave blocking, string blocking")]


async def test_beside_a_loop_of_the_machine(world: World) -> None:
    # What the machine's loop does between two slices is not the run's, however long it takes.
    string = world.start(coroutine)

    async def long() -> None:
        while ticks < 3:
            await asyncio.sleep(0.000_1)

    ticks = 0

    async def outside() -> None:
        nonlocal ticks
        while ticks < 3:
            end = realtime.perf_counter() + 2 * LIMIT_S
            while realtime.perf_counter() < end:
                pass
            ticks += 1
            await asyncio.sleep(0)

    world.net.start(world.bad, long)
    beside = asyncio.create_task(outside())
    await world.net.run_async()
    await beside
    assert ticks == 3
    assert [report.string for report in world.reports] == [string]
    world.check_others()


def test_wrong_settings() -> None:
    with pytest.raises(ValueError, match='on_hang \'host\': expected "string" or "run"'):
        lunar.Network(watchdog=1, on_hang="host")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=re.escape('"soon"')):
        lunar.Network(watchdog="soon")
    assert lunar.Network().supervisor.watchdog is None
    assert lunar.Network(watchdog=0).supervisor.watchdog is None
    dog = lunar.Network(watchdog="250ms").supervisor.watchdog
    assert dog is not None
    assert (dog.limit_s, dog.on_hang) == (0.25, "run")


def test_kinds_of_files() -> None:
    assert kind_of(asyncio.__file__) == STANDARD
    assert kind_of(pytest.__file__) == INSTALLED
    assert kind_of(lunar.__file__) == OURS
    assert kind_of(str(Path(lunar.__file__).parent.parent / "weaves" / "loop.py")) == OURS
    assert kind_of(__file__) == OWN
    assert kind_of("<string>") == OWN
    assert kind_of("<frozen importlib._bootstrap>") == STANDARD


# The command


def weave_run(folder: Path, tapestry: str, *options: str, **programs: str) -> subprocess.CompletedProcess[str]:
    for name, text in programs.items():
        (folder / f"{name}.py").write_text(text, "utf-8")
    (folder / "hang.toml").write_text(tapestry, "utf-8")
    safe_path = ["-P"] if sys.flags.safe_path else []
    return subprocess.run(
        [sys.executable, *safe_path, "-m", "weaves.cli", "run", "hang.toml", *options],
        cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


TAPESTRY = """\
[tapestry]
watchdog = "200ms"
on_hang = "ON_HANG"

[hosts.bad]
eth0 = "10.0.0.1/24"
strings = [{ run = "bad.py" }]

[hosts.good]
eth0 = "10.0.0.2/24"
strings = [{ run = "good.py" }]

[[links]]
ends = ["bad", "good"]
"""
BAD = "import time\ntime.sleep(1)\nwhile True:\n    pass\n"
GOOD = "import time\ntime.sleep(5)\nprint('good has ended')\n"


def test_weave_run_stops_the_string(tmp_path: Path) -> None:
    done = weave_run(tmp_path, TAPESTRY.replace("ON_HANG", "string"), bad=BAD, good=GOOD)
    assert done.returncode == 1
    assert "hang at 1s: host bad, weave bad, string bad has held the processor for 0." in done.stderr
    assert re.search(r"^  at \S*bad\.py:[34], in <module>$", done.stderr, re.MULTILINE)
    assert "  the string is stopped; the run goes on, and is not repeatable\n" in done.stderr
    assert "good has ended" in done.stdout
    assert re.search(r"^watchdog hangs: 1; .* this run is not repeatable$", done.stdout, re.MULTILINE)


def test_weave_run_stops_the_run(tmp_path: Path) -> None:
    done = weave_run(tmp_path, TAPESTRY.replace("ON_HANG", "run"), bad=BAD, good=GOOD)
    assert done.returncode == 1
    assert "  the run is stopped\n" in done.stderr
    assert "good has ended" not in done.stdout


@pytest.mark.parametrize("on_hang", ["string", "run"])
def test_a_function_of_atexit_that_hangs(tmp_path: Path, on_hang: str) -> None:
    bad = "import atexit\ndef last():\n    while True:\n        pass\natexit.register(last)\n"
    done = weave_run(tmp_path, TAPESTRY.replace("ON_HANG", on_hang), bad=bad, good=GOOD)
    assert done.returncode == 1
    assert re.search(r"^failed at 0s: host bad, weave bad, string bad:$", done.stderr, re.MULTILINE)
    assert ("good has ended" in done.stdout) == (on_hang == "string")


def test_an_option_comes_before_the_tapestry(tmp_path: Path) -> None:
    slow = "from weaves import realtime\nend = realtime.perf_counter() + 0.6\n"
    slow += "while realtime.perf_counter() < end:\n    pass\n"
    tapestry = TAPESTRY.replace("ON_HANG", "string")
    assert weave_run(tmp_path, tapestry, "--watchdog", "off", bad=slow, good=GOOD).returncode == 0
    assert weave_run(tmp_path, tapestry, "--watchdog", "10m", bad=slow, good=GOOD).returncode == 0
    done = weave_run(tmp_path, tapestry, "--watchdog", "soon", bad=slow, good=GOOD)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_a_module_that_never_ends_its_import(tmp_path: Path) -> None:
    tapestry = TAPESTRY.replace("ON_HANG", "string").replace('run = "bad.py"', 'call = "bad:main"')
    done = weave_run(tmp_path, tapestry, bad="while True:\n    pass\n", good=GOOD)
    assert done.returncode == 2
    *_, told = done.stderr.splitlines()
    assert re.fullmatch(
        r"hang\.toml:7: \[hosts\.bad\] strings\[0\]\.call: has held the processor for \d\.\d s of real time: "
        r"\S*bad\.py:[12], in <module>; expected a module that imports",
        told,
    ), done.stderr


def test_code_of_c_that_never_lets_go(tmp_path: Path) -> None:
    # It can be neither looked at nor stopped from Python. faulthandler says where it is, meanwhile; who it is is said,
    # and it is stopped, when it comes back, if that is in time for somebody.
    busy = """\
import time
from weaves import realtime
time.sleep(1)
began = realtime.perf_counter()
sum(range(1_000_000))
per_second = 1_000_000 / (realtime.perf_counter() - began)
sum(range(int(3 * per_second)))
while True:
    pass
"""
    done = weave_run(tmp_path, TAPESTRY.replace("ON_HANG", "string"), bad=busy, good=GOOD)
    assert done.returncode == 1
    dumped = done.stderr.index("Timeout (0:00:0")
    told = done.stderr.index("hang at 1s: host bad, weave bad, string bad")
    assert dumped < told
    assert re.search(r'^  File "\S*bad\.py", line 7 in <module>$', done.stderr[dumped:told], re.MULTILINE)
    assert "good has ended" in done.stdout
