"""`sys.argv` inside a weave."""

from __future__ import annotations

import sys
import types

from weaves.here import here
from weaves.interpose.replace import Replacements


def install(_replacements: Replacements) -> None:
    """Interpose `sys.argv`."""
    _install_argv()


def _install_argv() -> None:
    """`sys.argv` as a property of the module's class: a data descriptor comes before the module's dictionary."""

    class Sys(types.ModuleType):
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

    sys.__class__ = Sys
