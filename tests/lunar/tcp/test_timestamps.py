"""Timestamps, RFC 7323: when there are any, what they echo, what they measure, and what they protect from."""

from __future__ import annotations

from tcp_scenario import ACK, FIN, LOCAL, MSS, REMOTE, RST, SYN, Scenario, established, ms, s, server

from lunar.tcp import sockopt


def test_every_segment_has_them_once_both_have_offered() -> None:
    t = established(timestamps=True)
    t.write(b"x" * 10)
    assert t.sends(at=0, size=10).has_timestamps
    t.gets(at=ms(1), data=b"y")
    assert t.sends(at=ms(1), size=0).has_timestamps
    t.sock.close()
    fin = t.sends(at=ms(1))
    assert fin.flags & FIN or fin.flags & RST
    assert fin.has_timestamps


def test_none_when_the_peer_did_not_offer() -> None:
    t = established()
    t.write(b"x" * 10)
    assert not t.sends(at=0, size=10).has_timestamps


def test_a_syn_ack_has_them_only_if_the_syn_had() -> None:
    t = server()
    t.gets(at=0, seq=REMOTE, flags=SYN, mss=1460)
    assert not t.sends(at=0, flags=SYN | ACK).has_timestamps


def test_tcp_timestamps_0_offers_none_and_answers_with_none() -> None:
    t = Scenario()
    t.tcp.tables.sysctls.tcp_timestamps = 0
    t.connect()
    assert not t.sends(at=0, flags=SYN).has_timestamps
    t = server()
    t.tcp.tables.sysctls.tcp_timestamps = 0
    t.gets(at=0, seq=REMOTE, flags=SYN, mss=1460, ts_val=7)
    assert not t.sends(at=0, flags=SYN | ACK).has_timestamps


def test_a_segment_without_them_is_taken_as_linux_does() -> None:
    t = established(timestamps=True)
    t.timestamps = False
    t.gets(at=ms(1), data=b"abc")
    assert t.read() == b"abc"


def test_the_clock_ticks_each_millisecond() -> None:
    t = established(timestamps=True)
    t.write(b"x")
    first = t.sends(at=0).ts_val
    t.gets(at=ms(123), ack=LOCAL + 2)
    t.write(b"x")
    assert t.sends(at=ms(123)).ts_val - first == 123


def test_what_is_echoed_is_the_left_edge() -> None:
    t = established(timestamps=True)
    t.gets(at=ms(1), seq=REMOTE + 4, data=b"def", ts_val=1_000_400)
    before = t.sends(at=ms(1)).ts_ecr
    assert before != 1_000_400  # RFC 7323 (4.3), case B: it is beyond a hole
    t.gets(at=ms(2), seq=REMOTE + 1, data=b"abc", ts_val=1_000_300)
    assert t.sends(at=ms(2), ack=REMOTE + 7).ts_ecr == 1_000_300


def test_delayed_acks_echo_the_first_of_what_they_acknowledge() -> None:
    t = established(timestamps=True)
    sockopt.set_quickack(t.sock, False)
    t.sock.quick_acks = 0
    t.gets(at=ms(1), seq=REMOTE + 1, data=b"x" * (MSS - 12), ts_val=1_000_100)
    t.sock.quick_acks = 0
    t.gets(at=ms(2), seq=REMOTE + 1 + MSS - 12, data=b"x" * (MSS - 12), ts_val=1_000_200)
    # RFC 7323 (4.3), case A. The first starts at Last.ACK.sent, the second behind it.
    sent = [segment for _, segment in t.medium.sent]
    assert sent and sent[0].ts_ecr == 1_000_100


def test_a_retransmission_is_measured_by_its_echo() -> None:
    t = established(timestamps=True)
    srtt = int(t.sock.srtt_ns)
    t.write(b"x" * 100)
    t.sends(at=0, size=100)
    second = t.sends(at=int(t.sock.retransmit_timer.at_ns) - t.start, size=100)
    at = t.now + ms(20)
    t.gets(at=at, ack=LOCAL + 101, ts_ecr=int(second.ts_val))
    # RFC 6298 (3): by Karn's rule nothing, but the echo says that it was the second, 20 ms ago.
    assert t.sock.srtt_ns == srtt + (ms(20) - srtt) // 8


def test_an_ack_of_nothing_new_is_not_measured() -> None:
    t = established(timestamps=True)
    srtt = int(t.sock.srtt_ns)
    t.gets(at=s(5), data=b"x")  # the peer was silent for 5 s; its echo is old (RFC 7323 (4.1))
    assert t.sock.srtt_ns == srtt


def test_paws_lets_one_tick_pass() -> None:
    t = established(timestamps=True)
    t.gets(at=ms(1), data=b"abc", ts_val=1_000_100)
    t.gets(at=ms(2), seq=REMOTE + 4, data=b"def", ts_val=1_000_099)
    assert t.read() == b"abcdef"
    t.gets(at=ms(3), seq=REMOTE + 7, data=b"ghi", ts_val=1_000_098)
    assert t.read() is None
    assert t.host.count.tcp_paws_estab == 1


def test_timestamps_wrap() -> None:
    t = established(timestamps=True)
    t.sock.ts_recent = 0xFFFF_FFF0
    t.gets(at=ms(1), data=b"abc", ts_val=0x10)
    assert t.read() == b"abc" and t.sock.ts_recent == 0x10


def test_windows_are_scaled_except_in_a_syn() -> None:
    t = established(window=1000, wscale=7)
    assert t.sock.snd_wnd == 1000  # RFC 7323 (2.2): the SYN-ACK's is not
    t.gets(at=ms(1), data=b"x", window=1000)
    assert t.sock.snd_wnd == 1000 << 7


def test_a_shift_above_14_is_taken_as_14() -> None:
    t = established(window=1000, wscale=20)
    assert t.sock.snd_wscale == 14


def test_no_scaling_unless_both_offer() -> None:
    t = established(window=1000)
    assert (t.sock.snd_wscale, t.sock.rcv_wscale) == (0, 0)
    t = server()
    t.gets(at=0, seq=REMOTE, flags=SYN, mss=1460)
    assert t.sends(at=0, flags=SYN | ACK).window_scale == -1


def test_the_offset_is_another_for_each_pair_of_hosts() -> None:
    tables = Scenario().tcp.tables
    assert tables.timestamp_offset(1, 2) == tables.timestamp_offset(1, 2)  # RFC 7323 (7.1): later ones come later
    assert tables.timestamp_offset(1, 2) != tables.timestamp_offset(1, 3)


def test_tcp_timestamps_2_draws_no_offset() -> None:
    t = Scenario()
    t.tcp.tables.sysctls.tcp_timestamps = 2
    t.connect(at=ms(1234))
    syn = t.sends(at=ms(1234), flags=SYN)
    assert (syn.has_timestamps, int(syn.ts_val)) == (True, 1234)
