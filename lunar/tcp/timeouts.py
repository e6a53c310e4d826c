"""What happens when a timer of a connection reaches its deadline: nothing came, and something must be done.

RFC 6298 section 5 (retransmission), RFC 9293 sections 3.8.3 (when to give up), 3.8.4 (keepalive) and 3.8.6.1 (window
probes). The limits are those of tcp(7).
"""

from __future__ import annotations

import errno
from typing import Final

from mypy_extensions import i64

from lunar.tcp import delayed_ack, output, prr, rack, recovery, retransmit_timer, rtt, scoreboard, timers
from lunar.tcp.rtt import RTO_MAX_NS
from lunar.tcp.tcb import CLOSED, DISORDER, LOSS, RECOVERY, SYN_RECEIVED, SYN_SENT, Tcb

SYN_RETRIES: Final = 6  # tcp_syn_retries
SYNACK_RETRIES: Final = 5  # tcp_synack_retries
RETRIES: Final = 15  # tcp_retries2
ORPHAN_RETRIES: Final = 8  # tcp_orphan_retries, whose 0 means 8

_RTO_MIN_NS: Final = 200_000_000
_NOT_SENT_NS: Final = 500_000_000  # TCP_RESOURCE_PROBE_INTERVAL: when our own device refused a segment


def fired(tcb: Tcb, kind: i64) -> None:
    """The timer of this kind is due."""
    if tcb.state == CLOSED:
        return
    if kind == timers.RETRANSMIT:
        _retransmit(tcb)
    elif kind == timers.PROBE:
        _probe(tcb)
    elif kind == timers.DELAYED_ACK:
        delayed_ack.expired(tcb)
    elif kind == timers.TAIL_LOSS:
        _probe_tail(tcb)
    elif kind == timers.REORDERING:
        _reordering_over(tcb)
    elif kind == timers.GATHERED_ACK:
        output.send_ack(tcb)
    else:
        _keepalive(tcb)
    if tcb.pending_wake != 0:
        tcb.flush_wake()


def _give_up(tcb: Tcb) -> None:
    """RFC 9293 (3.8.3): tell the program; what ICMP said is a better reason than the time (RFC 1122 4.2.3.9)."""
    tcb.fail(tcb.soft_error if tcb.soft_error else errno.ETIMEDOUT)


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
    if tcb.packets_out == 0:
        return
    now: i64 = tcb.scheduler.now_ns
    handshake = tcb.state in (SYN_SENT, SYN_RECEIVED)
    if handshake:
        if tcb.retransmits >= (SYN_RETRIES if tcb.state == SYN_SENT else SYNACK_RETRIES):
            _give_up(tcb)
            return
    elif tcb.snd_wnd == 0 and not tcb.orphan:
        # The peer shrank its window to nothing with data in flight, which probes it: give up when it says nothing.
        if now - tcb.last_ack_ns > RTO_MAX_NS:
            _give_up(tcb)
            return
    elif tcb.retransmits > 0:
        limit: i64 = ORPHAN_RETRIES if tcb.orphan else RETRIES
        if now - tcb.retransmit_began_ns >= _give_up_after_ns(limit):
            _give_up(tcb)
            return
    tcb.ip.counters.tcp_timeouts += 1
    if tcb.retransmits == 0:
        tcb.retransmit_began_ns = now
    if not handshake:
        if tcb.retransmits == 0:
            _count_failure(tcb)
        recovery.enter_loss(tcb)
    else:
        tcb.ip.counters.tcp_syn_retrans += 1
    tcb.retransmits += 1
    output.forget_route(tcb)
    failed: i64 = recovery.resend(tcb, tcb.sent_head, 1)
    if failed == errno.EHOSTUNREACH and tcb.state == SYN_SENT and tcb.retransmits >= 2:
        # Nobody on the network has the next hop's address. Linux hears it from ARP, after three requests in 3 s.
        tcb.fail(errno.EHOSTUNREACH)
        return
    route = tcb.route
    if failed == errno.EMSGSIZE and route is not None:
        # The device's MTU was lowered: the next retransmission will be smaller.
        tcb.path_mss = min(tcb.path_mss, output.mss_of(route.device.mtu, tcb.family))
        output.update_mss(tcb)
    elif failed not in (0, errno.EAGAIN) and not handshake:
        tcb.soft_error = failed
    rtt.back_off(tcb)
    tcb.retransmit_timer.arm(timers.RETRANSMIT, now + tcb.rto_ns)


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
            sent = recovery.resend(tcb, at, 1) == 0
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


def _probe(tcb: Tcb) -> None:
    """A closed window: ask whether it is still closed, at growing intervals, for as long as answers come."""
    if tcb.packets_out > 0 or not tcb.has_unsent():
        tcb.probes_out = 0
        return
    if tcb.probes_out >= (ORPHAN_RETRIES if tcb.orphan else RETRIES):
        _give_up(tcb)
        return
    failed: i64 = output.wake_up(tcb)
    if tcb.packets_out > 0 or not tcb.has_unsent():
        tcb.probes_out = 0
        tcb.backoff = 0
        return
    tcb.probes_out += 1
    if failed != 0:
        tcb.retransmit_timer.arm(timers.PROBE, tcb.scheduler.now_ns + _NOT_SENT_NS)
        return
    if tcb.backoff < RETRIES:
        tcb.backoff += 1
    tcb.retransmit_timer.arm(timers.PROBE, tcb.scheduler.now_ns + output.probe_interval(tcb))


def _keepalive(tcb: Tcb) -> None:
    """RFC 9293 (3.8.4), only where the program asked for it."""
    if not tcb.keepalive or tcb.state == SYN_SENT:
        return
    now: i64 = tcb.scheduler.now_ns
    idle_ns: i64 = tcb.keepidle_ns
    if tcb.packets_out > 0 or tcb.has_unsent():
        # Retransmissions or probes find out.
        tcb.keepalive_timer.arm(timers.KEEPALIVE, now + idle_ns)
        return
    idle: i64 = now - max(tcb.last_ack_ns, tcb.last_received_ns)
    if idle < idle_ns:
        tcb.keepalive_timer.arm(timers.KEEPALIVE, now + idle_ns - idle)
        return
    if tcb.probes_out >= tcb.keepcnt:
        output.send_reset(tcb)
        _give_up(tcb)
        return
    if output.wake_up(tcb) == 0:
        tcb.probes_out += 1
        tcb.keepalive_timer.arm(timers.KEEPALIVE, now + tcb.keepintvl_ns)
    else:
        tcb.keepalive_timer.arm(timers.KEEPALIVE, now + _NOT_SENT_NS)
