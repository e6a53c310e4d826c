"""Locks of threads: `_thread.lock`, `_thread.RLock`, and those that modules have made for themselves.

They work on both sides. Inside a weave a lock that is taken parks the flow, and the scheduler goes on; for a thread of
the machine it is the machine's lock. So an object that a test made outside, with a lock in it, can be handed to a
string.

Waiting flows get a lock in the order in which they came: `release` hands it to the first of them. (CPython lets whoever
asks next have it. Without time that goes by, one thread could then keep all others away for ever.) Condition, Event,
Semaphore, Barrier and queue.Queue are the standard library's own, on top of these.
"""

from __future__ import annotations

import _thread
import math
from collections import deque
from types import TracebackType
from typing import Any, Final, NoReturn

from weaves.bridge import Flow, current_flow
from weaves.here import here
from weaves.threads import ThreadState, current_state

_NS: Final = 1_000_000_000
TIMEOUT_MAX: Final = _thread.TIMEOUT_MAX

_machine_lock = _thread.allocate_lock
machine_ident = _thread.get_ident

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
        outer, flow.waits_in = flow.waits_in, self  # a signal's handler waits while what it interrupts does
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
        finally:
            flow.waits_in = outer
        return True

    def _flow_is_gone(self, flow: Flow) -> None:
        for waiter in self._waiters or ():
            if waiter.flow is flow:
                assert self._waiters is not None, "the waiter is in it"
                self._waiters.remove(waiter)
                if self.holder is waiter.state:
                    # The lock that Condition.wait has made and taken. Free, it is passed over by `notify`, which wakes
                    # the next one instead.
                    self.release()
                return

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
        if isinstance(self.holder, ThreadState) and self.holder.sentinel is self:
            return f"the end of thread {self.holder}"
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
    if not 0 <= timeout <= TIMEOUT_MAX:
        _machine_lock().acquire(True, timeout)  # raises in the words of this Python
    return math.ceil(timeout * _NS)
