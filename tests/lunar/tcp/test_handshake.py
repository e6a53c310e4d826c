"""Opening: RFC 9293 section 3.5, options, simultaneous open, refusal, timeouts."""

from __future__ import annotations

import errno

from tcp_scenario import (
    ACK,
    FIN,
    LOCAL,
    OWN,
    OWN_PORT,
    PEER,
    PEER_PORT,
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
from lunar.packet import IcmpMessage


def test_connect_sends_a_syn_with_linux_options() -> None:
    t = Scenario()
    t.connect()
    # 64240 = 44 * 1460: half of 131072 bytes in whole segments. 10: 33554432 bytes need 26 bits.
    syn = t.sends(at=0, seq=LOCAL, ack=0, flags=SYN, window=64240, mss=1460, window_scale=10, size=0)
    assert syn.has_timestamps and syn.ts_ecr == 0 and syn.sack_permitted
    assert syn.size_bytes == 20 + 20 + 4 + 12 + 4


def test_syn_ack_is_acknowledged_at_once() -> None:
    t = Scenario()
    t.connect()
    syn = t.sends(at=0)
    options = {"mss": 1460, "window_scale": 7, "ts_val": 77, "ts_ecr": syn.ts_val}
    t.gets(at=ms(10), seq=REMOTE, ack=LOCAL + 1, flags=SYN | ACK, **options)
    # 64256: what the SYN offered, rounded up to a multiple of 128.
    ack = t.sends(at=ms(10), seq=LOCAL + 1, ack=REMOTE + 1, flags=ACK, window=63)
    assert ack.ts_ecr == 77 and ack.size_bytes == 52
    assert t.sock.poll() == POLLOUT
    assert t.woken == [POLLOUT]
    assert t.live_events() == 0


def test_handshake_measures_the_round_trip() -> None:
    info = established(rtt=ms(100)).sock.info()
    assert (info.srtt_ns, info.rto_ns) == (ms(100), ms(300))  # R + max(4 * R / 2, 200 ms)


def test_options_that_the_peer_lacks_are_not_used() -> None:
    t = established()
    info = t.sock.info()
    assert (info.snd_wscale, info.rcv_wscale, info.snd_mss) == (0, 0, 1460)
    t.write(b"x")
    assert not t.sends(at=0, data=b"x").has_timestamps


def test_timestamps_take_twelve_bytes_of_each_segment() -> None:
    t = established(timestamps=True)
    assert t.sock.info().snd_mss == 1448
    t.write(b"x" * 5000)
    assert t.sends(at=0, size=1448).size_bytes == 1500


def test_peer_without_mss_option_gets_536() -> None:
    t = established(mss=-1)
    t.write(b"x" * 1000)
    t.sends(at=0, size=536)


def test_mss_follows_the_device() -> None:
    t = Scenario(mtu=1280)
    t.connect()
    t.sends(at=0, mss=1240)


def test_program_may_lower_the_mss() -> None:
    t = Scenario()
    sock = t.tcp.create(2)
    sock.user_mss = 1000
    sock.connect(PEER, PEER_PORT)
    t.sends(at=0, mss=1000)


def test_loopback_mss_is_65495() -> None:
    t = Scenario()
    listening = t.tcp.create(2)
    assert listening.bind(0, 80) == 0 and listening.listen(1) == 0
    sock = t.tcp.create(2)
    assert sock.connect(0, 80) == -errno.EINPROGRESS  # 0.0.0.0 is 127.0.0.1
    t.run(0)
    assert sock.state == 1
    # 65495 - 12 of timestamps; but against a window of 65483 bytes, half of it is a full segment.
    assert sock.info().advmss == 65483 and sock.info().snd_mss == 32741
    assert sock.remote_addr == 0x7F00_0001 and sock.local_addr == 0x7F00_0001
    child = listening.accept_one()
    assert child is not None and child.remote_port == sock.local_port


def test_own_address_is_reached_by_loopback() -> None:
    t = Scenario()
    listening = t.tcp.create(2)
    assert listening.bind(OWN, 80) == 0 and listening.listen(1) == 0
    sock = t.tcp.create(2)
    sock.connect(OWN, 80)
    t.run(0)
    assert sock.state == 1 and sock.local_addr == OWN
    t.sends_nothing(until=0)


def test_lost_syn_is_sent_again_with_backoff() -> None:
    t = Scenario()
    t.connect()
    # tcp_syn_linear_timeouts: four intervals of 1 s, and from the next one on they double.
    for at in (0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67):
        t.sends(at=s(at), seq=LOCAL, flags=SYN)
    t.sends_nothing(until=s(200))


def test_without_linear_timeouts_all_intervals_double() -> None:
    t = Scenario()
    t.tcp.tables.sysctls.tcp_syn_linear_timeouts = 0
    t.connect()
    for at in (0, 1, 3, 7, 15, 31, 63):
        t.sends(at=s(at), seq=LOCAL, flags=SYN)
    t.sends_nothing(until=s(200))


def test_connect_times_out_when_six_doublings_are_over() -> None:
    t = Scenario()
    sock = t.connect()
    # 1 + 2 + ... + 64 = 127 s are allowed; the first timeout after that is at 67 + 64 s.
    t.run(s(131) - 1)
    assert sock.error == 0
    t.run(s(131))
    assert sock.take_error() == errno.ETIMEDOUT
    assert t.woken == [POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDHUP]
    assert t.live_events() == 0
    sock.close()
    assert t.host.is_empty()


def test_syncnt_bounds_the_time_that_a_connect_takes() -> None:
    t = Scenario()
    sock = t.tcp.create(2)
    sock.syn_retries = 1
    assert sock.bind(OWN, OWN_PORT) == 0 and sock.connect(PEER, PEER_PORT) == -errno.EINPROGRESS
    t.watch(sock)
    for at in (0, 1, 2):  # 1 + 2 s
        t.sends(at=s(at), flags=SYN)
    t.sends_nothing(until=s(3))
    assert sock.take_error() == errno.ETIMEDOUT


def test_refused_connection() -> None:
    t = Scenario()
    sock = t.connect()
    t.sends(at=0)
    t.gets(at=ms(10), seq=0, ack=LOCAL + 1, flags=RST | ACK, window=0)
    assert sock.poll() == POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDHUP
    assert sock.take_error() == errno.ECONNREFUSED
    assert t.live_events() == 0


def test_reset_for_another_sequence_does_not_refuse() -> None:
    t = Scenario()
    sock = t.connect()
    t.gets(at=ms(10), seq=0, ack=LOCAL + 7, flags=RST | ACK)
    assert sock.state == 2 and sock.error == 0


def test_unacceptable_ack_of_the_syn_is_reset() -> None:
    t = Scenario()
    t.connect()
    t.sends(at=0)
    t.gets(at=ms(1), seq=REMOTE, ack=LOCAL + 9, flags=SYN | ACK)
    t.sends(at=ms(1), seq=LOCAL + 9, flags=RST)
    assert t.sock.state == 2


def test_connect_says_how_far_it_is() -> None:
    t = Scenario()
    sock = t.connect()
    assert sock.connect(PEER, PEER_PORT) == -errno.EALREADY
    t.gets(at=ms(1), seq=REMOTE, ack=LOCAL + 1, flags=SYN | ACK)
    assert sock.connect(PEER, PEER_PORT) == 0  # as Linux: once
    assert sock.connect(PEER, PEER_PORT) == -errno.EISCONN


def test_refused_socket_can_connect_again() -> None:
    t = Scenario()
    sock = t.tcp.create(2)
    assert sock.connect(PEER, PEER_PORT) == -errno.EINPROGRESS
    t.watch(sock)
    t.sends(at=0)
    t.gets(at=ms(1), seq=0, ack=LOCAL + 1, flags=RST | ACK, ports=(PEER_PORT, int(sock.local_port)))
    assert sock.connect(PEER, PEER_PORT) == -errno.ECONNREFUSED
    assert sock.connect(PEER, PEER_PORT) == -errno.EINPROGRESS
    t.watch(sock)
    t.sends(at=ms(1), seq=LOCAL, flags=SYN)
    t.gets(at=ms(2), seq=REMOTE, ack=LOCAL + 1, flags=SYN | ACK, ports=(PEER_PORT, int(sock.local_port)))
    assert sock.state == 1 and sock.poll() == POLLOUT


def test_unreachable_destination() -> None:
    t = Scenario()
    assert t.tcp.create(2).connect(0x0808_0808, 80) == -errno.ENETUNREACH
    assert t.tcp.create(2).connect(OWN | 0xFF, 80) == -errno.ENETUNREACH  # a broadcast


def test_icmp_error_ends_a_connect() -> None:
    t = Scenario()
    sock = t.connect()
    syn = t.sends(at=0)
    quote = OWN_PORT.to_bytes(2, "big") + PEER_PORT.to_bytes(2, "big") + int(syn.seq).to_bytes(4, "big")
    t.tcp.error(IcmpMessage(2, 0, OWN, 3, 1, 0, b""), errno.EHOSTUNREACH, False, OWN, PEER, quote)
    assert sock.take_error() == errno.EHOSTUNREACH


def test_icmp_error_is_a_hint_later() -> None:
    t = established()
    t.write(b"x")
    data = t.sends(at=0)
    quote = OWN_PORT.to_bytes(2, "big") + PEER_PORT.to_bytes(2, "big") + int(data.seq).to_bytes(4, "big")
    t.tcp.error(IcmpMessage(2, 0, OWN, 3, 1, 0, b""), errno.EHOSTUNREACH, False, OWN, PEER, quote)
    assert t.sock.state == 1 and t.sock.error == 0
    t.run(s(1200))
    assert t.sock.take_error() == errno.EHOSTUNREACH  # instead of ETIMEDOUT


def test_simultaneous_open() -> None:
    # RFC 9293 figure 7.
    t = Scenario()
    t.connect()
    t.sends(at=0, flags=SYN)
    t.gets(at=ms(5), seq=REMOTE, flags=SYN, mss=1460, window_scale=10)
    t.sends(at=ms(5), seq=LOCAL, ack=REMOTE + 1, flags=SYN | ACK, mss=1460)
    t.gets(at=ms(10), seq=REMOTE, ack=LOCAL + 1, flags=SYN | ACK, mss=1460, window_scale=10)
    assert t.sock.state == 1
    assert t.woken == [POLLOUT]


def test_server_answers_a_syn() -> None:
    t = server()
    t.gets(at=0, seq=REMOTE, flags=SYN, mss=1460, window_scale=10, ts_val=99, ts_ecr=0)
    # 65160 = 45 * 1448
    answer = t.sends(at=0, ack=REMOTE + 1, flags=SYN | ACK, window=65160, mss=1460, window_scale=10)
    assert answer.ts_ecr == 99
    assert t.sock.accept_one() is None and t.sock.recv_errno == errno.EAGAIN


def test_server_offers_only_what_the_syn_offered() -> None:
    t = server()
    t.gets(at=0, seq=REMOTE, flags=SYN, mss=1460)
    answer = t.sends(at=0, window_scale=-1)
    assert not answer.has_timestamps


def complete(t: Scenario, at: int, port: int = PEER_PORT, data: bytes = b"") -> None:
    """A client at `port` opens a connection."""
    t.gets(at=at, seq=REMOTE, flags=SYN, mss=1460, ports=(port, OWN_PORT))
    answer = t.medium.sent.pop()[1]
    t.iss = int(answer.seq)
    t.gets(at=at, ack=LOCAL + 1, data=data, ports=(port, OWN_PORT))


def test_accepted_in_the_order_of_completion() -> None:
    t = server()
    for port in (1001, 1002, 1003):
        complete(t, 0, port)
    ports = []
    while (child := t.sock.accept_one()) is not None:
        ports.append(int(child.remote_port))
    assert ports == [1001, 1002, 1003]
    assert t.woken == [POLLIN] * 3


def test_child_has_the_data_that_came_with_the_ack() -> None:
    t = server()
    complete(t, 0, data=b"hello")
    child = t.sock.accept_one()
    assert child is not None and child.recv(100, False) == b"hello"


def test_child_inherits_options() -> None:
    t = server()
    t.sock.nodelay = True
    t.sock.keepalive = True
    complete(t, 0)
    child = t.sock.accept_one()
    assert child is not None and child.nodelay and child.keepalive_timer.at_ns > 0


def test_syn_ack_is_sent_again_five_times() -> None:
    t = server()
    t.gets(at=0, seq=REMOTE, flags=SYN, mss=1460)
    for at in (0, 1, 3, 7, 15, 31):
        t.sends(at=s(at), flags=SYN | ACK)
    t.sends_nothing(until=s(63))
    assert t.live_events() == 0 and not t.tcp.tables.connections


def test_retransmitted_syn_is_answered_again() -> None:
    t = server()
    t.gets(at=0, seq=REMOTE, flags=SYN, mss=1460)
    first = t.sends(at=0)
    t.gets(at=ms(700), seq=REMOTE, flags=SYN, mss=1460)
    assert t.sends(at=ms(700), flags=SYN | ACK).seq == first.seq


def test_reset_ends_a_half_open_connection() -> None:
    t = server()
    t.gets(at=0, seq=REMOTE, flags=SYN, mss=1460)
    t.sends(at=0)
    t.gets(at=ms(1), seq=REMOTE + 1, flags=RST)
    assert not t.tcp.tables.connections and t.live_events() == 0


def test_wrong_ack_of_a_syn_ack_is_reset() -> None:
    t = server()
    t.gets(at=0, seq=REMOTE, flags=SYN, mss=1460)
    t.iss = int(t.sends(at=0).seq)
    t.gets(at=ms(1), ack=LOCAL + 5)
    t.sends(at=ms(1), flags=RST, seq=LOCAL + 5)
    assert t.sock.accept_one() is None


def test_syn_to_a_full_backlog_is_dropped() -> None:
    t = server(backlog=1)
    complete(t, 0, 1001)
    complete(t, 0, 1002)  # the queue holds backlog + 1, as on Linux
    t.gets(at=0, seq=REMOTE, flags=SYN, ports=(1003, OWN_PORT))
    t.sends_nothing(until=s(100))
    assert t.host.count.tcp_listen_overflows == 1 and t.host.count.tcp_listen_drops == 1


def test_last_ack_to_a_full_backlog_is_dropped_until_there_is_room() -> None:
    t = server(backlog=0)
    t.gets(at=0, seq=REMOTE, flags=SYN, mss=1460, ports=(1002, OWN_PORT))
    iss = int(t.sends(at=0).seq)
    complete(t, 0, 1001)
    t.iss = iss
    t.gets(at=0, ack=LOCAL + 1, ports=(1002, OWN_PORT))
    assert t.host.count.tcp_listen_overflows == 1
    assert t.sock.accept_one() is not None
    assert t.sock.accept_one() is None
    # The SYN-ACK comes again, and so does the client's ACK.
    t.sends(at=s(1), flags=SYN | ACK)
    t.gets(at=s(1), ack=LOCAL + 1, ports=(1002, OWN_PORT))
    assert t.sock.accept_one() is not None


def test_closed_listener_resets_what_was_not_accepted() -> None:
    t = server()
    complete(t, 0, 1001)
    t.gets(at=0, seq=REMOTE, flags=SYN, ports=(1002, OWN_PORT))
    t.forget()
    t.sock.close()
    t.sends(at=0, flags=RST | ACK, dport=1001)
    assert t.live_events() == 0 and t.host.is_empty()


def test_segments_for_nobody_are_reset() -> None:
    t = Scenario()
    t.gets(at=0, seq=REMOTE, flags=SYN)
    t.sends(at=0, flags=RST | ACK, ack=REMOTE + 1)
    t.gets(at=0, seq=REMOTE, ack=LOCAL + 3, data=b"abc")
    t.sends(at=0, flags=RST, seq=LOCAL + 3)
    t.gets(at=0, seq=REMOTE, flags=FIN, data=b"abc")
    t.sends(at=0, flags=RST | ACK, ack=REMOTE + 4)
    t.gets(at=0, flags=RST)
    t.sends_nothing(until=s(1))
