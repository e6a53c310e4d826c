"""Unix sockets in the loop of a host: `create_unix_connection`, `create_unix_server`, and datagrams.

The first two are not in BaseEventLoop, which knows TCP and UDP only, but in asyncio's Unix loop; streams' transports
are those of TCP. A datagram to a path may have to wait, which one to a network never does, so its transport is another.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import sys
from asyncio import base_events
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lunar import unix_names
from lunar.asyncio.socket_transports import DatagramTransport
from lunar.errors import error
from lunar.net.sock import POLLERR, POLLIN, POLLOUT
from lunar.sock_names import sender
from lunar.sockets import syscalls
from lunar.sockets.unix import UnixSock

if TYPE_CHECKING:
    import ssl as ssl_module

_Server: Any = base_events.Server
# Python 3.13: a server removes the file that it made.
_CLEANS_UP = sys.version_info >= (3, 13)


# As much as asyncio reads of a datagram.
_DATAGRAM_BYTES = 256 * 1024

# Kept from before any test tool replaces them, as in unix_names.py.
_stat = os.stat
_unlink = os.unlink


class UnixStreams:
    """What a HostLoop can do with Unix sockets."""

    # Of each server that removes its file, by its socket: the path, and the inode that it had. None before the first.
    _unix_files: dict[Any, tuple[Any, int]] | None = None

    async def create_unix_connection(
        self, protocol_factory: Callable[[], Any], path: Any = None, *, ssl: ssl_module.SSLContext | bool | None = None,
        sock: Any = None, server_hostname: str | None = None, ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[Any, Any]:
        """As asyncio's. Raises `OSError` as connect(2), ValueError for arguments that contradict each other."""
        loop: Any = self
        _check_tls(ssl, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
        if ssl and server_hostname is None:
            raise ValueError("you have to pass server_hostname when using ssl")
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                await loop.sock_connect(sock, os.fspath(path))
            except BaseException:
                sock.close()
                raise
        else:
            _check_socket(sock)
            sock.setblocking(False)
        transport, protocol = await loop._create_connection_transport(
            sock, protocol_factory, ssl, server_hostname, ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        return transport, protocol

    async def create_unix_server(
        self, protocol_factory: Callable[[], Any], path: Any = None, *, sock: Any = None, backlog: int = 100,
        ssl: ssl_module.SSLContext | None = None, ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None, start_serving: bool = True, cleanup_socket: bool = _CLEANS_UP,
    ) -> Any:
        """As asyncio's: a socket's file that is in the way is removed; from Python 3.13 on the server's own at its end.

        Raises `OSError` as bind(2), TypeError and ValueError for arguments that contradict each other.
        """
        if isinstance(ssl, bool):
            raise TypeError("ssl argument must be an SSLContext or None")
        _check_tls(ssl, None, ssl_handshake_timeout, ssl_shutdown_timeout)
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            path = os.fspath(path)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                _make_room(path)
                _bind(sock, path)
            except BaseException:
                sock.close()
                raise
        else:
            if sock is None:
                raise ValueError("path was not specified, and no sock specified")
            _check_socket(sock)
            path = sock.getsockname()
        if cleanup_socket and path and path[0] not in (0, "\0"):
            if self._unix_files is None:
                self._unix_files = {}
            self._unix_files[sock] = (path, _stat(path).st_ino)
        sock.setblocking(False)
        server = _Server(
            self, [sock], protocol_factory, ssl, backlog, ssl_handshake_timeout, ssl_shutdown_timeout
        )
        if start_serving:
            server._start_serving()
            await asyncio.sleep(0)  # a turn for the server, before the caller goes on
        return server

    def _remove_file(self, sock: Any) -> None:
        """Remove the file of a server's socket, unless it is not the one that it made."""
        if self._unix_files is None or sock not in self._unix_files:
            return
        path, inode = self._unix_files.pop(sock)
        try:
            if _stat(path).st_ino == inode:
                _unlink(path)
        except FileNotFoundError:
            pass


class UnixDatagramTransport(DatagramTransport):
    """A datagram socket at a path as an asyncio transport: what its peer has no room for is kept, in order."""

    def _checked(self, kernel: Any) -> UnixSock:
        assert isinstance(kernel, UnixSock), "a transport of Unix datagrams needs a Unix socket"
        self._kept: deque[tuple[bytes, Any]] = deque()
        return kernel

    def _woken(self, mask: int) -> None:
        if self._kept and mask & (POLLOUT | POLLERR):
            self._loop.call_soon(self._send_kept)
        super()._woken(mask)

    def _read_turn(self) -> None:
        self._read_queued = False
        if self._closing:
            return
        got = syscalls.recvfrom(self._sock, _DATAGRAM_BYTES, 0)
        if got.errno == errno.EAGAIN:
            return
        if got.errno:
            self._protocol.error_received(error(int(got.errno)))
        else:
            self._protocol.datagram_received(got.data, sender(self._sock, got))
        if not self._closing and self._sock.has_input():
            self._woken(POLLIN)

    def sendto(self, data: Any, addr: Any = None) -> None:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self._address:
            if addr not in (None, self._address):
                raise ValueError(f"Invalid address: must be None or {self._address}")
            addr = None
        if self._closing:
            return
        if self._kept or not self._send(bytes(data), addr):
            self._kept.append((bytes(data), addr))
            self._maybe_pause_protocol()

    def _send(self, data: bytes, addr: Any) -> bool:
        """Whether it is done with, sent or failed; False while there is no room for it."""
        if addr is None:
            count = syscalls.send(self._sock, data, 0)
        else:
            count = unix_names.send_to(self._sock, data, addr)
        if count == -errno.EAGAIN:
            return False
        if count < 0:
            self._protocol.error_received(error(count))
        return True

    def _send_kept(self) -> None:
        while self._kept and not self._lost:
            if not self._send(*self._kept[0]):
                return
            self._kept.popleft()
        self._maybe_resume_protocol()
        if self._closing:
            self._force_close(None)

    def get_write_buffer_size(self) -> int:
        return sum(len(data) for data, _ in self._kept)

    def close(self) -> None:
        if self._kept and not self._closing:
            self._closing = True  # and the rest when all is sent
        elif not self._closing:
            self._force_close(None)

    def abort(self) -> None:
        self._kept.clear()
        self._force_close(None)

    def _force_close(self, exception: BaseException | None) -> None:
        if not self._lost:
            self._closing = False
            super()._force_close(exception)


def _check_tls(ssl: Any, server_hostname: str | None, handshake: float | None, shutdown: float | None) -> None:
    if ssl:
        return
    if server_hostname is not None:
        raise ValueError("server_hostname is only meaningful with ssl")
    if handshake is not None:
        raise ValueError("ssl_handshake_timeout is only meaningful with ssl")
    if shutdown is not None:
        raise ValueError("ssl_shutdown_timeout is only meaningful with ssl")


def _check_socket(sock: Any) -> None:
    if sock is None:
        raise ValueError("no path and sock were specified")
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        raise ValueError(f"A UNIX Domain Stream Socket was expected, got {sock!r}")


def _make_room(path: Any) -> None:
    if path and path[0] not in (0, "\0"):
        try:
            if stat.S_ISSOCK(_stat(path).st_mode):
                _unlink(path)
        except FileNotFoundError:
            pass


def _bind(sock: Any, path: Any) -> None:
    try:
        sock.bind(path)
    except OSError as exception:
        if exception.errno == errno.EADDRINUSE:
            raise OSError(errno.EADDRINUSE, f"Address {path!r} is already in use") from None
        raise
