"""The system calls on sockets and pipes, non-blocking: what all faces (asyncio, blocking sockets) are built on.

Each takes a socket, returns a result or a negative errno, and says EAGAIN or EINPROGRESS where the real one would
block. Addresses are an int, in the family of the socket's domain, and a port. Read bind(2), connect(2), listen(2),
accept(2), send(2), recv(2), shutdown(2); for AF_INET6 ipv6(7), and lunar/socket_address.py for what it is here.
"""

from __future__ import annotations

import errno
from typing import Final, final

from mypy_extensions import i64

from lunar.net import ip_output, zerocopy
from lunar.net.address import needs_scope
from lunar.net.device import Device
from lunar.net.error_queue import Report
from lunar.net.ip import Ip
from lunar.net.ipv6_options import Ipv6Options
from lunar.net.sock import COVERS_IPV4, COVERS_IPV6, Sock, covers_of
from lunar.packet import AF_INET, AF_INET6, ICMP, ICMPV6, TCP, UDP
from lunar.sockets import epoll, packet_sock, ping, raw, raw_ipv6, unix
from lunar.sockets.attachment import Attachment
from lunar.sockets.epoll import Epoll
from lunar.sockets.eventfd import EventFd
from lunar.sockets.foreign import ForeignSock
from lunar.sockets.host_file import HostFile
from lunar.sockets.packet_info import PacketInfo
from lunar.sockets.packet_sock import AF_PACKET, Caught, LinkSock
from lunar.sockets.pipe import PipeEnd
from lunar.sockets.raw_ipv6 import RawSixSock
from lunar.sockets.raw_table import PacketSock
from lunar.sockets.timerfd import TimerFd
from lunar.sockets.unix import AF_UNIX, UnixSock
from lunar.tcp.demux import Tcp
from lunar.tcp.sock import TcpSock
from lunar.tcp.tcb import CLOSED, ESTABLISHED, UNCONNECTED
from lunar.udp import Udp, UdpSock
from lunar.wire.address import family_of

SOCK_STREAM: Final = 1
SOCK_DGRAM: Final = 2
SOCK_RAW: Final = 3
SOCK_MAX: Final = 11
AF_MAX: Final = 46
IPPROTO_MAX: Final = 263

LOOPBACK: Final = 0x7F00_0001
# Below it only :: and ::1 are IPv6 addresses of anybody (lunar/wire/address.py).
_IPV6_FIRST: Final = 1 << 32
# ff00::/8 (RFC 4291 section 2.4), its leading bits.
_MULTICAST: Final = 0xFF

# Obeyed below, MSG_DONTWAIT and MSG_WAITALL by the faces, which wait. There is no SIGPIPE for MSG_NOSIGNAL to prevent;
# Linux ignores a flag that it does not know, and so do we.
MSG_OOB: Final = 0x01
MSG_PEEK: Final = 0x02
MSG_TRUNC: Final = 0x20
MSG_DONTWAIT: Final = 0x40
MSG_EOR: Final = 0x80
MSG_WAITALL: Final = 0x100
MSG_ERRQUEUE: Final = 0x2000
MSG_NOSIGNAL: Final = 0x4000
MSG_MORE: Final = 0x8000
MSG_ZEROCOPY: Final = 0x400_0000
MSG_FASTOPEN: Final = 0x2000_0000

# There is no time to tell: nothing came, or nobody asked.
NO_STAMP: Final = -2


@final
class Received:
    """What recvfrom gives: the data and who sent it (address 0, port 0 on a connected stream), or an errno.

    `size` is what the call returns: with MSG_TRUNC it may be more than `data` has. The address is the packet's: IPv4 on
    an AF_INET6 socket, too. `scope` is the index of the device that a link-local address means, else 0.
    """

    def __init__(self, data: bytes, addr: int, port: i64, errno: i64) -> None:
        self.data: bytes = data
        self.size: i64 = len(data)
        self.addr: int = addr
        self.port: i64 = port
        self.scope: i64 = 0
        self.errno: i64 = errno
        self.name: bytes = b""  # of the Unix socket that sent a datagram
        self.stamp_ns: i64 = NO_STAMP  # when it came, where the socket tells of it; -1: before that was asked for
        self.inq: i64 = -1  # what is left to be read of a stream, where the socket tells of it; -1 for not
        self.packet: PacketInfo | None = None  # of a datagram or raw socket that tells of it
        self.attachment: Attachment | None = None  # what came beside it, of `recvmsg`; the caller releases it
        self.truncated: bool = False  # of a datagram there was more than was asked for
        self.segment_bytes: i64 = 0  # of UDP: it is several datagrams of so many bytes each (UDP_GRO)
        self.caught: Caught | None = None  # by a packet socket
        self.report: Report | None = None  # what came from the error queue; the address is where its packet was to go


def socket(tcp: Tcp, udp: Udp, family: int, type: int, protocol: int) -> Sock | None:
    """A new socket; None when this family, type and protocol do not go together (see `socket_errno`)."""
    if any_socket_errno(family, type, protocol, udp.ip) or family == AF_UNIX:
        return None
    if family == AF_PACKET:
        return packet_sock.create(udp.ip, type, protocol)
    if type == SOCK_RAW:
        return raw.create(udp.ip, protocol) if family == AF_INET else raw_ipv6.create(udp.ip, protocol)
    if type == SOCK_DGRAM and protocol in (ICMP, ICMPV6):
        return ping.create(udp.ip, family)
    made: Sock = tcp.create(family) if type == SOCK_STREAM else udp.create(family)
    if family == AF_INET6 and udp.ip.bindv6only:
        made.v6only = True
        made.covers = COVERS_IPV6
    return made


def socket_errno(family: int, type: int, protocol: int, ip: Ip | None = None) -> int:
    """0 if there is such a socket, otherwise what socket(2) would fail with. `ip` is the host's, for its sysctl."""
    if family < 0 or family >= AF_MAX:
        return errno.EAFNOSUPPORT
    if type < 0 or type >= SOCK_MAX:
        return errno.EINVAL
    if family not in (AF_INET, AF_INET6):
        return errno.EAFNOSUPPORT
    if protocol < 0 or protocol >= IPPROTO_MAX:
        return errno.EINVAL
    if type == SOCK_STREAM:
        return 0 if protocol == 0 or protocol == TCP else errno.EPROTONOSUPPORT
    if type == SOCK_DGRAM:
        if protocol == (ICMP if family == AF_INET else ICMPV6):
            return 0 if ip is not None and ping.is_allowed(ip) else errno.EACCES
        return 0 if protocol == 0 or protocol == UDP else errno.EPROTONOSUPPORT
    if type == SOCK_RAW:
        return 0 if 0 < protocol <= raw.IPPROTO_RAW else errno.EPROTONOSUPPORT
    return errno.ESOCKTNOSUPPORT


def any_socket_errno(family: int, type: int, protocol: int, ip: Ip | None = None) -> int:
    """As `socket_errno`, of Unix and packet sockets, too."""
    if family == AF_PACKET:
        if type < 0 or type >= SOCK_MAX:
            return errno.EINVAL
        return 0 if type in (SOCK_DGRAM, SOCK_RAW) else errno.ESOCKTNOSUPPORT
    if family == AF_UNIX:
        return socketpair_errno(family, type, protocol)
    return socket_errno(family, type, protocol, ip)


def unix_type(type: int) -> int:
    """What becomes of a Unix socket of `type`: Linux makes SOCK_RAW a datagram socket, as BSD had it."""
    return SOCK_DGRAM if type == SOCK_RAW else type


def is_socket(sock: Sock) -> bool:
    """Whether the calls for sockets may have it: what else has a descriptor is not (ENOTSOCK)."""
    return isinstance(sock, (TcpSock, UdpSock, UnixSock, PacketSock, LinkSock, ForeignSock))


def socketpair(family: int, type: int, protocol: int) -> tuple[UnixSock, UnixSock] | None:
    """Two connected sockets; None when there are none such (see `socketpair_errno`)."""
    if socketpair_errno(family, type, protocol):
        return None
    return unix.pair(unix_type(type))


def socketpair_errno(family: int, type: int, protocol: int) -> int:
    """0 if there is such a pair, otherwise what socketpair(2) would fail with."""
    if family in (AF_INET, AF_INET6):
        found = socket_errno(family, type, protocol)
        return found if found else errno.EOPNOTSUPP  # Linux has pairs of Unix sockets only
    if family != AF_UNIX:
        return socket_errno(family, type, protocol)
    if type < 0 or type >= SOCK_MAX:
        return errno.EINVAL
    if protocol != 0 and protocol != AF_UNIX:
        return errno.EPROTONOSUPPORT
    return 0 if type in (SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, unix.SOCK_SEQPACKET) else errno.ESOCKTNOSUPPORT


def is_mapped(addr: int) -> bool:
    """Whether an IPv6 address stands for an IPv4 address, its last 32 bits."""
    return addr >> 32 == 0xFFFF


def bind(sock: Sock, addr: int, port: int) -> int:
    if port < 0 or port > 65535:
        return -errno.EINVAL
    if sock.domain != AF_INET6 or isinstance(sock, ForeignSock):
        return _bind(sock, addr, port)
    six = sock.ipv6
    if addr == 0 or six is None:
        return _bind(sock, 0, port)
    family, covers, scope, v6only = sock.family, sock.covers, six.scope, sock.v6only
    if is_mapped(addr):
        if isinstance(sock, PacketSock):
            return -errno.EADDRNOTAVAIL
        if sock.v6only:
            return -errno.EINVAL
        sock.family = AF_INET
        sock.covers = COVERS_IPV4
        addr &= 0xFFFF_FFFF
    else:
        if addr < _IPV6_FIRST and addr != 1:
            return -errno.EADDRNOTAVAIL  # of ::/96 no host has one
        if addr >> 120 == _MULTICAST and sock.type == SOCK_STREAM:
            return -errno.EINVAL
        if needs_scope(addr):
            result = _take_scope(sock, six)
            if result < 0:
                return result
        sock.family = AF_INET6
        sock.covers = COVERS_IPV6
        sock.v6only = not isinstance(sock, PacketSock)  # as Linux says then
    result = _bind(sock, addr, port)
    if result < 0:
        sock.family, sock.covers, six.scope, sock.v6only = family, covers, scope, v6only
    return result


def _take_scope(sock: Sock, six: Ipv6Options) -> int:
    """A link-local address is named: by which device, the address says, or what was named before. EINVAL."""
    if six.named_scope != 0:
        six.scope = six.named_scope
        six.named_scope = 0
    return 0 if six.scope != 0 else -errno.EINVAL


def _bind(sock: Sock, addr: int, port: int) -> int:
    if isinstance(sock, TcpSock):
        return int(sock.bind(addr, port))
    if isinstance(sock, UdpSock):
        return int(sock.bind(addr, port))
    if isinstance(sock, PacketSock):
        return int(sock.bind(addr, port))
    if isinstance(sock, ForeignSock):
        return sock.bind(addr, port)
    return -errno.EOPNOTSUPP


def connect(sock: Sock, addr: int, port: int) -> int:
    """-EINPROGRESS for a stream, whose end `poll` (POLLOUT) and SO_ERROR tell; 0 for a datagram socket."""
    if isinstance(sock, ForeignSock):
        return sock.connect(addr, port)
    if sock.domain == AF_INET6 and not _is_under_way(sock):
        family: i64 = AF_INET6
        if is_mapped(addr):
            family = AF_INET
            addr &= 0xFFFF_FFFF
            if addr == 0:
                addr = LOOPBACK
        elif addr == 0:
            addr = 1
        elif addr < _IPV6_FIRST and addr != 1:
            return -errno.ENETUNREACH
        six = sock.ipv6
        if family == AF_INET6 and addr >> 120 == _MULTICAST and sock.type == SOCK_STREAM:
            return -errno.ENETUNREACH
        if family == AF_INET6 and six is not None and needs_scope(addr):
            result = _take_scope(sock, six)
            if result < 0:
                return result
        if not sock.covers & covers_of(family):
            return -errno.ENETUNREACH  # the socket is for the other family alone
        sock.family = family
    elif is_mapped(addr):
        addr &= 0xFFFF_FFFF
    if isinstance(sock, TcpSock):
        return int(sock.connect(addr, port))
    if isinstance(sock, UdpSock):
        return int(sock.connect(addr, port))
    if isinstance(sock, PacketSock):
        return int(sock.connect(addr, port))
    return -errno.EOPNOTSUPP


def _is_under_way(sock: Sock) -> bool:
    """Whether a stream has begun to connect: it keeps its family, whatever address is named again."""
    return isinstance(sock, TcpSock) and (sock.progress != UNCONNECTED or sock.state != CLOSED)


def disconnect(sock: Sock) -> int:
    """connect(2) to AF_UNSPEC: a stream is reset, a datagram socket forgets its peer."""
    if isinstance(sock, TcpSock):
        return int(sock.disconnect())
    if isinstance(sock, UdpSock):
        return int(sock.disconnect())
    if isinstance(sock, PacketSock):
        return int(sock.disconnect())
    if isinstance(sock, UnixSock):
        return int(sock.disconnect())
    if isinstance(sock, ForeignSock):
        return sock.disconnect()
    return -errno.EOPNOTSUPP


def listen(sock: Sock, backlog: int) -> int:
    if isinstance(sock, TcpSock):
        return int(sock.listen(backlog))
    if isinstance(sock, UnixSock):
        return int(sock.listen(backlog))
    if isinstance(sock, ForeignSock):
        return sock.listen(backlog)
    return -errno.EOPNOTSUPP


def accept(sock: Sock) -> Sock | None:
    """The next connection; None when there is none yet (see `accept_errno`)."""
    if isinstance(sock, TcpSock):
        return sock.accept_one()
    if isinstance(sock, UnixSock):
        return sock.accept_one()
    if isinstance(sock, ForeignSock):
        return sock.accept_one()
    return None


def accept_errno(sock: Sock) -> int:
    """Why `accept` gave nothing."""
    if isinstance(sock, UnixSock):
        if sock.type == SOCK_DGRAM:
            return errno.EOPNOTSUPP
        return errno.EAGAIN if sock.state == unix.LISTENING else errno.EINVAL
    if isinstance(sock, ForeignSock):
        return int(sock.recv_errno)
    if not isinstance(sock, TcpSock):
        return errno.EOPNOTSUPP
    return errno.EAGAIN if sock.is_listening() else errno.EINVAL


def send(sock: Sock, data: bytes, flags: int) -> int:
    """The count of bytes taken, or -errno."""
    if isinstance(sock, TcpSock):
        more, without_copy = (flags & MSG_MORE) != 0, (flags & MSG_ZEROCOPY) != 0
        if flags & MSG_FASTOPEN:
            return int(sock.send_fast_open(data, 0, -1, more, without_copy))
        return int(sock.send(data, more, (flags & MSG_OOB) != 0, (flags & MSG_EOR) != 0, without_copy))
    if flags & MSG_OOB:
        if isinstance(sock, UnixSock) and sock.type == unix.SOCK_SEQPACKET and sock.state != unix.CONNECTED:
            return -errno.ENOTCONN
        return -errno.EOPNOTSUPP
    if isinstance(sock, UdpSock):
        return _sent(sock, int(sock.send(data, 0, 0, (flags & MSG_MORE) != 0)), flags)
    if isinstance(sock, PacketSock):
        return int(sock.send(data, -1))
    if isinstance(sock, UnixSock):
        return int(sock.send(data, False))
    if isinstance(sock, ForeignSock):
        return sock.send(data, (flags & MSG_MORE) != 0)
    if isinstance(sock, LinkSock):
        return int(sock.send(data, None, 0, -1))
    return -errno.EOPNOTSUPP


def _sent(sock: UdpSock, result: int, flags: int) -> int:
    """What a datagram's send returns; with MSG_ZEROCOPY its buffer is free at once."""
    copies = sock.zerocopy
    if result >= 0 and flags & MSG_ZEROCOPY and copies is not None and copies.on:
        sock.free_buffers(copies.next_id, copies.next_id, zerocopy.COPIED)
        copies.next_id += 1
    return result


def sendto(sock: Sock, data: bytes, flags: int, addr: int, port: int) -> int:
    """As `send`, to an address. A connected stream ignores it, as Linux does; one that is not connects with
    MSG_FASTOPEN.
    """
    if isinstance(sock, TcpSock) and flags & MSG_FASTOPEN:
        if sock.domain == AF_INET6:
            addr = _destination(sock, addr)
            if addr < 0:
                return addr
            sock.family = family_of(addr)
        return int(sock.send_fast_open(data, addr, port, (flags & MSG_MORE) != 0, (flags & MSG_ZEROCOPY) != 0))
    if isinstance(sock, UdpSock):
        if flags & MSG_OOB:
            return -errno.EOPNOTSUPP
        if sock.corked is not None:
            return send(sock, data, flags)  # a datagram that is begun has its address
        if port <= 0 or port > 65535:
            return -errno.EINVAL
        if sock.domain == AF_INET6:
            addr = _destination(sock, addr)
            if addr < 0:
                return addr
        result = _sent(sock, int(sock.send(data, addr, port, (flags & MSG_MORE) != 0)), flags)
        if sock.ipv6 is not None:
            sock.ipv6.named_scope = 0
        return result
    if isinstance(sock, PacketSock):
        if flags & MSG_OOB:
            return -errno.EOPNOTSUPP
        return _send_packet(sock, data, addr, port)
    if isinstance(sock, ForeignSock) and sock.type == SOCK_DGRAM:
        return -errno.EOPNOTSUPP if flags & MSG_OOB else sock.send_message(data, addr, port)
    return send(sock, data, flags)


def _send_packet(sock: PacketSock, data: bytes, addr: int, port: int) -> int:
    """sendto(2) of a raw or ping socket."""
    six = sock.ipv6
    if six is None:
        return int(sock.send(data, addr))
    addr = _destination(sock, addr)
    if addr < 0:
        return addr
    if isinstance(sock, RawSixSock) and port and sock.protocol != raw.IPPROTO_RAW and port != sock.protocol:
        return -errno.EINVAL  # in the place of the port a protocol may stand, the socket's own
    result = int(sock.send(data, addr))
    six.named_scope = 0
    return result


def _destination(sock: Sock, addr: int) -> int:
    """The stack's address for what a program sends to from an AF_INET6 socket; -errno.

    ENETUNREACH: the socket is not of that family.
    """
    if is_mapped(addr):
        if not sock.covers & COVERS_IPV4:
            return -errno.ENETUNREACH
        addr &= 0xFFFF_FFFF
        return addr if addr else LOOPBACK
    if not sock.covers & COVERS_IPV6:
        return -errno.ENETUNREACH
    if addr == 0:
        return 1
    if addr < _IPV6_FIRST and addr != 1:
        return -errno.ENETUNREACH
    return addr


def send_plain(sock: Sock, data: bytes) -> int:
    """send(2) without flags on a connection that has nothing special: the count of bytes taken. 0: `send` must say.

    With `recv_plain` it is the short way of most calls: those of a small message cost more than its packet otherwise.
    """
    if (
        isinstance(sock, TcpSock)
        and sock.state == ESTABLISHED
        and sock.error == 0
        and not sock.write_shut
        and sock.marks is None
    ):
        count: i64 = sock.send(data, False)
        if count > 0:
            return int(count)
    return 0


def recv_plain(sock: Sock, size: int) -> bytes | None:
    """recv(2) without flags on a connection where nothing is special and bytes are there; None: `recvfrom` must say."""
    if isinstance(sock, TcpSock) and sock.received.size > 0 and sock.urgent_state == 0 and sock.rcvlowat <= 1:
        return sock.recv(size, False)
    return None


def waits_plainly(sock: Sock) -> bool:
    """Whether a recv(2) without flags blocks here, without a limit, until something comes."""
    return (
        isinstance(sock, TcpSock)
        and sock.state == ESTABLISHED
        and sock.received.size == 0
        and sock.error == 0
        and not sock.read_shut
        and not sock.nonblocking
        and sock.rcvtimeo_ns == 0
        and sock.rcvlowat <= 1
    )


def recvfrom(sock: Sock, size: int, flags: int) -> Received:
    """Up to `size` bytes. Of a datagram that is longer the rest is lost."""
    peek = (flags & MSG_PEEK) != 0
    if flags & MSG_ERRQUEUE and not isinstance(sock, UnixSock):
        return _of_errors(sock, size)
    if isinstance(sock, TcpSock):
        if flags & MSG_OOB:
            data = sock.recv_urgent(size, peek)
        else:
            data = sock.recv(size, peek)
        if data is None:
            return Received(b"", 0, 0, sock.recv_errno)
        got = Received(data, 0, 0, 0)
        if flags & MSG_TRUNC:
            got.data = b""  # tcp(7): the bytes are counted and thrown away
        if sock.tells_inq:
            got.inq = sock.received.size
            if sock.fin_received:
                got.inq += 1  # so that the program reads on, and finds the end
        if sock.stamping is not None and data:
            got.stamp_ns = sock.last_received_ns
        return got
    if isinstance(sock, UdpSock):
        packet = sock.recv(peek)
        if packet is None:
            return Received(b"", 0, 0, _reason(sock.recv_errno, flags))
        payload = packet.payload
        if sock.peek_offset >= 0 and peek:
            payload = payload[int(sock.peeked_at) :]
            sock.peek_offset += min(len(payload), size)
        got = _message(payload, size, flags, packet.src, packet.sport)
        if sock.stamping is not None:
            got.stamp_ns = sock.came_ns
        got.segment_bytes = packet.segment_bytes
        target = packet.target
        device = target if isinstance(target, Device) else None
        if device is not None and needs_scope(packet.src):
            got.scope = ip_output.index_of(sock.udp.ip, device)
        if sock.tells:
            got.packet = PacketInfo(
                sock.tells, sock.udp.ip, packet.src, packet.dst, packet.ttl, packet.tos, device
            )  # fmt: skip
            got.packet.flow_label = packet.flow_label
            got.packet.options = packet.options
            got.packet.port = packet.dport
        return got
    if isinstance(sock, PacketSock):
        if flags & MSG_OOB:
            return Received(b"", 0, 0, errno.EOPNOTSUPP)
        taken = sock.recv(peek)
        if taken is None:
            return Received(b"", 0, 0, _reason(sock.recv_errno, flags))
        got = _message(taken.data, size, flags, taken.src, 0)
        if needs_scope(taken.src):
            got.scope = ip_output.index_of(sock.ip, taken.device)
        if sock.stamping is not None:
            got.stamp_ns = sock.came_ns
        if sock.tells:
            got.packet = PacketInfo(sock.tells, sock.ip, taken.src, taken.dst, taken.ttl, taken.tos, taken.device)
        return got
    if isinstance(sock, UnixSock):
        if flags & MSG_OOB:
            return Received(b"", 0, 0, errno.EOPNOTSUPP)
        return _of_unix(sock, sock.recv(size, peek), size, flags)
    if isinstance(sock, ForeignSock) and not flags & MSG_OOB:
        return _of_foreign(sock, size, flags)
    if isinstance(sock, LinkSock):
        if flags & MSG_OOB:
            return Received(b"", 0, 0, errno.EINVAL)
        caught = sock.recv(peek)
        if caught is None:
            return Received(b"", 0, 0, _reason(sock.recv_errno, flags))
        got = _message(caught.data, size, flags, 0, 0)
        got.caught = caught
        if sock.stamping is not None:
            got.stamp_ns = sock.came_ns
        return got
    return Received(b"", 0, 0, errno.EOPNOTSUPP)


def _of_foreign(sock: ForeignSock, size: int, flags: int) -> Received:
    peek = (flags & MSG_PEEK) != 0
    if sock.type == SOCK_DGRAM:
        message = sock.recv_message(peek)
        if message is None:
            return Received(b"", 0, 0, _reason(sock.recv_errno, flags))
        return _message(message[0], size, flags, message[1], message[2])
    data = sock.recv(size, peek)
    return Received(b"", 0, 0, sock.recv_errno) if data is None else Received(data, 0, 0, 0)


def _of_errors(sock: Sock, size: int) -> Received:
    """The oldest report of the error queue; EAGAIN. It is taken whatever the flags: MSG_PEEK does not keep it there."""
    report = sock.take_report()
    if report is None:
        return Received(b"", 0, 0, errno.EAGAIN)
    got = Received(report.payload[:size], report.addr, report.port, 0)
    got.truncated = len(report.payload) > size
    got.report = report
    return got


def recvmsg(sock: Sock, size: int, flags: int) -> Received:
    """As `recvfrom`, with what came beside the data."""
    if not isinstance(sock, UnixSock) or flags & MSG_OOB:
        return recvfrom(sock, size, flags)
    got = _of_unix(sock, sock.receive(size, (flags & MSG_PEEK) != 0), size, flags)
    got.attachment = sock.came
    sock.came = None
    return got


def _of_unix(sock: UnixSock, data: bytes | None, size: int, flags: int) -> Received:
    if data is None:
        return Received(b"", 0, 0, sock.recv_errno)
    if sock.type == SOCK_STREAM:
        return Received(data, 0, 0, 0)
    got = _message(data, size, flags, 0, 0)
    got.name = sock.sender
    return got


def _reason(number: i64, flags: int) -> i64:
    """Why a datagram socket gave nothing: 0, the end, only to a call that would have waited."""
    return errno.EAGAIN if number == 0 and flags & MSG_DONTWAIT else number


def _message(data: bytes, size: int, flags: int, addr: int, port: i64) -> Received:
    if len(data) <= size:
        return Received(data, addr, port, 0)
    got = Received(data[:size], addr, port, 0)
    got.truncated = True
    if flags & MSG_TRUNC:
        got.size = len(data)
    return got


def is_at_end(sock: Sock) -> bool:
    """Whether nothing more will come from a stream after what it has, or an error is next."""
    if isinstance(sock, TcpSock):
        return sock.read_shut or sock.error != 0 or sock.state == CLOSED
    if isinstance(sock, ForeignSock):
        return sock.is_at_end()
    return not isinstance(sock, UnixSock) or sock.is_at_end()


def is_at_mark(sock: Sock) -> bool:
    """Whether urgent data is next, where every read that has something ends."""
    return isinstance(sock, TcpSock) and sock.at_mark()


def read(sock: Sock, size: int) -> Received:
    """read(2) of a socket or a pipe's end."""
    if isinstance(sock, PipeEnd):
        data = sock.read(size)
        if data is None:
            return Received(b"", 0, 0, sock.recv_errno)
        return Received(data, 0, 0, 0)
    if isinstance(sock, (EventFd, TimerFd)):
        data = sock.read(size)
        if data is None:
            return Received(b"", 0, 0, sock.recv_errno)
        return Received(data, 0, 0, 0)
    if isinstance(sock, HostFile):
        data = sock.read(size)
        if data is None:
            return Received(b"", 0, 0, sock.recv_errno)
        return Received(data, 0, 0, 0)
    if isinstance(sock, Epoll):
        return Received(b"", 0, 0, errno.EINVAL)
    return recvfrom(sock, size, 0)


def write(sock: Sock, data: bytes) -> int:
    """write(2) to a socket or a pipe's end: the count of bytes taken, or -errno."""
    if isinstance(sock, PipeEnd):
        return int(sock.write(data))
    if isinstance(sock, EventFd):
        return int(sock.write(data))
    if isinstance(sock, HostFile):
        return sock.write(data)
    if isinstance(sock, (Epoll, TimerFd)):
        return -errno.EINVAL
    return send(sock, data, 0)


def shutdown(sock: Sock, how: int) -> int:
    if how < 0 or how > 2:
        return -errno.EINVAL
    if isinstance(sock, TcpSock):
        return int(sock.shutdown(how))
    if isinstance(sock, UdpSock):
        return int(sock.shutdown(how))
    if isinstance(sock, PacketSock):
        return int(sock.shutdown(how))
    if isinstance(sock, UnixSock):
        return int(sock.shutdown(how))
    if isinstance(sock, ForeignSock):
        return sock.shutdown(how)
    return -errno.EOPNOTSUPP


def close_unused(sock: Sock) -> None:
    """`close`, if no descriptor names the socket any more and no call waits in it."""
    if not sock.descriptors and not sock.held:
        close(sock)


def close(sock: Sock) -> None:
    """The program has let go of the socket; a stream may live on until its data is delivered."""
    if sock.waiters:
        epoll.forget(sock)
        sock.waiters.clear()
    if isinstance(sock, TcpSock):
        sock.close()
    elif isinstance(sock, UdpSock):
        sock.close()
    elif isinstance(sock, (PacketSock, LinkSock)):
        sock.close()
    elif isinstance(sock, UnixSock):
        sock.close()
    elif isinstance(sock, PipeEnd):
        sock.close()
    elif isinstance(sock, Epoll):
        sock.close()
    elif isinstance(sock, TimerFd):
        sock.close()
    elif isinstance(sock, ForeignSock):
        sock.close()
