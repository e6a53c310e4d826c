"""A drop-in for the standard library's asyncio, with awaited sockets besides.

    from lunar import asyncio
    sock = asyncio.socket(asyncio.AF_INET, asyncio.SOCK_STREAM)
    await sock.connect(("10.0.0.2", 80))

Every name of `asyncio` is here and is the same object: inside a weave the running loop is the host's, so that streams,
tasks and timeouts of the standard library are Lunar's already. Only `socket` is added, in sockets.py.
"""

from __future__ import annotations

import asyncio as _asyncio
from asyncio import *  # noqa: F403
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM
from typing import Any

from lunar.asyncio.sockets import socket

__all__ = [*_asyncio.__all__, "AF_INET", "SOCK_DGRAM", "SOCK_STREAM", "socket"]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    # Submodules and what asyncio adds to itself later (asyncio.events, asyncio.tasks ...).
    return getattr(_asyncio, name)
