"""asyncio's tasks inside a weave: which a loop has, and in which order it is given them."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

from weaves.here import here
from weaves.interpose.replace import Replacements
from weaves.loop import WeaveLoop


def install(replacements: Replacements) -> None:
    """Interpose `asyncio.all_tasks` and `asyncio.as_completed`, and the hash of what `asyncio.gather` returns."""
    replacements.put(asyncio.tasks, "as_completed", _as_completed())
    _install_task_registry(replacements)
    _install_gathering_hash()


def _as_completed() -> Callable[..., Any]:
    real = asyncio.tasks.as_completed

    def as_completed(awaitables: Any, *, timeout: float | None = None) -> Any:
        if here.weave is not None and not (asyncio.isfuture(awaitables) or asyncio.iscoroutine(awaitables)):
            # The real one puts them in a set first, where coroutines have the order of their addresses; tasks do not.
            awaitables = [asyncio.ensure_future(awaitable) for awaitable in dict.fromkeys(awaitables)]
        return real(awaitables, timeout=timeout)

    as_completed.__doc__ = real.__doc__
    return as_completed


def _install_gathering_hash() -> None:
    """Let the future of `gather` hash by its number in its loop, as all futures of a weave's loop do.

    Its class is Python's own, and written in Python. In a loop of the machine it hashes as before, by its address.
    """
    gathering: Any = getattr(asyncio.tasks, "_GatheringFuture", None)
    if gathering is None or "__hash__" in vars(gathering):
        return  # a Python that does it in another way

    def number(future: Any) -> int:
        try:
            found: int = future._number
        except AttributeError:
            loop = future.get_loop()
            if not isinstance(loop, WeaveLoop):
                return object.__hash__(future)
            found = future._number = loop.next_number()
        return found

    gathering.__hash__ = number


def _install_task_registry(replacements: Replacements) -> None:
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

    replacements.put(asyncio.tasks, "all_tasks", all_tasks)
