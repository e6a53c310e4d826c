"""Congestion control over whole paths: what each algorithm makes of a bottleneck, by exact seeds and virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import lunar
from lunar.links.red import RedLimits
from lunar.tcp.congestion import bbr as bbr_modes
from lunar.tcp.congestion.bbr import Bbr
from lunar.tcp.sock import TcpSock

MBIT = 1_000_000


class Path:
    """A sender and a receiver with a bottleneck between them; one long transfer in the background."""

    def __init__(self, algorithm: str, **link: Any) -> None:
        self.net = lunar.Network(seed=1)
        self.sender = self.net.host("sender", "10.0.0.1/24")
        self.receiver = self.net.host("receiver", "10.0.0.2/24")
        joined = self.net.link(self.sender, self.receiver, **link)
        self.wire = joined.a_to_b  # type: ignore[union-attr]
        for host in (self.sender, self.receiver):
            host.sh(f"sysctl -w net.ipv4.tcp_congestion_control={algorithm} net.ipv4.tcp_ecn=1")
        self.received = 0
        self.net.start(self.receiver, self._serve)
        self.net.start(self.sender, self._send, at="1ms")

    async def _serve(self) -> None:
        async def handle(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            while data := await reader.read(1 << 20):
                self.received += len(data)

        # Not `async with`, which since Python 3.12 waits for the connection to end, and that never does.
        self.server = await asyncio.start_server(handle, port=80)
        await self.server.serve_forever()

    async def _send(self) -> None:
        _, writer = await asyncio.open_connection("10.0.0.2", 80)
        self.raw = writer.get_extra_info("socket")
        while True:
            writer.write(bytes(1 << 16))
            await writer.drain()

    @property
    def sock(self) -> TcpSock:
        """The sender's end."""
        for row in self.sender.tcp.tables.connections.values():
            for end in row.values():
                if isinstance(end, TcpSock):
                    return end
        raise AssertionError("there is no connection")

    def until(self, seconds: float) -> None:
        self.net.run(until=f"{seconds}s")

    def goodput(self, start: float, end: float) -> float:
        """In Mbit/s, from `start` to `end`."""
        self.until(start)
        before = self.received
        self.until(end)
        return (self.received - before) * 8 / (end - start) / MBIT

    def queueing_ms(self, start: float, end: float) -> float:
        """The mean wait in the bottleneck's queue."""
        self.until(start)
        packets, waited = int(self.wire.packets), int(self.wire.queueing_ns)
        self.until(end)
        return (int(self.wire.queueing_ns) - waited) / (int(self.wire.packets) - packets) / 1e6


@pytest.fixture
def path() -> Iterator[Any]:
    made: list[Path] = []

    def make(algorithm: str, **link: Any) -> Path:
        made.append(Path(algorithm, **link))
        return made[-1]

    yield make
    for one in made:
        one.net.close()


# 10 Mbit/s and 40 ms: 50,000 bytes, 33 segments of 1514 bytes on the wire.
LONG = {"rate": "10mbit", "delay": "20ms"}
FULL = 10 * 1448 / 1514  # Mbit/s of payload that the link carries


@pytest.mark.parametrize("algorithm", ["reno", "cubic", "vegas"])
def test_a_queue_of_one_bdp_keeps_the_link_full(path: Any, algorithm: str) -> None:
    assert path(algorithm, **LONG, queue="33 packets").goodput(4, 9) > 0.95 * FULL


def test_vegas_keeps_two_to_four_segments_in_the_queue(path: Any) -> None:
    p = path("vegas", **LONG, queue="1000 packets")
    p.until(5)
    assert p.wire.dropped_queue == 0
    # A segment takes 1.2 ms to send. The one being sent is not in the queue.
    assert 1.0 <= p.queueing_ms(5, 8) / 1.2112 <= 4.0
    assert p.goodput(8, 10) > 0.98 * FULL
    # cwnd is the path's 33 segments, the one that is sent, and two to four more.
    assert 35 <= p.sock.cwnd <= 39


def test_cubic_fills_a_queue_that_vegas_leaves_empty(path: Any) -> None:
    p = path("cubic", **LONG, queue="100 packets")
    assert p.queueing_ms(5, 10) > 50


def test_dctcp_keeps_the_queue_at_the_threshold(path: Any) -> None:
    """RFC 8257: marks at K = 20 packets, as the instantaneous queue has it."""
    red = RedLimits(least=20, most=20, in_bytes=False, weight=1.0, ecn=True)
    p = path("dctcp", rate="100mbit", delay="500us", queue="1000 packets", red=red)
    p.until(0.5)
    assert p.goodput(0.5, 1) > 0.97 * 100 * 1448 / 1514
    assert p.wire.dropped_queue == 0 and p.wire.marked > 0
    segment_ms = 1514 * 8 / 100e6 * 1e3
    assert 5 <= p.queueing_ms(1, 1.5) / segment_ms <= 25
    assert p.sender.tcp.ip.counters.tcp_timeouts == 0


def test_ecn_marks_in_place_of_drops(path: Any) -> None:
    red = RedLimits(least=10, most=30, in_bytes=False, probability=0.1, ecn=True)
    p = path("reno", **LONG, queue="200 packets", red=red)
    p.until(8)
    assert p.wire.marked > 0
    counters = p.receiver.ip.counters
    assert p.wire.marked - 60 <= counters.ip_in_ce <= p.wire.marked  # some are still on their way
    assert counters.ip_in_ect0 > 1000 and counters.ip_in_ect1 == 0
    assert p.net.link_figures()[0]["marked"] == p.wire.marked
    assert p.sender.ip.counters.ip_in_ce == p.sender.ip.counters.ip_in_ect0 == 0  # pure ACKs are not capable
    assert p.wire.dropped_queue <= 60  # slow start alone outruns the average
    assert p.goodput(8, 12) > 0.8 * FULL
    late = int(p.wire.dropped_queue)
    p.until(15)
    assert p.wire.dropped_queue == late


# BBR.


def bbr(p: Path) -> Bbr:
    algorithm = p.sock.congestion
    assert isinstance(algorithm, Bbr)
    return algorithm


def mbit(p: Path, rate: int) -> float:
    """A rate of BBR's, in segments a microsecond and 2**-24, as Mbit/s of payload."""
    return int(rate) * int(p.sock.mss) * 8 / 2**24


def test_bbr_finds_the_rate_in_startup_and_drains_what_that_queued(path: Any) -> None:
    p = path("bbr", **LONG, queue="1000 packets")
    seen: list[tuple[float, int]] = []
    for step in range(1, 101):
        p.until(step / 100)
        mode = int(bbr(p).mode)
        if not seen or seen[-1][1] != mode:
            seen.append((step / 100, mode))
    assert [mode for _, mode in seen] == [bbr_modes.STARTUP, bbr_modes.DRAIN, bbr_modes.PROBE_BW]
    # The rate doubles each round trip: 10 segments in 40 ms are 2.9 Mbit/s, so it is found in the third round of 40 ms;
    # three more, of up to three times as long, show that it is all.
    assert 0.2 <= seen[1][0] <= 0.7
    assert mbit(p, bbr(p).rate()) == pytest.approx(FULL, rel=0.02)
    assert bbr(p).min_rtt_ns == pytest.approx(40_000_000, rel=0.01)
    assert p.wire.dropped_queue == 0


def test_bbr_goes_on_at_the_rate_with_a_short_queue(path: Any) -> None:
    p = path("bbr", **LONG, queue="1000 packets")
    assert p.goodput(1, 5) > 0.98 * FULL
    # A quarter more for one of eight RTTs: 10 ms at most. (CUBIC's queue is as long as there is room.)
    assert p.queueing_ms(5, 6) < 10


def test_bbr_probes_upwards_and_then_as_much_downwards(path: Any) -> None:
    p = path("bbr", **LONG, queue="1000 packets")
    p.until(2)
    gains = set()
    for step in range(800):
        p.until(2 + step / 1000)
        gains.add(int(bbr(p).pacing_gain))
    assert gains == {320, 256, 192}  # 5/4, 1, 3/4


def test_bbr_looks_for_the_least_rtt_after_ten_seconds(path: Any) -> None:
    p = path("bbr", **LONG, queue="1000 packets")
    p.until(9.9)
    start = 0.0
    for step in range(1, 100):
        p.until(9.9 + step / 100)
        if bbr(p).mode == bbr_modes.PROBE_RTT:
            start = start or 9.9 + step / 100
            assert p.sock.cwnd == 4
        elif start:
            break
    assert 10.0 < start < 10.2
    # 200 ms, and a round trip.
    assert 0.2 <= 9.9 + step / 100 - start <= 0.35
    assert bbr(p).mode == bbr_modes.PROBE_BW and p.sock.cwnd > 60


def test_bbr_does_not_mind_losses_that_tell_of_nothing(path: Any) -> None:
    assert path("bbr", **LONG, queue="100 packets", loss="1%").goodput(2, 7) > 0.9 * FULL
    assert path("cubic", **LONG, queue="100 packets", loss="1%").goodput(2, 7) < 0.5 * FULL


def test_bbr_is_paced(path: Any) -> None:
    """Two segments at a time, at the pacing rate: never a queue of a whole window on a faster link."""
    p = path("bbr", rate="50mbit", delay="20ms", queue="1000 packets")
    p.until(3)
    p.wire.peak_packets = 0
    p.until(4)
    assert p.sock.packets_out > 100
    assert p.wire.peak_packets < 60
