"""TLS on a socket of a virtual host: what `ssl.SSLSocket` has below it there.

CPython's own (_ssl._SSLSocket) reads and writes a descriptor of the machine. Here OpenSSL works on two buffers in
memory, and this file carries bytes between them and the host's socket. All else of ssl.SSLSocket is the standard
library's. asyncio's TLS does not come by here: it has its own protocol over a transport.

Two rules keep a socket that is not to block as it is on Linux. No more is read than the record that OpenSSL waits for,
so that what the socket has left shows in poll. And a write that had to stop is to be called again with the same data,
which goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import ssl
import weakref
from collections.abc import Callable
from typing import Any, Final

from lunar.socket import LunarSocket

# RFC 8446 section 5.1: type, version, length.
_HEADER_BYTES: Final = 5
# What is encrypted at once: the most that a record may hold.
_RECORD_BYTES: Final = 16384


class SocketTls:
    """The TLS connection of `sock`, with the methods and attributes of _ssl._SSLSocket."""

    def __init__(
        self, context: ssl.SSLContext, sock: LunarSocket, server_side: bool, server_hostname: str | None, owner: Any,
        session: ssl.SSLSession | None,
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object: Any = context._wrap_bio(  # type: ignore[attr-defined]
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname, owner=owner,
            session=session,
        )  # fmt: skip
        # The socket has this object; a reference back would leave both to the collector.
        self._ref = weakref.ref(sock)
        self._unsent = b""  # encrypted, and not taken by the socket yet
        self._written = 0  # how much of the data of a write that had to stop is encrypted
        self._header = b""  # of the record that is being read
        self._left = _HEADER_BYTES  # of the header, or of the record after it

    @property
    def _sock(self) -> LunarSocket:
        sock = self._ref()
        assert sock is not None, "the TLS of a socket outlived it"
        return sock

    # Bytes between the socket and OpenSSL

    def _flush(self, deadline: int | None, doing: str) -> None:
        """Send all that OpenSSL has written. SSLWantWriteError, TimeoutError, and what send raises."""
        while True:
            if not self._unsent:
                self._unsent = self._outgoing.read()
                if not self._unsent:
                    return
            try:
                count = self._sock._send(self._unsent, 0, deadline)
            except BlockingIOError:
                raise ssl.SSLWantWriteError(
                    ssl.SSL_ERROR_WANT_WRITE, "The operation did not complete (write)"
                ) from None
            except TimeoutError:
                raise TimeoutError(f"The {doing} operation timed out") from None
            self._unsent = self._unsent[count:]

    def _feed(self, deadline: int | None, doing: str) -> None:
        """Give OpenSSL more of the record that it reads. SSLWantReadError, TimeoutError, and what recv raises."""
        try:
            data = self._sock._receive_until(self._left, 0, deadline).data
        except BlockingIOError:
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "The operation did not complete (read)") from None
        except TimeoutError:
            raise TimeoutError(f"The {doing} operation timed out") from None
        if not data:
            self._incoming.write_eof()
            return
        self._incoming.write(data)
        self._left -= len(data)
        if len(self._header) < _HEADER_BYTES:
            self._header += data
            if not self._left:
                self._left = int.from_bytes(self._header[3:], "big")
        if not self._left:
            self._header = b""
            self._left = _HEADER_BYTES

    def _offer(self, deadline: int | None, doing: str) -> None:
        """As `_flush`, where nothing depends on it: the rest goes with the next call."""
        with contextlib.suppress(OSError):
            self._flush(deadline, doing)

    def _obey(self, deadline: int | None, doing: str, function: Callable[..., Any], *args: Any) -> Any:
        """`function` of OpenSSL's object, fed for as long as it asks."""
        flush = self._offer if doing == "read" else self._flush
        while True:
            try:
                return function(*args)
            except ssl.SSLWantReadError:
                flush(deadline, doing)
                self._feed(deadline, doing)
            except ssl.SSLError:
                self._offer(deadline, doing)  # an alert for the peer
                raise

    # What ssl.SSLSocket calls

    def do_handshake(self) -> None:
        """Shake hands. SSLWantReadError and SSLWantWriteError where the socket is not to block."""
        deadline = self._sock._deadline()
        self._flush(deadline, "handshake")
        self._obey(deadline, "handshake", self._object.do_handshake)
        self._flush(deadline, "handshake")

    def read(self, length: int = 1024, buffer: Any = None) -> Any:
        """Up to `length` bytes; with `buffer` their count, in it."""
        args = (length,) if buffer is None else (length, buffer)
        deadline = self._sock._deadline()
        result = self._obey(deadline, "read", self._object.read, *args)
        self._offer(deadline, "read")
        return result

    def write(self, data: Any) -> int:
        """Encrypt and send all of `data`; its length. After SSLWantWriteError call again with the same data."""
        view = memoryview(data).cast("B")
        if len(view) < self._written:
            raise ssl.SSLError(ssl.SSL_ERROR_SSL, "bad write retry")
        deadline = self._sock._deadline()
        self._flush(deadline, "write")
        while self._written < len(view):
            piece = view[self._written : self._written + _RECORD_BYTES]
            self._written += self._obey(deadline, "write", self._object.write, piece)
            self._flush(deadline, "write")
        self._written = 0
        return len(view)

    def shutdown(self) -> LunarSocket:
        """Say the end of TLS, wait for the peer to say it, and give back the socket."""
        deadline = self._sock._deadline()
        self._flush(deadline, "shutdown")
        self._obey(deadline, "shutdown", self._object.shutdown)
        self._flush(deadline, "shutdown")
        return self._sock

    @property
    def context(self) -> Any:
        return self._object.context

    @context.setter
    def context(self, value: Any) -> None:
        self._object.context = value

    @property
    def session(self) -> Any:
        return self._object.session

    @session.setter
    def session(self, value: Any) -> None:
        self._object.session = value

    def __getattr__(self, name: str) -> Any:
        # Those that need no bytes: cipher, version, getpeercert, pending, selected_alpn_protocol ...
        return getattr(self._object, name)
