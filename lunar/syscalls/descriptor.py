"""From the number that a call is given to the socket behind it: whose host, which socket, what is wrong with it."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final

from lunar.errors import error
from lunar.net.sock import Sock
from lunar.sockets import syscalls
from lunar.sockets.epoll import Epoll
from weaves.here import here

if TYPE_CHECKING:
    from lunar.host import Host

SOCK_TYPE_MASK: Final = 0xF
SOCK_NONBLOCK: Final = 0o4000  # = O_NONBLOCK
SOCK_CLOEXEC: Final = 0o2000000  # = O_CLOEXEC


def current_host() -> Host:
    """The host of the string that calls. `RuntimeError` outside of all strings."""
    weave = here.weave
    if weave is None:
        raise RuntimeError("a system call of a virtual host outside of its strings; start the caller by Network.start")
    host: Any = weave.host
    return host  # type: ignore[no-any-return]


def opened(fd: int) -> tuple[Host, Sock]:
    """The host and what `fd` names. EBADF."""
    host = current_host()
    sock = host.descriptors.get(fd)
    if sock is None:
        raise error(errno.EBADF)
    return host, sock


def opened_socket(fd: int) -> tuple[Host, Sock]:
    """As `opened`; ENOTSOCK if it is no socket."""
    host, sock = opened(fd)
    if not syscalls.is_socket(sock):
        raise error(errno.ENOTSOCK)
    return host, sock


def opened_file(fd: int) -> tuple[Host, Sock]:
    """As `opened`; EINVAL of an epoll's set, which can be neither read nor written."""
    host, sock = opened(fd)
    if isinstance(sock, Epoll):
        raise error(errno.EINVAL)
    return host, sock


def install(host: Host, sock: Sock, flags: int = 0, least: int = 0) -> int:
    """A new descriptor of `sock`, `least` or more, with SOCK_CLOEXEC of `flags`. EMFILE."""
    fd = int(host.descriptors.install_from(sock, least) if least else host.descriptors.install(sock))
    if fd < 0:
        raise error(fd)
    _note(host, fd, flags)
    return fd


def install_at(host: Host, sock: Sock, fd: int, flags: int) -> int:
    """Let the number `fd` name `sock`; what it named before is closed. EBADF for a number that cannot be."""
    if not host.descriptors.is_possible(fd):
        raise error(errno.EBADF)
    if host.descriptors.get(fd) is not None:
        release(host, fd)
    host.descriptors.install_at(sock, fd)
    _note(host, fd, flags)
    return fd


def _note(host: Host, fd: int, flags: int) -> None:
    host.descriptors.set_inheritable(fd, not flags & SOCK_CLOEXEC)
    if here.weave is not None:
        here.weave.descriptors.add(fd)


def release(host: Host, fd: int) -> None:
    """Close `fd`, which is open."""
    if here.weave is not None:
        here.weave.descriptors.discard(fd)
    host.close_descriptor(fd)
