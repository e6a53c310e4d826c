"""`select` inside a weave: `select`, `poll` and `epoll` wait for the host's descriptors, in virtual time.

`selectors`, asyncore and whatever else is built on them follow. `select.epoll` is a class that the interpreter keeps
others from changing; in its place stands one that makes the machine's objects outside and the host's inside, and knows
both as its instances.
"""

from __future__ import annotations

import select
from typing import Any

from weaves.here import here
from weaves.interpose.replace import Replacements

# The machine's own.
machine_select = select.select
machine_poll = select.poll
machine_epoll = select.epoll


class _EpollType(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, machine_epoll) or type.__instancecheck__(cls, instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return subclass is machine_epoll or type.__subclasscheck__(cls, subclass)


class Epoll(metaclass=_EpollType):
    """What `select.epoll` is while both kinds are there."""

    def __new__(cls, sizehint: int = -1, flags: int = 0) -> Any:
        weave = here.weave
        return machine_epoll(sizehint, flags) if weave is None else weave.host.select.epoll(sizehint, flags)

    def __init_subclass__(cls) -> None:
        raise TypeError("type 'select.epoll' is not an acceptable base type")

    @classmethod
    def fromfd(cls, fd: int, /) -> Any:
        weave = here.weave
        if weave is None or not weave.host.files.has(fd):
            return machine_epoll.fromfd(fd)
        return weave.host.select.epoll_fromfd(fd)


# What `select.epoll` gives and takes is the same for both: the stand-in has the documentation and the unbound methods.
for _name in ("close", "fileno", "register", "modify", "unregister", "poll", "closed", "__enter__", "__exit__"):
    setattr(Epoll, _name, getattr(machine_epoll, _name))
Epoll.__name__ = Epoll.__qualname__ = "epoll"
Epoll.__module__ = "select"
Epoll.__doc__ = machine_epoll.__doc__


def install(replacements: Replacements) -> None:
    """Interpose `select`."""

    def select_(_stand: object, rlist: Any, wlist: Any, xlist: Any, timeout: Any = None, /) -> Any:
        weave = here.weave
        if weave is None:
            return machine_select(rlist, wlist, xlist, timeout)
        return weave.host.select.select(rlist, wlist, xlist, timeout)

    def poll(_stand: object) -> Any:
        weave = here.weave
        return machine_poll() if weave is None else weave.host.select.poll()

    replacements.put_all_c(select, {"select": select_, "poll": poll})
    replacements.put(select, "epoll", Epoll)
