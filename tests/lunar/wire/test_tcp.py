"""TCP's header and options: exact bytes in Linux' layout, dpkt both ways, and lists of options that are broken."""

from __future__ import annotations

import struct

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunar.packet import ACK, AF_INET, PSH, SYN, URG, TcpSegment, set_tcp_size, tcp_options_bytes
from lunar.wire import checksum, ipv4, tcp
from lunar.wire.malformed import Malformed

SRC, DST = 0x0A00_0002, 0x0A00_0003
DPKT_SRC, DPKT_DST = SRC.to_bytes(4, "big"), DST.to_bytes(4, "big")


def segment(flags: int = ACK, payload: bytes = b"") -> TcpSegment:
    return TcpSegment(AF_INET, SRC, DST, 40000, 80, 0x1122_3344, 0, flags, 64240, payload)


def syn() -> TcpSegment:
    """What a Linux client sends first."""
    s = segment(SYN)
    s.mss = 1460
    s.sack_permitted = True
    s.has_timestamps = True
    s.ts_val = 0x0102_0304
    s.window_scale = 7
    return s


def with_options(options: bytes, payload: bytes = b"", flags: int = ACK) -> bytes:
    """A segment's bytes with these options and a right checksum."""
    assert len(options) % 4 == 0
    offset_flags = ((5 + len(options) // 4) << 12) | flags
    header = [40000, 80, 1, 2, offset_flags, 500, 0, 0]
    rest = options + payload
    packed = struct.pack(">HHIIHHHH", *header)
    header[6] = checksum.internet(packed + rest, checksum.pseudo_header(SRC, DST, 6, 20 + len(rest)))
    return struct.pack(">HHIIHHHH", *header) + rest


def decoded(data: bytes) -> TcpSegment:
    result = tcp.decode(AF_INET, SRC, DST, data)
    assert isinstance(result, TcpSegment)
    return result


def options_of(options: str, flags: int = ACK) -> TcpSegment:
    return decoded(with_options(bytes.fromhex(options), flags=flags))


def refused(data: bytes) -> str:
    result = tcp.decode(AF_INET, SRC, DST, data)
    assert isinstance(result, Malformed)
    assert result.layer == "tcp"
    return result.reason


def test_exact_bytes_of_a_syn_with_all_options() -> None:
    s = syn()
    s.ident = 0xABCD
    s.dont_fragment = True
    set_tcp_size(s)
    assert s.size_bytes == 60
    assert ipv4.encode(s) == bytes.fromhex(
        "45 00 003c abcd 4000 40 06 7aea 0a000002 0a000003"  # total length 60, DF, TTL 64, TCP
        "9c40 0050 11223344 00000000 a002 faf0 540e 0000"  # ten words of header, SYN
        "02 04 05b4"  # MSS 1460
        "04 02 08 0a 01020304 00000000"  # SACK permitted, timestamps
        "01 03 03 07"  # NOP, window scale 7
    )


def test_timestamps_alone_follow_two_nops() -> None:
    s = segment()
    s.has_timestamps = True
    s.ts_val, s.ts_ecr = 0xAABB_CCDD, 0x1122_3344
    assert tcp.encode_options(s) == bytes.fromhex("0101 080a aabbccdd 11223344")


def test_sack_permitted_alone_follows_two_nops() -> None:
    s = segment(SYN)
    s.mss = 536
    s.sack_permitted = True
    assert tcp.encode_options(s) == bytes.fromhex("0204 0218 0101 0402")


def test_sack_blocks_follow_the_timestamps() -> None:
    s = segment()
    s.has_timestamps = True
    s.sack_blocks = [(1, 2), (0xFFFF_FFF0, 16)]
    assert tcp.encode_options(s) == bytes.fromhex(
        "0101 080a 00000000 00000000 0101 0512 00000001 00000002 fffffff0 00000010"
    )


def test_no_options() -> None:
    assert tcp.encode_options(segment()) == b""


def test_more_than_40_bytes_of_options_are_a_bug() -> None:
    s = segment()
    s.sack_blocks = [(0, 1)] * 5
    with pytest.raises(AssertionError, match="room for 40 bytes"):
        tcp.encode(s)


@pytest.mark.parametrize("mss", [-1, 0, 1460, 65535])
@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("sack_permitted", [False, True])
@pytest.mark.parametrize("window_scale", [-1, 0, 14, 255])
@pytest.mark.parametrize("blocks", [None, [], [(1, 5)], [(1, 5), (7, 9)]])
def test_options_are_as_long_as_announced(
    mss: int, timestamps: bool, sack_permitted: bool, window_scale: int, blocks: list[tuple[int, int]] | None
) -> None:
    s = segment()
    s.mss = mss
    s.has_timestamps = timestamps
    s.sack_permitted = sack_permitted
    s.window_scale = window_scale
    s.sack_blocks = blocks
    assert len(tcp.encode_options(s)) == tcp_options_bytes(s)


@pytest.mark.parametrize("payload", [b"", b"x", b"even", bytes(1460)])
def test_dpkt_reads_it_and_finds_the_same_checksum(payload: bytes) -> None:
    s = syn()
    s.flags = 0xFF
    s.ack, s.urgent, s.payload = 0xFFFF_FFFF, 3, payload
    data = tcp.encode(s)
    header = dpkt.tcp.TCP(data)
    assert (header.sport, header.dport, header.seq, header.ack) == (40000, 80, 0x1122_3344, 0xFFFF_FFFF)
    assert (header.flags, header.win, header.urp, header.off) == (0xFF, 64240, 3, 10)
    assert dpkt.tcp.parse_opts(header.opts) == [
        (2, b"\x05\xb4"), (4, b""), (8, b"\x01\x02\x03\x04\0\0\0\0"), (1, b""), (3, b"\x07")
    ]  # fmt: skip
    assert header.data == payload
    header.sum = 0  # dpkt fills it in
    ip = dpkt.ip.IP(src=DPKT_SRC, dst=DPKT_DST, p=6, len=20 + len(data), data=header)
    assert bytes(ip)[20:] == data


@pytest.mark.parametrize("payload", [b"", b"x", b"even"])
def test_reads_what_dpkt_made(payload: bytes) -> None:
    # MSS 9000, window scale 2, SACK of one block, NOPs in places that are not Linux'.
    options = bytes.fromhex("01 03 03 02 02 04 23 28 05 0a 00000064 000000c8 00 00")
    header = dpkt.tcp.TCP(
        sport=1, dport=65535, seq=2**32 - 1, ack=5, flags=ACK | PSH | URG, win=1, urp=9, opts=options, data=payload
    )
    header.off = 5 + len(options) // 4
    ip = dpkt.ip.IP(src=DPKT_SRC, dst=DPKT_DST, p=6, len=40 + len(options) + len(payload), data=header)
    got = decoded(bytes(ip)[20:])
    assert (got.src, got.dst, got.protocol, got.sport, got.dport) == (SRC, DST, 6, 1, 65535)
    assert (got.seq, got.ack, got.flags, got.window, got.urgent) == (2**32 - 1, 5, ACK | PSH | URG, 1, 9)
    assert (got.mss, got.window_scale, got.sack_blocks) == (9000, 2, [(100, 200)])
    assert (got.sack_permitted, got.has_timestamps, got.payload) == (False, False, payload)


def test_timestamps_are_found_where_linux_puts_them_and_elsewhere() -> None:
    for options in ("0101 080a 00000005 00000007", "080a 00000005 00000007 0101", "01 080a 00000005 00000007 01"):
        got = options_of(options)
        assert (got.has_timestamps, got.ts_val, got.ts_ecr) == (True, 5, 7)


def test_aligned_timestamps_with_something_after_them() -> None:
    got = options_of("0101 080a 00000005 00000007 0204 05b4")
    assert (got.ts_val, got.ts_ecr, got.mss) == (5, 7, 1460)


@pytest.mark.parametrize(
    ("cookie", "experimental", "option"),
    [
        (b"", False, "22 02 01 01"),
        (b"", True, "fe 04 f9 89"),
        (b"1234", False, "22 06 31 32 33 34 01 01"),
        (b"123456", False, "22 08 31 32 33 34 35 36"),
        (b"1234", True, "fe 08 f9 89 31 32 33 34"),
        (b"123456", True, "fe 0a f9 89 31 32 33 34 35 36 01 01"),
        (bytes(16), False, "22 12" + "00" * 16 + "01 01"),
    ],
)
def test_fast_open_cookies(cookie: bytes, experimental: bool, option: str) -> None:
    s = segment(SYN)
    s.fast_open, s.fast_open_experimental = cookie, experimental
    packed = tcp.encode_options(s)
    assert packed == bytes.fromhex(option) and len(packed) == tcp_options_bytes(s)
    got = options_of(option, SYN)
    assert (got.fast_open, got.fast_open_experimental) == (cookie, experimental)


@pytest.mark.parametrize(
    ("option", "flags"),
    [
        ("22 04 31 32", SYN), ("22 05 31 32 33 01 01 01", SYN), ("22 07 31 32 33 34 35 01", SYN),
        ("22 14" + "00" * 18, SYN), ("22 06 31 32 33 34 01 01", ACK), ("fe 06 f9 88 31 32 01 01", SYN),
        ("fe 03 f9 01", SYN),
    ],
)  # fmt: skip
def test_fast_open_options_of_a_wrong_length_are_ignored(option: str, flags: int) -> None:
    # RFC 7413 (4.1.1): 4 to 16 bytes, an even number; with a SYN.
    assert options_of(option, flags).fast_open is None


def test_a_signature_comes_first() -> None:
    s = segment()
    s.md5, s.mss = bytes(range(16)), 1460
    packed = tcp.encode_options(s)
    assert packed == bytes.fromhex("0101 1312") + bytes(range(16)) + bytes.fromhex("0204 05b4")
    assert len(packed) == tcp_options_bytes(s)
    assert options_of("13 12" + "00" * 16 + "0101").md5 == bytes(16)
    assert options_of("13 11" + "00" * 15 + "010101").md5 is None


def test_unknown_options_are_stepped_over() -> None:
    got = options_of("fd 06 aabbccdd 1e 02 0204 05b4")  # kinds 253, an experiment, and 30, MPTCP
    assert got.mss == 1460


def test_nothing_is_read_after_the_end_of_the_list() -> None:
    got = options_of("0204 05b4 00 030307 080a 00000005 00000007 0000")
    assert (got.mss, got.window_scale, got.has_timestamps) == (1460, -1, False)


@pytest.mark.parametrize(
    "broken", ["08 00 0101", "08 01 0101", "08 0a 0000", "fe ff 0000", "01 01 01 02", "01 01 01 fe"]
)
def test_a_broken_list_ends_and_what_came_before_holds(broken: str) -> None:
    got = options_of("0204 05b4" + broken)
    assert (got.mss, got.window_scale, got.sack_permitted, got.has_timestamps) == (1460, -1, False, False)


@pytest.mark.parametrize(
    "odd",
    [
        "02 03 05", "02 05 05b4 00", "03 02", "03 04 07 07", "04 03 00", "08 09 00000005 000000",
        "08 0b 00000005 00000007 00", "05 09 00000001 000000", "05 0b 00000001 00000002 00",
    ],
)  # fmt: skip
def test_a_known_option_of_a_wrong_length_is_stepped_over(odd: str) -> None:
    options = bytes.fromhex(odd) + bytes.fromhex("01 03 03 07")
    got = decoded(with_options(options.ljust((len(options) + 3) // 4 * 4, b"\0")))
    assert (got.mss, got.sack_permitted, got.has_timestamps, got.sack_blocks) == (-1, False, False, None)
    assert got.window_scale == 7


def test_the_last_of_two_counts() -> None:
    assert options_of("0204 05b4 0204 0218").mss == 536


def test_values_are_not_judged_here() -> None:
    got = options_of("0204 0000 0303 ff 01")  # on a segment without SYN, besides
    assert (got.mss, got.window_scale) == (0, 255)


def test_a_tighter_layout_than_ours_keeps_the_blocks_that_fit() -> None:
    # Timestamps (10), two blocks (18) and window scale (3) without NOPs, 31 bytes; in our layout 12 + 20 + 4.
    packed = "080a 00000005 00000007 0512 00000001 00000002 00000003 00000004 030307 01"
    assert options_of(packed).sack_blocks == [(1, 2), (3, 4)]
    # One block more makes 39 bytes, and 12 + 28 + 4 = 44 of ours: the last block goes.
    packed = "080a 00000005 00000007 051a 00000001 00000002 00000003 00000004 00000005 00000006 030307 01"
    got = options_of(packed)
    assert got.sack_blocks == [(1, 2), (3, 4)]
    assert (got.has_timestamps, got.window_scale, tcp_options_bytes(got)) == (True, 7, 36)


def test_a_tighter_layout_in_the_longest_packet_can_be_sent_again() -> None:
    # 24 bytes of options here, 28 in our layout, in an IPv4 packet of 65535 bytes.
    options = bytes.fromhex("080a 00000005 00000007 050a 00000001 00000002 030307 01")
    got = decoded(with_options(options, bytes(65535 - 40 - len(options))))
    assert (got.sack_blocks, got.ts_val, got.window_scale) == ([], 5, 7)
    assert len(ipv4.encode(got)) == 65535 - 4


def test_reserved_bits_and_the_ninth_flag_are_not_looked_at() -> None:
    data = bytearray(with_options(b"", b"abc"))
    data[12] |= 0x0F
    data[16:18] = b"\0\0"
    data[16:18] = checksum.internet(bytes(data), checksum.pseudo_header(SRC, DST, 6, len(data))).to_bytes(2, "big")
    got = decoded(bytes(data))
    assert (got.flags, got.payload) == (ACK, b"abc")


@pytest.mark.parametrize("words", [0, 4, 6, 15])
def test_data_offsets_that_do_not_fit(words: int) -> None:
    data = bytearray(with_options(b""))  # 20 bytes
    data[12] = words << 4
    assert refused(bytes(data)) == "bad transport header"


@pytest.mark.parametrize("size", range(20))
def test_truncated_header(size: int) -> None:
    assert refused(with_options(b"")[:size]) == "bad transport header"


def test_bad_checksum() -> None:
    assert refused(with_options(b"", b"abc")[:-1] + b"d") == "bad transport checksum"


@given(st.integers(0, 10).flatmap(lambda words: st.binary(min_size=words * 4, max_size=words * 4)), st.binary())
def test_any_options_leave_the_segment_readable(options: bytes, payload: bytes) -> None:
    got = decoded(with_options(options, payload))
    assert (got.sport, got.dport, got.seq, got.ack, got.payload) == (40000, 80, 1, 2, payload)


KNOWN_KINDS = st.sampled_from([0, 1, 2, 3, 4, 5, 8, 19, 34, 254])
RANDOM_OPTION = st.builds(
    lambda kind, length, value: bytes([kind, length]) + value,
    KNOWN_KINDS, st.sampled_from([0, 1, 2, 3, 4, 10, 18, 26, 34, 40]), st.binary(max_size=16),
)  # fmt: skip
GOOD_OPTION = st.sampled_from(
    [(2, 4), (3, 3), (4, 2), (5, 2), (5, 10), (5, 18), (5, 26), (8, 10), (19, 18), (34, 2), (34, 10)]
).map(lambda option: bytes(option) + bytes(range(option[1] - 2)))
OPTION = GOOD_OPTION | RANDOM_OPTION


@given(st.lists(OPTION, max_size=8))
def test_any_list_of_known_options_leaves_the_segment_readable(options: list[bytes]) -> None:
    joined = b"".join(options)[:40]
    got = decoded(with_options(joined[: len(joined) // 4 * 4], b"payload", SYN))
    # What was read can be written, and is then read as the same.
    again = decoded(tcp.encode(got))
    assert (again.mss, again.window_scale, again.sack_permitted) == (got.mss, got.window_scale, got.sack_permitted)
    assert (again.has_timestamps, again.ts_val, again.ts_ecr) == (got.has_timestamps, got.ts_val, got.ts_ecr)
    assert (again.sack_blocks, again.payload) == (got.sack_blocks, b"payload")
    assert (again.fast_open, again.md5) == (got.fast_open, got.md5)
