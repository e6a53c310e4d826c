"""What is dropped without running: frames of coroutines and of greenlets, generators, destructors, callbacks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import greenlet
import pytest

from weaves import unwinding


class Log:
    """What ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def object(self) -> Any:
        """One whose destructor notes it."""
        log = self.ran

        class Noting:
            def __del__(self) -> None:
                log.append("__del__")

        return Noting()

    @contextlib.contextmanager
    def context(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.ran.append("context")

    async def numbers(self) -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            self.ran.append("async generator")


async def suspended(log: Log, deep: int) -> None:
    held = log.object()
    try:
        with log.context():
            async for _ in log.numbers():
                if deep:
                    await suspended(log, deep - 1)
                else:
                    await Forever()
    except BaseException:
        log.ran.append("except")
        raise
    finally:
        log.ran.append("finally")
        assert held


class Forever:
    """Something to await that never comes."""

    def __await__(self) -> Iterator[None]:
        yield


def test_a_coroutine_is_left_with_all_that_it_awaits() -> None:
    log = Log()
    coroutine = suspended(log, 3)
    coroutine.send(None)
    unwinding.discard_coroutines([coroutine], [])
    assert coroutine.cr_frame is None
    gc.collect()
    assert log.ran == []


def test_a_coroutine_that_is_in_a_handler() -> None:
    log = Log()

    async def main() -> None:
        held = log.object()
        try:
            raise LookupError(held)
        except LookupError:
            await suspended(log, 0)
            log.ran.append("after")

    coroutine = main()
    coroutine.send(None)
    unwinding.discard_coroutines([coroutine], [])
    # The exception and its frames were a cycle.
    gc.collect()
    assert log.ran == []


def test_what_else_is_called_runs_no_python() -> None:
    log = Log()
    things = [log.object()]
    reference = weakref.ref(things[0], lambda _: log.ran.append("callback"))
    unwinding.discard_coroutines([], [things.clear, lambda: log.ran.append("python")])
    assert (things, reference(), log.ran) == ([], None, [])


def parked(log: Log, deep: int) -> None:
    held = log.object()
    try:
        with log.context():
            if deep:
                sorted([2, 1], key=lambda _: parked(log, deep - 1) or 0)  # by way of C
            else:
                switch_back()
    except BaseException:
        log.ran.append("except")
        raise
    finally:
        log.ran.append("finally")
        assert held


def switch_back() -> None:
    parent = greenlet.getcurrent().parent
    assert parent is not None
    parent.switch()
    unwinding.leave(outermost.__code__, FRAMES)


FRAMES: list[Any] = []


def outermost(log: Log, function: Any) -> None:
    try:  # noqa: SIM105 - as a flow does; contextlib.suppress is Python, and would be refused
        function(log, 3)
    except BaseException:  # noqa: BLE001 - whatever it is
        pass


def in_a_handler(log: Log, _: int) -> None:
    try:
        raise LookupError(log.object())
    except LookupError:
        try:
            parked(log, 1)
        finally:
            log.ran.append("finally in except")


@pytest.mark.parametrize("function", [parked, in_a_handler])
def test_a_greenlet_is_left_with_all_its_frames(function: Any) -> None:
    log = Log()
    flow = greenlet.greenlet(outermost)
    flow.switch(log, function)
    unwinding.discard_flow(flow.switch, FRAMES)
    assert (flow.dead, FRAMES) == (True, [])
    gc.collect()
    assert log.ran == []


def test_memory_is_given_back() -> None:
    log = Log()

    class Big:
        pass

    known: list[weakref.ref[Any]] = []

    async def holds() -> None:
        big = Big()
        known.append(weakref.ref(big))
        await suspended(log, 2)
        assert big

    for _ in range(3):
        coroutine = holds()
        coroutine.send(None)
        unwinding.discard_coroutines([coroutine], [])
    assert [reference() for reference in known] == [None, None, None]


def test_the_tracer_and_the_hook_are_put_back() -> None:
    def tracer(*_args: object) -> None:
        return None

    before, hook = sys.gettrace(), sys.unraisablehook
    log = Log()
    sys.settrace(tracer)
    try:
        coroutine = suspended(log, 1)
        coroutine.send(None)
        unwinding.discard_coroutines([coroutine], [])
        assert sys.gettrace() is tracer
        flow = greenlet.greenlet(outermost)
        flow.switch(log, parked)
        unwinding.discard_flow(flow.switch, FRAMES)
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)
    assert (sys.unraisablehook, log.ran) == (hook, [])


def test_code_runs_again_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log()
    coroutine = suspended(log, 0)
    coroutine.send(None)
    unwinding.discard_coroutines([coroutine], [])

    async def main() -> str:
        with log.context():
            await asyncio.sleep(0)
        return "result"

    assert (asyncio.run(main()), log.ran) == ("result", ["context"])
    assert capsys.readouterr() == ("", "")
