"""What a string of a tapestry runs: a program, or a function of a module; each weave has an instance, a bead, of it.

Where a bead's modules come from is in modules.py; here is how one is started. The code of a program is compiled when
the tapestry is loaded, and its `__main__` is made anew whenever it is started.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from weaves.here import here
from weaves.library import Library, run
from weaves.modules import OUR_FILES, Modules, trim

OUR_FILES.add(__file__)


class Main:
    """A program: its code, and what `__main__` says of where it came from."""

    def __init__(self, code: types.CodeType, file: str | None, spec: importlib.machinery.ModuleSpec | None) -> None:
        self.code = code
        self.file = file
        self.spec = spec

    @classmethod
    def of_file(cls, path: Path) -> Main:
        """Of a Python file, or of a folder's `__main__.py`. Raises `OSError`, and what `compile` raises."""
        if path.is_dir():
            path = path / "__main__.py"
        return cls(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), str(path), None)

    @classmethod
    def of_module(cls, name: str, library: Library, path: list[str]) -> Main:
        """Of a module on `path`, or of a package's `__main__`, as `python -m` finds it; nothing is executed.

        Raises `ImportError`, and what `compile` raises.
        """
        spec = _found(name, library, path)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = _found(f"{name}.__main__", library, path)
        code = None if spec is None else library.code(spec)
        if spec is None or code is None:
            raise ImportError(f"there is no Python code to run in {name}")
        return cls(code, spec.origin, spec)

    def run(self) -> None:
        """Make a bead for the weave that this is called in, and run it to its end. Raises what the program raises."""
        weave = here.weave
        assert weave is not None and weave.modules is not None, "a program runs in a weave that has modules"
        modules = weave.modules
        main = types.ModuleType("__main__")
        namespace = vars(main)
        package = None if self.spec is None else self.spec.parent
        loader: Any = self.spec.loader if self.spec is not None else _loader(self.file)
        namespace.update(
            __file__=self.file, __package__=package, __spec__=self.spec, __loader__=loader,
            __cached__=None if self.spec is None else self.spec.cached, __builtins__=modules.builtins,
        )  # fmt: skip
        if sys.version_info < (3, 14):  # from there on they are made when they are asked for
            namespace["__annotations__"] = {}
        if package:
            modules.import_module(package)
        modules.store("__main__", main)
        try:
            run(self.code, namespace, "__main__", modules)
        except Exception as error:
            hook = weave.sys_names.get("excepthook")
            if hook is not None:
                trim(error)
                hook(type(error), error, error.__traceback__)
            raise

    def __repr__(self) -> str:
        return f"<program {self.file}>"


def _found(name: str, library: Library, path: list[str]) -> importlib.machinery.ModuleSpec | None:
    spec = library.find_dotted(name, path)
    # What is on no path: built-in and frozen modules, and what an import hook brings (editable installs have one).
    return spec if spec is not None or "." in name else importlib.util.find_spec(name)


def _loader(file: str | None) -> Any:
    return None if file is None else importlib.machinery.SourceFileLoader("__main__", file)


class Function:
    """A function of a module, "package.module:function", found in the weave where it is to run."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.module, _, self.path = text.partition(":")

    def resolve(self, modules: Modules) -> Callable[..., Any]:
        """The function, of this weave's instance of the module. Raises what the import raises, and AttributeError."""
        found: Any = modules.import_module(self.module)
        for part in self.path.split("."):
            found = getattr(found, part)
        function: Callable[..., Any] = found
        return function


def argv0(main: Main, path: str | None) -> str:
    """What sys.argv begins with: the file as the program line names it, or of `python -m` the module's own."""
    return path if path is not None else str(main.file)
