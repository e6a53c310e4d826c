"""The three timers of a connection: retransmission (or window probe), delayed ACK, keepalive. When, not what.

Each timer has a deadline, 0 while it is off, and at most one event on the heap. Moving a deadline back, which each ACK
does, only writes the number: the event fires early and posts itself again. A timer that is switched off cancels its
event, because a live one would move the clock; the heap may hold a cancelled event, so the next arming makes a new one.
What happens at the deadline is in timeouts.py, which the TCB reaches through `timer_fired`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from weaves.scheduler import Event

if TYPE_CHECKING:
    from lunar.tcp.tcb import Tcb

# What a timer is armed for. RETRANSMIT (RFC 6298 section 5) and PROBE (of a closed window, RFC 9293 section 3.8.6.1)
# exclude each other and share one timer: there is either something in flight or not.
# So do TAIL_LOSS and REORDERING, which come before a retransmission timeout and are followed by it.
RETRANSMIT: Final = 0
PROBE: Final = 1
DELAYED_ACK: Final = 2  # RFC 9293 section 3.8.6.3
GATHERED_ACK: Final = 4  # ACKs that tell of a hole, several in one (sack_report.py); no ACK is delayed meanwhile
TAIL_LOSS: Final = 5  # a probe for the loss of a tail (tail_loss.py)
REORDERING: Final = 6  # what may be lost or only late is lost (rack.py)
PACING: Final = 7  # the next record's time has come (pacing.py)
KEEPALIVE: Final = 3  # RFC 9293 section 3.8.4; and the end of an orphan's wait for a FIN


@final
class Timer:
    """One timer of a connection. `at_ns` is its deadline, 0 while it is off."""

    def __init__(self, tcb: Tcb) -> None:
        self.tcb: Tcb = tcb
        self.kind: i64 = 0
        self.at_ns: i64 = 0
        self.event: Expiry | None = None

    def arm(self, kind: i64, at_ns: i64) -> None:
        """Let it fire at `at_ns` for `kind`, whatever it was before."""
        tcb = self.tcb
        tick: i64 = tcb.tables.rules.tick_ns
        if tick != 0:
            at_ns = (at_ns + tick - 1) // tick * tick
        self.kind = kind
        self.at_ns = at_ns
        event = self.event
        if event is not None and event.queued:
            if event.at_ns <= at_ns:
                return
            tcb.scheduler.cancel(event)
            event = None
        if event is None:
            event = Expiry(self)
            self.event = event
        tcb.scheduler.post(event, tcb.lane, at_ns)

    def disarm(self) -> None:
        """Switch it off."""
        self.at_ns = 0
        event = self.event
        if event is not None:
            if event.queued:
                self.tcb.scheduler.cancel(event)
            self.event = None


@final
class Expiry(Event):
    """A timer's entry on the heap, perhaps before the deadline."""

    def __init__(self, timer: Timer) -> None:
        super().__init__()
        self.timer: Timer = timer

    def fire(self) -> None:
        timer = self.timer
        tcb = timer.tcb
        if timer.at_ns > tcb.scheduler.now_ns:
            tcb.scheduler.post(self, tcb.lane, timer.at_ns)
            return
        timer.at_ns = 0
        tcb.timer_fired(timer.kind)
