"""setsockopt(2) and getsockopt(2): which options there are, and what they do to a socket.

Integers, and of SO_LINGER, SO_RCVTIMEO, SO_SNDTIMEO the structures (`get_bytes`, `set_bytes`). Numbers are Linux';
those of TCP's own are in tcp_options.py, those of the error queue and of times in report_options.py. An option that
this stack does not obey is refused with ENOPROTOOPT: a program shall not believe in vain. The exception is
SO_PRIORITY, a hint about the order in the sender's own queue, where links here have one queue: it is kept.
"""

from __future__ import annotations

import errno
from typing import Final

from mypy_extensions import i64

from lunar.net.ip import DEFAULT_TTL, Ip
from lunar.net.sock import Sock
from lunar.packet import AF_INET6, ICMP
from lunar.sockets import (
    datagram_options,
    filter_options,
    ipv6_options,
    multicast_options,
    packet_info,
    packet_options,
    raw_options,
    report_options,
    tcp_options,
)
from lunar.sockets.foreign import ForeignSock
from lunar.sockets.packet_sock import LinkSock
from lunar.sockets.raw import RawSock
from lunar.sockets.raw_ipv6 import RawSixSock
from lunar.sockets.raw_table import PacketSock
from lunar.sockets.unix import AF_UNIX, LISTENING, UnixSock
from lunar.tcp import sockopt
from lunar.tcp.sender import pacing
from lunar.tcp.sock import TcpSock
from lunar.tcp.tcb import LISTEN
from lunar.udp import UdpSock

SOL_SOCKET: Final = 1
SO_REUSEADDR: Final = 2
SO_TYPE: Final = 3
SO_ERROR: Final = 4
SO_DONTROUTE: Final = 5
SO_BROADCAST: Final = 6
SO_SNDBUF: Final = 7
SO_RCVBUF: Final = 8
SO_KEEPALIVE: Final = 9
SO_OOBINLINE: Final = 10
SO_PRIORITY: Final = 12
SO_LINGER: Final = 13
SO_REUSEPORT: Final = 15
SO_PASSCRED: Final = 16
SO_PEERCRED: Final = 17
SO_RCVLOWAT: Final = 18
SO_SNDLOWAT: Final = 19
SO_RCVTIMEO: Final = 20
SO_SNDTIMEO: Final = 21
SO_ACCEPTCONN: Final = 30
SO_MARK: Final = 36
SO_PROTOCOL: Final = 38
SO_DOMAIN: Final = 39
SO_PEEK_OFF: Final = 42
SO_MAX_PACING_RATE: Final = 47

IPPROTO_IP: Final = 0
IP_TOS: Final = 1
IP_TTL: Final = 2
IP_HDRINCL: Final = 3
IP_PKTINFO: Final = 8
IP_MTU_DISCOVER: Final = 10
IP_RECVTTL: Final = 12
IP_RECVTOS: Final = 13
IP_FREEBIND: Final = 15
IP_MTU: Final = 14
SOL_RAW: Final = 255
ICMP_FILTER: Final = 1

IPPROTO_TCP: Final = 6

# Linux doubles what is asked for, to count its bookkeeping, and has these bounds (socket(7)).
_BUFFER_MAX: Final = 4_194_304
_SNDBUF_MIN: Final = 4608
_RCVBUF_MIN: Final = 2304

IPPROTO_UDP: Final = 17
UDP_CORK: Final = 1

IPPROTO_IPV6: Final = 41

_INT_MAX: Final = 0x7FFF_FFFF
_NS_PER_S: Final = 1_000_000_000
_PMTUDISC_OMIT: Final = 5  # the last of IP_PMTUDISC_*
# More than any run lasts; a larger time would not fit 64 bits.
_FOREVER_NS: Final = 1 << 62


def setsockopt(sock: Sock, level: int, name: int, value: int) -> int:
    """Set an integer option. 0 or -errno (ENOPROTOOPT, EINVAL, EOPNOTSUPP)."""
    if sock.family == AF_UNIX and level != SOL_SOCKET:
        return -errno.EOPNOTSUPP
    if isinstance(sock, ForeignSock) and level != SOL_SOCKET:
        return sock.set_option(level, name, value)
    if isinstance(sock, LinkSock) and level != SOL_SOCKET:
        if level == packet_options.SOL_PACKET:
            return packet_options.set_bytes(sock, name, (value & 0xFFFF_FFFF).to_bytes(4, "little"))
        return -errno.ENOPROTOOPT
    done = report_options.set_integer(sock, level, name, value)
    if done is None:
        done = multicast_options.set_integer(sock, level, name, value)
    if done is None:
        done = datagram_options.set_integer(sock, level, name, value)
    if done is None:
        done = ipv6_options.set_integer(sock, level, name, value)
    if done is None:
        done = filter_options.set_integer(sock, level, name, value)
    if done is not None:
        return done
    if level == SOL_SOCKET:
        return _set_socket(sock, name, value)
    if level == IPPROTO_IP:
        if name == IP_TOS:
            # The two bits of ECN are TCP's own.
            sock.tos = value & 0xFC if isinstance(sock, TcpSock) else value & 0xFF
            return 0
        if name == IP_TTL:
            if value != -1 and not 1 <= value <= 255:
                return -errno.EINVAL
            sock.ttl = value
            return 0
        if name == IP_HDRINCL and isinstance(sock, RawSock):
            sock.header_included = value != 0
            return 0
        if name == IP_MTU_DISCOVER:
            if not 0 <= value <= _PMTUDISC_OMIT:
                return -errno.EINVAL
            sock.mtu_discover = value
            return 0
        if name == IP_FREEBIND:
            sock.freebind = value != 0
            return 0
        bit: i64 = _told_by(name)
        if bit:
            sock.tells = sock.tells | bit if value else sock.tells & ~bit
            return 0
    if level == SOL_RAW and sock.domain != AF_INET6:
        return _set_raw(sock, name, value)
    if isinstance(sock, RawSixSock):
        return raw_options.set_integer(sock, level, name, value)
    if level == IPPROTO_TCP and isinstance(sock, TcpSock):
        return tcp_options.set_integer(sock, name, value)
    if level == IPPROTO_UDP and isinstance(sock, UdpSock) and name == UDP_CORK:
        return int(sock.set_cork(value != 0))
    return -errno.ENOPROTOOPT


def _told_by(name: int) -> i64:
    """The bit of `Sock.tells` for an option of IPPROTO_IP; 0 for one that has none."""
    if name == IP_PKTINFO:
        return packet_info.TELL_ADDRESSES
    if name == IP_RECVTTL:
        return packet_info.TELL_TTL
    return packet_info.TELL_TOS if name == IP_RECVTOS else 0


def _set_raw(sock: Sock, name: int, value: int) -> int:
    """raw(7): ICMP_FILTER, of a raw socket for ICMP only."""
    if not isinstance(sock, RawSock):
        return -errno.ENOPROTOOPT
    if name != ICMP_FILTER:
        return -errno.ENOPROTOOPT
    if sock.protocol != ICMP:
        return -errno.EOPNOTSUPP
    sock.icmp_filter = value & 0xFFFF_FFFF
    return 0


def _default_ttl(sock: Sock) -> i64:
    if isinstance(sock, (TcpSock, PacketSock)):
        return sock.ip.inet.hop_limit
    return sock.udp.ip.inet.hop_limit if isinstance(sock, UdpSock) else DEFAULT_TTL


def _set_socket(sock: Sock, name: int, value: int) -> int:
    on = value != 0
    if name == SO_REUSEADDR:
        sock.reuse_addr = on
        if isinstance(sock, TcpSock) and sock.bound is not None:
            sock.bound.reuse_addr = on
    elif name == SO_REUSEPORT:
        sock.reuse_port = on
        if isinstance(sock, TcpSock) and sock.bound is not None:
            sock.bound.reuse_port = on
    elif name == SO_KEEPALIVE:
        sock.keepalive = on
        if isinstance(sock, TcpSock):
            sockopt.keepalive_changed(sock)
    elif name == SO_BROADCAST:
        sock.broadcast = on
    elif name == SO_SNDBUF:
        ip = _ip_of(sock)
        most_sent: i64 = _BUFFER_MAX if ip is None else ip.wmem_max  # net.core.wmem_max
        sock.sndbuf = max(2 * _buffer_size(value, most_sent), _SNDBUF_MIN)
        sock.sndbuf_locked = True
        if isinstance(sock, TcpSock):
            sockopt.send_buffer_changed(sock)
    elif name == SO_RCVBUF:
        ip = _ip_of(sock)
        most_received: i64 = _BUFFER_MAX if ip is None else ip.rmem_max  # net.core.rmem_max
        sock.rcvbuf = max(2 * _buffer_size(value, most_received), _RCVBUF_MIN)
        sock.rcvbuf_locked = True
    elif name == SO_OOBINLINE:
        sock.oob_inline = on
    elif name == SO_PRIORITY:
        if not 0 <= value <= 6:
            return -errno.EPERM  # what lies beyond takes CAP_NET_ADMIN
        sock.priority = value
    elif name == SO_MARK:
        sock.mark = value
    elif name == SO_PEEK_OFF and isinstance(sock, TcpSock):
        sock.peek_offset = value
    elif name == SO_RCVLOWAT and sock.family != AF_UNIX:
        if isinstance(sock, TcpSock):
            sockopt.set_rcvlowat(sock, value if value >= 0 else _INT_MAX)
        else:
            sock.rcvlowat = value if value > 0 else 1 if value == 0 else _INT_MAX  # datagrams are whole
    elif name == SO_PASSCRED:
        if not isinstance(sock, UnixSock):
            return -errno.EOPNOTSUPP
        sock.passes_credentials = on
    elif name == SO_LINGER:
        return -errno.EINVAL  # an integer is too short a value, see set_linger
    else:
        return -errno.ENOPROTOOPT
    return 0


def _buffer_size(value: int, most: i64) -> i64:
    # The kernel takes the value as unsigned: -1 is the most.
    return min(value & 0xFFFF_FFFF, most)


def _ip_of(sock: Sock) -> Ip | None:
    """The network layer of its host; None of what knows of none, as a Unix socket."""
    if isinstance(sock, (TcpSock, PacketSock, LinkSock)):
        return sock.ip
    return sock.udp.ip if isinstance(sock, UdpSock) else None


def set_linger(sock: Sock, on: int, seconds: int) -> int:
    """SO_LINGER, whose value is a structure of two integers."""
    sock.linger_on = on != 0
    if sock.linger_on:
        sock.linger_s = seconds
    return 0


def set_bytes(sock: Sock, level: int, name: int, value: bytes) -> int:
    """Set an option from the bytes that C passes: an integer, or a structure of SO_LINGER, SO_RCVTIMEO, SO_SNDTIMEO."""
    if level == IPPROTO_TCP and isinstance(sock, TcpSock):
        done = tcp_options.set_bytes(sock, name, value)
        if done is not None:
            return done
    if level == packet_options.SOL_PACKET and isinstance(sock, LinkSock):
        return packet_options.set_bytes(sock, name, value)
    if level == raw_options.IPPROTO_ICMPV6 and isinstance(sock, RawSixSock):
        return raw_options.set_filter(sock, name, value)
    done = report_options.set_bytes(sock, level, name, value)
    if done is None:
        done = multicast_options.set_bytes(sock, level, name, value)
    if done is None:
        done = datagram_options.set_bytes(sock, level, name, value)
    if done is None:
        done = ipv6_options.set_bytes(sock, level, name, value)
    if done is None:
        done = filter_options.set_bytes(sock, level, name, value)
    if done is not None:
        return done
    if level == IPPROTO_IP and sock.family != AF_UNIX and len(value) < 4:
        # ip(7): these take a byte as well, and of nothing at all they read a zero.
        return setsockopt(sock, level, name, value[0] if value else 0)
    if len(value) < 4:
        # A level that the socket does not have is told first.
        own = level == SOL_SOCKET or (level == sock.protocol and sock.family != AF_UNIX)
        return -errno.EINVAL if own else setsockopt(sock, level, name, 0)
    if level == SOL_SOCKET and name == SO_LINGER:
        return -errno.EINVAL if len(value) < 8 else set_linger(sock, _signed(value, 0, 4), _signed(value, 4, 4))
    if level == SOL_SOCKET and name == SO_MAX_PACING_RATE and isinstance(sock, TcpSock):
        return _set_pacing_rate(sock, value)
    if level == SOL_SOCKET and (name == SO_RCVTIMEO or name == SO_SNDTIMEO):
        if len(value) < 16:
            return -errno.EINVAL
        return _set_timeout(sock, name, _signed(value, 0, 8), _signed(value, 8, 8))
    return setsockopt(sock, level, name, _signed(value, 0, 4))


def _set_pacing_rate(sock: TcpSock, value: bytes) -> int:
    """SO_MAX_PACING_RATE, socket(7): bytes a second in 32 or 64 bits, of which all set say that there is no limit."""
    size = 8 if len(value) >= 8 else 4
    rate = int.from_bytes(value[:size], "little")
    pacing.limit(sock, -1 if rate == (1 << 8 * size) - 1 else min(rate, _FOREVER_NS))
    return 0


def _signed(value: bytes, at: int, size: int) -> int:
    return int.from_bytes(value[at : at + size], "little", signed=True)


def _set_timeout(sock: Sock, name: int, seconds: int, microseconds: int) -> int:
    """SO_RCVTIMEO and SO_SNDTIMEO, socket(7): no time at all means for ever, a negative time means none."""
    if not 0 <= microseconds < 1_000_000:
        return -errno.EDOM
    # A nanosecond for one that has passed already: zero means that there is none.
    timeout = 1 if seconds < 0 else min(seconds * _NS_PER_S + microseconds * 1000, _FOREVER_NS)
    if name == SO_RCVTIMEO:
        sock.rcvtimeo_ns = 0 if timeout == _FOREVER_NS else timeout
    else:
        sock.sndtimeo_ns = 0 if timeout == _FOREVER_NS else timeout
    return 0


def get_bytes(sock: Sock, level: int, name: int, size: int) -> bytes | None:
    """The value as C gets it, of `size` bytes at most, perhaps none; None for an option of `getsockopt`."""
    if level == IPPROTO_TCP and isinstance(sock, TcpSock):
        found = tcp_options.get_bytes(sock, name, size)
        return None if found is None else found[:size]
    reported = report_options.get_bytes(sock, level, name)
    if reported is None:
        reported = multicast_options.get_bytes(sock, level, name)
    if reported is None:
        reported = datagram_options.get_bytes(sock, level, name, size)
    if reported is None:
        reported = ipv6_options.get_bytes(sock, level, name, size)
    if reported is None and level == packet_options.SOL_PACKET and isinstance(sock, LinkSock):
        reported = packet_options.get_bytes(sock, name)
    if reported is None and isinstance(sock, RawSixSock):
        reported = raw_options.get_bytes(sock, level, name)
    if reported is not None:
        value = reported
    elif level == SOL_SOCKET and name == SO_LINGER:
        value = int(sock.linger_on).to_bytes(4, "little") + int(sock.linger_s).to_bytes(4, "little", signed=True)
    elif level == SOL_SOCKET and (name == SO_RCVTIMEO or name == SO_SNDTIMEO):
        timeout = int(sock.rcvtimeo_ns if name == SO_RCVTIMEO else sock.sndtimeo_ns)
        value = (timeout // _NS_PER_S).to_bytes(8, "little") + (timeout % _NS_PER_S // 1000).to_bytes(8, "little")
    elif level == SOL_SOCKET and name == SO_MAX_PACING_RATE and isinstance(sock, TcpSock):
        rate = int(sock.max_pacing_rate)
        width = 8 if size >= 8 else 4
        most = (1 << 8 * width) - 1
        value = (most if rate < 0 else min(rate, most)).to_bytes(width, "little")
    elif level == SOL_SOCKET and name == SO_MARK:
        value = int(sock.mark).to_bytes(4, "little", signed=True)  # which may be negative, and no errno
    elif level == SOL_SOCKET and name == SO_PEEK_OFF and isinstance(sock, TcpSock):
        value = int(sock.peek_offset).to_bytes(4, "little", signed=True)
    elif level == SOL_SOCKET and name == SO_PEERCRED:
        value = _peer_credentials(sock)
    elif level == SOL_RAW and name == ICMP_FILTER and isinstance(sock, RawSock) and sock.protocol == ICMP:
        value = int(sock.icmp_filter).to_bytes(4, "little")
    else:
        return None
    return value[:size]


def _peer_credentials(sock: Sock) -> bytes:
    """A `struct ucred`."""
    if not isinstance(sock, UnixSock):
        return bytes(4) + b"\xff" * 8
    return b"".join(
        int(number).to_bytes(4, "little", signed=True) for number in (sock.peer_pid, sock.peer_uid, sock.peer_gid)
    )


def _take_error(sock: Sock) -> i64:
    """SO_ERROR. Where nothing is pending it tells what ICMP has said of a stream, which no other call does."""
    error: i64 = sock.take_error()
    if error == 0 and isinstance(sock, TcpSock):
        error = sock.soft_error
        sock.soft_error = 0
    return error


def getsockopt(sock: Sock, level: int, name: int) -> int:
    """The value of an integer option, -ENOPROTOOPT, or -EOPNOTSUPP for a level that the socket does not have.

    SO_ERROR clears the error that it reports.
    """
    found: i64 = -errno.ENOPROTOOPT
    if sock.family == AF_UNIX and level != SOL_SOCKET:
        return -errno.EOPNOTSUPP
    reported = report_options.get_integer(sock, level, name)
    if reported is None:
        reported = multicast_options.get_integer(sock, level, name)
    if reported is None:
        reported = datagram_options.get_integer(sock, level, name)
    if reported is None:
        reported = ipv6_options.get_integer(sock, level, name)
    if reported is None:
        reported = filter_options.get_integer(sock, level, name)
    if reported is not None:
        return reported
    if level == packet_options.SOL_PACKET and isinstance(sock, LinkSock):
        return packet_options.get_integer(sock, name)
    if isinstance(sock, RawSock) and level == SOL_RAW:
        # The value, of 32 bits, is a structure (`get_bytes`): its topmost bit is no sign.
        return -errno.EOPNOTSUPP if name == ICMP_FILTER and sock.protocol != ICMP else -errno.ENOPROTOOPT
    if level not in (SOL_SOCKET, IPPROTO_IP, sock.protocol) and not (
        level == IPPROTO_IPV6 and sock.domain == AF_INET6
    ):
        found = -errno.EOPNOTSUPP
    if level == SOL_SOCKET:
        if name == SO_ERROR:
            return int(_take_error(sock))
        if name == SO_TYPE:
            found = sock.type
        elif name == SO_DOMAIN:
            found = sock.domain
        elif name == SO_PROTOCOL:
            found = sock.protocol
        elif name == SO_REUSEADDR:
            found = int(sock.reuse_addr)
        elif name == SO_REUSEPORT:
            found = int(sock.reuse_port)
        elif name == SO_KEEPALIVE:
            found = int(sock.keepalive)
        elif name == SO_BROADCAST:
            found = int(sock.broadcast)
        elif name == SO_SNDBUF:
            found = sock.sndbuf
        elif name == SO_RCVBUF:
            found = sock.rcvbuf
        elif name == SO_ACCEPTCONN:
            if isinstance(sock, UnixSock):
                found = int(sock.state == LISTENING)
            else:
                found = int(isinstance(sock, TcpSock) and sock.state == LISTEN)
        elif name == SO_PRIORITY:
            found = sock.priority
        elif name == SO_RCVLOWAT and sock.family != AF_UNIX:
            found = sock.rcvlowat
        elif name == SO_PASSCRED:
            found = int(sock.passes_credentials) if isinstance(sock, UnixSock) else -errno.EOPNOTSUPP
        elif name == SO_OOBINLINE:
            found = int(sock.oob_inline)
        elif name == SO_SNDLOWAT:
            found = 1
        elif name == SO_DONTROUTE:
            found = 0
    elif level == IPPROTO_IP:
        if name == IP_TOS:
            found = sock.tos
        elif name == IP_TTL:
            found = sock.ttl if sock.ttl >= 0 else _default_ttl(sock)
        elif name == IP_HDRINCL and isinstance(sock, RawSock):
            found = int(sock.header_included)
        elif name == IP_MTU_DISCOVER:
            found = sock.mtu_discover
        elif name == IP_MTU and isinstance(sock, TcpSock):
            mtu: i64 = sock.path_mtu()
            found = mtu if mtu > 0 else -errno.ENOTCONN
        elif name == IP_FREEBIND:
            found = int(sock.freebind)
        elif _told_by(name):
            found = int(sock.tells & _told_by(name) != 0)
    elif level == IPPROTO_UDP and isinstance(sock, UdpSock):
        if name == UDP_CORK:
            found = int(sock.cork)
    elif level == IPPROTO_TCP and isinstance(sock, TcpSock):
        found = tcp_options.get_integer(sock, name)
    if isinstance(sock, ForeignSock) and level != SOL_SOCKET:
        found = sock.get_option(level, name)
    return int(found)
