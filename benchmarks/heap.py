"""The heap of events: ours against what it replaced. Events a second through a heap of a given size.

    python benchmarks/heap.py [ROUNDS]

`scheduler`: weaves.scheduler.Scheduler, a heap of its own over event objects with native fields. `heapq of tuples`: the
standard library's C heap over (time, lane, number, event). `heapq of events`: the same over objects with `__lt__`. All
three keep the same total order. Each event, when it fires, posts itself again at a drawn time, so the size stays.
"""

from __future__ import annotations

import heapq
import random
import sys
import time

import turns

SIZE = 2_000
EVENTS = 400_000


def delays() -> list[int]:
    rng = random.Random(1)
    return [rng.randrange(1, 1_000_000) for _ in range(EVENTS + SIZE)]


def scheduler() -> float:
    from weaves.scheduler import FOREVER, Call, Lane, Scheduler

    times = iter(delays())
    run = Scheduler()
    lane = Lane(1)

    def fire(_argument: object) -> None:
        run.post(Call(fire, None), lane, run.now_ns + next(times))

    for _ in range(SIZE):
        fire(None)
    started = time.perf_counter()
    run.run(FOREVER, EVENTS)
    return EVENTS / (time.perf_counter() - started)


class Entry:
    """As much of an event as the order needs."""

    __slots__ = ("at", "callback", "lane", "number")

    def __init__(self, at: int, lane: int, number: int, callback: object) -> None:
        self.at = at
        self.lane = lane
        self.number = number
        self.callback = callback

    def __lt__(self, other: Entry) -> bool:
        return (self.at, self.lane, self.number) < (other.at, other.lane, other.number)


def tuples() -> float:
    times = iter(delays())
    heap: list[tuple[int, int, int, object]] = []
    now = 0
    number = 0

    def fire(_argument: object) -> None:
        nonlocal number
        number += 1
        heapq.heappush(heap, (now + next(times), 1, number, fire))

    for _ in range(SIZE):
        fire(None)
    started = time.perf_counter()
    for _ in range(EVENTS):
        now, _lane, _number, callback = heapq.heappop(heap)
        callback(None)  # type: ignore[operator]
    return EVENTS / (time.perf_counter() - started)


def objects() -> float:
    times = iter(delays())
    heap: list[Entry] = []
    now = 0
    number = 0

    def fire(_argument: object) -> None:
        nonlocal number
        number += 1
        heapq.heappush(heap, Entry(now + next(times), 1, number, fire))

    for _ in range(SIZE):
        fire(None)
    started = time.perf_counter()
    for _ in range(EVENTS):
        entry = heapq.heappop(heap)
        now = entry.at
        entry.callback(None)  # type: ignore[operator]
    return EVENTS / (time.perf_counter() - started)


CONTESTANTS = {"scheduler": scheduler, "heapq of tuples": tuples, "heapq of events": objects}


def main() -> None:
    if sys.argv[1:] and sys.argv[1] in CONTESTANTS:
        print(CONTESTANTS[sys.argv[1]]())
        return
    turns.compare(
        f"Heap of {SIZE:,} events",
        "events/s",
        {name: [sys.executable, __file__, name] for name in CONTESTANTS},
        rounds=int(sys.argv[1]) if sys.argv[1:] else 3,
        goal=None,
    )


if __name__ == "__main__":
    main()
