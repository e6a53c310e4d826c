"""What the standard library's names mean to code inside a weave: a file a noun.

Interposition is by context, not by replacement: each function here asks whether the caller runs inside a weave, and if
not does what it always did. So the same shared library serves a virtual host and the test runner outside at once, in
one process. `install` is called when the first run is made; it can be called again without effect.

Begin with replace.py. Modules' own data is not here, but in weaves/modules.py.
"""

from __future__ import annotations

from typing import Final

from weaves import modules
from weaves.interpose import (
    clocks,
    collector,
    dates,
    descriptors,
    environment,
    exits,
    identity,
    logging_state,
    loop_classes,
    paths,
    policy,
    randomness,
    refused,
    select_names,
    signal_calls,
    socket_names,
    sys_module,
    task_registry,
    threads,
    tls,
)
from weaves.interpose.clocks import real_perf_counter
from weaves.interpose.randomness import real_urandom
from weaves.interpose.replace import Replacements
from weaves.interpose.signal_calls import real_getsignal, real_signal

__all__ = ["install", "real_getsignal", "real_perf_counter", "real_signal", "real_urandom"]

_NOUNS: Final = (
    clocks,
    dates,
    randomness,
    identity,
    environment,
    socket_names,
    descriptors,
    paths,
    select_names,
    tls,
    signal_calls,
    policy,
    loop_classes,
    task_registry,
    sys_module,
    collector,
    exits,
    logging_state,
    refused,
    threads,
)

_installed = False


def install() -> None:
    """Make the standard library's names context-dependent, once per process."""
    global _installed
    if _installed:
        return
    _installed = True
    replacements = Replacements()
    for noun in _NOUNS:
        noun.install(replacements)
    replacements.reach_captured()
    modules.install()
