"""TCP's header and options: RFC 9293 section 3.1, RFC 7323 (window scale, timestamps), RFC 2018 (SACK), RFC 7413 (fast
open), RFC 2385 (MD5 signature).

Options are laid out as Linux does: signature, MSS, timestamps (after SACK permitted, or after two NOPs), SACK permitted
alone, window scale, SACK blocks, fast open's cookie. `packet.tcp_options_bytes` knows the same sizes.

They are read as Linux' tcp_parse_options() reads them: an unknown option or one of a wrong length is stepped over; a
list that is broken (a length below 2, or past the end) ends there, and what came before holds. Of an option that comes
twice the last one counts. Whether an option is allowed on this segment, TCP decides.

What another stack laid out more tightly can be too long in Linux' layout; the oldest SACK blocks are then left behind,
so that every segment that was decoded can be encoded again.

Left out: the reserved bits and the ninth flag (RFC 3540's NS, now AccECN's AE) are sent as zero and not looked at.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from mypy_extensions import i64

from lunar.packet import SYN, TCP, TCP_HEADER_BYTES, TcpSegment, tcp_options_bytes
from lunar.wire import checksum
from lunar.wire.malformed import BAD_TRANSPORT_CHECKSUM, BAD_TRANSPORT_HEADER, Malformed

# Source port, destination port, sequence number, acknowledgement number, data offset and flags, window, checksum,
# urgent pointer.
_HEADER: Final = Struct(">HHIIHHHH")

# Option kinds, from IANA's registry of TCP parameters.
_END: Final = 0
_NOP: Final = 1
_MSS: Final = 2
_WINDOW_SCALE: Final = 3
_SACK_PERMITTED: Final = 4
_SACK: Final = 5
_TIMESTAMPS: Final = 8
_MD5: Final = 19
_FAST_OPEN: Final = 34
_EXPERIMENT: Final = 254  # RFC 6994: which one, the next two bytes say
_FAST_OPEN_MAGIC: Final = 0xF989

# Each option with what Linux puts before it to fill a multiple of four bytes: fill, kind, length, value.
_MSS_OPTION: Final = Struct(">BBH")
_TIMESTAMPS_OPTION: Final = Struct(">HBBII")
_TWO_NOPS: Final = 0x0101
_SACK_PERMITTED_PAIR: Final = 0x0402  # kind and length
_SACK_PERMITTED_ALONE: Final = b"\x01\x01\x04\x02"
_WINDOW_SCALE_OPTION: Final = Struct(">BBBB")
_SACK_OPTION: Final = Struct(">HBB")
_SACK_BLOCK: Final = Struct(">II")
_MD5_OPTION: Final = Struct(">HBB")
_EXPERIMENT_OPTION: Final = Struct(">BBH")

# What nearly every segment of an established connection carries: NOP, NOP, timestamps. Linux looks for it first too
# (tcp_fast_parse_options).
_ALIGNED_TIMESTAMPS: Final = b"\x01\x01\x08\x0a"
_TWO_WORDS: Final = Struct(">II")

# The data offset has four bits and counts words of four bytes: 60 bytes of header.
_MAX_OPTIONS_BYTES: Final = 40

# What IPv4's total length leaves for options and payload after both headers: 65535 - 20 - 20. IPv6's leaves more.
_MAX_REST_BYTES: Final = 65_495

_BAD_HEADER: Final = Malformed("tcp", BAD_TRANSPORT_HEADER)
_BAD_CHECKSUM: Final = Malformed("tcp", BAD_TRANSPORT_CHECKSUM)


def encode(segment: TcpSegment) -> bytes:
    """Header, options and payload. The checksum covers the addresses that the segment has now."""
    options = encode_options(segment)
    rest = options + segment.payload if options else segment.payload
    sport: i64 = segment.sport
    dport: i64 = segment.dport
    seq: i64 = segment.seq
    ack: i64 = segment.ack
    window: i64 = segment.window
    urgent: i64 = segment.urgent
    offset: i64 = TCP_HEADER_BYTES + len(options)
    offset_flags: i64 = (offset << 10) | segment.flags
    words: i64 = sport + dport + seq + ack + offset_flags + window + urgent
    pseudo = checksum.pseudo_header(segment.src, segment.dst, segment.protocol, TCP_HEADER_BYTES + len(rest))
    check = checksum.internet(rest, pseudo + words)
    return _HEADER.pack(sport, dport, seq, ack, offset_flags, window, check, urgent) + rest


def encode_options(segment: TcpSegment) -> bytes:
    """The options in Linux' layout, `tcp_options_bytes(segment)` of them."""
    options = b""
    signature = segment.md5
    if signature is not None:
        options = _MD5_OPTION.pack(_TWO_NOPS, _MD5, 18) + signature
    mss: i64 = segment.mss
    if mss >= 0:
        options += _MSS_OPTION.pack(_MSS, 4, mss)
    if segment.has_timestamps:
        fill: i64 = _SACK_PERMITTED_PAIR if segment.sack_permitted else _TWO_NOPS
        options += _TIMESTAMPS_OPTION.pack(fill, _TIMESTAMPS, 10, segment.ts_val, segment.ts_ecr)
    elif segment.sack_permitted:
        options += _SACK_PERMITTED_ALONE
    window_scale: i64 = segment.window_scale
    if window_scale >= 0:
        options += _WINDOW_SCALE_OPTION.pack(_NOP, _WINDOW_SCALE, 3, window_scale)
    blocks = segment.sack_blocks
    if blocks is not None:
        options += _SACK_OPTION.pack(_TWO_NOPS, _SACK, 2 + 8 * len(blocks))
        for left, right in blocks:
            options += _SACK_BLOCK.pack(left, right)
    if segment.fast_open is not None:
        options += _fast_open_option(segment.fast_open, segment.fast_open_experimental)
    assert len(options) <= _MAX_OPTIONS_BYTES, "TCP options have room for 40 bytes; too many SACK blocks"
    return options


def _fast_open_option(cookie: bytes, experimental: bool) -> bytes:
    if experimental:
        option = _EXPERIMENT_OPTION.pack(_EXPERIMENT, 4 + len(cookie), _FAST_OPEN_MAGIC) + cookie
    else:
        option = bytes((_FAST_OPEN, 2 + len(cookie))) + cookie
    return option + b"\x01" * (-len(option) % 4)


def decode(family: i64, src: int, dst: int, data: bytes) -> TcpSegment | Malformed:
    """The segment in an IP packet's payload. The addresses are for its checksum."""
    size: i64 = len(data)
    if size < TCP_HEADER_BYTES:
        return _BAD_HEADER
    fields = _HEADER.unpack_from(data)
    offset_flags: i64 = fields[4]
    offset: i64 = (offset_flags >> 12) << 2
    if offset < TCP_HEADER_BYTES or offset > size:
        return _BAD_HEADER
    if checksum.internet(data, checksum.pseudo_header(src, dst, TCP, size)) != 0:
        return _BAD_CHECKSUM
    segment = TcpSegment(
        family, src, dst, fields[0], fields[1], fields[2], fields[3], offset_flags & 0xFF, fields[5], data[offset:]
    )
    segment.urgent = fields[7]
    if offset == TCP_HEADER_BYTES + 12 and data[20:24] == _ALIGNED_TIMESTAMPS:
        _set_timestamps(segment, data, 24)
    elif offset > TCP_HEADER_BYTES:
        _decode_options(segment, data, offset)
        if segment.sack_blocks is not None or segment.fast_open is not None or segment.md5 is not None:
            _fit(segment)
    return segment


def _decode_options(segment: TcpSegment, data: bytes, end: i64) -> None:
    at: i64 = TCP_HEADER_BYTES
    while at < end:
        kind: i64 = data[at]
        if kind == _END:
            return
        if kind == _NOP:
            at += 1
            continue
        if at + 1 == end:
            return
        length: i64 = data[at + 1]
        if length < 2 or at + length > end:
            return
        # What is unknown or of a wrong length matches no branch.
        if kind == _MSS and length == 4:
            high: i64 = data[at + 2]
            low: i64 = data[at + 3]
            segment.mss = (high << 8) | low
        elif kind == _WINDOW_SCALE and length == 3:
            segment.window_scale = data[at + 2]
        elif kind == _SACK_PERMITTED and length == 2:
            segment.sack_permitted = True
        elif kind == _TIMESTAMPS and length == 10:
            _set_timestamps(segment, data, at + 2)
        elif kind == _SACK and length % 8 == 2:
            # Linux does not look at an option without blocks; to us it is a list without blocks, which says as little.
            _set_sack_blocks(segment, data, at + 2, at + length)
        elif kind == _MD5 and length == 18:
            segment.md5 = data[at + 2 : at + 18]
        elif kind == _FAST_OPEN:
            _set_fast_open(segment, data[at + 2 : at + length], False)
        elif kind == _EXPERIMENT and length >= 4 and data[at + 2] == 0xF9 and data[at + 3] == 0x89:
            _set_fast_open(segment, data[at + 4 : at + length], True)
        at += length


def _set_timestamps(segment: TcpSegment, data: bytes, at: i64) -> None:
    fields = _TWO_WORDS.unpack_from(data, at)
    segment.has_timestamps = True
    segment.ts_val = fields[0]
    segment.ts_ecr = fields[1]


def _set_fast_open(segment: TcpSegment, cookie: bytes, experimental: bool) -> None:
    """RFC 7413 (4.1.1): an even number of bytes, 4 to 16, or none; only with a SYN. Others are ignored."""
    size: i64 = len(cookie)
    if segment.flags & SYN and (size == 0 or (size % 2 == 0 and 4 <= size <= 16)):
        segment.fast_open = cookie
        segment.fast_open_experimental = experimental


def _set_sack_blocks(segment: TcpSegment, data: bytes, at: i64, end: i64) -> None:
    blocks: list[tuple[int, int]] = []
    while at < end:
        fields = _SACK_BLOCK.unpack_from(data, at)
        blocks.append((fields[0], fields[1]))
        at += 8
    segment.sack_blocks = blocks


def _fit(segment: TcpSegment) -> None:
    # Blocks are advice, and the most recent one comes first (RFC 2018 section 4), so the last are the ones to lose.
    # Then the signature, which no stack sends beside a cookie and everything else, then the cookie. Without those no
    # option list gets longer in our layout: padding to four bytes levels the difference.
    room: i64 = min(_MAX_OPTIONS_BYTES, _MAX_REST_BYTES - len(segment.payload))
    blocks = segment.sack_blocks
    while blocks and tcp_options_bytes(segment) > room:
        blocks.pop()
    if tcp_options_bytes(segment) > room:
        segment.sack_blocks = None
    if tcp_options_bytes(segment) > room:
        segment.md5 = None
    if tcp_options_bytes(segment) > room:
        segment.fast_open = None
