"""When the retransmission timer is due, and before it the probe for the loss of a tail. What they do is in timeouts.py.

RFC 6298 section 5 and RFC 8985 section 7.2, as Linux: an ACK that moves snd_una starts it anew, data that is sent
starts it if nothing was in flight. The two share one timer (timers.py): first the probe, then the timeout.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lunar.tcp import timers
from lunar.tcp.rules import RTO_INITIAL_NS
from lunar.tcp.tcb import CWR, OPEN, Tcb

TIMER_MIN_NS: Final = 2_000_000  # Linux' TCP_TIMEOUT_MIN: two ticks of its clock, added so that it never fires early


def schedule_probe(tcb: Tcb, advanced: bool) -> bool:
    """Have a tail loss probe follow what is in flight. `advanced`: an ACK moved snd_una. False: there is none to be.

    RFC 8985 (7.2): after two round trips, or when the retransmission timer would fire if that is earlier.
    """
    if not tcb.sack_ok or tcb.packets_out == 0:
        return False
    state: i64 = tcb.ca_state
    if state != OPEN and state != CWR:
        return False
    early: i64 = tcb.tables.sysctls.tcp_early_retrans
    if early != 3 and early != 4:
        return False
    now: i64 = tcb.scheduler.now_ns
    timeout: i64 = RTO_INITIAL_NS
    if tcb.srtt_ns > 0:
        timeout = 2 * tcb.srtt_ns
        timeout += tcb.rto_min_ns if tcb.packets_out == 1 else TIMER_MIN_NS
    left: i64 = tcb.rto_ns
    if not advanced:
        left += tcb.sent[tcb.sent_head].sent_ns - now
    if 0 < left < timeout:
        timeout = left
    tcb.retransmit_timer.arm(timers.TAIL_LOSS, now + timeout)
    return True


def restart(tcb: Tcb, after_other: bool) -> None:
    """RFC 6298 (5.2), (5.3): the retransmission timer begins anew, or ends when nothing is in flight.

    Where it takes the place of another timer, or `after_other` when that has fired and changed nothing, it counts from
    when the first record was sent, as if there had been no other.
    """
    timer = tcb.retransmit_timer
    if tcb.packets_out == 0:
        timer.disarm()
        return
    now: i64 = tcb.scheduler.now_ns
    timeout: i64 = tcb.rto_ns
    if after_other or (timer.at_ns != 0 and timer.kind >= timers.TAIL_LOSS):
        timeout = max(tcb.sent[tcb.sent_head].sent_ns + timeout - now, 1)
    timer.arm(timers.RETRANSMIT, now + timeout)
