"""`socket` inside a weave: the class that makes the host's sockets, and the functions that look something up.

The class stays the class it is: its `__new__` returns an instance of the host's subclass inside a weave, so that names
captured early, `isinstance` and subclasses hold. What the module writes in Python (`create_connection`, `fromfd`,
`getfqdn`, `send_fds` ...) calls what is replaced here, and is not replaced itself.
"""

from __future__ import annotations

import _socket
import socket
from collections.abc import Callable
from typing import Any, Final

from weaves.here import here
from weaves.interpose.replace import Replacements

# Functions of C that the host answers, with the same arguments.
_LOOKUPS: Final = (
    "sethostname", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getservbyname",
    "getservbyport", "getprotobyname", "if_nameindex", "if_nametoindex", "if_indextoname",
)  # fmt: skip


def install(replacements: Replacements) -> None:
    """Interpose `socket`."""
    _install_names(replacements)
    _install_default_timeout(replacements)
    _install_socket_class()
    _install_plain_class()


def _install_socket_class() -> None:
    """Let `socket.socket(...)` inside a weave make the host's socket. The class stays the class it is."""
    machine_new = _socket.socket.__new__
    machine_init = socket.socket.__init__

    def new(cls: type[socket.socket], *args: Any, **kwargs: Any) -> Any:
        weave = here.weave
        if weave is None:
            return machine_new(cls, *args, **kwargs)
        return weave.host.new_socket(cls, args, kwargs)

    def init(
        self: Any, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
    ) -> None:
        # A subclass of a program may call it by the name of this class, past the one between them.
        virtual = getattr(self, "virtual_init", machine_init.__get__(self))
        virtual(family, type, proto, fileno)

    init.__doc__ = machine_init.__doc__
    init.__qualname__ = machine_init.__qualname__
    socket.socket.__new__ = new  # type: ignore[method-assign, assignment]
    socket.socket.__init__ = init  # type: ignore[method-assign]


def _install_plain_class() -> None:
    """Let `_socket.socket(...)`, also called `socket.SocketType`, make the host's sockets inside a weave.

    It is a type of C whose making cannot be changed, so another one stands for it, which has its instances and its
    subclasses.
    """
    machine = _socket.socket

    class StandsForIt(type):
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            if cls is not stand_in:
                return super().__call__(*args, **kwargs)
            weave = here.weave
            return machine(*args, **kwargs) if weave is None else weave.host.new_plain_socket(args, kwargs)

        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, machine) if cls is stand_in else super().__instancecheck__(instance)

        def __subclasscheck__(cls, subclass: type) -> bool:
            return issubclass(subclass, machine) if cls is stand_in else super().__subclasscheck__(subclass)

        def __setattr__(cls, name: str, value: Any) -> None:
            raise TypeError(f"cannot set {name!r} attribute of immutable type '_socket.socket'")

    stand_in: Any = StandsForIt("socket", (machine,), {"__module__": "_socket", "__doc__": machine.__doc__})
    _socket.socket = stand_in  # type: ignore[misc]
    _socket.SocketType = socket.SocketType = stand_in


def _install_default_timeout(replacements: Replacements) -> None:
    real_get, real_set = socket.getdefaulttimeout, socket.setdefaulttimeout

    def getdefaulttimeout(_stand: object) -> float | None:
        weave = here.weave
        return real_get() if weave is None else weave.socket_timeout

    def setdefaulttimeout(_stand: object, timeout: float | None, /) -> None:
        weave = here.weave
        if weave is None:
            real_set(timeout)
        else:
            weave.socket_timeout = weave.host.lookups.parse_timeout(timeout)

    replacements.put_c(socket, "getdefaulttimeout", getdefaulttimeout)
    replacements.put_c(socket, "setdefaulttimeout", setdefaulttimeout)


def _install_names(replacements: Replacements) -> None:
    real_getaddrinfo = socket.getaddrinfo
    real_getnameinfo = socket.getnameinfo
    real_gethostname = socket.gethostname
    real_socketpair = socket.socketpair

    def getaddrinfo(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        weave = here.weave
        if weave is None:
            return real_getaddrinfo(host, port, family, type, proto, flags)
        return weave.host.getaddrinfo(host, port, family, type, proto, flags)

    def gethostname(_stand: object) -> str:
        weave = here.weave
        return real_gethostname() if weave is None else weave.host.node_name

    def getnameinfo(_stand: object, sockaddr: Any, flags: int, /) -> tuple[str, str]:
        weave = here.weave
        if weave is None or not isinstance(sockaddr, tuple):
            try:
                return real_getnameinfo(sockaddr, flags)  # which says what is wrong
            finally:
                del sockaddr  # or the traceback would hold it, as that of a function of C does not
        return weave.host.getnameinfo(sockaddr, flags)

    def socketpair(family: int | None = None, type: int = socket.SOCK_STREAM, proto: int = 0) -> Any:
        weave = here.weave
        if weave is None:
            return real_socketpair(family, type, proto)
        return weave.host.new_socketpair(socket.AF_UNIX if family is None else family, type, proto)

    replacements.put_all_c(socket, {name: _looked_up(name) for name in _LOOKUPS})
    replacements.put_c(socket, "gethostname", gethostname)
    replacements.put_c(socket, "getnameinfo", getnameinfo)
    replacements.put(socket, "getaddrinfo", getaddrinfo)
    replacements.put(socket, "socketpair", socketpair)


def _looked_up(name: str) -> Callable[..., Any]:
    real = getattr(socket, name)

    def look_up(_stand: object, *args: Any) -> Any:
        weave = here.weave
        return real(*args) if weave is None else getattr(weave.host.lookups, name)(*args)

    return look_up
