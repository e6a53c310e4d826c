"""Random networks in the test suite: some hundred new to nobody, and those that were the hardest or found a bug.

Many more: `make property NETWORKS=20000`. The parts are plans.py (what is drawn), worlds.py (how it runs),
programs.py (both ends), invariants.py (what must hold after every event).
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import plans
import pytest
from campaign import attempt
from invariants import Broken, Watch
from worlds import World

FIRST = 7_000_000
CASES = tomllib.loads((Path(__file__).parent / "cases.toml").read_text())["cases"]


@pytest.mark.parametrize("first", range(FIRST, FIRST + 300, 30))
def test_thirty_random_networks(first: int) -> None:
    for number in range(first, first + 30):
        outcome = attempt(number)
        assert outcome.figures is not None, f"network {number}: {outcome.problem}\n  {repeat(number)}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["network"]))
def test_a_network_that_was_hard(case: dict[str, object]) -> None:
    number = case["network"]
    assert isinstance(number, int)
    without = case.get("without", [])
    assert isinstance(without, list)
    outcome = attempt(number, tuple(without))
    assert outcome.figures is not None, f"{case['why']}: {outcome.problem}\n  {repeat(number)}"


def repeat(number: int) -> str:
    return f"python -m tests.property --case {number} --show"


# What the checks are worth: each must be able to fail.


def test_a_plan_without_its_features_is_plain() -> None:
    plan = plans.draw(5, plans.FEATURES)
    assert plans.not_plain(plan) == []


def test_a_feature_that_is_taken_out_leaves_the_others_as_they_were() -> None:
    whole, part = plans.draw(11), plans.draw(11, ["loss", "rate"])
    assert (part.loss, part.rate) == (0.0, None)
    for name in set(plans.FEATURES) - {"loss", "rate"}:
        assert getattr(whole, name) == getattr(part, name)


def test_a_run_can_be_repeated() -> None:
    assert attempt(FIRST) == attempt(FIRST)


def test_a_lost_wake_up_is_found() -> None:
    world = World(plans.draw(5, plans.FEATURES))
    world.socks[0].waiters.clear()
    with pytest.raises(Broken, match="it hangs"):
        world.run()
    world.close()


def test_changed_data_is_found() -> None:
    world = World(plans.draw(5, plans.FEATURES))
    world.scheduler.run(5_000_000, 1 << 20)
    server = world.programs[1]
    assert server is not None and server.got
    server.got[-1] ^= 1
    with pytest.raises(Broken, match="what arrives is not what was sent"):
        world.run()
    world.close()


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        ("snd_una", -1, "goes back"),
        ("snd_nxt", -1, "what is unsent"),
        ("packets_out", 1, "packets_out"),
        ("lost_out", 1, "lost_out"),
        ("retrans_out", 1, "retrans_out"),
        ("out_of_order_bytes", 1, "out_of_order_bytes"),
        ("rcv_wnd", -1000, "moves left"),
    ],
)
def test_a_broken_invariant_is_found(name: str, change: int, what: str) -> None:
    world = World(plans.draw(5, plans.FEATURES))
    world.scheduler.run(2_500_000, 1 << 20)  # the client's data is under way: delay 1 ms
    watch: Watch = world.watches[0]
    watch.look()
    assert watch.sock.packets_out > 0
    setattr(watch.sock, name, getattr(watch.sock, name) + change)
    with pytest.raises(Broken, match=what):
        watch.look()
    world.close()


def test_a_timer_without_a_reason_is_found_and_a_reason_without_a_timer() -> None:
    world = World(plans.draw(5, plans.FEATURES))
    world.scheduler.run(2_500_000, 1 << 20)
    watch = world.watches[0]
    at = int(watch.sock.retransmit_timer.at_ns)
    watch.sock.retransmit_timer.disarm()
    with pytest.raises(Broken, match="no timer watches it"):
        watch.look()
    watch.sock.retransmit_timer.arm(0, at)
    watch.look()
    watch.sock.keepalive_timer.arm(3, at)
    with pytest.raises(Broken, match="nobody asked for"):
        watch.look()
    world.close()
