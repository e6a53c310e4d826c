"""The flood at a TAP in the test suite: some thousand frames, a million by `python -m tests.fuzz.tap_flood`."""

from __future__ import annotations

import pytest

from lunar.kernel.namespace import KernelUnavailable, Namespace
from lunar.kernel.tun import IFF_TAP, TunDevice
from tests.fuzz.tap_flood import flood


def why_not() -> str:
    """Why this machine has no namespaces or no TAP devices for us; empty if it has both."""
    try:
        TunDevice(Namespace(), "tap0", IFF_TAP).close()
    except KernelUnavailable as error:
        return str(error)
    return ""


WHY_NOT = why_not()


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
def test_a_flood_raises_nothing_leaks_nothing_and_leaves_transfers_intact() -> None:
    found = flood(12_000, seed=3)
    assert found.problems == ()
    assert found.transfers > 0
    assert found.figures["received"] >= found.sent >= 12_000
