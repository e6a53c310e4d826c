"""The system calls of a virtual host, as plain functions on descriptors: what C sees, with Linux' errnos.

Called from a string they act on its host. They block as Linux' do: the string is parked until the call can go on,
unless the descriptor has O_NONBLOCK, the call MSG_DONTWAIT, or SO_RCVTIMEO or SO_SNDTIMEO has passed. In a coroutine a
call that waits holds up all that its loop does. Outside of all strings each call raises `RuntimeError`.

An address is what it is in the module `socket`, a tuple or the name of a Unix socket; a `Sockaddr` is the C structure
itself, for families that do not fit and lengths that are wrong. None in the place of data or of an address is a null
pointer. A call that fails raises the `OSError` of its errno; docs/syscalls.md has a table of which. Descriptors are the
host's, from 2**30 on: the machine's are not open here (EBADF), except what `sendfile` reads and `poll` looks at.
"""

from lunar.sockaddr import Sockaddr
from lunar.syscalls.connections import (
    accept,
    accept4,
    bind,
    connect,
    getpeername,
    getsockname,
    getsockopt,
    listen,
    setsockopt,
    shutdown,
    socket,
    socketpair,
)
from lunar.syscalls.control import close, dup, dup2, dup3, eventfd, fcntl, ioctl, pipe, pipe2, sysctl
from lunar.syscalls.readiness import (
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    epoll_create,
    epoll_create1,
    epoll_ctl,
    epoll_wait,
    poll,
    select,
)
from lunar.syscalls.receiving import recv, recv_into, recvfrom, recvmsg
from lunar.syscalls.splice import splice
from lunar.syscalls.transfer import read, readv, send, sendfile, sendmsg, sendto, write, writev

__all__ = [
    "EPOLL_CTL_ADD", "EPOLL_CTL_DEL", "EPOLL_CTL_MOD", "Sockaddr", "accept", "accept4", "bind", "close", "connect",
    "dup", "dup2", "dup3", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "eventfd", "fcntl",
    "getpeername", "getsockname", "getsockopt", "ioctl", "listen", "pipe", "pipe2", "poll", "read", "readv", "recv",
    "recv_into", "recvfrom", "recvmsg", "select", "send", "sendfile", "sendmsg", "sendto", "setsockopt", "shutdown",
    "socket", "socketpair", "splice", "sysctl", "write", "writev",
]  # fmt: skip
