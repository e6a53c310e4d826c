"""IP output: route, source, identification, and on to the device.

`send` is for packets that this host makes, forward.py uses `emit` for those of others. Read RFC 1122 section 3.3 beside
this file. What is larger than the MTU goes in pieces (fragmenter.py), or is refused with EMSGSIZE.
"""

from __future__ import annotations

import errno
from typing import Final

from mypy_extensions import i64

from lunar.net import fib, fragmenter, path_mtu, source
from lunar.net.address import needs_scope
from lunar.net.device import Device
from lunar.net.echo import come_back
from lunar.net.ip import LOCAL_OUT, POST_ROUTING, Ip
from lunar.net.neighbor import HELD, resolve
from lunar.net.route import Route
from lunar.net.sock import Header, Sock
from lunar.packet import AF_INET, AF_INET6, BROADCAST_MAC, Packet, TcpSegment
from lunar.wire import inet

OK: Final = 0


def route_for(ip: Ip, family: i64, dst: int, sock: Sock | None = None) -> Route | None:
    """The route that a packet to `dst`, an address of `family`, takes. Own addresses go by `lo`.

    Rules may look at what else is known of the socket that sends it. None where there is none; `Ip.route_errno` is why.
    """
    found = ip.family(family)
    if ip.has_address(dst):
        return found.loopback_route
    if family == AF_INET6 and sock is not None:
        scope: i64 = _scope_of(sock, dst)
        if scope != 0:
            device = device_at(ip, scope)
            return None if device is None else route_by(ip, device, family, dst)
    if found.rules is None and found.routes.plain and (sock is None or not sock.bound_device):
        route = found.routes.lookup(dst)
        if route is None:
            ip.route_errno = errno.ENETUNREACH
            return None
    else:
        route = fib.sock_route(ip, found, sock, dst)
        if route is None:
            return _on_link(ip, sock, family, dst)
    if ip.route_changes.redirects:
        return _better(ip, dst, route)
    return route


def _better(ip: Ip, dst: int, route: Route) -> Route:
    """The way that a router has told of in place of `route`: for those that go by the device where it was told."""
    told = ip.route_changes.redirects.get(dst)
    return told if told is not None and told.device is route.device else route


def _on_link(ip: Ip, sock: Sock | None, family: i64, dst: int) -> Route | None:
    """Where no route leads to `dst`: Linux takes it for one on the network of the device that `sock` is bound to."""
    if sock is not None and sock.bound_device and family == AF_INET and ip.route_errno == errno.ENETUNREACH:
        for device in ip.devices:
            if device.name == sock.bound_device:
                return Route(dst, 32, 0, device, 0, 0)
    return None


def route_of(ip: Ip, packet: Packet) -> Route | None:
    """The same for a packet, whose addresses, mark and ports rules may look at."""
    found = ip.family(packet.family)
    if (found.rules is None and found.routes.plain) or ip.has_address(packet.dst):
        return route_for(ip, packet.family, packet.dst)
    route = fib.lookup(ip, found, fib.flow_of_packet(packet, None))
    if route is None or route.refusal():
        ip.route_errno = errno.ENETUNREACH if route is None else route.refusal()
        return None
    if ip.route_changes.redirects:
        return _better(ip, packet.dst, route)
    return route


def route_by(ip: Ip, device: Device, family: i64, dst: int) -> Route | None:
    """As `route_for`, of the routes by `device`: a link-local address means something only beside one."""
    found = ip.family(family)
    if ip.has_address(dst):
        return found.loopback_route
    route = found.routes.lookup_by(dst, 0, device.name, -1)
    if route is None:
        ip.route_errno = errno.ENETUNREACH
    return route


def _scope_of(sock: Sock, dst: int) -> i64:
    """The index of the device by which `sock` reaches `dst`, 0 if its program has named none."""
    six = sock.ipv6
    if six is None:
        return 0
    if needs_scope(dst):
        scope: i64 = six.named_scope if six.named_scope != 0 else six.scope
        if scope != 0:
            return scope
    return six.device_index


def route_back(ip: Ip, packet: Packet) -> Route | None:
    """By which route a link-local sender of `packet` gets an answer: by the device that it came by. None for others."""
    device = packet.target
    if packet.family == AF_INET6 and needs_scope(packet.src) and isinstance(device, Device):
        return route_by(ip, device, AF_INET6, packet.src)
    return None


def device_at(ip: Ip, index: i64) -> Device | None:
    """The device that programs know by this number (if_nametoindex(3))."""
    return ip.devices[int(index) - 1] if 0 < index <= len(ip.devices) else None


def index_of(ip: Ip, device: Device) -> i64:
    """The number by which programs know `device`."""
    return ip.devices.index(device) + 1


def source_for(ip: Ip, dst: int, route: Route) -> int:
    """The source of a packet by `route` whose sender names none: to an own address that address itself; 0 for none."""
    if dst in ip.local:
        return dst
    if route.family == AF_INET or route.source:
        return route.source_address()
    return source.select(ip, route.device, dst)


def send(ip: Ip, packet: Packet, route: Route | None, limit: i64 = 0) -> i64:
    """Send a packet of this host's own; `route` saves the lookup when the caller knows it.

    The caller has set `size_bytes`; `limit` is as for `emit`. Returns 0, or the errno that Linux would give:
    ENETUNREACH, EHOSTUNREACH, EMSGSIZE.
    """
    counters = ip.family(packet.family).counters
    counters.ip_out_requests += 1
    if route is None:
        route = route_of(ip, packet)
        if route is None:
            counters.ip_out_no_routes += 1
            return ip.route_errno
    if packet.src == 0:
        packet.src = source_for(ip, packet.dst, route)
    # RFC 6864: an atomic packet (DF set) may have any identification; Linux counts for a connected socket.
    packet.ident = ip.next_ident
    ip.next_ident = (ip.next_ident + 1) & 0xFFFF
    if ip.filter is None and packet.ttl >= 0 and not ip.is_broadcast(packet.dst):
        return emit(ip, packet, route, limit)
    return _leave(ip, packet, route, limit)


def apply(header: Header, packet: Packet) -> None:
    """Give `packet` the header that its program wants."""
    if header.src >= 0:
        packet.src = header.src
    if header.ttl >= 0:
        packet.ttl = header.ttl
    if header.tos >= 0:
        packet.tos = header.tos
    if header.dont_fragment >= 0:
        packet.dont_fragment = header.dont_fragment != 0


def send_own(ip: Ip, packet: Packet, route: Route, ident: i64) -> i64:
    """As `send`, of a packet whose header its program wrote: `ident` is kept if it is not 0, and the source is set."""
    if ident == 0:
        return send(ip, packet, route)
    ip.family(packet.family).counters.ip_out_requests += 1
    packet.ident = ident
    return _leave(ip, packet, route)


def send_complete(ip: Ip, packet: Packet) -> i64:
    """As `send`, of a packet whose header is as it is to be, source and identification included."""
    counters = ip.family(packet.family).counters
    counters.ip_out_requests += 1
    route = route_of(ip, packet)
    if route is None:
        counters.ip_out_no_routes += 1
        return ip.route_errno
    return _leave(ip, packet, route)


def _leave(ip: Ip, packet: Packet, route: Route, limit: i64 = 0) -> i64:
    """Past the filter, which may want it to go another way. A TTL below 0 is the route's, or the host's."""
    if packet.ttl < 0:
        packet.ttl = hops(ip, packet.family, route)
    filter = ip.filter
    if filter is not None:
        dst, src, mark, tos = packet.dst, packet.src, packet.mark, packet.tos
        if not filter.passes(LOCAL_OUT, packet, None, route.device):
            return errno.EPERM
        if packet.dst != dst or packet.src != src or packet.mark != mark or packet.tos != tos:
            other = route_of(ip, packet)
            if other is None:
                ip.family(packet.family).counters.ip_out_no_routes += 1
                return ip.route_errno
            route = other
    if ip.is_broadcast(packet.dst):
        return _broadcast(ip, packet, route)
    return emit(ip, packet, route, limit)


def hops(ip: Ip, family: i64, route: Route) -> i64:
    """How far a packet by `route` may go, of which nobody has said it: its TTL or hop limit."""
    if route.hoplimit > 0:
        return route.hoplimit
    # net.ipv4.ip_default_ttl; of IPv6 a device has its own, which routers may advertise.
    return ip.inet.hop_limit if family == AF_INET else route.device.inet6.hop_limit


def _broadcast(ip: Ip, packet: Packet, route: Route) -> i64:
    if route is ip.family(packet.family).loopback_route:
        return emit(ip, packet, route)
    ip.family(packet.family).counters.ip_out_bcast_pkts += 1
    # A host hears its own broadcasts (Linux' ip_mc_output()).
    copy = inet.copy(packet)
    result = emit(ip, packet, route)
    if result == 0:
        come_back(ip, copy, route.device, BROADCAST_MAC)
    return result


def emit(ip: Ip, packet: Packet, route: Route, limit: i64 = 0) -> i64:
    """Hand the packet to the route's device, in pieces if it is larger than the MTU and may be cut.

    `limit` is the MTU if the caller knows it, else it is the path's. Returns 0 or an errno; on an error the packet is
    counted and dropped.
    """
    device = route.device
    filter = ip.filter
    if filter is not None and not filter.passes(POST_ROUTING, packet, None, device):
        return errno.EPERM
    if limit == 0:
        limit = device.mtu
        # TCP has seen to it that its segments fit.
        if (route.mtu != 0 or ip.path_mtu_changes != 0) and not isinstance(packet, TcpSegment):
            limit = min(limit, path_mtu.mtu(ip, route, packet.dst))
    if packet.size_bytes > limit and not goes_in_segments(packet, device.mtu):
        return _emit_pieces(ip, packet, route, limit)
    if packet.gathered != 0 and packet.size_bytes > packet.gathered:
        return _emit_pieces(ip, packet, route, min(limit, packet.gathered))
    return _hand_over(ip, packet, route)


def _emit_pieces(ip: Ip, packet: Packet, route: Route, limit: i64) -> i64:
    counters = ip.family(packet.family).counters
    # Of what netfilter has put together the pieces have been sent as they are by somebody who knew.
    if packet.dont_fragment and (packet.gathered == 0 or packet.gathered > limit):
        counters.ip_frag_fails += 1
        return errno.EMSGSIZE
    pieces = fragmenter.split(ip, packet, limit)
    if pieces is None:
        counters.ip_frag_fails += 1
        return errno.EMSGSIZE
    counters.ip_frag_oks += 1
    for piece in pieces:
        counters.ip_frag_creates += 1
        failed: i64 = _hand_over(ip, piece, route)
        if failed != 0:
            return failed
    return 0


def _hand_over(ip: Ip, packet: Packet, route: Route) -> i64:
    device = route.device
    next_hop = route.gateway if route.gateway else packet.dst
    mac: i64 = -1
    medium = device.medium
    if medium is not None and device.mac != 0 and not device.arp and device.neighbors is None:
        mac = medium.resolve(device, next_hop)  # nobody's address is everybody's
    if mac < 0:
        mac = resolve(ip, device, next_hop, ip.is_broadcast(packet.dst), packet)
        if mac < 0:
            if mac == HELD:
                return 0
            ip.family(packet.family).counters.ip_out_discards += 1
            return -mac
    packet.eth_dst = mac
    if device.queue_packets == 0:
        device.tx_dropped += 1
        ip.family(packet.family).counters.ip_out_discards += 1
        return errno.ENOBUFS
    device.transmit(packet)
    return 0


def goes_in_segments(packet: Packet, mtu: i64) -> bool:
    """Whether a large packet stands for TCP segments that fit `mtu`: a device with `gso` was to cut it, and cuts it or
    has it together again (Linux' GRO) wherever it passes.
    """
    if not isinstance(packet, TcpSegment) or packet.gso_bytes == 0:
        return False
    return packet.size_bytes - len(packet.payload) + packet.gso_bytes <= mtu
