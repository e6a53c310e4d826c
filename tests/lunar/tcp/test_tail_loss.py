"""The tail loss probe, RFC 8985 section 7."""

from __future__ import annotations

from loss_scenario import D, blocks, in_flight
from tcp_scenario import LOCAL, MSS, established, ms

from lunar.tcp.tcb import LOSS, OPEN, RECOVERY

PROBE_MS = 202  # two round trips, and 2 ms for the coarseness of Linux' timers


def test_the_last_segment_is_sent_again_after_two_round_trips() -> None:
    t = in_flight(4, waiting=0)
    t.sends(at=ms(PROBE_MS), seq=D + 3 * MSS, size=MSS)
    assert t.host.count.tcp_loss_probes == 1 and t.host.count.tcp_timeouts == 0
    assert t.sock.ca_state == OPEN and t.sock.cwnd == 4


def test_what_was_never_sent_is_the_better_probe() -> None:
    t = in_flight(4)
    t.sends(at=ms(PROBE_MS), seq=D + 4 * MSS, size=MSS)  # whatever cwnd is
    assert t.host.count.tcp_loss_probes == 1 and t.sock.total_retrans == 0


def test_the_timeout_follows_the_probe() -> None:
    t = in_flight(4, waiting=0)
    t.sends(at=ms(PROBE_MS), seq=D + 3 * MSS)
    t.sends(at=ms(PROBE_MS + 300), seq=D)  # one probe at a time
    assert t.sock.ca_state == LOSS


def test_a_single_segment_waits_for_a_delayed_ack() -> None:
    t = established(rtt=ms(400), sack=True)  # RTO 400 + 800
    t.write(b"abc")
    t.sends(at=0)
    t.sends(at=ms(2 * 400 + 200), data=b"abc")
    assert t.host.count.tcp_loss_probes == 1


def test_a_probe_is_not_later_than_the_timeout() -> None:
    t = established(sack=True)  # RTO 300 ms, less than 2 * 100 + 200
    t.write(b"abc")
    t.sends(at=0)
    t.sends(at=ms(300), data=b"abc")
    t.sends(at=ms(600), data=b"abc")
    assert t.host.count.tcp_loss_probes == 1 and t.host.count.tcp_timeouts == 1


def test_the_probe_finds_the_loss_of_a_tail() -> None:
    t = in_flight(4, waiting=0)  # 1, 2 and 3 are lost
    t.gets(at=ms(100), ack=D + MSS)
    t.sends(at=ms(100 + PROBE_MS), seq=D + 3 * MSS)
    t.gets(at=ms(402), ack=D + MSS, sack=blocks((3, 4)))
    t.sends(at=ms(402), seq=D + MSS)
    assert t.sock.ca_state == RECOVERY and t.host.count.tcp_timeouts == 0


def test_a_probe_that_repaired_the_only_loss_lowers_cwnd() -> None:
    t = in_flight(4, waiting=0)  # 3 is lost
    t.gets(at=ms(100), ack=D + 3 * MSS)
    t.sends(at=ms(400), seq=D + 3 * MSS)  # single: the RTO, 300 ms, comes before 2 SRTT and a delayed ACK
    t.write(b"y" * MSS)
    t.gets(at=ms(500), ack=D + 4 * MSS)
    cwnd = t.sock.cwnd
    t.gets(at=ms(600), ack=D + 5 * MSS)  # beyond the probe, and no D-SACK: it was needed
    assert t.host.count.tcp_loss_probe_recovery == 1
    assert t.sock.cwnd == t.sock.ssthresh == max(cwnd // 2, 2)
    assert t.sock.ca_state == OPEN


def test_a_probe_that_arrived_twice_does_not() -> None:
    t = in_flight(4, waiting=0)
    t.gets(at=ms(100), ack=D + 3 * MSS)
    t.sends(at=ms(400), seq=D + 3 * MSS)
    t.gets(at=ms(450), ack=D + 4 * MSS, sack=blocks((3, 4)))  # D-SACK: original and probe
    t.write(b"y" * MSS)
    t.gets(at=ms(550), ack=D + 5 * MSS)
    assert t.host.count.tcp_loss_probe_recovery == 0 and t.sock.ca_state == OPEN and t.sock.cwnd >= 4


def test_each_ack_and_each_segment_move_the_probe() -> None:
    t = in_flight(4, waiting=0)
    t.gets(at=ms(100), ack=D + 4 * MSS)
    t.write(b"y" * MSS)
    t.sends(at=ms(100))
    t.run(ms(150))
    t.write(b"y" * MSS)
    t.sends(at=ms(150))
    t.sends(at=ms(150 + PROBE_MS), seq=D + 5 * MSS)


def test_there_is_none_without_sack_or_where_it_is_switched_off() -> None:
    t = in_flight(4, sack=False, waiting=0)
    t.sends(at=ms(300), seq=D)
    t = established(sack=True)
    t.sysctls.tcp_early_retrans = 0
    t.write(b"x" * 3 * MSS)
    t.forget()
    t.sends(at=ms(300), seq=LOCAL + 1)
    assert t.host.count.tcp_loss_probes == 0
