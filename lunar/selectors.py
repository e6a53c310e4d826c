"""A drop-in for the standard library's `selectors`: every name of it, and the same objects.

    from lunar import selectors
    selector = selectors.DefaultSelector()

Inside a weave the names of the standard library mean the host's (poll_calls.py), outside the machine's. So a program
need not be changed to import this; it is for code that wants to say what it is written for.
"""

from __future__ import annotations

import selectors as _selectors
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selectors import *  # noqa: F403
else:
    # Looked up each time: what the names mean is changed when the first run is made.
    __all__ = [name for name in dir(_selectors) if not name.startswith("_")]

    def __getattr__(name: str) -> Any:
        return getattr(_selectors, name)

    def __dir__() -> list[str]:
        return dir(_selectors)
