"""Segments that a device cuts and puts together: which belong together, and that nothing of them is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lunar.net.offload import cut, gather
from lunar.packet import (
    ACK,
    AF_INET,
    AF_INET6,
    CWR,
    ECE,
    FIN,
    PSH,
    SYN,
    URG,
    Frame,
    TcpSegment,
    UdpDatagram,
    set_tcp_size,
)
from lunar.wire import ethernet


def segment(seq: int, payload: bytes, flags: int = ACK, **fields: Any) -> TcpSegment:
    family = fields.pop("family", AF_INET)
    made = TcpSegment(family, 0x0A000001, 0x0A000002, 1000, 80, seq, 77, flags, 500, payload)
    made.has_timestamps = True
    made.ts_val, made.ts_ecr = 11, 22
    made.dont_fragment = True
    for name, value in fields.items():
        setattr(made, name, value)
    set_tcp_size(made)
    return made


def whole(payload: bytes, gso_bytes: int, **fields: Any) -> TcpSegment:
    return segment(100, payload, fields.pop("flags", ACK), gso_bytes=gso_bytes, **fields)


def as_bytes(frames: list[Any]) -> list[bytes]:
    return [ethernet.encode(frame) for frame in frames]


def test_a_large_segment_is_cut_into_those_that_it_stands_for() -> None:
    parts = cut(whole(b"aaabbbcc", 3, ident=0xFFFF))
    assert [(part.seq, part.payload, part.ident) for part in parts] == [
        (100, b"aaa", 0xFFFF), (103, b"bbb", 0), (106, b"cc", 1),
    ]  # fmt: skip
    # IPv4's header of 20, TCP's of 20, timestamps of 12.
    assert [part.size_bytes for part in parts] == [55, 55, 54]
    assert all(part.gso_bytes == 0 and part.ts_val == 11 and part.window == 500 for part in parts)


def test_what_is_said_once_is_said_once() -> None:
    first, second, last = cut(whole(b"abcdef", 2, flags=ACK | PSH | FIN | CWR | ECE))
    assert first.flags == ACK | CWR | ECE
    assert second.flags == ACK | ECE
    assert last.flags == ACK | PSH | FIN | ECE


def test_sequence_numbers_go_around() -> None:
    parts = cut(segment(0xFFFF_FFFE, b"abcdef", gso_bytes=3))
    assert [part.seq for part in parts] == [0xFFFF_FFFE, 1]
    (gathered,) = gather(list(parts))
    assert isinstance(gathered, TcpSegment) and (gathered.seq, gathered.payload) == (0xFFFF_FFFE, b"abcdef")


@pytest.mark.parametrize("family", [AF_INET, AF_INET6])
def test_what_was_cut_is_put_together_as_it_was(family: int) -> None:
    source = whole(bytes(range(250)), 100, family=family, flags=ACK | PSH, tos=3, ttl=9)
    (gathered,) = gather(list(cut(source)))
    assert isinstance(gathered, TcpSegment)
    assert gathered.gso_bytes == 100 and gathered.size_bytes == source.size_bytes
    gathered.gso_bytes = source.gso_bytes = 0
    assert as_bytes([gathered]) == as_bytes([source])


def test_what_does_not_follow_stays_apart() -> None:
    frames: list[Frame] = [segment(100, b"aa"), segment(104, b"cc"), segment(102, b"bb"), segment(104, b"dd")]
    gathered = gather(list(frames))
    assert [(each.seq, each.payload) for each in gathered if isinstance(each, TcpSegment)] == [
        (100, b"aa"), (104, b"cc"), (102, b"bbdd"),
    ]  # fmt: skip


def test_a_short_one_ends_it_and_so_does_push() -> None:
    pushed = segment(5, b"dd", ACK | PSH)
    gathered = gather([segment(0, b"aa"), segment(2, b"b"), segment(3, b"cc"), pushed, segment(7, b"ee")])
    assert [each.payload for each in gathered if isinstance(each, TcpSegment)] == [b"aab", b"ccdd", b"ee"]
    assert [each.flags for each in gathered if isinstance(each, TcpSegment)] == [ACK, ACK | PSH, ACK]


def test_a_longer_one_is_not_the_same_senders_segment() -> None:
    assert len(gather([segment(0, b"aa"), segment(2, b"bbb")])) == 2


def test_it_stays_an_ip_packet() -> None:
    # 52 bytes of headers and 45 of 1,448 are 65,212 bytes; the 46th would make 66,660.
    frames: list[Frame] = [segment(1448 * number, bytes(1448)) for number in range(50)]
    gathered = gather(frames)
    assert [each.size_bytes for each in gathered] == [52 + 1448 * 45, 52 + 1448 * 5]


def other_ack(each: TcpSegment) -> None:
    each.ack = 78


def other_time(each: TcpSegment) -> None:
    each.ts_val = 12


def marked(each: TcpSegment) -> None:
    each.tos = 3


def other_port(each: TcpSegment) -> None:
    each.sport = 1001


def with_blocks(each: TcpSegment) -> None:
    each.sack_blocks = [(1, 2)]


def with_options(each: TcpSegment) -> None:
    each.options = b"\x01\x01\x01\x00"


def finished(each: TcpSegment) -> None:
    each.flags = ACK | FIN


def urgent(each: TcpSegment) -> None:
    each.flags = ACK | URG


def opening(each: TcpSegment) -> None:
    each.flags = SYN


def signed(each: TcpSegment) -> None:
    each.md5 = bytes(16)


def empty(each: TcpSegment) -> None:
    each.payload = b""


CHANGES = [
    other_ack, other_time, marked, other_port, with_blocks, with_options, finished, urgent, opening, signed, empty,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_says_something_of_its_own_stays_apart(change: Callable[[TcpSegment], None]) -> None:
    second = segment(2, b"bb")
    change(second)
    frames = [segment(0, b"aa"), second]
    before = as_bytes(frames)
    assert as_bytes(gather(list(frames))) == before


def test_other_frames_pass_and_part_what_is_around_them() -> None:
    datagram = UdpDatagram(AF_INET, 1, 2, 3, 4, b"x")
    datagram.size_bytes = 29
    frames: list[Frame] = [segment(0, b"aa"), datagram, segment(2, b"bb")]
    assert gather(list(frames)) == frames
