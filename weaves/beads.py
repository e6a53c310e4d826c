"""A bead: an instance of a module, with global data of its own.

Today each program has a `__main__` of its own: its code is compiled once and shared, its namespace is fresh. Modules that
it imports are shared by all, and are imported as by code outside of any weave, so that what they do at import (read a
clock, draw a number) does not depend on which host happened to come first.
"""

from __future__ import annotations

import builtins
import importlib
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
_codes: dict[Path, types.CodeType] = {}


def compiled(path: Path) -> types.CodeType:
    """The code of a Python file, compiled once. Raises `OSError` and `SyntaxError`."""
    code = _codes.get(path)
    if code is None:
        code = _codes[path] = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    return code


def run_file(path: Path) -> None:
    """Run a Python file, or a folder's `__main__.py`, as `__main__`."""
    if path.is_dir():
        path = path / "__main__.py"
    exec(compiled(path), _main_namespace(str(path), None, None))


def run_module(name: str) -> None:
    """Run a module, or a package's `__main__`, as `python -m` does."""
    spec = module_spec(name)
    assert spec.loader is not None
    code = spec.loader.get_code(spec.name)  # type: ignore[attr-defined]
    if code is None:
        raise ImportError(f"No code object available for {spec.name}")
    exec(code, _main_namespace(spec.origin, spec.parent, spec))


def module_spec(name: str) -> importlib.machinery.ModuleSpec:
    """The spec of what `python -m name` runs. Raises `ImportError`."""
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(f"{name}.__main__")
    if spec is None or spec.loader is None:
        raise ImportError(f"No module named {name}")
    return spec


def _main_namespace(file: str | None, package: str | None, spec: Any) -> dict[str, Any]:
    module = types.ModuleType("__main__")
    namespace = vars(module)
    namespace.update(__file__=file, __package__=package, __spec__=spec, __cached__=None, __builtins__=_BUILTINS)
    return namespace


def function(call: str) -> Any:
    """The function of "package.module:function". Raises `ImportError`, `AttributeError`, or what the module raises."""
    module_name, _, path = call.partition(":")
    found: Any = importlib.import_module(module_name)
    for part in path.split("."):
        found = getattr(found, part)
    return found
