"""The limits around connections that begin or end: TIME-WAIT, FIN-WAIT-2, orphans, challenge ACKs (RFC 5961)."""

from __future__ import annotations

import errno

import pytest
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
    TcpSock,
    established,
    ms,
    s,
)  # fmt: skip

from lunar.packet import IcmpMessage
from lunar.tcp import tcb

D = LOCAL + 1


def in_time_wait(timestamps: bool = False) -> Scenario:
    """Both have closed, this side first; the peer's FIN came at 100 ms."""
    t = established(timestamps=timestamps)
    t.sock.reuse_addr = True
    t.sock.close()
    t.forget()
    t.gets(at=ms(100), ack=D + 1, flags=FIN | ACK)
    t.forget()
    return t


def again(t: Scenario) -> int:
    """connect() with the same ends."""
    sock = t.tcp.create(2)
    sock.reuse_addr = True
    assert sock.bind(OWN, OWN_PORT) == 0
    result = int(sock.connect(PEER, PEER_PORT))
    if result == -errno.EINPROGRESS:
        t.watch(sock)
    return result


# TIME-WAIT


def test_no_more_than_the_most_are_kept_in_time_wait() -> None:
    t = established()
    t.tcp.tables.sysctls.tcp_max_tw_buckets = 0
    t.sock.close()
    t.forget()
    t.gets(at=ms(100), ack=D + 1, flags=FIN | ACK)
    assert t.host.is_empty() and t.host.count.tcp_time_wait_overflow == 1 and t.live_events() == 0


def test_time_wait_ends_after_60_s() -> None:
    t = in_time_wait()
    assert t.tcp.tables.time_waits == 1
    t.run(ms(100) + s(60) - 1)
    assert not t.host.is_empty()
    t.run(ms(100) + s(60))
    assert t.host.is_empty() and t.tcp.tables.time_waits == 0 and t.host.count.tcp_tw == 1


@pytest.mark.parametrize(
    ("mode", "timestamps", "after", "result"),
    [
        (0, True, s(10), -errno.EADDRNOTAVAIL),
        (2, True, s(10), -errno.EADDRNOTAVAIL),  # not an address of loopback
        (1, False, s(10), -errno.EADDRNOTAVAIL),  # nothing to tell old segments by
        (1, True, s(1), -errno.EADDRNOTAVAIL),  # tcp_tw_reuse_delay
        (1, True, s(1.2), -errno.EINPROGRESS),
    ],
)
def test_a_connect_may_reuse_time_wait(mode: int, timestamps: bool, after: int, result: int) -> None:
    # RFC 6191 (2), from the other side; ip-sysctl, tcp_tw_reuse.
    t = in_time_wait(timestamps)
    t.tcp.tables.sysctls.tcp_tw_reuse = mode
    t.run(after)
    assert again(t) == result
    if result == -errno.EINPROGRESS:
        assert t.tcp.tables.time_waits == 0 and t.host.count.tcp_tw_recycled == 1
        t.sends(at=after, flags=SYN)


def test_the_reused_one_starts_beyond_all_old_sequence_numbers() -> None:
    t = in_time_wait(timestamps=True)
    t.tcp.tables.sysctls.tcp_tw_reuse = 1
    before = t.iss
    t.run(s(2))
    assert again(t) == -errno.EINPROGRESS
    assert (t.iss - before) & 0xFFFF_FFFF == 2 + 65_535 + 2  # SYN, FIN, the largest window without scale, and two


def test_a_reset_ends_time_wait_unless_rfc_1337_is_obeyed() -> None:
    for obeyed in (0, 1):
        t = in_time_wait()
        t.tcp.tables.sysctls.tcp_rfc1337 = obeyed
        t.gets(at=ms(200), seq=REMOTE + 2, flags=RST)
        assert t.host.is_empty() == (obeyed == 0)


# FIN-WAIT-2


def in_fin_wait_2(linger2: int = 0, timeout: int = 60) -> Scenario:
    t = established()
    t.tcp.tables.sysctls.tcp_fin_timeout = timeout
    t.sock.linger2_s = linger2
    t.sock.close()
    t.forget()
    t.gets(at=ms(100), ack=D + 1)
    return t


@pytest.mark.parametrize(("linger2", "timeout", "seconds"), [(0, 60, 60), (0, 10, 10), (5, 60, 5), (100, 60, 100)])
def test_fin_wait_2_of_an_orphan_ends(linger2: int, timeout: int, seconds: int) -> None:
    t = in_fin_wait_2(linger2, timeout)
    t.run(ms(100) + s(seconds) - 1)
    assert not t.host.is_empty()
    t.run(ms(100) + s(seconds))
    assert t.host.is_empty()


def test_fin_wait_2_lasts_three_timeouts_and_a_half_at_least() -> None:
    t = in_fin_wait_2(timeout=0)
    rto = ms(100) + ms(200)  # SRTT after two samples of 100 ms, and the least variance
    t.run(ms(100) + rto * 7 // 2 - 1)
    assert not t.host.is_empty()
    t.run(ms(100) + rto * 7 // 2)
    assert t.host.is_empty()


def test_a_negative_linger2_leaves_nothing_behind() -> None:
    t = in_fin_wait_2(linger2=-1)
    assert t.host.is_empty()
    t = established()
    t.sock.linger2_s = -1
    t.sock.shutdown(1)
    t.gets(at=ms(100), ack=D + 1)
    t.forget()
    t.sock.close()
    t.sends(at=ms(100), flags=RST | ACK, seq=D + 1)
    assert t.host.is_empty() and t.host.count.tcp_abort_on_linger == 1


# Orphans


def test_orphans_are_counted_and_bounded() -> None:
    t = established()
    t.tcp.tables.sysctls.tcp_max_orphans = 0
    t.sock.close()
    t.sends(at=0, flags=RST | ACK)
    assert t.host.count.tcp_abort_on_memory == 1 and t.tcp.tables.orphans == 0 and t.host.is_empty()


def test_an_orphan_is_one_until_its_end() -> None:
    t = established()
    t.sock.close()
    assert t.tcp.tables.orphans == 1
    t.gets(at=ms(100), ack=D + 1)
    assert t.tcp.tables.orphans == 0  # FIN-WAIT-2 is a smaller object


# RFC 5961


def test_challenge_acks_of_the_host_are_limited() -> None:
    t = established()
    t.tcp.tables.sysctls.tcp_invalid_ratelimit = 0
    t.tcp.tables.sysctls.tcp_challenge_ack_limit = 10
    for _ in range(100):
        t.gets(at=0, flags=SYN)
    first = t.forget()
    assert 5 <= first <= 15  # at random, so that nobody can count them
    t.gets(at=s(1), flags=SYN)
    assert t.forget() == 1
    assert t.host.count.tcp_syn_challenge == 101 and t.host.count.tcp_challenge_acks == first + 1


def test_the_interval_of_a_socket_is_a_parameter() -> None:
    t = established()
    t.tcp.tables.sysctls.tcp_invalid_ratelimit = 100
    t.gets(at=0, flags=SYN)
    t.gets(at=ms(99), flags=SYN)
    t.gets(at=ms(100), flags=SYN)
    assert t.forget() == 2


def test_a_reset_at_the_end_of_what_was_sacked_is_believed() -> None:
    t = Scenario()
    t.connect()
    t.forget()
    t.gets(at=0, seq=REMOTE, ack=LOCAL + 1, flags=SYN | ACK, mss=1460, sack_permitted=True)
    t.gets(at=ms(1), seq=REMOTE + 101, data=b"x" * 100)
    t.gets(at=ms(2), seq=REMOTE + 150, flags=RST)
    assert t.sock.state == tcb.ESTABLISHED
    t.gets(at=ms(3), seq=REMOTE + 201, flags=RST)
    assert t.sock.state == tcb.CLOSED


def test_a_reset_that_does_not_count_the_fin_is_believed_after_it() -> None:
    t = established()
    t.gets(at=0, flags=FIN | ACK)
    t.gets(at=ms(1), seq=REMOTE + 1, flags=RST)
    assert t.sock.error == errno.EPIPE


# Both ends on one host


def test_a_socket_may_connect_to_itself() -> None:
    # RFC 9293 (3.5): simultaneous open, with one socket at both ends.
    t = Scenario()
    sock = t.tcp.create(2)
    assert sock.bind(OWN, OWN_PORT) == 0
    assert sock.connect(OWN, OWN_PORT) == -errno.EINPROGRESS
    t.run(0)
    assert sock.state == tcb.ESTABLISHED
    assert sock.send(b"hello", False) == 5
    t.run(ms(1))
    assert sock.recv(10, False) == b"hello"
    sock.close()
    t.run(s(61))
    assert t.host.is_empty() and t.live_events() == 0


def group(t: Scenario, size: int) -> list[TcpSock]:
    made = []
    for _ in range(size):
        sock = t.tcp.create(2)
        sock.reuse_port = True
        assert sock.bind(0, OWN_PORT) == 0 and sock.listen(100) == 0
        made.append(sock)
    return made


def test_a_reuseport_group_shares_connections_by_their_ends() -> None:
    t = Scenario()
    socks = group(t, 2)
    for port in range(1000, 1064):
        t.gets(at=0, seq=REMOTE, flags=SYN, ports=(port, OWN_PORT))
    counts = [len(sock.listener.requests) for sock in socks if sock.listener is not None]
    assert sum(counts) == 64 and min(counts) > 16
    # The ACK finds the socket that took the SYN.
    t.gets(at=0, seq=REMOTE, flags=SYN, ports=(1000, OWN_PORT))
    assert sum(len(sock.listener.requests) for sock in socks if sock.listener is not None) == 64
    socks[0].close()
    t.forget()
    t.gets(at=0, seq=REMOTE, flags=SYN, ports=(2000, OWN_PORT))
    t.sends(at=0, flags=SYN | ACK)


def test_icmp_errors_of_a_connection_are_remembered_and_told_when_it_dies() -> None:
    # RFC 1122 (4.2.3.9).
    t = established()
    t.sock.soft_error = 0
    quoted = OWN_PORT.to_bytes(2, "big") + PEER_PORT.to_bytes(2, "big") + (t.iss + 1).to_bytes(4, "big")
    message = IcmpMessage(2, PEER, OWN, 3, 1, 0, b"")
    t.write(b"x")
    t.tcp.error(message, errno.EHOSTUNREACH, False, OWN, PEER, quoted)
    assert t.sock.state == tcb.ESTABLISHED and t.sock.error == 0
    t.run(s(2000))
    assert t.sock.take_error() == errno.EHOSTUNREACH
