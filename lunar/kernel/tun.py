"""A TUN or TAP device: what the machine's kernel sends to it can be read, and what is written comes in at it.

A TUN device carries IP packets, a TAP device Ethernet frames. The device is gone when its file is closed. By itself it
takes no offloads: the kernel cuts what it sends into segments of the MSS, with their checksums. Read the kernel's
Documentation/networking/tuntap.rst; the header before each packet of a device that cuts segments itself is that of
virtio 1.2, section 5.1.6.
"""

from __future__ import annotations

import fcntl
import os
import struct
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


class TunDevice:
    """The device `name` in `namespace`, not yet up. `kind` is IFF_TUN or IFF_TAP. Reading and writing never block.
    With `cuts_segments` the kernel hands it segments larger than the MSS.

    Raises `KernelUnavailable` where the machine has no such devices or gives this user none.
    """

    def __init__(self, namespace: Namespace, name: str, kind: int, *, cuts_segments: bool = False) -> None:
        self.name = name
        self._header = _HEADER.size if cuts_segments else 0
        flags = kind | _IFF_NO_PI | (_IFF_VNET_HDR if cuts_segments else 0)
        with namespace:
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
                raise KernelUnavailable(f"no device {name}: {error.strerror}") from error

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
