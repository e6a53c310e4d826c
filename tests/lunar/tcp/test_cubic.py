"""CUBIC, RFC 9438, and HyStart: the curve against the RFC's formula, the end of slow start at exact times."""

from __future__ import annotations

import random

import pytest
from tcp_scenario import LOCAL, MSS, Scenario, established, ms, s

from lunar.tcp.congestion.control import TX_START
from lunar.tcp.congestion.cubic import _OFFSET_MAX, Cubic, _cube_root
from lunar.tcp.tcb import OPEN, RECOVERY

D = LOCAL + 1
BETA = 717 / 1024
C = 410 / 1024


def cubic(cwnd: int, ssthresh: int, rtt: int = ms(100)) -> Scenario:
    """A connection in congestion avoidance with `cwnd` segments in flight and no end of data."""
    t = established(wscale=10, rtt=rtt, sack=True)
    t.gets(at=0, window=65535)
    t.sock.congestion = Cubic()
    t.sock.congestion.start(t.sock)
    t.sock.cwnd = cwnd
    t.sock.ssthresh = ssthresh
    t.sock.sndbuf = 1 << 30
    t.write(b"x" * 20_000 * MSS)
    assert t.forget() == cwnd
    return t


def still(cwnd: int) -> tuple[Scenario, Cubic]:
    """A connection with nothing in flight, whose algorithm is asked by hand; cwnd counts as the limit."""
    t = established()
    algorithm = Cubic()
    t.sock.congestion = algorithm
    algorithm.start(t.sock)
    t.sock.cwnd = cwnd
    t.sock.ssthresh = cwnd
    t.sock.is_cwnd_limited = True
    return t, algorithm


def reduce(t: Scenario, algorithm: Cubic) -> None:
    """As after a recovery: cwnd is at the new ssthresh."""
    t.sock.ssthresh = t.sock.cwnd = algorithm.on_loss(t.sock)


def acknowledge(t: Scenario, at: int, segments: int) -> None:
    """One ACK for `segments` more."""
    t.gets(at=at, ack=int(t.sock.snd_una) - t.iss + LOCAL + segments * MSS)
    t.forget()


def lose(t: Scenario, at: int) -> None:
    """The first segment in flight is lost, found when three after it have arrived; all is well again at `at`."""
    second = int(t.sock.snd_una) - t.iss + LOCAL + MSS
    for count in (1, 2, 3):
        t.gets(at=at, sack=[(second, second + count * MSS)])
    assert t.sock.ca_state == RECOVERY
    t.gets(at=at, ack=int(t.sock.snd_nxt) - t.iss + LOCAL)
    t.forget()
    assert t.sock.ca_state == OPEN


def test_cube_root_is_exact() -> None:
    rng = random.Random(1)
    for root in [*range(1, 200), *(rng.randrange(1 << 20) for _ in range(200))]:
        assert _cube_root(root**3) == root
        assert _cube_root(root**3 - 1) == root - 1
        assert _cube_root((root + 1) ** 3 - 1) == root
    assert _cube_root(0) == 0


def test_loss_leaves_seven_tenths() -> None:
    t = cubic(100, 50)
    lose(t, ms(100))
    assert t.sock.ssthresh == 70  # 100 * 717 / 1024 = 70.02, RFC 9438 (4.6)


def test_fast_convergence_releases_bandwidth() -> None:
    t, algorithm = still(100)
    assert algorithm.on_loss(t.sock) == 70 and algorithm.last_max == 100
    t.sock.cwnd = 80  # below the last W_max: RFC 9438 (4.7), W_max = cwnd (1 + beta) / 2
    assert algorithm.on_loss(t.sock) == 56 and algorithm.last_max == int(80 * (1 + BETA) / 2)
    t.sock.cwnd = 90
    assert algorithm.on_loss(t.sock) == 63 and algorithm.last_max == 90


@pytest.mark.parametrize("w_max", [200, 1000, 4000])
def test_window_follows_the_cubic_curve(w_max: int) -> None:
    """W(t) = C (t - K)^3 + W_max, RFC 9438 equation 1, computed here in floating point."""
    rtt = 0.1
    t, algorithm = still(w_max)
    reduce(t, algorithm)
    cwnd_epoch = int(t.sock.cwnd)
    algorithm.least_rtt_ns = ms(100)
    k = ((w_max - cwnd_epoch) / C) ** (1 / 3)
    start = ms(100)
    for step in range(round(2 * k * 100)):  # an ACK each 10 ms for a tenth of a window
        now = start + ms(10) * step
        t.run(now)
        algorithm.on_ack(t.sock, max(int(t.sock.cwnd) // 10, 1))
        if step % 100 == 99:
            elapsed = step / 100
            # The window gets to the value of one RTT ahead within one RTT, so it is between those of two times; it
            # grows by no more than half of what is acknowledged, and by one segment at a time.
            low = C * (elapsed - rtt - k) ** 3 + w_max
            high = C * (elapsed + rtt - k) ** 3 + w_max
            margin = 2 + 0.005 * w_max
            assert low - margin <= t.sock.cwnd <= high + margin, (elapsed, low, int(t.sock.cwnd), high)
    assert t.sock.cwnd > w_max  # the convex part has begun


def test_k_is_when_the_window_is_back() -> None:
    t, algorithm = still(1000)
    reduce(t, algorithm)
    algorithm.on_ack(t.sock, 1)
    k = ((1000 - 700) / C) ** (1 / 3)  # RFC 9438 equation 2: 9.08 s
    assert algorithm.k == pytest.approx(k * 1024, abs=1)


def test_small_windows_grow_as_reno_would() -> None:
    """RFC 9438 (4.3): W_est grows by alpha = 3 (1 - beta) / (1 + beta) each window, 0.529; Linux: 8/15."""
    t, algorithm = still(14)
    reduce(t, algorithm)  # to 9; K = 2.3 s: with an RTT of 10 ms the curve alone is slower at first
    algorithm.least_rtt_ns = ms(10)
    for turn in range(1, 31):
        t.run(ms(100) + ms(10) * turn)
        for _ in range(int(t.sock.cwnd)):
            algorithm.on_ack(t.sock, 1)
    # 30 windows of 8/15 segment.
    assert 9 + 13 <= t.sock.cwnd <= 9 + 17


def test_growth_is_at_most_one_for_two_acknowledged() -> None:
    t, algorithm = still(100)
    reduce(t, algorithm)
    algorithm.on_ack(t.sock, 1)
    t.run(s(60))  # far up the curve: the target is thousands
    before = int(t.sock.cwnd)
    algorithm.on_ack(t.sock, 10)
    assert t.sock.cwnd == before + 5


def test_idle_time_is_no_time_of_growth() -> None:
    """RFC 9438 (5.8): the epoch is moved by the time in which nothing was in flight."""
    t, algorithm = still(100)
    reduce(t, algorithm)
    t.run(s(1))
    algorithm.on_ack(t.sock, 1)
    epoch = algorithm.epoch_ms
    t.run(s(2))
    t.sock.last_sent_ns = t.scheduler.now_ns
    t.run(s(5))
    algorithm.on_event(t.sock, TX_START)
    assert algorithm.epoch_ms == epoch + 3000
    algorithm.on_event(t.sock, TX_START)
    assert algorithm.epoch_ms == int(t.scheduler.now_ns) // 1_000_000  # never beyond now


# HyStart.


def test_hystart_ends_slow_start_when_the_rtt_grows() -> None:
    """Eight samples of a round, and the least is above the least of all by an eighth, 4 ms at least (16 at most)."""
    t = cubic(20, 1 << 30)
    for n in range(20):
        acknowledge(t, ms(100) + ms(5) * n, 1)  # RTTs of 100 ... 195 ms: but the least of this round is 100
    assert t.sock.ssthresh > 1000
    assert t.sock.cwnd == 40
    # The next round: all of its RTTs are 113 ms, above 100 + 12.5.
    for n in range(8):
        acknowledge(t, ms(213) + ms(5) * n, 2)
        assert t.sock.ssthresh > 1000, n
    before = int(t.sock.cwnd)
    acknowledge(t, ms(213) + ms(40), 2)
    assert t.sock.ssthresh == before
    assert t.host.count.tcp_hystart_delay_detect == 1
    assert t.host.count.tcp_hystart_delay_cwnd == before


def test_hystart_tolerates_an_eighth_of_the_rtt() -> None:
    t = cubic(20, 1 << 30)
    for n in range(20):
        acknowledge(t, ms(100) + ms(5) * n, 1)
    for n in range(18):
        acknowledge(t, ms(212) + ms(5) * n, 2)  # 112 ms at the least
    assert t.sock.ssthresh > 1000


def test_hystart_ends_slow_start_when_a_train_of_acks_is_long() -> None:
    """ACKs of one round, 2 ms apart at most, for more than half of the least RTT."""
    t = cubic(40, 1 << 30)
    acknowledge(t, ms(100), 1)  # the round begins at 0 and this ACK is far from it: no train
    assert t.sock.ssthresh > 1000
    acknowledge(t, ms(101), 38)
    acknowledge(t, ms(102), 1)  # the end of the first round
    at = ms(200)
    acknowledge(t, at, 1)  # snd_una passes the end: a round begins
    start = at
    while t.sock.ssthresh > 1000:
        at += ms(2)
        assert at < start + ms(60)
        before = int(t.sock.cwnd)
        acknowledge(t, at, 1)
    # Half of 100 ms and of the millisecond that large bursts may add.
    assert start + ms(50) < at <= start + ms(54)
    assert t.sock.ssthresh == before
    assert t.host.count.tcp_hystart_train_detect == 1


def test_hystart_leaves_small_windows_alone() -> None:
    t = cubic(5, 1 << 30)
    for n in range(5):
        acknowledge(t, ms(100) + ms(20) * n, 1)
    for n in range(5):
        acknowledge(t, ms(400) + ms(20) * n, 1)
    assert t.sock.ssthresh > 1000


def test_the_cube_fits_64_bits_however_long_the_growth_lasts() -> None:
    _, algorithm = still(100)
    algorithm.last_max = 100
    algorithm._start_epoch(100, 1, 0)
    grown = [int(algorithm._curve(100, round(seconds * 1000))) for seconds in (20, 272, 300, 360, 500, 86_400)]
    assert grown[0] < 100 and grown[1:] == [0] * 5  # before the least count: `_update` makes 2 of it
    longest = next(value for value in range(500_000, 0, -1000) if 410 * value**3 < 1 << 63)
    assert longest >= _OFFSET_MAX
