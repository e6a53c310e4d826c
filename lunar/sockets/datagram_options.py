"""The options of datagram and raw sockets beside those of all: socket(7), ip(7), udp(7); the device for any of them.

options.py asks here first; None means that the option is not one of these. Those of groups are in multicast_options.py,
of the error queue in report_options.py.
"""

from __future__ import annotations

import errno
from typing import Final

from mypy_extensions import i64

from lunar.net import ip_output, ipv4_options, path_mtu, sock_route
from lunar.net.datagram_sock import DatagramSock
from lunar.net.ip import Ip
from lunar.net.sock import Sock
from lunar.packet import AF_INET
from lunar.sockets import packet_info
from lunar.sockets.raw_table import PacketSock
from lunar.tcp.sock import TcpSock
from lunar.udp import UdpSock

SOL_SOCKET: Final = 1
SO_NO_CHECK: Final = 11
SO_BINDTODEVICE: Final = 25
SO_SNDBUFFORCE: Final = 32
SO_RCVBUFFORCE: Final = 33
SO_RXQ_OVFL: Final = 40
SO_PEEK_OFF: Final = 42
SO_MEMINFO: Final = 55
SO_BINDTOIFINDEX: Final = 62

IPPROTO_IP: Final = 0
IP_OPTIONS: Final = 4
IP_RECVOPTS: Final = 6
IP_MTU: Final = 14
IP_RECVORIGDSTADDR: Final = 20
IP_BIND_ADDRESS_NO_PORT: Final = 24
IP_UNICAST_IF: Final = 50
IP_PROTOCOL: Final = 52

IPPROTO_UDP: Final = 17
UDP_NO_CHECK6_TX: Final = 101
UDP_NO_CHECK6_RX: Final = 102
UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104

_SEGMENT_MAX: Final = 0xFFFF
_NAME_BYTES: Final = 16  # IFNAMSIZ
_OPTIONS_MAX: Final = 40
_SNDBUF_MIN: Final = 4608
_RCVBUF_MIN: Final = 2304
_BUFFER_MAX: Final = 0x3FFF_FFFF


def _host_of(sock: Sock) -> Ip | None:
    """The network layer of any socket's host that may be bound to a device."""
    return sock.ip if isinstance(sock, TcpSock) else ip_of(sock)


def ip_of(sock: Sock) -> Ip | None:
    """The network layer of a datagram or raw socket's host; None for others."""
    if isinstance(sock, UdpSock):
        return sock.udp.ip
    return sock.ip if isinstance(sock, PacketSock) else None


def told_by(name: int) -> i64:
    """The bit of `Sock.tells` for an option of IPPROTO_IP; 0 for one that has none."""
    if name == IP_RECVOPTS:
        return packet_info.TELL_OPTIONS
    return packet_info.TELL_DESTINATION if name == IP_RECVORIGDSTADDR else 0


def set_integer(sock: Sock, level: int, name: int, value: int) -> int | None:
    """Set an option. 0 or -errno."""
    ip = ip_of(sock)
    if level == SOL_SOCKET and name == SO_BINDTOIFINDEX:
        return _bind_by_number(sock, value)
    if level == SOL_SOCKET and name == SO_BINDTODEVICE and isinstance(sock, TcpSock):
        return -errno.EINVAL  # an integer is no name
    if level == SOL_SOCKET and isinstance(sock, DatagramSock):
        return _set_of_socket(sock, ip, name, value)
    if ip is None:
        return None
    if level == IPPROTO_IP:
        bit: i64 = told_by(name)
        if bit:
            sock.tells = sock.tells | bit if value else sock.tells & ~bit
            return 0
        if name == IP_UNICAST_IF:
            return _set_unicast_device(sock, ip, value)
        if name == IP_BIND_ADDRESS_NO_PORT and isinstance(sock, UdpSock):
            sock.port_later = value != 0
            return 0
        if name == IP_OPTIONS:
            return _set_options(sock, ip, (value & 0xFFFF_FFFF).to_bytes(4, "little"))
    if level == IPPROTO_UDP and isinstance(sock, UdpSock):
        if name == UDP_SEGMENT:
            if not 0 <= value <= _SEGMENT_MAX:
                return -errno.EINVAL
            sock.segment_bytes = value
        elif name == UDP_GRO:
            sock.takes_segments = value != 0
        elif name == UDP_NO_CHECK6_TX:
            sock.sends_unchecked6 = value != 0
        elif name == UDP_NO_CHECK6_RX:
            sock.takes_unchecked6 = value != 0
        else:
            return None
        return 0
    return None


def _set_of_socket(sock: DatagramSock, ip: Ip | None, name: int, value: int) -> int | None:
    if name == SO_RXQ_OVFL:
        sock.tells_drops = value != 0
        return 0
    if name == SO_SNDBUFFORCE:
        sock.sndbuf = max(2 * min(max(value, 0), _BUFFER_MAX), _SNDBUF_MIN)
        return 0
    if name == SO_RCVBUFFORCE:
        sock.rcvbuf = max(2 * min(max(value, 0), _BUFFER_MAX), _RCVBUF_MIN)
        return 0
    if ip is None:
        return None
    if isinstance(sock, UdpSock):
        if name == SO_PEEK_OFF:
            sock.peek_offset = value
            return 0
        if name == SO_NO_CHECK:
            sock.sends_unchecked = value != 0
            return 0
    elif name == SO_PEEK_OFF:
        return -errno.EOPNOTSUPP
    return None


def _bind_by_number(sock: Sock, value: int) -> int | None:
    ip = _host_of(sock)
    if ip is None:
        return None
    if value < 0:
        return -errno.EINVAL
    device = ip_output.device_at(ip, value)
    if value and device is None:
        return -errno.ENODEV
    sock.bound_device = "" if device is None else device.name
    return 0


def _set_unicast_device(sock: Sock, ip: Ip, value: int) -> int:
    """The device's number, in the order of the network; 0 for any."""
    index = int.from_bytes((value & 0xFFFF_FFFF).to_bytes(4, "little"), "big")
    if index == 0:
        sock.unicast_device = None
        return 0
    device = ip_output.device_at(ip, index)
    if device is None:
        return -errno.EADDRNOTAVAIL
    if sock.bound_device and sock.bound_device != device.name:
        return -errno.EINVAL
    sock.unicast_device = device
    return 0


def set_bytes(sock: Sock, level: int, name: int, value: bytes) -> int | None:
    """Set an option whose value is a name or a list."""
    ip = _host_of(sock)
    if ip is None:
        return None
    if level == SOL_SOCKET and name == SO_BINDTODEVICE:
        device = value[: _NAME_BYTES - 1].partition(b"\0")[0].decode("latin-1")
        if device and sock_route.named(ip, device) is None:
            return -errno.ENODEV
        sock.bound_device = device
        return 0
    if level == IPPROTO_IP and name == IP_OPTIONS and not isinstance(sock, TcpSock):
        return _set_options(sock, ip, value)
    return None


def _set_options(sock: Sock, ip: Ip, value: bytes) -> int:
    """IP_OPTIONS: they are padded to whole words with ends of the list. EINVAL for what is no list, and for a source
    route.
    """
    if len(value) > _OPTIONS_MAX:
        return -errno.EINVAL
    padded = value + bytes(-len(value) % 4)
    found = ipv4_options.read(ip, padded, 0, False)
    if found.problem >= 0 or found.source_at >= 0:
        return -errno.EINVAL
    sock.ip_options = padded
    return 0


def get_integer(sock: Sock, level: int, name: int) -> int | None:
    """The value of an option, or -errno."""
    ip = ip_of(sock)
    if level == SOL_SOCKET and name == SO_BINDTOIFINDEX:
        host = _host_of(sock)
        if host is None:
            return None
        device = sock_route.named(host, sock.bound_device)
        return 0 if device is None else int(ip_output.index_of(host, device))
    if level == SOL_SOCKET and isinstance(sock, DatagramSock):
        if name == SO_RXQ_OVFL:
            return int(sock.tells_drops)
        if name == SO_NO_CHECK and isinstance(sock, UdpSock):
            return int(sock.sends_unchecked)
        if name == SO_PEEK_OFF and isinstance(sock, PacketSock):
            return -errno.EOPNOTSUPP
        return None
    if ip is None:
        return None
    if level == IPPROTO_IP:
        bit: i64 = told_by(name)
        if bit:
            return int(sock.tells & bit != 0)
        if name == IP_UNICAST_IF:
            device = sock.unicast_device
            index = 0 if device is None else int(ip_output.index_of(ip, device))
            return int.from_bytes(index.to_bytes(4, "big"), "little", signed=True)
        if name == IP_BIND_ADDRESS_NO_PORT and isinstance(sock, UdpSock):
            return int(sock.port_later)
        if name == IP_MTU:
            return _path_mtu(sock, ip)
        if name == IP_PROTOCOL:
            return 0 if isinstance(sock, UdpSock) else int(sock.protocol)
    if level == IPPROTO_UDP and isinstance(sock, UdpSock):
        if name == UDP_SEGMENT:
            return int(sock.segment_bytes)
        if name == UDP_GRO:
            return int(sock.takes_segments)
        if name == UDP_NO_CHECK6_TX:
            return int(sock.sends_unchecked6)
        if name == UDP_NO_CHECK6_RX:
            return int(sock.takes_unchecked6)
    return None


def _path_mtu(sock: Sock, ip: Ip) -> int:
    """IP_MTU: of the way to the peer. ENOTCONN without one."""
    connected = sock.connected if isinstance(sock, PacketSock) else sock.remote_port != 0
    if not connected or sock.family != AF_INET:
        return -errno.ENOTCONN
    route = sock_route.route_out(ip, sock, AF_INET, sock.remote_addr)
    if route is None:
        return -errno.ENOTCONN
    return min(int(path_mtu.mtu(ip, route, sock.remote_addr)), 0xFFFF)


def get_bytes(sock: Sock, level: int, name: int, size: int) -> bytes | None:
    """SO_BINDTODEVICE, SO_MEMINFO, SO_PEEK_OFF, which may be -1, IP_OPTIONS."""
    ip = ip_of(sock)
    if level == SOL_SOCKET and name == SO_BINDTODEVICE and _host_of(sock) is not None:
        return sock.bound_device.encode("latin-1") + b"\0" if sock.bound_device else b""
    if level == SOL_SOCKET and isinstance(sock, DatagramSock):
        if name == SO_MEMINFO:
            return _memory(sock)
        if name == SO_PEEK_OFF and isinstance(sock, UdpSock):
            return int(sock.peek_offset).to_bytes(4, "little", signed=True)
    if level == IPPROTO_IP and name == IP_OPTIONS and ip is not None:
        return sock.ip_options
    return None


def _memory(sock: DatagramSock) -> bytes:
    """SK_MEMINFO_*: received and not read, SO_RCVBUF, sent and not gone, SO_SNDBUF, in hand, queued, of options,
    backlog, dropped. What is sent is the device's at once.
    """
    words = (sock.queued_bytes, sock.rcvbuf, 0, sock.sndbuf, 0, 0, 0, 0, sock.drops)
    return b"".join(int(word).to_bytes(4, "little") for word in words)
