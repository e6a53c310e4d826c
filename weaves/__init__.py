"""Weaves: many programs in one process, each with data of its own, in virtual time.

    import weaves
    tapestry = weaves.load("site.toml")
    await tapestry.run()

`schedule()` is the await by which a string gives the processor to the weave scheduler until it is woken.
"""

from __future__ import annotations

from weaves import scheduler as _scheduler
from weaves.loader import LiveTapestry, load
from weaves.output import Output
from weaves.pace import TooLate
from weaves.realtime import Stalled
from weaves.replay import ReplayDiffers
from weaves.session import Session, SessionError
from weaves.strings import String, current_string, schedule
from weaves.tapestry_errors import TapestryError
from weaves.weave import Weave

__version__ = "0.1.0"

# Whether the hot path runs as machine code (mypyc) or is interpreted.
COMPILED = not str(_scheduler.__file__).endswith(".py")

__all__ = [
    "COMPILED",
    "LiveTapestry",
    "Output",
    "ReplayDiffers",
    "Session",
    "SessionError",
    "Stalled",
    "String",
    "TapestryError",
    "TooLate",
    "Weave",
    "current_string",
    "load",
    "schedule",
]
