"""TLS on sockets inside a weave: `ssl.SSLSocket` asks its context for what is below it.

CPython's is C that reads and writes the descriptor itself. For a descriptor of a virtual host it is the host's. OpenSSL
looks for the certificates to trust where the environment of the process says; a program has an environment of its own.
"""

from __future__ import annotations

import _ssl
import contextlib
import os
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
    machine_paths = ssl.SSLContext.set_default_verify_paths

    def set_default_verify_paths(self: ssl.SSLContext) -> None:
        paths: tuple[str, str, str, str] = _ssl.get_default_verify_paths()
        file_variable, file, folder_variable, folder = paths
        if here.weave is None or not {file_variable, folder_variable} & os.environ.keys():
            machine_paths(self)
            return
        # X509_STORE_set_default_paths(3): what is not there or cannot be read is passed over.
        for where in (
            {"cafile": os.environ.get(file_variable, file)},
            {"capath": os.environ.get(folder_variable, folder)},
        ):
            with contextlib.suppress(OSError):  # ssl.SSLError is one
                self.load_verify_locations(**where)

    setattr(ssl.SSLContext, "set_default_verify_paths", set_default_verify_paths)  # noqa: B010
