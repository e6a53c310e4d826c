"""One program on the machine and on a virtual host: what it logs has to be the same.

A program that must wait until packets have arrived is given a function for it, `settle` (`on_the_machine`,
`on_a_host`).
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from typing import Any

from lunar import Network

Settle = Callable[[], None]


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


def on_the_machine(program: Callable[[Settle], list[Any]]) -> list[Any]:
    """What `program` returns on the machine."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})  # on one processor the loopback is a queue
    try:
        with socket.socket(type=socket.SOCK_DGRAM) as last:
            last.bind(("127.0.0.1", 0))
            last.connect(last.getsockname())

            def settle() -> None:
                for _ in range(2):
                    last.send(b"x")
                    last.recv(1)

            return program(settle)
    finally:
        os.sched_setaffinity(0, before)


def on_a_host(program: Callable[[Settle], list[Any]]) -> list[Any]:
    """What `program` returns on a virtual host."""
    network = Network(seed=1)
    seen: list[list[Any]] = []
    network.start(network.host("host", "10.0.0.1/24"), lambda: seen.append(program(lambda: time.sleep(0.001))))
    network.run()
    return seen[0]
