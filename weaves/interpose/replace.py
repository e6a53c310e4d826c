"""Replacing a name of a module, also where it was captured before by `from time import monotonic`."""

from __future__ import annotations

import sys
import types
from typing import Any


class Replacements:
    """What `install` has put in place of what: `put` each, then `reach_captured` once."""

    def __init__(self) -> None:
        # By the address of the original, which the pair keeps alive.
        self._pairs: dict[int, tuple[Any, Any]] = {}

    def put(self, module: types.ModuleType, name: str, wrapper: Any) -> None:
        """Replace `module.name` by `wrapper`."""
        original = getattr(module, name)
        self._pairs[id(original)] = (original, wrapper)
        setattr(module, name, wrapper)

    def put_all(self, module: types.ModuleType, wrappers: dict[str, Any]) -> None:
        """Replace several names of `module`."""
        for name, wrapper in wrappers.items():
            self.put(module, name, wrapper)

    def reach_captured(self) -> None:
        """Replace them in the modules that were imported before and captured one."""
        for module in list(sys.modules.values()):
            if not isinstance(module, types.ModuleType) or module.__name__.startswith("weaves."):
                continue
            namespace = vars(module)
            for name, value in list(namespace.items()):
                pair = self._pairs.get(id(value))
                if pair is not None and pair[0] is value:
                    namespace[name] = pair[1]
