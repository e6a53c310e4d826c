"""The greenlet bridge: blocking code parks, and the scheduler goes on.

A `Flow` is one flow of blocking code. It runs in a greenlet whose parent is whatever runs the scheduler; `park`
switches to the parent, and `turn`, called by the scheduler, switches back. A parked flow is woken by `wake`, which puts
it behind the turns that wait already.

An event loop of a program (`asyncio.run` in a script) runs inside such a flow, so that a blocking call in one of its
callbacks stops that program alone, for virtual time, as it would on a machine of its own.
"""

from __future__ import annotations

import asyncio
import contextvars
import signal
import sys
from collections import deque
from collections.abc import Callable
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Protocol

import greenlet

from weaves import unwinding
from weaves.directory import directory
from weaves.hang import Hang, not_ours
from weaves.here import here
from weaves.scheduler import Call

if TYPE_CHECKING:
    from weaves.strings import String
    from weaves.threads import ThreadState
    from weaves.weave import Weave


class Waited(Protocol):
    """What keeps a list of flows that wait for it, perhaps flows of several hosts."""

    def _flow_is_gone(self, flow: Flow) -> None:
        """`flow` has vanished, and none of its clauses has run: what it was to have is for others."""


class Flow:
    """One flow of blocking code in `weave`. `on_end` is called with (result, exception) when the code has ended."""

    def __init__(
        self, weave: Weave, function: Callable[[], Any], on_end: Callable[[Any, BaseException | None], None]
    ) -> None:
        self.weave = weave
        self._function = function
        self._on_end = on_end
        self.queued = False  # waits for its turn
        self._wakes = 0  # how often it was woken, but for signals
        self._interrupts: deque[Callable[[FrameType], None]] = deque()
        self._doomed = False  # it killed itself, and ends where it parks next
        self._vanishing = False  # its host crashed, and it runs no more
        self._left: list[Any] = []  # the frames of it that were left so
        self._greenlet: greenlet.greenlet | None = None
        self.ended = False
        # For whom it was made, if that is known.
        self.string: String | None = None
        # The thread that it is or is a part of, once somebody has asked (threads.py).
        self.thread: ThreadState | None = None
        # What it waits for without a limit, if that is something that another thread has or does.
        self.waits_for: object = None
        # What has it in a list of those that wait, and is told when it vanishes there.
        self.waits_in: Waited | None = None

    def start(self, context: contextvars.Context | None = None) -> None:
        """Let the code begin at its turn, in `context` or a copy of the caller's."""
        self._greenlet = greenlet.greenlet(self._main)
        self._greenlet.gr_context = contextvars.copy_context() if context is None else context
        self.weave.flows[self] = None
        self.wake()

    def wake(self) -> None:
        """Let a parked flow go on at its turn. Waking one that is queued or has ended does nothing."""
        self._wakes += 1
        self._queue()

    def go_on(self) -> None:
        """`wake`, and its turn at once, unless it is to come already; only in a turn of the scheduler's."""
        self._wakes += 1
        if not self.queued:
            self.turn()

    def interrupt(self, call: Callable[[FrameType], None]) -> None:
        """Let a parked flow run `call`, with the frame where it is parked, and then go on waiting: a signal.

        What `call` raises comes out of the blocking call that waits there (PEP 475).
        """
        self._interrupts.append(call)
        self._queue()

    def _queue(self) -> None:
        if not self.queued and not self.ended:
            self.queued = True
            if self.waits_for is not None:
                self._waits_no_more()
            self.weave.scheduler.turns.append(self)

    def turn(self) -> None:
        """Run the code until it parks or ends; only the scheduler calls this."""
        held = self.weave.held
        if held is not None:
            held.append(self)
            return
        self.queued = False
        if self.ended:
            return
        flow = self._greenlet
        assert flow is not None, "a flow was given a turn before its start"
        current = greenlet.getcurrent()
        if flow.parent is not current:
            flow.parent = current
        weave = here.weave = self.weave
        here.flow = self
        if weave.cwd is not directory.now:
            directory.enter(weave.cwd)
        try:
            flow.switch()
        finally:
            here.weave = None
            here.flow = None

    def park(self, waits_for: object = None) -> None:
        """Give the processor away until `wake`. Only from inside the flow.

        `waits_for` is what another thread of the program has or does, as in a lock; then it may be a deadlock.
        """
        if self._doomed:
            self._doomed = False  # its `finally` clauses may park
            raise greenlet.GreenletExit
        loop = asyncio._get_running_loop()
        assert self._greenlet is not None
        # Who is queued was woken before it parked.
        wakes = self._wakes - 1 if self.queued else self._wakes
        while True:
            asyncio._set_running_loop(None)
            parent = self._greenlet.parent
            assert parent is not None
            if waits_for is not None and not self.queued:
                self.waits_for = waits_for
                self.weave.waits_for_itself(1)
            try:
                parent.switch()
            finally:
                self._waits_no_more()
                # `turn`, or `kill`, has pinned the weave again.
                asyncio._set_running_loop(loop)
            if self._vanishing:
                unwinding.leave(self.base_code, self._left)
            while self._interrupts:
                self._interrupts.popleft()(not_ours(sys._getframe(1)))
            if self._wakes != wakes:
                return

    def _waits_no_more(self) -> None:
        if self.waits_for is not None:
            self.waits_for = None
            self.weave.waits_for_itself(-1)

    def park_for(self, duration_ns: int) -> bool:
        """Park for `duration_ns` at most. True when it was woken before."""
        scheduler = self.weave.scheduler
        over: list[bool] = []
        timer = Call(self._time_is_up, over)
        scheduler.post(timer, self.weave.lane, scheduler.now_ns + max(0, duration_ns))
        try:
            self.park()
        finally:
            scheduler.cancel(timer)
        return not over

    def kill(self) -> None:
        """Throw GreenletExit into the code where it is parked; the flow that runs now ends where it parks next."""
        flow = self._greenlet
        if self.ended or flow is None:
            return
        if not flow:  # it never began
            self.ended = True
            self.weave.flow_over(self)
            self._on_end(None, greenlet.GreenletExit())
            return
        current = greenlet.getcurrent()
        if flow is current:
            self._doomed = True
            return
        flow.parent = current
        # Whoever kills may itself be in a turn, of this weave or of another.
        outer_weave, outer_flow, outer_loop = here.weave, here.flow, asyncio._get_running_loop()
        outer_directory = directory.now
        asyncio._set_running_loop(None)
        here.weave = self.weave
        here.flow = self
        directory.enter(self.weave.cwd)
        try:
            flow.throw(greenlet.GreenletExit)
        finally:
            directory.enter(outer_directory)
            here.weave, here.flow = outer_weave, outer_flow
            asyncio._set_running_loop(outer_loop)

    def vanish(self) -> None:
        """Let the flow go where it is parked, without running any more of it: no handler, and no `on_end`."""
        flow = self._greenlet
        self._waits_no_more()
        self.weave.flow_over(self)
        if not self.ended and flow:
            assert flow is not greenlet.getcurrent(), "a flow cannot vanish while it runs"
            self._vanishing = True
            flow.parent = greenlet.getcurrent()
            outer_loop = asyncio._get_running_loop()
            unwinding.discard_flow(flow.switch, self._left)
            asyncio._set_running_loop(outer_loop)
        self.ended = True
        self._greenlet = None
        self._function = _nothing
        self._on_end = _nothing
        waits_in, self.waits_in = self.waits_in, None
        if waits_in is not None:
            waits_in._flow_is_gone(self)

    def abandon(self) -> None:
        """End it without running any more of it, because it has caught what was to end it."""
        on_end = self._on_end
        if not self.ended:
            self.vanish()
            on_end(None, greenlet.GreenletExit())

    @property
    def is_alive(self) -> bool:
        """Whether it has begun and not ended."""
        return bool(self._greenlet) and not self.ended

    @property
    def base_code(self) -> CodeType:
        """What its outermost frame runs."""
        return Flow._main.__code__

    @property
    def frame(self) -> FrameType | None:
        """Where it is parked; None while it runs, and before and after."""
        return None if self._greenlet is None else self._greenlet.gr_frame

    def _time_is_up(self, over: list[bool]) -> None:
        over.append(True)
        self.wake()

    def _main(self) -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = self._function()
        except KeyboardInterrupt:
            if not self.weave.signals.interrupted:
                # The person at the machine, not the program: it ends the whole run.
                self.ended = True
                asyncio._set_running_loop(None)
                self.weave.flows.pop(self, None)
                raise
            self.weave.signals.killed_by = signal.SIGINT
            error = greenlet.GreenletExit()  # ended by the signal, as by its default action
        except Hang as hang:
            hang.take_back(hang.thread_id, None)  # see there
            error = hang
        except BaseException as exception:  # noqa: BLE001 - whatever it is, it is this string's end, and is reported as such
            error = exception
        if self._vanishing:
            return
        self.ended = True
        asyncio._set_running_loop(None)
        self.weave.flow_over(self)
        self._on_end(result, error)
        self.weave.close_loops()


def _nothing(*_args: Any) -> None:
    """What is left of the code of a flow that has vanished."""


def current_flow() -> Flow:
    """The flow that runs. Raises `RuntimeError` outside of all: a blocking call there would stop the whole run."""
    flow = here.flow
    if flow is None:
        loop: Any = asyncio._get_running_loop()
        if loop is not None and here.weave is not None:
            flow = loop.flow_of_turn()
    if flow is None:
        raise RuntimeError("a blocking call outside of all strings: it would stop the whole run")
    return flow
