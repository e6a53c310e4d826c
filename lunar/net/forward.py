"""Forwarding: what a router does with a packet that is for somebody else. RFC 1812 section 5.2 and 5.3, RFC 8200.

The order of checks is Linux': a route first, so that a destination without one is reported even with a TTL of 1; then
the TTL, the MTU, a redirect for a sender that had a shorter way, and the filter.
"""

from __future__ import annotations

import errno

from mypy_extensions import i64

from lunar.net import fib, icmp, ipv4_options, peer, redirect
from lunar.net.device import Device
from lunar.net.family import Family
from lunar.net.ip import FORWARD, Ip
from lunar.net.ip_output import emit, goes_in_segments
from lunar.net.ipv4_options import Options
from lunar.net.route import BLACKHOLE, LOCAL, PROHIBIT, UNICAST, UNREACHABLE, Route
from lunar.packet import AF_INET, AF_INET6, Packet


def forward(ip: Ip, packet: Packet, device: Device, options: Options | None) -> bool:
    """Send `packet`, which came in at `device`, on its way; or drop it and tell its sender why. `options` are IPv4's.

    False if it is for this host after all: a route of type local says so (ip-route(8)).
    """
    family = ip.family(packet.family)
    counters = family.counters
    if packet.family == AF_INET and _is_martian(packet.dst):
        counters.ip_in_martian_dst += 1
        return True
    forwards = device.inet.forwarding != 0 if packet.family == AF_INET else family.forwarding
    if not forwards and family.rules is None and packet.family == AF_INET:
        counters.ip_in_addr_errors += 1
        return True
    if (packet.eth_dst >> 40) & 1:
        counters.ip_in_discards += 1
        return True  # everybody on the network has got it: none is to pass it on
    dst = packet.dst if options is None or not options.next_hop else options.next_hop
    route = _route(ip, family, packet, dst, device)
    if route is not None and route.type == LOCAL:
        return False
    # A host that is no router does not even say so; of IPv6 Linux tells that there is no route where there is none.
    if not forwards and (packet.family == AF_INET or (route is not None and route.type == UNICAST)):
        counters.ip_in_addr_errors += 1
        return True
    if route is None or route.type != UNICAST:
        _refuse(ip, family, packet, route)
        return True
    if packet.family == AF_INET6 and not _may_leave(ip, packet, device, route):
        return True
    if packet.ttl <= 1:
        counters.ip_in_hdr_errors += 1
        icmp.send_error(ip, packet, icmp.TIME_EXCEEDED, icmp.TTL_EXCEEDED, 0)
        return True
    if options is not None and options.strict and options.next_hop and route.gateway:
        counters.ip_in_discards += 1
        icmp.send_error(ip, packet, icmp.UNREACHABLE, icmp.SOURCE_ROUTE_FAILED, 0)
        return True
    counters.ip_forw_datagrams += 1  # whether it fits or not, as on Linux
    limit: i64 = route.mtu if 0 < route.mtu < route.device.mtu else route.device.mtu
    size: i64 = packet.gathered if packet.gathered != 0 else packet.size_bytes
    if size > limit and (packet.dont_fragment or packet.family == AF_INET6) and not goes_in_segments(packet, limit):
        # Its packet is quoted as it came, therefore before the TTL changes.
        counters.ip_frag_fails += 1
        icmp.send_error(ip, packet, icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, limit)
        return True
    turns_back = route.device is device and (options is None or options.source_at < 0)
    if turns_back and packet.family == AF_INET6:
        _consider_redirect6(ip, packet, device, route)
    packet.ttl -= 1
    if turns_back and packet.family == AF_INET:
        _consider_redirect(ip, packet, device, route)  # which quotes it with its new TTL, as Linux does
    if options is not None:
        ipv4_options.leave(packet, options, route.source_address())
    filter = ip.filter
    if filter is not None and not filter.passes(FORWARD, packet, device, route.device):
        return True
    if emit(ip, packet, route, limit) == errno.EHOSTUNREACH:
        icmp.send_error(ip, packet, icmp.UNREACHABLE, icmp.HOST_UNREACHABLE, 0)
    return True


def _is_martian(dst: int) -> bool:
    """Destinations that no packet on a network has: 0.0.0.0, and groups, as multicast routing is not here."""
    return dst == 0 or 0xE000_0000 <= dst < 0xF000_0000


def _route(ip: Ip, family: Family, packet: Packet, dst: int, device: Device) -> Route | None:
    if family.rules is None and family.routes.plain:
        return family.routes.lookup(dst)
    flow = fib.flow_of_packet(packet, device)
    flow.dst = dst
    return fib.lookup(ip, family, flow)


def _refuse(ip: Ip, family: Family, packet: Packet, route: Route | None) -> None:
    """There is no way, or a route says that there shall be none.

    Of IPv4 Linux limits it twice: by net.ipv4.route.error_cost, and as all errors.
    """
    if route is None:
        family.counters.ip_out_no_routes += 1
    else:
        family.counters.ip_in_discards += 1
        if route.type == BLACKHOLE:
            return
    if packet.family == AF_INET:
        cost_ns: i64 = ip.error_cost_ms * 1_000_000
        if not peer.of(ip, packet.src).may_hear(ip.scheduler.now_ns, cost_ns, ip.error_burst_ms * 1_000_000):
            return
    if route is None:
        icmp.send_error(ip, packet, icmp.UNREACHABLE, icmp.NET_UNREACHABLE, 0)
    elif route.type == UNREACHABLE:
        # Linux' IPv6 says of both that there is no route.
        code: i64 = icmp.HOST_UNREACHABLE if packet.family == AF_INET else icmp.NET_UNREACHABLE
        icmp.send_error(ip, packet, icmp.UNREACHABLE, code, 0)
    elif route.type == PROHIBIT:
        icmp.send_error(ip, packet, icmp.UNREACHABLE, icmp.PROHIBITED, 0)


def _may_leave(ip: Ip, packet: Packet, device: Device, route: Route) -> bool:
    """RFC 4291 (2.5.2, 2.5.3, 2.5.6): what a source or destination says of how far a packet may go."""
    if packet.src <= 1 or packet.src >> 120 == 0xFF or packet.dst >> 120 == 0xFF or packet.dst >> 118 == 0x3FA:
        ip.inet6.counters.ip_in_addr_errors += 1
        return False
    if packet.src >> 118 == 0x3FA and route.device is not device:
        ip.inet6.counters.ip_in_addr_errors += 1
        icmp.send_message(ip, packet, icmp.UNREACHABLE6, icmp.BEYOND_SCOPE6, 0)
        return False
    return True


def _consider_redirect(ip: Ip, packet: Packet, device: Device, route: Route) -> None:
    """`packet` goes out where it came in, by `device`: its sender had better send it to the next hop itself."""
    if device.inet.send_redirects == 0:
        return
    next_hop = route.gateway if route.gateway else packet.dst
    own = redirect.on_link(device, packet.src, AF_INET)
    # The sender must be a neighbour; and if networks share the medium only by chance, the next hop one of its network.
    if own < 0 or (device.inet.shared_media == 0 and not redirect.same_network(device, packet.src, next_hop)):
        return
    if peer.of(ip, packet.src).may_be_redirected(ip.scheduler.now_ns, ip):
        icmp.send_message(ip, packet, icmp.REDIRECT, icmp.REDIRECT_HOST, next_hop)


def _consider_redirect6(ip: Ip, packet: Packet, device: Device, route: Route) -> None:
    """RFC 4861 (8.2): to a neighbour, of a neighbour, by the router's link-local address."""
    target = route.gateway if route.gateway else packet.dst
    if route.gateway and route.gateway >> 118 != 0x3FA:
        return  # the target must be a router's link-local address, or the destination itself
    if redirect.on_link(device, packet.src, AF_INET6) < 0 or not peer.of(ip, packet.src).may_be_redirected(
        ip.scheduler.now_ns, ip
    ):
        return
    icmp.send_redirect6(ip, packet, device, target)
