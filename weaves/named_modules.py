"""The modules of a tapestry: the pieces of code that its beads are instances of.

[modules.NAME] names one, with what is isolated and shared. A string of [hosts] implies the module that its program or
function is in; where a [modules.NAME] is the same code, it is that one.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar

from weaves.programs import Programs, program_of
from weaves.tables import ModuleTable, RootTable
from weaves.tapestry import ModuleDescription, StringDescription
from weaves.tapestry_errors import Where
from weaves.toml_source import TomlPath, TomlSource

T = TypeVar("T")

# The built-in module that stands between the stacks. The other one, a host's stack, has the name of the network.
SIMULATOR: Final = "simulator"

# What a module is: the words of a program, or the name to import.
Code: TypeAlias = tuple[str, ...] | str

# A name in the module, or in another one: "CACHE", "package.module:CACHE".
_SHARED: Final = re.compile(r"(?:[^\W\d]\w*(?:\.[^\W\d]\w*)*:)?[^\W\d]\w*")


class Modules:
    """All modules of a tapestry, each once, whatever number of beads and strings it is for."""

    def __init__(self, source: TomlSource, root: RootTable, programs: Programs) -> None:
        self._source = source
        self._programs = programs
        self._network = root.tapestry.network
        self._isolate = self._packages(("tapestry", "isolate"), root.tapestry.isolate)
        self.named = {name: self._described(name, table) for name, table in root.modules.items()}
        self._by_code: dict[Code, list[ModuleDescription]] = {}
        for module in self.named.values():
            self._by_code.setdefault(code_of(module), []).append(module)
        self._of_run: dict[tuple[str, ...], ModuleDescription] = {}
        self._of_call: dict[str, ModuleDescription] = {}

    def of_string(self, string: StringDescription) -> ModuleDescription:
        """The module that the code of a string of [hosts] is in. Raises `TapestryError` where several are that."""
        if string.call is not None:
            if (module := self._of_call.get(string.call)) is None:
                name = string.call.partition(":")[0]
                module = self._of_call[string.call] = self._implied(name, name, string)
            return module
        assert string.run is not None, "a string has one of run and call"
        if (module := self._of_run.get(string.run)) is None:
            words = _without_arguments(string.run)
            module = self._of_run[string.run] = self._implied(words[-1], words, string)
        return module

    def _implied(self, name: str, code: Code, string: StringDescription) -> ModuleDescription:
        known = self._by_code.get(code)
        if known is None:
            run, module = (None, code) if isinstance(code, str) else (code, None)
            known = self._by_code[code] = [ModuleDescription(name, run, module, self._isolate, (), string.where)]
        if len(known) > 1:
            tables = " and ".join(module.where.table for module in known[:2])
            where = self._source.where(*string.path, "call" if isinstance(code, str) else "run")
            raise where.error(f"{tables} both are this code; expected one, or a weave in [[weaves]] that says which")
        return known[0]

    def _described(self, name: str, table: ModuleTable) -> ModuleDescription:
        path = ("modules", name)
        where = self._source.where(*path)
        if name in (self._network, SIMULATOR):
            raise where.error(f'the module "{name}" is built in; expected another name')
        if (table.run is None) == (table.module is None):
            message = "both run and module" if table.run is not None else "neither run nor module"
            raise where.error(f'{message}; expected run = "program.py" or module = "package.module"')
        run = module = None
        if table.run is not None:
            run = _checked(self._source.where(*path, "run"), self._program, table.run)
        if table.module is not None:
            module = _checked(self._source.where(*path, "module"), self._programs.checked_module, table.module)
        isolate = self._packages((*path, "isolate"), table.isolate)
        for number, text in enumerate(table.share):
            _checked(self._source.where(*path, "share", number), _shared_name, text)
        return ModuleDescription(name, run, module, self._isolate if isolate is None else isolate, table.share, where)

    def _program(self, line: str) -> tuple[str, ...]:
        words = tuple(shlex.split(line))
        if args := program_of(words).args:
            raise ValueError(f'"{args[0]}" is an argument; expected it in args of a string in [[weaves]]')
        return _without_arguments(self._programs.checked_run(words))

    def _packages(self, path: TomlPath, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for number, name in enumerate(names or ()):
            where = self._source.where(*path, number)
            if name in ("weaves", self._network):
                raise where.error(f'"{name}" is what runs the programs; expected packages that they use')
            _checked(where, self._programs.checked_package, name)
        return names


def code_of(module: ModuleDescription) -> Code:
    """What `module` is, for comparison: two modules of the same code may differ in what they isolate and share."""
    code = module.module if module.run is None else module.run
    assert code is not None, "a module has one of run and module"
    return code


def _without_arguments(run: tuple[str, ...]) -> tuple[str, ...]:
    program = program_of(run)
    return (str(program.path),) if program.module is None else ("python", "-m", program.module)


def _shared_name(text: str) -> str:
    if not _SHARED.fullmatch(text):
        raise ValueError(f'"{text}" is not a name; expected one of the module, such as "CACHE", or "package.mod:CACHE"')
    return text


def _checked(where: Where, read: Callable[[str], T], text: str) -> T:
    try:
        return read(text)
    except ValueError as error:
        raise where.error(str(error)) from None
