"""A TUN or TAP device: what the machine's kernel sends to it can be read, and what is written comes in at it.

A TUN device carries IP packets, a TAP device Ethernet frames. The device is gone when its file is closed, unless it was
there before and somebody wants it to stay (ip tuntap add; a user who may not make one can be given one so). By itself
it takes no offloads: the kernel cuts what it sends into segments of the MSS, with their checksums. Read the kernel's
Documentation/networking/tuntap.rst and netdevice(7); the header before each packet of a device that cuts segments
itself is that of virtio 1.2, section 5.1.6.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Sequence
from typing import Final

from lunar.kernel.namespace import KernelUnavailable, Namespace

# linux/if_tun.h
IFF_TUN: Final = 0x0001
IFF_TAP: Final = 0x0002
_IFF_NO_PI: Final = 0x1000
_IFF_VNET_HDR: Final = 0x4000
_TUNSETIFF: Final = 0x4004_54CA
_TUNSETOFFLOAD: Final = 0x4004_54D0
# Checksums, and the segmentation of TCP over IPv4 and IPv6, of segments with ECN's bits too.
_TUN_F_CSUM, _TUN_F_TSO4, _TUN_F_TSO6, _TUN_F_TSO_ECN = 0x01, 0x02, 0x04, 0x08

# struct virtio_net_hdr: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset.
_HEADER: Final = struct.Struct("=BBHHHH")
_NEEDS_CHECKSUM: Final = 1
_GSO_TCPV4, _GSO_TCPV6 = 1, 4
_CHECKSUM_OFFSET: Final = 16  # in TCP's header

_DEVICE: Final = "/dev/net/tun"

# linux/sockios.h, net/if.h
_SIOCGIFFLAGS: Final = 0x8913
_SIOCGIFMTU: Final = 0x8921
_IFF_UP: Final = 0x1

# How many frames wait for us, as the driver is not always at once there. A sender of the kernel's is not held back by
# a queue that is full: what it sends is lost.
_QUEUE_FRAMES: Final = 10_000


class TunDevice:
    """The device `name` in `namespace`, not yet up. `kind` is IFF_TUN or IFF_TAP. Reading and writing never block.
    With `cuts_segments` the kernel hands it segments larger than the MSS.

    Raises `KernelUnavailable` where the machine has no such devices or gives this user none.
    """

    def __init__(self, namespace: Namespace, name: str, kind: int, *, cuts_segments: bool = False) -> None:
        self.name = name
        self._namespace = namespace
        self._header = _HEADER.size if cuts_segments else 0
        flags = kind | _IFF_NO_PI | (_IFF_VNET_HDR if cuts_segments else 0)
        with namespace:
            self.was_there = _ask(name, _SIOCGIFFLAGS) is not None
            try:
                self.descriptor = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                raise KernelUnavailable(
                    f"{_DEVICE} cannot be opened: {error.strerror}; this needs root and the module tun (modprobe tun)"
                ) from error
            try:
                fcntl.ioctl(self.descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
                if cuts_segments:
                    offloads = _TUN_F_CSUM | _TUN_F_TSO4 | _TUN_F_TSO6 | _TUN_F_TSO_ECN
                    fcntl.ioctl(self.descriptor, _TUNSETOFFLOAD, offloads)
            except OSError as error:
                os.close(self.descriptor)
                raise KernelUnavailable(f"no device {name}: {self._why(error, kind)}") from error

    def _why(self, error: OSError, kind: int) -> str:
        mode = "tun" if kind == IFF_TUN else "tap"
        if error.errno == errno.EPERM:
            return (
                f"{error.strerror}; this needs root (CAP_NET_ADMIN), or a device that root has made for you: "
                f"ip tuntap add dev {self.name} mode {mode} user $USER"
            )
        if error.errno == errno.EBUSY:
            return f"{error.strerror}: another program has it open"
        if error.errno == errno.EINVAL and self.was_there:
            return f"a device of this name is there already, and it is none of mode {mode}"
        return error.strerror or str(error)

    def configure(self, addresses: Sequence[str] = (), *, mac: str = "", mtu: int = 0, up: bool = True) -> None:
        """Give it addresses ("10.9.0.2/24"), a hardware address and an MTU, if they are said, and bring it `up`.

        A device that was there keeps what it has besides, and takes no rights where nothing is left to do. Raises
        `KernelUnavailable`.
        """
        name = self.name
        lines = [f"address replace {text} dev {name}{' nodad' if ':' in text else ''}" for text in addresses]
        with self._namespace:
            if mtu and _ask(name, _SIOCGIFMTU) != mtu:
                lines.insert(0, f"link set {name} mtu {mtu}")
            if mac and not self.was_there:
                lines.insert(0, f"link set {name} address {mac}")
            if not self.was_there:
                lines.insert(0, f"link set {name} txqueuelen {_QUEUE_FRAMES}")
            if up and not (_ask(name, _SIOCGIFFLAGS) or 0) & _IFF_UP:
                lines.append(f"link set {name} up")
        if lines:
            try:
                self._namespace.command("ip", "-batch", "-", input="\n".join(lines) + "\n")
            except KernelUnavailable as error:
                raise KernelUnavailable(f"device {name} cannot be configured: {error}") from None

    def write(self, packet: bytes, mss: int = 0) -> None:
        """Let an IP packet arrive. With an `mss`, on a TUN device that cuts segments, it stands for several segments
        that were put together. Raises `OSError` if the device does not take it.
        """
        if not self._header:
            os.write(self.descriptor, packet)
            return
        header = bytes(_HEADER.size)
        if mss:
            six = packet[0] >> 4 == 6
            start = 40 if six else (packet[0] & 15) * 4
            length = start + (packet[start + 12] >> 4) * 4
            if len(packet) - length > mss:
                kind = _GSO_TCPV6 if six else _GSO_TCPV4
                header = _HEADER.pack(_NEEDS_CHECKSUM, kind, length, mss, start, _CHECKSUM_OFFSET)
        os.write(self.descriptor, header + packet)

    def drain(self) -> None:
        """Throw away what the kernel has sent: who sees it by other means only keeps the device's queue empty."""
        try:
            while True:
                os.read(self.descriptor, 1 << 17)
        except BlockingIOError:
            return

    def close(self) -> None:
        os.close(self.descriptor)


def _ask(name: str, request: int) -> int | None:
    """What the ioctls of netdevice(7) tell of a device of the namespace that the thread is in; None: not there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            answer = fcntl.ioctl(asked, request, struct.pack("16s24x", name.encode()))
        except OSError:
            return None
    value: int = struct.unpack_from("=i", answer, 16)[0]
    return value & 0xFFFF if request == _SIOCGIFFLAGS else value
