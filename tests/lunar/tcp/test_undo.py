"""Undo: the Eifel detection (RFC 3522), D-SACK (RFC 3708), F-RTO (RFC 5682), and what they give back (RFC 4015)."""

from __future__ import annotations

from loss_scenario import D, blocks, in_flight
from tcp_scenario import MSS, Scenario, ms

from lunar.tcp.tcb import DISORDER, LOSS, OPEN, RECOVERY


def stamped() -> tuple[Scenario, int, int]:
    """With timestamps: segment 0 of 10 was late and sent again at 100 ms.

    The scenario, the size of a segment, and the timestamp of the originals.
    """
    t = in_flight(10, timestamps=True, waiting=0)
    size = int(t.sock.mss)
    original = t.last_ts_val
    t.gets(at=ms(100), sack=[(D + size, D + 4 * size)])
    t.sends(at=ms(100), seq=D)
    assert t.sock.ca_state == RECOVERY and t.sock.ssthresh == 5
    return t, size, original


def test_an_echo_from_before_the_retransmission_undoes_the_recovery() -> None:
    t, size, original = stamped()
    t.gets(at=ms(103), ack=D + 10 * size, ts_ecr=original)
    assert t.sock.ca_state == OPEN
    assert t.sock.cwnd >= 10 and t.sock.ssthresh > 1 << 20
    assert t.host.count.tcp_full_undo == 1


def test_an_echo_of_the_retransmission_does_not() -> None:
    t, size, _ = stamped()
    t.gets(at=ms(203), ack=D + 10 * size)
    assert t.sock.ca_state == OPEN
    # ssthresh; and Reno's one more for each window, since seven arrived with this ACK
    assert (t.sock.cwnd, t.sock.ssthresh) == (6, 5) and t.host.count.tcp_full_undo == 0


def test_a_part_acknowledged_by_a_late_original_reduces_no_further() -> None:
    t, size, original = stamped()
    cwnd = t.sock.cwnd
    t.gets(at=ms(103), ack=D + 4 * size, ts_ecr=original)
    # Nothing that was sent again is in flight any more: all is undone.
    assert t.host.count.tcp_partial_undo == 1 and t.host.count.tcp_ts_reorder == 1
    assert t.sock.cwnd >= cwnd and t.sock.ca_state in (OPEN, DISORDER)


def test_d_sacks_for_all_that_was_sent_again_undo_the_recovery() -> None:
    t = in_flight(10, waiting=0)
    t.gets(at=ms(100), sack=blocks((2, 7)))
    t.sends(at=ms(100), seq=D)
    t.sends(at=ms(100), seq=D + MSS)
    t.gets(at=ms(103), ack=D + 10 * MSS)  # ended: both are acknowledged
    assert (t.sock.cwnd, t.sock.ssthresh) == (6, 5)
    t.gets(at=ms(200), sack=blocks((0, 1)))
    assert t.host.count.tcp_dsack_undo == 0
    t.gets(at=ms(201), sack=blocks((1, 2)))
    assert t.host.count.tcp_dsack_undo == 1
    assert t.sock.cwnd >= 10 and t.sock.ssthresh > 1 << 20


def test_one_d_sack_for_two_retransmissions_does_not() -> None:
    t = in_flight(10, waiting=0)
    t.gets(at=ms(100), sack=blocks((2, 7)))
    assert t.forget() == 2
    t.gets(at=ms(200), ack=D + 10 * MSS, sack=blocks((0, 1)))
    assert t.host.count.tcp_dsack_undo == 0 and t.sock.cwnd == 6


# F-RTO.


def timed_out(sack: bool = True, waiting: int = 10) -> Scenario:
    """Nothing came for 300 ms; the first of 10 segments was sent again."""
    t = in_flight(10, sack=sack, waiting=waiting)
    t.sysctls.tcp_early_retrans = 0
    t.sock.retransmit_timer.disarm()
    t.sock.retransmit_timer.arm(0, t.start + ms(300))
    t.sends(at=ms(300), seq=D)
    assert (t.sock.ca_state, t.sock.cwnd, t.sock.ssthresh) == (LOSS, 1, 5)
    return t


def test_the_first_ack_after_a_timeout_sends_new_data() -> None:
    for sack in (True, False):
        t = timed_out(sack)
        t.gets(at=ms(310), ack=D + MSS)
        t.sends(at=ms(310), seq=D + 10 * MSS)  # RFC 5682 (2.1) step 2b: cwnd is 2
        t.sends(at=ms(310), seq=D + 11 * MSS)
        t.sends_nothing(until=ms(311))


def test_the_second_shows_that_the_timeout_was_spurious() -> None:
    t = timed_out()
    t.gets(at=ms(310), ack=D + MSS)
    t.forget()
    t.gets(at=ms(311), ack=D + 2 * MSS)  # an original: nothing of the kind was sent again
    assert t.sock.ca_state == OPEN and t.host.count.tcp_spurious_rtos == 1
    assert t.sock.cwnd >= 10 and t.sock.ssthresh > 1 << 20
    assert t.sock.info().lost == 0 and t.sock.total_retrans == 1


def test_a_sack_of_an_original_shows_it_too() -> None:
    t = timed_out()
    t.gets(at=ms(310), ack=D, sack=blocks((3, 4)))
    assert t.sock.ca_state in (OPEN, DISORDER) and t.host.count.tcp_spurious_rtos == 1


def test_a_sack_of_the_new_data_shows_that_it_was_not() -> None:
    t = timed_out()
    t.gets(at=ms(400), ack=D + MSS)
    assert t.forget() == 2
    t.gets(at=ms(500), sack=blocks((10, 11)))
    assert t.sock.ca_state == LOSS and t.host.count.tcp_spurious_rtos == 0
    t.sends(at=ms(500), seq=D + MSS)


def test_without_sack_a_duplicate_shows_that_it_was_not() -> None:
    t = timed_out(sack=False)
    t.gets(at=ms(400), ack=D + MSS)
    assert t.forget() == 2
    t.gets(at=ms(500), ack=D + MSS)
    assert t.sock.ca_state == LOSS and t.host.count.tcp_spurious_rtos == 0
    t.sends(at=ms(500), seq=D + MSS)


def test_without_new_data_what_is_lost_goes() -> None:
    t = timed_out(waiting=0)
    t.gets(at=ms(400), ack=D + MSS)
    t.sends(at=ms(400), seq=D + MSS)
    t.sends(at=ms(400), seq=D + 2 * MSS)


def test_tcp_frto_0_switches_it_off() -> None:
    t = in_flight(10, sack=False)
    t.sysctls.tcp_frto = 0
    t.sends(at=ms(300), seq=D)
    t.gets(at=ms(310), ack=D + MSS)
    t.sends(at=ms(310), seq=D + MSS)


def test_a_timestamp_shows_that_the_timeout_was_spurious() -> None:
    t = in_flight(10, timestamps=True, sack=False)
    size = int(t.sock.mss)
    original = t.last_ts_val
    t.sends(at=ms(300), seq=D)
    t.gets(at=ms(310), ack=D + 10 * size, ts_ecr=original)
    assert t.host.count.tcp_loss_undo == 1
    assert t.sock.cwnd >= 10 and t.sock.ssthresh > 1 << 20
