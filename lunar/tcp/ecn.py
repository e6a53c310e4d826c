"""Explicit Congestion Notification, RFC 3168: routers mark what they would otherwise drop.

The handshake finds out whether both sides can. Then new data goes out with ECT(0); a router marks it CE; the receiver
says ECE on all of its ACKs until the sender answers with CWR, which it does once for each window that it reduces.
Retransmissions and pure ACKs are not marked as capable (sections 6.1.5, 6.1.4). net.ipv4.tcp_ecn: 0 never, 1 ask for
it and accept it, 2 (the default) accept it. AccECN, Linux' values from 3 on, is left out.

A receiver of DCTCP (RFC 8257) says ECE for exactly those segments that were marked, and marks all that it sends.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lunar.packet import ACK, CWR, ECE, SYN, TcpSegment
from lunar.tcp.congestion.control import ECN_IS_CE, ECN_NO_CE
from lunar.tcp.receiver import delayed_ack
from lunar.tcp.sender import segments
from lunar.tcp.tcb import Tcb

# RFC 3168 (5): the two low bits of the traffic class.
NOT_ECT: Final = 0
ECT_1: Final = 1
ECT_0: Final = 2
CE: Final = 3
MASK: Final = 3

# net.ipv4.tcp_ecn
OFF: Final = 0
ASK: Final = 1
ACCEPT: Final = 2

_SETUP: Final = 0xC0  # ECE and CWR


# The handshake, RFC 3168 section 6.1.1.


def offer(tcb: Tcb) -> None:
    """An active open begins: whether our SYN asks for ECN."""
    tcb.needs_ecn = type(tcb.congestion).needs_ecn
    tcb.ecn_ok = tcb.needs_ecn or tcb.tables.sysctls.tcp_ecn == ASK
    tcb.ecn_high = tcb.iss + 1
    tcb.ecn_asks = tcb.ecn_ok


def mark_syn(tcb: Tcb, segment: TcpSegment, again: bool) -> None:
    """Our SYN goes out, or our SYN-ACK of a simultaneous open. `again`: for the second time or later.

    Some networks drop what asks for ECN: a SYN that was lost asks no more (6.1.1.1, net.ipv4.tcp_ecn_fallback).
    """
    if again and tcb.tables.sysctls.tcp_ecn_fallback != 0:
        tcb.ecn_asks = False
    if tcb.ecn_asks:
        segment.flags |= ECE if segment.flags & ACK else _SETUP
        if tcb.needs_ecn:
            segment.tos |= ECT_0


def answered(tcb: Tcb, segment: TcpSegment) -> None:
    """The peer's SYN-ACK says ECE alone if it can; a SYN of a simultaneous open says both."""
    wanted: i64 = ECE if segment.flags & ACK else _SETUP
    if tcb.ecn_ok and segment.flags & _SETUP != wanted:
        tcb.ecn_ok = False


def accepts(listening: Tcb, syn: TcpSegment) -> bool:
    """Whether a SYN gets a SYN-ACK with ECE. One that is marked itself is not trusted (section 6.1.1)."""
    if syn.flags & _SETUP != _SETUP:
        return False
    if type(listening.congestion).needs_ecn:
        return True
    return listening.tables.sysctls.tcp_ecn != OFF and syn.tos & MASK == NOT_ECT


def mark_syn_ack(listening: Tcb, segment: TcpSegment) -> None:
    """Our SYN-ACK for a SYN that is accepted."""
    segment.flags |= ECE
    if type(listening.congestion).needs_ecn:
        segment.tos |= ECT_0


# Sending.


def mark(tcb: Tcb, segment: TcpSegment, seq: i64) -> None:
    """A segment of a connection with ECN goes out."""
    size: i64 = len(segment.payload)
    if size > 0 and seq >= tcb.ecn_high:
        # New data. A retransmission is not marked: an attacker could make up one outside of the window (6.1.5).
        tcb.ecn_high = seq + size
        segment.tos |= ECT_0
        if tcb.ecn_owes_cwr:
            tcb.ecn_owes_cwr = False
            segment.flags |= CWR
    elif tcb.needs_ecn:
        segment.tos |= ECT_0
    if tcb.ecn_echo:
        segment.flags |= ECE


def reduced(tcb: Tcb) -> None:
    """The window goes down: the receiver is told with the next new data (6.1.2)."""
    if tcb.ecn_ok:
        tcb.ecn_owes_cwr = True


def is_echo(tcb: Tcb, segment: TcpSegment) -> bool:
    """Whether this ACK says that the network marked something of ours."""
    return tcb.ecn_ok and segment.flags & (ECE | SYN) == ECE


# Receiving, RFC 3168 section 6.1.3.


def data_received(tcb: Tcb, segment: TcpSegment, new: bool) -> None:
    """Data came, in the window, and is not counted yet; `new`: not all of it was there before."""
    if segment.flags & CWR:
        # Its cwnd may be one segment: it should not wait for the delayed ACK.
        tcb.ecn_echo = False
        tcb.ack_now = True
        tcb.ack_scheduled = True
    if not new:
        return
    code: i64 = segment.tos & MASK
    if code == NOT_ECT:
        # The peer has marked all new data as capable: probably this is a retransmission, and it waits for news.
        if tcb.ecn_seen:
            delayed_ack.enter_quick(tcb)
        return
    tcb.ecn_seen = True
    if tcb.echoes_each_mark:
        _mirror(tcb, code == CE)
    if code == CE:
        if tcb.needs_ecn:
            tcb.congestion.on_event(tcb, ECN_IS_CE)
        if not tcb.ecn_echo:
            # The sender's cwnd may be low by now.
            delayed_ack.enter_quick(tcb)
            tcb.ecn_echo = True
    elif tcb.needs_ecn:
        tcb.congestion.on_event(tcb, ECN_NO_CE)


def _mirror(tcb: Tcb, marked: bool) -> None:
    """RFC 8257 (3.2): each change of the mark is told at once, so that the sender can count the marks."""
    if marked == tcb.ecn_marked:
        return
    if tcb.delayed_ack_timer.at_ns != 0:
        # What came before, with what held for it.
        segments.send_ack(tcb)
    tcb.ecn_marked = marked
    tcb.ecn_echo = marked
    delayed_ack.enter_quick(tcb)
    tcb.ack_now = True
    tcb.ack_scheduled = True
