"""The garbage collector and weak references: what runs by them has the run's clock and numbers, in a stable order."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
import socket
import subprocess
import sys
import time
import uuid
import weakref
from pathlib import Path
from typing import Any

import pytest

import lunar

EPOCH_S = 1_000_000_000
Log = list[Any]

_PATHS = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
if not sys.flags.safe_path:
    _PATHS.append(str(Path(lunar.__file__).parents[1]))
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(_PATHS)}


class Cycle:
    """Garbage that only the collector finds. Its finalizer notes what it sees."""

    def __init__(self, log: Log, name: str) -> None:
        self.itself = self
        self.log = log
        self.name = name

    def __del__(self) -> None:
        self.log.append([self.name, time.monotonic(), time.time(), random.random(), str(uuid.uuid4())])


async def litter(log: Log, name: str) -> None:
    for number in range(40):
        Cycle(log, f"{name} {number}")
        await asyncio.sleep(0.1)
        for _ in range(100):
            await asyncio.sleep(0)


def finalizers(seed: int = 1) -> Log:
    """What the finalizers on two hosts saw."""
    log: Log = []
    with lunar.Network(seed, epoch_ns=EPOCH_S * 1_000_000_000) as net:
        for number, name in enumerate(("a", "b")):
            net.start(net.host(name, f"10.0.0.{number + 1}/24"), litter, log, name)
        net.run()
        return list(log)


def test_a_finalizer_that_the_collector_runs_has_the_clock_of_the_run() -> None:
    seen = finalizers()
    assert len(seen) > 10
    for _name, monotonic, wall, _number, _unique in seen:
        assert 0 < monotonic < 5
        assert wall == EPOCH_S + monotonic


def test_and_the_numbers_of_the_run() -> None:
    once, twice, other = finalizers(), finalizers(), finalizers(2)
    assert once == twice
    assert [row[:3] for row in once] == [row[:3] for row in other]
    assert not {row[3] for row in once} & {row[3] for row in other}


def test_what_finalizers_draw_takes_nothing_from_the_programs() -> None:
    async def draws() -> list[float]:
        log: Log = []
        await litter(log, "a")
        return [random.random() for _ in range(3)]

    async def draws_without_litter() -> list[float]:
        return [random.random() for _ in range(3)]

    results = []
    for function in (draws, draws_without_litter):
        with lunar.Network() as net:
            host = net.host("a", "10.0.0.1/24")
            string = net.start(host, function, name="same")
            net.run()
            results.append(string.result)
    assert results[0] == results[1]


def test_a_finalizer_has_no_network() -> None:
    errors: list[int | None] = []

    class Opens:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            try:
                socket.socket()
            except OSError as error:
                errors.append(error.errno)

    async def main() -> None:
        Opens()
        for _ in range(5_000):
            await asyncio.sleep(0)

    with lunar.Network() as net:
        net.run(main, on=net.host("a", "10.0.0.1/24"))
    assert errors == [errno.ENETDOWN]


def callbacks() -> Log:
    """What weak references' callbacks and finalizers saw, in the order in which they were called."""
    log: Log = []

    class Thing:
        itself: Thing

    async def main() -> None:
        kept: list[Any] = []
        for number in range(10):
            thing = Thing()
            thing.itself = thing
            kept.append(weakref.ref(thing, lambda _, number=number: log.append(["callback", number, time.time()])))
            weakref.finalize(thing, lambda number: log.append(["finalize", number, time.time()]), number)
            del thing
        for _ in range(5_000):
            await asyncio.sleep(0.001)
        # By counting references they come at once, in the weave that drops the last one.
        thing = Thing()
        kept.append(weakref.ref(thing, lambda _: log.append(["dropped", time.monotonic()])))
        del thing
        log.append(["after", time.monotonic()])

    with lunar.Network() as net:
        net.run(main, on=net.host("a", "10.0.0.1/24"))
    return log


def weak_collections() -> Log:
    """The order of weak collections of tasks, and of a dictionary with weak values."""
    log: Log = []

    async def main() -> None:
        tasks = [asyncio.create_task(asyncio.sleep(1)) for _ in range(100)]
        log.append([tasks.index(task) for task in weakref.WeakSet(tasks)])
        names = weakref.WeakValueDictionary({f"name {number}": task for number, task in enumerate(tasks)})
        log.append(list(names))
        del tasks[50:]
        await asyncio.sleep(2)
        log.append(list(names))

    with lunar.Network() as net:
        net.run(main, on=net.host("a", "10.0.0.1/24"))
    return log


def test_callbacks_of_weak_references() -> None:
    seen = callbacks()
    assert sorted(row[:2] for row in seen[:20]) == [[kind, n] for kind in ("callback", "finalize") for n in range(10)]
    assert len({row[2] for row in seen[:20]}) == 1
    assert seen[20:] == [["dropped", pytest.approx(5)], ["after", pytest.approx(5)]]


def test_weak_collections() -> None:
    tasks, names, left = weak_collections()
    first = tasks.index(0)
    assert tasks[first:] + tasks[:first] == list(range(100))
    assert names == [f"name {number}" for number in range(100)]  # a dictionary has the order of insertion
    assert left == names[:50]


@pytest.mark.parametrize("hash_seed", ["0", "1", "2"])
def test_all_is_the_same_in_another_process(hash_seed: str) -> None:
    done = subprocess.run(
        [sys.executable, __file__], env={**ENVIRONMENT, "PYTHONHASHSEED": hash_seed}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == everything()


def everything() -> list[Log]:
    return [finalizers(), callbacks(), weak_collections()]


if __name__ == "__main__":
    print(json.dumps(everything()))
