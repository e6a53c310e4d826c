"""Delivery rate samples (draft-cheng-iccrg-delivery-rate-estimation) and the least RTT, by exact numbers."""

from __future__ import annotations

from typing import Any

import pytest
from tcp_scenario import LOCAL, MSS, Scenario, ms, s

from lunar.tcp.congestion.reno import Reno
from lunar.tcp.loss import rate
from lunar.tcp.loss.rate import Sample
from lunar.tcp.tcb import Tcb

D = LOCAL + 1


class Keeping(Reno):
    """Takes full control, moves nothing, and keeps what each sample said."""

    name = "keeping"
    full_control = True

    def __init__(self) -> None:
        super().__init__()
        self.samples: list[dict[str, Any]] = []

    def control(self, tcb: Tcb, sample: Sample) -> None:
        names = ("acked", "losses", "delivered", "interval_ns", "prior_in_flight", "rtt_ns")
        values: dict[str, Any] = {name: int(getattr(sample, name)) for name in names}
        for name in ("is_app_limited", "is_retransmission", "is_ack_delayed"):
            values[name] = getattr(sample, name)
        values["rate"] = int(sample.rate(tcb.mss))
        self.samples.append(values)


def measured(segments: int = 40) -> tuple[Scenario, Keeping]:
    """A connection at time 0, with an RTT of 100 ms and a window of 10, that has been given so many segments."""
    t = Scenario()
    t.tcp.congestion = Keeping
    sock = t.connect()
    t.start = ms(100)
    t.forget()
    t.gets(at=0, seq=9_000_000, ack=D, flags=0x12, mss=1460, window_scale=10)
    t.gets(at=0)
    sock.sndbuf = 4_000_000
    algorithm = sock.congestion
    assert isinstance(algorithm, Keeping)
    algorithm.samples.clear()
    if segments:
        t.write(b"x" * segments * MSS)
    t.forget()
    return t, algorithm


def test_rate_is_what_was_delivered_since_the_segment_was_sent() -> None:
    t, algorithm = measured()
    t.gets(at=ms(100), ack=D + 4 * MSS)
    (first,) = algorithm.samples
    # Four segments of the first flight, which all left at 0: 100 ms.
    assert (first["acked"], first["delivered"], first["interval_ns"]) == (4, 4, ms(100))
    assert first["rate"] == 40 * MSS and first["prior_in_flight"] == 10 and first["rtt_ns"] == ms(100)
    t.gets(at=ms(120), ack=D + 10 * MSS)
    second = algorithm.samples[1]
    assert (second["acked"], second["delivered"], second["interval_ns"]) == (6, 10, ms(120))
    # What went at 100 ms, when four had been delivered: in 105 ms all of the ten and itself.
    t.gets(at=ms(205), ack=D + 12 * MSS)
    third = algorithm.samples[2]
    assert (third["acked"], third["delivered"], third["interval_ns"]) == (2, 8, ms(105))


def test_longer_of_sending_and_acknowledging_counts() -> None:
    """ACKs that come in a bunch do not make the path seem faster than data was sent."""
    t, algorithm = measured()
    t.gets(at=ms(100), ack=D + 2 * MSS)  # two more go at 100 ms
    t.gets(at=ms(180), ack=D + 4 * MSS)  # two more go at 180 ms
    t.gets(at=ms(190), ack=D + 10 * MSS)
    t.gets(at=ms(285), ack=D + 14 * MSS)
    last = algorithm.samples[-1]
    # The last of them left at 180 ms; at that time 4 were delivered, 10 since. The latest delivered before it left at
    # 0, so sending took 180 ms; the ACKs took 105 ms.
    assert (last["delivered"], last["interval_ns"]) == (10, ms(180))


def test_rate_of_a_program_that_wrote_too_little_is_marked() -> None:
    t, algorithm = measured(segments=4)
    t.gets(at=ms(100), ack=D + 4 * MSS)
    # With room in cwnd the second write finds that the first was all there was to send.
    t.write(b"x" * 2 * MSS)
    t.gets(at=ms(200), ack=D + 6 * MSS)
    assert [sample["is_app_limited"] for sample in algorithm.samples] == [True, True]
    assert t.sock.rate_app_limited
    # Once a full window is on its way and what was limited is delivered, samples count again.
    t.write(b"x" * 60 * MSS)
    t.forget()
    t.gets(at=ms(300), ack=D + 16 * MSS)
    t.gets(at=ms(400), ack=D + 26 * MSS)
    assert not algorithm.samples[-1]["is_app_limited"]


def test_silence_is_no_part_of_the_interval() -> None:
    t, algorithm = measured(segments=4)
    t.gets(at=ms(100), ack=D + 4 * MSS)
    t.run(s(10))
    t.write(b"x" * 2 * MSS)
    t.gets(at=s(10) + ms(100), ack=D + 6 * MSS)
    assert (algorithm.samples[-1]["delivered"], algorithm.samples[-1]["interval_ns"]) == (2, ms(100))


def test_no_interval_is_shorter_than_the_least_rtt() -> None:
    """A retransmission that was not needed is acknowledged too soon to measure by."""
    t, algorithm = measured()
    t.run(ms(300))  # the timeout sends the first again
    t.forget()
    t.gets(at=ms(310), ack=D + 10 * MSS)
    last = algorithm.samples[-1]
    assert last["acked"] == 10
    assert last["interval_ns"] == -1 or last["interval_ns"] >= ms(100)


def test_losses_are_told() -> None:
    t, algorithm = measured()
    for _ in range(3):
        t.gets(at=ms(100))
    assert sum(sample["losses"] for sample in algorithm.samples) == 1


def test_small_segment_alone_may_have_been_delayed() -> None:
    t, algorithm = measured(segments=0)
    t.write(b"x" * 100)
    t.gets(at=ms(140), ack=D + 100)
    assert algorithm.samples[-1]["is_ack_delayed"]
    t.write(b"x" * MSS)
    t.gets(at=ms(280), ack=D + 100 + MSS)
    assert not algorithm.samples[-1]["is_ack_delayed"]


def test_best_rate_is_told_in_tcp_info() -> None:
    t, _ = measured()
    t.gets(at=ms(100), ack=D + 10 * MSS)
    assert t.sock.info().delivery_rate == 100 * MSS
    t.gets(at=ms(300), ack=D + 12 * MSS)
    # Slower, but measured without a limit of the program's: the newest counts.
    assert t.sock.info().delivery_rate == 2 * MSS * 1000 // 200
    assert t.sock.info().delivered == 13  # the SYN among them


def test_least_rtt_is_forgotten_after_its_window() -> None:
    t, _ = measured(segments=0)
    t.tcp.tables.sysctls.tcp_min_rtt_wlen = 10
    sent = 0
    for second, rtt in ((0, 100), (3, 150), (6, 120), (9, 130), (12, 140)):
        t.run(s(second))
        t.write(b"x" * MSS)
        sent += MSS
        t.gets(at=s(second) + ms(rtt), ack=D + sent)
        t.forget()
        expected = 100 if second <= 9 else 120
        assert rate.min_rtt(t.sock) == ms(expected), second


@pytest.mark.parametrize("delivered", [0, -1])
def test_without_a_sample_there_is_no_rate(delivered: int) -> None:
    sample = Sample()
    sample.delivered = delivered
    sample.interval_ns = ms(1)
    assert sample.rate(1460) == 0
