"""TLS on sockets inside a weave: `ssl.SSLSocket` asks its context for what is below it.

CPython's is C that reads and writes the descriptor itself. For a descriptor of a virtual host it is the host's.
"""

from __future__ import annotations

import ssl
from typing import Any

from weaves.here import here
from weaves.interpose.replace import Replacements


def install(_replacements: Replacements) -> None:
    """Interpose the method of contexts that ssl.SSLSocket calls."""
    machine: Any = getattr(ssl.SSLContext, "_wrap_socket")  # noqa: B009 - typeshed leaves it out

    def _wrap_socket(
        self: ssl.SSLContext, sock: Any, server_side: bool, server_hostname: str | None = None, *, owner: Any = None,
        session: Any = None,
    ) -> Any:
        weave = here.weave
        if weave is not None and weave.host.files.has(sock.fileno()):
            return weave.host.wrap_tls(self, sock, server_side, server_hostname, owner, session)
        return machine(self, sock, server_side, server_hostname, owner=owner, session=session)

    setattr(ssl.SSLContext, "_wrap_socket", _wrap_socket)  # noqa: B010
