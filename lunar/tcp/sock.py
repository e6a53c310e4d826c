"""A TCP socket: what a program can ask of a connection. No call blocks; a result is a count or a negative errno.

Read tcb.py for the state that these calls change, and tcp(7), connect(2), send(2) ... for what they promise; the errnos
are those of Linux. RFC 9293 section 3.10.1 to 3.10.6 are the same calls.
"""

from __future__ import annotations

import errno
from typing import Any, Final, final

from mypy_extensions import i64

from lunar.net import path_mtu
from lunar.net.sock import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI, POLLRDHUP
from lunar.packet import ACK, PSH
from lunar.tcp import chronograph, closing, timeouts, timers, urgent
from lunar.tcp.congestion import cwnd
from lunar.tcp.congestion.control import CongestionControl
from lunar.tcp.info import TcpInfo
from lunar.tcp.loss import rate
from lunar.tcp.opening import connect, fast_accept, fast_open, inheritance, listen
from lunar.tcp.receiver import delayed_ack, receive_buffer, window
from lunar.tcp.sender import output, records, segment_size, segments, send_buffer, send_marks
from lunar.tcp.tables import Tables
from lunar.tcp.tcb import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    CONNECTED,
    ESTABLISHED,
    FIN_WAIT_1,
    LAST_ACK,
    LISTEN,
    SYN_RECEIVED,
    SYN_SENT,
    UNCONNECTED,
    Sent,
    Tcb,
)

__all__ = ["LISTEN", "TcpInfo", "TcpSock"]

_LOOPBACK: Final = 0x7F00_0001


@final
class TcpSock(Tcb):
    """A TCP socket."""

    def __init__(self, tables: Tables, family: i64, congestion: CongestionControl) -> None:
        super().__init__(tables, family, congestion)
        self.listener: listen.Listener | None = None
        self.closed: bool = False
        self.fast_limit: i64 = 0  # TCP_FASTOPEN: fast connections that may be pending, once it listens
        self.fast_keys: bytes = b""  # TCP_FASTOPEN_KEY

    # Names.

    def bind(self, addr: int, port: i64) -> i64:
        """Take `port` (0: any) at `addr` (0: all). EADDRINUSE, EADDRNOTAVAIL, EINVAL.

        A socket whose connection is over has no port, unless it was bound to that one, and can take another.
        """
        local = self.ip.local
        if addr and addr not in local and not (addr >> 24 == 127 and _LOOPBACK in local):
            if not self.freebind and not self.ip.binds_any(addr):
                return -errno.EADDRNOTAVAIL
        if self.bound is not None or self.state != CLOSED:
            return -errno.EINVAL
        tables = self.tables
        asked = port != 0
        if port == 0:
            port = tables.free_port()
            if port < 0:
                return -errno.EADDRINUSE
        elif tables.conflicts(addr, port, self.covers, self.reuse_addr, self.reuse_port, None):
            return -errno.EADDRINUSE
        self.bound = tables.bind(addr, port, self.covers, self.reuse_addr, self.reuse_port, False)
        self.local_addr = addr
        self.local_port = port
        self.addr_locked = addr != 0
        self.port_locked = asked
        return 0

    # Opening.

    def connect(self, addr: int, port: i64) -> i64:
        """RFC 9293 section 3.10.1, the active OPEN. The first call returns -EINPROGRESS or the reason why not.

        With TCP_FASTOPEN_CONNECT, and a cookie of the peer's, it returns 0, and the first `send` opens.

        As on Linux, the call after the handshake returns 0 once and then -EISCONN; EALREADY while it lasts; after it
        failed, the pending error (ECONNABORTED when that was taken), and then the socket can be used again.
        """
        return connect.connect(self, addr, port)

    def send_fast_open(self, data: bytes, addr: int, port: i64, more: bool, without_copy: bool = False) -> i64:
        """MSG_FASTOPEN, tcp(7): connect and send in one. On a connection as `send`. `without_copy`: MSG_ZEROCOPY.

        The count of bytes that the SYN took, which may be less than all; or -EINPROGRESS if it took none, and what
        `connect` and `send` fail with; EOPNOTSUPP if the host does not open fast (tcp_fastopen).
        """
        if self.tables.sysctls.tcp_fastopen & fast_open.CLIENT == 0:
            return -errno.EOPNOTSUPP
        if not self.deferred:
            if self.progress != UNCONNECTED or self.state != CLOSED:
                result: i64 = self.connect(addr, port)
                return result if result < 0 else self.send(data, more, without_copy=without_copy)
            if port < 0:
                return -errno.EINVAL  # no address
            result = connect.begin(self, addr, port)
            if result < 0:
                return result
        took: i64 = connect.send_first_syn(self, data, True)
        if self.marks is not None and took > 0:
            send_marks.wrote(self, self.marks, took, took == len(data), without_copy)
        return took if took > 0 else -errno.EINPROGRESS

    def disconnect(self) -> i64:
        """connect(2) to AF_UNSPEC: end what there is, with a RST if there is a peer; the socket can be used again."""
        state: i64 = self.state
        error: i64 = self.error
        if state == LISTEN:
            closing.stop_listening(self)
        elif state == SYN_SENT:
            error = errno.ECONNRESET
        elif state not in (CLOSED, LAST_ACK):
            segments.send_reset(self)
            error = errno.ECONNRESET
        self.done()
        local_port = self.local_port
        self.renew()
        self.error = error
        self.local_port = local_port  # still told when it is no longer had, as on Linux
        self.wake(POLLIN | POLLOUT | POLLHUP | POLLRDHUP)
        return 0

    def renew(self) -> None:
        fresh = TcpSock(self.tables, self.family, type(self.congestion)())
        inheritance.give_options(self, fresh)
        fresh.window_clamp = 0  # as on Linux
        # What connections do not inherit from a listener.
        fresh.congestion_chosen = self.congestion_chosen
        fresh.fastopen_connect = self.fastopen_connect
        fresh.fast_limit = self.fast_limit
        fresh.fast_keys = self.fast_keys
        fresh.defer_accept = self.defer_accept
        fresh.save_syn = self.save_syn
        fresh.error_queue = self.error_queue
        fresh.stamping = self.stamping
        fresh.zerocopy = self.zerocopy
        fresh.covers = self.covers
        fresh.ipv6 = self.ipv6
        if fresh.ipv6 is not None:
            fresh.ipv6.flow_label = -1
        fresh.v6only = self.v6only
        fresh.nonblocking = self.nonblocking
        fresh.on_urgent = self.on_urgent
        fresh.descriptors = self.descriptors
        fresh.held = self.held
        fresh.waiters = self.waiters
        fresh.bound = self.bound
        if self.port_locked:
            fresh.port_locked = True
            fresh.local_port = self.local_port
        if self.addr_locked:
            fresh.addr_locked = True
            fresh.local_addr = self.local_addr
        self._become(fresh)

    def _become(self, fresh: TcpSock) -> None:
        """Have all that `fresh` has. (Compiled, a second `__init__` would never let go of what the first one made.)"""
        names: Any = getattr(TcpSock, "__mypyc_attrs__", None)
        if names is None:
            names = list(vars(fresh))
        for name in names:
            value: Any = getattr(fresh, name)
            if isinstance(value, timers.Timer):
                value.tcb = self
            setattr(self, name, value)

    def listen(self, backlog: i64) -> i64:
        """The passive OPEN: take connections, `backlog` + 1 of which may wait for accept. EADDRINUSE, EINVAL."""
        most: i64 = self.tables.sysctls.somaxconn
        if backlog < 0 or backlog > most:
            backlog = most
        listener = self.listener
        if listener is not None:
            listener.backlog = backlog
            return 0
        if self.state != CLOSED or self.progress != UNCONNECTED:
            return -errno.EINVAL
        tables = self.tables
        if self.bound is None:
            port: i64 = tables.free_port()
            if port < 0:
                return -errno.EADDRINUSE
            self.bound = tables.bind(self.local_addr, port, self.covers, self.reuse_addr, self.reuse_port, False)
            self.local_port = port
        elif tables.conflicts(
            self.local_addr, self.local_port, self.covers, self.reuse_addr, self.reuse_port, self.bound
        ):
            return -errno.EADDRINUSE
        if self.bound is not None:
            self.bound.listening = True
        listener = listen.Listener(self)
        listener.backlog = backlog
        mode: i64 = tables.sysctls.tcp_fastopen
        if self.fast_limit == 0 and mode & fast_accept.ALL_LISTENERS and mode & fast_accept.SERVER:
            self.fast_limit = backlog
        listener.fast.limit = self.fast_limit
        listener.fast.keys = self.fast_keys
        self.listener = listener
        self.set_state(LISTEN)
        tables.add_listener(self)
        return 0

    def accept_one(self) -> TcpSock | None:
        """The oldest connection of the accept queue; None with `recv_errno` EAGAIN, or EINVAL without listen()."""
        listener = self.listener
        if listener is None:
            self.recv_errno = errno.EINVAL
            return None
        if not listener.accept_queue:
            self.recv_errno = errno.EAGAIN
            return None
        child = listener.accept_queue.popleft()
        assert isinstance(child, TcpSock), "the accept queue holds what spawn() made"
        if child.fast_open is not None:
            child.fast_open.accepted = True
        return child

    def spawn(self) -> Tcb:
        # What TCP_CONGESTION chose on the listener is inherited; else it is the host's default of now.
        algorithm = type(self.congestion) if self.congestion_chosen else self.tables.congestion
        child = TcpSock(self.tables, self.family, algorithm())
        child.congestion_chosen = self.congestion_chosen
        inheritance.give_options(self, child)
        child.progress = CONNECTED
        return child

    # Data.

    def send(self, data: bytes, more: bool, oob: bool = False, eor: bool = False, without_copy: bool = False) -> i64:
        """Queue as much of `data` as fits, and send what may be sent. `more`: MSG_MORE; `oob`: MSG_OOB; `eor`: MSG_EOR,
        after which no more is added to the record; `without_copy`: MSG_ZEROCOPY.

        The count that was taken, which may be less than all; or EAGAIN (nothing fits, or still connecting), EPIPE, or
        the pending error (ECONNRESET, ETIMEDOUT, ...).
        """
        if self.error:
            return -self.take_error()
        if self.write_shut or (self.state not in (ESTABLISHED, CLOSE_WAIT)):
            if self.write_shut:
                return -errno.EPIPE
            if self.deferred:
                took: i64 = connect.send_first_syn(self, data, True)
                return took if took > 0 else -errno.EINPROGRESS
            if self.state != SYN_RECEIVED or not self.syn_ack_pending:
                return -errno.EAGAIN if self.state in (SYN_SENT, SYN_RECEIVED) else -errno.EPIPE
        size: i64 = len(data)
        if size == 0:
            return 0
        rate.check_app_limited(self)
        if self.packets_out == 0 and self.unsent.size == 0:
            cwnd.restart_after_idle(self)
        taken: i64 = self._queue(data, size, oob)
        if taken == 0:
            return -errno.EAGAIN
        last = self.unsent.last() if not self.unsent.is_empty() else None
        if last is not None:
            if oob:
                self.snd_up = self.write_seq  # its last byte is the urgent one
            if eor and taken == size:
                last.eor = True
            if taken < size:
                more = False
            if not more or records.is_push_due(self):
                records.mark_pushed(self)
        if self.marks is not None:
            send_marks.wrote(self, self.marks, taken, taken == size, without_copy)
        output.push(self, more)
        return taken

    def _queue(self, data: bytes, size: i64, oob: bool) -> i64:
        """Add the data to the records that wait, as far as the buffer takes it. What fills a record is sent, if it may
        be, before the next one is begun: so what the buffer holds depends on how far the sending came.
        """
        unsent = self.unsent
        mss: i64 = segment_size.current(self)
        goal: i64 = mss if oob else records.size_goal(self, mss)
        taken: i64 = 0
        while taken < size:
            free: i64 = 0
            if not unsent.is_empty():
                last = unsent.last()
                if not last.eor:
                    free = goal - (last.end_seq - last.seq)
            if free <= 0:
                if not send_buffer.has_room(self):
                    self.want_space = True
                    break
                last = Sent(self.write_seq, self.write_seq, b"", ACK, 0)
                unsent.append(last)
                self.push_all = False
                free = goal
            elif taken == 0:
                unsent.last().flags &= ~PSH
            count: i64 = min(size - taken, free)
            unsent.write(data if count == size else data[taken : taken + count])
            self.write_seq += count
            taken += count
            if self.chrono == chronograph.IDLE:
                chronograph.start(self, chronograph.BUSY)
            if taken == size or count < free:
                break
            if oob:
                continue
            if records.is_push_due(self):
                records.mark_pushed(self)
                output.push_full(self)
            elif unsent.count() == 1:
                output.push_one(self)
        return taken

    def recv(self, size: i64, peek: bool) -> bytes | None:
        """Up to `size` bytes of what came; b"" at the end of the stream; None with `recv_errno` when there is nothing.

        EAGAIN, ENOTCONN, or the pending error.
        """
        queue = self.received
        have: i64 = queue.size
        if have == 0:
            return self._nothing_to_read()
        if size <= 0:
            return b""
        if self.urgent_state != 0:
            data = urgent.take(self, size, peek)
            if not data:
                return self._nothing_to_read()
            size = len(data)
            if peek:
                return data
        else:
            if peek:
                return self._peek(size)
            size = min(size, have)
            data = queue.take(size)
            receive_buffer.taken(self, size)
            if self.peek_offset > 0:
                self.peek_offset = max(self.peek_offset - size, 0)
        if self.state != CLOSED:
            receive_buffer.adjust(self)
            delayed_ack.after_read(self, size)
        return data

    def _peek(self, size: i64) -> bytes | None:
        """Up to `size` bytes, which stay; with SO_PEEK_OFF what follows the last that were looked at."""
        queue = self.received
        offset: i64 = max(self.peek_offset, 0)
        if offset >= queue.size:
            return self._nothing_to_read()
        data = queue.peek(min(offset + size, queue.size))
        if offset > 0:
            data = data[offset:]
        if self.peek_offset >= 0:
            self.peek_offset += len(data)
        return data

    def recv_urgent(self, size: i64, peek: bool) -> bytes | None:
        """The urgent byte, as recv(2) with MSG_OOB; None with `recv_errno` when there is none."""
        return urgent.receive(self, size, peek)

    def _nothing_to_read(self) -> bytes | None:
        if self.fin_received:
            return b""
        if self.error:
            self.recv_errno = self.take_error()
            return None
        if self.state == LISTEN:
            self.recv_errno = errno.ENOTCONN
            return None
        if self.read_shut:
            if self.progress == UNCONNECTED:
                self.recv_errno = errno.ENOTCONN
                return None
            return b""
        if self.state == CLOSED:
            self.recv_errno = errno.ENOTCONN
            return None
        self.recv_errno = errno.EAGAIN
        return None

    # Closing.

    def shutdown(self, how: i64) -> i64:
        """Stop reading (0), writing (1: a FIN follows what was written), or both (2). EINVAL, ENOTCONN."""
        return closing.shutdown(self, how)

    def close(self) -> None:
        """The program lets go. What was written is still sent; the stack finishes the connection alone.

        A RST instead when data was not read (RFC 9293 section 3.6.1), or with SO_LINGER of 0 s. Waiting for a longer
        SO_LINGER is up to the caller.
        """
        closing.close(self)

    # What a program can wait for, and see.

    def poll(self) -> int:
        """The conditions that hold now, in the masks of `poll`, as Linux' TCP reports them."""
        state: i64 = self.state
        if state == LISTEN:
            listener = self.listener
            return POLLIN if listener is not None and listener.accept_queue else 0
        mask: i64 = 0
        if (self.read_shut and self.write_shut) or state == CLOSED:
            mask |= POLLHUP
        if self.read_shut:
            mask |= POLLIN | POLLRDHUP
        if self.deferred:
            mask |= POLLOUT  # for the program to send, which sends the SYN
        elif state not in (SYN_SENT, SYN_RECEIVED) or self.syn_ack_pending:
            if self.received.size >= self.rcvlowat or window.remaining(self) <= self.rcv_mss:
                if self.received.size > 0 and (self.urgent_state == 0 or urgent.readable_bytes(self) > 0):
                    mask |= POLLIN
            if self.urgent_state == urgent.READY:
                mask |= POLLPRI
            if self.write_shut or send_buffer.is_writable(self):
                mask |= POLLOUT
            else:
                self.want_space = True
        if self.error or self.error_queue is not None:
            mask |= POLLERR
        return int(mask)

    def has_input(self) -> bool:
        """Whether `recv` has something to tell: data, the end of the stream, or an error."""
        return urgent.readable_bytes(self) > 0 or self.read_shut or self.error != 0 or self.state == CLOSED

    def at_mark(self) -> bool:
        """Whether reading has come to the mark of urgent data (sockatmark(3))."""
        return urgent.at_mark(self)

    def is_listening(self) -> bool:
        return self.state == LISTEN

    def is_lingering(self) -> bool:
        """Whether, closed with SO_LINGER of some seconds, it waits for the peer to acknowledge the FIN."""
        waits = self.state in (FIN_WAIT_1, CLOSING, LAST_ACK)
        return waits and self.closed and self.linger_on and self.linger_s > 0

    def is_connected(self) -> bool:
        """Whether the connection has a peer to name: not before the handshake, and not after the end."""
        return self.remote_port != 0 and self.state not in (CLOSED, SYN_SENT)

    def path_mtu(self) -> i64:
        """IP_MTU: what is known of the path to the peer, in bytes; 0 without a peer."""
        route = self.route
        if self.state in (CLOSED, LISTEN) or route is None:
            return 0
        return min(path_mtu.mtu(self.ip, route, self.remote_addr), path_mtu.largest(self.family))

    def info(self) -> TcpInfo:
        """How the connection is doing."""
        listener = self.listener
        if listener is None:
            return TcpInfo(self, 0, 0)
        return TcpInfo(self, len(listener.accept_queue), listener.backlog)

    def ended(self) -> None:
        fast_accept.handshake_over(self, False)
        fast_open.over(self)

    def end_marks(self) -> None:
        if self.marks is not None:
            send_marks.ended(self, self.marks)

    def timer_fired(self, kind: i64) -> None:
        timeouts.fired(self, kind)
