"""Socket addresses as programs write and read them: tuples, of two for AF_INET and of four for AF_INET6.

Below this file an address is an integer in the family of its socket's `domain`. No host has an IPv6 address yet; an
AF_INET6 socket speaks IPv4 by mapped addresses, "::ffff:10.0.0.2" (RFC 4291 section 2.5.5.2), as on a Linux host with
net.ipv6.conf.all.disable_ipv6 = 1. lunar/sockets/syscalls.py says what becomes of other addresses.
"""

from __future__ import annotations

import _socket
import socket
from typing import TYPE_CHECKING, Any, Final

from lunar.net.sock import COVERS_IPV6, Sock
from lunar.packet import AF_INET6
from lunar.wire.address import ipv4_text, parse_ipv4

if TYPE_CHECKING:
    from lunar.host import Host

Address = tuple[str, int] | tuple[str, int, int, int]

_FLOWINFO_MAX: Final = 0xF_FFFF


def parse_address(host: Host, sock: Sock, address: Any, caller: str) -> tuple[int, int]:
    """(address, port) of what a program passes to the method `caller` of `sock`; a name is looked up by `host`.

    Raises what CPython raises: `TypeError`, `OverflowError`, and `socket.gaierror` for a name that has none.
    """
    family = "AF_INET6" if sock.domain == AF_INET6 else "AF_INET"
    if not isinstance(address, tuple):
        raise TypeError(f"{caller}(): {family} address must be tuple, not {type(address).__name__}")
    if sock.domain == AF_INET6:
        return _parse_six(host, address, caller)
    if len(address) != 2:
        raise TypeError("AF_INET address must be a pair (host, port)")
    text, port = _host_and_port(address, caller)
    if text == "":
        return 0, port
    if text == "<broadcast>":
        return 0xFFFF_FFFF, port
    try:
        return parse_ipv4(text), port
    except ValueError:
        found = host.getaddrinfo(text, None, socket.AF_INET, socket.SOCK_STREAM, 0, 0)
        return parse_ipv4(found[0][4][0]), port


def _parse_six(host: Host, address: tuple[Any, ...], caller: str) -> tuple[int, int]:
    if not 2 <= len(address) <= 4:
        raise TypeError("AF_INET6 address must be a tuple (host, port[, flowinfo[, scopeid]])")
    text, port = _host_and_port(address, caller)
    if len(address) > 2 and not 0 <= address[2] <= _FLOWINFO_MAX:
        raise OverflowError(f"{caller}(): flowinfo must be 0-1048575.")
    if text == "":
        return 0, port
    if text == "<broadcast>":
        raise OSError("address family mismatched")
    found = host.getaddrinfo(text, None, socket.AF_INET6, socket.SOCK_STREAM, 0, 0)
    return int.from_bytes(_socket.inet_pton(socket.AF_INET6, found[0][4][0]), "big"), port


def _host_and_port(address: tuple[Any, ...], caller: str) -> tuple[str, int]:
    name, port = address[:2]
    if not isinstance(port, int):
        raise TypeError(f"'{type(port).__name__}' object cannot be interpreted as an integer")
    if not 0 <= port <= 65535:
        raise OverflowError(f"{caller}(): port must be 0-65535.")
    if isinstance(name, (bytes, bytearray)):
        name = bytes(name).decode("ascii")
    if not isinstance(name, str):
        raise TypeError(f"str, bytes or bytearray expected, not {type(name).__name__}")
    return name, port


def shown(sock: Sock, address: int, port: int) -> Address:
    """An IPv4 `address` of the stack and `port` as the program of `sock` sees them."""
    if sock.domain == AF_INET6:
        return f"::ffff:{ipv4_text(address)}", int(port), 0, 0
    return ipv4_text(address), int(port)


def own_address(sock: Sock) -> Address:
    """What getsockname(2) tells."""
    if sock.domain == AF_INET6 and sock.local_addr == 0 and sock.covers & COVERS_IPV6:
        return "::", int(sock.local_port), 0, 0
    return shown(sock, sock.local_addr, int(sock.local_port))
