"""A drop-in for the standard library's `socket`: every name of it, and the same objects.

    from lunar import socket
    with socket.create_connection(("server", 80), timeout=5) as connection:
        connection.sendall(b"...")

Inside a weave the names of the standard library mean the host's (host_socket.py), outside the machine's. So a program
need not be changed to import this; it is for code that wants to say what it is written for.
"""

from __future__ import annotations

import socket as _socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from socket import *  # noqa: F403
else:
    # Looked up each time: what the names mean is changed when the first run is made.
    __all__ = [name for name in dir(_socket) if not name.startswith("_")]

    def __getattr__(name: str) -> Any:
        return getattr(_socket, name)

    def __dir__() -> list[str]:
        return dir(_socket)
