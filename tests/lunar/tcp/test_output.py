"""Sending: segmentation, PSH, Nagle, cork, windows, probes, the send buffer."""

from __future__ import annotations

import errno

from tcp_scenario import ACK, FIN, LOCAL, MSS, PSH, REMOTE, Scenario, established, ms, s

from lunar.net.sock import POLLOUT
from lunar.tcp import sockopt
from lunar.tcp.sender import records


def test_a_write_is_cut_into_full_segments() -> None:
    t = established()
    assert t.write(b"x" * 3000) == 3000
    t.sends(at=0, seq=LOCAL + 1, size=MSS, flags=ACK)
    t.sends(at=0, seq=LOCAL + 1 + MSS, size=MSS, flags=ACK | PSH)  # the end of a record of tcp_min_tso_segs segments
    t.sends(at=0, seq=LOCAL + 1 + 2 * MSS, size=80, flags=ACK | PSH)


def test_payload_of_one_segment_is_the_object_that_was_written() -> None:
    t = established()
    data = b"hello world"
    t.write(data)
    assert t.sends(at=0).payload is data


def test_initial_window_is_ten_segments() -> None:
    t = established()
    t.write(b"x" * 20_000)
    for _ in range(10):
        t.sends(at=0, size=MSS)
    t.sends_nothing(until=ms(299))


def test_nagle_holds_a_second_small_segment() -> None:
    t = established()
    t.write(b"a")
    t.write(b"b")
    t.write(b"c")
    t.sends(at=0, data=b"a")
    t.sends_nothing(until=ms(99))
    t.gets(at=ms(100), ack=LOCAL + 2)
    t.sends(at=ms(100), data=b"bc", flags=ACK | PSH)


def test_nagle_lets_a_small_segment_follow_full_ones() -> None:
    t = established()
    t.write(b"x" * (MSS + 1))  # Minshall: only a small one in flight holds a small one
    t.sends(at=0, size=MSS)
    t.sends(at=0, size=1)


def test_nodelay() -> None:
    t = established()
    t.sock.nodelay = True
    t.write(b"a")
    t.write(b"b")
    t.sends(at=0, data=b"a")
    t.sends(at=0, data=b"b")


def test_setting_nodelay_sends_what_was_held() -> None:
    t = established()
    t.write(b"a")
    t.write(b"b")
    t.forget()
    sockopt.set_nodelay(t.sock, True)
    t.sends(at=0, data=b"b")


def test_cork_holds_until_it_is_pulled() -> None:
    t = established()
    sockopt.set_cork(t.sock, True)
    t.write(b"a")
    t.write(b"b" * MSS)
    t.sends(at=0, size=MSS)
    t.sends_nothing(until=0)
    sockopt.set_cork(t.sock, False)
    t.sends(at=0, size=1)


def test_cork_holds_for_one_timeout_at_most() -> None:
    t = established()
    sockopt.set_cork(t.sock, True)
    t.write(b"a")
    t.sends(at=ms(300), data=b"a")


def test_more_to_come() -> None:
    t = established()
    t.write(b"a", more=True)
    t.sends_nothing(until=0)
    t.write(b"b")
    t.sends(at=0, data=b"ab", flags=ACK | PSH)


def test_peers_window_bounds_what_is_sent() -> None:
    t = established(window=3 * MSS + 100)
    t.write(b"x" * 10_000)
    for _ in range(3):
        t.sends(at=0, size=MSS)
    t.sends_nothing(until=ms(50))  # no 100 bytes: silly-window avoidance
    t.gets(at=ms(60), ack=LOCAL + 1 + MSS, window=3 * MSS + 100)
    t.sends(at=ms(60), size=MSS)
    t.sends(at=ms(60), size=100)  # behind a full one Linux fills the window
    t.gets(at=ms(61), ack=LOCAL + 1 + 2 * MSS, window=2 * MSS + 100)
    t.sends_nothing(until=ms(62))


def test_against_a_tiny_window_half_of_it_is_a_full_segment() -> None:
    t = established(window=1000)
    t.write(b"x" * 2000)
    t.sends(at=0, size=500)
    t.sends(at=0, size=500)
    t.sends_nothing(until=ms(10))


def closed_window() -> Scenario:
    """The peer has acknowledged 10 bytes and closed its window; 20 more wait."""
    t = established()
    t.write(b"x" * 10)
    t.sends(at=0)
    t.gets(at=ms(100), ack=LOCAL + 11, window=0)
    t.write(b"y" * 20)
    t.sends_nothing(until=ms(100))
    return t


def test_zero_window_probes_back_off() -> None:
    t = closed_window()
    # SRTT 100 ms, mdev fell: RTO is 300 ms. Each interval is twice the one before.
    assert t.sock.info().rto_ns == ms(300)
    at = 100
    for interval in (300, 600, 1200, 2400, 4800):
        at += interval
        t.sends(at=ms(at), seq=LOCAL + 10, size=0, flags=ACK)  # an old sequence number makes the peer answer
    t.sends_nothing(until=ms(at + 9599))


def test_answered_probes_go_on_for_ever() -> None:
    t = closed_window()
    for _ in range(40):
        t.run(t.now + s(120))
        if t.forget():
            t.gets(at=t.now, ack=LOCAL + 11, window=0)
    assert t.sock.state == 1
    t.run(t.now + s(240))
    assert t.forget() == 2  # every 120 s


def test_unanswered_probes_end_in_a_timeout() -> None:
    t = closed_window()
    t.run(s(2000))
    assert t.forget() == 15
    assert t.sock.take_error() == errno.ETIMEDOUT
    assert t.live_events() == 0


def test_opened_window_sends_at_once() -> None:
    t = closed_window()
    t.sends(at=ms(400))
    t.gets(at=ms(450), ack=LOCAL + 11, window=1000)
    t.sends(at=ms(450), data=b"y" * 20)


def test_probe_carries_what_a_small_window_takes() -> None:
    t = closed_window()
    t.gets(at=ms(150), ack=LOCAL + 11, window=5)
    t.sends(at=ms(450), data=b"y" * 5)  # 300 ms after the last word of the peer


def test_reset_window_edge_is_not_sent_beyond() -> None:
    t = established()
    t.write(b"x" * 100)
    t.sends(at=0)
    t.gets(at=ms(1), window=0)  # the peer takes its window back
    t.sends(at=ms(300), seq=LOCAL + 1, size=100)  # the first segment is the probe


def test_send_buffer_takes_part_of_a_write() -> None:
    t = established()
    # 2 * 10 segments of 4096 + 256 bytes
    assert t.sock.sndbuf == 87_040
    # Records are gathered up to 22 segments, the most in half of the peer's window. The first gives ten of them away in
    # five records as it grows; then there are 46,720 bytes in six records, at 832 bytes each: another may begin; and
    # one more at 78,840 + 7 * 832. The third is beyond the limit.
    assert t.write(b"x" * 200_000) == 14_600 + 3 * 32_120
    assert t.write(b"x") == -errno.EAGAIN
    assert t.sock.poll() == 0


def test_space_is_told_when_a_third_is_free() -> None:
    t = established()
    t.sock.sndbuf = 30_000
    t.sock.sndbuf_locked = True
    assert t.write(b"x" * 60_000) == 14_600 + 32_120
    for count in range(1, 22):
        t.gets(at=ms(100), ack=LOCAL + 1 + count * MSS)
    assert t.woken == []  # 11 of 32 segments are left, in 6 records: 21,052 bytes
    t.gets(at=ms(100), ack=LOCAL + 1 + 22 * MSS)
    assert t.woken == [POLLOUT]  # 10 in 5: 18,760
    t.gets(at=ms(100), ack=LOCAL + 1 + 23 * MSS)
    assert t.woken == [POLLOUT]


def test_send_buffer_grows_with_the_congestion_window() -> None:
    t = established()
    assert t.write(b"x" * 200_000) == 110_960
    t.gets(at=ms(100), ack=LOCAL + 1 + 10 * MSS)
    # 10 segments acknowledged in slow start: cwnd 20, of which all is filled; no growth while cwnd is the limit.
    assert t.sock.cwnd == 20 and t.sock.sndbuf == 87_040
    t.gets(at=ms(200), ack=LOCAL + 1 + 30 * MSS)
    t.gets(at=ms(300), ack=LOCAL + 1 + 70 * MSS)
    # cwnd 80 at last, and only 6 segments are left to send.
    assert t.sock.cwnd == 80 and t.sock.sndbuf == 2 * 80 * 4352


def test_fin_rides_on_the_last_data() -> None:
    t = established()
    sockopt.set_cork(t.sock, True)
    t.write(b"bye")
    t.sock.shutdown(1)
    t.sends(at=0, data=b"bye", flags=ACK | PSH | FIN)


def test_fin_waits_for_the_window() -> None:
    t = established(window=3)
    t.write(b"abc")
    t.sock.shutdown(1)
    t.sends(at=0, data=b"abc")
    t.gets(at=ms(10), ack=LOCAL + 4, window=0)
    t.sends_nothing(until=ms(11))
    t.gets(at=ms(20), ack=LOCAL + 4, window=1)
    t.sends(at=ms(20), seq=LOCAL + 4, size=0, flags=ACK | FIN)


def test_acknowledgment_of_what_was_not_sent_is_dropped_with_an_answer() -> None:
    t = established()
    t.gets(at=0, ack=LOCAL + 100, data=b"abc")
    assert t.read() is None and t.sock.recv_errno == errno.EAGAIN
    t.sends(at=0, ack=REMOTE + 1, flags=ACK)
    t.gets(at=0, ack=LOCAL + 100, data=b"abc")
    t.sends_nothing(until=s(1))  # not more than one in 500 ms


def test_sequence_numbers_wrap() -> None:
    t = established()
    # The peer's are in test_receive.
    # Move the sender close to the wrap by hand: the numbers inside do not wrap, those on the wire do.
    shift = (1 << 32) - (t.iss & 0xFFFF_FFFF) - 1000
    for name in ("iss", "snd_una", "snd_nxt", "write_seq", "push_seq", "high_seq", "small_end", "acked_from"):
        setattr(t.sock, name, getattr(t.sock, name) + shift)
    t.iss += shift
    t.write(b"x" * 2 * MSS)
    first, second = t.sends(at=0), t.sends(at=0)
    assert first.seq == (1 << 32) - 999 and second.seq == MSS - 999
    t.gets(at=ms(100), ack=LOCAL + 1 + 2 * MSS)
    total = t.sock.info().bytes_acked
    assert total == 1 + 2 * MSS and t.sock.info().unacked == 0


# Records of several segments.


def gso(window: int = 65535, mss: int = 1460, rtt: int = ms(100)) -> Scenario:
    """A device that takes records whole."""
    t = established(window=window, mss=mss, rtt=rtt)
    t.host.device.gso = True
    return t


def test_a_device_that_cuts_gets_the_whole_record() -> None:
    t = gso(mss=1000, rtt=1000)  # 1 us: the pacing rate allows 64 KiB
    t.write(b"x" * 10_400)
    segment = t.sends(at=0, seq=LOCAL + 1, size=5000, flags=ACK | PSH)  # no more than half of cwnd at once
    assert segment.gso_bytes == 1000
    t.sends(at=0, seq=LOCAL + 5001, size=5000, flags=ACK | PSH)
    assert t.sock.info().unacked == 10
    t.sends_nothing(until=0)


def test_how_much_goes_at_once_follows_the_pacing_rate() -> None:
    t = gso(mss=1000)  # 200% of 10 segments in 100 ms is 200 kB/s, or 195 bytes in a 1024th of a second: the least is 2
    t.write(b"x" * 10_000)
    for _ in range(5):
        t.sends(at=0, size=2000)


def test_part_of_a_record_is_acknowledged() -> None:
    t = gso(mss=1000)
    t.host.tcp.tables.sysctls.tcp_min_tso_segs = 5
    t.write(b"x" * 10_000)
    assert t.forget() == 2
    t.gets(at=ms(100), ack=LOCAL + 1 + 2500)
    assert t.sock.info().unacked == 8  # 500 bytes of the third segment are still a segment
    assert t.sock.info().srtt_ns == ms(100)
    t.gets(at=ms(110), ack=LOCAL + 1 + 5000)
    assert t.sock.info().unacked == 5


def test_split_keeps_the_counts_true() -> None:
    t = gso(mss=1000)
    t.host.tcp.tables.sysctls.tcp_min_tso_segs = 5
    t.write(b"abcde" * 1000)
    sock = t.sock
    sock.lost_out = 5
    sock.sent[0].marks = 2
    records.split(sock, 0, 1500)
    cut = [(r.seq - t.iss, len(r.payload), r.segs, r.marks) for r in sock.sent]
    assert cut == [(1, 1500, 2, 2), (1501, 3500, 4, 2)]
    assert (sock.packets_out, sock.lost_out, sock.retrans_out) == (6, 6, 0)
    records.split(sock, 1, 2000)
    assert [r.segs for r in sock.sent] == [2, 2, 2]
    assert b"".join(r.payload for r in sock.sent) == b"abcde" * 1000
    assert sock.sent[2].flags == ACK | PSH and sock.sent[0].flags == ACK


def test_a_retransmission_is_one_segment_of_a_record() -> None:
    t = gso(mss=1000)
    t.host.tcp.tables.sysctls.tcp_min_tso_segs = 5
    t.write(b"x" * 5000)
    t.sends(at=0, size=5000)
    t.sends(at=ms(300), seq=LOCAL + 1, size=1000, flags=ACK)
    info = t.sock.info()
    assert (info.unacked, info.lost, info.retrans) == (5, 5, 1)


def test_what_is_left_of_a_record_grows_from_the_next() -> None:
    t = gso(mss=1000, rtt=1000, window=20_000)
    t.write(b"x" * 30_000)  # records of 10,000, of which the first two gave half to each of two that went
    t.forget()
    t.gets(at=ms(1), ack=LOCAL + 10_001, window=20_000)
    t.sends(at=ms(1), seq=LOCAL + 10_001, size=10_000)
    t.sends(at=ms(1), seq=LOCAL + 20_001, size=10_000)


def test_the_end_of_a_record_is_kept() -> None:
    t = gso(mss=1000)
    t.sock.nodelay = True
    t.sock.cwnd = 1
    t.write(b"z")
    t.forget()
    assert t.sock.send(b"x" * 400, False, False, True) == 400
    assert t.sock.send(b"y" * 400, False, False, True) == 400
    t.write(b"w" * 500)
    t.sock.cwnd = 10
    t.gets(at=ms(100), ack=LOCAL + 2)
    t.sends(at=ms(100), data=b"x" * 400, flags=ACK | PSH)
    t.sends(at=ms(100), data=b"y" * 400, flags=ACK | PSH)
    t.sends(at=ms(100), data=b"w" * 500, flags=ACK | PSH)


def test_a_record_waits_for_more_when_the_next_ack_is_near() -> None:
    t = gso(mss=1000)
    t.host.tcp.tables.sysctls.tcp_min_tso_segs = 5
    t.write(b"x" * 30_000)
    t.forget()
    t.gets(at=ms(100), ack=LOCAL + 1001)
    t.sends(at=ms(100), seq=LOCAL + 10_001, size=2000)  # the sender was idle: at once
    t.gets(at=ms(100), ack=LOCAL + 2001)
    # 2000 bytes could go: less than a third of cwnd, and what is out longest has been so for an RTT.
    t.sends_nothing(until=ms(100))
    t.gets(at=ms(100), ack=LOCAL + 4001)
    t.sends(at=ms(100), seq=LOCAL + 12_001, size=5000)


def test_window_taken_back_is_respected() -> None:
    t = established(window=10_000)
    t.write(b"x" * 20_000)
    assert sum(len(segment.payload) for _, segment in t.medium.sent) == 10_000
    t.forget()
    # The edge moves left, behind what was sent: nothing new goes out, and what is in flight can be acknowledged.
    t.gets(at=ms(100), ack=LOCAL + 1 + 1460, window=2000)
    t.sends_nothing(until=ms(100))
    t.gets(at=ms(101), ack=LOCAL + 1 + 10_000, window=2000)
    assert t.sock.snd_una - t.sock.iss == 1 + 10_000
    sent = t.sends(at=ms(101), seq=LOCAL + 10_001)
    assert len(sent.payload) <= 2000


def test_a_retransmission_takes_small_records_that_follow_along() -> None:
    t = established()
    t.sock.nodelay = True
    for data in (b"a" * 100, b"b" * 100, b"c" * 100):
        t.write(data)
    t.forget()
    t.run(ms(300))
    t.sends(at=ms(300), data=b"a" * 100 + b"b" * 100 + b"c" * 100, flags=ACK | PSH)
    info = t.sock.info()
    assert (info.unacked, info.lost, info.retrans) == (1, 1, 1)
    t.gets(at=ms(400), ack=LOCAL + 301)
    assert t.sock.in_flight() == 0


def test_what_ends_with_eor_is_sent_again_alone() -> None:
    t = established()
    t.sock.nodelay = True
    t.sock.send(b"a" * 100, False, False, True)
    t.write(b"b" * 100)
    t.forget()
    t.sends(at=ms(300), data=b"a" * 100)


def test_without_collapse_records_stay_apart() -> None:
    t = established()
    t.tcp.tables.sysctls.tcp_retrans_collapse = 0
    t.sock.nodelay = True
    t.write(b"a" * 100)
    t.write(b"b" * 100)
    t.forget()
    t.sends(at=ms(300), data=b"a" * 100)


def test_a_packet_is_no_larger_than_ips_whatever_goes_at_least() -> None:
    t = established(wscale=10)
    t.host.device.gso = True
    t.sysctls.tcp_min_tso_segs = 0xFFFF
    t.gets(at=0, window=0xFFFF)
    t.sock.sndbuf = 1 << 24
    t.write(b"x" * 600_000)
    t.sock.cwnd = 1000
    t.gets(at=ms(100), ack=LOCAL + 1 + MSS)
    sizes = [int(segment.size_bytes) for _, segment in t.medium.sent]
    assert sum(sizes) > 600_000 and max(sizes) <= 65_535
