"""A UDP socket for one peer: what the named peer sends arrives in batches, what others send is counted.

There are two sockets on the port. One is connected, so the kernel gives it the peer's datagrams alone. All others go to
the second, which nobody reads and which has room for next to nothing: a flood of them costs this process no time, and
cannot take the room from the peer. Both stay closed to further sockets of the port.

Datagrams of one length in a row leave by one call, which the kernel cuts (UDP_SEGMENT), and come in by one (UDP_GRO);
on loopback they cross the kernel uncut. benchmarks/udp_link.py has what other calls cost.

Read udp(7), socket(7) and ip(7). Nothing that a peer does raises here, nor that it is not there: it is counted.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import sys
from collections.abc import Callable
from typing import Final

from lunar.links.frame_socket import FrameSocket
from weaves.endpoints import DATAGRAM_MAX, Endpoint

# linux/udp.h: lengths in bytes of the datagrams that one buffer holds.
_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104
# asm-generic/socket.h, linux/sock_diag.h: nine numbers of 32 bits, of which the last counts datagrams without room.
_SO_MEMINFO: Final = 55
_MEMINFO: Final = struct.Struct("=9I")
# With the privilege to do so, beyond what net.core.rmem_max allows.
_SO_RCVBUFFORCE: Final = 33
_SO_SNDBUFFORCE: Final = 32

# Kernels before 6.9 cut a buffer into 64 datagrams at most.
MOST_IN_A_ROW: Final = 64
_ROOM: Final = 65_536
# At most so many calls before the run goes on.
_MOST_CALLS: Final = 32
_MOST_DRAINED: Final = 10_000
# What a window of TCP may bring while this process does something else.
BUFFER_BYTES: Final = 4 << 20

# The kernel or the device cannot cut, or not into pieces of that length.
_CANNOT_CUT: Final = frozenset({errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EOPNOTSUPP, errno.ENOPROTOOPT})
_NO_ROOM: Final = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM})


class PeerSocket:
    """A socket of the address `local` for the datagrams of `remote`; each is (address, port).

    `heard` is called with True when the peer answers for the first time, or again, and with False when the machine
    tells that nobody listens there.
    """

    def __init__(self, local: Endpoint, remote: Endpoint, heard: Callable[[bool], None]) -> None:
        self.local: Final = local
        self.remote: Final = remote
        self.sent = 0  # datagrams
        self.sent_bytes = 0
        self.calls_out = 0
        self.received = 0
        self.received_bytes = 0
        self.calls_in = 0
        self.refused = 0  # how often the machine told that nobody listens there
        self.no_room_out = 0  # datagrams that the machine had no room for
        self.failed_out = 0  # datagrams that it did not take for another reason
        self.last_error = 0  # the errno of the last such
        self.early = 0  # datagrams of whomever, before others were kept apart
        self._heard: Final = heard
        self._here: bool | None = None
        self._socket: socket.socket | None = None
        self._others: socket.socket | None = None
        self._foreign = 0
        self._no_room_in = 0
        self._cuts = True
        self._calls = 1
        self._in_a_row = 0
        self._source: object = None

    # The life of it

    def open(self) -> int:
        """Open both sockets; the descriptor of the peer's. Raises `OSError`."""
        family = socket.AF_INET6 if ":" in self.local[0] else socket.AF_INET
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        others = socket.socket(family, kind)
        try:
            own = socket.socket(family, kind)
        except OSError:
            others.close()
            raise
        try:
            address = _resolved(family, self.local)
            if family == socket.AF_INET6:
                for one in (others, own):
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            others.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
            others.bind(address)
            # Only these two share the port: nobody can bind it before, between or after.
            for one in (others, own):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            own.bind(address)
            for one in (others, own):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
            own.connect(_resolved(family, self.remote))
            _set_buffer(own, _SO_RCVBUFFORCE, socket.SO_RCVBUF)
            _set_buffer(own, _SO_SNDBUFFORCE, socket.SO_SNDBUF)
            with contextlib.suppress(OSError):  # a kernel before 5.0 gives them one by one
                own.setsockopt(socket.IPPROTO_UDP, _UDP_GRO, 1)
            self._source = own.getpeername()
            self.early += _drained(own)
        except OSError:
            own.close()
            others.close()
            raise
        self._socket, self._others = own, others
        return own.fileno()

    def lend(self, way: FrameSocket) -> None:
        """Let `way` use the open socket, until it is closed."""
        assert self._socket is not None, "it is open"
        way.open(self, self._socket.recvmsg, self._socket.send, self._source)

    def close(self) -> None:
        """Close both, if they are open. The counters stay."""
        if self._socket is not None and self._others is not None:
            self._no_room_in, self._foreign = self.no_room_in, self.foreign
            self._socket.close()
            self._others.close()
            self._socket = self._others = None

    @property
    def opened(self) -> bool:
        """Whether it is open."""
        return self._socket is not None

    @property
    def waiting(self) -> bool:
        """Whether something has come that nobody has received."""
        sock = self._socket
        return sock is not None and bool(_MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36))[0])

    @property
    def no_room_in(self) -> int:
        """Datagrams of the peer that the socket had no room for, a row of them counted as one."""
        return self._no_room_in + (0 if self._socket is None else _dropped(self._socket))

    @property
    def foreign(self) -> int:
        """Datagrams from others than the peer, a row of them counted as one."""
        if self._others is None:
            return self._foreign
        self._foreign += _drained(self._others)
        return self._foreign + _dropped(self._others)

    # Out

    def send(self, datagrams: list[bytes]) -> None:
        """Send them in their order. None longer than `DATAGRAM_MAX`."""
        sock = self._socket
        if sock is None:
            return
        at, count = 0, len(datagrams)
        while at < count:
            size = len(datagrams[at])
            end = at + 1
            if self._cuts and size:
                most = min(at + MOST_IN_A_ROW, count, at + DATAGRAM_MAX // size)
                while end < most and len(datagrams[end]) == size:
                    end += 1
                # The last of a row may be shorter.
                if end < most and end > at + 1 and 0 < len(datagrams[end]) < size:
                    end += 1
            done = self._send_row(sock, datagrams[at:end], size)
            if done < 0:
                self.no_room_out += count - at
                return
            at += done

    def _send_row(self, sock: socket.socket, row: list[bytes], size: int) -> int:
        """Send a row by one call. How many are done with: none where it has to be several calls, -1 without room."""
        again = True
        while True:
            try:
                if len(row) == 1:
                    done = sock.send(row[0])
                else:
                    done = sock.sendmsg(row, [(socket.IPPROTO_UDP, _UDP_SEGMENT, size.to_bytes(2, sys.byteorder))])
            except OSError as error:
                if error.errno == errno.ECONNREFUSED:
                    # It is about a datagram before: this one has not been tried.
                    self._told_refused()
                    if again:
                        again = False
                        continue
                elif error.errno in _NO_ROOM:
                    return -1
                elif len(row) > 1 and error.errno in _CANNOT_CUT:
                    self._cuts = False
                    return 0
                self.failed_out += len(row)
                self.last_error = error.errno or 0
                return len(row)
            self.calls_out += 1
            self.sent += len(row)
            self.sent_bytes += done
            return len(row)

    # In

    def receive(self) -> list[bytes]:
        """What has come, in its order: a bounded part of it, and nothing at all where nothing has come."""
        sock = self._socket
        datagrams: list[bytes] = []
        if sock is None:
            return datagrams
        for _ in range(self._calls):
            try:
                data, items, _flags, source = sock.recvmsg(_ROOM, 64)
            except BlockingIOError:
                self._calls, self._in_a_row = 1, 0
                break
            except OSError as error:
                self.told(error)
                continue
            self.calls_in += 1
            if source != self._source:
                self.early += 1  # it was under way before the socket was connected
                continue
            size = self.size_of(items, len(data))
            if size == len(data):
                datagrams.append(data)
            else:
                datagrams += [data[at : at + size] for at in range(0, len(data), size)]
            self.received_bytes += len(data)
        else:
            # There may be more. Whoever looks again at once asks for nothing when there is none, which an answer to a
            # single datagram would have to wait for; a stream gets more calls at a time.
            self._in_a_row += 1
            if self._in_a_row >= 4 and self._calls < _MOST_CALLS:
                self._calls, self._in_a_row = 2 * self._calls, 0
        if datagrams:
            self.received += len(datagrams)
            self.hears()
        return datagrams

    def size_of(self, items: list[tuple[int, int, bytes]], size: int) -> int:
        """How long each of the datagrams is that came together, by what recvmsg(2) says beside them; `size` if one."""
        for level, kind, data in items:
            if level == socket.IPPROTO_UDP and kind == _UDP_GRO:
                return int.from_bytes(data, sys.byteorder)
        return size

    def hears(self) -> None:
        """The peer has sent something."""
        if not self._here:
            self._here = True
            self._heard(True)

    def told(self, error: OSError) -> None:
        """The machine tells of a datagram that was sent before."""
        if error.errno == errno.ECONNREFUSED:
            self._told_refused()
        else:
            self.last_error = error.errno or 0

    def _told_refused(self) -> None:
        self.refused += 1
        if self._here is not False:
            self._here = False
            self._heard(False)


def _resolved(family: int, address: Endpoint) -> tuple[object, ...]:
    """The address as a call takes it; "fe80::1%eth0" gets the number of its device."""
    found = socket.getaddrinfo(
        *address, family, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    )
    return found[0][4]


def _set_buffer(sock: socket.socket, forced: int, plain: int) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, forced, BUFFER_BYTES)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, plain, BUFFER_BYTES)


def _drained(sock: socket.socket) -> int:
    """How many datagrams it held, which are gone."""
    count = 0
    for _ in range(_MOST_DRAINED):
        try:
            sock.recv(1)
        except BlockingIOError:
            break
        count += 1
    return count


def _dropped(sock: socket.socket) -> int:
    try:
        return int(_MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[8])
    except OSError:
        return 0  # a kernel before 4.12 does not tell
