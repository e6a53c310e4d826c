"""How what a crash takes with it is let go: its memory is given back, and none of its code runs any more.

Python has no way to drop a suspended coroutine or greenlet quietly: it is sent an exception, and its `except` and
`finally` clauses run. A machine that loses its power runs nothing. So while something is dropped here, the interpreter
has a trace function that refuses: it fails whenever a frame of Python would begin, or go on after a suspension, or, in
frames that were told to trace each instruction, do anything at all. A frame that fails there is left and its locals are
released; then the next one out fails. Methods `__del__` and callbacks of weak references are frames that would begin.

A trace function written in Python cannot do it: it is switched off when it raises for the first time. One in C can, and
PyList_Append is one: it looks first at the object that it shall append to, and for one that is no list it sets an
exception and returns -1, which is all that a trace function has to do to refuse.

Left out: what C code does when it is dropped (a file writes out its buffer), greenlets that a program made itself, and
what only the garbage collector will find, later. Those find their weave gone.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any, Final, NoReturn

_set_trace: Final[Any] = ctypes.pythonapi.PyEval_SetTrace
_set_trace.argtypes = (ctypes.c_void_p, ctypes.py_object)
_set_trace.restype = None
_REFUSE: Final = ctypes.cast(ctypes.pythonapi.PyList_Append, ctypes.c_void_p)


class Gone(BaseException):
    """What a flow is left by."""


def discard_coroutines(coroutines: list[Any], parts: list[Callable[[], object]]) -> None:
    """Empty both lists: close the coroutines, and call each of `parts`, which must be written in C."""
    closing: list[Callable[[], object]] = []
    clearing: list[Callable[[], object]] = []
    inner: Any = None
    frame: Any = None
    while coroutines:
        inner = coroutines.pop()
        closing.append(inner.close)
        while inner is not None:
            frame = getattr(inner, "cr_frame", None)
            if frame is not None:
                clearing.append(frame.clear)
            inner = getattr(inner, "cr_await", None)
    inner = frame = None
    # From the end: the frames are cleared when they have been left. An exception that was being handled in one has a
    # traceback which holds the frame, and so all that was in it.
    _refused([*parts, *clearing, *reversed(closing)])


def discard_flow(switch: Callable[[], object], frames: list[Any]) -> None:
    """Call `switch`, a switch to a greenlet that only calls `leave`; it comes back when the frames are left.

    `leave` puts them into `frames`, which is emptied.
    """
    sys._getframe().f_trace_lines = False
    tracer, hook = sys.gettrace(), sys.unraisablehook
    try:
        switch()
    except SystemError:
        pass  # the outermost frame's return was refused as well
    finally:
        sys.settrace(tracer)
        sys.unraisablehook = hook
    clearing = [frame.clear for frame in frames]
    frames.clear()
    _refused(clearing)


def leave(up_to: CodeType, frames: list[Any]) -> NoReturn:
    """Leave the frames of this greenlet, up to the one that runs `up_to`, without running any more of them.

    All but the last are added to `frames`.
    """
    frame: Any = sys._getframe()
    frame.f_trace_lines = False
    frame = frame.f_back
    while frame.f_code is not up_to:
        frame.f_trace_opcodes = True
        frames.append(frame)
        frame = frame.f_back
    frame.f_trace_lines = False
    frame = None  # or this frame would keep that one
    sys.unraisablehook = tuple  # type: ignore[assignment]
    _set_trace(_REFUSE, None)
    raise Gone


def _refused(parts: list[Callable[[], object]]) -> None:
    """Call each of `parts`, from the last to the first, while no Python code can run; the list is emptied."""
    # Between the two calls that set the tracer this frame runs: it must not be refused, and must not call Python.
    sys._getframe().f_trace_lines = False
    tracer, hook = sys.gettrace(), sys.unraisablehook
    # What is refused in a destructor is reported, to something that is not written in Python either.
    sys.unraisablehook = tuple  # type: ignore[assignment]
    _set_trace(_REFUSE, None)
    try:
        while parts:
            try:  # noqa: SIM105 - contextlib.suppress is Python
                parts.pop()()
            except BaseException:  # noqa: BLE001 - the refusal itself, in whatever a frame's caller made of it
                pass
    finally:  # a signal's handler may be refused between two of them
        sys.settrace(tracer)
        sys.unraisablehook = hook
