"""Asking whether the peer is there: probes of a closed window, keepalive, and what a program says is too long.

RFC 9293 sections 3.8.6.1 (window probes) and 3.8.4 (keepalive), RFC 5482 and tcp(7) TCP_USER_TIMEOUT. As Linux has it,
the user timeout is for three cases: data without an ACK (the retransmission timer asks `clamped_rto`), a window that
stays closed, and a connection that keepalive tests. The answer to a probe is an ACK, which ack.py sees.
"""

from __future__ import annotations

import errno
from typing import Final

from mypy_extensions import i64

from lunar.tcp import timers
from lunar.tcp.loss.rtt import RTO_MAX_NS
from lunar.tcp.sender import output, segments
from lunar.tcp.tcb import SYN_SENT, Tcb

# TCP_RESOURCE_PROBE_INTERVAL: when our own device refused a segment it is asked again so soon.
NOT_SENT_NS: Final = 500_000_000
_ORPHAN_RETRIES: Final = 8  # what tcp_orphan_retries 0 means while the peer may be alive
_LEAST_NS: Final = 2_000_000  # TCP_TIMEOUT_MIN, two ticks of a kernel with 1000 a second
_S: Final = 1_000_000_000


def give_up(tcb: Tcb) -> None:
    """RFC 9293 (3.8.3): tell the program; what ICMP said is a better reason than the time (RFC 1122 4.2.3.9)."""
    tcb.ip.counters.tcp_abort_on_timeout += 1
    tcb.fail(tcb.soft_error if tcb.soft_error else errno.ETIMEDOUT)


def orphan_retries(tcb: Tcb, alive: bool) -> i64:
    """How often an orphan asks without an answer (tcp_orphan_retries). Not at all when ICMP said that nobody is there
    and the timeout has reached its maximum.
    """
    retries: i64 = tcb.tables.sysctls.tcp_orphan_retries
    if tcb.soft_error and not alive:
        return 0
    if retries == 0 and alive:
        return _ORPHAN_RETRIES
    return retries


# Window probes.


def window_expired(tcb: Tcb) -> None:
    """The window is closed still: ask, at growing intervals, for as long as answers come."""
    if tcb.packets_out > 0 or not tcb.has_unsent():
        tcb.probes_out = 0
        tcb.probes_since_ns = 0
        return
    now: i64 = tcb.scheduler.now_ns
    if tcb.probes_since_ns == 0:
        tcb.probes_since_ns = now
    elif tcb.user_timeout_ns > 0 and now - tcb.probes_since_ns >= tcb.user_timeout_ns:
        give_up(tcb)
        return
    most: i64 = tcb.tables.sysctls.tcp_retries2
    if tcb.orphan:
        alive = tcb.rto_ns << min(tcb.backoff, 20) < RTO_MAX_NS
        most = orphan_retries(tcb, alive)
        if not alive and tcb.backoff >= most:
            give_up(tcb)
            return
    if tcb.probes_out >= most:
        give_up(tcb)
        return
    failed: i64 = output.wake_up(tcb)
    if tcb.packets_out > 0 or not tcb.has_unsent():
        tcb.probes_out = 0
        tcb.probes_since_ns = 0
        tcb.backoff = 0
        return
    tcb.probes_out += 1
    if failed == errno.ENOBUFS:
        arm(tcb, NOT_SENT_NS)
        return
    if tcb.backoff < tcb.tables.sysctls.tcp_retries2:
        tcb.backoff += 1
    arm(tcb, output.probe_interval(tcb))


def arm(tcb: Tcb, wait_ns: i64) -> None:
    """Probe after `wait_ns`, or when the user timeout is over, if that is earlier."""
    now: i64 = tcb.scheduler.now_ns
    if tcb.user_timeout_ns > 0 and tcb.probes_since_ns != 0:
        left: i64 = max(tcb.probes_since_ns + tcb.user_timeout_ns - now, _LEAST_NS)
        wait_ns = min(wait_ns, left)
    tcb.retransmit_timer.arm(timers.PROBE, now + wait_ns)


# Data without an ACK.


def clamped_rto(tcb: Tcb) -> i64:
    """The retransmission timeout, no later than the user timeout counted from the first retransmission."""
    limit: i64 = tcb.user_timeout_ns
    if limit == 0 or tcb.retransmits == 0:
        return tcb.rto_ns
    return min(tcb.rto_ns, max(tcb.retransmit_began_ns + limit - tcb.scheduler.now_ns, 1_000_000))


# Keepalive.


def idle_ns(tcb: Tcb) -> i64:
    """How long a connection is silent before it is tested: TCP_KEEPIDLE, else net.ipv4.tcp_keepalive_time."""
    return tcb.keepidle_ns if tcb.keepidle_ns > 0 else tcb.tables.sysctls.tcp_keepalive_time * _S


def interval_ns(tcb: Tcb) -> i64:
    """The time between two tests: TCP_KEEPINTVL, else net.ipv4.tcp_keepalive_intvl."""
    return tcb.keepintvl_ns if tcb.keepintvl_ns > 0 else tcb.tables.sysctls.tcp_keepalive_intvl * _S


def count(tcb: Tcb) -> i64:
    """How many tests without an answer end the connection: TCP_KEEPCNT, else net.ipv4.tcp_keepalive_probes."""
    return tcb.keepcnt if tcb.keepcnt > 0 else tcb.tables.sysctls.tcp_keepalive_probes


def keepalive_expired(tcb: Tcb) -> None:
    """RFC 9293 (3.8.4), only where the program asked for it."""
    if not tcb.keepalive or tcb.state == SYN_SENT:
        return
    now: i64 = tcb.scheduler.now_ns
    allowed: i64 = idle_ns(tcb)
    if tcb.packets_out > 0 or tcb.has_unsent():
        # Retransmissions or probes find out.
        tcb.keepalive_timer.arm(timers.KEEPALIVE, now + allowed)
        return
    idle: i64 = now - max(tcb.last_ack_ns, tcb.last_received_ns)
    if idle < allowed:
        tcb.keepalive_timer.arm(timers.KEEPALIVE, now + allowed - idle)
        return
    limit: i64 = tcb.user_timeout_ns
    # tcp(7): TCP_USER_TIMEOUT overrides keepalive's own count.
    if (limit > 0 and idle >= limit and tcb.probes_out > 0) or (limit == 0 and tcb.probes_out >= count(tcb)):
        segments.send_reset(tcb)
        give_up(tcb)
        return
    if output.wake_up(tcb) != errno.ENOBUFS:
        tcb.probes_out += 1
        tcb.keepalive_timer.arm(timers.KEEPALIVE, now + interval_ns(tcb))
    else:
        tcb.keepalive_timer.arm(timers.KEEPALIVE, now + NOT_SENT_NS)
