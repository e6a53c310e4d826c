"""asyncio's policy inside a weave: which loop a program gets when it makes one.

Each weave has a policy of its own: asyncio's default, or the one that it sets. Those of asyncio and uvloop make loops
of the classes that loop_classes.py knows, hence the host's.
"""

from __future__ import annotations

import asyncio
import types
from typing import TYPE_CHECKING, Any

from weaves.here import here
from weaves.interpose.replace import Replacements
from weaves.thread_local import local
from weaves.threads import current_state

if TYPE_CHECKING:
    from weaves.weave import Weave


def install(replacements: Replacements) -> None:
    """Interpose the functions of asyncio that ask the policy."""
    _install_default()
    _install_policy(replacements)


class _OfThreads(local):
    """What a default policy keeps for each thread."""

    _loop: asyncio.AbstractEventLoop | None = None
    _set_called = False


class WeavePolicy(asyncio.DefaultEventLoopPolicy):
    """The policy of a weave that has set none.

    A default policy makes a loop for a main thread that asks for one and has none. Here every string counts as one.
    """

    def get_event_loop(self) -> asyncio.AbstractEventLoop:
        kept: Any = self._local  # type: ignore[attr-defined]
        if kept._loop is None and not kept._set_called and here.weave is not None:
            if current_state().is_string:
                self.set_event_loop(self.new_event_loop())
        return super().get_event_loop()


def _install_default() -> None:
    default: Any = asyncio.events.BaseDefaultEventLoopPolicy
    real_init = default.__init__

    def __init__(self: Any) -> None:
        real_init(self)
        if here.weave is not None:
            # asyncio's own was made by the machine's class, which cannot tell the threads of a weave from each other.
            self._local = _OfThreads()

    default.__init__ = __init__


def _policy_of(weave: Weave) -> Any:
    if weave.loop_policy is None:
        weave.loop_policy = WeavePolicy()
    return weave.loop_policy


def _install_policy(replacements: Replacements) -> None:
    events: Any = asyncio.events
    real_set_policy = events.set_event_loop_policy
    # asyncio's functions and classes in C (get_event_loop, Future) hold the function that gives the policy: it is
    # changed in place. What it was is the same code under another name.
    asked = events.get_event_loop_policy
    real_get_policy = types.FunctionType(asked.__code__, asked.__globals__, asked.__name__)

    def policy_here() -> Any:
        weave = here.weave
        return real_get_policy() if weave is None else _policy_of(weave)

    def set_event_loop_policy(policy: Any) -> None:
        weave = here.weave
        if weave is None:
            real_set_policy(policy)
            return
        if policy is not None and not isinstance(policy, asyncio.AbstractEventLoopPolicy):
            kind = type(policy).__name__
            raise TypeError(f"policy must be an instance of AbstractEventLoopPolicy or None, not '{kind}'")
        weave.loop_policy = policy

    events._policy_here = policy_here
    asked.__code__ = _get_event_loop_policy.__code__
    replacements.put(events, "set_event_loop_policy", set_event_loop_policy)


def _get_event_loop_policy() -> Any:
    return _policy_here()  # type: ignore[name-defined]  # noqa: F821 - a name of asyncio.events, whose code this becomes
