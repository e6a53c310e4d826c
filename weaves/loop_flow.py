"""Where the turns of direct loops run: in greenlets that are lent to one loop after the other.

Most callbacks of a loop never block, and one greenlet serves all loops of a run. When a callback does block, as any may
(`time.sleep` in a coroutine, `executor.shutdown()`), the greenlet stays with its loop until the call has returned, and
the next loop gets another. So the call holds up its own loop alone, for virtual time, as it would on a machine.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING

import greenlet

from weaves.bridge import Flow
from weaves.here import here, string_here

if TYPE_CHECKING:
    from weaves.loop import WeaveLoop
    from weaves.weave import Weave


class LoopFlow(Flow):
    """A greenlet for turns of direct loops. `idle` is the list that it puts itself into when it has nothing to do."""

    def __init__(self, weave: Weave, idle: list[LoopFlow]) -> None:
        super().__init__(weave, _no_function, _no_end)
        self._idle = idle
        self._loop: WeaveLoop | None = None
        self._blocks = False  # it has parked in the middle of a turn

    def run(self, loop: WeaveLoop) -> None:
        """Take one turn of `loop`, whose weave is pinned; it may be over when this returns, or block."""
        flow = self._greenlet
        current = greenlet.getcurrent()
        if flow is None:
            flow = self._greenlet = greenlet.greenlet(self._main, current)
            flow.gr_context = contextvars.copy_context()
        elif flow.parent is not current:
            flow.parent = current
        self.weave = loop.weave
        self._loop = loop
        here.flow = self
        try:
            flow.switch()
        finally:
            here.flow = None

    def park(self, waits_for: object = None) -> None:
        if not self._blocks:
            self._blocks = True
            self.string = string_here.get()
            self.thread = self.weave.threads.main
            self.weave.flows[self] = None
        super().park(waits_for)

    def _main(self) -> None:
        while True:
            self._take_turn()
            if self._vanishing:
                return
            current = greenlet.getcurrent()
            assert current.parent is not None
            current.parent.switch()

    def _take_turn(self) -> None:
        loop = self._loop
        assert loop is not None
        try:
            loop.take_turn()
        finally:
            if not self._vanishing:
                asyncio._set_running_loop(None)
                if self._blocks:
                    self._blocks = False
                    self.string = None
                    self.weave.flows.pop(self, None)
                self.thread = None
                self._loop = None
                self._doomed = False
                self._idle.append(self)


def _no_function() -> None:
    raise AssertionError("a loop's flow runs turns")


def _no_end(_result: object, _error: BaseException | None) -> None:
    """Nobody waits for the end of a loop's flow."""
