"""`socket` inside a weave: the class that makes the host's sockets, and the functions that know names.

The class stays the class it is: its `__new__` returns an instance of the host's subclass inside a weave, so that names
captured early, `isinstance` and subclasses hold.
"""

from __future__ import annotations

import _socket
import socket
from typing import Any

from weaves.here import here
from weaves.interpose.replace import Replacements


def install(replacements: Replacements) -> None:
    """Interpose `socket`."""
    _install_names(replacements)
    _install_socket_class()


def _install_socket_class() -> None:
    """Let `socket.socket(...)` inside a weave make the host's socket. The class stays the class it is."""
    machine_new = _socket.socket.__new__

    def new(cls: type[socket.socket], *args: Any, **kwargs: Any) -> Any:
        weave = here.weave
        if weave is None:
            return machine_new(cls, *args, **kwargs)
        return weave.host.new_socket(cls, args, kwargs)

    socket.socket.__new__ = new  # type: ignore[method-assign, assignment]


def _install_names(replacements: Replacements) -> None:
    real_getaddrinfo = socket.getaddrinfo
    real_getnameinfo = socket.getnameinfo
    real_gethostname = socket.gethostname
    real_gethostbyname = socket.gethostbyname
    real_getfqdn = socket.getfqdn

    def getaddrinfo(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        weave = here.weave
        if weave is None:
            return real_getaddrinfo(host, port, family, type, proto, flags)
        return weave.host.getaddrinfo(host, port, family, type, proto, flags)

    def getnameinfo(_stand: object, sockaddr: Any, flags: int, /) -> tuple[str, str]:
        weave = here.weave
        return real_getnameinfo(sockaddr, flags) if weave is None else weave.host.getnameinfo(sockaddr, flags)

    def gethostname(_stand: object) -> str:
        weave = here.weave
        return real_gethostname() if weave is None else weave.host.name

    def getfqdn(name: str = "") -> str:
        weave = here.weave
        if weave is None:
            return real_getfqdn(name)
        return weave.host.name if name.strip() in ("", "0.0.0.0") else name

    def gethostbyname(_stand: object, name: str, /) -> str:
        weave = here.weave
        if weave is None:
            return real_gethostbyname(name)
        found = weave.host.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM, 0, 0)
        return str(found[0][4][0])

    real_gethostbyname_ex = socket.gethostbyname_ex
    real_gethostbyaddr = socket.gethostbyaddr
    real_socketpair = socket.socketpair

    def gethostbyname_ex(_stand: object, name: str, /) -> tuple[str, list[str], list[str]]:
        weave = here.weave
        if weave is None:
            return real_gethostbyname_ex(name)
        found = weave.host.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM, 0, 0)
        return name, [], [str(entry[4][0]) for entry in found]

    def gethostbyaddr(_stand: object, address: str, /) -> tuple[str, list[str], list[str]]:
        weave = here.weave
        if weave is None:
            return real_gethostbyaddr(address)
        number = gethostbyname(_stand, address)
        return weave.host.getnameinfo((number, 0), socket.NI_NAMEREQD)[0], [], [number]

    def socketpair(family: int | None = None, type: int = socket.SOCK_STREAM, proto: int = 0) -> Any:
        weave = here.weave
        if weave is None:
            return real_socketpair(family, type, proto)
        return weave.host.new_socketpair(socket.AF_UNIX if family is None else family, type, proto)

    replacements.put_all_c(
        socket,
        {
            "gethostname": gethostname,
            "gethostbyname": gethostbyname,
            "gethostbyname_ex": gethostbyname_ex,
            "gethostbyaddr": gethostbyaddr,
            "getnameinfo": getnameinfo,
        },
    )
    replacements.put(socket, "getaddrinfo", getaddrinfo)
    replacements.put(socket, "getfqdn", getfqdn)
    replacements.put(socket, "socketpair", socketpair)
