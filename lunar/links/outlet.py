"""An outlet: where frames of a run come out of it, as bytes, into a function.

With `RawFrame`, which brings bytes in, it lets a `Wire` (link.py) carry what real devices send: who drives the
scheduler by the machine's clock has a link in real time.
"""

from __future__ import annotations

from typing import Any, final

from lunar.packet import Frame, Port, RawFrame


@final
class Outlet(Port):
    """Hands each `RawFrame` that arrives to `function(data, at_ns)`, with the time at which it was due."""

    def __init__(self, function: Any) -> None:
        self.function: Any = function

    def arrive(self, frame: Frame) -> None:
        assert isinstance(frame, RawFrame), "an outlet is the end of raw frames only"
        self.function(frame.data, frame.at_ns)
