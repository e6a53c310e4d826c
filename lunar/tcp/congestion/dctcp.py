"""DCTCP, RFC 8257: ECN's marks are counted, and cwnd shrinks by as much as was marked.

`alpha` is the share of segments that were marked, smoothed over windows; a window with a mark cuts cwnd by alpha / 2.
Switches are to mark early, at a short queue. The receiver's half is here, too: it tells each mark, and not, as
RFC 3168, once and until the sender has answered; ecn.py asks `on_event` for that. Where the peer does not do ECN it is
Reno.
"""

from __future__ import annotations

from typing import ClassVar, Final

from mypy_extensions import i64, mypyc_attr

from lunar.tcp.congestion.control import TIMEOUT
from lunar.tcp.congestion.reno import Reno
from lunar.tcp.loss.rate import Sample
from lunar.tcp.tcb import RECOVERY, Tcb

ALPHA_ONE: Final = 1024  # alpha = 1, RFC 8257 (3.3), where alpha begins, too (4.2)
GAIN_SHIFT: Final = 4  # g = 1/16, RFC 8257 (4.2)


@mypyc_attr(allow_interpreted_subclasses=True)
class Dctcp(Reno):
    """RFC 8257: `name` is "dctcp". It negotiates ECN by itself."""

    name: ClassVar[str] = "dctcp"
    needs_ecn: ClassVar[bool] = True
    echoes_each_mark: ClassVar[bool] = True
    restricted: ClassVar[bool] = True

    def __init__(self) -> None:
        self.alpha: i64 = ALPHA_ONE
        self.window_end: i64 = 0
        self.delivered: i64 = 0
        self.delivered_ce: i64 = 0
        self.loss_cwnd: i64 = 0

    def start(self, tcb: Tcb) -> None:
        self.alpha = ALPHA_ONE
        self._start_window(tcb)

    def _start_window(self, tcb: Tcb) -> None:
        self.window_end = tcb.snd_nxt
        self.delivered = tcb.delivered
        self.delivered_ce = tcb.delivered_ce

    def on_sample(self, tcb: Tcb, sample: Sample) -> None:
        """RFC 8257 (3.3): once a window, alpha = alpha (1 - g) + g F, with F the share of marks."""
        if tcb.snd_una < self.window_end:
            return
        alpha: i64 = self.alpha
        step: i64 = alpha >> GAIN_SHIFT
        alpha -= step if step > 0 else alpha  # what is below the resolution vanishes
        marked: i64 = tcb.delivered_ce - self.delivered_ce
        if marked > 0:
            delivered: i64 = max(tcb.delivered - self.delivered, 1)
            alpha = min(alpha + (marked << (10 - GAIN_SHIFT)) // delivered, ALPHA_ONE)
        self.alpha = alpha
        self._start_window(tcb)

    def on_loss(self, tcb: Tcb) -> i64:
        # RFC 8257 (3.3) step 9: cwnd (1 - alpha / 2).
        self.loss_cwnd = tcb.cwnd
        if not tcb.ecn_ok:
            return max(tcb.cwnd >> 1, 2)
        return max(tcb.cwnd - ((tcb.cwnd * self.alpha) >> 11), 2)

    def on_state(self, tcb: Tcb, state: i64) -> None:
        # RFC 8257 (3.5): a loss is answered as Reno answers it.
        if state == RECOVERY:
            self._halve(tcb)

    def on_event(self, tcb: Tcb, event: i64) -> None:
        if event == TIMEOUT:
            self._halve(tcb)

    def _halve(self, tcb: Tcb) -> None:
        self.loss_cwnd = tcb.cwnd
        tcb.set_ssthresh(max(tcb.cwnd >> 1, 2))

    def on_undo(self, tcb: Tcb) -> i64:
        return max(tcb.cwnd, self.loss_cwnd)

    def info(self, tcb: Tcb) -> dict[str, int]:
        return {
            "dctcp_enabled": int(tcb.ecn_ok),
            "dctcp_ce_state": int(tcb.ecn_marked),
            "dctcp_alpha": int(self.alpha),
            "dctcp_ab_ecn": int(tcb.mss * (tcb.delivered_ce - self.delivered_ce)),
            "dctcp_ab_tot": int(tcb.mss * (tcb.delivered - self.delivered)),
        }
