"""What is said of code that holds the processor, or the clock, too long: who it is, where it is, and the exception.

`Hang` is raised in such code by the watchdog (watchdog.py), and is the error of the string that was stopped. A `Spot`
is a line of a stack. Which of the lines is the program's own is told by the file: not this package or its network, not
the standard library, and an installed package only where nothing else is there.
"""

from __future__ import annotations

import ctypes
import functools
import linecache
import sysconfig
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Final

from weaves.clock import format_duration

if TYPE_CHECKING:
    from weaves.strings import String
    from weaves.weave import Weave

# So many lines of a stack are told, the innermost.
_TOLD_LINES: Final = 8

# Kinds of files, the most telling first.
OWN: Final = 0
INSTALLED: Final = 1
STANDARD: Final = 2
OURS: Final = 3

_PACKAGE: Final = Path(__file__).parent
_OURS: Final = (f"{_PACKAGE}/", f"{_PACKAGE.parent / 'lunar'}/")
_PATHS: Final = sysconfig.get_paths()
_INSTALLED: Final = tuple(f"{_PATHS[name]}/" for name in ("purelib", "platlib"))
_STANDARD: Final = (*(f"{_PATHS[name]}/" for name in ("stdlib", "platstdlib")), "<frozen ")


def kind_of(file: str) -> int:
    """OWN, INSTALLED, STANDARD or OURS."""
    if file.startswith(_OURS):
        return OURS
    if file.startswith(_INSTALLED):
        return INSTALLED
    return STANDARD if file.startswith(_STANDARD) else OWN


class Spot:
    """A line of a stack."""

    def __init__(self, file: str, line: int, function: str) -> None:
        self.file = file
        self.line = line
        self.function = function

    def __str__(self) -> str:
        return f"{self.file}:{self.line}, in {self.function}"


def spots_of(frame: FrameType | None, until: Collection[CodeType]) -> list[Spot]:
    """The stack of a frame up to one that runs a code of `until`, the innermost line first, without lines of ours."""
    found: list[Spot] = []
    for one in frames_of(frame):
        if one.f_code in until:
            break
        if kind_of(one.f_code.co_filename) != OURS:
            found.append(Spot(one.f_code.co_filename, one.f_lineno or 0, one.f_code.co_qualname))
    return found


def frames_of(frame: FrameType | None) -> Iterator[FrameType]:
    """A frame and those that it was called from."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def not_ours(frame: FrameType) -> FrameType:
    """The innermost of the frames that `frame` was called from that is not one of this project's."""
    return next((one for one in frames_of(frame) if kind_of(one.f_code.co_filename) != OURS), frame)


def spots_of_coroutine(coroutine: Any) -> list[Spot]:
    """Where a coroutine waits, through all that it awaits, the innermost line first."""
    found: list[Spot] = []
    while coroutine is not None:
        for kind in ("cr", "gi", "ag"):
            frame = getattr(coroutine, f"{kind}_frame", None)
            if frame is not None:
                found.append(Spot(frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_qualname))
                break
        else:
            break
        coroutine = getattr(coroutine, f"{kind}_yieldfrom" if kind == "gi" else f"{kind}_await", None)
    found.reverse()
    return found


def own_spot(spots: Iterable[Spot]) -> Spot | None:
    """The innermost line of the most telling kind: what its author will look for."""
    return min(spots, key=lambda spot: kind_of(spot.file), default=None)


class HangReport:
    """Who held the processor or the clock, and where. `spots` is the stack, its innermost line first.

    `string` is None for code of a weave that is no string's (a handler of a signal); `weave` is None, too, for what
    the garbage collector runs and for modules that are imported before the run; `subject` then says what it is.
    """

    def __init__(
        self,
        at_ns: int,
        real_s: float,
        weave: Weave | None,
        string: String | None,
        subject: str,
        what: str,
        spots: list[Spot],
        consequence: str,
    ) -> None:
        self.at_ns = at_ns
        self.real_s = real_s
        self.weave = weave
        self.string = string
        self.subject = subject
        self.what = what
        self.spots = spots
        self.consequence = consequence
        self.told = False

    @property
    def who(self) -> str:
        """Host, weave and string."""
        if self.weave is None:
            return self.subject
        string = "no string of its own" if self.string is None else f"string {self.string.name}"
        return f"host {self.weave.host.name}, weave {self.weave.name}, {string}"

    @property
    def place(self) -> Spot | None:
        """The innermost line of the program's own."""
        return own_spot(self.spots)

    @property
    def summary(self) -> str:
        """One line: what happened, and where."""
        return self.what if self.place is None else f"{self.what}: {self.place}"

    def text(self) -> str:
        """Everything, as `weave run` prints it."""
        lines = [f"hang at {format_duration(self.at_ns)}: {self.who} {self.what}"]
        if self.place is not None:
            lines.append(f"  at {self.place}")
            if self.spots[0] is not self.place:
                lines.append(f"  innermost {self.spots[0]}")
            lines.append("  stack, the innermost line last:")
            for spot in reversed(self.spots[:_TOLD_LINES]):
                lines.append(f"    {spot}")
                source = linecache.getline(spot.file, spot.line).strip()
                if source:
                    lines.append(f"      {source}")
        lines.append(f"  {self.consequence}")
        return "\n".join(lines)


# PyThreadState_SetAsyncExc of Python's C API, which holds the interpreter meanwhile: raise a class in a thread, at its
# next bytecode that looks; and take back what was not raised yet.
_raise_in: Final = ctypes.PYFUNCTYPE(None, ctypes.c_ulong, ctypes.py_object)(
    ("PyThreadState_SetAsyncExc", ctypes.pythonapi)
)
_take_back: Final = ctypes.PYFUNCTYPE(None, ctypes.c_ulong, ctypes.c_void_p)(
    ("PyThreadState_SetAsyncExc", ctypes.pythonapi)
)


class Hang(BaseException):
    """Raised in code that holds the processor longer than the watchdog allows; the error of the string it stopped.

    Not an `Exception`, so that the usual `except Exception` of a loop that never ends does not keep it going.

    Where a program catches all the same, several are sent at once, so that the next one meets the handler of the first
    or what comes after it. Who catches the one that got through says `hang.take_back(hang.thread_id, None)` before it
    calls anything else, because each call is a place where the next one may come.
    """

    report: HangReport | None = None
    thread_id = 0
    take_back: Any = _take_back

    def __init__(self, report: HangReport | None = None) -> None:
        if report is not None:
            self.report = report
        super().__init__("held the processor too long" if self.report is None else self.report.summary)


def raise_in(thread_id: int, report: HangReport, count: int) -> None:
    """Raise `Hang` in a thread, `count` times: the next one as soon as one is caught."""
    _raise_in(thread_id, hang_class(thread_id, report, count))


def take_back(thread_id: int) -> None:
    """Let no `Hang` be raised in a thread that was not raised yet."""
    _take_back(thread_id, None)


class _Nothing(BaseException):
    """Raised and caught in `forget`."""


def forget(thread_id: int) -> None:
    """After `take_back`, in the thread itself: let Python forget that something was to be raised.

    CPython 3.11 and 3.12 take the mark away only with an exception. With it set, each bytecode that looks takes a slow
    path, and under a trace function the interpreter is caught in it.
    """
    try:
        _raise_in(thread_id, _Nothing)
        for _ in range(100):
            pass
    except _Nothing:
        pass


def hang_class(thread_id: int, report: HangReport, count: int) -> type[Hang]:
    """A class whose instances carry `report`: Python raises a class, not an object, in another thread."""
    # Programs and people see the name in tracebacks: the one that they can import.
    members = {"report": report, "thread_id": thread_id, "__module__": Hang.__module__}
    last = made = type("Hang", (Hang,), members)
    for _ in range(count - 1):
        # Python makes an instance when something catches the class. That must call nothing but C: a function in Python
        # would be the very place where the next one is raised.
        again = staticmethod(functools.partial(_raise_in, thread_id, made))
        made = type("Hang", (last,), {**members, "__init__": again})
    return made
