"""Where the scheduler runs: in greenlets, so that whatever it calls may stay behind in the middle.

Turns of direct loops run on the scheduler's own stack, because most callbacks never block and a switch would cost each
turn. When a callback does block, as any may (`time.sleep` in a coroutine, `executor.shutdown()`), the greenlet with the
scheduler in it is parked as it is, and another runs the scheduler from there on. When the call has returned and the
turn is over, the first greenlet ends: what was left of its scheduler's run is not wanted any more. So the call holds up
its own loop alone, for virtual time, as it would on a machine.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from types import CodeType
from typing import TYPE_CHECKING

import greenlet

from weaves.bridge import Flow
from weaves.here import here, string_here

if TYPE_CHECKING:
    from weaves.loop import WeaveLoop


class Runner(greenlet.greenlet):
    """A greenlet that runs the scheduler."""


def run(function: Callable[[], int]) -> int:
    """Call `function`, which runs the scheduler, until it returns; again in another greenlet if it stays behind."""
    while True:
        runner = Runner(_main)
        runner.gr_context = contextvars.copy_context()
        result: int = runner.switch(function)
        if runner.dead:
            return result
        here.weave = here.flow = None  # it stayed behind in the middle of a turn


def _main(function: Callable[[], int]) -> int:
    return function()


class LoopFlow(Flow):
    """The flow of a callback that blocks, in a turn of a direct loop."""

    def __init__(self, loop: WeaveLoop) -> None:
        super().__init__(loop.weave, _no_function, _no_end)
        self._greenlet = greenlet.getcurrent()
        self.string = string_here.get()
        self.thread = loop.weave.threads.main
        self.has_parked = False
        loop.weave.flows[self] = None

    @property
    def base_code(self) -> CodeType:
        return _main.__code__

    def park(self, waits_for: object = None) -> None:
        self.has_parked = True
        string = string_here.get()
        if string is not self.string:  # another callback of the same turn, after one that has blocked
            self.string = string
            self._doomed = False
        super().park(waits_for)

    def turn_is_over(self) -> None:
        """The turn of the loop has ended, and whatever blocked in it. Does not return, if it has parked."""
        self.ended = True
        here.flow = None
        self.weave.flow_over(self)
        self._greenlet = None
        if self.has_parked and not self._vanishing:
            raise greenlet.GreenletExit  # the parent, another runner, goes on


def _no_function() -> None:
    raise AssertionError("a loop's flow runs no function")


def _no_end(_result: object, _error: BaseException | None) -> None:
    """Nobody waits for the end of a loop's flow."""
