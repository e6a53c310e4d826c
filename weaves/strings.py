"""Strings: flows of control, each in one weave (weave.py).

A `String` is an asyncio task of the weave's loop. The task of a coroutine string runs the coroutine; the task of a
blocking string waits for the flow (bridge.py) that runs the blocking code.

`schedule()` is the primitive that everything else waits with: it gives the processor to the weave scheduler until a
packet or a timer interrupt wakes the string.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import math
import signal
import traceback
from collections.abc import Callable
from typing import Any, Final

import greenlet

from weaves.beads import Function
from weaves.bridge import Flow
from weaves.here import here, string_here
from weaves.restart import RestartPolicy
from weaves.scheduler import Call
from weaves.weave import Weave

# States of a string.
WAITING_TO_START: Final = "waiting to start"
RUNNING: Final = "running"
ENDED: Final = "ended"
FAILED: Final = "failed"
KILLED: Final = "killed"

class String:
    """One flow of control. `function` is a coroutine function or a blocking one, or names one (`beads.Function`).

    `state` is "waiting to start", "running", "ended", "failed" or "killed"; `result` or `error` is set when it has
    ended.
    """

    def __init__(
        self,
        weave: Weave,
        name: str,
        function: Callable[..., Any] | Function,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        background: bool = False,
        on_error: str | None = None,
        restart: RestartPolicy | None = None,
    ) -> None:
        self.weave = weave
        self.name = name
        self._function = function
        self._args = args
        self._kwargs = kwargs or {}
        self.background = background
        self.on_error = on_error
        self.restart = restart  # None: as the run's `on_error` says
        self.state = WAITING_TO_START
        self.result: Any = None
        self.error: BaseException | None = None
        self.restarts = 0
        self.start_ns = 0  # set when it is given to the supervisor
        self.has_stop = False  # it will be told to end, at a time that is known
        self.stopped = False  # it was told to end: if it does, it is not to start again
        self.task: asyncio.Task[Any] | None = None
        self.flow: Flow | None = None
        # Set while the string waits in `schedule`.
        self._sleeper: asyncio.Future[bool] | None = None
        weave.strings.append(self)

    def __repr__(self) -> str:
        return f"<String {self.name!r} of {self.weave.name!r} on {self.weave.host.name!r}: {self.state}>"

    @property
    def running(self) -> bool:
        """Whether it has begun and is not over."""
        return self.state == RUNNING

    @property
    def over(self) -> bool:
        """Whether it has ended, well or not."""
        return self.state in (ENDED, FAILED, KILLED)

    @property
    def exit_code(self) -> int | None:
        """As `subprocess` has it: 0, what the program gave to sys.exit, 1 after an exception, -N by signal N.

        None while it runs. Whatever else killed it counts as SIGKILL.
        """
        if self.state == ENDED:
            return 0
        if self.state == KILLED:
            return -int(self.weave.signals.killed_by or signal.SIGKILL)
        if self.state != FAILED:
            return None
        code = self.error.code if isinstance(self.error, SystemExit) else 1
        # exit(3) keeps eight bits; of what is no number Python prints it, and the code is 1.
        return code & 0xFF if isinstance(code, int) else 1

    def begin(self) -> None:
        """Make the task and let it run; the supervisor calls this at the string's start time."""
        self.state = RUNNING
        self.error = None
        # A program starts with no more than a new interpreter would; a function of a test sees what the test has set.
        context = contextvars.Context() if self.weave.is_program else contextvars.copy_context()
        context.run(string_here.set, self)
        # Called from outside any turn, perhaps by a loop of the machine: the new task must see its own loop only.
        before = here.weave
        here.weave = self.weave
        refused: TypeError | None = None
        try:
            loop = self.weave.loop
            if isinstance(self._function, Function):
                coroutine: Any = self._run_named(self._function)
            elif inspect.iscoroutine(self._function):
                coroutine = self._function
            elif _is_coroutine_function(self._function):
                coroutine = self._function(*self._args, **self._kwargs)
            else:
                coroutine = self.run_blocking(self._function, *self._args, **self._kwargs)
            if self.weave.is_program:
                coroutine = self.weave.to_the_end(self, coroutine)
            self.task = loop.create_task(coroutine, name=self.name, context=context)
            self.task.add_done_callback(self._task_done, context=context)
        except TypeError as error:  # a coroutine function refuses wrong arguments before there is a task
            refused = error
        finally:
            here.weave = before
        if refused is not None:
            self.fail(refused)

    async def _run_named(self, named: Function) -> Any:
        modules = self.weave.modules
        assert modules is not None, "a function is named in a weave that has modules"
        # In a flow of its own, because a module may do anything when it is executed, and wait, too.
        function = await self.run_blocking(named.resolve, modules)
        if _is_coroutine_function(function):
            return await function(*self._args, **self._kwargs)
        return await self.run_blocking(function, *self._args, **self._kwargs)

    async def run_blocking(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run it in a flow of this string. Raises what it raises, and `GreenletExit` if it was killed."""
        loop = asyncio.get_running_loop()
        over: asyncio.Future[Any] = loop.create_future()

        def ended(result: Any, error: BaseException | None) -> None:
            if over.done():
                return
            if error is None:
                over.set_result(result)
            elif isinstance(error, (SystemExit, StopIteration, greenlet.GreenletExit)):
                # None of them may pass through a future as they are.
                over.set_result(_Wrapped(error))
            else:
                over.set_exception(error)

        self.flow = Flow(self.weave, lambda: function(*args, **kwargs), ended)
        self.flow.string = self
        self.flow.start()
        try:
            result = await over
        except asyncio.CancelledError:
            if self.flow is not None:  # otherwise it was killed already, and its `finally` clauses may still run
                self.flow.kill()
            raise
        if isinstance(result, _Wrapped):
            if isinstance(result.error, StopIteration):
                raise RuntimeError("the string raised StopIteration") from result.error
            raise result.error
        return result

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        if self.over or task is not self.task:  # the string was killed, or has failed and is to start again
            task._log_traceback = False  # whatever it ended by is no news
            return
        if task.cancelled():
            self._settle(KILLED)
            return
        error = task.exception()
        if error is None:
            self.result = task.result()
            self._settle(ENDED)
        else:
            self.finish(error)

    def finish(self, error: BaseException) -> None:
        """The string ends by an exception, which sys.exit may have raised; what still runs of it ends, too."""
        if isinstance(error, SystemExit) and error.code in (None, 0):
            self._end_task()
            self._settle(ENDED)
        elif isinstance(error, greenlet.GreenletExit):
            self._settle(KILLED)
        else:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """The string has ended by `error`; what still runs of it ends, too."""
        if self.over:
            return
        self.error = error
        self._end_task()
        self._settle(FAILED)

    def _settle(self, state: str) -> None:
        self.state = state
        self.flow = None
        self.weave.supervisor.string_over(self)

    def prepare_restart(self) -> None:
        """Back to the state before the start."""
        assert not inspect.iscoroutine(self._function), "a coroutine object cannot run twice"
        self.state = WAITING_TO_START
        self.task = None
        self.restarts += 1

    def move(self, weave: Weave) -> None:
        """Before its start: let it be a string of `weave`; its own has gone."""
        self.weave = weave
        weave.strings.append(self)

    @property
    def is_alone(self) -> bool:
        """Whether it is all of its weave, so that its end is the end of the process."""
        return self.weave.strings == [self]

    @property
    def can_restart(self) -> bool:
        """Whether it was given as a function, which can be called again."""
        return not inspect.iscoroutine(self._function)

    # Waiting

    def wake(self) -> None:
        """Let the string go on from `schedule`, if it waits there: an interrupt."""
        sleeper = self._sleeper
        if sleeper is not None and not sleeper.done():
            sleeper.set_result(True)

    def cancel(self) -> None:
        """Cancel its task, as asyncio does: CancelledError at the await where it waits. Before its start: `kill`."""
        if self.task is not None:
            self.task.cancel()
        else:
            self.kill()

    def kill(self) -> None:
        """End it now, without running anything of it but its `finally` clauses."""
        if self.over:
            return
        self.state = KILLED
        if self.task is None and inspect.iscoroutine(self._function):
            self._function.close()
        self._end_task()
        self.weave.supervisor.string_over(self)

    def vanish(self, error: SystemExit | None = None) -> None:
        """It is gone with its weave, whose loops and flows have gone already; killed, or ended by `error`."""
        self._sleeper = None
        self.flow = None
        if self.over:
            return
        if self.task is None and inspect.iscoroutine(self._function):
            self._function.close()  # it has not begun, and runs nothing
        self.task = None
        if error is not None:
            self.finish(error)
        else:
            self._settle(KILLED)

    def _end_task(self) -> None:
        flow, self.flow = self.flow, None
        if flow is not None:
            flow.kill()
        for blocked in self.weave.blocked_loop_flows():
            if blocked.string is self:
                blocked.kill()
        if self.task is not None and not self.task.done():
            self.task._log_destroy_pending = False  # type: ignore[attr-defined]
            self.task.cancel()

    async def wait(self, timeout_ns: int | None) -> bool:
        """The body of `schedule`."""
        assert self._sleeper is None, "two tasks of one string wait in schedule() at once"
        loop = asyncio.get_running_loop()
        sleeper = self._sleeper = loop.create_future()
        scheduler = self.weave.scheduler
        timer: Call | None = None
        if timeout_ns is not None:
            timer = Call(self._sleep_is_over, sleeper)
            scheduler.post(timer, self.weave.lane, scheduler.now_ns + max(0, timeout_ns))
        try:
            woken: bool = await sleeper
            return woken
        finally:
            self._sleeper = None
            if timer is not None:
                scheduler.cancel(timer)

    def _sleep_is_over(self, sleeper: asyncio.Future[bool]) -> None:
        if not sleeper.done():
            sleeper.set_result(False)

    @property
    def sleeps(self) -> bool:
        """Whether it waits in `schedule`."""
        return self._sleeper is not None

    def describe_failure(self) -> str:
        """Host, weave, string and traceback, as `weave run` prints them."""
        assert self.error is not None
        text = "".join(traceback.format_exception(self.error)).rstrip()
        return f"host {self.weave.host.name}, weave {self.weave.name}, string {self.name}:\n{text}"


class _Wrapped:
    """An exception on its way through a future that would refuse it."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _is_coroutine_function(function: Callable[..., Any]) -> bool:
    # An object whose class has an `async def __call__` is one as well.
    call = getattr(type(function), "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def string_in(context: contextvars.Context) -> String | None:
    """The string whose code runs in `context`, None if it is nobody's."""
    return context.get(string_here)


def current_string() -> String | None:
    """The string whose code runs, None outside."""
    return string_here.get()


async def schedule(timeout: float | None = None) -> bool:
    """Give the processor to the weave scheduler until this string is woken.

    True when `String.wake` woke it; False when `timeout` seconds of virtual time went by first (None and infinity never
    do). Raises `RuntimeError` outside a string.
    """
    string = string_here.get()
    if string is None:
        raise RuntimeError("schedule() was awaited outside a string")
    return await string.wait(None if timeout in (None, math.inf) else round(timeout * 1_000_000_000))
