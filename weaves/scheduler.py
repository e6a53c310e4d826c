"""The heap of events, the order they happen in, and the clock that jumps from one to the next.

A packet in flight, a timer and a start time are each one `Event`. An event's place is (time, lane, number in lane). A
`Lane` stands for what made the event, a host or one direction of a link, by an integer that depends only on the
tapestry; so the order is the same however the hosts are spread over processes, and never depends on `id()` or a hash.

Between two events the *turns* run: event loops with ready callbacks and blocking strings that were woken, first in,
first out. All of them finish before the clock moves. Who goes on taking turns without waiting (`await sleep(0)` in a
circle) meets the events of the same instant after a while, as a real loop looks for packets in every round: what
comes over a link without delay would never arrive otherwise.

Who drives a scheduler from a real event loop or a plain call is in realtime.py.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, final

from mypy_extensions import i64

# What `Scheduler.run` says of why it came back.
BUDGET_SPENT: Final = 0  # there is more to do now
IDLE: Final = 1  # no event is left that could wake anybody
REACHED: Final = 2  # the next event lies after `until_ns`; the clock stands at `until_ns`
STOPPED: Final = 3  # `stop()` was called

FOREVER: Final = 0x3FFF_FFFF_FFFF_FFFF

# Cancelled events stay in the heap until their time or until they are this many and the majority, as in asyncio.
_COMPACT_FROM: Final = 128

# So many rounds of turns, each of all turns that waited when it began, go before the events of their own instant.
_ROUNDS_BEFORE_EVENTS: Final = 100

# FNV-1a's 32-bit prime and offset, and a second pair, so that a digest is 64 bits. Each product stays below 2**63, so
# that native and interpreted integers agree.
_OFFSET_A: Final = 2_166_136_261
_OFFSET_B: Final = 3_339_675_911


@final
class Lane:
    """A maker of events with a place in the total order, and the digest of what it made.

    `id` is unique in a run and stable: hosts and links get it in the order of the tapestry.
    """

    def __init__(self, id: i64) -> None:
        self.id: i64 = id
        self.posted: i64 = 0
        self.folded: i64 = 0
        self.digest_a: i64 = _OFFSET_A
        self.digest_b: i64 = _OFFSET_B

    def fold(self, value: i64) -> None:
        """Mix `value` (non-negative, below 2**62) into the digest, order included."""
        low: i64 = value & 0xFFFF_FFFF
        high: i64 = (value >> 32) & 0x7FFF_FFFF
        a: i64 = ((self.digest_a ^ low) * 16_777_619) & 0xFFFF_FFFF
        b: i64 = ((self.digest_b ^ low) * 1_540_483_477) & 0xFFFF_FFFF
        if high:
            a = ((a ^ high) * 16_777_619) & 0xFFFF_FFFF
            b = ((b ^ high) * 1_540_483_477) & 0xFFFF_FFFF
        self.digest_a = a ^ (a >> 15)
        self.digest_b = b ^ (b >> 13)
        self.folded += 1


class Event:
    """Something that happens at a time. Subclasses say what, in `fire`."""

    def __init__(self) -> None:
        self.at_ns: i64 = 0
        self.lane_id: i64 = 0
        self.number: i64 = 0
        self.queued: bool = False  # in the heap, and not cancelled

    def fire(self) -> None:
        raise NotImplementedError


@final
class Call(Event):
    """An event that calls a Python function with one argument; what interpreted code posts."""

    def __init__(self, callback: Any, argument: Any) -> None:
        super().__init__()
        self.callback: Any = callback
        self.argument: Any = argument

    def fire(self) -> None:
        self.callback(self.argument)


@final
class Scheduler:
    """One run's clock, heap and queue of turns."""

    def __init__(self) -> None:
        self.now_ns: i64 = 0
        self.fired: i64 = 0
        self.fired_ns: i64 = 0  # the time of the last event
        self.turns_taken: i64 = 0
        self.collected_at: i64 = 0  # `fired + turns_taken` at the last garbage collection (realtime.py)
        self.collector: Any = None  # the weave whose turn it is meanwhile (collector.py)
        self._heap: list[Event] = []
        self._cancelled: i64 = 0
        self._stopped: bool = False
        # Rounds of turns since the last time that no turn waited, and how much of the current one is left.
        self._rounds: i64 = 0
        self._round_left: i64 = 0
        # Objects with a `turn()` method: event loops and blocking strings. Public, because they append themselves.
        self.turns: deque[Any] = deque()

    def pending(self) -> int:
        """The number of events that are still to happen."""
        return len(self._heap) - int(self._cancelled)

    def awaits(self, kind: Any) -> bool:
        """Whether an event of the class `kind` is still to happen. Looks through the whole heap."""
        found = False
        for event in self._heap:
            found = found or (event.queued and isinstance(event, kind))
        return found

    def next_ns(self) -> int:
        """When the next event is due; FOREVER when there is none."""
        self._drop_cancelled()
        return int(self._heap[0].at_ns) if self._heap else FOREVER

    def post(self, event: Event, lane: Lane, at_ns: i64) -> None:
        """Let `event` happen at `at_ns`, which is not before now. An event is in the heap once at most."""
        assert not event.queued, "an event was posted twice"
        assert at_ns >= self.now_ns, "an event was posted into the past"
        lane.posted += 1
        event.at_ns = at_ns
        event.lane_id = lane.id
        event.number = lane.posted
        event.queued = True
        heap = self._heap
        heap.append(event)
        self._sift_up(len(heap) - 1)

    def cancel(self, event: Event) -> None:
        """Take `event` back. Its object must not be posted again: the heap may hold it until its time."""
        if event.queued:
            event.queued = False
            self._cancelled += 1
            if self._cancelled > _COMPACT_FROM and self._cancelled * 2 > len(self._heap):
                self._compact()

    def drop_lane(self, lane: Lane, after_ns: i64) -> int:
        """Take back all events of `lane` later than `after_ns`, whoever holds them: what made them is gone.

        Returns their number. Looks through the whole heap, and lets go of what it takes back.
        """
        taken = self._take(lane.id, after_ns)
        for event in taken:
            event.queued = False
        return len(taken)

    def drop_calls(self, owners: list[Any]) -> None:
        """Take back all calls of methods of `owners`. Looks through the whole heap."""
        dropped = False
        # By identity, and not each with each: a program may end with thousands of threads that sleep.
        theirs = {id(owner) for owner in owners}
        for event in self._heap:
            if event.queued and isinstance(event, Call):
                if id(getattr(event.callback, "__self__", None)) in theirs:
                    event.queued = False
                    dropped = True
        if dropped:
            self._compact()

    def hold_lane(self, lane: Lane) -> list[Event]:
        """Take all events of `lane` off the heap, in their order, until `release`: what made them stands still.

        They count as queued; one that is cancelled meanwhile will not happen.
        """
        taken = self._take(lane.id, -1)
        taken.sort(key=_place)
        return taken

    def release(self, held: list[Event], lane: Lane) -> None:
        """Let the events of `hold_lane` happen, at their time or now if that has gone by, in their order."""
        for event in held:
            if event.queued:
                event.queued = False
                self.post(event, lane, max(event.at_ns, self.now_ns))
            elif self._cancelled > 0:
                self._cancelled -= 1  # `cancel` believed it to be in the heap

    def _take(self, lane_id: i64, after_ns: i64) -> list[Event]:
        taken: list[Event] = []
        for event in self._heap:
            if event.queued and event.lane_id == lane_id and event.at_ns > after_ns:
                taken.append(event)
        if taken:
            self._heap[:] = [
                event
                for event in self._heap
                if event.queued and not (event.lane_id == lane_id and event.at_ns > after_ns)
            ]
            self._build()
        return taken

    def advance(self, to_ns: i64) -> None:
        """Move the clock on where no event lies before `to_ns`."""
        self._drop_cancelled()
        assert to_ns >= self.now_ns and (not self._heap or self._heap[0].at_ns > to_ns)
        self.now_ns = to_ns

    def stop(self) -> None:
        """Let `run` return as soon as the current event or turn is over; the next `run`, when none goes on now."""
        self._stopped = True

    def forget_stop(self) -> None:
        """Take back a `stop` that no `run` has heard."""
        self._stopped = False

    def run(self, until_ns: i64, budget: i64) -> int:
        """Let events and turns happen up to and including `until_ns`, at most `budget` of them.

        Returns BUDGET_SPENT, IDLE, REACHED or STOPPED.
        """
        turns = self.turns
        heap = self._heap
        while True:
            if self._stopped:
                self._stopped = False
                return STOPPED
            if budget <= 0:
                return BUDGET_SPENT
            budget -= 1
            if turns:
                if self._round_left == 0:
                    self._round_left = len(turns)
                    self._rounds += 1
                    if self._rounds > _ROUNDS_BEFORE_EVENTS and self._fire_due():
                        continue
                self._round_left -= 1
                self.turns_taken += 1
                turns.popleft().turn()
                continue
            self._rounds = 0
            self._round_left = 0
            if heap and not heap[0].queued:
                self._drop_cancelled()
            if not heap:
                return IDLE
            event = heap[0]
            at_ns: i64 = event.at_ns
            if at_ns > until_ns:
                if until_ns > self.now_ns:
                    self.now_ns = until_ns
                return REACHED
            self._pop()
            event.queued = False
            self.now_ns = at_ns
            self.fired_ns = at_ns
            self.fired += 1
            event.fire()

    def _fire_due(self) -> bool:
        """Let the first event happen if its time is this instant."""
        self._drop_cancelled()
        if not self._heap or self._heap[0].at_ns > self.now_ns:
            return False
        event = self._heap[0]
        self._pop()
        event.queued = False
        self.fired += 1
        event.fire()
        return True

    def _drop_cancelled(self) -> None:
        """Let the first event of the heap, if there is one, be one that is to happen."""
        heap = self._heap
        while heap and not heap[0].queued:
            self._pop()
            self._cancelled -= 1

    def _pop(self) -> None:
        heap = self._heap
        last = heap.pop()
        if heap:
            heap[0] = last
            self._sift_down(0)

    def _sift_up(self, index: i64) -> None:
        heap = self._heap
        event = heap[index]
        at_ns: i64 = event.at_ns
        lane_id: i64 = event.lane_id
        number: i64 = event.number
        while index > 0:
            above: i64 = (index - 1) >> 1
            other = heap[above]
            if other.at_ns < at_ns:
                break
            if other.at_ns == at_ns:
                if other.lane_id < lane_id:
                    break
                if other.lane_id == lane_id and other.number < number:
                    break
            heap[index] = other
            index = above
        heap[index] = event

    def _sift_down(self, index: i64) -> None:
        heap = self._heap
        count: i64 = len(heap)
        event = heap[index]
        while True:
            below: i64 = 2 * index + 1
            if below >= count:
                break
            child = heap[below]
            if below + 1 < count:
                right = heap[below + 1]
                if _before(right, child):
                    below += 1
                    child = right
            if _before(event, child):
                break
            heap[index] = child
            index = below
        heap[index] = event

    def _compact(self) -> None:
        # Slice assignment keeps the list object, which `run` holds.
        self._heap[:] = [event for event in self._heap if event.queued]
        self._build()

    def _build(self) -> None:
        """Make a heap of events in any order, none of which is cancelled."""
        self._cancelled = 0
        index: i64 = (len(self._heap) >> 1) - 1
        while index >= 0:
            self._sift_down(index)
            index -= 1


def _place(event: Event) -> tuple[int, int]:
    return int(event.at_ns), int(event.number)


def _before(a: Event, b: Event) -> bool:
    if a.at_ns != b.at_ns:
        return a.at_ns < b.at_ns
    if a.lane_id != b.lane_id:
        return a.lane_id < b.lane_id
    return a.number < b.number
