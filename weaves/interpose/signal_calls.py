"""Signals inside a weave: its own table of handlers (weaves/signals.py), and `kill` to the programs of the same host.

A signal that a program sends to itself is delivered before the call returns, as in Linux; one for another program comes
as an event of that host, at the same virtual instant. The timers of the processor's time (ITIMER_VIRTUAL, ITIMER_PROF)
never expire, because code takes no time.
"""

from __future__ import annotations

import _thread
import errno
import math
import os
import signal
import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from weaves.here import here
from weaves.interpose.exits import end_here
from weaves.interpose.replace import Replacements
from weaves.scheduler import Call
from weaves.threads import current_state

if TYPE_CHECKING:
    from weaves.weave import Weave

_NS: Final = 1_000_000_000

# The machine's own, for the parts of this package that must not be interposed.
real_signal = signal.signal
real_getsignal = signal.getsignal
real_raise_signal = signal.raise_signal


def install(replacements: Replacements) -> None:
    """Interpose `signal`, `os.kill` and `os.killpg`."""
    _install_handlers(replacements)
    _install_masks(replacements)
    replacements.put_all_c(signal, _timers())
    replacements.put_all_c(signal, _senders())
    replacements.put_all_c(os, _killers())
    replacements.put_c(_thread, "interrupt_main", _interrupt_main())


def _install_handlers(replacements: Replacements) -> None:
    real_set_wakeup_fd = signal.set_wakeup_fd
    real_siginterrupt = signal.siginterrupt

    def signal_(signalnum: int, handler: Any, /) -> Any:
        weave = here.weave
        if weave is None:
            return real_signal(signalnum, handler)
        _refuse_threads("signal")
        return weave.signals.set(signalnum, handler)

    def getsignal(signalnum: int, /) -> Any:
        weave = here.weave
        return real_getsignal(signalnum) if weave is None else weave.signals.get(signalnum)

    def set_wakeup_fd(_stand: object, fd: int, /, *, warn_on_full_buffer: bool = True) -> int:
        weave = here.weave
        if weave is None:
            return real_set_wakeup_fd(fd, warn_on_full_buffer=warn_on_full_buffer)
        _refuse_threads("set_wakeup_fd")
        if fd >= 0 and os.get_blocking(fd):
            raise ValueError(f"the fd {fd} must be in non-blocking mode")
        before, weave.signals.wakeup_fd = weave.signals.wakeup_fd, max(fd, -1)
        weave.signals.warn_on_full_buffer = warn_on_full_buffer
        return before

    def siginterrupt(_stand: object, signalnum: int, flag: bool, /) -> None:
        if here.weave is None:
            real_siginterrupt(signalnum, flag)

    _put(replacements, "signal", signal_)
    _put(replacements, "getsignal", getsignal)
    replacements.put_c(signal, "set_wakeup_fd", set_wakeup_fd)
    replacements.put_c(signal, "siginterrupt", siginterrupt)


def _refuse_threads(name: str) -> None:
    """What CPython refuses to all threads but the main one. Each string of a weave may."""
    if here.flow is not None and not current_state().is_string:
        raise ValueError(f"{name} only works in main thread of the main interpreter")


def _put(replacements: Replacements, name: str, function: Callable[..., Any]) -> None:
    """Replace a function of `signal` that is written in Python."""
    function.__name__ = function.__qualname__ = name
    function.__module__ = signal.__name__
    function.__doc__ = getattr(signal, name).__doc__
    replacements.put(signal, name, function)


def _install_masks(replacements: Replacements) -> None:
    real_mask, real_pending, real_wait = signal.pthread_sigmask, signal.sigpending, signal.sigwait
    real_timed = signal.sigtimedwait
    real_info = signal.sigwaitinfo

    def pthread_sigmask(how: int, mask: Iterable[int]) -> Any:
        weave = here.weave
        if weave is None:
            return real_mask(how, mask)
        before = weave.signals.blocked
        given = _numbers(mask)
        if how == signal.SIG_BLOCK:
            held = before | given
        elif how == signal.SIG_UNBLOCK:
            held = before - given
        elif how == signal.SIG_SETMASK:
            held = given
        else:
            raise OSError(errno.EINVAL, "Invalid argument")
        if weave.signals.block(held, sys._getframe(1)):
            end_here(weave)
        return _named(before)

    def sigpending() -> Any:
        weave = here.weave
        return real_pending() if weave is None else _named(weave.signals.pending)

    def sigwait(sigset: Iterable[int]) -> Any:
        weave = here.weave
        if weave is None:
            return real_wait(sigset)
        found = weave.signals.wait(_numbers(sigset))
        assert found is not None, "without a timeout there is a signal"
        return signal.Signals(found)

    def sigtimedwait(_stand: object, sigset: Iterable[int], timeout: float, /) -> Any:
        weave = here.weave
        if weave is None:
            return real_timed(sigset, timeout)
        if timeout < 0:
            raise ValueError("timeout must be non-negative")
        found = weave.signals.wait(_numbers(sigset), round(timeout * _NS))
        return None if found is None else _info(weave, found)

    def sigwaitinfo(_stand: object, sigset: Iterable[int], /) -> Any:
        weave = here.weave
        if weave is None:
            return real_info(sigset)
        found = weave.signals.wait(_numbers(sigset))
        assert found is not None, "without a timeout there is a signal"
        return _info(weave, found)

    _put(replacements, "pthread_sigmask", pthread_sigmask)
    _put(replacements, "sigpending", sigpending)
    _put(replacements, "sigwait", sigwait)
    replacements.put_c(signal, "sigtimedwait", sigtimedwait)
    replacements.put_c(signal, "sigwaitinfo", sigwaitinfo)


def _numbers(signals: Iterable[int]) -> frozenset[int]:
    numbers = frozenset(int(number) for number in signals)
    for number in numbers:
        if not 0 < number < signal.NSIG:
            raise ValueError(f"signal number {number} out of range [1; {signal.NSIG - 1}]")
    return numbers


def _named(numbers: Iterable[int]) -> set[Any]:
    known = set(signal.Signals)
    return {signal.Signals(number) if number in known else number for number in numbers}


def _info(weave: Weave, signum: int) -> Any:
    # struct_siginfo: number, code (SI_USER is 0), errno, pid and uid of the sender, status, band.
    return signal.struct_siginfo((signum, 0, 0, weave.pid, 0, 0, 0))


def _timers() -> dict[str, Callable[..., Any]]:
    real_alarm, real_setitimer, real_getitimer = signal.alarm, signal.setitimer, signal.getitimer
    real_pause = signal.pause
    known = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)

    def alarm(_stand: object, seconds: int, /) -> int:
        weave = here.weave
        if weave is None:
            return real_alarm(seconds)
        left_ns = weave.signals.set_timer(seconds * _NS, 0)[0]
        # alarm(2) gives whole seconds, and 0 only if there was none.
        return math.ceil(left_ns / _NS)

    def setitimer(_stand: object, which: int, seconds: float, interval: float = 0.0, /) -> tuple[float, float]:
        weave = here.weave
        if weave is None:
            return real_setitimer(which, seconds, interval)
        if which not in known or seconds < 0 or interval < 0:
            raise signal.ItimerError(errno.EINVAL, "Invalid argument")
        if which != signal.ITIMER_REAL:
            return 0.0, 0.0
        after_ns = round(seconds * _NS)
        # A time that is not 0 arms it, however short.
        before = weave.signals.set_timer(max(after_ns, 1) if seconds else 0, round(interval * _NS))
        return before[0] / _NS, before[1] / _NS

    def getitimer(_stand: object, which: int, /) -> tuple[float, float]:
        weave = here.weave
        if weave is None:
            return real_getitimer(which)
        if which not in known:
            raise signal.ItimerError(errno.EINVAL, "Invalid argument")
        left, interval = weave.signals.get_timer() if which == signal.ITIMER_REAL else (0, 0)
        return left / _NS, interval / _NS

    def pause(_stand: object) -> None:
        weave = here.weave
        if weave is None:
            real_pause()
        else:
            weave.signals.pause()

    return {"alarm": alarm, "setitimer": setitimer, "getitimer": getitimer, "pause": pause}


# Sending


def _senders() -> dict[str, Callable[..., Any]]:
    real_thread_kill = signal.pthread_kill

    def raise_signal(_stand: object, signalnum: int, /) -> None:
        weave = here.weave
        if weave is None:
            real_raise_signal(signalnum)
        else:
            _send(weave, weave, signalnum, sys._getframe(1))

    def pthread_kill(_stand: object, thread_id: int, signalnum: int, /) -> None:
        weave = here.weave
        if weave is None:
            real_thread_kill(thread_id, signalnum)
        elif signalnum != 0:
            _send(weave, weave, signalnum, sys._getframe(1))

    return {"raise_signal": raise_signal, "pthread_kill": pthread_kill}


def _interrupt_main() -> Callable[..., None]:
    real: Callable[[int], None] = _thread.interrupt_main  # type: ignore[assignment]

    def interrupt_main(_stand: object, signum: int = signal.SIGINT, /) -> None:
        weave = here.weave
        if weave is None:
            real(signum)
        else:
            _send(weave, weave, signum, sys._getframe(1))

    return interrupt_main


def _killers() -> dict[str, Callable[..., Any]]:
    real_kill, real_killpg = os.kill, os.killpg

    def kill(_stand: object, pid: int, signal: int, /) -> None:
        weave = here.weave
        if weave is None:
            real_kill(pid, signal)
        else:
            _kill(weave, pid, signal, sys._getframe(1))

    def killpg(_stand: object, pgid: int, signal: int, /) -> None:
        weave = here.weave
        if weave is None:
            real_killpg(pgid, signal)
        elif pgid < 0:
            raise OSError(errno.EINVAL, "Invalid argument")
        else:
            _kill(weave, pgid, signal, sys._getframe(1))

    return {"kill": kill, "killpg": killpg}


def _kill(weave: Weave, pid: int, signum: int, frame: FrameType) -> None:
    """kill(2). Each program is a group of its own; -1 is all others of the host."""
    if not 0 <= signum < signal.NSIG:
        raise OSError(errno.EINVAL, "Invalid argument")
    if pid == -1:
        others = [other for other in weave.neighbours() if other is not weave]
        if not others:
            raise ProcessLookupError(errno.ESRCH, "No such process")
        for other in others:
            _send(weave, other, signum, frame)
        return
    number = abs(pid)
    if number == 1 and pid > 0:
        return  # init has no handlers, and its default action is to go on
    target = weave if number in (0, weave.pid) else weave.with_pid(number)
    if target is None:
        raise ProcessLookupError(errno.ESRCH, "No such process")
    _send(weave, target, signum, frame)


def _send(weave: Weave, target: Weave, signum: int, frame: FrameType) -> None:
    if signum == 0:
        return
    if target is not weave:
        scheduler = target.scheduler
        scheduler.post(Call(target.signals.deliver, signum), target.lane, scheduler.now_ns)
    elif weave.signals.deliver_here(signum, frame):
        end_here(weave)
