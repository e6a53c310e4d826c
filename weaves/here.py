"""Which weave, and which string, the code that runs now belongs to.

A turn (of an event loop or of a blocking string) pins its weave here before it runs anything and unpins it afterwards;
the files of interpose/ ask. The pin is per thread: while a run goes on in one thread, all others are outside.
The string goes with the context: what its tasks start is of the same string.
"""

from __future__ import annotations

import contextvars
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from weaves.bridge import Flow
    from weaves.strings import String
    from weaves.weave import Weave


class _Here(threading.local):
    weave: Weave | None = None
    # The blocking flow whose greenlet runs, if it is one that may park.
    flow: Flow | None = None
    # Whether this thread of the machine has driven a run.
    drives = False


here = _Here()

string_here: Final[contextvars.ContextVar[String | None]] = contextvars.ContextVar("weaves.string", default=None)


def pins() -> dict[str, Any]:
    """The pins of the calling thread, "weave" and "flow" where they are set, in a form that other threads may read."""
    return vars(here)
