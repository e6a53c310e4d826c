"""Names and addresses, as getaddrinfo(3) and getnameinfo(3) know them inside a tapestry.

The table is the tapestry's: every host's name with its addresses, and `names` that it has besides. There is no DNS yet.
"""

from __future__ import annotations

import socket
from typing import Any, Final

from lunar.wire.address import ipv4_text, parse_ipv4

# The services that programs name; a fixed table, because the machine's /etc/services differs from machine to machine.
SERVICES: Final = {
    "echo": 7, "discard": 9, "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "domain": 53, "tftp": 69, "http": 80,
    "pop3": 110, "ntp": 123, "imap2": 143, "imap": 143, "snmp": 161, "https": 443, "submission": 587, "imaps": 993,
    "pop3s": 995, "mqtt": 1883, "http-alt": 8080,
}  # fmt: skip
_PORT_NAMES: Final = {port: name for name, port in reversed(SERVICES.items())}

_LOOPBACK: Final = 0x7F00_0001
_KINDS: Final = (
    (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
)


class NameTable:
    """The names of a tapestry."""

    def __init__(self) -> None:
        self._addresses: dict[str, list[int]] = {}
        self._names: dict[int, str] = {}

    def add(self, name: str, address: int) -> None:
        """Let `name` have `address` besides those that it has."""
        self._addresses.setdefault(name.lower(), []).append(address)
        self._names.setdefault(address, name)

    def lookup(self, name: str) -> list[int]:
        """The addresses of `name`, in the order of their devices; empty if unknown."""
        return self._addresses.get(name.lower().rstrip("."), [])

    def reverse(self, address: int) -> str | None:
        """The name of `address`."""
        return self._names.get(address)

    def getaddrinfo(
        self, own_name: str, host: Any, port: Any, family: int, type: int, proto: int, flags: int
    ) -> list[tuple[Any, ...]]:
        """socket.getaddrinfo, as the host `own_name` sees it. Raises socket.gaierror as there."""
        number = _port(port, flags)
        text = _text(host)
        if text is None and port is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if family not in (socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6):
            raise socket.gaierror(socket.EAI_FAMILY, "ai_family not supported")
        kinds = [
            (kind, protocol)
            for kind, protocol in _KINDS
            if type in (0, kind) and proto in (0, protocol)
        ]
        if not kinds:
            raise socket.gaierror(socket.EAI_SOCKTYPE, "ai_socktype not supported")
        name = (text or "") if flags & socket.AI_CANONNAME else ""
        if text is not None and ":" in text:
            return self._ipv6_literal(text, number, family, kinds, name)
        if family == socket.AF_INET6:
            raise socket.gaierror(socket.EAI_ADDRFAMILY, "Address family for hostname not supported")
        return [
            (socket.AF_INET, socket.SocketKind(kind), protocol, name if first else "", (ipv4_text(address), number))
            for index, address in enumerate(self._resolve(own_name, text, flags))
            for kind, protocol in kinds
            for first in [index == 0 and (kind, protocol) == kinds[0]]
        ]

    def _ipv6_literal(
        self, text: str, number: int, family: int, kinds: list[tuple[Any, int]], name: str
    ) -> list[tuple[Any, ...]]:
        # The literal is good; that no host has IPv6 yet shows when a socket is made.
        try:
            socket.inet_pton(socket.AF_INET6, text.partition("%")[0])
        except OSError:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
        if family == socket.AF_INET:
            raise socket.gaierror(socket.EAI_ADDRFAMILY, "Address family for hostname not supported")
        return [
            (socket.AF_INET6, socket.SocketKind(kind), protocol, name, (text, number, 0, 0))
            for kind, protocol in kinds
        ]

    def _resolve(self, own_name: str, text: str | None, flags: int) -> list[int]:
        if text is None:
            return [0] if flags & socket.AI_PASSIVE else [_LOOPBACK]
        try:
            return [parse_ipv4(text)]
        except ValueError:
            pass
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if text.lower().rstrip(".") in ("localhost", "ip4-localhost"):
            return [_LOOPBACK]
        found = self.lookup(text)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """socket.getnameinfo: (host, service)."""
        if not isinstance(sockaddr, tuple):
            raise TypeError("getnameinfo() argument 1 must be a tuple")
        text, port = str(sockaddr[0]), int(sockaddr[1])
        try:
            address = parse_ipv4(text)
        except ValueError:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
        host = None if flags & socket.NI_NUMERICHOST else self.reverse(address)
        if host is None and address == _LOOPBACK and not flags & socket.NI_NUMERICHOST:
            host = "localhost"
        if host is None:
            if flags & socket.NI_NAMEREQD:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            host = text
        service = str(port) if flags & socket.NI_NUMERICSERV else _PORT_NAMES.get(port, str(port))
        return host, service


def _port(port: Any, flags: int) -> int:
    if port is None:
        return 0
    if isinstance(port, bytes):
        port = port.decode("ascii")
    if isinstance(port, int):
        return port & 0xFFFF
    if isinstance(port, str):
        if not port:
            return 0
        if port.isdigit():
            return int(port) & 0xFFFF
        if not flags & socket.AI_NUMERICSERV and port in SERVICES:
            return SERVICES[port]
        raise socket.gaierror(socket.EAI_SERVICE, "Servname not supported for ai_socktype")
    raise OSError("Int or String expected")


def _text(host: Any) -> str | None:
    if host is None:
        return None
    if isinstance(host, (bytes, bytearray)):
        host = bytes(host).decode("ascii")
    if not isinstance(host, str):
        raise TypeError("getaddrinfo() argument 1 must be string or None")
    return host or None
