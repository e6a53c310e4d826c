"""The calls on descriptors themselves: pipe, dup, close, fcntl, ioctl; and sysctl, on the host."""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from lunar import interfaces, owner
from lunar.errors import error
from lunar.net.sock import Sock
from lunar.sockets import ioctl as queued
from lunar.sockets import pipe as pipes
from lunar.sockets import syscalls
from lunar.sockets.epoll import Epoll
from lunar.sockets.eventfd import EventFd
from lunar.sockets.fdtable import FD_BASE
from lunar.sockets.pipe import PipeEnd
from lunar.sockets.unix import AF_UNIX
from lunar.syscalls.descriptor import SOCK_CLOEXEC, SOCK_NONBLOCK, current_host, install, install_at, opened, release

if TYPE_CHECKING:
    from lunar.host import Host

O_WRONLY: Final = 1
O_RDWR: Final = 2
O_NONBLOCK: Final = SOCK_NONBLOCK
O_CLOEXEC: Final = SOCK_CLOEXEC
EFD_SEMAPHORE: Final = 1
O_ASYNC: Final = 0o20000

F_DUPFD: Final = 0
F_GETFD: Final = 1
F_SETFD: Final = 2
F_GETFL: Final = 3
F_SETFL: Final = 4
F_SETOWN: Final = 8
F_GETOWN: Final = 9
F_SETSIG: Final = 10
F_GETSIG: Final = 11
F_SETOWN_EX: Final = 15
F_GETOWN_EX: Final = 16
F_DUPFD_CLOEXEC: Final = 1030
F_GETPIPE_SZ: Final = 1032
FD_CLOEXEC: Final = 1

FIONBIO: Final = 0x5421
FIONCLEX: Final = 0x5450
FIOCLEX: Final = 0x5451
FIOASYNC: Final = 0x5452
FIOSETOWN: Final = 0x8901
SIOCSPGRP: Final = 0x8902
FIOGETOWN: Final = 0x8903
SIOCGPGRP: Final = 0x8904
# CPython's limit of an argument that is not changed in place.
_IOCTL_BYTES: Final = 1024

# sysctl(2) names a parameter by numbers, of linux/sysctl.h: CTL_NET, NET_IPV4, and what follows.
_SYSCTL: Final[dict[tuple[int, ...], str]] = {
    (3, 5, 8): "net.ipv4.ip_forward",
    (3, 5, 37): "net.ipv4.ip_default_ttl",
}


def pipe() -> tuple[int, int]:
    """`pipe(2)`. Makes a pipe and returns the descriptors of its ends: for reading, for writing."""
    return pipe2(0)


def pipe2(flags: int) -> tuple[int, int]:
    """`pipe2(2)`. As `pipe`, with O_NONBLOCK or O_CLOEXEC."""
    host = current_host()
    if flags & ~(O_NONBLOCK | O_CLOEXEC):
        raise error(errno.EINVAL)
    reading, writing = pipes.pipe()
    reading.nonblocking = writing.nonblocking = bool(flags & O_NONBLOCK)
    first = install(host, reading, flags)
    try:
        return first, install(host, writing, flags)
    except OSError:
        release(host, first)
        raise


def eventfd(count: int, flags: int) -> int:
    """`eventfd2(2)`. Makes a counter that can be polled; EFD_SEMAPHORE, EFD_NONBLOCK, EFD_CLOEXEC.

    `read` takes what was counted as eight bytes, `write` adds so.
    """
    host = current_host()
    if flags & ~(EFD_SEMAPHORE | O_NONBLOCK | O_CLOEXEC):
        raise error(errno.EINVAL)
    counter = EventFd(count & 0xFFFF_FFFF, bool(flags & EFD_SEMAPHORE))
    counter.nonblocking = bool(flags & O_NONBLOCK)
    return install(host, counter, flags)


def close(fd: int) -> None:
    """`close(2)`. Frees a descriptor; with the last one the socket or the pipe's end is closed."""
    host, _ = opened(fd)
    release(host, fd)


def dup(fd: int) -> int:
    """`dup(2)`. Returns another descriptor of what `fd` names, the lowest that is free."""
    host, sock = opened(fd)
    return install(host, sock)


def dup2(fd: int, other: int) -> int:
    """`dup2(2)`. Lets `other` name what `fd` names, closing what it named before; returns it."""
    host, sock = opened(fd)
    if other == fd:
        return fd
    return install_at(host, sock, other, 0)


def dup3(fd: int, other: int, flags: int) -> int:
    """`dup3(2)`. As `dup2`, with O_CLOEXEC; EINVAL when both are the same."""
    if flags & ~O_CLOEXEC or fd == other:
        raise error(errno.EINVAL)
    host = current_host()
    if not host.descriptors.is_possible(other):
        raise error(errno.EBADF)
    host, sock = opened(fd)
    return install_at(host, sock, other, flags)


def fcntl(fd: int, command: int, argument: Any = 0) -> Any:
    """`fcntl(2)`. F_GETFL, F_SETFL (O_NONBLOCK, O_ASYNC), F_GETFD, F_SETFD, F_DUPFD, F_DUPFD_CLOEXEC, F_SETOWN,
    F_GETOWN, F_SETSIG, F_GETSIG; F_SETOWN_EX and F_GETOWN_EX with the C structure as bytes. EINVAL for others.

    The least number that F_DUPFD may give is `argument`, from 2**30 on if it is less.
    """
    host, sock = opened(fd)
    if command in (F_SETOWN_EX, F_GETOWN_EX):
        return _owner_structure(host, sock, command, argument)
    if command in (F_DUPFD, F_DUPFD_CLOEXEC):
        least = max(argument, FD_BASE)
        if argument < 0 or not host.descriptors.is_possible(least):
            raise error(errno.EINVAL)
        return install(host, sock, O_CLOEXEC if command == F_DUPFD_CLOEXEC else 0, least)
    if command == F_GETFD:
        return 0 if host.descriptors.is_inheritable(fd) else FD_CLOEXEC
    if command == F_SETFD:
        host.descriptors.set_inheritable(fd, not argument & FD_CLOEXEC)
        return 0
    if command == F_GETFL:
        flags = (O_NONBLOCK if sock.nonblocking else 0) | (O_ASYNC if owner.is_told(sock) else 0)
        return access_mode(sock) | flags
    if command == F_SETFL:
        sock.nonblocking = bool(argument & O_NONBLOCK)
        owner.set_told(host, sock, bool(argument & O_ASYNC))
        return 0
    if command == F_SETOWN:
        owner.set_pid(host, sock, argument)
        return 0
    if command == F_GETOWN:
        return owner.pid(sock)
    if command == F_SETSIG:
        owner.set_signum(host, sock, argument)
        return 0
    if command == F_GETSIG:
        return owner.signum(sock)
    if command == F_GETPIPE_SZ:
        if isinstance(sock, PipeEnd):
            return pipes.CAPACITY
        raise error(errno.EBADF)
    raise error(errno.EINVAL)


def _owner_structure(host: Host, sock: Sock, command: int, argument: Any) -> bytes:
    """F_SETOWN_EX and F_GETOWN_EX: `struct f_owner_ex`, the kind of the number and the number."""
    given = b"" if isinstance(argument, int) else bytes(argument)
    if len(given) < 8:
        raise error(errno.EFAULT)
    if command == F_GETOWN_EX:
        return struct.pack("ii", *owner.kind_and_pid(sock)) + given[8:]
    owner.set_kind_and_pid(host, sock, *struct.unpack_from("ii", given))
    return given


def access_mode(sock: Sock) -> int:
    """O_RDONLY, O_WRONLY or O_RDWR."""
    if isinstance(sock, PipeEnd):
        return O_WRONLY if sock.writing else 0
    return O_RDWR


def ioctl(fd: int, request: int, argument: Any = 0, mutate: bool = True) -> Any:
    """`ioctl(2)`. What is queued: FIONREAD, SIOCOUTQ, SIOCOUTQNSD, SIOCATMARK. FIONBIO, FIOASYNC, FIOCLEX, FIONCLEX. Of
    sockets FIOSETOWN, FIOGETOWN, SIOCSPGRP, SIOCGPGRP. The devices of the host: SIOCGIFCONF, SIOCGIFNAME, SIOCGIFINDEX,
    SIOCGIFADDR, SIOCGIFNETMASK, SIOCGIFBRDADDR, SIOCGIFHWADDR, SIOCGIFMTU, SIOCGIFFLAGS.

    `argument` and the result are as with `fcntl.ioctl`: a buffer that can be changed takes what the call gives, and
    other bytes are returned changed. An integer is no pointer: EFAULT for requests that need one.
    """
    host, sock = opened(fd)
    request &= 0xFFFF_FFFF
    if request in (FIOCLEX, FIONCLEX):
        host.descriptors.set_inheritable(fd, request == FIONCLEX)
        return 0
    given = None
    if not isinstance(argument, int):
        given = memoryview(argument.encode() if isinstance(argument, str) else argument).cast("B")
    in_place = given is not None and not given.readonly and mutate
    if given is not None and not in_place and len(given) > _IOCTL_BYTES:
        raise ValueError("ioctl string arg too long")
    data = bytes(4) if given is None else bytes(given).ljust(4, b"\0")
    if request == FIONBIO:
        if given is None:
            raise error(errno.EFAULT)
        sock.nonblocking = data[:4] != bytes(4)
    elif request == FIOASYNC:
        if given is None:
            raise error(errno.EFAULT)
        owner.set_told_by_ioctl(host, sock, data[:4] != bytes(4))
    elif request in (FIOSETOWN, SIOCSPGRP) and syscalls.is_socket(sock):
        if given is None:
            raise error(errno.EFAULT)
        owner.set_pid(host, sock, struct.unpack_from("i", data)[0])
    elif request in (FIOGETOWN, SIOCGPGRP) and syscalls.is_socket(sock):
        if given is None:
            raise error(errno.EFAULT)
        data = struct.pack("i", owner.pid(sock)) + data[4:]
    elif isinstance(sock, Epoll):
        raise error(errno.EINVAL)  # it knows no other requests
    elif request == interfaces.SIOCGIFCONF and syscalls.is_socket(sock):
        data = _interfaces(host, data)
    elif interfaces.is_of_device(request) and syscalls.is_socket(sock):
        if sock.family == AF_UNIX and interfaces.is_of_inet(request):
            raise error(errno.ENOTTY)
        if given is None:
            raise error(errno.EFAULT)
        answer = interfaces.device(host, request, data)
        if isinstance(answer, int):
            raise error(answer)
        data = answer
    else:
        value = queued.ioctl(sock, request)
        if value < 0:
            raise error(value)
        if given is None:
            raise error(errno.EFAULT)
        data = struct.pack("i", value) + data[4:]
    if given is None:
        return 0
    if in_place:
        given[:] = data[: len(given)]
        return 0
    return data[: len(given)]


def _interfaces(host: Host, ifconf: bytes) -> bytes:
    """SIOCGIFCONF, netdevice(7): as many whole `struct ifreq` as the program's buffer has room for; without a buffer,
    how many bytes they need.
    """
    if len(ifconf) < struct.calcsize("iP"):
        raise error(errno.EFAULT)
    room, where = struct.unpack_from("iP", ifconf)
    told = interfaces.interfaces(host)
    if where:
        if room < 0:
            raise error(errno.EINVAL)
        told = told[: room // interfaces.IFREQ_BYTES * interfaces.IFREQ_BYTES]
        # The program has written the address of its own memory there, which is the process's.
        ctypes.memmove(where, told, len(told))
    return struct.pack("i", len(told)) + ifconf[4:]


def sysctl(name: str | Sequence[int], value: int | str | Sequence[int] | None = None) -> Any:
    """`sysctl(2)`. Reads a parameter of the host, or sets it to `value`; returns what it was. Some have several values.

    `name` is as of sysctl(8), "net.ipv4.ip_forward", or the list of numbers that the call takes. ENOTDIR for a
    parameter that this stack does not obey, EINVAL for a value that it cannot have.
    """
    host = current_host()
    if not isinstance(name, str):
        name = _SYSCTL.get(tuple(name), "")
    try:
        before = host.sysctl(name)
        if value is not None:
            host.sysctl(name, (value,) if isinstance(value, (int, str)) else tuple(value))
    except LookupError:
        raise error(errno.ENOTDIR) from None
    except ValueError:
        raise error(errno.EINVAL) from None
    return before[0] if len(before) == 1 else before
