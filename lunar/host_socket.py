"""`socket.socket` on a virtual host: the class that code inside a weave gets, blocking and non-blocking.

It is a subclass of the standard library's class and stands for what that class inherits from C: `_accept`, `recv`,
`settimeout` ... What the standard library writes in Python (`accept`, `dup`, `makefile`, `sendfile`, `create_server`,
context managers, `repr`) works on these methods, and is not here. A blocking call parks the string (lunar/waiting.py).
What is different with Unix sockets is in unix_names.py.
"""

from __future__ import annotations

import _socket
import errno
import socket
import struct
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from lunar import ancillary, link_names, unix_names, waiting
from lunar.arguments import bytes_of, c_int, listed, parse_timeout, size_of, writable
from lunar.control_items import Item
from lunar.errors import error
from lunar.net.sock import POLLERR, POLLHUP, POLLIN, POLLOUT, Sock
from lunar.sock_names import Name, accepted_from, own_name, peer_name, sender
from lunar.socket_address import parse_address
from lunar.sockets import options, syscalls
from lunar.sockets.packet_sock import LinkSock
from lunar.sockets.unix import UnixSock
from lunar.syscalls import connections, receiving, transfer
from lunar.tcp.sock import TcpSock
from weaves.here import here

if TYPE_CHECKING:
    from lunar.host import Host
    from weaves.weave import Weave

_T = TypeVar("_T")
_NS_PER_S: Final = 1_000_000_000
_SOCK_TYPE_MASK: Final = 0xF
# What sendall hands over at once: what does not fit the send buffer would be copied anew at every turn.
_SEND_BYTES: Final = 262_144


# What a socket keeps. Apart from its methods, because of two classes with slots Python makes no third.
SLOTS: Final = ("_descriptor", "_family", "_kind", "_protocol", "_timeout_s", "host", "sock", "weave")
_NO_SLOTS: Final[tuple[str, ...]] = ()


class LunarSocket(socket.socket):
    """A socket of a virtual host: its methods. Instances are of a class that has the slots (socket_classes.py, too)."""

    __slots__ = _NO_SLOTS

    host: Host
    weave: Weave | None  # who has it open
    sock: Sock  # what the descriptor named when it was last used
    _descriptor: int
    _family: int
    _kind: int
    _protocol: int
    _timeout_s: float | None

    def __new__(cls, *args: Any, **kwargs: Any) -> LunarSocket:
        made: LunarSocket = _socket.socket.__new__(cls)
        return made

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        weave = here.weave
        assert weave is not None, "a virtual host's socket was made outside of its weaves"
        host: Any = weave.host
        family, type, proto = (c_int(value) for value in (family, type, proto))
        flags = 0 if type == -1 else type & (socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        if fileno is not None:
            descriptor = _descriptor_number(fileno)
            sock = _named(host, descriptor)
            # Whoever says what it is, is believed.
            family = int(sock.domain) if family == -1 else family
            type = int(sock.type) if type == -1 else type & ~flags
            proto = int(sock.protocol) if proto == -1 else proto
        else:
            family = int(socket.AF_INET) if family == -1 else family
            type = int(socket.SOCK_STREAM) if type == -1 else type & ~flags
            proto = 0 if proto == -1 else proto
            if type & ~_SOCK_TYPE_MASK:
                raise error(errno.EINVAL)
            sock = connections.new_socket(host, family, type, proto)
            descriptor = int(host.descriptors.install(sock))
            if descriptor < 0:
                raise error(descriptor)
        self._adopt(host, sock, descriptor, family, type, proto)
        if flags & socket.SOCK_NONBLOCK:
            self.settimeout(0.0)

    virtual_init = __init__  # see weaves/interpose/socket_names.py

    def _adopt(self, host: Host, sock: Sock, descriptor: int, family: int, kind: int, protocol: int) -> None:
        self._io_refs = 0
        self._closed = False
        self.host = host
        self.weave = here.weave
        if self.weave is not None:
            self.weave.descriptors.add(descriptor)
        self.sock = sock
        self._family, self._kind, self._protocol = family, kind, protocol
        self._descriptor = descriptor
        self._timeout_s = None if self.weave is None else self.weave.socket_timeout
        if self._timeout_s is not None:
            sock.nonblocking = True

    @staticmethod
    def of(host: Host, sock: Sock, protocol: int) -> LunarSocket:
        """The object for a socket that the stack made (an accepted connection). EMFILE when the table is full.

        `protocol` is what it will show as `proto`: 0 where the program left it open, as with CPython's sockets.
        """
        descriptor = int(host.descriptors.install(sock))
        if descriptor < 0:
            syscalls.close_unused(sock)
            raise error(descriptor)
        made: LunarSocket = _socket.socket.__new__(HostSocket)
        made._adopt(host, sock, descriptor, int(sock.domain), int(sock.type), protocol)
        return made

    # What it is

    @property
    def family(self) -> socket.AddressFamily:
        family: socket.AddressFamily = _as_enum(self._family, socket.AddressFamily)
        return family

    @property
    def type(self) -> socket.SocketKind:
        kind: socket.SocketKind = _as_enum(self._kind, socket.SocketKind)
        return kind

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
        """What the descriptor names now. EBADF if it was closed, by its number or through another object, too."""
        found = self.host.descriptors.get(self._descriptor)
        if found is not self.sock or found is None:
            found = self.sock = _named(self.host, self._descriptor)
        return found

    # Blocking

    def setblocking(self, flag: bool) -> None:
        self.settimeout(None if flag else 0.0)

    def getblocking(self) -> bool:
        return self._timeout_s is None or self._timeout_s > 0

    def settimeout(self, value: float | None) -> None:
        timeout = parse_timeout(value)
        # With a timeout, too: as CPython does, whose method waits by poll(2) then.
        self._open().nonblocking = timeout is not None
        self._timeout_s = timeout

    def gettimeout(self) -> float | None:
        return self._timeout_s

    def _deadline(self) -> int | None:
        timeout = self._timeout_s
        return None if timeout is None else self.host.scheduler.now_ns + round(timeout * _NS_PER_S)

    def _may_wait(self, sock: Sock) -> bool:
        return not sock.nonblocking if self._timeout_s is None else self._timeout_s > 0

    def _until(
        self, sock: Sock, mask: int, attempt: Callable[[], _T | None], flags: int = 0, deadline: int | None = None
    ) -> _T:
        """What `attempt` returns, asked again whenever `mask` may hold, as long as it returns None for EAGAIN.

        BlockingIOError if the call may not wait, TimeoutError when it may not longer: than until `deadline`, if that is
        given, otherwise than the socket's timeout.
        """
        result = attempt()
        if result is not None:
            return result
        # With a timeout it is poll(2) that waits, before the call and whatever its flags.
        if not self._may_wait(sock) or (self._timeout_s is None and flags & syscalls.MSG_DONTWAIT):
            raise error(errno.EAGAIN)
        if deadline is None:
            deadline = self._deadline()
        while result is None:
            self._wait(mask, deadline)
            result = attempt()
        return result

    def _wait(self, mask: int, deadline: int | None, other: Sock | None = None) -> None:
        """Park until one of `mask` may hold, of another socket if one is named. Woken does not mean ready.

        BlockingIOError if it must not, TimeoutError at the deadline.
        """
        if not self._may_wait(self.sock):
            raise error(errno.EAGAIN)
        sock = other or self.sock
        if not waiting.park(self.host, sock, mask, deadline):
            raise TimeoutError("timed out")
        if self._timeout_s is not None and sock.poll() & (mask | POLLERR | POLLHUP):
            self._open()  # it was poll(2) that has waited; the call itself names the descriptor once more

    # Naming and connecting

    def bind(self, address: Any) -> None:
        sock = self._open()
        if isinstance(sock, UnixSock):
            result = unix_names.bind(sock, address)
        elif isinstance(sock, LinkSock):
            result = link_names.bind(self.host, sock, address)
        else:
            result = syscalls.bind(sock, *parse_address(self.host, sock, address, "bind"))
        if result < 0:
            raise error(result)

    def listen(self, backlog: int = 128) -> None:
        backlog = c_int(backlog)
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
        if isinstance(sock, LinkSock):
            return errno.EOPNOTSUPP
        addr, port = parse_address(self.host, sock, address, "connect")
        result = -syscalls.connect(sock, addr, port)
        if result != errno.EINPROGRESS or not self._may_wait(sock):
            return result
        deadline = self._deadline()
        while True:
            try:
                self._wait(POLLOUT, deadline)
            except TimeoutError:
                return errno.EAGAIN
            if sock.poll() & (POLLOUT | POLLERR | POLLHUP):
                # With a timeout CPython asks for SO_ERROR; the call that blocks tells by itself, and that it is over.
                return sock.take_error() if self._timeout_s is not None else -syscalls.connect(sock, addr, port)

    def _connect_unix(self, sock: UnixSock, address: Any) -> int:
        deadline = self._deadline()
        while True:
            result, listener = unix_names.connect(sock, address)
            if result != errno.EAGAIN or listener is None or not self._may_wait(sock):
                return result
            try:
                self._wait(POLLOUT, deadline, listener)
            except TimeoutError:
                return errno.EAGAIN

    def _accept(self) -> tuple[int, Any]:
        sock = self._open()

        def attempt() -> Sock | None:
            child = syscalls.accept(sock)
            if child is None and (number := syscalls.accept_errno(sock)) != errno.EAGAIN:
                raise error(number)
            return child

        child = self._until(sock, POLLIN, attempt)
        descriptor = int(self.host.descriptors.install(child))
        if descriptor < 0:
            syscalls.close_unused(child)
            raise error(descriptor)
        if self.weave is not None:
            self.weave.descriptors.add(descriptor)
        return descriptor, accepted_from(child)

    # Data

    def send(self, data: Any, flags: int = 0, /) -> int:
        payload = bytes_of(data)
        return self._send(payload, c_int(flags))

    def _send(self, data: bytes, flags: int, deadline: int | None = None) -> int:
        sock = self._open()
        if self._timeout_s is None:
            return transfer.send_now(self.host, self._descriptor, sock, data, flags)

        def attempt() -> int | None:
            return _count(syscalls.send(sock, data, flags))

        return self._until(sock, POLLOUT, attempt, flags, deadline)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        rest = bytes_of(data)
        at = 0
        if not flags and self._timeout_s is None and 0 < len(rest) <= _SEND_BYTES:
            at = syscalls.send_plain(self._open(), rest)
            if at == len(rest):
                return
        flags = c_int(flags)
        deadline = self._deadline()
        while at < len(rest):
            at += self._send(rest[at : at + _SEND_BYTES], flags, deadline)

    def sendto(self, *arguments: Any) -> int:
        if not 2 <= len(arguments) <= 3:
            raise TypeError(f"sendto() takes 2 or 3 arguments ({len(arguments)} given)")
        payload = bytes_of(arguments[0])
        flags = c_int(arguments[1]) if len(arguments) == 3 else 0
        return self._send_to(payload, flags, arguments[-1], "sendto")

    def _send_to(self, payload: bytes, flags: int, address: Any, caller: str) -> int:
        sock = self._open()
        if isinstance(sock, UnixSock):
            return self._until(sock, POLLOUT, lambda: _count(unix_names.send_to(sock, payload, address)), flags)
        if isinstance(sock, LinkSock):
            return _count(link_names.send_to(self.host, sock, payload, address, caller)) or 0
        if flags & syscalls.MSG_FASTOPEN and self._timeout_s is None and isinstance(sock, TcpSock):
            return transfer.send_now(self.host, self._descriptor, sock, payload, flags, address)
        addr, port = parse_address(self.host, sock, address, caller)
        return self._until(sock, POLLOUT, lambda: _count(syscalls.sendto(sock, payload, flags, addr, port)), flags)

    def _receive(self, size: int, flags: int) -> syscalls.Received:
        return self._receive_until(size, c_int(flags))

    def _receive_until(
        self, size: int, flags: int, deadline: int | None = None, with_attachment: bool = False
    ) -> syscalls.Received:
        sock = self._open()
        if self._timeout_s is None:
            return receiving.receive(self.host, self._descriptor, sock, size, flags, with_attachment)
        call = syscalls.recvmsg if with_attachment else syscalls.recvfrom

        def attempt() -> syscalls.Received | None:
            if sock.rcvlowat > 1 and self._timeout_s and not sock.poll() & (POLLIN | POLLERR | POLLHUP):
                return None  # it is poll(2) that waits, for as much as SO_RCVLOWAT says
            got = call(sock, size, flags)
            if got.errno in (0, errno.EAGAIN):
                return None if got.errno else got
            raise error(int(got.errno))

        return self._until(sock, POLLIN, attempt, flags, deadline)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        size = size_of(bufsize, "negative buffersize in recv")
        if size == 0:
            return b""  # CPython does not ask the kernel
        if not flags and self._timeout_s is None:
            sock = self._open()
            data = syscalls.recv_plain(sock, size)
            if data is None and syscalls.waits_plainly(sock):
                waiting.park(self.host, sock, POLLIN, None)
                data = syscalls.recv_plain(sock, size)
            if data is not None:
                return data
            # Of the same socket, though its descriptor may have been closed meanwhile.
            return _with_size(receiving.receive(self.host, self._descriptor, sock, size, 0, False))
        return _with_size(self._receive(size, flags))

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        got = self._receive(size_of(bufsize, "negative buffersize in recvfrom"), flags)
        return _with_size(got), sender(self.sock, got)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        view = writable(buffer)
        size = size_of(nbytes, "negative buffersize in recv_into")
        if size > len(view):
            raise ValueError("buffer too small for requested bytes")
        if not len(view):
            return 0
        got = self._receive(size or len(view), flags)
        view[: len(got.data)] = got.data
        return int(got.size)

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        view = writable(buffer)
        size = size_of(nbytes, "negative buffersize in recvfrom_into")
        if size > len(view):
            raise ValueError("nbytes is greater than the length of the buffer")
        got = self._receive(size or len(view), flags)
        view[: len(got.data)] = got.data
        return int(got.size), sender(self.sock, got)

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> tuple[bytes, list[Any], int, Any]:
        got, *rest = self._receive_message(size_of(bufsize, "negative buffer size in recvmsg()"), ancbufsize, flags)
        return _with_size(got), *rest  # type: ignore[return-value]

    def recvmsg_into(
        self, buffers: Any, ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[int, list[Any], int, Any]:
        views = [writable(buffer) for buffer in listed(buffers, "recvmsg_into() argument 1 must be an iterable")]
        got, *rest = self._receive_message(sum(map(len, views)), ancbufsize, flags)
        data = memoryview(got.data)
        for view in views:
            part = data[: len(view)]
            view[: len(part)] = part
            data = data[len(part) :]
        return int(got.size), *rest  # type: ignore[return-value]

    def _receive_message(
        self, size: int, ancillary_size: Any, flags: Any
    ) -> tuple[syscalls.Received, list[Item], int, Name | None]:
        room = ancillary.room(ancillary_size)
        flags = c_int(flags)
        got = self._receive_until(size, flags, with_attachment=True)
        sock = self.sock
        items, told = ancillary.delivered(self.host, sock, got, room, flags)
        return got, items, told | (int(socket.MSG_TRUNC) if got.truncated else 0), sender(sock, got)

    def sendmsg(self, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None, /) -> int:
        payloads = list(map(bytes_of, listed(buffers, "sendmsg() argument 1 must be an iterable")))
        data = b"".join(payloads)
        items = ancillary.items_of(ancdata)
        flags = c_int(flags)
        sock = self._open()
        transfer.note_buffers(sock, payloads, flags)
        attachment = ancillary.attached(self.host, sock, items)
        if attachment is None:
            try:
                return self._send(data, flags) if address is None else self._send_to(data, flags, address, "sendmsg")
            finally:
                ancillary.forget_call(sock)
        assert isinstance(sock, UnixSock), "others have nothing to attach"
        unix, attached = sock, attachment
        try:
            taken = self._until(
                sock, POLLOUT, lambda: _count(transfer.send_attached(unix, data, address, attached)), flags
            )
        except BaseException:
            attached.release()
            raise
        if taken < len(data) and self._timeout_s is None and self._may_wait(sock):
            taken += self._send(data[taken:], flags)
        return taken

    def sendmsg_afalg(self, *_args: Any, **_kwargs: Any) -> int:
        raise OSError("algset is only supported for AF_ALG")

    # Options and the end

    def setsockopt(self, level: int, optname: int, value: Any, optlen: int | None = None) -> None:
        sock = self._open()
        if isinstance(value, int):
            result = options.setsockopt(sock, level, optname, value)
        elif value is None and optlen is not None:
            raise error(errno.EINVAL)
        else:
            try:
                data = memoryview(value).tobytes()
            except TypeError:
                raise TypeError(f"a bytes-like object is required, not '{type(value).__name__}'") from None
            result = options.set_bytes(sock, level, optname, data)
        if result < 0:
            raise error(result)

    def getsockopt(self, level: int, optname: int, buflen: int = 0, /) -> Any:
        sock = self._open()
        if not 0 <= buflen <= 1024:
            raise OSError("getsockopt buflen out of range")
        packed = options.get_bytes(sock, level, optname, buflen or 4)
        if packed is not None:
            return packed if buflen else int.from_bytes(packed, "little", signed=True)
        value = options.getsockopt(sock, level, optname)
        if value < 0:
            raise error(value)
        return struct.pack("i", value)[:buflen] if buflen else value

    def shutdown(self, how: int, /) -> None:
        result = syscalls.shutdown(self._open(), c_int(how))
        if result < 0:
            raise error(result)

    def _real_close(self, _ss: Any = None) -> None:
        self._let_go(lingers=True)

    def _let_go(self, lingers: bool) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        weave = self.weave
        found = self.host.descriptors.get(descriptor)
        # The number may be another program's by now, if the one that opened it has ended.
        ours = found is self.sock or weave is None or descriptor in weave.descriptors
        if found is None or not ours:
            if here.weave is not None and here.weave is weave:
                raise error(errno.EBADF)
            return  # the end of the program has closed it
        if weave is not None:
            weave.descriptors.discard(descriptor)
        self.host.close_descriptor(descriptor, lingers)

    def detach(self) -> int:
        self._closed = True
        descriptor, self._descriptor = self._descriptor, -1
        return descriptor

    def __del__(self) -> None:
        # As CPython's own: an unreachable open socket is closed, not without a word.
        descriptor = getattr(self, "_descriptor", -1)
        if descriptor >= 0 and self.host.descriptors.get(descriptor) is self.sock:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            self._let_go(lingers=False)  # whoever the collector interrupts does not wait


class HostSocket(LunarSocket):
    """What `socket.socket(...)` makes."""

    __slots__ = SLOTS


# Programs show the name of the class, in `repr` above all: it is that of the one that they have asked for.
HostSocket.__module__ = socket.socket.__module__
HostSocket.__name__ = socket.socket.__name__
HostSocket.__qualname__ = socket.socket.__qualname__


def _named(host: Host, descriptor: int) -> Sock:
    """The socket that `descriptor` names. EBADF; ENOTSOCK for what is none, as a pipe's end."""
    found = host.descriptors.get(descriptor)
    if found is None:
        raise error(errno.EBADF)
    if not syscalls.is_socket(found):
        raise error(errno.ENOTSOCK)
    return found


def _descriptor_number(fileno: Any) -> int:
    number = c_int(fileno)
    if number < 0:
        raise ValueError("negative file descriptor")
    return number


def _as_enum(value: int, kind: Any) -> Any:
    """The member of `kind`, or the number itself where it has none, as the standard library does."""
    try:
        return kind(value)
    except ValueError:
        return value


def _count(result: int) -> int | None:
    """A count of bytes, None for EAGAIN; raises for any other errno."""
    if result >= 0:
        return result
    if result == -errno.EAGAIN:
        return None
    raise error(result)


def _with_size(got: syscalls.Received) -> bytes:
    """The data; with MSG_TRUNC it is as long as the datagram was, and what there is no room for is not told."""
    return got.data + bytes(int(got.size) - len(got.data))
