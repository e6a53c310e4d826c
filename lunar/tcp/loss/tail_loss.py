"""The tail loss probe: when the last segments of a flight are lost, no later one tells of it, and a probe is sent.

RFC 8985 section 7 as Linux does it, for peers that send SACK. retransmit_timer.py says when it is due, timeouts.py
sends it: new data if there is some, else the last segment again. `on_ack` finds out whether that repaired a loss, which
nothing else would have told of; then cwnd must go down.
"""

from __future__ import annotations

from mypy_extensions import i64

from lunar.tcp.loss import prr, undo
from lunar.tcp.loss.news import News
from lunar.tcp.tcb import CWR, Tcb


def on_ack(tcb: Tcb, news: News, ack: i64) -> None:
    """RFC 8985 (7.4): an ACK while a probe is out. `tlp_high_seq` was snd_nxt when it was sent."""
    if ack < tcb.tlp_high_seq:
        return
    if not tcb.tlp_retrans:
        # New data was the probe, and it is acknowledged like any other.
        tcb.tlp_high_seq = -1
    elif news.probe_duplicated:
        # A D-SACK: both the original and the probe arrived.
        tcb.tlp_high_seq = -1
    elif ack > tcb.tlp_high_seq:
        # What was sent afterwards is acknowledged and no duplicate was told of: the original was lost.
        prr.begin(tcb)
        tcb.set_ca_state(CWR)
        prr.end(tcb)
        undo.keep_open(tcb)
        tcb.ip.counters.tcp_loss_probe_recovery += 1
    elif not news.advanced and news.pure and not news.sacked:
        # A duplicate ACK: the peer answers to the probe, and had the original.
        tcb.tlp_high_seq = -1
