"""Which class `socket.socket(...)` makes an instance of inside a weave, and what `socket.socketpair` makes."""

from __future__ import annotations

import _socket
import socket
from typing import TYPE_CHECKING, Any, Final

from lunar.host_socket import SLOTS, HostSocket, LunarSocket
from lunar.sockets.fdtable import is_virtual
from lunar.syscalls import connections

if TYPE_CHECKING:
    from lunar.host import Host

_Socket: Final = socket.socket  # the class, whatever a program puts in its place


class PlainSocket(HostSocket):
    """What `_socket.socket(...)` makes: the class below that of `socket`, which knows no enumerations and no files.

    (What `socket` adds is there all the same.)
    """

    __slots__ = ()

    @property
    def family(self) -> int:  # type: ignore[override]
        return self._family

    @property
    def type(self) -> int:  # type: ignore[override]
        return self._kind

    def close(self) -> None:
        self._real_close()

    def __repr__(self) -> str:
        return f"<socket object, fd={self.fileno()}, family={self.family}, type={self.type}, proto={self.proto}>"


PlainSocket.__module__ = "_socket"
PlainSocket.__name__ = PlainSocket.__qualname__ = "socket"


def socketpair(host: Host, family: int, type: int, protocol: int) -> tuple[LunarSocket, LunarSocket]:
    """socket.socketpair: two connected Unix sockets. Raises what socketpair(2) fails with."""
    flags = type & (socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    made = connections.new_pair(host, int(family), int(type & ~flags), int(protocol))
    first, second = LunarSocket.of(host, made[0], protocol), LunarSocket.of(host, made[1], protocol)
    if flags & socket.SOCK_NONBLOCK:
        first.setblocking(False)
        second.setblocking(False)
    return first, second


def new_socket(cls: type[socket.socket], args: tuple[Any, ...], kwargs: dict[str, Any]) -> socket.socket:
    """An object for `cls(...)` inside a weave: of `cls` itself if it is ours, otherwise of a class of both."""
    fileno = kwargs.get("fileno", args[3] if len(args) > 3 else None)
    if isinstance(fileno, int) and fileno >= 0 and not is_virtual(fileno):
        # A descriptor of the machine stays the machine's.
        machine: socket.socket = _socket.socket.__new__(cls)
        return machine
    if cls is _Socket:
        cls = HostSocket
    elif not issubclass(cls, LunarSocket):
        cls = _combined(cls)
    made: socket.socket = _socket.socket.__new__(cls)
    return made


_classes: dict[type[socket.socket], type[LunarSocket]] = {}


def _combined(cls: type[socket.socket]) -> type[LunarSocket]:
    """A class that is `cls` first and a Lunar socket below, in place of the machine's."""
    found = _classes.get(cls)
    if found is None:
        shown = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
        found = type(cls.__name__, (cls, LunarSocket), {**shown, "__slots__": SLOTS})
        _classes[cls] = found
    return found
