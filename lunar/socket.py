"""`socket.socket` on a virtual host: the class that code inside a weave gets, blocking and non-blocking.

It is a subclass of the standard library's class, so `isinstance` holds, and what that class does in Python (`makefile`,
context manager, `sendfile`) works on the methods below. A blocking call parks the string (weaves/bridge.py). What is
different with Unix sockets is in unix_names.py; raw sockets and ancillary data are not here yet.
"""

from __future__ import annotations

import _socket
import errno
import operator
import socket
import struct
from typing import TYPE_CHECKING, Any

from lunar import unix_names
from lunar.errors import error
from lunar.net.sock import POLLERR, POLLHUP, POLLIN, POLLOUT, Sock
from lunar.sock_names import Name, accepted_from, own_name, peer_name, sender
from lunar.socket_address import parse_address
from lunar.sockets import options, syscalls
from lunar.sockets.fdtable import is_virtual
from lunar.sockets.unix import AF_UNIX, UnixSock
from weaves.bridge import current_flow
from weaves.here import here

if TYPE_CHECKING:
    from lunar.host import Host
    from weaves.weave import Weave


class LunarSocket(socket.socket):
    """A socket of a virtual host."""

    __slots__ = ("_descriptor", "_protocol", "_timeout_s", "host", "sock", "weave")

    host: Host
    weave: Weave | None  # who has it open
    sock: Sock
    _descriptor: int
    _protocol: int
    _timeout_s: float | None

    def __new__(cls, *args: Any, **kwargs: Any) -> LunarSocket:
        made: LunarSocket = _socket.socket.__new__(cls)
        return made

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        weave = here.weave
        assert weave is not None, "a virtual host's socket was made outside of its weaves"
        host: Any = weave.host
        if fileno is not None:
            if fileno < 0:
                raise ValueError("negative file descriptor")
            known = host.descriptors.get(fileno)
            if known is None:
                raise error(errno.EBADF)
            if not syscalls.is_socket(known):
                raise error(errno.ENOTSOCK)
            self._adopt(host, known, fileno, int(known.protocol) if proto == -1 else proto)
            return
        flags = 0 if type == -1 else type & (socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        kind = socket.SOCK_STREAM if type == -1 else type & ~flags
        domain = socket.AF_INET if family == -1 else family
        protocol = 0 if proto == -1 else proto
        sock: Sock | None
        if domain == AF_UNIX:
            if wrong := syscalls.socketpair_errno(int(domain), int(kind), int(protocol)):
                raise error(wrong)
            sock = host.unix.create(int(kind))
        else:
            sock = syscalls.socket(host.tcp, host.udp, int(domain), int(kind), int(protocol))
            if sock is None:
                raise error(syscalls.socket_errno(int(domain), int(kind), int(protocol)))
        descriptor = host.descriptors.install(sock)
        if descriptor < 0:
            raise error(descriptor)
        self._adopt(host, sock, descriptor, protocol)
        if flags & socket.SOCK_NONBLOCK:
            self.settimeout(0.0)

    def _adopt(self, host: Host, sock: Sock, descriptor: int, protocol: int) -> None:
        self._io_refs = 0
        self._closed = False
        self.host = host
        self.weave = here.weave
        if self.weave is not None:
            self.weave.descriptors.add(descriptor)
        self.sock = sock
        self._protocol = protocol
        self._descriptor = descriptor
        self._timeout_s = socket.getdefaulttimeout()
        if self._timeout_s is not None:
            sock.nonblocking = True

    @classmethod
    def of(cls, host: Host, sock: Sock, protocol: int) -> LunarSocket:
        """The object for a socket that the stack made (an accepted connection). EMFILE when the table is full.

        `protocol` is what it will show as `proto`: 0 where the program left it open, as with CPython's sockets.
        """
        descriptor = host.descriptors.install(sock)
        if descriptor < 0:
            if not sock.descriptors:
                syscalls.close(sock)
            raise error(descriptor)
        made: LunarSocket = _socket.socket.__new__(cls)
        made._adopt(host, sock, descriptor, protocol)
        return made

    # What it is

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AddressFamily(self.sock.domain)

    @property
    def type(self) -> socket.SocketKind:
        return socket.SocketKind(self.sock.type)

    @property
    def proto(self) -> int:
        return self._protocol

    @property
    def timeout(self) -> float | None:
        return self._timeout_s

    def fileno(self) -> int:
        return self._descriptor

    def getsockname(self) -> Name:
        return own_name(self._open())

    def getpeername(self) -> Name:
        return peer_name(self._open())

    def _open(self) -> Sock:
        if self._descriptor < 0:
            raise error(errno.EBADF)
        return self.sock

    # Blocking

    def setblocking(self, flag: bool) -> None:
        self.settimeout(None if flag else 0.0)

    def getblocking(self) -> bool:
        return self._timeout_s is None or self._timeout_s > 0

    def settimeout(self, value: float | None) -> None:
        sock = self._open()
        if value is not None:
            value = value if isinstance(value, float) else float(operator.index(value))
            if value < 0:
                raise ValueError("Timeout value out of range")
        self._timeout_s = value
        # With a timeout, too: as CPython does, whose method waits by poll(2) then.
        sock.nonblocking = value is not None

    def gettimeout(self) -> float | None:
        return self._timeout_s

    def _deadline(self) -> int | None:
        timeout = self._timeout_s
        return None if timeout is None else self.host.scheduler.now_ns + round(timeout * 1_000_000_000)

    def _wait(self, mask: int, deadline_ns: int | None, other: Sock | None = None) -> None:
        """Park until one of `mask` may hold, of another socket if one is named.

        BlockingIOError if it must not, TimeoutError at the deadline.
        """
        sock = self.sock
        if self._timeout_s == 0.0 or (self._timeout_s is None and sock.nonblocking):
            raise error(errno.EAGAIN)
        sock = other or sock
        flow = current_flow()

        def waiter(happened: int) -> None:
            if happened & (mask | POLLERR | POLLHUP):
                flow.wake()

        sock.waiters.append(waiter)
        try:
            if deadline_ns is None:
                flow.park()
            elif not flow.park_for(deadline_ns - self.host.scheduler.now_ns):
                raise TimeoutError("timed out")
        finally:
            if waiter in sock.waiters:
                sock.waiters.remove(waiter)
        if self._descriptor < 0:
            raise error(errno.EBADF)

    # Naming and connecting

    def bind(self, address: Any) -> None:
        sock = self._open()
        if isinstance(sock, UnixSock):
            result = unix_names.bind(sock, address)
        else:
            result = syscalls.bind(sock, *parse_address(self.host, sock, address, "bind"))
        if result < 0:
            raise error(result)

    def listen(self, backlog: int = 128) -> None:
        result = syscalls.listen(self._open(), max(0, backlog))
        if result < 0:
            raise error(result)

    def connect(self, address: Any) -> None:
        result = self._connect(address)
        if result == errno.EAGAIN and self._timeout_s:
            raise TimeoutError("timed out")
        if result:
            raise error(result)

    def connect_ex(self, address: Any) -> int:
        return self._connect(address)

    def _connect(self, address: Any) -> int:
        # Apart, because a subclass (ssl.SSLSocket) has a `connect_ex` that must not be called by `connect`.
        sock = self._open()
        if isinstance(sock, UnixSock):
            return self._connect_unix(sock, address)
        result = -syscalls.connect(sock, *parse_address(self.host, sock, address, "connect"))
        if result != errno.EINPROGRESS or self._timeout_s == 0.0 or (self._timeout_s is None and sock.nonblocking):
            return result
        deadline = self._deadline()
        while True:
            try:
                self._wait(POLLOUT, deadline)
            except TimeoutError:
                return errno.EAGAIN
            if sock.poll() & (POLLOUT | POLLERR | POLLHUP):
                return sock.take_error()

    def _connect_unix(self, sock: UnixSock, address: Any) -> int:
        deadline = self._deadline()
        while True:
            result, listener = unix_names.connect(sock, address)
            if result != errno.EAGAIN or listener is None:
                return result
            try:
                self._wait(POLLOUT, deadline, listener)
            except TimeoutError:
                return errno.EAGAIN
            except BlockingIOError:
                return errno.EAGAIN

    def accept(self) -> tuple[socket.socket, Any]:
        sock = self._open()
        deadline = self._deadline()
        while True:
            child = syscalls.accept(sock)
            if child is not None:
                break
            if syscalls.accept_errno(sock) != errno.EAGAIN:
                raise error(syscalls.accept_errno(sock))
            self._wait(POLLIN, deadline)
        made = LunarSocket.of(self.host, child, self._protocol)
        return made, accepted_from(child)

    # Data

    def send(self, data: Any, flags: int = 0, /) -> int:
        return self._send(bytes(memoryview(data)), flags, self._deadline())

    def _send(self, data: bytes, flags: int, deadline: int | None) -> int:
        sock = self._open()
        while True:
            count = syscalls.send(sock, data, flags)
            if count >= 0:
                return count
            if count != -errno.EAGAIN or flags & syscalls.MSG_DONTWAIT:
                raise error(count)
            self._wait(POLLOUT, deadline)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        deadline = self._deadline()
        rest = bytes(memoryview(data))
        at = 0
        while at < len(rest):
            # A bounded slice: what does not fit the send buffer would be copied anew at every turn.
            at += self._send(rest[at : at + 262_144], flags, deadline)

    def sendto(self, data: Any, *rest: Any) -> int:
        if len(rest) == 1:
            flags, address = 0, rest[0]
        elif len(rest) == 2:
            flags, address = rest
        else:
            raise TypeError(f"sendto() takes 2 or 3 arguments ({1 + len(rest)} given)")
        sock = self._open()
        payload = bytes(memoryview(data))
        deadline = self._deadline()
        addr, port = (0, 0) if isinstance(sock, UnixSock) else parse_address(self.host, sock, address, "sendto")
        while True:
            if isinstance(sock, UnixSock):
                count = unix_names.send_to(sock, payload, address)
            else:
                count = syscalls.sendto(sock, payload, flags, addr, port)
            if count >= 0:
                return count
            if count != -errno.EAGAIN or flags & syscalls.MSG_DONTWAIT:
                raise error(count)
            self._wait(POLLOUT, deadline)

    def _receive(self, size: int, flags: int) -> syscalls.Received:
        if size < 0:
            raise ValueError("negative buffersize in recv")
        return self._receive_until(size, flags, self._deadline())

    def _receive_until(self, size: int, flags: int, deadline: int | None) -> syscalls.Received:
        sock = self._open()
        while True:
            got = syscalls.recvfrom(sock, size, flags)
            if got.errno == 0:
                return got
            if got.errno != errno.EAGAIN or flags & syscalls.MSG_DONTWAIT:
                raise error(int(got.errno))
            self._wait(POLLIN, deadline)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        if bufsize == 0:
            return b""  # CPython does not ask the kernel
        return _with_size(self._receive(bufsize, flags))

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        got = self._receive(bufsize, flags)
        return _with_size(got), sender(self.sock, got)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        view = _room(buffer, nbytes)
        return self.recvfrom_into(view, 0, flags)[0] if len(view) else 0

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        view = _room(buffer, nbytes)
        got = self._receive(len(view), flags)
        view[: len(got.data)] = got.data
        return int(got.size), sender(self.sock, got)

    def sendmsg(self, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None, /) -> int:
        if list(ancdata):
            raise error(errno.EOPNOTSUPP)
        data = b"".join(bytes(memoryview(buffer)) for buffer in buffers)
        return self.send(data, flags) if address is None else self.sendto(data, flags, address)

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> tuple[bytes, list[Any], int, Any]:
        got = self._receive(bufsize, flags)
        return _with_size(got), [], socket.MSG_TRUNC if got.truncated else 0, sender(self.sock, got)

    # Options and the end

    def setsockopt(self, level: int, optname: int, value: Any, optlen: int | None = None) -> None:
        sock = self._open()
        if isinstance(value, int):
            result = options.setsockopt(sock, level, optname, value)
        elif value is None:
            raise error(errno.EINVAL)
        else:
            result = options.set_bytes(sock, level, optname, bytes(value))
        if result < 0:
            raise error(result)

    def getsockopt(self, level: int, optname: int, buflen: int = 0, /) -> Any:
        sock = self._open()
        if not 0 <= buflen <= 1024:
            raise OSError("getsockopt buflen out of range")
        packed = options.get_bytes(sock, level, optname, buflen or 4)
        if packed:
            return packed if buflen else struct.unpack("i", packed)[0]
        value = options.getsockopt(sock, level, optname)
        if value < 0:
            raise error(value)
        return struct.pack("i", value)[:buflen] if buflen else value

    def shutdown(self, how: int, /) -> None:
        result = syscalls.shutdown(self._open(), how)
        if result < 0:
            raise error(result)

    def _real_close(self, _ss: Any = None) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        # The number may be somebody else's by now, if the program that opened it has ended.
        if descriptor >= 0 and self.host.descriptors.get(descriptor) is self.sock:
            if self.weave is not None:
                self.weave.descriptors.discard(descriptor)
            # Whoever is parked on the socket finds it closed when it goes on.
            self.sock.wake(POLLERR | POLLHUP)
            self.host.close_descriptors([descriptor])

    def detach(self) -> int:
        self._closed = True
        descriptor, self._descriptor = self._descriptor, -1
        return descriptor

    def dup(self) -> LunarSocket:
        """Another object and descriptor of the same socket."""
        made = type(self).of(self.host, self._open(), self._protocol)
        made.settimeout(self._timeout_s)
        return made

    def get_inheritable(self) -> bool:
        return False

    def set_inheritable(self, inheritable: bool) -> None:
        """Nothing to do: there are no child processes on a virtual host."""

    def __del__(self) -> None:
        # As CPython's own: an unreachable open socket is closed.
        if getattr(self, "_descriptor", -1) >= 0:
            self._real_close()

    def __repr__(self) -> str:
        state = f"fd={self._descriptor}" if self._descriptor >= 0 else "closed"
        return f"<lunar socket {state}, host={self.host.name!r}, type={self.type!r}>"


def socketpair(host: Host, family: int, type: int, protocol: int) -> tuple[LunarSocket, LunarSocket]:
    """socket.socketpair: two connected Unix sockets. Raises what socketpair(2) fails with."""
    flags = type & (socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    made = syscalls.socketpair(int(family), int(type & ~flags), int(protocol))
    if made is None:
        raise error(syscalls.socketpair_errno(int(family), int(type & ~flags), int(protocol)))
    for sock in made:
        sock.table = host.unix  # each may still get a name
    first, second = LunarSocket.of(host, made[0], protocol), LunarSocket.of(host, made[1], protocol)
    if flags & socket.SOCK_NONBLOCK:
        first.setblocking(False)
        second.setblocking(False)
    return first, second


def _with_size(got: syscalls.Received) -> bytes:
    """The data; with MSG_TRUNC it is as long as the datagram was, and what there is no room for is not told."""
    return got.data + bytes(int(got.size) - len(got.data))


def _room(buffer: Any, nbytes: int) -> memoryview:
    """The first `nbytes` of `buffer`, all of it for 0."""
    view = memoryview(buffer).cast("B")
    if view.readonly:
        raise TypeError(f"a read-write bytes-like object is required, not {type(buffer).__name__!r}")
    if nbytes < 0:
        raise ValueError("negative buffersize in recv_into")
    if nbytes > len(view):
        raise ValueError("buffer too small for requested bytes")
    return view[:nbytes] if nbytes else view


def new_socket(cls: type[socket.socket], args: tuple[Any, ...], kwargs: dict[str, Any]) -> socket.socket:
    """An object for `cls(...)` inside a weave: of `cls` itself if it is ours, otherwise of a class of both."""
    fileno = kwargs.get("fileno", args[3] if len(args) > 3 else None)
    if fileno is not None and fileno >= 0 and not is_virtual(fileno):
        # A descriptor of the machine stays the machine's.
        machine: socket.socket = _socket.socket.__new__(cls)
        return machine
    if cls is socket.socket:
        cls = LunarSocket
    elif not issubclass(cls, LunarSocket):
        cls = _combined(cls)
    made: socket.socket = _socket.socket.__new__(cls)
    return made


_classes: dict[type[socket.socket], type[LunarSocket]] = {}


def _combined(cls: type[socket.socket]) -> type[LunarSocket]:
    """A class that is `cls` first and a Lunar socket below, in place of the machine's."""
    found = _classes.get(cls)
    if found is None:
        found = type(cls.__name__, (cls, LunarSocket), {"__module__": cls.__module__, "__slots__": ()})
        _classes[cls] = found
    return found
