"""`socket`'s functions that look something up on a host: names, services, protocols, devices, the host's own name.

They are what the names of `socket` mean to code inside a weave (weaves/interpose/socket_names.py), with the arguments,
results and errors of CPython's. What they know is in names.py and services.py.
"""

from __future__ import annotations

import _socket
import errno
import operator
import os
import socket
from typing import TYPE_CHECKING, Any, Final

from lunar import interfaces, services
from lunar.arguments import parse_timeout
from lunar.errors import error
from lunar.waits import block
from lunar.wire.address import ipv4_text

if TYPE_CHECKING:
    from lunar.host import Host

# netdb.h: what gethostbyaddr(3) says of an address that nobody has.
_HOST_NOT_FOUND: Final = 1
# __NEW_UTS_LEN: how long a host's name may be.
_NAME_BYTES: Final = 64


class Lookups:
    """The functions of `host`, by their names."""

    def __init__(self, host: Host) -> None:
        self._host = host

    # Hosts

    def sethostname(self, name: str | bytes) -> None:
        """For gethostname(2) and uname(2) until the next boot; others find the host by the name that it had before."""
        encoded = os.fsencode(name)
        if len(encoded) > _NAME_BYTES:
            raise error(errno.EINVAL)
        self._host.node_name = os.fsdecode(encoded)

    def gethostbyname(self, name: Any) -> str:
        return self._addresses("gethostbyname", name)[0]

    def gethostbyname_ex(self, name: Any) -> tuple[str, list[str], list[str]]:
        text = _argument("gethostbyname_ex", name)
        if text in ("", "<broadcast>"):
            return text, [], self._addresses("gethostbyname_ex", name)
        found = self._host.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM, flags=socket.AI_CANONNAME)
        canonical = str(found[0][3])
        # What a domain to search in was added to is the name itself; else it is an alias of the canonical one.
        is_alias = canonical != text and not canonical.startswith(f"{text}.")
        return canonical, [text] if is_alias else [], list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def gethostbyaddr(self, address: Any) -> tuple[str, list[str], list[str]]:
        text = _argument("gethostbyaddr", address)
        if ":" in text:
            sockaddr = self._host.getaddrinfo(address, None, socket.AF_INET6, socket.SOCK_DGRAM)[0][4]
            family, number = socket.AF_INET6, str(sockaddr[0])
        else:
            family, number = socket.AF_INET, self._addresses("gethostbyaddr", address)[0]
        value = int.from_bytes(_socket.inet_pton(family, number), "big")
        names = block(self._host, self._host.name_service.names_of(family, value))
        if not names:
            raise socket.herror(_HOST_NOT_FOUND, "Unknown host")
        return names[0], names[1:], [number]

    def _addresses(self, caller: str, name: Any) -> list[str]:
        text = _argument(caller, name)
        if text == "":
            return ["0.0.0.0"]
        if text == "<broadcast>":
            return [ipv4_text(0xFFFF_FFFF)]
        found = self._host.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    # Services and protocols

    def getservbyname(self, servicename: str, protocolname: str | None = None, /) -> int:
        _check("getservbyname", 1, servicename)
        port = services.port_of(servicename, protocolname)
        if port is None:
            raise OSError("service/proto not found")
        return port

    def getservbyport(self, port: int, protocolname: str | None = None, /) -> str:
        number = operator.index(port)
        if not 0 <= number <= 65535:
            raise OverflowError("getservbyport: port must be 0-65535.")
        name = services.name_of(number, protocolname)
        if name is None:
            raise OSError("port/proto not found")
        return name

    def getprotobyname(self, protocolname: str, /) -> int:
        _check("getprotobyname", 1, protocolname)
        number = services.protocol_number(protocolname)
        if number is None:
            raise OSError("protocol not found")
        return number

    def parse_timeout(self, value: Any) -> float | None:
        """What `setdefaulttimeout` takes, in seconds."""
        return parse_timeout(value)

    # Devices

    def if_nameindex(self) -> list[tuple[int, str]]:
        return [(number + 1, name) for number, name in enumerate(self._host.devices)]

    def if_nametoindex(self, oname: str | bytes, /) -> int:
        found = self._host.devices.get(os.fsdecode(oname))
        if found is None:
            raise OSError("no interface with this name")
        return interfaces.index_of(self._host, found)

    def if_indextoname(self, if_index: int, /) -> str:
        number = operator.index(if_index)
        if number < 0:
            raise OverflowError("can't convert negative value to unsigned int")
        if number >= 2**32:
            raise OverflowError("Python int too large to convert to C unsigned int")
        found = interfaces.device_with_index(self._host, number)
        if found is None:
            raise error(errno.ENXIO)
        return str(found.name)


def _check(caller: str, place: int, value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{caller}() argument {place} must be str, not {type(value).__name__}")


def _argument(caller: str, name: Any) -> str:
    if not isinstance(name, (str, bytes, bytearray)):
        raise TypeError(f"{caller}() argument 1 must be str, bytes or bytearray, not {type(name).__name__}")
    return _text(name)


def _text(name: Any) -> str:
    return name if isinstance(name, str) else bytes(name).decode("ascii", "surrogateescape")
