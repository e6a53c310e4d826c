"""What threads wait for: locks, the queue of `_queue`, the handles of threads; and data of which each has its own.

They work on both sides. Inside a weave a lock that is taken parks the flow, and the scheduler goes on; for a thread of
the machine it is the machine's lock. So an object that a test made outside, with a lock in it, can be handed to a
string.

Waiting flows get a lock in the order in which they came: `release` hands it to the first of them. (CPython lets whoever
asks next have it. Without time that goes by, one thread could then keep all others away for ever.) Condition, Event,
Semaphore, Barrier and queue.Queue are the standard library's own, on top of these.
"""

from __future__ import annotations

import _queue
import _thread
import math
import weakref
from collections import deque
from collections.abc import Callable, MutableMapping
from types import GenericAlias, TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from weaves.bridge import Flow, current_flow
from weaves.here import here
from weaves.threads import ThreadState, current_state

if TYPE_CHECKING:
    from weaves.weave import Weave

_NS: Final = 1_000_000_000
TIMEOUT_MAX: Final = _thread.TIMEOUT_MAX

_machine_lock = _thread.allocate_lock
machine_ident = _thread.get_ident
MachineQueue: Final = _queue.SimpleQueue
_MachineLocal: Final = _thread._local

# Who holds a lock: a thread of a weave, or one of the machine.
Holder = ThreadState | int


class _Waiter:
    """A flow that waits for a lock, until the lock is its own."""

    __slots__ = ("flow", "granted", "state")

    def __init__(self, flow: Flow, state: ThreadState) -> None:
        self.flow = flow
        self.state = state
        self.granted = False


class Lock:
    """`_thread.lock`."""

    __slots__ = ("__weakref__", "_home", "_machine", "_waiters", "holder")

    def __init__(self) -> None:
        self._machine = _machine_lock()
        self._waiters: deque[_Waiter] | None = None
        self._home = here.weave  # where it was made
        self.holder: Holder | None = None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As CPython has it; `timeout` is in seconds of virtual time inside a weave."""
        weave = here.weave
        if weave is None:
            return self._acquire_outside(blocking, timeout)
        wait_ns = None if blocking and timeout == -1 else _wait_ns(blocking, timeout)
        if self._machine.acquire(False):
            # `_held_by`, and `current_state` before it, without the calls: this is done some times for each switch.
            flow = here.flow
            state = None if flow is None else flow.thread
            if state is None:
                state = current_state()
            self.holder = state
            if self._home is not weave:
                state.held[self] = None
            return True
        if wait_ns == 0:
            return False
        return self._wait(wait_ns)

    def acquire_for(self, state: ThreadState) -> None:
        """Let `state` hold it, which is free."""
        self._machine.acquire()
        self._held_by(state)

    def _held_by(self, state: ThreadState) -> None:
        self.holder = state
        if self._home is not state.threads.weave:
            state.held[self] = None

    def _acquire_outside(self, blocking: bool, timeout: float) -> bool:
        if blocking and timeout == -1 and here.drives and isinstance(self.holder, ThreadState):
            if self._machine.acquire(False):
                return True
            raise RuntimeError(
                f"this would wait for ever: the lock is held by thread {self.holder} of a virtual host, "
                "which runs only inside the run that this thread drives"
            )
        if self._machine.acquire(blocking, timeout):
            self.holder = machine_ident()
            return True
        return False

    def _wait(self, wait_ns: int | None) -> bool:
        if isinstance(self.holder, int) and self.holder != machine_ident():
            # A thread of the machine has it: it goes on while this one waits, and no virtual time goes by.
            if not self._machine.acquire(True, -1 if wait_ns is None else wait_ns / _NS):
                return False
            self._held_by(current_state())
            return True
        flow = current_flow()
        waiter = _Waiter(flow, current_state())
        if self._waiters is None:
            self._waiters = deque()
        self._waiters.append(waiter)
        scheduler = flow.weave.scheduler
        deadline_ns = None if wait_ns is None else scheduler.now_ns + wait_ns
        try:
            while not waiter.granted:
                if deadline_ns is None:
                    flow.park(self)
                elif not flow.park_for(deadline_ns - scheduler.now_ns) and not waiter.granted:
                    self._waiters.remove(waiter)
                    return False
        except BaseException:  # the flow was killed, or a signal's handler raised
            if waiter.granted:
                self.release()
            else:
                self._waiters.remove(waiter)
            raise
        return True

    def release(self) -> None:
        """Let the first that waits have it, if one does. It need not be the holder who calls this."""
        if not self._machine.locked():
            raise RuntimeError("release unlocked lock")
        holder = self.holder
        if isinstance(holder, ThreadState) and holder.held:
            holder.held.pop(self, None)
        waiters = self._waiters
        while waiters:
            waiter = waiters.popleft()
            if not waiter.flow.ended:
                waiter.granted = True
                self._held_by(waiter.state)
                waiter.flow.wake()
                return
        self.holder = None
        self._machine.release()

    def locked(self) -> bool:
        """Whether somebody holds it."""
        return self._machine.locked()

    def _at_fork_reinit(self) -> None:
        self._machine = _machine_lock()
        self._waiters = None
        self.holder = None

    __enter__ = acquire
    acquire_lock = acquire
    release_lock = release
    locked_lock = locked

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.release()

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot pickle '_thread.lock' object")

    def __repr__(self) -> str:
        return f"<{'locked' if self.locked() else 'unlocked'} _thread.lock object at {id(self):#x}>"

    def __str__(self) -> str:
        return "a lock" if self.holder is None else f"a lock that {_said(self.holder)} holds"


class RLock:
    """`_thread.RLock`: a lock that its holder may take again."""

    __slots__ = ("__weakref__", "_count", "_lock", "_owner")

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        self._lock = Lock()
        self._owner: Holder | None = None
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As CPython has it; `timeout` is in seconds of virtual time inside a weave."""
        me = _me()
        if self._owner == me:
            _wait_ns(blocking, timeout)
            self._count += 1
            return True
        if not self._lock.acquire(blocking, timeout):
            return False
        self._owner = me
        self._count = 1
        return True

    def release(self) -> None:
        """Undo one `acquire`."""
        if self._owner is None or self._owner != _me():
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if self._count == 0:
            self._owner = None
            self._lock.release()

    def locked(self) -> bool:
        """Whether somebody holds it."""
        return self._lock.locked()

    # What Condition uses.

    def _is_owned(self) -> bool:
        return self._owner is not None and self._owner == _me()

    def _release_save(self) -> tuple[int, Holder]:
        if self._owner is None:
            raise RuntimeError("cannot release un-acquired lock")
        saved = self._count, self._owner
        self._count = 0
        self._owner = None
        self._lock.release()
        return saved

    def _acquire_restore(self, saved: tuple[int, Holder]) -> None:
        self._lock.acquire()
        self._count, self._owner = saved

    def _recursion_count(self) -> int:
        return self._count if self._is_owned() else 0

    def _at_fork_reinit(self) -> None:
        self._lock._at_fork_reinit()
        self._owner = None
        self._count = 0

    __enter__ = acquire

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.release()

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot pickle '_thread.RLock' object")

    def __repr__(self) -> str:
        state = "locked" if self.locked() else "unlocked"
        owner = self._owner.ident if isinstance(self._owner, ThreadState) else self._owner or 0
        return f"<{state} _thread.RLock object owner={owner} count={self._count} at {id(self):#x}>"


# Programs see these names, in `repr` and in messages: the ones that CPython has.
Lock.__name__ = Lock.__qualname__ = "lock"
Lock.__module__ = RLock.__module__ = "_thread"


class ModuleLock:
    """A lock that a shared module made for its own data: in each weave another one, as in each process.

    `machine` is the one that it made, and stays that of the machine.
    """

    __slots__ = ("_machine",)

    def __init__(self, machine: Any) -> None:
        self._machine = machine

    def _own(self) -> Any:
        weave = here.weave
        if weave is None:
            return self._machine
        # Kept by the weave: a lock knows where it was made, and would keep what knows it by a weak reference alive.
        locks = weave.threads.data_locks
        lock = locks.get(self)
        if lock is None:
            lock = locks[self] = Lock()
        return lock

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock of the caller's weave."""
        return bool(self._own().acquire(blocking, timeout))

    def release(self) -> None:
        """Release it."""
        self._own().release()

    def locked(self) -> bool:
        """Whether somebody of the same weave holds it."""
        return bool(self._own().locked())

    def _at_fork_reinit(self) -> None:
        self._machine._at_fork_reinit()

    __enter__ = acquire

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        return repr(self._own())


class SimpleQueue:
    """`_queue.SimpleQueue`. Reentrant as that is: what a destructor puts finds no lock held."""

    __slots__ = ("__weakref__", "_items", "_waiters")

    def __init__(self) -> None:
        self._items = MachineQueue()  # type: ignore[var-annotated]
        self._waiters: deque[Flow] = deque()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put `item` on the queue, which has no limit."""
        self._items.put(item)
        self._wake_next()

    def put_nowait(self, item: Any) -> None:
        """As `put`."""
        self.put(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the oldest item. Raises `queue.Empty` if there is none at once, or after `timeout` seconds."""
        if here.weave is None or not block:
            return self._items.get(block, timeout)
        if timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        deadline_ns = None
        if timeout is not None:
            deadline_ns = here.weave.scheduler.now_ns + math.ceil(timeout * _NS)
        while True:
            if not self._items.empty():
                return self._items.get_nowait()
            flow = current_flow()
            self._waiters.append(flow)
            try:
                if deadline_ns is None:
                    flow.park("an item of a queue")
                elif not flow.park_for(deadline_ns - flow.weave.scheduler.now_ns) and self._items.empty():
                    return self._items.get_nowait()  # raises Empty
            except BaseException:
                # It was killed; what woke it, if anything did, is for the next.
                if flow not in self._waiters:
                    self._wake_next()
                raise
            finally:
                if flow in self._waiters:
                    self._waiters.remove(flow)

    def get_nowait(self) -> Any:
        """Take the oldest item. Raises `queue.Empty` if there is none."""
        return self._items.get_nowait()

    def empty(self) -> bool:
        """Whether there is no item now."""
        return self._items.empty()

    def qsize(self) -> int:
        """How many items there are now."""
        return self._items.qsize()

    def _wake_next(self) -> None:
        while self._waiters:
            flow = self._waiters.popleft()
            if not flow.ended:
                flow.wake()
                return

    __class_getitem__: Any = classmethod(GenericAlias)


SimpleQueue.__module__ = "_queue"


class ThreadHandle:
    """`_thread._ThreadHandle` of Python 3.13: a thread that can be joined, before its start, too."""

    __slots__ = ("_done", "_machine", "state")

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


class local:
    """`threading.local`: attributes of which each thread has its own.

    A subclass' `__init__` is called with `args` and `kwargs` in each thread that looks.
    """

    __slots__ = ("__weakref__", "_local__own")

    _local__own: _Own

    def __new__(cls, /, *args: Any, **kwargs: Any) -> local:
        if (args or kwargs) and cls.__init__ is object.__init__:
            raise TypeError("Initialization arguments are not supported")
        made = object.__new__(cls)
        own = _Own(args, kwargs)
        object.__setattr__(made, "_local__own", own)
        own.begin()  # type calls __init__ for the thread that makes it
        return made

    def __getattribute__(self, name: str) -> Any:
        namespace = _namespace(self)
        if name == "__dict__":
            return namespace
        if name in namespace and not _is_data_descriptor(type(self), name):
            return namespace[name]
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "__dict__":
            raise AttributeError(f"{type(self).__name__!r} object attribute '__dict__' is read-only")
        if _is_data_descriptor(type(self), name):
            object.__setattr__(self, name, value)
        else:
            _namespace(self)[name] = value

    def __delattr__(self, name: str) -> None:
        if name == "__dict__":
            raise AttributeError(f"{type(self).__name__!r} object attribute '__dict__' is read-only")
        namespace = _namespace(self)
        if name in namespace:
            del namespace[name]
        else:
            object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*dir(type(self)), *_namespace(self)})


class _Own:
    """What the threads have of a `local`."""

    __slots__ = ("_machine", "_of", "args", "kwargs")

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args = args
        self.kwargs = kwargs
        self._machine = _MachineLocal()
        self._of: weakref.WeakKeyDictionary[ThreadState, dict[str, Any]] = weakref.WeakKeyDictionary()

    def begin(self) -> None:
        """Let the calling thread have a namespace."""
        if here.weave is None:
            self._machine.here = {}
        else:
            self._of[current_state()] = {}

    def find(self) -> dict[str, Any] | None:
        """That of the calling thread, None if it has none yet."""
        if here.weave is None:
            found: dict[str, Any] | None = getattr(self._machine, "here", None)
            return found
        return self._of.get(current_state())


def _namespace(of: local) -> dict[str, Any]:
    own: _Own = object.__getattribute__(of, "_local__own")
    found = own.find()
    if found is None:
        own.begin()
        initialize: Callable[..., None] = object.__getattribute__(of, "__init__")
        if type(of).__init__ is not object.__init__:
            initialize(*own.args, **own.kwargs)
        found = own.find()
        assert found is not None
    return found


def _is_data_descriptor(kind: type, name: str) -> bool:
    for base in kind.__mro__:
        if name in vars(base):
            return hasattr(type(vars(base)[name]), "__set__")
    return False


local.__module__ = "_thread"
local.__qualname__ = local.__name__ = "_local"


class PerWeave(MutableMapping[Any, Any]):
    """A dictionary of `threading`'s: `machine` outside, and inside a weave what `own` gives for it."""

    def __init__(self, machine: MutableMapping[Any, Any], own: Callable[[Weave], MutableMapping[Any, Any]]) -> None:
        self._machine = machine
        self._own = own

    def _now(self) -> MutableMapping[Any, Any]:
        weave = here.weave
        return self._machine if weave is None else self._own(weave)

    def __getitem__(self, key: Any) -> Any:
        return self._now()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._now()[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._now()[key]

    def __iter__(self) -> Any:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())


def _me() -> Holder:
    return machine_ident() if here.weave is None else current_state()


def _said(holder: Holder) -> str:
    return f"thread {holder}" if isinstance(holder, ThreadState) else "a thread of the machine"


def _wait_ns(blocking: bool, timeout: float) -> int | None:
    """The nanoseconds that `acquire` may wait, None without a limit. Raises what CPython raises for these arguments."""
    if not blocking:
        if timeout != -1:
            raise ValueError("can't specify a timeout for a non-blocking call")
        return 0
    if timeout == -1:
        return None
    if timeout < 0:
        raise ValueError("timeout value must be a non-negative number")
    if timeout > TIMEOUT_MAX:
        raise OverflowError("timeout value is too large")
    return math.ceil(timeout * _NS)
