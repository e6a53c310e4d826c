"""One program on the machine and on a virtual host: what it logs has to be the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from lunar import Network


def play(function: Callable[[list[Any]], Any]) -> list[Any]:
    """What a program, a function or a coroutine function, logs where this is called."""
    log: list[Any] = []
    if asyncio.iscoroutinefunction(function):
        asyncio.run(function(log))
    else:
        function(log)
    return log


def check_the_same(function: Callable[[list[Any]], Any]) -> None:
    """It logs the same on both, something at all, and leaves nothing open on the virtual host."""
    expected = play(function)
    assert expected
    with Network(seed=1) as net:
        host = net.host("alpha", "10.0.0.1/24")
        assert net.run(play, function, on=host) == expected
        assert host.descriptors.all() == []
