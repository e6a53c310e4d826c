"""Numbers of descriptors inside a weave: `os.pipe` makes the host's; `os.read`, `os.close`, `fcntl.fcntl` know them.

A number tells whose it is. Calls on the machine's descriptors (files) go to the machine, from inside a weave too; what
is written to 1 and 2 goes where the lines of `print` go.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import io
import os
import socket
from collections.abc import Callable
from typing import Any, Final

from weaves import output
from weaves.here import here
from weaves.interpose.replace import Replacements

# Those whose first argument is a descriptor. Python before 3.13 has no timerfd.
_CALLS: Final = (
    "close", "dup", "dup2", "eventfd_read", "eventfd_write", "fdopen", "fstat", "fsync", "ftruncate", "get_blocking",
    "get_inheritable", "isatty", "lseek", "read", "readv", "sendfile", "set_blocking", "set_inheritable",
    "timerfd_gettime", "timerfd_gettime_ns", "timerfd_settime", "timerfd_settime_ns", "write", "writev",
)  # fmt: skip
_MAKERS: Final = ("pipe", "pipe2", "eventfd", "timerfd_create")

# A program's input and output.
_STANDARD: Final = (0, 1, 2)


def install(replacements: Replacements) -> None:
    """Interpose `os`, `fcntl`, and what `socket` does to numbers."""
    for names, stand_in in ((_CALLS, _on_descriptor), (_MAKERS, _making)):
        for name in names:
            if hasattr(os, name):
                replacements.put(os, name, stand_in(getattr(os, name), name))
    if hasattr(os, "splice"):
        replacements.put(os, "splice", _splice(os.splice))
    replacements.put(socket, "dup", _on_descriptor(socket.dup, "dup"))
    replacements.put(socket, "close", _on_descriptor(socket.close, "close"))
    replacements.put(fcntl, "fcntl", _control(fcntl.fcntl, "fcntl"))
    replacements.put(fcntl, "ioctl", _control(fcntl.ioctl, "ioctl"))
    replacements.put_c(os, "get_terminal_size", _terminal_size())
    opening = _open()
    for module in (io, builtins):
        replacements.put_c(module, "open", opening)


def _on_descriptor(real: Callable[..., Any], name: str) -> Callable[..., Any]:
    def call(fd: Any, *args: Any, **kwargs: Any) -> Any:
        weave = here.weave
        if name == "write" and weave is not None and fd in (1, 2) and (streams := output.active()) is not None:
            return streams.write(fd, *args)
        if name == "isatty" and weave is not None and fd in _STANDARD:
            return False
        if weave is None or not isinstance(fd, int) or not weave.host.files.has(fd):
            return real(fd, *args, **kwargs)
        return getattr(weave.host.files, name)(fd, *args, **kwargs)

    return _like(call, real)


def _splice(real: Callable[..., Any]) -> Callable[..., Any]:
    def call(src: Any, dst: Any, *args: Any, **kwargs: Any) -> Any:
        weave = here.weave
        if weave is None or not any(isinstance(fd, int) and weave.host.files.has(fd) for fd in (src, dst)):
            return real(src, dst, *args, **kwargs)
        return weave.host.files.splice(src, dst, *args, **kwargs)

    return _like(call, real)


def _making(real: Callable[..., Any], name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        weave = here.weave
        return real(*args, **kwargs) if weave is None else getattr(weave.host.files, name)(*args, **kwargs)

    return _like(call, real)


def _control(real: Callable[..., Any], name: str) -> Callable[..., Any]:
    def call(fd: Any, request: int, *rest: Any) -> Any:
        weave = here.weave
        if weave is not None:
            number = fd if isinstance(fd, int) else fd.fileno()
            if weave.host.files.has(number):
                return getattr(weave.host.files, name)(number, request, *rest)
        return real(fd, request, *rest)

    return _like(call, real)


def _terminal_size() -> Callable[..., Any]:
    """What a program asks of its terminal: it has none, whatever the machine's output goes to."""
    real = os.get_terminal_size

    def call(_stand: object, fd: int = 1, /) -> os.terminal_size:
        if here.weave is not None and fd in _STANDARD:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        return real(fd)

    return call


def _open() -> Callable[..., Any]:
    """`open`, which takes the number of a descriptor in place of a file's name; a name may be one of the host's own."""
    real = io.open

    def call(_stand: object, file: Any, *args: Any, **kwargs: Any) -> Any:
        weave = here.weave
        if weave is not None:
            if isinstance(file, int):
                if weave.host.files.has(file):
                    return weave.host.files.fdopen(file, *args, **kwargs)
            elif weave.host.paths.has(file):
                return weave.host.paths.file(file, *args, **kwargs)
        return real(file, *args, **kwargs)

    return call


def _like(call: Callable[..., Any], real: Callable[..., Any]) -> Callable[..., Any]:
    call.__name__ = call.__qualname__ = real.__name__
    call.__module__ = real.__module__
    call.__doc__ = real.__doc__
    return call
