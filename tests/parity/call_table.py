"""The table behind test_syscall_errnos.py: situations in which a descriptor can be, and calls that are made on it.

A situation is a function that makes one in a `World` and returns the descriptor, with O_NONBLOCK. A call is a function
of the world and the descriptor. Both see nothing but the world's `calls`: the kernel's or the virtual host's functions,
with the same names. Each situation is met by each call; what comes of it is the cell.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import tempfile
from collections.abc import Callable
from typing import Any

from lunar.syscalls import Sockaddr

HERE = "127.0.0.1"
NONBLOCK, CLOEXEC = socket.SOCK_NONBLOCK, socket.SOCK_CLOEXEC
INET, UNIX = socket.AF_INET, socket.AF_UNIX
STREAM, DGRAM, SEQPACKET = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET
SOL, TCP, IP, UDP = socket.SOL_SOCKET, socket.IPPROTO_TCP, socket.IPPROTO_IP, socket.IPPROTO_UDP
IN, OUT, ERR, HUP, RDHUP = select.POLLIN, select.POLLOUT, select.POLLERR, select.POLLHUP, select.POLLRDHUP
DONTWAIT, PEEK, TRUNC, WAITALL = socket.MSG_DONTWAIT, socket.MSG_PEEK, socket.MSG_TRUNC, socket.MSG_WAITALL
OOB, ERRQUEUE, MORE, NOSIGNAL = socket.MSG_OOB, socket.MSG_ERRQUEUE, socket.MSG_MORE, socket.MSG_NOSIGNAL
RIGHTS = socket.SCM_RIGHTS
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a RST
ADD, DEL, MOD = 1, 2, 3  # EPOLL_CTL_ADD ..., which Python does not name
# How long a wait that is bound to succeed may take, in ms: only a failing test waits for it.
PATIENCE_MS = 20_000


class World:
    """One kernel, real or virtual, while one cell is made."""

    def __init__(self, calls: Any, tag: str, settle: Callable[[], None]) -> None:
        self.calls = calls
        self.tag = tag  # of abstract names, so that no two worlds share one
        self.settle = settle  # what was sent arrives, and is answered
        self.opened: list[int] = []
        self.names = 0
        self.peer = -1
        self.listener = -1
        self.folder: tempfile.TemporaryDirectory[str] | None = None

    def keep(self, fd: int) -> int:
        self.opened.append(fd)
        return fd

    def socket(self, family: int, type: int, protocol: int = 0) -> int:
        return self.keep(self.calls.socket(family, type | NONBLOCK, protocol))

    def wait(self, fd: int, events: int) -> None:
        assert self.calls.poll([(fd, events)], PATIENCE_MS), "what a situation waits for does not come"

    def connect(self, fd: int, address: Any) -> None:
        """Begin to connect."""
        with contextlib.suppress(BlockingIOError):
            self.calls.connect(fd, address)

    def end(self) -> None:
        for fd in self.opened:
            with contextlib.suppress(OSError):  # no socket, or closed before
                # Thousands of connections in TIME-WAIT would take the machine's ports.
                self.calls.setsockopt(fd, SOL, socket.SO_LINGER, RESET)
            try:
                self.calls.close(fd)
            except OSError as failed:
                assert failed.errno == errno.EBADF, failed
        self.opened.clear()
        if self.folder is not None:
            self.folder.cleanup()

    def path(self) -> str:
        """Of a file that is not there, in a folder that is."""
        if self.folder is None:
            self.folder = tempfile.TemporaryDirectory()
        self.names += 1
        return f"{self.folder.name}/{self.names}"

    def name(self) -> str:
        self.names += 1
        return f"\0{self.tag}{self.names}".ljust(50, ".")

    def is_open(self, fd: int) -> bool:
        try:
            return self.calls.fcntl(fd, 1) >= 0
        except OSError:
            return False

    def free_port(self) -> int:
        """One that neither TCP nor UDP has: what one of them chooses may be in use by the other, or in TIME-WAIT."""
        while True:
            stream, datagram = self.calls.socket(INET, STREAM), self.calls.socket(INET, DGRAM)
            try:
                self.calls.bind(stream, (HERE, 0))
                name = self.calls.getsockname(stream)
                self.calls.bind(datagram, name)
                return int(name[1])
            except OSError as failed:
                assert failed.errno == errno.EADDRINUSE, failed
            finally:
                self.calls.close(stream)
                self.calls.close(datagram)

    # Addresses to call with

    def address_of(self, fd: int) -> Sockaddr:
        return Sockaddr.inet(*self.calls.getsockname(fd))

    def listening_address(self) -> Sockaddr:
        """Of a TCP socket that listens."""
        fd = self.socket(INET, STREAM)
        self.calls.bind(fd, (HERE, self.free_port()))
        self.calls.listen(fd, 5)
        return self.address_of(fd)

    def refusing_address(self) -> Sockaddr:
        """Of a TCP socket that does not: its port is nobody else's."""
        fd = self.socket(INET, STREAM)
        self.calls.bind(fd, (HERE, 0))
        return self.address_of(fd)

    def datagram_address(self) -> Sockaddr:
        fd = self.socket(INET, DGRAM)
        self.calls.bind(fd, (HERE, self.free_port()))
        return self.address_of(fd)

    def unix_listener(self, type: int = STREAM) -> Sockaddr:
        fd = self.socket(UNIX, type)
        name = self.name()
        self.calls.bind(fd, name)
        if type != DGRAM:
            self.calls.listen(fd, 5)
        return unix(name)

    def unix_file(self, type: int) -> Sockaddr:
        """Of a Unix socket with a file, which types share as they do not share abstract names."""
        fd = self.socket(UNIX, type)
        path = self.path()
        self.calls.bind(fd, path)
        if type != DGRAM:
            self.calls.listen(fd, 5)
        return unix(path)

    def ordinary_file(self) -> Sockaddr:
        path = self.path()
        with open(path, "x"):
            return unix(path)

    def unix_engaged(self) -> Sockaddr:
        """Of a datagram socket that has named its peer, and hears nobody else."""
        first, second = self.socket(UNIX, DGRAM), self.socket(UNIX, DGRAM)
        name, other = self.name(), self.name()
        self.calls.bind(first, name)
        self.calls.bind(second, other)
        self.calls.connect(first, other)
        return unix(name)

    def unix_full_listener(self) -> Sockaddr:
        """Whose queue has no room for one more."""
        fd, name = self.socket(UNIX, STREAM), self.name()
        self.calls.bind(fd, name)
        self.calls.listen(fd, 0)
        self.calls.connect(self.socket(UNIX, STREAM), name)
        return unix(name)

    # Connections

    def connection(self) -> tuple[int, int]:
        """Two ends of a TCP connection: who connected, who accepted."""
        self.listener = self.socket(INET, STREAM)
        self.calls.bind(self.listener, (HERE, 0))
        self.calls.listen(self.listener, 5)
        client = self.socket(INET, STREAM)
        self.connect(client, self.calls.getsockname(self.listener))
        self.wait(self.listener, IN)
        server = self.keep(self.calls.accept4(self.listener, NONBLOCK)[0])
        self.wait(client, OUT)
        return client, server

    def unix_connection(self, type: int = STREAM) -> tuple[int, int]:
        self.listener = self.socket(UNIX, type)
        name = self.name()
        self.calls.bind(self.listener, name)
        self.calls.listen(self.listener, 5)
        client = self.socket(UNIX, type)
        self.calls.connect(client, name)
        return client, self.keep(self.calls.accept4(self.listener, NONBLOCK)[0])

    def pair(self, type: int) -> tuple[int, int]:
        first, second = self.calls.socketpair(UNIX, type | NONBLOCK)
        return self.keep(first), self.keep(second)

    def fill(self, fd: int) -> None:
        data = bytes(100_000)
        while True:
            try:
                self.calls.write(fd, data)
            except BlockingIOError:
                if len(data) == 1:
                    return
                data = data[: len(data) // 2]


def unix(name: str | bytes) -> Sockaddr:
    name = name.encode() if isinstance(name, str) else name
    return Sockaddr(struct.pack("H", UNIX) + name)


SITUATIONS: dict[str, Callable[[World], int]] = {}


def situation(function: Callable[[World], int]) -> Callable[[World], int]:
    SITUATIONS[function.__name__] = function
    return function


# No descriptor, and none of a socket


@situation
def never_open(w: World) -> int:
    return -1


@situation
def closed(w: World) -> int:
    """What a call opens besides takes lower numbers."""
    fds = [w.calls.socket(INET, STREAM) for _ in range(20)]
    for fd in fds:
        w.calls.close(fd)
    return int(fds[-1])


@situation
def pipe_empty(w: World) -> int:
    reading, w.peer = map(w.keep, w.calls.pipe2(NONBLOCK))
    return reading


@situation
def pipe_with_data(w: World) -> int:
    fd = pipe_empty(w)
    w.calls.write(w.peer, b"hello")
    return fd


@situation
def pipe_at_its_end(w: World) -> int:
    fd = pipe_empty(w)
    w.calls.close(w.peer)
    return fd


@situation
def pipe_for_writing(w: World) -> int:
    w.peer, writing = map(w.keep, w.calls.pipe2(NONBLOCK))
    return writing


@situation
def pipe_full(w: World) -> int:
    fd = pipe_for_writing(w)
    w.fill(fd)
    return fd


@situation
def pipe_broken(w: World) -> int:
    fd = pipe_for_writing(w)
    w.calls.close(w.peer)
    return fd


# TCP


@situation
def stream_new(w: World) -> int:
    return w.socket(INET, STREAM)


@situation
def stream_bound(w: World) -> int:
    fd = w.socket(INET, STREAM)
    w.calls.bind(fd, (HERE, 0))
    return fd


@situation
def stream_port_is_listened_at(w: World) -> int:
    """Two have bound to one port, by SO_REUSEADDR; the other one listens."""
    other, fd = w.socket(INET, STREAM), w.socket(INET, STREAM)
    for one in (other, fd):
        w.calls.setsockopt(one, SOL, socket.SO_REUSEADDR, 1)
    w.calls.bind(other, (HERE, 0))
    w.calls.bind(fd, w.calls.getsockname(other))
    w.calls.listen(other, 5)
    return fd


@situation
def stream_listening(w: World) -> int:
    fd = stream_bound(w)
    w.calls.listen(fd, 5)
    return fd


@situation
def stream_listening_with_one(w: World) -> int:
    fd = stream_listening(w)
    w.peer = w.socket(INET, STREAM)
    w.connect(w.peer, w.calls.getsockname(fd))
    w.wait(fd, IN)
    return fd


@situation
def stream_no_longer_listening(w: World) -> int:
    fd = stream_listening(w)
    w.calls.shutdown(fd, socket.SHUT_RD)
    return fd


@situation
def stream_connecting(w: World) -> int:
    """Its SYN is not answered, because the queue of who listens is full."""
    listener = w.socket(INET, STREAM)
    w.calls.bind(listener, (HERE, 0))
    w.calls.listen(listener, 0)
    for _ in range(2):
        client = w.socket(INET, STREAM)
        w.connect(client, w.calls.getsockname(listener))
        w.wait(listener, IN)
    return client


@situation
def stream_refused(w: World) -> int:
    fd = w.socket(INET, STREAM)
    w.connect(fd, w.refusing_address())
    w.wait(fd, ERR | HUP)
    return fd


@situation
def stream_refused_and_told(w: World) -> int:
    fd = stream_refused(w)
    w.calls.getsockopt(fd, SOL, socket.SO_ERROR)
    return fd


@situation
def stream_connected(w: World) -> int:
    client, w.peer = w.connection()
    return client


@situation
def stream_accepted(w: World) -> int:
    w.peer, server = w.connection()
    return server


@situation
def stream_with_data(w: World) -> int:
    fd = stream_connected(w)
    w.calls.send(w.peer, b"hello")
    w.wait(fd, IN)
    return fd


@situation
def stream_with_data_and_end(w: World) -> int:
    fd = stream_with_data(w)
    w.calls.close(w.peer)
    w.wait(fd, RDHUP)
    return fd


@situation
def stream_full(w: World) -> int:
    fd = stream_connected(w)
    w.fill(fd)
    return fd


@situation
def stream_peer_ended(w: World) -> int:
    fd = stream_connected(w)
    w.calls.shutdown(w.peer, socket.SHUT_WR)
    w.wait(fd, RDHUP)
    return fd


@situation
def stream_peer_closed(w: World) -> int:
    fd = stream_connected(w)
    w.calls.close(w.peer)
    w.wait(fd, RDHUP)
    return fd


@situation
def stream_broken(w: World) -> int:
    """The peer has closed, and answered what came then with a RST."""
    fd = stream_peer_closed(w)
    w.calls.send(fd, b"x")
    w.wait(fd, ERR | HUP)
    return fd


@situation
def stream_broken_and_told(w: World) -> int:
    fd = stream_broken(w)
    w.calls.getsockopt(fd, SOL, socket.SO_ERROR)
    return fd


@situation
def stream_reset(w: World) -> int:
    fd = stream_connected(w)
    w.calls.setsockopt(w.peer, SOL, socket.SO_LINGER, RESET)
    w.calls.close(w.peer)
    w.wait(fd, ERR | HUP)
    return fd


@situation
def stream_reset_and_told(w: World) -> int:
    fd = stream_reset(w)
    w.calls.getsockopt(fd, SOL, socket.SO_ERROR)
    return fd


@situation
def stream_reset_with_data(w: World) -> int:
    fd = stream_with_data(w)
    w.calls.setsockopt(w.peer, SOL, socket.SO_LINGER, RESET)
    w.calls.close(w.peer)
    w.wait(fd, ERR | HUP)
    return fd


@situation
def stream_writing_ended(w: World) -> int:
    fd = stream_connected(w)
    w.calls.shutdown(fd, socket.SHUT_WR)
    w.wait(w.peer, RDHUP)
    return fd


@situation
def stream_reading_ended(w: World) -> int:
    fd = stream_connected(w)
    w.calls.shutdown(fd, socket.SHUT_RD)
    return fd


@situation
def stream_both_ended(w: World) -> int:
    fd = stream_connected(w)
    w.calls.shutdown(fd, socket.SHUT_RDWR)
    w.wait(w.peer, RDHUP)
    return fd


@situation
def stream_over(w: World) -> int:
    """Both ends have ended and said so."""
    fd = stream_peer_closed(w)
    w.calls.shutdown(fd, socket.SHUT_WR)
    w.settle()
    return fd


@situation
def stream_disconnected(w: World) -> int:
    fd = stream_connected(w)
    w.calls.connect(fd, Sockaddr.unspecified())
    return fd


# UDP


@situation
def datagram_new(w: World) -> int:
    return w.socket(INET, DGRAM)


@situation
def datagram_bound(w: World) -> int:
    fd = w.socket(INET, DGRAM)
    w.calls.bind(fd, (HERE, 0))
    return fd


@situation
def datagram_connected(w: World) -> int:
    w.peer, fd = datagram_bound(w), datagram_bound(w)
    w.calls.connect(fd, w.calls.getsockname(w.peer))
    return fd


@situation
def datagram_with_data(w: World) -> int:
    fd = datagram_connected(w)
    w.calls.sendto(w.peer, b"hello", 0, w.calls.getsockname(fd))
    w.wait(fd, IN)
    return fd


@situation
def datagram_with_an_empty_one(w: World) -> int:
    fd = datagram_connected(w)
    w.calls.sendto(w.peer, b"", 0, w.calls.getsockname(fd))
    w.wait(fd, IN)
    return fd


@situation
def datagram_refused(w: World) -> int:
    """What it sent has met nobody, and ICMP said so."""
    fd = datagram_connected(w)
    w.calls.close(w.peer)
    w.calls.send(fd, b"x")
    w.wait(fd, ERR)
    return fd


@situation
def datagram_writing_ended(w: World) -> int:
    fd = datagram_connected(w)
    w.calls.shutdown(fd, socket.SHUT_WR)
    return fd


@situation
def datagram_reading_ended(w: World) -> int:
    fd = datagram_connected(w)
    w.calls.shutdown(fd, socket.SHUT_RD)
    return fd


@situation
def datagram_disconnected(w: World) -> int:
    fd = datagram_connected(w)
    w.calls.connect(fd, Sockaddr.unspecified())
    return fd


@situation
def datagram_corked(w: World) -> int:
    fd = datagram_connected(w)
    w.calls.send(fd, b"part", MORE)
    return fd


# Raw sockets hear all of their protocol on a machine: take one that nobody speaks, another in each process
PROTOCOL = 144 + os.getpid() % 100


@situation
def raw_new(w: World) -> int:
    return w.socket(INET, socket.SOCK_RAW, PROTOCOL)


@situation
def raw_bound(w: World) -> int:
    fd = raw_new(w)
    w.calls.bind(fd, (HERE, 0))
    return fd


@situation
def raw_connected(w: World) -> int:
    fd = raw_new(w)
    w.calls.connect(fd, (HERE, 0))
    return fd


@situation
def raw_with_data(w: World) -> int:
    fd = raw_connected(w)
    w.calls.sendto(raw_new(w), b"hello", 0, (HERE, 0))
    w.wait(fd, IN)
    return fd


@situation
def raw_writing_ended(w: World) -> int:
    fd = raw_connected(w)
    w.calls.shutdown(fd, socket.SHUT_WR)
    return fd


@situation
def raw_disconnected(w: World) -> int:
    fd = raw_connected(w)
    w.calls.connect(fd, Sockaddr.unspecified())
    return fd


# What is polled, and is no socket


@situation
def epoll_empty(w: World) -> int:
    return w.keep(w.calls.epoll_create1(0))


@situation
def epoll_ready(w: World) -> int:
    fd = epoll_empty(w)
    w.calls.epoll_ctl(fd, ADD, w.socket(INET, DGRAM), OUT)
    return fd


@situation
def counter_at_zero(w: World) -> int:
    return w.keep(w.calls.eventfd(0, NONBLOCK))


@situation
def counter(w: World) -> int:
    return w.keep(w.calls.eventfd(3, NONBLOCK))


# Unix sockets


@situation
def unix_new(w: World) -> int:
    return w.socket(UNIX, STREAM)


@situation
def unix_bound(w: World) -> int:
    fd = w.socket(UNIX, STREAM)
    w.calls.bind(fd, w.name())
    return fd


@situation
def unix_listening(w: World) -> int:
    fd = unix_bound(w)
    w.calls.listen(fd, 5)
    return fd


@situation
def unix_listening_with_one(w: World) -> int:
    fd = unix_listening(w)
    w.peer = w.socket(UNIX, STREAM)
    w.calls.connect(w.peer, w.calls.getsockname(fd))
    return fd


@situation
def unix_connected(w: World) -> int:
    client, w.peer = w.unix_connection()
    return client


@situation
def unix_accepted(w: World) -> int:
    w.peer, server = w.unix_connection()
    return server


@situation
def unix_pair(w: World) -> int:
    fd, w.peer = w.pair(STREAM)
    return fd


@situation
def unix_with_data(w: World) -> int:
    fd = unix_pair(w)
    w.calls.send(w.peer, b"hello")
    return fd


@situation
def unix_full(w: World) -> int:
    fd = unix_pair(w)
    w.fill(fd)
    return fd


@situation
def unix_peer_closed(w: World) -> int:
    fd = unix_pair(w)
    w.calls.close(w.peer)
    return fd


@situation
def unix_reset(w: World) -> int:
    """The peer has closed without having read what was sent."""
    fd = unix_pair(w)
    w.calls.send(fd, b"unread")
    w.calls.close(w.peer)
    return fd


@situation
def unix_writing_ended(w: World) -> int:
    fd = unix_pair(w)
    w.calls.shutdown(fd, socket.SHUT_WR)
    return fd


@situation
def unix_reading_ended(w: World) -> int:
    fd = unix_pair(w)
    w.calls.shutdown(fd, socket.SHUT_RD)
    return fd


@situation
def unix_datagram_new(w: World) -> int:
    return w.socket(UNIX, DGRAM)


@situation
def unix_datagram_bound(w: World) -> int:
    fd = w.socket(UNIX, DGRAM)
    w.calls.bind(fd, w.name())
    return fd


@situation
def unix_datagram_pair(w: World) -> int:
    fd, w.peer = w.pair(DGRAM)
    return fd


@situation
def unix_datagram_with_data(w: World) -> int:
    fd = unix_datagram_pair(w)
    w.calls.send(w.peer, b"hello")
    return fd


@situation
def unix_datagram_peer_closed(w: World) -> int:
    fd = unix_datagram_pair(w)
    w.calls.close(w.peer)
    return fd


@situation
def unix_datagram_writing_ended(w: World) -> int:
    fd = unix_datagram_pair(w)
    w.calls.shutdown(fd, socket.SHUT_WR)
    return fd


@situation
def unix_messages_new(w: World) -> int:
    return w.socket(UNIX, SEQPACKET)


@situation
def unix_messages_pair(w: World) -> int:
    fd, w.peer = w.pair(SEQPACKET)
    return fd


@situation
def unix_messages_with_data(w: World) -> int:
    fd = unix_messages_pair(w)
    w.calls.send(w.peer, b"hello")
    return fd


@situation
def unix_messages_peer_closed(w: World) -> int:
    fd = unix_messages_pair(w)
    w.calls.close(w.peer)
    return fd


# The calls: of each several variants, by a label

Variant = Callable[[World, int], Any]
CALLS: dict[str, dict[str, Variant]] = {}


def variants(call: str, **made: Variant) -> None:
    CALLS.setdefault(call, {}).update(made)


SHORT = Sockaddr(b"\x02\0\0")
ONE_BYTE = Sockaddr(b"\x02")
OTHER_FAMILY = Sockaddr(struct.pack("H", socket.AF_INET6) + bytes(26))
NO_FAMILY = Sockaddr(struct.pack("H", 77) + bytes(14))
TOO_LONG = Sockaddr(bytes(129))
# An address of a network for documentation (RFC 5737): bound, never sent to.
FOREIGN = Sockaddr.inet("192.0.2.1", 0)
LOOPBACK_BROADCAST = Sockaddr.inet("127.255.255.255", 9)

variants(
    "bind",
    any_port=lambda w, fd: w.calls.bind(fd, Sockaddr.inet(HERE, 0)),
    taken_stream=lambda w, fd: w.calls.bind(fd, w.listening_address()),
    taken_datagram=lambda w, fd: w.calls.bind(fd, w.datagram_address()),
    taken_name=lambda w, fd: w.calls.bind(fd, w.unix_listener()),
    foreign=lambda w, fd: w.calls.bind(fd, FOREIGN),
    short=lambda w, fd: w.calls.bind(fd, SHORT),
    one_byte=lambda w, fd: w.calls.bind(fd, ONE_BYTE),
    other_family=lambda w, fd: w.calls.bind(fd, OTHER_FAMILY),
    no_family=lambda w, fd: w.calls.bind(fd, NO_FAMILY),
    unspecified=lambda w, fd: w.calls.bind(fd, Sockaddr.unspecified()),
    too_long=lambda w, fd: w.calls.bind(fd, TOO_LONG),
    null=lambda w, fd: w.calls.bind(fd, None),
    abstract=lambda w, fd: w.calls.bind(fd, unix(w.name())),
    long_name=lambda w, fd: w.calls.bind(fd, unix("\0" + "x" * 108)),
    no_name=lambda w, fd: w.calls.bind(fd, unix("")),
    file=lambda w, fd: w.calls.bind(fd, unix(w.path())),
    taken_file=lambda w, fd: w.calls.bind(fd, w.ordinary_file()),
    no_folder=lambda w, fd: w.calls.bind(fd, unix(w.path() + "/x")),
    no_folder_but_a_file=lambda w, fd: w.calls.bind(fd, Sockaddr(w.ordinary_file() + b"/x")),
)
variants(
    "connect",
    listener=lambda w, fd: w.calls.connect(fd, w.listening_address()),
    nobody=lambda w, fd: w.calls.connect(fd, w.refusing_address()),
    datagram=lambda w, fd: w.calls.connect(fd, w.datagram_address()),
    broadcast=lambda w, fd: w.calls.connect(fd, LOOPBACK_BROADCAST),
    short=lambda w, fd: w.calls.connect(fd, SHORT),
    one_byte=lambda w, fd: w.calls.connect(fd, ONE_BYTE),
    other_family=lambda w, fd: w.calls.connect(fd, OTHER_FAMILY),
    unspecified=lambda w, fd: w.calls.connect(fd, Sockaddr.unspecified()),
    unspecified_bytes=lambda w, fd: w.calls.connect(fd, Sockaddr(b"\0\0")),
    too_long=lambda w, fd: w.calls.connect(fd, TOO_LONG),
    null=lambda w, fd: w.calls.connect(fd, None),
    unix_listener=lambda w, fd: w.calls.connect(fd, w.unix_listener()),
    unix_messages=lambda w, fd: w.calls.connect(fd, w.unix_listener(SEQPACKET)),
    unix_datagram=lambda w, fd: w.calls.connect(fd, w.unix_listener(DGRAM)),
    unix_nobody=lambda w, fd: w.calls.connect(fd, unix(w.name())),
    unix_no_name=lambda w, fd: w.calls.connect(fd, unix("")),
    unix_no_file=lambda w, fd: w.calls.connect(fd, unix(w.path())),
    unix_file=lambda w, fd: w.calls.connect(fd, w.unix_file(STREAM)),
    unix_file_of_messages=lambda w, fd: w.calls.connect(fd, w.unix_file(SEQPACKET)),
    unix_file_of_datagrams=lambda w, fd: w.calls.connect(fd, w.unix_file(DGRAM)),
    ordinary_file=lambda w, fd: w.calls.connect(fd, w.ordinary_file()),
    unix_engaged=lambda w, fd: w.calls.connect(fd, w.unix_engaged()),
    unix_full=lambda w, fd: w.calls.connect(fd, w.unix_full_listener()),
)
variants(
    "listen",
    five=lambda w, fd: w.calls.listen(fd, 5),
    none=lambda w, fd: w.calls.listen(fd, 0),
    negative=lambda w, fd: w.calls.listen(fd, -1),
)
variants(
    "accept",
    plain=lambda w, fd: w.keep(w.calls.accept(fd)[0]) >= 0,
    address=lambda w, fd: w.calls.accept(fd)[1],
)
variants(
    "accept4",
    flags=lambda w, fd: w.calls.fcntl(w.keep(w.calls.accept4(fd, NONBLOCK | CLOEXEC)[0]), 3),
    bad_flags=lambda w, fd: w.calls.accept4(fd, 1),
)
variants("getsockname", plain=lambda w, fd: w.calls.getsockname(fd))
variants("getpeername", plain=lambda w, fd: w.calls.getpeername(fd))
variants(
    "shutdown",
    reading=lambda w, fd: w.calls.shutdown(fd, 0),
    writing=lambda w, fd: w.calls.shutdown(fd, 1),
    both=lambda w, fd: w.calls.shutdown(fd, 2),
    bad=lambda w, fd: w.calls.shutdown(fd, 3),
    negative=lambda w, fd: w.calls.shutdown(fd, -1),
)
variants(
    "send",
    byte=lambda w, fd: w.calls.send(fd, b"x"),
    nothing=lambda w, fd: w.calls.send(fd, b""),
    null=lambda w, fd: w.calls.send(fd, None),
    large=lambda w, fd: w.calls.send(fd, bytes(70_000)) > 0,
    dontwait=lambda w, fd: w.calls.send(fd, b"x", DONTWAIT),
    nosignal=lambda w, fd: w.calls.send(fd, b"x", NOSIGNAL),
    more=lambda w, fd: w.calls.send(fd, b"x", MORE),
    peek=lambda w, fd: w.calls.send(fd, b"x", PEEK),
    unknown_flag=lambda w, fd: w.calls.send(fd, b"x", 0x0080_0000),
    urgent=lambda w, fd: w.calls.send(fd, b"x", OOB),
)
variants(
    "sendto",
    nowhere=lambda w, fd: w.calls.sendto(fd, b"x", 0, None) if fd < 0 else w.calls.send(fd, b"x"),
    datagram=lambda w, fd: w.calls.sendto(fd, b"x", 0, w.datagram_address()),
    nobody=lambda w, fd: w.calls.sendto(fd, b"x", 0, w.refusing_address()),
    port_zero=lambda w, fd: w.calls.sendto(fd, b"x", 0, Sockaddr.inet(HERE, 0)),
    large=lambda w, fd: w.calls.sendto(fd, bytes(65_508), 0, w.datagram_address()) > 0,
    broadcast=lambda w, fd: w.calls.sendto(fd, b"x", 0, LOOPBACK_BROADCAST),
    short=lambda w, fd: w.calls.sendto(fd, b"x", 0, SHORT),
    one_byte=lambda w, fd: w.calls.sendto(fd, b"x", 0, ONE_BYTE),
    other_family=lambda w, fd: w.calls.sendto(fd, b"x", 0, OTHER_FAMILY),
    too_long=lambda w, fd: w.calls.sendto(fd, b"x", 0, TOO_LONG),
    urgent=lambda w, fd: w.calls.sendto(fd, b"x", OOB, w.datagram_address()),
    unix_datagram=lambda w, fd: w.calls.sendto(fd, b"x", 0, w.unix_listener(DGRAM)),
    unix_listener=lambda w, fd: w.calls.sendto(fd, b"x", 0, w.unix_listener()),
    unix_nobody=lambda w, fd: w.calls.sendto(fd, b"x", 0, unix(w.name())),
    unix_no_name=lambda w, fd: w.calls.sendto(fd, b"x", 0, unix("")),
    unix_no_file=lambda w, fd: w.calls.sendto(fd, b"x", 0, unix(w.path())),
    unix_file=lambda w, fd: w.calls.sendto(fd, b"x", 0, w.unix_file(DGRAM)),
    unix_file_of_stream=lambda w, fd: w.calls.sendto(fd, b"x", 0, w.unix_file(STREAM)),
    unix_engaged=lambda w, fd: w.calls.sendto(fd, b"x", 0, w.unix_engaged()),
)
variants(
    "sendmsg",
    parts=lambda w, fd: w.calls.sendmsg(fd, [b"a", b"", b"bc"]),
    no_parts=lambda w, fd: w.calls.sendmsg(fd, []),
    too_many=lambda w, fd: w.calls.sendmsg(fd, [b"x"] * 1025),
    null=lambda w, fd: w.calls.sendmsg(fd, [b"a", None]),
    datagram=lambda w, fd: w.calls.sendmsg(fd, [b"x"], (), 0, w.datagram_address()),
    broadcast=lambda w, fd: w.calls.sendmsg(fd, [b"x"], (), 0, LOOPBACK_BROADCAST),
    other_family=lambda w, fd: w.calls.sendmsg(fd, [b"x"], (), 0, OTHER_FAMILY),
    unix_file_of_stream=lambda w, fd: w.calls.sendmsg(fd, [b"x"], (), 0, w.unix_file(STREAM)),
    unix_no_file=lambda w, fd: w.calls.sendmsg(fd, [b"x"], (), 0, unix(w.path())),
    unix_engaged=lambda w, fd: w.calls.sendmsg(fd, [b"x"], (), 0, w.unix_engaged()),
    descriptor=lambda w, fd: w.calls.sendmsg(fd, [b"x"], [(SOL, RIGHTS, struct.pack("i", w.socket(INET, DGRAM)))]),
    closed_descriptor=lambda w, fd: w.calls.sendmsg(fd, [b"x"], [(SOL, RIGHTS, struct.pack("i", -1))]),
    many_descriptors=lambda w, fd: w.calls.sendmsg(fd, [b"x"], [(SOL, RIGHTS, bytes(4 * 254))]),
    unknown_ancillary=lambda w, fd: w.calls.sendmsg(fd, [b"x"], [(SOL, 99, b"data")]),
    ancillary_of_another_level=lambda w, fd: w.calls.sendmsg(fd, [b"x"], [(9999, 1, b"data")]),
)
variants(
    "recv",
    some=lambda w, fd: w.calls.recv(fd, 3),
    all=lambda w, fd: w.calls.recv(fd, 100),
    nothing=lambda w, fd: w.calls.recv(fd, 0),
    twice=lambda w, fd: [w.calls.recv(fd, 100), w.calls.recv(fd, 100)],
    peek=lambda w, fd: [w.calls.recv(fd, 3, PEEK), w.calls.recv(fd, 100, PEEK)],
    truncated=lambda w, fd: len(w.calls.recv(fd, 3, TRUNC)),
    truncated_peek=lambda w, fd: [len(w.calls.recv(fd, 3, TRUNC | PEEK)), w.calls.recv(fd, 100)],
    waitall=lambda w, fd: w.calls.recv(fd, 100, WAITALL),
    dontwait=lambda w, fd: w.calls.recv(fd, 100, DONTWAIT),
    errors=lambda w, fd: w.calls.recv(fd, 100, ERRQUEUE),
    urgent=lambda w, fd: w.calls.recv(fd, 100, OOB),
    unknown_flag=lambda w, fd: w.calls.recv(fd, 100, 0x0080_0000),
    null=lambda w, fd: w.calls.recv_into(fd, None),
    into=lambda w, fd: w.calls.recv_into(fd, bytearray(3)),
)
variants(
    "recvfrom",
    plain=lambda w, fd: w.calls.recvfrom(fd, 100),
    peek=lambda w, fd: w.calls.recvfrom(fd, 3, PEEK),
    urgent=lambda w, fd: w.calls.recvfrom(fd, 3, OOB),
    negative=lambda w, fd: w.calls.recvfrom(fd, -1),
)
variants(
    "recvmsg",
    plain=lambda w, fd: w.calls.recvmsg(fd, 100)[:3],
    short=lambda w, fd: w.calls.recvmsg(fd, 3)[:3],
    truncated=lambda w, fd: w.calls.recvmsg(fd, 3, 0, TRUNC)[2],
    urgent=lambda w, fd: w.calls.recvmsg(fd, 3, 0, OOB)[:2],
)
variants(
    "read",
    all=lambda w, fd: w.calls.read(fd, 100),
    some=lambda w, fd: [w.calls.read(fd, 2), w.calls.read(fd, 2)],
    nothing=lambda w, fd: w.calls.read(fd, 0),
    negative=lambda w, fd: w.calls.read(fd, -1),
)
variants(
    "readv",
    two=lambda w, fd: w.calls.readv(fd, [bytearray(2), bytearray(2)]),
    none=lambda w, fd: w.calls.readv(fd, []),
    empty=lambda w, fd: w.calls.readv(fd, [bytearray(0)]),
    too_many=lambda w, fd: w.calls.readv(fd, [bytearray(1)] * 1025),
)
variants(
    "write",
    byte=lambda w, fd: w.calls.write(fd, b"x"),
    nothing=lambda w, fd: w.calls.write(fd, b""),
    null=lambda w, fd: w.calls.write(fd, None),
)
variants(
    "writev",
    two=lambda w, fd: w.calls.writev(fd, [b"ab", b"c"]),
    none=lambda w, fd: w.calls.writev(fd, []),
    too_many=lambda w, fd: w.calls.writev(fd, [b"x"] * 1025),
)


def _sendfile(w: World, fd: int, offset: int | None, count: int) -> Any:
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(b"0123456789")
        file.seek(2)
        sent = w.calls.sendfile(fd, file.fileno(), offset, count)
        return sent, file.seek(0, 1)


variants(
    "sendfile",
    from_the_start=lambda w, fd: _sendfile(w, fd, 0, 100),
    from_where_it_stands=lambda w, fd: _sendfile(w, fd, None, 5),
    beyond_the_end=lambda w, fd: _sendfile(w, fd, 10, 5),
    nothing=lambda w, fd: _sendfile(w, fd, 0, 0),
    no_file=lambda w, fd: w.calls.sendfile(fd, -1, 0, 5),
    of_it=lambda w, fd: w.calls.sendfile(w.pair(STREAM)[0], fd, None, 5),
    of_it_with_an_offset=lambda w, fd: w.calls.sendfile(w.pair(STREAM)[0], fd, 0, 5),
)

variants(
    "setsockopt",
    integer=lambda w, fd: w.calls.setsockopt(fd, SOL, socket.SO_KEEPALIVE, 1),
    short=lambda w, fd: w.calls.setsockopt(fd, SOL, socket.SO_KEEPALIVE, b"\1\0\0"),
    empty=lambda w, fd: w.calls.setsockopt(fd, SOL, socket.SO_KEEPALIVE, b""),
    null=lambda w, fd: w.calls.setsockopt(fd, SOL, socket.SO_KEEPALIVE, None),
    read_only=lambda w, fd: w.calls.setsockopt(fd, SOL, socket.SO_TYPE, 1),
    unknown=lambda w, fd: w.calls.setsockopt(fd, SOL, 9999, 1),
    unknown_level=lambda w, fd: w.calls.setsockopt(fd, 9999, 1, 1),
    linger=lambda w, fd: w.calls.setsockopt(fd, SOL, socket.SO_LINGER, struct.pack("ii", 0, 0)),
    linger_short=lambda w, fd: w.calls.setsockopt(fd, SOL, socket.SO_LINGER, 1),
    timeout=lambda w, fd: w.calls.setsockopt(fd, SOL, socket.SO_RCVTIMEO, struct.pack("qq", 1, 500_000)),
    timeout_short=lambda w, fd: w.calls.setsockopt(fd, SOL, socket.SO_RCVTIMEO, struct.pack("q", 1)),
    timeout_domain=lambda w, fd: w.calls.setsockopt(fd, SOL, socket.SO_SNDTIMEO, struct.pack("qq", 1, 1_000_000)),
    nodelay=lambda w, fd: w.calls.setsockopt(fd, TCP, socket.TCP_NODELAY, 1),
    nodelay_short=lambda w, fd: w.calls.setsockopt(fd, TCP, socket.TCP_NODELAY, b"\1"),
    keepidle_zero=lambda w, fd: w.calls.setsockopt(fd, TCP, socket.TCP_KEEPIDLE, 0),
    segment_size=lambda w, fd: w.calls.setsockopt(fd, TCP, socket.TCP_MAXSEG, 1),
    unknown_of_tcp=lambda w, fd: w.calls.setsockopt(fd, TCP, 9999, 1),
    hops=lambda w, fd: w.calls.setsockopt(fd, IP, socket.IP_TTL, 9),
    hops_byte=lambda w, fd: w.calls.setsockopt(fd, IP, socket.IP_TTL, b"\x09"),
    hops_zero=lambda w, fd: w.calls.setsockopt(fd, IP, socket.IP_TTL, 0),
    hops_many=lambda w, fd: w.calls.setsockopt(fd, IP, socket.IP_TTL, 256),
    unknown_of_ip=lambda w, fd: w.calls.setsockopt(fd, IP, 9999, 1),
)
variants(
    "getsockopt",
    type=lambda w, fd: w.calls.getsockopt(fd, SOL, socket.SO_TYPE),
    domain=lambda w, fd: w.calls.getsockopt(fd, SOL, socket.SO_DOMAIN),
    protocol=lambda w, fd: w.calls.getsockopt(fd, SOL, socket.SO_PROTOCOL),
    error=lambda w, fd: [w.calls.getsockopt(fd, SOL, socket.SO_ERROR), w.calls.getsockopt(fd, SOL, socket.SO_ERROR)],
    listening=lambda w, fd: w.calls.getsockopt(fd, SOL, socket.SO_ACCEPTCONN),
    unknown=lambda w, fd: w.calls.getsockopt(fd, SOL, 9999),
    unknown_level=lambda w, fd: w.calls.getsockopt(fd, 9999, 1),
    negative=lambda w, fd: w.calls.getsockopt(fd, SOL, socket.SO_TYPE, -1),
    two_bytes=lambda w, fd: w.calls.getsockopt(fd, SOL, socket.SO_TYPE, 2),
    linger=lambda w, fd: w.calls.getsockopt(fd, SOL, socket.SO_LINGER, 8),
    timeout=lambda w, fd: w.calls.getsockopt(fd, SOL, socket.SO_RCVTIMEO, 16),
    nodelay=lambda w, fd: w.calls.getsockopt(fd, TCP, socket.TCP_NODELAY),
    unknown_of_tcp=lambda w, fd: w.calls.getsockopt(fd, TCP, 9999),
    hops=lambda w, fd: w.calls.getsockopt(fd, IP, socket.IP_TTL),
    unknown_of_ip=lambda w, fd: w.calls.getsockopt(fd, IP, 9999),
)
_LO = b"lo".ljust(40, b"\0")
_NO_PID = 2**22 + 1  # above all that Linux gives
_NO_DEVICE = b"none7".ljust(40, b"\0")
variants(
    "ioctl",
    queued=lambda w, fd: struct.unpack("i", w.calls.ioctl(fd, 0x541B, bytes(4))),
    queued_nowhere=lambda w, fd: w.calls.ioctl(fd, 0x541B, 0),
    at_mark=lambda w, fd: struct.unpack("i", w.calls.ioctl(fd, 0x8905, bytes(4))),
    nonblocking=lambda w, fd: [w.calls.ioctl(fd, 0x5421, struct.pack("i", 1)), w.calls.fcntl(fd, 3)],
    blocking=lambda w, fd: [w.calls.ioctl(fd, 0x5421, bytes(4)), w.calls.fcntl(fd, 3)],
    nonblocking_null=lambda w, fd: w.calls.ioctl(fd, 0x5421, 0),
    close_on_exec=lambda w, fd: [w.calls.ioctl(fd, 0x5451), w.calls.fcntl(fd, 1)],
    not_close_on_exec=lambda w, fd: [w.calls.ioctl(fd, 0x5450), w.calls.fcntl(fd, 1)],
    told=lambda w, fd: [w.calls.ioctl(fd, 0x5452, struct.pack("i", 1)), w.calls.fcntl(fd, 3)],
    not_told=lambda w, fd: [w.calls.ioctl(fd, 0x5452, bytes(4)), w.calls.fcntl(fd, 3)],
    told_null=lambda w, fd: w.calls.ioctl(fd, 0x5452, 0),
    owner=lambda w, fd: len(w.calls.ioctl(fd, 0x8902, struct.pack("i", os.getpid()))) and w.calls.fcntl(fd, 9) > 0,
    owner_unknown=lambda w, fd: w.calls.ioctl(fd, 0x8901, struct.pack("i", _NO_PID)),
    whose=lambda w, fd: struct.unpack("i", w.calls.ioctl(fd, 0x8904, bytes(4))),
    whose_null=lambda w, fd: w.calls.ioctl(fd, 0x8903, 0),
    unknown=lambda w, fd: w.calls.ioctl(fd, 0x1234, bytes(4)),
    sent=lambda w, fd: struct.unpack("i", w.calls.ioctl(fd, 0x894B, bytes(4)))[0] >= 0,
    stamp=lambda w, fd: w.calls.ioctl(fd, 0x8906, bytes(16)),
    address=lambda w, fd: w.calls.ioctl(fd, 0x8915, _LO)[16:24],
    netmask=lambda w, fd: w.calls.ioctl(fd, 0x891B, _LO)[16:24],
    index=lambda w, fd: w.calls.ioctl(fd, 0x8933, _LO)[16:20],
    mtu=lambda w, fd: w.calls.ioctl(fd, 0x8921, _LO)[16:20],
    flags=lambda w, fd: w.calls.ioctl(fd, 0x8913, _LO)[16:18],
    hardware=lambda w, fd: w.calls.ioctl(fd, 0x8927, _LO)[16:24],
    name=lambda w, fd: w.calls.ioctl(fd, 0x8910, bytes(16) + struct.pack("i", 1) + bytes(20))[:4],
    no_device=lambda w, fd: w.calls.ioctl(fd, 0x8913, _NO_DEVICE),
    no_index=lambda w, fd: w.calls.ioctl(fd, 0x8910, bytes(16) + struct.pack("i", 99_999) + bytes(20)),
    device_null=lambda w, fd: w.calls.ioctl(fd, 0x8913, 0),
)
variants(
    "fcntl",
    status=lambda w, fd: w.calls.fcntl(fd, 3),
    set_status=lambda w, fd: [w.calls.fcntl(fd, 4, 0), w.calls.fcntl(fd, 3)],
    flags=lambda w, fd: w.calls.fcntl(fd, 1),
    set_flags=lambda w, fd: [w.calls.fcntl(fd, 2, 1), w.calls.fcntl(fd, 1)],
    dup=lambda w, fd: w.calls.fcntl(w.keep(w.calls.fcntl(fd, 0, 0)), 1),
    dup_close_on_exec=lambda w, fd: w.calls.fcntl(w.keep(w.calls.fcntl(fd, 1030, 0)), 1),
    dup_negative=lambda w, fd: w.calls.fcntl(fd, 0, -1),
    dup_beyond=lambda w, fd: w.calls.fcntl(fd, 0, 2**31 - 1),
    told=lambda w, fd: [w.calls.fcntl(fd, 4, 0o24000), w.calls.fcntl(fd, 3), w.calls.fcntl(fd, 9)],
    owner=lambda w, fd: [w.calls.fcntl(fd, 8, os.getpid()), w.calls.fcntl(fd, 9) == os.getpid()],
    no_owner=lambda w, fd: [w.calls.fcntl(fd, 8, 0), w.calls.fcntl(fd, 9)],
    owner_unknown=lambda w, fd: w.calls.fcntl(fd, 8, _NO_PID),
    signal=lambda w, fd: [w.calls.fcntl(fd, 10, 35), w.calls.fcntl(fd, 11), w.calls.fcntl(fd, 10, 0)],
    signal_unknown=lambda w, fd: w.calls.fcntl(fd, 10, 65),
    unknown=lambda w, fd: w.calls.fcntl(fd, 9999),
    owner_at_first=lambda w, fd: w.calls.fcntl(fd, 9),
    signal_at_first=lambda w, fd: w.calls.fcntl(fd, 11),
    pipe_size=lambda w, fd: w.calls.fcntl(fd, 1032),
)
variants(
    "poll",
    everything=lambda w, fd: [mask for _, mask in w.calls.poll([(fd, 0x2FFF)], 0)],
    nothing=lambda w, fd: [mask for _, mask in w.calls.poll([(fd, 0)], 0)],
)
variants(
    "select",
    read=lambda w, fd: [len(ready) for ready in w.calls.select([fd], [], [], 0)],
    write=lambda w, fd: [len(ready) for ready in w.calls.select([], [fd], [], 0)],
    exceptional=lambda w, fd: [len(ready) for ready in w.calls.select([], [], [fd], 0)],
    negative=lambda w, fd: w.calls.select([fd], [], [], -1),
)


def _epoll(w: World, fd: int, *steps: tuple[int, int]) -> Any:
    epfd = w.keep(w.calls.epoll_create1(CLOEXEC))
    for operation, events in steps:
        w.calls.epoll_ctl(epfd, operation, fd, events)
    return [events for _, events in w.calls.epoll_wait(epfd, 5, 0)]





def _epoll_of_a_file(w: World, fd: int) -> None:
    with tempfile.TemporaryFile() as file:
        w.calls.epoll_ctl(w.keep(w.calls.epoll_create1(0)), ADD, file.fileno(), IN)


def _epoll_deep(w: World, fd: int) -> None:
    """Sets in one another, more of them than may be."""
    inner = fd
    for _ in range(8):
        outer = w.keep(w.calls.epoll_create1(0))
        w.calls.epoll_ctl(outer, ADD, inner, IN)
        inner = outer


variants(
    "epoll_ctl",
    add=lambda w, fd: _epoll(w, fd, (ADD, IN | OUT | RDHUP)),
    add_twice=lambda w, fd: _epoll(w, fd, (ADD, IN), (ADD, OUT)),
    change=lambda w, fd: _epoll(w, fd, (ADD, IN), (MOD, OUT)),
    change_unknown=lambda w, fd: _epoll(w, fd, (MOD, OUT)),
    remove=lambda w, fd: _epoll(w, fd, (ADD, IN), (DEL, 0)),
    remove_unknown=lambda w, fd: _epoll(w, fd, (DEL, 0)),
    bad_operation=lambda w, fd: _epoll(w, fd, (9, 0)),
    exclusive=lambda w, fd: _epoll(w, fd, (ADD, IN | select.EPOLLEXCLUSIVE), (MOD, IN)),
    itself=lambda w, fd: w.calls.epoll_ctl(fd, ADD, fd, IN),
    no_set=lambda w, fd: w.calls.epoll_ctl(fd, ADD, w.socket(INET, DGRAM), IN),
    a_file=_epoll_of_a_file,
    deep=_epoll_deep,
)
variants(
    "epoll_wait",
    no_set=lambda w, fd: [events for _, events in w.calls.epoll_wait(fd, 5, 0)],
    no_room=lambda w, fd: w.calls.epoll_wait(w.keep(w.calls.epoll_create1(0)), 0, 0),
)
variants("dup", plain=lambda w, fd: w.calls.fcntl(w.keep(w.calls.dup(fd)), 3))
variants(
    "dup2",
    itself=lambda w, fd: w.calls.dup2(fd, fd) == fd,
    negative=lambda w, fd: w.calls.dup2(fd, -1),
    beyond=lambda w, fd: w.calls.dup2(fd, 2**31 - 1),
    over=lambda w, fd: w.calls.dup2(fd, target := w.socket(INET, DGRAM)) == target,
)
variants(
    "dup3",
    itself=lambda w, fd: w.calls.dup3(fd, fd, 0),
    bad_flags=lambda w, fd: w.calls.dup3(fd, w.socket(INET, DGRAM), 1),
    negative=lambda w, fd: w.calls.dup3(fd, -1, 0),
    over=lambda w, fd: w.calls.fcntl(w.calls.dup3(fd, w.socket(INET, DGRAM), CLOEXEC), 1),
)
variants(
    "close",
    once=lambda w, fd: w.calls.close(fd),
    twice=lambda w, fd: [w.calls.close(fd), w.calls.close(fd)],
)

# Calls that make descriptors, in no situation

MAKERS: dict[str, Callable[[World], Any]] = {}


def _socket(w: World, family: int, type: int, protocol: int = 0) -> Any:
    fd = w.keep(w.calls.socket(family, type, protocol))
    return [w.calls.fcntl(fd, 3), w.calls.fcntl(fd, 1), w.calls.getsockopt(fd, SOL, socket.SO_TYPE)]


def _pair(w: World, family: int, type: int, protocol: int = 0) -> Any:
    fd, other = map(w.keep, w.calls.socketpair(family, type, protocol))
    return [w.calls.fcntl(fd, 3), w.calls.fcntl(other, 1)]


def _pipe(w: World, flags: int) -> Any:
    reading, writing = map(w.keep, w.calls.pipe2(flags))
    return [w.calls.fcntl(reading, 3), w.calls.fcntl(writing, 3), w.calls.fcntl(writing, 1)]


for _family in (INET, UNIX, -1, 0, 45, 46, 999):
    for _type in (STREAM, DGRAM, SEQPACKET, 0, 7, 11, 15, STREAM | NONBLOCK, DGRAM | CLOEXEC, STREAM | 0x100, -1):
        for _protocol in (0, 1, 6, 17, -1, 300):
            for _call, _make in (("socket", _socket), ("socketpair", _pair)):
                MAKERS[f"{_call}({_family}, {_type:#x}, {_protocol})"] = (
                    lambda w, make=_make, args=(_family, _type, _protocol): make(w, *args)
                )
for _flags in (0, NONBLOCK, CLOEXEC, NONBLOCK | CLOEXEC, 1, 2, 0x10):
    MAKERS[f"epoll_create1({_flags:#x})"] = lambda w, flags=_flags: w.calls.fcntl(
        w.keep(w.calls.epoll_create1(flags)), 1
    )
    MAKERS[f"eventfd({_flags:#x})"] = lambda w, flags=_flags: w.calls.fcntl(w.keep(w.calls.eventfd(3, flags)), 3)
    MAKERS[f"pipe2({_flags:#x})"] = lambda w, flags=_flags: _pipe(w, flags)
for _size in (-1, 0, 1):
    MAKERS[f"epoll_create({_size})"] = lambda w, size=_size: w.keep(w.calls.epoll_create(size)) >= 0

# Blocking calls: those of which the kernel ends each within SO_RCVTIMEO and SO_SNDTIMEO, in situations of sockets

TIMEOUT = struct.pack("qq", 0, 10_000)
BLOCKING: dict[str, Variant] = {
    f"{call} {name}": CALLS[call][name]
    for call, names in {
        "accept": ("plain",),
        "connect": ("listener", "nobody", "unix_listener", "unix_full"),
        "send": ("byte", "dontwait"),
        "sendto": ("datagram", "unix_datagram"),
        "sendmsg": ("parts",),
        "recv": ("some", "waitall", "peek", "dontwait", "errors"),
        "recvfrom": ("plain",),
        "read": ("all",),
        "write": ("byte",),
    }.items()
    for name in names
}


def let_block(w: World, fd: int) -> int:
    """Let the calls on a socket wait, for a moment."""
    if fd >= 0 and w.is_open(fd):
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            w.calls.setsockopt(fd, SOL, option, TIMEOUT)
        w.calls.fcntl(fd, 4, 0)
    return fd
