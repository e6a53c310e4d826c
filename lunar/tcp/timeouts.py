"""What happens when a timer of a connection reaches its deadline: nothing came, and something must be done.

RFC 6298 section 5 (retransmission), RFC 9293 section 3.8.3 (when to give up). The limits are those of tcp(7). What asks
a silent peer whether it is there is in probes.py.
"""

from __future__ import annotations

import errno
from typing import Final

from mypy_extensions import i64

from lunar.tcp import timers
from lunar.tcp.congestion.control import INFINITE_SSTHRESH
from lunar.tcp.loss import prr, rack, recovery, retransmit_timer, rtt, scoreboard
from lunar.tcp.loss.rtt import RTO_MAX_NS
from lunar.tcp.opening import fast_accept, fast_open
from lunar.tcp.receiver import delayed_ack
from lunar.tcp.sender import mtu_probe, output, probes, segment_size, segments
from lunar.tcp.tcb import CLOSED, DISORDER, LOSS, RECOVERY, SYN_RECEIVED, SYN_SENT, Tcb

_RTO_MIN_NS: Final = 200_000_000
_NOT_SENT_NS: Final = 500_000_000  # TCP_RESOURCE_PROBE_INTERVAL
_THIN_RETRIES: Final = 6  # TCP_THIN_LINEAR_RETRIES


def fired(tcb: Tcb, kind: i64) -> None:
    """The timer of this kind is due."""
    if tcb.state == CLOSED:
        return
    if kind == timers.RETRANSMIT:
        _retransmit(tcb)
    elif kind == timers.PROBE:
        probes.window_expired(tcb)
    elif kind == timers.DELAYED_ACK:
        delayed_ack.expired(tcb)
    elif kind == timers.TAIL_LOSS:
        _probe_tail(tcb)
    elif kind == timers.REORDERING:
        _reordering_over(tcb)
    elif kind == timers.PACING:
        _go_on(tcb)
    elif kind == timers.GATHERED_ACK:
        segments.send_ack(tcb)
    else:
        probes.keepalive_expired(tcb)
    if tcb.pending_wake != 0:
        tcb.flush_wake()


def _go_on(tcb: Tcb) -> None:
    """Pacing lets the next record go: what is lost first."""
    if tcb.lost_out > tcb.retrans_out and tcb.cwnd > tcb.in_flight():
        recovery.resend_lost(tcb)
    output.push(tcb, False)


def _give_up_after_ns(retries: i64) -> i64:
    """How long `retries` retransmissions take from a 200 ms timeout on: 924.6 s for 15 (ip-sysctl, tcp_retries2).

    Linux gives up at the first timeout after this time, whatever the RTO of the connection is.
    """
    doublings: i64 = min(retries, 9)  # from 200 ms below 120 s
    total: i64 = ((2 << doublings) - 1) * _RTO_MIN_NS
    if retries > 9:
        total += (retries - 9) * RTO_MAX_NS
    return total


def _retransmit(tcb: Tcb) -> None:
    """RFC 6298 (5.4)-(5.7)."""
    if tcb.syn_ack_pending:
        # Data wait until the peer has acknowledged the SYN-ACK (fast_open.py).
        if not fast_accept.syn_ack_timeout(tcb):
            probes.give_up(tcb)
        return
    if tcb.packets_out == 0:
        return
    now: i64 = tcb.scheduler.now_ns
    handshake = tcb.state in (SYN_SENT, SYN_RECEIVED)
    if handshake:
        fast_open.syn_timed_out(tcb)
        if _handshake_expired(tcb, now):
            fast_open.timed_out(tcb, True)
            probes.give_up(tcb)
            return
    elif tcb.snd_wnd == 0 and not tcb.orphan:
        # The peer shrank its window to nothing with data in flight, which probes it: give up when it says nothing.
        if now - tcb.last_ack_ns > RTO_MAX_NS:
            probes.give_up(tcb)
            return
    elif tcb.retransmits > 0:
        allowed: i64 = tcb.user_timeout_ns
        if tcb.orphan:
            allowed = _give_up_after_ns(probes.orphan_retries(tcb, tcb.rto_ns < RTO_MAX_NS))
        elif allowed == 0:
            allowed = _give_up_after_ns(tcb.tables.sysctls.tcp_retries2)
        if now - tcb.retransmit_began_ns >= allowed:
            probes.give_up(tcb)
            return
        sysctls = tcb.tables.sysctls
        if sysctls.tcp_mtu_probing != 0 and (
            now - tcb.retransmit_began_ns >= _give_up_after_ns(sysctls.tcp_retries1)
        ):
            if mtu_probe.black_hole(tcb):
                segment_size.update(tcb)
    tcb.ip.counters.tcp_timeouts += 1
    if tcb.fast_open is not None:
        fast_open.timed_out(tcb, False)
    if tcb.retransmits == 0:
        tcb.total_rto_recoveries += 1
        tcb.rto_began_ns = now
    tcb.total_rto += 1
    if tcb.retransmits == 0 and not handshake:
        tcb.retransmit_began_ns = now
    if not handshake:
        if tcb.retransmits == 0:
            _count_failure(tcb)
        recovery.enter_loss(tcb)
    else:
        tcb.ip.counters.tcp_syn_retrans += 1
    tcb.retransmits += 1
    segments.forget_route(tcb)
    failed: i64 = recovery.resend(tcb, tcb.sent_head, 1)
    if failed == errno.EHOSTUNREACH and tcb.state == SYN_SENT and tcb.retransmits >= 2:
        # Nobody on the network has the next hop's address. Linux hears it from ARP, after three requests in 3 s.
        tcb.fail(errno.EHOSTUNREACH)
        return
    if failed == errno.ENOBUFS:
        # Our own device's queue is full: it was not sent, so nothing is learnt of the network.
        tcb.retransmit_timer.arm(timers.RETRANSMIT, now + _NOT_SENT_NS)
        return
    route = tcb.route
    if failed == errno.EMSGSIZE and route is not None:
        # The device's MTU was lowered: the next retransmission will be smaller.
        segment_size.sync(tcb, route)
    elif failed not in (0, errno.EAGAIN) and not handshake:
        tcb.soft_error = failed
    # ip-sysctl, tcp_syn_linear_timeouts: the first intervals between SYNs do not grow.
    if not handshake and _is_thin(tcb):
        rtt.begin_again(tcb)
    elif tcb.state != SYN_SENT or tcb.retransmits > tcb.tables.sysctls.tcp_syn_linear_timeouts:
        rtt.back_off(tcb)
    tcb.retransmit_timer.arm(timers.RETRANSMIT, now + probes.clamped_rto(tcb))


def _is_thin(tcb: Tcb) -> bool:
    """ip-sysctl, tcp_thin_linear_timeouts: a stream of few segments, where no duplicates can tell of a loss, does not
    back off at first; unless it is thin only because it has just begun.
    """
    if not tcb.thin_linear and tcb.tables.sysctls.tcp_thin_linear_timeouts == 0:
        return False
    return tcb.packets_out < 4 and tcb.ssthresh < INFINITE_SSTHRESH and tcb.retransmits <= _THIN_RETRIES


def _count_failure(tcb: Tcb) -> None:
    """The state in which a first timeout comes tells what loss detection did not see."""
    counters = tcb.ip.counters
    if tcb.ca_state == RECOVERY:
        if tcb.sack_ok:
            counters.tcp_sack_recovery_fail += 1
        else:
            counters.tcp_reno_recovery_fail += 1
    elif tcb.ca_state == LOSS:
        counters.tcp_loss_failures += 1
    elif tcb.ca_state == DISORDER or tcb.sacked_out > 0:
        if tcb.sack_ok:
            counters.tcp_sack_failures += 1
        else:
            counters.tcp_reno_failures += 1


def _handshake_expired(tcb: Tcb, now: i64) -> bool:
    """Whether the SYN has been sent for as long as tcp_syn_retries (or TCP_SYNCNT) doublings of the first timeout take.

    So the intervals of tcp_syn_linear_timeouts do not take from them, and 6 means at least 127 s.
    """
    retries: i64 = tcb.syn_retries if tcb.syn_retries > 0 else tcb.tables.sysctls.tcp_syn_retries
    timeout: i64 = tcb.tables.rules.initial_rto_ns
    total: i64 = timeout
    while retries > 0:
        timeout = min(timeout << 1, RTO_MAX_NS)
        total += timeout
        retries -= 1
    return now - tcb.retransmit_began_ns >= total


def _probe_tail(tcb: Tcb) -> None:
    """RFC 8985 (7.3): nothing came for two round trips. Send new data, or the last segment again, so that an ACK does.

    Only one such probe is out at a time.
    """
    if tcb.packets_out == 0:
        return
    sent = tcb.tlp_high_seq < 0
    if sent:
        tcb.tlp_retrans = False
        if not output.push_probe(tcb):
            at: i64 = len(tcb.sent) - 1
            tail = tcb.sent[at]
            if tail.segs > 1:
                scoreboard.split(tcb, at, (tail.segs - 1) * tail.mss)
                at += 1
            sent = recovery.repeat(tcb, at)
            tcb.tlp_retrans = sent
    if sent:
        tcb.tlp_high_seq = tcb.snd_nxt
        tcb.ip.counters.tcp_loss_probes += 1
    retransmit_timer.restart(tcb, not sent)


def _reordering_over(tcb: Tcb) -> None:
    """RFC 8985 (6.3): what was given time to arrive late has not arrived."""
    in_flight: i64 = tcb.in_flight()
    lost: i64 = tcb.lost_out
    rack.detect(tcb)
    if tcb.in_flight() != in_flight:
        if tcb.ca_state != RECOVERY:
            recovery.enter_recovery(tcb, False)
            if not tcb.full_control:
                prr.reduce(tcb, 1, tcb.lost_out - lost, False)
        recovery.resend_lost(tcb)
    if tcb.retransmit_timer.at_ns == 0:
        retransmit_timer.restart(tcb, True)
