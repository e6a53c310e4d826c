"""Which failures of Google's scripts are Linux 6.18's own: linux_6_18.toml has them.

The scripts were written for older kernels, and some say what Linux does no more. To fail them in the same words is what
a stack that is like Linux must do.
"""

from __future__ import annotations

import functools
import re
import tomllib
from pathlib import Path
from typing import Any, Final

# Times and tolerances: a kernel's timers are late by up to a tick.
_TIME: Final = re.compile(r"\d+\.\d+ sec")


@functools.cache
def _known() -> dict[str, dict[str, str]]:
    found: dict[str, Any] = tomllib.loads((Path(__file__).parent / "linux_6_18.toml").read_text(encoding="utf-8"))
    return found


def why(path: Path, reason: str) -> str:
    """Why Linux fails the script of this path as `reason` says (`suite.Result.reason`); "" if it does not so."""
    for depth in (2, 3, 4):
        known = _known().get("/".join(path.parts[-depth:]))
        if known is not None and _TIME.sub("", known["said"]) == _TIME.sub("", reason):
            return known["why"]
    return ""
