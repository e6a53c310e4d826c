"""The round-trip time and the retransmission timeout, RFC 6298, with Linux' refinements.

Linux floors the variance instead of the timeout, follows a falling RTT without letting the variance jump, and lets
the variance sink only once a window. `rttvar_ns` and the two `mdev`s are kept times four, because that is how the
timeout adds them.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lunar.tcp.tcb import Tcb

# RFC 6298 (2.4) floors the RTO at 1 s. Linux floors its variance term, at tcp_rto_min_us; we follow Linux.
RTO_MAX_NS: Final = 120_000_000_000  # TCP_RTO_MAX

_SAMPLE_MIN_NS: Final = 1_000  # Linux' clock for this has microseconds, and 0 would mean "none measured"


def sample(tcb: Tcb, rtt_ns: i64) -> None:
    """Take one measurement, and compute the RTO from it; which ends a backoff (RFC 6298 section 5)."""
    m: i64 = max(rtt_ns, _SAMPLE_MIN_NS)
    tick: i64 = tcb.tables.rules.tick_ns
    if tick != 0:
        # By a clock that ticks: so many ticks as came between, and one at least.
        now: i64 = tcb.scheduler.now_ns
        m = max(now // tick - (now - m) // tick, 1) * tick
    if tcb.srtt_ns == 0:
        # (2.2) RTTVAR = R / 2, and four times that.
        tcb.srtt_ns = m
        tcb.mdev_ns = 2 * m
        tcb.rttvar_ns = max(2 * m, tcb.rto_min_ns)
        tcb.mdev_max_ns = tcb.rttvar_ns
        tcb.rtt_seq = tcb.snd_nxt
    else:
        # (2.3), alpha = 1/8, beta = 1/4.
        error: i64 = m - tcb.srtt_ns
        tcb.srtt_ns += error >> 3
        if error < 0:
            # A lower RTT is no reason to expect a higher one: such an error raises the deviation by an eighth only.
            deviation: i64 = -error * 4 - tcb.mdev_ns
            tcb.mdev_ns += deviation >> 5 if deviation > 0 else deviation >> 2
        else:
            tcb.mdev_ns += (error * 4 - tcb.mdev_ns) >> 2
        if tcb.mdev_ns > tcb.mdev_max_ns:
            tcb.mdev_max_ns = tcb.mdev_ns
            tcb.rttvar_ns = max(tcb.rttvar_ns, tcb.mdev_max_ns)
        if tcb.snd_una > tcb.rtt_seq:
            # A window has passed: now the variance may sink.
            if tcb.mdev_max_ns < tcb.rttvar_ns:
                tcb.rttvar_ns -= (tcb.rttvar_ns - tcb.mdev_max_ns) >> 2
            tcb.rtt_seq = tcb.snd_nxt
            tcb.mdev_max_ns = tcb.rto_min_ns
    begin_again(tcb)


def begin_again(tcb: Tcb) -> None:
    """Compute the RTO from what was measured, without a backoff; the least there is where nothing was."""
    tcb.rto_ns = min(max(tcb.srtt_ns + tcb.rttvar_ns, tcb.rto_min_ns), RTO_MAX_NS)
    tcb.backoff = 0


def sample_by_timestamp(tcb: Tcb, ts_ecr: i64) -> None:
    """RFC 7323 (4.1): measure by an echoed timestamp, where Karn's rule forbids to by the time of sending.

    An echo of nothing, or of what we cannot have sent, is ignored.
    """
    if ts_ecr == 0:
        return
    elapsed_ms: i64 = (tcb.timestamp() - ts_ecr) & 0xFFFF_FFFF
    if elapsed_ms < 2_000_000:
        sample(tcb, max(elapsed_ms, 1) * 1_000_000)


def back_off(tcb: Tcb) -> None:
    """RFC 6298 (5.5): double the timeout, up to its maximum."""
    tcb.backoff += 1
    tcb.rto_ns = min(tcb.rto_ns << 1, RTO_MAX_NS)
