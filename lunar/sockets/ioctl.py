"""ioctl(2) of sockets and pipes: the requests whose answer is one integer, about what is queued.

Read tcp(7), udp(7), unix(7), pipe(7). Those about devices are in lunar/interfaces.py, FIONBIO and its like in
lunar/files.py.
"""

from __future__ import annotations

import errno
from typing import Final

from lunar.net.sock import Sock
from lunar.sockets.eventfd import EventFd
from lunar.sockets.pipe import PipeEnd
from lunar.sockets.raw_table import PacketSock
from lunar.sockets.unix import LISTENING, SOCK_DGRAM, SOCK_STREAM, UnixSock
from lunar.tcp import urgent
from lunar.tcp.sock import TcpSock
from lunar.tcp.tcb import LISTEN, SYN_RECEIVED, SYN_SENT
from lunar.udp import UdpSock

FIONREAD: Final = 0x541B  # SIOCINQ, TIOCINQ: bytes that the next read can give
TIOCOUTQ: Final = 0x5411  # SIOCOUTQ: bytes that the peer has not acknowledged
SIOCOUTQNSD: Final = 0x894B  # bytes that were not sent
SIOCGSTAMP: Final = 0x8906  # when the last datagram came
SIOCATMARK: Final = 0x8905  # 1 where urgent data is next


def ioctl(sock: Sock, request: int) -> int:
    """The answer, or -errno: ENOTTY for a request that such a descriptor does not know, EINVAL for a listener."""
    if isinstance(sock, UnixSock):
        return _unix(sock, request)
    if isinstance(sock, PipeEnd):
        return int(sock.channel.waiting_bytes()) if request == FIONREAD else -errno.ENOTTY
    if isinstance(sock, EventFd):
        return -errno.ENOTTY
    if request == SIOCGSTAMP:
        return -errno.ENOENT  # nothing was stamped
    if isinstance(sock, TcpSock):
        return _tcp(sock, request)
    if request == FIONREAD:
        if isinstance(sock, PacketSock):
            return len(sock.queue[0].data) if sock.queue else 0
        return len(sock.queue[0].payload) if isinstance(sock, UdpSock) and sock.queue else 0
    if request == TIOCOUTQ:
        return 0  # what is sent is the device's at once
    return -errno.ENOTTY


def _tcp(sock: TcpSock, request: int) -> int:
    if request == SIOCATMARK:
        return int(urgent.at_mark(sock))
    if request not in (FIONREAD, TIOCOUTQ, SIOCOUTQNSD):
        return -errno.ENOTTY
    if sock.state == LISTEN:
        return -errno.EINVAL
    if sock.state in (SYN_SENT, SYN_RECEIVED):
        return 0
    if request == FIONREAD:
        return int(urgent.bytes_before_mark(sock))
    return int(sock.write_seq - (sock.snd_una if request == TIOCOUTQ else sock.snd_nxt))


def _unix(sock: UnixSock, request: int) -> int:
    if request in (FIONREAD, TIOCOUTQ) and sock.state == LISTENING:
        return -errno.EINVAL
    if request == FIONREAD:
        return int(sock.inbox.first_bytes() if sock.type == SOCK_DGRAM else sock.inbox.waiting_bytes())
    if request == TIOCOUTQ:
        return int(sock.outbox.charged)
    if request == SIOCATMARK:
        return 0 if sock.type == SOCK_STREAM else -errno.EOPNOTSUPP
    return -errno.ENOTTY
