"""What it does to a connection that a program sets an option of its socket: those of tcp(7) and socket(7) that act at
once, and are not just looked at by and by.

How programs name and encode them is lunar/sockets/tcp_options.py's and options.py's.
"""

from __future__ import annotations

import errno
from typing import Any

from mypy_extensions import i64

from lunar.net.sock import POLLIN
from lunar.tcp import timers
from lunar.tcp.congestion import cwnd
from lunar.tcp.opening import fast_accept, md5
from lunar.tcp.receiver import window
from lunar.tcp.sender import output, probes, segment_size, segments, send_buffer
from lunar.tcp.sock import TcpSock
from lunar.tcp.tcb import CLOSE_WAIT, CLOSED, ESTABLISHED, LISTEN, SYN_SENT


def set_nodelay(sock: TcpSock, on: bool) -> None:
    """TCP_NODELAY; switching it on sends what Nagle held."""
    sock.nodelay = on
    if on and sock.unsent.size > 0:
        sock.push_all = True
        output.push(sock, False)


def set_notsent_lowat(sock: TcpSock, size: int) -> None:
    """TCP_NOTSENT_LOWAT, in bytes; 0 for the host's parameter. A program that waits may have room by it."""
    sock.notsent_lowat = size
    send_buffer_changed(sock)


def send_buffer_changed(sock: TcpSock) -> None:
    """The program has set its size, or TCP_NOTSENT_LOWAT: there may be room now."""
    if sock.state in (ESTABLISHED, CLOSE_WAIT):
        send_buffer.check(sock)
        sock.flush_wake()


def set_cork(sock: TcpSock, on: bool) -> None:
    """TCP_CORK; switching it off sends what it held."""
    sock.cork = on
    if not on and sock.unsent.size > 0:
        sock.push_all = sock.nodelay
        output.push(sock, False)


def set_window_clamp(sock: TcpSock, size: i64) -> i64:
    """TCP_WINDOW_CLAMP, in bytes: the most that is offered to the peer. EINVAL: no bound, on a connection."""
    if size == 0:
        if sock.state != CLOSED:
            return -errno.EINVAL
        sock.window_clamp = 0
        return 0
    size = max(size, window.CLAMP_MIN)
    if sock.state in (CLOSED, LISTEN):
        sock.window_clamp = size
    else:
        window.set_clamp(sock, size)
    return 0


def set_congestion(sock: TcpSock, algorithm: Any) -> None:
    """TCP_CONGESTION: this socket, and what it accepts, has the class `algorithm` from now on."""
    sock.congestion_chosen = True
    if type(sock.congestion) is algorithm:
        return
    cwnd.stop_algorithm(sock)
    sock.congestion = algorithm()
    if sock.state not in (CLOSED, LISTEN, SYN_SENT):
        cwnd.start_algorithm(sock)


def set_rcvlowat(sock: TcpSock, size: i64) -> None:
    """SO_RCVLOWAT: the buffer grows to hold so much, as far as it may."""
    cap: i64 = sock.rcvbuf >> 1 if sock.rcvbuf_locked else sock.tables.sysctls.tcp_rmem_max >> 1
    sock.rcvlowat = max(min(size, cap), 1)
    sock.wake(POLLIN)
    if not sock.rcvbuf_locked and 2 * sock.rcvlowat > sock.rcvbuf:
        sock.rcvbuf = 2 * sock.rcvlowat
        sock.window_clamp = max(sock.window_clamp, sock.rcvlowat)


def set_quickack(sock: TcpSock, on: bool) -> None:
    """TCP_QUICKACK: leave ping-pong mode, with an ACK at once if one is owed; or enter it. It does not last."""
    sock.pingpong = not on
    if on and sock.ack_scheduled and (sock.state in (ESTABLISHED, CLOSE_WAIT)):
        segments.send_ack(sock)


def keepalive_changed(sock: TcpSock) -> None:
    """`keepalive` or `keepidle_ns` was set: on a connection the timer starts, moves or stops."""
    if sock.state in (CLOSED, LISTEN, SYN_SENT):
        return
    if sock.keepalive:
        idle_since: i64 = max(sock.last_ack_ns, sock.last_received_ns)
        sock.keepalive_timer.arm(timers.KEEPALIVE, max(idle_since + probes.idle_ns(sock), sock.scheduler.now_ns))
    else:
        sock.keepalive_timer.disarm()


def set_fast_limit(sock: TcpSock, limit: i64) -> i64:
    """TCP_FASTOPEN: how many fast connections may be pending. 0 or -EINVAL."""
    if limit < 0 or sock.state not in (CLOSED, LISTEN):
        return -errno.EINVAL
    sock.fast_limit = min(limit, sock.tables.sysctls.somaxconn)
    if sock.listener is not None:
        sock.listener.fast.limit = sock.fast_limit
    return 0


def set_fast_keys(sock: TcpSock, keys: bytes) -> i64:
    """TCP_FASTOPEN_KEY: one key of 16 bytes, or two. 0 or -EINVAL."""
    if len(keys) not in (16, 32):
        return -errno.EINVAL
    sock.fast_keys = keys
    if sock.listener is not None:
        sock.listener.fast.keys = keys
    return 0


def fast_keys_used(sock: TcpSock) -> bytes:
    """TCP_FASTOPEN_KEY as it is told: the socket's, or the host's."""
    return sock.fast_keys if sock.fast_keys else fast_accept.host_keys(sock.tables)


def set_md5_key(sock: TcpSock, addr: int, prefix: i64, key: bytes) -> i64:
    """TCP_MD5SIG: the key for peers at `addr`, or in the network that its first `prefix` bits name. An empty key
    takes it away. 0, -EINVAL or -ENOENT.
    """
    if len(key) > md5.KEY_MAX or prefix < 0 or prefix > 128:
        return -errno.EINVAL
    if sock.md5_keys is None:
        sock.md5_keys = []
    if not md5.add(sock.md5_keys, addr, prefix, key):
        return -errno.ENOENT
    sock.tables.md5_used = True
    if sock.remote_port != 0 and sock.state != CLOSED:
        sock.md5_key = md5.find(sock.md5_keys, sock.remote_addr)
        segment_size.update(sock)
    return 0
