"""Random early detection: the average, the probability between the thresholds, marks in place of drops."""

from __future__ import annotations

import random
from typing import Any

import pytest

from lunar.links.link import Wire
from lunar.links.red import DROP, KEEP, MARK, Red, RedLimits
from lunar.net.device import Device
from lunar.net.ip import Ip
from lunar.net.ip_input import IpInput
from lunar.packet import AF_INET, Packet
from weaves.scheduler import Lane, Scheduler


def packet(tos: int = 0) -> Packet:
    made = Packet(AF_INET, 1, 2, 253, b"")
    # With its Ethernet header 1000 bytes: a millisecond at 8 Mbit/s.
    made.size_bytes, made.tos, made.eth_dst = 986, tos, 1
    return made


def judged(red: Red, waiting: int, count: int = 1, tos: int = 0) -> list[int]:
    """The verdicts on frames that find `waiting` before them on a busy link."""
    return [int(red.judge(packet(tos), waiting, 0, -1, 1)) for _ in range(count)]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ((5, 3, False), "least is 5 and most 3; expected 0 <= least <= most"),
        ((-1, 3, False), "least is -1 and most 3; expected 0 <= least <= most"),
        ((1, 3, False, 2.0), "probability is 2.0; expected 0 to 1"),
        ((1, 3, False, 0.1, 0.0), "weight is 0.0; expected more than 0, and 1 at most"),
    ],
)
def test_limits_that_make_no_sense(limits: Any, message: str) -> None:
    with pytest.raises(ValueError) as refused:
        RedLimits(*limits)
    assert str(refused.value) == message


def test_average_follows_slowly() -> None:
    red = Red(RedLimits(50, 100, False, weight=0.002), random.Random(1))
    judged(red, 40, 500)
    assert red.average == pytest.approx(40 * (1 - 0.998**500))


def test_idle_time_lowers_the_average_as_so_many_frames_would() -> None:
    red = Red(RedLimits(50, 100, False, weight=0.002), random.Random(1))
    judged(red, 40, 500)
    before = red.average
    red.judge(packet(), 0, 3_000_000, 2_000_000, 10_000)  # idle for a millisecond: a hundred frames of 10 us
    assert red.average == pytest.approx(before * 0.998**100 * 0.998)


def test_below_the_thresholds_nothing_is_dropped_and_above_everything() -> None:
    red = Red(RedLimits(10, 20, False, weight=1.0), random.Random(1))
    assert set(judged(red, 9, 100)) == {KEEP}
    assert set(judged(red, 20, 100)) == {DROP}


def test_probability_grows_between_them() -> None:
    for waiting, share in ((12, 0.02), (15, 0.05), (19, 0.09)):
        red = Red(RedLimits(10, 20, False, probability=0.1, weight=1.0), random.Random(waiting))
        drops = judged(red, waiting, 20_000).count(DROP)
        # A gap between drops is uniform from 1 to 1 / chance, of a mean of half of that: twice the chance.
        assert drops == pytest.approx(20_000 * 2 * share, rel=0.1)


def test_gaps_between_drops_are_bounded() -> None:
    red = Red(RedLimits(10, 20, False, probability=0.1, weight=1.0), random.Random(3))
    verdicts = judged(red, 15, 5_000)
    gaps = [len(row) for row in "".join(map(str, verdicts)).split(str(DROP))]
    assert max(gaps) <= 20  # 1 / 0.05


def test_frames_of_senders_with_ecn_are_marked() -> None:
    red = Red(RedLimits(10, 10, False, weight=1.0, ecn=True), random.Random(1))
    frame = packet(tos=0b101110_10)
    assert red.judge(frame, 10, 0, -1, 1) == MARK
    assert frame.tos == 0b101110_11
    assert red.judge(packet(tos=0), 10, 0, -1, 1) == DROP
    assert Red(RedLimits(10, 10, False, weight=1.0), random.Random(1)).judge(packet(tos=2), 10, 0, -1, 1) == DROP


def test_wire_asks_with_what_waits_behind_the_frame_that_is_sent() -> None:
    scheduler = Scheduler()
    end = Device("eth0", 1, 1500, IpInput(Ip(scheduler, Lane(1), None)))
    arrived: list[int] = []
    end.tap = lambda _, frame: arrived.append(int(frame.tos))  # type: ignore[attr-defined]
    wire = Wire(scheduler, Lane(2), end, 8_000_000, 0, 100, 0, None)
    wire.red = Red(RedLimits(3, 3, False, weight=1.0, ecn=True), random.Random(1))
    for _ in range(6):
        wire.send(packet(tos=2))
    scheduler.run(10**9, 1 << 30)
    # The first is being sent, three wait behind it; the fifth and the sixth find three and four.
    assert arrived == [2, 2, 2, 2, 3, 3]
    assert (wire.marked, wire.dropped_early) == (2, 0)
    for _ in range(6):
        wire.send(packet(tos=0))
    scheduler.run(2 * 10**9, 1 << 30)
    assert (wire.packets, wire.dropped_early, wire.dropped_queue) == (10, 2, 2)
