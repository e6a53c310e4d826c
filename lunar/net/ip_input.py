"""IP input: is the packet for this host? Then up to its protocol; otherwise to forward.py.

RFC 1122 section 3.2.1 and RFC 1812 section 5.2.1. Header checksums and lengths were checked where bytes became objects
(lunar/wire); typed packets that never were bytes have none to check.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net import extension_headers, fib, fragment, icmp, ipv4_options
from lunar.net.counters import IpCounters
from lunar.net.device import Device, Receiver
from lunar.net.echo import is_echo
from lunar.net.forward import forward
from lunar.net.ip import LOCAL_IN, PRE_ROUTING, Ip
from lunar.net.ipv4_options import Options
from lunar.net.rule import Flow
from lunar.packet import (
    AF_INET,
    AF_INET6,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    ICMP,
    ICMPV6,
    IGMP,
    ArpMessage,
    Damaged,
    Frame,
    IcmpMessage,
    Packet,
)
from lunar.wire import ipv6
from lunar.wire.extension import NO_NEXT_HEADER
from lunar.wire.malformed import BAD_ADDRESS, Malformed

MLD_QUERY: Final = 130
_DESTINATION_AT: Final = 16  # where an IPv4 header has its destination
_LOOSE: Final = 2  # a value of rp_filter


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
    if (packet.mark != 0 or packet.ctinfo != 2 or packet.track is not None) and device is not ip.loopback_device():
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
    known = (
        packet.dst == ip.known_dst
        and packet.src == ip.known_src
        and device is ip.known_device
        and device.inet is ip.known_conf
        and ip.known_changes == ip.route_changes.count
        and not packet.options
    )
    if not known and not _is_for_us(ip, packet, device, counters):
        return
    if packet.more_fragments or packet.fragment_offset != 0:
        whole = fragment.reassemble(ip, packet, device)
        if whole is None:
            return
        packet = whole
    if filter is not None and not filter.passes(LOCAL_IN, packet, device, None):
        return
    if packet.options and packet.family == AF_INET6 and not extension_headers.deliver(ip, packet):
        return
    raw = ip.raw
    taken = raw is not None and raw.receive(packet, device)
    handler = ip.handlers.get(int(packet.protocol))
    if handler is None or _is_of_other_family(packet):
        if taken:
            counters.ip_in_delivers += 1
            return
        if packet.protocol == NO_NEXT_HEADER and packet.family == AF_INET6:
            counters.ip_in_delivers += 1  # RFC 8200 (4.7): there is nothing to deliver
            return
        counters.ip_in_no_protos += 1
        icmp.send_error(ip, packet, icmp.UNREACHABLE, icmp.PROTOCOL_UNREACHABLE, 0)
        return
    counters.ip_in_delivers += 1
    handler.receive(packet, device)


def _is_of_other_family(packet: Packet) -> bool:
    """Whether its protocol's number means something in the other family alone."""
    if packet.family == AF_INET6:
        return packet.protocol == ICMP or packet.protocol == IGMP
    return packet.protocol == ICMPV6


def _is_for_us(ip: Ip, packet: Packet, device: Device, counters: IpCounters) -> bool:
    """Whether the packet is to be delivered here; if not it has been dropped, answered or passed on.

    Packets come in runs: what was found of the last one to an own address holds for those that are like it, until a
    table or a parameter of the device changes.
    """
    martian = device is not ip.loopback_device() and ip.is_martian(packet.src)
    if martian and not is_echo(packet, device):
        # RFC 1122 (3.2.1.3): nothing that comes from outside has our own address as its source, a loopback or a group.
        # Believed, it would make a host talk to itself.
        if device.inet.accept_local == 0 or packet.src not in ip.local or packet.family != AF_INET:
            counters.ip_in_addr_errors += 1
            counters.ip_in_martian_src += 1
            return False
    inside = packet.dst >> 24 == 127 or packet.dst == 1
    if inside and device is not ip.loopback_device() and device.inet.route_localnet == 0:
        counters.ip_in_martian_dst += 1
        return False
    options: Options | None = None
    if packet.options:
        if packet.family == AF_INET6:
            if not extension_headers.pass_on(ip, packet):
                return False
        else:
            options = _read_options(ip, packet, device)
            if options is None:
                return False
    if device.inet.rp_filter != 0 and packet.family == AF_INET and not _came_the_right_way(ip, packet, device):
        counters.ip_rp_filter += 1
        return False
    dst = packet.dst
    if (options is not None and options.next_hop) or (not ip.has_address(dst) and not ip.is_broadcast(dst)):
        if not ip.is_multicast(dst):
            if forward(ip, packet, device, options):
                return False
        elif not _is_heard(packet, device):
            counters.ip_in_discards += 1
            return False  # of a group that nobody here listens to
        else:
            counters.ip_in_mcast_pkts += 1
    elif device.inet.bc_forwarding != 0 and dst in ip.broadcasts and forward(ip, packet, device, options):
        return False
    elif not packet.options and not martian and (device.inet.rp_filter == 0 or _is_plain(ip)):
        ip.known_src = packet.src
        ip.known_dst = dst
        ip.known_device = device
        ip.known_conf = device.inet
        ip.known_changes = ip.route_changes.count
    return True


def _is_plain(ip: Ip) -> bool:
    """Whether IPv4's routes depend on nothing but addresses: neither on a packet's TOS nor on its mark."""
    return ip.inet.rules is None and ip.inet.routes.plain


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


def _read_options(ip: Ip, packet: Packet, device: Device) -> Options | None:
    """What a packet's IPv4 options say, and what they want of this host; None if it is dropped for them."""
    dst = packet.dst
    here = dst
    if not ip.has_address(dst):
        route = ip.inet.routes.lookup(packet.src)
        here = device.primary_address(AF_INET) if route is None else route.source_address()
    options = ipv4_options.read(ip, packet.options, here, True)
    if options.problem < 0 and options.source_at >= 0:
        if device.inet.accept_source_route == 0 or (packet.eth_dst >> 40) & 1:
            ip.counters.ip_in_discards += 1
            return None
        if ip.has_address(dst):
            verdict: i64 = ipv4_options.follow(ip, packet, options)
            if verdict < 0:
                ip.counters.ip_in_discards += 1
                return None
            if verdict > 0:
                options.problem = verdict
        elif options.strict:
            options.problem = _DESTINATION_AT  # the packet is here, and this is not its next hop
    packet.options = bytes(options.data)
    if options.problem >= 0:
        ip.counters.ip_in_hdr_errors += 1
        icmp.send_error(ip, packet, icmp.PARAMETER_PROBLEM, 0, options.problem << 24)
        return None
    return options


def _came_the_right_way(ip: Ip, packet: Packet, device: Device) -> bool:
    """net.ipv4.conf.DEV.rp_filter: whether an answer would go by the device that the packet came by (1), or there is a
    way for one at all (2). RFC 3704.
    """
    if packet.src == 0 or device is ip.loopback_device():
        return True
    flow = Flow(packet.src)
    flow.src = packet.dst
    flow.tos = packet.tos
    if device.inet.src_valid_mark != 0:
        flow.mark = packet.mark
    flow.iif = device.name
    route = fib.lookup(ip, ip.inet, flow)
    if route is None or route.refusal():
        return False
    if device.inet.rp_filter == _LOOSE or route.device is device:
        return True
    for path in fib.paths_to(ip, ip.inet, flow):  # noqa: SIM110 - compiled, a loop needs no generator
        if path.device is device:
            return True
    return False


def _count_ecn(counters: IpCounters, packet: Packet) -> None:
    """RFC 3168 (5): the two bits say that the sender can, or that a router marked it."""
    code: i64 = packet.tos & 3
    if code == 3:
        counters.ip_in_ce += 1
    elif code == 2:
        counters.ip_in_ect0 += 1
    else:
        counters.ip_in_ect1 += 1
