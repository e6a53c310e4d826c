"""The virtual signals of a weave: who handles what, and delivery.

`signal.signal` and `loop.add_signal_handler` inside a weave register here; nothing reaches the machine's own handlers.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from weaves.bridge import current_flow
from weaves.here import here
from weaves.scheduler import Call

if TYPE_CHECKING:
    from weaves.bridge import Flow
    from weaves.loop import WeaveLoop
    from weaves.weave import Weave

Handler = Callable[[int, Any], object] | int | None

# Signals whose default action is to do nothing (signal(7)); all others end the program.
_IGNORED_BY_DEFAULT = {signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT}
_VALID = frozenset(int(number) for number in signal.valid_signals())  # which makes a set anew each time
_NOT_CATCHABLE = {signal.SIGKILL, signal.SIGSTOP}
_ON_SIGINT: Any = getattr(asyncio.Runner, "_on_sigint")  # noqa: B009 - private, and without a type


class SignalTable:
    """The handlers of one weave."""

    # What few programs use is in the instance only then: there are thousands.
    blocked: frozenset[int] = frozenset()
    pending: frozenset[int] = frozenset()
    # How many handlers have run, and the flows that wait for the next one, or for one that is blocked.
    _handled = 0
    # signal.set_wakeup_fd: -1 for none.
    wakeup_fd = -1
    warn_on_full_buffer = True
    _waiting: tuple[Flow, ...] = ()
    # What sigwait waits for: it takes a signal that is not blocked, too.
    _awaited: tuple[frozenset[int], ...] = ()
    # setitimer(ITIMER_REAL): the event, when it is due, and what is added then.
    _timer: Call | None = None
    _timer_at_ns = 0
    _timer_interval_ns = 0

    def __init__(self, weave: Weave) -> None:
        self._weave = weave
        self._handlers: dict[int, Handler] = {}
        self._loop_handlers: dict[int, asyncio.Handle] = {}
        # SIGINT was delivered: a KeyboardInterrupt in this weave is its own, not the machine's Ctrl-C.
        self.interrupted = False
        # The signal whose default action has ended the weave.
        self.killed_by: int | None = None

    def get(self, signum: int) -> Handler:
        """What signal.getsignal would say."""
        default: Handler = signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL
        return self._handlers.get(_checked(signum), default)

    def set(self, signum: int, handler: Handler) -> Handler:
        """What signal.signal does; returns the handler before. Raises what that raises."""
        signum = _checked(signum)
        if not (callable(handler) or handler in (signal.SIG_IGN, signal.SIG_DFL)):
            raise TypeError(
                "signal handler must be signal.SIG_IGN, signal.SIG_DFL, or a callable object"
            )
        if signum in _NOT_CATCHABLE:
            raise OSError(22, "Invalid argument")
        before = self.get(signum)
        self._handlers[signum] = handler
        return before

    def set_loop_handler(self, signum: int, handle: asyncio.Handle) -> None:
        """What loop.add_signal_handler does."""
        signum = _checked(signum)
        if signum in _NOT_CATCHABLE:
            raise RuntimeError(f"sig {signum} cannot be caught")
        self._loop_handlers[signum] = handle
        # As asyncio does, so that whoever asks for the handler sees that there is one.
        self._handlers[signum] = _left_to_the_loop

    def remove_loop_handler(self, signum: int) -> bool:
        """True if there was one."""
        if self._loop_handlers.pop(_checked(signum), None) is None:
            return False
        self._handlers.pop(signum, None)
        return True

    def forget(self) -> None:
        """The program has ended: what it has set goes with it. What ended it stays known."""
        self.cancel_timer()
        self.wakeup_fd = -1
        self._handlers.clear()
        self._loop_handlers.clear()
        if self.blocked or self.pending:
            self.blocked = self.pending = frozenset()

    @property
    def has_handlers(self) -> bool:
        """Whether the program has set any, but for what asyncio.run does about Ctrl-C: a signal may wake it."""
        if self._loop_handlers:
            return True
        return any(callable(handler) and not _is_default(handler) for handler in self._handlers.values())

    @property
    def has_timer(self) -> bool:
        """Whether SIGALRM is to come."""
        return self._timer is not None

    def loop_closed(self, loop: WeaveLoop) -> None:
        """A loop takes its handlers with it."""
        for signum, handle in list(self._loop_handlers.items()):
            if handle._loop is loop:  # type: ignore[attr-defined]
                self.remove_loop_handler(signum)

    def deliver(self, signum: int) -> None:
        """Deliver a signal to the weave: a loop's handler, else a Python handler, else the default action."""
        signum = _checked(signum)
        if self._is_held(signum):
            self.pending |= {signum}
            self._wake()
            return
        self.interrupted = self.interrupted or signum == signal.SIGINT
        if self._by_loop(signum):
            return
        main = self._weave.main_flow
        # Python's own handler of SIGINT raises KeyboardInterrupt, where there is something to raise it in.
        handler = self._handlers.get(signum, signal.SIG_DFL) if main is None else self.get(signum)
        if callable(handler):
            self._tell_wakeup(signum)
            call = handler
            if main is None:
                self._weave.spawn(lambda: self._handle(call, signum), self._weave.report_helper)
            else:
                main.interrupt(lambda frame: self._handle_in_flow(call, signum, frame))
        elif handler == signal.SIG_DFL and signum not in _IGNORED_BY_DEFAULT:
            self.killed_by = signum
            if signum == signal.SIGKILL:
                self._weave.destroy()
            else:
                self._weave.kill()

    def deliver_here(self, signum: int, frame: FrameType | None) -> bool:
        """Deliver a signal that the code which runs sends to itself: a Python handler has run when this returns.

        Raises what the handler raises. If the main flow is another one, the handler
        runs there, a turn later. True if the default action is to end the program, which the caller has to do.
        """
        signum = _checked(signum)
        if self._is_held(signum):
            self.pending |= {signum}
            self._wake()
            return False
        self.interrupted = self.interrupted or signum == signal.SIGINT
        if self._by_loop(signum):
            return False
        handler = self.get(signum)
        if callable(handler):
            self._tell_wakeup(signum)
            call, main = handler, self._weave.main_flow
            if main is None or main is here.flow:
                self._handle_in_flow(call, signum, frame)
            else:
                main.interrupt(lambda frame: self._handle_in_flow(call, signum, frame))
            return False
        if handler != signal.SIG_DFL or signum in _IGNORED_BY_DEFAULT:
            return False
        self.killed_by = signum
        return True

    def _is_held(self, signum: int) -> bool:
        """Whether it is to be pending, and not delivered."""
        return (signum in self.blocked and signum not in _NOT_CATCHABLE) or any(signum in one for one in self._awaited)

    def _by_loop(self, signum: int) -> bool:
        """Whether the handler of a loop takes it."""
        handle = self._loop_handlers.get(signum)
        if handle is None or handle.cancelled():
            return False
        loop: WeaveLoop = handle._loop  # type: ignore[attr-defined]
        if loop.is_closed():
            return False
        loop.run_handle(handle)
        return True

    def _handle(self, handler: Callable[[int, Any], object], signum: int) -> None:
        try:
            handler(signum, None)
        except SystemExit:
            if self._weave.is_program:
                self._weave.end()
            raise
        except KeyboardInterrupt:
            # What signal.default_int_handler raises ends this program; out of a flow it would be taken for the
            # machine's own Ctrl-C, and end the whole run.
            self._weave.kill()
        finally:
            self._was_handled()

    def _handle_in_flow(self, handler: Callable[[int, Any], object], signum: int, frame: FrameType | None) -> None:
        """Run a handler in the code that it interrupts, which gets what it raises."""
        try:
            handler(signum, frame)
        except KeyboardInterrupt:
            self.interrupted = True
            raise
        finally:
            self._was_handled()

    def _tell_wakeup(self, signum: int) -> None:
        """Write the number into the descriptor of signal.set_wakeup_fd."""
        if self.wakeup_fd < 0:
            return
        failed = self._weave.host.files.write_now(self.wakeup_fd, bytes([signum]))
        if failed and (failed != errno.EAGAIN or self.warn_on_full_buffer):
            print("Exception ignored when trying to write to the signal wakeup fd:", file=sys.stderr)
            print(f"OSError: {OSError(failed, os.strerror(failed))}", file=sys.stderr)

    # Waiting

    def _was_handled(self) -> None:
        self._handled += 1
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, ()
        for flow in waiting:
            flow.wake()

    def pause(self) -> None:
        """What signal.pause does: wait until a Python handler has run."""
        before = self._handled
        while self._handled == before:
            self._park(None)

    def wait(self, signals: frozenset[int], timeout_ns: int | None = None) -> int | None:
        """What signal.sigwait and sigtimedwait do: take the lowest pending one of `signals`; None after the timeout."""
        scheduler = self._weave.scheduler
        end_ns = None if timeout_ns is None else scheduler.now_ns + timeout_ns
        self._awaited += (signals,)
        try:
            while not self.pending & signals:
                if end_ns is not None and scheduler.now_ns >= end_ns:
                    return None
                self._park(None if end_ns is None else int(end_ns - scheduler.now_ns))
        finally:
            awaited = list(self._awaited)
            awaited.remove(signals)
            self._awaited = tuple(awaited)
        taken = min(self.pending & signals)
        self.pending -= {taken}
        return taken

    def _park(self, duration_ns: int | None) -> None:
        flow = current_flow()
        self._waiting += (flow,)
        try:
            if duration_ns is None:
                flow.park()
            else:
                flow.park_for(duration_ns)
        finally:
            self._waiting = tuple(other for other in self._waiting if other is not flow)

    def block(self, signals: frozenset[int], frame: FrameType | None) -> bool:
        """Hold back these and no others, but for the two that cannot be; what is pending and not blocked comes now.

        Raises what a handler raises. True if the default action is to end the program, which the caller has to do.
        """
        self.blocked = signals - _NOT_CATCHABLE
        for signum in sorted(self.pending - self.blocked):
            self.pending -= {signum}
            if self.deliver_here(signum, frame):
                return True
        return False

    # The timer

    def set_timer(self, after_ns: int, interval_ns: int) -> tuple[int, int]:
        """What signal.setitimer(ITIMER_REAL) does; returns the remaining time and the interval before."""
        before = self.get_timer()
        self.cancel_timer()
        if after_ns > 0:
            self._timer_interval_ns = interval_ns
            self._arm(after_ns)
        return before

    def get_timer(self) -> tuple[int, int]:
        """The nanoseconds until SIGALRM, 0 if the timer is not set, and its interval."""
        if self._timer is None:
            return 0, 0
        return int(self._timer_at_ns - self._weave.scheduler.now_ns), self._timer_interval_ns

    def cancel_timer(self) -> None:
        """Let SIGALRM not come."""
        if self._timer is not None:
            self._weave.scheduler.cancel(self._timer)
            self._timer = None
            self._timer_interval_ns = 0

    def _arm(self, after_ns: int) -> None:
        self._timer_at_ns = int(self._weave.scheduler.now_ns) + after_ns
        self._timer = Call(self._timer_fired, None)
        self._weave.scheduler.post(self._timer, self._weave.lane, self._timer_at_ns)

    def _timer_fired(self, _argument: object) -> None:
        self._timer = None
        if self._timer_interval_ns > 0:
            self._arm(self._timer_interval_ns)
        self.deliver(signal.SIGALRM)


def _is_default(handler: Any) -> bool:
    """Whether it only raises KeyboardInterrupt, by itself or in the task that asyncio.run runs."""
    method = getattr(handler.func, "__func__", None) if isinstance(handler, functools.partial) else None
    return handler is signal.default_int_handler or method is _ON_SIGINT


def _left_to_the_loop(_signum: int, _frame: Any) -> None:
    """The handler that is in the table while a loop has one."""


def _checked(signum: int) -> int:
    if not isinstance(signum, int):
        raise TypeError(f"sig must be an int, not {signum!r}")
    if signum not in _VALID:
        raise ValueError(f"invalid signal number {signum}")
    return int(signum)
