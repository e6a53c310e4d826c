"""What keeps a sender from sending, and for how long: the times of TCP_INFO's busy_time, rwnd_limited, sndbuf_limited.

A connection is busy from when something was written until all of it is acknowledged. While it is, it may wait for the
peer's window, or have sent all that its own buffer holds while the program waits for room there: of reasons that hold
at once the higher number counts, as on Linux (Francis Y. Yan's "sender chronograph" patches of 2016 tell the rules).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

if TYPE_CHECKING:
    from lunar.tcp.tcb import Tcb

IDLE: Final = 0
BUSY: Final = 1
RWND_LIMITED: Final = 2
SNDBUF_LIMITED: Final = 3


def start(tcb: Tcb, reason: i64) -> None:
    """`reason` holds from now on."""
    if reason > tcb.chrono:
        _turn(tcb, reason)


def stop(tcb: Tcb, reason: i64) -> None:
    """`reason` holds no longer; where nothing is left to send or to acknowledge, none does."""
    if tcb.packets_out == 0 and not tcb.has_unsent():
        _turn(tcb, IDLE)
    elif reason == tcb.chrono:
        _turn(tcb, BUSY)


def _turn(tcb: Tcb, reason: i64) -> None:
    now: i64 = tcb.scheduler.now_ns
    before: i64 = tcb.chrono
    passed: i64 = now - tcb.chrono_since_ns
    if before == BUSY:
        tcb.chrono_busy_ns += passed
    elif before == RWND_LIMITED:
        tcb.chrono_rwnd_ns += passed
    elif before == SNDBUF_LIMITED:
        tcb.chrono_sndbuf_ns += passed
    tcb.chrono = reason
    tcb.chrono_since_ns = now


def total_ns(tcb: Tcb, reason: i64) -> i64:
    """How long `reason` has held until now, in nanoseconds."""
    total: i64 = 0
    if reason == BUSY:
        total = tcb.chrono_busy_ns
    elif reason == RWND_LIMITED:
        total = tcb.chrono_rwnd_ns
    elif reason == SNDBUF_LIMITED:
        total = tcb.chrono_sndbuf_ns
    if reason == tcb.chrono:
        total += tcb.scheduler.now_ns - tcb.chrono_since_ns
    return total


def busy_ns(tcb: Tcb) -> i64:
    """How long the connection has been busy, whatever it waited for."""
    return total_ns(tcb, BUSY) + total_ns(tcb, RWND_LIMITED) + total_ns(tcb, SNDBUF_LIMITED)
