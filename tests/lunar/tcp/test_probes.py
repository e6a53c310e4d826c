"""A silent peer: probes of a closed window, keepalive, TCP_USER_TIMEOUT; a device of ours that refuses."""

from __future__ import annotations

import errno

from tcp_scenario import ACK, LOCAL, PSH, Scenario, established, ms, s

from lunar.net.sock import POLLOUT
from lunar.sockets import options
from lunar.tcp import sockopt

IPPROTO_TCP = 6
TCP_KEEPIDLE = 4
TCP_USER_TIMEOUT = 18
TCP_NOTSENT_LOWAT = 25


def set_option(t: Scenario, name: int, value: int) -> None:
    assert options.set_bytes(t.sock, IPPROTO_TCP, name, (value & 0xFFFF_FFFF).to_bytes(4, "little")) == 0


def closed_window() -> Scenario:
    """The peer closed its window at 100 ms; 20 bytes wait. RTO 300 ms."""
    t = established()
    t.write(b"x" * 10)
    t.sends(at=0)
    t.gets(at=ms(100), ack=LOCAL + 11, window=0)
    t.write(b"y" * 20)
    return t


# TCP_USER_TIMEOUT.


def test_user_timeout_of_a_closed_window() -> None:
    t = closed_window()
    set_option(t, TCP_USER_TIMEOUT, 3000)
    for at in (400, 1000, 2200):
        t.sends(at=ms(at), seq=LOCAL + 10, size=0)
    # The next would come after 2400 ms; the timeout is over 3 s after the first.
    t.sends_nothing(until=ms(3399))
    assert t.sock.state == 1
    t.run(ms(3400))
    assert t.sock.take_error() == errno.ETIMEDOUT
    assert t.live_events() == 0


def test_an_answer_that_opens_the_window_ends_the_count() -> None:
    t = closed_window()
    set_option(t, TCP_USER_TIMEOUT, 3000)
    t.run(ms(2300))
    t.gets(at=ms(2300), ack=LOCAL + 11, window=1000)
    t.forget()
    t.gets(at=ms(2400), ack=LOCAL + 31, window=0)
    t.write(b"z")
    t.run(ms(5000))
    assert t.sock.state == 1 and t.sock.error == 0


def test_user_timeout_of_data() -> None:
    t = established()
    set_option(t, TCP_USER_TIMEOUT, 1000)
    t.write(b"x")
    t.sends(at=0)
    t.sends(at=ms(300))
    t.sends(at=ms(900))
    # 600 ms after the first retransmission; what is left of the second is 400 ms.
    t.run(ms(1299))
    assert t.sock.state == 1
    t.run(ms(1300))
    assert t.sock.take_error() == errno.ETIMEDOUT


def test_user_timeout_takes_the_place_of_keepalives_count() -> None:
    t = established()
    set_option(t, TCP_KEEPIDLE, 10)
    set_option(t, TCP_USER_TIMEOUT, 30_000)
    t.sock.keepalive = True
    sockopt.keepalive_changed(t.sock)
    t.sends(at=s(10), seq=LOCAL, size=0)
    t.run(s(84))
    assert t.sock.state == 1  # the test after 75 s has not come yet
    t.sends(at=s(85), seq=LOCAL + 1, flags=ACK | 4)
    assert t.sock.take_error() == errno.ETIMEDOUT


def test_user_timeout_must_not_be_negative() -> None:
    t = established()
    assert options.setsockopt(t.sock, IPPROTO_TCP, TCP_USER_TIMEOUT, -1) == -errno.EINVAL
    set_option(t, TCP_USER_TIMEOUT, 1234)
    assert options.getsockopt(t.sock, IPPROTO_TCP, TCP_USER_TIMEOUT) == 1234


# Our own device refuses.


def test_a_device_without_room_is_asked_each_half_second() -> None:
    t = established()
    set_option(t, TCP_USER_TIMEOUT, 3000)
    t.host.device.queue_packets = 0
    t.write(b"x" * 24)
    assert t.sock.info().unacked == 0 and t.sock.info().notsent_bytes == 24
    # At 300 ms, and then each 500 ms until 3 s after the first.
    t.run(ms(3299))
    assert (t.sock.info().probes, t.sock.info().backoff) == (6, 0)
    t.run(ms(3300))
    assert t.sock.take_error() == errno.ETIMEDOUT
    assert t.forget() == 0


def test_what_a_device_refused_goes_when_it_has_room_again() -> None:
    t = established()
    t.host.device.queue_packets = 0
    t.write(b"x" * 10)
    t.write(b"y" * 10)
    t.sock.shutdown(1)
    t.host.device.queue_packets = -1
    t.sends(at=ms(300), data=b"x" * 10 + b"y" * 10, flags=ACK | PSH | 1)


# Keepalive by the host's parameters.


def test_keepalive_follows_the_hosts_parameters_until_the_program_says_otherwise() -> None:
    t = established()
    sysctls = t.tcp.tables.sysctls
    sysctls.tcp_keepalive_time = 20
    sysctls.tcp_keepalive_intvl = 5
    sysctls.tcp_keepalive_probes = 2
    assert options.getsockopt(t.sock, IPPROTO_TCP, TCP_KEEPIDLE) == 20
    t.sock.keepalive = True
    sockopt.keepalive_changed(t.sock)
    t.sends(at=s(20), seq=LOCAL, size=0)
    t.sends(at=s(25), seq=LOCAL, size=0)
    t.sends(at=s(30), flags=ACK | 4)
    assert t.sock.take_error() == errno.ETIMEDOUT


# The limits of retransmission and of orphans.


def test_probes_of_an_orphan_end_sooner() -> None:
    t = closed_window()
    t.tcp.tables.sysctls.tcp_orphan_retries = 3
    t.sock.close()
    t.run(s(60))
    assert t.forget() == 3
    assert t.host.is_empty()


def test_retries2_bounds_probes() -> None:
    t = closed_window()
    t.tcp.tables.sysctls.tcp_retries2 = 4
    t.run(s(60))
    assert t.forget() == 4
    assert t.sock.take_error() == errno.ETIMEDOUT


# TCP_NOTSENT_LOWAT, which belongs to what waits for a silent peer as well.


def lowat(size: int) -> Scenario:
    t = established(mss=1000, window=32_896)
    set_option(t, TCP_NOTSENT_LOWAT, size)
    return t


def test_no_more_is_taken_than_lowat_unsent() -> None:
    t = lowat(4000)
    # Records of 16 segments: 10 of the first are sent as it grows, and 16,000 bytes are too many to begin another.
    assert t.write(b"x" * 59_000) == 26_000
    assert t.sock.poll() == 0
    t.forget()
    t.woken.clear()
    for count in range(1, 7):
        t.gets(at=ms(100 + count), ack=LOCAL + 1 + 1000 * count, window=32_896)
    assert t.sock.info().notsent_bytes == 4000 and t.woken == []
    t.gets(at=ms(107), ack=LOCAL + 7001, window=32_896)
    assert t.sock.info().notsent_bytes == 2000 and t.woken == []  # less than half of 4000 is asked for
    t.gets(at=ms(108), ack=LOCAL + 8001, window=32_896)
    assert t.woken == [POLLOUT]


def test_lowat_comes_from_the_host_when_the_program_sets_none() -> None:
    t = established(mss=1000, window=32_896)
    t.tcp.tables.sysctls.tcp_notsent_lowat = 4000
    assert options.get_bytes(t.sock, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 4) == bytes(4)
    assert t.write(b"x" * 59_000) == 26_000


def test_a_lowat_of_all_bits_is_kept() -> None:
    t = lowat(-1)
    assert options.get_bytes(t.sock, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 4) == b"\xff" * 4


def test_a_larger_send_buffer_wakes_who_waits() -> None:
    t = established()
    assert options.setsockopt(t.sock, 1, options.SO_SNDBUF, 10_000) == 0
    t.write(b"x" * 60_000)
    t.woken.clear()
    assert options.setsockopt(t.sock, 1, options.SO_SNDBUF, 100_000) == 0
    assert t.woken == [POLLOUT]


def test_raising_lowat_wakes_who_waits() -> None:
    t = lowat(4000)
    t.sock.sndbuf = 100_000
    t.write(b"x" * 59_000)
    t.woken.clear()
    set_option(t, TCP_NOTSENT_LOWAT, 100_000)
    assert t.woken == [POLLOUT]
