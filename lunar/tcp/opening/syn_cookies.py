"""SYN cookies: a SYN queue that is full goes on, by keeping nothing and letting the ACK bring everything back.

RFC 4987 section 3.6, and Bernstein's layout of the initial sequence number: five bits of a clock, three of the MSS, 24
that nobody can guess. Window scale and SACK come back in the last bits of the timestamp that the peer echoes, as on
Linux; without timestamps the connection has neither. ip-sysctl, tcp_syncookies: 1, when the queue is full; 2, always.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lunar.packet import AF_INET, SYN, TcpSegment
from lunar.tcp.opening.siphash import KEY_BYTES, siphash
from lunar.tcp.tables import Tables

# The clock ticks each 64 s, and what was made two ticks ago is too old: an ACK has 64 s at least, 128 s at most.
_TICK_NS: Final = 64_000_000_000

# How long after the last cookie one is believed; at other times an ACK for no connection is just that. Linux' number.
VALID_NS: Final = 120_000_000_000

# What peers announce, rounded down: the default of RFC 9293 (3.7.1), and what is common on Ethernet, as Linux has them.
# Over IPv6 they are those of MTUs of 1280, 1480, 1500 and 9000 bytes.
_MSS: Final = [536, 1300, 1440, 1460]
_MSS6: Final = [1220, 1420, 1440, 8940]

# In the timestamp: four bits of the window scale (15: none), one for SACK, one for ECN.
_OPTION_BITS: Final = 6
_NO_SCALE: Final = 15
_SACK: Final = 1 << 4


def make(tables: Tables, segment: TcpSegment, mss: i64) -> i64:
    """The initial sequence number that stands for the SYN `segment` and an MSS of at least `mss`."""
    index: i64 = 0
    table = _MSS if segment.family == AF_INET else _MSS6
    while index + 1 < len(table) and table[index + 1] <= mss:
        index += 1
    tick: i64 = tables.ip.scheduler.now_ns // _TICK_NS
    return ((tick & 31) << 27) | (index << 24) | _secret(tables, segment, segment.seq, tick, index)


def check(tables: Tables, segment: TcpSegment) -> i64:
    """The MSS for which the cookie was made that `segment`, an ACK, acknowledges; 0 when it is none of ours."""
    number: i64 = (segment.ack - 1) & 0xFFFF_FFFF
    now: i64 = tables.ip.scheduler.now_ns // _TICK_NS
    index: i64 = (number >> 24) & 7
    for age in range(2):
        tick: i64 = now - age
        if tick >= 0 and number >> 27 == tick & 31:
            syn_seq: i64 = (segment.seq - 1) & 0xFFFF_FFFF
            if index < len(_MSS) and number & 0xFF_FFFF == _secret(tables, segment, syn_seq, tick, index):
                return _MSS[index] if segment.family == AF_INET else _MSS6[index]
    return 0


def _secret(tables: Tables, segment: TcpSegment, syn_seq: i64, tick: i64, index: i64) -> i64:
    if not tables.cookie_key:
        tables.cookie_key = int(tables.ip.rng.getrandbits(8 * KEY_BYTES)).to_bytes(KEY_BYTES, "little")
    message = b"".join((
        segment.src.to_bytes(16, "big"), segment.dst.to_bytes(16, "big"), int(segment.sport).to_bytes(2, "big"),
        int(segment.dport).to_bytes(2, "big"), int(syn_seq).to_bytes(4, "big"), int(tick).to_bytes(8, "big"),
        int(index).to_bytes(1, "big"),
    ))  # fmt: skip
    return siphash(tables.cookie_key, message) & 0xFF_FFFF


def stamp(ticks: i64, scale: i64, sack: bool) -> i64:
    """The timestamp clock's `ticks`, or a little before, with the options of the SYN; a `scale` of -1 is none."""
    bits: i64 = (scale if scale >= 0 else _NO_SCALE) | (_SACK if sack else 0)
    found: i64 = (ticks >> _OPTION_BITS << _OPTION_BITS) | bits
    return found if found <= ticks else found - (1 << _OPTION_BITS)


def syn_of(segment: TcpSegment, mss: i64, ticks: i64) -> TcpSegment:
    """The SYN as it must have been, by the ACK `segment`, which echoes `ticks` of the timestamp clock."""
    syn = TcpSegment(
        segment.family, segment.src, segment.dst, segment.sport, segment.dport, (segment.seq - 1) & 0xFFFF_FFFF, 0, SYN,
        segment.window, b"",
    )  # fmt: skip
    syn.mss = mss
    if segment.has_timestamps and segment.ts_ecr != 0:
        syn.has_timestamps = True
        syn.ts_val = segment.ts_val
        scale: i64 = ticks & 15
        syn.window_scale = -1 if scale == _NO_SCALE else scale
        syn.sack_permitted = ticks & _SACK != 0
    return syn
