"""A network namespace of Linux: a network stack of the machine's kernel with devices, tables and sysctls of its own.

A thread is in one namespace at a time; `with namespace:` takes the calling thread there and back. What is made there
(a socket, a TUN device, a process) stays there. A namespace without a name lives as long as something of it is open, so
it is gone with the process, however that ends. Read namespaces(7), network_namespaces(7) and setns(2).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import weakref
from pathlib import Path
from typing import Final, Self

# linux/sched.h
_CLONE_NEWNET: Final = 0x4000_0000
NAMED: Final = Path("/run/netns")  # where ip-netns(8) keeps those that have names


class KernelUnavailable(RuntimeError):
    """The machine's kernel cannot be used as a peer here. The message says what is missing, and how to get it."""


class Namespace:
    """A new, empty network namespace with `lo` up. Raises `KernelUnavailable` without the right to make one.

    `named` gives one that is there, `current` the one that the process is in.
    """

    def __init__(self) -> None:
        self._hold(_made())
        self.command("ip", "link", "set", "lo", "up")

    @classmethod
    def named(cls, name: str) -> Self:
        """The namespace that `ip netns add NAME` made. Raises `KernelUnavailable` if it is not there."""
        found = cls.__new__(cls)
        try:
            found._hold(os.open(NAMED / name, os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            raise KernelUnavailable(
                f'there is no network namespace "{name}"; make it with: ip netns add {name}'
            ) from None
        except OSError as error:
            raise KernelUnavailable(f'network namespace "{name}": {error.strerror}') from None
        return found

    @classmethod
    def current(cls) -> Self:
        """The namespace that the process is in. To go there takes no rights."""
        found = cls.__new__(cls)
        found._hold(None)
        return found

    def _hold(self, descriptor: int | None) -> None:
        self._outside: list[int] = []
        self._descriptor = descriptor
        self._finalizer = None if descriptor is None else weakref.finalize(self, os.close, descriptor)

    def __enter__(self) -> Self:
        if self._descriptor is not None:
            self._outside.append(_open_own())
            try:
                _enter(self._descriptor)
            except OSError as error:
                os.close(self._outside.pop())
                raise KernelUnavailable(f"{error.filename} says {error.strerror}; this needs root") from None
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._descriptor is not None:
            outside = self._outside.pop()
            _enter(outside)
            os.close(outside)

    def close(self) -> None:
        """Let go of the namespace. It ends when its devices' files and its sockets are closed, too."""
        if self._finalizer is not None:
            self._finalizer()

    def command(self, *words: str, input: str | None = None) -> str:
        """Run a program there, and return what it prints. Raises `KernelUnavailable` if there is none or it fails."""
        if shutil.which(words[0]) is None:
            raise KernelUnavailable(f"{words[0]} is not installed")
        with self:
            done = subprocess.run(words, input=input, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise KernelUnavailable(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
        return done.stdout

    def sysctl(self, name: str, value: str | None = None) -> str:
        """What `name` ("net.ipv4.tcp_sack") is there, after setting it to `value` if one is given. Raises `OSError`."""
        path = Path("/proc/sys", name.replace(".", "/"))
        with self:
            if value is not None:
                path.write_text(value)
            return path.read_text().strip()


def _made() -> int:
    """A descriptor of a namespace that was not there before."""
    home = _open_own()
    try:
        if _libc().unshare(_CLONE_NEWNET) != 0:
            why = os.strerror(ctypes.get_errno())
            raise KernelUnavailable(f"no network namespace: unshare(2) says {why}; this needs root (CAP_SYS_ADMIN)")
        try:
            return _open_own()
        finally:
            _enter(home)
    finally:
        os.close(home)


def _open_own() -> int:
    """A descriptor of the namespace that this thread is in."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _enter(descriptor: int) -> None:
    if _libc().setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "setns")


def _libc() -> ctypes.CDLL:
    # os.setns and os.unshare are there since Python 3.12.
    return ctypes.CDLL(None, use_errno=True)
