"""Some of the rule sets of duel.py beside the machine's iptables; all of them by its command."""

from __future__ import annotations

from collections.abc import Iterator

import duel
import pytest
from random_rules import RuleSet, six
from routers import Pair, why_not

from lunar.packet import AF_INET, AF_INET6

_REASON = why_not()
pytestmark = pytest.mark.skipif(_REASON is not None, reason=_REASON or "")
_SETS = 30
_TRIES = 4


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


@pytest.mark.parametrize("family", [AF_INET, AF_INET6])
@pytest.mark.parametrize("seed", range(0, _SETS * 7, 7))
def test_random_packets_become_the_same_and_are_counted_by_the_same_rules(
    pair: Pair, seed: int, family: int
) -> None:
    found = duel.play(pair, seed, family)
    for _again in range(_TRIES - 1):
        # The kernel sends packets of its own, reports of groups, at times of its own: what is not they comes again.
        if found not in (None, duel.CHANCE):
            found = duel.play(pair, seed, family)
    in_words = six if family == AF_INET6 else str
    assert found in (None, duel.CHANCE), "\n".join([str(found), *map(in_words, RuleSet(seed).commands)])
