"""The programs and functions that a tapestry names: what the words mean, and whether they are there.

Nothing is imported or run here; beads.py does that.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs

_DOTTED: Final = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_MODULE: Final = re.compile(_DOTTED)
_CALL: Final = re.compile(f"({_DOTTED}):({_DOTTED})")
_PYTHON: Final = re.compile(r"python(?:3(?:\.[0-9]+)?)?")


@attrs.frozen(slots=True)
class Program:
    """What the words of a program line name: a file, or the module after `python -m`; the other is None."""

    path: str | None  # as written: relative to the tapestry's folder
    module: str | None
    args: tuple[str, ...]  # sys.argv[1:]


def program_of(words: tuple[str, ...]) -> Program:
    """The program of `StringDescription.run`. Raises `ValueError` for words that name none."""
    expected = 'expected "apps/site.py ...", "python apps/site.py ..." or "python -m package ..."'
    rest = words[1:] if words and _PYTHON.fullmatch(words[0]) else words
    if not rest or not rest[0]:
        raise ValueError(f"there is no program; {expected}")
    if rest is words or not rest[0].startswith("-"):
        return Program(rest[0], None, rest[1:])
    if rest[0] != "-m" or len(rest) < 2:
        raise ValueError(f'"{" ".join(words[:2])}" takes an option that a virtual host does not have; {expected}')
    return Program(None, rest[1], rest[2:])


class Programs:
    """Looks for programs and modules, once for each name, and imports nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: set[tuple[str, str]] = set()

    def checked_run(self, words: tuple[str, ...]) -> tuple[str, ...]:
        program = program_of(words)
        if program.module is not None:
            self._once("runs", program.module, lambda: self._check_runnable(str(program.module)))
        else:
            self._once("path", str(program.path), lambda: self._check_file(str(program.path)))
        return words

    def checked_module(self, name: str) -> str:
        """`name`, if it is that of a module with code. Raises `ValueError`."""
        self._once("module", name, lambda: self._check_module(name, "a module"))
        return name

    def checked_package(self, name: str) -> str:
        """`name`, if it is that of a package or module which is not in a package. Raises `ValueError`."""
        top, _, inner = name.partition(".")
        if inner:
            raise ValueError(f'"{name}" is in the package "{top}"; expected whole packages')
        if name in sys.builtin_module_names:
            raise ValueError(f'"{name}" is built into Python and there once; expected packages written in Python')
        self._once("package", name, lambda: self._spec(name))
        return name

    def checked_call(self, text: str) -> str:
        found = _CALL.fullmatch(text)
        if found is None:
            raise ValueError(f'"{text}" is not a function; expected "package.module:function"')
        self._once("module", found[1], lambda: self._check_module(found[1], "a module with the function"))
        return text

    def _once(self, kind: str, name: str, check: Callable[[], object]) -> None:
        if (kind, name) not in self._found:
            check()
            self._found.add((kind, name))

    def _check_file(self, path: str) -> None:
        program = self._folder / path
        try:
            there = program.is_file() or (program / "__main__.py").is_file()
        except (OSError, ValueError):  # a name too long, or a null character
            there = False
        if not there:
            raise ValueError(f'there is no program "{path}"; expected a Python file, from the tapestry\'s folder')

    def _check_module(self, module: str, expected: str) -> None:
        spec = self._spec(module)
        if spec.origin is None and spec.submodule_search_locations is not None:
            # A folder without __init__.py: a namespace, which has no code and so no functions.
            raise ValueError(f'"{module}" is a folder without __init__.py; expected {expected}')

    def _check_runnable(self, module: str) -> None:
        spec = self._spec(module)
        if spec.submodule_search_locations is not None and self._find(spec, "__main__") is None:
            raise ValueError(f'the package "{module}" has no __main__; expected a module that runs')

    def _spec(self, module: str) -> importlib.machinery.ModuleSpec:
        spec = None
        if _MODULE.fullmatch(module):
            # find_spec of "a.b" would import a. So go down by hand, and ask for each part as if it were a whole name.
            top = module.partition(".")[0]
            spec = importlib.machinery.PathFinder.find_spec(top, [str(self._folder), *sys.path]) or _built_in(top)
            for part in module.split(".")[1:]:
                spec = self._find(spec, part) if spec else None
        if spec is None:
            raise ValueError(f'there is no module "{module}"; expected one in the tapestry\'s folder or installed')
        return spec

    def _find(self, package: importlib.machinery.ModuleSpec, part: str) -> importlib.machinery.ModuleSpec | None:
        locations = package.submodule_search_locations
        return None if locations is None else importlib.machinery.PathFinder.find_spec(part, list(locations))


def _built_in(module: str) -> importlib.machinery.ModuleSpec | None:
    # What is on no path: built-in and frozen modules, and what an import hook brings (editable installs have one).
    try:
        return importlib.util.find_spec(module)
    except ValueError:  # sys.modules has it without a spec: __main__
        return None
