"""Forwarding: what a router does with a packet that is for somebody else. RFC 1812 section 5.2 and 5.3."""

from __future__ import annotations

from lunar.net import icmp
from lunar.net.device import Device
from lunar.net.ip import FORWARD, Ip
from lunar.net.ip_output import emit
from lunar.packet import AF_INET, Packet


def forward(ip: Ip, packet: Packet, device: Device) -> None:
    """Send `packet`, which came in at `device`, on its way; or drop it and tell its sender why."""
    family = ip.family(packet.family)
    counters = family.counters
    # IPv4 asks the device where it came in. IPv6 asks the host: a device's own says whether it is a router's, no more.
    forwards = device.inet.forwarding != 0 if packet.family == AF_INET else family.forwarding
    if not forwards:
        counters.ip_in_addr_errors += 1
        return
    if packet.ttl <= 1:
        counters.ip_in_hdr_errors += 1
        icmp.send_error(ip, packet, icmp.TIME_EXCEEDED, icmp.TTL_EXCEEDED, 0)
        return
    route = family.routes.lookup(packet.dst)
    if route is None:
        counters.ip_out_no_routes += 1
        icmp.send_error(ip, packet, icmp.UNREACHABLE, icmp.NET_UNREACHABLE, 0)
        return
    if packet.size_bytes > route.device.mtu:
        # Fragmentation by routers is not here yet; the sender learns the MTU either way. Its packet is quoted as it
        # came, therefore before the TTL changes.
        counters.ip_out_discards += 1
        icmp.send_error(ip, packet, icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, route.device.mtu)
        return
    packet.ttl -= 1
    filter = ip.filter
    if filter is not None and not filter.passes(FORWARD, packet, device, route.device):
        return
    counters.ip_forw_datagrams += 1
    if emit(ip, packet, route) != 0:
        icmp.send_error(ip, packet, icmp.UNREACHABLE, icmp.HOST_UNREACHABLE, 0)
