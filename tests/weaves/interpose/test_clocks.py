"""Every clock of `time`, and the calendar, inside a weave; some other tests of it are in ../test_interpose.py."""

from __future__ import annotations

import copy
import copyreg
import errno
import os
import pickle
import subprocess
import sys
import time
import types
from typing import Any

import pytest
from lonely_hosts import World

from weaves.clock import EPOCH_NS

WALL = ["CLOCK_REALTIME", "CLOCK_TAI"]
SINCE_START = ["CLOCK_MONOTONIC", "CLOCK_MONOTONIC_RAW", "CLOCK_BOOTTIME"]
PROCESSOR = ["CLOCK_PROCESS_CPUTIME_ID", "CLOCK_THREAD_CPUTIME_ID"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *[(name, EPOCH_NS + 2_500_000_000) for name in WALL],
        *[(name, 2_500_000_000) for name in SINCE_START],
        *[(name, 0) for name in PROCESSOR],
    ],
)
def test_the_clocks_that_have_a_number(world: World, outside: Any, name: str, expected: int) -> None:
    world.net.run(until=2.5)
    number = getattr(time, name)

    def look() -> tuple[int, float, float, int]:
        return (
            time.clock_gettime_ns(number),
            time.clock_gettime(number),
            time.clock_getres(number),
            outside(lambda: time.clock_gettime_ns(number)),
        )

    ns, seconds, resolution, machine = world.run(look)
    assert (ns, seconds, resolution) == (expected, expected / 10**9, 1e-9)
    assert machine != expected
    assert machine > 0


def test_the_processor_clock_of_a_thread_has_a_negative_number(world: World) -> None:
    import threading

    number = time.pthread_getcpuclockid(threading.get_ident())
    assert world.run(time.clock_gettime, number) == 0.0


def test_a_number_that_no_clock_has(world: World) -> None:
    with pytest.raises(OSError, match="Invalid argument") as raised:
        world.run(time.clock_gettime, 99)
    assert raised.value.errno == errno.EINVAL


@pytest.mark.parametrize("name", ["process_time", "process_time_ns", "thread_time", "thread_time_ns"])
def test_code_takes_no_time(world: World, outside: Any, name: str) -> None:
    clock = getattr(time, name)
    inside, machine = world.run(lambda: (clock(), outside(clock)))
    assert inside == 0
    assert type(inside) is type(machine)
    assert machine > 0


def test_times_of_the_process_are_virtual_time_and_no_work(world: World, outside: Any) -> None:
    world.net.run(until=2.5)
    inside, machine = world.run(lambda: (os.times(), outside(os.times)))
    assert inside == (0.0, 0.0, 0.0, 0.0, 2.5)
    assert machine.user > 0


def test_nobody_sets_the_clock(world: World) -> None:
    for call in (
        lambda: time.clock_settime(time.CLOCK_REALTIME, 0.0),
        lambda: time.clock_settime_ns(time.CLOCK_REALTIME, 0),
    ):
        with pytest.raises(PermissionError):
            world.run(call)


def test_what_is_told_of_a_clock(world: World) -> None:
    machine = time.get_clock_info("monotonic")
    inside = world.run(time.get_clock_info, "monotonic")
    assert (inside.monotonic, inside.adjustable) == (machine.monotonic, machine.adjustable)
    assert inside.resolution == 1e-9
    with pytest.raises(ValueError, match="unknown clock"):
        world.run(time.get_clock_info, "sundial")


def test_the_zone_of_the_process_is_not_for_a_program_to_change(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    before = time.tzname
    world.run(time.tzset)
    assert time.tzname == before


# What stands in for a function of C behaves as one.


def test_a_clock_that_a_class_keeps_is_not_given_self(world: World) -> None:
    class Timer:
        clock = time.monotonic

        def __init__(self, clock: Any = time.monotonic) -> None:
            self.other = clock

    def look() -> tuple[float, float]:
        timer = Timer()
        return timer.clock(), timer.other()

    world.net.run(until=2.5)
    assert world.run(look) == (2.5, 2.5)


def test_a_clock_can_be_pickled_and_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    # Twisted, if a test has run it, pickles all methods in its own way.
    monkeypatch.delitem(copyreg.dispatch_table, types.MethodType, raising=False)
    assert pickle.loads(pickle.dumps(time.monotonic)) is not None
    assert pickle.loads(pickle.dumps(time.monotonic))() <= time.monotonic()
    assert copy.deepcopy({"clock": time.monotonic})["clock"]() <= time.monotonic()
    assert copy.copy(time.monotonic) == time.monotonic


def test_what_kept_a_clock_before_the_first_network_keeps_the_new_one(world: World) -> None:
    # `install` works once in a process, so that a new one is needed to come before it.
    program = """
import sys, types
early = types.ModuleType("early")
sys.modules["early"] = early
exec('''
import datetime, time
class Timer:
    clock = time.monotonic
    def ago(self, since, clock=time.monotonic):
        return clock() - since
def wait(*, sleep=time.sleep):
    sleep(2)
now = datetime.datetime.now
class Stamp(datetime.datetime):
    pass
stamp = Stamp.now
''', vars(early))
import lunar
net = lunar.Network()
def main():
    early.wait()
    print(early.Timer.clock(), early.Timer().clock(), early.Timer().ago(0.5), early.now(), type(early.stamp()).__name__)
net.run(main, on=net.host("alpha"))
print(early.now().year > 2000)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TZ": "UTC"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout) == ("", "2.0 2.0 1.5 2000-01-01 00:00:02 Stamp\nTrue\n")
