"""The code of a run: where modules are found and what they compile to, once for all the weaves that run it.

A `Library` belongs to one run. Finding a module costs a look into several folders, compiling it a lot more; both are
done once, and a weave more costs the execution of the module's body alone. What the modules of one weave are is in
modules.py. A `Policy` says which modules a weave has to itself; weaves of one program share it.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from weaves.machine_modules import extension

if TYPE_CHECKING:
    from weaves.modules import Modules

# What every weave has to itself, whatever the policy says.
ALWAYS: Final = ("__main__", "builtins")


class Policy:
    """Which modules get data of their own, by the names of their top-level packages: whole packages at a time.

    `names` None: what is found in `roots`, the folders of the application; `besides` is isolated in any case. `share`
    maps a module to the names that all its instances have in common.
    """

    def __init__(
        self, roots: tuple[str, ...], names: Iterable[str] | None = None, besides: Iterable[str] = (),
        share: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        self.roots = roots
        self.share: Mapping[str, frozenset[str]] = share or {}
        self._names = None if names is None else frozenset(names)
        self._decided: dict[str, bool] = dict.fromkeys((*ALWAYS, *besides), True)

    def isolates(self, name: str) -> bool:
        """Whether the module `name` has data of its own."""
        decided = self._decided.get(name)
        if decided is None:
            top = name.partition(".")[0]
            if top != name:
                return self.isolates(top)
            decided = self._decides(top)
            if decided is not None:
                self._decided[top] = decided
        return decided is True

    def _decides(self, top: str) -> bool | None:
        """None: the module is nowhere, so far; a program may be about to write it."""
        if self._names is not None:
            return top in self._names
        # As for a program that runs alone: what the interpreter has built in comes before the application's folder, and
        # a folder without code (a namespace package) comes last.
        if top in sys.builtin_module_names or importlib.machinery.FrozenImporter.find_spec(top) is not None:
            return False
        of_application = importlib.machinery.PathFinder.find_spec(top, list(self.roots))
        if of_application is not None and of_application.origin is not None:
            return True
        of_machine = importlib.machinery.PathFinder.find_spec(top, vars(sys)["path"])
        if of_machine is not None and of_machine.origin is not None:
            return False
        if of_application is not None:
            return True
        return None if of_machine is None else False


class Library:
    """Finds modules and compiles them, each once. `shared` holds the objects that instances have in common."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, tuple[str, ...]], importlib.machinery.ModuleSpec] = {}
        self._codes: dict[tuple[str, str | None, tuple[int, int]], types.CodeType | None] = {}
        self._policies: dict[Any, Policy] = {}
        # By file and name. The first instance makes them.
        self.shared: dict[tuple[str, str], Any] = {}

    def policy(
        self, roots: tuple[str, ...], names: tuple[str, ...] | None = None, besides: tuple[str, ...] = (),
        share: tuple[str, ...] = (),
    ) -> Policy:
        """The policy of these settings; `share` holds "package.module:NAME"."""
        key = (roots, names, besides, share)
        if key not in self._policies:
            shared: dict[str, set[str]] = {}
            for entry in share:
                module, _, name = entry.rpartition(":")
                shared.setdefault(module, set()).add(name)
            frozen = {module: frozenset(of) for module, of in shared.items()}
            self._policies[key] = Policy(roots, names, besides, frozen)
        return self._policies[key]

    def find(self, name: str, path: Sequence[str]) -> importlib.machinery.ModuleSpec | None:
        """Where the module `name` is on `path`, for a submodule its package's; None if it is not there."""
        key = (name, tuple(path))
        found = self._found.get(key)
        if found is None:
            found = importlib.machinery.PathFinder.find_spec(name, list(path))
            if found is not None:
                self._found[key] = found
        return found

    def find_dotted(self, name: str, path: Sequence[str]) -> importlib.machinery.ModuleSpec | None:
        """As `find`, from the top down, without importing the packages above."""
        parts = name.split(".")
        spec: importlib.machinery.ModuleSpec | None = None
        for depth in range(1, len(parts) + 1):
            spec = self.find(".".join(parts[:depth]), path)
            if spec is None or (depth < len(parts) and spec.submodule_search_locations is None):
                return None
            path = list(spec.submodule_search_locations or [])
        return spec

    def code(self, spec: importlib.machinery.ModuleSpec) -> types.CodeType | None:
        """The compiled module of a spec that `find` gave; None if its loader knows none. Raises as `compile`."""
        key = (spec.name, spec.origin, _version(spec.origin))
        if key not in self._codes:
            get_code = getattr(spec.loader, "get_code", None)
            self._codes[key] = None if get_code is None else get_code(spec.name)
        return self._codes[key]

    def spec(self, name: str, path: Sequence[str], modules: Modules) -> importlib.machinery.ModuleSpec | None:
        """A new spec of `name`, to make an instance for `modules` with; None if it is not on `path`."""
        found = self.find(name, path)
        if found is None or found.loader is None or found.origin is None:
            # Of a namespace package, which has no code, each instance still needs a spec of its own.
            return None if found is None else importlib.machinery.PathFinder.find_spec(name, list(path))
        loader: Any
        if isinstance(found.loader, importlib.machinery.ExtensionFileLoader):
            loader = ExtensionLoader(found)
        elif isinstance(found.loader, importlib.machinery.SourceFileLoader):
            loader = SourceLoader(name, found.origin, found, modules)
        else:
            loader = OtherLoader(found, modules)
        locations = found.submodule_search_locations
        return importlib.util.spec_from_file_location(
            name, found.origin, loader=loader, submodule_search_locations=None if locations is None else list(locations)
        )


def execute(spec: importlib.machinery.ModuleSpec, namespace: dict[str, Any], modules: Modules) -> bool:
    """Run the code of `spec` in `namespace`, as an instance for `modules`. False if its loader knows no code."""
    code = modules.library.code(spec)
    if code is None:
        return False
    namespace["__builtins__"] = modules.builtins_dict
    run(code, namespace, spec.name, modules)
    return True


def run(code: types.CodeType, namespace: dict[str, Any], name: str, modules: Modules) -> None:
    """Run a module's body; of its shared names the first instance's objects are everybody's."""
    names = modules.policy.share.get(name)
    if names is None:
        exec(code, namespace)
    else:
        exec(code, namespace, _Sharing(namespace, code.co_filename, names, modules.shared))
        if missing := sorted(names - namespace.keys()):
            message = f"module {name!r} has no {missing[0]!r}, which its beads are to share"
            raise AttributeError(message, name=missing[0])


class _Sharing(dict[str, Any]):
    """What a module's body sees as its locals: its globals, where a shared name keeps the object it was first given."""

    def __init__(
        self, namespace: dict[str, Any], file: str, names: frozenset[str], shared: dict[tuple[str, str], Any]
    ) -> None:
        super().__init__()
        self._namespace = namespace
        self._file = file
        self._names = names
        self._shared = shared

    def __setitem__(self, name: str, value: Any) -> None:
        if name in self._names:
            value = self._shared.setdefault((self._file, name), value)
        self._namespace[name] = value

    def __getitem__(self, name: str) -> Any:
        return self._namespace[name]

    def __delitem__(self, name: str) -> None:
        del self._namespace[name]

    def __contains__(self, name: object) -> bool:
        return name in self._namespace


def _version(file: str | None) -> tuple[int, int]:
    """What changes when a file does."""
    try:
        found = os.stat(file or "")
    except OSError:  # a name inside a zip file
        return 0, 0
    return found.st_mtime_ns, found.st_size


class SourceLoader(importlib.machinery.SourceFileLoader):
    """Loads an instance of a source file. What asks a loader for source, data or resources finds the file's."""

    def __init__(self, name: str, path: str, found: importlib.machinery.ModuleSpec, modules: Modules) -> None:
        super().__init__(name, path)
        self._found = found
        self._modules = modules

    def get_code(self, fullname: str) -> types.CodeType | None:
        return self._modules.library.code(self._found)

    def exec_module(self, module: types.ModuleType) -> None:
        if not execute(self._found, vars(module), self._modules):
            raise ImportError(f"there is no code in {self.path}", name=module.__name__)


class OtherLoader:
    """Loads an instance by what another loader (of zip files, of .pyc without source) knows."""

    def __init__(self, found: importlib.machinery.ModuleSpec, modules: Modules) -> None:
        self._found = found
        self._modules = modules

    def __getattr__(self, name: str) -> Any:
        return getattr(self._found.loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        assert self._found.loader is not None, "a spec without a loader is a namespace package"
        return self._found.loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        if not execute(self._found, vars(module), self._modules):
            assert self._found.loader is not None, "a spec without a loader is a namespace package"
            vars(module)["__builtins__"] = self._modules.builtins_dict
            self._found.loader.exec_module(module)


class ExtensionLoader:
    """Gives the machine's instance of a module in C: such a module keeps data outside of its namespace.

    It is imported as from outside, with the packages that it is in; so it knows the machine's instances of them.
    """

    def __init__(self, found: importlib.machinery.ModuleSpec) -> None:
        self._found = found
        self._spec: Any = None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = extension(self._found)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        # It was executed already; the import system has meanwhile put its new spec in place of the module's own.
        module.__spec__ = self._spec


def roots_of(*folders: Path | str | None) -> tuple[str, ...]:
    """The folders of an application, each once, in the order in which they are searched."""
    return tuple(dict.fromkeys(str(folder) for folder in folders if folder is not None))
