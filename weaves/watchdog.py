"""The watchdog: a program that keeps the processor, or the clock, from everybody else is named and stopped.

A thread of the machine looks at the run some times a second. It reads counters that the scheduler keeps anyway, so a
healthy run pays nothing. Two things can be wrong for `limit_s` real seconds:

- no turn and no event has ended: some code *holds the processor*. Its stack is read, and `Hang` is raised in it, again
  and again if it is caught;
- turns go on and the clock stands: a *livelock*. Then the turns are counted for a while, string by string, and the one
  that takes them is stopped between two of its turns. Packets that arrive meanwhile may mean a long transfer over a
  link without delay, which gets ten times as long.

What the machine's clock decides here is never part of a run that is repeatable: a run that was stopped says so.
C code that does not let go of the interpreter cannot be looked at from Python. faulthandler, in C, tells where it is
(`dump`); the rest is told, and the code stopped, when it comes back. In the main thread a signal, SIGVTALRM, reaches
into calls that heed signals (`re`, a lock).
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import functools
import io
import signal
import sys
import threading
from asyncio import base_events, events, runners, tasks
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from weaves import interpose
from weaves.bridge import Flow
from weaves.hang import (
    OURS,
    OWN,
    Hang,
    HangReport,
    Spot,
    forget,
    frames_of,
    hang_class,
    kind_of,
    raise_in,
    spots_of,
    spots_of_coroutine,
    take_back,
)
from weaves.here import pins
from weaves.locks import machine_ident
from weaves.loop import WeaveLoop
from weaves.scheduler import BUDGET_SPENT, Call
from weaves.strings import String, string_in
from weaves.weave import Weave

if TYPE_CHECKING:
    from weaves.supervisor import Supervisor

OnHang: TypeAlias = Literal["string", "run"]
# What is stopped.
THE_STRING: Final = "string"
THE_RUN: Final = "run"

# What `weave run` allows, in real seconds.
DEFAULT_S: Final = 10.0

# Looks of the thread at the run: so many in `limit_s`, within these bounds, in seconds.
_LOOKS: Final = 10
_LOOK_MIN_S: Final = 0.01
_LOOK_MAX_S: Final = 0.5

# Of a hang that is found: how long to wait for a better moment to raise, how often at most, and between two attempts.
_MOMENT_S: Final = 0.002
_MOMENTS: Final = 500
_POLITE_ATTEMPTS: Final = 3
_RUDE_S: Final = 0.01
_AT_ONCE: Final = 8

# A string that takes so many turns while the clock stands is in a livelock. Strings that start at one instant, however
# many, take a few each.
_TURNS: Final = 1_000
# How much longer the clock may stand while packets arrive.
_WITH_PACKETS: Final = 10
# A clock that goes so slowly stands, too: due timers that lead to each other move it by a nanosecond now and then
# (loop.py).
_STANDING_NS_PER_S: Final = 100_000
# Handles of one turn that are looked at; a loop may have thousands.
_HANDLES: Final = 50

# Files that call programs and are no place to raise in: an exception there would not meet the program.
_CALLERS: Final = frozenset(
    str(module.__file__) for module in (events, base_events, runners, tasks, contextlib, threading)
)

perf_counter = interpose.real_perf_counter


class Watchdog:
    """Watches one run. `limit_s` is in real seconds; `on_hang` says what is stopped.

    `dump`: let faulthandler tell of C code that never lets go. It has one timer a process, so only who owns the process
    may ask for that.
    """

    def __init__(
        self, supervisor: Supervisor, limit_s: float, on_hang: OnHang = THE_RUN, *, dump: bool = False
    ) -> None:
        assert limit_s > 0, "no watchdog is None, not one without patience"
        self.limit_s = limit_s
        self.on_hang: OnHang = on_hang
        self.subject = "the run"  # of code that no weave is pinned for
        self._supervisor = supervisor
        self._scheduler = supervisor.scheduler
        self._look_s = min(max(limit_s / _LOOKS, _LOOK_MIN_S), _LOOK_MAX_S)
        self._dump = dump
        self._depth = 0
        # Of the run's thread, while it is watched.
        self._inside = False
        self._loading = False
        self._thread_id = 0
        self._pins: dict[str, Any] = {}
        self._has_signal = False
        self._signal_hang: type[Hang] | None = None
        # What the thread saw last, and for how many seconds it has been so.
        self._seen: tuple[Any, ...] = ()
        self._seen_at = 0.0
        self._looked_at = 0.0
        self._held_s = 0.0
        self._clock_ns = -1
        self._still_s = 0.0
        self._standing_ns = int(limit_s * _STANDING_NS_PER_S)
        # Of a clock that stands: whether turns are counted, those counts, and strings that were stopped for it before.
        self._counting = False
        self._counts: dict[Weave | None, dict[String | Weave, _Tally]] = {}
        self._counting_ns = -1
        self._packets = 0
        self._stopped: set[String | Weave] = set()
        # Hangs that were raised, until the string that they are of is seen to end.
        self._raised: list[HangReport] = []
        self._sent = False  # a Hang was sent to the thread

    # In the run's thread

    @contextlib.contextmanager
    def on_duty(self) -> Iterator[None]:
        """A context in which the thread looks, at what is `watched`. Entered within itself it does nothing more.

        Under a debugger nobody looks: a person at a breakpoint takes longer than any limit.
        """
        if self._depth or sys.gettrace() is not None:
            yield
            return
        self._depth += 1
        over = threading.Event()
        self._looked_at = self._seen_at = perf_counter()
        self._held_s = self._still_s = 0.0
        thread = threading.Thread(target=self._look_on, args=(over,), name="weaves watchdog", daemon=True)
        with self._signal():
            self._arm_timer()
            thread.start()
            try:
                yield
            finally:
                over.set()
                thread.join()
                if self._sent:
                    self._sent = False
                    forget(self._thread_id)
                self._depth -= 1

    @contextlib.contextmanager
    def watched(self, subject: str = "the run", *, loading: bool = False) -> Iterator[None]:
        """A context whose code is looked at. `subject` is what to call it while no weave is pinned.

        `loading`: there is no run yet, and who loads deals with the hang, see `take_raised`.
        """
        before = self._inside, self.subject, self._loading
        self._thread_id = machine_ident()
        self._pins = pins()
        self.subject = subject
        self._loading = loading
        self._inside = True
        try:
            yield
        finally:
            self._inside, self.subject, self._loading = before

    def run(self, until_ns: int, budget: int) -> int:
        """As `Scheduler.run`, and deal with what the thread has found."""
        try:
            if self._counting:
                return self._run_counting(until_ns, budget)
            return self._scheduler.run(until_ns, budget)
        except Hang as hang:
            # Raised a moment too late: the code that it was meant for had given the processor back.
            hang.take_back(hang.thread_id, None)
            return BUDGET_SPENT
        finally:
            if self._sent:
                self._sent = False
                forget(self._thread_id)
            if self._raised:
                self.settle()

    def settle(self) -> None:
        """See to it that what hung ends, also where its code has caught the exception."""
        raised, self._raised = self._raised, []
        for report in raised:
            self._tell(report)
            if _is_answered(report):
                continue
            string = report.string or _first_running(report.weave)
            if string is None:
                if self.on_hang == THE_RUN:
                    self._supervisor.halt(report)
            elif not string.over:
                ending = (string.flow is not None and string.flow.ended) or (
                    string.task is not None and string.task.done()
                )
                if not ending:  # otherwise its end is on its way, with the traceback
                    string.fail(Hang(report))

    def take_raised(self) -> list[HangReport]:
        """The hangs that were raised and not settled, for who settles them otherwise."""
        raised, self._raised = self._raised, []
        self._scheduler.forget_stop()
        for report in raised:
            self._tell(report)
        return raised

    def _tell(self, report: HangReport) -> None:
        if not report.told:
            report.told = True
            self._supervisor.hang(report)

    # In the thread of the machine

    def _look_on(self, over: threading.Event) -> None:
        dump_s = max(self.limit_s, self._look_s) + 2 * _LOOK_MAX_S
        dump_to = _descriptor(sys.stderr) if self._dump else None
        dump_armed = -_LOOK_MAX_S
        try:
            while True:
                now = perf_counter()
                if dump_to is not None and now - dump_armed >= _LOOK_MAX_S:
                    dump_armed = now
                    faulthandler.dump_traceback_later(dump_s, file=dump_to)
                self._arm_timer()
                self._look(now, over)
                if over.wait(self._look_s):
                    break
        finally:
            if dump_to is not None:
                faulthandler.cancel_dump_traceback_later()

    def _look(self, now: float, over: threading.Event) -> None:
        # A process that was stopped, or a machine that has no time for it, is no hang: late looks count as one or two.
        passed = min(now - self._looked_at, 2 * self._look_s)
        self._looked_at = now
        seen = self._progress()
        # Between two slices nothing holds the processor. But the clock may stand all the same, and there this thread
        # looks more often than not: where the run's thread waits for the machine it lets go of the interpreter.
        works = self._inside or seen[:1] != self._seen[:1]
        if seen == self._seen and self._inside:
            self._held_s += passed
        else:
            self._seen, self._seen_at = seen, now
            self._held_s = 0.0
        clock_ns = int(self._scheduler.now_ns)
        if 0 <= clock_ns - self._clock_ns < self._standing_ns:
            self._still_s += passed if works else 0.0
        else:
            self._clock_ns = clock_ns
            self._still_s = 0.0
        if self._held_s >= self.limit_s:
            self._pursue(over)
            self._held_s = 0.0
            self._looked_at = perf_counter()
        elif self._still_s >= self.limit_s / 2:
            self._counting = True

    def _progress(self) -> tuple[Any, ...]:
        """Equal as long as one piece of code has the processor."""
        scheduler = self._scheduler
        done = int(scheduler.fired) + int(scheduler.turns_taken)
        # By identity: a program's classes may compare in any way they like, these are ours and do not.
        return done, id(self._pins.get("weave")), id(self._pins.get("flow")), self.subject

    def _pursue(self, over: threading.Event) -> None:
        """Some code holds the processor: tell who, and raise in it until it lets go."""
        seen = self._seen
        report: HangReport | None = None
        attempts = 0
        looks = 0
        try:
            while not over.is_set() and self._inside and self._progress() == seen:
                looks += 1
                frame = sys._current_frames().get(self._thread_id)
                if frame is None or _is_debugged(frame):
                    return
                # Mostly the program's line is seen at the first look, unless it calls something of ours all the time.
                if report is None and (_is_raisable(frame) or looks > _MOMENTS // 10):
                    report = self._report_of(frame)
                    self._tell(report)
                    self._raised.append(report)
                    self._scheduler.stop()  # as soon as it lets go, so that nothing comes before `settle`
                if report is not None and self._raise(report, looks > _MOMENTS, attempts):
                    attempts += 1
                    looks = 0
                    polite = attempts < _POLITE_ATTEMPTS
                    over.wait(max(self.limit_s / 4, _LOOK_MIN_S * 5) if polite else _RUDE_S)
                else:
                    over.wait(_MOMENT_S)
        finally:
            self._signal_hang = None
            take_back(self._thread_id)
            self._sent = True

    def _raise(self, report: HangReport, anywhere: bool, attempts: int) -> bool:
        """Raise `Hang` in the run's thread, if that is at a place where it can be."""
        # Looked at again, right before: a thread that waits for the interpreter hears of the exception at this place.
        frame = sys._current_frames().get(self._thread_id)
        if frame is None or not (anywhere or _is_raisable(frame)):
            return False
        self._sent = True
        # The first ones leave its `finally` clauses alone.
        count = min(max(1, attempts - _POLITE_ATTEMPTS + 2), _AT_ONCE)
        if attempts and self._has_signal:
            # It may wait in a call of C that only a signal ends.
            take_back(self._thread_id)
            self._signal_hang = hang_class(self._thread_id, report, count)
            signal.pthread_kill(self._thread_id, signal.SIGVTALRM)
        else:
            raise_in(self._thread_id, report, count)
        return True

    def _report_of(self, frame: FrameType) -> HangReport:
        weave, string = _who(frame, self._pins)
        if self._loading or weave is self._scheduler.collector:
            weave = string = None
        real_s = perf_counter() - self._seen_at
        what = f"has held the processor for {real_s:.1f} s of real time"
        return HangReport(
            int(self._scheduler.now_ns), real_s, weave, string, self.subject, what, spots_of(frame, _CALLS),
            self._consequence(string),
        )  # fmt: skip

    def _consequence(self, string: String | None) -> str:
        if self.on_hang == THE_RUN and not self._loading:
            return "the run is stopped"
        what = "this code" if string is None else "the string"
        if self._loading:
            return f"{what} is stopped; the tapestry is not run"
        return f"{what} is stopped; the run goes on, and is not repeatable"

    # The signal, for calls of C that heed it

    @contextlib.contextmanager
    def _signal(self) -> Iterator[None]:
        """A context in which SIGVTALRM is ours, if it can be."""
        main = threading.current_thread() is threading.main_thread()
        if not main or interpose.real_getsignal(signal.SIGVTALRM) is not signal.SIG_DFL:
            yield
            return
        interpose.real_signal(signal.SIGVTALRM, self._on_signal)
        self._has_signal = True
        try:
            yield
        finally:
            self._has_signal = False
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            interpose.real_signal(signal.SIGVTALRM, signal.SIG_DFL)

    def _arm_timer(self) -> None:
        # It runs out only if this thread cannot set it again: because C code keeps the interpreter from it.
        if self._has_signal:
            signal.setitimer(signal.ITIMER_VIRTUAL, self.limit_s + 2 * self._look_s)

    def _on_signal(self, _signum: int, frame: FrameType | None) -> None:
        if not self._inside or frame is None or machine_ident() != self._thread_id:
            return
        hang, self._signal_hang = self._signal_hang, None
        if hang is None:
            if perf_counter() - self._seen_at < self.limit_s or self._progress() != self._seen or _is_debugged(frame):
                return
            if not _is_raisable(frame):
                return
            report = self._report_of(frame)
            self._raised.append(report)
            self._scheduler.stop()
            self._seen = ()
            hang = hang_class(self._thread_id, report, 1)
        raise hang

    # A clock that stands

    def _run_counting(self, until_ns: int, budget: int) -> int:
        """As `Scheduler.run`, one turn or event at a time, noting whose it is."""
        scheduler = self._scheduler
        if self._counting_ns < 0:
            self._start_counting(int(scheduler.now_ns))
        for _ in range(budget):
            if scheduler.turns:
                self._note(scheduler.turns[0])
            elif scheduler._heap and not isinstance(scheduler._heap[0], Call):
                self._packets += 1
            reason = scheduler.run(until_ns, 1)
            if reason != BUDGET_SPENT:
                return reason
            if scheduler.now_ns - self._counting_ns >= self._standing_ns:
                self._counting = False
                self._counting_ns = -1
                self._counts.clear()
                return BUDGET_SPENT
        return BUDGET_SPENT

    def _start_counting(self, now_ns: int) -> None:
        self._counting_ns = now_ns
        self._counts.clear()
        self._packets = 0
        self._stopped.clear()

    def _note(self, taker: Any) -> None:
        """`taker` has the next turn."""
        loop = taker if isinstance(taker, WeaveLoop) else _loop_in(taker)
        flow = taker if isinstance(taker, Flow) else None if loop is None else loop._flow
        weave: Weave = taker.weave
        handles = [] if loop is None else [handle for handle in list(loop._ready)[:_HANDLES] if not handle._cancelled]
        of_weave = self._counts.setdefault(weave, {})
        owners: dict[String | Weave, list[asyncio.Handle]] = {}
        for handle in handles:
            owners.setdefault(_string_of(handle) or weave, []).append(handle)
        if flow is not None and not owners:
            owners[_string_of_flow(flow) or weave] = []
        for owner, its in owners.items():
            tally = of_weave.get(owner)
            if tally is None:
                tally = of_weave[owner] = _Tally(weave, owner)
            tally.turns += 1
            # A bare yield keeps itself going; what was woken may be the victim of who wakes it.
            tally.yields += any(_is_bare_yield(handle) for handle in its)
            if tally.turns >= _TURNS and self._is_due() and tally is self._worst():
                self._end_livelock(tally, its, flow)

    def _is_due(self) -> bool:
        limit_s = self.limit_s * (_WITH_PACKETS if self._packets else 1)
        return self._still_s >= limit_s

    def _tallies(self) -> list[_Tally]:
        return [tally for of_weave in self._counts.values() for tally in of_weave.values()]

    def _worst(self) -> _Tally:
        return max(self._tallies(), key=lambda tally: (tally.yields >= _TURNS // 2, tally.turns // (_TURNS // 2)))

    def _end_livelock(self, tally: _Tally, handles: list[asyncio.Handle], flow: Flow | None) -> None:
        """Stop who takes the turns. `handles` are those that it has in the turn to come, `flow` what runs them."""
        string = tally.owner if isinstance(tally.owner, String) else None
        others = [other for other in self._tallies() if other is not tally and other.turns >= _TURNS // 2]
        what = (
            f"took {tally.turns:,} turns while the virtual clock stood still for {self._still_s:.1f} s of real time"
        )
        if others:
            what += f" ({'; '.join(other.name for other in others[:5])} took as many)"
        report = HangReport(
            int(self._scheduler.now_ns), self._still_s, tally.weave, string, self.subject, what,
            _spots_of_turn(handles, flow), self._consequence(string),
        )  # fmt: skip
        self._tell(report)
        again = tally.owner in self._stopped
        self._stopped.add(tally.owner)
        for handle in handles:
            task = _task_of(handle)
            if task is None:
                handle.cancel()
            elif again:
                # It has caught its cancellation, and goes on: its next step never comes.
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                handle.cancel()
        blamed = string or _first_running(tally.weave)
        if blamed is not None and not blamed.over:
            blamed.fail(Hang(report))
        elif blamed is None and self.on_hang == THE_RUN:
            self._supervisor.halt(report)
        for handle in handles:
            task = _task_of(handle)
            if task is not None:
                task.cancel()
        if flow is not None and not flow.ended and (string is None or string.flow is not flow):
            if again:
                flow.abandon()
            else:
                flow.kill()
        self._counts.clear()
        self._still_s = self.limit_s / 2


class _Tally:
    """How many turns a string took, or a weave's code that is no string's."""

    def __init__(self, weave: Weave, owner: String | Weave) -> None:
        self.weave = weave
        self.owner = owner
        self.turns = 0
        self.yields = 0

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.owner.name} on {self.weave.host.name}"


# Who


def _who(frame: FrameType, pinned: dict[str, Any]) -> tuple[Weave | None, String | None]:
    """The weave and the string whose code `frame` runs, in a thread whose pins are `pinned`."""
    weave: Weave | None = pinned.get("weave")
    flow: Flow | None = pinned.get("flow")
    string: String | None = None
    for one in frames_of(frame):
        if one.f_code is _HANDLE_RUN:
            string = _string_of(one.f_locals["self"])
            break
        if one.f_code is _FLOW_MAIN:
            flow = one.f_locals["self"]
    if string is None and flow is not None:
        weave = flow.weave
        string = _string_of_flow(flow)
    if string is None and weave is not None and len(weave.strings) == 1:
        string = weave.strings[0]  # a weave's only string: whatever runs in it is for it
    return (weave if string is None else string.weave), string


_HANDLE_RUN: Final = events.Handle._run.__code__
_FLOW_MAIN: Final = Flow._main.__code__
_RUN_FOREVER: Final = WeaveLoop.run_forever.__code__
# Where the machine's side ends and programs begin.
_CALLS: Final = frozenset((_FLOW_MAIN, WeaveLoop.turn.__code__, Flow.turn.__code__, Flow.kill.__code__))


def _string_of(handle: asyncio.Handle) -> String | None:
    context = getattr(handle, "_context", None)
    return None if context is None else string_in(context)


def _is_answered(report: HangReport) -> bool:
    """Whether a string has failed for it already."""
    if report.weave is None:
        return False
    errors = [string.error for string in report.weave.strings]
    return any(isinstance(error, Hang) and error.report is report for error in errors)


def _first_running(weave: Weave | None) -> String | None:
    """The string that answers for code of `weave` that is no string's, such as the handler of a signal."""
    return None if weave is None else next((string for string in weave.strings if not string.over), None)


def _string_of_flow(flow: Flow) -> String | None:
    for string in flow.weave.strings:
        if string.flow is flow:
            return string
    return flow.string


def _loop_in(flow: Any) -> WeaveLoop | None:
    """The loop that a parked flow runs, if it does."""
    for frame in frames_of(flow.frame):
        if frame.f_code is _RUN_FOREVER:
            loop: WeaveLoop = frame.f_locals["self"]
            return loop
    return None


def _task_of(handle: asyncio.Handle) -> asyncio.Task[Any] | None:
    owner = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]
    return owner if isinstance(owner, asyncio.Task) else None


def _is_bare_yield(handle: asyncio.Handle) -> bool:
    return type(handle._callback).__name__ == "TaskStepMethWrapper"  # type: ignore[attr-defined]


def _spots_of_turn(handles: list[asyncio.Handle], flow: Flow | None) -> list[Spot]:
    """Where the code is that has the next turn."""
    for handle in handles:
        task = _task_of(handle)
        if task is not None:
            return spots_of_coroutine(task.get_coro())
        callback: Any = handle._callback  # type: ignore[attr-defined]
        while isinstance(callback, functools.partial):
            callback = callback.func
        code = getattr(getattr(callback, "__func__", callback), "__code__", None)
        if code is not None:
            return [Spot(code.co_filename, code.co_firstlineno, code.co_qualname)]
    return [] if flow is None else spots_of(flow.frame, _CALLS)


# Raising


def _is_raisable(frame: FrameType) -> bool:
    """Whether an exception at `frame` meets a program, and no work of ours that is half done."""
    file = frame.f_code.co_filename
    return file not in _CALLERS and kind_of(file) != OURS


def _is_debugged(frame: FrameType) -> bool:
    return any(one.f_trace is not None or one.f_globals.get("__name__") == "bdb" for one in frames_of(frame))


def _descriptor(stream: Any) -> int | None:
    try:
        return int(stream.fileno())
    except (AttributeError, OSError, ValueError, io.UnsupportedOperation):
        return None


__all__ = ["DEFAULT_S", "OWN", "THE_RUN", "THE_STRING", "Hang", "HangReport", "OnHang", "Watchdog"]
