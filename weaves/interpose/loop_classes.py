"""Classes of event loops inside a weave: whichever a program names, it gets the host's loop.

`asyncio.SelectorEventLoop()` and `uvloop.Loop()` (which `uvloop.new_event_loop`, `uvloop.run` and uvloop's policy call)
would wait for the machine's descriptors in the machine's time. As with sockets the class stays the class it is, and its
`__new__` asks for the context.
"""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop

from weaves.here import here
from weaves.interpose.replace import Replacements


def install(_replacements: Replacements) -> None:
    """Interpose the classes of loops that this machine has."""
    for known in (asyncio.SelectorEventLoop, uvloop.Loop):
        _install_class(known)


def _install_class(known: type[asyncio.AbstractEventLoop]) -> None:
    machine_new: Any = known.__new__

    def new(cls: type[asyncio.AbstractEventLoop], *args: Any, **kwargs: Any) -> asyncio.AbstractEventLoop:
        weave = here.weave
        if weave is None:
            # object.__new__ takes no more than the class; what the class needs goes to its __init__.
            made: asyncio.AbstractEventLoop = (
                machine_new(cls) if machine_new is object.__new__ else machine_new(cls, *args, **kwargs)
            )
            return made
        if cls is not known:
            # Its methods would be lost, and they are there for the machine's descriptors.
            raise NotImplementedError(f"a virtual host cannot run {cls.__qualname__}; expected {known.__name__} itself")
        loop = weave.host.new_loop(weave)
        loop.stands_for = known
        return loop

    known.__new__ = new  # type: ignore[method-assign, assignment]
