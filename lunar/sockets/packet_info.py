"""What a datagram or raw socket can tell of a packet beside its data: ip(7), IP_PKTINFO, IP_RECVTTL, IP_RECVTOS; and
RFC 3542's IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT, IPV6_RECVTCLASS.

Here it is picked up while the packet is there; lunar/ancillary.py makes of it what recvmsg(2) gives.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net import ip_output
from lunar.net.device import Device
from lunar.net.ip import Ip
from lunar.packet import AF_INET
from lunar.wire.address import family_of

# Bits of `Sock.tells`.
TELL_ADDRESSES: Final = 1
TELL_TTL: Final = 2
TELL_TOS: Final = 4
TELL_OPTIONS: Final = 8  # IP_RECVOPTS
TELL_DESTINATION: Final = 16  # IP_RECVORIGDSTADDR
# The same of AF_INET6 sockets. Addresses are told of IPv4's packets, too, as mapped ones.
TELL6_ADDRESSES: Final = 0x100
TELL6_HOP_LIMIT: Final = 0x200
TELL6_CLASS: Final = 0x400
TELL6_FLOW: Final = 0x800


@final
class PacketInfo:
    """Of one packet: where it was sent to, the address of ours that an answer should come from, by which device."""

    def __init__(self, tells: i64, ip: Ip, src: int, dst: int, ttl: i64, tos: i64, device: Device | None) -> None:
        self.tells: i64 = tells
        self.dst: int = dst
        self.local: int = dst
        self.ttl: i64 = ttl
        self.tos: i64 = tos
        # What the host sends to an address of its own comes by that address' device, as programs see it.
        self.device: Device | None = ip.local.get(dst, device) if device is ip.loopback_device() else device
        self.flow_label: i64 = 0
        self.options: bytes = b""  # IPv4's
        self.port: i64 = 0  # where it was sent to
        self.family: i64 = family_of(dst)
        if tells & TELL_ADDRESSES and self.family == AF_INET and not ip.has_address(dst):
            route = ip_output.route_for(ip, AF_INET, src)
            self.local = 0 if route is None else ip_output.source_for(ip, src, route)
