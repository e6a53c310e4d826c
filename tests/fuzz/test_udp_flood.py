"""The flood at UDP links in the test suite: some thousand datagrams, a million by `python -m tests.fuzz.udp_flood`."""

from __future__ import annotations

import pytest

from tests.fuzz.udp_flood import flood


@pytest.mark.parametrize("keyed", [False, True], ids=["without a key", "with a key"])
def test_a_flood_raises_nothing_leaks_nothing_and_leaves_transfers_intact(keyed: bool) -> None:
    found = flood(12_000, seed=3, keyed=keyed)
    assert found.problems == ()
    assert found.transfers > 0
    for figures in found.figures:
        assert figures["foreign"] > 1000
        assert figures["short"] > 0
        if keyed:
            assert figures["bad_tag"] > 0
            assert figures["replayed"] > 0
        else:
            assert figures["long"] > 0
