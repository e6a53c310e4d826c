"""What all algorithms share: slow start, additive increase, the initial window, validation of cwnd, rest after idle.

A window that was not filled has not been tried. So it does not grow (RFC 7661's concern, with Linux' test), and it
decays while the program does not use it (RFC 2861, net.ipv4.tcp_slow_start_after_idle). All counts are segments.
"""

from __future__ import annotations

from mypy_extensions import i64

from lunar.tcp.congestion.control import CWND_RESTART
from lunar.tcp.loss.rate import Sample
from lunar.tcp.tcb import CWR, OPEN, RECOVERY, Tcb


def start(tcb: Tcb) -> None:
    """The handshake is complete: RFC 6928 (2), RFC 5681 (3.1)."""
    # One segment if the SYN was lost; Linux forgives the first.
    tcb.set_cwnd(1 if tcb.total_retrans > 1 else initial(tcb))
    tcb.cwnd_stamp_ns = tcb.scheduler.now_ns
    update_pacing_rate(tcb)
    start_algorithm(tcb)


def start_algorithm(tcb: Tcb) -> None:
    """The algorithm of `tcb.congestion` takes over."""
    algorithm = tcb.congestion
    kind = type(algorithm)
    if kind.needs_pacing:
        tcb.needs_pacing = True
    tcb.full_control = kind.full_control
    tcb.needs_ecn = kind.needs_ecn
    tcb.echoes_each_mark = kind.echoes_each_mark
    tcb.congestion_started = True
    algorithm.start(tcb)


def stop_algorithm(tcb: Tcb) -> None:
    """The connection is over, or another algorithm comes."""
    if tcb.congestion_started:
        tcb.congestion_started = False
        tcb.congestion.stop(tcb)


def initial(tcb: Tcb) -> i64:
    """The initial window, which is also where a connection starts again after an idle time."""
    route = tcb.route
    return route.initcwnd if route is not None and route.initcwnd > 0 else tcb.tables.rules.window(tcb.mss)


def slow_start(tcb: Tcb, acked: i64) -> i64:
    """RFC 5681 (3.1), with the byte counting of RFC 3465 done in segments: one more for each acknowledged.

    How many of `acked` are left when ssthresh is reached.
    """
    cwnd: i64 = tcb.cwnd
    grown: i64 = min(cwnd + acked, tcb.ssthresh)
    if grown < cwnd:
        grown = cwnd
    tcb.set_cwnd(grown)
    return acked - (grown - cwnd)


def additive_increase(tcb: Tcb, window: i64, acked: i64) -> None:
    """One segment more for each `window` acknowledged."""
    # A credit that was gathered for a larger window is worth one segment.
    if tcb.cwnd_count >= window:
        tcb.cwnd_count = 0
        tcb.set_cwnd(tcb.cwnd + 1)
    tcb.cwnd_count += acked
    if tcb.cwnd_count >= window:
        more: i64 = tcb.cwnd_count // window
        tcb.cwnd_count -= more * window
        tcb.set_cwnd(tcb.cwnd + more)


def is_cwnd_limited(tcb: Tcb) -> bool:
    """Whether cwnd is what bounds the sender. In slow start Linux lets it be up to twice what was in flight."""
    if tcb.is_cwnd_limited:
        return True
    return tcb.cwnd < tcb.ssthresh and tcb.cwnd < 2 * tcb.max_packets_out


def control(tcb: Tcb, sample: Sample, acked: i64) -> None:
    """The last step of an ACK: the algorithm moves cwnd. `acked` is 0 where it must not grow."""
    if not tcb.congestion_started:
        return  # the SYN had data (RFC 7413), and the handshake is not complete: `start` sets the window
    if tcb.full_control:
        tcb.congestion.control(tcb, sample)
        return
    # What a SYN's data had acknowledged comes before the algorithm has begun.
    if acked > 0 and tcb.congestion_started:
        tcb.congestion.on_ack(tcb, acked)
        # What was asked whether it grows does not decay: `validate` counts an unused RTO from here (so does 6.18).
        tcb.cwnd_stamp_ns = tcb.scheduler.now_ns
    update_pacing_rate(tcb)


def update_pacing_rate(tcb: Tcb) -> None:
    """Pace at cwnd for each SRTT, times tcp_pacing_ss_ratio in slow start, else tcp_pacing_ca_ratio (in percent).

    In slow start only up to half of ssthresh: the last round goes slower already.
    """
    sysctls = tcb.tables.sysctls
    ratio: i64 = sysctls.tcp_pacing_ss_ratio if tcb.cwnd < tcb.ssthresh >> 1 else sysctls.tcp_pacing_ca_ratio
    # Microseconds, so that the products stay below 2**63.
    srtt_us: i64 = max(tcb.srtt_ns // 1000, 1)
    rate: i64 = tcb.mss * max(tcb.cwnd, tcb.packets_out) * ratio * 10_000
    if tcb.srtt_ns > 0:
        rate //= srtt_us
    if 0 <= tcb.max_pacing_rate < rate:
        rate = tcb.max_pacing_rate
    tcb.pacing_rate = rate


def validate(tcb: Tcb, limited: bool) -> None:
    """After sending: remember how much of cwnd was used in this window, and let an unused window decay (RFC 2861)."""
    if (
        tcb.snd_una >= tcb.cwnd_usage_seq
        or limited
        or (not tcb.is_cwnd_limited and tcb.packets_out > tcb.max_packets_out)
    ):
        tcb.is_cwnd_limited = limited
        tcb.max_packets_out = tcb.packets_out
        tcb.cwnd_usage_seq = tcb.snd_nxt
    now: i64 = tcb.scheduler.now_ns
    if is_cwnd_limited(tcb):
        tcb.cwnd_used = 0
        tcb.cwnd_stamp_ns = now
        return
    tcb.cwnd_used = max(tcb.cwnd_used, tcb.packets_out)
    if now - tcb.cwnd_stamp_ns >= tcb.rto_ns and _decays(tcb):
        # A full RTO in which the application, not the network, was the limit. When it waited for room in the send
        # buffer it was the buffer that limited it, and the window is worth keeping.
        if tcb.ca_state == OPEN and not tcb.want_space:
            used: i64 = max(tcb.cwnd_used, initial(tcb))
            if used < tcb.cwnd:
                tcb.set_ssthresh(current_ssthresh(tcb))
                tcb.set_cwnd((tcb.cwnd + used) >> 1)
            tcb.cwnd_used = 0
        tcb.cwnd_stamp_ns = now


def restart_after_idle(tcb: Tcb) -> None:
    """RFC 5681 (4.1), RFC 2861: before data goes out after an idle time, halve cwnd for each RTO, down to the start."""
    idle: i64 = tcb.scheduler.now_ns - tcb.last_sent_ns
    if idle <= tcb.rto_ns or not _decays(tcb):
        return
    tcb.congestion.on_event(tcb, CWND_RESTART)
    tcb.set_ssthresh(current_ssthresh(tcb))
    cwnd: i64 = tcb.cwnd
    floor: i64 = min(initial(tcb), cwnd)
    idle -= tcb.rto_ns
    while idle > 0 and cwnd > floor:
        cwnd >>= 1
        idle -= tcb.rto_ns
    tcb.set_cwnd(max(cwnd, floor))
    tcb.cwnd_stamp_ns = tcb.scheduler.now_ns
    tcb.cwnd_used = 0


def _decays(tcb: Tcb) -> bool:
    """Whether unused windows decay. An algorithm with a model of the path has its own ways."""
    return tcb.tables.sysctls.tcp_slow_start_after_idle != 0 and not tcb.full_control


def current_ssthresh(tcb: Tcb) -> i64:
    """RFC 2861: remember three quarters of the window that was reached."""
    if tcb.ca_state == CWR or tcb.ca_state == RECOVERY:
        return tcb.ssthresh
    return max(tcb.ssthresh, (tcb.cwnd >> 1) + (tcb.cwnd >> 2))
