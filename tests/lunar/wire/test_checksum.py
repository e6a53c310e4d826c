"""RFC 1071's arithmetic: its own example, the two zeros, odd lengths, and that both ways to add agree."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from lunar.wire import checksum

# RFC 1071 section 3: the words 0001 f203 f4f5 f6f7 sum to 2ddf0, which folds to ddf2.
RFC_EXAMPLE = bytes.fromhex("0001f203f4f5f6f7")


def slow(data: bytes, initial: int) -> int:
    """RFC 1071 section 4.1, word by word, with the carries folded at the end."""
    total = initial
    for index in range(0, len(data), 2):
        total += int.from_bytes(data[index : index + 2].ljust(2, b"\0"), "big")
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return total ^ 0xFFFF


def test_rfc_1071_example() -> None:
    assert checksum.internet(RFC_EXAMPLE) == 0xDDF2 ^ 0xFFFF


def test_rfc_1071_example_may_be_added_in_groups() -> None:
    # Section 2 (A): the sum is associative, so the first half may come in as the initial sum.
    assert checksum.internet(RFC_EXAMPLE[4:], 0x0001 + 0xF203) == 0xDDF2 ^ 0xFFFF


def test_an_odd_last_byte_is_the_upper_half_of_a_word() -> None:
    # Section 2 (A) again: [Z,0] ends an odd number of bytes.
    assert checksum.internet(b"\x12\x34\x56") == (0x1234 + 0x5600) ^ 0xFFFF


def test_header_with_its_checksum_sums_to_zero() -> None:
    # A well-known header: the checksum of 192.168.0.1 -> 192.168.0.199 here is b861.
    without = bytes.fromhex("45000073000040004011 0000 c0a80001c0a800c7")
    with_it = bytes.fromhex("45000073000040004011 b861 c0a80001c0a800c7")
    assert checksum.internet(without) == 0xB861
    assert checksum.internet(with_it) == 0


def test_only_zeros_sum_to_plus_zero() -> None:
    assert checksum.internet(b"") == 0xFFFF
    assert checksum.internet(bytes(40)) == 0xFFFF
    assert checksum.fold(0) == 0xFFFF


def test_anything_else_that_cancels_is_minus_zero() -> None:
    assert checksum.internet(b"\xff\xff") == 0
    assert checksum.internet(b"\xff\xfe\x00\x01") == 0
    assert checksum.internet(b"", 0xFFFF) == 0
    assert checksum.internet(bytes(40), 5 * 0xFFFF) == 0
    assert checksum.fold(7 * 0xFFFF) == 0


def test_pseudo_header_is_its_words_added_up() -> None:
    src, dst = 0xC0A8_0001, 0xC0A8_00C7
    words = bytes.fromhex("c0a80001c0a800c7 00 11 0020")  # addresses, zero, protocol 17, length 32
    assert checksum.fold(checksum.pseudo_header(src, dst, 17, 32)) == checksum.internet(words)


def test_pseudo_header_of_ipv6() -> None:
    # RFC 8200 section 8.1: addresses of 128 bits, length and next header of 32 bits.
    src, dst = (0x2001_0DB8 << 96) | 1, (0xFE80 << 112) | 0xFFFF_FFFF
    words = src.to_bytes(16, "big") + dst.to_bytes(16, "big") + bytes.fromhex("00000020 00000006")
    assert checksum.fold(checksum.pseudo_header(src, dst, 6, 32)) == checksum.internet(words)


DATA = st.one_of(
    st.binary(max_size=64),
    st.binary(min_size=200, max_size=1600),
    st.integers(0, 600).map(bytes),
    st.integers(0, 600).map(lambda size: b"\xff" * size),
)


@given(DATA, st.one_of(st.integers(0, 2**40), st.sampled_from([0, 0xFFFF, 0x1FFFE])))
@example(b"", 0)
@example(bytes(1500), 0xFFFF)
@example(bytes(300) + b"\x01", 0xFEFF)
def test_agrees_with_the_slow_sum(data: bytes, initial: int) -> None:
    expected = slow(data, initial)
    assert checksum.internet(data, initial) == expected
    # Which of these two `internet` is depends on whether the file is compiled.
    assert checksum._by_words(data, initial) == expected
    assert checksum._by_number(data, initial) == expected


@given(st.binary(min_size=2, max_size=1600))
def test_data_with_its_checksum_inside_sums_to_zero(data: bytes) -> None:
    check = checksum.internet(data[2:])
    assert checksum.internet(check.to_bytes(2, "big") + data[2:]) == 0
