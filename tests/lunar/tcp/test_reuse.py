"""A socket that was connected and connects again: what it has of before, and what it must not have."""

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

from lunar.net.zerocopy import ZeroCopy
from lunar.packet import AF_INET
from lunar.tcp import sockopt
from lunar.tcp.marks import Marks
from lunar.tcp.tcb import ESTABLISHED, OPEN


def again(t: Scenario, at: int) -> None:
    """The socket connects once more, and the peer answers."""
    assert t.sock.connect(PEER, PEER_PORT) == -errno.EINPROGRESS
    t.iss = int(t.sock.iss)
    t.forget()
    t.gets(at=at, seq=REMOTE, ack=LOCAL + 1, flags=SYN | ACK)
    assert t.sock.state == ESTABLISHED
    t.forget()


def test_nothing_of_a_connection_that_was_reset_is_in_the_next() -> None:
    """The program has never asked how connect() ended, as asyncio's do not: the next connect() tells of the end."""
    t = established()
    t.gets(at=0, data=b"of the first")
    t.write(b"x" * 3000)
    t.run(s(1))  # timeouts: cwnd is 1, and the state is LOSS
    t.gets(at=s(1), seq=REMOTE + 13, flags=RST)
    assert t.sock.connect(PEER, PEER_PORT) == -errno.ECONNRESET
    again(t, s(1) + ms(50))
    assert t.read() is None and t.sock.recv_errno == errno.EAGAIN
    assert (t.sock.ca_state, t.sock.cwnd, t.sock.undo_marker, t.sock.prior_ssthresh) == (OPEN, 10, -1, 0)
    info = t.sock.info()
    assert (info.bytes_received, info.bytes_sent, info.retransmits, info.total_retrans) == (0, 0, 0, 0)


def test_an_address_that_was_bound_is_kept() -> None:
    t = Scenario()
    sock = t.tcp.create(AF_INET)
    assert sock.bind(OWN, 0) == 0
    assert sock.connect(PEER, PEER_PORT) == -errno.EINPROGRESS
    t.watch(sock)
    t.sends(at=0)
    t.gets(at=ms(1), seq=0, ack=LOCAL + 1, flags=RST | ACK, ports=(PEER_PORT, int(sock.local_port)))
    assert sock.connect(PEER, PEER_PORT) == -errno.ECONNREFUSED
    assert (sock.local_addr, sock.local_port) == (OWN, 0)


def test_options_outlive_a_connection() -> None:
    t = established()
    sock = t.sock
    sock.mtu_discover, sock.peek_offset, sock.held, sock.defer_accept, sock.fast_limit = 2, 5, 1, 3, 7
    sockopt.set_congestion(sock, type(sock.congestion))
    assert sock.disconnect() == 0
    assert (sock.mtu_discover, sock.peek_offset, sock.held, sock.defer_accept, sock.fast_limit) == (2, 5, 1, 3, 7)
    assert sock.congestion_chosen and sock.local_port == OWN_PORT


def test_buffers_of_the_last_connection_are_still_told_of() -> None:
    t = established()
    t.sock.zerocopy, t.sock.marks = ZeroCopy(), Marks()
    assert t.sock.send(b"x", False, without_copy=True) == 1
    assert t.sock.disconnect() == 0
    report = t.sock.take_report()
    assert report is not None and (report.info, report.data) == (0, 0)
    again(t, ms(1))
    assert t.sock.send(b"x", False, without_copy=True) == 1
    t.gets(at=ms(2), ack=LOCAL + 2)
    report = t.sock.take_report()
    assert report is not None and (report.info, report.data) == (1, 1)  # the count goes on


def test_accept_gives_what_the_listener_was_told() -> None:
    t = server()
    t.sock.mtu_discover, t.sock.peek_offset, t.sock.priority = 0, 0, 6
    t.sock.max_pacing_rate = 1000
    child = t.sock.spawn()
    assert (child.mtu_discover, child.peek_offset, child.priority) == (0, 0, 6)
    assert child.needs_pacing and child.max_pacing_rate == 1000


def test_a_connection_whose_writing_was_shut_before_ends_by_a_fin() -> None:
    t = Scenario()
    sock = t.tcp.create(AF_INET)
    assert sock.bind(OWN, OWN_PORT) == 0
    assert sock.shutdown(1) == -errno.ENOTCONN
    t.watch(sock)
    again(t, ms(1))
    assert sock.send(b"x", False) == -errno.EPIPE
    sock.close()
    t.sends(at=ms(1), seq=LOCAL + 1, flags=FIN | ACK)
    t.gets(at=ms(2), ack=LOCAL + 2, flags=FIN | ACK)
    t.run(s(100))
    assert t.host.is_empty() and t.tcp.tables.orphans == 0
