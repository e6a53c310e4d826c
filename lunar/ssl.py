"""A drop-in for the standard library's `ssl`: every name of it, and the same objects.

    from lunar import ssl
    secure = ssl.create_default_context().wrap_socket(connection, server_hostname="server")

Inside a weave the names of the standard library mean the host's (socket_tls.py), outside the machine's. So a program
need not be changed to import this; it is for code that wants to say what it is written for.
"""

from __future__ import annotations

import ssl as _ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssl import *  # noqa: F403
else:
    # Looked up each time: what the names mean is changed when the first run is made.
    __all__ = [name for name in dir(_ssl) if not name.startswith("_")]

    def __getattr__(name: str) -> Any:
        return getattr(_ssl, name)

    def __dir__() -> list[str]:
        return dir(_ssl)
