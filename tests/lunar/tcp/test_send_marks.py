"""Stamps and zero-copy buffers of a connection, segment by segment."""

from __future__ import annotations

import errno

from tcp_scenario import ACK, LOCAL, MSS, RST, Scenario, established, ms

from lunar.net import timestamping
from lunar.sockets.options import SOL_SOCKET, setsockopt
from lunar.sockets.report_options import SO_TIMESTAMPING, SO_ZEROCOPY
from lunar.tcp import sockopt
from lunar.tcp.sender import send_marks

SCHED, SND = timestamping.TX_SCHED, timestamping.TX_SOFTWARE
TOLD = timestamping.SOFTWARE | timestamping.OPT_ID | timestamping.OPT_TSONLY


def stamps(t: Scenario, flags: int) -> None:
    assert setsockopt(t.sock, SOL_SOCKET, SO_TIMESTAMPING, flags | TOLD) == 0


def reports(t: Scenario) -> list[tuple[int, ...]]:
    """What is on the error queue: (what, key, time) of stamps, (code, first, last) of buffers."""
    found: list[tuple[int, ...]] = []
    while (report := t.sock.take_report()) is not None:
        if report.stamp_ns >= 0:
            found.append((int(report.info), int(report.data), int(report.stamp_ns) - t.start))
        else:
            found.append((int(report.code), int(report.info), int(report.data)))
    return found


def zero_copies(t: Scenario, *sizes: int) -> None:
    for size in sizes:
        assert t.sock.send(b"z" * size, False, False, False, True) == size


def test_a_socket_without_the_options_keeps_nothing() -> None:
    t = established()
    assert t.sock.marks is None and t.sock.stamping is None and t.sock.error_queue is None


def test_a_stamp_waits_for_the_window() -> None:
    t = established(window=2 * MSS)
    stamps(t, SND)
    t.write(b"x" * 3 * MSS)
    assert reports(t) == []  # the last byte is in the third segment
    t.gets(at=ms(30), ack=LOCAL + 1 + 2 * MSS, window=2 * MSS)
    assert reports(t) == [(timestamping.SND, 3 * MSS - 1, ms(30))]


def test_of_two_writes_in_one_segment_the_last_is_stamped() -> None:
    t = established()
    stamps(t, SCHED | timestamping.TX_ACK)
    sockopt.set_cork(t.sock, True)
    t.write(b"x" * 10)
    t.write(b"y" * 20)
    sockopt.set_cork(t.sock, False)
    assert reports(t) == [(timestamping.SCHED, 29, 0)]
    t.gets(at=ms(10), ack=LOCAL + 31)
    assert reports(t) == [(timestamping.ACK, 29, ms(10))]


def test_of_two_writes_in_one_record_the_last_is_stamped_though_it_is_cut() -> None:
    t = established()
    stamps(t, SCHED)
    sockopt.set_cork(t.sock, True)
    t.write(b"x" * 10)
    t.write(b"y" * 2 * MSS)
    sockopt.set_cork(t.sock, False)
    assert reports(t) == [(timestamping.SCHED, 9 + 2 * MSS, 0)]


def test_an_acknowledgment_of_a_part_is_none_of_the_last_byte() -> None:
    t = established()
    stamps(t, timestamping.TX_ACK)
    t.write(b"x" * 2 * MSS)
    t.gets(at=ms(10), ack=LOCAL + 1 + MSS)
    assert reports(t) == []
    t.gets(at=ms(20), ack=LOCAL + 1 + 2 * MSS)
    assert reports(t) == [(timestamping.ACK, 2 * MSS - 1, ms(20))]


def test_keys_count_from_what_was_not_acknowledged_or_from_what_was_written() -> None:
    for flag, key in ((0, 14), (timestamping.OPT_ID_TCP, 4)):
        t = established()
        t.write(b"x" * 10)
        stamps(t, SND | flag)
        t.write(b"y" * 5)
        t.gets(at=ms(10), ack=LOCAL + 11)
        assert [found[1] for found in reports(t)] == [key]


def test_sends_that_wait_together_are_told_of_together() -> None:
    t = established()
    assert setsockopt(t.sock, SOL_SOCKET, SO_ZEROCOPY, 1) == 0
    sockopt.set_cork(t.sock, True)
    zero_copies(t, 10, 10, 10)
    sockopt.set_cork(t.sock, False)
    t.gets(at=ms(10), ack=LOCAL + 21)
    assert reports(t) == []  # their buffers are free together, too
    t.gets(at=ms(20), ack=LOCAL + 31)
    assert reports(t) == [(1, 0, 2)]


def test_after_a_reset_what_was_never_sent_was_not_copied() -> None:
    t = established(window=MSS)
    assert setsockopt(t.sock, SOL_SOCKET, SO_ZEROCOPY, 1) == 0
    zero_copies(t, MSS, 2 * MSS)
    t.write(b"between")
    zero_copies(t, MSS)
    t.gets(at=ms(10), flags=RST | ACK)
    assert t.sock.error == errno.ECONNRESET
    # Linux lets go of what waits first, and then of what was sent; the codes differ, but a range only grows.
    assert reports(t) == [(0, 1, 2), (1, 0, 0)]


def test_a_closed_socket_has_nobody_to_tell() -> None:
    t = established()
    assert setsockopt(t.sock, SOL_SOCKET, SO_ZEROCOPY, 1) == 0
    zero_copies(t, 100)
    t.sock.close()
    t.gets(at=ms(10), ack=LOCAL + 101)
    assert t.sock.error_queue is None and t.sock.marks is None


def test_many_buffers_fill_records() -> None:
    t = established()
    assert setsockopt(t.sock, SOL_SOCKET, SO_ZEROCOPY, 1) == 0
    marks = t.sock.marks
    assert marks is not None
    send_marks.cut_buffers(t.sock, [3] * 17 + [0] + [3] * 18)
    assert marks.cuts == [51, 102]
