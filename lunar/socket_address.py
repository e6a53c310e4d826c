"""Socket addresses as programs write and read them: tuples, of two for AF_INET and of four for AF_INET6.

Below this file an address is an integer in the family of its socket's `domain`; an AF_INET6 socket speaks IPv4 by
mapped addresses, "::ffff:10.0.0.2" (RFC 4291 section 2.5.5.2). The scope of an address, the number of the device on
whose link it is, is noted at the socket (`Ipv6Options.named_scope`) for the call that follows. Flow information is
taken and not looked at, as on Linux without IPV6_FLOWINFO_SEND, which there is not.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

from lunar.net.address import needs_scope
from lunar.net.sock import COVERS_IPV6, Sock
from lunar.packet import AF_INET6
from lunar.wire.address import family_of, ipv4_text, ipv6_text, parse_ipv4, parse_ipv6

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
        return _parse_six(host, sock, address, caller)
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
        found = host.getaddrinfo(_unchecked(text), None, socket.AF_INET, socket.SOCK_STREAM, 0, 0)
        return parse_ipv4(found[0][4][0]), port


def _parse_six(host: Host, sock: Sock, address: tuple[Any, ...], caller: str) -> tuple[int, int]:
    if not 2 <= len(address) <= 4:
        raise TypeError("AF_INET6 address must be a tuple (host, port[, flowinfo[, scopeid]])")
    text, port = _host_and_port(address, caller)
    if len(address) > 2 and not 0 <= address[2] <= _FLOWINFO_MAX:
        raise OverflowError(f"{caller}(): flowinfo must be 0-1048575.")
    scope = address[3] if len(address) > 3 else 0
    if not isinstance(scope, int):
        raise TypeError(f"'{type(scope).__name__}' object cannot be interpreted as an integer")
    if not 0 <= scope < 1 << 32:
        raise OverflowError("unsigned int is greater than maximum")
    number = 0
    if text == "<broadcast>":
        raise OSError("address family mismatched")
    if text != "":
        try:
            number = parse_ipv6(text)
        except ValueError:
            # A name, or an address with a scope ("fe80::1%eth0"), which CPython leaves to getaddrinfo, too.
            found = host.getaddrinfo(_unchecked(text), None, socket.AF_INET6, socket.SOCK_STREAM, 0, 0)[0][4]
            number = parse_ipv6(found[0].partition("%")[0])
            scope = scope or found[3]
    if sock.ipv6 is not None:
        sock.ipv6.named_scope = scope
    return number, port


def _unchecked(text: str) -> str | bytes:
    """A name as CPython hands it on: of an address, other than of getaddrinfo, it lets parts of any length through."""
    is_bytes = text.isascii() or any("\udc80" <= letter <= "\udcff" for letter in text)
    return text.encode("ascii", "surrogateescape") if is_bytes else text


def _host_and_port(address: tuple[Any, ...], caller: str) -> tuple[str, int]:
    name, port = address[:2]
    if not isinstance(port, int):
        raise TypeError(f"'{type(port).__name__}' object cannot be interpreted as an integer")
    if not 0 <= port <= 65535:
        raise OverflowError(f"{caller}(): port must be 0-65535.")
    if isinstance(name, (bytes, bytearray)):
        name = bytes(name).decode("ascii", "surrogateescape")
    if not isinstance(name, str):
        raise TypeError(f"str, bytes or bytearray expected, not {type(name).__name__}")
    return name, port


def shown(sock: Sock, address: int, port: int, scope: int = 0) -> Address:
    """An `address` of the stack and `port` as the program of `sock` sees them; `scope` is for a link-local one."""
    if sock.domain != AF_INET6:
        return ipv4_text(address), int(port)
    if address == 0:
        is_six = sock.family == AF_INET6
    else:
        is_six = family_of(address) == AF_INET6
    if not is_six:
        return f"::ffff:{ipv4_text(address)}", int(port), 0, 0
    if not needs_scope(address):
        return ipv6_text(address), int(port), 0, 0
    if not scope and sock.ipv6 is not None:
        scope = int(sock.ipv6.scope)
    return ipv6_text(address), int(port), 0, int(scope)


def own_address(sock: Sock) -> Address:
    """What getsockname(2) tells."""
    if sock.domain == AF_INET6 and sock.local_addr == 0 and sock.covers & COVERS_IPV6:
        return "::", int(sock.local_port), 0, 0
    return shown(sock, sock.local_addr, int(sock.local_port))
