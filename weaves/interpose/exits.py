"""How a program ends: `atexit`, `os._exit` and `os.abort` inside a weave.

Functions of `atexit` are a program's own (process.py runs them); those that a function of a test registers are the
test runner's, as ever.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import greenlet

from weaves.here import here
from weaves.interpose.replace import Replacements

if TYPE_CHECKING:
    from weaves.bridge import Flow
    from weaves.process import Process
    from weaves.strings import String
    from weaves.weave import Weave


def install(replacements: Replacements) -> None:
    """Interpose `atexit`, `os._exit` and `os.abort`."""
    # Its first object registers a function that looks after the finalizers of all: not with the program that made it.
    weakref.finalize(install, int).detach()
    replacements.put_all_c(atexit, _atexit())
    replacements.put_all_c(os, {"_exit": _exit(), "abort": _abort()})


def _process() -> Process | None:
    weave = here.weave
    return weave.process if weave is not None and weave.is_program else None


def _atexit() -> dict[str, Callable[..., Any]]:
    real_register, real_unregister = atexit.register, atexit.unregister

    def register(_stand: object, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        process = _process()
        if process is None:
            return real_register(func, *args, **kwargs)
        if not callable(func):
            raise TypeError("the first argument must be callable")
        process.exit_functions.append((func, args, kwargs))
        return func

    def unregister(_stand: object, func: Callable[..., Any], /) -> None:
        process = _process()
        if process is None:
            real_unregister(func)
        else:
            process.exit_functions = [entry for entry in process.exit_functions if entry[0] != func]

    def run_exitfuncs(_stand: object) -> None:
        process = _process()
        if process is None:
            real_run()
        else:
            process.run_exit_functions()

    def clear(_stand: object) -> None:
        process = _process()
        if process is None:
            real_clear()
        else:
            process.exit_functions.clear()

    def ncallbacks(_stand: object) -> int:
        process = _process()
        return int(real_ncallbacks()) if process is None else len(process.exit_functions)

    module: Any = atexit
    real_run, real_clear, real_ncallbacks = module._run_exitfuncs, module._clear, module._ncallbacks
    return {
        "register": register,
        "unregister": unregister,
        "_run_exitfuncs": run_exitfuncs,
        "_clear": clear,
        "_ncallbacks": ncallbacks,
    }


def _exit() -> Callable[..., NoReturn]:
    real = os._exit

    def exit_(_stand: object, status: int) -> NoReturn:
        weave = here.weave
        if weave is None:
            real(status)
        weave.process.forget_exit_work()
        _vanish_here(weave, SystemExit(status))

    return exit_


def _abort() -> Callable[..., NoReturn]:
    real = os.abort

    def abort(_stand: object) -> NoReturn:
        weave = here.weave
        if weave is None:
            real()
        weave.signals.killed_by = signal.SIGABRT
        weave.process.forget_exit_work()
        _vanish_here(weave)

    return abort


def _vanish_here(weave: Weave, error: SystemExit | None = None) -> NoReturn:
    """End `weave` from its own code, of which no more runs: no `finally` either. Its string has ended by `error`."""
    string = weave.current_string()
    if here.flow is None:
        # A step of a task, which can be left by an exception only.
        if string is not None and error is not None:
            string.finish(error)
        end_here(weave, None if error is None else string)
    weave.destroy(string, error)
    _wait_for_the_end(here.flow)


def end_here(weave: Weave, ended: String | None = None) -> NoReturn:
    """Kill `weave` from its own code, which goes no further. `ended` is the string of it that has ended already."""
    weave.process.forget_exit_work()
    flow, threads = here.flow, weave.known_threads
    is_thread = flow is not None and threads is not None and flow in threads.running
    weave.kill(ended)
    if flow is not None and is_thread:
        # Dropped where it stands, as the others: an exception would come to threading.excepthook.
        _wait_for_the_end(flow)
    if asyncio._get_running_loop() is not None:
        # A task would keep GreenletExit as its result, and the loop would complain that nobody asked for it.
        raise asyncio.CancelledError
    raise greenlet.GreenletExit


def _wait_for_the_end(flow: Flow) -> NoReturn:
    """The scheduler's next turn is the one in which `flow` vanishes."""
    while True:
        flow.park()
