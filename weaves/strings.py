"""Strings and weaves: a flow of control, and the program that it belongs to.

A `Weave` is one program on one host: its lane, its random generator, its signals, its strings. A `String` is an asyncio
task of the host's loop. The task of a coroutine string runs the coroutine; the task of a blocking string waits for the
flow (bridge.py) that runs the blocking code.

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
from collections.abc import Callable, Container, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import greenlet

from weaves.beads import Function
from weaves.bridge import Flow
from weaves.clock import EPOCH_NS
from weaves.here import here
from weaves.modules import Modules
from weaves.process import Process
from weaves.restart import RestartPolicy
from weaves.scheduler import Call, Lane, Scheduler
from weaves.seeds import LazyGenerator
from weaves.signals import SignalTable

if TYPE_CHECKING:
    from weaves.loop import WeaveLoop
    from weaves.supervisor import Supervisor

# States of a string.
WAITING_TO_START: Final = "waiting to start"
RUNNING: Final = "running"
ENDED: Final = "ended"
FAILED: Final = "failed"
KILLED: Final = "killed"

_string: contextvars.ContextVar[String | None] = contextvars.ContextVar("weaves.string", default=None)


class Stack(Protocol):
    """What a weave needs of the host that it runs on. lunar.host.Host is one."""

    name: str
    lane: Lane

    @property
    def hardware_address(self) -> int | None:
        """That of its first device, as a number of 48 bits; None if it has no device but `lo`."""

    def new_loop(self, weave: Weave, direct: bool = False) -> WeaveLoop:
        """A loop for a program that makes its own (`asyncio.run`), or the weave's own, direct one."""

    def new_socket(self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An uninitialized object for `socket.socket(...)` inside the weave."""

    def new_socketpair(self, family: int, type: int, proto: int) -> tuple[Any, Any]:
        """socket.socketpair on this host."""

    def wrap_tls(
        self, context: Any, sock: Any, server_side: bool, server_hostname: str | None, owner: Any, session: Any
    ) -> Any:
        """What ssl.SSLContext._wrap_socket gives for a socket of this host."""

    @property
    def files(self) -> Any:
        """The calls of `os` and `fcntl` on this host's descriptors, by their names, and `has` to tell them."""

    def close_descriptors(self, descriptors: list[int]) -> None:
        """Close those that are still open."""

    def getaddrinfo(self, host: Any, port: Any, family: int, type: int, proto: int, flags: int) -> list[Any]:
        """socket.getaddrinfo of this host."""

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """socket.getnameinfo of this host."""


class Weave:
    """One program on a host. `argv` is what it sees as sys.argv, `pid` as os.getpid().

    `environ` has the environment variables that it has besides those of every program (process.py), and `cwd` is its
    working directory, an absolute path; None: both are the machine's.
    """

    def __init__(
        self,
        name: str,
        host: Stack,
        supervisor: Supervisor,
        rng: Any,
        argv: list[str] | None = None,
        epoch_ns: int = EPOCH_NS,
        is_program: bool = False,
        environ: Mapping[str, str] | None = None,
        cwd: str | None = None,
        pid: int = 2,
    ) -> None:
        self.name = name
        self.host = host
        self.supervisor = supervisor
        self.scheduler: Scheduler = supervisor.scheduler
        self.lane = host.lane
        self.rng = rng
        # What os.urandom draws from. Apart, because a program may seed `random`, on every host with the same number.
        self.entropy: Any = LazyGenerator(supervisor.seed, "entropy", f"{host.name}/{name}")
        self.argv = [name] if argv is None else argv
        self._first_argv = list(self.argv)
        # Instances of modules of its own; None: those of the machine, as for functions that a test starts.
        self.modules: Modules | None = None
        # What its code has set of `sys`: streams, hooks.
        self.sys_names: dict[str, Any] = {}
        self.epoch_ns = epoch_ns
        self.signals = SignalTable(self)
        self._loop: WeaveLoop | None = None
        # The loops that are not closed, its own and those that the program made; the flows that have not ended.
        self.loops: dict[WeaveLoop, None] = {}
        self.flows: dict[Flow, None] = {}
        # While the host is paused: where its turns wait.
        self.held: list[Any] | None = None
        # Called when one of its strings is over.
        self.on_exit: Callable[[], None] | None = None
        # The host has crashed: what is left of the weave has no effect.
        self.gone = False
        self.strings: list[String] = []
        # Blocking flows besides the strings': executors' functions, signal handlers.
        self.helpers: list[Flow] = []
        # What the weave has open on its host. A program's end closes it, as a kernel does at exit(2).
        self.descriptors: set[int] = set()
        self.is_program = is_program
        self.environ = environ
        self.cwd = self._first_cwd = cwd
        self.pid = pid
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """What a kernel and an interpreter would keep for it."""
        if self._process is None:
            self._process = Process(self)
        return self._process

    def neighbours(self) -> list[Weave]:
        """The weaves of the same host that run, in the order of their numbers, this one among them."""
        strings = self.supervisor.strings
        found = {one.weave.pid: one.weave for one in strings if one.weave.host is self.host and one.state == RUNNING}
        return [found[pid] for pid in sorted(found)]

    def with_pid(self, pid: int) -> Weave | None:
        """The one of them that has this number."""
        return next((weave for weave in self.neighbours() if weave.pid == pid), None)

    def current_string(self) -> String | None:
        """The string of this weave whose code runs; None in a helper that none of them started."""
        string = _string.get()
        return string if string is not None and string.weave is self else None

    async def to_the_end(self, string: String, body: Coroutine[Any, Any, Any]) -> Any:
        """Run the body of `string`; if it is the last of a program, then also what the program leaves to its end."""
        try:
            return await body
        except (asyncio.CancelledError, greenlet.GreenletExit):
            if self._process is not None:
                self._process.forget_exit_work()
            raise
        finally:
            process = self._process
            if process is not None and process.has_exit_work:
                if all(other is string or other.over for other in self.strings):
                    await string.run_blocking(process.end)

    @property
    def loop(self) -> WeaveLoop:
        """The loop of the weave's strings. A program may make more."""
        if self._loop is None:
            self._loop = self.host.new_loop(self, direct=True)
        return self._loop

    def spawn(self, function: Callable[[], Any], on_end: Callable[[Any, BaseException | None], None]) -> Flow:
        """Run blocking `function` in a flow of this weave."""

        def ended(result: Any, error: BaseException | None) -> None:
            self.helpers.remove(flow)
            on_end(result, error)

        flow = Flow(self, function, ended)
        flow.string = _string.get()
        self.helpers.append(flow)
        flow.start()
        return flow

    def report_helper(self, _result: Any, error: BaseException | None) -> None:
        """The `on_end` of helpers that nobody waits for: their errors, and their sys.exit, are the weave's."""
        if error is None or isinstance(error, greenlet.GreenletExit):
            return
        for string in self.strings:
            if not string.over:
                string.finish(error)
                return

    def renew(self) -> None:
        """Its program is to start again, as a new process does: with none of the data that the last one left.

        What still runs of the last one is gone without a handler. Not from inside a turn.
        """
        self._drop()
        if self.modules is not None:
            self.modules = self.modules.fresh()
        self.sys_names.clear()
        self.argv = list(self._first_argv)
        self.signals = SignalTable(self)

    @property
    def runs(self) -> bool:
        """Whether there is a process: some string has begun, and is not over."""
        return any(string.state == RUNNING for string in self.strings)

    @property
    def over(self) -> bool:
        """Whether all its strings have ended."""
        return all(string.over for string in self.strings)

    def exit(self) -> None:
        """The program has ended: its other flows end with it, and its descriptors are closed."""
        for flow in list(self.helpers):
            flow.kill()
        if self.descriptors:
            self.host.close_descriptors(sorted(self.descriptors))
            self.descriptors.clear()
        self.close_loops()
        self._forget_process()
        if self.over and self.modules is not None:
            self.modules = self.modules.fresh()  # what its modules hold is given back

    def close_loops(self) -> None:
        """Once nothing of the program runs any more: close the loops that it made and left open."""
        if self.is_program and self.over and not self.flows:
            for loop in list(self.loops):
                if loop is not self._loop:
                    loop.discard()

    def vanish(self) -> None:
        """The host has lost its power: everything of the weave is gone, and no more code of it runs.

        Not from inside a turn of the weave. Its strings count as killed.
        """
        self.gone = True
        self._drop()
        self.descriptors.clear()
        for string in list(self.strings):
            string.vanish()

    def destroy(self) -> None:
        """End all strings of the weave without running any more of it; what it has open is closed by its host: SIGKILL.

        Called by the weave itself, it happens when its turn is over.
        """
        if here.weave is self:
            self.scheduler.turns.appendleft(_Destruction(self))
            return
        self._drop()
        for string in list(self.strings):
            string.vanish()
        self.exit()

    def _drop(self) -> None:
        """Let go of the flows and loops with all that they wait for, without running any of it."""
        waiting: list[Any] = [*self.flows, *(loop for loop in self.loops if loop.timers)]
        waiting += [string for string in self.strings if string.sleeps]
        if waiting and not self.gone:  # a crash has dropped all events of the host
            self.scheduler.drop_calls(waiting)
        for flow in list(self.flows):
            flow.vanish()
        for loop in list(self.loops):
            loop.vanish()
        self._loop = None
        self.helpers.clear()
        self._forget_process()

    def _forget_process(self) -> None:
        self.signals.forget()
        self._process = None
        self.cwd = self._first_cwd

    def kill(self) -> None:
        """End all strings of the weave now."""
        for string in list(self.strings):
            string.kill()
        for flow in list(self.helpers):
            flow.kill()


class _Destruction:
    """A turn of the scheduler's in which a weave is destroyed."""

    def __init__(self, weave: Weave) -> None:
        self.turn = weave.destroy


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
        self.stopped = False  # it was told to end: if it does, it is not to start again
        self.task: asyncio.Task[Any] | None = None
        self.flow: Flow | None = None
        # Set while the string waits in `schedule`.
        self._sleeper: asyncio.Future[bool] | None = None
        weave.strings.append(self)

    def __repr__(self) -> str:
        return f"<String {self.name!r} of {self.weave.name!r} on {self.weave.host.name!r}: {self.state}>"

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
        context.run(_string.set, self)
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

    def vanish(self) -> None:
        """It is gone with its weave, whose loops and flows have gone already."""
        self._sleeper = None
        self.flow = None
        if self.over:
            return
        self.state = KILLED
        if self.task is None and inspect.iscoroutine(self._function):
            self._function.close()  # it has not begun, and runs nothing
        self.task = None
        self.weave.supervisor.string_over(self)

    def _end_task(self) -> None:
        flow, self.flow = self.flow, None
        if flow is not None:
            flow.kill()
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


def free_weave_name(name: str, taken: Container[str]) -> str:
    """`name`, with a number where a weave of the same host has it already: "site", "site #2"."""
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name} #{number}"
    return free


def string_in(context: contextvars.Context) -> String | None:
    """The string whose code runs in `context`, None if it is nobody's."""
    return context.get(_string)


def current_string() -> String | None:
    """The string whose code runs, None outside."""
    return _string.get()


async def schedule(timeout: float | None = None) -> bool:
    """Give the processor to the weave scheduler until this string is woken.

    True when `String.wake` woke it; False when `timeout` seconds of virtual time went by first (None and infinity never
    do). Raises `RuntimeError` outside a string.
    """
    string = _string.get()
    if string is None:
        raise RuntimeError("schedule() was awaited outside a string")
    return await string.wait(None if timeout in (None, math.inf) else round(timeout * 1_000_000_000))
