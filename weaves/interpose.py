"""What `socket`, `time`, `random`, `signal`, `asyncio`'s loop policy and `sys.argv` mean to code inside a weave.

Interposition is by context, not by replacement: each function below asks whether the caller runs inside a weave, and if
not does what it always did. So the same shared library serves a virtual host and the test runner outside at once, in
one process. `install` is called when the first run is made; it can be called again without effect.

Not here yet, each planned: `datetime.now`, `os.environ`, `os.getpid`, `threading`, modules' own data (beads.py).
"""

from __future__ import annotations

import _socket
import asyncio
import errno
import os
import random
import signal
import socket
import sys
import time
import types
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from weaves.bridge import current_flow
from weaves.here import here
from weaves.loop import WeaveLoop

if TYPE_CHECKING:
    from weaves.strings import Weave

_NS: Final = 1_000_000_000

# The machine's own, for the parts of this package that must not be interposed.
real_perf_counter = time.perf_counter
real_signal = signal.signal
real_getsignal = signal.getsignal
real_urandom = os.urandom

_installed = False


def install() -> None:
    """Make the standard library's names context-dependent, once per process."""
    global _installed
    if _installed:
        return
    _installed = True
    replaced: dict[int, tuple[Any, Any]] = {}
    for module, wrappers in (
        (time, _time_wrappers()),
        (random, _random_wrappers()),
        (socket, _socket_wrappers()),
        (signal, _signal_wrappers()),
        (os, {"urandom": _urandom}),
        (asyncio.events, _policy_wrappers()),
        (asyncio.tasks, {"as_completed": _as_completed()}),
    ):
        for name, wrapper in wrappers.items():
            original = getattr(module, name)
            replaced[id(original)] = (original, wrapper)
            setattr(module, name, wrapper)
    _replace_captured(replaced)
    _install_random_seed()
    _install_task_registry()
    _install_socket_class()
    _install_argv()


def _replace_captured(replaced: dict[int, tuple[Any, Any]]) -> None:
    """Names captured by `from time import monotonic` in modules that were imported before."""
    for module in list(sys.modules.values()):
        if not isinstance(module, types.ModuleType) or module.__name__.startswith("weaves."):
            continue
        namespace = vars(module)
        for name, value in list(namespace.items()):
            pair = replaced.get(id(value))
            if pair is not None and pair[0] is value:
                namespace[name] = pair[1]


# time


def _time_wrappers() -> dict[str, Callable[..., Any]]:
    def clock(name: str, wall: bool, integer: bool) -> Callable[[], Any]:
        real = getattr(time, name)

        def virtual() -> Any:
            weave = here.weave
            if weave is None:
                return real()
            ns = weave.scheduler.now_ns + (weave.epoch_ns if wall else 0)
            return ns if integer else ns / _NS

        virtual.__name__ = virtual.__qualname__ = name
        virtual.__module__ = "time"
        virtual.__doc__ = real.__doc__
        return virtual

    wrappers: dict[str, Callable[..., Any]] = {
        "time": clock("time", True, False),
        "time_ns": clock("time_ns", True, True),
        "monotonic": clock("monotonic", False, False),
        "monotonic_ns": clock("monotonic_ns", False, True),
        "perf_counter": clock("perf_counter", False, False),
        "perf_counter_ns": clock("perf_counter_ns", False, True),
    }
    real_sleep = time.sleep

    def sleep(seconds: float, /) -> None:
        weave = here.weave
        if weave is None:
            real_sleep(seconds)
            return
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        flow = current_flow()
        end_ns = weave.scheduler.now_ns + round(seconds * _NS)
        # At least one turn for the others, as a real sleep gives.
        flow.park_for(end_ns - weave.scheduler.now_ns)
        while weave.scheduler.now_ns < end_ns:
            flow.park_for(end_ns - weave.scheduler.now_ns)

    wrappers["sleep"] = sleep
    for name in ("gmtime", "localtime", "ctime"):
        wrappers[name] = _calendar(name)
    wrappers["strftime"] = _strftime()
    wrappers["asctime"] = _asctime()
    return wrappers


def _calendar(name: str) -> Callable[..., Any]:
    real = getattr(time, name)

    def virtual(seconds: float | None = None, /) -> Any:
        weave = here.weave
        if seconds is None and weave is not None:
            seconds = (weave.scheduler.now_ns + weave.epoch_ns) / _NS
        return real() if seconds is None else real(seconds)

    virtual.__name__ = virtual.__qualname__ = name
    virtual.__module__ = "time"
    return virtual


def _strftime() -> Callable[..., str]:
    real = time.strftime
    real_localtime = time.localtime

    def strftime(format: str, when: Any = None, /) -> str:
        weave = here.weave
        if when is None:
            if weave is None:
                return real(format)
            when = real_localtime((weave.scheduler.now_ns + weave.epoch_ns) / _NS)
        return real(format, when)

    return strftime


def _asctime() -> Callable[..., str]:
    real = time.asctime
    real_localtime = time.localtime

    def asctime(when: Any = None, /) -> str:
        weave = here.weave
        if when is None:
            if weave is None:
                return real()
            when = real_localtime((weave.scheduler.now_ns + weave.epoch_ns) / _NS)
        return real(when)

    return asctime


# random and os.urandom


def _random_wrappers() -> dict[str, Callable[..., Any]]:
    """The functions of `random`, which are methods of one hidden generator; inside a weave, of the weave's."""
    hidden = random._inst

    def wrap(name: str) -> Callable[..., Any]:
        real = getattr(random, name)

        def drawn(*args: Any, **kwargs: Any) -> Any:
            weave = here.weave
            if weave is None:
                return real(*args, **kwargs)
            return getattr(weave.rng, name)(*args, **kwargs)

        drawn.__name__ = drawn.__qualname__ = name
        drawn.__module__ = "random"
        drawn.__doc__ = real.__doc__
        return drawn

    wrappers = {
        name: wrap(name)
        for name in random.__all__
        if isinstance(getattr(random, name), (types.MethodType, types.BuiltinMethodType))
        and getattr(getattr(random, name), "__self__", None) is hidden
    }
    # SystemRandom, and `secrets` by it, draws from this name.
    wrappers["_urandom"] = _urandom
    return wrappers


def _urandom(size: int, /) -> bytes:
    weave = here.weave
    return real_urandom(size) if weave is None else weave.entropy.randbytes(size)


def _install_random_seed() -> None:
    """Let `random.Random()` and `random.seed()` inside a weave begin from its entropy, not from the machine's."""
    machine_seed = random.Random.seed

    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        if a is None and here.weave is not None:
            a = int.from_bytes(_urandom(32), "big")
        machine_seed(self, a, version)

    seed.__doc__ = machine_seed.__doc__
    random.Random.seed = seed  # type: ignore[method-assign]


# socket


def _install_socket_class() -> None:
    """Let `socket.socket(...)` inside a weave make the host's socket. The class stays the class it is."""
    machine_new = _socket.socket.__new__

    def new(cls: type[socket.socket], *args: Any, **kwargs: Any) -> Any:
        weave = here.weave
        if weave is None:
            return machine_new(cls, *args, **kwargs)
        return weave.host.new_socket(cls, args, kwargs)

    socket.socket.__new__ = new  # type: ignore[method-assign, assignment]


def _socket_wrappers() -> dict[str, Callable[..., Any]]:
    real_getaddrinfo = socket.getaddrinfo
    real_getnameinfo = socket.getnameinfo
    real_gethostname = socket.gethostname
    real_gethostbyname = socket.gethostbyname
    real_getfqdn = socket.getfqdn

    def getaddrinfo(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        weave = here.weave
        if weave is None:
            return real_getaddrinfo(host, port, family, type, proto, flags)
        return weave.host.getaddrinfo(host, port, family, type, proto, flags)

    def getnameinfo(sockaddr: Any, flags: int, /) -> tuple[str, str]:
        weave = here.weave
        return real_getnameinfo(sockaddr, flags) if weave is None else weave.host.getnameinfo(sockaddr, flags)

    def gethostname() -> str:
        weave = here.weave
        return real_gethostname() if weave is None else weave.host.name

    def getfqdn(name: str = "") -> str:
        weave = here.weave
        if weave is None:
            return real_getfqdn(name)
        return weave.host.name if name.strip() in ("", "0.0.0.0") else name

    def gethostbyname(name: str, /) -> str:
        weave = here.weave
        if weave is None:
            return real_gethostbyname(name)
        found = weave.host.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM, 0, 0)
        return str(found[0][4][0])

    real_gethostbyname_ex = socket.gethostbyname_ex
    real_gethostbyaddr = socket.gethostbyaddr
    real_socketpair = socket.socketpair

    def gethostbyname_ex(name: str, /) -> tuple[str, list[str], list[str]]:
        weave = here.weave
        if weave is None:
            return real_gethostbyname_ex(name)
        found = weave.host.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM, 0, 0)
        return name, [], [str(entry[4][0]) for entry in found]

    def gethostbyaddr(address: str, /) -> tuple[str, list[str], list[str]]:
        weave = here.weave
        if weave is None:
            return real_gethostbyaddr(address)
        number = gethostbyname(address)
        return weave.host.getnameinfo((number, 0), socket.NI_NAMEREQD)[0], [], [number]

    def socketpair(*args: Any, **kwargs: Any) -> Any:
        if here.weave is None:
            return real_socketpair(*args, **kwargs)
        raise OSError(errno.EOPNOTSUPP, "a virtual host has no Unix sockets yet")

    return {
        "gethostbyname_ex": gethostbyname_ex,
        "gethostbyaddr": gethostbyaddr,
        "socketpair": socketpair,
        "getaddrinfo": getaddrinfo,
        "getnameinfo": getnameinfo,
        "gethostname": gethostname,
        "getfqdn": getfqdn,
        "gethostbyname": gethostbyname,
    }


# signal


def _signal_wrappers() -> dict[str, Callable[..., Any]]:
    real_set_wakeup_fd = signal.set_wakeup_fd
    real_siginterrupt = signal.siginterrupt

    def signal_(signalnum: int, handler: Any, /) -> Any:
        weave = here.weave
        return real_signal(signalnum, handler) if weave is None else weave.signals.set(signalnum, handler)

    def getsignal(signalnum: int, /) -> Any:
        weave = here.weave
        return real_getsignal(signalnum) if weave is None else weave.signals.get(signalnum)

    def set_wakeup_fd(fd: int, /, *, warn_on_full_buffer: bool = True) -> int:
        if here.weave is None:
            return real_set_wakeup_fd(fd, warn_on_full_buffer=warn_on_full_buffer)
        return -1

    def siginterrupt(signalnum: int, flag: bool, /) -> None:
        if here.weave is None:
            real_siginterrupt(signalnum, flag)

    return {
        "signal": signal_,
        "getsignal": getsignal,
        "set_wakeup_fd": set_wakeup_fd,
        "siginterrupt": siginterrupt,
    }


# asyncio's policy: which loop a program gets when it makes one


class FlowPolicy(asyncio.AbstractEventLoopPolicy):
    """The policy inside a weave: new loops are the host's, and each flow has one set loop, as a thread."""

    def __init__(self, weave: Weave) -> None:
        self._weave = weave

    def get_event_loop(self) -> asyncio.AbstractEventLoop:
        flow = current_flow()
        if flow.event_loop is None:
            flow.event_loop = self.new_event_loop()
        return flow.event_loop

    def set_event_loop(self, loop: asyncio.AbstractEventLoop | None) -> None:
        current_flow().event_loop = loop

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return self._weave.host.new_loop(self._weave)

    # Abstract until Python 3.13: who waits for child processes. A virtual host has none.

    def get_child_watcher(self) -> Any:
        raise NotImplementedError("a virtual host has no child processes")

    def set_child_watcher(self, watcher: Any) -> None:
        raise NotImplementedError("a virtual host has no child processes")


def _policy_wrappers() -> dict[str, Callable[..., Any]]:
    events: Any = asyncio.events
    real_get_policy = events.get_event_loop_policy
    real_set_policy = events.set_event_loop_policy
    real_get_event_loop = events.get_event_loop

    def get_event_loop_policy() -> Any:
        weave = here.weave
        return real_get_policy() if weave is None else FlowPolicy(weave)

    def set_event_loop_policy(policy: Any) -> None:
        if here.weave is None:
            real_set_policy(policy)

    def get_event_loop() -> Any:
        weave = here.weave
        if weave is None:
            return real_get_event_loop()
        running = asyncio._get_running_loop()
        return FlowPolicy(weave).get_event_loop() if running is None else running

    wrappers: dict[str, Callable[..., Any]] = {
        "get_event_loop_policy": get_event_loop_policy,
        "set_event_loop_policy": set_event_loop_policy,
        "get_event_loop": get_event_loop,
    }
    real_quiet_get_event_loop = getattr(events, "_get_event_loop", None)
    if real_quiet_get_event_loop is not None:  # Python 3.11: what `gather`, `ensure_future` and streams ask

        def quiet_get_event_loop(stacklevel: int = 3) -> Any:
            return real_quiet_get_event_loop(stacklevel) if here.weave is None else get_event_loop()

        wrappers["_get_event_loop"] = quiet_get_event_loop
    return wrappers


def _as_completed() -> Callable[..., Any]:
    real = asyncio.tasks.as_completed

    def as_completed(awaitables: Any, *, timeout: float | None = None) -> Any:
        if here.weave is not None and not (asyncio.isfuture(awaitables) or asyncio.iscoroutine(awaitables)):
            # The real one puts them in a set first, where coroutines have the order of their addresses; tasks do not.
            awaitables = [asyncio.ensure_future(awaitable) for awaitable in dict.fromkeys(awaitables)]
        return real(awaitables, timeout=timeout)

    as_completed.__doc__ = real.__doc__
    return as_completed


# asyncio.all_tasks: which tasks a loop has


def _install_task_registry() -> None:
    """Let each weave's loop know its own tasks.

    asyncio has one set of the tasks of all loops, and `all_tasks`, which `asyncio.run` asks at its end, goes through
    it: with a program on each of thousands of hosts that is most of the run. CPython 3.11 to 3.13 add to the set by
    calling its method, also from C and for tasks that nobody made by `create_task`; so there they can be told apart.
    """
    registry: Any = getattr(asyncio.tasks, "_scheduled_tasks", None)  # Python 3.12
    if registry is None:
        registry = getattr(asyncio.tasks, "_all_tasks", None)
    if type(registry) is not weakref.WeakSet:
        return  # a Python that keeps them in another way; its all_tasks is right, if slow
    machine_add = registry.add

    def add(task: asyncio.Task[Any]) -> None:
        loop = task.get_loop()
        if isinstance(loop, WeaveLoop):
            loop.tasks.add(task)
        else:
            machine_add(task)

    setattr(registry, "add", add)  # noqa: B010 - of this one set, not of the class
    real_all_tasks = asyncio.tasks.all_tasks

    def all_tasks(loop: asyncio.AbstractEventLoop | None = None) -> set[asyncio.Task[Any]]:
        asked = asyncio.get_running_loop() if loop is None else loop
        if isinstance(asked, WeaveLoop):
            return {task for task in asked.tasks if not task.done()}
        return real_all_tasks(loop)

    setattr(asyncio.tasks, "all_tasks", all_tasks)  # noqa: B010 - typeshed does not let it be assigned
    _replace_captured({id(real_all_tasks): (real_all_tasks, all_tasks)})


# sys.argv


def _install_argv() -> None:
    """`sys.argv` as a property of the module's class: a data descriptor comes before the module's dictionary."""

    class Sys(types.ModuleType):
        @property
        def argv(self) -> list[str]:
            weave = here.weave
            found: list[str] = vars(sys)["argv"] if weave is None else weave.argv
            return found

        @argv.setter
        def argv(self, value: list[str]) -> None:
            weave = here.weave
            if weave is None:
                vars(sys)["argv"] = value
            else:
                weave.argv = value

    sys.__class__ = Sys
