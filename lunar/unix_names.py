"""The addresses of Unix sockets: what programs pass, the files that stand for them, and what programs see.

Files are the machine's, for all programs, so a socket's file is one as well: bind(2) makes it, it can be renamed and
removed, and it stays when its socket is gone. Which socket a file stands for is known to its host alone (device and
inode, lunar/sockets/unix.py); to the machine, and to other hosts, it is a socket that nobody listens on. Results are
as of system calls: a count or 0, or a negative errno.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Any, Final

from lunar.sockets.attachment import Attachment
from lunar.sockets.unix import SOCK_DGRAM, UnixSock, abstract_key

# sizeof(sun_path); the name of a file needs a byte for its end.
_PATH_BYTES: Final = 108

# Kept from before any test tool replaces them: a program that watches what blocks does not see a kernel's own look-ups.
_stat = os.stat
_access = os.access
_mknod = os.mknod
_unlink = os.unlink


def parse(address: Any) -> bytes:
    """The name as bytes. TypeError for what is none, OSError if it is too long; as CPython."""
    if isinstance(address, str):
        name = os.fsencode(address)
    else:
        try:
            name = bytes(memoryview(address))
        except TypeError:
            raise TypeError(f"a bytes-like object is required, not {type(address).__name__!r}") from None
    if len(name) > _PATH_BYTES or (len(name) == _PATH_BYTES and name[0]):
        raise OSError("AF_UNIX path too long")
    return name


def shown(name: bytes) -> str | bytes:
    """A name as Python shows it: text, but bytes for an abstract one."""
    return name if name[:1] == b"\0" else os.fsdecode(name)


def bind(sock: UnixSock, address: Any) -> int:
    """Give `sock` its name, and make the file that stands for it. EADDRINUSE, EINVAL, and what mknod(2) says."""
    name = parse(address)
    if sock.table is None:
        return -errno.EINVAL
    if not name:
        if sock.name:
            return 0  # it has one
        name = sock.table.free_name(sock.type)
    if name[0] == 0:
        return int(sock.bind(abstract_key(sock.type, name), name))
    try:
        # The process's umask takes its part, as with bind(2).
        _mknod(name, stat.S_IFSOCK | 0o777)
        key = _key(_stat(name))
    except FileExistsError:
        return -errno.EADDRINUSE
    except OSError as exception:
        return -(exception.errno or errno.EINVAL)
    # An inode is used again: whoever had this one has lost its file.
    sock.table.bound.pop(key, None)
    result = int(sock.bind(key, name))
    if result < 0:
        _unlink(name)
    return result


def connect(sock: UnixSock, address: Any) -> tuple[int, UnixSock | None]:
    """0 or an errno, positive; and of EAGAIN the listener whose queue is full."""
    key = _look_up(sock, address)
    if isinstance(key, int):
        return key, None
    result = -int(sock.connect(key))
    return result, None if sock.table is None or sock.type == SOCK_DGRAM else sock.table.bound.get(key)


def send_to(sock: UnixSock, data: bytes, address: Any, attachment: Attachment | None = None) -> int:
    """A datagram to `address`: the count, or -errno. With it goes `attachment`."""
    key = _look_up(sock, address)
    if isinstance(key, int) and key != errno.EINVAL and sock.ended:
        return -errno.EPIPE  # Linux looks for the other one last
    if isinstance(key, int):
        return -key if sock.type == SOCK_DGRAM else int(sock.send_to(data, b""))
    return int(sock.send_to(data, key, attachment))


def _look_up(sock: UnixSock, address: Any) -> bytes | int:
    """The key of an address, or the errno of what is wrong with it."""
    name = parse(address)
    if not name:
        return errno.EINVAL
    if name[0] == 0:
        return bytes(abstract_key(sock.type, name))
    try:
        found = _stat(name)
    except OSError as exception:
        return exception.errno or errno.ENOENT
    if not stat.S_ISSOCK(found.st_mode):
        return errno.ECONNREFUSED
    return _key(found) if _access(name, os.W_OK) else errno.EACCES


def _key(found: os.stat_result) -> bytes:
    # Not to be taken for an abstract name: those begin with a zero.
    return f"{found.st_dev}:{found.st_ino}".encode()
