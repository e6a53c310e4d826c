"""What getaddrinfo(3) and getnameinfo(3) make of their arguments, and of the addresses that were found.

The checks are glibc's, in its order. Between the question and the answer, somebody looks a name up (name_service.py).
"""

from __future__ import annotations

import _socket
import socket
from typing import TYPE_CHECKING, Any, Final

import attrs

from lunar import interfaces, services
from lunar.wire.address import address_text

if TYPE_CHECKING:
    from lunar.host import Host

LOOPBACK: Final = 0x7F00_0001
LOOPBACK6: Final = 1
_FLOWINFO_MAX: Final = 0xF_FFFF
_MAPPED: Final = 0xFFFF_0000_0000  # RFC 4291 section 2.5.5.2
_KINDS: Final = (
    (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
)
# AI_PASSIVE to AI_NUMERICSERV: all that glibc knows besides those for internationalized names.
_FLAGS: Final = 0x07FF

EAI_NODATA: Final = socket.EAI_NODATA
_MESSAGES: Final = {
    socket.EAI_BADFLAGS: "Bad value for ai_flags",
    socket.EAI_NONAME: "Name or service not known",
    socket.EAI_FAMILY: "ai_family not supported",
    socket.EAI_SOCKTYPE: "ai_socktype not supported",
    socket.EAI_SERVICE: "Servname not supported for ai_socktype",
    socket.EAI_ADDRFAMILY: "Address family for hostname not supported",
    socket.EAI_AGAIN: "Temporary failure in name resolution",
    socket.EAI_FAIL: "Non-recoverable failure in name resolution",
    socket.EAI_NODATA: "No address associated with hostname",
}


@attrs.frozen
class Found:
    """What a name comes to: (family, address) pairs, and the name that the source has for it."""

    addresses: list[tuple[int, int]]
    canonical: str | None = None


@attrs.frozen
class Question:
    """A checked call of getaddrinfo. `text` is the host, None for none; `families` those to look for."""

    text: str | None
    port: int
    kinds: list[tuple[Any, int]]
    family: int
    flags: int

    @classmethod
    def of(cls, host: Any, port: Any, family: int, type: int, proto: int, flags: int) -> Question:
        """Raises what socket.getaddrinfo raises before it looks anything up."""
        text = _text(host)
        service = _service(port)
        if text is None and service is None:
            raise failed(socket.EAI_NONAME)
        if text is not None and not text.isascii():
            raise failed(socket.EAI_NONAME)  # bytes that are no name of anything
        if flags & ~_FLAGS or (flags & socket.AI_CANONNAME and text is None):
            raise failed(socket.EAI_BADFLAGS)
        if family not in (socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6):
            raise failed(socket.EAI_FAMILY)
        number = _port_number(service)
        if number is None and flags & socket.AI_NUMERICSERV:
            raise failed(socket.EAI_NONAME)
        kinds = _kinds(service, number, type, proto)
        if number is None:
            number = services.port_of(str(service))
            assert number is not None, "a service that nobody knows was refused above"
        return cls(text, number, kinds, family, flags)

    @property
    def maps(self) -> bool:
        """Whether IPv4 addresses are wanted as IPv6 addresses."""
        return self.family == socket.AF_INET6 and bool(self.flags & socket.AI_V4MAPPED)

    def numeric(self, host: Host | None) -> list[Any] | None:
        """The answer where no name has to be looked up; None where one has. The names of scopes are of `host`."""
        text = self.text
        if text is None:
            return self._of_no_host(host)
        if ":" in text:
            if self.family == socket.AF_INET:
                address, _ = literal(host, text.partition("%")[0])
                if address >> 32 != 0xFFFF:
                    raise failed(socket.EAI_ADDRFAMILY)
                return self.answer([(socket.AF_INET, address & 0xFFFF_FFFF)], text)
            address, scope = literal(host, text)
            return self.answer([(socket.AF_INET6, address)], text, scope)
        found = ipv4_number(text)
        if found is None:
            if self.flags & socket.AI_NUMERICHOST:
                raise failed(socket.EAI_NONAME)
            return None
        if self.family == socket.AF_INET6:
            if not self.maps:
                raise failed(socket.EAI_ADDRFAMILY)
            return self.answer([(socket.AF_INET6, found | _MAPPED)], text)
        return self.answer([(socket.AF_INET, found)], text)

    def _of_no_host(self, host: Host | None) -> list[Any]:
        """This host, or with AI_PASSIVE all of its addresses: in glibc's order, which differs between the two."""
        passive = bool(self.flags & socket.AI_PASSIVE)
        four = (int(socket.AF_INET), 0 if passive else LOOPBACK)
        six = (int(socket.AF_INET6), 0 if passive else LOOPBACK6)
        if self.family == socket.AF_INET6:
            return self.answer([six], None)
        if self.family == socket.AF_INET or host is None or not host.has_ipv6:
            return self.answer([four], None)
        return self.answer([four, six] if passive else [six, four], None)

    def answer(self, found: list[tuple[int, int]], canonical: str | None, scope: int = 0) -> list[Any]:
        """As socket.getaddrinfo has it: each address with each kind of socket."""
        made: list[Any] = []
        for family, address in found:
            text = address_text(family, address)
            sockaddr = (text, self.port) if family == socket.AF_INET else (text, self.port, 0, scope)
            known = socket.AddressFamily(family)
            made += [(known, socket.SocketKind(kind), protocol, "", sockaddr) for kind, protocol in self.kinds]
        if self.flags & socket.AI_CANONNAME and made:
            family, kind, protocol, _, sockaddr = made[0]
            made[0] = (family, kind, protocol, canonical or "", sockaddr)
        return made

    def wanted(self, found: list[tuple[int, int]], configured: bool) -> list[tuple[int, int]]:
        """Those of the addresses of a name that were asked for. `configured`: whether the host has IPv6 itself."""
        six = [pair for pair in found if pair[0] == socket.AF_INET6]
        four = [pair for pair in found if pair[0] == socket.AF_INET]
        if self.family == socket.AF_INET6:
            if self.maps and (not six or self.flags & socket.AI_ALL):
                return six + [(int(socket.AF_INET6), address | _MAPPED) for _, address in four]
            return six
        if self.family == socket.AF_INET or (self.flags & socket.AI_ADDRCONFIG and not configured):
            return four
        return found


@attrs.frozen
class Reverse:
    """A checked call of getnameinfo."""

    family: int
    address: int
    scope: int
    port: int
    flags: int

    @classmethod
    def of(cls, sockaddr: Any, flags: int) -> Reverse:
        """Raises what socket.getnameinfo raises before it looks anything up."""
        if not isinstance(sockaddr, tuple):
            raise TypeError("getnameinfo() argument 1 must be a tuple")
        if not 2 <= len(sockaddr) <= 4 or not isinstance(sockaddr[0], str) or not isinstance(sockaddr[1], int):
            raise TypeError("getnameinfo(): illegal sockaddr argument")
        if len(sockaddr) > 2 and not 0 <= sockaddr[2] <= _FLOWINFO_MAX:
            raise OverflowError("getnameinfo(): flowinfo must be 0-1048575.")
        port = _port_number(str(sockaddr[1]))
        if port is None or port < 0:
            raise failed(socket.EAI_SERVICE)
        if ":" in sockaddr[0]:
            address, scope = literal(None, sockaddr[0])
            return cls(socket.AF_INET6, address, sockaddr[3] if len(sockaddr) == 4 else scope, port, flags)
        found = ipv4_number(sockaddr[0])
        if found is None:
            raise failed(socket.EAI_NONAME)
        if len(sockaddr) != 2:
            raise OSError("IPv4 sockaddr must be 2 tuple")
        return cls(socket.AF_INET, found, 0, port, flags)

    @property
    def asks_name(self) -> bool:
        """Whether a name is to be looked up."""
        return not self.flags & socket.NI_NUMERICHOST

    def answer(self, host: Host | None, name: str | None) -> tuple[str, str]:
        """(host, service). Raises `gaierror` where a name is required and there is none."""
        if name is None:
            if self.flags & socket.NI_NAMEREQD:
                raise failed(socket.EAI_NONAME)
            name = address_text(self.family, self.address)
            if self.scope:
                device = None if host is None else interfaces.device_with_index(host, self.scope)
                is_of_link = self.address >> 118 == 0x3FA or self.address >> 112 == 0xFF02
                name += f"%{device.name if device is not None and is_of_link else self.scope}"
        if self.flags & socket.NI_NUMERICSERV:
            return name, str(self.port)
        protocol = "udp" if self.flags & socket.NI_DGRAM else "tcp"
        return name, services.name_of(self.port, protocol) or str(self.port)


def failed(code: int) -> socket.gaierror:
    """What a call fails with, with glibc's words."""
    return socket.gaierror(code, _MESSAGES[code])


def literal(host: Host | None, text: str) -> tuple[int, int]:
    """(address, scope) of an IPv6 address; a scope is a number, or of addresses of a link the name of a device."""
    number, percent, name = text.partition("%")
    try:
        address = int.from_bytes(_socket.inet_pton(_socket.AF_INET6, number), "big")
    except (OSError, ValueError):
        raise failed(socket.EAI_NONAME) from None
    if not percent:
        return address, 0
    if name.isascii() and name.isdigit() and int(name) < 1 << 32:
        return address, int(name)
    # glibc takes names for addresses and groups of a link, and of a device (ff01::).
    if host is not None and name in host.devices and (address >> 118 == 0x3FA or address >> 112 in (0xFF01, 0xFF02)):
        return address, interfaces.index_of(host, host.devices[name])
    raise failed(socket.EAI_NONAME)


def ipv4_number(text: str) -> int | None:
    """The address in inet_aton(3)'s forms ("127.1", "0x7f.1" besides dotted quads); None for a name."""
    # inet_aton(3) itself does not mind what follows after a space; getaddrinfo(3) does.
    if text.split() != [text] or not text[0].isdigit():
        return None
    try:
        return int.from_bytes(_socket.inet_aton(text), "big")
    except OSError:
        return None


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
            raise failed(socket.EAI_SERVICE)
    if not named:
        # A raw socket has no port and takes any protocol.
        asked = type == socket.SOCK_RAW or (type == 0 and not kinds)
        if (asked and not service) or (type == 0 and proto == 0):
            kinds.append((socket.SOCK_RAW, proto))
    if not kinds:
        raise failed(socket.EAI_SERVICE if type in (0, socket.SOCK_RAW) else socket.EAI_SOCKTYPE)
    return kinds


def _text(host: Any) -> str | None:
    if host is None:
        return None
    if isinstance(host, (bytes, bytearray)):
        host = bytes(host).decode("ascii", "surrogateescape")
    elif isinstance(host, str):
        # UnicodeError is what CPython raises for parts that are empty ("a..b") or longer than 63 bytes.
        host = host.encode("idna").decode("ascii")
    else:
        raise TypeError("getaddrinfo() argument 1 must be string or None")
    return None if host == "*" else host
