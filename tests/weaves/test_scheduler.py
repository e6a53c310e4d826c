"""The order of events, the jumps of the clock, turns between events, and the digest of a lane."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weaves.scheduler import BUDGET_SPENT, FOREVER, IDLE, REACHED, STOPPED, Call, Event, Lane, Scheduler
from weaves.trace import digest

ENOUGH = 1_000_000


class Log:
    """A scheduler, and events that write down their name and their time."""

    def __init__(self) -> None:
        self.scheduler = Scheduler()
        self.lane = Lane(1)
        self.entries: list[tuple[Any, int]] = []

    def post(self, name: Any, at_ns: int, lane: Lane | None = None) -> Event:
        event = Call(self.note, name)
        self.scheduler.post(event, lane or self.lane, at_ns)
        return event

    def note(self, name: Any) -> None:
        self.entries.append((name, self.scheduler.now_ns))

    def run(self, until_ns: int = FOREVER, budget: int = ENOUGH) -> int:
        return self.scheduler.run(until_ns, budget)

    @property
    def names(self) -> list[Any]:
        return [name for name, _ in self.entries]


class Turn:
    """A turn that calls a function."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.turn = function


# The order


def test_events_happen_in_the_order_of_their_times() -> None:
    log = Log()
    log.post("late", 20)
    log.post("early", 10)
    log.run()
    assert log.entries == [("early", 10), ("late", 20)]


def test_at_one_time_the_lower_lane_is_first() -> None:
    log = Log()
    log.post("lane 7", 10, Lane(7))
    log.post("lane 3", 10, Lane(3))
    log.run()
    assert log.names == ["lane 3", "lane 7"]


def test_in_one_lane_at_one_time_the_first_posted_is_first() -> None:
    log = Log()
    for name in range(100):
        log.post(name, 10)
    log.run()
    assert log.names == list(range(100))


def test_a_lane_counts_what_is_posted_in_it() -> None:
    log = Log()
    events = [log.post("x", 10) for _ in range(3)]
    assert [event.number for event in events] == [1, 2, 3]
    assert log.lane.posted == 3


_POSTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4), st.booleans()), max_size=400)


@given(_POSTS)
def test_the_order_is_that_of_sorted(posts: list[tuple[int, int, bool]]) -> None:
    log = Log()
    lanes = [Lane(number) for number in range(5)]
    events = [log.post(index, at, lanes[lane]) for index, (at, lane, _) in enumerate(posts)]
    for event, (_, _, cancelled) in zip(events, posts, strict=True):
        if cancelled:
            log.scheduler.cancel(event)
    # Within a lane the numbers rise with the index.
    expected = sorted((at, lane, index) for index, (at, lane, cancelled) in enumerate(posts) if not cancelled)
    assert log.scheduler.pending() == len(expected)
    assert log.run() == IDLE
    assert log.entries == [(index, at) for at, _, index in expected]


@given(_POSTS)
def test_the_order_holds_for_events_that_are_posted_by_events(posts: list[tuple[int, int, bool]]) -> None:
    """Each event posts the next two of `posts`, if there are so many, at a distance from its own time."""
    log = Log()
    lanes = [Lane(number) for number in range(5)]
    rest = iter(posts)
    waiting: set[tuple[int, int, int]] = set()

    def post_next(holder: list[Event]) -> None:
        for event in holder:
            place = (event.at_ns, event.lane_id, event.number)
            assert place == min(waiting)
            waiting.remove(place)
        for at, lane, _ in (*itertools.islice(rest, 2),):
            made: list[Event] = []
            made.append(Call(post_next, made))
            log.scheduler.post(made[0], lanes[lane], log.scheduler.now_ns + at)
            waiting.add((made[0].at_ns, lane, made[0].number))

    post_next([])
    assert log.run() == IDLE
    assert log.scheduler.fired == len(posts)


def test_an_event_that_posts_for_now_into_a_lower_lane_is_followed_by_it() -> None:
    log = Log()
    high, low = Lane(9), Lane(2)
    log.scheduler.post(Call(lambda _: log.post("low", 10, low), None), high, 10)
    log.post("high", 10, high)
    log.run()
    assert log.names == ["low", "high"]


# Posting


def test_a_post_into_the_past_is_our_own_bug() -> None:
    log = Log()
    log.post("x", 10)
    log.run()
    with pytest.raises(AssertionError, match="posted into the past"):
        log.post("y", 9)


def test_a_post_for_now_is_no_post_into_the_past() -> None:
    log = Log()
    log.scheduler.advance(10)
    log.post("x", 10)
    log.run()
    assert log.entries == [("x", 10)]


def test_an_event_is_posted_once() -> None:
    log = Log()
    event = log.post("x", 10)
    with pytest.raises(AssertionError, match="posted twice"):
        log.scheduler.post(event, log.lane, 20)


def test_an_event_that_has_happened_can_be_posted_again() -> None:
    log = Log()
    event = log.post("x", 10)
    log.run()
    log.scheduler.post(event, log.lane, 30)
    log.run()
    assert log.entries == [("x", 10), ("x", 30)]


def test_pending_counts_what_is_still_to_happen() -> None:
    log = Log()
    events = [log.post("x", at) for at in (10, 20, 30)]
    log.scheduler.cancel(events[1])
    assert log.scheduler.pending() == 2
    log.run(until_ns=10)
    assert log.scheduler.pending() == 1


# Cancelling


def test_a_cancelled_event_does_not_happen() -> None:
    log = Log()
    event = log.post("x", 10)
    log.scheduler.cancel(event)
    assert log.run() == IDLE
    assert log.entries == []


def test_a_cancelled_event_does_not_move_the_clock() -> None:
    log = Log()
    log.scheduler.cancel(log.post("x", 10))
    log.run()
    assert log.scheduler.now_ns == 0


def test_cancelling_twice_counts_once() -> None:
    log = Log()
    event = log.post("x", 10)
    log.post("y", 20)
    log.scheduler.cancel(event)
    log.scheduler.cancel(event)
    assert log.scheduler.pending() == 1


def test_cancelling_an_event_that_happened_does_nothing() -> None:
    log = Log()
    event = log.post("x", 10)
    log.post("y", 20)
    log.run(until_ns=10)
    log.scheduler.cancel(event)
    assert log.scheduler.pending() == 1


def test_an_event_can_cancel_another_of_the_same_time() -> None:
    log = Log()
    log.scheduler.post(Call(lambda _: log.scheduler.cancel(victim), None), log.lane, 10)
    victim = log.post("victim", 10)
    log.run()
    assert log.entries == []


def test_many_cancelled_events_leave_the_heap_before_their_time() -> None:
    log = Log()
    events = [log.post(at, at) for at in range(1000)]
    for event in events[:600]:
        log.scheduler.cancel(event)
    # Above 128, and as soon as they are more than half: at the 501st of 1000. The 99 after it are few again.
    assert len(log.scheduler._heap) == 499
    assert log.scheduler.pending() == 400


def test_the_order_survives_compaction() -> None:
    log = Log()
    order = [(index * 7919) % 1000 for index in range(1000)]  # a permutation, because 7919 is prime
    events = [log.post(at, at) for at in order]
    for event, at in zip(events, order, strict=True):
        if at % 4:
            log.scheduler.cancel(event)
    log.run()
    assert log.names == list(range(0, 1000, 4))


def test_compaction_within_an_event_is_seen_by_the_run_that_goes_on() -> None:
    log = Log()
    doomed = [log.post("doomed", 20) for _ in range(300)]

    def cancel_all(_: None) -> None:
        for event in doomed:
            log.scheduler.cancel(event)

    log.scheduler.post(Call(cancel_all, None), log.lane, 10)
    log.post("last", 30)
    assert log.run() == IDLE
    assert log.entries == [("last", 30)]


def test_few_cancelled_events_stay_until_their_time() -> None:
    log = Log()
    for event in [log.post("x", 10) for _ in range(128)]:
        log.scheduler.cancel(event)
    assert len(log.scheduler._heap) == 128
    assert log.scheduler.pending() == 0


# Why a run comes back


def test_idle_leaves_the_clock_at_the_last_event() -> None:
    log = Log()
    log.post("x", 10)
    assert log.run(until_ns=100) == IDLE
    assert log.scheduler.now_ns == 10


def test_reached_leaves_the_clock_at_the_limit() -> None:
    log = Log()
    log.post("x", 101)
    assert log.run(until_ns=100) == REACHED
    assert log.scheduler.now_ns == 100
    assert log.entries == []


def test_the_limit_itself_is_included() -> None:
    log = Log()
    log.post("x", 100)
    log.run(until_ns=100)
    assert log.entries == [("x", 100)]


def test_a_limit_in_the_past_does_not_turn_the_clock_back() -> None:
    log = Log()
    log.post("x", 10)
    log.run()
    log.post("y", 20)
    assert log.run(until_ns=5) == REACHED
    assert log.scheduler.now_ns == 10


def test_the_budget_bounds_events() -> None:
    log = Log()
    for at in range(10):
        log.post(at, at)
    assert log.run(budget=4) == BUDGET_SPENT
    assert log.names == [0, 1, 2, 3]


def test_the_budget_bounds_turns() -> None:
    log = Log()
    for name in range(10):
        log.scheduler.turns.append(Turn(lambda name=name: log.note(name)))
    assert log.run(budget=4) == BUDGET_SPENT
    assert log.names == [0, 1, 2, 3]


def test_a_run_goes_on_where_the_budget_ended_it() -> None:
    log = Log()
    for at in range(10):
        log.post(at, at)
    while log.run(budget=3) == BUDGET_SPENT:
        pass
    assert log.names == list(range(10))


def test_stop_ends_the_run_after_the_event() -> None:
    log = Log()
    log.scheduler.post(Call(lambda _: log.scheduler.stop(), None), log.lane, 10)
    log.post("x", 10)
    assert log.run() == STOPPED
    assert (log.entries, log.scheduler.now_ns) == ([], 10)


def test_stop_ends_the_run_after_the_turn() -> None:
    log = Log()
    log.scheduler.turns.append(Turn(log.scheduler.stop))
    log.scheduler.turns.append(Turn(lambda: log.note("x")))
    assert log.run() == STOPPED
    assert log.entries == []


def test_a_stopped_run_can_go_on() -> None:
    log = Log()
    log.scheduler.post(Call(lambda _: log.scheduler.stop(), None), log.lane, 10)
    log.post("x", 10)
    log.run()
    assert log.run() == IDLE
    assert log.entries == [("x", 10)]


def test_a_stop_between_two_runs_is_heard_by_the_next() -> None:
    log = Log()
    log.post("x", 10)
    log.scheduler.stop()
    assert [log.run(), log.run()] == [STOPPED, IDLE]


def test_a_stop_can_be_forgotten() -> None:
    log = Log()
    log.post("x", 10)
    log.scheduler.stop()
    log.scheduler.forget_stop()
    assert log.run() == IDLE


def test_an_event_that_raises_is_over_and_the_run_can_go_on() -> None:
    log = Log()
    log.scheduler.post(Call([].pop, 0), log.lane, 10)  # IndexError
    log.post("x", 20)
    with pytest.raises(IndexError):
        log.run()
    assert log.run() == IDLE
    assert log.entries == [("x", 20)]


def test_events_and_turns_are_counted() -> None:
    log = Log()
    log.post("x", 10)
    log.post("y", 20)
    log.scheduler.turns.append(Turn(lambda: None))
    log.run()
    assert (log.scheduler.fired, log.scheduler.turns_taken) == (2, 1)


# Moving the clock by hand


def test_advance_moves_the_clock() -> None:
    log = Log()
    log.scheduler.advance(50)
    assert log.scheduler.now_ns == 50


def test_advance_does_not_pass_an_event() -> None:
    log = Log()
    log.post("x", 40)
    with pytest.raises(AssertionError):
        log.scheduler.advance(50)


def test_advance_does_not_pass_an_event_behind_a_cancelled_one() -> None:
    log = Log()
    log.scheduler.cancel(log.post("cancelled", 30))
    log.post("x", 40)
    with pytest.raises(AssertionError):
        log.scheduler.advance(50)


def test_advance_passes_a_cancelled_event() -> None:
    log = Log()
    log.scheduler.cancel(log.post("cancelled", 30))
    log.scheduler.advance(50)
    assert log.run() == IDLE
    assert log.scheduler.now_ns == 50


def test_advance_does_not_turn_the_clock_back() -> None:
    log = Log()
    log.scheduler.advance(50)
    with pytest.raises(AssertionError):
        log.scheduler.advance(49)


# Turns


def test_turns_run_before_the_clock_moves() -> None:
    log = Log()
    log.scheduler.post(Call(lambda _: log.scheduler.turns.append(Turn(lambda: log.note("turn"))), None), log.lane, 10)
    log.post("event", 11)
    log.run()
    assert log.entries == [("turn", 10), ("event", 11)]


def test_turns_run_between_two_events_of_one_time() -> None:
    log = Log()
    log.scheduler.post(Call(lambda _: log.scheduler.turns.append(Turn(lambda: log.note("turn"))), None), log.lane, 10)
    log.post("event", 10)
    log.run()
    assert log.names == ["turn", "event"]


def test_turns_run_first_in_first_out() -> None:
    log = Log()

    def first() -> None:
        log.note("first")
        log.scheduler.turns.append(Turn(lambda: log.note("third")))

    log.scheduler.turns.append(Turn(first))
    log.scheduler.turns.append(Turn(lambda: log.note("second")))
    log.run()
    assert log.names == ["first", "second", "third"]


def test_turns_without_end_meet_the_events_of_their_instant_one_in_each_round() -> None:
    log = Log()
    rounds = 0

    def first() -> None:
        nonlocal rounds
        rounds += 1
        if rounds < 105:
            log.scheduler.turns.extend([Turn(first), Turn(lambda: None)])

    log.scheduler.turns.append(Turn(first))
    log.scheduler.post(Call(lambda name: log.entries.append((name, rounds)), "due"), log.lane, 0)
    log.scheduler.post(Call(lambda name: log.entries.append((name, rounds)), "due too"), log.lane, 0)
    log.scheduler.post(Call(lambda name: log.entries.append((name, rounds)), "later"), log.lane, 1)
    log.run()
    # A round has both turns. After a hundred of them the due events come; what is later waits for the last turn.
    assert log.entries == [("due", 100), ("due too", 101), ("later", 105)]


def test_a_hundred_turns_at_once_are_one_round() -> None:
    log = Log()
    log.post("due", 0)
    log.scheduler.turns.extend(Turn(lambda number=number: log.note(number)) for number in range(300))
    log.run()
    assert log.names == [*range(300), "due"]


def test_turns_run_although_the_limit_has_passed() -> None:
    log = Log()
    log.scheduler.advance(10)
    log.scheduler.turns.append(Turn(lambda: log.note("turn")))
    log.post("event", 20)
    assert log.run(until_ns=5) == REACHED
    assert log.entries == [("turn", 10)]


# Digests


def folded(*values: int) -> tuple[int, int]:
    lane = Lane(1)
    for value in values:
        lane.fold(value)
    return lane.digest_a, lane.digest_b


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], (2166136261, 3339675911)),
        ([0], (84694791, 507933223)),
        ([1], (67916692, 3262285274)),
        ([2147483648], (2232243975, 2655154727)),
        ([4294967295], (4193407657, 2246293860)),
        ([4294967296], (276215511, 3192856109)),
        ([4611686018427387903], (1987705937, 649349272)),
        ([1, 2, 3], (1046159132, 2052917510)),
        ([946684800000000000, 1500, 1099511627783], (3539458345, 3678794915)),
    ],
)
def test_a_digest_is_the_same_interpreted_and_compiled(values: list[int], expected: tuple[int, int]) -> None:
    assert folded(*values) == expected


def by_definition(values: list[int]) -> tuple[int, int]:
    """FNV-1a over 32-bit words with integers of any size, and a shift to let high bits reach low ones."""
    result = []
    for offset, prime, shift in ((2_166_136_261, 16_777_619, 15), (3_339_675_911, 1_540_483_477, 13)):
        state = offset
        for value in values:
            state = (state ^ value % 2**32) * prime % 2**32
            if value >= 2**32:
                state = (state ^ value // 2**32) * prime % 2**32
            state ^= state >> shift
        result.append(state)
    return result[0], result[1]


@given(st.lists(st.integers(0, 2**62 - 1)))
def test_a_digest_is_fnv_1a(values: list[int]) -> None:
    assert folded(*values) == by_definition(values)


def test_a_digest_depends_on_the_order() -> None:
    assert folded(1, 2) != folded(2, 1)


def test_a_digest_depends_on_the_high_half() -> None:
    assert folded(5) != folded(5 + 2**40)


def test_a_fold_of_zero_changes_the_digest() -> None:
    assert folded(0) != folded(0, 0)


def test_both_halves_of_a_digest_depend_on_the_value() -> None:
    (a, b), (other_a, other_b) = folded(1), folded(2)
    assert a != other_a
    assert b != other_b


def lane(id: int, *values: int) -> Lane:
    made = Lane(id)
    for value in values:
        made.fold(value)
    return made


def test_the_digest_of_a_run_does_not_depend_on_the_order_of_its_lanes() -> None:
    a, b, c = lane(1, 10), lane(2, 20), lane(3, 30)
    assert digest([a, b, c]) == digest([c, a, b])


def test_the_digest_of_a_run_depends_on_which_lane_it_was() -> None:
    assert digest([lane(1, 10), lane(2, 20)]) != digest([lane(1, 20), lane(2, 10)])


def test_a_lane_without_events_does_not_count() -> None:
    assert digest([lane(1, 10), lane(2)]) == digest([lane(1, 10)])


def test_the_digest_of_a_run_is_a_fixed_text() -> None:
    assert digest([lane(1, 10), lane(2, 20)]) == "b5cfb86181cf0b5435fc3a780c01233c"


def test_the_digest_of_nothing_has_32_digits_too() -> None:
    assert len(digest([])) == 32


# Lanes that are dropped or held


def test_a_lane_that_is_dropped_has_no_events_and_the_others_keep_their_order() -> None:
    log = Log()
    for at_ns in (50, 10, 40, 20, 30):
        log.post(f"dropped {at_ns}", at_ns, Lane(1))
        log.post(f"kept {at_ns}", at_ns, Lane(2))
    assert log.scheduler.drop_lane(Lane(1), -1) == 5
    assert log.scheduler.pending() == 5
    log.run()
    assert log.names == ["kept 10", "kept 20", "kept 30", "kept 40", "kept 50"]


def test_a_lane_can_be_dropped_from_a_time_on() -> None:
    log = Log()
    for at_ns in (10, 20, 30):
        log.post(at_ns, at_ns)
    assert log.scheduler.drop_lane(log.lane, 20) == 1
    log.run()
    assert log.names == [10, 20]


def test_held_events_are_late_in_their_order_and_those_ahead_on_time() -> None:
    log = Log()
    lane = Lane(2)
    for at_ns in (30, 10, 20, 20, 90):
        log.post(f"held {at_ns}", at_ns, lane)
    log.post("now", 50, Lane(1))
    held = log.scheduler.hold_lane(lane)
    log.run()
    assert log.names == ["now"]
    log.scheduler.release(held, lane)
    log.run()
    assert log.entries[1:] == [("held 10", 50), ("held 20", 50), ("held 20", 50), ("held 30", 50), ("held 90", 90)]


def test_an_event_that_is_cancelled_while_it_is_held_does_not_happen() -> None:
    log = Log()
    event = log.post("cancelled", 10)
    log.post("not", 20)
    held = log.scheduler.hold_lane(log.lane)
    log.scheduler.cancel(event)
    log.scheduler.release(held, log.lane)
    assert log.scheduler.pending() == 1
    log.run()
    assert (log.names, log.scheduler.pending()) == (["not"], 0)


def test_calls_of_an_object_that_is_gone_are_dropped() -> None:
    log, other = Log(), Log()
    log.post("dropped", 10)
    log.scheduler.post(Call(other.note, "kept"), log.lane, 20)
    log.scheduler.post(Call(print, ""), log.lane, 15)
    log.scheduler.drop_calls([log])
    assert log.scheduler.pending() == 2
    log.run()
    assert (log.names, other.names) == ([], ["kept"])


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 3))))
def test_dropping_a_lane_leaves_a_heap(posted: list[tuple[int, int]]) -> None:
    log = Log()
    lanes = {number: Lane(number) for number in (1, 2, 3)}
    for at_ns, number in posted:
        log.post((at_ns, number), at_ns, lanes[number])
    log.scheduler.drop_lane(lanes[2], 10)
    log.run()
    assert log.names == sorted((at_ns, number) for at_ns, number in posted if number != 2 or at_ns <= 10)
