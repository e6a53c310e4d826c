"""The options of AF_INET6 sockets, ipv6(7) and RFC 3542: what is sent over IPv6, and what is told of what came.

options.py asks here first; None means that the option is not one of these. IPV6_RECVERR is in report_options.py, groups
are in multicast_options.py. What is about the header is kept in `Ipv6Options`, as bits of `Sock.tells` what recvmsg(2)
tells. Refused are options about extension headers and flow labels, which no program that we know sets.
"""

from __future__ import annotations

import errno
import struct
from typing import Final

from mypy_extensions import i64

from lunar.net import ip_output, path_mtu
from lunar.net.ip import Ip
from lunar.net.ipv6_options import Ipv6Options
from lunar.net.sock import COVERS_BOTH, COVERS_IPV4, COVERS_IPV6, Sock
from lunar.packet import AF_INET, AF_INET6
from lunar.sockets import packet_info
from lunar.sockets.raw_table import PacketSock
from lunar.sockets.report_options import IPV6_RECVERR
from lunar.tcp.sock import TcpSock
from lunar.udp import UdpSock

IPPROTO_IPV6: Final = 41
IPV6_ADDRFORM: Final = 1
IPV6_FLOWINFO: Final = 11
IPV6_UNICAST_HOPS: Final = 16
IPV6_MTU_DISCOVER: Final = 23
IPV6_MTU: Final = 24
IPV6_V6ONLY: Final = 26
IPV6_RECVPKTINFO: Final = 49
IPV6_PKTINFO: Final = 50
IPV6_RECVHOPLIMIT: Final = 51
IPV6_HOPLIMIT: Final = 52
IPV6_PATHMTU: Final = 61
IPV6_DONTFRAG: Final = 62
IPV6_RECVTCLASS: Final = 66
IPV6_TCLASS: Final = 67
IPV6_AUTOFLOWLABEL: Final = 70
IPV6_UNICAST_IF: Final = 76
IPV6_FREEBIND: Final = 78

# Those that want four bytes.
_INTEGERS: Final = (
    IPV6_ADDRFORM, IPV6_UNICAST_HOPS, IPV6_MTU_DISCOVER, IPV6_MTU, IPV6_RECVERR, IPV6_V6ONLY, IPV6_TCLASS,
    IPV6_UNICAST_IF, IPV6_FREEBIND,
)  # fmt: skip

_PMTUDISC_OMIT: Final = 5  # the last of IPV6_PMTUDISC_*
PKTINFO_BYTES: Final = 20  # sizeof(struct in6_pktinfo)
_IN6_BYTES: Final = 28  # sizeof(struct sockaddr_in6)


def _told_by(name: int) -> i64:
    """The bit of `Sock.tells` for an option; 0 for one that has none."""
    if name == IPV6_RECVPKTINFO:
        return packet_info.TELL6_ADDRESSES
    if name == IPV6_RECVHOPLIMIT:
        return packet_info.TELL6_HOP_LIMIT
    if name == IPV6_FLOWINFO:
        return packet_info.TELL6_FLOW
    return packet_info.TELL6_CLASS if name == IPV6_RECVTCLASS else 0


def _ip_of(sock: Sock) -> Ip | None:
    if isinstance(sock, (TcpSock, PacketSock)):
        return sock.ip
    return sock.udp.ip if isinstance(sock, UdpSock) else None


def set_integer(sock: Sock, level: int, name: int, value: int) -> int | None:
    """Set an option. 0 or -errno (EINVAL, EADDRNOTAVAIL, ENOTCONN)."""
    six = sock.ipv6
    if level != IPPROTO_IPV6 or six is None:
        return None
    bit: i64 = _told_by(name)
    if bit:
        sock.tells = sock.tells | bit if value else sock.tells & ~bit
    elif name == IPV6_V6ONLY:
        if sock.local_port:
            return -errno.EINVAL  # what is bound has taken its port from one family or both
        sock.v6only = value != 0
        sock.covers = COVERS_IPV6 if sock.v6only else COVERS_BOTH
    elif name == IPV6_UNICAST_HOPS:
        if not -1 <= value <= 255:
            return -errno.EINVAL
        six.hop_limit = value
    elif name == IPV6_TCLASS:
        if not -1 <= value <= 255:
            return -errno.EINVAL
        # The two bits of ECN are TCP's own.
        six.traffic_class = max(value, 0) & (0xFC if isinstance(sock, TcpSock) else 0xFF)
    elif name == IPV6_MTU_DISCOVER:
        if not 0 <= value <= _PMTUDISC_OMIT:
            return -errno.EINVAL
        six.mtu_discover = value
    elif name == IPV6_MTU:
        if value and value < path_mtu.IPV6_MIN_MTU:
            return -errno.EINVAL
        six.largest = value
    elif name == IPV6_DONTFRAG:
        six.dont_fragment = value != 0
    elif name == IPV6_AUTOFLOWLABEL:
        six.labels_flows = int(value != 0)
        six.flow_label = -1
    elif name == IPV6_FREEBIND:
        sock.freebind = value != 0
    elif name == IPV6_UNICAST_IF:
        return _set_device(sock, six, value)
    elif name == IPV6_PKTINFO:
        return -errno.EINVAL  # an integer is too short for it
    elif name == IPV6_ADDRFORM:
        return _become_ipv4(sock, value)
    else:
        return None
    return 0


def _set_device(sock: Sock, six: Ipv6Options, value: int) -> int:
    """IPV6_UNICAST_IF: by which device packets leave, its number in the order of the network; 0 for any."""
    index = int.from_bytes((value & 0xFFFF_FFFF).to_bytes(4, "little"), "big")
    ip = _ip_of(sock)
    if index and (ip is None or ip_output.device_at(ip, index) is None):
        return -errno.EADDRNOTAVAIL
    six.device_index = index
    return 0


def _become_ipv4(sock: Sock, value: int) -> int:
    """IPV6_ADDRFORM, ipv6(7): a socket that is connected to a mapped address becomes one of AF_INET."""
    if value != AF_INET:
        return -errno.EINVAL
    connected = sock.is_connected() if isinstance(sock, TcpSock) else sock.remote_port != 0
    if not connected:
        return -errno.ENOTCONN
    if sock.v6only or sock.family != AF_INET:
        return -errno.EADDRNOTAVAIL
    sock.domain = AF_INET
    sock.covers = COVERS_IPV4
    sock.ipv6 = None
    return 0


def get_integer(sock: Sock, level: int, name: int) -> int | None:
    """The value of an option, or -errno (ENOTCONN, EINVAL)."""
    six = sock.ipv6
    if level != IPPROTO_IPV6 or six is None:
        return None
    bit: i64 = _told_by(name)
    if bit:
        return int(sock.tells & bit != 0)
    found: i64 = 0
    if name == IPV6_V6ONLY:
        found = int(sock.v6only)
    elif name == IPV6_UNICAST_HOPS:
        ip = _ip_of(sock)
        found = six.hop_limit if six.hop_limit >= 0 or ip is None else ip.inet6.hop_limit
    elif name == IPV6_TCLASS:
        found = six.traffic_class
    elif name == IPV6_MTU_DISCOVER:
        found = six.mtu_discover
    elif name == IPV6_MTU:
        found = _mtu(sock)
    elif name == IPV6_DONTFRAG:
        found = int(six.dont_fragment)
    elif name == IPV6_AUTOFLOWLABEL:
        ip = _ip_of(sock)
        found = int(ip is not None and six.wants_labels(ip))
    elif name == IPV6_FREEBIND:
        found = int(sock.freebind)
    elif name == IPV6_UNICAST_IF:
        found = int.from_bytes(int(six.device_index).to_bytes(4, "big"), "little")
    elif name == IPV6_ADDRFORM:
        return -errno.ENOTCONN
    elif name == IPV6_PATHMTU:
        # An integer is too short for it.
        return -errno.ENOTCONN if _mtu(sock) < 0 else -errno.EINVAL
    else:
        return None
    return int(found)


def _mtu(sock: Sock) -> i64:
    """What the path to the peer takes; -ENOTCONN without one."""
    if isinstance(sock, TcpSock):
        mtu: i64 = sock.path_mtu()
        return mtu if mtu > 0 else -errno.ENOTCONN
    ip = _ip_of(sock)
    if ip is None or sock.remote_addr == 0:
        return -errno.ENOTCONN
    route = ip_output.route_for(ip, sock.family, sock.remote_addr, sock)
    return -errno.ENOTCONN if route is None else path_mtu.mtu(ip, route, sock.remote_addr)


def set_bytes(sock: Sock, level: int, name: int, value: bytes) -> int | None:
    """Set an option from the bytes that C passes: a `struct in6_pktinfo`; too few for an integer are EINVAL, but for
    some options a zero.
    """
    six = sock.ipv6
    if level != IPPROTO_IPV6 or six is None:
        return None
    if name == IPV6_PKTINFO:
        if len(value) < PKTINFO_BYTES:
            return -errno.EINVAL
        return _set_packet_info(sock, six, value)
    if len(value) >= 4:
        return None
    if name in (IPV6_DONTFRAG, IPV6_AUTOFLOWLABEL):
        return set_integer(sock, level, name, 0)
    return -errno.EINVAL if name in _INTEGERS or _told_by(name) else None


def _set_packet_info(sock: Sock, six: Ipv6Options, value: bytes) -> int:
    """IPV6_PKTINFO, RFC 3542 (6.2): the source and the device of what is sent, unless a message says otherwise."""
    index = struct.unpack_from("I", value, 16)[0]
    ip = _ip_of(sock)
    if index and (ip is None or ip_output.device_at(ip, index) is None):
        return -errno.ENODEV
    six.source = int.from_bytes(value[:16], "big")
    six.device_index = index
    return 0


def get_bytes(sock: Sock, level: int, name: int, size: int) -> bytes | None:
    """IPV6_PATHMTU, RFC 3542 (11.4): a `struct ip6_mtuinfo`, the peer's address and the MTU."""
    if level != IPPROTO_IPV6 or name != IPV6_PATHMTU or sock.ipv6 is None or size < _IN6_BYTES + 4:
        return None
    mtu: i64 = _mtu(sock)
    if mtu < 0:
        return None
    address = struct.pack("=HHI", AF_INET6, 0, 0) + sock.remote_addr.to_bytes(16, "big") + bytes(4)
    return address + int(mtu).to_bytes(4, "little")
