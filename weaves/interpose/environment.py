"""`os.environ` and the working directory inside a weave: a program's own; a function's are those of the machine.

`os.environ` stays the object it is, whoever captured it; its data is found by context.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from weaves.directory import directory, real_chdir, real_fchdir
from weaves.here import here
from weaves.interpose.replace import Replacements


def install(replacements: Replacements) -> None:
    """Interpose `os.environ`, `os.environb`, and what changes the environment or the directory."""
    _install_environ()
    replacements.put_all_c(os, _environment_functions())
    replacements.put_c(os, "chdir", _chdir)
    replacements.put_c(os, "fchdir", _fchdir)


def _install_environ() -> None:
    # `environ` and `environb` have one dictionary, whose keys and values are bytes.
    shared = (os.environ, os.environb)

    def data(self: Any) -> Any:
        weave = here.weave
        if weave is not None and weave.environ is not None and (self is shared[0] or self is shared[1]):
            return weave.process.environ
        return self.__dict__["_data"]

    def set_data(self: Any, value: Any) -> None:
        self.__dict__["_data"] = value

    # A data descriptor of the class comes before what the instance has.
    setattr(type(os.environ), "_data", property(data, set_data))  # noqa: B010 - typeshed does not know it


def _environment_functions() -> dict[str, Callable[..., Any]]:
    real_putenv, real_unsetenv = os.putenv, os.unsetenv

    def elsewhere() -> bool:
        weave = here.weave
        return weave is not None and weave.environ is not None

    # `os.environ[...] = ...` calls these for the sake of child processes and C code. A program has none of them.

    def putenv(_stand: object, name: Any, value: Any, /) -> None:
        if not elsewhere():
            real_putenv(name, value)

    def unsetenv(_stand: object, name: Any, /) -> None:
        if not elsewhere():
            real_unsetenv(name)

    return {"putenv": putenv, "unsetenv": unsetenv}


def _chdir(_stand: object, path: Any) -> None:
    real_chdir(path)
    _moved()


def _fchdir(_stand: object, fd: int) -> None:
    real_fchdir(fd)
    _moved()


def _moved() -> None:
    weave = here.weave
    if weave is not None and weave.cwd is not None:
        directory.now = weave.cwd = os.getcwd()
