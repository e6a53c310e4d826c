"""Names and addresses, as getaddrinfo(3) and getnameinfo(3) know them inside a tapestry.

The table is the tapestry's: every host's name with its addresses, and `names` that it has besides. There is no DNS yet.
"""

from __future__ import annotations

import _socket
import socket
from typing import Any, Final

from lunar import services
from lunar.wire.address import ipv4_text

_LOOPBACK: Final = 0x7F00_0001
_FLOWINFO_MAX: Final = 0xF_FFFF
_V4_MAPPED: Final = bytes(10) + b"\xff\xff"  # RFC 4291 section 2.5.5.2
_KINDS: Final = (
    (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
)
# AI_PASSIVE to AI_NUMERICSERV: all that glibc knows besides those for internationalized names.
_FLAGS: Final = 0x07FF

_MESSAGES: Final = {
    socket.EAI_BADFLAGS: "Bad value for ai_flags",
    socket.EAI_NONAME: "Name or service not known",
    socket.EAI_FAMILY: "ai_family not supported",
    socket.EAI_SOCKTYPE: "ai_socktype not supported",
    socket.EAI_SERVICE: "Servname not supported for ai_socktype",
    socket.EAI_ADDRFAMILY: "Address family for hostname not supported",
}


class NameTable:
    """The names of a tapestry."""

    def __init__(self) -> None:
        self._addresses: dict[str, list[int]] = {}
        self._names: dict[int, str] = {}
        self._spelt: dict[str, str] = {}  # a name as it was given

    def add(self, name: str, address: int) -> None:
        """Let `name` have `address` besides those that it has."""
        self._addresses.setdefault(name.lower(), []).append(address)
        self._spelt.setdefault(name.lower(), name)
        self._names.setdefault(address, name)

    def remove(self, name: str, address: int) -> None:
        """Take `address` from `name`."""
        known = self._addresses.get(name.lower(), [])
        if address in known:
            known.remove(address)
        if self._names.get(address) == name:
            del self._names[address]

    def lookup(self, name: str) -> list[int]:
        """The addresses of `name`, in the order of their devices; empty if unknown."""
        return self._addresses.get(name.lower().rstrip("."), [])

    def reverse(self, address: int) -> str | None:
        """The name of `address`."""
        return self._names.get(address)

    def entries(self) -> list[tuple[int, int, list[str]]]:
        """(family, address, names) of all addresses, in the order of the tapestry."""
        found: dict[int, list[str]] = {}
        for name, addresses in self._addresses.items():
            for address in addresses:
                found.setdefault(address, []).append(self._spelt[name])
        return [(_family(address), address, names) for address, names in found.items()]

    def getaddrinfo(
        self, own_name: str, host: Any, port: Any, family: int, type: int, proto: int, flags: int
    ) -> list[tuple[Any, ...]]:
        """socket.getaddrinfo, as the host `own_name` sees it. Raises socket.gaierror as there.

        The checks are glibc's, in its order.
        """
        text = _text(host)
        service = _service(port)
        if text is None and service is None:
            raise _failed(socket.EAI_NONAME)
        if flags & ~_FLAGS or (flags & socket.AI_CANONNAME and text is None):
            raise _failed(socket.EAI_BADFLAGS)
        if family not in (socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6):
            raise _failed(socket.EAI_FAMILY)
        number = _port_number(service)
        if number is None and flags & socket.AI_NUMERICSERV:
            raise _failed(socket.EAI_NONAME)
        kinds = _kinds(service, number, type, proto)
        if number is None:
            number = services.port_of(str(service))
            assert number is not None, "a service that nobody knows was refused above"
        if text is not None and ":" in text:
            found = self._ipv6_literal(text, number, family)
        elif family == socket.AF_INET6 and text is None:
            found = [(socket.AF_INET6, ("::" if flags & socket.AI_PASSIVE else "::1", number, 0, 0))]
        elif family == socket.AF_INET6 and flags & socket.AI_V4MAPPED:
            found = [
                (socket.AF_INET6, (f"::ffff:{ipv4_text(address)}", number, 0, 0))
                for address in self._resolve(own_name, text, socket.AF_INET, flags)
            ]
        else:
            found = [
                (socket.AF_INET, (ipv4_text(address), number))
                for address in self._resolve(own_name, text, family, flags)
            ]
        answer = [
            (known, socket.SocketKind(kind), protocol, "", sockaddr)
            for known, sockaddr in found
            for kind, protocol in kinds
        ]
        if flags & socket.AI_CANONNAME:
            known, kind, protocol, _, sockaddr = answer[0]
            answer[0] = (known, kind, protocol, text or "", sockaddr)
        return answer

    def _ipv6_literal(self, text: str, number: int, family: int) -> list[tuple[Any, Any]]:
        # The literal is good; that no host has IPv6 yet shows when a socket is bound or connected to it.
        try:
            packed = _socket.inet_pton(socket.AF_INET6, text.partition("%")[0])
        except OSError:
            raise _failed(socket.EAI_NONAME) from None
        if family == socket.AF_INET:
            if packed[:12] != _V4_MAPPED:
                raise _failed(socket.EAI_ADDRFAMILY)
            return [(socket.AF_INET, (_socket.inet_ntoa(packed[12:]), number))]
        return [(socket.AF_INET6, (_socket.inet_ntop(socket.AF_INET6, packed), number, 0, 0))]

    def _resolve(self, own_name: str, text: str | None, family: int, flags: int) -> list[int]:
        if text is None:
            found = [0] if flags & socket.AI_PASSIVE else [_LOOPBACK]
        else:
            found = _number(text)
            if not found and flags & socket.AI_NUMERICHOST:
                raise _failed(socket.EAI_NONAME)
            if not found and text.lower().rstrip(".") in ("localhost", "ip4-localhost"):
                found = [_LOOPBACK]
            if not found:
                found = self.lookup(text)
            if not found and text.lower() == own_name.lower():
                found = [_LOOPBACK]  # a host without an address knows its own name all the same
            if not found:
                raise _failed(socket.EAI_NONAME)
        if family == socket.AF_INET6:
            raise _failed(socket.EAI_ADDRFAMILY)
        return found

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """socket.getnameinfo: (host, service)."""
        if not isinstance(sockaddr, tuple):
            raise TypeError("getnameinfo() argument 1 must be a tuple")
        if not 2 <= len(sockaddr) <= 4 or not isinstance(sockaddr[0], str) or not isinstance(sockaddr[1], int):
            raise TypeError("getnameinfo(): illegal sockaddr argument")
        if len(sockaddr) > 2 and not 0 <= sockaddr[2] <= _FLOWINFO_MAX:
            raise OverflowError("getnameinfo(): flowinfo must be 0-1048575.")
        number = _port_number(str(sockaddr[1]))
        if number is None or number < 0:
            raise _failed(socket.EAI_SERVICE)
        port = number
        if ":" in sockaddr[0]:
            # No name has an IPv6 address; a mapped one stays as it is, too.
            text = str(self._ipv6_literal(sockaddr[0], port, socket.AF_INET6)[0][1][0])
            if flags & socket.NI_NAMEREQD:
                raise _failed(socket.EAI_NONAME)
            return text, self._service_name(port, flags)
        found = _number(sockaddr[0])
        if not found:
            raise _failed(socket.EAI_NONAME)
        if len(sockaddr) != 2:
            raise OSError("IPv4 sockaddr must be 2 tuple")
        address = found[0]
        host = None if flags & socket.NI_NUMERICHOST else self.reverse(address)
        if host is None and address == _LOOPBACK and not flags & socket.NI_NUMERICHOST:
            host = "localhost"
        if host is None:
            if flags & socket.NI_NAMEREQD:
                raise _failed(socket.EAI_NONAME)
            host = ipv4_text(address)
        return host, self._service_name(port, flags)

    def _service_name(self, port: int, flags: int) -> str:
        if flags & socket.NI_NUMERICSERV:
            return str(port)
        return services.name_of(port, "udp" if flags & socket.NI_DGRAM else "tcp") or str(port)


def _family(address: int) -> int:
    return socket.AF_INET if address < 1 << 32 else socket.AF_INET6


def _failed(code: int) -> socket.gaierror:
    return socket.gaierror(code, _MESSAGES[code])


def _service(port: Any) -> str | None:
    """What was given for the port, as text."""
    if port is None:
        return None
    if isinstance(port, bytes):
        return port.decode("ascii")
    if isinstance(port, int) and not isinstance(port, bool):
        return str(port)
    if isinstance(port, str):
        return port.encode().decode()  # UnicodeEncodeError
    raise OSError("Int or String expected")


def _port_number(service: str | None) -> int | None:
    """The port that `service` says in digits, of which 16 bits count as in glibc; -1 if negative, None if a name."""
    if not service:
        return 0
    digits = service.strip()[1:] if service.strip()[:1] in ("+", "-") else service.strip()
    if not (digits.isascii() and digits.isdigit()) or service != service.rstrip():
        return None
    number = int(service) & 0xFFFF_FFFF
    # glibc keeps it in an int. A negative one then goes on as a name that nothing has.
    return number & 0xFFFF if number < 0x8000_0000 else -1


def _kinds(service: str | None, number: int | None, type: int, proto: int) -> list[tuple[Any, int]]:
    """The types and protocols to answer with: those of `_KINDS` that are asked for, and raw where glibc gives it."""
    kinds = [(kind, protocol) for kind, protocol in _KINDS if type in (0, kind) and proto in (0, protocol)]
    named = number is None or number < 0
    if named and kinds:
        # Of two protocols that of which the service is not known has no answer.
        kinds = [
            (kind, protocol)
            for kind, protocol in kinds
            if services.port_of(str(service), "udp" if protocol == socket.IPPROTO_UDP else "tcp") is not None
        ]
        if not kinds:
            raise _failed(socket.EAI_SERVICE)
    if not named:
        # A raw socket has no port and takes any protocol.
        asked = type == socket.SOCK_RAW or (type == 0 and not kinds)
        if (asked and not service) or (type == 0 and proto == 0):
            kinds.append((socket.SOCK_RAW, proto))
    if not kinds:
        raise _failed(socket.EAI_SERVICE if type in (0, socket.SOCK_RAW) else socket.EAI_SOCKTYPE)
    return kinds


def _number(text: str) -> list[int]:
    """The address in inet_aton(3)'s forms ("127.1", "0x7f.1" besides dotted quads); empty for a name."""
    # inet_aton(3) itself does not mind what follows after a space; getaddrinfo(3) does.
    if text.split() != [text] or not text[0].isdigit():
        return []
    try:
        return [int.from_bytes(_socket.inet_aton(text), "big")]
    except OSError:
        return []


def _text(host: Any) -> str | None:
    if host is None:
        return None
    if isinstance(host, (bytes, bytearray)):
        host = bytes(host).decode("ascii")
    if not isinstance(host, str):
        raise TypeError("getaddrinfo() argument 1 must be string or None")
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    return None if host == "*" else host
