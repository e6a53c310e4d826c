"""What a virtual host does not have: child processes and other programs.

A child process would be outside of virtual time and of the virtual network. The functions at the bottom are replaced,
so that all of `subprocess`, `multiprocessing`, `pty` and `os.spawn...` meets them, also where they were captured early.
"""

from __future__ import annotations

import _posixsubprocess
import errno
import functools
import os
import subprocess
from collections.abc import Callable
from typing import Any, Final

from weaves.here import here
from weaves.interpose.replace import Replacements
from weaves.process import refuse_process

_STARTS: Final = ("fork", "forkpty", "posix_spawn", "posix_spawnp", "execv", "execve", "system")
_WAITS: Final = ("wait", "wait3", "wait4", "waitpid", "waitid")


def install(replacements: Replacements) -> None:
    """Interpose what starts processes and waits for them."""
    for name in _STARTS:
        replacements.put_c(os, name, _refused(os, name))
    replacements.put_c(_posixsubprocess, "fork_exec", _refused(_posixsubprocess, "fork_exec"))
    _refuse_popen()
    for name in _WAITS:
        replacements.put_c(os, name, _childless(name))


def _refuse_popen() -> None:
    """Refuse it before it makes pipes for a child that will not be."""
    real = subprocess.Popen.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        if here.weave is not None:
            refuse_process()
        real(self, *args, **kwargs)

    functools.update_wrapper(init, real)
    subprocess.Popen.__init__ = init  # type: ignore[method-assign]


def _refused(module: Any, name: str) -> Callable[..., Any]:
    real = getattr(module, name, None)

    def refused(_stand: object, *args: Any, **kwargs: Any) -> Any:
        if here.weave is not None:
            refuse_process()
        assert real is not None, "there is no stand-in for what is not there"
        return real(*args, **kwargs)

    return refused


def _childless(name: str) -> Callable[..., Any]:
    real = getattr(os, name, None)

    def childless(_stand: object, *args: Any, **kwargs: Any) -> Any:
        if here.weave is not None:
            raise ChildProcessError(errno.ECHILD, "No child processes")
        assert real is not None, "there is no stand-in for what is not there"
        return real(*args, **kwargs)

    return childless
