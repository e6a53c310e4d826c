"""An acknowledgment from the peer: what it removes from the retransmission queue, and the window that it offers.

RFC 9293 section 3.10.7.4, "fifth, check the ACK field". What it means for loss and cwnd is in recovery.py.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lunar.net import neighbor
from lunar.packet import FIN, SYN, TcpSegment
from lunar.tcp import chronograph, ecn
from lunar.tcp.congestion import cwnd
from lunar.tcp.loss import duplicates, prr, rack, rate, recovery, retransmit_timer, rtt, sack, tail_loss
from lunar.tcp.loss.news import News
from lunar.tcp.loss.rate import Sample
from lunar.tcp.sender import mtu_probe, output, probes, records, segment_size, segments, send_marks
from lunar.tcp.tcb import EVER_RETRANSMITTED, LOST, OPEN, RETRANSMITTED, SACKED, SYN_RECEIVED, Sent, Tcb

# What `process` made of it.
UNACCEPTABLE: Final = 0
OLD: Final = 1
TAKEN: Final = 2

# RFC 7323 (5.5): a connection that was idle for 24 days may see the timestamp clock wrapped.
PAWS_IDLE_NS: Final = 24 * 86_400 * 1_000_000_000

_COMPACT_FROM: Final = 32  # acknowledged records stay in the list until they are this many and the majority


def process(tcb: Tcb, segment: TcpSegment, seq: i64, ack: i64, size: i64) -> i64:
    """Take the ACK and window of `segment`, whose data of `size` bytes starts at `seq`; both numbers unwrapped."""
    una: i64 = tcb.snd_una
    if ack > tcb.snd_nxt:
        # RFC 9293 (3.10.7.4), RFC 5961 (5.2): of what was not sent; an ACK says where we are. A handshake has a RST.
        if tcb.state != SYN_RECEIVED:
            segments.send_challenge_ack(tcb)
        return UNACCEPTABLE
    if ack < una:
        # RFC 5961 (5.2): older than any window that we were offered, or than all that was ever acknowledged, is an
        # attack or a very old duplicate.
        oldest: i64 = una - tcb.max_window
        if oldest < tcb.acked_from and not tcb.syn_ack_pending:
            oldest = tcb.acked_from
        if ack < oldest:
            segments.send_challenge_ack(tcb)
            return UNACCEPTABLE
        old_blocks = segment.sack_blocks
        if old_blocks is not None and tcb.sack_ok and tcb.packets_out > 0:
            _overtaken(tcb, segment, old_blocks, ack)
        return OLD
    now: i64 = tcb.scheduler.now_ns
    tcb.last_ack_ns = now
    tcb.probes_out = 0
    # RFC 7323 (4.3): remember the timestamp of what begins at or before the last ACK that we sent.
    if (
        tcb.timestamps
        and segment.has_timestamps
        and seq <= tcb.rcv_wup
        and ((segment.ts_val - tcb.ts_recent) & 0xFFFF_FFFF < 0x8000_0000 or now - tcb.ts_recent_ns > PAWS_IDLE_NS)
    ):
        tcb.ts_recent = segment.ts_val
        tcb.ts_recent_ns = now
    # The window: from a newer segment, or a newer ACK, or (Linux) a larger or a zero one of the same.
    offered: i64 = segment.window
    if not segment.flags & SYN:
        offered <<= tcb.snd_wscale
    # Linux takes what is newer for an update of the window even if that stays as it is.
    window_told = False
    if ack > una or seq > tcb.snd_wl1 or (seq == tcb.snd_wl1 and (offered > tcb.snd_wnd or offered == 0)):
        tcb.snd_wl1 = seq
        window_told = True
        if offered != tcb.snd_wnd:
            tcb.snd_wnd = offered
            if offered > tcb.max_window:
                tcb.max_window = offered
                segment_size.update(tcb)
            if tcb.packets_out == 0 and tcb.unsent.size > 0:
                cwnd.restart_after_idle(tcb)
    blocks = segment.sack_blocks if tcb.sack_ok else None
    news = tcb.tables.news
    news.begin(una, ack > una, segment.ts_ecr if tcb.timestamps and segment.has_timestamps else -1)
    if tcb.packets_out == 0:
        tcb.snd_una = ack
        if blocks is not None:
            _after_all(tcb, news, blocks, ack)
        if tcb.has_unsent():
            _probe_answered(tcb)
        return TAKEN
    if news.advanced:
        tcb.retransmits = 0
    elif size == 0 and not window_told and not segment.flags & (SYN | FIN):
        # RFC 5681 (2): a duplicate has no data, no new window, no SYN or FIN, while something is outstanding.
        news.duplicate = True
    elif tcb.ca_state == OPEN and blocks is None and not ecn.is_echo(tcb, segment):
        return TAKEN
    news.pure = size == 0 and not window_told
    if tcb.ecn_ok:
        news.echo = ecn.is_echo(tcb, segment)
    _take(tcb, news, blocks, ack, segment.ttl)
    return TAKEN


def _take(tcb: Tcb, news: News, blocks: list[tuple[int, int]] | None, ack: i64, ttl: i64) -> None:
    """What the ACK says of what is in flight: take it, measure, find what is lost, move cwnd, send again."""
    sample = rate.begin(tcb)
    if blocks is not None:
        sack.take(tcb, news, blocks, ack)
    elif tcb.sacked_out > 0 and tcb.sack_ok:
        news.prior_high = tcb.high_sacked
    tcb.snd_una = ack
    if news.advanced:
        _remove(tcb, news, sample, ack)
        route = tcb.route
        if route is not None and route.device.arp:
            neighbor.confirm(route, tcb.remote_addr)  # what we send arrives (RFC 4861, 7.3.1)
        if tcb.marks is not None:
            send_marks.acknowledged(tcb, tcb.marks, ttl)
        if tcb.mtu_search is not None and mtu_probe.acknowledged(tcb):
            segment_size.update(tcb)
    _measure(tcb, news, sample)
    if news.echo:
        # Linux counts all that such an ACK delivers as marked.
        sample.is_ece = True
        tcb.delivered_ce += tcb.delivered - sample.delivered_before
    sample.acked = news.acked
    tcb.congestion.on_sample(tcb, sample)
    if tcb.rack_duplicate or tcb.rack_steps > 1:
        rack.adapt_window(tcb, sample)
    if tcb.tlp_high_seq >= 0:
        tail_loss.on_ack(tcb, news, ack)
    todo: i64 = recovery.NOTHING
    if (
        tcb.ca_state != OPEN
        or news.duplicate
        or news.sacked
        or news.duplicate_told
        or news.echo
        or (news.advanced and news.acked == 0)  # into a segment, not past one
    ):
        todo = recovery.alert(tcb, news)
    if news.timer:
        _restart_timer(tcb)
    rate.generate(tcb, sample, tcb.reneged)
    growth: i64 = 0
    if not tcb.full_control:
        if prr.is_reducing(tcb):
            prr.reduce(tcb, sample.acked, sample.losses, news.advanced)
        elif _may_grow(tcb, news) and tcb.congestion_started:  # not by data of a SYN
            growth = sample.acked
    cwnd.control(tcb, sample, growth)
    if todo != recovery.NOTHING:
        _send_again(tcb, todo)


def _restart_timer(tcb: Tcb) -> None:
    """snd_una moved: the probe for a lost tail, or the retransmission timer, begins anew."""
    if not retransmit_timer.schedule_probe(tcb, True):
        retransmit_timer.restart(tcb, False)


def _may_grow(tcb: Tcb, news: News) -> bool:
    """RFC 5681: for data that is in order; where the network reorders much, for all that arrives."""
    if tcb.reordering > tcb.tables.sysctls.tcp_reordering:
        return news.advanced or news.sacked
    return news.data_acked


def _send_again(tcb: Tcb, todo: i64) -> None:
    if todo == recovery.SEND_NEW:
        output.push(tcb, False)
        if tcb.snd_nxt > tcb.high_seq:
            return
        tcb.frto = False
    recovery.resend_lost(tcb)


def _overtaken(tcb: Tcb, segment: TcpSegment, blocks: list[tuple[int, int]], ack: i64) -> None:
    """An ACK from below snd_una: its blocks may tell of what no later one did."""
    news = tcb.tables.news
    news.begin(tcb.snd_una, False, segment.ts_ecr if tcb.timestamps and segment.has_timestamps else -1)
    sample = rate.begin(tcb)
    sack.take(tcb, news, blocks, ack)
    todo: i64 = recovery.alert(tcb, news)
    rate.generate(tcb, sample, tcb.reneged)
    if todo != recovery.NOTHING:
        _send_again(tcb, todo)


def _after_all(tcb: Tcb, news: News, blocks: list[tuple[int, int]], ack: i64) -> None:
    """Nothing is in flight; D-SACKs may still tell that what was sent again need not have been."""
    sample = rate.begin(tcb)
    sack.take(tcb, news, blocks, ack)
    if news.duplicate_told:
        if tcb.tlp_high_seq >= 0:
            tail_loss.on_ack(tcb, news, ack)
        recovery.alert(tcb, news)
    rate.generate(tcb, sample, False)


def _remove(tcb: Tcb, news: News, sample: Sample, ack: i64) -> None:
    """Take what is acknowledged off the retransmission queue."""
    now: i64 = tcb.scheduler.now_ns
    sent = tcb.sent
    count: i64 = len(sent)
    head: i64 = tcb.sent_head
    acked: i64 = 0
    removed: i64 = 0
    data: i64 = 0
    last: Sent | None = None
    while head < count:
        record = sent[head]
        segs: i64 = record.segs
        seq: i64 = record.seq
        whole = record.end_seq <= ack
        if whole:
            head += 1
            removed += segs
        else:
            if segs == 1 or ack <= seq:
                break
            segs = records.trim(tcb, record)
            if segs == 0:
                break
        acked += segs
        if not record.flags & SYN:
            data += segs
        if record.marks != 0:
            _remove_marked(tcb, news, sample, record, seq, segs, whole)
            if whole:
                continue
            break
        if last is None:
            if news.first_acked_ns < 0:
                news.first_acked_ns = record.sent_ns
            news.lowest = min(news.lowest, seq)
            if record.end_seq <= tcb.high_seq:
                news.original = True
        last = record
        rate.delivered(tcb, record, sample)
        if tcb.sack_ok:
            tcb.delivered += segs
        if not whole:
            break
    tcb.packets_out -= removed
    if head == count:
        sent.clear()
        head = 0
        if tcb.resent:
            tcb.resent.clear()
        chronograph.stop(tcb, chronograph.BUSY)
    elif head >= _COMPACT_FROM and head * 2 >= count:
        del sent[:head]
        head = 0
    tcb.sent_head = head
    if last is not None:
        if last.sent_ns > news.last_acked_ns:
            news.last_acked_ns = last.sent_ns
        if tcb.sack_ok:
            rack.newest(tcb, last)
    if news.first_acked_ns >= 0 and not news.retransmitted_acked:
        # Karn's rule, RFC 6298 (3): what was sent twice is not measured.
        rtt.sample(tcb, now - news.first_acked_ns)
        sample.rtt_ns = now - news.last_acked_ns
    if acked == 0:
        return
    news.acked = acked
    news.data_acked = data > 0
    news.timer = True
    if not tcb.sack_ok:
        if news.retransmitted_acked:
            news.original = False
        duplicates.acknowledged(tcb, acked)
    elif news.lowest < news.prior_high:
        sack.measure_reordering(tcb, news.lowest, False)


def _remove_marked(
    tcb: Tcb, news: News, sample: Sample, record: Sent, seq: i64, segs: i64, whole: bool
) -> None:  # fmt: skip
    """The same for a record that was sacked, lost or sent again, which began at `seq`. `whole`: all is acknowledged."""
    marks: i64 = record.marks
    if whole:
        if marks & LOST:
            tcb.lost_out -= segs
        if marks & RETRANSMITTED:
            tcb.retrans_out -= segs
        if marks & SACKED:
            tcb.sacked_out -= segs
    if marks & (RETRANSMITTED | EVER_RETRANSMITTED):
        news.retransmitted_acked = True
    elif not marks & SACKED:
        if news.first_acked_ns < 0:
            news.first_acked_ns = record.sent_ns
        news.last_acked_ns = record.sent_ns
        if seq < news.lowest:
            news.lowest = seq
        if record.end_seq <= tcb.high_seq:
            news.original = True
    if marks & SACKED:
        return
    rate.delivered(tcb, record, sample)
    if tcb.sack_ok:
        tcb.delivered += segs
        rack.arrived(tcb, news, record)


def _measure(tcb: Tcb, news: News, sample: Sample) -> None:
    """The RTT, RFC 6298 and RFC 7323 (4.1): of what was sent once, or by the timestamp, where something moved."""
    now: i64 = tcb.scheduler.now_ns
    if news.first_sacked_ns >= 0:
        if sample.rtt_ns < 0:
            rtt.sample(tcb, now - news.first_sacked_ns)
        sample.rtt_ns = now - news.last_sacked_ns
        # RFC 6298 (5.3) is for ACKs that move snd_una. Linux begins anew for others, too, if what they tell of was sent
        # before the first record was sent again; what was sent after that must not put the timeout off.
        if not news.timer and tcb.sent_head < len(tcb.sent):
            if news.first_sacked_ns < tcb.sent[tcb.sent_head].sent_ns:
                news.timer = True
    elif sample.rtt_ns < 0:
        if news.acked > 0 and news.ts_ecr > 0:
            rtt.sample_by_timestamp(tcb, news.ts_ecr)
        return
    if news.acked == 1 and tcb.ca_state == OPEN and tcb.sacked_out == 0 and not news.sacked:
        # A small segment alone, and nothing else came in the meantime: the receiver may have waited for another one.
        if tcb.snd_una - news.prior_una < tcb.mss and sample.prior_delivered + 1 == tcb.delivered:
            sample.is_ack_delayed = True
    rate.update_min_rtt(tcb, sample.rtt_ns, sample.is_ack_delayed)


def _probe_answered(tcb: Tcb) -> None:
    """Something waits to be sent and nothing is in flight: has the window opened enough?"""
    need: i64 = min(max(tcb.unsent.size, 1), tcb.mss)
    if need <= tcb.snd_una + tcb.snd_wnd - tcb.snd_nxt:
        tcb.backoff = 0
        tcb.probes_since_ns = 0
        tcb.retransmit_timer.disarm()
    elif tcb.retransmit_timer.at_ns != 0:
        # Still closed: the peer lives, and the interval goes on growing.
        probes.arm(tcb, output.probe_interval(tcb))
