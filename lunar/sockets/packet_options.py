"""The options of packet sockets, packet(7), level SOL_PACKET. options.py asks here for sockets of this kind."""

from __future__ import annotations

import errno
from typing import Final

from lunar.sockets.packet_sock import MR_MULTICAST, MR_UNICAST, LinkSock

SOL_PACKET: Final = 263
PACKET_ADD_MEMBERSHIP: Final = 1
PACKET_DROP_MEMBERSHIP: Final = 2
PACKET_STATISTICS: Final = 6
PACKET_AUXDATA: Final = 8
PACKET_IGNORE_OUTGOING: Final = 23

_MREQ_BYTES: Final = 16  # struct packet_mreq
_MAC_BYTES: Final = 6


def set_bytes(sock: LinkSock, name: int, value: bytes) -> int:
    """0 or -errno: ENODEV, EINVAL, ENOPROTOOPT."""
    if name in (PACKET_ADD_MEMBERSHIP, PACKET_DROP_MEMBERSHIP):
        return _set_membership(sock, name == PACKET_ADD_MEMBERSHIP, value)
    if name not in (PACKET_AUXDATA, PACKET_IGNORE_OUTGOING):
        return -errno.ENOPROTOOPT
    if len(value) < 4:
        return -errno.EINVAL
    number = int.from_bytes(value[:4], "little", signed=True)
    if name == PACKET_AUXDATA:
        sock.tells_more = number != 0
        return 0
    if number not in (0, 1):
        return -errno.EINVAL
    sock.ignores_outgoing = number == 1
    return 0


def _set_membership(sock: LinkSock, adds: bool, value: bytes) -> int:
    if len(value) < _MREQ_BYTES:
        return -errno.EINVAL
    index = int.from_bytes(value[:4], "little", signed=True)
    kind = int.from_bytes(value[4:6], "little")
    length = int.from_bytes(value[6:8], "little")
    mac = int.from_bytes(value[8 : 8 + _MAC_BYTES], "big") if kind in (MR_MULTICAST, MR_UNICAST) else 0
    devices = sock.ip.devices
    device = devices[index - 1] if 0 < index <= len(devices) else None
    if not adds:
        return int(sock.drop_membership(device, kind, mac))
    if device is None:
        return -errno.ENODEV
    if length > _MAC_BYTES:
        return -errno.EINVAL
    return int(sock.add_membership(device, kind, mac))


def get_bytes(sock: LinkSock, name: int) -> bytes | None:
    """PACKET_STATISTICS, `struct tpacket_stats`: frames and how many of them were dropped, since it was last asked."""
    if name != PACKET_STATISTICS:
        return None
    told = int(sock.caught).to_bytes(4, "little") + int(sock.dropped).to_bytes(4, "little")
    sock.caught = sock.dropped = 0
    return told


def get_integer(sock: LinkSock, name: int) -> int:
    if name == PACKET_AUXDATA:
        return int(sock.tells_more)
    return int(sock.ignores_outgoing) if name == PACKET_IGNORE_OUTGOING else -errno.ENOPROTOOPT
