"""What is composed of what: the modules, beads and weaves of a tapestry.

A host's strings are short hand. Each stands for a weave of its own, with the host's stack and one bead of the module
that its program or function is in. Those are spelled out here, so that whoever makes weaves sees one form.
"""

from __future__ import annotations

from collections.abc import Iterator

from weaves.programs import program_of
from weaves.strings import free_weave_name
from weaves.tapestry import (
    BeadDescription,
    HostDescription,
    ModuleDescription,
    StringDescription,
    WeaveDescription,
)
from weaves.tapestry_errors import Where


class Modules:
    """The modules of a tapestry, each once, whatever number of strings it is for."""

    def __init__(self) -> None:
        # By the code that they are: the words of a program, or the name to import.
        self._implied: dict[tuple[str, ...] | str, ModuleDescription] = {}
        self._of_run: dict[tuple[str, ...], ModuleDescription] = {}
        self._of_call: dict[str, ModuleDescription] = {}

    def implied_weaves(self, host: HostDescription) -> Iterator[WeaveDescription]:
        """The weaves that the strings of `host` are short hand for."""
        taken: set[str] = set()
        for string in host.strings:
            name = free_weave_name(string.name, taken)
            taken.add(name)
            bead = BeadDescription(name, self.of_string(string), string.where)
            yield WeaveDescription(name, host.name, (bead,), (string,), string.where)

    def of_string(self, string: StringDescription) -> ModuleDescription:
        """The module that the code of `string` is in."""
        if string.call is not None:
            if (module := self._of_call.get(string.call)) is None:
                name = string.call.partition(":")[0]
                module = self._of_call[string.call] = self._module(name, None, string.where)
            return module
        assert string.run is not None, "a string has one of run and call"
        if (module := self._of_run.get(string.run)) is None:
            program = program_of(string.run)
            name = str(program.path or program.module)
            run = (name,) if program.module is None else ("python", "-m", name)
            module = self._of_run[string.run] = self._module(name, run, string.where)
        return module

    def _module(self, name: str, run: tuple[str, ...] | None, where: Where) -> ModuleDescription:
        code = name if run is None else run
        if (module := self._implied.get(code)) is None:
            module = ModuleDescription(name, run, name if run is None else None, None, (), where)
            self._implied[code] = module
        return module
