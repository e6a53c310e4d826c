"""The calls that carry data: send(2) with its kin, read(2) and write(2) with theirs. recv(2) is in receiving.py."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from lunar import ancillary as control
from lunar import link_names, sockaddr, unix_names
from lunar.errors import error
from lunar.net.sock import POLLIN, POLLOUT, Sock
from lunar.sockets import syscalls
from lunar.sockets.attachment import Attachment
from lunar.sockets.eventfd import EventFd
from lunar.sockets.fdtable import is_virtual
from lunar.sockets.host_file import HostFile
from lunar.sockets.packet_sock import LinkSock
from lunar.sockets.pipe import PipeEnd
from lunar.sockets.raw_table import PacketSock
from lunar.sockets.syscalls import (
    MSG_DONTWAIT,
    MSG_EOR,
    MSG_FASTOPEN,
    MSG_OOB,
    MSG_ZEROCOPY,
)
from lunar.sockets.unix import CONNECTED, UnixSock
from lunar.syscalls.descriptor import opened, opened_file, opened_socket
from lunar.syscalls.receiving import receive
from lunar.tcp.marks import Marks
from lunar.tcp.sender import send_marks
from lunar.tcp.sock import TcpSock
from lunar.tcp.tcb import SYN_RECEIVED, SYN_SENT
from lunar.udp import UdpSock
from lunar.waiting import Patience

if TYPE_CHECKING:
    from lunar.host import Host

_SOCK_STREAM: Final = 1
_SOCK_SEQPACKET: Final = 5
# limits.h: how many buffers readv(2), writev(2) and sendmsg(2) take.
_IOV_MAX: Final = 1024
# A bounded piece: what does not fit the send buffer would be copied anew at every turn.
_PIECE_BYTES: Final = 262_144


def _payload(data: Any) -> bytes:
    if data is None:
        raise error(errno.EFAULT)
    return bytes(memoryview(data))


# Sending


def send(fd: int, data: Any, flags: int = 0) -> int:
    """`send(2)`. Sends over a connection, or a datagram to the peer; returns the count of bytes that were taken.

    A blocking call takes all of them. Flags: MSG_DONTWAIT, MSG_MORE, MSG_NOSIGNAL, MSG_OOB,
    MSG_FASTOPEN.
    """
    host, sock = opened_socket(fd)
    return send_now(host, fd, sock, _payload(data), int(flags), None)


def sendto(fd: int, data: Any, flags: int, address: Any) -> int:
    """`sendto(2)`. As `send`; a datagram goes to `address`, or with None to the peer."""
    host, sock = opened_socket(fd)
    return send_now(host, fd, sock, _payload(data), int(flags), address)


def sendmsg(fd: int, buffers: Iterable[Any], ancillary: Iterable[Any] = (), flags: int = 0, address: Any = None) -> int:
    """`sendmsg(2)`. As `sendto`, of several buffers."""
    host, sock = opened_socket(fd)
    parts = list(buffers)
    if len(parts) > _IOV_MAX:
        raise error(errno.EMSGSIZE)
    payloads = list(map(_payload, parts))
    data = b"".join(payloads)
    note_buffers(sock, payloads, int(flags))
    try:
        attachment = control.attached(host, sock, ancillary)
    except OSError:
        if not (isinstance(sock, UdpSock) and sock.corked is not None):
            _look_at_state(sock, address)
            raise
        attachment = None  # a datagram that is begun takes no more of it
    if attachment is None:
        try:
            return send_now(host, fd, sock, data, int(flags), address)
        finally:
            control.forget_call(sock)
    assert isinstance(sock, UnixSock), "others have nothing to attach"
    return _send_with(host, fd, sock, data, int(flags), address, attachment)


def note_buffers(sock: Sock, payloads: list[bytes], flags: int) -> None:
    """A send of several buffers begins. With MSG_ZEROCOPY they decide, on Linux, what goes into one segment."""
    if flags & MSG_ZEROCOPY and isinstance(sock, TcpSock):
        send_marks.cut_buffers(sock, list(map(len, payloads)))


def _look_at_state(sock: Sock, address: Any) -> None:
    """Raise what Linux finds wrong before it comes to ancillary data."""
    if isinstance(sock, TcpSock):
        _checked(syscalls.send(sock, b"", 0))
    elif isinstance(sock, UnixSock):
        if sock.type == _SOCK_SEQPACKET and sock.state != CONNECTED:
            raise error(errno.ENOTCONN)
    elif address is None:
        if not (sock.connected if isinstance(sock, PacketSock) else sock.remote_port):
            raise error(errno.EDESTADDRREQ)


def _send_with(
    host: Host, fd: int, sock: UnixSock, data: bytes, flags: int, address: Any, attachment: Attachment
) -> int:
    """Send `data`, and with its first part `attachment`."""
    patience = Patience(host, fd, sock, int(sock.sndtimeo_ns), sock.nonblocking or bool(flags & MSG_DONTWAIT))
    try:
        while True:
            count = send_attached(sock, data, address, attachment)
            if count != -errno.EAGAIN:
                break
            patience.wait(POLLOUT)
        taken = _checked(count)
    except BaseException:
        attachment.release()
        raise
    if taken < len(data) and not patience.none:
        taken += _send_all(patience, sock, data[taken:], flags)
    return taken


def send_attached(sock: UnixSock, data: bytes, address: Any, attachment: Attachment) -> int:
    """The count of bytes taken, with which `attachment` goes, or -errno. With no bytes of a stream it is lost."""
    if address is not None:
        return unix_names.send_to(sock, data, sockaddr.path_of(address), attachment)
    count = int(sock.send(data, False, attachment))
    if count == 0 and sock.type == _SOCK_STREAM:
        attachment.release()
    return count


def send_now(host: Host, fd: int, sock: Sock, data: bytes, flags: int, address: Any = None) -> int:
    """What the three have in common, for who knows the socket of `fd` on `host` already."""
    patience = Patience(host, fd, sock, int(sock.sndtimeo_ns), sock.nonblocking or bool(flags & MSG_DONTWAIT))
    if isinstance(sock, TcpSock) and (flags & MSG_FASTOPEN or sock.deferred):
        return _send_fast_open(patience, host, sock, data, flags, address)
    if address is None:
        return _send_all(patience, sock, data, flags)
    sockaddr.check_length(address)
    if isinstance(sock, UnixSock):
        if sock.type == _SOCK_STREAM:
            raise error(errno.EISCONN if sock.state == CONNECTED else errno.EOPNOTSUPP)
        if sock.type == _SOCK_SEQPACKET:
            return _send_all(patience, sock, data, flags)  # as of streams below
        if flags & MSG_OOB:
            raise error(errno.EOPNOTSUPP)
        path = sockaddr.path_of(address)
        while True:
            count = unix_names.send_to(sock, data, path)
            if count != -errno.EAGAIN:
                return _checked(count)
            patience.wait(POLLOUT)
    if isinstance(sock, LinkSock):
        return _checked(link_names.send_to(host, sock, data, address))
    if sock.type == _SOCK_STREAM:
        return _send_all(patience, sock, data, flags)  # which has one peer, whatever the address
    if isinstance(sock, UdpSock) and sock.corked is not None:
        return _send_all(patience, sock, data, flags)  # a datagram that is begun has its address
    if flags & MSG_OOB:
        raise error(errno.EOPNOTSUPP)
    _, addr, port = sockaddr.unpack(host, sock, address, "sendto")
    while True:
        count = syscalls.sendto(sock, data, flags, addr, port)
        if count != -errno.EAGAIN:
            return _checked(count)
        patience.wait(POLLOUT)


def _checked(result: int) -> int:
    if result < 0:
        raise error(result)
    return result


def _send_all(patience: Patience, sock: Sock, data: bytes, flags: int) -> int:
    if isinstance(sock, TcpSock) and sock.marks is not None:
        try:
            return _send_pieces(patience, sock, data, flags, sock.marks)
        finally:
            send_marks.call_ended(sock, sock.marks)
    return _send_pieces(patience, sock, data, flags, None)


def _send_pieces(patience: Patience, sock: Sock, data: bytes, flags: int, marks: Marks | None) -> int:
    is_stream = sock.type == _SOCK_STREAM
    at = 0
    while True:
        end = at + _PIECE_BYTES
        manner = flags
        if marks is not None:
            # All pieces are one write, of which the last byte is the one that counts.
            for cut in marks.cuts:
                if at < cut <= end:
                    end = cut
                    manner |= MSG_EOR
                    break
            marks.piece_follows = len(data) > end
            marks.rest_follows = marks.piece_follows or not patience.none
        count = syscalls.send(sock, data[at:end] if is_stream else data, manner)
        if count >= 0:
            at += count
            if at >= len(data):
                return at
        elif count != -errno.EAGAIN:
            if at and count == -errno.EPIPE:
                return at  # the next call finds it, too
            raise error(count)
        elif at and patience.none:
            return at
        else:
            try:
                patience.wait(POLLOUT)
            except BlockingIOError:
                if at:
                    return at
                raise
        if at and sock.error:
            return at  # the next call is told


def _send_fast_open(
    patience: Patience, host: Host, sock: TcpSock, data: bytes, flags: int, address: Any
) -> int:
    """tcp(7), MSG_FASTOPEN and TCP_FASTOPEN_CONNECT: connect, with what the SYN takes of `data`, and send the rest."""
    if not flags & MSG_FASTOPEN or address is None:
        count = syscalls.send(sock, data, flags)
    else:
        family, addr, port = sockaddr.unpack(host, sock, address, "sendto")
        if family == sockaddr.AF_UNSPEC:
            raise error(errno.EOPNOTSUPP)
        count = syscalls.sendto(sock, data, flags, addr, port)
    if patience.none or (count < 0 and count not in (-errno.EINPROGRESS, -errno.EALREADY)):
        return _checked(count)
    at = max(count, 0)
    sock.write_pending = at < len(data)
    try:
        while sock.state in (SYN_SENT, SYN_RECEIVED):
            patience.wait(POLLOUT)
    finally:
        sock.write_pending = False
    _checked(int(sock.connect(0, 0)))  # which tells how the connection attempt ended
    rest = data[at:]
    return at + (_send_all(patience, sock, rest, flags & ~MSG_FASTOPEN) if rest else 0)


# As of files


def read(fd: int, size: int) -> bytes:
    """`read(2)`. Up to `size` bytes of a socket or a pipe; b"" at the end."""
    host, sock = opened_file(fd)
    if isinstance(sock, PipeEnd) and sock.writing:
        raise error(errno.EBADF)
    if size < 0:
        raise error(errno.EFAULT)  # as a size without a sign it reaches beyond all memory
    if size == 0 and not isinstance(sock, EventFd):
        return b""
    if sock.rcvlowat > 1 and isinstance(sock, TcpSock):
        return receive(host, fd, sock, size, 0).data
    patience = Patience(host, fd, sock, int(sock.rcvtimeo_ns), sock.nonblocking)
    while True:
        got = syscalls.read(sock, size)
        if got.errno == 0:
            return got.data
        if got.errno != errno.EAGAIN:
            raise error(int(got.errno))
        patience.wait(POLLIN)


def readv(fd: int, buffers: Sequence[Any]) -> int:
    """`readv(2)`. As `read`, into several buffers, one after the other; the count of bytes."""
    _, sock = opened_file(fd)
    if isinstance(sock, PipeEnd) and sock.writing:
        raise error(errno.EBADF)
    if len(buffers) > _IOV_MAX:
        raise error(errno.EINVAL)
    if None in buffers:
        raise error(errno.EFAULT)
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    size = sum(map(len, views))
    data = read(fd, size) if size else b""
    at = 0
    for view in views:
        part = data[at : at + len(view)]
        view[: len(part)] = part
        at += len(part)
    return len(data)


def write(fd: int, data: Any) -> int:
    """`write(2)`. The count of bytes that a socket or a pipe took: of a blocking call all."""
    host, sock = opened_file(fd)
    return _write(host, fd, sock, _payload(data))


def writev(fd: int, buffers: Sequence[Any]) -> int:
    """`writev(2)`. As `write`, of several buffers."""
    host, sock = opened_file(fd)
    if isinstance(sock, PipeEnd) and not sock.writing:
        raise error(errno.EBADF)
    if len(buffers) > _IOV_MAX:
        raise error(errno.EINVAL)
    if not buffers:
        return 0
    return _write(host, fd, sock, b"".join(map(_payload, buffers)))


def _write(host: Host, fd: int, sock: Sock, data: bytes) -> int:
    if syscalls.is_socket(sock):
        return send_now(host, fd, sock, data, 0, None)
    patience = Patience(host, fd, sock, 0, sock.nonblocking)
    at = 0
    while True:
        count = syscalls.write(sock, data[at : at + _PIECE_BYTES])
        if count >= 0:
            at += count
            if at >= len(data) or isinstance(sock, HostFile):
                return at
        elif count != -errno.EAGAIN:
            if at:
                return at  # the error is told by the next call
            raise error(count)
        elif at and patience.none:
            return at
        else:
            patience.wait(POLLOUT)


def _wait_for_room(host: Host, fd: int, pipe: PipeEnd) -> None:
    """sendfile(2) looks whether there is room in a pipe before it reads anything. EAGAIN, EBADF, EPIPE."""
    if not pipe.writing:
        raise error(errno.EBADF)
    patience = Patience(host, fd, pipe, 0, pipe.nonblocking)
    while not pipe.poll() & POLLOUT:
        if pipe.channel.deaf:
            break
        patience.wait(POLLOUT)
    if pipe.channel.deaf:
        raise error(errno.EPIPE)


def sendfile(out_fd: int, in_fd: int, offset: int | None, count: int) -> int:
    """`sendfile(2)`. Sends up to `count` bytes of the machine's file `in_fd`, from `offset` or with None from where it
    stands. Returns how many; 0 at the file's end.
    """
    if is_virtual(in_fd):
        _, source = opened(in_fd)
        if isinstance(source, PipeEnd) and source.writing:
            raise error(errno.EBADF)
        raise error(errno.EINVAL if offset is None else errno.ESPIPE)  # a socket cannot be read so, nor sought in
    os.fstat(in_fd)
    host, sock = opened(out_fd)
    if count < 0:
        raise error(errno.EINVAL)
    if isinstance(sock, PipeEnd):
        _wait_for_room(host, out_fd, sock)
    sent = 0
    while sent < count:
        size = min(count - sent, _PIECE_BYTES)
        data = os.pread(in_fd, size, os.lseek(in_fd, 0, os.SEEK_CUR) if offset is None else offset + sent)
        if not data:
            break
        try:
            taken = _write(host, out_fd, sock, data)
        except OSError:
            if sent:
                break
            raise
        sent += taken
        if offset is None:
            os.lseek(in_fd, taken, os.SEEK_CUR)
        if taken < len(data):
            break
    return sent
