"""What a device does for TCP besides, as Linux' GSO and GRO: it cuts large segments into those that fit its link, and
puts those that come in a row together again.

Each saves the stack a way through all of its layers. Read Documentation/networking/segmentation-offloads.rst; what may
be put together follows the rules that a receiver can rely on: cut again, the segments are what they were.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lunar.packet import ACK, CWR, FIN, PSH, Frame, TcpSegment

# IPv4's total length has 16 bits, and IPv6 keeps to it, too.
_LARGEST_BYTES: Final = 65_535


def cut(whole: TcpSegment) -> list[TcpSegment]:
    """The segments that `whole` stands for, each with `gso_bytes` of payload, the last with the rest."""
    payload = whole.payload
    length: i64 = len(payload)
    header: i64 = whole.size_bytes - length
    made: list[TcpSegment] = []
    at: i64 = 0
    while at < length:
        end: i64 = min(at + whole.gso_bytes, length)
        flags: i64 = whole.flags
        if end < length:
            flags &= ~(FIN | PSH)
        if at > 0:
            flags &= ~CWR  # RFC 3168 (6.1.2): it is said once
        part = TcpSegment(
            whole.family, whole.src, whole.dst, whole.sport, whole.dport, (whole.seq + at) & 0xFFFF_FFFF, whole.ack,
            flags, whole.window, payload[at:end],
        )  # fmt: skip
        part.size_bytes = header + end - at
        part.eth_src = whole.eth_src
        part.eth_dst = whole.eth_dst
        part.ttl = whole.ttl
        part.tos = whole.tos
        part.ident = (whole.ident + len(made)) & 0xFFFF
        part.dont_fragment = whole.dont_fragment
        part.options = whole.options
        part.flow_label = whole.flow_label
        part.urgent = whole.urgent
        part.has_timestamps = whole.has_timestamps
        part.ts_val = whole.ts_val
        part.ts_ecr = whole.ts_ecr
        part.sack_blocks = whole.sack_blocks
        made.append(part)
        at = end
    return made


def gather(frames: list[Frame]) -> list[Frame]:
    """`frames` in their order, with TCP segments that follow one another as one, whose `gso_bytes` says so."""
    made: list[Frame] = []
    at: i64 = 0
    count: i64 = len(frames)
    while at < count:
        frame = frames[at]
        at += 1
        if isinstance(frame, TcpSegment) and at < count and _may_begin(frame):
            at = _take_in(frame, frames, at)
        made.append(frame)
    return made


def _may_begin(segment: TcpSegment) -> bool:
    return (
        segment.flags == ACK
        and len(segment.payload) > 0
        and segment.sack_blocks is None
        and segment.md5 is None
        and not segment.options
    )


def _take_in(first: TcpSegment, frames: list[Frame], at: i64) -> i64:
    """Add to `first` what follows it from `frames[at]` on. Returns where the first is that does not."""
    size: i64 = len(first.payload)
    total: i64 = size
    header: i64 = first.size_bytes - size
    parts = [first.payload]
    count: i64 = len(frames)
    while at < count:
        other = frames[at]
        if not isinstance(other, TcpSegment):
            break
        length: i64 = len(other.payload)
        seq: i64 = (first.seq + total) & 0xFFFF_FFFF
        if other.seq != seq or length == 0 or length > size or header + total + length > _LARGEST_BYTES:
            break
        if not _is_alike(first, other):
            break
        parts.append(other.payload)
        total += length
        at += 1
        if other.flags != ACK:
            first.flags = other.flags
            break
        if length < size:
            break
    if total > size:
        first.payload = b"".join(parts)
        first.size_bytes = header + total
        first.gso_bytes = size
    return at


def _is_alike(first: TcpSegment, other: TcpSegment) -> bool:
    """Whether nothing but what follows from its place tells `other` from `first`; it may end with PSH."""
    if other.flags != ACK and other.flags != ACK | PSH:
        return False
    if (
        other.sport != first.sport
        or other.dport != first.dport
        or other.src != first.src
        or other.dst != first.dst
        or other.ack != first.ack
        or other.window != first.window
        or other.eth_dst != first.eth_dst
        or other.eth_src != first.eth_src
    ):
        return False
    if (
        other.has_timestamps != first.has_timestamps
        or other.ts_val != first.ts_val
        or other.ts_ecr != first.ts_ecr
        or other.ttl != first.ttl
        or other.tos != first.tos
        or other.dont_fragment != first.dont_fragment
        or other.flow_label != first.flow_label
    ):
        return False
    return other.sack_blocks is None and other.md5 is None and not other.options
