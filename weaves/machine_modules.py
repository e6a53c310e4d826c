"""The machine's modules, while weaves have instances of their own.

Code that is outside of any weave, and what no weave isolates, uses these. The interpreter's dictionary of modules is
one for all and is read by C code (pickle, `PyImport_Import`), so while a run needs it, it has a `ModuleProxy` for each
module that some weave isolates. How a weave's own modules are found is in modules.py.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from weaves.here import here

if TYPE_CHECKING:
    from weaves.library import Library

# The interpreter's own dictionary: `sys.modules` inside a weave is another.
machine: Final[dict[str, Any]] = sys.modules

MISSING: Final = object()


@contextlib.contextmanager
def unpinned() -> Iterator[None]:
    """A context that is outside of any weave."""
    weave, flow = here.weave, here.flow
    here.weave = here.flow = None
    try:
        yield
    finally:
        here.weave, here.flow = weave, flow


class ModuleProxy(types.ModuleType):
    """Stands in the interpreter's dictionary of modules for the instances of an isolated module.

    Inside a weave that isolates it, it is that weave's instance; elsewhere it is `outside`, the machine's module, which
    is imported when it is first asked for.
    """

    def __getattribute__(self, name: str) -> Any:
        return getattr(_target(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(_target(self), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(_target(self), name)

    def __dir__(self) -> list[str]:
        return dir(_target(self))

    def __repr__(self) -> str:
        return repr(_target(self))


def raw(proxy: ModuleProxy) -> dict[str, Any]:
    """What the proxy itself has: `__name__`, and `outside` once it is known."""
    found: dict[str, Any] = object.__getattribute__(proxy, "__dict__")
    return found


def _target(proxy: ModuleProxy) -> Any:
    name = raw(proxy)["__name__"]
    weave = here.weave
    modules = None if weave is None else weave.modules
    if modules is not None and modules.isolates(name):
        found = modules.find(name)
        return modules.import_module(name) if found is MISSING else found
    return outside_of(proxy)


def outside_of(proxy: ModuleProxy) -> Any:
    """The machine's module that `proxy` hides; imported, if it was not yet. Raises what its import raises."""
    own = raw(proxy)
    if own.get("outside") is None:
        name = own["__name__"]
        machine.pop(name, None)
        try:
            own["outside"] = import_outside(name)
        finally:
            machine[name] = proxy
    return own["outside"]


def import_outside(name: str) -> Any:
    """The machine's module `name`, as code outside of any weave imports it."""
    with unpinned():
        return importlib.import_module(name)


# Modules in C that are on none of the machine's paths, by their files: each is loaded once in the process.
_extensions: dict[str, types.ModuleType] = {}


def extension(found: importlib.machinery.ModuleSpec) -> types.ModuleType:
    """The machine's instance of a module in C. Raises what its import raises."""
    top = found.name.partition(".")[0]
    if importlib.machinery.PathFinder.find_spec(top, vars(sys)["path"]) is not None:
        module: types.ModuleType = import_outside(found.name)
        return module
    file = str(found.origin)
    if file not in _extensions:
        assert found.loader is not None, "a module in C has a loader"
        with unpinned():
            module = importlib.util.module_from_spec(found)
            found.loader.exec_module(module)
        _extensions[file] = module
    return _extensions[file]


# The libraries that need each proxy.
_users: dict[str, set[Library]] = {}


def stand_in(name: str, library: Library) -> None:
    """Let a proxy have the place of `name`, as long as `library` needs it."""
    users = _users.setdefault(name, set())
    if library in users:
        return
    users.add(library)
    found = machine.get(name)
    if type(found) is not ModuleProxy:
        proxy = ModuleProxy(name)
        raw(proxy)["outside"] = found
        machine[name] = proxy


def release(library: Library) -> None:
    """The run of `library` is over: what it does not need any more is as it was before."""
    for name, users in list(_users.items()):
        users.discard(library)
        if users:
            continue
        del _users[name]
        proxy = machine.get(name)
        if type(proxy) is ModuleProxy:
            outside = raw(proxy).get("outside")
            if outside is None:
                del machine[name]
            else:
                machine[name] = outside
