"""`threading.local`: data of which each thread of a weave has its own, and each of the machine's.

CPython's is a class in C that looks into the state of the machine's thread; all flows of a run share that. This one
asks for the thread of the weave that runs.
"""

from __future__ import annotations

import _thread
import weakref
from collections.abc import Callable
from typing import Any, Final

from weaves.here import here
from weaves.threads import ThreadState, current_state

_MachineLocal: Final = _thread._local


class local:
    """`threading.local`: attributes of which each thread has its own.

    A subclass' `__init__` is called with `args` and `kwargs` in each thread that looks.
    """

    __slots__ = ("__weakref__", "_local__own")

    _local__own: _Own

    def __new__(cls, /, *args: Any, **kwargs: Any) -> local:
        if (args or kwargs) and cls.__init__ is object.__init__:
            raise TypeError("Initialization arguments are not supported")
        made = object.__new__(cls)
        own = _Own(args, kwargs)
        object.__setattr__(made, "_local__own", own)
        own.begin()  # type calls __init__ for the thread that makes it
        return made

    def __getattribute__(self, name: str) -> Any:
        namespace = _namespace(self)
        if name == "__dict__":
            return namespace
        if name in namespace and not _is_data_descriptor(type(self), name):
            return namespace[name]
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "__dict__":
            raise AttributeError(f"{type(self).__name__!r} object attribute '__dict__' is read-only")
        if _is_data_descriptor(type(self), name):
            object.__setattr__(self, name, value)
        else:
            _namespace(self)[name] = value

    def __delattr__(self, name: str) -> None:
        if name == "__dict__":
            raise AttributeError(f"{type(self).__name__!r} object attribute '__dict__' is read-only")
        namespace = _namespace(self)
        if name in namespace:
            del namespace[name]
        else:
            object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*dir(type(self)), *_namespace(self)})


class _Own:
    """What the threads have of a `local`."""

    __slots__ = ("__weakref__", "_machine", "_of", "args", "kwargs")

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args = args
        self.kwargs = kwargs
        self._machine = _MachineLocal()
        self._of: weakref.WeakKeyDictionary[ThreadState, dict[str, Any]] = weakref.WeakKeyDictionary()

    def begin(self) -> None:
        """Let the calling thread have a namespace."""
        if here.weave is None:
            self._machine.here = {}
        else:
            state = current_state()
            self._of[state] = {}
            if state.locals is None:
                state.locals = weakref.WeakKeyDictionary()
            state.locals[self] = None

    def forget(self, state: ThreadState) -> None:
        """That thread has ended."""
        self._of.pop(state, None)

    def find(self) -> dict[str, Any] | None:
        """That of the calling thread, None if it has none yet."""
        if here.weave is None:
            found: dict[str, Any] | None = getattr(self._machine, "here", None)
            return found
        return self._of.get(current_state())


def _namespace(of: local) -> dict[str, Any]:
    own: _Own = object.__getattribute__(of, "_local__own")
    found = own.find()
    if found is None:
        own.begin()
        initialize: Callable[..., None] = object.__getattribute__(of, "__init__")
        if type(of).__init__ is not object.__init__:
            initialize(*own.args, **own.kwargs)
        found = own.find()
        assert found is not None
    return found


def _is_data_descriptor(kind: type, name: str) -> bool:
    for base in kind.__mro__:
        if name in vars(base):
            return hasattr(type(vars(base)[name]), "__set__")
    return False


local.__module__ = "_thread"
local.__qualname__ = local.__name__ = "_local"
