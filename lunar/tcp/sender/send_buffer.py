"""The send buffer: how much a program may write ahead, when it may write again, and how the buffer grows with cwnd.

It holds what is unacknowledged and what is unsent. tcp(7), tcp_wmem.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lunar.net.sock import POLLOUT
from lunar.tcp import chronograph
from lunar.tcp.rules import INITIAL_WINDOW
from lunar.tcp.tcb import Tcb

# What Linux charges a full segment beyond its payload before it rounds up to a power of two, and after.
_OVERHEAD_BYTES: Final = 640
_DESCRIPTOR_BYTES: Final = 256

# What Linux charges for a record beyond its bytes, as SO_MEMINFO shows it.
RECORD_BYTES: Final = 832


def expand(tcb: Tcb) -> None:
    """Let the buffer hold two congestion windows as Linux counts them: 87,040 bytes at first on Ethernet."""
    if tcb.sndbuf_locked:
        return
    segment: i64 = max(tcb.peer_mss, tcb.mss) + _OVERHEAD_BYTES
    rounded: i64 = 1
    while rounded < segment:
        rounded <<= 1
    segments: i64 = max(INITIAL_WINDOW, tcb.cwnd, tcb.reordering + 1)
    factor: i64 = tcb.congestion.send_buffer_factor(tcb)
    wanted: i64 = min(factor * segments * (rounded + _DESCRIPTOR_BYTES), tcb.tables.sysctls.tcp_wmem_max)
    tcb.sndbuf = max(tcb.sndbuf, wanted)


def charged(tcb: Tcb) -> i64:
    """What the buffer holds, as Linux counts it: bytes, and for each record its descriptor and room for headers."""
    count: i64 = len(tcb.sent) - tcb.sent_head + tcb.unsent.count()
    return tcb.write_seq - tcb.snd_una + count * RECORD_BYTES


def has_room(tcb: Tcb) -> bool:
    """Whether another record may be begun; one that has begun is filled, even beyond the limit."""
    return charged(tcb) < tcb.sndbuf and tcb.write_seq - tcb.snd_nxt < lowat(tcb)


def lowat(tcb: Tcb) -> i64:
    """TCP_NOTSENT_LOWAT in bytes: with so many unsent no more is taken, and POLLOUT comes with half as many."""
    return tcb.notsent_lowat if tcb.notsent_lowat > 0 else tcb.tables.sysctls.tcp_notsent_lowat


def is_writable(tcb: Tcb) -> bool:
    """Linux' rule for POLLOUT: a third of the buffer is free, and less than half of TCP_NOTSENT_LOWAT waits, so that
    the program is not woken for a little.
    """
    held: i64 = charged(tcb)
    return tcb.sndbuf - held >= held >> 1 and 2 * (tcb.write_seq - tcb.snd_nxt) < lowat(tcb)


def freed(tcb: Tcb) -> None:
    """An ACK came, and the program waits for room: grow the buffer if it, not cwnd, is the limit, and say so."""
    if tcb.in_flight() < tcb.cwnd:
        expand(tcb)
    check(tcb)


def check(tcb: Tcb) -> None:
    """Tell the program that waits when there is room."""
    if is_writable(tcb):
        tcb.want_space = False
        if tcb.chrono == chronograph.SNDBUF_LIMITED:
            chronograph.stop(tcb, chronograph.SNDBUF_LIMITED)
        tcb.pending_wake |= POLLOUT
