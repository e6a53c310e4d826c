"""TLS on a socket of a virtual host: what `ssl.SSLSocket` has below it there.

CPython's own (_ssl._SSLSocket) reads and writes a descriptor of the machine. Here OpenSSL works on two buffers in
memory, and this file carries bytes between them and the host's socket. All else of ssl.SSLSocket is the standard
library's. asyncio's TLS does not come by here: it has its own protocol over a transport.

Two rules keep a socket that is not to block as it is on Linux. No more is read than the record that OpenSSL waits for,
so that what the socket has left shows in poll. And a write that had to stop is to be called again with the same data,
which goes on where it stopped.

Two strings may use one connection at once, as a reader and a writer do. So nothing that is looked up before a string
parks is used after it: whoever goes on looks again. Of two writers the second waits until the first is done.
"""

from __future__ import annotations

import contextlib
import errno
import ssl
import weakref
from collections.abc import Callable
from typing import Any, Final

from lunar.errors import error
from lunar.host_socket import LunarSocket
from lunar.net.sock import POLLIN, POLLOUT
from lunar.sockets import syscalls
from weaves.bridge import Flow, current_flow
from weaves.here import here

# RFC 8446 section 5.1: type, version, length.
_HEADER_BYTES: Final = 5
# What is encrypted at once: the most that a record may hold.
_RECORD_BYTES: Final = 16384
# What CPython gives an SSLError whose socket is gone (PY_SSL_ERROR_NO_SOCKET in Modules/_ssl.h).
_NO_SOCKET: Final = 9


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
        self._writer: Flow | None = None  # whose data that is, while it is parked
        self._next_writers: list[Flow] = []
        self._header = b""  # of the record that is being read
        self._left = _HEADER_BYTES  # of the header, or of the record after it

    @property
    def _sock(self) -> LunarSocket:
        sock = self._ref()
        if sock is None:
            raise ssl.SSLError(_NO_SOCKET, "Underlying socket connection gone")
        return sock

    # Bytes between the socket and OpenSSL

    def _wait(self, mask: int, deadline: int | None, doing: str) -> None:
        """Park until one of `mask` may hold. BlockingIOError, TimeoutError, and EBADF if it was closed meanwhile."""
        try:
            self._sock._wait(mask, deadline)
        except TimeoutError:
            if doing == "shutdown":  # CPython names what it waited for
                doing = "write" if mask == POLLOUT else "read"
            raise TimeoutError(f"The {doing} operation timed out") from None

    def _push(self) -> bool:
        """Send what OpenSSL has written, as much as the socket takes: whether that is all. Raises what send raises."""
        while True:
            if not self._unsent:
                self._unsent = self._outgoing.read()
                if not self._unsent:
                    return True
            count = syscalls.send(self._sock._open(), self._unsent, 0)
            if count == -errno.EAGAIN:
                return False
            if count < 0:
                raise error(count)
            self._unsent = self._unsent[count:]

    def _flush(self, deadline: int | None, doing: str) -> None:
        """Send all that OpenSSL has written. SSLWantWriteError, TimeoutError, and what send raises."""
        while not self._push():
            try:
                self._wait(POLLOUT, deadline, doing)
            except BlockingIOError:
                raise ssl.SSLWantWriteError(
                    ssl.SSL_ERROR_WANT_WRITE, "The operation did not complete (write)"
                ) from None

    def _feed(self, deadline: int | None, doing: str) -> None:
        """Give OpenSSL more of the record that it reads, or wait until there is more.

        SSLWantReadError, TimeoutError, and what recv raises.
        """
        got = syscalls.recvfrom(self._sock._open(), self._left, 0)
        if got.errno == errno.EAGAIN:
            try:
                # What was not sent yet may be what the peer waits for.
                self._wait(POLLIN | POLLOUT if self._unsent else POLLIN, deadline, doing)
            except BlockingIOError:
                raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "The operation did not complete (read)") from None
            return
        if got.errno:
            raise error(int(got.errno))
        if not got.data:
            self._incoming.write_eof()
            return
        self._incoming.write(got.data)
        self._left -= len(got.data)
        if len(self._header) < _HEADER_BYTES:
            self._header += got.data
            if not self._left:
                self._left = int.from_bytes(self._header[3:], "big")
        if not self._left:
            self._header = b""
            self._left = _HEADER_BYTES

    def _offer(self) -> None:
        """As `_push`, where nothing depends on it: the rest goes with the next call."""
        with contextlib.suppress(OSError):
            self._push()

    def _obey(self, deadline: int | None, doing: str, function: Callable[..., Any], *args: Any) -> Any:
        """`function` of OpenSSL's object, fed for as long as it asks."""
        while True:
            try:
                return function(*args)
            except ssl.SSLWantReadError:
                # A reader does not wait until all is sent: that may be the data of another string, whose peer reads
                # no more before it is read itself.
                if doing == "read":
                    self._offer()
                else:
                    self._flush(deadline, doing)
                self._feed(deadline, doing)
            except ssl.SSLError as failed:
                # An alert for the peer, whom nothing reaches any more if this fails.
                try:
                    self._push()
                except OSError:
                    self._unsent = b""
                if isinstance(failed, ssl.SSLSyscallError):
                    # Said of a connection that has failed before; CPython names it so where there is a descriptor.
                    raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "EOF occurred in violation of protocol") from None
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
        self._offer()
        return result

    def write(self, data: Any) -> int:
        """Encrypt and send all of `data`; its length. After SSLWantWriteError call again with the same data."""
        view = memoryview(data).cast("B")
        deadline = self._sock._deadline()
        self._take_turn(deadline)
        try:
            if len(view) < self._written:
                raise ssl.SSLError(ssl.SSL_ERROR_SSL, "bad write retry")
            self._flush(deadline, "write")
            while True:
                piece = view[self._written : self._written + _RECORD_BYTES]
                self._written += self._obey(deadline, "write", self._object.write, piece)
                self._flush(deadline, "write")
                if self._written >= len(view):
                    break
            self._written = 0
        finally:
            self._writer = None
            if self._next_writers:
                self._next_writers[0].wake()
        return len(view)

    def _take_turn(self, deadline: int | None) -> None:
        """Wait until no other string is within a write. SSLWantWriteError, TimeoutError."""
        flow = here.flow
        while self._writer is not None:
            if self._sock._timeout_s == 0.0:
                raise ssl.SSLWantWriteError(ssl.SSL_ERROR_WANT_WRITE, "The operation did not complete (write)")
            flow = current_flow()
            self._next_writers.append(flow)
            try:
                if deadline is None:
                    flow.park()
                elif not flow.park_for(deadline - self._sock.host.scheduler.now_ns):
                    raise TimeoutError("The write operation timed out")
            finally:
                self._next_writers.remove(flow)
        self._writer = flow

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
