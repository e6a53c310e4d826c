"""`struct sockaddr` as bytes, for who wants to say in the system calls exactly what C says: `Sockaddr`.

Programs commonly pass the tuples and paths of the module `socket` (socket_address.py, unix_names.py). Only with the
structure itself can a family be wrong or a length be too short, and AF_UNSPEC be named, which ends a connection.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Any, Final

from lunar.errors import error
from lunar.net.sock import Sock
from lunar.packet import AF_INET, AF_INET6
from lunar.socket_address import parse_address
from lunar.wire.address import parse_ipv4, parse_ipv6

if TYPE_CHECKING:
    from lunar.host import Host

AF_UNSPEC: Final = 0
_SOCK_RAW: Final = 3

# sizeof(struct sockaddr_storage), the longest that is taken; sockaddr_in; sockaddr_in6 without its scope (RFC 2133).
_STORAGE_BYTES: Final = 128
_IN_BYTES: Final = 16
_IN6_BYTES: Final = 24
FAMILY_BYTES: Final = 2


class Sockaddr(bytes):
    """A `struct sockaddr`: two bytes of family in the machine's order, then what the family says."""

    @classmethod
    def unspecified(cls) -> Sockaddr:
        """AF_UNSPEC: connect(2) to it ends a connection, or forgets a peer."""
        return cls(bytes(_IN_BYTES))

    @classmethod
    def inet(cls, address: str, port: int) -> Sockaddr:
        """A `struct sockaddr_in`."""
        return cls(struct.pack("<H", AF_INET) + struct.pack(">HI8x", port, parse_ipv4(address)))

    @classmethod
    def inet6(cls, address: str, port: int, scope: int = 0) -> Sockaddr:
        """A `struct sockaddr_in6`; `scope` is the number of a device, for a link-local address."""
        head = struct.pack("<H", AF_INET6) + struct.pack(">HI", port, 0)
        return cls(head + parse_ipv6(address).to_bytes(16, "big") + struct.pack("<I", scope))

    @property
    def family(self) -> int:
        return int.from_bytes(self[:FAMILY_BYTES], "little")

    @property
    def path(self) -> bytes:
        """What a `struct sockaddr_un` names: a path up to its end, an abstract name with all its bytes."""
        name = bytes(self[FAMILY_BYTES:])
        return name if name[:1] == b"\0" else name.partition(b"\0")[0]


def check_length(address: Any) -> None:
    """What the kernel asks of an address before it looks at the socket. EFAULT for None, a null pointer; EINVAL."""
    if address is None:
        raise error(errno.EFAULT)
    if isinstance(address, Sockaddr) and len(address) > _STORAGE_BYTES:
        raise error(errno.EINVAL)


def unpack(host: Host, sock: Sock, address: Any, caller: str) -> tuple[int, int, int]:
    """(family, address, port) of what a program passes to the call `caller` for an AF_INET or AF_INET6 socket.

    The family is the socket's, or AF_UNSPEC. OSError: EINVAL for a structure that is too short, EAFNOSUPPORT for
    another family; what `socket_address.parse_address` raises for a tuple.
    """
    if not isinstance(address, Sockaddr):
        return int(sock.domain), *parse_address(host, sock, address, caller)
    six = sock.domain == AF_INET6
    if len(address) < FAMILY_BYTES:
        raise error(errno.EINVAL)
    if address.family == AF_UNSPEC and (caller == "connect" or len(address) >= _IN_BYTES):
        if caller == "connect" or len(address) < _IN_BYTES:
            return AF_UNSPEC, 0, 0
        port, number = struct.unpack_from(">HI", address, 2)
        return AF_UNSPEC, number, port
    if len(address) < (_IN6_BYTES if six else _IN_BYTES):
        raise error(errno.EINVAL)
    if address.family != sock.domain and not (caller == "bind" and sock.type == _SOCK_RAW):
        raise error(errno.EAFNOSUPPORT)  # which raw sockets do not look at
    if six:
        if sock.ipv6 is not None:
            sock.ipv6.named_scope = int.from_bytes(address[24:28], "little")
        return AF_INET6, int.from_bytes(address[8:24], "big"), int.from_bytes(address[2:4], "big")
    port, number = struct.unpack_from(">HI", address, 2)
    return AF_INET, number, port


def path_of(address: Any) -> Any:
    """The name of a Unix socket as `unix_names` takes it. EINVAL for another family, or without one."""
    if not isinstance(address, Sockaddr):
        return address
    if len(address) < FAMILY_BYTES or len(address) > FAMILY_BYTES + 108 or address.family != 1:
        raise error(errno.EINVAL)
    return address.path
