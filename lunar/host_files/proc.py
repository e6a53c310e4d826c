"""/proc/sys/net, a file for each parameter that the stack obeys, and /proc/net, whose texts the tools make.

Reading and writing a parameter follows proc(5): the values with tabs between them, and each write(2) is a setting, with
EINVAL for what it cannot be. What is not obeyed here has no file (ENOENT), although Linux may have one.
"""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, Final

from lunar.parameters import table
from lunar.parameters.parameter import Parameter, UnknownName
from lunar.sockets.host_file import Content

if TYPE_CHECKING:
    from lunar.host import Host

SYS: Final = "/proc/sys"
NET: Final = "/proc/net"
# Linux has /proc/net for each process.
NET_ALIASES: Final = ("/proc/self/net", "/proc/thread-self/net")


class ParameterFile(Content):
    """A file of /proc/sys/net."""

    def __init__(self, host: Host, path: str, parameter: Parameter) -> None:
        super().__init__(made=True)
        self._host = host
        self._path = path
        self.parameter = parameter

    def read(self) -> bytes:
        return f"{self.parameter.shown(self.parameter.read(self._host))}\n".encode()

    def write(self, data: bytes, at: int) -> int:
        text = data.decode("latin-1")
        words = text.split()
        if not words or at > 0:
            return len(data)  # it says nothing; kernel.sysctl_writes_strict: nor does what follows in the same file
        taken = len(data)
        count = len(self.parameter.attributes)
        if self.parameter.counts and len(words) > count:
            words = words[:count]  # the kernel reads no more
            taken = len(re.match(rf"(?:\s*\S+){{{count}}}\s*", text)[0])  # type: ignore[index]
        try:
            values = self.parameter.parse(self._path, " ".join(words))
            self.parameter.write(self._host, values)
        except UnknownName:
            return -errno.ENOENT
        except ValueError:
            return -errno.EINVAL
        return taken

    def truncate(self, size: int) -> int:
        return 0  # as the kernel does nothing


class NetFile(Content):
    """A file of /proc/net."""

    def __init__(self, host: Host, name: str) -> None:
        super().__init__(made=True)
        self._host = host
        self._name = name

    def read(self) -> bytes:
        from lunar.net_tools import proc_net

        return proc_net.FILES[self._name](self._host).encode()

    def write(self, data: bytes, at: int) -> int:
        return -errno.EIO

    def truncate(self, size: int) -> int:
        return -errno.EACCES


def names(host: Host, folder: str) -> list[str] | None:
    """What is in a folder of /proc/sys/net or /proc/net; None if there is none."""
    if folder == NET:
        from lunar.net_tools import proc_net

        return sorted(proc_net.FILES)
    under = folder.removeprefix(f"{SYS}/") + "/"
    found: dict[str, None] = {}
    for path in table.paths(host):
        if path.startswith(under):
            found[path[len(under) :].partition("/")[0]] = None
    return list(found) or None


def find(host: Host, path: str) -> Content | None:
    """The file at `path`, None if there is none."""
    if path.startswith(f"{NET}/"):
        from lunar.net_tools import proc_net

        name = path[len(NET) + 1 :]
        return NetFile(host, name) if name in proc_net.FILES else None
    name = path.removeprefix(f"{SYS}/")
    parameter = table.find(host, name)
    return None if parameter is None else ParameterFile(host, name, parameter)
