"""Threads inside a weave: what the names of `_thread`, `threading`, `queue` and `concurrent.futures` lead to there.

`threading` is Python on top of a few functions of `_thread`; those are replaced, and the tables in which it keeps all
threads of a process. So its classes stay what they are, and what is built on them. What the names do is in threads.py
locks.py, simple_queue.py and thread_local.py.
"""

from __future__ import annotations

import _queue
import _thread
import concurrent.futures
import concurrent.futures.thread
import functools
import importlib
import queue
import sys
import threading
import traceback
import types
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final

import greenlet

from weaves.hang import OURS, Hang, kind_of
from weaves.here import here
from weaves.interpose.replace import Replacements
from weaves.locks import Lock, ModuleLock, RLock
from weaves.simple_queue import SimpleQueue
from weaves.thread_local import local
from weaves.threads import ThreadHandle, ThreadState, current_state

if TYPE_CHECKING:
    from weaves.weave import Weave

_threading: Final[Any] = threading
_MACHINE_LOCK: Final[type] = type(_thread.allocate_lock())


def install(replacements: Replacements) -> None:
    """Interpose `_thread`, the tables of `threading`, `_queue.SimpleQueue`, and the names of executors' threads."""
    _install_starts(replacements)
    replacements.put_all_c(_thread, _numbers())
    for name in ("allocate_lock", "allocate", "LockType", "lock"):
        _put_class(replacements, _thread, name, Lock)
    _put_class(replacements, _thread, "RLock", RLock)
    _put_class(replacements, _thread, "_local", local)
    _put_class(replacements, _queue, "SimpleQueue", SimpleQueue)
    _put_class(replacements, queue, "SimpleQueue", SimpleQueue)
    _install_tables(replacements)
    _install_hook()
    _install_executors()
    _install_hooks(replacements)
    for kind in (threading.Thread, concurrent.futures.Future):
        _hash_by_number(kind)
    reach_module_locks()


def _put_class(replacements: Replacements, module: types.ModuleType, name: str, replacement: type) -> None:
    if hasattr(module, name):
        replacements.put(module, name, replacement)


def reach_module_locks() -> None:
    """Let the locks that modules have made for their own data be others in each weave."""
    for module in list(sys.modules.values()):
        if not isinstance(module, types.ModuleType) or module.__name__.startswith("weaves."):
            continue
        for name, value in list(vars(module).items()):
            if type(value) is _MACHINE_LOCK:
                setattr(module, name, ModuleLock(value))


class _MachineHook:
    """What threading.settrace and setprofile were given, for threads of the machine.

    A thread of a weave would set it for the machine's thread that runs the scheduler, whose own would be lost.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __bool__(self) -> bool:
        return here.weave is None

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)


def _install_hooks(replacements: Replacements) -> None:
    for kind in ("trace", "profile"):
        replacements.put(threading, f"set{kind}", _hook_setter(kind))
        replacements.put(threading, f"get{kind}", _hook_getter(kind))


def _hook_setter(kind: str) -> Callable[[Any], None]:
    name = f"_{kind}_hook"
    given = getattr(_threading, name)
    if given is not None:
        setattr(_threading, name, _MachineHook(given))

    def set_hook(func: Any) -> None:
        if here.weave is None:
            setattr(_threading, name, None if func is None else _MachineHook(func))

    set_hook.__name__ = set_hook.__qualname__ = f"set{kind}"
    set_hook.__doc__ = getattr(threading, f"set{kind}").__doc__
    return set_hook


def _hook_getter(kind: str) -> Callable[[], Any]:
    def get_hook() -> Any:
        hook = getattr(_threading, f"_{kind}_hook")
        if here.weave is not None:
            return None
        return hook.function if isinstance(hook, _MachineHook) else hook

    get_hook.__name__ = get_hook.__qualname__ = f"get{kind}"
    get_hook.__doc__ = getattr(threading, f"get{kind}").__doc__
    return get_hook


def _install_starts(replacements: Replacements) -> None:
    real_start = _thread.start_new_thread
    real_joinable = getattr(_thread, "start_joinable_thread", None)

    def start_new_thread(_stand: object, function: Any, args: Any, kwargs: Any = None, /) -> int:
        weave = here.weave
        if weave is None:
            return real_start(function, args) if kwargs is None else real_start(function, args, kwargs)
        if not callable(function):
            raise TypeError("first arg must be callable")
        if not isinstance(args, tuple):
            raise TypeError("2nd arg must be a tuple")
        if kwargs is not None and not isinstance(kwargs, dict):
            raise TypeError("optional 3rd arg must be a dictionary")
        state = weave.threads.new_state()
        weave.threads.start(function, args, kwargs or {}, state)
        return state.ident

    def start_joinable_thread(_stand: object, function: Any, handle: Any = None, daemon: bool = True) -> Any:
        weave = here.weave
        if weave is None:
            assert real_joinable is not None, "there is no stand-in for what is not there"
            return real_joinable(function, handle=handle, daemon=daemon)
        state = weave.threads.new_state()
        if handle is None:
            handle = ThreadHandle()
        elif handle.state is not None:
            raise RuntimeError("thread already started")
        handle.state = state
        if not daemon:
            weave.threads.not_daemon(state)
        weave.threads.start(function, (), {}, state)
        return handle

    for name in ("start_new_thread", "start_new"):
        replacements.put_c(_thread, name, _named(start_new_thread))
    replacements.put_c(_thread, "start_joinable_thread", start_joinable_thread)


def _named(function: Callable[..., Any]) -> Callable[..., Any]:
    """Another function object of the same code: `put_c` names it."""
    return types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )


def _numbers() -> dict[str, Callable[..., Any]]:
    module: Any = _thread
    real_ident, real_native, real_count = _thread.get_ident, _thread.get_native_id, _thread._count
    real_stack_size, real_exit = _thread.stack_size, _thread.exit
    real_sentinel = getattr(module, "_set_sentinel", None)
    real_main_ident = getattr(module, "_get_main_thread_ident", None)
    real_make_handle = getattr(module, "_make_thread_handle", None)
    real_handle = getattr(module, "_ThreadHandle", None)

    def get_ident(_stand: object) -> int:
        return real_ident() if here.weave is None else current_state().ident

    def get_native_id(_stand: object) -> int:
        return real_native() if here.weave is None else current_state().native_id

    def count(_stand: object) -> int:
        weave = here.weave
        return real_count() if weave is None else len(weave.threads.running)

    def stack_size(_stand: object, size: int = 0, /) -> int:
        if here.weave is None:
            return real_stack_size(size)
        if size < 0:
            raise ValueError("size must be 0 or a positive value")
        return 0  # a flow's stack is as deep as it needs

    def exit_(_stand: object) -> None:
        real_exit()

    def set_sentinel(_stand: object) -> Any:
        if here.weave is None:
            assert real_sentinel is not None, "there is no stand-in for what is not there"
            return real_sentinel()
        state = current_state()
        state.sentinel = Lock()
        return state.sentinel

    def get_main_thread_ident(_stand: object) -> int:
        weave = here.weave
        if weave is None:
            assert real_main_ident is not None, "there is no stand-in for what is not there"
            return int(real_main_ident())
        return weave.threads.main.ident

    def make_thread_handle(_stand: object, ident: int) -> Any:
        if here.weave is None:
            assert real_make_handle is not None, "there is no stand-in for what is not there"
            return real_make_handle(ident)
        return ThreadHandle(current_state())

    def thread_handle(_stand: object) -> Any:
        if here.weave is None:
            assert real_handle is not None, "there is no stand-in for what is not there"
            return real_handle()
        return ThreadHandle()

    return {
        "get_ident": get_ident,
        "get_native_id": get_native_id,
        "_count": count,
        "stack_size": stack_size,
        "_set_sentinel": set_sentinel,
        "_get_main_thread_ident": get_main_thread_ident,
        "_make_thread_handle": make_thread_handle,
        "_ThreadHandle": thread_handle,
    }


def _install_hook() -> None:
    """Let no threading.excepthook, also none that a program or a test runner has set, see what is not for it."""
    real_make = _threading._make_invoke_excepthook

    def make() -> Callable[[threading.Thread], None]:
        real = real_make()

        def invoke(thread: threading.Thread) -> None:
            if here.weave is None or not _comes_from_outside(sys.exc_info()[1]):
                real(thread)

        return invoke

    _threading._make_invoke_excepthook = make


def _comes_from_outside(error: BaseException | None) -> bool:
    """Whether `error` has ended a flow from outside: it is no error of the program's.

    A hang is told of by who found it, and the Ctrl-C of the person at the machine by the end of the run.
    """
    if error is None or isinstance(error, (greenlet.GreenletExit, Hang)):
        return True
    if not isinstance(error, KeyboardInterrupt):
        return False
    raised_in = [frame.f_code.co_filename for frame, _line in traceback.walk_tb(error.__traceback__)]
    return bool(raised_in) and kind_of(raised_in[-1]) == OURS


def _install_tables(replacements: Replacements) -> None:
    _threading._active = _Active(_threading._active, lambda weave: weave.threads.listed())
    _threading._limbo = _PerWeave(_threading._limbo, lambda weave: weave.threads.limbo)
    _threading._dangling = _SetPerWeave(_threading._dangling, "dangling")
    if hasattr(_threading, "_shutdown_locks"):  # until Python 3.12
        _threading._shutdown_locks = _ShutdownLocks(_threading._shutdown_locks, "shutdown_locks")
    # Two programs may import modules of the same name at once, each its own.
    importing: Any = importlib._bootstrap
    importing._module_locks = _PerWeave(importing._module_locks, lambda weave: weave.threads.module_locks)
    real_counter, real_main, real_register = _threading._counter, threading.main_thread, _threading._register_atexit

    def counter() -> int:
        weave = here.weave
        return int(real_counter() if weave is None else weave.threads.counters.next("name"))

    def main_thread() -> threading.Thread:
        weave = here.weave
        return real_main() if weave is None else weave.threads.main_object()

    def register_atexit(func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        weave = here.weave
        if weave is None:
            real_register(func, *args, **kwargs)
        else:
            weave.threads.exit_functions.append(functools.partial(func, *args, **kwargs))

    main_thread.__doc__ = real_main.__doc__
    _threading._counter = counter
    replacements.put(threading, "main_thread", main_thread)
    replacements.put(threading, "_register_atexit", register_atexit)


class _PerWeave(MutableMapping[Any, Any]):
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


class _Active(_PerWeave):
    """threading._active: the threads by their identifiers."""

    def __getitem__(self, key: int) -> Any:
        weave = here.weave
        return super().__getitem__(key) if weave is None else weave.threads.thread_object(key)


class _SetPerWeave:
    """A set of `threading`'s: `machine` outside, and inside a weave the one of that name of its `Threads`."""

    def __init__(self, machine: Any, name: str) -> None:
        self._machine = machine
        self._name = name

    def _now(self) -> Any:
        weave = here.weave
        return self._machine if weave is None else getattr(weave.threads, self._name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._now(), name)

    def __len__(self) -> int:
        return len(self._now())

    def __iter__(self) -> Any:
        return iter(self._now())

    def __contains__(self, item: object) -> bool:
        return item in self._now()


class _ShutdownLocks(_SetPerWeave):
    """threading._shutdown_locks: those of the threads that the end of the program waits for."""

    def add(self, lock: Any) -> None:
        """The thread that has it is no daemon."""
        self._now().add(lock)
        state = lock.holder if isinstance(lock, Lock) else None
        if isinstance(state, ThreadState):
            state.threads.not_daemon(state)


def _hash_by_number(kind: Any) -> None:
    """Let the objects of `kind` that a weave keeps in sets be there in the order in which it met them.

    An executor has a set of its threads, which it joins at its end; `wait` and `as_completed` have sets of futures. By
    address, which is what an object hashes by, their order would be another one in each run.
    """
    by_address = kind.__hash__

    def __hash__(self: Any) -> int:
        try:
            return int(self.__dict__["_weaves_hash"])
        except KeyError:
            weave = here.weave
            number = by_address(self) if weave is None else weave.threads.counters.next("hash")
            # Kept, as an object's hash may not change when it is looked for outside of the weave.
            self.__dict__["_weaves_hash"] = number
            return int(number)

    kind.__hash__ = __hash__


def _install_executors() -> None:
    kind: Any = concurrent.futures.ThreadPoolExecutor
    real_init, real_counter = kind.__init__, kind._counter

    def counter(_stand: object) -> int:
        weave = here.weave
        return int(real_counter() if weave is None else weave.threads.counters.next("executor"))

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        real_init(self, *args, **kwargs)
        weave = here.weave
        if weave is not None:
            weave.threads.add_executor(self)

    # The machine's interpreter joins the threads in it at its end.
    module: Any = concurrent.futures.thread
    module._threads_queues = _PerWeave(module._threads_queues, lambda weave: weave.threads.queues)
    functools.update_wrapper(init, real_init)
    kind.__init__ = init
    kind._counter = types.MethodType(counter, kind)
