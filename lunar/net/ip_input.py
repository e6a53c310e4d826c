"""IPv4 input: is the packet for this host? Then up to its protocol; otherwise to forward.py.

RFC 1122 section 3.2.1 and RFC 1812 section 5.2.1. Header checksums and lengths were checked where bytes became objects
(lunar/wire); typed packets that never were bytes have none to check.
"""

from __future__ import annotations

from typing import final

from lunar.net import icmp
from lunar.net.device import Device, Receiver
from lunar.net.forward import forward
from lunar.net.ip import Ip
from lunar.packet import Damaged, Frame, Packet


@final
class IpInput(Receiver):
    """Where all frames of a host's devices come in."""

    def __init__(self, ip: Ip) -> None:
        self.ip: Ip = ip

    def receive_frame(self, frame: Frame, device: Device) -> None:
        if isinstance(frame, Packet):
            receive(self.ip, frame, device)
        elif isinstance(frame, Damaged):
            self.ip.counters.ip_in_receives += 1
            self.ip.counters.ip_in_hdr_errors += 1


def receive(ip: Ip, packet: Packet, device: Device) -> None:
    """One packet that arrived at `device`."""
    ip.counters.ip_in_receives += 1
    dst = packet.dst
    if not ip.has_address(dst) and not ip.is_broadcast(dst):
        forward(ip, packet)
        return
    if packet.more_fragments or packet.fragment_offset != 0:
        ip.counters.ip_in_hdr_errors += 1  # reassembly is not here yet
        return
    raw = ip.raw
    taken = raw is not None and raw.receive(packet, device)
    handler = ip.handlers.get(int(packet.protocol))
    if handler is None:
        if taken:
            ip.counters.ip_in_delivers += 1
            return
        ip.counters.ip_in_no_protos += 1
        icmp.send_error(ip, packet, icmp.UNREACHABLE, icmp.PROTOCOL_UNREACHABLE, 0)
        return
    ip.counters.ip_in_delivers += 1
    handler.receive(packet, device)
