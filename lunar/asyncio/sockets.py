"""`lunar.asyncio.socket`: a socket whose blocking methods are awaited.

Inside a weave it is a socket of the virtual host; outside it is the machine's, on whatever loop runs. So the same
program runs in both places.
"""

from __future__ import annotations

import asyncio
import socket as _socket
from types import TracebackType
from typing import Any


class socket:
    """As socket.socket, non-blocking below; `accept connect recv recv_into recvfrom sendall send sendto` are awaited.

    Raises what the standard library's socket raises. Cancelling an await leaves the socket usable, except that a
    cancelled `sendall` may have sent a part.
    """

    def __init__(
        self, family: int = _socket.AF_INET, type: int = _socket.SOCK_STREAM, proto: int = 0, *,
        sock: _socket.socket | None = None,
    ) -> None:
        self._sock = _socket.socket(family, type, proto) if sock is None else sock
        self._sock.setblocking(False)

    async def connect(self, address: Any) -> None:
        """Connect to `address`; the name in it is looked up by the host."""
        await asyncio.get_running_loop().sock_connect(self._sock, address)

    async def accept(self) -> tuple[socket, Any]:
        """The next connection: (socket, peer's address)."""
        made, address = await asyncio.get_running_loop().sock_accept(self._sock)
        return socket(sock=made), address

    async def recv(self, bufsize: int) -> bytes:
        """At least one byte and at most `bufsize`; b"" at the end of the stream."""
        return await asyncio.get_running_loop().sock_recv(self._sock, bufsize)

    async def recv_into(self, buffer: Any) -> int:
        """As `recv`, into `buffer`; the count of bytes."""
        return await asyncio.get_running_loop().sock_recv_into(self._sock, buffer)

    async def recvfrom(self, bufsize: int) -> tuple[bytes, Any]:
        """A datagram and its sender."""
        return await asyncio.get_running_loop().sock_recvfrom(self._sock, bufsize)

    async def send(self, data: Any) -> int:
        """Send what the socket takes at once, after waiting until it takes anything; the count of bytes."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                return self._sock.send(data)
            except BlockingIOError:
                writable = loop.create_future()
                loop.add_writer(self._sock, _set_unless_done, writable)
                try:
                    await writable
                finally:
                    loop.remove_writer(self._sock)

    async def sendall(self, data: Any) -> None:
        """Send all of `data`."""
        await asyncio.get_running_loop().sock_sendall(self._sock, data)

    async def sendto(self, data: Any, address: Any) -> int:
        """Send a datagram to `address`."""
        return await asyncio.get_running_loop().sock_sendto(self._sock, data, address)

    def bind(self, address: Any) -> None:
        self._sock.bind(address)

    def listen(self, backlog: int = 128) -> None:
        self._sock.listen(backlog)

    def shutdown(self, how: int) -> None:
        self._sock.shutdown(how)

    def close(self) -> None:
        self._sock.close()

    def detach(self) -> int:
        return self._sock.detach()

    def fileno(self) -> int:
        return self._sock.fileno()

    def getsockname(self) -> Any:
        return self._sock.getsockname()

    def getpeername(self) -> Any:
        return self._sock.getpeername()

    def setsockopt(self, level: int, optname: int, value: Any) -> None:
        self._sock.setsockopt(level, optname, value)

    def getsockopt(self, level: int, optname: int, buflen: int = 0) -> Any:
        return self._sock.getsockopt(level, optname, buflen) if buflen else self._sock.getsockopt(level, optname)

    @property
    def family(self) -> int:
        return self._sock.family

    @property
    def type(self) -> int:
        return self._sock.type

    @property
    def proto(self) -> int:
        return self._sock.proto

    def __enter__(self) -> socket:
        return self

    def __exit__(
        self, _class: object, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()


def _set_unless_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
