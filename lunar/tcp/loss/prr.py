"""Proportional rate reduction: how cwnd goes down to ssthresh while a recovery lasts.

RFC 6937 in the form of its revision (draft-ietf-tcpm-prr-rfc6937bis), as Linux does it: as long as more than ssthresh
is in flight, for each segment that arrives a part of one may be sent, in the proportion of ssthresh to the old cwnd.
Below ssthresh one for one (the conservative bound), and one more when an ACK moves snd_una and tells of no new loss
(slow start to ssthresh). cwnd here is what is in flight and what may be sent now; at the end it becomes ssthresh.
"""

from __future__ import annotations

from mypy_extensions import i64

from lunar.tcp import ecn
from lunar.tcp.congestion.control import COMPLETE_CWR, INFINITE_SSTHRESH
from lunar.tcp.tcb import CWR, RECOVERY, Tcb


def is_reducing(tcb: Tcb) -> bool:
    state: i64 = tcb.ca_state
    return state == RECOVERY or state == CWR


def begin(tcb: Tcb) -> None:
    """The network is congested: the algorithm chooses ssthresh."""
    tcb.high_seq = tcb.snd_nxt
    tcb.tlp_high_seq = -1
    tcb.cwnd_count = 0
    tcb.prior_cwnd = tcb.cwnd
    tcb.prr_delivered = 0
    tcb.prr_out = 0
    tcb.set_ssthresh(tcb.congestion.on_loss(tcb))
    ecn.reduced(tcb)


def reduce(tcb: Tcb, delivered: i64, lost: i64, advanced: bool) -> None:
    """`delivered` more segments arrived, `lost` more are found to be lost; `advanced`: snd_una moved."""
    prior: i64 = tcb.prior_cwnd
    if delivered <= 0 or prior == 0:
        return
    tcb.prr_delivered += delivered
    in_flight: i64 = tcb.in_flight()
    room: i64 = tcb.ssthresh - in_flight
    count: i64 = 0
    if room < 0:
        count = (tcb.ssthresh * tcb.prr_delivered + prior - 1) // prior - tcb.prr_out
    else:
        count = max(tcb.prr_delivered - tcb.prr_out, delivered)
        if advanced and lost == 0:
            count += 1
        count = min(room, count)
    # The first of a recovery, fast retransmit, goes in any case.
    count = max(count, 1 if tcb.prr_out == 0 else 0)
    tcb.set_cwnd(in_flight + count)


def end(tcb: Tcb) -> None:
    """The recovery is over, and was no mistake: cwnd is ssthresh."""
    if tcb.full_control:
        return
    if tcb.ssthresh < INFINITE_SSTHRESH and (tcb.ca_state == CWR or tcb.undo_marker >= 0):
        tcb.set_cwnd(tcb.ssthresh)
        tcb.cwnd_stamp_ns = tcb.scheduler.now_ns
    tcb.congestion.on_event(tcb, COMPLETE_CWR)


def enter_cwr(tcb: Tcb) -> None:
    """The network asked for less, by ECN or by our own device's queue, and lost nothing that we know of."""
    tcb.prior_ssthresh = 0
    if tcb.ca_state < CWR:
        tcb.undo_marker = -1
        begin(tcb)
        tcb.set_ca_state(CWR)
