"""How fast the network delivers: a sample with each ACK (draft-cheng-iccrg-delivery-rate-estimation, as Linux).

Each segment that goes out notes how much had been delivered by then, and when. When it is delivered, what was
delivered in between, over the time that it took to send or to be acknowledged, whichever is longer, is the rate; the
longer, because bursts of data and of ACKs would make it seem higher than the path can. `sent` notes, `begin` opens the
sample of an ACK, `delivered` finds the latest segment that the ACK delivered, `generate` computes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from lunar.tcp.congestion.windowed import WindowedMin

if TYPE_CHECKING:
    from lunar.tcp.tcb import Sent, Tcb

NONE: Final = -1
_NEVER_MEASURED_NS: Final = 1 << 62
_EVER_RETRANSMITTED: Final = 8  # a mark of tcb.py, which imports this file by way of tables.py


@final
class Sample:
    """What one ACK tells. There is one object for all ACKs of a host: do not keep it. Times in ns, -1 for none."""

    def __init__(self) -> None:
        self.acked: i64 = 0  # segments that were newly acknowledged or selectively acknowledged
        self.losses: i64 = 0  # segments that were newly marked lost
        self.prior_in_flight: i64 = 0  # before the ACK
        self.rtt_ns: i64 = NONE  # of the latest segment that it acknowledged
        self.delivered: i64 = NONE  # segments delivered over `interval_ns`; -1: no sample
        self.delivered_ce: i64 = 0  # of them with the mark of congestion (ECN)
        self.interval_ns: i64 = NONE
        self.prior_delivered: i64 = 0  # `tcb.delivered` when the latest delivered segment was sent
        self.prior_delivered_ce: i64 = 0
        self.prior_ns: i64 = NONE  # and when that many were
        self.is_app_limited: bool = False  # the program, not the network, may have been the limit
        self.is_retransmission: bool = False  # the latest delivered segment was sent more than once
        self.is_ack_delayed: bool = False  # probably by the receiver's delayed-ACK timer
        self.is_ece: bool = False  # the ACK has ECN's echo
        # What `generate` needs to tell the difference.
        self.delivered_before: i64 = 0
        self.lost_before: i64 = 0
        self.latest_sent_ns: i64 = NONE
        self.latest_end: i64 = 0

    def rate(self, mss: i64) -> i64:
        """The delivery rate in bytes a second; 0 without a sample."""
        if self.delivered <= 0 or self.interval_ns <= 0:
            return 0
        return self.delivered * mss * 1_000_000_000 // self.interval_ns


def sent(tcb: Tcb, record: Sent) -> None:
    """`record` goes out, for the first time or again, and is not yet counted in `tcb.packets_out` if it is new."""
    now: i64 = tcb.scheduler.now_ns
    if tcb.packets_out == 0:
        # Nothing is in flight: the interval begins here, and not with the idle time before it.
        tcb.first_tx_ns = now
        tcb.delivered_ns = now
    tcb.turns += 1
    record.turn = tcb.turns
    record.first_tx_ns = tcb.first_tx_ns
    record.delivered_ns = tcb.delivered_ns
    record.delivered = tcb.delivered
    record.delivered_ce = tcb.delivered_ce
    record.app_limited = tcb.app_limited != 0


def begin(tcb: Tcb) -> Sample:
    """An ACK comes: the sample, empty."""
    sample = tcb.tables.sample
    sample.acked = 0
    sample.losses = 0
    sample.prior_in_flight = tcb.packets_out - tcb.sacked_out - tcb.lost_out + tcb.retrans_out
    sample.rtt_ns = NONE
    sample.delivered = NONE
    sample.delivered_ce = 0
    sample.interval_ns = NONE
    sample.prior_delivered = 0
    sample.prior_ns = NONE
    sample.is_app_limited = False
    sample.is_retransmission = False
    sample.is_ack_delayed = False
    sample.is_ece = False
    sample.delivered_before = tcb.delivered
    sample.lost_before = tcb.lost
    sample.latest_sent_ns = NONE
    sample.latest_end = 0
    return sample


def delivered(tcb: Tcb, record: Sent, sample: Sample) -> None:
    """`record` was acknowledged, or selectively, for the first time. `tcb.delivered` is counted by the caller."""
    if record.delivered_ns < 0:
        return
    if sample.prior_ns < 0 or (
        record.sent_ns > sample.latest_sent_ns
        or (record.sent_ns == sample.latest_sent_ns and record.end_seq > sample.latest_end)
    ):
        sample.prior_delivered = record.delivered
        sample.prior_delivered_ce = record.delivered_ce
        sample.prior_ns = record.delivered_ns
        sample.is_app_limited = record.app_limited
        sample.is_retransmission = record.marks & _EVER_RETRANSMITTED != 0
        sample.latest_sent_ns = record.sent_ns
        sample.latest_end = record.end_seq
        sample.interval_ns = record.sent_ns - record.first_tx_ns
        # The next interval of sending begins with this segment.
        tcb.first_tx_ns = record.sent_ns
    # Once: a segment that SACK told of is not counted when the cumulative ACK comes.
    record.delivered_ns = NONE


def generate(tcb: Tcb, sample: Sample, reneged: bool) -> None:
    """The ACK is processed, and `tcb.delivered` counts all that it delivered. `reneged`: SACK was taken back."""
    total: i64 = tcb.delivered
    if tcb.app_limited != 0 and total > tcb.app_limited:
        tcb.app_limited = 0
    now: i64 = tcb.scheduler.now_ns
    acked: i64 = total - sample.delivered_before
    if acked > 0:
        tcb.delivered_ns = now
    sample.acked = acked
    sample.losses = tcb.lost - sample.lost_before
    if sample.prior_ns < 0 or reneged:
        sample.delivered = NONE
        sample.interval_ns = NONE
        return
    sample.delivered = total - sample.prior_delivered
    sample.delivered_ce = tcb.delivered_ce - sample.prior_delivered_ce
    interval: i64 = max(sample.interval_ns, now - sample.prior_ns)
    # An interval below the least RTT is no measurement: a retransmission that was not needed, or too coarse a clock.
    if interval <= 0 or interval < min_rtt(tcb):
        sample.interval_ns = NONE
        return
    sample.interval_ns = interval
    # The best is kept, as TCP_INFO shows it; one that the program limited only where it is no less.
    if not sample.is_app_limited or sample.delivered * tcb.rate_interval_ns >= tcb.rate_delivered * interval:
        tcb.rate_delivered = sample.delivered
        tcb.rate_interval_ns = interval
        tcb.rate_app_limited = sample.is_app_limited


def delivery_rate(tcb: Tcb) -> i64:
    """The best rate of late in bytes a second, as TCP_INFO tells it; 0 without one."""
    if tcb.rate_delivered <= 0 or tcb.rate_interval_ns <= 0:
        return 0
    return tcb.rate_delivered * tcb.mss * 1_000_000_000 // tcb.rate_interval_ns


def check_app_limited(tcb: Tcb) -> None:
    """The program is about to write: was it what kept the pipe from being full?"""
    if (
        tcb.unsent.size < tcb.mss
        and tcb.packets_out - tcb.sacked_out - tcb.lost_out + tcb.retrans_out < tcb.cwnd
        and tcb.lost_out <= tcb.retrans_out
    ):
        # Until all of what is in flight now is delivered, samples say what the program sent.
        tcb.app_limited = max(tcb.delivered + tcb.packets_out - tcb.sacked_out - tcb.lost_out + tcb.retrans_out, 1)


def min_rtt(tcb: Tcb) -> i64:
    """The least RTT of the last net.ipv4.tcp_min_rtt_wlen seconds; 2**62 where none was measured."""
    least = tcb.rtt_filter
    return _NEVER_MEASURED_NS if least is None else least.best


def update_min_rtt(tcb: Tcb, rtt_ns: i64, delayed: bool) -> None:
    """An RTT was measured. One that is greater, and perhaps the receiver's delay, tells nothing new of the path."""
    least = tcb.rtt_filter
    if least is None:
        least = WindowedMin(_NEVER_MEASURED_NS)
        tcb.rtt_filter = least
    elif delayed and rtt_ns > least.best:
        return
    least.update(tcb.tables.sysctls.tcp_min_rtt_wlen * 1_000_000_000, tcb.scheduler.now_ns, max(rtt_ns, 1000))
