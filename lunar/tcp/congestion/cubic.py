"""CUBIC, RFC 9438, with Linux' arithmetic, and HyStart (Ha and Rhee, 2008), which ends slow start before losses do.

After a reduction at W_max the window follows W(t) = C (t - K)^3 + W_max, with K = cbrt(W_max (1 - beta) / C): steeply
up to W_max, flat around it, steeply beyond. Where Reno would be faster, it is at least as fast as Reno.

What Linux does otherwise than the RFC: beta is 717/1024 and C 410/1024; time has units of 1/1024 s on a clock of
milliseconds; t is taken one least RTT ahead, and W at once becomes a rate of growth, at most one segment for every two
acknowledged. HyStart is the original's two tests, not HyStart++ (RFC 9406).
"""

from __future__ import annotations

from typing import ClassVar, Final

from mypy_extensions import i64, mypyc_attr

from lunar.tcp.congestion import cwnd
from lunar.tcp.congestion.control import TX_START, CongestionControl
from lunar.tcp.loss.rate import Sample
from lunar.tcp.tcb import LOSS, Tcb

BETA: Final = 717  # of 1024: what is left of cwnd after a loss, RFC 9438 (4.6): 0.7
C: Final = 410  # of 1024: RFC 9438 (5): 0.4
UNITS_BITS: Final = 10  # time in 1/1024 s
# A Reno with CUBIC's beta grows by one segment for each cwnd * RENO_EIGHTHS / 8 acknowledged: 1 / alpha, which is
# (1 + beta) / (3 (1 - beta)), RFC 9438 (4.3).
RENO_EIGHTHS: Final = 15
FIRST_GROWTH: Final = 20  # before any loss: one segment for each 20 acknowledged, at least
SLOWEST: Final = 100  # and at or above the target one for each 100 windows
FASTEST: Final = 2

_CUBE_SHIFT: Final = 40  # C has 10 bits, and t^3 30
_OFFSET_MAX: Final = 280_000  # 273 s: so that the cube times C stays below 2**63
_MS: Final = 1_000_000
_REPEAT_MS: Final = 31  # a 32nd of a second: an unchanged cwnd needs no new answer before

# HyStart, and which of its tests tcp_cubic.hystart_detect wants.
BY_TRAIN: Final = 1
BY_DELAY: Final = 2
ACK_TRAIN_GAP_NS: Final = 2_000_000  # ACKs that are as close as this came from one burst
DELAY_SAMPLES: Final = 8
DELAY_MIN_NS: Final = 4_000_000
DELAY_MAX_NS: Final = 16_000_000
_INFINITE_NS: Final = 1 << 62


@mypyc_attr(allow_interpreted_subclasses=True)
class Cubic(CongestionControl):
    """RFC 9438, Linux' default: `name` is "cubic"."""

    name: ClassVar[str] = "cubic"

    def __init__(self) -> None:
        self.count: i64 = 0  # segments to be acknowledged for one more
        self.last_max: i64 = 0  # W_max: cwnd before the last reduction
        self.last_cwnd: i64 = 0  # for which `count` was computed
        self.last_ms: i64 = 0  # and when
        self.origin: i64 = 0  # where the curve is flat
        self.k: i64 = 0  # when it is, in units from the start of the epoch
        self.least_rtt_ns: i64 = 0  # 0: none measured
        self.epoch_ms: i64 = -1  # when this growth began; -1: it begins with the next ACK
        self.acked: i64 = 0
        self.reno_cwnd: i64 = 0
        # HyStart.
        self.found: bool = False
        self.round_ns: i64 = 0
        self.round_end: i64 = 0  # snd_nxt when the round began
        self.train_ns: i64 = 0  # the last ACK of the train
        self.round_rtt_ns: i64 = _INFINITE_NS  # the least of this round
        self.samples: i64 = 0

    def start(self, tcb: Tcb) -> None:
        self._reset()
        self._start_round(tcb)

    def _reset(self) -> None:
        self.count = 0
        self.last_max = 0
        self.last_cwnd = 0
        self.last_ms = 0
        self.origin = 0
        self.k = 0
        self.least_rtt_ns = 0
        self.epoch_ms = -1
        self.acked = 0
        self.reno_cwnd = 0
        self.found = False

    def on_ack(self, tcb: Tcb, acked: i64) -> None:
        if not cwnd.is_cwnd_limited(tcb):
            return
        if tcb.cwnd < tcb.ssthresh:
            acked = cwnd.slow_start(tcb, acked)
            if acked == 0:
                return
        self._update(tcb, acked)
        cwnd.additive_increase(tcb, self.count, acked)

    def _update(self, tcb: Tcb, acked: i64) -> None:
        """How many segments must be acknowledged for cwnd to grow by one."""
        window: i64 = tcb.cwnd
        now_ms: i64 = tcb.scheduler.now_ns // _MS
        self.acked += acked
        if self.last_cwnd == window and now_ms - self.last_ms <= _REPEAT_MS:
            return
        # The curve has the resolution of its clock; Reno's part does not.
        if self.epoch_ms < 0 or now_ms != self.last_ms:
            self.last_cwnd = window
            self.last_ms = now_ms
            if self.epoch_ms < 0:
                self._start_epoch(window, acked, now_ms)
            self.count = self._curve(window, now_ms)
        self._be_friendly(window)
        self.count = max(self.count, FASTEST)

    def _start_epoch(self, window: i64, acked: i64, now_ms: i64) -> None:
        self.epoch_ms = now_ms
        self.acked = acked
        self.reno_cwnd = window
        if self.last_max <= window:
            self.k = 0
            self.origin = window
        else:
            # RFC 9438 equation 2: K = cbrt((W_max - cwnd_epoch) / C)
            self.k = _cube_root(((self.last_max - window) << _CUBE_SHIFT) // C)
            self.origin = self.last_max

    def _curve(self, window: i64, now_ms: i64) -> i64:
        """RFC 9438 equation 1, a least RTT ahead; as a number of segments for each that cwnd grows."""
        t: i64 = now_ms - self.epoch_ms + (self.least_rtt_ns + _MS - 1) // _MS
        t = (t << UNITS_BITS) // 1000
        offset: i64 = min(self.k - t if t < self.k else t - self.k, _OFFSET_MAX)
        delta: i64 = (C * offset * offset * offset) >> _CUBE_SHIFT
        target: i64 = self.origin - delta if t < self.k else self.origin + delta
        count: i64 = window // (target - window) if target > window else SLOWEST * window
        # Before the first loss nothing is known of the path, and the flat part would last too long.
        if self.last_max == 0 and count > FIRST_GROWTH:
            count = FIRST_GROWTH
        return count

    def _be_friendly(self, window: i64) -> None:
        """RFC 9438 (4.3): what Reno's window would be by now; at least as fast."""
        per_segment: i64 = (window * RENO_EIGHTHS) >> 3
        if self.acked > per_segment > 0:
            grown: i64 = (self.acked - 1) // per_segment
            self.acked -= grown * per_segment
            self.reno_cwnd += grown
        if self.reno_cwnd > window:
            self.count = min(self.count, window // (self.reno_cwnd - window))

    def on_loss(self, tcb: Tcb) -> i64:
        window: i64 = tcb.cwnd
        self.epoch_ms = -1
        # RFC 9438 (4.7), fast convergence: less than last time, so another flow is growing; leave it more.
        self.last_max = (window * (1024 + BETA)) >> 11 if window < self.last_max else window
        return max((window * BETA) >> 10, 2)

    def on_state(self, tcb: Tcb, state: i64) -> None:
        if state == LOSS:
            self._reset()
            self._start_round(tcb)

    def on_event(self, tcb: Tcb, event: i64) -> None:
        if event == TX_START and self.epoch_ms >= 0:
            # RFC 9438 (5.8): an idle time is no time of growth; the curve is shifted by it.
            now_ms: i64 = tcb.scheduler.now_ns // _MS
            idle_ms: i64 = now_ms - tcb.last_sent_ns // _MS
            if idle_ms > 0:
                self.epoch_ms = min(self.epoch_ms + idle_ms, now_ms)

    def on_sample(self, tcb: Tcb, sample: Sample) -> None:
        rtt: i64 = sample.rtt_ns
        if rtt < 0:
            return
        # The first second after a reduction still sees the queue that led to it.
        if self.epoch_ms >= 0 and tcb.scheduler.now_ns // _MS - self.epoch_ms < 1000:
            return
        rtt = max(rtt, 1000)
        if self.least_rtt_ns == 0 or rtt < self.least_rtt_ns:
            self.least_rtt_ns = rtt
        if not self.found and tcb.cwnd < tcb.ssthresh and tcb.tables.sysctls.cubic_hystart != 0:
            self._hystart(tcb, rtt)

    def _start_round(self, tcb: Tcb) -> None:
        now: i64 = tcb.scheduler.now_ns
        self.round_ns = now
        self.train_ns = now
        self.round_end = tcb.snd_nxt
        self.round_rtt_ns = _INFINITE_NS
        self.samples = 0

    def _hystart(self, tcb: Tcb, rtt: i64) -> None:
        """Two signs that the path is full: a round's ACKs take half an RTT to come, or the RTT has grown."""
        if tcb.snd_una > self.round_end:
            self._start_round(tcb)
        sysctls = tcb.tables.sysctls
        if tcb.cwnd < sysctls.cubic_hystart_low_window:
            return
        now: i64 = tcb.scheduler.now_ns
        if sysctls.cubic_hystart_detect & BY_TRAIN and now - self.train_ns <= ACK_TRAIN_GAP_NS:
            self.train_ns = now
            longest: i64 = self.least_rtt_ns + _burst_ns(tcb)
            # Pacing itself spreads a window over half an RTT.
            if not tcb.needs_pacing:
                longest >>= 1
            if now - self.round_ns > longest:
                self.found = True
                tcb.ip.counters.tcp_hystart_train_detect += 1
                tcb.ip.counters.tcp_hystart_train_cwnd += tcb.cwnd
                tcb.set_ssthresh(tcb.cwnd)
        if not sysctls.cubic_hystart_detect & BY_DELAY:
            return
        if rtt < self.round_rtt_ns:
            self.round_rtt_ns = rtt
        if self.samples < DELAY_SAMPLES:
            self.samples += 1
        elif self.round_rtt_ns > self.least_rtt_ns + min(max(self.least_rtt_ns >> 3, DELAY_MIN_NS), DELAY_MAX_NS):
            self.found = True
            tcb.ip.counters.tcp_hystart_delay_detect += 1
            tcb.ip.counters.tcp_hystart_delay_cwnd += tcb.cwnd
            tcb.set_ssthresh(tcb.cwnd)


def _burst_ns(tcb: Tcb) -> i64:
    """What large segments add to a train: the time of four of 64 KiB at the pacing rate, a millisecond at most."""
    if tcb.pacing_rate <= 0:
        return 0
    return min(4 * 65_536 * 1_000_000_000 // tcb.pacing_rate, _MS)


def _cube_root(number: i64) -> i64:
    """The integer part of the cube root, by Newton's method from above."""
    if number < 8:
        return 1 if number > 0 else 0
    bits: i64 = 0
    rest: i64 = number
    while rest > 0:
        rest >>= 1
        bits += 1
    root: i64 = 1
    root <<= (bits + 2) // 3
    while True:
        better: i64 = (2 * root + number // (root * root)) // 3
        if better >= root:
            return root
        root = better
