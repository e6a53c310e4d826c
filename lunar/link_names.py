"""The addresses of packet sockets: the tuples that CPython has for `struct sockaddr_ll`, and the structure itself.

A program passes (device, protocol[, packet type[, hardware type[, hardware address]]]) and gets all five. Results of
the calls are as of system calls: a count or 0, or a negative errno.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lunar.errors import error
from lunar.net.device import Device
from lunar.sockaddr import Sockaddr
from lunar.sockets.packet_sock import AF_PACKET, LinkSock, hardware_of
from lunar.sockets.syscalls import Received

if TYPE_CHECKING:
    from lunar.host import Host

LinkName = tuple[str, int, int, int, bytes]

_SOCKADDR_LL_BYTES: Final = 20
_LEAST_BYTES: Final = 12  # without a hardware address
_HARDWARE_MAX: Final = 8
_MAC_BYTES: Final = 6


class LinkAddress(NamedTuple):
    """What an address names: no device is all of them; `mac` is -1 where there is none."""

    device: Device | None
    number: int
    mac: int


def parse(host: Host, address: Any, caller: str) -> LinkAddress:
    """What a program passes to `caller`. Raises what CPython raises; OSError: ENODEV, EINVAL."""
    if isinstance(address, Sockaddr):
        return _unpacked(host, address, caller)
    if not isinstance(address, tuple):
        raise TypeError(f"{caller}(): AF_PACKET address must be tuple, not {type(address).__name__}")
    if not 2 <= len(address) <= 5:
        raise TypeError(f"{caller}(): AF_PACKET address must be a tuple of two to five elements")
    name, number = address[:2]
    if not isinstance(number, int):
        raise TypeError(f"'{type(number).__name__}' object cannot be interpreted as an integer")
    if not 0 <= number <= 0xFFFF:
        raise OverflowError(f"{caller}(): proto must be 0-65535.")
    hardware = bytes(address[4]) if len(address) > 4 else b""
    if len(hardware) > _HARDWARE_MAX:
        raise ValueError("Hardware address must be 8 bytes or less")
    device = host.devices.get(name)
    if device is None:
        raise error(errno.ENODEV)
    return LinkAddress(device, number, _mac(hardware))


def _mac(hardware: bytes) -> int:
    return int.from_bytes(hardware[:_MAC_BYTES].ljust(_MAC_BYTES, b"\0"), "big")


def _unpacked(host: Host, address: Sockaddr, caller: str) -> LinkAddress:
    if len(address) < (_SOCKADDR_LL_BYTES if caller == "bind" else _LEAST_BYTES):
        raise error(errno.EINVAL)
    if address.family != AF_PACKET:
        raise error(errno.EINVAL)
    number, index = struct.unpack_from(">H", address, 2)[0], struct.unpack_from("=i", address, 4)[0]
    device = None
    if index:
        device = host.ip.devices[index - 1] if 0 < index <= len(host.ip.devices) else None
        if device is None:
            raise error(errno.ENODEV if caller == "bind" else errno.ENXIO)
    size = address[11]
    return LinkAddress(device, number, _mac(bytes(address[12 : 12 + size])))


def bind(host: Host, sock: LinkSock, address: Any) -> int:
    found = parse(host, address, "bind")
    return int(sock.bind(found.device, found.number))


def send_to(host: Host, sock: LinkSock, data: bytes, address: Any, caller: str = "sendto") -> int:
    found = parse(host, address, caller)
    return int(sock.send(data, found.device, found.number, found.mac))


def own_name(sock: LinkSock) -> LinkName:
    """What getsockname(2) tells: the hardware address is the device's."""
    device = sock.device
    if device is None:
        return "", int(sock.number), 0, 0, b""
    mac = int(device.mac).to_bytes(_MAC_BYTES, "big")
    return device.name, int(sock.number), 0, int(hardware_of(sock.ip, device)), mac


def sender(sock: LinkSock, got: Received) -> LinkName | None:
    """Where a frame was caught, what it is to the host, and the hardware address that it came from."""
    caught = got.caught
    if caught is None:
        return None
    source = int(caught.source).to_bytes(_MAC_BYTES, "big")
    return (
        caught.device.name, int(caught.ethertype), int(caught.kind), int(hardware_of(sock.ip, caught.device)), source
    )  # fmt: skip
