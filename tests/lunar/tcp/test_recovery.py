"""Loss and congestion: RTT, RTO, fast retransmit, NewReno, slow start and congestion avoidance, idle restart."""

from __future__ import annotations

import errno

from tcp_scenario import ACK, LOCAL, MSS, PSH, REMOTE, Scenario, established, ms, s

from lunar.net.route import Route
from lunar.packet import IcmpMessage
from lunar.tcp.congestion import CongestionControl
from lunar.tcp.tcb import DISORDER, LOSS, OPEN, RECOVERY, Tcb

D = LOCAL + 1  # the first byte of data


def in_flight(segments: int, window: int = 65535, sack: bool = False, timestamps: bool = False) -> Scenario:
    """`segments` full segments were sent at 0, and as many again wait; cwnd is `segments`, the window is in KiB."""
    t = established(wscale=10, sack=sack, timestamps=timestamps)
    t.gets(at=0, window=window)
    t.sock.cwnd = segments
    t.sock.sndbuf = 4_000_000
    assert t.write(b"x" * (2 * segments * MSS)) == 2 * segments * MSS
    assert t.forget() == segments
    return t


# Round-trip time, RFC 6298.


def test_rtt_is_smoothed() -> None:
    t = established()  # R = 100 ms: SRTT 100, 4 * RTTVAR 200, floored at 200
    t.write(b"x")
    t.gets(at=ms(180), ack=D + 1)  # R' = 180: error 80; SRTT = 100 + 80/8; RTTVAR*4 = 200 + (4*80 - 200)/4 = 230
    info = t.sock.info()
    assert info.srtt_ns == ms(110)
    assert info.rto_ns == ms(110 + 230)


def test_falling_rtt_raises_the_variance_little() -> None:
    t = established(rtt=ms(400))  # SRTT 400, 4 * RTTVAR 800
    t.write(b"x")
    t.gets(at=ms(10), ack=D + 1)  # error -390: 4 * 390 > 800, by an eighth of a quarter: 800 + (1560 - 800)/32
    assert t.sock.info().srtt_ns == ms(400) - ms(390) // 8
    assert t.sock.info().rto_ns == t.sock.info().srtt_ns + ms(823.75)


def test_rto_never_falls_below_srtt_and_200_ms() -> None:
    t = established(rtt=ms(10))
    for turn in range(100):
        t.write(b"x")
        t.gets(at=ms(10) * (turn + 1), ack=D + turn + 1)
    assert t.sock.info().srtt_ns == ms(10)
    assert t.sock.info().rto_ns == ms(210)


def test_karn_retransmitted_segments_are_not_measured() -> None:
    t = established()
    t.write(b"x")
    t.run(ms(300))  # sent again
    t.gets(at=ms(350), ack=D + 1)
    assert t.sock.info().srtt_ns == ms(100)
    assert t.sock.info().rto_ns == ms(600)  # and the backoff stays until something is measured
    t.write(b"y")
    t.gets(at=ms(450), ack=D + 2)
    assert t.sock.info().rto_ns == ms(300)



def test_timestamps_measure_retransmitted_segments() -> None:
    t = established(timestamps=True)
    t.write(b"x")
    first = t.sends(at=0)
    t.sends(at=ms(300))
    t.gets(at=ms(350), ack=D + 1, ts_ecr=int(first.ts_val))  # it was the first one: 350 ms
    assert t.sock.info().srtt_ns == ms(100) + ms(250) // 8


# Timeout.


def test_retransmission_times_double() -> None:
    t = established()
    t.write(b"abc")
    t.sends(at=0)
    at = 0
    for interval in (300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 76800, 120_000, 120_000):
        at += interval
        t.sends(at=ms(at), seq=D, data=b"abc", flags=ACK | PSH)


def test_connection_gives_up_after_15_retries() -> None:
    # 924.6 s is the least for 15 retries (RTO 200 ms); it ends with the first timeout 924.6 s after the first one:
    # 0.3 + 0.6 + ... + 76.8 = 153.3 s, then each 120 s: 0.3 + 924.6 lies before 153.3 + 7 * 120 = 993.3 s.
    t = established()
    t.write(b"abc")
    t.run(ms(993_300) - 1)
    assert t.sock.error == 0
    t.run(ms(993_300))
    assert t.sock.take_error() == errno.ETIMEDOUT
    assert t.live_events() == 0


def test_timeout_falls_to_one_segment_and_slow_starts() -> None:
    t = in_flight(10)
    t.sysctls.tcp_frto = 0
    t.sends(at=ms(300), seq=D, size=MSS)
    info = t.sock.info()
    assert (info.cwnd, info.ssthresh, info.ca_state) == (1, 5, LOSS)
    assert (info.lost, info.retrans, info.unacked) == (10, 1, 10)
    t.gets(at=ms(400), ack=D + MSS)  # cwnd 2
    t.sends(at=ms(400), seq=D + MSS)
    t.sends(at=ms(400), seq=D + 2 * MSS)
    t.gets(at=ms(500), ack=D + 3 * MSS)  # cwnd 4
    for number in (3, 4, 5, 6):
        t.sends(at=ms(500), seq=D + number * MSS, size=MSS)
    t.sends_nothing(until=ms(500))


def test_timeout_ends_when_more_than_all_of_the_window_is_acknowledged() -> None:
    t = in_flight(10)
    t.sends(at=ms(300), seq=D)
    t.gets(at=ms(310), ack=D + 10 * MSS)  # only the ACKs had been lost
    assert t.sock.ca_state == LOSS  # RFC 6582 (4.1): until then duplicates may be of our own making
    assert t.sock.info().lost == 0
    # slow start to ssthresh 5, then congestion avoidance: 10 acknowledged, 4 make it 5, of 6 the next window takes 5
    assert t.sock.cwnd == 6
    assert t.forget() == 6
    t.gets(at=ms(410), ack=D + 11 * MSS)
    assert t.sock.ca_state == OPEN


def test_second_timeout_does_not_halve_again() -> None:
    t = in_flight(10)
    t.run(ms(1000))
    assert t.sock.info().ssthresh == 5 and t.sock.info().retransmits == 2


def test_duplicates_after_a_timeout_do_not_start_fast_retransmit() -> None:
    t = in_flight(10)
    t.sends(at=ms(300), seq=D)
    t.gets(at=ms(310), ack=D + 10 * MSS)
    t.forget()
    for _ in range(4):
        t.gets(at=ms(311), ack=D + 10 * MSS)  # from our own unnecessary retransmissions
    assert t.sock.ca_state != RECOVERY and t.host.count.tcp_fast_retrans == 0


# Fast retransmit and NewReno.


def test_third_duplicate_ack_retransmits() -> None:
    t = in_flight(10)
    t.gets(at=ms(100), ack=D)
    t.gets(at=ms(102), ack=D)
    # RFC 3042: one new segment for each of the first two. (Within 1 ms the second would wait for more: TSO deferral.)
    t.sends(at=ms(100), seq=D + 10 * MSS)
    t.sends(at=ms(102), seq=D + 11 * MSS)
    assert t.sock.ca_state == DISORDER
    t.gets(at=ms(104), ack=D)
    t.sends(at=ms(104), seq=D, size=MSS)
    info = t.sock.info()
    # 12 are out, 3 of which have left, and one is lost. cwnd lets one more go, and comes down to 5 with what arrives.
    assert (info.ca_state, info.ssthresh, info.cwnd) == (RECOVERY, 5, 9)
    t.sends_nothing(until=ms(104))


def test_new_data_is_sent_in_recovery_for_every_second_duplicate() -> None:
    t = in_flight(10)
    for at in (100, 102, 104):
        t.gets(at=ms(at), ack=D)
    t.forget()
    # RFC 6937 (3): ssthresh is half of cwnd, so one is sent for each two that arrive: ceil(5 * delivered / 10) in all.
    for delivered in range(2, 7):
        t.gets(at=ms(104 + delivered), ack=D)
        if delivered in (3, 5):
            t.sends(at=ms(104 + delivered), seq=D + (11 + delivered // 2) * MSS)
        t.sends_nothing(until=ms(104 + delivered))
    # 14 are out, 9 have left, one is lost and was sent again: 5 in flight after the next. From then on, one for one.
    t.gets(at=ms(111), ack=D)
    t.sends_nothing(until=ms(111))
    t.gets(at=ms(112), ack=D)
    t.sends(at=ms(112), seq=D + 14 * MSS)


def test_full_ack_ends_recovery() -> None:
    t = in_flight(10)
    for _ in range(9):
        t.gets(at=ms(100), ack=D)
    t.forget()
    recover = D + int(t.sock.high_seq - t.sock.snd_una)
    t.gets(at=ms(200), ack=recover)
    assert t.sock.ca_state == RECOVERY and t.sock.ssthresh == 5  # held until something above is acknowledged
    assert t.sock.info().lost == t.sock.info().sacked == t.sock.info().retrans == 0
    t.gets(at=ms(300), ack=recover + MSS)
    assert t.sock.ca_state == OPEN
    assert t.sock.cwnd == 5


def test_partial_ack_retransmits_the_next_hole() -> None:
    t = in_flight(10)  # segments 0 and 4 are lost
    for _ in range(3):
        t.gets(at=ms(100), ack=D)
    t.forget()
    for _ in range(5):
        t.gets(at=ms(101), ack=D)
    t.forget()
    t.gets(at=ms(200), ack=D + 4 * MSS)
    t.sends(at=ms(200), seq=D + 4 * MSS, size=MSS)
    assert t.sock.ca_state == RECOVERY
    assert t.host.count.tcp_reno_recovery == 1 and t.host.count.tcp_fast_retrans == 2
    assert t.sock.info().ssthresh == 5


def test_window_updates_are_no_duplicates() -> None:
    t = in_flight(10, window=1000)
    for shift in range(5):
        t.gets(at=ms(100), ack=D, window=1001 + shift)
    assert t.sock.ca_state == OPEN


def test_data_segments_are_no_duplicates() -> None:
    t = in_flight(10)
    for count in range(5):
        t.gets(at=ms(100), seq=REMOTE + 1 + count, ack=D, data=b"x")
    assert t.sock.ca_state == OPEN


def test_lost_retransmission_times_out() -> None:
    t = in_flight(10)
    for _ in range(3):
        t.gets(at=ms(100), ack=D)
    t.forget()
    t.sends_nothing(until=ms(399))  # the timer starts again with the retransmission at 100 ms
    t.sends(at=ms(400), seq=D)
    assert t.sock.ca_state == LOSS and t.sock.ssthresh == 5  # no second reduction in the same window


# Window growth.


def test_slow_start_doubles_each_round_trip() -> None:
    t = in_flight(10)
    at = D
    t.gets(at=ms(100), ack=at + 10 * MSS)
    assert t.sock.cwnd == 20
    t.write(b"x" * 100 * MSS)
    assert t.forget() == 20
    t.gets(at=ms(200), ack=at + 30 * MSS)
    assert t.sock.cwnd == 40


def test_congestion_avoidance_adds_one_each_window() -> None:
    t = in_flight(10)
    t.sock.ssthresh = 10
    t.write(b"x" * 100 * MSS)
    for count in range(1, 10):
        t.gets(at=ms(100), ack=D + count * MSS)
        assert t.sock.cwnd == 10
    t.gets(at=ms(100), ack=D + 10 * MSS)
    assert t.sock.cwnd == 11
    for count in range(11, 21):
        t.gets(at=ms(200), ack=D + count * MSS)
        assert t.sock.cwnd == 11
    t.gets(at=ms(200), ack=D + 21 * MSS)
    assert t.sock.cwnd == 12


def test_unused_window_does_not_grow() -> None:
    t = established()
    for turn in range(50):
        t.write(b"x" * MSS)
        t.gets(at=ms(100) * (turn + 1), ack=D + (turn + 1) * MSS)
    assert t.sock.cwnd == 10


def test_idle_connection_starts_again() -> None:
    t = in_flight(40)
    t.gets(at=ms(100), ack=D + 40 * MSS)
    t.gets(at=ms(200), ack=D + 80 * MSS)
    assert t.sock.cwnd == 80  # the last window was not filled
    rto = t.sock.info().rto_ns
    last_sent = ms(100)
    t.run(last_sent + 3 * rto)  # halved once for each RTO after the first
    t.forget()
    t.write(b"x" * 100 * MSS)
    assert t.sock.cwnd == 20
    assert t.forget() == 20
    assert t.sock.ssthresh > 1 << 20


def test_long_idle_connection_starts_at_ten() -> None:
    t = in_flight(40)
    t.gets(at=ms(100), ack=D + 40 * MSS)
    t.gets(at=ms(200), ack=D + 80 * MSS)
    t.forget()
    t.run(s(60))
    t.write(b"x" * 100 * MSS)
    assert t.forget() == 10


def test_program_can_bring_its_own_congestion_control() -> None:
    class Fixed(CongestionControl):
        name = "fixed"

        def on_ack(self, tcb: Tcb, acked: int) -> None:
            tcb.set_cwnd(7)

        def on_loss(self, tcb: Tcb) -> int:
            return 7

    t = in_flight(10)
    t.sock.congestion = Fixed()
    t.gets(at=ms(100), ack=D + MSS)
    assert t.sock.cwnd == 7


def test_lost_syn_lowers_the_initial_window() -> None:
    t = Scenario()
    t.connect()
    t.run(s(3))  # sent three times
    t.gets(at=s(3), seq=REMOTE, ack=LOCAL + 1, flags=0x12, mss=1460)
    assert t.sock.cwnd == 1
    assert t.sock.info().rto_ns == s(3)  # RFC 6298 (5.7): nothing could be measured


def test_path_mtu_makes_segments_smaller() -> None:
    t = established()
    t.write(b"x" * 2 * MSS)
    first = t.sends(at=0, size=MSS)
    t.forget()
    quote = (4000).to_bytes(2, "big") + (80).to_bytes(2, "big") + int(first.seq).to_bytes(4, "big")
    message = IcmpMessage(2, 0, 0, 3, 4, 1280, b"")
    t.tcp.error(message, errno.EMSGSIZE, False, 0x0A00_0001, 0x0A00_0002, quote)
    t.sends(at=0, seq=D, size=1240)
    t.sends(at=0, seq=D + 1240, size=1240)
    t.sends(at=0, seq=D + 2480, size=440, flags=ACK | PSH)  # it was one record of two segments
    assert t.sock.info().unacked == 3
    t.gets(at=ms(100), ack=D + 2 * MSS)
    assert t.sock.in_flight() == 0 and t.live_events() == 0


def test_partly_acknowledged_segment_is_trimmed_when_sent_again() -> None:
    t = established()
    t.write(b"abcdef")
    t.sends(at=0)
    t.gets(at=ms(100), ack=D + 2)
    t.run(ms(500))
    t.sends(at=t.medium.sent[0][0] - t.start, seq=D + 2, data=b"cdef")


def test_timeout_looks_the_route_up_again() -> None:
    t = established()
    t.write(b"abc")
    t.sends(at=0)
    t.host.ip.inet.routes.remove(0x0A00_0000, 24, 0, None)
    t.sends_nothing(until=ms(300))
    t.host.ip.inet.routes.add(Route(0x0A00_0000, 24, 0, t.host.device, 0, 0))
    t.sends(at=ms(900), seq=D, data=b"abc")


def test_lowered_device_mtu_makes_segments_smaller() -> None:
    t = established()
    t.write(b"x" * MSS)
    t.sends(at=0)
    t.host.device.mtu = 1000
    t.sends_nothing(until=ms(300))
    t.sends(at=ms(900), seq=D, size=960)
    t.gets(at=ms(1000), ack=D + 960)
    t.sends(at=ms(1000), seq=D + 960, size=500)
    t.gets(at=ms(1100), ack=D + MSS)
    assert t.sock.in_flight() == 0 and t.live_events() == 0


def thin() -> Scenario:
    """One segment in flight at 1 s, on a connection that has had a timeout; RTO 300 ms."""
    t = established()
    t.sock.ssthresh = 10
    t.run(s(1))
    t.write(b"abc")
    t.sends(at=s(1))
    return t


def test_thin_stream_does_not_back_off_where_it_is_asked_to() -> None:
    t = thin()
    t.sysctls.tcp_thin_linear_timeouts = 1
    for number in range(1, 8):
        t.sends(at=s(1) + number * ms(300), data=b"abc")
    t.sends(at=s(1) + 7 * ms(300) + ms(600), data=b"abc")  # after six it does


def test_option_makes_one_stream_thin() -> None:
    t = thin()
    t.sock.thin_linear = True
    for number in range(1, 4):
        t.sends(at=s(1) + number * ms(300), data=b"abc")


def test_thick_stream_backs_off() -> None:
    t = in_flight(10)
    t.sysctls.tcp_thin_linear_timeouts = 1
    t.sends(at=ms(300), seq=D)
    t.sends(at=ms(900), seq=D)


def test_timeouts_are_counted_with_their_time() -> None:
    t = in_flight(10)
    t.sends(at=ms(300), seq=D)
    t.sends(at=ms(900), seq=D)
    t.gets(at=ms(1000), ack=D + 10 * MSS)
    t.gets(at=ms(1100), ack=D + 11 * MSS)
    info = t.sock.info()
    assert (info.total_rto, info.total_rto_recoveries) == (2, 1)
    assert info.total_rto_time_ns == ms(1100 - 300)


def test_variance_term_has_a_floor_that_can_be_set() -> None:
    t = Scenario()
    t.sysctls.tcp_rto_min_us = 50_000
    t.connect()
    t.start = ms(10)
    t.gets(at=0, seq=REMOTE, ack=LOCAL + 1, flags=0x12, mss=1460)
    assert t.sock.info().rto_ns == ms(10 + 50)


def test_timer_runs_while_something_is_in_flight() -> None:
    t = established()
    assert t.sock.retransmit_timer.at_ns == 0
    t.write(b"x" * 2 * MSS)
    assert t.sock.retransmit_timer.at_ns == t.start + ms(300)  # RFC 6298 (5.1)
    t.gets(at=ms(100), ack=D + MSS)
    assert t.sock.retransmit_timer.at_ns == t.start + ms(400)  # (5.3)
    t.gets(at=ms(150), ack=D + MSS)
    assert t.sock.retransmit_timer.at_ns == t.start + ms(400)  # nothing new: it goes on
    t.gets(at=ms(200), ack=D + 2 * MSS)
    assert t.sock.retransmit_timer.at_ns == 0  # (5.2)
    assert t.live_events() == 0


def test_without_sack_nothing_is_kept_of_what_was_sent_again() -> None:
    """Only RACK asks for it, which needs SACK."""
    t = in_flight(10, sack=False)
    for _ in range(3):
        t.gets(at=ms(100))
    assert t.sock.retrans_out == 1 and not t.sock.resent


def test_what_a_retransmission_took_along_is_not_found_lost() -> None:
    """The tail was repeated as a probe, and then became part of the head: what is in flight is one segment."""
    t = established(sack=True)
    t.sock.nodelay = True
    t.write(b"a" * 100)
    t.write(b"b" * 100)
    t.run(ms(202))
    t.sends(at=0, data=b"a" * 100)
    t.sends(at=0, data=b"b" * 100)
    t.sends(at=ms(202), data=b"b" * 100)  # the probe
    assert len(t.sock.resent) == 1
    t.sock.rack_rtt_ns = s(10)  # so that the timeout takes only the first for lost
    at = t.now
    while not t.medium.sent:
        at += ms(1)
        t.run(at)
    t.sends(at=at, data=b"a" * 100 + b"b" * 100)
    assert len(t.sock.sent) == 1 and t.sock.resent == t.sock.sent
