"""System calls of scripts: arguments from expressions, the call, and whether it gave what the script says.

A script's descriptors are its own numbers; `Calls` knows which of the stack's each is. A buffer that is `...` is zeros.
Each function of `_CALLS` is one call. It runs in a task of the stack under test, where it may block, and raises
`CallFailed` with what is wrong.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from typing import Any, Final

from lunar.packetdrill import symbols
from lunar.packetdrill.backend import Backend, Settings
from lunar.packetdrill.flows import Flows
from lunar.packetdrill.script import (
    ELLIPSIS,
    Array,
    Expression,
    Function,
    Struct,
    SystemCall,
    Text,
    Word,
)
from lunar.packetdrill.symbols import number
from lunar.sockaddr import Sockaddr

# What asks for a descriptor's buffer of control messages at once: more than any script has.
_CONTROL_BYTES: Final = 1024
_MSG_ERRQUEUE: Final = symbols.value_of("MSG_ERRQUEUE")
_MSG_FASTOPEN: Final = symbols.value_of("MSG_FASTOPEN")
_SCM_TIMESTAMPING: Final = symbols.value_of("SCM_TIMESTAMPING")
# struct sock_extended_err without the address behind it, linux/errqueue.h.
_EXTENDED_ERROR: Final = struct.Struct("IBBBBII")
# struct scm_timestamping: three times of seconds and nanoseconds.
_TIMESTAMPING: Final = struct.Struct("qqqqqq")


class CallFailed(Exception):
    """A call did not do what the script says; `str` of it says what."""


class Calls:
    """The system calls of one run, and its descriptors."""

    def __init__(self, backend: Backend, settings: Settings, flows: Flows) -> None:
        self._backend = backend
        self._settings = settings
        self._flows = flows
        self._sys = backend.syscalls
        self._descriptors: dict[int, int] = {}
        # When the script began, on the wall clock of the stack: what SCM_TIMESTAMPING counts from.
        self.wall_start_ns = 0
        self.last_fd: int | None = None  # of the connection that code looks at

    def begin(self) -> None:
        """The script begins now."""
        self.wall_start_ns = self._backend.wall_ns()

    def run(self, call: SystemCall) -> None:
        """Make the call. Raises `CallFailed`."""
        made = _CALLS.get(call.name)
        if made is None:
            raise CallFailed(f"Unknown system call: '{call.name}'")
        try:
            made(self, call, call.arguments)
        except symbols.UnknownSymbol as unknown:
            raise CallFailed(str(unknown)) from None
        except (TypeError, IndexError, struct.error) as wrong:
            raise CallFailed(f"bad arguments: {wrong}") from wrong

    def is_open(self, fd: int) -> bool:
        """Whether one of the script's descriptors is the stack's `fd`."""
        return fd in self._descriptors.values()

    # What the calls have in common

    def _fd(self, expression: Expression) -> int:
        script = number(expression)
        found = self._descriptors.get(script)
        # A number that the script does not have may be meant to be wrong.
        return found if found is not None else script

    def _try(self, call: SystemCall, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the function gives; None if it failed as the script says. Raises `CallFailed`."""
        try:
            return function(*arguments)
        except OSError as error:
            self._failed(call, error.errno or 0)
            return None

    def _failed(self, call: SystemCall, actual: int) -> None:
        expected = call.result
        told = f"-1 with errno {actual} ({os.strerror(actual)})"
        if expected is ELLIPSIS:
            raise CallFailed(f"Expected non-negative result but got {told}")
        if number(expected) != -1:
            if number(expected) >= 0 and call.name in _GIVE_DESCRIPTORS:
                raise CallFailed(f"Expected non-negative result but got {told}")
            raise CallFailed(f"Expected result {number(expected)} but got {told}")
        if call.errno is not None:
            wanted = _errno(call.errno)
            if wanted != actual:
                raise CallFailed(
                    f"Expected errno {wanted} ({os.strerror(wanted)}) but got {actual} ({os.strerror(actual)})"
                )

    def _expect(self, call: SystemCall, actual: int) -> None:
        """The call has succeeded with `actual`."""
        if call.result is ELLIPSIS:
            return
        expected = number(call.result)
        if expected != actual:
            raise CallFailed(f"Expected result {expected} but got {actual}")

    def _done(self, call: SystemCall, function: Callable[..., Any], *arguments: Any) -> bool:
        """A call that gives 0. Whether it succeeded."""

        def made() -> bool:
            function(*arguments)
            return True

        if self._try(call, made) is None:
            return False
        self._expect(call, 0)
        return True

    def _counted(self, call: SystemCall, function: Callable[..., Any], *arguments: Any) -> None:
        """A call that gives a count, or bytes."""
        given = self._try(call, function, *arguments)
        if given is not None:
            self._expect(call, given if isinstance(given, int) else len(given))

    def _new(self, call: SystemCall, script: Expression, live: int) -> None:
        """The stack has given `live` where the script says `script`."""
        if script is not ELLIPSIS:
            if number(script) < 0:
                raise CallFailed(f"Expected result {number(script)} but got {live}")
            self._descriptors[number(script)] = live

    def _buffer(self, pointer: Expression, size: Expression) -> bytes | None:
        """What a program sends: zeros, a text, or nothing at all behind NULL."""
        length = number(size)
        if isinstance(pointer, Text):
            return pointer.value.encode("latin-1").ljust(length, b"\0")[:length]
        if isinstance(pointer, Word) and pointer.name == "NULL":
            return None
        return bytes(length)

    def _address(self, expression: Expression, length: Expression, ip: str, port: int) -> Any:
        """`...`: the script's address and port; a family alone, or a whole structure."""
        if expression is ELLIPSIS:
            return ip, port
        if isinstance(expression, Word):
            if expression.name == "NULL":
                return None
            return Sockaddr(number(expression).to_bytes(2, "little") + bytes(14))
        if isinstance(expression, Struct):
            family = number(_needed(expression, "sa_family"))
            port = 0
            host = b"\0" * 4
            if (field := expression.get("sin_port")) is not None:
                port = number(field.arguments[0] if isinstance(field, Function) else field)
            if (field := expression.get("sin_addr")) is not None:
                text = field.arguments[0] if isinstance(field, Function) else field
                if not isinstance(text, Text):
                    raise TypeError("expected inet_addr(\"...\")")
                host = bytes(map(int, text.value.split(".")))
            return Sockaddr(family.to_bytes(2, "little") + port.to_bytes(2, "big") + host + bytes(8))
        raise TypeError("expected an address")

    def _local(self, expression: Expression, length: Expression) -> Any:
        return self._address(expression, length, self._settings.local_ip, self._settings.bind_port)

    def _remote(self, expression: Expression, length: Expression) -> Any:
        return self._address(expression, length, self._settings.remote_ip, self._settings.connect_port)

    # Making and naming sockets

    def socket(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        family = 2 if arguments[0] is ELLIPSIS else number(arguments[0])
        live = self._try(call, self._sys.socket, family, number(arguments[1]), number(arguments[2]))
        if live is not None:
            self._new(call, call.result, live)
            self.last_fd = live

    def bind(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        self._done(call, self._sys.bind, self._fd(arguments[0]), self._local(arguments[1], arguments[2]))

    def listen(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        if self._done(call, self._sys.listen, self._fd(arguments[0]), number(arguments[1])):
            self._flows.listens = True

    def accept(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        flags = number(arguments[3]) if len(arguments) > 3 else 0
        accepted = self._try(call, self._sys.accept4, self._fd(arguments[0]), flags)
        if accepted is not None:
            live, name = accepted
            self._new(call, call.result, live)
            self.last_fd = live
            self._flows.note_accepted(live, name[1] if isinstance(name, tuple) else 0)

    def connect(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        fd = self._fd(arguments[0])
        self._connects(fd)
        self._done(call, self._sys.connect, fd, self._remote(arguments[1], arguments[2]))

    def _connects(self, fd: int) -> None:
        """A SYN that comes next is this descriptor's, unless it has a connection."""
        if self._flows.has(fd):
            return
        self._flows.connecting = fd
        self.last_fd = fd

    def shutdown(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        self._done(call, self._sys.shutdown, self._fd(arguments[0]), number(arguments[1]))

    def close(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        fd = self._fd(arguments[0])
        # The number is free as soon as the call begins, and the call may wait (SO_LINGER).
        self._descriptors.pop(number(arguments[0]), None)
        self._flows.note_closed(fd)
        self._done(call, self._sys.close, fd)

    # Data

    def read(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        fd, size = self._fd(arguments[0]), number(arguments[2])
        if _is_null(arguments[1]):
            self._counted(call, self._sys.readv, fd, [None])
        else:
            self._received(call, arguments[1], self._sys.read, fd, size)

    def recv(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        fd, size, flags = self._fd(arguments[0]), number(arguments[2]), number(arguments[3])
        if _is_null(arguments[1]):
            self._counted(call, self._sys.recv_into, fd, None, size, flags)
        else:
            self._received(call, arguments[1], self._sys.recv, fd, size, flags)

    def _received(self, call: SystemCall, buffer: Expression, function: Callable[..., Any], *arguments: Any) -> None:
        data = self._try(call, function, *arguments)
        if data is None:
            return
        self._expect(call, len(data))
        if isinstance(buffer, Text):
            wanted = buffer.value.encode("latin-1")
            if (data[: len(wanted)] if buffer.open_ended else data) != wanted:
                raise CallFailed(f"Expected data {wanted!r} but got {data!r}")

    def readv(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        sizes = [len(part or b"") for part in self._vector(arguments[1])]
        self._counted(call, self._sys.readv, self._fd(arguments[0]), [bytearray(size) for size in sizes])

    def write(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        self._counted(call, self._sys.write, self._fd(arguments[0]), self._buffer(arguments[1], arguments[2]))

    def writev(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        self._counted(call, self._sys.writev, self._fd(arguments[0]), self._vector(arguments[1]))

    def send(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        data = self._buffer(arguments[1], arguments[2])
        self._counted(call, self._sys.send, self._fd(arguments[0]), data, number(arguments[3]))

    def sendto(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        fd, flags = self._fd(arguments[0]), number(arguments[3])
        data = self._buffer(arguments[1], arguments[2])
        self._connects(fd)
        self._counted(call, self._sys.sendto, fd, data, flags, self._remote(arguments[4], arguments[5]))

    def sendmsg(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        header, flags = _struct(arguments[1]), number(arguments[2])
        name = header.get("msg_name")
        fd = self._fd(arguments[0])
        self._connects(fd)
        address = None
        # On a connection the tool's `...` is the peer's address, which is not looked at.
        if name is not None and (flags & _MSG_FASTOPEN or not self._flows.has(fd)):
            address = self._remote(name, 0)
        items = [self._control_sent(_struct(item)) for item in _items(header.get("msg_control"))]
        vector = self._vector(_needed(header, "msg_iov"))
        self._counted(call, self._sys.sendmsg, fd, vector, items, flags, address)

    def _control_sent(self, item: Struct) -> tuple[int, int, bytes]:
        data = _needed(item, "cmsg_data")
        return (
            number(_needed(item, "cmsg_level")),
            number(_needed(item, "cmsg_type")),
            number(data).to_bytes(4, "little"),
        )

    def _vector(self, expression: Expression) -> list[bytes | None]:
        parts = []
        for item in _items(expression):
            pointer, size = (field.value for field in _struct(item).fields)
            parts.append(self._buffer(pointer, size))
        return parts

    def recvmsg(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        header, flags = _struct(arguments[1]), number(arguments[2])
        size = sum(len(part or b"") for part in self._vector(_needed(header, "msg_iov")))
        control = header.get("msg_control")
        room = _CONTROL_BYTES if control is not None else 0
        got = self._try(call, self._sys.recvmsg, self._fd(arguments[0]), size, room, flags)
        if got is None:
            return
        data, items, told, _name = got
        self._expect(call, len(data))
        told_expected = header.get("msg_flags")
        if told_expected is not None and number(told_expected) != told:
            raise CallFailed(f"Expected msg_flags 0x{number(told_expected):08X} but got 0x{told:08X}")
        if control is not None:
            self._compare_control([_struct(item) for item in _items(control)], items)

    def _compare_control(self, expected: list[Struct], actual: list[tuple[int, int, bytes]]) -> None:
        if len(expected) != len(actual):
            kinds = ", ".join(f"level {level} type {kind}" for level, kind, _ in actual) or "none"
            raise CallFailed(f"Expected {len(expected)} control messages but got {len(actual)} ({kinds})")
        for want, (level, kind, data) in zip(expected, actual, strict=True):
            _same("cmsg_level", number(_needed(want, "cmsg_level")), level)
            _same("cmsg_type", number(_needed(want, "cmsg_type")), kind)
            self._compare_data(_needed(want, "cmsg_data"), kind, data)

    def _compare_data(self, want: Expression, kind: int, data: bytes) -> None:
        if not isinstance(want, Struct):
            _same("cmsg_data", number(want), int.from_bytes(data[:4], "little", signed=True))
        elif "ee_errno" in want.names:
            values = _EXTENDED_ERROR.unpack_from(data)
            fields = ("ee_errno", "ee_origin", "ee_type", "ee_code", "", "ee_info", "ee_data")
            for name, value in zip(fields, values, strict=True):
                expected = want.get(name) if name else None
                if expected is not None:
                    _same(name, number(expected), value)
        elif "scm_sec" in want.names:
            wall_ns = _TIMESTAMPING.unpack_from(data)[0] * 1_000_000_000 + _TIMESTAMPING.unpack_from(data)[1]
            expected_ns = number(_needed(want, "scm_sec")) * 1_000_000_000 + number(_needed(want, "scm_nsec"))
            passed_ns = wall_ns - self.wall_start_ns
            # As of packets: the kernel's clock goes on between the script's moment and its own.
            if abs(passed_ns - expected_ns) > self._settings.tolerance_usecs * 1000:
                raise CallFailed(
                    f"Expected timestamp {expected_ns / 1e9:.6f} sec but got {passed_ns / 1e9:.6f} sec"
                )
        else:
            raise TypeError(f"control data of {', '.join(want.names)} is not known")

    # Options and requests

    def setsockopt(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        level, name, size = number(arguments[1]), number(arguments[2]), number(arguments[4])
        self._done(
            call, self._sys.setsockopt, self._fd(arguments[0]), level, name, _option_value(arguments[3], size)
        )

    def getsockopt(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        level, name = number(arguments[1]), number(arguments[2])
        size = number(_items(arguments[4])[0])
        data = self._try(call, self._sys.getsockopt, self._fd(arguments[0]), level, name, size)
        if data is None:
            return
        self._expect(call, 0)
        wanted = arguments[3]
        if isinstance(wanted, Array):
            wanted = wanted.items[0] if wanted.items else ELLIPSIS
        if isinstance(wanted, Text):
            if data.rstrip(b"\0") != wanted.value.encode("latin-1").rstrip(b"\0"):
                raise CallFailed(f"Bad getsockopt optval: expected: {wanted.value!r} actual: {data!r}")
        elif isinstance(wanted, Struct):
            expected = _option_value(wanted, size)
            if data != expected:
                raise CallFailed(f"Bad getsockopt optval: expected: {expected!r} actual: {data!r}")
        elif wanted is not ELLIPSIS:
            actual = int.from_bytes(data, "little", signed=len(data) >= 4)
            if number(wanted) not in (actual, actual & 0xFFFF_FFFF):
                raise CallFailed(f"Bad getsockopt optval: expected: {number(wanted)} actual: {actual}")

    def fcntl(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        argument = number(arguments[2]) if len(arguments) > 2 else 0
        given = self._try(call, self._sys.fcntl, self._fd(arguments[0]), number(arguments[1]), argument)
        if given is not None:
            self._expect(call, given)

    def ioctl(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        request = number(arguments[1])
        argument = arguments[2] if len(arguments) > 2 else Array((0,))
        value = _items(argument)[0] if isinstance(argument, Array) else argument
        buffer = bytearray((number(value) & 0xFFFF_FFFF).to_bytes(4, "little"))
        asks = request not in (symbols.value_of("FIONBIO"),)
        if self._try(call, self._sys.ioctl, self._fd(arguments[0]), request, buffer) is None:
            return
        self._expect(call, 0)
        actual = int.from_bytes(buffer, "little", signed=True)
        if asks and actual != number(value):
            raise CallFailed(f"Bad ioctl optval: expected: {number(value)} actual: {actual}")

    # Waiting for several

    def poll(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        entries = [_struct(item) for item in _items(arguments[0])]
        asked = [(self._fd(_needed(entry, "fd")), number(_needed(entry, "events"))) for entry in entries]
        found = self._try(call, self._sys.poll, asked, number(arguments[2]))
        if found is None:
            return
        self._expect(call, len(found))
        actual = dict(found)
        for index, (entry, (fd, _)) in enumerate(zip(entries, asked, strict=True)):
            wanted = entry.get("revents")
            if wanted is not None and number(wanted) != actual.get(fd, 0):
                raise CallFailed(
                    f"Expected revents of {symbols.names_of(number(wanted), symbols.POLL_NAMES)} but got "
                    f"{symbols.names_of(actual.get(fd, 0), symbols.POLL_NAMES)} for pollfd {index}"
                )

    def epoll_create(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        function = self._sys.epoll_create1 if call.name == "epoll_create1" else self._sys.epoll_create
        live = self._try(call, function, number(arguments[0]))
        if live is not None:
            self._new(call, call.result, live)

    def epoll_ctl(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        events = 0
        if len(arguments) > 3 and isinstance(arguments[3], Struct):
            events = number(_needed(arguments[3], "events"))
        self._done(
            call, self._sys.epoll_ctl, self._fd(arguments[0]), number(arguments[1]), self._fd(arguments[2]), events
        )

    def epoll_wait(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        entries = arguments[1].items if isinstance(arguments[1], Array) else arguments[1:2]
        wanted = [_struct(item) for item in entries]
        epfd, most, timeout_ms = self._fd(arguments[0]), number(arguments[2]), number(arguments[3])
        found = self._try(call, self._sys.epoll_wait, epfd, most, timeout_ms)
        if found is None:
            return
        self._expect(call, len(found))
        for entry, (fd, events) in zip(wanted, found, strict=False):
            expected = number(_needed(entry, "events"))
            if expected & 0xFFFF_FFFF != events & 0xFFFF_FFFF:
                raise CallFailed(
                    f"epoll_event->events does not match script: expected: {expected:#x} actual: {events:#x}"
                )
            wanted_fd = entry.get("fd")
            if wanted_fd is not None and self._fd(wanted_fd) != fd:
                raise CallFailed(f"epoll_event->fd does not match script: expected: {number(wanted_fd)}")

    # Files and pipes

    def pipe(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        made = self._try(call, self._sys.pipe)
        if made is not None:
            self._expect(call, 0)
            for script, live in zip(_items(arguments[0]), made, strict=True):
                self._new(call, script, live)

    def open(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        if not isinstance(arguments[0], Text):
            raise TypeError("expected a path")
        mode = number(arguments[2]) if len(arguments) > 2 else 0o600
        live = self._try(call, self._sys.open, arguments[0].value, number(arguments[1]), mode)
        if live is not None:
            self._new(call, call.result, live)

    def sendfile(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        offset = None if _is_null(arguments[2]) else number(_items(arguments[2])[0])
        out, source = self._fd(arguments[0]), self._fd(arguments[1])
        self._counted(call, self._sys.sendfile, out, source, offset, number(arguments[3]))

    def splice(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        source, out = self._fd(arguments[0]), self._fd(arguments[2])
        offsets = [None if _is_null(arguments[at]) else number(_items(arguments[at])[0]) for at in (1, 3)]
        self._counted(
            call, self._sys.splice, source, offsets[0], out, offsets[1], number(arguments[4]), number(arguments[5])
        )

    def dup(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        live = self._try(call, self._sys.dup, self._fd(arguments[0]))
        if live is not None:
            self._new(call, call.result, live)


_CALLS: Final[dict[str, Callable[[Calls, SystemCall, tuple[Expression, ...]], None]]] = {
    "socket": Calls.socket, "bind": Calls.bind, "listen": Calls.listen, "accept": Calls.accept,
    "accept4": Calls.accept, "connect": Calls.connect, "shutdown": Calls.shutdown, "close": Calls.close,
    "read": Calls.read, "recv": Calls.recv, "recvfrom": Calls.recv, "readv": Calls.readv, "recvmsg": Calls.recvmsg,
    "write": Calls.write, "writev": Calls.writev, "send": Calls.send, "sendto": Calls.sendto,
    "sendmsg": Calls.sendmsg, "setsockopt": Calls.setsockopt, "getsockopt": Calls.getsockopt, "fcntl": Calls.fcntl,
    "ioctl": Calls.ioctl, "poll": Calls.poll, "epoll_create": Calls.epoll_create, "epoll_create1": Calls.epoll_create,
    "epoll_ctl": Calls.epoll_ctl, "epoll_wait": Calls.epoll_wait, "pipe": Calls.pipe, "open": Calls.open,
    "sendfile": Calls.sendfile, "splice": Calls.splice, "dup": Calls.dup,
}  # fmt: skip
# Of these any descriptor will do.
_GIVE_DESCRIPTORS: Final = ("socket", "accept", "accept4", "epoll_create", "epoll_create1", "open", "dup")


def _errno(name: str) -> int:
    found = getattr(errno, name, None)
    if not isinstance(found, int):
        raise symbols.UnknownSymbol(f"unknown symbol: '{name}'")
    return found


def _is_null(expression: Expression) -> bool:
    return isinstance(expression, Word) and expression.name == "NULL"


def _struct(expression: Expression) -> Struct:
    if not isinstance(expression, Struct):
        raise TypeError("expected a structure in braces")
    return expression


def _items(expression: Expression | None) -> tuple[Expression, ...]:
    if expression is None:
        return ()
    if not isinstance(expression, Array):
        raise TypeError("expected an array in brackets")
    return expression.items


def _needed(struct_: Struct, name: str) -> Expression:
    value = struct_.get(name)
    if value is None:
        raise TypeError(f"{name} is missing")
    return value


def _same(name: str, expected: int, actual: int) -> None:
    if expected != actual:
        raise CallFailed(f"Bad {name}: expected: {expected} actual: {actual}")


def _option_value(expression: Expression, size: int) -> Any:
    """What setsockopt is given: the bytes behind its pointer, `size` of them as far as the script tells."""
    if isinstance(expression, Array):
        numbers = [number(item) for item in expression.items]
        return b"".join((value & 0xFFFF_FFFF).to_bytes(4, "little") for value in numbers)[:size]
    if isinstance(expression, Text):
        return expression.value.encode("latin-1").ljust(size, b"\0")[:size]
    if isinstance(expression, Struct):
        if expression.names == ("onoff", "linger"):
            return struct.pack("ii", *(number(field.value) for field in expression.fields))[:size]
        return b"".join((number(field.value) & 0xFFFF_FFFF).to_bytes(4, "little") for field in expression.fields)[:size]
    if _is_null(expression):
        return None
    if expression is ELLIPSIS:
        return bytes(size)
    # A number in place of a pointer to one: the tool passes its address, too.
    return (number(expression) & 0xFFFF_FFFF).to_bytes(4, "little")[:size]
