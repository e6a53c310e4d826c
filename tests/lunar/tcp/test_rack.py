"""RACK, RFC 8985 section 6: losses by time; the reordering window and its timer."""

from __future__ import annotations

from loss_scenario import D, blocks, in_flight
from tcp_scenario import MSS, Scenario, ms

from lunar.tcp.loss import rack
from lunar.tcp.tcb import DISORDER, OPEN, RECOVERY

# The reordering window is a quarter of the least RTT, 25 ms here; and 2 ms for the coarseness of Linux' timers.
REORDERING_MS = 27


def reordering(t: Scenario) -> None:
    """The network is known to reorder, not further than before."""
    t.sock.reord_seen = 1


def test_three_segments_beyond_the_hole_are_enough() -> None:
    t = in_flight(10, waiting=0)
    t.gets(at=ms(100), sack=blocks((1, 4)))  # one ACK is as good as three
    t.sends(at=ms(100), seq=D)
    assert t.sock.ca_state == RECOVERY and t.sock.info().lost == 1


def test_all_that_was_sent_before_what_arrived_is_lost() -> None:
    t = in_flight(10, waiting=0)
    t.gets(at=ms(100), sack=blocks((5, 8)))
    assert t.sock.info().lost == 5  # and not 8 and 9, which were sent after


def test_fewer_are_given_a_quarter_of_the_least_rtt() -> None:
    t = in_flight(10, waiting=0)
    t.gets(at=ms(100), sack=blocks((1, 2)))
    t.sends_nothing(until=ms(100 + REORDERING_MS) - 1)
    assert t.sock.ca_state == DISORDER
    t.sends(at=ms(100 + REORDERING_MS), seq=D)
    assert t.sock.ca_state == RECOVERY
    # The timeout counts from what was sent again.
    t.sends(at=ms(100 + REORDERING_MS + 300), seq=D)
    assert t.host.count.tcp_timeouts == 1


def test_what_comes_late_was_not_lost() -> None:
    t = in_flight(10, waiting=0)
    t.gets(at=ms(100), sack=blocks((1, 2)))
    t.gets(at=ms(110), ack=D + 10 * MSS)
    t.sends_nothing(until=ms(1000))
    assert t.sock.ca_state == OPEN and t.sock.cwnd >= 10 and t.live_events() == 0


def test_where_the_network_reorders_three_are_not_enough() -> None:
    t = in_flight(10, waiting=0)
    reordering(t)
    t.gets(at=ms(100), sack=blocks((1, 6)))
    t.sends_nothing(until=ms(100 + REORDERING_MS) - 1)
    t.sends(at=ms(100 + REORDERING_MS), seq=D)


def test_bit_4_of_tcp_recovery_switches_the_threshold_off() -> None:
    t = in_flight(10, waiting=0)
    t.sysctls.tcp_recovery = 0x1 | rack.NO_THRESHOLD
    t.gets(at=ms(100), sack=blocks((1, 6)))
    t.sends_nothing(until=ms(100 + REORDERING_MS) - 1)
    t.sends(at=ms(100 + REORDERING_MS), seq=D)


def test_in_a_recovery_nothing_more_is_waited_for() -> None:
    t = in_flight(10, waiting=0)
    t.gets(at=ms(100), sack=blocks((1, 4)))
    t.sends(at=ms(100), seq=D)
    t.gets(at=ms(101), sack=blocks((1, 4), (6, 7)))
    assert t.sock.info().lost == 3  # 0, 4 and 5


def test_a_lost_retransmission_is_found() -> None:
    t = in_flight(10)
    t.gets(at=ms(100), sack=blocks((1, 4)))
    t.sends(at=ms(100), seq=D)
    t.sends(at=ms(100), seq=D + 10 * MSS)  # new data, sent after the retransmission ...
    t.gets(at=ms(110), sack=blocks((1, 10)))
    t.forget()
    t.gets(at=ms(200), sack=blocks((1, 11)))  # ... and it arrived, a round trip after both were sent
    assert t.host.count.tcp_lost_retransmit == 1
    t.sends(at=ms(200), seq=D)
    assert t.sock.total_retrans == 2 and t.host.count.tcp_timeouts == 0


def test_what_was_sent_at_the_same_time_goes_by_its_turn() -> None:
    t = in_flight(10)
    t.gets(at=ms(100), sack=blocks((1, 4)))
    t.sends(at=ms(100), seq=D)
    t.sends(at=ms(100), seq=D + 10 * MSS)  # new data, sent at this instant ...
    t.gets(at=ms(100), sack=blocks((1, 5), (6, 9)))
    t.sends(at=ms(100), seq=D + 5 * MSS)  # ... and before this one, which is as late as it, no more
    t.forget()
    t.gets(at=ms(200), ack=D + 5 * MSS, sack=blocks((6, 11)))
    assert t.host.count.tcp_lost_retransmit == 0
    t.gets(at=ms(200), ack=D + 11 * MSS)
    assert t.sock.total_retrans == 2


def test_a_retransmission_that_answers_too_soon_is_no_measure() -> None:
    t = in_flight(10)
    t.gets(at=ms(100), sack=blocks((1, 4)))
    t.sends(at=ms(100), seq=D)
    before = t.sock.rack_rtt_ns
    t.gets(at=ms(105), ack=D + 4 * MSS)  # 5 ms after it: that was the original
    assert t.sock.rack_rtt_ns == before == ms(100)


# The window adapts, section 6.2 step 4.


def test_a_d_sack_widens_the_window_by_a_step() -> None:
    t = in_flight(10, waiting=0)
    reordering(t)
    t.gets(at=ms(100), sack=blocks((1, 4)))
    t.sends_nothing(until=ms(126))
    t.sends(at=ms(127), seq=D)
    t.gets(at=ms(130), ack=D + 4 * MSS)  # it had only been late
    t.forget()
    t.gets(at=ms(228), ack=D + 6 * MSS, sack=blocks((0, 1)))
    assert t.host.count.tcp_dsack_recv_segs == 1
    assert t.sock.rack_steps == 2 and t.sock.rack_persist >= rack.PERSISTENCE
    assert rack.reordering_window(t.sock) == ms(50)


def test_no_step_where_the_window_is_static() -> None:
    t = in_flight(10)
    t.sysctls.tcp_recovery = 0x1 | rack.STATIC_WINDOW
    reordering(t)
    t.gets(at=ms(100), sack=blocks((1, 4)))
    t.run(ms(127))
    t.gets(at=ms(130), ack=D + 4 * MSS)
    t.gets(at=ms(228), ack=D + 6 * MSS, sack=blocks((0, 1)))
    assert t.sock.rack_steps == 1


def test_the_window_is_no_wider_than_a_smoothed_rtt() -> None:
    t = in_flight(10)
    reordering(t)
    t.sock.rack_steps = 100
    assert rack.reordering_window(t.sock) == t.sock.srtt_ns == ms(100)


def test_the_window_shrinks_after_sixteen_recoveries() -> None:
    t = in_flight(10, waiting=400)
    t.sock.reord_seen = 1
    t.sock.rack_steps = 3
    t.sock.rack_persist = 16
    at = 0
    for recovery in range(16):
        assert t.sock.rack_steps == 3, recovery
        una = int(t.sock.snd_una - t.sock.iss - 1) // MSS
        nxt = int(t.sock.snd_nxt - t.sock.iss - 1) // MSS
        at += 100
        t.gets(at=ms(at), ack=D + una * MSS, sack=blocks((una + 1, nxt)))
        at += 80
        t.run(ms(at))
        assert t.sock.ca_state == RECOVERY
        nxt = int(t.sock.snd_nxt - t.sock.iss - 1) // MSS
        at += 100
        t.gets(at=ms(at), ack=D + nxt * MSS)
        assert t.sock.ca_state == OPEN
    assert t.sock.rack_persist == 0
    nxt = int(t.sock.snd_nxt - t.sock.iss - 1) // MSS
    t.gets(at=ms(at + 100), ack=D + nxt * MSS)
    assert t.sock.rack_steps == 1
