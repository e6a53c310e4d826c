"""Undo: a recovery that turns out to have been needless gives back what it took from cwnd and ssthresh.

Two kinds of proof are taken, as by Linux. The Eifel detection (RFC 3522): the ACK of what was sent again echoes a
timestamp from before it was sent again, so the original had arrived. D-SACKs (RFC 3708): all that was sent again
arrived twice. The answer is that of RFC 4015 in part: state is restored, the RTO is left to its measurements.

`undo_marker` is snd_una at the start of what may be undone, -1 for none; `undo_retrans` the retransmissions in it of
whose duplicates we have not heard, -1 while nothing was sent again.
"""

from __future__ import annotations

from mypy_extensions import i64

from lunar.tcp.loss import rack, sack, scoreboard
from lunar.tcp.loss.news import News
from lunar.tcp.tcb import CWR, DISORDER, LOSS, OPEN, RECOVERY, Tcb


def begin(tcb: Tcb) -> None:
    """A reduction begins, which may turn out to have been needless."""
    tcb.undo_marker = tcb.snd_una
    # What is in flight again may cause D-SACKs still. 0 would mean that all of it has.
    pending: i64 = tcb.retrans_out
    if tcb.tlp_high_seq >= 0 and tcb.tlp_retrans:
        pending += 1
    tcb.undo_retrans = pending if pending > 0 else -1


def current_ssthresh(tcb: Tcb) -> i64:
    """The ssthresh to come back to: at least three quarters of cwnd, unless that is being reduced."""
    if tcb.ca_state == CWR or tcb.ca_state == RECOVERY:
        return tcb.ssthresh
    return max(tcb.ssthresh, (tcb.cwnd >> 1) + (tcb.cwnd >> 2))


def was_delayed(tcb: Tcb, news: News) -> bool:
    """The Eifel detection: whether the ACK answers something that was sent before the first retransmission."""
    if tcb.retrans_stamp >= 0:
        return news.echoes_before(tcb.retrans_stamp)
    # Nothing was sent again yet; unless the state is only held (`at_end`), when it is forgotten what was.
    return tcb.sack_ok or tcb.snd_una < tcb.high_seq


def is_possible(tcb: Tcb, news: News) -> bool:
    return tcb.undo_marker >= 0 and (tcb.undo_retrans == 0 or was_delayed(tcb, news))


def restore(tcb: Tcb, losses_too: bool) -> None:
    """Give back cwnd and ssthresh. `losses_too`: what is marked lost is not."""
    if losses_too:
        scoreboard.clear_losses(tcb)
    if tcb.prior_ssthresh > 0:
        tcb.set_cwnd(tcb.congestion.on_undo(tcb))
        if tcb.prior_ssthresh > tcb.ssthresh:
            tcb.set_ssthresh(tcb.prior_ssthresh)
    tcb.cwnd_stamp_ns = tcb.scheduler.now_ns
    tcb.undo_marker = -1
    tcb.rack_advanced = True


def at_end(tcb: Tcb, news: News) -> bool:
    """All that was in flight when the recovery began is acknowledged. Was it needless? And is it over?

    Returns whether the state is held still: without SACK, until something above `high_seq` is acknowledged, or the
    duplicates that our own retransmissions cause would look like a new loss (RFC 6582 section 4).
    """
    if is_possible(tcb, news):
        counters = tcb.ip.counters
        if tcb.ca_state == LOSS:
            counters.tcp_loss_undo += 1
        else:
            counters.tcp_full_undo += 1
        restore(tcb, False)
    elif tcb.rack_persist > 0:
        tcb.rack_persist -= 1
    if tcb.snd_una == tcb.high_seq and not tcb.sack_ok:
        if not scoreboard.is_any_retransmitted(tcb):
            tcb.retrans_stamp = -1
        return True
    tcb.set_ca_state(OPEN)
    tcb.reneged = False
    return False


def by_duplicates(tcb: Tcb) -> bool:
    """D-SACKs have told of everything that was sent again."""
    if tcb.undo_marker < 0 or tcb.undo_retrans != 0:
        return False
    tcb.rack_persist = min(rack.PERSISTENCE, tcb.rack_persist + 1)
    restore(tcb, False)
    tcb.ip.counters.tcp_dsack_undo += 1
    return True


def after_timeout(tcb: Tcb, news: News, by_frto: bool) -> bool:
    """The timeout was spurious: F-RTO says so (`by_frto`), or timestamps or D-SACKs."""
    if not by_frto and not is_possible(tcb, news):
        return False
    restore(tcb, True)
    counters = tcb.ip.counters
    counters.tcp_loss_undo += 1
    if by_frto:
        counters.tcp_spurious_rtos += 1
    tcb.retransmits = 0
    if not tcb.sack_ok and tcb.snd_una == tcb.high_seq:
        if not scoreboard.is_any_retransmitted(tcb):
            tcb.retrans_stamp = -1
        return True
    if by_frto or tcb.sack_ok:
        tcb.set_ca_state(OPEN)
        tcb.reneged = False
    return True


def at_partial(tcb: Tcb, news: News) -> bool:
    """A part of the recovery is acknowledged by an original that was only late. True: wait, and reduce no further."""
    if tcb.undo_marker < 0 or not was_delayed(tcb, news):
        return False
    sack.measure_reordering(tcb, news.prior_una, True)
    if tcb.retrans_out > 0:
        # A D-SACK or an ACK of what is in flight again will tell whether it was needless as well.
        return True
    if not scoreboard.is_any_retransmitted(tcb):
        tcb.retrans_stamp = -1
    restore(tcb, True)
    tcb.ip.counters.tcp_partial_undo += 1
    keep_open(tcb)
    return False


def keep_open(tcb: Tcb) -> None:
    """OPEN, if nothing is unclear; DISORDER else."""
    state: i64 = OPEN
    if tcb.sacked_out + tcb.lost_out > 0 or scoreboard.is_any_retransmitted(tcb):
        state = DISORDER
    if tcb.ca_state != state:
        tcb.set_ca_state(state)
        tcb.high_seq = tcb.snd_nxt
