"""System calls of scripts: arguments from expressions, the call, and whether it gave what the script says.

A script's descriptors are its own numbers; `Calls` knows which of the stack's each is. A buffer that is `...` is zeros.
Each function of `_CALLS` is one call. It runs in a task of the stack under test, where it may block, and raises
`CallFailed` with what is wrong.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any, Final

from lunar.packet import AF_INET, AF_INET6
from lunar.packetdrill import control, options, symbols
from lunar.packetdrill.arguments import (
    address,
    buffer,
    errno_of,
    is_null,
    items_of,
    needed,
    option_value,
    struct_of,
    vector,
)
from lunar.packetdrill.backend import Backend, Settings
from lunar.packetdrill.flows import Flows
from lunar.packetdrill.script import (
    ELLIPSIS,
    Array,
    Expression,
    Struct,
    SystemCall,
    Text,
)
from lunar.packetdrill.symbols import number

# What asks for a descriptor's buffer of control messages at once: more than any script has.
_CONTROL_BYTES: Final = 1024
_MSG_FASTOPEN: Final = symbols.value_of("MSG_FASTOPEN")


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
        fewest, most = _COUNTS[call.name]
        given = len(call.arguments)
        if not fewest <= given <= most:
            expected = f"{fewest}" if fewest == most else f"{fewest} or {most}"
            raise CallFailed(f"bad arguments: expected {expected} of them, and there are {given}")
        try:
            made(self, call, call.arguments)
        except (symbols.UnknownSymbol, control.Differs) as wrong:
            raise CallFailed(str(wrong)) from None
        except IndexError:
            raise CallFailed("bad arguments: too few") from None
        except MemoryError:
            raise CallFailed("bad arguments: so many bytes are more than the machine's memory") from None
        except (TypeError, ValueError, OverflowError, struct.error) as wrong:
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
            wanted = errno_of(call.errno)
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

    def _local(self, expression: Expression) -> Any:
        return self._address(expression, self._settings.local_ip, self._settings.bind_port)

    def _remote(self, expression: Expression) -> Any:
        return self._address(expression, self._settings.remote_ip, self._settings.connect_port)

    def _address(self, expression: Expression, ip: str, port: int) -> Any:
        version = self._settings.ip_version
        return address(expression, f"::ffff:{ip}" if version == options.MAPPED else ip, port)

    # Making and naming sockets

    def socket(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        own = AF_INET if self._settings.ip_version == options.IPV4 else AF_INET6
        family = own if arguments[0] is ELLIPSIS else number(arguments[0])
        live = self._try(call, self._sys.socket, family, number(arguments[1]), number(arguments[2]))
        if live is not None:
            self._new(call, call.result, live)
            self.last_fd = live

    def bind(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        self._done(call, self._sys.bind, self._fd(arguments[0]), self._local(arguments[1]))

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
        self._done(call, self._sys.connect, fd, self._remote(arguments[1]))

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
        if is_null(arguments[1]):
            self._counted(call, self._sys.readv, fd, [None])
        else:
            self._received(call, arguments[1], self._sys.read, fd, size)

    def recv(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        fd, size, flags = self._fd(arguments[0]), number(arguments[2]), number(arguments[3])
        if is_null(arguments[1]):
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
        sizes = [len(part or b"") for part in vector(arguments[1])]
        self._counted(call, self._sys.readv, self._fd(arguments[0]), [bytearray(size) for size in sizes])

    def write(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        self._counted(call, self._sys.write, self._fd(arguments[0]), buffer(arguments[1], arguments[2]))

    def writev(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        self._counted(call, self._sys.writev, self._fd(arguments[0]), vector(arguments[1]))

    def send(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        data = buffer(arguments[1], arguments[2])
        self._counted(call, self._sys.send, self._fd(arguments[0]), data, number(arguments[3]))

    def sendto(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        fd, flags = self._fd(arguments[0]), number(arguments[3])
        data = buffer(arguments[1], arguments[2])
        self._connects(fd)
        self._counted(call, self._sys.sendto, fd, data, flags, self._remote(arguments[4]))

    def sendmsg(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        header, flags = struct_of(arguments[1]), number(arguments[2])
        name = header.get("msg_name")
        fd = self._fd(arguments[0])
        self._connects(fd)
        target = None
        # On a connection the tool's `...` is the peer's address, which is not looked at.
        if name is not None and (flags & _MSG_FASTOPEN or not self._flows.has(fd)):
            target = self._remote(name)
        items = [control.made_of(struct_of(item)) for item in items_of(header.get("msg_control"))]
        buffers = vector(needed(header, "msg_iov"))
        self._counted(call, self._sys.sendmsg, fd, buffers, items, flags, target)

    def recvmsg(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        header, flags = struct_of(arguments[1]), number(arguments[2])
        size = sum(len(part or b"") for part in vector(needed(header, "msg_iov")))
        expected_control = header.get("msg_control")
        room = _CONTROL_BYTES if expected_control is not None else 0
        got = self._try(call, self._sys.recvmsg, self._fd(arguments[0]), size, room, flags)
        if got is None:
            return
        data, items, told, _name = got
        self._expect(call, len(data))
        told_expected = header.get("msg_flags")
        if told_expected is not None and number(told_expected) != told:
            raise CallFailed(f"Expected msg_flags 0x{number(told_expected):08X} but got 0x{told:08X}")
        if expected_control is not None:
            expected_items = [struct_of(item) for item in items_of(expected_control)]
            control.compare(expected_items, items, self.wall_start_ns, self._settings.tolerance_usecs * 1000)

    # Options and requests

    def setsockopt(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        level, name, size = number(arguments[1]), number(arguments[2]), number(arguments[4])
        self._done(
            call, self._sys.setsockopt, self._fd(arguments[0]), level, name, option_value(arguments[3], size)
        )

    def getsockopt(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        level, name = number(arguments[1]), number(arguments[2])
        size = number(items_of(arguments[4])[0])
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
            expected = option_value(wanted, size)
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
        value = items_of(argument)[0] if isinstance(argument, Array) else argument
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
        entries = [struct_of(item) for item in items_of(arguments[0])]
        asked = [(self._fd(needed(entry, "fd")), number(needed(entry, "events"))) for entry in entries]
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
            events = number(needed(arguments[3], "events"))
        self._done(
            call, self._sys.epoll_ctl, self._fd(arguments[0]), number(arguments[1]), self._fd(arguments[2]), events
        )

    def epoll_wait(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        entries = arguments[1].items if isinstance(arguments[1], Array) else arguments[1:2]
        wanted = [struct_of(item) for item in entries]
        epfd, most, timeout_ms = self._fd(arguments[0]), number(arguments[2]), number(arguments[3])
        found = self._try(call, self._sys.epoll_wait, epfd, most, timeout_ms)
        if found is None:
            return
        self._expect(call, len(found))
        for entry, (fd, events) in zip(wanted, found, strict=False):
            expected = number(needed(entry, "events"))
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
            for script, live in zip(items_of(arguments[0]), made, strict=True):
                self._new(call, script, live)

    def open(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        if not isinstance(arguments[0], Text):
            raise TypeError("expected a path")
        mode = number(arguments[2]) if len(arguments) > 2 else 0o600
        live = self._try(call, self._sys.open, arguments[0].value, number(arguments[1]), mode)
        if live is not None:
            self._new(call, call.result, live)

    def sendfile(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        offset = None if is_null(arguments[2]) else number(items_of(arguments[2])[0])
        out, source = self._fd(arguments[0]), self._fd(arguments[1])
        self._counted(call, self._sys.sendfile, out, source, offset, number(arguments[3]))

    def splice(self, call: SystemCall, arguments: tuple[Expression, ...]) -> None:
        source, out = self._fd(arguments[0]), self._fd(arguments[2])
        offsets = [None if is_null(arguments[at]) else number(items_of(arguments[at])[0]) for at in (1, 3)]
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
# How many arguments each has: its prototype in section 2 of the manual. What may be left out is so in scripts.
_COUNTS: Final[dict[str, tuple[int, int]]] = {
    "socket": (3, 3), "bind": (3, 3), "listen": (2, 2), "accept": (3, 3), "accept4": (4, 4), "connect": (3, 3),
    "shutdown": (2, 2), "close": (1, 1), "read": (3, 3), "recv": (4, 4), "recvfrom": (6, 6), "readv": (3, 3),
    "recvmsg": (3, 3), "write": (3, 3), "writev": (3, 3), "send": (4, 4), "sendto": (6, 6), "sendmsg": (3, 3),
    "setsockopt": (5, 5), "getsockopt": (5, 5), "fcntl": (2, 3), "ioctl": (2, 3), "poll": (3, 3),
    "epoll_create": (1, 1), "epoll_create1": (1, 1), "epoll_ctl": (4, 4), "epoll_wait": (4, 4), "pipe": (1, 1),
    "open": (2, 3), "sendfile": (4, 4), "splice": (6, 6), "dup": (1, 1),
}  # fmt: skip
# Of these any descriptor will do.
_GIVE_DESCRIPTORS: Final = ("socket", "accept", "accept4", "epoll_create", "epoll_create1", "open", "dup")
