"""Generators: fixed by the seed and the name, apart from each other, and made when they are first used."""

from __future__ import annotations

import random

import pytest

from weaves.seeds import LazyGenerator, generator


def test_the_same_origin_draws_the_same() -> None:
    assert [generator(1, "host", "a").random() for _ in range(2)] == [0.2151689927518713] * 2


@pytest.mark.parametrize(
    "other", [(2, "host", "a"), (1, "link", "a"), (1, "host", "b"), (12, "host", "a"), (1, "host", "")]
)
def test_seed_kind_and_name_each_make_a_difference(other: tuple[int, str, str]) -> None:
    assert generator(1, "host", "a").random() != generator(*other).random()


def test_names_of_any_script_and_length_are_names() -> None:
    assert generator(1, "host", "\u6708" * 10_000).random() != generator(1, "host", "\u6708" * 9_999).random()


def test_a_generator_does_not_touch_the_machines_own() -> None:
    state = random.getstate()
    generator(1, "host", "a").random()
    assert random.getstate() == state


def test_a_lazy_generator_draws_as_the_other() -> None:
    eager, lazy = generator(1, "host", "a"), LazyGenerator(1, "host", "a")
    assert [lazy.random(), lazy.randrange(1000), lazy.getrandbits(64), lazy.randbytes(5)] == [
        eager.random(),
        eager.randrange(1000),
        eager.getrandbits(64),
        eager.randbytes(5),
    ]


def test_a_lazy_generator_goes_on_and_does_not_begin_again() -> None:
    lazy = LazyGenerator(1, "host", "a")
    assert lazy.random() != lazy.random()


def test_a_lazy_generator_is_not_made_before_it_is_used() -> None:
    lazy = LazyGenerator(1, "host", "a")
    assert "_generator" not in vars(lazy)
    lazy.random()
    assert "_generator" in vars(lazy)


def test_what_a_generator_does_not_have_a_lazy_one_does_not_have() -> None:
    with pytest.raises(AttributeError):
        LazyGenerator(1, "host", "a").no_such_method()
