"""The virtual signals of a weave: who handles what, and delivery.

`signal.signal` and `loop.add_signal_handler` inside a weave register here; nothing reaches the machine's own handlers.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weaves.loop import WeaveLoop
    from weaves.strings import Weave

Handler = Callable[[int, Any], object] | int | None

# Signals whose default action is to do nothing (signal(7)); all others end the program.
_IGNORED_BY_DEFAULT = {signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT}
_VALID = frozenset(int(number) for number in signal.valid_signals())  # which makes a set anew each time
_NOT_CATCHABLE = {signal.SIGKILL, signal.SIGSTOP}


class SignalTable:
    """The handlers of one weave."""

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

    def loop_closed(self, loop: WeaveLoop) -> None:
        """A loop takes its handlers with it."""
        for signum, handle in list(self._loop_handlers.items()):
            if handle._loop is loop:  # type: ignore[attr-defined]
                self.remove_loop_handler(signum)

    def deliver(self, signum: int) -> None:
        """Deliver a signal to the weave: a loop's handler, else a Python handler, else the default action."""
        signum = _checked(signum)
        self.interrupted = self.interrupted or signum == signal.SIGINT
        handle = self._loop_handlers.get(signum)
        if handle is not None and not handle.cancelled():
            loop: WeaveLoop = handle._loop  # type: ignore[attr-defined]
            if not loop.is_closed():
                loop.run_handle(handle)
                return
        handler = self._handlers.get(signum, signal.SIG_DFL)
        if callable(handler):
            call = handler
            self._weave.spawn(lambda: _handle(self._weave, call, signum), self._weave.report_helper)
        elif handler == signal.SIG_DFL and signum not in _IGNORED_BY_DEFAULT:
            self.killed_by = signum
            if signum == signal.SIGKILL:
                self._weave.destroy()
            else:
                self._weave.kill()


def _handle(weave: Weave, handler: Callable[[int, Any], object], signum: int) -> None:
    try:
        handler(signum, None)
    except KeyboardInterrupt:
        # What signal.default_int_handler raises ends this program; out of a flow it would be taken for the machine's
        # own Ctrl-C, and end the whole run.
        weave.kill()


def _left_to_the_loop(_signum: int, _frame: Any) -> None:
    """The handler that is in the table while a loop has one."""


def _checked(signum: int) -> int:
    if not isinstance(signum, int):
        raise TypeError(f"sig must be an int, not {signum!r}")
    if signum not in _VALID:
        raise ValueError(f"invalid signal number {signum}")
    return int(signum)
