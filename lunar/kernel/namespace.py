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


class KernelUnavailable(RuntimeError):
    """The machine's kernel cannot be used as a peer here. The message says what is missing, and how to get it."""


class Namespace:
    """A new, empty network namespace with `lo` up. Raises `KernelUnavailable` without the right to make one."""

    def __init__(self) -> None:
        self._outside: list[int] = []
        home = _open_own()
        try:
            if _libc().unshare(_CLONE_NEWNET) != 0:
                why = os.strerror(ctypes.get_errno())
                raise KernelUnavailable(f"no network namespace: unshare(2) says {why}; this needs root (CAP_SYS_ADMIN)")
            try:
                self._descriptor = _open_own()
                self._finalizer = weakref.finalize(self, os.close, self._descriptor)
            finally:
                _enter(home)
        finally:
            os.close(home)
        self.command("ip", "link", "set", "lo", "up")

    def __enter__(self) -> Self:
        self._outside.append(_open_own())
        _enter(self._descriptor)
        return self

    def __exit__(self, *_exc: object) -> None:
        outside = self._outside.pop()
        _enter(outside)
        os.close(outside)

    def close(self) -> None:
        """Let go of the namespace. It ends when its devices' files and its sockets are closed, too."""
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
