"""A TUN or TAP device: what the machine's kernel sends to it can be read, and what is written comes in at it.

A TUN device carries IP packets, a TAP device Ethernet frames. The device is gone when its file is closed. It takes no
offloads, so that the kernel cuts what it sends into segments of the MSS, with their checksums. Read
the kernel's Documentation/networking/tuntap.rst.
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
_TUNSETIFF: Final = 0x4004_54CA

_DEVICE: Final = "/dev/net/tun"


class TunDevice:
    """The device `name` in `namespace`, not yet up. `kind` is IFF_TUN or IFF_TAP. Reading and writing never block.

    Raises `KernelUnavailable` where the machine has no such devices or gives this user none.
    """

    def __init__(self, namespace: Namespace, name: str, kind: int) -> None:
        self.name = name
        with namespace:
            try:
                self.descriptor = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                raise KernelUnavailable(
                    f"{_DEVICE} cannot be opened: {error.strerror}; this needs root and the module tun (modprobe tun)"
                ) from error
            try:
                fcntl.ioctl(self.descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), kind | _IFF_NO_PI))
            except OSError as error:
                os.close(self.descriptor)
                raise KernelUnavailable(f"no device {name}: {error.strerror}") from error

    def close(self) -> None:
        os.close(self.descriptor)
