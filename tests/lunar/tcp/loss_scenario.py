"""What the tests of loss recovery begin with: a window of full segments in flight, some of which will be lost."""

from __future__ import annotations

from tcp_scenario import LOCAL, MSS, Scenario, established, ms

D = LOCAL + 1  # the first byte of data


def in_flight(
    segments: int,
    window: int = 65535,
    sack: bool = True,
    timestamps: bool = False,
    waiting: int = -1,
    rtt: int = ms(100),
) -> Scenario:
    """`segments` full segments were sent at 0; `waiting` more wait, as many again if it is not given.

    cwnd is `segments`, RTT 100 ms, RTO 300 ms, the window in KiB. Without timestamps a segment has MSS bytes.
    """
    t = established(wscale=10, sack=sack, timestamps=timestamps, rtt=rtt)
    t.gets(at=0, window=window)
    t.sock.cwnd = segments
    t.sock.sndbuf = 4_000_000
    size = int(t.sock.mss) * (segments + (segments if waiting < 0 else waiting))
    assert t.write(b"x" * size) == size
    assert t.forget() == segments
    return t


def blocks(*ranges: tuple[int, int]) -> list[tuple[int, int]]:
    """SACK blocks of whole segments, from the first to before the second number; segment 0 begins at D."""
    return [(D + first * MSS, D + last * MSS) for first, last in ranges]
