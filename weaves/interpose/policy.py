"""asyncio's policy inside a weave: which loop a program gets when it makes one."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from weaves.here import here
from weaves.interpose.replace import Replacements
from weaves.threads import current_state

if TYPE_CHECKING:
    from weaves.weave import Weave


def install(replacements: Replacements) -> None:
    """Interpose the functions of asyncio that ask the policy."""
    _install_policy(replacements)


class FlowPolicy(asyncio.AbstractEventLoopPolicy):
    """The policy inside a weave: new loops are the host's, and each thread has one that is set."""

    def __init__(self, weave: Weave) -> None:
        self._weave = weave

    def get_event_loop(self) -> asyncio.AbstractEventLoop:
        state = current_state()
        loop = state.event_loop
        if loop is None:
            if state.event_loop_was_set or not state.is_string:
                raise RuntimeError(f"There is no current event loop in thread {threading.current_thread().name!r}.")
            loop = state.event_loop = self.new_event_loop()
        return loop

    def set_event_loop(self, loop: asyncio.AbstractEventLoop | None) -> None:
        if loop is not None and not isinstance(loop, asyncio.AbstractEventLoop):
            raise TypeError(f"loop must be an instance of AbstractEventLoop or None, not {type(loop).__name__!r}")
        state = current_state()
        state.event_loop = loop
        state.event_loop_was_set = True

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return self._weave.host.new_loop(self._weave)

    # Abstract until Python 3.13: who waits for child processes. A virtual host has none.

    def get_child_watcher(self) -> Any:
        raise NotImplementedError("a virtual host has no child processes")

    def set_child_watcher(self, watcher: Any) -> None:
        raise NotImplementedError("a virtual host has no child processes")


def _install_policy(replacements: Replacements) -> None:
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

    def get_event_loop(_stand: object) -> Any:
        weave = here.weave
        if weave is None:
            return real_get_event_loop()
        running = asyncio._get_running_loop()
        return FlowPolicy(weave).get_event_loop() if running is None else running

    replacements.put(events, "get_event_loop_policy", get_event_loop_policy)
    replacements.put(events, "set_event_loop_policy", set_event_loop_policy)
    replacements.put_c(events, "get_event_loop", get_event_loop)
    real_quiet_get_event_loop = getattr(events, "_get_event_loop", None)
    if real_quiet_get_event_loop is not None:  # Python 3.11: what `gather`, `ensure_future` and streams ask

        def quiet_get_event_loop(_stand: object, stacklevel: int = 3) -> Any:
            return real_quiet_get_event_loop(stacklevel) if here.weave is None else get_event_loop(_stand)

        replacements.put_c(events, "_get_event_loop", quiet_get_event_loop)
