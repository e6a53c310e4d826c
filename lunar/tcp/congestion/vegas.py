"""Vegas (Brakmo and Peterson, 1995), as Linux has it: the queue is felt by the RTT, and kept at two to four segments.

Once a round trip, what cwnd would deliver at the least RTT of all is compared with what it does deliver at the least
RTT of this round: the difference, in segments, waits in queues. Below two, cwnd grows by one; above four, it shrinks by
one. Slow start ends when more than one waits.
"""

from __future__ import annotations

from typing import ClassVar, Final

from mypy_extensions import i64, mypyc_attr

from lunar.tcp.congestion import cwnd
from lunar.tcp.congestion.control import CWND_RESTART, TX_START
from lunar.tcp.congestion.reno import Reno
from lunar.tcp.loss.rate import Sample
from lunar.tcp.tcb import OPEN, Tcb

ALPHA: Final = 2  # segments in queues
BETA: Final = 4
GAMMA: Final = 1
LEAST_SAMPLES: Final = 2  # of a round: with fewer one delayed ACK may be all that was seen
_INFINITE_US: Final = 0x7FFF_FFFF


@mypyc_attr(allow_interpreted_subclasses=True)
class Vegas(Reno):
    """Vegas: `name` is "vegas". After a loss it is Reno until the loss is mended."""

    name: ClassVar[str] = "vegas"
    restricted: ClassVar[bool] = True

    def __init__(self) -> None:
        self.active: bool = False
        self.round_end: i64 = 0
        self.samples: i64 = 0
        self.round_rtt_us: i64 = _INFINITE_US
        self.base_rtt_us: i64 = _INFINITE_US  # the least of all

    def start(self, tcb: Tcb) -> None:
        self.base_rtt_us = _INFINITE_US
        self._begin(tcb)

    def _begin(self, tcb: Tcb) -> None:
        self.active = True
        self._start_round(tcb)

    def _start_round(self, tcb: Tcb) -> None:
        self.round_end = tcb.snd_nxt
        self.samples = 0
        self.round_rtt_us = _INFINITE_US

    def on_state(self, tcb: Tcb, state: i64) -> None:
        if state == OPEN:
            self._begin(tcb)
        else:
            self.active = False

    def on_event(self, tcb: Tcb, event: i64) -> None:
        # The path may be another one after a rest.
        if event == CWND_RESTART or event == TX_START:
            self.start(tcb)

    def on_sample(self, tcb: Tcb, sample: Sample) -> None:
        if sample.rtt_ns < 0:
            return
        rtt: i64 = sample.rtt_ns // 1000 + 1  # never zero
        self.base_rtt_us = min(self.base_rtt_us, rtt)
        self.round_rtt_us = min(self.round_rtt_us, rtt)
        self.samples += 1

    def on_ack(self, tcb: Tcb, acked: i64) -> None:
        if not self.active:
            super().on_ack(tcb, acked)
            return
        if tcb.snd_una <= self.round_end:
            if tcb.cwnd < tcb.ssthresh:
                cwnd.slow_start(tcb, acked)
            return
        if self.samples <= LEAST_SAMPLES:
            super().on_ack(tcb, acked)
        else:
            self._adjust(tcb, acked)
        self._start_round(tcb)

    def _adjust(self, tcb: Tcb, acked: i64) -> None:
        """A round is over."""
        window: i64 = tcb.cwnd
        rtt: i64 = self.round_rtt_us
        base: i64 = self.base_rtt_us
        queued: i64 = window * (rtt - base) // base
        if tcb.cwnd < tcb.ssthresh:
            if queued > GAMMA:
                # The path is full: go down to what it delivers without a queue, and no more slow start.
                window = max(min(window, window * base // rtt + 1), 2)
                tcb.set_ssthresh(max(min(tcb.ssthresh, window - 1), 2))
                tcb.set_cwnd(window)
            else:
                cwnd.slow_start(tcb, acked)
            return
        if queued > BETA:
            window = max(window - 1, 2)
            tcb.set_ssthresh(max(min(tcb.ssthresh, window - 1), 2))
        elif queued < ALPHA:
            window += 1
        tcb.set_cwnd(window)
        tcb.set_ssthresh(cwnd.current_ssthresh(tcb))

    def info(self, tcb: Tcb) -> dict[str, int]:
        return {
            "vegas_enabled": int(self.active),
            "vegas_rttcnt": int(self.samples),
            "vegas_rtt": int(self.base_rtt_us),
            "vegas_minrtt": int(self.round_rtt_us),
        }
