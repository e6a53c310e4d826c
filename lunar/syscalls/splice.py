"""splice(2): bytes from a socket or a file into a pipe, or out of one, without the program in between.

One of the two is a pipe of the host, the other may be a file of the machine. A socket's O_NONBLOCK decides whether the
call waits for the socket, SPLICE_F_NONBLOCK whether it waits for the pipe.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from lunar.errors import error
from lunar.net.sock import POLLIN, POLLOUT, Sock
from lunar.sockets import pipe as pipes
from lunar.sockets import syscalls
from lunar.sockets.epoll import Epoll
from lunar.sockets.fdtable import is_virtual
from lunar.sockets.pipe import PipeEnd
from lunar.sockets.syscalls import MSG_DONTWAIT, MSG_MORE
from lunar.syscalls.descriptor import opened
from lunar.syscalls.transfer import send_now
from lunar.tcp.sock import TcpSock
from lunar.waiting import Patience

if TYPE_CHECKING:
    from lunar.host import Host

SPLICE_F_NONBLOCK: Final = 2
SPLICE_F_MORE: Final = 4
_SPLICE_F_ALL: Final = 15


def splice(fd_in: int, offset_in: int | None, fd_out: int, offset_out: int | None, count: int, flags: int = 0) -> int:
    """`splice(2)`. Moves up to `count` bytes, one end of which is a pipe's; the count of bytes, 0 at the end.

    A stream gives what it has up to a mark of urgent data. Offsets are for files of the machine. Flags:
    SPLICE_F_NONBLOCK, SPLICE_F_MORE.
    """
    if count == 0:
        return 0
    if flags & ~_SPLICE_F_ALL or count < 0:
        raise error(errno.EINVAL)
    host, source = _end(fd_in)
    other_host, target = _end(fd_out)
    host = host or other_host
    if (isinstance(source, PipeEnd) and source.writing) or (isinstance(target, PipeEnd) and not target.writing):
        raise error(errno.EBADF)
    if host is None or not (isinstance(source, PipeEnd) or isinstance(target, PipeEnd)):
        raise error(errno.EINVAL)
    for end, offset in ((source, offset_in), (target, offset_out)):
        if offset is not None and isinstance(end, PipeEnd):
            raise error(errno.ESPIPE)
        if offset is not None and end is not None:
            raise error(errno.EINVAL)
        if isinstance(end, Epoll):
            raise error(errno.EINVAL)
    may_wait = not flags & SPLICE_F_NONBLOCK
    if isinstance(target, PipeEnd):
        if isinstance(source, PipeEnd) and source.channel is target.channel:
            raise error(errno.EINVAL)
        room = _room(host, fd_out, target, may_wait)
        data = _taken(host, fd_in, source, min(count, room), offset_in, may_wait)
        if data:
            target.write(data)
        return len(data)
    assert isinstance(source, PipeEnd), "one of them is a pipe"
    return _from_pipe(host, source, fd_in, target, fd_out, offset_out, count, flags)


def _end(fd: int) -> tuple[Host | None, Sock | None]:
    """The host and what `fd` names there; None and None for a file of the machine. EBADF."""
    if is_virtual(fd):
        return opened(fd)
    os.fstat(fd)
    return None, None


def _room(host: Host, fd: int, pipe: PipeEnd, may_wait: bool) -> int:
    """How many bytes the pipe takes, at least one. EAGAIN, EPIPE."""
    patience = Patience(host, fd, pipe, 0, pipe.nonblocking or not may_wait)
    while True:
        if pipe.channel.deaf:
            raise error(errno.EPIPE)
        room = pipes.CAPACITY - int(pipe.channel.charged)
        if room > 0:
            return room
        patience.wait(POLLOUT)


def _taken(host: Host, fd: int, source: Sock | None, size: int, offset: int | None, may_wait: bool) -> bytes:
    """Up to `size` bytes of what is no pipe, or another pipe."""
    if source is None:
        if offset is not None:
            return os.pread(fd, size, offset)
        return os.read(fd, size)
    waits = not source.nonblocking and (may_wait or not isinstance(source, PipeEnd))
    patience = Patience(host, fd, source, int(source.rcvtimeo_ns), not waits)
    while True:
        if isinstance(source, TcpSock):
            if source.is_listening():
                raise error(errno.ENOTCONN)
            if source.received.size and source.at_mark():
                # The urgent byte is in the way: nobody waits for it to be read.
                if waits:
                    return b""
                raise error(errno.EAGAIN)
        got = syscalls.read(source, size)
        if got.errno == 0:
            return got.data
        if got.errno != errno.EAGAIN:
            raise error(int(got.errno))
        patience.wait(POLLIN)


def _from_pipe(
    host: Host, pipe: PipeEnd, fd_in: int, target: Sock | None, fd_out: int, offset: int | None, count: int, flags: int
) -> int:
    patience = Patience(host, fd_in, pipe, 0, pipe.nonblocking or bool(flags & SPLICE_F_NONBLOCK))
    channel = pipe.channel
    while channel.is_empty():
        if channel.ended:
            return 0
        patience.wait(POLLIN)
    data = channel.take(min(count, int(channel.waiting_bytes())), True)
    if target is None:
        moved = os.write(fd_out, data) if offset is None else os.pwrite(fd_out, data, offset)
    elif syscalls.is_socket(target):
        moved = send_now(host, fd_out, target, data, _send_flags(target, flags), None)
    else:
        raise error(errno.EINVAL)
    pipe.read(moved)
    return moved


def _send_flags(target: Sock, flags: int) -> int:
    more = MSG_MORE if flags & SPLICE_F_MORE else 0
    return more | (MSG_DONTWAIT if target.nonblocking else 0)
