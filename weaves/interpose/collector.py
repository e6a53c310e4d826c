"""`gc` inside a weave: a program collects when it says so, and does not change when the run collects.

The run's collector goes by the count of events (weaves/realtime.py), which a program must not stop or move. What a
collection finds may be of any weave, so it is done in none of them, but in the one of weaves/collector.py.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, Final

from weaves.here import here
from weaves.interpose.replace import Replacements

# The machine's own: whether collections happen by themselves.
real_isenabled = gc.isenabled

# They change the collector, and give None. The last is of the whole heap, for the sake of a fork.
_SETTINGS: Final = ("set_threshold", "set_debug", "freeze", "unfreeze")


def install(replacements: Replacements) -> None:
    """Interpose `gc`."""
    real_enable, real_disable, real_collect = gc.enable, gc.disable, gc.collect

    def enable(_stand: object) -> None:
        weave = here.weave
        if weave is None:
            real_enable()
        else:
            weave.process.collector_enabled = True

    def disable(_stand: object) -> None:
        weave = here.weave
        if weave is None:
            real_disable()
        else:
            weave.process.collector_enabled = False

    def isenabled(_stand: object) -> bool:
        weave = here.weave
        return real_isenabled() if weave is None else weave.process.collector_enabled

    def collect(_stand: object, generation: int = 2) -> int:
        weave, flow = here.weave, here.flow
        if weave is None:
            return real_collect(generation)
        here.weave, here.flow = weave.scheduler.collector, None
        try:
            return real_collect(generation)
        finally:
            here.weave, here.flow = weave, flow

    replacements.put_all_c(gc, {"enable": enable, "disable": disable, "isenabled": isenabled, "collect": collect})
    for name in _SETTINGS:
        replacements.put_c(gc, name, _setting(name))


def _setting(name: str) -> Callable[..., None]:
    real = getattr(gc, name)

    def setting(_stand: object, *args: Any) -> None:
        if here.weave is None:
            real(*args)

    return setting
