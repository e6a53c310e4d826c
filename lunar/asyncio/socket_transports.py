"""asyncio transports over Lunar sockets: the stream's and the datagram's.

A transport waits at its socket (`Sock.waiters`). When the stack wakes it, it queues one of its two handles, made once
with the context of its maker, in the loop; the handle's turn reads or writes until the socket has nothing more.
"""

from __future__ import annotations

import asyncio
import errno
import os
from asyncio import constants, events, transports, trsock
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from lunar.errors import error
from lunar.host_socket import LunarSocket
from lunar.net.address import needs_scope
from lunar.net.device import Device
from lunar.net.ip_output import index_of
from lunar.net.sock import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP
from lunar.packet import UdpDatagram
from lunar.socket_address import parse_address, shown
from lunar.sockets import syscalls
from lunar.sockets.foreign import ForeignSock
from lunar.sockets.unix import UnixSock
from lunar.tcp import sockopt
from lunar.tcp.sock import TcpSock
from lunar.udp import UdpSock

if TYPE_CHECKING:
    from lunar.asyncio.loop import HostLoop

# As much as asyncio's selector transports read at once.
_READ_BYTES: Final = 256 * 1024
# What is handed to the socket at once from a large write; it takes a send buffer's worth and the rest is sliced again.
_WRITE_BYTES: Final = 256 * 1024
_READ_MASK: Final = POLLIN | POLLERR | POLLHUP | POLLRDHUP
_WRITE_MASK: Final = POLLOUT | POLLERR | POLLHUP


# The mixin is asyncio's own for its transports, and has no types.
_FlowControl: Any = getattr(transports, "_FlowControlMixin")  # noqa: B009


class _SocketTransport(_FlowControl):  # type: ignore[misc]
    """What both kinds have in common: the socket, the protocol, closing."""

    def __init__(self, loop: HostLoop, sock: LunarSocket, protocol: Any, extra: dict[str, Any] | None) -> None:
        super().__init__(extra, loop)
        self._extra["socket"] = trsock.TransportSocket(sock)
        self._extra.setdefault("sockname", sock.getsockname() if sock.fileno() >= 0 else None)
        if self._extra.get("peername") is None:
            try:
                self._extra["peername"] = sock.getpeername()
            except OSError:
                self._extra["peername"] = None
        self._loop: HostLoop = loop
        self._face = sock
        self._protocol = protocol
        self._closing = False
        self._lost = False  # connection_lost was called or will be
        self._read_queued = False
        self._read_handle = events.Handle(self._read_turn, (), loop, None)

    def __repr__(self) -> str:
        state = "closed" if self._lost else "closing" if self._closing else "open"
        return f"<{type(self).__name__} {state} {self._extra['sockname']} <-> {self._extra['peername']}>"

    def _read_turn(self) -> None:
        raise NotImplementedError

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def _fatal_error(self, exception: BaseException, message: str = "Fatal error on transport") -> None:
        if not isinstance(exception, OSError):
            self._loop.call_exception_handler(
                {"message": message, "exception": exception, "transport": self, "protocol": self._protocol}
            )
        self._force_close(exception)

    def _force_close(self, exception: BaseException | None) -> None:
        raise NotImplementedError

    def _let_go(self) -> None:
        """Forget, after connection_lost, what leads back here: the rest is freed without the garbage collector."""
        self._protocol = None
        self._read_handle.cancel()

    def __del__(self) -> None:
        if not self._lost and self._face.fileno() >= 0 and not self._loop.is_closed():
            self._face.close()


class StreamTransport(_SocketTransport):
    """A TCP connection, or a Unix one, as an asyncio transport."""

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.FALLBACK

    def __init__(
        self, loop: HostLoop, sock: LunarSocket, protocol: Any, waiter: asyncio.Future[None] | None,
        extra: dict[str, Any] | None, server: Any,
    ) -> None:
        super().__init__(loop, sock, protocol, extra)
        kernel = sock.sock
        assert isinstance(kernel, (TcpSock, UnixSock, ForeignSock)), "a stream transport needs a stream socket"
        self._sock: TcpSock | UnixSock | ForeignSock = kernel
        self._server = server
        self._eof = False  # write_eof was called
        self._paused = False
        self._reading = False
        # What the socket has not taken yet; `_at` is how far into the first item.
        self._buffer: deque[bytes] = deque()
        self._buffered = 0
        self._at = 0
        self._write_queued = False
        self._write_handle = events.Handle(self._write_turn, (), loop, None)
        self._buffered_protocol = isinstance(protocol, asyncio.BufferedProtocol)
        kernel.waiters.append(self._woken)
        # asyncio's own transports turn Nagle's algorithm off.
        if isinstance(kernel, TcpSock):
            sockopt.set_nodelay(kernel, True)
        if server is not None:
            _attach(server, self)
        loop.call_soon(protocol.connection_made, self)
        loop.call_soon(self._start_reading)
        if waiter is not None:
            loop.call_soon(_set_result_unless_cancelled, waiter)

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol
        self._buffered_protocol = isinstance(protocol, asyncio.BufferedProtocol)

    # Reading

    def _woken(self, mask: int) -> None:
        if mask & _READ_MASK and self._reading and not self._read_queued:
            self._read_queued = True
            self._loop.run_handle(self._read_handle)
        if mask & _WRITE_MASK and self._buffered and not self._write_queued:
            self._write_queued = True
            self._loop.run_handle(self._write_handle)

    def _start_reading(self) -> None:
        if not self._closing and not self._paused and not self._reading:
            self._reading = True
            self._woken(self._sock.poll())

    def _read_turn(self) -> None:
        self._read_queued = False
        if not self._reading:
            return
        callback = "get_buffer" if self._buffered_protocol else "data_received"
        try:
            view = None
            if self._buffered_protocol:
                view = self._protocol.get_buffer(-1)
                if not len(view):
                    raise RuntimeError("get_buffer() returned an empty buffer")
            data = self._sock.recv(_READ_BYTES if view is None else len(view), False)
            if data is None:
                self._read_failed()
                return
            if not data:
                callback = "eof_received"
                self._end_of_stream()
                return
            if view is None:
                self._protocol.data_received(data)
            else:
                memoryview(view).cast("B")[: len(data)] = data
                callback = "buffer_updated"
                self._protocol.buffer_updated(len(data))
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exception:  # noqa: BLE001 - the program's protocol: its fault ends the connection, as in asyncio
            self._fatal_error(exception, f"Fatal error: protocol.{callback}() call failed.")
            return
        if self._reading and not self._read_queued and self._sock.has_input():
            self._woken(POLLIN)

    def _read_failed(self) -> None:
        number = int(self._sock.recv_errno)
        if number != errno.EAGAIN:
            self._fatal_error(error(number), "Fatal read error on socket transport")

    def _end_of_stream(self) -> None:
        self._reading = False
        if not self._protocol.eof_received():
            self.close()

    def is_reading(self) -> bool:
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        if self._closing or self._paused:
            return
        self._paused = True
        self._reading = False

    def resume_reading(self) -> None:
        if self._closing or not self._paused:
            return
        self._paused = False
        self._start_reading()

    # Writing

    def write(self, data: Any) -> None:
        if type(data) is not bytes:
            if not isinstance(data, (bytes, bytearray, memoryview)):
                raise TypeError(
                    f"data argument must be a bytes-like object, not {type(data).__name__!r}"
                )
            data = bytes(data)
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self._lost:
            return
        if not self._buffered:
            size = len(data)
            if size <= _WRITE_BYTES:
                count = self._sock.send(data, False)
                if count == size:
                    return
            else:
                count = self._sock.send(data[:_WRITE_BYTES], False)
            if count < 0:
                if count != -errno.EAGAIN:
                    self._fatal_error(error(count), "Fatal write error on socket transport")
                    return
                count = 0
            self._at = count
            self._buffered = -count
        self._buffer.append(data)
        self._buffered += len(data)
        self._maybe_pause_protocol()
        if self._at and not self._write_queued and self._sock.poll() & POLLOUT:
            # The socket took a whole slice of a large write and may take more.
            self._woken(POLLOUT)

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def _write_turn(self) -> None:
        self._write_queued = False
        if self._lost:
            return
        buffer = self._buffer
        while buffer:
            first = buffer[0]
            at = self._at
            rest = first if at == 0 and len(first) <= _WRITE_BYTES else first[at : at + _WRITE_BYTES]
            count = self._sock.send(rest, False)
            if count < 0:
                if count != -errno.EAGAIN:
                    self._fatal_error(error(count), "Fatal write error on socket transport")
                    return
                break
            self._buffered -= count
            if at + count == len(first):
                buffer.popleft()
                self._at = 0
            else:
                self._at = at + count
                if count < len(rest):
                    break
        self._maybe_resume_protocol()  # may write more
        if not self._buffered and not self._lost:
            if self._closing:
                self._finish(None)
            elif self._eof:
                self._sock.shutdown(1)

    def get_write_buffer_size(self) -> int:
        return self._buffered

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if self._closing or self._eof:
            return
        self._eof = True
        if not self._buffered:
            self._sock.shutdown(1)

    # The end

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._reading = False
        if not self._buffered:
            self._finish(None)

    def abort(self) -> None:
        self._force_close(None)

    def _force_close(self, exception: BaseException | None) -> None:
        if self._lost:
            return
        self._buffer.clear()
        self._buffered = 0
        self._at = 0
        self._closing = True
        self._reading = False
        self._finish(exception)

    def _finish(self, exception: BaseException | None) -> None:
        if self._lost:
            return
        self._lost = True
        if self._woken in self._sock.waiters:
            self._sock.waiters.remove(self._woken)
        self._loop.call_soon(self._connection_lost, exception)

    def _connection_lost(self, exception: BaseException | None) -> None:
        try:
            self._protocol.connection_lost(exception)
        finally:
            self._face.close()
            self._let_go()
            self._write_handle.cancel()
            server, self._server = self._server, None
            if server is not None:
                _detach(server, self)


class DatagramTransport(_SocketTransport, transports.DatagramTransport):
    """A UDP socket as an asyncio transport."""

    def __init__(
        self, loop: HostLoop, sock: LunarSocket, protocol: Any, address: Any, waiter: asyncio.Future[None] | None,
        extra: dict[str, Any] | None,
    ) -> None:
        super().__init__(loop, sock, protocol, extra)
        kernel = sock.sock
        self._sock = self._checked(kernel)
        self._address = address
        self._names: dict[Any, tuple[int, int]] = {}
        loop.call_soon(protocol.connection_made, self)
        loop.call_soon(self._start_reading)
        if waiter is not None:
            loop.call_soon(_set_result_unless_cancelled, waiter)

    def _checked(self, kernel: Any) -> Any:
        assert isinstance(kernel, (UdpSock, ForeignSock)), "a datagram transport needs a socket of datagrams"
        return kernel

    def _start_reading(self) -> None:
        if not self._closing:
            self._sock.waiters.append(self._woken)
            self._woken(self._sock.poll())

    def _woken(self, mask: int) -> None:
        if mask & _READ_MASK and not self._read_queued and not self._closing:
            self._read_queued = True
            self._loop.run_handle(self._read_handle)

    def _read_turn(self) -> None:
        self._read_queued = False
        if self._closing:
            return
        if isinstance(self._sock, ForeignSock):
            self._read_foreign(self._sock)
            return
        packet = self._sock.recv(False)
        try:
            if packet is None:
                number = int(self._sock.recv_errno)
                if number not in (0, errno.EAGAIN):
                    self._protocol.error_received(error(number))
            else:
                self._protocol.datagram_received(packet.payload, self._sender(packet))
        finally:
            # Whatever the protocol raises, which the loop reports: the next datagram is read all the same.
            if self._sock.queue and not self._closing:
                self._woken(POLLIN)

    def _sender(self, packet: UdpDatagram) -> Any:
        device = packet.target if needs_scope(packet.src) else None
        scope = int(index_of(self._loop.host.ip, device)) if isinstance(device, Device) else 0
        return shown(self._sock, packet.src, int(packet.sport), scope)

    def _read_foreign(self, sock: ForeignSock) -> None:
        message = sock.recv_message(False)
        try:
            if message is not None:
                self._protocol.datagram_received(message[0], shown(sock, message[1], message[2]))
            elif sock.recv_errno not in (0, errno.EAGAIN):
                self._protocol.error_received(error(int(sock.recv_errno)))
        finally:
            if sock.has_input() and not self._closing:
                self._woken(POLLIN)

    def sendto(self, data: Any, addr: Any = None) -> None:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self._address and addr not in (None, self._address):
            raise ValueError(f"Invalid address: must be None or {self._address}")
        if self._closing:
            return
        payload = data if type(data) is bytes else bytes(data)
        if self._extra["peername"]:
            count = syscalls.send(self._sock, payload, 0)
        else:
            try:
                known = self._names.get(addr)
                if known is None:
                    known = parse_address(self._loop.host, self._sock, addr, "sendto")
                    if not needs_scope(known[0]):  # what is noted of a scope is for one call
                        self._names[addr] = known
            except OSError as exception:  # a name that nobody has
                self._protocol.error_received(exception)
                return
            except (TypeError, OverflowError) as exception:
                self._fatal_error(exception, "Fatal write error on datagram transport")
                return
            count = syscalls.sendto(self._sock, payload, 0, *known)
        if count < 0:
            self._protocol.error_received(OSError(-count, os.strerror(-count)))

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        self._force_close(None)

    def abort(self) -> None:
        self._force_close(None)

    def _force_close(self, exception: BaseException | None) -> None:
        if self._closing:
            return
        self._closing = self._lost = True
        if self._woken in self._sock.waiters:
            self._sock.waiters.remove(self._woken)
        self._loop.call_soon(self._connection_lost, exception)

    def _connection_lost(self, exception: BaseException | None) -> None:
        try:
            self._protocol.connection_lost(exception)
        finally:
            self._face.close()
            self._let_go()


def _set_result_unless_cancelled(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.set_result(None)


def _attach(server: Any, transport: StreamTransport) -> None:
    # Server._attach takes the transport since Python 3.13 (Server.close_clients).
    if hasattr(server, "close_clients"):
        server._attach(transport)
    else:
        server._attach()


def _detach(server: Any, transport: StreamTransport) -> None:
    if hasattr(server, "close_clients"):
        server._detach(transport)
    else:
        server._detach()
