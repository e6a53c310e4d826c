"""BBR's detector of token-bucket policers: two intervals with much loss and the same rate."""

from __future__ import annotations

from tcp_scenario import Scenario, established, ms

from lunar.tcp.congestion.policer import ABANDONED, FOUND, NOTHING, Policer


def rounds(t: Scenario, policer: Policer, count: int, delivered: int, lost: int, probing: bool = False) -> list[int]:
    """`count` round trips of 100 ms, in each of which so many segments were delivered and lost."""
    found = []
    for _ in range(count):
        t.run(t.now + ms(100))
        t.sock.delivered += delivered
        t.sock.lost += lost
        t.sock.delivered_ns = t.scheduler.now_ns
        found.append(int(policer.update(t.sock, lost, False, True, probing)))
    return found


def test_two_lossy_intervals_of_one_rate_are_a_policer() -> None:
    t, policer = established(), Policer()
    policer.reset(t.sock)
    found = rounds(t, policer, 8, 100, 30)  # 23% lost
    assert found[:-1] == [NOTHING] * 7 and found[-1] == FOUND
    assert policer.in_use
    # 100 segments in 100 ms: a thousandth of a segment a microsecond; the first interval begins within a round.
    assert abs(policer.rate / 2**24 - 0.001) < 0.0002


def test_few_losses_are_none() -> None:
    t, policer = established(), Policer()
    policer.reset(t.sock)
    assert set(rounds(t, policer, 40, 100, 10)) == {NOTHING}  # 10 of 100, below 50 of 256
    assert not policer.in_use


def test_rates_that_differ_are_none() -> None:
    t, policer = established(), Policer()
    policer.reset(t.sock)
    assert FOUND not in rounds(t, policer, 5, 100, 30)
    assert FOUND not in rounds(t, policer, 4, 200, 60)


def test_after_48_round_trips_it_probes_again() -> None:
    t, policer = established(), Policer()
    policer.reset(t.sock)
    rounds(t, policer, 8, 100, 30)
    found = rounds(t, policer, 48, 100, 0, probing=True)
    assert found[:-1] == [NOTHING] * 47 and found[-1] == ABANDONED
    assert not policer.in_use
