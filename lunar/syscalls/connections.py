"""The calls that make sockets, name them, connect them, and set their options."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from lunar import ancillary, link_names, sockaddr, unix_names
from lunar.errors import error
from lunar.net.sock import POLLIN, POLLOUT, Sock
from lunar.packet import AF_INET, AF_INET6
from lunar.sock_names import Name, accepted_from, own_name, peer_name
from lunar.sockets import options, syscalls
from lunar.sockets.packet_sock import LinkSock
from lunar.sockets.unix import AF_UNIX, UnixSock
from lunar.syscalls.descriptor import (
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_TYPE_MASK,
    current_host,
    install,
    opened,
    opened_socket,
    release,
)
from lunar.tcp.sock import TcpSock
from lunar.tcp.tcb import CLOSED, UNCONNECTED
from lunar.waiting import Patience

if TYPE_CHECKING:
    from lunar.host import Host


def _checked(result: int) -> int:
    if result < 0:
        raise error(result)
    return result


def socket(family: int, type: int, protocol: int = 0) -> int:
    """`socket(2)`. Makes a socket and returns its descriptor, the lowest that is free.

    `type` is SOCK_STREAM, SOCK_DGRAM or another, with SOCK_NONBLOCK and SOCK_CLOEXEC.
    """
    host = current_host()
    flags = type & ~SOCK_TYPE_MASK
    if flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC):
        raise error(errno.EINVAL)
    sock = new_socket(host, int(family), int(type) & SOCK_TYPE_MASK, int(protocol))
    sock.nonblocking = bool(flags & SOCK_NONBLOCK)
    return install(host, sock, flags)


def new_socket(host: Host, family: int, kind: int, protocol: int) -> Sock:
    """What `socket` makes, without a descriptor."""
    if host.boundary is not None and family in (AF_INET, AF_INET6):
        return host.boundary.stack.socket(family, kind, protocol)
    wrong = syscalls.any_socket_errno(family, kind, protocol, host.ip)
    if wrong:
        raise error(wrong)
    sock: Sock | None
    if family == AF_UNIX:
        sock = host.unix.create(syscalls.unix_type(kind))
        sock.rcvbuf, sock.sndbuf = host.ip.rmem_default, host.ip.wmem_default
        ancillary.sign(sock)
    else:
        sock = syscalls.socket(host.tcp, host.udp, family, kind, protocol)
    assert sock is not None, "any_socket_errno found nothing wrong"
    return sock


def new_pair(host: Host, family: int, kind: int, protocol: int) -> tuple[UnixSock, UnixSock]:
    """What `socketpair` makes, without descriptors."""
    made = syscalls.socketpair(family, kind, protocol)
    if made is None:
        raise error(syscalls.socketpair_errno(family, kind, protocol))
    first, second = made
    for sock in made:
        sock.table = host.unix  # each may still get a name
        ancillary.sign(sock)
    first.know(second)
    second.know(first)
    return made


def socketpair(family: int, type: int, protocol: int = 0) -> tuple[int, int]:
    """`socketpair(2)`. Makes two connected Unix sockets and returns their descriptors. `type` is as for `socket`."""
    host = current_host()
    flags = type & ~SOCK_TYPE_MASK
    if flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC):
        raise error(errno.EINVAL)
    kind = int(type) & SOCK_TYPE_MASK
    made = new_pair(host, int(family), kind, int(protocol))
    for sock in made:
        sock.nonblocking = bool(flags & SOCK_NONBLOCK)
    first = install(host, made[0], flags)
    try:
        return first, install(host, made[1], flags)
    except OSError:
        release(host, first)
        raise


def bind(fd: int, address: Any) -> None:
    """`bind(2)`. Gives a socket its own address; port 0, or the name "" of a Unix socket, means any."""
    host, sock = opened_socket(fd)
    sockaddr.check_length(address)
    if isinstance(sock, UnixSock):
        _checked(unix_names.bind(sock, sockaddr.path_of(address)))
        return
    if isinstance(sock, LinkSock):
        _checked(link_names.bind(host, sock, address))
        return
    family, addr, port = sockaddr.unpack(host, sock, address, "bind")
    if family == sockaddr.AF_UNSPEC and addr:
        raise error(errno.EAFNOSUPPORT)  # Linux takes AF_UNSPEC for AF_INET, for the sake of old programs, with 0.0.0.0
    _checked(syscalls.bind(sock, addr, port))


def listen(fd: int, backlog: int = 128) -> None:
    """`listen(2)`. Lets a socket take connections, `backlog` + 1 of which may wait for `accept`."""
    _, sock = opened_socket(fd)
    _checked(syscalls.listen(sock, int(backlog)))


def accept(fd: int) -> tuple[int, Name]:
    """`accept(2)`. Pops the oldest connection that waits; returns its descriptor and the peer's address."""
    return accept4(fd, 0)


def accept4(fd: int, flags: int) -> tuple[int, Name]:
    """`accept4(2)`. As `accept`; SOCK_NONBLOCK and SOCK_CLOEXEC are the new descriptor's."""
    host, sock = opened(fd)
    if flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC):
        raise error(errno.EINVAL)
    if host.descriptors.is_full():
        raise error(errno.EMFILE)
    if not syscalls.is_socket(sock):
        raise error(errno.ENOTSOCK)
    patience = Patience(host, fd, sock, int(sock.rcvtimeo_ns), sock.nonblocking)
    while True:
        child = syscalls.accept(sock)
        if child is not None:
            break
        wrong = syscalls.accept_errno(sock)
        if wrong != errno.EAGAIN:
            raise error(wrong)
        patience.wait(POLLIN)
    child.nonblocking = bool(flags & SOCK_NONBLOCK)
    try:
        return install(host, child, flags), accepted_from(child)
    except OSError:
        syscalls.close(child)
        raise


def connect(fd: int, address: Any) -> None:
    """`connect(2)`. Connects a stream; of a datagram socket, names the peer. AF_UNSPEC ends either.

    Without blocking a stream fails with EINPROGRESS; `poll` tells the end (POLLOUT), SO_ERROR how it went.
    """
    host, sock = opened(fd)
    sockaddr.check_length(address)
    if not syscalls.is_socket(sock):
        raise error(errno.ENOTSOCK)
    if isinstance(sock, UnixSock):
        _connect_unix(Patience(host, fd, sock, int(sock.sndtimeo_ns), sock.nonblocking), sock, address)
        return
    if isinstance(sock, LinkSock):
        raise error(errno.EOPNOTSUPP)
    try:
        family, addr, port = sockaddr.unpack(host, sock, address, "connect")
    except OSError:
        no_family = isinstance(address, sockaddr.Sockaddr) and len(address) < sockaddr.FAMILY_BYTES
        if no_family or not isinstance(sock, TcpSock) or (sock.progress == UNCONNECTED and sock.state == CLOSED):
            raise
        # Linux looks first at whether the socket can connect at all.
        family, addr, port = int(sock.domain), 0, 0
    if family == sockaddr.AF_UNSPEC:
        _checked(syscalls.disconnect(sock))
        return
    result = syscalls.connect(sock, addr, port)
    if result not in (-errno.EINPROGRESS, -errno.EALREADY) or sock.nonblocking:
        _checked(result)
        return
    patience = Patience(host, fd, sock, int(sock.sndtimeo_ns), False)
    first = result
    while result in (-errno.EINPROGRESS, -errno.EALREADY):
        try:
            patience.wait(POLLOUT)
        except BlockingIOError:
            raise error(first) from None
        result = syscalls.connect(sock, addr, port)
    _checked(result)


def _connect_unix(patience: Patience, sock: UnixSock, address: Any) -> None:
    if isinstance(address, sockaddr.Sockaddr) and len(address) >= 2 and address.family == sockaddr.AF_UNSPEC:
        _checked(syscalls.disconnect(sock))
        return
    path = sockaddr.path_of(address)
    while True:
        wrong, listener = unix_names.connect(sock, path)
        if wrong != errno.EAGAIN or listener is None:
            break
        patience.wait(POLLOUT, listener)
    if wrong:
        raise error(wrong)


def getsockname(fd: int) -> Name:
    """`getsockname(2)`. The socket's own address."""
    _, sock = opened_socket(fd)
    return own_name(sock)


def getpeername(fd: int) -> Name:
    """`getpeername(2)`. The address of the peer of a connected socket."""
    _, sock = opened_socket(fd)
    return peer_name(sock)


def shutdown(fd: int, how: int) -> None:
    """`shutdown(2)`. Ends reading (0, SHUT_RD), writing (1, SHUT_WR) or both (2, SHUT_RDWR) of a connection."""
    _, sock = opened_socket(fd)
    _checked(syscalls.shutdown(sock, int(how)))


def setsockopt(fd: int, level: int, name: int, value: Any) -> None:
    """`setsockopt(2)`. `value` is an integer, or the bytes of a structure: SO_LINGER has two integers, SO_RCVTIMEO and
    SO_SNDTIMEO a `struct timeval`. docs/syscalls.md lists the options.
    """
    _, sock = opened_socket(fd)
    if value is None:
        raise error(errno.EFAULT)
    data = int(value).to_bytes(4, "little", signed=True) if isinstance(value, int) else bytes(memoryview(value))
    _checked(options.set_bytes(sock, int(level), int(name), data))


def getsockopt(fd: int, level: int, name: int, size: int = 0) -> int | bytes:
    """`getsockopt(2)`. The value as an integer, or with a `size` as that many bytes at most. SO_ERROR clears itself."""
    _, sock = opened_socket(fd)
    if size < 0:
        raise error(errno.EINVAL)
    packed = options.get_bytes(sock, int(level), int(name), size or 4)
    if packed is None:
        value = _checked(options.getsockopt(sock, int(level), int(name)))
        if not size:
            return value
        packed = value.to_bytes(4, "little", signed=True)[:size]
    return packed if size else int.from_bytes(packed, "little", signed=True)
