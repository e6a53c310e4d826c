"""What a datagram or raw socket can tell of a packet beside its data, ip(7): IP_PKTINFO, IP_RECVTTL, IP_RECVTOS.

Here it is picked up while the packet is there; lunar/ancillary.py makes of it what recvmsg(2) gives.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net import ip_output
from lunar.net.device import Device
from lunar.net.ip import Ip
from lunar.packet import AF_INET

# Bits of `Sock.tells`.
TELL_ADDRESSES: Final = 1
TELL_TTL: Final = 2
TELL_TOS: Final = 4


@final
class PacketInfo:
    """Of one packet: where it was sent to, the address of ours that an answer should come from, by which device."""

    def __init__(self, tells: i64, ip: Ip, src: int, dst: int, ttl: i64, tos: i64, device: Device | None) -> None:
        self.tells: i64 = tells
        self.dst: int = dst
        self.local: int = dst
        self.ttl: i64 = ttl
        self.tos: i64 = tos
        self.device: Device | None = device
        if tells & TELL_ADDRESSES and not ip.has_address(dst):
            route = ip_output.route_for(ip, AF_INET, src)
            self.local = 0 if route is None else ip_output.source_for(ip, src, route)
