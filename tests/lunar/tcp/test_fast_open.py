"""Fast open, RFC 7413: cookies, data in the SYN, what a server takes at once, and what is done when it fails."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from tcp_scenario import ACK, FIN, LOCAL, OWN, OWN_PORT, PEER, PEER_PORT, PSH, REMOTE, RST, SYN, Scenario, ms, s

from lunar.net.sock import POLLIN, POLLOUT
from lunar.packet import AF_INET, IcmpMessage
from lunar.tcp import sockopt
from lunar.tcp.congestion import registry
from lunar.tcp.opening import fast_accept, fast_open
from lunar.tcp.opening.siphash import siphash
from lunar.tcp.sock import TcpSock
from lunar.tcp.tcb import CLOSE_WAIT, CLOSED, ESTABLISHED, FIN_WAIT_1, SYN_RECEIVED, SYN_SENT

COOKIE = bytes.fromhex("3021b9d889017eeb")
KEY = b"".join(int(word, 16).to_bytes(4, "little") for word in ("a1a1a1a1", "b2b2b2b2", "c3c3c3c3", "d4d4d4d4"))
SERVER_MODE = 0x403


def address(text: str) -> int:
    return int.from_bytes(map(int, text.split(".")), "big")


# Cookies


def test_siphash_of_the_paper() -> None:
    # Appendix A of "SipHash: a fast short-input PRF": key 00 01 ... 0f, message 00 01 ... 0e.
    assert siphash(bytes(range(16)), bytes(range(15))) == 0xA129CA6149BE45E5


@pytest.mark.parametrize(
    ("key", "client", "server", "cookie"),
    [
        ("a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4", "192.0.2.1", "192.168.0.1", "3021b9d889017eeb"),
        # As a kernel of Linux 6.18 gave it.
        ("a0bf63f7-ed803d81-cd641d30-cebc4a90", "192.0.2.1", "192.168.0.1", "f49b0ef989d9f624"),
    ],
)
def test_cookies_are_those_of_linux(key: str, client: str, server: str, cookie: str) -> None:
    words = b"".join(int(word, 16).to_bytes(4, "little") for word in key.split("-"))
    assert fast_accept.cookie(words, address(client), address(server)).hex() == cookie


# The client


def warm(t: Scenario, cookie: bytes = b"\xab\xcd\x12\x34", mss: int = 1460) -> None:
    """Give the host a cookie of the peer's, as an earlier connection would have."""
    entry = t.tcp.tables.metrics().entry(OWN, PEER)
    entry.cookie, entry.mss = cookie, mss


def fresh(t: Scenario, port: int = OWN_PORT) -> TcpSock:
    sock = t.tcp.create(AF_INET)
    assert sock.bind(OWN, port) == 0
    return sock


def opens(t: Scenario, data: bytes, port: int = OWN_PORT) -> int:
    """MSG_FASTOPEN from a new socket, which the scenario then watches."""
    sock = fresh(t, port)
    result = int(sock.send_fast_open(data, PEER, PEER_PORT, False))
    t.watch(sock)
    return result


def answers(t: Scenario, at: int, ack: int, **options: Any) -> None:
    t.gets(at=at, seq=REMOTE, ack=ack, flags=SYN | ACK, **{"mss": 1460, "window": 5840, **options})


def test_without_a_cookie_the_syn_asks_for_one_and_has_no_data() -> None:
    t = Scenario()
    assert opens(t, b"x" * 1000) == -errno.EINPROGRESS
    t.sends(at=0, flags=SYN, size=0, fast_open=b"", fast_open_experimental=False)
    answers(t, ms(10), LOCAL + 1, fast_open=b"\xab\xcd\x12\x34", mss=1040)
    t.sends(at=ms(10), flags=ACK, ack=REMOTE + 1)
    entry = fast_open.metrics_of(t.sock)
    assert entry is not None and (entry.cookie, entry.mss) == (b"\xab\xcd\x12\x34", 1040)
    assert not t.sock.syn_data_acked


def test_with_a_cookie_the_syn_has_the_data() -> None:
    t = Scenario()
    warm(t)
    assert opens(t, b"x" * 1000) == 1000
    t.sends(at=0, flags=SYN, data=b"x" * 1000, fast_open=b"\xab\xcd\x12\x34")
    answers(t, ms(10), LOCAL + 1001)
    t.sends(at=ms(10), seq=LOCAL + 1001, ack=REMOTE + 1, flags=ACK, size=0)
    assert t.sock.syn_data_acked and t.host.count.tcp_fast_open_active == 1
    assert t.sock.info().unacked == 0
    assert t.live_events() == 0


def test_syn_data_leaves_room_for_forty_bytes_of_options() -> None:
    t = Scenario()
    warm(t, mss=940)
    assert opens(t, b"x" * 2000) == 900
    t.sends(at=0, size=900)


@pytest.mark.parametrize(("mss", "user", "size"), [(10_000, 0, 1420), (1460, 1040, 1000), (1340, 0, 1300)])
def test_syn_data_is_bounded_by_path_program_and_peer(mss: int, user: int, size: int) -> None:
    t = Scenario()
    warm(t, mss=mss)
    sock = fresh(t)
    sock.user_mss = user
    assert sock.send_fast_open(b"x" * 2000, PEER, PEER_PORT, False) == size
    t.watch(sock).waiters.clear()
    t.sends(at=0, size=size)


def test_data_that_the_server_did_not_take_go_again_with_the_ack() -> None:
    t = Scenario()
    warm(t)
    opens(t, b"x" * 1000)
    t.sends(at=0)
    answers(t, ms(20), LOCAL + 1)
    t.sends(at=ms(20), seq=LOCAL + 1, ack=REMOTE + 1, flags=ACK | PSH, size=1000)
    t.sends_nothing(until=ms(20))
    assert not t.sock.syn_data_acked and t.host.count.tcp_fast_open_active_fail == 1
    info = t.sock.info()
    assert (info.unacked, info.retrans, info.cwnd) == (1, 1, 10)
    t.gets(at=ms(40), seq=REMOTE + 1, ack=LOCAL + 1001)
    assert t.sock.info().unacked == 0


def test_part_of_the_data_taken_the_rest_goes_again() -> None:
    t = Scenario()
    warm(t)
    opens(t, b"0123456789abcdefgh")
    t.sends(at=0)
    answers(t, ms(5), LOCAL + 10)
    t.sends(at=ms(5), seq=LOCAL + 10, data=b"9abcdefgh", flags=ACK | PSH)
    assert not t.sock.syn_data_acked
    entry = fast_open.metrics_of(t.sock)
    assert entry is not None and entry.cookie


def test_syn_ack_of_more_than_was_sent_is_reset() -> None:
    t = Scenario()
    warm(t)
    opens(t, b"x" * 100)
    t.sends(at=0)
    answers(t, ms(20), LOCAL + 100_101, fast_open=b"\xba\xdc\x00\xce")
    t.sends(at=ms(20), seq=LOCAL + 100_101, flags=RST)
    assert t.sock.state == SYN_SENT
    # What may have stood in the way is gone: the SYN goes again without waiting for its timeout, and plain.
    t.sends(at=ms(22), flags=SYN, size=0, fast_open=None)


def test_a_lost_syn_goes_again_without_cookie_and_data() -> None:
    t = Scenario()
    warm(t)
    opens(t, b"x" * 1000)
    t.sends(at=0, size=1000)
    t.sends(at=s(1), flags=SYN, size=0, fast_open=None)
    answers(t, s(1) + ms(20), LOCAL + 1)
    t.sends(at=s(1) + ms(20), seq=LOCAL + 1, size=1000, flags=ACK | PSH)
    entry = fast_open.metrics_of(t.sock)
    assert entry is not None and entry.syn_losses == 2  # the timeout, and the SYN-ACK of the plain SYN


def test_a_syn_ack_after_a_timeout_still_brings_its_cookie() -> None:
    t = Scenario()
    opens(t, b"")
    t.sends(at=0, fast_open=b"")
    t.sends(at=s(1), fast_open=None)
    answers(t, s(1) + ms(10), LOCAL + 1, fast_open=b"\xaa\xaa\xbb\xbb")
    assert fast_open.has_cookie(t.sock)


def test_the_experiments_option_is_tried_once() -> None:
    t = Scenario()
    for n, experimental in enumerate([False, True, False, False]):
        opens(t, b"", OWN_PORT + n)
        t.sends(at=t.now, fast_open=b"", fast_open_experimental=experimental)
        answers(t, t.now + ms(1), LOCAL + 1, ports=(PEER_PORT, OWN_PORT + n))
        t.forget()


def test_a_cookie_goes_back_in_the_option_that_it_came_in() -> None:
    t = Scenario()
    opens(t, b"")
    t.forget()
    answers(t, ms(1), LOCAL + 1, fast_open=b"1234", fast_open_experimental=True)
    t.forget()
    opens(t, b"x", OWN_PORT + 1)
    t.sends(at=ms(1), fast_open=b"1234", fast_open_experimental=True)
    answers(t, ms(2), LOCAL + 2, ports=(PEER_PORT, OWN_PORT + 1), fast_open=b"5678", fast_open_experimental=False)
    t.forget()
    opens(t, b"x", OWN_PORT + 2)
    t.sends(at=ms(2), fast_open=b"5678", fast_open_experimental=False)


def test_without_need_of_cookies_data_go_in_a_plain_syn_and_cookies_are_ignored() -> None:
    t = Scenario()
    t.tcp.tables.sysctls.tcp_fastopen = 0x5
    assert opens(t, b"x" * 5000) == 1420
    t.sends(at=0, size=1420, fast_open=None)
    answers(t, ms(1), LOCAL + 1421, fast_open=b"1234")
    entry = fast_open.metrics_of(t.sock)
    assert entry is not None and not entry.cookie
    assert t.sock.syn_data_acked


def test_errors_of_msg_fastopen() -> None:
    t = Scenario()
    t.tcp.tables.sysctls.tcp_fastopen = 0
    assert opens(t, b"x") == -errno.EOPNOTSUPP
    t.tcp.tables.sysctls.tcp_fastopen = 1
    assert t.sock.send_fast_open(b"x", PEER, PEER_PORT, False) == -errno.EINPROGRESS
    assert t.sock.send_fast_open(b"x", PEER, PEER_PORT, False) == -errno.EALREADY
    assert t.sock.send(b"x", False) == -errno.EAGAIN


def test_refused_in_syn_sent() -> None:
    t = Scenario()
    warm(t)
    opens(t, b"x" * 2000)
    t.forget()
    t.gets(at=ms(1), seq=0, ack=LOCAL + 1, flags=RST | ACK, window=0)
    assert t.sock.send(b"x", False) == -errno.ECONNREFUSED


def test_connect_with_a_cookie_waits_for_the_first_data() -> None:
    t = Scenario()
    warm(t)
    sock = fresh(t)
    sock.fastopen_connect = True
    assert sock.connect(PEER, PEER_PORT) == 0
    assert sock.connect(PEER, PEER_PORT) == -errno.EISCONN
    assert sock.poll() == POLLOUT and sock.recv(10, False) is None and sock.recv_errno == errno.EAGAIN
    t.sends_nothing(until=s(5))
    assert sock.send(b"x" * 1000, False) == 1000
    t.watch(sock)
    t.sends(at=s(5), flags=SYN, size=1000, fast_open=b"\xab\xcd\x12\x34")
    assert sock.poll() == 0


def test_connect_without_a_cookie_asks_for_one() -> None:
    t = Scenario()
    sock = fresh(t)
    sock.fastopen_connect = True
    assert sock.connect(PEER, PEER_PORT) == -errno.EINPROGRESS
    t.watch(sock)
    t.sends(at=0, flags=SYN, size=0, fast_open=b"")


def test_a_deferred_connect_that_is_closed_sends_nothing() -> None:
    t = Scenario()
    warm(t)
    sock = fresh(t)
    sock.fastopen_connect = True
    sock.keepalive = True
    assert sock.connect(PEER, PEER_PORT) == 0
    sockopt.keepalive_changed(sock)
    sock.close()
    t.sends_nothing(until=s(10))
    assert t.host.is_empty() and t.live_events() == 0


def test_data_of_a_syn_ack_are_taken_and_its_fin() -> None:
    t = Scenario()
    warm(t)
    opens(t, b"x" * 10)
    t.forget()
    answers(t, ms(10), LOCAL + 11, data=b"hello")
    t.sends(at=ms(10), ack=REMOTE + 6, flags=ACK)
    assert t.woken[-1] & POLLIN  # who waits to read hears of it
    assert t.read() == b"hello"
    t.tcp.tables.metrics().flush()
    warm(t)
    opens(t, b"x" * 10, OWN_PORT + 1)
    t.forget()
    t.gets(
        at=ms(20), seq=REMOTE, ack=LOCAL + 11, flags=SYN | ACK | FIN, data=b"hello", mss=1460,
        ports=(PEER_PORT, OWN_PORT + 1),
    )  # fmt: skip
    assert t.sock.state == CLOSE_WAIT
    assert t.read() == b"hello" and t.read() == b""


def test_an_ordinary_connect_ignores_data_of_a_syn_ack() -> None:
    t = Scenario()
    t.connect()
    t.forget()
    answers(t, ms(10), LOCAL + 1, data=b"hello")
    t.sends(at=ms(10), ack=REMOTE + 1)
    assert t.read() is None


def test_an_echo_of_no_timestamp_of_ours_is_reset() -> None:
    t = Scenario()
    warm(t)
    opens(t, b"x" * 1000)
    syn = t.sends(at=0)
    answers(t, ms(10), LOCAL + 1001, ts_val=1_000_000, ts_ecr=int(syn.ts_val) + 9998)
    t.sends(at=ms(10), flags=RST, seq=LOCAL + 1001)
    assert t.host.count.tcp_paws_active == 1
    answers(t, ms(20), LOCAL + 1001, ts_val=1_000_000, ts_ecr=int(syn.ts_val))
    assert t.sock.state == ESTABLISHED


def too_big(t: Scenario, mtu: int) -> None:
    quoted = OWN_PORT.to_bytes(2, "big") + PEER_PORT.to_bytes(2, "big") + t.iss.to_bytes(4, "big")
    message = IcmpMessage(AF_INET, PEER, OWN, 3, 4, mtu, b"")
    t.tcp.error(message, errno.EMSGSIZE, False, OWN, PEER, quoted)


def test_a_syn_that_is_too_big_for_the_path_goes_again_plain() -> None:
    t = Scenario()
    warm(t)
    opens(t, b"x" * 1000)
    t.sends(at=0, mss=1460)
    t.run(ms(10))
    too_big(t, 840)
    t.sends(at=ms(10), flags=SYN, size=0, mss=800, fast_open=None)


def test_fast_opens_pause_when_the_path_swallows_them() -> None:
    t = Scenario()
    t.tcp.tables.sysctls.tcp_fastopen_blackhole_timeout_sec = 60
    warm(t)
    opens(t, b"x")
    t.run(s(3))  # SYNs at 1, 2 and 3 s: the third timeout in a row
    assert t.host.count.tcp_fast_open_blackhole == 1
    t.forget()
    assert opens(t, b"x", OWN_PORT + 1) == -errno.EINPROGRESS
    t.sends(at=s(3), flags=SYN, size=0, fast_open=None)
    t.sock.close()
    t.run(s(62.5))
    assert fast_open.is_paused(t.tcp.tables)
    t.run(s(63))
    assert not fast_open.is_paused(t.tcp.tables)


# The server


def listening(mode: int = SERVER_MODE, limit: int | None = None, backlog: int = 10) -> Scenario:
    t = Scenario()
    t.tcp.tables.sysctls.tcp_fastopen = mode
    t.tcp.tables.sysctls.tcp_fastopen_key = KEY
    sock = t.tcp.create(AF_INET)
    assert sock.bind(0, OWN_PORT) == 0
    assert sock.listen(backlog) == 0
    if limit is not None:
        assert sockopt.set_fast_limit(sock, limit) == 0
    t.watch(sock)
    return t


def good() -> bytes:
    return fast_accept.cookie(KEY, PEER, OWN)


def syn(t: Scenario, at: int, data: bytes = b"0123456789", port: int = PEER_PORT, **options: Any) -> None:
    t.gets(
        at=at, seq=REMOTE, flags=SYN, data=data, ports=(port, OWN_PORT), **{"mss": 1460, "window": 32_792, **options}
    )


def accepted(t: Scenario) -> TcpSock:
    child = t.sock.accept_one()
    assert child is not None
    t.iss = int(child.iss)
    return child


def test_a_good_cookie_opens_at_once() -> None:
    t = listening()
    syn(t, 0, fast_open=good())
    answer = t.sends(at=0, flags=SYN | ACK, ack=REMOTE + 11, fast_open=None)
    assert answer.seq == accepted_state(t)
    assert t.host.count.tcp_fast_open_passive == 1


def accepted_state(t: Scenario) -> int:
    child = accepted(t)
    assert child.state == SYN_RECEIVED and child.syn_data_acked
    assert child.poll() == POLLIN | POLLOUT
    assert child.recv(100, False) == b"0123456789"
    return int(child.iss)


def test_data_go_before_the_handshake_is_over() -> None:
    t = listening()
    syn(t, 0, fast_open=good())
    child = accepted(t)
    t.forget()
    t.run(ms(100))
    assert child.send(b"y" * 100, False) == 100
    t.sends(at=ms(100), seq=LOCAL + 1, ack=REMOTE + 11, flags=ACK | PSH, size=100)
    t.gets(at=ms(200), seq=REMOTE + 11, ack=LOCAL + 101)
    assert child.state == ESTABLISHED and not child.syn_ack_pending
    assert t.sock.listener is not None and t.sock.listener.fast.pending == 0


def test_the_syn_ack_goes_again_and_data_do_not() -> None:
    t = listening()
    syn(t, 0, fast_open=good())
    child = accepted(t)
    t.sends(at=0, flags=SYN | ACK)
    child.send(b"y" * 100, False)
    t.sends(at=0, size=100)
    for at in (1, 3, 7, 15, 31, 63):  # one more than tcp_synack_retries
        t.sends(at=s(at), flags=SYN | ACK, seq=LOCAL, ack=REMOTE + 11)
    t.sends_nothing(until=s(200))
    assert child.take_error() == errno.ETIMEDOUT
    assert t.sock.listener is not None and t.sock.listener.fast.pending == 0


def test_a_syn_ack_lost_twice_leaves_a_window_of_one() -> None:
    for lost, cwnd in ((1, 10), (2, 1)):
        t = listening()
        syn(t, 0, fast_open=good())
        child = accepted(t)
        t.run(s(1.5 if lost == 1 else 3.5))
        t.gets(at=t.now, seq=REMOTE + 11, ack=LOCAL + 1)
        assert child.state == ESTABLISHED and child.info().cwnd == cwnd


def test_after_the_handshake_lost_data_go_again() -> None:
    t = listening()
    syn(t, 0, fast_open=good())
    child = accepted(t)
    t.forget()
    child.send(b"y" * 100, False)
    t.sends(at=0, size=100)
    t.gets(at=ms(100), seq=REMOTE + 11, ack=LOCAL + 1)
    assert child.state == ESTABLISHED
    t.sends(at=ms(100 + 300), seq=LOCAL + 1, size=100)  # SRTT 100 ms and 200 ms


def test_the_syn_again_is_answered_by_the_syn_ack() -> None:
    t = listening()
    syn(t, 0, fast_open=good())
    accepted(t)
    t.sends(at=0, flags=SYN | ACK)
    syn(t, ms(600), fast_open=good())
    t.sends(at=ms(600), flags=SYN | ACK, seq=LOCAL, ack=REMOTE + 11)


@pytest.mark.parametrize("came", [b"", b"wrong123"])
def test_a_request_or_a_wrong_cookie_gets_a_cookie(came: bytes) -> None:
    t = listening()
    syn(t, 0, fast_open=came)
    t.sends(at=0, flags=SYN | ACK, ack=REMOTE + 1, fast_open=good())
    assert t.sock.accept_one() is None
    counters = t.host.count
    assert (counters.tcp_fast_open_cookie_reqd, counters.tcp_fast_open_passive_fail) == (int(not came), int(bool(came)))


def test_the_answer_uses_the_option_of_the_request() -> None:
    t = listening()
    syn(t, 0, b"", fast_open=b"", fast_open_experimental=True)
    t.sends(at=0, fast_open=good(), fast_open_experimental=True)


def test_a_cookie_of_the_key_before_is_good_and_is_renewed() -> None:
    t = listening()
    t.tcp.tables.sysctls.tcp_fastopen_key = bytes(16) + KEY
    syn(t, 0, fast_open=good())
    t.sends(at=0, ack=REMOTE + 11, fast_open=fast_accept.cookie(bytes(16), PEER, OWN))
    assert t.host.count.tcp_fast_open_passive_alt_key == 1


def test_a_listeners_own_key() -> None:
    t = listening()
    assert sockopt.set_fast_keys(t.sock, bytes(3)) == -errno.EINVAL
    assert sockopt.set_fast_keys(t.sock, bytes(16)) == 0
    syn(t, 0, fast_open=b"")
    t.sends(at=0, fast_open=fast_accept.cookie(bytes(16), PEER, OWN))


@pytest.mark.parametrize(("mode", "limit"), [(0x1, 5), (0x3, None), (0x401, None), (SERVER_MODE, 0)])
def test_a_server_that_does_not_open_fast_ignores_data_and_cookie(mode: int, limit: int | None) -> None:
    t = listening(mode, limit)
    syn(t, 0, fast_open=good())
    t.sends(at=0, ack=REMOTE + 1, fast_open=None)
    assert t.sock.accept_one() is None


def test_data_without_the_option_are_ignored_unless_no_cookie_is_needed() -> None:
    t = listening()
    syn(t, 0)
    t.sends(at=0, ack=REMOTE + 1, fast_open=None)
    t = listening(0x202, 2)
    syn(t, 0, b"x" * 1000)
    t.sends(at=0, ack=REMOTE + 1001, fast_open=None)
    assert accepted(t).recv(2000, False) == b"x" * 1000


def test_a_good_cookie_without_data_opens_too() -> None:
    t = listening()
    syn(t, 0, b"", fast_open=good())
    t.sends(at=0, ack=REMOTE + 1)
    child = accepted(t)
    assert not child.syn_data_acked and child.send(b"y", False) == 1


def test_no_more_are_pending_than_allowed() -> None:
    t = listening(limit=2)
    for n in range(3):
        syn(t, 0, port=1000 + n, fast_open=good())
    assert [int(segment.ack) - REMOTE for _, segment in t.medium.sent] == [11, 11, 1]
    assert t.host.count.tcp_fast_open_listen_overflow == 1


def test_a_reset_of_an_accepted_connection_counts_for_a_minute() -> None:
    t = listening(limit=1)
    syn(t, 0, fast_open=good())
    child = accepted(t)
    t.gets(at=ms(1), seq=REMOTE + 11, ack=LOCAL + 1, flags=RST | ACK)
    assert child.state == CLOSED and child.recv(100, False) == b"0123456789"
    assert child.recv(100, False) is None and child.recv_errno == errno.ECONNRESET
    t.forget()
    syn(t, s(60), port=1001, fast_open=good())
    t.sends(at=s(60), ack=REMOTE + 1)
    syn(t, s(61), port=1002, fast_open=good())
    t.sends(at=s(61), ack=REMOTE + 1, flags=SYN | ACK)  # the first of two: its SYN-ACK again
    t.sends(at=s(61), ack=REMOTE + 11, dport=1002)


def test_a_reset_before_accept_leaves_the_data_to_read() -> None:
    t = listening()
    syn(t, 0, fast_open=good())
    t.iss = int(next(iter(t.sock.listener.accept_queue)).iss) if t.sock.listener else 0
    t.gets(at=ms(1), seq=REMOTE + 11, ack=LOCAL + 1, flags=RST | ACK)
    child = accepted(t)
    assert child.send(b"x", False) == -errno.ECONNRESET
    assert child.recv(100, False) == b"0123456789" and child.recv(100, False) == b""


def test_a_fin_before_accept() -> None:
    t = listening()
    syn(t, 0, fast_open=good())
    t.iss = int(next(iter(t.sock.listener.accept_queue)).iss) if t.sock.listener else 0
    t.forget()
    t.gets(at=ms(1), seq=REMOTE + 11, ack=LOCAL + 1, flags=FIN | ACK)
    t.sends(at=ms(2), ack=REMOTE + 12, flags=ACK)
    assert accepted(t).state == CLOSE_WAIT


def test_a_forged_segment_does_not_end_what_the_program_has() -> None:
    t = listening()
    syn(t, 0, fast_open=good())
    child = accepted(t)
    t.forget()
    t.gets(at=ms(1), seq=REMOTE + 50, flags=RST)
    t.sends(at=ms(1), flags=ACK, seq=LOCAL + 1, ack=REMOTE + 11)
    t.gets(at=ms(2), seq=REMOTE + 5000, flags=SYN)
    t.sends(at=ms(2), flags=RST | ACK, ack=REMOTE + 5001)
    assert child.state == SYN_RECEIVED


def test_shutdown_before_the_handshake_is_over_holds_the_fin() -> None:
    t = listening()
    syn(t, 0, fast_open=good())
    child = accepted(t)
    t.forget()
    assert child.shutdown(1) == 0
    assert child.state == SYN_RECEIVED and child.send(b"x", False) == -errno.EPIPE
    t.gets(at=ms(100), seq=REMOTE + 11, ack=LOCAL + 1)
    t.sends(at=ms(100), flags=FIN | ACK, seq=LOCAL + 1)
    assert child.state == FIN_WAIT_1


def test_close_before_the_handshake_is_over_sends_the_fin() -> None:
    t = listening()
    syn(t, 0, fast_open=good())
    child = accepted(t)
    child.recv(100, False)
    t.forget()
    child.close()
    t.sends(at=0, seq=LOCAL + 1, flags=FIN | ACK, ack=REMOTE + 11)
    assert child.state == FIN_WAIT_1
    t.sends(at=s(1), flags=SYN | ACK)
    t.gets(at=s(1.1), seq=REMOTE + 11, ack=LOCAL + 2)
    assert child.state == CLOSED and t.sock.listener is not None and t.sock.listener.fast.pending == 0


def test_close_with_unread_data_of_the_syn_resets() -> None:
    t = listening()
    syn(t, 0, fast_open=good())
    child = accepted(t)
    t.forget()
    child.close()
    t.sends(at=0, seq=LOCAL + 1, flags=RST | ACK, ack=REMOTE + 11)


def test_closing_the_listener_resets_what_nobody_accepted() -> None:
    t = listening()
    syn(t, 0, fast_open=good())
    t.forget()
    t.sock.close()
    assert t.medium.sent[0][1].flags == RST | ACK
    assert t.host.is_empty() and t.live_events() == 0


def test_an_icmp_error_ends_it_before_accept_only() -> None:
    t = listening()
    syn(t, 0, fast_open=good())
    child = accepted(t)
    head = OWN_PORT.to_bytes(2, "big") + PEER_PORT.to_bytes(2, "big")
    message = IcmpMessage(AF_INET, PEER, OWN, 3, 1, 0, b"")
    t.tcp.error(message, errno.EHOSTUNREACH, False, OWN, PEER, head + int(child.iss).to_bytes(4, "big"))
    assert child.state == SYN_RECEIVED and child.soft_error == errno.EHOSTUNREACH
    syn(t, 0, port=1001, fast_open=good())
    waiting = next(iter(t.sock.listener.accept_queue)) if t.sock.listener else child
    head = OWN_PORT.to_bytes(2, "big") + (1001).to_bytes(2, "big")
    beyond = (int(waiting.iss) + 5000) & 0xFFFF_FFFF
    t.tcp.error(message, errno.EHOSTUNREACH, False, OWN, PEER, head + beyond.to_bytes(4, "big"))
    assert t.host.count.tcp_out_of_window_icmps == 1 and waiting.state == SYN_RECEIVED
    t.tcp.error(message, errno.EHOSTUNREACH, False, OWN, PEER, head + int(waiting.iss).to_bytes(4, "big"))
    assert waiting.error == errno.EHOSTUNREACH


def test_data_of_the_syn_are_not_counted_by_a_congestion_control_that_has_not_begun() -> None:
    t = Scenario()
    t.tcp.tables.congestion = registry.find("bbr")
    warm(t)
    opens(t, b"x" * 1000)
    answers(t, ms(10), LOCAL + 1001)
    assert t.sock.state == ESTABLISHED and t.sock.info().cwnd == 10


def test_the_longest_pause_is_one() -> None:
    t = Scenario()
    t.sysctls.tcp_fastopen_blackhole_timeout_sec = 2**31 - 1
    known = t.tcp.tables.metrics()
    known.pauses = 10
    assert fast_open.is_paused(t.tcp.tables)
