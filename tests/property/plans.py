"""Random networks: what is drawn for each from its number.

A plan is drawn feature by feature, each by a generator of its own, so that a feature can be taken out (`without`) and
all others stay as they were; that is how a failing network is made smaller. About half of the features of a plan are
plain: what meets in one network differs from network to network, which finds more than everything at once.

Values for two sides are pairs: first of the host that connects, then of the one that listens.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, NamedTuple

MS = 1_000_000
S = 1_000_000_000

# Faults end after at most so long: before an orphan sends for the last time (8 retransmissions, 51 s and more), and a
# SYN-ACK, which goes out at 1, 3, 7, 15 and 31 s.
HEALS_MAX_NS = 25 * S
# Of data in each direction, at most; and segments of the path's size, so that small MTUs do not make long runs.
SIZE_MAX = 500_000
SEGMENTS_MAX = 500


class Feature(NamedTuple):
    """One property of a network: how it is drawn, and what it is where it is left out."""

    draw: Callable[[random.Random], Any]
    plain: Any


def _sometimes(chance: float, draw: Callable[[random.Random], Any], plain: Any) -> Feature:
    return Feature(lambda rng: draw(rng) if rng.random() < chance else plain, plain)


def _pair(chance: float, draw: Callable[[random.Random], Any], plain: Any) -> Feature:
    """Each side draws for itself."""

    def both(rng: random.Random) -> Any:
        return tuple(draw(rng) if rng.random() < chance else plain for _ in range(2))

    return Feature(both, (plain, plain))


def _log(low: float, high: float) -> Callable[[random.Random], int]:
    """Whole numbers whose magnitudes are equally likely."""
    return lambda rng: int(low * (high / low) ** rng.random())


def _of(*values: Any) -> Callable[[random.Random], Any]:
    return lambda rng: rng.choice(values)


def _size(rng: random.Random) -> int:
    return rng.choice((0, 1, _log(2, 2000)(rng), _log(1000, SIZE_MAX)(rng), _log(20_000, SIZE_MAX)(rng)))


def _calls(rng: random.Random) -> tuple[int, int]:
    """How much one call passes at most, and how long the program waits until the next at most."""
    return _log(1, 60_000)(rng), rng.choice((0, 0, _log(1000, 500 * MS)(rng)))


def _outages(rng: random.Random) -> list[tuple[int, int]]:
    start = rng.randrange(5 * S)
    return [(start, start + _log(50 * MS, 20 * S)(rng))]


FEATURES: dict[str, Feature] = {
    # The path.
    "rate": _sometimes(0.6, _of(100_000, 300_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000), None),
    "delay_ns": Feature(lambda rng: rng.choice((0, _log(1000, MS)(rng), _log(MS, 400 * MS)(rng))), MS),
    "queue": _sometimes(0.5, _of(1, 2, 3, 5, 10, 30, 100), 1000),
    "red": _sometimes(0.15, lambda rng: (rng.choice((1, 3, 10)), rng.choice((0.05, 0.5)), rng.random() < 0.7), None),
    "mtu": _sometimes(0.4, _of(256, 576, 900, 1006, 1280, 4000, 9000), 1500),
    "router_mtu": _sometimes(0.15, _of(600, 1000, 1400, 1500), None),  # of a second link, behind a router
    "mtu_falls": _sometimes(0.1, lambda rng: (rng.randrange(5 * S), rng.choice((600, 1000, 1300))), None),
    "heals_ns": Feature(_log(S, HEALS_MAX_NS), 10 * S),
    "loss": _sometimes(0.4, _of(0.001, 0.01, 0.03, 0.1, 0.2), 0.0),
    "loss_burst": _sometimes(0.3, _of(2.0, 5.0, 15.0), 1.0),
    "reorder": _sometimes(0.3, _of(0.01, 0.1, 0.3), 0.0),
    "reorder_by_ns": Feature(_log(10_000, 200 * MS), MS),
    "duplicate": _sometimes(0.25, _of(0.01, 0.1, 0.3), 0.0),
    "corrupt": _sometimes(0.2, _of(0.001, 0.01, 0.1), 0.0),
    "outages": _sometimes(0.15, _outages, []),
    # The sockets.
    "rcvbuf": _pair(0.3, _of(256, 1000, 2304, 4000, 10_000, 65_536, 1_000_000), 0),
    "sndbuf": _pair(0.3, _of(1000, 2048, 4608, 20_000, 200_000), 0),
    "user_mss": _pair(0.1, _of(88, 100, 216, 536, 1000, 1400), 0),
    "nodelay": _pair(0.3, lambda rng: True, False),
    "cork": _pair(0.1, lambda rng: True, False),
    "keepalive_ns": _pair(0.1, _of(S, 5 * S), 0),
    "quickack": _pair(0.1, _of(False, True), None),
    "pacing_rate": _pair(0.1, _of(20_000, 100_000, 1_000_000), 0),  # bytes a second
    "sysctls": Feature(lambda rng: (_sysctls(rng), _sysctls(rng)), ({}, {})),
    # The programs.
    "opening": _sometimes(0.2, _of("simultaneous", "fast"), "connect"),
    "sizes": Feature(lambda rng: (_size(rng), _size(rng)), (3000, 0)),
    "writes": _pair(0.7, _calls, (65_536, 0)),
    "more": _pair(0.15, _of(0.1, 0.5, 0.9), 0.0),
    "eor": _pair(0.1, _of(0.1, 0.5), 0.0),
    "urgent": _pair(0.08, _of(0.02, 0.2), 0.0),
    "reads": _pair(0.6, _calls, (65_536, 0)),
    "pause": _pair(0.2, lambda rng: (_log(1, 100_000)(rng), _log(10 * MS, 15 * S)(rng)), None),
    "accept_after_ns": _sometimes(0.1, _log(MS, 5 * S), 0),
    "ends": Feature(lambda rng: (_end(rng), _end(rng)), ("half", "half")),
}

# Parameters of a host's TCP that may differ from the default. Those that the stack does not obey are left out.
SYSCTLS: dict[str, tuple[Any, ...]] = {
    "net.ipv4.tcp_sack": (0, 1),
    "net.ipv4.tcp_dsack": (0, 1),
    "net.ipv4.tcp_timestamps": (0, 1),
    "net.ipv4.tcp_window_scaling": (0, 1),
    "net.ipv4.tcp_congestion_control": ("reno", "cubic", "bbr", "dctcp", "vegas"),
    "net.ipv4.tcp_ecn": (0, 1, 2),
    "net.ipv4.tcp_recovery": (0, 1, 3),
    "net.ipv4.tcp_early_retrans": (0, 3),
    "net.ipv4.tcp_frto": (0, 2),
    "net.ipv4.tcp_slow_start_after_idle": (0, 1),
    "net.ipv4.tcp_mtu_probing": (0, 1, 2),
    # Not 2: a cookie is good for the next segment alone; data that overtakes it is answered by a RST, as on Linux.
    "net.ipv4.tcp_syncookies": (0, 1),
    "net.ipv4.tcp_autocorking": (0, 1),
    "net.ipv4.tcp_moderate_rcvbuf": (0, 1),
    "net.ipv4.tcp_limit_output_bytes": (10_000, 4_194_304),
    "net.ipv4.tcp_reordering": (3, 10),
    "net.ipv4.tcp_max_reordering": (10, 300),
    "net.ipv4.tcp_thin_linear_timeouts": (0, 1),
    "net.ipv4.tcp_notsent_lowat": (1000, 16_384, 4_294_967_295),
    "net.ipv4.tcp_comp_sack_nr": (0, 44),
    "net.ipv4.tcp_comp_sack_delay_ns": (100_000, 1_000_000, 5_000_000),
    "net.ipv4.tcp_min_tso_segs": (1, 2, 4),
    "net.ipv4.tcp_tso_win_divisor": (1, 3),
    "net.ipv4.tcp_no_metrics_save": (0, 1),
    "net.ipv4.tcp_tw_reuse": (0, 1, 2),
    "net.ipv4.tcp_rmem": ((4096, 131_072, 6_291_456), (4096, 16_384, 65_536)),
    "net.ipv4.tcp_wmem": ((4096, 16_384, 4_194_304), (4096, 8192, 32_768)),
}


def _sysctls(rng: random.Random) -> dict[str, Any]:
    return {name: rng.choice(values) for name, values in SYSCTLS.items() if rng.random() < 0.25}


def _end(rng: random.Random) -> str:
    """How a program ends.

    half: it shuts its sending side when all is written, reads to the end and closes. wait: it closes when all is
    written and the peer has ended. early: it closes when all is written. abort: it resets after half of its data.
    """
    return rng.choice(("half", "half", "half", "half", "wait", "early", "abort"))


def draw(number: int, without: Iterable[str] = ()) -> SimpleNamespace:
    """The plan of network `number`; the features of `without` are plain in it."""
    plan = SimpleNamespace(number=number)
    for name, feature in FEATURES.items():
        value = feature.plain if name in without else feature.draw(random.Random(f"{number}/{name}"))
        setattr(plan, name, value)
    plan.sysctls = tuple({name: v for name, v in values.items() if name not in without} for values in plan.sysctls)
    if plan.ends == ("wait", "wait"):
        plan.ends = ("half", "wait")  # somebody must be the first
    if not set(plan.ends) <= {"half", "wait"}:
        # A reset may be lost, and with it the news that the peer is gone: only keepalive finds out.
        plan.keepalive_ns = tuple(value or 5 * S for value in plan.keepalive_ns)
    smallest = min(plan.mtu, plan.router_mtu or 65_535, plan.mtu_falls[1] if plan.mtu_falls else 65_535)
    segment = max(min(smallest - 52, *(mss or 65_535 for mss in plan.user_mss)), 48)
    most = SEGMENTS_MAX * segment
    if min(plan.rcvbuf) and min(size for size in plan.rcvbuf if size) < 2000:
        most = min(most, 30_000)  # each window is a handful of bytes
    plan.sizes = tuple(min(size, most) for size in plan.sizes)
    # Many small calls with a wait each make long runs that show nothing more: some hundred are enough.
    plan.writes = tuple(_bounded(call, size) for call, size in zip(plan.writes, plan.sizes, strict=True))
    plan.reads = tuple(_bounded(call, size) for call, size in zip(plan.reads, reversed(plan.sizes), strict=True))
    return plan


def _bounded(call: tuple[int, int], size: int) -> tuple[int, int]:
    chunk, gap_ns = call
    return max(chunk, size // 200), gap_ns


def not_plain(plan: SimpleNamespace) -> list[str]:
    """What can be taken out of this plan: features, and parameters of one host or both."""
    features = [name for name, feature in FEATURES.items() if getattr(plan, name) != feature.plain]
    return features + [name for name in SYSCTLS if any(name in values for values in plan.sysctls)]


def describe(plan: SimpleNamespace) -> str:
    """All that is not plain, for a person."""
    return ", ".join(f"{name}={getattr(plan, name)!r}" for name in not_plain(plan) if name in FEATURES)
