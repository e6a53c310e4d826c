"""`signal` inside a weave: its own table of handlers, see weaves/signals.py."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from weaves.here import here
from weaves.interpose.replace import Replacements

# The machine's own, for the parts of this package that must not be interposed.
real_signal = signal.signal
real_getsignal = signal.getsignal


def install(replacements: Replacements) -> None:
    """Interpose `signal`."""
    replacements.put_all(signal, _signal_wrappers())


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
