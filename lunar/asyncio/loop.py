"""The event loop of a virtual host: a weave's loop with sockets.

The standard library's BaseEventLoop does name lookup, `create_connection`, `create_server`, datagram endpoints and TLS
on top of the few methods here, exactly as it does for its own selector loop. Streams' and datagrams' transports are in
socket_transports.py; this file has what makes them, and the `sock_*` methods.
"""

from __future__ import annotations

import asyncio
import errno
from asyncio import base_events, events, sslproto, unix_events
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from lunar import unix_names
from lunar.asyncio.socket_transports import DatagramTransport, StreamTransport
from lunar.asyncio.unix import UnixDatagramTransport, UnixStreams
from lunar.errors import error
from lunar.host_socket import LunarSocket
from lunar.net.sock import POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLRDHUP, Sock
from lunar.sock_names import accepted_from, sender
from lunar.socket_address import parse_address
from lunar.sockets import syscalls
from lunar.sockets.unix import AF_UNIX, UnixSock
from lunar.waits import Steps
from weaves.loop import HostFuture, WeaveLoop

if TYPE_CHECKING:
    from lunar.host import Host
    from weaves.weave import Weave

# Private to asyncio, and without types.
_check_ssl_socket: Any = getattr(base_events, "_check_ssl_socket")  # noqa: B009
_ssl_protocol: Any = sslproto.SSLProtocol
_read_pipe_transport: Any = getattr(unix_events, "_UnixReadPipeTransport")  # noqa: B009
_write_pipe_transport: Any = getattr(unix_events, "_UnixWritePipeTransport")  # noqa: B009

T = TypeVar("T")

_READABLE: Final = POLLIN | POLLERR | POLLHUP | POLLRDHUP
_WRITABLE: Final = POLLOUT | POLLERR | POLLHUP


class Watch:
    """A handle that runs whenever one of `mask` holds for a socket, level-triggered as a selector is.

    Of a socket that was closed it hears no more, as with epoll(7). `file` is what the program named it by.
    """

    def __init__(self, loop: HostLoop, sock: Sock, mask: int, handle: asyncio.Handle, file: Any) -> None:
        self.file = file
        self._loop = loop
        self._sock = sock
        self._mask = mask
        self._handle = handle
        self._repeat = events.Handle(self._run, (), loop, None)
        self._queued = False
        sock.waiters.append(self._woken)
        self._woken(sock.poll())

    def _woken(self, mask: int) -> None:
        if mask & self._mask and not self._queued:
            self._queued = True
            self._loop.run_handle(self._repeat)

    def _run(self) -> None:
        self._queued = False
        if self._handle.cancelled() or not self._sock.descriptors or not self._sock.poll() & self._mask:
            return
        self._handle._run()
        if not self._handle.cancelled() and self._sock.descriptors:
            self._woken(self._sock.poll())

    def end(self) -> None:
        """Watch no longer."""
        self._handle.cancel()
        if self._woken in self._sock.waiters:
            self._sock.waiters.remove(self._woken)


class HostLoop(UnixStreams, WeaveLoop):
    """An event loop of `weave` on `host`."""

    def __init__(self, weave: Weave, host: Host, direct: bool = False) -> None:
        super().__init__(weave, direct)
        self.host = host
        self._watched_in: dict[int, Watch] = {}
        self._watched_out: dict[int, Watch] = {}

    def close(self) -> None:
        for watch in [*self._watched_in.values(), *self._watched_out.values()]:
            watch.end()
        self._watched_in.clear()
        self._watched_out.clear()
        super().close()

    def _check_closed(self) -> None:
        # What is left of a program when the run is over may still speak to its loop, from a `finally` when the
        # collector finds it. There is nobody to tell an error.
        if not self._discarded:
            super()._check_closed()

    # Names: answered at once, unless a name server is asked

    async def drive(self, steps: Steps[T]) -> T:
        """The result of `steps`, which may wait for sockets (lunar/waits.py)."""
        try:
            while True:
                wait = next(steps)
                future: HostFuture[None] = self.create_future()

                def waiter(happened: int, future: HostFuture[None] = future, mask: int = wait.mask) -> None:
                    if happened & (mask | POLLERR | POLLHUP) and not future.done() and not self._closed:
                        future.set_result(None)

                def late(future: HostFuture[None] = future) -> None:
                    if not future.done():
                        future.set_result(None)

                wait.sock.waiters.append(waiter)
                timer = self.call_at(wait.deadline_ns / 1_000_000_000, late)
                try:
                    await future
                finally:
                    timer.cancel()
                    if waiter in wait.sock.waiters:
                        wait.sock.waiters.remove(waiter)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            steps.close()

    async def getaddrinfo(
        self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        return await self.drive(self.host.name_service.getaddrinfo(host, port, family, type, proto, flags))

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        return await self.drive(self.host.name_service.getnameinfo(sockaddr, flags))

    # What BaseEventLoop calls

    def _make_socket_transport(
        self, sock: Any, protocol: Any, waiter: Any = None, *, extra: Any = None, server: Any = None, **_kwargs: Any
    ) -> StreamTransport:
        return StreamTransport(self, _ours(sock), protocol, waiter, extra, server)

    def _make_ssl_transport(
        self, rawsock: Any, protocol: Any, sslcontext: Any, waiter: Any = None, *, server_side: bool = False,
        server_hostname: str | None = None, extra: Any = None, server: Any = None,
        ssl_handshake_timeout: float | None = None, ssl_shutdown_timeout: float | None = None,
        call_connection_made: bool = True, **_kwargs: Any,
    ) -> Any:
        tls: Any = _ssl_protocol(
            self, protocol, sslcontext, waiter, server_side, server_hostname, call_connection_made,
            ssl_handshake_timeout=ssl_handshake_timeout, ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        StreamTransport(self, _ours(rawsock), tls, None, extra, server)
        return tls._app_transport

    def _make_datagram_transport(
        self, sock: Any, protocol: Any, address: Any = None, waiter: Any = None, extra: Any = None
    ) -> DatagramTransport:
        ours = _ours(sock)
        kind = UnixDatagramTransport if ours.sock.family == AF_UNIX else DatagramTransport
        return kind(self, ours, protocol, address, waiter, extra)

    def _start_serving(
        self, protocol_factory: Callable[[], Any], sock: Any, sslcontext: Any = None, server: Any = None,
        backlog: int = 100, ssl_handshake_timeout: float | None = None, ssl_shutdown_timeout: float | None = None,
        **_kwargs: Any,
    ) -> None:
        listener = _ours(sock)

        def connections() -> None:
            while not listener._closed and (child := syscalls.accept(listener.sock)) is not None:
                self._accepted(
                    LunarSocket.of(self.host, child, listener.proto), protocol_factory, sslcontext, server,
                    ssl_handshake_timeout, ssl_shutdown_timeout,
                )

        self.add_reader(listener, connections)

    def _accepted(
        self, sock: LunarSocket, protocol_factory: Callable[[], Any], sslcontext: Any, server: Any,
        ssl_handshake_timeout: float | None, ssl_shutdown_timeout: float | None,
    ) -> None:
        sock.setblocking(False)
        try:
            protocol = protocol_factory()
            named = sock.sock.remote_port or sock.sock.family == AF_UNIX
            extra = {"peername": sock.getpeername() if named else None}
            if sslcontext:
                self._make_ssl_transport(
                    sock, protocol, sslcontext, server_side=True, extra=extra, server=server,
                    ssl_handshake_timeout=ssl_handshake_timeout, ssl_shutdown_timeout=ssl_shutdown_timeout,
                )
            else:
                self._make_socket_transport(sock, protocol, extra=extra, server=server)
        except (SystemExit, KeyboardInterrupt):
            raise
        except OSError as exception:
            # The peer has gone already.
            sock.close()
            if exception.errno != errno.ENOTCONN:
                self._report_accept(sock, exception)
        except BaseException as exception:  # noqa: BLE001 - the program's protocol factory: reported to the loop as asyncio does
            sock.close()
            self._report_accept(sock, exception)

    def _report_accept(self, sock: LunarSocket, exception: BaseException) -> None:
        self.call_exception_handler(
            {"message": "Error on transport creation for incoming connection", "exception": exception, "socket": sock}
        )

    def _stop_serving(self, sock: Any) -> None:
        self._remove_file(sock)
        self.remove_reader(sock)
        sock.close()

    # Pipes: asyncio's own transports, on this host's descriptors (weaves/interpose/descriptors.py)

    def _make_read_pipe_transport(
        self, pipe: Any, protocol: Any, waiter: Any = None, extra: Any = None
    ) -> asyncio.ReadTransport:
        self._sock_of(pipe)
        made: asyncio.ReadTransport = _read_pipe_transport(self, pipe, protocol, waiter, extra)
        return made

    def _make_write_pipe_transport(
        self, pipe: Any, protocol: Any, waiter: Any = None, extra: Any = None
    ) -> asyncio.WriteTransport:
        self._sock_of(pipe)
        made: asyncio.WriteTransport = _write_pipe_transport(self, pipe, protocol, waiter, extra)
        return made

    # Descriptors

    def _sock_of(self, fd: Any) -> tuple[int, Sock]:
        descriptor = fd if isinstance(fd, int) else fd.fileno()
        sock = self.host.descriptors.get(descriptor)
        if sock is None:
            if descriptor < 0:
                raise ValueError(f"Invalid file descriptor: {descriptor}")
            raise error(errno.EBADF)
        return descriptor, sock

    def add_reader(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:
        self._check_closed()
        descriptor, sock = self._sock_of(fd)
        self.remove_reader(descriptor)
        self._watched_in[descriptor] = Watch(self, sock, _READABLE, events.Handle(callback, args, self, None), fd)

    def remove_reader(self, fd: Any) -> bool:
        watch = self._watched_in.pop(_number(self._watched_in, fd), None)
        if watch is not None:
            watch.end()
        return watch is not None

    def add_writer(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:
        self._check_closed()
        descriptor, sock = self._sock_of(fd)
        self.remove_writer(descriptor)
        self._watched_out[descriptor] = Watch(self, sock, _WRITABLE, events.Handle(callback, args, self, None), fd)

    def remove_writer(self, fd: Any) -> bool:
        watch = self._watched_out.pop(_number(self._watched_out, fd), None)
        if watch is not None:
            watch.end()
        return watch is not None

    # What asyncio's transports of pipes call; programs are kept from touching a transport's descriptor by the above.
    _add_reader = add_reader
    _remove_reader = remove_reader
    _add_writer = add_writer
    _remove_writer = remove_writer

    def watch_once(self, fd: int, writing: bool, ready: asyncio.Future[None]) -> Callable[[], None]:
        """Complete `ready` when the descriptor, which was not ready just now, may be. Returns what ends the watch.

        What `lunar.asyncio.socket` waits with: cheaper than a reader or a writer that is taken back at once.
        """
        _descriptor, sock = self._sock_of(fd)
        mask = (_WRITABLE if writing else _READABLE) | POLLNVAL

        def waiter(happened: int) -> None:
            if happened & mask and not ready.done() and not self._closed:
                ready.set_result(None)

        def end() -> None:
            if waiter in sock.waiters:
                sock.waiters.remove(waiter)

        sock.waiters.append(waiter)
        return end

    # sock_*: low-level socket operations

    async def wait_for(self, sock: Sock, mask: int) -> None:
        """Until one of `mask` may hold for `sock`."""
        future: HostFuture[None] = self.create_future()

        def waiter(happened: int) -> None:
            # A loop that was closed while somebody waited wakes nobody any more.
            if happened & mask and not future.done() and not self._closed:
                future.set_result(None)

        sock.waiters.append(waiter)
        try:
            await future
        finally:
            if waiter in sock.waiters:
                sock.waiters.remove(waiter)

    async def sock_recv(self, sock: Any, nbytes: int) -> bytes:
        return (await self._sock_receive(sock, nbytes)).data

    async def sock_recv_into(self, sock: Any, buf: Any) -> int:
        view = memoryview(buf).cast("B")
        data = (await self._sock_receive(sock, len(view))).data
        view[: len(data)] = data
        return len(data)

    async def sock_recvfrom(self, sock: Any, bufsize: int) -> tuple[bytes, Any]:
        got = await self._sock_receive(sock, bufsize)
        return got.data, sender(_ours(sock).sock, got)

    async def sock_recvfrom_into(self, sock: Any, buf: Any, nbytes: int = 0) -> tuple[int, Any]:
        view = memoryview(buf).cast("B")
        got = await self._sock_receive(sock, nbytes or len(view))
        view[: len(got.data)] = got.data
        return len(got.data), sender(_ours(sock).sock, got)

    async def _sock_receive(self, sock: Any, nbytes: int) -> syscalls.Received:
        ours = self._checked(sock)
        while True:
            got = syscalls.recvfrom(ours.sock, nbytes, 0)
            if got.errno == 0:
                return got
            if got.errno != errno.EAGAIN:
                raise error(int(got.errno))
            await self.wait_for(ours.sock, _READABLE | POLLNVAL)
            self._still_open(ours)

    async def sock_sendall(self, sock: Any, data: Any) -> None:
        ours = self._checked(sock)
        rest = bytes(memoryview(data))
        at = 0
        while at < len(rest):
            count = syscalls.send(ours.sock, rest[at : at + 262_144], 0)
            if count >= 0:
                at += count
            elif count == -errno.EAGAIN:
                await self.wait_for(ours.sock, _WRITABLE | POLLNVAL)
                self._still_open(ours)
            else:
                raise error(count)

    async def sock_sendto(self, sock: Any, data: Any, address: Any) -> int:
        ours = self._checked(sock)
        unix = ours.sock if isinstance(ours.sock, UnixSock) else None
        addr, port = (0, 0) if unix is not None else parse_address(self.host, ours.sock, address, "sendto")
        payload = bytes(memoryview(data))
        while True:
            if unix is not None:
                count = unix_names.send_to(unix, payload, address)
            else:
                count = syscalls.sendto(ours.sock, payload, 0, addr, port)
            if count >= 0:
                return count
            if count != -errno.EAGAIN:
                raise error(count)
            await self.wait_for(ours.sock, _WRITABLE | POLLNVAL)
            self._still_open(ours)

    async def sock_connect(self, sock: Any, address: Any) -> None:
        ours = self._checked(sock)
        if isinstance(ours.sock, UnixSock):
            await self._connect_unix(ours, ours.sock, address)
            return
        result = -syscalls.connect(ours.sock, *parse_address(self.host, ours.sock, address, "connect"))
        while result == errno.EINPROGRESS:
            await self.wait_for(ours.sock, _WRITABLE | POLLNVAL)
            self._still_open(ours)
            if ours.sock.poll() & _WRITABLE:
                result = ours.sock.take_error()
        if result:
            raise OSError(result, f"Connect call failed {address}")

    async def _connect_unix(self, ours: LunarSocket, sock: UnixSock, address: Any) -> None:
        while True:
            result, listener = unix_names.connect(sock, address)
            if result != errno.EAGAIN or listener is None:
                break
            await self.wait_for(listener, _WRITABLE | POLLNVAL)
            self._still_open(ours)
        if result:
            raise error(result)

    async def sock_accept(self, sock: Any) -> tuple[Any, Any]:
        ours = self._checked(sock)
        while True:
            child = syscalls.accept(ours.sock)
            if child is not None:
                made = LunarSocket.of(self.host, child, ours.proto)
                made.setblocking(False)
                return made, accepted_from(child)
            number = syscalls.accept_errno(ours.sock)
            if number != errno.EAGAIN:
                raise error(number)
            await self.wait_for(ours.sock, _READABLE | POLLNVAL)
            self._still_open(ours)

    def _checked(self, sock: Any) -> LunarSocket:
        _check_ssl_socket(sock)
        ours = _ours(sock)
        if ours.fileno() < 0:
            raise error(errno.EBADF)
        if self._debug and ours.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
        return ours

    def _still_open(self, sock: LunarSocket) -> None:
        if sock.fileno() < 0:
            raise error(errno.EBADF)


def _number(watched: dict[int, Watch], fd: Any) -> int:
    """The descriptor of `fd`; of a socket that was closed the one that it had, as asyncio's selectors remember it."""
    number = int(fd if isinstance(fd, int) else fd.fileno())
    if number < 0:
        return next((known for known, watch in watched.items() if watch.file is fd), number)
    return number


def _ours(sock: Any) -> LunarSocket:
    inner = getattr(sock, "_sock", sock)  # asyncio wraps sockets that it shows to programs (TransportSocket)
    if not isinstance(inner, LunarSocket):
        raise TypeError(f"a virtual host's loop was given a socket of the machine: {sock!r}")
    return inner
