"""What a listener keeps and for how long: the SYN queue, SYN cookies (RFC 4987), the accept queue, TCP_DEFER_ACCEPT."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from tcp_scenario import ACK, LOCAL, OWN_PORT, REMOTE, RST, SYN, Scenario, ms, s, server

from lunar.sockets import options, tcp_options
from lunar.tcp.opening import listen, syn_cookies
from lunar.tcp.sock import TcpSock

OPTIONS: dict[str, Any] = {"mss": 1460, "window_scale": 7, "sack_permitted": True}


def listener(t: Scenario) -> listen.Listener:
    found = t.sock.listener
    assert found is not None
    return found


def syn(t: Scenario, at: int, port: int, **options: Any) -> None:
    t.gets(at=at, seq=REMOTE, flags=SYN, ports=(port, OWN_PORT), **{**OPTIONS, **options})


def answered(t: Scenario) -> list[int]:
    """The ports to which SYN-ACKs went."""
    ports = [int(segment.dport) for _, segment in t.medium.sent if segment.flags == SYN | ACK]
    t.medium.sent.clear()
    return ports


def ack_for(t: Scenario, at: int, port: int, iss: int, **options: Any) -> None:
    t.iss = iss
    t.gets(at=at, seq=REMOTE + 1, ack=LOCAL + 1, ports=(port, OWN_PORT), **options)


def child(t: Scenario) -> TcpSock:
    found = t.sock.accept_one()
    assert found is not None
    return found


# The SYN queue


def test_the_syn_queue_holds_one_more_than_the_backlog() -> None:
    t = server(backlog=1)
    t.tcp.tables.sysctls.tcp_syncookies = 0
    for port in range(1000, 1004):
        syn(t, 0, port)
    assert answered(t) == [1000, 1001]  # as a kernel of Linux 6.18 does
    assert (t.host.count.tcp_req_q_full_drop, t.host.count.tcp_listen_drops) == (2, 2)


def test_without_cookies_the_last_quarter_is_for_peers_known_before() -> None:
    t = server(backlog=100)
    sysctls = t.tcp.tables.sysctls
    sysctls.tcp_syncookies, sysctls.tcp_max_syn_backlog = 0, 8
    for port in range(1000, 1010):
        syn(t, 0, port)
    assert len(answered(t)) == 7  # eight less two and one
    t.tcp.tables.metrics().entry(0x0A00_0001, 0x0A00_0002)
    syn(t, 0, 2000)
    assert answered(t) == [2000]


def test_old_requests_go_sooner_when_they_fill_the_queue() -> None:
    t = server(backlog=8)
    for port in range(1000, 1006):
        syn(t, 0, port)
    t.forget()
    t.run(s(100))
    # 2 * 6 is more than the backlog and none is young: two retries instead of five, until 2 * 4 are left.
    assert len(answered(t)) == 2 * 2 + 4 * 5
    assert not listener(t).requests and listener(t).young == 0


def test_retries_of_the_syn_ack_by_parameter_and_option() -> None:
    for retries, option, times in ((1, 0, (0, 1)), (5, 2, (0, 1, 3))):
        t = server()
        t.tcp.tables.sysctls.tcp_synack_retries = retries
        t.sock.syn_retries = option
        syn(t, 0, 1000)
        for at in times:
            t.sends(at=s(at), flags=SYN | ACK)
        t.sends_nothing(until=s(100))


def test_a_reset_of_a_request_is_believed_exactly() -> None:
    # RFC 5961 (3.2), which Linux obeys in SYN-RECEIVED, too.
    t = server()
    syn(t, 0, 1000)
    t.iss = int(t.sends(at=0, flags=SYN | ACK).seq)
    t.gets(at=ms(1), seq=REMOTE + 50, flags=RST, ports=(1000, OWN_PORT))
    t.sends(at=ms(1), flags=ACK, seq=LOCAL + 1, ack=REMOTE + 1)
    assert len(listener(t).requests) == 1
    t.gets(at=ms(2), seq=REMOTE + 1, flags=RST, ports=(1000, OWN_PORT))
    assert not listener(t).requests and not t.medium.sent


# SYN cookies


def flooded(backlog: int = 0, mode: int = 1) -> Scenario:
    t = server(backlog)
    t.tcp.tables.sysctls.tcp_syncookies = mode
    for port in range(1000, 1001 + backlog):
        syn(t, 0, port)
    t.forget()
    return t


def test_a_full_syn_queue_answers_with_cookies_and_keeps_nothing() -> None:
    t = flooded()
    for port in range(2000, 2100):
        syn(t, 0, port)
    assert len(answered(t)) == 100
    assert len(listener(t).requests) == 1 and t.host.count.tcp_syncookies_sent == 100
    t.run(s(100))
    assert t.live_events() == 0


def test_the_ack_of_a_cookie_makes_the_connection() -> None:
    t = flooded()
    syn(t, 0, 2000, ts_val=77, ts_ecr=0)
    answer = t.sends(at=0, flags=SYN | ACK, ack=REMOTE + 1, sack_permitted=True)
    listener(t).requests.clear()
    ack_for(t, ms(50), 2000, int(answer.seq), ts_val=78, ts_ecr=int(answer.ts_val), data=b"hello")
    found = child(t)
    assert found.recv(10, False) == b"hello"
    info = found.info()
    assert (info.snd_wscale, info.rcv_wscale, info.snd_mss) == (7, answer.window_scale, 1448)
    assert found.sack_ok and t.host.count.tcp_syncookies_recv == 1


def test_without_timestamps_a_cookie_brings_back_the_mss_alone() -> None:
    t = flooded()
    syn(t, 0, 2000, mss=1400)
    answer = t.sends(at=0, flags=SYN | ACK, window_scale=-1, sack_permitted=False)
    ack_for(t, ms(50), 2000, int(answer.seq))
    info = child(t).info()
    assert (info.snd_wscale, info.snd_mss) == (0, 1300)  # the next lower of what three bits can say


@pytest.mark.parametrize(("timestamps", "srtt"), [(False, 0), (True, ms(40))])
def test_of_a_cookie_only_the_timestamp_measures(timestamps: bool, srtt: int) -> None:
    t = flooded()
    t.run(s(10))
    t.forget()
    options: dict[str, Any] = {"ts_val": 77, "ts_ecr": 0} if timestamps else {}
    syn(t, s(10), 2000, **options)
    answer = t.sends(at=s(10))
    if timestamps:
        options["ts_ecr"] = int(answer.ts_val)
    ack_for(t, s(10) + ms(40), 2000, int(answer.seq), **options)
    info = child(t).info()
    # The timestamp stands up to 64 ms behind, for the options in it; without one RFC 6298 (5.7) has 3 s.
    assert srtt <= info.srtt_ns <= srtt + ms(64 if timestamps else 0)
    assert info.rto_ns < s(1) if timestamps else info.rto_ns == s(3)


def test_a_forged_ack_is_reset() -> None:
    t = flooded()
    syn(t, 0, 2000)
    answer = t.sends(at=0)
    ack_for(t, 0, 2000, int(answer.seq) + 1)
    t.sends(at=0, flags=RST)
    ack_for(t, 0, 2001, int(answer.seq))
    t.sends(at=0, flags=RST)
    assert t.host.count.tcp_syncookies_failed == 2 and t.sock.accept_one() is None


@pytest.mark.parametrize(("at", "good"), [(63, True), (129, False)])
def test_a_cookie_gets_old(at: int, good: bool) -> None:
    t = flooded()
    syn(t, 0, 2000)
    answer = t.sends(at=0)
    t.run(s(at))
    t.forget()
    listener(t).last_cookie_ns = t.scheduler.now_ns  # others were sent since
    ack_for(t, s(at), 2000, int(answer.seq))
    assert (t.sock.accept_one() is not None) == good


def test_acks_are_no_cookies_while_none_were_sent() -> None:
    t = server()
    ack_for(t, 0, 2000, 12345)
    t.sends(at=0, flags=RST)
    assert t.host.count.tcp_syncookies_failed == 0


def test_cookies_always() -> None:
    t = server()
    t.tcp.tables.sysctls.tcp_syncookies = 2
    syn(t, 0, 2000)
    answer = t.sends(at=0, flags=SYN | ACK)
    assert not listener(t).requests
    ack_for(t, ms(1), 2000, int(answer.seq))
    assert child(t).state == 1


@pytest.mark.parametrize("ticks", [0, 63, 64, 1000, 1_000_063])
@pytest.mark.parametrize(("scale", "sack"), [(-1, False), (0, True), (14, False)])
def test_a_timestamp_with_options_is_never_ahead_of_the_clock(ticks: int, scale: int, sack: bool) -> None:
    found = int(syn_cookies.stamp(ticks, scale, sack))
    assert ticks - 64 < found <= ticks
    assert found & 0x1F == (15 if scale < 0 else scale) | (16 if sack else 0)


# The accept queue


def full(abort: int) -> tuple[Scenario, int]:
    """A listener whose accept queue is full, and one more request: its initial sequence number."""
    t = server(backlog=0)
    t.tcp.tables.sysctls.tcp_abort_on_overflow = abort
    syn(t, 0, 1000)
    first = t.sends(at=0)
    listener(t).requests, kept = {}, listener(t).requests
    syn(t, 0, 1001)
    second = t.sends(at=0)
    listener(t).requests |= kept
    ack_for(t, ms(1), 1000, int(first.seq))
    assert listener(t).is_full()
    return t, int(second.seq)


def test_an_ack_is_dropped_while_the_accept_queue_is_full() -> None:
    t, iss = full(abort=0)
    ack_for(t, ms(2), 1001, iss)
    t.sends_nothing(until=ms(2))
    assert t.host.count.tcp_listen_overflows == 1
    t.sends(at=s(1), flags=SYN | ACK)  # the peer's ACK of this one comes when there is room
    child(t)
    ack_for(t, s(1), 1001, iss)
    assert child(t).remote_port == 1001


def test_an_overflow_may_be_told_by_a_reset() -> None:
    t, iss = full(abort=1)
    ack_for(t, ms(2), 1001, iss)
    t.sends(at=ms(2), flags=RST, seq=LOCAL + 1)
    assert t.host.count.tcp_embryonic_rsts == 1 and not listener(t).requests


# TCP_DEFER_ACCEPT


def test_a_deferred_accept_waits_for_data() -> None:
    t = server()
    t.sock.defer_accept = 2
    syn(t, 0, 1000)
    answer = t.sends(at=0)
    ack_for(t, ms(10), 1000, int(answer.seq))
    assert t.sock.accept_one() is None and t.host.count.tcp_defer_accept_drop == 1
    ack_for(t, ms(20), 1000, int(answer.seq), data=b"GET")
    assert child(t).recv(10, False) == b"GET"


def test_a_deferred_accept_ends_with_its_time() -> None:
    t = server()
    t.sock.defer_accept = 2  # 1 + 2 s
    syn(t, 0, 1000)
    answer = t.sends(at=0)
    ack_for(t, ms(10), 1000, int(answer.seq))
    t.sends_nothing(until=s(2))  # silence, while there is nothing to ask for
    t.sends(at=s(3), flags=SYN | ACK)
    ack_for(t, s(3), 1000, int(answer.seq))
    assert child(t).state == 1


# Ports


def test_ephemeral_ports_are_of_the_hosts_range() -> None:
    t = Scenario()
    t.host.ip.local_port_first, t.host.ip.local_port_last = 40_000, 40_003
    ports = set()
    for _ in range(4):
        sock = t.tcp.create(2)
        assert sock.bind(0, 0) == 0
        ports.add(int(sock.local_port))
    assert ports == {40_000, 40_001, 40_002, 40_003}
    assert t.tcp.create(2).bind(0, 0) == -errno.EADDRINUSE


# TCP_SAVE_SYN


def test_the_headers_of_the_syn_can_be_asked_for_once() -> None:
    t = server()
    assert options.setsockopt(t.sock, options.IPPROTO_TCP, tcp_options.TCP_SAVE_SYN, 1) == 0
    syn(t, 0, 1000, data=b"hello")
    answer = t.sends(at=0)
    ack_for(t, 0, 1000, int(answer.seq))
    found = child(t)
    assert options.get_bytes(found, options.IPPROTO_TCP, tcp_options.TCP_SAVED_SYN, 4) is None
    assert options.getsockopt(found, options.IPPROTO_TCP, tcp_options.TCP_SAVED_SYN) == -errno.EINVAL
    saved = options.get_bytes(found, options.IPPROTO_TCP, tcp_options.TCP_SAVED_SYN, 100)
    # Headers of 20 and 20 bytes, MSS, SACK permitted and window scale; the total length counts the data, too.
    assert saved is not None and len(saved) == 52 and saved[0] == 0x45 and saved[33] == SYN
    assert int.from_bytes(saved[2:4], "big") == 57
    assert options.get_bytes(found, options.IPPROTO_TCP, tcp_options.TCP_SAVED_SYN, 100) == b""
