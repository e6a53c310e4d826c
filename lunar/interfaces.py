"""The devices of a host as netdevice(7) tells of them: the ioctl(2) requests whose argument is a `struct ifreq`.

Those that change a device are the tools' (lunar/net_tools), and refused here with EPERM. Requests about what is queued
at a socket are in lunar/sockets/ioctl.py.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from lunar.net.device import Device
from lunar.packet import AF_INET
from lunar.wire.address import network_mask

if TYPE_CHECKING:
    from lunar.host import Host

SIOCGIFNAME: Final = 0x8910
SIOCGIFCONF: Final = 0x8912
SIOCGIFFLAGS: Final = 0x8913
SIOCGIFADDR: Final = 0x8915
SIOCGIFDSTADDR: Final = 0x8917
SIOCGIFBRDADDR: Final = 0x8919
SIOCGIFNETMASK: Final = 0x891B
SIOCGIFMETRIC: Final = 0x891D
SIOCGIFMTU: Final = 0x8921
SIOCGIFHWADDR: Final = 0x8927
SIOCGIFINDEX: Final = 0x8933
SIOCGIFTXQLEN: Final = 0x8942
# Those that set what the ones above tell, and SIOCADDRT, SIOCDELRT.
_CHANGES: Final = (
    0x890B, 0x890C, 0x8914, 0x8916, 0x8918, 0x891A, 0x891C, 0x891E, 0x8922, 0x8923, 0x8924, 0x8943,
)  # fmt: skip

IFNAMSIZ: Final = 16
IFREQ_BYTES: Final = 40  # sizeof(struct ifreq)

# net/if.h
IFF_UP: Final = 0x1
IFF_BROADCAST: Final = 0x2
IFF_LOOPBACK: Final = 0x8
IFF_RUNNING: Final = 0x40
IFF_MULTICAST: Final = 0x1000

# net/if_arp.h
_ARPHRD_ETHER: Final = 1
_ARPHRD_LOOPBACK: Final = 772

_TX_QUEUE_FRAMES: Final = 1000


def is_of_inet(request: int) -> bool:
    """Whether only AF_INET and AF_INET6 sockets know `request`: it is about an address (ENOTTY)."""
    return request in (SIOCGIFADDR, SIOCGIFDSTADDR, SIOCGIFBRDADDR, SIOCGIFNETMASK)


def is_of_device(request: int) -> bool:
    """Whether `request` is one of netdevice(7)'s, whose argument is a `struct ifreq`."""
    return SIOCGIFNAME <= request <= SIOCGIFTXQLEN + 1 or request in _CHANGES


def device(host: Host, request: int, ifreq: bytes) -> bytes | int:
    """`ifreq` as the kernel leaves it, or -errno: ENODEV, EADDRNOTAVAIL, EPERM, EFAULT, ENOTTY."""
    if request in _CHANGES:
        return -errno.EPERM
    if len(ifreq) < IFREQ_BYTES:
        return -errno.EFAULT
    if request == SIOCGIFNAME:
        found = device_with_index(host, struct.unpack_from("i", ifreq, IFNAMSIZ)[0])
        return -errno.ENODEV if found is None else found.name.encode().ljust(IFNAMSIZ, b"\0") + ifreq[IFNAMSIZ:]
    # A name ends at a zero, and "eth0:1" is a second name of eth0.
    name = ifreq[:IFNAMSIZ].partition(b"\0")[0].decode("latin-1").partition(":")[0]
    found = host.devices.get(name)
    if found is None:
        return -errno.ENODEV
    value = _value(host, found, request)
    if isinstance(value, int):
        return value
    return ifreq[:IFNAMSIZ] + value + ifreq[IFNAMSIZ + len(value) :]


def _value(host: Host, found: Device, request: int) -> bytes | int:
    if request == SIOCGIFFLAGS:
        return struct.pack("h", flags(found))
    if request == SIOCGIFMTU:
        return struct.pack("i", found.mtu)
    if request == SIOCGIFINDEX:
        return struct.pack("i", index_of(host, found))
    if request == SIOCGIFMETRIC:
        return struct.pack("i", 0)
    if request == SIOCGIFTXQLEN:
        return struct.pack("i", _TX_QUEUE_FRAMES)
    if request == SIOCGIFHWADDR:
        family = _ARPHRD_LOOPBACK if found.name == "lo" else _ARPHRD_ETHER
        return struct.pack("H", family) + int(found.mac).to_bytes(6, "big")
    if request in (SIOCGIFADDR, SIOCGIFDSTADDR, SIOCGIFBRDADDR, SIOCGIFNETMASK):
        own = next((address for address in found.addresses if address.family == AF_INET), None)
        if own is None:
            return -errno.EADDRNOTAVAIL
        if request == SIOCGIFNETMASK:
            return inet_address(network_mask(int(own.prefix)))
        return inet_address(own.broadcast if request == SIOCGIFBRDADDR else own.address)
    return -errno.ENOTTY


def inet_address(address: int) -> bytes:
    """A `struct sockaddr_in` without a port."""
    return struct.pack("<H", AF_INET) + struct.pack(">HI8x", 0, address)


def flags(found: Device) -> int:
    """IFF_UP and the like."""
    kind = IFF_LOOPBACK if found.name == "lo" else IFF_BROADCAST | IFF_MULTICAST
    if not found.up:
        return kind
    return kind | IFF_UP | (IFF_RUNNING if found.plugged else 0)


def index_of(host: Host, found: Device) -> int:
    """The number of a device, from 1 in the order of their making."""
    return list(host.devices.values()).index(found) + 1


def device_with_index(host: Host, index: int) -> Device | None:
    devices = list(host.devices.values())
    return devices[index - 1] if 1 <= index <= len(devices) else None


def interfaces(host: Host) -> bytes:
    """What SIOCGIFCONF tells: a `struct ifreq` with an address for each address of each device."""
    return b"".join(
        found.name.encode().ljust(IFNAMSIZ, b"\0") + inet_address(own.address).ljust(IFREQ_BYTES - IFNAMSIZ, b"\0")
        for found in host.devices.values()
        for own in found.addresses
        if own.family == AF_INET
    )
