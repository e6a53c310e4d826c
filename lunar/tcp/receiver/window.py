"""The window that we offer: how much, and when to say so.

RFC 9293 section 3.8.6; Linux' choices where it leaves room. What the receive buffer can promise is said by
receive_buffer.py. The offer starts with half of it, grows with the data that comes (`rcv_ssthresh`), never takes back
what it gave, and is zero rather than silly (section 3.8.6.2.2).
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lunar.tcp.receiver import receive_buffer
from lunar.tcp.tcb import Tcb

# RFC 7323 (2.3)
SCALE_MAX: Final = 14
UNSCALED_MAX: Final = 65_535

# tcp(7), TCP_WINDOW_CLAMP: half of SOCK_MIN_RCVBUF.
CLAMP_MIN: Final = 1152


def initial(tcb: Tcb, mss: i64, shift: i64) -> i64:
    """The window to begin with: half the buffer, in whole segments. A SYN, which is not scaled, tells 16 bits of it."""
    space: i64 = min(tcb.rcvbuf >> 1, UNSCALED_MAX << shift)
    if tcb.window_clamp > 0:
        space = min(space, tcb.window_clamp)
    if space > mss:
        space = space // mss * mss
    return space


def scale(tcb: Tcb) -> i64:
    """The window scale to offer: what the largest window that the buffer may grow to needs."""
    space: i64 = tcb.rcvbuf >> 1
    if not tcb.rcvbuf_locked:
        space = max(space, tcb.tables.sysctls.tcp_rmem_max)
    if tcb.window_clamp > 0:
        space = min(space, tcb.window_clamp)
    shift: i64 = 0
    while shift < SCALE_MAX and (space >> (shift + 16)) > 0:
        shift += 1
    return shift


def start(tcb: Tcb) -> None:
    """The connection is established: the buffers' bookkeeping begins."""
    now: i64 = tcb.scheduler.now_ns
    full: i64 = receive_buffer.window_of(tcb, tcb.rcvbuf)
    clamp: i64 = min(full, UNSCALED_MAX << tcb.rcv_wscale)
    if tcb.window_clamp > 0:
        clamp = min(clamp, tcb.window_clamp)
    # Linux keeps a segment back at first.
    if clamp > 2 * tcb.advmss and clamp + tcb.advmss > full:
        clamp = max(2 * tcb.advmss, full - tcb.advmss)
    tcb.window_clamp = clamp
    tcb.rcv_ssthresh = min(tcb.rcv_wnd, tcb.window_clamp)
    tcb.tuning_space = min(tcb.rcv_wnd, 10 * tcb.advmss)
    tcb.tuning_seq = tcb.rcv_nxt
    tcb.tuning_stamp_ns = now
    # Linux' first guess of the peer's segment size.
    tcb.rcv_mss = max(min(tcb.advmss, tcb.mss, tcb.rcv_wnd >> 1, 536), 88)


def set_clamp(tcb: Tcb, clamp: i64) -> None:
    """Another bound for what we offer, which as on Linux holds until the buffer or the peer's segments change it."""
    if clamp < tcb.window_clamp:
        tcb.rcv_ssthresh = min(tcb.rcv_ssthresh, clamp)
    else:
        tcb.rcv_ssthresh = max(tcb.rcv_ssthresh, min(tcb.rcv_wnd, clamp))
    tcb.window_clamp = clamp


def measure(tcb: Tcb, size: i64) -> None:
    """A larger segment than any before: learn what the peer's segments are worth of their memory."""
    if receive_buffer.measure(tcb, size):
        full: i64 = receive_buffer.window_of(tcb, tcb.rcvbuf)
        set_clamp(tcb, min(full, UNSCALED_MAX << tcb.rcv_wscale))


def free_space(tcb: Tcb) -> i64:
    """How many more bytes the receive buffer can promise; negative when more came than was offered."""
    return receive_buffer.window_of(tcb, tcb.rcvbuf - tcb.rmem - tcb.rmem_held)


def remaining(tcb: Tcb) -> i64:
    """What is left of the window that we offered."""
    left: i64 = tcb.rcv_wup + tcb.rcv_wnd - tcb.rcv_nxt
    return left if left > 0 else 0


def choose(tcb: Tcb) -> i64:
    """The window that we would like to offer now, in bytes."""
    ratio: i64 = tcb.scaling_ratio
    allowed: i64 = tcb.rcvbuf * ratio >> 8
    free: i64 = (tcb.rcvbuf - tcb.rmem - tcb.rmem_held) * ratio >> 8
    full: i64 = min(tcb.window_clamp, allowed)
    mss: i64 = min(tcb.rcv_mss, full)
    if mss <= 0:
        return 0
    shift: i64 = tcb.rcv_wscale
    if free < full >> 1:
        tcb.quick_acks = 0
        free = free >> shift << shift
        # Silly window avoidance, section 3.8.6.2.2: nothing, rather than less than a segment or a sixteenth.
        if free < allowed >> 4 or free < mss:
            return 0
    free = min(free, tcb.rcv_ssthresh)
    if shift > 0:
        # Rounded up, so that scaling loses nothing.
        return ((free - 1 >> shift) + 1) << shift
    # Without scaling, move the edge by whole segments only.
    window: i64 = tcb.rcv_wnd
    if window <= free - mss or window > free:
        return free // mss * mss
    if mss == full and free > window + (full >> 1):
        return free
    return window


def advertise(tcb: Tcb) -> i64:
    """The window field of a segment that goes out now; what it says is remembered."""
    old: i64 = tcb.rcv_wup + tcb.rcv_wnd - tcb.rcv_nxt
    old = max(old, 0)
    new: i64 = choose(tcb)
    shift: i64 = tcb.rcv_wscale
    if new < old:
        # RFC 9293 (3.8.6): the right edge does not move left.
        new = (old + (1 << shift) - 1) >> shift << shift
    limit: i64 = 65_535 << shift
    new = min(new, limit)
    tcb.rcv_wnd = new
    tcb.rcv_wup = tcb.rcv_nxt
    return new >> shift


def grow(tcb: Tcb, size: i64) -> None:
    """A segment with `size` bytes came: offer two segments more, up to what the buffer holds.

    Small segments, whose data is worth less than the ratio says, let the offer grow while it is small only.
    """
    room: i64 = min(tcb.window_clamp, free_space(tcb)) - tcb.rcv_ssthresh
    if room <= 0:
        return
    worth: i64 = receive_buffer.window_of(tcb, receive_buffer.truesize(size))
    more: i64 = 0
    if worth <= size:
        more = 2 * tcb.advmss
    else:
        worth >>= 1
        bound: i64 = receive_buffer.window_of(tcb, tcb.tables.sysctls.tcp_rmem_max) >> 1
        while tcb.rcv_ssthresh <= bound:
            if worth <= size:
                more = 2 * tcb.rcv_mss
                break
            worth >>= 1
            bound >>= 1
    if more > 0:
        tcb.rcv_ssthresh += min(room, max(more, 2 * size))
        # The peer should hear of it soon.
        tcb.quick_acks |= 1


def measure_rtt(tcb: Tcb, ts_ecr: i64, size: i64) -> None:
    """The receiver's estimate of the round-trip time: by the echo of our timestamp, or by how long a window takes."""
    now: i64 = tcb.scheduler.now_ns
    if tcb.rcv_rtt_stamp_ns == 0 or tcb.rcv_nxt >= tcb.rcv_rtt_seq:
        if tcb.rcv_rtt_stamp_ns != 0:
            took: i64 = max(now - tcb.rcv_rtt_stamp_ns, 1)
            # The sender may not have filled the window: this is an upper bound, and only the least counts.
            if tcb.rcv_rtt_ns == 0 or took < tcb.rcv_rtt_ns:
                tcb.rcv_rtt_ns = took
        tcb.rcv_rtt_seq = tcb.rcv_nxt + tcb.rcv_wnd
        tcb.rcv_rtt_stamp_ns = max(now, 1)
    if ts_ecr >= 0 and ts_ecr != tcb.rcv_rtt_ecr and size >= tcb.rcv_mss:
        tcb.rcv_rtt_ecr = ts_ecr
        elapsed_ms: i64 = (tcb.timestamp() - ts_ecr) & 0xFFFF_FFFF
        if elapsed_ms < 2_000_000:
            measured: i64 = max(elapsed_ms, 1) * 1_000_000
            if tcb.rcv_rtt_ns == 0:
                tcb.rcv_rtt_ns = measured
            else:
                tcb.rcv_rtt_ns += (measured - tcb.rcv_rtt_ns) >> 3
