"""The threads of a weave: flows of blocking code that `threading` has started, and what it knows of all the others.

A thread is a blocking string of the same weave: it runs until it waits for something, and then another has its turn, in
the order in which they were woken. So threads of one weave never run at the same time, and a run repeats exactly.

`ThreadState` is what an interpreter keeps of a thread, `Threads` what the module `threading` keeps of all; the names of
`threading` and `_thread` lead here by interpose/threads.py. Locks are in locks.py.
"""

from __future__ import annotations

import contextvars
import functools
import heapq
import math
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import greenlet

from weaves.bridge import Flow, current_flow
from weaves.hang import Hang
from weaves.here import here, string_here

if TYPE_CHECKING:
    from weaves.locks import Lock
    from weaves.strings import String
    from weaves.weave import Weave

# A thread's identifier is made of its host's lane, its weave's process number and its own number in the weave.
_NUMBER_BITS: Final = 22
_LANE_SHIFT: Final = 44
_NS: Final = 1_000_000_000


class ThreadState:
    """One thread of `threads`' weave, the `number`-th of it.

    `name` is that of a thread that nobody made by `threading`, `string` the one that it belongs to.

    Number 1 is the main thread: the first string of the weave, and what its loop runs.
    """

    __slots__ = (
        "__weakref__", "awaited", "daemon", "ended", "held", "is_string", "joiners", "locals", "name", "number",
        "sentinel", "string", "threads",
    )  # fmt: skip

    def __init__(self, threads: Threads, number: int, name: str | None, string: String | None) -> None:
        self.threads = threads
        self.number = number
        self.name = name
        self.string = string
        self.daemon = True  # until `threading` says that the program's end waits for it
        self.awaited = False
        self.ended = False
        self.is_string = False  # the main thread, or another string of the weave
        self.sentinel: Lock | None = None  # released at its end
        self.joiners: list[Flow] = []
        # Locks that it holds and that were made outside of the weave, which others may wait for when it is gone.
        self.held: dict[Lock, None] = {}
        # What it has something of, in the order in which it came to it.
        self.locals: weakref.WeakKeyDictionary[Any, None] | None = None

    @property
    def ident(self) -> int:
        """What threading.get_ident gives: never the number of another thread of the run."""
        weave = self.threads.weave
        return int(weave.lane.id) << _LANE_SHIFT | weave.pid << _NUMBER_BITS | self.number

    @property
    def native_id(self) -> int:
        """What threading.get_native_id gives: as on Linux, the main thread has the number of the process."""
        return self.threads.weave.pid + self.number - 1

    def forget_locals(self) -> None:
        """Give back what it has of each threading.local, when it has come to its end by itself."""
        found, self.locals = self.locals, None
        for own in [] if found is None else list(found):
            own.forget(self)

    def __str__(self) -> str:
        thread = self.threads.active.get(self.ident)
        return repr(thread.name if thread is not None else self.name or f"thread {self.number}")


class Counters:
    """The numbers that the threads of a weave were given last, each kind from its own beginning."""

    __slots__ = ("executor", "hash", "made", "name", "state")

    def __init__(self) -> None:
        self.state = 1  # the main thread has it
        self.name = 0  # in "Thread-1"
        self.executor = -1  # in "ThreadPoolExecutor-0_0"
        self.made = 0  # of all executors
        self.hash = 0  # by which threads and futures hash (interpose/threads.py)

    def next(self, kind: str) -> int:
        """The next number of `kind`."""
        number: int = getattr(self, kind) + 1
        setattr(self, kind, number)
        return number


class Threads:
    """The threads of `weave`, and the tables that `threading` has of them.

    Weaves are many, and most have no thread but the first: what only more of them need is made when it is asked for.
    """

    def __init__(self, weave: Weave) -> None:
        self.weave = weave
        self.active: dict[int, threading.Thread] = {}
        # importlib's locks of the modules that are being imported, by their names; the locks that shared modules have
        # for their data (locks.ModuleLock).
        self.module_locks: dict[Any, Any] = {}
        self.data_locks: dict[object, Lock] = {}
        self.counters = Counters()
        # The flows that were started as threads and have not ended.
        self.running: dict[Flow, ThreadState] = {}
        self.main = ThreadState(self, 1, "MainThread", None)
        self.main.is_string = True
        self._of_strings: dict[String, ThreadState] = {}

    @functools.cached_property
    def limbo(self) -> dict[Any, Any]:
        """threading._limbo: threads that were started and have not begun."""
        return {}

    @functools.cached_property
    def dangling(self) -> weakref.WeakSet[threading.Thread]:
        """threading._dangling: all thread objects."""
        return weakref.WeakSet()

    @functools.cached_property
    def shutdown_locks(self) -> set[Any]:
        """threading._shutdown_locks: those of threads that are no daemons."""
        return set()

    @functools.cached_property
    def exit_functions(self) -> list[Callable[[], object]]:
        """What threading._register_atexit was given."""
        return []

    @functools.cached_property
    def executors(self) -> weakref.WeakValueDictionary[int, Any]:
        """The executors that may have to be shut down at the end, in the order of their making."""
        return weakref.WeakValueDictionary()

    @functools.cached_property
    def queues(self) -> weakref.WeakKeyDictionary[threading.Thread, Any]:
        """concurrent.futures.thread._threads_queues: where the threads of executors find their work."""
        return weakref.WeakKeyDictionary()

    @functools.cached_property
    def _pool(self) -> dict[int, ThreadState]:
        """Threads of loops' default executors, by the numbers in their names."""
        return {}

    @functools.cached_property
    def _free_in_pool(self) -> list[int]:
        """The numbers that are free again."""
        return []

    def add_executor(self, executor: Any) -> None:
        """The program has made one."""
        self.executors[self.counters.next("made")] = executor

    # Who is who

    def state_of(self, flow: Flow) -> ThreadState:
        """The thread that `flow` is, or is a part of."""
        string = flow.string
        if string is None:
            return self.main
        known = self._of_strings.get(string)
        if known is None:
            known = self.main
            if self.weave.strings and self.weave.strings[0] is not string:
                known = ThreadState(self, self.counters.next("state"), string.name, string)
                known.is_string = True
            self._of_strings[string] = known
        return known

    def pool_thread(self) -> ThreadState:
        """A thread as the default executor of a loop has them; its name is free again when it has ended."""
        # The lowest that is free; if none is free again, those in use are all below.
        index = heapq.heappop(self._free_in_pool) if self._free_in_pool else len(self._pool)
        state = ThreadState(self, self.counters.next("state"), f"asyncio_{index}", string_here.get())
        self._pool[index] = state
        return state

    def pool_thread_ended(self, state: ThreadState) -> None:
        """The function that it ran is over."""
        assert state.name is not None
        index = int(state.name.partition("_")[2])
        if self._pool.pop(index, None) is not None:
            heapq.heappush(self._free_in_pool, index)
        self._over(state)

    def thread_object(self, ident: int) -> threading.Thread:
        """What `threading` has for this identifier. KeyError: nothing, as for a thread that `_thread` started."""
        found = self.active.get(ident)
        if found is None:
            state = current_state()
            if state.ident != ident or state.name is None:
                raise KeyError(ident)
            found = _Known(state)
        return found

    def listed(self) -> dict[int, threading.Thread]:
        """What threading.enumerate lists: the main thread first, though it may never have asked who it is."""
        if self.main.ident not in self.active:
            _Known(self.main)
        return self.active

    def main_object(self) -> threading.Thread:
        """What threading.main_thread gives."""
        return self.active.get(self.main.ident) or _Known(self.main)

    # Starting and ending

    def start(self, function: Callable[..., Any], args: Any, kwargs: Any, state: ThreadState) -> None:
        """Let a new thread run `function` at its turn."""

        def ended(_result: Any, error: BaseException | None) -> None:
            self._ended(flow, state)
            state.forget_locals()
            if self.weave.known_threads is not self:
                return  # the program has ended before it, and nobody is there to be told
            if isinstance(error, Hang):
                self.weave.report_helper(None, error)
            elif error is not None and not isinstance(error, (greenlet.GreenletExit, SystemExit)):
                # `threading` tells of errors itself. So this one is of a function that _thread.start_new_thread runs.
                print(f"Exception ignored in thread started by: {function!r}", file=sys.stderr)
                traceback.print_exception(error)

        flow = Flow(self.weave, lambda: function(*args, **kwargs), ended)
        flow.thread = state
        flow.string = state.string
        self.running[flow] = state
        # As CPython's threads: they begin with no context variables. All but the one that says whose they are.
        context = contextvars.Context()
        context.run(string_here.set, state.string)
        flow.start(context)

    def new_state(self) -> ThreadState:
        """The next thread, which is of the string that makes it."""
        return ThreadState(self, self.counters.next("state"), None, string_here.get())

    def not_daemon(self, state: ThreadState) -> None:
        """The end of the program waits for this one; the run does if it waits for the string that started it."""
        state.daemon = False
        if not state.ended and not state.awaited and (state.string is None or not state.string.background):
            state.awaited = True
            self.weave.supervisor.await_one_more()

    def _ended(self, flow: Flow, state: ThreadState) -> None:
        del self.running[flow]
        self._over(state)

    def _over(self, state: ThreadState) -> None:
        state.ended = True
        self.active.pop(state.ident, None)
        sentinel, state.sentinel = state.sentinel, None
        if sentinel is not None and sentinel.locked():
            sentinel.release()
        joiners, state.joiners = state.joiners, []
        for flow in joiners:
            flow.wake()
        if state.awaited:
            state.awaited = False
            self.weave.supervisor.await_one_less()

    def string_over(self, string: String) -> None:
        """A string has ended, and with it the thread that it is; those that it started go on."""
        state = self._of_strings.pop(string, None)
        if state is not None and state is not self.main:
            self._over(state)

    def join(self, state: ThreadState, timeout_ns: int | None) -> None:
        """Wait until it has ended, or for `timeout_ns`."""
        flow = current_flow()
        scheduler = self.weave.scheduler
        deadline_ns = None if timeout_ns is None else scheduler.now_ns + timeout_ns
        while not state.ended:
            state.joiners.append(flow)
            try:
                if deadline_ns is None:
                    flow.park(f"the end of thread {state}")
                elif not flow.park_for(deadline_ns - scheduler.now_ns):
                    return
            finally:
                if flow in state.joiners:
                    state.joiners.remove(flow)

    @property
    def awaited(self) -> bool:
        """Whether the run waits for one of them."""
        return any(state.awaited for state in self.running.values())

    # The end of a program

    @property
    def has_exit_work(self) -> bool:
        """Whether there is something for `shutdown` to wait for or to do."""
        made = vars(self)
        if made.get("exit_functions") or made.get("executors"):
            return True
        return any(not state.daemon for state in self.running.values())

    def shutdown(self) -> None:
        """What an interpreter does when the main thread has ended: it waits for those that are not daemons."""
        while self.exit_functions:
            self.exit_functions.pop()()
        for number in sorted(self.executors.keys()):
            executor = self.executors.get(number)
            if executor is not None:
                executor.shutdown(wait=True)
        sentinel, self.main.sentinel = self.main.sentinel, None
        if sentinel is not None:
            sentinel.release()
        while True:
            awaited = next((state for state in self.running.values() if not state.daemon), None)
            if awaited is None:
                break
            self.join(awaited, None)

    def end_all(self) -> None:
        """Let all threads go, as the end of a process does: no more of them runs."""
        current = here.flow
        running = list(self.running.items())
        self.weave.scheduler.drop_calls([flow for flow, _ in running if flow is not current])
        for flow, state in running:
            if flow is current:
                # It goes as far as where it waits next.
                self.weave.scheduler.turns.appendleft(_Drop(self, flow, state))
            else:
                self.drop(flow, state)

    def drop(self, flow: Flow, state: ThreadState) -> None:
        """Let a thread go where it is parked."""
        if flow in self.running:
            flow.vanish()
            _free_locks(state)
            self._ended(flow, state)

    def forget(self) -> None:
        """Their flows are gone already. What they held and others may wait for, is free."""
        for state in [self.main, *self._of_strings.values(), *self.running.values(), *self._pool.values()]:
            _free_locks(state)
        for flow, state in list(self.running.items()):
            self._ended(flow, state)


class _Drop:
    """A turn of the scheduler's in which a thread is gone that has ended its program."""

    def __init__(self, threads: Threads, flow: Flow, state: ThreadState) -> None:
        self._threads = threads
        self._flow = flow
        self._state = state

    def turn(self) -> None:
        """By now it is parked."""
        self._threads.drop(self._flow, self._state)


def _free_locks(state: ThreadState) -> None:
    for lock in list(state.held):
        lock.release()


class ThreadHandle:
    """`_thread._ThreadHandle` of Python 3.13: a thread that can be joined, before its start, too."""

    __slots__ = ("_done", "state")

    def __init__(self, state: ThreadState | None = None) -> None:
        self.state = state
        self._done = False

    @property
    def ident(self) -> int:
        """The thread's identifier, 0 before its start."""
        return 0 if self.state is None else self.state.ident

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, for `timeout` seconds at most; a negative number is no limit."""
        state = self.state
        if state is None:
            raise RuntimeError("thread not started")
        if self.is_done():
            return
        if here.weave is not None and current_state() is state:
            raise RuntimeError("Cannot join current thread")
        state.threads.join(state, None if timeout is None or timeout < 0 else math.ceil(timeout * _NS))

    def is_done(self) -> bool:
        """Whether it has ended."""
        return self._done or (self.state is not None and self.state.ended)

    def _set_done(self) -> None:
        self._done = True


class _Known(threading._MainThread):  # type: ignore[misc,name-defined]
    """The object for a thread that `threading` did not make: the main thread, and other strings."""

    def __init__(self, state: ThreadState) -> None:
        weave = here.weave
        here.weave = state.threads.weave
        try:
            threading.Thread.__init__(self, name=state.name, daemon=False)
            self._started.set()
            self._ident = state.ident
            self._native_id = state.native_id
            self._follow(state)
            state.threads.active[state.ident] = self
        finally:
            here.weave = weave

    def _follow(self, state: ThreadState) -> None:
        """Let `is_alive` and `join` of this object look at `state`."""
        from weaves.locks import Lock

        if hasattr(self, "_handle"):  # Python 3.13
            self._handle = ThreadHandle(state)
        else:
            self._tstate_lock = state.sentinel = Lock()
            state.sentinel.acquire_for(state)

    def _set_tstate_lock(self) -> None:
        """`_follow` has set it."""


_Known.__name__ = _Known.__qualname__ = "_MainThread"


def current_state() -> ThreadState:
    """The thread of a weave that runs."""
    weave = here.weave
    assert weave is not None, "there is a thread of a weave inside weaves only"
    flow = here.flow
    if flow is None:
        return weave.threads.main
    state = flow.thread
    if state is None:
        state = flow.thread = weave.threads.state_of(flow)
    return state
