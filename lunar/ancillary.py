"""Ancillary data as programs write and read it, cmsg(3): descriptors (SCM_RIGHTS), who sent (SCM_CREDENTIALS), and what
a packet's header says (IP_PKTINFO, IP_TTL, IP_TOS).

`attached` turns what sendmsg(2) is given into an `Attachment`, which travels beside the data (lunar/sockets/unix.py);
`delivered` turns one into what recvmsg(2) tells, in as many bytes as the program has room for; what there is to tell of
packets is in control_items.py. A file of the machine can be passed as well as what is the host's. Sizes and rules are
those of Linux on 64 bits.
"""

from __future__ import annotations

import errno
import operator
import os
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, final

from lunar import control_items, interfaces
from lunar.control_items import Item
from lunar.errors import error
from lunar.net import timestamping
from lunar.net.sock import Header, Sock
from lunar.sockets import report_options, syscalls
from lunar.sockets.attachment import NOBODY, Attachment, InFlight
from lunar.sockets.fdtable import is_virtual
from lunar.sockets.raw_table import PacketSock
from lunar.sockets.syscalls import Received
from lunar.sockets.unix import UnixSock
from lunar.udp import UdpSock
from weaves.here import here

if TYPE_CHECKING:
    from lunar.host import Host

_SOL_SOCKET: Final = 1
_IPPROTO_IP: Final = 0
_IP_TOS: Final = 1
_IP_TTL: Final = 2
_IP_PKTINFO: Final = 8
_IPPROTO_IPV6: Final = 41
_IPV6_PKTINFO: Final = 50
_IPV6_HOPLIMIT: Final = 52
_IPV6_DONTFRAG: Final = 62
_IPV6_TCLASS: Final = 67
_IPPROTO_UDP: Final = 17
_UDP_SEGMENT: Final = 103
_SHORT_BYTES: Final = 2
_SCM_RIGHTS: Final = 1
_SCM_CREDENTIALS: Final = 2
_SO_TIMESTAMPING: Final = 37
_SO_TIMESTAMPING_NEW: Final = 65
_MSG_PEEK: Final = 0x02
_MSG_CTRUNC: Final = 0x08
_MSG_ERRQUEUE: Final = 0x2000
_MSG_CMSG_CLOEXEC: Final = 0x4000_0000

_HEADER_BYTES: Final = 16  # sizeof(struct cmsghdr)
_PKTINFO_BYTES: Final = 12  # sizeof(struct in_pktinfo)
_PKTINFO6_BYTES: Final = 20  # sizeof(struct in6_pktinfo)
_INT_BYTES: Final = 4
_FD_BYTES: Final = 4
_UCRED_BYTES: Final = 12
# As many files go with one message (SCM_MAX_FD).
_FILES_MAX: Final = 253
# What CPython takes for the size of a buffer.
_ROOM_MAX: Final = 0x7FFF_FFFF


@final
class _FlyingSock(InFlight):
    """A socket, or the end of a pipe, of the host."""

    def __init__(self, sock: Sock) -> None:
        self.sock = sock
        sock.descriptors += 1

    def release(self) -> None:
        self.sock.descriptors -= 1
        syscalls.close_unused(self.sock)


@final
class _FlyingFile(InFlight):
    """A file of the machine."""

    def __init__(self, fd: int) -> None:
        self.fd = os.dup(fd)

    def release(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        # The run has ended, and nobody has read it.
        self.release()


def items_of(ancdata: Any) -> list[Item]:
    """The items that a program gives to sendmsg. Raises what CPython raises, with its words."""
    try:
        given = list(ancdata)
    except TypeError:
        raise TypeError("sendmsg() argument 2 must be an iterable") from None
    return [_item(item) for item in given]


def _item(item: Any) -> Item:
    if not isinstance(item, tuple) or len(item) != 3:
        raise TypeError("[sendmsg() ancillary data items] must be a sequence of 3 items")
    level, kind, data = item
    return operator.index(level), operator.index(kind), bytes(memoryview(data))


def room(value: Any) -> int:
    """The size of a buffer for ancillary data. ValueError."""
    size = operator.index(value)
    if not 0 <= size <= _ROOM_MAX:
        raise ValueError("invalid ancillary data buffer length")
    return size


def sign(sock: Sock) -> None:
    """Note of a new socket whose it is."""
    if isinstance(sock, UnixSock) and here.weave is not None:
        sock.pid, sock.uid, sock.gid = here.weave.pid, os.getuid(), os.getgid()


def attached(host: Host, sock: Sock, items: Iterable[Item]) -> Attachment | None:
    """What shall go with the data of one send; the caller releases it if the send fails. None for nothing.

    What is wanted of a packet's header is put into `sock.header`; the caller calls `forget_call` after the send.
    OSError: EINVAL for what this socket does not send, EBADF, EPERM (another's credentials), ENODEV, ENETUNREACH.
    """
    found: Attachment | None = None
    try:
        for level, kind, data in items:
            if level == _SOL_SOCKET and kind in (_SCM_RIGHTS, _SCM_CREDENTIALS):
                if not isinstance(sock, UnixSock):
                    continue  # Linux does not look at them then
                if found is None:
                    found = Attachment([])
                if kind == _SCM_RIGHTS:
                    _add_files(host, found, data)
                else:
                    _set_sender(found, data)
            elif level == _IPPROTO_IP and isinstance(sock, (UdpSock, PacketSock)):
                sock.header = sock.header or Header()
                _set_header(host, sock.header, kind, data)
            elif level == _IPPROTO_IPV6 and isinstance(sock, (UdpSock, PacketSock)) and sock.ipv6 is not None:
                sock.header = sock.header or Header()
                _set_header6(host, sock.header, kind, data)
            elif level == _IPPROTO_UDP and isinstance(sock, UdpSock):
                if kind != _UDP_SEGMENT or len(data) != _SHORT_BYTES:
                    raise error(errno.EINVAL)
                sock.header = sock.header or Header()
                sock.header.segment_bytes = struct.unpack("H", data)[0]
            elif level == _SOL_SOCKET and kind in (_SO_TIMESTAMPING, _SO_TIMESTAMPING_NEW):
                report_options.stamp_call(sock, _stamps_wanted(data))
            elif level == _SOL_SOCKET:
                raise error(errno.EINVAL)
    except OSError:
        forget_call(sock)
        if found is not None:
            found.release()
        raise
    return found


def forget_call(sock: Sock) -> None:
    """A send is over: what it alone wanted of headers and times is wanted no longer."""
    sock.header = None
    if sock.stamping is not None:
        sock.stamping.for_call = -1


def _stamps_wanted(data: bytes) -> int:
    """SO_TIMESTAMPING of one call, which takes the flags of what is recorded alone."""
    wanted = struct.unpack("I", data)[0] if len(data) == _INT_BYTES else -1
    if wanted < 0 or wanted & ~timestamping.TX_RECORD:
        raise error(errno.EINVAL)
    return int(wanted)


def _set_header(host: Host, header: Header, kind: int, data: bytes) -> None:
    """IP_PKTINFO: by which device and from which address; IP_TTL and IP_TOS. ip(7)."""
    if kind == _IP_PKTINFO and len(data) == _PKTINFO_BYTES:
        index = struct.unpack_from("i", data)[0]
        if index:
            header.device = interfaces.device_with_index(host, index)
            if header.device is None:
                raise error(errno.ENODEV)
        header.src = int.from_bytes(data[4:8], "big")
        if header.src and not host.ip.has_address(header.src):
            raise error(errno.ENETUNREACH)  # no route begins there
        return
    value = struct.unpack("i", data)[0] if len(data) == _INT_BYTES else -1
    if kind == _IP_TTL and 1 <= value <= 255:
        header.ttl = value
    elif kind == _IP_TOS and len(data) == 1:
        header.tos = data[0]
    elif kind == _IP_TOS and 0 <= value <= 255:
        header.tos = value
    else:
        raise error(errno.EINVAL)


def _set_header6(host: Host, header: Header, kind: int, data: bytes) -> None:
    """RFC 3542 (6): IPV6_PKTINFO, IPV6_HOPLIMIT, IPV6_TCLASS, IPV6_DONTFRAG; -1 is as without."""
    if kind == _IPV6_PKTINFO and len(data) >= _PKTINFO6_BYTES:
        index = struct.unpack_from("i", data, 16)[0]
        if index:
            header.device = interfaces.device_with_index(host, index)
            if header.device is None:
                raise error(errno.ENODEV)
        address = int.from_bytes(data[:16], "big")
        if syscalls.is_mapped(address):
            address &= 0xFFFF_FFFF
        if address:
            if not host.ip.has_address(address):
                raise error(errno.EINVAL)
            header.src = address
        return
    value = struct.unpack("i", data)[0] if len(data) == _INT_BYTES else -2
    if kind == _IPV6_HOPLIMIT and -1 <= value <= 255:
        header.ttl = value
    elif kind == _IPV6_TCLASS and -1 <= value <= 255:
        header.tos = value & 0xFF  # Linux takes -1 for all bits
    elif kind == _IPV6_DONTFRAG and 0 <= value <= 1:
        header.dont_fragment = value
    else:
        raise error(errno.EINVAL)


def _add_files(host: Host, found: Attachment, data: bytes) -> None:
    count = len(data) // _FD_BYTES  # what is left over is not looked at
    if len(found.files) + count > _FILES_MAX:
        raise error(errno.EINVAL)
    for (fd,) in struct.iter_unpack("i", data[: count * _FD_BYTES]):
        if is_virtual(fd):
            sock = host.descriptors.get(fd)
            if sock is None:
                raise error(errno.EBADF)
            found.files.append(_FlyingSock(sock))
        elif fd < 0:
            raise error(errno.EBADF)
        else:
            found.files.append(_FlyingFile(fd))


def _set_sender(found: Attachment, data: bytes) -> None:
    if len(data) != _UCRED_BYTES:
        raise error(errno.EINVAL)
    pid, uid, gid = struct.unpack("iII", data)
    # Only who may do everything sends in another's name.
    own = 0 if here.weave is None else here.weave.pid
    if os.getuid() != 0 and (pid, uid, gid) != (own, os.getuid(), os.getgid()):
        raise error(errno.EPERM)
    found.pid, found.uid, found.gid = pid, uid, gid


def delivered(host: Host, sock: Sock, got: Received, size: int, flags: int) -> tuple[list[Item], int]:
    """What recvmsg(2) with `flags` tells beside the data, where there are `size` bytes for it; and flags: MSG_CTRUNC,
    MSG_ERRQUEUE.

    The files that there is room for have descriptors afterwards; the attachment is released.
    """
    if not isinstance(sock, UnixSock):
        return _of_packet(host, sock, got, size)
    attachment = got.attachment
    told = flags & _MSG_CMSG_CLOEXEC
    wants_sender = isinstance(sock, UnixSock) and sock.passes_credentials
    files = [] if attachment is None else attachment.files
    if not size:
        if files or wants_sender:
            told |= _MSG_CTRUNC
        _let_go(attachment, flags)
        return [], told
    items: list[Item] = []
    if wants_sender:
        sender = (0, NOBODY, NOBODY)
        if attachment is not None:
            sender = (int(attachment.pid), int(attachment.uid), int(attachment.gid))
        data = struct.pack("iII", *sender)[: max(0, size - _HEADER_BYTES)]
        if size >= _HEADER_BYTES:
            items.append((_SOL_SOCKET, _SCM_CREDENTIALS, data))
            size -= min(size, _HEADER_BYTES + _padded(_UCRED_BYTES))
        if len(data) < _UCRED_BYTES:
            told |= _MSG_CTRUNC
    if files:
        most = max(0, size - _HEADER_BYTES) // _FD_BYTES
        opened = _open(host, files[:most], bool(flags & _MSG_CMSG_CLOEXEC))
        if opened:
            items.append((_SOL_SOCKET, _SCM_RIGHTS, struct.pack(f"{len(opened)}i", *opened)))
        if len(opened) < len(files):
            told |= _MSG_CTRUNC
    _let_go(attachment, flags)
    return items, told


def _of_packet(host: Host, sock: Sock, got: Received, size: int) -> tuple[list[Item], int]:
    """As `delivered`, of an IP socket: what there is room for, the last perhaps cut."""
    items: list[Item] = []
    told = 0 if got.report is None else _MSG_ERRQUEUE
    for level, kind, data in control_items.items_of(host, sock, got):
        if size < _HEADER_BYTES:
            told |= _MSG_CTRUNC
            continue
        if size < _HEADER_BYTES + len(data):
            told |= _MSG_CTRUNC
        items.append((level, kind, data[: size - _HEADER_BYTES]))
        size -= min(size, _HEADER_BYTES + _padded(len(data)))
    return items, told


def _let_go(attachment: Attachment | None, flags: int) -> None:
    # What was only looked at goes on being on its way.
    if attachment is not None and not flags & _MSG_PEEK:
        attachment.release()


def _padded(size: int) -> int:
    return (size + 7) & ~7


def _open(host: Host, files: list[InFlight], close_on_exec: bool) -> list[int]:
    """Descriptors of `files`, as many as the tables have room for."""
    opened: list[int] = []
    for file in files:
        if isinstance(file, _FlyingSock):
            fd = int(host.descriptors.install(file.sock))
            if fd < 0:
                break
            host.descriptors.set_inheritable(fd, not close_on_exec)
            if here.weave is not None:
                here.weave.descriptors.add(fd)
        else:
            assert isinstance(file, _FlyingFile), "there are two kinds of files"
            try:
                fd = os.dup(file.fd)
            except OSError:
                break  # the machine's table is full
            os.set_inheritable(fd, not close_on_exec)
        opened.append(fd)
    return opened
