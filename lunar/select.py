"""A drop-in for the standard library's `select`: every name of it, and the same objects.

    from lunar import select
    readable, writable, exceptional = select.select([connection], [], [], 2.5)

Inside a weave the names of the standard library mean the host's (poll_calls.py), outside the machine's. So a program
need not be changed to import this; it is for code that wants to say what it is written for.
"""

from __future__ import annotations

import select as _select
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from select import *  # noqa: F403
else:
    # Looked up each time: what the names mean is changed when the first run is made.
    __all__ = [name for name in dir(_select) if not name.startswith("_")]

    def __getattr__(name: str) -> Any:
        return getattr(_select, name)

    def __dir__() -> list[str]:
        return dir(_select)
