"""Replacing a name of a module, also where it was captured before by `from time import monotonic`.

A function of C that is kept in a class (`class Timer: clock = time.monotonic`) is called without `self`; one of Python
would be given it. So what stands in for a C function is a bound method, bound to a `Stand`, which it gets as its first
argument; a method is not bound a second time. It can be pickled and copied as the C function can.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any


class Stand:
    """What the stand-ins for the C functions of the module `name` are bound to."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<module {self._name!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # A bound method is pickled as the attribute of an object, which is to be the module on the other side.
        return importlib.import_module, (self._name,)

    def __getattr__(self, name: str) -> Any:
        # A copy of a bound method is the attribute of the same object.
        return getattr(sys.modules[self._name], name)

    def __deepcopy__(self, _memo: object) -> Stand:
        return self


class Replacements:
    """What `install` has put in place of what: `put` each, then `reach_captured` once."""

    def __init__(self) -> None:
        # By the address of the original, which the pair keeps alive.
        self._pairs: dict[int, tuple[Any, Any]] = {}
        self._methods: dict[tuple[type, str], Any] = {}
        self._stands: dict[str, Stand] = {}

    def put(self, module: types.ModuleType, name: str, wrapper: Any) -> None:
        """Replace `module.name`, which is written in Python, by `wrapper`."""
        original = getattr(module, name)
        self._pairs[id(original)] = (original, wrapper)
        setattr(module, name, wrapper)
        if module is os:
            # "os.chdir in os.supports_fd" is how a program asks what this system can do.
            for supported in (os.supports_fd, os.supports_dir_fd, os.supports_follow_symlinks):
                if original in supported:
                    supported.add(wrapper)

    def put_c(self, module: types.ModuleType, name: str, function: Callable[..., Any]) -> None:
        """Replace `module.name`, written in C, by `function`, whose first argument is the `Stand` that it is bound to.

        A name that this Python's module does not have is left out.
        """
        original = getattr(module, name, None)
        if original is None:
            return
        function.__name__ = name
        function.__qualname__ = name
        function.__module__ = module.__name__
        function.__doc__ = original.__doc__
        stand = self._stands.setdefault(module.__name__, Stand(module.__name__))
        self.put(module, name, types.MethodType(function, stand))

    def put_all_c(self, module: types.ModuleType, functions: Mapping[str, Callable[..., Any]]) -> None:
        """`put_c` for several names of `module`."""
        for name, function in functions.items():
            self.put_c(module, name, function)

    def put_class_method(self, owner: type, name: str, function: Callable[..., Any]) -> None:
        """Replace a class method of a type that is written in C, in place: the type stays the type it is.

        Methods that were captured bound (`now = datetime.now`) are found, too.
        """
        namespace: dict[str, Any] = gc.get_referents(owner.__dict__)[0]
        function.__name__ = name
        function.__qualname__ = f"{owner.__name__}.{name}"
        function.__module__ = owner.__module__
        function.__doc__ = namespace[name].__doc__
        namespace[name] = classmethod(function)
        # The interpreter keeps what it has looked up in a type until it is told of a change.
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(owner))
        self._methods[owner, name] = function

    def reach_captured(self) -> None:
        """Replace them in the modules that were imported before and captured one.

        Also where it is an attribute of a class, or the default of an argument, in such a module.
        """
        for module in list(sys.modules.values()):
            if not isinstance(module, types.ModuleType) or module.__name__.startswith("weaves."):
                continue
            self._reach_namespace(module, vars(module), module.__name__)

    def _reach_namespace(self, owner: Any, namespace: Mapping[str, Any], module: str) -> None:
        for name, value in list(namespace.items()):
            kind = type(value)
            if kind is types.FunctionType and value.__module__ == module:
                self._reach_defaults(value)
            stand_in = self._stand_in(value)
            if stand_in is not None:
                setattr(owner, name, stand_in)
            elif issubclass(kind, type):
                if vars(value).get("__module__") == module and not isinstance(owner, type):
                    self._reach_namespace(value, vars(value), module)

    def _reach_defaults(self, function: types.FunctionType) -> None:
        defaults = function.__defaults__
        if defaults and any(self._stand_in(value) is not None for value in defaults):
            function.__defaults__ = tuple(self._replaced(value) for value in defaults)
        named: dict[str, Any] = function.__kwdefaults__ or {}
        for name, value in named.items():
            named[name] = self._replaced(value)

    def _replaced(self, value: Any) -> Any:
        stand_in = self._stand_in(value)
        return value if stand_in is None else stand_in

    def _stand_in(self, value: Any) -> Any:
        pair = self._pairs.get(id(value))
        if pair is not None and pair[0] is value:
            return pair[1]
        if type(value) is types.BuiltinMethodType and isinstance(value.__self__, type):
            for (owner, name), function in self._methods.items():
                if value.__name__ == name and issubclass(value.__self__, owner):
                    return types.MethodType(function, value.__self__)
        return None
