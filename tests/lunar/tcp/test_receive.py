"""Receiving: order, holes, overlaps, windows, when to acknowledge."""

from __future__ import annotations

import errno

from tcp_scenario import ACK, FIN, LOCAL, MSS, PSH, REMOTE, SYN, Scenario, TcpSegment, established, ms, s, server

from lunar.net.sock import POLLIN, POLLRDHUP
from lunar.tcp import sockopt


def past_quick_acks(read: bool = True) -> Scenario:
    """16 full segments came in; from here on ACKs are delayed. The next byte is REMOTE + 1 + 16 * MSS."""
    t = established()
    for count in range(16):
        t.gets(at=0, seq=REMOTE + 1 + count * MSS, data=b"x" * MSS)
        if read:
            t.read()
    t.sock.quick_acks = 0
    t.forget()
    t.woken.clear()
    return t


NEXT = REMOTE + 1 + 16 * MSS


def test_data_wakes_and_can_be_read() -> None:
    t = established()
    t.gets(at=0, data=b"hello")
    assert t.woken == [POLLIN]
    assert t.read() == b"hello"
    assert t.read() is None and t.sock.recv_errno == errno.EAGAIN


def test_read_takes_part_of_a_segment() -> None:
    t = established()
    t.gets(at=0, data=b"hello")
    assert t.read(2) == b"he"
    assert t.sock.recv(2, True) == b"ll"
    assert t.read() == b"llo"


def test_read_joins_segments() -> None:
    t = established()
    t.gets(at=0, seq=REMOTE + 1, data=b"abc")
    t.gets(at=0, seq=REMOTE + 4, data=b"def")
    assert t.sock.recv(4, True) == b"abcd"
    assert t.read(4) == b"abcd"
    assert t.read() == b"ef"


def test_read_of_one_segment_copies_nothing() -> None:
    t = established()
    data = b"hello world"
    t.gets(at=0, data=data)
    assert t.read() is data


def test_first_segments_are_acknowledged_at_once() -> None:
    t = established()
    for count in range(16):
        t.gets(at=0, seq=REMOTE + 1 + count * 50, data=b"x" * 50)
        t.sends(at=0, ack=REMOTE + 51 + count * 50)
    t.gets(at=0, seq=REMOTE + 801, data=b"x" * 50)
    t.sends_nothing(until=0)


def test_ack_is_delayed_by_40_ms() -> None:
    t = past_quick_acks()
    t.gets(at=ms(1), seq=NEXT, data=b"x" * MSS)
    t.sends_nothing(until=ms(40))
    t.sends(at=ms(41), ack=NEXT + MSS)
    assert t.host.count.tcp_delayed_acks == 1


def test_every_second_full_segment_is_acknowledged_at_once() -> None:
    t = past_quick_acks()
    t.gets(at=ms(1), seq=NEXT, data=b"x" * MSS)
    t.read()
    t.gets(at=ms(2), seq=NEXT + MSS, data=b"x" * MSS)
    t.read()
    t.sends(at=ms(2), ack=NEXT + 2 * MSS)
    t.sends_nothing(until=s(1))
    assert t.live_events() == 0


def test_reading_the_end_of_a_write_acknowledges_it() -> None:
    t = past_quick_acks()
    t.gets(at=ms(1), seq=NEXT, data=b"x" * 10, flags=ACK | PSH)
    t.sends_nothing(until=ms(5))
    t.read()
    t.sends(at=ms(5), ack=NEXT + 10)


def test_ack_rides_on_the_answer_in_a_conversation() -> None:
    t = past_quick_acks()
    t.gets(at=ms(1), seq=NEXT, data=b"question", flags=ACK | PSH)
    t.write(b"answer")
    t.sends(at=ms(1), ack=NEXT + 8, data=b"answer")
    # Now the connection is interactive: reading does not acknowledge, the answer does.
    t.gets(at=ms(10), seq=NEXT + 8, ack=LOCAL + 7, data=b"question", flags=ACK | PSH)
    t.read()
    t.sends_nothing(until=ms(20))
    t.write(b"answer")
    t.sends(at=ms(20), ack=NEXT + 16, data=b"answer")


def test_unanswered_question_is_acknowledged_and_ends_the_conversation() -> None:
    t = past_quick_acks()
    t.sock.pingpong = True
    t.gets(at=ms(1), seq=NEXT, data=b"question", flags=ACK | PSH)
    t.read()
    t.sends(at=ms(41), ack=NEXT + 8)
    assert not t.sock.pingpong


def test_delay_follows_the_senders_pace() -> None:
    t = past_quick_acks()
    t.sock.pingpong = True
    t.gets(at=ms(1), seq=NEXT, data=b"a")  # ato 40 ms, fires at 41 ms, conversation ends
    t.sends(at=ms(41))
    t.sock.pingpong = True
    t.sock.ato_ns = ms(100)
    t.gets(at=ms(91), seq=NEXT + 1, data=b"b")  # 90 ms after the last: ato = 100 / 2 + 90 = 140; SRTT bounds it to 100
    t.sends(at=ms(191), ack=NEXT + 2)


def test_quickack_option_acknowledges_now() -> None:
    t = past_quick_acks()
    t.gets(at=ms(1), seq=NEXT, data=b"x" * MSS)
    sockopt.set_quickack(t.sock, True)
    t.sends(at=ms(1), ack=NEXT + MSS)


def test_out_of_order_data_is_held_and_acked() -> None:
    t = past_quick_acks()
    t.gets(at=ms(0), seq=NEXT + 3, data=b"def")  # the hole is 3 bytes
    t.sends(at=ms(0), ack=NEXT)  # duplicate ACK at once
    assert t.read() is None
    t.gets(at=ms(5), seq=NEXT, data=b"abc")
    t.sends(at=ms(5), ack=NEXT + 6)  # the hole is filled: at once
    assert t.read() == b"abcdef"


def test_each_out_of_order_segment_is_acknowledged() -> None:
    t = past_quick_acks()
    for count in range(1, 4):
        t.gets(at=ms(count), seq=NEXT + count * MSS, data=b"x" * MSS)
        t.sends(at=ms(count), ack=NEXT)
    t.gets(at=ms(9), seq=NEXT, data=b"x" * MSS)
    t.sends(at=ms(9), ack=NEXT + 4 * MSS)


def test_overlapping_pieces_join() -> None:
    t = established()
    t.gets(at=0, seq=REMOTE + 5, data=b"efgh")
    t.gets(at=0, seq=REMOTE + 3, data=b"cdEFGHij")  # covers the first
    t.gets(at=0, seq=REMOTE + 9, data=b"IJKL")
    t.gets(at=0, seq=REMOTE + 2, data=b"bC")
    t.gets(at=0, seq=REMOTE + 1, data=b"aBCD")
    assert t.read() == b"aBCDEFGHijKL"


def test_partly_old_data_is_trimmed() -> None:
    t = established()
    t.gets(at=0, seq=REMOTE + 1, data=b"abc")
    t.gets(at=0, seq=REMOTE + 2, data=b"BCdef")
    assert t.read() == b"abcdef"


def test_old_data_is_acknowledged_again() -> None:
    t = past_quick_acks()
    t.gets(at=ms(1), seq=NEXT - MSS, data=b"x" * MSS)
    t.sends(at=ms(1), ack=NEXT)
    assert t.read() is None


def test_data_beyond_the_window_is_refused() -> None:
    t = established()
    t.gets(at=0, seq=REMOTE + 1 + 64240 + 10, data=b"x")
    t.sends(at=0, ack=REMOTE + 1)
    assert not t.sock.out_of_order


def test_fin_behind_a_hole_waits() -> None:
    t = established()
    t.gets(at=0, seq=REMOTE + 4, data=b"def", flags=ACK | FIN)
    assert t.sock.state == 1
    t.gets(at=0, seq=REMOTE + 1, data=b"abc")
    assert t.sock.state == 8  # CLOSE-WAIT
    assert t.read() == b"abcdef"
    assert t.read() == b""


def test_bare_fin_behind_a_hole_waits() -> None:
    t = established()
    t.gets(at=0, seq=REMOTE + 4, flags=ACK | FIN)
    t.gets(at=0, seq=REMOTE + 1, data=b"abc")
    assert t.sock.state == 8 and t.read() == b"abc" and t.read() == b""


def test_fin_wakes_with_end_of_stream() -> None:
    t = established()
    t.gets(at=0, seq=REMOTE + 1, flags=ACK | FIN)
    assert t.woken == [POLLIN | POLLRDHUP]
    assert t.read() == b""
    assert t.sock.has_input()


def fill(t: Scenario, count: int) -> int:
    """`count` full segments come and nobody reads; the sequence number after them."""
    seq = REMOTE + 1
    for _ in range(count):
        t.gets(at=t.now, seq=seq, data=b"x" * MSS)
        seq += MSS
    return seq


def test_window_shrinks_as_data_waits_but_its_edge_stays() -> None:
    t = established()
    fill(t, 10)
    edges = [int(g.ack) + int(g.window) for _, g in t.medium.sent]
    assert edges == sorted(edges)


def test_window_closes_when_nobody_reads() -> None:
    t = established()
    # As Linux 6.18 does it: full segments are worth 162 / 256 of their memory, so 131,072 bytes promise 82,944. The
    # promise grows to what is then left, 75,920, never shrinks, and is rounded up to the scale at each ACK.
    seq = fill(t, 62)
    t.run(s(1))
    assert t.medium.sent[-1][1].window < 2 * MSS
    t.forget()
    t.gets(at=s(1), seq=seq, data=b"x" * MSS)
    t.run(s(2))
    before = t.sock.info().bytes_received
    # What does not fit the window is refused and answered.
    t.forget()
    t.gets(at=s(2), seq=int(t.sock.rcv_nxt), data=b"y" * MSS)
    t.sends(at=s(2), ack=int(t.sock.rcv_nxt), window=0)
    assert t.sock.info().bytes_received == before


def test_reading_tells_of_the_window_when_it_has_doubled() -> None:
    t = established()
    fill(t, 44)
    t.run(s(1))
    t.forget()
    t.read(500)
    t.sends_nothing(until=s(1))  # not silly
    t.read()
    update = t.sends(at=s(1), size=0)
    assert update.window > 30_000


def test_data_beyond_the_buffer_is_dropped_and_counted() -> None:
    t = established()
    t.sock.rcvbuf = 4000  # smaller than what was offered: a segment takes 2304
    t.sock.rcvbuf_locked = True
    fill(t, 4)
    assert t.sock.info().bytes_received == 2 * MSS
    assert t.host.count.tcp_rcv_pruned == 2


def test_a_full_buffer_grows_before_anything_is_dropped() -> None:
    t = established()
    t.sock.rcvbuf = 4000
    fill(t, 4)
    assert t.sock.info().bytes_received == 4 * MSS
    assert t.sock.rcvbuf == 3 * 2304  # what was there when the fourth came
    assert (t.host.count.tcp_prune_called, t.host.count.tcp_rcv_pruned) == (2, 0)


def test_memory_is_charged_and_returns() -> None:
    t = established()
    fill(t, 3)
    assert t.sock.rmem == 3 * 2304
    t.gets(at=0, seq=REMOTE + 1 + 9 * MSS, data=b"x" * 100)  # 100 + 424 bytes: a small head
    assert t.sock.rmem_held == 960
    t.read(MSS)
    assert t.sock.rmem == 2 * 2304
    t.read()
    assert (t.sock.rmem, t.sock.rmem_held) == (0, 960)


def test_small_segments_share_a_packet() -> None:
    t = established()
    t.gets(at=0, seq=REMOTE + 1, data=b"x" * 100)
    t.gets(at=0, seq=REMOTE + 101, data=b"x" * 100)  # 704 - 424 - 100 leave 180
    assert t.sock.rmem == 960
    t.gets(at=0, seq=REMOTE + 201, data=b"x" * 100)
    assert t.sock.rmem == 2 * 960


def test_what_waits_beyond_holes_is_given_up_last_first() -> None:
    t = established(sack=True)
    t.sock.rcvbuf_locked = True
    t.sock.rcvbuf = 8704  # room for two packed pages
    for place in (1, 3, 5, 7, 9, 11):
        t.gets(at=0, seq=REMOTE + 1 + place * MSS, data=b"x" * MSS)
    # Four of 2304 bytes are too much, but packed into pages they leave room; and so do five.
    assert (t.host.count.tcp_prune_called, t.host.count.tcp_ofo_pruned) == (2, 0)
    t.gets(at=0, seq=REMOTE + 1 + 13 * MSS, data=b"x" * MSS)  # six do not fit two pages: the last goes
    assert t.host.count.tcp_ofo_pruned == 1
    assert [int(held.seq - t.sock.irs - 1) // MSS for held in t.sock.out_of_order] == [1, 3, 5, 7, 9, 13]
    assert t.sock.out_of_order[0].seq - t.sock.irs == 1 + MSS


def test_what_ends_beyond_the_window_is_refused_when_something_waits() -> None:
    t = established()
    t.gets(at=0, seq=REMOTE + 1, data=b"x")
    left = int(t.sock.rcv_wup + t.sock.rcv_wnd - t.sock.rcv_nxt)
    t.forget()
    t.gets(at=ms(1), seq=REMOTE + 2, data=b"x" * (left + 1))
    t.sends(at=ms(1), ack=REMOTE + 2)
    assert t.host.count.tcp_beyond_window == 1
    t.read()
    t.forget()
    t.gets(at=ms(2), seq=REMOTE + 2, data=b"x" * (left + 1))  # the queue is empty: taken, as Linux does
    assert len(t.read() or b"") == left + 1


# SACK, RFC 2018 and RFC 2883.


def blocks(segment: TcpSegment) -> list[tuple[int, int]]:
    """The blocks of a segment, relative to REMOTE + 1."""
    start = REMOTE + 1
    return [(left - start, right - start) for left, right in segment.sack_blocks or []]


def piece(t: Scenario, at: int, left: int, right: int, flags: int = ACK) -> None:
    t.gets(at=at, seq=REMOTE + 1 + left, data=b"x" * (right - left), flags=flags)


def test_the_newest_block_comes_first() -> None:
    t = established(sack=True)
    piece(t, 0, 2000, 3000)
    assert blocks(t.sends(at=0, ack=REMOTE + 1)) == [(2000, 3000)]
    piece(t, 0, 4000, 5000)
    assert blocks(t.sends(at=0, ack=REMOTE + 1)) == [(4000, 5000), (2000, 3000)]
    piece(t, 0, 3000, 4000)  # joins both
    assert blocks(t.sends(at=0, ack=REMOTE + 1)) == [(2000, 5000)]
    piece(t, ms(1), 0, 1000)
    assert blocks(t.sends(at=ms(1), ack=REMOTE + 1001)) == [(2000, 5000)]
    piece(t, ms(1), 1000, 2000)
    assert blocks(t.sends(at=ms(1), ack=REMOTE + 5001)) == []


def test_with_timestamps_there_is_room_for_three() -> None:
    t = established(timestamps=True, sack=True)
    for left in (1000, 3000, 5000):
        piece(t, 0, left, left + 1000)
    t.forget()
    piece(t, ms(1), 7000, 8000)
    t.run(ms(10))
    answer = t.sends(at=ms(2), ack=REMOTE + 1)
    assert blocks(answer) == [(7000, 8000), (5000, 6000), (3000, 4000)]
    assert answer.size_bytes == 20 + 20 + 12 + 4 + 3 * 8


def test_no_blocks_where_the_peer_does_not_permit() -> None:
    t = established()
    piece(t, 0, 2000, 3000)
    assert t.sends(at=0, ack=REMOTE + 1).sack_blocks is None


def test_a_duplicate_is_told_once() -> None:
    t = established(sack=True)
    piece(t, 0, 0, 1000)
    t.sends(at=0, ack=REMOTE + 1001)
    piece(t, 0, 0, 1000)
    assert blocks(t.sends(at=0, ack=REMOTE + 1001)) == [(0, 1000)]
    piece(t, ms(1), 500, 1500)  # half of it
    assert blocks(t.sends(at=ms(1), ack=REMOTE + 1501)) == [(500, 1000)]
    piece(t, ms(1), 1500, 2500)
    assert blocks(t.sends(at=ms(1), ack=REMOTE + 2501)) == []
    assert t.host.count.tcp_dsack_old_sent == 2


def test_a_duplicate_beyond_a_hole_comes_before_its_block() -> None:
    t = established(sack=True)
    piece(t, 0, 1000, 2000)
    t.forget()
    piece(t, 0, 1000, 2000)
    assert blocks(t.sends(at=0, ack=REMOTE + 1)) == [(1000, 2000), (1000, 2000)]
    piece(t, 0, 1500, 2500)
    assert blocks(t.sends(at=0, ack=REMOTE + 1)) == [(1500, 2000), (1000, 2500)]
    assert t.host.count.tcp_dsack_ofo_sent == 2


def test_what_filled_a_hole_and_more_is_told() -> None:
    t = established(sack=True)
    piece(t, 0, 1000, 2000)
    t.forget()
    piece(t, 0, 0, 1500)
    assert blocks(t.sends(at=0, ack=REMOTE + 2001)) == [(1000, 1500)]


def test_tcp_dsack_0_tells_of_no_duplicates() -> None:
    t = established(sack=True)
    t.tcp.tables.sysctls.tcp_dsack = 0
    piece(t, 0, 0, 1000)
    t.forget()
    piece(t, 0, 0, 1000)
    assert t.sends(at=0, ack=REMOTE + 1001).sack_blocks is None


def test_after_three_duplicate_acks_the_next_are_gathered() -> None:
    t = established(sack=True)  # SRTT 100 ms: a twentieth is more than the millisecond of tcp_comp_sack_delay_ns
    for left in (1000, 2000, 3000):
        piece(t, ms(1), left, left + 1000)
        t.sends(at=ms(1), ack=REMOTE + 1)
    for left in (4000, 5000, 6000):
        piece(t, ms(2), left, left + 1000)
    assert blocks(t.sends(at=ms(3), ack=REMOTE + 1)) == [(1000, 7000)]
    t.sends_nothing(until=ms(9))
    assert t.host.count.tcp_ack_compressed == 3


def test_a_fin_beyond_a_hole_is_part_of_its_block() -> None:
    t = established(sack=True)
    piece(t, 0, 1000, 2000, ACK | FIN)
    assert blocks(t.sends(at=0, ack=REMOTE + 1)) == [(1000, 2001)]
    piece(t, 0, 0, 1000)
    assert blocks(t.sends(at=0, ack=REMOTE + 2002)) == []


def test_receive_buffer_grows_when_the_program_reads_fast() -> None:
    t = established()
    seq = REMOTE + 1
    for turn in range(20):
        at = turn * ms(100)
        for _ in range(30):
            t.gets(at=at, seq=seq, data=b"x" * MSS)
            seq += MSS
            t.read()
    assert t.sock.rcvbuf > 131_072
    assert t.sock.rcvbuf <= 6_291_456


def test_locked_receive_buffer_does_not_grow() -> None:
    t = established()
    t.sock.rcvbuf_locked = True
    seq = REMOTE + 1
    for turn in range(20):
        for _ in range(30):
            t.gets(at=turn * ms(100), seq=seq, data=b"x" * MSS)
            seq += MSS
            t.read()
    assert t.sock.rcvbuf == 131_072


def test_peers_sequence_numbers_wrap() -> None:
    t = Scenario()
    t.connect()
    irs = 0xFFFF_FFFD
    t.gets(at=0, seq=irs, ack=LOCAL + 1, flags=0x12, mss=1460)
    t.gets(at=0, seq=irs + 4, data=b"def")
    t.gets(at=0, seq=irs + 1, data=b"abc")
    assert t.read() == b"abcdef"
    t.forget()
    t.gets(at=0, seq=irs + 7, data=b"g")
    t.sends(at=0, ack=5)


def test_segment_without_ack_is_dropped() -> None:
    t = established()
    t.gets(at=0, data=b"abc", flags=0)
    assert t.read() is None
    t.sends_nothing(until=s(1))


# TCP_WINDOW_CLAMP, tcp(7); the figures are those of Linux 6.18.


def test_a_clamp_bounds_the_first_window() -> None:
    t = server()
    assert sockopt.set_window_clamp(t.sock, 5000) == 0
    t.gets(at=0, seq=REMOTE, flags=SYN, mss=1000, window_scale=7)
    answer = t.sends(at=0, flags=SYN | ACK, window=4380)  # 3 * 1460
    assert answer.window_scale == 0  # 5000 bytes need none


def test_a_clamp_never_takes_back_what_was_offered() -> None:
    t = established()
    t.gets(at=0, seq=REMOTE + 1, data=b"x" * 1000)
    t.read()
    t.forget()
    before = int(t.sock.rcv_wup + t.sock.rcv_wnd)
    assert sockopt.set_window_clamp(t.sock, 2000) == 0
    assert t.sock.rcv_ssthresh == 2000
    t.gets(at=ms(1), seq=REMOTE + 1001, data=b"x" * 1000)
    assert t.sends(at=ms(1), ack=REMOTE + 2001).window == before - 2001 - REMOTE
    assert sockopt.set_window_clamp(t.sock, 100) == 0 and t.sock.window_clamp == 1152
    assert sockopt.set_window_clamp(t.sock, 0) == -errno.EINVAL
