"""The options of multicast, of both families: ip(7), ipv6(7), and those of RFC 3678 that name a device by its number.

options.py asks here first; None means that the option is not one of these. The structures are those of Linux on 64
bits. What the calls do is in lunar/net/multicast.py.
"""

from __future__ import annotations

import errno
from typing import Final

from mypy_extensions import i64

from lunar.net import multicast
from lunar.net.device import Device
from lunar.net.groups import EXCLUDE, INCLUDE, Multicast, is_multicast
from lunar.net.ip import Ip
from lunar.net.sock import Sock
from lunar.packet import AF_INET, AF_INET6
from lunar.sockets.raw_table import PacketSock
from lunar.tcp.sock import TcpSock
from lunar.udp import UdpSock

IPPROTO_IP: Final = 0
IP_MULTICAST_IF: Final = 32
IP_MULTICAST_TTL: Final = 33
IP_MULTICAST_LOOP: Final = 34
IP_ADD_MEMBERSHIP: Final = 35
IP_DROP_MEMBERSHIP: Final = 36
IP_UNBLOCK_SOURCE: Final = 37
IP_BLOCK_SOURCE: Final = 38
IP_ADD_SOURCE_MEMBERSHIP: Final = 39
IP_DROP_SOURCE_MEMBERSHIP: Final = 40
IP_MSFILTER: Final = 41
MCAST_JOIN_GROUP: Final = 42
MCAST_BLOCK_SOURCE: Final = 43
MCAST_UNBLOCK_SOURCE: Final = 44
MCAST_LEAVE_GROUP: Final = 45
MCAST_JOIN_SOURCE_GROUP: Final = 46
MCAST_LEAVE_SOURCE_GROUP: Final = 47
MCAST_MSFILTER: Final = 48
IP_MULTICAST_ALL: Final = 49

IPPROTO_IPV6: Final = 41
IPV6_MULTICAST_IF: Final = 17
IPV6_MULTICAST_HOPS: Final = 18
IPV6_MULTICAST_LOOP: Final = 19
IPV6_JOIN_GROUP: Final = 20
IPV6_LEAVE_GROUP: Final = 21
IPV6_MULTICAST_ALL: Final = 29

_MREQ_BYTES: Final = 8  # struct ip_mreq
_MREQN_BYTES: Final = 12  # struct ip_mreqn
_MREQ_SOURCE_BYTES: Final = 12
_MREQ6_BYTES: Final = 20  # struct ipv6_mreq
_STORAGE_BYTES: Final = 128  # struct sockaddr_storage
_GROUP_REQ_BYTES: Final = 136
_GROUP_SOURCE_REQ_BYTES: Final = 264
_GROUP_FILTER_BYTES: Final = 144  # without its sources
_MSFILTER_BYTES: Final = 16

_OF_SOURCES: Final = (IP_UNBLOCK_SOURCE, IP_BLOCK_SOURCE, IP_ADD_SOURCE_MEMBERSHIP, IP_DROP_SOURCE_MEMBERSHIP)
_OF_SOURCE_GROUPS: Final = (
    MCAST_UNBLOCK_SOURCE, MCAST_BLOCK_SOURCE, MCAST_JOIN_SOURCE_GROUP, MCAST_LEAVE_SOURCE_GROUP,
)  # fmt: skip


def _ip_of(sock: Sock) -> Ip | None:
    if isinstance(sock, UdpSock):
        return sock.udp.ip
    if isinstance(sock, (TcpSock, PacketSock)):
        return sock.ip
    return None


def of(sock: Sock, family: i64) -> Multicast:
    """The socket's part in multicast, made if it has none yet."""
    found = sock.multicast if family == AF_INET else sock.multicast6
    if found is None:
        found = Multicast(family)
        if family == AF_INET:
            sock.multicast = found
        else:
            sock.multicast6 = found
    return found


def _family_of(sock: Sock, level: int) -> i64:
    """Whose options those of `level` are; 0 if it has none."""
    if level == IPPROTO_IP:
        return AF_INET
    return AF_INET6 if level == IPPROTO_IPV6 and sock.domain == AF_INET6 else 0


def set_integer(sock: Sock, level: int, name: int, value: int) -> int | None:
    """Set an option whose value is an integer, or an index of a device. 0 or -errno."""
    ip = _ip_of(sock)
    family: i64 = _family_of(sock, level)
    if ip is None or family == 0:
        return None
    if family == AF_INET:
        if not IP_MULTICAST_IF <= name <= IP_MULTICAST_ALL:
            return None
    elif not (IPV6_MULTICAST_IF <= name <= IPV6_LEAVE_GROUP or name == IPV6_MULTICAST_ALL) and not (
        MCAST_JOIN_GROUP <= name <= MCAST_MSFILTER
    ):
        return None
    hops = name == (IP_MULTICAST_TTL if family == AF_INET else IPV6_MULTICAST_HOPS)
    if hops:
        if sock.type == 1 or not -1 <= value <= 255:
            return -errno.EINVAL if family == AF_INET or sock.type != 1 else -errno.ENOPROTOOPT
        # -1: the default, which is one hop (RFC 1112, 6.1).
        of(sock, family).ttl = 1 if value == -1 else value
        return 0
    if name == (IP_MULTICAST_LOOP if family == AF_INET else IPV6_MULTICAST_LOOP):
        if family == AF_INET6 and value not in (0, 1):
            return -errno.EINVAL
        of(sock, family).loops = value != 0
        return 0
    if name == (IP_MULTICAST_ALL if family == AF_INET else IPV6_MULTICAST_ALL):
        if family == AF_INET and value not in (0, 1):
            return -errno.EINVAL
        of(sock, family).all = value != 0
        return 0
    return _set_bytes(ip, sock, family, name, (value & 0xFFFF_FFFF).to_bytes(4, "little"))


def set_bytes(sock: Sock, level: int, name: int, value: bytes) -> int | None:
    """Set an option whose value is a structure. 0 or -errno."""
    ip = _ip_of(sock)
    family: i64 = _family_of(sock, level)
    if ip is None or family == 0:
        return None
    if family == AF_INET6 and name == IPV6_MULTICAST_IF and len(value) >= 4:
        return _set_device6(ip, sock, int.from_bytes(value[:4], "little", signed=True))
    if family == AF_INET:
        of_group = name == IP_MULTICAST_IF or IP_ADD_MEMBERSHIP <= name <= MCAST_MSFILTER
        if name in (IP_MULTICAST_TTL, IP_MULTICAST_LOOP) and not value:
            return -errno.EINVAL
    else:
        of_group = name in (IPV6_MULTICAST_IF, IPV6_JOIN_GROUP, IPV6_LEAVE_GROUP) or (
            MCAST_JOIN_GROUP <= name <= MCAST_MSFILTER
        )
    return _set_bytes(ip, sock, family, name, value) if of_group else None


def _set_bytes(ip: Ip, sock: Sock, family: i64, name: int, value: bytes) -> int:
    if name == (IP_MULTICAST_IF if family == AF_INET else IPV6_MULTICAST_IF):
        if family == AF_INET6:
            return -errno.EINVAL if len(value) < 4 else _set_device6(ip, sock, _index(value))
        return _set_device(ip, sock, value)
    if sock.type == 1:
        return -errno.EPROTO  # a stream has one peer
    if MCAST_JOIN_GROUP <= name <= MCAST_MSFILTER:
        return int(_by_number(ip, sock, family, name, value))
    if family == AF_INET6:
        return int(_join6(ip, sock, name, value))
    if name == IP_ADD_MEMBERSHIP or name == IP_DROP_MEMBERSHIP:
        return int(_join(ip, sock, name, value))
    if name in _OF_SOURCES:
        return int(_change_source(ip, sock, name, value))
    return int(_set_filter(ip, sock, value)) if name == IP_MSFILTER else -errno.ENOPROTOOPT


def device_at(ip: Ip, index: i64) -> Device | None:
    """The device of this number, from 1 on."""
    return ip.devices[int(index) - 1] if 1 <= index <= len(ip.devices) else None


def index_of(ip: Ip, device: Device) -> int:
    return ip.devices.index(device) + 1 if device in ip.devices else 0


def _index(value: bytes, at: int = 0) -> int:
    return int.from_bytes(value[at : at + 4], "little", signed=True)


def _address(value: bytes, at: int) -> int:
    return int.from_bytes(value[at : at + 4], "big")


def _device_of(ip: Ip, group: int, address: int, index: i64) -> Device | None:
    """Which device a structure means: by its number, by an address of its own, or as the routes say."""
    if index > 0:
        return device_at(ip, index)
    if address:
        return ip.local.get(address)
    return multicast.device_for(ip, AF_INET, group)


def _set_device(ip: Ip, sock: Sock, value: bytes) -> int:
    """IP_MULTICAST_IF: an address, a `struct ip_mreq`, or a `struct ip_mreqn`."""
    if sock.type == 1:
        return -errno.EINVAL
    if len(value) < 4:
        return -errno.EINVAL
    own = of(sock, AF_INET)
    address = _address(value, 4) if len(value) >= _MREQ_BYTES else _address(value, 0)
    index = _index(value, 8) if len(value) >= _MREQN_BYTES else 0
    if index == 0 and address == 0:
        own.device, own.source = None, 0
        return 0
    device = device_at(ip, index) if index else ip.local.get(address)
    if device is None:
        return -errno.EADDRNOTAVAIL
    if sock.bound_device and sock.bound_device != device.name:
        return -errno.EINVAL
    own.device, own.source = device, address
    return 0


def _set_device6(ip: Ip, sock: Sock, index: int) -> int:
    if sock.type == 1:
        return -errno.ENOPROTOOPT
    own = of(sock, AF_INET6)
    if index == 0:
        own.device = None
        return 0
    device = device_at(ip, index)
    if device is None:
        return -errno.ENODEV
    if sock.bound_device and sock.bound_device != device.name:
        return -errno.EINVAL
    own.device = device
    return 0


def _join(ip: Ip, sock: Sock, name: int, value: bytes) -> i64:
    if len(value) < _MREQ_BYTES:
        return -errno.EINVAL
    group, address = _address(value, 0), _address(value, 4)
    index = _index(value, 8) if len(value) >= _MREQN_BYTES else 0
    joins = name == IP_ADD_MEMBERSHIP
    if joins and not is_multicast(group):
        return -errno.EINVAL
    device = _device_of(ip, group, address, index)
    own = of(sock, AF_INET)
    if not joins:
        if device is None:
            # Linux looks for a membership that the structure may mean before it says that there is no such device.
            return -errno.EADDRNOTAVAIL if address or index else -errno.ENODEV
        return multicast.leave(ip, own, group, device)
    return -errno.ENODEV if device is None else multicast.join(ip, own, group, device)


def _join6(ip: Ip, sock: Sock, name: int, value: bytes) -> i64:
    """IPV6_JOIN_GROUP and IPV6_LEAVE_GROUP, whose structure names the device by its number."""
    if len(value) < _MREQ6_BYTES:
        return -errno.EINVAL
    group = int.from_bytes(value[:16], "big")
    index = _index(value, 16)
    joins = name == IPV6_JOIN_GROUP
    if joins and not is_multicast(group):
        return -errno.EINVAL
    own = of(sock, AF_INET6)
    device = device_at(ip, index) if index else _default6(ip, group)
    if not joins:
        if device is None:
            return -errno.EADDRNOTAVAIL
        return multicast.leave(ip, own, group, device)
    return -errno.ENODEV if device is None else multicast.join(ip, own, group, device)


def _default6(ip: Ip, group: int) -> Device | None:
    """By which device IPv6 hears a group where none is named: the first with an IPv6 address that is not lo."""
    found = multicast.device_for(ip, AF_INET6, group)
    if found is not None:
        return found
    for device in ip.devices:
        if device.up and device is not ip.loopback_device() and device.primary_address(AF_INET6):
            return device
    return None


def _mode_and_adding(name: int) -> tuple[i64, bool]:
    """What an option does to which list of sources."""
    if name == IP_BLOCK_SOURCE or name == MCAST_BLOCK_SOURCE:
        return EXCLUDE, True
    if name == IP_UNBLOCK_SOURCE or name == MCAST_UNBLOCK_SOURCE:
        return EXCLUDE, False
    return INCLUDE, name == IP_ADD_SOURCE_MEMBERSHIP or name == MCAST_JOIN_SOURCE_GROUP


def _change_source(ip: Ip, sock: Sock, name: int, value: bytes) -> i64:
    """`struct ip_mreq_source`: group, an address of the device, source."""
    if len(value) < _MREQ_SOURCE_BYTES:
        return -errno.EINVAL
    group, address, source = _address(value, 0), _address(value, 4), _address(value, 8)
    if not is_multicast(group):
        return -errno.EINVAL
    device = _device_of(ip, group, address, 0)
    if device is None:
        return -errno.ENODEV
    mode, adds = _mode_and_adding(name)
    return multicast.change_source(ip, of(sock, AF_INET), group, device, source, mode, adds)


def _set_filter(ip: Ip, sock: Sock, value: bytes) -> i64:
    """`struct ip_msfilter`: group, an address of the device, mode, how many sources, and the sources."""
    if len(value) < _MSFILTER_BYTES:
        return -errno.EINVAL
    group, address, mode, count = _address(value, 0), _address(value, 4), _index(value, 8), _index(value, 12)
    if count > ip.igmp_max_msf:
        return -errno.ENOBUFS
    if count < 0 or _MSFILTER_BYTES + 4 * count > len(value):
        return -errno.EINVAL
    sources = [_address(value, _MSFILTER_BYTES + 4 * at) for at in range(count)]
    return _filter(ip, sock, AF_INET, group, _device_of(ip, group, address, 0), mode, sources)


def _filter(
    ip: Ip, sock: Sock, family: i64, group: int, device: Device | None, mode: int, sources: list[int]
) -> i64:
    if not is_multicast(group) or mode not in (EXCLUDE, INCLUDE):
        return -errno.EINVAL
    if device is None:
        return -errno.ENODEV
    return multicast.set_filter(ip, of(sock, family), group, device, mode, sources)


def _storage(value: bytes, at: int) -> tuple[i64, int]:
    """The family and the address of a `struct sockaddr_storage`."""
    family = int.from_bytes(value[at : at + 2], "little")
    if family == AF_INET:
        return AF_INET, _address(value, at + 4)
    if family == AF_INET6:
        return AF_INET6, int.from_bytes(value[at + 8 : at + 24], "big")
    return 0, 0


def _by_number(ip: Ip, sock: Sock, family: i64, name: int, value: bytes) -> i64:
    """RFC 3678's options for either family, whose structures name the device by its number."""
    needed = _GROUP_REQ_BYTES
    if name in _OF_SOURCE_GROUPS:
        needed = _GROUP_SOURCE_REQ_BYTES
    elif name == MCAST_MSFILTER:
        needed = _GROUP_FILTER_BYTES
    if len(value) < needed:
        return -errno.EINVAL
    of_family, group = _storage(value, 8)
    if of_family != family:
        return -errno.EADDRNOTAVAIL if name in _OF_SOURCE_GROUPS or name == MCAST_MSFILTER else -errno.EINVAL
    index = _index(value)
    device = device_at(ip, index) if index else multicast.device_for(ip, family, group)
    if name == MCAST_MSFILTER:
        count = _index(value, 140)
        if count < 0 or _GROUP_FILTER_BYTES + _STORAGE_BYTES * count > len(value):
            return -errno.EINVAL
        if count > (ip.igmp_max_msf if family == AF_INET else ip.mld_max_msf):
            return -errno.ENOBUFS
        sources = [_storage(value, _GROUP_FILTER_BYTES + _STORAGE_BYTES * at)[1] for at in range(count)]
        return _filter(ip, sock, family, group, device, _index(value, 136), sources)
    if not is_multicast(group):
        return -errno.EINVAL
    if device is None:
        return -errno.ENODEV
    own = of(sock, family)
    if name == MCAST_JOIN_GROUP:
        return multicast.join(ip, own, group, device)
    if name == MCAST_LEAVE_GROUP:
        return multicast.leave(ip, own, group, device)
    source_family, source = _storage(value, 136)
    if source_family != family:
        return -errno.EADDRNOTAVAIL
    mode, adds = _mode_and_adding(name)
    return multicast.change_source(ip, own, group, device, source, mode, adds)


def get_integer(sock: Sock, level: int, name: int) -> int | None:
    """The value of an option."""
    ip = _ip_of(sock)
    family: i64 = _family_of(sock, level)
    if ip is None or family == 0:
        return None
    own = sock.multicast if family == AF_INET else sock.multicast6
    if name == (IP_MULTICAST_TTL if family == AF_INET else IPV6_MULTICAST_HOPS):
        return 1 if own is None else int(own.ttl)
    if name == (IP_MULTICAST_LOOP if family == AF_INET else IPV6_MULTICAST_LOOP):
        return int(own is None or own.loops)
    if name == (IP_MULTICAST_ALL if family == AF_INET else IPV6_MULTICAST_ALL):
        return int(own is None or own.all)
    if family == AF_INET6 and name == IPV6_MULTICAST_IF:
        return 0 if own is None or own.device is None else index_of(ip, own.device)
    return None


def get_bytes(sock: Sock, level: int, name: int) -> bytes | None:
    """IP_MULTICAST_IF is an address: the one that it was set by."""
    if level == IPPROTO_IP and name == IP_MULTICAST_IF and _ip_of(sock) is not None:
        return (0 if sock.multicast is None else sock.multicast.source).to_bytes(4, "big")
    return None
