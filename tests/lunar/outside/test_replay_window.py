"""The replay window of RFC 6479: each number once, and none from below."""

from __future__ import annotations

import random

from lunar.outside.replay_window import WINDOW, ReplayWindow


def test_each_number_is_taken_once() -> None:
    window = ReplayWindow()
    assert [window.take(number) for number in (0, 1, 1, 3, 2, 3, 0)] == [True, True, False, True, True, False, False]
    assert (window.highest, window.taken) == (3, 4)


def test_what_is_as_far_behind_as_the_window_is_long_is_taken() -> None:
    window = ReplayWindow()
    top = 10 * WINDOW
    assert window.take(top)
    assert window.take(top - WINDOW)
    assert not window.take(top - WINDOW - 1)


def test_a_jump_over_the_whole_ring_forgets_what_stood_there() -> None:
    window = ReplayWindow()
    assert window.take(5)
    assert window.take(5 + (1 << 40))  # the same place in the ring
    assert window.take(4 + (1 << 40))
    assert not window.take(5)


def test_it_agrees_with_a_set_of_all_numbers() -> None:
    rng = random.Random(1)
    window, seen, top = ReplayWindow(), set(), -1
    for _ in range(50_000):
        number = max(0, top + rng.choice([1, 1, 1, 2, 40, 3000]) - rng.choice([0, 0, 1, 5, 100, 2200]))
        fresh = number not in seen and top - number <= WINDOW
        assert window.take(number) is fresh
        seen.add(number)
        top = max(top, number)
    assert window.taken <= len(seen)
