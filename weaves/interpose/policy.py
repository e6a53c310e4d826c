"""asyncio's policy inside a weave: which loop a program gets when it makes one.

Each weave has a policy of its own: asyncio's default, or the one that it sets. Those of asyncio and uvloop make loops
of the classes that loop_classes.py knows, hence the host's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from weaves.here import here
from weaves.interpose.replace import Replacements
from weaves.locks import local
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
        weave.loop_policy = asyncio.DefaultEventLoopPolicy()
    return weave.loop_policy


def _install_policy(replacements: Replacements) -> None:
    events: Any = asyncio.events
    real_get_policy = events.get_event_loop_policy
    real_set_policy = events.set_event_loop_policy
    real_get_event_loop = events.get_event_loop

    def get_event_loop_policy() -> Any:
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

    def get_event_loop(_stand: object) -> Any:
        weave = here.weave
        if weave is None:
            return real_get_event_loop()
        running = asyncio._get_running_loop()
        if running is not None:
            return running
        chosen = _policy_of(weave)
        if current_state().is_string and isinstance(own := getattr(chosen, "_local", None), _OfThreads):
            # Each string has a loop by itself, where asyncio gives one to the main thread alone.
            if own._loop is None and not own._set_called:
                chosen.set_event_loop(chosen.new_event_loop())
        return chosen.get_event_loop()

    replacements.put(events, "get_event_loop_policy", get_event_loop_policy)
    replacements.put(events, "set_event_loop_policy", set_event_loop_policy)
    replacements.put_c(events, "get_event_loop", get_event_loop)
    real_quiet_get_event_loop = getattr(events, "_get_event_loop", None)
    if real_quiet_get_event_loop is not None:  # Python 3.11: what `gather`, `ensure_future` and streams ask

        def quiet_get_event_loop(_stand: object, stacklevel: int = 3) -> Any:
            return real_quiet_get_event_loop(stacklevel) if here.weave is None else get_event_loop(_stand)

        replacements.put_c(events, "_get_event_loop", quiet_get_event_loop)
