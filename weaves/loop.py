"""The event loop of a weave, in virtual time.

It is asyncio's own BaseEventLoop with two things changed: the clock and the timers are the scheduler's, and instead of
a selector it is the scheduler that says when to go on. Sockets are added by a subclass (lunar/asyncio/loop.py).

It runs in one of two ways. A host's own loop is *direct*: the scheduler calls `turn` whenever callbacks are ready. A
program's loop (from `asyncio.run`) runs inside the program's blocking flow, in `run_forever`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
import warnings
import weakref
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, Final, TypeVar

import greenlet

from weaves.bridge import Flow, current_flow
from weaves.directory import directory
from weaves.here import here
from weaves.process import refuse_process
from weaves.runner import LoopFlow, Runner
from weaves.scheduler import FOREVER, Call
from weaves.threads import current_state
from weaves.unwinding import discard_coroutines

if TYPE_CHECKING:
    from weaves.weave import Weave

_T = TypeVar("_T")
_NS: Final = 1_000_000_000
# A timer that is due when it is set fires at this very instant. Each time that one has led to the next so often, the
# clock goes on by a nanosecond: a machine's always goes on, and some programs wait for that. aioquic's loss detection
# does: by rounding, a packet that is lost at `sent + delay` is not yet lost at that time by `sent <= now - delay`.
_ROUNDS_OF_AN_INSTANT: Final = 100
# A timer for later than this, or for infinity, needs no event: no run goes on for so long.
_NEVER_S: Final = FOREVER / _NS


class HostFuture(asyncio.Future[_T]):
    """A future that hashes by its number in its loop, so that a set of futures has the same order in every run."""

    _number: int

    def __hash__(self) -> int:
        return self._number


class HostTask(asyncio.Task[_T]):
    """A task that hashes by its number in its loop."""

    _number: int

    def __hash__(self) -> int:
        # asyncio registers a task in a WeakSet from within __init__, before the loop could number it.
        try:
            return self._number
        except AttributeError:
            loop = self.get_loop()
            assert isinstance(loop, WeaveLoop)
            self._number = loop.next_number()
            return self._number


# Programs see these names, in `repr` and in logs: the ones that asyncio has.
HostFuture.__name__ = HostFuture.__qualname__ = "Future"
HostTask.__name__ = HostTask.__qualname__ = "Task"


class TimerHandle(asyncio.TimerHandle):
    """A timer and its event on the scheduler's heap."""

    __slots__ = ("event", "round")
    event: Call
    round: int  # how many due timers led to this one within its instant


# typeshed leaves out what a loop's author needs of BaseEventLoop (_ready, _closed, _stopping ...): to the type checker
# the base is Any, and it checks the rest.
_Base: Any = asyncio.BaseEventLoop


class WeaveLoop(_Base):  # type: ignore[misc]
    """An event loop of `weave`. `direct`: the scheduler runs it from the start, without `run_forever`."""

    _direct = False  # BaseEventLoop.__init__ asks already whether the loop runs
    # The class that the program named when it made the loop; set by interpose/loop_classes.py.
    stands_for: type[asyncio.AbstractEventLoop] | None = None

    def __init__(self, weave: Weave, direct: bool = False) -> None:
        super().__init__()
        self.weave = weave
        self._scheduler = weave.scheduler
        self._turns = weave.scheduler.turns
        self._lane = weave.lane
        self._clock_resolution = 1e-9
        self._direct = direct
        self._discarded = False
        self._stopping = False
        self._thread_id: int | None = None
        self._flow: Flow | None = None
        # In the scheduler's queue, or running: then it must not be put there again.
        self._queued = not direct
        self.tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()  # filled by interpose/task_registry.py
        # The default executor, if the program named one; otherwise the functions that run as its own would.
        self._executor: concurrent.futures.ThreadPoolExecutor | None = None
        self._executor_is_over = False
        self._pool = 0
        self._pool_is_idle: asyncio.Future[None] | None = None
        # The flow of a callback that blocks, in a turn of a direct loop.
        self._borrowed: LoopFlow | None = None
        self._numbers = 0
        self._task_names = 0
        weave.loops[self] = None
        self.timers = 0  # that are on the scheduler's heap
        self._fired_ns = -1  # when the last timer fired, and its round
        self._fired_round = 0

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        # `isinstance` asks an object for it besides its type: uvloop.run checks that it got a loop of uvloop's.
        return self.stands_for or type(self)

    # Time

    def time(self) -> float:
        """Seconds of virtual time, from the monotonic clock of the host."""
        return int(self._scheduler.now_ns) / _NS

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> TimerHandle:
        if delay is None:
            raise TypeError("delay must not be None")
        timer = self.call_at(self.time() + delay, callback, *args, context=context)
        _leave_out_innermost(timer)
        return timer

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> TimerHandle:
        if when is None:
            raise TypeError("when cannot be None")
        self._check_closed()
        if self._debug:
            self._check_caller(callback, "call_at")
        timer = TimerHandle(when, callback, args, self, context)
        _leave_out_innermost(timer)
        event = timer.event = Call(self._timer_fired, timer)
        timer.round = 0
        if when < _NEVER_S and not self._closed:  # closed and yet called: see HostLoop._check_closed
            now = int(self._scheduler.now_ns)
            # The nearest nanosecond, because sums of decimal fractions miss by less than one. A timer that lies ahead
            # at all, in the program's seconds, moves the clock, or waiting out a rounding error would never end.
            at_ns = round(when * _NS)
            if at_ns <= now:
                timer.round = self._fired_round + 1 if self._fired_ns == now else 1
                at_ns = now
                if when > self.time() or timer.round > _ROUNDS_OF_AN_INSTANT:
                    at_ns, timer.round = now + 1, 0
            self._scheduler.post(event, self._lane, at_ns)
            self.timers += 1
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def _timer_fired(self, timer: TimerHandle) -> None:
        timer._scheduled = False  # type: ignore[attr-defined]
        timer.event.argument = None  # the timer, which leads back; what it holds is freed without the collector
        self.timers -= 1
        self._fired_ns = int(self._scheduler.now_ns)
        self._fired_round = timer.round
        self.run_handle(timer)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        assert isinstance(handle, TimerHandle)
        if handle.event.queued:
            self.timers -= 1
            self._scheduler.cancel(handle.event)
            handle.event.argument = None

    # Callbacks

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        if self._closed:
            self._check_closed()
        if self._debug:
            self._check_caller(callback, "call_soon")
        return self._append(callback, args, context)

    def _check_caller(self, callback: Callable[..., object], method: str) -> None:
        """What asyncio's debug mode checks; not where no thread of the weave calls, but the host's stack."""
        if here.weave is not None:
            self._check_thread()
        self._check_callback(callback, method)

    def _append(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context | None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if self._debug:
            _leave_out_innermost(handle)  # this function, and below its caller
            _leave_out_innermost(handle)
        self._ready.append(handle)
        if not self._queued:
            self._queued = True
            self._turns.append(self)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        self._check_closed()
        if self._debug:
            self._check_callback(callback, "call_soon_threadsafe")
        return self._append(callback, args, context)

    def run_handle(self, handle: asyncio.Handle) -> None:
        """Let `handle` run at the loop's next turn: what a selector would do with the handle of a ready descriptor."""
        self._ready.append(handle)
        if not self._queued and not self._closed:
            self._queued = True
            self._turns.append(self)

    # Running

    def turn(self) -> None:
        """Run what is ready now; what that makes ready runs at the next turn. Only the scheduler calls this."""
        held = self.weave.held
        if held is not None:
            held.append(self)
            return
        if not self._direct:
            # Its own flow runs it, unless it has gone on already, or the loop was stopped since.
            flow = self._flow
            if flow is not None:
                flow.go_on()
            return
        weave = here.weave = self.weave
        if weave.cwd is not directory.now:
            directory.enter(weave.cwd)
        asyncio._set_running_loop(self)
        try:
            self._run_ready()
        except SystemExit:
            # It has ended the task that raised it, which is a string or belongs to one; the string's end is reported.
            pass
        finally:
            asyncio._set_running_loop(None)
            here.weave = None
            if self._ready and not self._closed:
                self._turns.append(self)
            else:
                self._queued = False
            flow, self._borrowed = self._borrowed, None
            if flow is not None:
                flow.turn_is_over()

    def flow_of_turn(self) -> Flow | None:
        """A flow for a callback of this turn that blocks, None if it is no turn of a direct loop's."""
        if not self._direct or not isinstance(greenlet.getcurrent(), Runner):
            return None
        flow = self._borrowed = here.flow = LoopFlow(self)
        return flow

    def _run_ready(self) -> None:
        ready = self._ready
        handle: asyncio.Handle | None
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()
            # A failed task's traceback holds this frame (from Python 3.12 on); so the task would hold itself.
            handle = None

    def run_forever(self) -> None:
        """Run until `stop`, inside a blocking flow; the scheduler has the processor whenever nothing is ready."""
        self._check_closed()
        if self._direct:
            raise RuntimeError("This event loop is already running")
        self._check_running()
        flow = current_flow()
        self._thread_id = threading.get_ident()
        self._queued = True
        asyncio._set_running_loop(self)
        try:
            while True:
                self._run_ready()
                if self._stopping:
                    break
                if self._ready:
                    flow.wake()
                else:
                    self._flow = flow
                    self._queued = False
                flow.park()
                self._flow = None
                self._queued = True
        finally:
            self._flow = None
            self._queued = True
            self._stopping = False
            self._thread_id = None
            asyncio._set_running_loop(None)

    @property
    def has_ready(self) -> bool:
        """Whether callbacks wait for its next turn."""
        return bool(self._ready)

    @property
    def is_blocked(self) -> bool:
        """Whether a callback of it is in the middle of a blocking call."""
        return (self._borrowed is not None and self._borrowed.has_parked) or (
            not self._direct and self._thread_id is not None and self._flow is None
        )

    def is_running(self) -> bool:
        return (self._direct and not self._closed) or self._thread_id is not None

    def stop(self) -> None:
        if self._direct:
            raise RuntimeError("the loop of a host cannot be stopped from inside; end the string instead")
        super().stop()
        if self._flow is not None:
            self._flow.wake()

    def close(self) -> None:
        if self._direct:
            # It has no `run_forever` to leave; the end of the run closes it.
            self._direct = False
        super().close()
        self._queued = True
        self.weave.loops.pop(self, None)
        self.weave.signals.loop_closed(self)

    def discard(self) -> None:
        """Close the loop at the end of the run, whatever is left in it: its tasks will not run again."""
        if self._closed:
            return
        self._discarded = True
        for task in self.tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._thread_id = None
        self.close()

    def vanish(self) -> None:
        """Let the loop go with its tasks, without running any more of them."""
        coroutines: list[Any] = []
        task: asyncio.Task[Any] | None = None
        for task in self.tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutines.append(task.get_coro())
        del task
        ready = self._ready
        # `close` would let go of what is ready where its destructors could run.
        self._ready: deque[asyncio.Handle] = deque()
        self._thread_id = None
        self._discarded = True
        if not self._closed:
            self.close()
        discard_coroutines(coroutines, [ready.clear])

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._discarded and self.weave.gone:
            return
        if self.weave.supervisor.closing and isinstance(context.get("exception"), asyncio.CancelledError):
            # The end of the run cancels what still runs. Callbacks that ask a cancelled task for its exception, as
            # those of start_server do until Python 3.12, are no news.
            return
        # Some errors are noticed only when the collector finds what held them, outside of any turn.
        outer, here.weave = here.weave, self.weave
        try:
            super().call_exception_handler(context)
        finally:
            here.weave = outer

    def _process_events(self, event_list: object) -> None:
        raise AssertionError("a weave's loop has no selector")

    def _write_to_self(self) -> None:
        """Nothing to do: there is no selector to interrupt."""

    # Tasks and futures that a set holds in the order of their making

    def next_number(self) -> int:
        """The number of the next task or future of this loop."""
        self._numbers += 1
        return self._numbers

    def create_future(self) -> HostFuture[Any]:
        future: HostFuture[Any] = HostFuture(loop=self)
        self._numbers += 1
        future._number = self._numbers
        return future

    def create_task(
        self,
        coro: Generator[Any, None, _T] | Coroutine[Any, Any, _T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
        **kwargs: Any,
    ) -> asyncio.Task[_T]:
        self._check_closed()
        if name is None:
            self._task_names += 1
            name = f"Task-{self._task_names}"
        if self._task_factory is not None:
            if context is not None:
                kwargs["context"] = context
            task: asyncio.Task[_T] = self._task_factory(self, coro, **kwargs)
            task.set_name(name)
            return task
        made: HostTask[_T] = HostTask(coro, loop=self, name=str(name), context=context, **kwargs)
        return made

    # Executors and signals

    def run_in_executor(
        self, executor: Any, func: Callable[..., _T], *args: Any
    ) -> asyncio.Future[_T]:
        """Run `func(*args)` in a thread of the same weave.

        Those of the default executor, None, are as many as there are functions to run. (The standard library has five
        more than the machine has processors, and the run would depend on the machine.)
        """
        self._check_closed()
        if executor is None:
            if self._executor_is_over:
                raise RuntimeError("Executor shutdown has been called")
            executor = self._executor
        if executor is not None:
            return asyncio.wrap_future(executor.submit(func, *args), loop=self)
        future: asyncio.Future[_T] = self.create_future()

        threads = self.weave.threads
        thread = threads.pool_thread()

        def ended(result: Any, error: BaseException | None) -> None:
            threads.pool_thread_ended(thread)
            self._pool -= 1
            if self._closed:
                return
            if self._pool == 0 and self._pool_is_idle is not None and not self._pool_is_idle.done():
                self._pool_is_idle.set_result(None)
            if future.cancelled():
                return
            if error is None:
                self.call_soon(_settle, future, result, None)
            else:
                self.call_soon(_settle, future, None, error)

        self._pool += 1
        self.weave.spawn(lambda: func(*args), ended, thread)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait until all functions that were given to the default executor have returned, or for `timeout` seconds."""
        self._executor_is_over = True
        executor, self._executor = self._executor, None
        if executor is not None:
            thread = self.weave.threads.pool_thread()
            over: asyncio.Future[None] = self.create_future()

            def ended(_result: Any, error: BaseException | None) -> None:
                self.weave.threads.pool_thread_ended(thread)
                if not self._closed and not over.done():
                    self.call_soon(_settle, over, None, error)

            self.weave.spawn(lambda: executor.shutdown(wait=True), ended, thread)
        elif self._pool:
            over = self._pool_is_idle = self.create_future()
        else:
            return
        try:
            await asyncio.wait_for(over, timeout)
        except TimeoutError:
            warnings.warn(
                f"The executor did not finish joining its threads within {timeout} seconds.",
                RuntimeWarning,
                stacklevel=2,
            )

    def set_default_executor(self, executor: Any) -> None:
        """Let `run_in_executor(None, ...)` use the threads of this one."""
        if not isinstance(executor, concurrent.futures.ThreadPoolExecutor):
            raise TypeError("executor must be ThreadPoolExecutor instance")
        self._executor = executor

    async def _make_subprocess_transport(self, *_args: Any, **_kwargs: Any) -> Any:
        refuse_process()

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        """Call `callback` when the virtual signal `sig` is delivered to this weave."""
        if asyncio.iscoroutine(callback) or asyncio.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        self._check_closed()
        if here.flow is not None and not current_state().is_string:
            # What asyncio makes of the ValueError.
            raise RuntimeError("set_wakeup_fd only works in main thread of the main interpreter")
        handle = events.Handle(callback, args, self, None)
        self.weave.signals.set_loop_handler(sig, handle)

    def remove_signal_handler(self, sig: int) -> bool:
        return self.weave.signals.remove_loop_handler(sig)


def _leave_out_innermost(handle: Any) -> None:
    """Let where the handle was made, which asyncio's debug mode keeps, end with the program's own frame."""
    if handle._source_traceback:
        del handle._source_traceback[-1]


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):
        # A future refuses it (PEP 479); concurrent.futures raises it as a RuntimeError would be.
        refused = RuntimeError("StopIteration raised in an executor")
        refused.__cause__ = error
        future.set_exception(refused)
    else:
        future.set_exception(error)
