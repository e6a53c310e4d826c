"""The calls that receive: recv(2), recvfrom(2), recvmsg(2), and how they wait for as much as is asked for."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final

from lunar import ancillary as control
from lunar.errors import error
from lunar.net.sock import POLLIN, Sock
from lunar.sock_names import Name, sender
from lunar.sockets import syscalls
from lunar.sockets.syscalls import (
    MSG_DONTWAIT,
    MSG_ERRQUEUE,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    MSG_WAITALL,
    Received,
)
from lunar.syscalls.descriptor import opened_socket
from lunar.tcp.sock import TcpSock
from lunar.waiting import Patience

if TYPE_CHECKING:
    from lunar.host import Host

_SOCK_STREAM: Final = 1
# read(2): the most bytes of one call.
_MAX_COUNT: Final = 0x7FFF_F000


def recv(fd: int, size: int, flags: int = 0) -> bytes:
    """`recv(2)`. Receives up to `size` bytes, or a datagram; b"" at the end of a stream.

    Flags: MSG_PEEK, MSG_WAITALL, MSG_TRUNC (the result is as long as the datagram, zeros stand for what did not fit; of
    TCP the bytes are thrown away), MSG_DONTWAIT, MSG_OOB, MSG_ERRQUEUE (the oldest report).
    """
    return recvfrom(fd, size, flags)[0]


def recvfrom(fd: int, size: int, flags: int = 0) -> tuple[bytes, Name | None]:
    """`recvfrom(2)`. As `recv`, with the sender of a datagram; None for what came over a connection."""
    host, sock = opened_socket(fd)
    got = receive(host, fd, sock, size, int(flags))
    return got.data + bytes(int(got.size) - len(got.data)), sender(sock, got)


def recv_into(fd: int, buffer: Any, size: int = 0, flags: int = 0) -> int:
    """`recv(2)` into a buffer, or into its first `size` bytes. Returns the count; with MSG_TRUNC the datagram's."""
    host, sock = opened_socket(fd)
    if buffer is None and flags & MSG_TRUNC and isinstance(sock, TcpSock):
        return int(receive(host, fd, sock, size, int(flags)).size)  # nothing is written anywhere
    if buffer is None:
        raise error(errno.EFAULT)
    view = memoryview(buffer).cast("B")
    if size:
        view = view[:size]
    got = receive(host, fd, sock, len(view), int(flags))
    view[: len(got.data)] = got.data
    return int(got.size)


def recvmsg(fd: int, size: int, ancillary_size: int = 0, flags: int = 0) -> tuple[bytes, list[Any], int, Name | None]:
    """`recvmsg(2)`. Returns (data, ancillary data, flags, sender); MSG_TRUNC tells that a datagram was longer,
    MSG_CTRUNC that there was no room for all that came beside it, MSG_ERRQUEUE that it is a report of the error queue.
    """
    host, sock = opened_socket(fd)
    got = receive(host, fd, sock, size, int(flags), with_attachment=True)
    data = got.data + bytes(int(got.size) - len(got.data))
    items, told = control.delivered(host, sock, got, ancillary_size, int(flags))
    return data, items, told | (MSG_TRUNC if got.truncated else 0), sender(sock, got)


def receive(host: Host, fd: int, sock: Sock, size: int, flags: int, with_attachment: bool = False) -> Received:
    """What the calls that receive have in common, for who knows the socket of `fd` on `host` already."""
    if size < 0:
        size = _MAX_COUNT  # as a number without a sign it is more than Linux ever takes
    patience = Patience(host, fd, sock, int(sock.rcvtimeo_ns), sock.nonblocking or bool(flags & MSG_DONTWAIT))
    if flags & MSG_ERRQUEUE:
        patience.none = True
    if flags & MSG_WAITALL and sock.type == _SOCK_STREAM and not flags & MSG_OOB and size:
        return _receive_all(patience, sock, size, flags, with_attachment)
    if sock.rcvlowat > 1 and isinstance(sock, TcpSock) and not patience.none and not flags & MSG_OOB and size:
        return _receive_all(patience, sock, size, flags, with_attachment, int(sock.rcvlowat))
    call = syscalls.recvmsg if with_attachment else syscalls.recvfrom
    while True:
        got = call(sock, size, flags)
        if got.errno == 0:
            return got
        if got.errno != errno.EAGAIN:
            raise error(int(got.errno))
        patience.wait(POLLIN)


def _ends_here(sock: Sock) -> bool:
    return syscalls.is_at_end(sock) or syscalls.is_at_mark(sock)


def _receive_all(
    patience: Patience, sock: Sock, size: int, flags: int, with_attachment: bool, least: int = _MAX_COUNT
) -> Received:
    """MSG_WAITALL, SO_RCVLOWAT: until there are `size` bytes, or `least`, or the end, an error, or time is over."""
    whole = Received(b"", 0, 0, 0)
    call = syscalls.recvmsg if with_attachment else syscalls.recvfrom
    while True:
        peeked = bool(flags & MSG_PEEK)
        got = call(sock, size if peeked else size - int(whole.size), flags)
        if got.errno == 0:
            if peeked:
                whole = got
            else:
                whole.attachment = got.attachment or whole.attachment
                whole.data += got.data
                whole.size += got.size
            came_with_files = got.attachment is not None and bool(got.attachment.files)
            if whole.size >= min(size, least) or got.size == 0 or came_with_files or _ends_here(sock):
                return whole
        elif got.errno != errno.EAGAIN:
            raise error(int(got.errno))
        try:
            patience.wait(POLLIN)
        except BlockingIOError:
            if whole.size:
                return whole
            raise
