"""Reno, RFC 5681: slow start, and one segment more for each window; what is lost halves it."""

from __future__ import annotations

from typing import ClassVar

from mypy_extensions import i64, mypyc_attr

from lunar.tcp.congestion import cwnd
from lunar.tcp.congestion.control import CongestionControl
from lunar.tcp.tcb import Tcb


@mypyc_attr(allow_interpreted_subclasses=True)
class Reno(CongestionControl):
    """RFC 5681 in segments, as Linux: `name` is "reno"."""

    name: ClassVar[str] = "reno"

    def on_ack(self, tcb: Tcb, acked: i64) -> None:
        if not cwnd.is_cwnd_limited(tcb):
            return
        if tcb.cwnd < tcb.ssthresh:
            acked = cwnd.slow_start(tcb, acked)
            if acked == 0:
                return
        # RFC 5681 (3.1) equation 3: one segment more for each window acknowledged.
        cwnd.additive_increase(tcb, tcb.cwnd, acked)

    def on_loss(self, tcb: Tcb) -> i64:
        # RFC 5681 equation 4 halves the flight size. Linux halves cwnd, which `is_cwnd_limited` keeps near it.
        return max(tcb.cwnd >> 1, 2)
