"""Proportional rate reduction, RFC 6937 section 3 in the form of its revision."""

from __future__ import annotations

from loss_scenario import D, blocks, in_flight
from tcp_scenario import MSS, ms

from lunar.tcp.loss import prr
from lunar.tcp.tcb import CWR, OPEN, RECOVERY


def test_cwnd_comes_down_in_proportion_to_what_arrives() -> None:
    t = in_flight(20, waiting=100)  # 0 is lost; ssthresh will be 10
    for last in (2, 3):
        t.gets(at=ms(100 + 2 * last), sack=blocks((1, last)))
    assert t.forget() == 2  # limited transmit
    sent = []
    for last in range(4, 21):
        t.gets(at=ms(110), sack=blocks((1, last)))
        sent.append(t.forget())
    # 17 arrive in the recovery; half as many are sent, evenly, until ssthresh is reached.
    assert sent == [1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0]
    assert t.sock.ssthresh == 10 and t.sock.in_flight() == 10


def test_fast_retransmit_goes_whatever_cwnd_is() -> None:
    t = in_flight(10, waiting=0)
    t.gets(at=ms(100), sack=blocks((1, 10)))
    t.sends(at=ms(100), seq=D)


def test_below_ssthresh_one_is_sent_for_each_that_arrives() -> None:
    t = in_flight(20, waiting=100)  # 0 to 11 are lost: what is in flight is far below ssthresh, which is 10
    t.gets(at=ms(100), sack=blocks((12, 15)))
    assert t.sock.info().lost == 12
    assert t.sock.in_flight() == 20 - 3 - 12 + t.forget()
    for last in (16, 17, 18):
        t.gets(at=ms(101), sack=blocks((12, last)))
        assert t.forget() == 1


def test_an_ack_that_moves_and_tells_of_no_loss_allows_one_more() -> None:
    t = in_flight(20, waiting=100)
    t.gets(at=ms(100), sack=blocks((12, 20)))
    assert t.forget() == 8
    t.gets(at=ms(200), ack=D + 1 * MSS, sack=blocks((12, 20)))  # segment 0, which was sent again
    assert t.forget() == 2


def test_at_the_end_cwnd_is_ssthresh() -> None:
    t = in_flight(20, waiting=0)
    t.gets(at=ms(100), sack=blocks((1, 20)))
    t.gets(at=ms(200), ack=D + 20 * MSS)
    assert t.sock.ca_state == OPEN and t.sock.cwnd == t.sock.ssthresh == 10


def test_reduction_without_loss_ends_a_window_later() -> None:
    t = in_flight(10, waiting=0)
    prr.enter_cwr(t.sock)
    assert t.sock.ca_state == CWR and t.sock.ssthresh == 5
    t.gets(at=ms(100), ack=D + 2 * MSS)
    assert t.sock.cwnd == 9  # 8 in flight, one for each two
    t.gets(at=ms(101), ack=D + 10 * MSS)
    assert t.sock.ca_state == CWR  # held until something above is acknowledged
    t.write(b"x" * MSS)
    t.gets(at=ms(201), ack=D + 11 * MSS)
    assert t.sock.ca_state == OPEN and t.sock.cwnd == 5


def test_a_loss_in_a_reduction_reduces_no_further() -> None:
    t = in_flight(10, waiting=0)
    prr.enter_cwr(t.sock)
    t.gets(at=ms(100), sack=blocks((1, 5)))
    assert t.sock.ca_state == RECOVERY and t.sock.ssthresh == 5
