"""`lunar.asyncio.socket`: a socket whose blocking methods are awaited, and what makes such sockets.

Inside a weave it is a socket of the virtual host; outside it is the machine's, on whatever loop runs. Both are asked in
the same way, through the non-blocking methods of the standard library's class and the loop's `add_reader` and
`add_writer` (a host's loop has something cheaper). So a program meets the same results, errors and order in both.

Every awaited method tries at once, and waits for the descriptor only if the kernel, or Lunar's stack, says EAGAIN; then
it tries again. So nothing is taken from a socket before the caller has it, and a cancelled wait has lost nothing.
"""

from __future__ import annotations

import asyncio
import collections
import errno
import os
import socket as _socket
import ssl
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar, final, overload

from lunar.asyncio.loop import HostLoop

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_T = TypeVar("_T")

_DONTWAIT: Final = int(_socket.MSG_DONTWAIT)  # the enum's own `&` is slow

# `sendall` offers its data in pieces of this many bytes: what does not fit the send buffer is offered again.
_PIECE: Final = 262_144


@final
class _Side:
    """One direction of a socket: the tasks that use it, one at a time in the order of their calls.

    Entered as an async context manager. Whoever is inside may `wait`.
    """

    __slots__ = ("_queue", "_ready", "_unwatch", "_writing", "busy")

    def __init__(self, writing: bool) -> None:
        self._writing = writing
        self.busy = False
        self._queue: collections.deque[asyncio.Future[None]] = collections.deque()
        self._ready: asyncio.Future[None] | None = None
        self._unwatch: Callable[[], object] | None = None

    async def __aenter__(self) -> None:
        if not self.busy:
            self.busy = True
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except BaseException:  # cancelled, or thrown away: the queue goes on without it
            if turn in self._queue:
                self._queue.remove(turn)
            elif not turn.cancelled():
                self._pass_on()
            raise

    async def __aexit__(self, *_exc: object) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            # Who waits in a loop that was closed will not run again.
            if not turn.done() and not turn.get_loop().is_closed():
                turn.set_result(None)  # it is busy still, now with that task
                return
        self.busy = False

    async def wait(self, descriptor: int) -> None:
        """Until the descriptor, which was not ready just now, may be, or `end` is called."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        if isinstance(loop, HostLoop):
            self._unwatch = loop.watch_once(descriptor, self._writing, ready)
        elif self._writing:
            loop.add_writer(descriptor, self.end)
            self._unwatch = lambda: loop.remove_writer(descriptor)
        else:
            loop.add_reader(descriptor, self.end)
            self._unwatch = lambda: loop.remove_reader(descriptor)
        self._ready = ready
        try:
            await ready
        finally:
            self._forget()

    def end(self) -> None:
        """Let the task that waits go on. Its descriptor is watched no longer, so it may be closed and used again."""
        ready = self._forget()
        if ready is not None and not ready.done() and not ready.get_loop().is_closed():
            ready.set_result(None)

    def _forget(self) -> asyncio.Future[None] | None:
        """Watch the descriptor no longer; what waited for it, if anything did."""
        ready, unwatch = self._ready, self._unwatch
        self._ready = self._unwatch = None
        if ready is not None and unwatch is not None and not ready.get_loop().is_closed():
            unwatch()
        return ready


class socket:
    """A socket as `socket.socket` makes it, with awaited methods in place of those that block.

    Awaited are `accept`, `connect`, `recv`, `recv_into`, `recvfrom`, `recvfrom_into`, `recvmsg`, `send`, `sendall`,
    `sendto`, `sendmsg` and `shutdown`. The other methods do not block and are plain. Errors are the `OSError` of the
    standard library's socket.

    On a virtual host it is a socket of that host, elsewhere one of the machine. `fileno` takes over an open descriptor,
    `sock` a socket of the standard library, which is made non-blocking. Raises `TypeError` for a TLS socket.

    *Cancelling* an awaited method takes nothing from the socket and leaves it usable: no byte, datagram or connection
    is lost. A cancelled `sendall` may have sent a part; a cancelled `connect` goes on in the background, and another
    `connect` waits for its end.

    *Several tasks* may use one socket. What they receive (`accept`, `recv` ...) is given out in the order of their
    calls; what they send (`connect`, `send`, `shutdown` ...) goes out in that order, and each `sendall` in one piece.
    Receiving does not wait for sending, nor the other way round.

    *Closing* it lets the tasks that wait go on with EBADF.

    There is no `settimeout`: `async with asyncio.timeout(5)` bounds a call, or several together. Nor is there a
    `makefile`: `asyncio.open_connection(sock=...)` makes streams of a socket.
    """

    __slots__ = ("__weakref__", "_reading", "_sock", "_writing")

    def __init__(
        self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None, *,
        sock: _socket.socket | None = None,
    ) -> None:
        if isinstance(sock, ssl.SSLSocket):
            raise TypeError("Socket cannot be of type SSLSocket")
        self._sock = _socket.socket(family, type, proto, fileno) if sock is None else sock
        self._sock.setblocking(False)
        self._reading = _Side(False)
        self._writing = _Side(True)

    def __repr__(self) -> str:
        return f"<lunar.asyncio.socket of {self._sock!r}>"

    async def __aenter__(self) -> socket:
        return self

    async def __aexit__(
        self, _class: object, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    def __enter__(self) -> socket:
        return self

    def __exit__(
        self, _class: object, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    # How the awaited methods wait

    async def _call(self, side: _Side, attempt: Callable[[], _T], flags: int = 0) -> _T:
        """What `attempt` returns, once the socket has something for it."""
        if flags & _DONTWAIT and side.busy:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        async with side:
            return await self._repeat(side, attempt, flags)

    async def _repeat(self, side: _Side, attempt: Callable[[], _T], flags: int) -> _T:
        """As `_call`, for who has the side already."""
        while True:
            try:
                return attempt()
            except BlockingIOError:
                if flags & _DONTWAIT:
                    raise
            await side.wait(self._sock.fileno())

    async def _looked_up(self, address: Any) -> Any:
        """`address` with an IP address in place of a name, as the loop finds it, because the socket would block."""
        family = self._sock.family
        if family not in (_socket.AF_INET, _socket.AF_INET6) or not isinstance(address, tuple) or len(address) < 2:
            return address  # the socket knows what is wrong with it
        name = address[0]
        if not isinstance(name, str) or name in ("", "<broadcast>"):
            return address
        try:
            _socket.inet_pton(family, name)
            return address
        except (OSError, ValueError):
            found = await asyncio.get_running_loop().getaddrinfo(
                name, None, family=family, type=self._sock.type, proto=self._sock.proto
            )
        there = found[0][4]
        return (there[0], address[1], *(address[2:] or there[2:]))

    # Connections

    async def connect(self, address: Any) -> None:
        """Connect to `address`, whose name is looked up without blocking the loop.

        A stream is connected when this returns. After an error, or when it was cancelled, it may be called again.
        """
        target = await self._looked_up(address)
        async with self._writing:
            while True:
                try:
                    # The call after the handshake says how it ended, and clears that for another attempt (connect(2)).
                    return self._sock.connect(target)
                except BlockingIOError as wait:
                    if wait.errno == errno.EAGAIN:  # a Unix socket whose listener is full: not on its way at all
                        raise
                except InterruptedError:
                    pass
                await self._writing.wait(self._sock.fileno())

    async def accept(self) -> tuple[socket, Any]:
        """The next connection: (socket, peer's address)."""
        made, address = await self._call(self._reading, self._sock.accept)
        return socket(sock=made), address

    # Receiving

    async def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """At least one byte and at most `bufsize`, b"" at the end of the stream; or a datagram.

        `flags` are those of recv(2). With MSG_DONTWAIT the methods that receive or send raise `BlockingIOError` where
        they would wait.
        """
        return await self._call(self._reading, lambda: self._sock.recv(bufsize, flags), flags)

    async def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        """As `recv`, into the first `nbytes` of `buffer` (0: all of it). Returns the count of bytes."""
        return await self._call(self._reading, lambda: self._sock.recv_into(buffer, nbytes, flags), flags)

    async def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Any]:
        """As `recv`, with the sender's address: (data, address), where a stream has None for the address.

        What a datagram has beyond `bufsize` bytes is lost.
        """
        return await self._call(self._reading, lambda: self._sock.recvfrom(bufsize, flags), flags)

    async def recvfrom_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """As `recvfrom`, into the first `nbytes` of `buffer` (0: all of it): (count, address)."""
        return await self._call(self._reading, lambda: self._sock.recvfrom_into(buffer, nbytes, flags), flags)

    async def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
        """(data, ancillary data, flags, address) of recvmsg(2). MSG_TRUNC in the flags: a datagram was cut."""
        return await self._call(self._reading, lambda: self._sock.recvmsg(bufsize, ancbufsize, flags), flags)

    # Sending

    async def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        """Wait until the socket takes anything, and give it what it takes. Returns the count of bytes."""
        return await self._call(self._writing, lambda: self._sock.send(data, flags), flags)

    async def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        """Send all of `data`, as one piece beside what other tasks send.

        If it is cancelled or fails, a part may have been sent, and nobody can tell how much.
        """
        if flags & _DONTWAIT and self._writing.busy:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        with memoryview(data) as given, given.cast("B") as view:
            async with self._writing:
                at = 0
                while True:  # once for no bytes at all: that is a datagram, too
                    with view[at : at + _PIECE] as piece:
                        at += await self._repeat(self._writing, lambda: self._sock.send(piece, flags), flags)
                    if at >= len(view):
                        return

    @overload
    async def sendto(self, data: ReadableBuffer, address: Any, /) -> int: ...
    @overload
    async def sendto(self, data: ReadableBuffer, flags: int, address: Any, /) -> int: ...
    async def sendto(self, data: ReadableBuffer, *rest: Any) -> int:
        """`sendto(data, address)` or `sendto(data, flags, address)`: send a datagram. Returns its size in bytes.

        The name in `address` is looked up without blocking the loop.
        """
        if not 1 <= len(rest) <= 2:
            raise TypeError(f"sendto() takes 2 or 3 arguments ({1 + len(rest)} given)")
        flags = rest[0] if len(rest) == 2 else 0
        address = await self._looked_up(rest[-1])
        return await self._call(self._writing, lambda: self._sock.sendto(data, flags, address), flags)

    async def sendmsg(
        self, buffers: Iterable[ReadableBuffer], ancdata: Iterable[tuple[int, int, ReadableBuffer]] = (),
        flags: int = 0, address: Any = None,
    ) -> int:
        """Send the bytes of `buffers` one after the other, as sendmsg(2) does. Returns the count of those taken."""
        pieces, ancillary = list(buffers), list(ancdata)  # there may be several attempts
        target = None if address is None else await self._looked_up(address)
        return await self._call(self._writing, lambda: self._sock.sendmsg(pieces, ancillary, flags, target), flags)

    async def shutdown(self, how: int) -> None:
        """Stop receiving (SHUT_RD), sending (SHUT_WR), or both (SHUT_RDWR).

        SHUT_WR and SHUT_RDWR wait until the sends that were called before have given all their bytes to the socket;
        the FIN follows those bytes. That it was sent or acknowledged is not waited for. SHUT_RD acts at once. Tasks
        that wait to receive find the end of the stream.
        """
        if how == _socket.SHUT_RD:
            self._sock.shutdown(how)
            return
        async with self._writing:
            self._sock.shutdown(how)

    # Plain methods

    def bind(self, address: Any) -> None:
        """Take a local address: bind(2). A name in it is looked up at once, so give an IP address or ""."""
        self._sock.bind(address)

    def listen(self, backlog: int | None = None) -> None:
        """Accept connections: listen(2). At most `backlog` wait for `accept`; None: as the standard library."""
        if backlog is None:
            self._sock.listen()
        else:
            self._sock.listen(backlog)

    def close(self) -> None:
        """Close the socket. What was sent is still delivered. Safe to call twice."""
        self._reading.end()
        self._writing.end()
        self._sock.close()

    def detach(self) -> int:
        """Give up the descriptor, open, and return it: `socket.socket(fileno=...)` takes it over."""
        self._reading.end()
        self._writing.end()
        return self._sock.detach()

    def fileno(self) -> int:
        """The descriptor, -1 when closed. Those of virtual sockets begin at 2**30."""
        return self._sock.fileno()

    def getsockname(self) -> Any:
        """The local address."""
        return self._sock.getsockname()

    def getpeername(self) -> Any:
        """The peer's address. ENOTCONN if there is none."""
        return self._sock.getpeername()

    @overload
    def setsockopt(self, level: int, optname: int, value: int | ReadableBuffer, /) -> None: ...
    @overload
    def setsockopt(self, level: int, optname: int, value: None, optlen: int, /) -> None: ...
    def setsockopt(self, level: int, optname: int, value: Any, *optlen: int) -> None:
        """Set an option: setsockopt(2)."""
        self._sock.setsockopt(level, optname, value, *optlen)

    @overload
    def getsockopt(self, level: int, optname: int, /) -> int: ...
    @overload
    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes: ...
    def getsockopt(self, level: int, optname: int, *buflen: int) -> int | bytes:
        """The value of an option: getsockopt(2). An integer, or with `buflen` as many bytes at most."""
        return self._sock.getsockopt(level, optname, *buflen)

    def getblocking(self) -> bool:
        """False: no call on it blocks the thread."""
        return self._sock.getblocking()

    def gettimeout(self) -> float | None:
        """0.0, as of a non-blocking socket."""
        return self._sock.gettimeout()

    @property
    def timeout(self) -> float | None:
        """As `gettimeout`."""
        return self._sock.gettimeout()

    @property
    def family(self) -> int:
        """AF_INET ..."""
        return self._sock.family

    @property
    def type(self) -> int:
        """SOCK_STREAM ..."""
        return self._sock.type

    @property
    def proto(self) -> int:
        """The protocol, 0 where `type` decides."""
        return self._sock.proto


async def create_connection(
    address: tuple[str | None, int], *, source_address: tuple[str, int] | None = None, all_errors: bool = False
) -> socket:
    """A socket that is connected to (name, port): the addresses of the name are tried one after the other.

    As `socket.create_connection`, awaited, and without its timeout. If no address answers, raises the first `OSError`,
    or with `all_errors` an `ExceptionGroup` of all.
    """
    name, port = address
    failed: list[OSError] = []
    for family, kind, proto, _canonical, there in await getaddrinfo(name, port, type=_socket.SOCK_STREAM):
        sock: socket | None = None
        try:
            sock = socket(family, kind, proto)
            if source_address is not None:
                sock.bind(source_address)
            await sock.connect(there)
            return sock
        except OSError as error:
            failed.append(error)
            if sock is not None:
                sock.close()
        except BaseException:
            if sock is not None:
                sock.close()
            raise
    if not failed:
        raise OSError("getaddrinfo returns an empty list")
    try:
        if all_errors:
            raise ExceptionGroup("create_connection failed", failed)
        raise failed[0]
    finally:
        failed.clear()  # an exception that holds this frame would hold itself


def create_server(
    address: tuple[str, int], *, family: int = _socket.AF_INET, backlog: int | None = None, reuse_port: bool = False
) -> socket:
    """A socket that listens on `address`, whose `accept` is awaited. As `socket.create_server`: SO_REUSEADDR is set."""
    return socket(sock=_socket.create_server(address, family=family, backlog=backlog, reuse_port=reuse_port))


async def getaddrinfo(
    host: bytes | str | None, port: bytes | str | int | None, family: int = 0, type: int = 0, proto: int = 0,
    flags: int = 0,
) -> list[tuple[_socket.AddressFamily, _socket.SocketKind, int, str, tuple[Any, ...]]]:
    """As `socket.getaddrinfo`, without blocking the loop. Raises `gaierror`."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, family=family, type=type, proto=proto, flags=flags
    )
    return list(found)


async def getnameinfo(sockaddr: tuple[Any, ...], flags: int = 0) -> tuple[str, str]:
    """As `socket.getnameinfo`, without blocking the loop: (name, service). Raises `gaierror`."""
    return await asyncio.get_running_loop().getnameinfo(sockaddr, flags)


def gethostname() -> str:
    """The name of the virtual host, or of the machine."""
    return _socket.gethostname()
