"""Paths inside a weave: `os.open`, `os.stat`, `os.listdir` ... know the files that the host has of its own.

A path tells whose it is; all but the host's few go to the machine. `open` is in descriptors.py. What is written in
Python (`os.path`, `pathlib`, `glob`) calls what is replaced here, and is not replaced itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from weaves.here import here
from weaves.interpose.replace import Replacements

# Those whose first argument is a path.
_CALLS: Final = (
    "access", "chmod", "chown", "getxattr", "lchown", "listdir", "listxattr", "lstat", "mkdir", "open", "readlink",
    "remove", "removexattr", "rmdir", "scandir", "setxattr", "stat", "truncate", "unlink", "utime",
)  # fmt: skip
_MOVES: Final = ("rename", "replace", "link", "symlink")


def install(replacements: Replacements) -> None:
    """Interpose `os`."""
    for name in _CALLS:
        replacements.put_c(os, name, _on_path(name))
    for name in _MOVES:
        replacements.put_c(os, name, _moving(name))


def _on_path(name: str) -> Callable[..., Any]:
    real = getattr(os, name)

    def call(_stand: object, *args: Any, **kwargs: Any) -> Any:
        weave = here.weave
        if weave is not None and args and weave.host.paths.has(args[0]):
            return getattr(weave.host.paths, name)(*args, **kwargs)
        return real(*args, **kwargs)

    return call


def _moving(name: str) -> Callable[..., Any]:
    real = getattr(os, name)

    def call(_stand: object, *args: Any, **kwargs: Any) -> Any:
        weave = here.weave
        if weave is not None and len(args) > 1:
            paths = weave.host.paths
            if paths.has(args[0]) or paths.has(args[1]):
                raise paths.moved(args[0], args[1])
        return real(*args, **kwargs)

    return call
