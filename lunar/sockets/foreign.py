"""A socket of another stack than Lunar's: what its author writes so that the host's programs can use it.

The faces (asyncio, blocking sockets, system calls) know such a socket by these methods alone; lunar/stack.py has the
rest of the boundary. None of them blocks: where the real call would, it says -EAGAIN or -EINPROGRESS, and the socket
calls `wake` when trying again is worth while. What is not overridden answers -EOPNOTSUPP.
"""

from __future__ import annotations

import errno

from mypy_extensions import i64, mypyc_attr

from lunar.net.sock import POLLOUT, Sock


@mypyc_attr(allow_interpreted_subclasses=True)
class ForeignSock(Sock):
    """A socket of `type` SOCK_STREAM or SOCK_DGRAM. Keep `local_addr`, `local_port`, `remote_addr` and `remote_port`
    true: getsockname(2) and getpeername(2) read them. `recv_errno` says why `recv` or `recv_message` gave None.
    """

    def __init__(self, family: i64, type: i64, protocol: i64) -> None:
        super().__init__(family, type, protocol)
        self.recv_errno: i64 = errno.EAGAIN

    def bind(self, addr: int, port: int) -> int:
        """bind(2). 0 or a negative errno, as of all calls below that return a number."""
        return -errno.EOPNOTSUPP

    def connect(self, addr: int, port: int) -> int:
        """connect(2): -EINPROGRESS for a stream, whose end is told by POLLOUT and `error`."""
        return -errno.EOPNOTSUPP

    def disconnect(self) -> int:
        """connect(2) to AF_UNSPEC."""
        return -errno.EOPNOTSUPP

    def listen(self, backlog: int) -> int:
        """listen(2)."""
        return -errno.EOPNOTSUPP

    def accept_one(self) -> Sock | None:
        """accept(2): the next connection, None with `recv_errno` while there is none."""
        return None

    def send(self, data: bytes, more: bool) -> int:
        """send(2): how many bytes were taken. `more` is MSG_MORE."""
        return -errno.EOPNOTSUPP

    def send_message(self, data: bytes, addr: int, port: int) -> int:
        """sendto(2) of a datagram socket."""
        return -errno.EOPNOTSUPP

    def recv(self, size: int, peek: bool) -> bytes | None:
        """recv(2) of a stream: at most `size` bytes, b"" at its end, None with `recv_errno`."""
        return None

    def recv_message(self, peek: bool) -> tuple[bytes, int, int] | None:
        """recvfrom(2) of a datagram socket: the datagram, the address and the port that sent it; None with
        `recv_errno`.
        """
        return None

    def has_input(self) -> bool:
        """Whether `recv` or `recv_message` would give something now."""
        return False

    def is_at_end(self) -> bool:
        """Whether nothing more comes of a stream after what it has."""
        return False

    def shutdown(self, how: int) -> int:
        """shutdown(2): reading (0), writing (1) or both (2)."""
        return -errno.EOPNOTSUPP

    def close(self) -> None:
        """No descriptor names the socket any more."""

    def set_option(self, level: int, name: int, value: int) -> int:
        """setsockopt(2) of an option that is an integer, above SOL_SOCKET."""
        return -errno.ENOPROTOOPT

    def get_option(self, level: int, name: int) -> int:
        """getsockopt(2) of one: its value, or a negative errno."""
        return -errno.ENOPROTOOPT

    def poll(self) -> int:
        """The conditions of poll(2) that hold now, POLLIN and others of lunar/net/sock.py."""
        return POLLOUT
