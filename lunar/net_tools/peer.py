"""What ping and traceroute have in common: whom they are for, and how they name whoever answers.

Inside a string of the host: `socket` and `struct sock_extended_err` mean the host's.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import TYPE_CHECKING, Any, Final

import attrs

from lunar.net_tools.errors import CommandError

if TYPE_CHECKING:
    from lunar.host import Host

# linux/errqueue.h, and ip(7); the names that the standard library lacks.
SO_EE_ORIGIN_LOCAL: Final = 1
SO_EE_ORIGIN_ICMP: Final = 2
SO_EE_ORIGIN_ICMP6: Final = 3
IP_RECVERR: Final = 11
IPV6_RECVERR: Final = 25
IP_MTU_DISCOVER: Final = 10
IPV6_MTU_DISCOVER: Final = 23
PMTUDISC: Final = {"dont": 0, "want": 1, "do": 2}
MSG_ERRQUEUE: Final = 0x2000
_EXTENDED_ERR: Final = struct.Struct("=IBBBBII")
# What commands that take no time say of a name that no file of the host's has.
NAME_SERVERS_TAKE_TIME: Final = "to ask the host's name servers takes time; expected an address"


@attrs.frozen
class Peer:
    """Whom a command is for: as it was written, and the address that this is."""

    name: str
    family: int
    address: str
    scope: int
    numeric: bool  # it was written as an address

    @property
    def sockaddr(self) -> tuple[Any, ...]:
        return self.at(0)

    def at(self, port: int) -> tuple[Any, ...]:
        """The tuple for a socket of its family."""
        return (self.address, port) if self.family == socket.AF_INET else (self.address, port, 0, self.scope)


@attrs.frozen
class Report:
    """One report of a socket's error queue: `kind` and `code` are ICMP's, `who` sent it ("" if nobody but us)."""

    number: int
    origin: int
    kind: int
    code: int
    info: int
    who: str
    quoted: bytes


def family_of(host: Host, ipv4: bool, ipv6: bool, name: str, tool: str) -> int:
    """AF_INET or AF_INET6 if the options or the word say so, 0 if the name has to be looked up. Raises CommandError."""
    wanted = socket.AF_INET if ipv4 else socket.AF_INET6 if ipv6 else 0
    try:
        written = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return wanted
    family = socket.AF_INET if written.version == 4 else socket.AF_INET6
    if wanted and wanted != family:
        raise CommandError(f"{tool}: {name}: Address family for hostname not supported")
    return family


def find(name: str, family: int, tool: str) -> Peer:
    """Look `name` up, from inside a string of the host. Raises `CommandError`."""
    try:
        found = socket.getaddrinfo(name, None, family, socket.SOCK_RAW)
    except socket.gaierror as error:
        raise CommandError(f"{tool}: {name}: {error.strerror}") from None
    except UnicodeError:
        raise CommandError(f"{tool}: {name}: Name or service not known") from None
    kind, _, _, _, address = found[0]
    try:
        ipaddress.ip_address(name.partition("%")[0])
        numeric = True
    except ValueError:
        numeric = False
    sockaddr: tuple[Any, ...] = address
    scope = int(sockaddr[3]) if kind == socket.AF_INET6 else 0
    return Peer(name, int(kind), str(sockaddr[0]), scope, numeric)


def name_of(address: str) -> str:
    """The name of an address, "" if it has none."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sockaddr: tuple[Any, ...] = (address, 0) if family == socket.AF_INET else (address, 0, 0, 0)
    try:
        return socket.getnameinfo(sockaddr, socket.NI_NAMEREQD)[0]
    except (socket.gaierror, OSError):
        return ""


def with_scope(sockaddr: tuple[Any, ...]) -> str:
    """An address of a socket, with the device if it means something on one link only: "fe80::1%eth0"."""
    address = str(sockaddr[0]).partition("%")[0]
    if len(sockaddr) == 4 and sockaddr[3] and ipaddress.ip_address(address).is_link_local:
        return f"{address}%{socket.if_indextoname(sockaddr[3])}"
    return address


def hear_errors(sock: socket.socket, family: int) -> None:
    """Let `sock` keep reports of what became of its packets."""
    if family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)


def next_report(sock: socket.socket) -> Report | None:
    """The oldest report of the socket's error queue, None if there is none."""
    try:
        quoted, items, _, _ = sock.recvmsg(2048, 512, MSG_ERRQUEUE | socket.MSG_DONTWAIT)
    except OSError:
        return None
    for level, kind, data in items:
        if (level, kind) in ((socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR)):
            number, origin, icmp_type, code, _, info, _ = _EXTENDED_ERR.unpack_from(data)
            who = ""
            if origin == SO_EE_ORIGIN_ICMP:
                who = socket.inet_ntop(socket.AF_INET, data[_EXTENDED_ERR.size + 4 : _EXTENDED_ERR.size + 8])
            elif origin == SO_EE_ORIGIN_ICMP6:
                who = socket.inet_ntop(socket.AF_INET6, data[_EXTENDED_ERR.size + 8 : _EXTENDED_ERR.size + 24])
            return Report(number, origin, icmp_type, code, info, who, quoted)
    return None


def checksum(data: bytes) -> int:
    """The checksum of RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
