"""The receive buffer: what received data costs, what happens when the buffer is full, and how it grows.

Linux charges a socket for the memory that packets take, not for their bytes: `rmem` against `rcvbuf` (SO_RCVBUF,
tcp_rmem). We charge what its buffers would be: a descriptor, and a power of two for headers, data and bookkeeping. So
a window means as many bytes here as there, and a peer that sends tiny segments fills a buffer as early.

How many bytes of data a buffer may promise is its *scaling ratio*, in 256ths: at first a half, then what the peer's
segments are worth of the memory that they take.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lunar.tcp.tcb import Tcb

# What one packet takes: a descriptor (struct sk_buff), and in one piece the headroom, the headers of IP and TCP without
# options, the data, and the shared info behind it. Above a page, further pages.
_DESCRIPTOR: Final = 256
_AROUND_DATA: Final = 64 + 20 + 20 + 320
_SMALL_HEAD: Final = 704
_PAGE: Final = 4096
# How full packets are packed when the buffer collapses: pages with the shared info taken off.
_PACKED: Final = 3776


def truesize(size: i64) -> i64:
    """The memory in bytes that a packet with `size` bytes of data takes."""
    needed: i64 = size + _AROUND_DATA
    if needed <= 2048:
        if needed > 1024:
            return 2048 + _DESCRIPTOR
        return (_SMALL_HEAD if needed <= _SMALL_HEAD else 1024) + _DESCRIPTOR
    if needed <= _PAGE:
        return _PAGE + _DESCRIPTOR
    return _PAGE + _DESCRIPTOR + (needed - 1) // _PAGE * _PAGE


def window_of(tcb: Tcb, space: i64) -> i64:
    """The bytes of data that `space` bytes of memory promise."""
    return space * tcb.scaling_ratio >> 8


def space_of(tcb: Tcb, window: i64) -> i64:
    """The memory that `window` bytes of data need."""
    return (window << 8) // tcb.scaling_ratio


def queued(tcb: Tcb, size: i64) -> None:
    """`size` bytes went to the receive queue: into what the last packet there has left, or as a packet of their own."""
    if size <= tcb.rmem_tail and tcb.rmem > 0:
        tcb.rmem_tail -= size
        return
    cost: i64 = truesize(size)
    tcb.rmem += cost
    tcb.rmem_tail = 0 if cost > _PAGE + _DESCRIPTOR else cost - _DESCRIPTOR - size - _AROUND_DATA


def taken(tcb: Tcb, copied: i64) -> None:
    """The program has read `copied` bytes: the memory goes in proportion."""
    left: i64 = tcb.received.size
    if left == 0:
        tcb.rmem = 0
    else:
        tcb.rmem -= tcb.rmem * copied // (left + copied)


def fits(tcb: Tcb, early: bool) -> bool:
    """Whether one more packet may be kept; `early`: it is beyond a hole. As Linux, one more goes where any room is."""
    if tcb.rmem + tcb.rmem_held <= tcb.rcvbuf or (tcb.received.size == 0 and not early):
        return True
    return _make_room(tcb)


def _make_room(tcb: Tcb) -> bool:
    """The buffer is full: let it grow, pack it, at last give up what waits beyond holes (RFC 2018 (8) allows that)."""
    counters = tcb.ip.counters
    counters.tcp_prune_called += 1
    most: i64 = tcb.tables.sysctls.tcp_rmem_max
    tcb.quick_acks = 0
    if not tcb.rcvbuf_locked and tcb.rcvbuf < most:
        tcb.rcvbuf = min(tcb.rmem + tcb.rmem_held, most)
        if tcb.rmem + tcb.rmem_held <= tcb.rcvbuf:
            return True
    # The peer should slow down.
    tcb.rcv_ssthresh = min(tcb.window_clamp, 2 * tcb.advmss)
    tcb.rmem = min(tcb.rmem, _packed(tcb.received.size))
    tcb.rmem_held = min(tcb.rmem_held, _packed(tcb.out_of_order_bytes))
    tcb.rmem_tail = 0
    if tcb.rmem + tcb.rmem_held <= tcb.rcvbuf:
        return True
    queue = tcb.out_of_order
    if queue:
        counters.tcp_ofo_pruned += 1
        while queue and tcb.rmem + tcb.rmem_held > tcb.rcvbuf:
            last = queue.pop()
            size: i64 = last.end_seq - last.seq
            tcb.out_of_order_bytes -= size
            tcb.rmem_held = _packed(tcb.out_of_order_bytes)
        # What was told of is not here any more.
        tcb.sack_report = None
        if tcb.rmem + tcb.rmem_held <= tcb.rcvbuf:
            return True
    counters.tcp_rcv_pruned += 1
    return False


def _packed(size: i64) -> i64:
    """The memory for `size` bytes without gaps."""
    return (size + _PACKED - 1) // _PACKED * (_PAGE + _DESCRIPTOR)


def measure(tcb: Tcb, size: i64) -> bool:
    """Take the scaling ratio from a segment with `size` bytes of data. Whether it has changed."""
    ratio: i64 = max((size << 8) // truesize(size), 1)
    if ratio == tcb.scaling_ratio:
        return False
    tcb.scaling_ratio = ratio
    return True


def adjust(tcb: Tcb) -> None:
    """The program has read: once a round trip, see whether the buffer should grow.

    Dynamic right-sizing (Fisk and Feng, 2001) measures what the program reads in a round trip and makes the buffer hold
    twice as much, because the sender's slow start doubles.
    """
    now: i64 = tcb.scheduler.now_ns
    if tcb.rcv_rtt_ns == 0 or now - tcb.tuning_stamp_ns < tcb.rcv_rtt_ns:
        return
    read_seq: i64 = tcb.rcv_nxt - tcb.received.size
    copied: i64 = read_seq - tcb.tuning_seq
    if copied > tcb.tuning_space and tcb.tuning_space > 0:
        grow(tcb, copied)
        tcb.tuning_space = copied
    tcb.tuning_seq = read_seq
    tcb.tuning_stamp_ns = now


def grow(tcb: Tcb, copied: i64) -> None:
    """Let the buffer hold twice `copied`, and what waits beyond a hole."""
    sysctls = tcb.tables.sysctls
    if tcb.rcvbuf_locked or sysctls.tcp_moderate_rcvbuf == 0:
        return
    wanted: i64 = 2 * copied
    # Room for the sender's slow start to grow by half again in the meantime.
    wanted += 16 * tcb.advmss
    wanted += 2 * (wanted * (copied - tcb.tuning_space) // tcb.tuning_space)
    if tcb.out_of_order:
        wanted += tcb.out_of_order[len(tcb.out_of_order) - 1].end_seq - tcb.rcv_nxt
    size: i64 = min(space_of(tcb, wanted), sysctls.tcp_rmem_max)
    if size > tcb.rcvbuf:
        tcb.rcvbuf = size
        tcb.window_clamp = min(window_of(tcb, size), 65_535 << tcb.rcv_wscale)
