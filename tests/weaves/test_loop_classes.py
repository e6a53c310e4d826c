"""Programs that name a class of event loop: inside a weave each is the host's loop, outside each is what it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

import lunar
from weaves.loop import WeaveLoop

WAYS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio.SelectorEventLoop": asyncio.SelectorEventLoop,
    "asyncio.DefaultEventLoopPolicy": lambda: asyncio.DefaultEventLoopPolicy().new_event_loop(),
    "uvloop.Loop": uvloop.Loop,
    "uvloop.new_event_loop": uvloop.new_event_loop,
    "uvloop.EventLoopPolicy": lambda: uvloop.EventLoopPolicy().new_event_loop(),
}


@pytest.fixture
def net() -> Iterator[lunar.Network]:
    with lunar.Network(seed=1) as made:
        made.host("alpha", "10.0.0.1/24")
        yield made


async def two_seconds() -> float:
    await asyncio.sleep(2)
    return asyncio.get_running_loop().time()


def class_of(way: str) -> type[asyncio.AbstractEventLoop]:
    return uvloop.Loop if "uvloop" in way else asyncio.SelectorEventLoop


def run_on(way: str) -> tuple[bool, bool, float]:
    with asyncio.Runner(loop_factory=WAYS[way]) as runner:
        loop = runner.get_loop()
        return isinstance(loop, WeaveLoop), isinstance(loop, class_of(way)), runner.run(two_seconds())


@pytest.mark.parametrize("way", WAYS)
def test_a_loop_of_any_class_is_the_hosts(net: lunar.Network, way: str) -> None:
    assert net.run(run_on, way, on=net.hosts["alpha"]) == (True, True, 2.0)


@pytest.mark.parametrize("way", WAYS)
def test_outside_a_loop_is_what_it_was(net: lunar.Network, way: str) -> None:
    # `net` is here so that the classes are interposed.
    loop = WAYS[way]()
    try:
        assert type(loop) is class_of(way)
        assert loop.run_until_complete(asyncio.sleep(0, "done")) == "done"
    finally:
        loop.close()


def test_uvloop_run_is_virtual(net: lunar.Network) -> None:
    assert net.run(lambda: uvloop.run(two_seconds()), on=net.hosts["alpha"]) == 2.0


class Counting(asyncio.SelectorEventLoop):
    """A loop of the program's own."""

    def __init__(self, start: int) -> None:
        super().__init__()
        self.count = start


def test_a_subclass_is_refused_inside_and_works_outside(net: lunar.Network) -> None:
    def inside() -> Any:
        with pytest.raises(NotImplementedError, match="a virtual host cannot run Counting"):
            Counting(1)

    net.run(inside, on=net.hosts["alpha"])
    loop = Counting(1)
    assert loop.count == 1
    loop.close()
