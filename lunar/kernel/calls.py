"""The functions of `lunar.syscalls` on the machine's own kernel: the calls of libc, and its errno as OSError.

They take and return what those take and return, so that the same calls can be made on both: by a table of all calls
(tests/parity), and by scripts of packetdrill. An address that is a tuple or a name is packed here; a `Sockaddr` and
None go to the kernel as they are. What the functions do is said there.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import socket as system_socket
import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final

from lunar.syscalls import Sockaddr

_libc = ctypes.CDLL(None, use_errno=True)
_ROOM: Final = 65_536  # what there is room for at least, whatever size a call says
_MOST_ROOM: Final = 1 << 26
AF_UNIX: Final = 1
AF_INET: Final = 2
AF_INET6: Final = 10


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Msghdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p), ("namelen", ctypes.c_uint32), ("iov", ctypes.POINTER(_Iovec)),
        ("iovlen", ctypes.c_size_t), ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )  # fmt: skip


def _call(name: str, *args: Any) -> int:
    function = getattr(_libc, name)
    function.restype = ctypes.c_ssize_t if name in _LONG else ctypes.c_int
    ctypes.set_errno(0)
    result = int(function(*args))
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


_LONG = {
    "send", "sendto", "sendmsg", "recv", "recvfrom", "recvmsg", "read", "readv", "write", "writev", "sendfile",
    "splice",
}  # fmt: skip


def _size(number: int) -> ctypes.c_size_t:
    return ctypes.c_size_t(number & 0xFFFF_FFFF_FFFF_FFFF)


def _room(size: int) -> Any:
    return ctypes.create_string_buffer(min(max(size, _ROOM), _MOST_ROOM))


def _packed(address: Any) -> tuple[bytes | None, int]:
    if address is None:
        return None, 16
    if isinstance(address, Sockaddr):
        return bytes(address), len(address)
    if isinstance(address, tuple):
        if ":" in address[0]:
            made_six = struct.pack("=H", AF_INET6) + struct.pack(">HI", address[1], 0)
            made_six += system_socket.inet_pton(AF_INET6, address[0]) + bytes(4)
            return made_six, len(made_six)
        made = Sockaddr.inet(*address)
        return bytes(made), len(made)
    name = os.fsencode(address) if isinstance(address, str) else bytes(address)
    made_un = struct.pack("H", AF_UNIX) + name + (b"\0" if name and name[0] else b"")
    return made_un, len(made_un)


def _unpacked(raw: bytes) -> Any:
    if len(raw) < 2:
        return None
    if raw[0] == AF_INET:
        return ".".join(map(str, raw[4:8])), int.from_bytes(raw[2:4], "big")
    if raw[0] == AF_INET6:
        return system_socket.inet_ntop(AF_INET6, raw[8:24]), int.from_bytes(raw[2:4], "big")
    if raw[2:3] == b"\0":
        return raw[2:]
    return os.fsdecode(raw[2:].partition(b"\0")[0])


def socket(family: int, type: int, protocol: int = 0) -> int:
    return _call("socket", family, type, protocol)


def socketpair(family: int, type: int, protocol: int = 0) -> tuple[int, int]:
    made = (ctypes.c_int * 2)()
    _call("socketpair", family, type, protocol, made)
    return made[0], made[1]


def pipe() -> tuple[int, int]:
    return pipe2(0)


def pipe2(flags: int) -> tuple[int, int]:
    made = (ctypes.c_int * 2)()
    _call("pipe2", made, flags)
    return made[0], made[1]


def bind(fd: int, address: Any) -> None:
    _call("bind", fd, *_packed(address))


def connect(fd: int, address: Any) -> None:
    _call("connect", fd, *_packed(address))


def listen(fd: int, backlog: int = 128) -> None:
    _call("listen", fd, backlog)


def _named(name: str, fd: int, *rest: Any) -> tuple[int, Any]:
    room = ctypes.create_string_buffer(128)
    length = ctypes.c_uint32(128)
    result = _call(name, fd, room, ctypes.byref(length), *rest)
    return result, _unpacked(room.raw[: length.value])


def accept(fd: int) -> tuple[int, Any]:
    return _named("accept", fd)


def accept4(fd: int, flags: int) -> tuple[int, Any]:
    return _named("accept4", fd, flags)


def getsockname(fd: int) -> Any:
    return _named("getsockname", fd)[1]


def getpeername(fd: int) -> Any:
    return _named("getpeername", fd)[1]


def shutdown(fd: int, how: int) -> None:
    _call("shutdown", fd, how)


def setsockopt(fd: int, level: int, name: int, value: Any) -> None:
    if isinstance(value, int):
        value = struct.pack("i", value)
    _call("setsockopt", fd, level, name, value, 4 if value is None else len(value))


def getsockopt(fd: int, level: int, name: int, size: int = 0) -> int | bytes:
    # As large as the call says: the kernel writes there what fits the size, struct tcp_info is beyond 256 bytes.
    room = ctypes.create_string_buffer(max(256, size))
    length = ctypes.c_int(size or 4)
    _call("getsockopt", fd, level, name, room, ctypes.byref(length))
    return room.raw[: length.value] if size else int(struct.unpack_from("i", room)[0])


def send(fd: int, data: Any, flags: int = 0) -> int:
    return _call("send", fd, data, _size(1 if data is None else len(data)), flags)


def sendto(fd: int, data: Any, flags: int, address: Any) -> int:
    return _call("sendto", fd, data, _size(1 if data is None else len(data)), flags, *_packed(address))


def _vectors(buffers: Sequence[Any]) -> tuple[Any, list[Any]]:
    kept = [None if one is None else ctypes.create_string_buffer(bytes(one), len(one) or 1) for one in buffers]
    vectors = (_Iovec * max(1, len(buffers)))()
    for at, (one, room) in enumerate(zip(buffers, kept, strict=True)):
        vectors[at].base = None if room is None else ctypes.addressof(room)
        vectors[at].length = 1 if one is None else len(one)
    return vectors, kept


def _message(buffers: Sequence[Any], address: Any) -> tuple[_Msghdr, list[Any]]:
    vectors, kept = _vectors(buffers)
    header = _Msghdr()
    header.iov, header.iovlen = vectors, len(buffers)
    if address is not None:
        packed, length = _packed(address)
        name = ctypes.create_string_buffer(packed or b"", max(1, length))
        header.name, header.namelen = ctypes.addressof(name), length
        kept.append(name)
    return header, [vectors, *kept]


def sendmsg(fd: int, buffers: Sequence[Any], ancillary: Any = (), flags: int = 0, address: Any = None) -> int:
    header, _kept = _message(buffers, address)
    if ancillary:
        # CMSG_ALIGN: each part begins at a multiple of eight.
        parts = [struct.pack("Qii", 16 + len(data), level, type) + data for level, type, data in ancillary]
        control = b"".join(part.ljust(-(-len(part) // 8) * 8, b"\0") for part in parts)
        room = ctypes.create_string_buffer(control, len(control))
        header.control, header.controllen = ctypes.addressof(room), len(control)
        _kept.append(room)
    return _call("sendmsg", fd, ctypes.byref(header), flags)


def recv(fd: int, size: int, flags: int = 0) -> bytes:
    room = _room(size)
    count = _call("recv", fd, room, _size(size), flags)
    return bytes(room.raw[: min(count, size)].ljust(count, b"\0"))


def recvfrom(fd: int, size: int, flags: int = 0) -> tuple[bytes, Any]:
    room = _room(size)
    name = ctypes.create_string_buffer(128)
    length = ctypes.c_uint32(128)
    count = _call("recvfrom", fd, room, _size(size), flags, name, ctypes.byref(length))
    told = _unpacked(name.raw[: length.value]) if length.value <= 128 else None
    return room.raw[: min(count, size & 0xFFFF_FFFF)].ljust(count, b"\0"), told or None


def recv_into(fd: int, buffer: Any, size: int = 0, flags: int = 0) -> int:
    if buffer is None:
        return _call("recv", fd, None, _size(size or 1), flags)
    room = (ctypes.c_char * len(buffer)).from_buffer(buffer)
    return _call("recv", fd, room, _size(size or len(buffer)), flags)


def recvmsg(fd: int, size: int, ancillary_size: int = 0, flags: int = 0) -> tuple[bytes, list[Any], int, Any]:
    room = bytes(size)
    header, kept = _message([room], None)
    name = ctypes.create_string_buffer(128)
    header.name, header.namelen = ctypes.addressof(name), 128
    control = ctypes.create_string_buffer(max(1, ancillary_size))
    if ancillary_size:
        header.control, header.controllen = ctypes.addressof(control), ancillary_size
    count = _call("recvmsg", fd, ctypes.byref(header), flags)
    data = kept[1].raw[: min(count, size)].ljust(count, b"\0")
    items = _control_items(control.raw[: header.controllen] if ancillary_size else b"")
    return data, items, header.flags, _unpacked(name.raw[: header.namelen]) or None


def _control_items(control: bytes) -> list[tuple[int, int, bytes]]:
    """(level, type, data) of each `struct cmsghdr` in a buffer of control messages, cmsg(3)."""
    items = []
    while len(control) >= 16:
        length, level, type = struct.unpack_from("Qii", control)
        items.append((level, type, control[16:length]))
        control = control[-(-length // 8) * 8 :]
    return items


def read(fd: int, size: int) -> bytes:
    room = _room(size)
    count = _call("read", fd, room, _size(size))
    return bytes(room.raw[:count])


def readv(fd: int, buffers: Sequence[Any]) -> int:
    vectors, _kept = _vectors(buffers)
    return _call("readv", fd, vectors, len(buffers))


def write(fd: int, data: Any) -> int:
    return _call("write", fd, data, _size(1 if data is None else len(data)))


def writev(fd: int, buffers: Sequence[Any]) -> int:
    vectors, _kept = _vectors(buffers)
    return _call("writev", fd, vectors, len(buffers))


def sendfile(out_fd: int, in_fd: int, offset: int | None, count: int) -> int:
    where = None if offset is None else ctypes.byref(ctypes.c_longlong(offset))
    return _call("sendfile", out_fd, in_fd, where, _size(count))


def splice(
    in_fd: int, in_offset: int | None, out_fd: int, out_offset: int | None, count: int, flags: int
) -> int:
    where = [None if at is None else ctypes.byref(ctypes.c_longlong(at)) for at in (in_offset, out_offset)]
    return _call("splice", in_fd, where[0], out_fd, where[1], _size(count), ctypes.c_uint(flags))


def open(path: str, flags: int, mode: int = 0) -> int:
    return _call("open", os.fsencode(path), flags, mode)


def eventfd(count: int, flags: int) -> int:
    return _call("eventfd", ctypes.c_uint(count), flags)


def close(fd: int) -> None:
    _call("close", fd)


def dup(fd: int) -> int:
    return _call("dup", fd)


def dup2(fd: int, other: int) -> int:
    return _call("dup2", fd, other)


def dup3(fd: int, other: int, flags: int) -> int:
    return _call("dup3", fd, other, flags)


def fcntl(fd: int, command: int, argument: int = 0) -> int:
    return _call("fcntl", fd, command, ctypes.c_long(argument))


def ioctl(fd: int, request: int, argument: Any = 0) -> Any:
    if isinstance(argument, int):
        return _call("ioctl", fd, ctypes.c_ulong(request), ctypes.c_void_p(argument))
    room = ctypes.create_string_buffer(bytes(argument), max(256, len(argument)))
    result = _call("ioctl", fd, ctypes.c_ulong(request), room)
    if isinstance(argument, bytearray):
        argument[:] = room.raw[: len(argument)]
        return result
    return room.raw[: len(argument)]


class _Pollfd(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


def poll(descriptors: Iterable[tuple[int, int]], timeout_ms: int = -1) -> list[tuple[int, int]]:
    asked = list(descriptors)
    made = (_Pollfd * len(asked))(*[_Pollfd(fd, events, 0) for fd, events in asked])
    _call("poll", made, ctypes.c_ulong(len(asked)), timeout_ms)
    return [(one.fd, one.revents & 0xFFFF) for one in made if one.revents]


class _Timeval(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("microseconds", ctypes.c_long))


def select(
    readable: Sequence[int], writable: Sequence[int], exceptional: Sequence[int], timeout_s: float | None = None
) -> tuple[list[int], list[int], list[int]]:
    lists = readable, writable, exceptional
    # An fd_set has no place for a negative number; the kernel never sees one, and a C program writes beyond its set.
    if any(fd < 0 for one in lists for fd in one) and (timeout_s is None or timeout_s >= 0):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    sets = [(ctypes.c_uint8 * 128)() for _ in lists]
    for bits, one in zip(sets, lists, strict=True):
        for fd in filter(lambda fd: fd >= 0, one):
            bits[fd // 8] |= 1 << fd % 8
    timeout = None
    if timeout_s is not None:
        seconds = math.floor(timeout_s)
        timeout = ctypes.byref(_Timeval(seconds, int((timeout_s - seconds) * 1_000_000)))
    _call("select", 1 + max((fd for one in lists for fd in one), default=-1), *sets, timeout)
    found = [[fd for fd in one if bits[fd // 8] >> fd % 8 & 1] for bits, one in zip(sets, lists, strict=True)]
    return found[0], found[1], found[2]


class _EpollEvent(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("events", ctypes.c_uint32), ("data", ctypes.c_uint64))


def epoll_create(size: int) -> int:
    return _call("epoll_create", size)


def epoll_create1(flags: int) -> int:
    return _call("epoll_create1", flags)


def epoll_ctl(epfd: int, operation: int, fd: int, events: int = 0) -> None:
    _call("epoll_ctl", epfd, operation, fd, ctypes.byref(_EpollEvent(events, fd & 0xFFFF_FFFF)))


def epoll_wait(epfd: int, most: int, timeout_ms: int = -1) -> list[tuple[int, int]]:
    room = (_EpollEvent * max(1, most))()
    count = _call("epoll_wait", epfd, room, most, timeout_ms)
    return [(room[at].data, room[at].events) for at in range(count)]
