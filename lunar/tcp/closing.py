"""How a connection is closed: by the program, on one side or on both, or for good.

RFC 9293 sections 3.10.4 and 3.10.5, with what Linux adds: a RST where data was not read, or with SO_LINGER of 0 s, and
a bound on connections that no program has any more.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from lunar.net.sock import POLLHUP, POLLIN, POLLOUT, POLLRDHUP
from lunar.tcp import chronograph, time_wait
from lunar.tcp.sender import output, segments
from lunar.tcp.tcb import (
    CLOSE_WAIT,
    CLOSED,
    CONNECTED,
    CONNECTING,
    ESTABLISHED,
    FIN_WAIT_2,
    LISTEN,
    SYN_RECEIVED,
    SYN_SENT,
)

if TYPE_CHECKING:
    from lunar.tcp.sock import TcpSock

# What shutdown(2) takes; 2 is both.
_SHUT_RD: Final = 0
_SHUT_WR: Final = 1


def shutdown(sock: TcpSock, how: i64) -> i64:
    """`TcpSock.shutdown`."""
    if how < 0 or how > 2:
        return -errno.EINVAL
    state: i64 = sock.state
    if state == LISTEN:
        if how != _SHUT_WR:
            stop_listening(sock)
            sock.wake(POLLHUP | POLLOUT)
        return 0
    if state == SYN_SENT:
        # Linux disconnects a socket that is still connecting.
        return sock.disconnect()
    if sock.progress == CONNECTING and state != SYN_RECEIVED:
        sock.progress = CONNECTED
    if how != _SHUT_WR:
        sock.read_shut = True
    if how != _SHUT_RD:
        sock.write_shut = True
        # In SYN-RECEIVED the FIN waits for the end of the handshake, as on Linux. Which states have sent none is
        # known by them alone: writing may have been shut before the socket was connected.
        if state in (ESTABLISHED, CLOSE_WAIT):
            _queue_fin(sock)
    mask: i64 = 0
    if sock.read_shut:
        mask |= POLLIN | POLLRDHUP
    if sock.write_shut:
        mask |= POLLOUT
    if sock.read_shut and sock.write_shut:
        mask |= POLLHUP
    sock.wake(mask)
    return -errno.ENOTCONN if state == CLOSED else 0


def close(sock: TcpSock) -> None:
    """`TcpSock.close`."""
    if sock.closed:
        return
    sock.closed = True
    sock.waiters.clear()
    sock.marks = None  # nobody is left to be told
    sock.error_queue = None
    if sock.state == LISTEN:
        stop_listening(sock)
    unread: i64 = sock.received.size
    sock.received.clear()
    sock.rmem = 0
    sock.read_shut = True
    sock.orphan = True
    state: i64 = sock.state
    if state in (CLOSED, SYN_SENT):
        sock.done()
        return
    counters = sock.ip.counters
    if unread > 0 or (sock.linger_on and sock.linger_s == 0):
        if unread > 0:
            counters.tcp_abort_on_close += 1
        else:
            counters.tcp_abort_on_data += 1
        segments.send_reset(sock)
        sock.done()
        return
    sock.tables.orphans += 1
    sock.is_counted_orphan = True
    if sock.tables.orphans > sock.tables.sysctls.tcp_max_orphans:
        counters.tcp_abort_on_memory += 1
        segments.send_reset(sock)
        sock.done()
        return
    sock.write_shut = True
    if state in (ESTABLISHED, SYN_RECEIVED, CLOSE_WAIT):
        _queue_fin(sock)
    if sock.state == FIN_WAIT_2:
        if sock.linger2_s < 0:
            counters.tcp_abort_on_linger += 1
            segments.send_reset(sock)
            sock.done()
            return
        time_wait.enter(sock, FIN_WAIT_2)


def _queue_fin(sock: TcpSock) -> None:
    """RFC 9293 section 3.10.4: a FIN goes after all that was written."""
    sock.queue_fin()
    chronograph.start(sock, chronograph.BUSY)
    output.push(sock, False)


def stop_listening(sock: TcpSock) -> None:
    """The socket listens no more: who waits to be accepted is reset."""
    listener = sock.listener
    if listener is not None:
        sock.tables.remove_listener(sock)
        if sock.bound is not None:
            sock.bound.listening = False
        sock.listener = None
        listener.close()
    sock.set_state(CLOSED)
