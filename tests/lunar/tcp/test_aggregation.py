"""ACKs in bunches: what was acknowledged beyond what the rate explains, of the last rounds."""

from __future__ import annotations

from tcp_scenario import Scenario, established, ms

from lunar.tcp.congestion.aggregation import AckAggregation

ONE_A_MS = 2**24 // 1000 + 1  # segments a microsecond in 1/2**24, rounded up


def acked(t: Scenario, aggregation: AckAggregation, at: int, segments: int, round_start: bool = False) -> None:
    t.run(at)
    t.sock.delivered_ns = t.scheduler.now_ns
    aggregation.update(t.sock, segments, ONE_A_MS, round_start)


def counting() -> tuple[Scenario, AckAggregation]:
    t = established()
    t.sock.cwnd = 100
    aggregation = AckAggregation()
    aggregation.restart(t.scheduler.now_ns)
    return t, aggregation


def test_acks_at_the_rate_are_no_bunch() -> None:
    t, aggregation = counting()
    for step in range(1, 100):
        acked(t, aggregation, ms(step), 1)
    assert aggregation.segments(ONE_A_MS) == 1  # the segment of the ACK itself begins each epoch


def test_bunch_is_what_came_beyond_the_rate() -> None:
    t, aggregation = counting()
    for step in range(1, 6):  # twenty at once, each 20 ms
        for _ in range(10):
            acked(t, aggregation, ms(20 * step), 2)
    assert aggregation.segments(ONE_A_MS) == 20


def test_bunch_is_forgotten_after_ten_rounds() -> None:
    t, aggregation = counting()
    acked(t, aggregation, ms(20), 2)
    acked(t, aggregation, ms(20), 18)
    for step in range(1, 12):
        assert aggregation.segments(ONE_A_MS) == (20 if step <= 10 else 1), step
        acked(t, aggregation, ms(20 + 100 * step), 1, round_start=True)


def test_no_more_than_a_tenth_of_a_second() -> None:
    t, aggregation = counting()
    t.sock.cwnd = 1000
    acked(t, aggregation, ms(1), 500)
    assert aggregation.segments(ONE_A_MS) == 100
