"""Callbacks of direct loops that block: each holds up its own loop, and nothing else."""

from __future__ import annotations

import asyncio
import gc
import time

import lunar
from weaves.runner import Runner
from weaves.strings import String


def _runners() -> int:
    gc.collect()
    return sum(type(kept) is Runner for kept in gc.get_objects())


def test_callbacks_of_several_hosts_block_at_once_and_end_each_in_its_time() -> None:
    log: list[tuple[int, float]] = []
    before = _runners()

    async def main(number: int) -> None:
        for _ in range(3):
            time.sleep(0.5)
            log.append((number, time.monotonic()))

    with lunar.Network(seed=1) as net:
        strings = [net.start(net.host(f"h{number}"), main, number) for number in range(3)]
        net.run()
        assert [string.state for string in strings] == ["ended"] * 3
    assert log == [(number, at) for at in (0.5, 1.0, 1.5) for number in range(3)]
    assert _runners() == before


def test_who_blocks_second_in_a_turn_is_not_ended_with_who_blocked_first() -> None:
    with lunar.Network(seed=1) as net:
        both = asyncio.Event()  # wakes both in the same turn

        async def first() -> None:
            await both.wait()
            time.sleep(0)
            await asyncio.sleep(100)

        async def second() -> float:
            await both.wait()
            time.sleep(10)
            return time.monotonic()

        string = net.start(net.host("alpha"), first)
        other = String(string.weave, "second", second)
        net.supervisor.start(other, 0)
        net.supervisor.start(String(string.weave, "third", lambda: (time.sleep(1), both.set())), 0)
        net.at("5s", string.kill)
        net.run()
        assert (string.state, other.state, other.result) == ("killed", "ended", 11.0)
