"""Route lookup where one table does not say it all: rules, several tables, types of routes, several next hops.

The plain case, a main table of plain routes and no rules, never comes here: `ip_output.route_for` asks the table. Names
are Linux' (fib: forwarding information base). What is looked up by is a `Flow` (rule.py). Whether an address is the
host's own is known from `Ip.local`, without a lookup; the table `local` has no entries for those, and `local_routes`
makes them for who wants to see them.
"""

from __future__ import annotations

import errno
from typing import Final

from mypy_extensions import i64

from lunar.net.address import IFA_F_SECONDARY
from lunar.net.device import Device
from lunar.net.family import Family
from lunar.net.ip import Ip
from lunar.net.route import (
    BROADCAST,
    LOCAL,
    PROTO_KERNEL,
    SCOPE_HOST,
    SCOPE_LINK,
    THROW,
    Route,
    RouteTable,
)
from lunar.net.rule import (
    BLACKHOLE,
    GOTO,
    PROHIBIT,
    TABLE_LOCAL,
    TABLE_MAIN,
    TO_TABLE,
    UNREACHABLE,
    Flow,
    Rule,
    Rules,
)
from lunar.net.sock import Sock
from lunar.packet import AF_INET, Packet, TcpSegment, UdpDatagram

# net.ipv4.fib_multipath_hash_policy: what makes a flow.
LAYER_3: Final = 0
LAYER_4: Final = 1


def table(ip: Ip, family: Family, number: int) -> RouteTable:
    """The table of this number, made if there is none. Making one switches rules on."""
    if number == TABLE_MAIN:
        return family.routes
    found = family.tables.get(number)
    if found is None:
        found = RouteTable(family.bits, ip.route_changes)
        family.tables[number] = found
        rules(family)
    return found


def rules(family: Family) -> Rules:
    """The family's rules, to be changed; those of the beginning if nobody has changed them. Who changes them calls
    `Ip.route_changes.changed`.
    """
    if family.rules is None:
        family.rules = Rules(family.bits)
    return family.rules


def tables(family: Family) -> list[RouteTable]:
    """All tables, main first, then by their numbers."""
    return [family.routes, *(family.tables[number] for number in sorted(family.tables))]


def flow_of_sock(sock: Sock | None, dst: int) -> Flow:
    """What is known of packets that a socket sends to `dst`."""
    flow = Flow(dst)
    if sock is not None:
        flow.src = sock.local_addr
        flow.tos = sock.tos
        flow.mark = sock.mark
        flow.oif = sock.bound_device
        flow.protocol = sock.protocol
        flow.sport = sock.local_port
        flow.dport = sock.remote_port
        flow.uid = 0
    return flow


def flow_of_packet(packet: Packet, came_by: Device | None) -> Flow:
    """What is known of a packet, one of the host's own if it came by no device."""
    flow = Flow(packet.dst)
    flow.src = packet.src
    flow.tos = packet.tos
    flow.mark = packet.mark
    flow.protocol = packet.protocol
    flow.uid = 0
    if came_by is not None:
        flow.iif = came_by.name
    if isinstance(packet, TcpSegment):
        flow.sport = packet.sport
        flow.dport = packet.dport
    elif isinstance(packet, UdpDatagram):
        flow.sport = packet.sport
        flow.dport = packet.dport
    return flow


def lookup(ip: Ip, family: Family, flow: Flow) -> Route | None:
    """The route for `flow`, of several next hops the one that it takes. One that goes nowhere has a `refusal`."""
    if family.rules is None:
        route = family.routes.lookup_by(flow.dst, flow.tos, flow.oif, -1)
        return None if route is None or route.type == THROW else chosen(ip, family, route, flow)
    at: i64 = 0
    asked = family.rules.rules
    while at < len(asked):
        rule = asked[at]
        at += 1
        if not rule.matches(flow):
            continue
        if rule.action == GOTO:
            while at < len(asked) and asked[at].priority < rule.target:
                at += 1
        elif rule.action == TO_TABLE:
            known = family.routes if rule.table == TABLE_MAIN else family.tables.get(int(rule.table))
            if known is None:
                continue
            route = known.lookup_by(flow.dst, flow.tos, flow.oif, rule.suppress_prefix)
            if route is not None and route.type != THROW:
                return chosen(ip, family, route, flow)
        elif rule.action == BLACKHOLE or rule.action == UNREACHABLE or rule.action == PROHIBIT:
            return _refused(ip, family, rule)
    return None


def _refused(ip: Ip, family: Family, rule: Rule) -> Route | None:
    """What stands for a rule that refuses: its actions have the numbers of the types of routes."""
    lo = ip.loopback_device()
    if lo is None:
        return None
    route = Route(0, 0, 0, lo, 0, 0, family.number)
    route.type = rule.action
    return route


def chosen(ip: Ip, family: Family, route: Route, flow: Flow) -> Route:
    """Of a route's several next hops the one for `flow`; each flow has always the same one."""
    paths = route.paths
    if paths is None:
        return route
    total: i64 = 0
    for path in paths:
        if path.device.up and (not flow.oif or path.device.name == flow.oif):
            total += path.weight
    if total == 0:
        return paths[0]
    drawn: i64 = _hash(family, flow) % total
    for path in paths:
        if path.device.up and (not flow.oif or path.device.name == flow.oif):
            drawn -= path.weight
            if drawn < 0:
                return path
    return paths[0]


def paths_to(ip: Ip, family: Family, flow: Flow) -> list[Route]:
    """All next hops of the route for `flow` in the main table."""
    route = family.routes.lookup_by(flow.dst, flow.tos, "", -1)
    if route is None:
        return []
    return [route] if route.paths is None else route.paths


def _hash(family: Family, flow: Flow) -> i64:
    """A number for a flow, spread evenly, and the same in each run."""
    value: i64 = 0x9E37_79B9
    number: int = flow.src ^ (flow.dst << 1)
    if family.multipath_hash_policy == LAYER_4:
        number ^= (int(flow.sport) << 48) ^ (int(flow.dport) << 32) ^ int(flow.protocol)
    while number:
        value = ((value ^ (number & 0xFFFF)) * 0x0100_0193) & 0xFFFF_FFFF
        value ^= value >> 15
        number >>= 16
    # A factor of 25 bits: the product stays below 2**63.
    value = (value * 0x0100_0193) & 0xFFFF_FFFF
    return value ^ (value >> 13)


def local_routes(ip: Ip, family: Family) -> list[Route]:
    """What the table `local` shows for the host's own addresses and, of IPv4, for the broadcasts of its networks."""
    found: list[Route] = []
    for device in ip.devices:
        for own in device.addresses:
            if own.family != family.number or not device.up:
                continue
            source = own.address
            secondary = family.number == AF_INET and own.flags & IFA_F_SECONDARY != 0
            if secondary:
                for other in device.addresses:
                    if other.family == AF_INET and not other.flags & IFA_F_SECONDARY and other.covers(own.address):
                        source = other.address
                        break
            found.append(_local(family, own.address, device, source, LOCAL, family.bits))
            if secondary:
                continue
            if family.number != AF_INET:
                continue
            if own.address >> 24 == 127:
                found.append(_local(family, own.network(), device, own.address, LOCAL, own.prefix))
            for address, known in ip.broadcasts.items():
                if known is device and own.covers(address):
                    found.append(_local(family, address, device, own.address, BROADCAST, family.bits))
    added = family.tables.get(TABLE_LOCAL)
    return found if added is None else found + added.all()


def _local(family: Family, network: int, device: Device, source: int, kind: i64, prefix: i64) -> Route:
    route = Route(network, prefix, 0, device, 0, source if family.number == AF_INET else 0, family.number)
    route.type = kind
    route.table = TABLE_LOCAL
    route.scope = SCOPE_LINK if kind == BROADCAST else SCOPE_HOST
    route.proto = PROTO_KERNEL
    return route


def device_down(ip: Ip, device: Device) -> None:
    """Remove the routes by a device from all tables of both families, as Linux does when it goes down."""
    for family in (ip.inet, ip.inet6):
        for known in tables(family):
            known.remove_device(device)


def sock_route(ip: Ip, family: Family, sock: Sock | None, dst: int) -> Route | None:
    """The route for what a socket sends; None with `Ip.route_errno` where there is none."""
    route = lookup(ip, family, flow_of_sock(sock, dst))
    if route is None:
        ip.route_errno = errno.ENETUNREACH
        return None
    refused = route.refusal()
    if refused:
        ip.route_errno = refused
        return None
    return route
