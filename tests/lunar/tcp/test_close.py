"""Closing: RFC 9293 section 3.6, every state; TIME-WAIT; orphans; RST; PAWS; challenge ACKs; keepalive."""

from __future__ import annotations

import errno

import pytest
from tcp_scenario import (
    ACK,
    FIN,
    LOCAL,
    MSS,
    OWN_PORT,
    PEER_PORT,
    PSH,
    REMOTE,
    RST,
    SYN,
    Scenario,
    established,
    ms,
    s,
    server,
)  # fmt: skip

from lunar.net.sock import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP
from lunar.tcp import sockopt, tcb

D = LOCAL + 1


def test_active_close() -> None:
    t = established()
    t.sock.close()
    t.sends(at=0, seq=D, flags=ACK | FIN)
    assert t.sock.state == tcb.FIN_WAIT_1
    t.gets(at=ms(100), ack=D + 1)
    t.gets(at=ms(110), seq=REMOTE + 1, ack=D + 1, flags=ACK | FIN)
    t.sends(at=ms(110), seq=D + 1, ack=REMOTE + 2, flags=ACK)
    t.run(ms(110) + s(60) - 1)
    assert t.live_events() == 1  # TIME-WAIT
    t.run(ms(110) + s(60))
    assert t.live_events() == 0 and t.host.is_empty()


def test_fin_with_the_ack_of_ours() -> None:
    t = established()
    t.sock.close()
    t.forget()
    t.gets(at=ms(100), seq=REMOTE + 1, ack=D + 1, flags=ACK | FIN)
    t.sends(at=ms(100), ack=REMOTE + 2, flags=ACK)
    t.run(ms(100) + s(60))
    assert t.host.is_empty() and t.live_events() == 0


def test_passive_close() -> None:
    t = established()
    t.gets(at=0, flags=ACK | FIN)
    assert t.sock.state == tcb.CLOSE_WAIT
    assert t.sock.poll() == POLLIN | POLLOUT | POLLRDHUP
    t.sends(at=ms(1), ack=REMOTE + 2, flags=ACK)  # the ACK waited for our FIN; a tick, for no data ever came
    t.sock.close()
    t.sends(at=ms(1), seq=D, flags=ACK | FIN)
    assert t.sock.state == tcb.LAST_ACK
    t.gets(at=ms(100), seq=REMOTE + 2, ack=D + 1)
    assert t.sock.state == tcb.CLOSED
    assert t.live_events() == 0 and t.host.is_empty()  # no TIME-WAIT on this side


def test_simultaneous_close() -> None:
    # RFC 9293 figure 13.
    t = established()
    t.sock.close()
    t.sends(at=0, flags=ACK | FIN)
    t.gets(at=ms(50), seq=REMOTE + 1, ack=D, flags=ACK | FIN)
    t.sends(at=ms(50), seq=D + 1, ack=REMOTE + 2, flags=ACK)
    assert t.sock.state == tcb.CLOSING
    t.gets(at=ms(100), seq=REMOTE + 2, ack=D + 1)
    t.run(ms(100) + s(60) - 1)
    assert t.live_events() == 1
    t.run(ms(100) + s(60))
    assert t.host.is_empty() and t.live_events() == 0


def test_half_close() -> None:
    t = established()
    assert t.sock.shutdown(1) == 0
    t.sends(at=0, flags=ACK | FIN)
    assert t.write(b"x") == -errno.EPIPE
    t.gets(at=ms(100), ack=D + 1)
    assert t.sock.state == tcb.FIN_WAIT_2
    t.gets(at=ms(200), data=b"still coming", ack=D + 1)
    assert t.read() == b"still coming"
    t.gets(at=ms(300), seq=REMOTE + 13, ack=D + 1, flags=ACK | FIN)
    assert t.read() == b""
    assert t.sock.poll() == POLLIN | POLLOUT | POLLRDHUP | POLLHUP


def test_write_after_the_peers_half_close() -> None:
    t = established()
    t.gets(at=0, flags=ACK | FIN)
    assert t.write(b"answer") == 6
    t.sends(at=0, data=b"answer", ack=REMOTE + 2)


def test_reading_can_be_shut() -> None:
    t = established()
    assert t.sock.shutdown(0) == 0
    assert t.read() == b""
    assert t.sock.poll() == POLLIN | POLLOUT | POLLRDHUP


def test_fin_is_retransmitted() -> None:
    t = established()
    t.sock.shutdown(1)
    t.sends(at=0, seq=D, flags=ACK | FIN)
    t.sends(at=ms(300), seq=D, flags=ACK | FIN)
    t.sends(at=ms(900), seq=D, flags=ACK | FIN)


def test_close_sends_what_was_written_first() -> None:
    t = established()
    t.write(b"x" * (12 * MSS))
    t.sock.close()
    assert t.forget() == 10
    t.gets(at=ms(100), ack=D + 10 * MSS)
    t.sends(at=ms(100), size=MSS, flags=ACK)
    t.sends(at=ms(100), size=MSS, flags=ACK | PSH | FIN)


def test_close_with_unread_data_resets() -> None:
    t = established()
    t.gets(at=0, data=b"nobody reads this")
    t.forget()
    t.sock.close()
    t.sends(at=0, seq=D, flags=RST | ACK)
    assert t.live_events() == 0 and t.host.is_empty()


def test_close_with_linger_zero_resets() -> None:
    t = established()
    t.sock.linger_on = True
    t.write(b"lost")
    t.forget()
    t.sock.close()
    t.sends(at=0, seq=D + 4, flags=RST | ACK)
    assert t.live_events() == 0 and t.host.is_empty()


def test_data_for_a_closed_socket_is_reset() -> None:
    t = established()
    t.sock.close()
    t.forget()
    t.gets(at=ms(50), ack=D, data=b"late")
    t.sends(at=ms(50), flags=RST)  # as for a segment that belongs to nothing
    assert t.host.is_empty() and t.live_events() == 0


def test_orphan_in_fin_wait_2_is_gone_after_60_s() -> None:
    t = established()
    t.sock.close()
    t.gets(at=ms(100), ack=D + 1)
    t.run(ms(100) + s(60) - 1)
    assert not t.host.is_empty()
    t.run(ms(100) + s(60))
    assert t.host.is_empty() and t.live_events() == 0


def test_data_for_an_orphan_in_fin_wait_2_is_reset() -> None:
    t = established()
    t.sock.close()
    t.gets(at=ms(100), ack=D + 1)
    t.forget()
    t.gets(at=ms(200), ack=D + 1, data=b"late")
    t.sends(at=ms(200), flags=RST)
    assert t.host.is_empty() and t.live_events() == 0


def test_orphan_gives_up() -> None:
    t = established()
    t.sock.close()
    t.run(s(1000))
    assert t.host.is_empty() and t.live_events() == 0


def test_closing_a_connecting_socket() -> None:
    t = Scenario()
    t.connect().close()
    assert t.host.is_empty() and t.live_events() == 0


def time_wait() -> Scenario:
    t = established(timestamps=True)
    t.sock.close()
    t.gets(at=ms(100), ack=D + 1, ts_val=1_000_100)
    t.gets(at=ms(100), seq=REMOTE + 1, ack=D + 1, flags=ACK | FIN, ts_val=1_000_100)
    t.forget()
    return t


def test_time_wait_answers_a_repeated_fin_and_starts_again() -> None:
    t = time_wait()
    t.gets(at=s(30), seq=REMOTE + 1, ack=D + 1, flags=ACK | FIN, ts_val=1_000_100)
    t.sends(at=s(30), seq=D + 1, ack=REMOTE + 2, flags=ACK)
    t.run(s(90) - 1)
    assert not t.host.is_empty()
    t.run(s(90))
    assert t.host.is_empty() and t.live_events() == 0


def test_time_wait_is_ended_by_an_exact_reset() -> None:
    t = time_wait()
    t.gets(at=s(1), seq=REMOTE + 2, flags=RST, ts_val=1_001_000)
    assert t.host.is_empty() and t.live_events() == 0


def listening_beside_time_wait() -> Scenario:
    """A server closed first: its connection is in TIME-WAIT, and it listens."""
    t = server()
    t.timestamps = True
    t.gets(at=0, seq=REMOTE, flags=SYN, mss=1460, ts_val=5000)
    t.iss = int(t.sends(at=0).seq)
    t.gets(at=0, ack=LOCAL + 1, ts_val=5000)
    child = t.sock.accept_one()
    assert child is not None
    child.close()
    t.gets(at=0, ack=LOCAL + 2, ts_val=5000)
    t.gets(at=0, ack=LOCAL + 2, flags=ACK | FIN, ts_val=5000)
    t.forget()
    return t


def test_new_syn_reopens_time_wait() -> None:
    t = listening_beside_time_wait()
    t.gets(at=s(1), seq=REMOTE + 50_000, flags=SYN, mss=1460, ts_val=6000)
    # The new initial sequence number lies above all of the old connection.
    t.sends(at=s(1), flags=SYN | ACK, seq=LOCAL + 2 + 65_537, ack=REMOTE + 50_001)


def test_later_timestamp_reopens_time_wait() -> None:
    t = listening_beside_time_wait()
    t.gets(at=s(1), seq=REMOTE - 50_000, flags=SYN, mss=1460, ts_val=5001)
    t.sends(at=s(1), flags=SYN | ACK)


def test_old_syn_does_not_reopen_time_wait() -> None:
    t = listening_beside_time_wait()
    t.gets(at=s(1), seq=REMOTE - 50_000, flags=SYN, mss=1460, ts_val=5000)
    t.sends(at=s(1), flags=ACK, seq=LOCAL + 2)


def test_port_in_time_wait_can_be_bound_with_reuse_only() -> None:
    t = time_wait()
    sock = t.tcp.create(2)
    assert sock.bind(0, OWN_PORT) == -errno.EADDRINUSE
    sock.reuse_addr = True
    assert sock.bind(0, OWN_PORT) == -errno.EADDRINUSE  # the old one had not asked for it


def test_address_in_time_wait_cannot_be_connected_again() -> None:
    t = established()
    t.sock.reuse_addr = True
    t.sock.close()
    t.gets(at=ms(100), seq=REMOTE + 1, ack=D + 1, flags=ACK | FIN)
    again = t.tcp.create(2)
    again.reuse_addr = True
    assert again.bind(0x0A00_0001, OWN_PORT) == 0
    assert again.connect(0x0A00_0002, PEER_PORT) == -errno.EADDRNOTAVAIL
    t.run(s(61))
    assert again.connect(0x0A00_0002, PEER_PORT) == -errno.EINPROGRESS


# RST, RFC 5961.


def test_exact_reset_ends_the_connection() -> None:
    t = established()
    t.gets(at=0, seq=REMOTE + 1, flags=RST)
    assert t.sock.poll() == POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDHUP
    assert t.read() is None and t.sock.recv_errno == errno.ECONNRESET
    assert t.write(b"x") == -errno.EPIPE
    assert t.live_events() == 0


def test_send_reports_the_reset_first() -> None:
    t = established()
    t.gets(at=0, seq=REMOTE + 1, flags=RST)
    assert t.write(b"x") == -errno.ECONNRESET
    assert t.write(b"x") == -errno.EPIPE
    assert t.read() == b""


def test_data_before_a_reset_can_be_read() -> None:
    t = established()
    t.gets(at=0, data=b"abc")
    t.gets(at=0, seq=REMOTE + 4, flags=RST)
    assert t.read() == b"abc"
    assert t.read() is None and t.sock.recv_errno == errno.ECONNRESET


def test_reset_after_the_peers_fin_is_a_broken_pipe() -> None:
    t = established()
    t.gets(at=0, flags=ACK | FIN)
    t.gets(at=0, seq=REMOTE + 2, flags=RST)
    assert t.sock.take_error() == errno.EPIPE
    assert t.read() == b""


def test_reset_elsewhere_in_the_window_is_challenged() -> None:
    t = established()
    t.gets(at=0, seq=REMOTE + 100, flags=RST)
    t.sends(at=0, seq=D, ack=REMOTE + 1, flags=ACK)
    assert t.sock.state == tcb.ESTABLISHED


def test_reset_outside_of_the_window_is_ignored() -> None:
    t = established()
    t.gets(at=0, seq=REMOTE + 1_000_000, flags=RST)
    t.sends_nothing(until=s(1))


def test_challenge_acks_are_limited() -> None:
    t = established()
    for at in (0, 100, 499):
        t.gets(at=ms(at), seq=REMOTE + 100, flags=RST)
    t.sends(at=0)
    t.gets(at=ms(500), seq=REMOTE + 100, flags=RST)
    t.sends(at=ms(500))
    t.sends_nothing(until=s(1))
    assert t.host.count.tcp_challenge_acks == 2


def test_syn_in_the_window_is_challenged() -> None:
    t = established()
    t.gets(at=0, seq=REMOTE + 100, flags=SYN)
    t.sends(at=0, flags=ACK, ack=REMOTE + 1)
    assert t.sock.state == tcb.ESTABLISHED


def test_very_old_ack_is_challenged() -> None:
    t = established()
    t.gets(at=0, ack=LOCAL - 70_000, data=b"attack")
    t.sends(at=0, flags=ACK)
    assert t.read() is None


def test_paws_drops_old_timestamps() -> None:
    t = established(timestamps=True)
    t.gets(at=ms(50), data=b"abc")
    t.forget()
    t.gets(at=ms(60), seq=REMOTE + 4, data=b"old", ts_val=999_000)
    t.sends(at=ms(60), ack=REMOTE + 4)
    assert t.read() == b"abc" and t.read() is None
    assert t.host.count.tcp_paws_estab == 1


def test_paws_spares_resets() -> None:
    t = established(timestamps=True)
    t.gets(at=ms(50), seq=REMOTE + 1, flags=RST, ts_val=999_000)
    assert t.sock.error == errno.ECONNRESET


def test_paws_forgets_after_24_days() -> None:
    t = established(timestamps=True)
    t.gets(at=s(25 * 86_400), data=b"abc", ts_val=999_000)
    assert t.read() == b"abc"


# Keepalive.


def test_keepalive_probes_then_gives_up() -> None:
    t = established()
    t.sock.keepalive = True
    sockopt.keepalive_changed(t.sock)
    for probe in range(9):
        t.sends(at=s(7200 + 75 * probe), seq=LOCAL, size=0, flags=ACK)
    t.sends(at=s(7200 + 75 * 9), flags=RST | ACK)
    assert t.sock.take_error() == errno.ETIMEDOUT
    assert t.live_events() == 0


def test_answered_keepalive_waits_again() -> None:
    t = established()
    t.sock.keepalive = True
    sockopt.keepalive_changed(t.sock)
    t.sends(at=s(7200))
    t.gets(at=s(7201))
    t.sends_nothing(until=s(14_400))
    t.sends(at=s(14_401), seq=LOCAL)


def test_idle_connection_has_no_event() -> None:
    t = established()
    t.write(b"abc")
    t.gets(at=ms(100), ack=D + 3, data=b"def")
    t.read()
    t.run(s(1))
    assert t.live_events() == 0


@pytest.mark.parametrize("how", [-1, 3])
def test_shutdown_checks_its_argument(how: int) -> None:
    assert established().sock.shutdown(how) == -errno.EINVAL
