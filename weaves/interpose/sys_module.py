"""`sys` inside a weave: arguments, modules, path, streams and hooks of its own.

They become properties of the module's class: a data descriptor comes before the module's dictionary, so that one module
object serves every weave and the code outside. C code does not ask the class but reads the dictionary: `print` finds
its stream there. So where a program replaces a stream by its own, the dictionary gets a stream that asks whose turn it
is.
"""

from __future__ import annotations

import contextlib
import io
import sys
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, TextIO

from weaves.here import here
from weaves.interpose.replace import Replacements

if TYPE_CHECKING:
    from weaves.weave import Weave

STREAMS: Final = ("stdin", "stdout", "stderr")
# What a program may replace for itself. sys.excepthook is called for it by beads.py.
HOOKS: Final = ("excepthook", "displayhook")


class Sys(types.ModuleType):
    """The class of the module `sys`."""

    def __new__(cls, name: str, doc: str | None = None) -> Any:
        # importlib makes every module by `type(sys)(name)`; none of them has anything of sys'.
        return types.ModuleType(name, doc)

    @property
    def argv(self) -> list[str]:
        weave = here.weave
        found: list[str] = vars(sys)["argv"] if weave is None else weave.argv
        return found

    @argv.setter
    def argv(self, value: list[str]) -> None:
        weave = here.weave
        if weave is None:
            vars(sys)["argv"] = value
        else:
            weave.argv = value

    @property
    def modules(self) -> Any:
        weave = here.weave
        modules = None if weave is None else weave.modules
        return vars(sys)["modules"] if modules is None else modules.view

    @modules.setter
    def modules(self, value: Any) -> None:
        weave = here.weave
        if weave is None or weave.modules is None:
            vars(sys)["modules"] = value
        elif value is not weave.modules.view:
            raise TypeError("sys.modules of a program on a virtual host cannot be replaced; change what is in it")

    @property
    def path(self) -> list[str]:
        weave = here.weave
        modules = None if weave is None else weave.modules
        found: list[str] = vars(sys)["path"] if modules is None else modules.path
        return found

    @path.setter
    def path(self, value: list[str]) -> None:
        weave = here.weave
        modules = None if weave is None else weave.modules
        if modules is None:
            vars(sys)["path"] = value
        else:
            modules.path = value


def _own(name: str) -> property:
    def get(_self: Any) -> Any:
        weave = here.weave
        if weave is not None and name in weave.sys_names:
            return weave.sys_names[name]
        found = vars(sys)[name]
        return found._outer if type(found) is StreamByContext else found

    def set_(_self: Any, value: Any) -> None:
        weave = here.weave
        if weave is None:
            vars(sys)[name] = value
            return
        found = vars(sys)[name]
        if value is (found._outer if type(found) is StreamByContext else found):
            weave.sys_names.pop(name, None)
            return
        weave.sys_names[name] = value
        if name in STREAMS and type(found) is not StreamByContext:
            vars(sys)[name] = StreamByContext(name, found)

    return property(get, set_)


def _first(name: str) -> property:
    """`sys.__stdout__`: inside a weave the stream that its program began with."""

    def get(_self: Any) -> Any:
        weave = here.weave
        if weave is None:
            return vars(sys)[f"__{name}__"]
        found = vars(sys)[name]
        return weave.sys_names.get(f"__{name}__", found._outer if type(found) is StreamByContext else found)

    def set_(_self: Any, value: Any) -> None:
        names = vars(sys) if here.weave is None else here.weave.sys_names
        names[f"__{name}__"] = value

    return property(get, set_)


for _name in (*STREAMS, *HOOKS):
    setattr(Sys, _name, _own(_name))
for _name in STREAMS:
    setattr(Sys, f"__{_name}__", _first(_name))


@contextlib.contextmanager
def unheard(weave: Weave) -> Iterator[None]:
    """A context in which nothing is shown of what `weave` prints."""
    before = {name: vars(sys)[name] for name in STREAMS}
    outer, here.weave = here.weave, weave
    try:
        sys.stdout = sys.__stdout__ = io.StringIO()  # type: ignore[misc, assignment]
        sys.stderr = sys.__stderr__ = io.StringIO()  # type: ignore[misc, assignment]
    finally:
        here.weave = outer
    try:
        yield
    finally:
        for name, stream in before.items():
            found = vars(sys)[name]
            if type(found) is StreamByContext and found._outer is stream:
                vars(sys)[name] = stream


class StreamByContext(io.TextIOBase):
    """What C code finds as `sys.stdout` once a program has replaced its own: the weave's that runs, or `outer`."""

    def __init__(self, name: str, outer: TextIO) -> None:
        super().__init__()
        self._name = name
        self._outer = outer

    def _stream(self) -> Any:
        weave = here.weave
        return self._outer if weave is None else weave.sys_names.get(self._name, self._outer)

    def __getattribute__(self, name: str) -> Any:
        if name in ("_name", "_outer", "_stream", "close", "__class__"):
            return super().__getattribute__(name)
        return getattr(self._stream(), name)

    def write(self, text: str, /) -> int:
        count: int = self._stream().write(text)
        return count

    def flush(self) -> None:
        self._stream().flush()

    def close(self) -> None:
        """Nothing: who drops the last reference to this object does not mean the stream of everybody."""

    def __iter__(self) -> Any:
        return iter(self._stream())

    def __next__(self) -> Any:
        return next(self._stream())

    def __repr__(self) -> str:
        return repr(self._stream())


def install(_replacements: Replacements) -> None:
    """Interpose what `sys` has of its own inside a weave."""
    sys.__class__ = Sys
