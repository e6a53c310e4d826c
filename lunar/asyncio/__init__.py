"""A drop-in for the standard library's asyncio, with awaited sockets besides.

    from lunar import asyncio
    sock = asyncio.socket(asyncio.AF_INET, asyncio.SOCK_STREAM)
    await sock.connect(("10.0.0.2", 80))

Every name of `asyncio` is here and is the same object, its modules (`asyncio.events`, `asyncio.subprocess` ...) too:
inside a weave the running loop is the host's, so that streams, tasks and timeouts of the standard library are Lunar's
already. Added are `socket`, what makes and names sockets (sockets.py), and the constants (socket_constants.py).
"""

# ruff: noqa: I001 - one block is easier to read; "X as X" tells a type checker that X is there for others

from __future__ import annotations

import asyncio as _asyncio
import sys as _sys
import types as _types
from asyncio import *  # noqa: F403
from asyncio import (
    TaskGroup as TaskGroup,  # not in `asyncio.__all__` of Python 3.11
    base_events as base_events,
    base_futures as base_futures,
    base_subprocess as base_subprocess,
    base_tasks as base_tasks,
    constants as constants,
    coroutines as coroutines,
    events as events,
    exceptions as exceptions,
    format_helpers as format_helpers,
    futures as futures,
    locks as locks,
    log as log,
    mixins as mixins,
    protocols as protocols,
    queues as queues,
    runners as runners,
    selector_events as selector_events,
    sslproto as sslproto,
    staggered as staggered,
    streams as streams,
    subprocess as subprocess,
    taskgroups as taskgroups,
    tasks as tasks,
    threads as threads,
    timeouts as timeouts,
    transports as transports,
    trsock as trsock,
    unix_events as unix_events,
)
from socket import gaierror as gaierror
from typing import TYPE_CHECKING, Any

from lunar.asyncio import socket_constants as _socket_constants
from lunar.asyncio.socket_constants import *  # noqa: F403
from lunar.asyncio.sockets import (
    create_connection as create_connection,
    create_server as create_server,
    getaddrinfo as getaddrinfo,
    gethostname as gethostname,
    getnameinfo as getnameinfo,
    socket as socket,
)

if not TYPE_CHECKING:
    # `import lunar.asyncio.subprocess` finds the standard library's module, too.
    for _module in (value for value in list(vars(_asyncio).values()) if isinstance(value, _types.ModuleType)):
        if _module.__name__.startswith("asyncio."):
            _sys.modules[f"lunar.{_module.__name__}"] = _module

    # What `from lunar.asyncio import *` gives. A type checker takes all public names.
    __all__ = [  # noqa: PLE0604
        *_asyncio.__all__, *_socket_constants.__all__, "create_connection", "create_server", "gaierror", "getaddrinfo",
        "gethostname", "getnameinfo", "socket",
        *([] if "TaskGroup" in _asyncio.__all__ else ["TaskGroup"]),
    ]  # fmt: skip

    # Not for a type checker, to which every misspelt name would be right.
    def __getattr__(name: str) -> Any:
        """What other versions of Python add to asyncio, and its private names."""
        return getattr(_asyncio, name)
