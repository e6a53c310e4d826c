"""A bead: an instance of a module, with global data of its own.

Today each program has a `__main__` of its own: its code is compiled once and shared, its namespace is fresh. Modules
that it imports are shared by all, and are imported as by code outside of any weave, so that what they do at import
(read a clock, draw a number) does not depend on which host happened to come first.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.machinery
import importlib.util
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from weaves.here import here

_real_import = builtins.__import__


def _import_outside(
    name: str,
    globals: Mapping[str, Any] | None = None,
    locals: Mapping[str, Any] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> types.ModuleType:
    weave, flow = here.weave, here.flow
    here.weave = here.flow = None
    try:
        return _real_import(name, globals, locals, fromlist or (), level)
    finally:
        here.weave, here.flow = weave, flow


_BUILTINS: Final[dict[str, Any]] = {**vars(builtins), "__import__": _import_outside}


class Main:
    """What each bead of a program is made from: code, shared, and what `__main__` says of where it came from."""

    def __init__(self, code: types.CodeType, file: str | None, spec: importlib.machinery.ModuleSpec | None) -> None:
        self.code = code
        self.file = file
        self.spec = spec

    @classmethod
    def of_file(cls, path: Path) -> Main:
        """Of a Python file, or of a folder's `__main__.py`. Raises `OSError`, and what `compile` raises."""
        if path.is_dir():
            path = path / "__main__.py"
        return cls(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), str(path), None)

    @classmethod
    def of_module(cls, name: str) -> Main:
        """Of a module, or of a package's `__main__`, as `python -m` finds it.

        Raises `ImportError`, what `compile` raises, and what the packages above it raise: they are imported.
        """
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
        get_code = getattr(None if spec is None else spec.loader, "get_code", None)
        code = None if spec is None or get_code is None else get_code(spec.name)
        if spec is None or code is None:
            raise ImportError(f"there is no Python code to run in {name}")
        return cls(code, spec.origin, spec)

    def run(self) -> None:
        """Make a bead, and run it to its end."""
        namespace = vars(types.ModuleType("__main__"))
        package = None if self.spec is None else self.spec.parent
        namespace.update(__file__=self.file, __package__=package, __spec__=self.spec, __cached__=None)
        namespace["__builtins__"] = _BUILTINS
        exec(self.code, namespace)
