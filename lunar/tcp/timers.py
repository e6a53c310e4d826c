"""The three timers of a connection: retransmission (or window probe), delayed ACK, keepalive. When, not what.

Each kind has a deadline in the TCB, 0 while it is off, and at most one event on the heap. Moving a deadline back, which
each ACK does, only writes the number: the event fires early and posts itself again. A timer that is switched off
cancels its event, because a live one would move the clock; the heap may hold a cancelled event, so the next arming
makes a new one. What happens at the deadline is in timeouts.py, which the TCB reaches through `timer_fired`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from weaves.scheduler import Event

if TYPE_CHECKING:
    from lunar.tcp.tcb import Tcb

# Kinds. RETRANSMIT and PROBE exclude each other and share one deadline: there is either something in flight or not.
RETRANSMIT: Final = 0
PROBE: Final = 1
DELAYED_ACK: Final = 2
KEEPALIVE: Final = 3


@final
class RetransmitTimer(Event):
    """The retransmission timer of RFC 6298 section 5, or the window probe timer of RFC 9293 section 3.8.6.1."""

    def __init__(self, tcb: Tcb) -> None:
        super().__init__()
        self.tcb: Tcb = tcb

    def fire(self) -> None:
        tcb = self.tcb
        if tcb.retransmit_at_ns > tcb.scheduler.now_ns:
            tcb.scheduler.post(self, tcb.lane, tcb.retransmit_at_ns)
            return
        tcb.retransmit_at_ns = 0
        tcb.timer_fired(tcb.retransmit_kind)


@final
class DelayedAckTimer(Event):
    """The delayed ACK of RFC 9293 section 3.8.6.3."""

    def __init__(self, tcb: Tcb) -> None:
        super().__init__()
        self.tcb: Tcb = tcb

    def fire(self) -> None:
        tcb = self.tcb
        if tcb.delayed_ack_at_ns > tcb.scheduler.now_ns:
            tcb.scheduler.post(self, tcb.lane, tcb.delayed_ack_at_ns)
            return
        tcb.delayed_ack_at_ns = 0
        tcb.timer_fired(2)


@final
class KeepaliveTimer(Event):
    """Keepalive, RFC 9293 section 3.8.4; and the end of an orphan's wait for a FIN."""

    def __init__(self, tcb: Tcb) -> None:
        super().__init__()
        self.tcb: Tcb = tcb

    def fire(self) -> None:
        tcb = self.tcb
        if tcb.keepalive_at_ns > tcb.scheduler.now_ns:
            tcb.scheduler.post(self, tcb.lane, tcb.keepalive_at_ns)
            return
        tcb.keepalive_at_ns = 0
        tcb.timer_fired(3)


def arm_retransmit(tcb: Tcb, kind: i64, at_ns: i64) -> None:
    """Let the retransmission timer (or, by `kind`, the probe timer) fire at `at_ns`, whatever it was before."""
    tcb.retransmit_kind = kind
    tcb.retransmit_at_ns = at_ns
    timer = tcb.retransmit_timer
    if timer is not None and timer.queued:
        if timer.at_ns <= at_ns:
            return
        tcb.scheduler.cancel(timer)
        timer = None
    if timer is None:
        timer = RetransmitTimer(tcb)
        tcb.retransmit_timer = timer
    tcb.scheduler.post(timer, tcb.lane, at_ns)


def disarm_retransmit(tcb: Tcb) -> None:
    tcb.retransmit_at_ns = 0
    timer = tcb.retransmit_timer
    if timer is not None:
        if timer.queued:
            tcb.scheduler.cancel(timer)
        tcb.retransmit_timer = None


def arm_delayed_ack(tcb: Tcb, at_ns: i64) -> None:
    """Let the delayed ACK be sent at `at_ns`."""
    tcb.delayed_ack_at_ns = at_ns
    timer = tcb.delayed_ack_timer
    if timer is not None and timer.queued:
        if timer.at_ns <= at_ns:
            return
        tcb.scheduler.cancel(timer)
        timer = None
    if timer is None:
        timer = DelayedAckTimer(tcb)
        tcb.delayed_ack_timer = timer
    tcb.scheduler.post(timer, tcb.lane, at_ns)


def disarm_delayed_ack(tcb: Tcb) -> None:
    tcb.delayed_ack_at_ns = 0
    timer = tcb.delayed_ack_timer
    if timer is not None:
        if timer.queued:
            tcb.scheduler.cancel(timer)
        tcb.delayed_ack_timer = None


def arm_keepalive(tcb: Tcb, at_ns: i64) -> None:
    """Look at the connection's idleness at `at_ns`."""
    tcb.keepalive_at_ns = at_ns
    timer = tcb.keepalive_timer
    if timer is not None and timer.queued:
        if timer.at_ns <= at_ns:
            return
        tcb.scheduler.cancel(timer)
        timer = None
    if timer is None:
        timer = KeepaliveTimer(tcb)
        tcb.keepalive_timer = timer
    tcb.scheduler.post(timer, tcb.lane, at_ns)


def disarm_keepalive(tcb: Tcb) -> None:
    tcb.keepalive_at_ns = 0
    timer = tcb.keepalive_timer
    if timer is not None:
        if timer.queued:
            tcb.scheduler.cancel(timer)
        tcb.keepalive_timer = None


def disarm_all(tcb: Tcb) -> None:
    disarm_retransmit(tcb)
    disarm_delayed_ack(tcb)
    disarm_keepalive(tcb)
