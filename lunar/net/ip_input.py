"""IP input: is the packet for this host? Then up to its protocol; otherwise to forward.py.

RFC 1122 section 3.2.1 and RFC 1812 section 5.2.1. Header checksums and lengths were checked where bytes became objects
(lunar/wire); typed packets that never were bytes have none to check.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net import icmp
from lunar.net.counters import IpCounters
from lunar.net.device import Device, Receiver
from lunar.net.echo import is_echo
from lunar.net.forward import forward
from lunar.net.ip import LOCAL_IN, PRE_ROUTING, Ip
from lunar.packet import ETHERTYPE_IPV4, ETHERTYPE_IPV6, IGMP, ArpMessage, Damaged, Frame, IcmpMessage, Packet
from lunar.wire import ipv6
from lunar.wire.malformed import BAD_ADDRESS, Malformed

MLD_QUERY: Final = 130


@final
class IpInput(Receiver):
    """Where all frames of a host's devices come in."""

    def __init__(self, ip: Ip) -> None:
        self.ip: Ip = ip

    def receive_frame(self, frame: Frame, device: Device) -> None:
        if isinstance(frame, Packet):
            receive(self.ip, frame, device)
        elif isinstance(frame, Damaged) and frame.ethertype == ETHERTYPE_IPV4:
            self.ip.counters.ip_in_receives += 1
            self.ip.counters.ip_in_hdr_errors += 1
        elif isinstance(frame, Damaged) and frame.ethertype == ETHERTYPE_IPV6:
            _count_damaged6(self.ip.inet6.counters, frame)
        elif isinstance(frame, ArpMessage) and device.arp:
            neighbors = self.ip.inet.neighbors
            if neighbors is not None:
                neighbors.receive_frame(frame, device)
        else:
            device.rx_dropped += 1  # of a protocol that nobody here speaks


def receive(ip: Ip, packet: Packet, device: Device) -> None:
    """One packet that arrived at `device`."""
    family = ip.family(packet.family)
    counters = family.counters
    counters.ip_in_receives += 1
    if packet.tos & 3:
        _count_ecn(counters, packet)
    if (packet.mark != 0 or packet.track is not None) and device is not ip.loopback_device():
        # What the host had noted that sent it; over lo it is this one.
        packet.mark = 0
        packet.track = None
        packet.ctinfo = 2
    go_on(ip, packet, device)


def go_on(ip: Ip, packet: Packet, device: Device) -> None:
    """What follows when a packet has come in and was counted; a filter that held a packet back lets it go on here."""
    filter = ip.filter
    if filter is not None and not filter.passes(PRE_ROUTING, packet, device, None):
        return
    counters = ip.family(packet.family).counters
    if ip.is_martian(packet.src) and device is not ip.loopback_device() and not is_echo(packet, device):
        # RFC 1122 (3.2.1.3): nothing that comes from outside has our own address as its source, a loopback or a group.
        # Believed, it would make a host talk to itself.
        counters.ip_in_addr_errors += 1
        return
    dst = packet.dst
    if not ip.has_address(dst) and not ip.is_broadcast(dst):
        if not ip.is_multicast(dst):
            forward(ip, packet, device)
            return
        if not _is_heard(packet, device):
            return  # of a group that nobody here listens to; Linux does not count it
    if packet.more_fragments or packet.fragment_offset != 0:
        counters.ip_in_hdr_errors += 1  # reassembly is not here yet
        return
    if filter is not None and not filter.passes(LOCAL_IN, packet, device, None):
        return
    raw = ip.raw
    taken = raw is not None and raw.receive(packet, device)
    handler = ip.handlers.get(int(packet.protocol))
    if handler is None:
        if taken:
            counters.ip_in_delivers += 1
            return
        counters.ip_in_no_protos += 1
        icmp.send_error(ip, packet, icmp.UNREACHABLE, icmp.PROTOCOL_UNREACHABLE, 0)
        return
    counters.ip_in_delivers += 1
    handler.receive(packet, device)


def _is_heard(packet: Packet, device: Device) -> bool:
    """Whether the host listens to the group that the packet is for, and to its sender. Who asks for reports may be
    anybody.
    """
    asks = packet.protocol == IGMP or (isinstance(packet, IcmpMessage) and packet.type == MLD_QUERY)
    memberships = device.memberships
    if asks and memberships is not None and packet.dst in memberships:
        return True
    return device.hears(packet.dst, packet.src)


def _count_damaged6(counters: IpCounters, frame: Damaged) -> None:
    counters.ip_in_receives += 1
    why = ipv6.decode(frame.data)
    if isinstance(why, Malformed) and why.reason == BAD_ADDRESS:
        counters.ip_in_addr_errors += 1
    else:
        counters.ip_in_hdr_errors += 1


def _count_ecn(counters: IpCounters, packet: Packet) -> None:
    """RFC 3168 (5): the two bits say that the sender can, or that a router marked it."""
    code: i64 = packet.tos & 3
    if code == 3:
        counters.ip_in_ce += 1
    elif code == 2:
        counters.ip_in_ect0 += 1
    else:
        counters.ip_in_ect1 += 1
