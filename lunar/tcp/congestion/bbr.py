"""BBR, version 1 as in Linux: a model of the path in place of losses (draft-cardwell-iccrg-bbr-congestion-control-00).

The model is the greatest delivery rate of the last ten round trips and the least RTT of the last ten seconds. Data is
paced at that rate times a gain, and cwnd is their product times another. STARTUP raises the rate until three rounds
bring no quarter more; DRAIN takes away the queue that this made; PROBE_BW tries more and then less, in a cycle of eight
least RTTs; PROBE_RTT empties the path for 200 ms where no small RTT was seen in ten seconds.

Rates are segments a microsecond in 1/2**24, gains in 1/256: products stay below 2**63. What finds token-bucket
policers is policer.py, ACKs that come in bunches aggregation.py.
"""

from __future__ import annotations

from typing import ClassVar, Final

from mypy_extensions import i64, mypyc_attr

from lunar.tcp.congestion.aggregation import AckAggregation
from lunar.tcp.congestion.control import INFINITE_SSTHRESH, TX_START, CongestionControl
from lunar.tcp.congestion.policer import ABANDONED, FOUND, Policer
from lunar.tcp.congestion.windowed import WindowedMin
from lunar.tcp.loss import rate as rates
from lunar.tcp.loss.rate import Sample
from lunar.tcp.rules import INITIAL_WINDOW
from lunar.tcp.tcb import LOSS, OPEN, RECOVERY, Tcb

RATE_BITS: Final = 24
GAIN_BITS: Final = 8
UNIT: Final = 256  # a gain of one

# Modes.
STARTUP: Final = 0
DRAIN: Final = 1
PROBE_BW: Final = 2
PROBE_RTT: Final = 3

HIGH_GAIN: Final = 739  # 2/ln(2): the least that doubles the rate each round trip
DRAIN_GAIN: Final = 88  # its inverse
CWND_GAIN: Final = 512  # in PROBE_BW: room for delayed and gathered ACKs
_CYCLE_LENGTH: Final = 8
RATE_WINDOW_ROUNDS: Final = 10
RTT_WINDOW_NS: Final = 10_000_000_000
PROBE_RTT_NS: Final = 200_000_000
LEAST_CWND: Final = 4
FULL_GROWTH: Final = 320  # a round that brings less than a quarter more
FULL_ROUNDS: Final = 3
MARGIN_PERCENT: Final = 1  # pace below the estimate, so that no queue builds up
_NEVER_NS: Final = 1 << 62
_RATE_MAX: Final = 1 << 32  # 256 segments a microsecond
_SLOW_RATE: Final = 150_000  # 1.2 Mbit/s in bytes a second: below it one segment at a time
_TSO_BYTES: Final = 65_215  # the largest segment before segmentation


@mypyc_attr(allow_interpreted_subclasses=True)
class Bbr(CongestionControl):
    """BBR v1: `name` is "bbr". It needs pacing."""

    name: ClassVar[str] = "bbr"
    needs_pacing: ClassVar[bool] = True
    full_control: ClassVar[bool] = True

    def __init__(self) -> None:
        self.mode: i64 = STARTUP
        self.pacing_gain: i64 = HIGH_GAIN
        self.cwnd_gain: i64 = HIGH_GAIN
        self.rates: WindowedMin = WindowedMin(0)  # of the rates' negatives, by rounds
        self.rounds: i64 = 0
        self.round_end: i64 = 0  # the round ends when what is sent now is delivered: `tcb.delivered`
        self.round_start: bool = False
        self.min_rtt_ns: i64 = _NEVER_NS
        self.min_rtt_at_ns: i64 = 0
        self.probe_rtt_until_ns: i64 = -1  # -1: what is in flight has not sunk low enough yet
        self.probe_rtt_round_done: bool = False
        self.full_rate: i64 = 0  # when it last grew by a quarter
        self.full_rounds: i64 = 0
        self.full_reached: bool = False
        self.cycle_index: i64 = 0
        self.cycle_at_ns: i64 = 0
        self.has_seen_rtt: bool = False
        self.idle_restart: bool = False
        self.prior_cwnd: i64 = 0  # to come back to after recovery or PROBE_RTT
        self.prior_state: i64 = OPEN
        self.conserves_packets: bool = False  # the first round of recovery sends what is delivered, and no more
        self.policer: Policer = Policer()
        self.aggregation: AckAggregation = AckAggregation()

    # The interface.

    def start(self, tcb: Tcb) -> None:
        now: i64 = tcb.scheduler.now_ns
        tcb.set_ssthresh(INFINITE_SSTHRESH)
        self.round_end = tcb.delivered
        self.min_rtt_ns = rates.min_rtt(tcb)
        self.min_rtt_at_ns = now
        self.aggregation.restart(now)
        self.cycle_at_ns = now
        self.policer.reset(tcb)
        self._first_pacing_rate(tcb)

    def on_loss(self, tcb: Tcb) -> i64:
        # Loss does not tell of a full path; ssthresh is not used.
        self._save_cwnd(tcb)
        return tcb.ssthresh

    def on_undo(self, tcb: Tcb) -> i64:
        self.full_rate = 0
        self.full_rounds = 0
        self.policer.reset(tcb)
        return tcb.cwnd

    def on_state(self, tcb: Tcb, state: i64) -> None:
        if state == LOSS:
            self.prior_state = LOSS
            self.full_rate = 0
            self.round_start = True
            self._detect_policer(tcb, 1, False)

    def on_event(self, tcb: Tcb, event: i64) -> None:
        if event != TX_START or tcb.app_limited == 0:
            return
        # After a rest of the program's, go on at the rate of the path, without a probe.
        self.idle_restart = True
        self.aggregation.restart(tcb.scheduler.now_ns)
        if self.mode == PROBE_BW:
            self._set_pacing_rate(tcb, self.rate(), UNIT)
        elif self.mode == PROBE_RTT:
            self._end_probe_rtt(tcb)

    def control(self, tcb: Tcb, sample: Sample) -> None:
        self._update_rate(tcb, sample)
        if sample.acked > 0 and sample.delivered >= 0 and sample.interval_ns > 0:
            self.aggregation.update(tcb, sample.acked, self.rate(), self.round_start)
        if self.mode == PROBE_BW and self._phase_is_over(tcb, sample):
            self._next_phase(tcb)
        self._detect_full(sample)
        self._detect_drained(tcb)
        self._update_min_rtt(tcb, sample)
        self._choose_gains()
        rate: i64 = self.rate()
        self._set_pacing_rate(tcb, rate, self.pacing_gain)
        self._set_cwnd(tcb, sample, rate)

    def min_tso_segs(self, tcb: Tcb) -> i64:
        return 1 if tcb.pacing_rate < _SLOW_RATE else 2

    def send_buffer_factor(self, tcb: Tcb) -> i64:
        # cwnd may double in a round trip, and a third window is what is being written.
        return 3

    def info(self, tcb: Tcb) -> dict[str, int]:
        return {
            "bbr_bw": (int(self.rate()) * int(tcb.mss) * 1_000_000) >> RATE_BITS,  # in bytes a second
            "bbr_min_rtt": int(self.min_rtt_ns // 1000),  # in microseconds
            "bbr_pacing_gain": int(self.pacing_gain),
            "bbr_cwnd_gain": int(self.cwnd_gain),
        }

    # The model.

    def greatest_rate(self) -> i64:
        """Of the last ten round trips."""
        return -self.rates.best

    def rate(self) -> i64:
        """What it believes the path gives: a policer's rate where there is one."""
        return self.policer.rate if self.policer.in_use else -self.rates.best

    def _update_rate(self, tcb: Tcb, sample: Sample) -> None:
        self.round_start = False
        if sample.delivered < 0 or sample.interval_ns <= 0:
            return
        if sample.prior_delivered >= self.round_end:
            self.round_end = tcb.delivered
            self.rounds += 1
            self.round_start = True
            self.conserves_packets = False
        self._detect_policer(tcb, sample.losses, sample.is_app_limited)
        interval_us: i64 = max(sample.interval_ns // 1000, 1)
        rate: i64 = min((sample.delivered << RATE_BITS) // interval_us, _RATE_MAX)
        # What the program limited says only that the path gives at least that much.
        if not sample.is_app_limited or rate >= self.greatest_rate():
            self.rates.update(RATE_WINDOW_ROUNDS, self.rounds, -rate)

    def _detect_policer(self, tcb: Tcb, losses: i64, app_limited: bool) -> None:
        verdict: i64 = self.policer.update(tcb, losses, app_limited, self.round_start, self.mode == PROBE_BW)
        if verdict == FOUND:
            self.pacing_gain = UNIT
        elif verdict == ABANDONED:
            self._start_probe_bw(tcb)

    def _update_min_rtt(self, tcb: Tcb, sample: Sample) -> None:
        now: i64 = tcb.scheduler.now_ns
        expired = now > self.min_rtt_at_ns + RTT_WINDOW_NS
        rtt: i64 = sample.rtt_ns
        if rtt >= 0 and (rtt <= self.min_rtt_ns or (expired and not sample.is_ack_delayed)):
            self.min_rtt_ns = max(rtt, 1000)
            self.min_rtt_at_ns = now
        if expired and not self.idle_restart and self.mode != PROBE_RTT:
            self.mode = PROBE_RTT
            self._save_cwnd(tcb)
            self.probe_rtt_until_ns = -1
        if self.mode == PROBE_RTT:
            in_flight: i64 = tcb.in_flight()
            # The low rate of this time is our choice, not the path's.
            tcb.app_limited = max(tcb.delivered + in_flight, 1)
            if self.probe_rtt_until_ns < 0:
                if in_flight <= LEAST_CWND:
                    self.probe_rtt_until_ns = now + PROBE_RTT_NS
                    self.probe_rtt_round_done = False
                    self.round_end = tcb.delivered
            else:
                if self.round_start:
                    self.probe_rtt_round_done = True
                if self.probe_rtt_round_done:
                    self._end_probe_rtt(tcb)
        if sample.delivered > 0:
            self.idle_restart = False

    def _end_probe_rtt(self, tcb: Tcb) -> None:
        now: i64 = tcb.scheduler.now_ns
        if self.probe_rtt_until_ns < 0 or now <= self.probe_rtt_until_ns:
            return
        self.min_rtt_at_ns = now
        tcb.set_cwnd(max(tcb.cwnd, self.prior_cwnd))
        if self.full_reached:
            self._start_probe_bw(tcb)
        else:
            self.mode = STARTUP

    # The modes.

    def _detect_full(self, sample: Sample) -> None:
        """Whether the pipe is full: three rounds in which the rate did not grow by a quarter."""
        if self.full_reached or not self.round_start or sample.is_app_limited:
            return
        greatest: i64 = self.greatest_rate()
        if greatest >= (self.full_rate * FULL_GROWTH) >> GAIN_BITS:
            self.full_rate = greatest
            self.full_rounds = 0
            return
        self.full_rounds += 1
        self.full_reached = self.full_rounds >= FULL_ROUNDS

    def _detect_drained(self, tcb: Tcb) -> None:
        if self.mode == STARTUP and self.full_reached:
            self.mode = DRAIN
            tcb.set_ssthresh(self._inflight(tcb, self.greatest_rate(), UNIT))
        in_flight: i64 = self._at_departure(tcb, tcb.in_flight())
        if self.mode == DRAIN and in_flight <= self._inflight(tcb, self.greatest_rate(), UNIT):
            self._start_probe_bw(tcb)

    def _start_probe_bw(self, tcb: Tcb) -> None:
        self.mode = PROBE_BW
        # Flows that start together shall not probe together: begin anywhere but in the phase of 3/4.
        drawn: i64 = tcb.ip.rng.randrange(_CYCLE_LENGTH - 1)
        self.cycle_index = _CYCLE_LENGTH - 1 - drawn
        self._next_phase(tcb)

    def _next_phase(self, tcb: Tcb) -> None:
        self.cycle_index = (self.cycle_index + 1) % _CYCLE_LENGTH
        self.cycle_at_ns = tcb.delivered_ns

    def _phase_is_over(self, tcb: Tcb, sample: Sample) -> bool:
        full_length = tcb.delivered_ns - self.cycle_at_ns > self.min_rtt_ns
        if self.pacing_gain == UNIT:
            return full_length
        in_flight: i64 = self._at_departure(tcb, sample.prior_in_flight)
        if self.pacing_gain > UNIT:
            # More must really have been in flight, or nothing was probed; unless losses say that it is enough.
            wanted: i64 = self._inflight(tcb, self.greatest_rate(), self.pacing_gain)
            return full_length and (sample.losses > 0 or in_flight >= wanted)
        return full_length or in_flight <= self._inflight(tcb, self.greatest_rate(), UNIT)

    def _choose_gains(self) -> None:
        if self.mode == STARTUP:
            self.pacing_gain = HIGH_GAIN
            self.cwnd_gain = HIGH_GAIN
        elif self.mode == DRAIN:
            self.pacing_gain = DRAIN_GAIN
            self.cwnd_gain = HIGH_GAIN
        elif self.mode == PROBE_BW:
            self.pacing_gain = UNIT if self.policer.in_use else _cycle_gain(self.cycle_index)
            self.cwnd_gain = CWND_GAIN
        else:
            self.pacing_gain = UNIT
            self.cwnd_gain = UNIT

    # What comes of it.

    def _first_pacing_rate(self, tcb: Tcb) -> None:
        """Before there is a rate: cwnd in an SRTT, or in a millisecond, times the high gain."""
        rtt_us: i64 = 1000
        if tcb.srtt_ns > 0:
            rtt_us = max(tcb.srtt_ns // 1000, 1)
            self.has_seen_rtt = True
        tcb.pacing_rate = _pacing_rate(tcb, min((tcb.cwnd << RATE_BITS) // rtt_us, _RATE_MAX), HIGH_GAIN)

    def _set_pacing_rate(self, tcb: Tcb, rate: i64, gain: i64) -> None:
        paced: i64 = _pacing_rate(tcb, rate, gain)
        if not self.has_seen_rtt and tcb.srtt_ns > 0:
            self._first_pacing_rate(tcb)
        # Until the pipe is full the rate only rises.
        if self.full_reached or paced > tcb.pacing_rate:
            tcb.pacing_rate = paced if tcb.max_pacing_rate < 0 else min(paced, tcb.max_pacing_rate)

    def _set_cwnd(self, tcb: Tcb, sample: Sample, rate: i64) -> None:
        acked: i64 = sample.acked
        window: i64 = tcb.cwnd
        if acked > 0:
            state: i64 = tcb.ca_state
            before: i64 = self.prior_state
            if sample.losses > 0:
                window = max(window - sample.losses, 1)
            if state == RECOVERY and before != RECOVERY:
                # The first round of recovery: what leaves the network may be replaced, and no more.
                self.conserves_packets = True
                self.round_end = tcb.delivered
                window = tcb.in_flight() + acked
            elif before >= RECOVERY > state:
                window = max(window, self.prior_cwnd)
                self.conserves_packets = False
            self.prior_state = state
            if self.conserves_packets:
                window = max(window, tcb.in_flight() + acked)
            else:
                window = self._grown(tcb, window, acked, rate)
        if self.mode == PROBE_RTT:
            window = min(window, LEAST_CWND)
        tcb.set_cwnd(window)

    def _grown(self, tcb: Tcb, window: i64, acked: i64, rate: i64) -> i64:
        target: i64 = self._bdp(rate, self.cwnd_gain)
        if self.full_reached:
            target += self.aggregation.segments(rate)
        target = self._with_bursts(tcb, target)
        if self.full_reached:
            window = min(window + acked, target)
        elif window < target or tcb.delivered < INITIAL_WINDOW:
            window += acked
        return max(window, LEAST_CWND)

    def _bdp(self, rate: i64, gain: i64) -> i64:
        """The bandwidth-delay product times a gain, rounded up."""
        if self.min_rtt_ns >= _NEVER_NS:
            return INITIAL_WINDOW
        product: i64 = rate * (self.min_rtt_ns // 1000)
        return (((product * gain) >> GAIN_BITS) + (1 << RATE_BITS) - 1) >> RATE_BITS

    def _inflight(self, tcb: Tcb, rate: i64, gain: i64) -> i64:
        return self._with_bursts(tcb, self._bdp(rate, gain))

    def _with_bursts(self, tcb: Tcb, window: i64) -> i64:
        """Room for the bursts of the sender and the receiver, and for ACKs of every second segment."""
        window += 3 * self._burst(tcb)
        window = (window + 1) >> 1 << 1
        if self.mode == PROBE_BW and self.cycle_index == 0:
            window += 2
        return window

    def _burst(self, tcb: Tcb) -> i64:
        """How many segments go at once at the pacing rate: those of a 1024th of a second."""
        octets: i64 = min(tcb.pacing_rate >> 10, _TSO_BYTES)
        return min(max(octets // tcb.mss, self.min_tso_segs(tcb)), 127)

    def _at_departure(self, tcb: Tcb, in_flight: i64) -> i64:
        """What will be in flight when pacing lets the next segments go: less what is delivered until then."""
        wait_ns: i64 = tcb.departure_ns - tcb.scheduler.now_ns
        if self.pacing_gain > UNIT:
            in_flight += self._burst(tcb)
        if wait_ns > 0:
            in_flight -= (self.rate() * (wait_ns // 1000)) >> RATE_BITS
        return max(in_flight, 0)

    def _save_cwnd(self, tcb: Tcb) -> None:
        """Remember a good cwnd before it is cut."""
        if self.prior_state < RECOVERY and self.mode != PROBE_RTT:
            self.prior_cwnd = tcb.cwnd
        else:
            self.prior_cwnd = max(self.prior_cwnd, tcb.cwnd)


def _cycle_gain(index: i64) -> i64:
    """5/4 in the first phase, 3/4 in the second, to take away what that queued, and then 1."""
    if index == 0:
        return 320
    return 192 if index == 1 else 256


def _pacing_rate(tcb: Tcb, rate: i64, gain: i64) -> i64:
    """In bytes a second, a little below."""
    octets: i64 = (rate * tcb.mss * gain) >> GAIN_BITS
    if octets > 1 << 40:
        return (octets >> RATE_BITS) * (1_000_000 // 100 * (100 - MARGIN_PERCENT))
    return (octets * (1_000_000 // 100 * (100 - MARGIN_PERCENT))) >> RATE_BITS
