"""The modules of one weave: what `import`, `sys.modules` and `sys.path` mean to its code.

A weave with `Modules` has instances of its own (beads) of the modules that its policy isolates, and of all others the
machine's. Their code is compiled once (library.py). How a name is resolved:

- An isolated module has a `__builtins__` mapping of its own, whose `__import__` resolves in its weave.
- Shared code that imports while a weave runs (`importlib.import_module`, pickle) comes by `sys.modules`, which is a
  view of the weave's (interpose/sys_module.py), and by `importlib`'s `_find_and_load`, which asks here first.
- C code finds a proxy (machine_modules.py), an attribute of which is that of the instance of whoever asks.

All of importlib's own rules (parents first, circular imports, failures that leave nothing behind) come from importlib:
it runs with the weave's `sys.modules`. Modules that are not isolated are imported as from outside any weave, so that
what they do at import (read a clock, draw a number) does not depend on which host came first.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from weaves.here import here
from weaves.library import Library, Policy, execute
from weaves.machine_modules import MISSING, ModuleProxy, import_outside, machine, outside_of, raw, stand_in, unpinned

if TYPE_CHECKING:
    from weaves.weave import Weave

# typeshed leaves this out: it is importlib's inside, the same from CPython 3.11 to 3.14.
_bootstrap: Any = importlib._bootstrap
_machine_import = builtins.__import__
_machine_find_and_load = _bootstrap._find_and_load


class Bead:
    """An instance of a module that several weaves may name, by the top-level packages that belong to it."""

    def __init__(self, name: str, tops: Sequence[str]) -> None:
        self.name = name
        self.tops = tuple(tops)
        self.modules: dict[str, Any] = {}


class Modules:
    """The modules of `weave`. `beads` are instances that it has in common with other weaves."""

    def __init__(
        self, weave: Weave, library: Library, policy: Policy, beads: Sequence[Bead] = (),
        shared: dict[tuple[str, str], Any] | None = None,
    ) -> None:
        self.weave = weave
        self.library = library
        self.policy = policy
        # The objects of shared names. A trial (loader.py) has its own.
        self.shared = library.shared if shared is None else shared
        self._beads = tuple(beads)
        self._of_beads = {top: bead for bead in beads for top in bead.tops}
        # What the weave has to itself: instances, and what its programs put into sys.modules.
        self.own: dict[str, Any] = {}
        # Machine's modules that its programs took out of sys.modules.
        self.hidden: set[str] = set()
        self._path: list[str] | None = None
        # What its programs put into sys.path, and which modules were found there or not.
        self._added: tuple[str, ...] = ()
        self._found_there: dict[str, bool] = {}
        self._view: View | None = None
        self._builtins: types.ModuleType | None = None

    def fresh(self) -> Modules:
        """What the weave has after its program was started again: nothing is loaded, and beads that are named stay."""
        return Modules(self.weave, self.library, self.policy, self._beads)

    def isolates(self, name: str) -> bool:
        """Whether the module `name` has data of its own here."""
        if self.policy.isolates(name):
            return True
        return self._path is not None and self._is_in_added(name)

    def _is_in_added(self, name: str) -> bool:
        # A folder that the program itself has put into sys.path is the application's.
        assert self._path is not None, "there is no sys.path that something could be added to"
        added = tuple([entry for entry in self._path if entry not in vars(sys)["path"]])
        if added != self._added:
            self._added = added
            self._found_there.clear()
        if len(added) <= len(self.policy.roots) and set(added) <= set(self.policy.roots):
            return False
        top = name.partition(".")[0]
        if top not in self._found_there:
            spec = self.library.find(top, added)
            # A folder without code is found last, wherever it is.
            loaded = type(machine.get(top, self)) not in (Modules, ModuleProxy)
            self._found_there[top] = spec is not None and spec.origin is not None and not loaded
        return self._found_there[top]

    @property
    def path(self) -> list[str]:
        """`sys.path`: the application's folders, then the machine's."""
        if self._path is None:
            machine: list[str] = vars(sys)["path"]
            self._path = [*self.policy.roots, *(entry for entry in machine if entry not in self.policy.roots)]
        return self._path

    @path.setter
    def path(self, value: list[str]) -> None:
        self._path = value

    @property
    def view(self) -> View:
        """`sys.modules`."""
        if self._view is None:
            self._view = View(self)
        return self._view

    @property
    def builtins(self) -> types.ModuleType:
        """The module `builtins`, whose `__import__` is this weave's."""
        if self._builtins is None:
            made = types.ModuleType("builtins", builtins.__doc__)
            vars(made).update(vars(builtins))
            setattr(made, "__import__", _importer(self))  # noqa: B010 - its __import__, not ours
            self._builtins = self.own["builtins"] = made
        return self._builtins

    @property
    def builtins_dict(self) -> dict[str, Any]:
        """What isolated modules have as `__builtins__`."""
        return vars(self.builtins)

    def find(self, name: str) -> Any:
        """The module `name` if the weave has loaded or been given it, otherwise `MISSING`."""
        found = self.own.get(name, MISSING)
        if found is MISSING and self._of_beads:
            bead = self._of_beads.get(name.partition(".")[0])
            if bead is not None:
                return bead.modules.get(name, MISSING)
        return found

    def store(self, name: str, module: Any) -> None:
        """Let `name` be `module` in this weave."""
        bead = self._of_beads.get(name.partition(".")[0])
        (self.own if bead is None else bead.modules)[name] = module
        self.hidden.discard(name)
        if self.isolates(name):
            stand_in(name, self.library)

    def remove(self, name: str) -> None:
        """Forget `name`. Raises `KeyError` if it is not there."""
        bead = self._of_beads.get(name.partition(".")[0])
        own = self.own if bead is None else bead.modules
        if own.pop(name, MISSING) is not MISSING:
            return
        if self.isolates(name) or name in self.hidden or name not in machine:
            raise KeyError(name)
        self.hidden.add(name)

    # Importing

    def import_module(self, name: str) -> Any:
        """The module `name` itself, for this weave. Raises what its import raises."""
        if name in self.own or self.isolates(name):
            with self._inside():
                return _bootstrap._gcd_import(name)
        return import_outside(name)

    def import_(self, name: str, globals: Mapping[str, Any] | None, fromlist: Sequence[str] | None, level: int) -> Any:
        """What the import statement calls. Raises what the module's import raises."""
        if level == 0:
            if not self.isolates(name) and name not in self.own:
                self.hidden.discard(name)
                with unpinned():
                    found = _machine_import(name, globals, None, fromlist or (), 0)
                return outside_of(found) if type(found) is ModuleProxy else found
            if name == "builtins":
                return self.builtins
            # The common case by a short way: it is loaded, and no submodule is asked for.
            found = self.find(name)
            if found is not MISSING and found is not None and not _is_initializing(found):
                if not fromlist:
                    top = name.partition(".")[0]
                    return found if top == name else self.find(top)
                if not hasattr(found, "__path__"):
                    return found
        with self._inside():
            found = _bootstrap.__import__(name, globals, None, fromlist or (), level)
        if fromlist and "*" not in fromlist and hasattr(found, "__path__"):
            for inner in fromlist:
                # Of what is not an attribute yet, IMPORT_FROM would find the proxy in the interpreter's dictionary.
                if inner not in vars(found) and self.find(f"{found.__name__}.{inner}") is not MISSING:
                    return _PartlyImported(found, self)
        return found

    @contextlib.contextmanager
    def _inside(self) -> Iterator[None]:
        # A finalizer may import while another weave has its turn.
        outer = here.weave
        here.weave = self.weave
        try:
            yield
        finally:
            here.weave = outer


def _importer(modules: Modules) -> Any:
    def __import__(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        try:
            return modules.import_(name, globals, fromlist, level)
        except BaseException as error:
            trim(error)
            raise  # which adds no entry for this frame

    __import__.__doc__ = builtins.__import__.__doc__
    return __import__


def _is_initializing(module: Any) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


class _PartlyImported:
    """What `from package import submodule` takes its names from, while the submodule is being imported in a circle."""

    def __init__(self, package: Any, modules: Modules) -> None:
        self._package = package
        self._modules = modules

    def __getattr__(self, name: str) -> Any:
        try:
            return getattr(self._package, name)
        except AttributeError:
            found = self._modules.find(f"{self._package.__name__}.{name}")
            if found is MISSING:
                raise
            return found


def trim(error: BaseException) -> None:
    """Take importlib's frames, and ours, out of a traceback, as the interpreter does for its own import."""
    kept = []
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<frozen importlib") and file not in OUR_FILES:
            kept.append(trace)
        trace = trace.tb_next
    following = None
    for entry in reversed(kept):
        entry.tb_next = following
        following = entry
    error.__traceback__ = following


# Whose frames are between a program and its modules.
OUR_FILES: Final = {__file__, execute.__code__.co_filename}


class View(MutableMapping[str, Any]):
    """`sys.modules` inside a weave: its own modules, and the machine's that are not isolated."""

    def __init__(self, modules: Modules) -> None:
        self._modules = modules

    def __getitem__(self, name: str) -> Any:
        found = self.get(name, MISSING)
        if found is MISSING:
            raise KeyError(name)
        return found

    def get(self, name: str, default: Any = None) -> Any:
        modules = self._modules
        if name == "builtins":
            return modules.builtins
        found = modules.find(name)
        if found is MISSING:
            if modules.isolates(name) or name in modules.hidden:
                return default
            found = machine.get(name, default)
            if type(found) is ModuleProxy:
                outside = raw(found).get("outside")
                return default if outside is None else outside
        return found

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name, MISSING) is not MISSING

    def __setitem__(self, name: str, module: Any) -> None:
        self._modules.store(name, module)

    def __delitem__(self, name: str) -> None:
        self._modules.remove(name)

    def __iter__(self) -> Iterator[str]:
        modules = self._modules
        loaded = dict.fromkeys([*(name for bead in modules._beads for name in bead.modules), *modules.own])
        yield from loaded
        for name in list(machine):
            if name not in loaded and self.get(name, MISSING) is not MISSING:
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def copy(self) -> dict[str, Any]:
        """As a dictionary has it."""
        return dict(self)

    def __repr__(self) -> str:
        return repr(dict(self))


# What importlib asks


class Finder:
    """The first entry of `sys.meta_path`: inside a weave it finds what is isolated there."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """As the import system asks: a spec, or None."""
        weave = here.weave
        modules = None if weave is None else weave.modules
        if modules is None or not modules.isolates(name):
            return None
        return modules.library.spec(name, modules.path if path is None else path, modules)


def _find_and_load(name: str, import_: Any) -> Any:
    """`importlib._bootstrap._find_and_load`, which C and Python code come by for what is not loaded yet."""
    weave = here.weave
    modules = None if weave is None else weave.modules
    if modules is not None:
        found = modules.find(name)
        if found is not MISSING and not _is_initializing(found) and found is not None:
            return found
        if modules.isolates(name) or found is not MISSING:
            return _machine_find_and_load(name, import_)
        modules.hidden.discard(name)
    with unpinned():
        found = _machine_find_and_load(name, import_)
    return outside_of(found) if type(found) is ModuleProxy else found


def install() -> None:
    """Let importlib ask here. Called once per process, by interpose.install."""
    _bootstrap._find_and_load = _find_and_load
    sys.meta_path.insert(0, Finder)
