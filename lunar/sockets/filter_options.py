"""SO_ATTACH_FILTER and its kin, socket(7): programs of classic BPF for datagram, raw and packet sockets.

options.py asks here first; None means that the option is not one of these. `struct sock_fprog` is a count and a pointer
into the program's memory, which is that of the process. Not for streams.
"""

from __future__ import annotations

import ctypes
import errno
from typing import Final

from lunar.net import bpf
from lunar.net.datagram_sock import DatagramSock
from lunar.net.sock import Sock

SOL_SOCKET: Final = 1
SO_ATTACH_FILTER: Final = 26
SO_DETACH_FILTER: Final = 27
SO_LOCK_FILTER: Final = 44

_FPROG_BYTES: Final = 16


def set_bytes(sock: Sock, level: int, name: int, value: bytes) -> int | None:
    """Attach a program. EINVAL for one that is not good, EPERM when the filter is locked, EFAULT without a pointer."""
    if level != SOL_SOCKET or name != SO_ATTACH_FILTER or not isinstance(sock, DatagramSock):
        return None
    if sock.filter_locked:
        return -errno.EPERM
    if len(value) != _FPROG_BYTES:
        return -errno.EINVAL
    count = int.from_bytes(value[:2], "little")
    where = int.from_bytes(value[8:16], "little")
    if count == 0 or count > bpf.MAX_INSTRUCTIONS:
        return -errno.EINVAL
    if where == 0:
        return -errno.EFAULT
    program = bpf.checked(ctypes.string_at(where, count * bpf.INSTRUCTION_BYTES))
    if program is None:
        return -errno.EINVAL
    sock.filter = program
    return 0


def set_integer(sock: Sock, level: int, name: int, value: int) -> int | None:
    if level != SOL_SOCKET or not isinstance(sock, DatagramSock):
        return None
    if name == SO_ATTACH_FILTER:
        return -errno.EINVAL
    if name == SO_DETACH_FILTER:
        if sock.filter_locked:
            return -errno.EPERM
        if sock.filter is None:
            return -errno.ENOENT
        sock.filter = None
        return 0
    if name == SO_LOCK_FILTER:
        if sock.filter_locked and value == 0:
            return -errno.EPERM
        sock.filter_locked = value != 0
        return 0
    return None


def get_integer(sock: Sock, level: int, name: int) -> int | None:
    if level == SOL_SOCKET and name == SO_LOCK_FILTER and isinstance(sock, DatagramSock):
        return int(sock.filter_locked)
    return None
