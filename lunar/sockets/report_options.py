"""The options of what a socket reports beside its data: errors, times, buffers that are free. Read socket(7) and ip(7).

options.py asks here first; None means that the option is not one of these. IP_RECVERR, SO_SELECT_ERR_QUEUE;
SO_TIMESTAMP, SO_TIMESTAMPNS, SO_TIMESTAMPING, each in its new form, too, which on 64 bits differs in its number;
SO_ZEROCOPY.
"""

from __future__ import annotations

import errno
from typing import Final

from mypy_extensions import i64

from lunar.net import timestamping
from lunar.net.datagram_sock import DatagramSock
from lunar.net.sock import Sock
from lunar.net.timestamping import Stamping
from lunar.net.zerocopy import ZeroCopy
from lunar.packet import AF_INET6
from lunar.sockets.unix import AF_UNIX
from lunar.tcp.marks import Marks
from lunar.tcp.sock import TcpSock
from lunar.tcp.tcb import CLOSED, LISTEN
from lunar.udp import UdpSock

SOL_SOCKET: Final = 1
SO_TIMESTAMP: Final = 29
SO_TIMESTAMPNS: Final = 35
SO_TIMESTAMPING: Final = 37
SO_SELECT_ERR_QUEUE: Final = 45
SO_ZEROCOPY: Final = 60
SO_TIMESTAMP_NEW: Final = 63
SO_TIMESTAMPNS_NEW: Final = 64
SO_TIMESTAMPING_NEW: Final = 65

IPPROTO_IP: Final = 0
IP_RECVERR: Final = 11
IPPROTO_IPV6: Final = 41
IPV6_RECVERR: Final = 25

_TOLD_BY: Final = (SO_TIMESTAMP, SO_TIMESTAMPNS, SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW)


def set_integer(sock: Sock, level: int, name: int, value: int) -> int | None:
    """Set an option. 0 or -errno (EINVAL, EOPNOTSUPP)."""
    if sock.family == AF_UNIX:
        return -errno.EOPNOTSUPP if level == SOL_SOCKET and name == SO_ZEROCOPY else None
    if level == IPPROTO_IP and name == IP_RECVERR:
        sock.recverr = value != 0
        if value == 0:
            sock.clear_errors()
        return 0
    if level == IPPROTO_IPV6 and name == IPV6_RECVERR and sock.domain == AF_INET6:
        sock.recverr6 = value != 0
        if value == 0:
            sock.clear_errors()
        return 0
    if level != SOL_SOCKET:
        return None
    if name in _TOLD_BY:
        _tell_arrivals(sock, name if value != 0 else 0)
        return 0
    if name == SO_TIMESTAMPING or name == SO_TIMESTAMPING_NEW:
        return int(_set_stamping(sock, value, name == SO_TIMESTAMPING_NEW))
    if name == SO_SELECT_ERR_QUEUE:
        sock.select_errors = value != 0
        return 0
    if name == SO_ZEROCOPY:
        return _set_zerocopy(sock, value)
    return None


def get_integer(sock: Sock, level: int, name: int) -> int | None:
    """The value of an option."""
    if sock.family == AF_UNIX:
        return 0 if level == SOL_SOCKET and name == SO_ZEROCOPY else None
    if level == IPPROTO_IP and name == IP_RECVERR:
        return int(sock.recverr)
    if level == IPPROTO_IPV6 and name == IPV6_RECVERR and sock.domain == AF_INET6:
        return int(sock.recverr6)
    if level != SOL_SOCKET:
        return None
    stamping = sock.stamping
    if name in _TOLD_BY:
        told_by: int = 0 if stamping is None else int(stamping.told_by)
        # Linux keeps that the form is new apart, and shows SO_TIMESTAMP_NEW for both.
        return int(name == told_by or (name == SO_TIMESTAMP_NEW and told_by == SO_TIMESTAMPNS_NEW))
    if name == SO_SELECT_ERR_QUEUE:
        return int(sock.select_errors)
    if name == SO_ZEROCOPY:
        return int(sock.zerocopy is not None and sock.zerocopy.on)
    return None


def set_bytes(sock: Sock, level: int, name: int, value: bytes) -> int | None:
    """SO_TIMESTAMPING as `struct so_timestamping`, whose second word names a clock of hardware."""
    if level == SOL_SOCKET and name in (SO_TIMESTAMPING, SO_TIMESTAMPING_NEW) and len(value) >= 8:
        return set_integer(sock, level, name, int.from_bytes(value[:4], "little", signed=True))
    return None


def get_bytes(sock: Sock, level: int, name: int) -> bytes | None:
    """SO_TIMESTAMPING as `struct so_timestamping`. The new option is 0 as long as the old one was used."""
    if sock.family == AF_UNIX or level != SOL_SOCKET or name not in (SO_TIMESTAMPING, SO_TIMESTAMPING_NEW):
        return None
    stamping = sock.stamping
    flags: int = 0 if stamping is None else int(stamping.flags)
    if stamping is not None and name == SO_TIMESTAMPING_NEW and not stamping.new_form:
        flags = 0
    return flags.to_bytes(4, "little") + bytes(4)


def _stamping_of(sock: Sock) -> Stamping:
    stamping = sock.stamping
    if stamping is None:
        stamping = Stamping()
        sock.stamping = stamping
    return stamping


def _tell_arrivals(sock: Sock, told_by: int) -> None:
    if told_by == 0 and sock.stamping is None:
        return
    stamping = _stamping_of(sock)
    stamping.told_by = told_by
    if isinstance(sock, DatagramSock):
        sock.stamp_arrivals(stamping.stamps_arrivals())


def _set_stamping(sock: Sock, flags: int, new_form: bool) -> i64:
    failed: i64 = timestamping.check(flags)
    if failed < 0:
        return failed
    stamping = _stamping_of(sock)
    if flags & timestamping.OPT_ID and not stamping.flags & timestamping.OPT_ID:
        if not isinstance(sock, TcpSock):
            stamping.key = 0
        elif sock.state == CLOSED or sock.state == LISTEN:
            return -errno.EINVAL  # the count begins at a byte of the stream
        else:
            stamping.key = sock.write_seq if flags & timestamping.OPT_ID_TCP else sock.snd_una
    stamping.flags = flags
    stamping.new_form = new_form
    if isinstance(sock, DatagramSock):
        sock.stamp_arrivals(stamping.stamps_arrivals())
    elif isinstance(sock, TcpSock) and flags & timestamping.TX_RECORD:
        mark(sock)
    return 0


def _set_zerocopy(sock: Sock, value: int) -> int:
    if not isinstance(sock, (TcpSock, UdpSock)):
        return -errno.EOPNOTSUPP
    if value != 0 and value != 1:
        return -errno.EINVAL
    copies = sock.zerocopy
    if copies is not None:
        copies.on = value == 1
    elif value == 1:
        sock.zerocopy = ZeroCopy()
        if isinstance(sock, TcpSock):
            mark(sock)
    return 0


def stamp_call(sock: Sock, wanted: int) -> None:
    """sendmsg(2) says which stamps it wants: TX_RECORD flags, for this call alone."""
    _stamping_of(sock).for_call = wanted
    if isinstance(sock, TcpSock):
        mark(sock)


def mark(sock: TcpSock) -> None:
    """From now on the connection keeps marks of its bytes."""
    if sock.marks is None:
        sock.marks = Marks()
