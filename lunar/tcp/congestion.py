"""Congestion control: how the window `cwnd`, in segments as on Linux, grows and shrinks.

`CongestionControl` is what a connection asks; subclass it, in interpreted code too, for an algorithm of your own, and
give the class to `Tcp.congestion` (for a host) or the object to `TcpSock.congestion`. What the algorithm decides it
tells the connection by `set_cwnd`; the loss detection around it is in recovery.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64, mypyc_attr

if TYPE_CHECKING:
    from lunar.tcp.tcb import Tcb

# RFC 6928: the initial window, in segments.
INITIAL_WINDOW: Final = 10

# RFC 5681 (3.1): the initial ssthresh is arbitrarily high.
INFINITE_SSTHRESH: Final = 0x7FFF_FFFF


@mypyc_attr(allow_interpreted_subclasses=True)
class CongestionControl:
    """The algorithm of one connection. `tcb.cwnd` and `tcb.ssthresh` count segments."""

    def name(self) -> str:
        """As in Linux' TCP_CONGESTION."""
        raise NotImplementedError

    def on_ack(self, tcb: Tcb, acked: i64) -> None:
        """`acked` segments were newly acknowledged; grow. Not called during fast recovery."""
        raise NotImplementedError

    def on_loss(self, tcb: Tcb) -> i64:
        """The network lost something: the new ssthresh. Asked once for each window that had a loss."""
        raise NotImplementedError

    def on_timeout(self, tcb: Tcb) -> None:
        """The retransmission timer fired; ssthresh is set and cwnd is about to fall to one segment."""


@final
class NewReno(CongestionControl):
    """RFC 5681: slow start and congestion avoidance."""

    def name(self) -> str:
        return "reno"

    def on_ack(self, tcb: Tcb, acked: i64) -> None:
        # RFC 7661's concern, Linux' test: a window that was not filled has not been tried and does not grow.
        if not is_cwnd_limited(tcb):
            return
        cwnd: i64 = tcb.cwnd
        if cwnd < tcb.ssthresh:
            # RFC 5681 (3.1), with the byte counting of RFC 3465 done in segments: one more for each acknowledged.
            grown: i64 = min(cwnd + acked, tcb.ssthresh)
            acked -= grown - cwnd
            tcb.set_cwnd(grown)
            if acked == 0:
                return
            cwnd = grown
        # RFC 5681 (3.1) equation 3: one segment more for each window acknowledged.
        tcb.cwnd_count += acked
        if tcb.cwnd_count >= cwnd:
            more: i64 = tcb.cwnd_count // cwnd
            tcb.cwnd_count -= more * cwnd
            tcb.set_cwnd(cwnd + more)

    def on_loss(self, tcb: Tcb) -> i64:
        # RFC 5681 equation 4 halves the flight size. Linux halves cwnd, which `is_cwnd_limited` keeps near it.
        return max(tcb.cwnd >> 1, 2)


def is_cwnd_limited(tcb: Tcb) -> bool:
    """Whether cwnd is what bounds the sender. In slow start Linux lets it be up to twice what was in flight."""
    if tcb.cwnd < tcb.ssthresh:
        return tcb.cwnd < 2 * tcb.max_packets_out
    return tcb.is_cwnd_limited


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
    if now - tcb.cwnd_stamp_ns >= tcb.rto_ns:
        # A full RTO in which the application, not the network, was the limit. When it waited for room in the send
        # buffer it was the buffer that limited it, and the window is worth keeping.
        if tcb.ca_state == 0 and not tcb.want_space:
            used: i64 = max(tcb.cwnd_used, INITIAL_WINDOW)
            if used < tcb.cwnd:
                tcb.set_ssthresh(_current_ssthresh(tcb))
                tcb.set_cwnd((tcb.cwnd + used) >> 1)
            tcb.cwnd_used = 0
        tcb.cwnd_stamp_ns = now


def restart_after_idle(tcb: Tcb) -> None:
    """RFC 5681 (4.1), RFC 2861: before data goes out after an idle time, halve cwnd for each RTO, down to the start."""
    idle: i64 = tcb.scheduler.now_ns - tcb.last_sent_ns
    if idle <= tcb.rto_ns:
        return
    tcb.set_ssthresh(_current_ssthresh(tcb))
    cwnd: i64 = tcb.cwnd
    floor: i64 = min(INITIAL_WINDOW, cwnd)
    idle -= tcb.rto_ns
    while idle > 0 and cwnd > floor:
        cwnd >>= 1
        idle -= tcb.rto_ns
    tcb.set_cwnd(max(cwnd, floor))
    tcb.cwnd_stamp_ns = tcb.scheduler.now_ns
    tcb.cwnd_used = 0


def _current_ssthresh(tcb: Tcb) -> i64:
    """RFC 2861: remember three quarters of the window that was reached."""
    return max(tcb.ssthresh, (tcb.cwnd >> 1) + (tcb.cwnd >> 2))
