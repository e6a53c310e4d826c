"""Weaves: a program on a host, with all that is its own.

A `Weave` has a lane, generators, signals, modules, strings, and whatever of the host it has open. Its flows of control
are in strings.py; what a kernel would keep for a process is in process.py.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Container, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import greenlet

from weaves.bridge import Flow
from weaves.clock import EPOCH_NS
from weaves.deadlock import DeadlockCheck
from weaves.here import here, string_here
from weaves.modules import Modules
from weaves.process import Process
from weaves.runner import LoopFlow
from weaves.scheduler import Lane, Scheduler
from weaves.seeds import LazyGenerator
from weaves.signals import SignalTable
from weaves.threads import Threads, ThreadState

if TYPE_CHECKING:
    from weaves.loop import WeaveLoop
    from weaves.strings import String
    from weaves.supervisor import Supervisor


class Stack(Protocol):
    """What a weave needs of the host that it runs on. lunar.host.Host is one."""

    name: str
    lane: Lane
    # What its programs find as its name.
    node_name: str

    @property
    def hardware_address(self) -> int | None:
        """That of its first device, as a number of 48 bits; None if it has no device but `lo`."""

    def new_loop(self, weave: Weave, direct: bool = False) -> WeaveLoop:
        """A loop for a program that makes its own (`asyncio.run`), or the weave's own, direct one."""

    def new_socket(self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An uninitialized object for `socket.socket(...)` inside the weave."""

    def new_plain_socket(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What `_socket.socket(...)` makes inside the weave."""

    def new_socketpair(self, family: int, type: int, proto: int) -> tuple[Any, Any]:
        """socket.socketpair on this host."""

    def wrap_tls(
        self, context: Any, sock: Any, server_side: bool, server_hostname: str | None, owner: Any, session: Any
    ) -> Any:
        """What ssl.SSLContext._wrap_socket gives for a socket of this host."""

    @property
    def files(self) -> Any:
        """The calls of `os` and `fcntl` on this host's descriptors, by their names, and `has` to tell them."""

    @property
    def paths(self) -> Any:
        """The calls of `os` on the paths of files that this host has of its own, and `has` to tell them."""

    @property
    def select(self) -> Any:
        """`select`, `poll`, `epoll` and `epoll_fromfd` as in `select`, for this host's descriptors."""

    def close_descriptors(self, descriptors: list[int]) -> None:
        """Close those that are still open."""

    def getaddrinfo(self, host: Any, port: Any, family: int, type: int, proto: int, flags: int) -> list[Any]:
        """socket.getaddrinfo of this host."""

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """socket.getnameinfo of this host."""

    @property
    def lookups(self) -> Any:
        """The other functions of `socket` that look something up on this host, by their names."""


class NoFiles:
    """The `files` and `paths` of a host that has none of its own: what a program opens is the machine's."""

    def has(self, which: Any) -> bool:
        """Whether a descriptor's number, or a path, is the host's."""
        return False


class Weave:
    """One program on a host. `argv` is what it sees as sys.argv, `pid` as os.getpid().

    `environ` has the environment variables that it has besides those of every program (process.py), and `cwd` is its
    working directory, an absolute path; None: both are the machine's.
    """

    # socket.setdefaulttimeout, in seconds.
    socket_timeout: float | None = None

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
        # asyncio's policy for its loops, once something asks for it (interpose/policy.py).
        self.loop_policy: Any = None
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
        self.helpers: dict[Flow, None] = {}
        # What the weave has open on its host. A program's end closes it, as a kernel does at exit(2).
        self.descriptors: set[int] = set()
        self.is_program = is_program
        self.environ = environ
        self.cwd = self._first_cwd = cwd
        self.pid = pid
        self._process: Process | None = None
        self._threads: Threads | None = None
        # How many of its flows wait for one another, and whether it will be seen soon if that is all of them.
        self._waiting_flows = 0
        self.deadlock_check_waits = False

    @property
    def process(self) -> Process:
        """What a kernel and an interpreter would keep for it."""
        if self._process is None:
            self._process = Process(self)
        return self._process

    @property
    def threads(self) -> Threads:
        """What `threading` knows of it; made when something first asks."""
        if self._threads is None:
            self._threads = Threads(self)
        return self._threads

    @property
    def known_threads(self) -> Threads | None:
        """The same, None if nothing has asked."""
        return self._threads

    def neighbours(self) -> list[Weave]:
        """The weaves of the same host that run, in the order of their numbers, this one among them."""
        strings = self.supervisor.strings
        found = {one.weave.pid: one.weave for one in strings if one.weave.host is self.host and one.running}
        return [found[pid] for pid in sorted(found)]

    @property
    def main_flow(self) -> Flow | None:
        """Where handlers of signals run: the flow of its first string, or in which its loop runs a call that blocks."""
        flow = self.strings[0].flow if self.strings else None
        if flow is not None and flow.is_alive:
            return flow
        main = self.threads.main
        return next((flow for flow in self.flows if flow.thread is main and flow not in self.helpers), None)

    def with_pid(self, pid: int) -> Weave | None:
        """The one of them that has this number."""
        return next((weave for weave in self.neighbours() if weave.pid == pid), None)

    def current_string(self) -> String | None:
        """The string of this weave whose code runs; None in a helper that none of them started."""
        string = string_here.get()
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
            if self.has_exit_work and all(other is string or other.over for other in self.strings):
                await string.run_blocking(self.end)

    @property
    def has_exit_work(self) -> bool:
        """Whether there is something for `end` to do."""
        process, threads = self._process, self._threads
        return (process is not None and process.has_exit_work) or (threads is not None and threads.has_exit_work)

    def end(self) -> None:
        """What an interpreter does at the end of its program: it waits for threads, then comes what atexit has."""
        if self._threads is not None:
            self._threads.shutdown()
        if self._process is not None:
            self._process.end()

    @property
    def loop(self) -> WeaveLoop:
        """The loop of the weave's strings. A program may make more."""
        if self._loop is None:
            self._loop = self.host.new_loop(self, direct=True)
        return self._loop

    def spawn(
        self,
        function: Callable[[], Any],
        on_end: Callable[[Any, BaseException | None], None],
        thread: ThreadState | None = None,
    ) -> Flow:
        """Run blocking `function` in a flow of this weave, which is a part of `thread`, or of the main thread."""

        def ended(result: Any, error: BaseException | None) -> None:
            self.helpers.pop(flow, None)
            on_end(result, error)

        flow = Flow(self, function, ended)
        flow.string = string_here.get()
        flow.thread = thread or self.threads.main
        self.helpers[flow] = None
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
        return any(string.running for string in self.strings)

    @property
    def over(self) -> bool:
        """Whether all its strings have ended."""
        return all(string.over for string in self.strings)

    def exit(self) -> None:
        """The program has ended: its other flows end with it, and its descriptors are closed."""
        self._end_flows()
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

    def destroy(self, caller: String | None = None, error: SystemExit | None = None) -> None:
        """End all strings of the weave without running any more of it; what it has open is closed by its host: SIGKILL.

        Called by the weave itself, it happens when its turn is over. `caller` is a string that ends by `error`.
        """
        if here.weave is self:
            self.scheduler.turns.appendleft(_Destruction(self, caller, error))
            return
        self._drop()
        if caller is not None:
            caller.vanish(error)
        for string in list(self.strings):
            if string is not caller:  # which may be to start again already
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
        if self._threads is not None:
            self._threads.forget()
        self._forget_process()

    def _forget_process(self) -> None:
        self.signals.forget()
        self._process = None
        self._threads = None
        self.loop_policy = None
        self.socket_timeout = None
        self.cwd = self._first_cwd

    def kill(self, but: String | None = None) -> None:
        """End all strings of the weave now; `but` has ended, and may be to start again."""
        for string in list(self.strings):
            if string is not but:
                string.kill()
        self._end_flows()

    def _end_flows(self) -> None:
        """End those that are not the strings' own."""
        for flow in [*self.helpers, *self.blocked_loop_flows()]:
            flow.kill()
        if self._threads is not None:
            self._threads.end_all()

    def waits_for_itself(self, change: int) -> None:
        """So many more of its flows wait for another of them."""
        self._waiting_flows += change
        if change > 0:
            self.look_for_deadlock()

    def flow_over(self, flow: Flow) -> None:
        """`flow` has ended; perhaps those that are left wait for one another."""
        self.flows.pop(flow, None)
        if self._waiting_flows:
            self.look_for_deadlock()

    def look_for_deadlock(self) -> None:
        """If all of its flows wait for one another now, see whether that is so when all that is ready has run."""
        waiting = self._waiting_flows
        if self.is_program and waiting and waiting >= len(self.flows) and not self.deadlock_check_waits:
            self.deadlock_check_waits = True
            self.scheduler.turns.append(DeadlockCheck(self))

    def blocked_loop_flows(self) -> list[LoopFlow]:
        """Those in which a callback of a direct loop blocks."""
        return [flow for flow in self.flows if isinstance(flow, LoopFlow)]


class _Destruction:
    """A turn of the scheduler's in which a weave is destroyed."""

    def __init__(self, weave: Weave, caller: String | None, error: SystemExit | None) -> None:
        self.turn = functools.partial(weave.destroy, caller, error)


def free_weave_name(name: str, taken: Container[str]) -> str:
    """`name`, with a number where a weave of the same host has it already: "site", "site #2"."""
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name} #{number}"
    return free
