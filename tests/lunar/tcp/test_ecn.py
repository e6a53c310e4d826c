"""Explicit Congestion Notification, RFC 3168, from the handshake to the answer, on both sides; and DCTCP's receiver."""

from __future__ import annotations

import pytest
from tcp_scenario import ACK, FIN, LOCAL, MSS, REMOTE, SYN, Scenario, TcpSegment, ms, s, server

from lunar.packet import CWR, ECE, PSH
from lunar.tcp import ecn
from lunar.tcp.congestion.dctcp import Dctcp
from lunar.tcp.tcb import CWR as CWR_STATE
from lunar.tcp.tcb import OPEN, RECOVERY

D = LOCAL + 1
R = REMOTE + 1
SETUP = ECE | CWR


def asking(algorithm: type | None = None) -> Scenario:
    """A host that asks for ECN, and has sent its SYN."""
    t = Scenario()
    t.tcp.tables.sysctls.tcp_ecn = ecn.ASK
    if algorithm is not None:
        t.tcp.congestion = algorithm
    t.connect()
    return t


def capable(algorithm: type | None = None, window: int = 65535) -> Scenario:
    """A connection with ECN that the host opened, at time 0, with an RTT of 100 ms."""
    t = asking(algorithm)
    t.forget()
    t.start = ms(100)
    t.gets(at=0, seq=REMOTE, ack=D, flags=SYN | ACK | ECE, mss=1460, window_scale=10, sack_permitted=False)
    t.window_shift = int(t.sock.rcv_wscale)
    t.sends(at=0, flags=ACK)
    t.gets(at=0, window=window)
    t.sock.sndbuf = 4_000_000
    return t


def code(segment: TcpSegment) -> int:
    return int(segment.tos) & 3


# The handshake, section 6.1.1.


def test_syn_asks_only_if_told_to() -> None:
    for value, flags in ((0, SYN), (1, SYN | SETUP), (2, SYN)):
        t = Scenario()
        t.tcp.tables.sysctls.tcp_ecn = value
        t.connect()
        assert code(t.sends(at=0, flags=flags)) == ecn.NOT_ECT


@pytest.mark.parametrize(
    ("answer", "works"), [(ECE, True), (0, False), (SETUP, False), (CWR, False)]
)
def test_syn_ack_must_say_ece_alone(answer: int, works: bool) -> None:
    t = asking()
    t.gets(at=ms(1), seq=REMOTE, ack=D, flags=SYN | ACK | answer, mss=1460)
    assert t.sock.ecn_ok is works
    t.forget()
    t.write(b"x" * 100)
    assert code(t.sends(at=ms(1), size=100)) == (ecn.ECT_0 if works else ecn.NOT_ECT)


def test_lost_syn_asks_no_more() -> None:
    """Section 6.1.1.1, net.ipv4.tcp_ecn_fallback."""
    for fallback, flags in ((1, SYN), (0, SYN | SETUP)):
        t = asking()
        t.tcp.tables.sysctls.tcp_ecn_fallback = fallback
        t.sends(at=0, flags=SYN | SETUP)
        t.sends(at=s(1), flags=flags)


@pytest.mark.parametrize(
    ("value", "syn", "tos", "flags"),
    [
        (0, SETUP, 0, SYN | ACK),
        (1, SETUP, 0, SYN | ACK | ECE),
        (2, SETUP, 0, SYN | ACK | ECE),
        (2, ECE, 0, SYN | ACK),
        (2, CWR, 0, SYN | ACK),
        (2, 0, 0, SYN | ACK),
        (2, SETUP, ecn.ECT_0, SYN | ACK),  # a SYN must not be marked as capable
        (2, SETUP, ecn.CE, SYN | ACK),
    ],
)
def test_syn_ack_accepts(value: int, syn: int, tos: int, flags: int) -> None:
    t = server()
    t.tcp.tables.sysctls.tcp_ecn = value
    t.gets(at=0, seq=REMOTE, flags=SYN | syn, mss=1460, tos=tos)
    t.iss = int(t.medium.sent[0][1].seq)
    assert code(t.sends(at=0, flags=flags)) == ecn.NOT_ECT
    t.gets(at=ms(1), seq=R, ack=D)
    child = t.sock.accept_one()
    assert child is not None and child.ecn_ok is bool(flags & ECE)


# Sending, sections 6.1.2, 6.1.4, 6.1.5.


def test_new_data_is_capable_and_what_has_none_is_not() -> None:
    t = capable()
    t.write(b"x" * 100)
    assert code(t.sends(at=0, size=100)) == ecn.ECT_0
    t.gets(at=ms(1), data=b"y" * 2 * MSS)
    assert code(t.sends(at=ms(1), size=0, flags=ACK)) == ecn.NOT_ECT
    t.sock.shutdown(1)
    assert code(t.sends(at=ms(1), size=0, flags=ACK | FIN)) == ecn.NOT_ECT


def test_retransmission_is_not_capable() -> None:
    t = capable()
    t.write(b"x" * 100)
    assert code(t.sends(at=0, size=100)) == ecn.ECT_0
    again = t.sends(at=ms(300), size=100)
    assert code(again) == ecn.NOT_ECT


def test_type_of_service_of_the_program_stays() -> None:
    t = capable()
    t.sock.tos = 0b101110_00
    t.write(b"x" * 100)
    assert t.sends(at=0, size=100).tos == 0b101110_10


def test_echo_reduces_once_a_window_and_is_answered_with_cwr() -> None:
    t = capable()
    t.write(b"x" * 40 * MSS)
    assert t.forget() == 10
    t.gets(at=ms(100), ack=D + MSS, flags=ACK | ECE)
    assert t.sock.ca_state == CWR_STATE and t.sock.ssthresh == 5
    # All of this window may be echoed: it is one congestion.
    for n in range(2, 11):
        t.gets(at=ms(100), ack=D + n * MSS, flags=ACK | ECE)
        assert t.sock.ssthresh == 5
    sent = [segment for _, segment in t.medium.sent]
    marks = [segment.flags & CWR != 0 for segment in sent]
    assert marks[0] and not any(marks[1:])  # CWR on the first new segment after the reduction
    assert all(code(segment) == ecn.ECT_0 for segment in sent)
    t.forget()
    assert t.sock.cwnd == 5
    # The next window: the state ends when something above its beginning is acknowledged.
    t.gets(at=ms(200), ack=D + 11 * MSS)
    assert t.sock.ca_state == OPEN and t.sock.cwnd == 5
    t.gets(at=ms(201), ack=D + 12 * MSS, flags=ACK | ECE)
    assert t.sock.ssthresh == 2


def test_echo_without_ecn_means_nothing() -> None:
    t = Scenario()
    t.connect()
    t.gets(at=0, seq=REMOTE, ack=D, flags=SYN | ACK, mss=1460)
    t.write(b"x" * 4 * MSS)
    t.gets(at=ms(1), ack=D + MSS, flags=ACK | ECE)
    assert t.sock.ca_state == OPEN


def test_loss_is_told_with_cwr_too() -> None:
    t = capable()
    t.write(b"x" * 40 * MSS)
    t.forget()
    for _ in range(3):
        t.gets(at=ms(100))
    assert t.sock.ca_state == RECOVERY
    t.sends(at=ms(100), seq=D + 10 * MSS)  # limited transmit
    again = t.sends(at=ms(100), seq=D)
    assert code(again) == ecn.NOT_ECT and not again.flags & CWR
    t.forget()
    t.gets(at=ms(200), ack=int(t.sock.snd_nxt) - t.iss + LOCAL)
    first = t.sends(at=ms(200), size=MSS)
    assert code(first) == ecn.ECT_0 and first.flags & CWR
    assert not t.sends(at=ms(200), size=MSS).flags & CWR


# Receiving, section 6.1.3.


def test_marks_are_echoed_until_the_sender_answers() -> None:
    t = capable()
    at = R
    for count in range(20):  # out of quick-ack mode
        t.gets(at=ms(count), seq=at, data=b"x" * MSS, tos=ecn.ECT_0)
        at += MSS
        t.read()
    t.forget()
    t.gets(at=ms(30), seq=at, data=b"x" * MSS, tos=ecn.CE)
    t.sends(at=ms(30), ack=at + MSS, flags=ACK | ECE)  # at once: the sender's window may be low
    at += MSS
    for count in range(31, 34):
        t.gets(at=ms(count), seq=at, data=b"x" * MSS, tos=ecn.ECT_0)
        at += MSS
        assert t.sends(at=ms(count)).flags & ECE
    t.gets(at=ms(40), seq=at, data=b"x" * MSS, tos=ecn.ECT_0, flags=ACK | CWR)
    t.sends(at=ms(40), ack=at + MSS, flags=ACK)
    at += MSS
    # A new mark on the segment with CWR is a new congestion.
    t.gets(at=ms(50), seq=at, data=b"x" * MSS, tos=ecn.CE, flags=ACK | CWR)
    t.sends(at=ms(50), ack=at + MSS, flags=ACK | ECE)


def test_marks_are_echoed_on_data_too() -> None:
    t = capable()
    t.gets(at=ms(1), seq=R, data=b"x" * 10, tos=ecn.CE)
    t.forget()
    t.write(b"y")
    assert t.sends(at=ms(1), size=1).flags & (ECE | ACK | PSH) == ECE | ACK | PSH


def test_marks_without_ecn_mean_nothing() -> None:
    t = Scenario()
    t.connect()
    t.gets(at=0, seq=REMOTE, ack=D, flags=SYN | ACK, mss=1460)
    t.forget()
    t.gets(at=ms(1), seq=R, data=b"x" * 2 * MSS, tos=ecn.CE)
    t.sends(at=ms(1), flags=ACK)


def test_marks_on_what_is_refused_mean_nothing() -> None:
    """Section 6.1.5: what lies beyond the window may be an attacker's."""
    t = capable()
    t.gets(at=ms(1), seq=R + 10_000_000, data=b"x" * MSS, tos=ecn.CE)
    t.gets(at=ms(2), seq=R, data=b"x" * 2 * MSS, tos=ecn.ECT_0)
    assert not any(segment.flags & ECE for _, segment in t.medium.sent)


def test_window_probes_are_not_capable() -> None:
    t = capable()
    t.gets(at=ms(1), window=0)
    t.write(b"x" * 100)
    t.run(s(1))
    sent = [segment for _, segment in t.medium.sent]
    assert sent and all(not segment.payload and code(segment) == ecn.NOT_ECT for segment in sent)


# DCTCP, RFC 8257.


def test_dctcp_asks_by_itself_and_marks_all_it_sends() -> None:
    t = Scenario()
    t.tcp.congestion = Dctcp
    t.connect()
    assert code(t.sends(at=0, flags=SYN | SETUP)) == ecn.ECT_0
    t.gets(at=ms(1), seq=REMOTE, ack=D, flags=SYN | ACK | ECE, mss=1460)
    assert code(t.sends(at=ms(1), size=0)) == ecn.ECT_0


def test_dctcp_server_accepts_marked_syns() -> None:
    t = server()
    t.sock.congestion = Dctcp()
    t.gets(at=0, seq=REMOTE, flags=SYN | SETUP, mss=1460, tos=ecn.ECT_0)
    t.iss = int(t.medium.sent[0][1].seq)
    assert code(t.sends(at=0, flags=SYN | ACK | ECE)) == ecn.ECT_0


def test_dctcp_receiver_tells_each_change_of_the_mark() -> None:
    """RFC 8257 (3.2): an ACK for what came before, and ECE says how the segments were that an ACK covers."""
    t = capable(Dctcp)
    at = R
    for count in range(20):
        t.gets(at=ms(count), seq=at, data=b"x" * MSS, tos=ecn.ECT_0)
        at += MSS
        t.read()
    t.run(ms(100))
    t.forget()
    t.sock.rcv_ssthresh = t.sock.window_clamp  # a window that grows is told at once
    t.sock.quick_acks = 0
    t.gets(at=ms(101), seq=at, data=b"x" * MSS, tos=ecn.ECT_0)
    t.sends_nothing(until=ms(102))  # delayed
    t.gets(at=ms(102), seq=at + MSS, data=b"x" * MSS, tos=ecn.CE)
    t.sends(at=ms(102), ack=at + MSS, flags=ACK)  # what came before, unmarked
    t.sends(at=ms(102), ack=at + 2 * MSS, flags=ACK | ECE)
    t.gets(at=ms(103), seq=at + 2 * MSS, data=b"x" * MSS, tos=ecn.CE)
    t.sends(at=ms(103), ack=at + 3 * MSS, flags=ACK | ECE)  # no CWR ends this
    t.gets(at=ms(104), seq=at + 3 * MSS, data=b"x" * MSS, tos=ecn.ECT_0)
    t.sends(at=ms(104), ack=at + 4 * MSS, flags=ACK)


def test_dctcp_alpha_follows_the_share_of_marks() -> None:
    """RFC 8257 (3.3): alpha = alpha (1 - g) + g F with g = 1/16, once a window, in 1/1024."""
    t = capable(Dctcp)
    algorithm = t.sock.congestion
    assert isinstance(algorithm, Dctcp)
    exact = 1.0
    assert algorithm.alpha == 1024
    for share in [0.0] * 20 + [0.5] * 60 + [0.1] * 60:
        t.sock.delivered += 100
        t.sock.delivered_ce += round(100 * share)
        t.sock.snd_una = t.sock.snd_nxt = t.sock.snd_nxt + 100 * MSS
        algorithm.on_sample(t.sock, t.tcp.tables.sample)
        exact = exact * 15 / 16 + share / 16
        assert algorithm.alpha / 1024 == pytest.approx(exact, abs=0.015)  # each step loses less than 1/1024
    assert algorithm.alpha / 1024 == pytest.approx(0.1, abs=0.03)
    # In the middle of a window nothing changes.
    t.sock.delivered_ce += 100
    t.sock.snd_una -= 1
    before = algorithm.alpha
    algorithm.on_sample(t.sock, t.tcp.tables.sample)
    assert algorithm.alpha == before


def test_dctcp_cuts_by_half_of_alpha() -> None:
    t = capable(Dctcp)
    algorithm = t.sock.congestion
    assert isinstance(algorithm, Dctcp)
    t.sock.cwnd = 100
    for alpha, left in ((1024, 50), (512, 75), (128, 94), (0, 100)):  # cwnd (1 - alpha / 2)
        algorithm.alpha = alpha
        assert algorithm.on_loss(t.sock) == left


def test_dctcp_answers_a_loss_as_reno_does() -> None:
    """RFC 8257 (3.5): whatever alpha is."""
    t = capable(Dctcp)
    algorithm = t.sock.congestion
    assert isinstance(algorithm, Dctcp)
    t.write(b"x" * 40 * MSS)
    t.forget()
    algorithm.alpha = 0
    for _ in range(3):
        t.gets(at=ms(100))
    assert t.sock.ca_state == RECOVERY
    assert t.sock.ssthresh == 5
