"""The sender's side of SACK and D-SACK: RFC 2018 section 5, RFC 2883, RFC 3042, RFC 6675 section 3."""

from __future__ import annotations

from loss_scenario import D, blocks, in_flight
from tcp_scenario import MSS, ms

from lunar.tcp.tcb import DISORDER, LOSS, OPEN, RECOVERY, SACKED


def test_what_is_sacked_has_left_the_network() -> None:
    t = in_flight(10)
    t.gets(at=ms(100), sack=blocks((1, 2)))
    info = t.sock.info()
    assert (info.ca_state, info.sacked, info.lost) == (DISORDER, 1, 0)
    assert t.sock.in_flight() == 10  # RFC 3042: in its place a new one was sent
    t.sends(at=ms(100), seq=D + 10 * MSS, size=MSS)
    t.sends_nothing(until=ms(100))


def test_limited_transmit_sends_one_new_segment_for_each_of_the_first_two() -> None:
    t = in_flight(10)
    t.gets(at=ms(100), sack=blocks((1, 2)))
    t.sends(at=ms(100), seq=D + 10 * MSS)
    t.gets(at=ms(102), sack=blocks((1, 3)))
    t.sends(at=ms(102), seq=D + 11 * MSS)
    t.gets(at=ms(104), sack=blocks((1, 4)))
    t.sends(at=ms(104), seq=D)  # the third: fast retransmit


def test_holes_are_filled_and_what_is_sacked_is_not_sent_again() -> None:
    t = in_flight(10, waiting=0)  # 0 and 4 are lost
    for last in (2, 3, 4):
        t.gets(at=ms(100), sack=blocks((1, last)))
    t.sends(at=ms(100), seq=D, size=MSS)
    for last in (6, 7, 8, 9, 10):
        t.gets(at=ms(101), sack=blocks((5, last), (1, 4)))
    t.sends(at=ms(101), seq=D + 4 * MSS, size=MSS)
    t.gets(at=ms(200), ack=D + 4 * MSS, sack=blocks((5, 10)))
    t.gets(at=ms(201), ack=D + 10 * MSS)
    t.sends_nothing(until=ms(1000))
    assert t.sock.ca_state == OPEN and t.live_events() == 0
    info = t.sock.info()
    assert (info.unacked, info.sacked, info.lost, info.retrans, info.total_retrans) == (0, 0, 0, 0, 2)


def test_several_losses_in_a_window_are_repaired_in_one_round_trip() -> None:
    t = in_flight(20, waiting=0)  # 0 to 4 are lost; NewReno would need five round trips
    for last in range(6, 21):
        t.gets(at=ms(100), sack=blocks((5, last)))
    for number in range(5):
        t.sends(at=ms(100), seq=D + number * MSS)
    t.gets(at=ms(200), ack=D + 20 * MSS)
    assert t.sock.ca_state == OPEN and t.host.count.tcp_timeouts == 0


def test_a_part_of_a_segment_is_no_segment() -> None:
    t = in_flight(4, waiting=0)
    t.gets(at=ms(100), sack=[(D + 4 * MSS - 1, D + 4 * MSS)])  # the last byte
    assert t.sock.info().sacked == 0


def test_a_record_of_several_segments_is_cut_at_the_edges_of_a_block() -> None:
    t = in_flight(4, waiting=0)
    assert max(record.segs for record in t.sock.sent) > 1
    t.gets(at=ms(100), sack=[(D + MSS + 10, D + 3 * MSS + 10)])  # segment 2, and parts of 1 and 3
    assert t.sock.info().sacked == 1 and t.sock.info().unacked == 4
    sacked = [record for record in t.sock.sent if record.marks & SACKED]
    assert [(record.seq - t.iss + 5_000_000, len(record.data())) for record in sacked] == [(D + 2 * MSS, MSS)]


def test_blocks_that_no_peer_can_send_are_ignored() -> None:
    t = in_flight(10, waiting=0)
    t.gets(at=ms(100), sack=[(D + 9 * MSS, D + 11 * MSS)])  # beyond what was sent
    t.gets(at=ms(100), sack=[(D + 3 * MSS, D + 2 * MSS)])  # backwards
    t.gets(at=ms(100), sack=[(D + 3 * MSS, D + 3 * MSS)])  # empty
    assert t.sock.info().sacked == 0 and t.host.count.tcp_sack_discard == 3
    t.gets(at=ms(100), sack=[])
    assert t.sock.info().sacked == 0 and t.sock.ca_state != RECOVERY


def test_a_block_grows_a_little_with_each_ack() -> None:
    t = in_flight(40, waiting=0)
    for last in range(2, 41):
        t.gets(at=ms(100), sack=blocks((1, last)))
        assert t.sock.info().sacked == last - 1
    assert t.sock.info().unacked == 40


def test_blocks_join() -> None:
    t = in_flight(10, waiting=0)
    t.gets(at=ms(100), sack=blocks((2, 3)))
    t.gets(at=ms(100), sack=blocks((6, 7), (2, 3)))
    t.gets(at=ms(100), sack=blocks((2, 7)))
    assert t.sock.info().sacked == 5


def test_an_overtaken_ack_still_tells_of_what_arrived() -> None:
    t = in_flight(10, waiting=0)
    t.gets(at=ms(100), ack=D + 4 * MSS)
    t.gets(at=ms(101), ack=D + 2 * MSS, sack=blocks((6, 8)))  # from below snd_una
    assert t.sock.info().sacked == 2


def test_an_ack_with_data_can_carry_blocks() -> None:
    t = in_flight(10, waiting=0)
    for last in (2, 3, 4):
        t.gets(at=ms(100), data=b"x", seq=9_000_001 + last - 2, sack=blocks((1, last)))
    assert t.sock.ca_state == RECOVERY


def test_without_permission_blocks_mean_nothing() -> None:
    t = in_flight(10, sack=False, waiting=0)
    t.gets(at=ms(100), sack=blocks((4, 9)))
    assert t.sock.info().sacked == 1  # it is a duplicate like any other


# D-SACK, RFC 2883.


def fast_retransmitted() -> object:
    """Segment 0 was taken for lost and sent again at 100 ms; nothing else is to be sent."""
    t = in_flight(10, waiting=0)
    for last in (2, 3, 4):
        t.gets(at=ms(100), sack=blocks((1, last)))
    t.sends(at=ms(100), seq=D)
    return t


def test_duplicate_below_the_ack_is_a_d_sack() -> None:
    t = fast_retransmitted()
    t.gets(at=ms(110), ack=D + 10 * MSS)
    t.gets(at=ms(200), ack=D + 10 * MSS, sack=blocks((0, 1)))
    assert t.host.count.tcp_dsack_recv == 1 and t.host.count.tcp_dsack_recv_segs == 1
    assert t.sock.dsack_dups == 1 and t.sock.info().sacked == 0


def test_duplicate_within_another_block_is_a_d_sack() -> None:
    t = fast_retransmitted()
    t.gets(at=ms(110), sack=blocks((2, 3), (1, 5)))
    assert t.host.count.tcp_dsack_ofo_recv == 1 and t.host.count.tcp_dsack_recv == 0
    assert t.sock.info().sacked == 4


def test_more_duplicates_than_retransmissions_are_the_networks_or_a_lie() -> None:
    t = in_flight(10, waiting=0)
    t.gets(at=ms(100), ack=D + 5 * MSS, sack=blocks((0, 1)))
    assert t.host.count.tcp_dsack_recv == 1 and t.host.count.tcp_dsack_ignored_dubious == 1
    assert t.host.count.tcp_dsack_recv_segs == 0


# Reneging, RFC 2018 section 8.


def test_a_peer_may_drop_what_it_had_sacked() -> None:
    t = in_flight(10, waiting=0)
    for last in (2, 3, 4):
        t.gets(at=ms(100), sack=blocks((1, last)))
    t.sends(at=ms(100), seq=D)
    t.gets(at=ms(200), ack=D + MSS)  # 1 to 3 are not acknowledged now, though it had them
    t.sends_nothing(until=ms(250) - 1)
    # Half a round trip is given to it to say that it did not mean it; then all is sent again.
    t.sends(at=ms(250), seq=D + MSS)
    assert t.host.count.tcp_sack_reneging == 1 and t.sock.ca_state == LOSS
    assert t.sock.info().sacked == 0 and t.sock.info().lost == 9


# Reordering.


def test_a_late_segment_shows_how_far_the_network_reorders() -> None:
    t = in_flight(10, waiting=0)
    t.gets(at=ms(100), sack=blocks((5, 6)))
    t.gets(at=ms(101), sack=blocks((5, 6), (1, 2)))  # 1 came after 5, which ends at 6: 5 segments
    assert t.sock.reordering == 5 and t.sock.reord_seen == 1
    assert t.host.count.tcp_sack_reorder == 1
    assert t.sock.info().reordering == 5


def test_a_late_segment_that_fills_the_hole_shows_it_too() -> None:
    t = in_flight(10, waiting=0)
    t.gets(at=ms(100), sack=blocks((1, 3)))
    t.gets(at=ms(101), ack=D + 9 * MSS)  # 0 came last; 9 segments
    assert t.sock.reordering == 9 and t.sock.reord_seen == 1
    assert t.sock.ca_state == OPEN and t.sock.info().total_retrans == 0


def test_a_segment_that_was_sent_again_shows_nothing() -> None:
    t = fast_retransmitted()
    t.gets(at=ms(101), ack=D + 10 * MSS)
    assert t.sock.reord_seen == 0


def test_reordering_is_bounded() -> None:
    t = in_flight(40, waiting=0)
    t.sysctls.tcp_max_reordering = 20
    t.gets(at=ms(100), sack=blocks((39, 40)))
    t.gets(at=ms(101), sack=blocks((39, 40), (0, 1)))
    assert t.sock.reordering == 20


def test_a_duplicate_that_ends_before_it_begins_is_none() -> None:
    t = in_flight(10)
    t.gets(at=ms(100), sack=blocks((1, 4)))  # the first is sent again
    delivered = int(t.sock.delivered)
    t.gets(at=ms(101), sack=[(D - 100, D - 200)])
    assert t.sock.delivered == delivered and t.host.count.tcp_dsack_recv_segs == 0
    assert t.host.count.tcp_dsack_ignored_dubious == 1
