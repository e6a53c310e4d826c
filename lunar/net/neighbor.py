"""From a next hop to a hardware address.

Today a medium answers at once from the addresses of the devices that it joins: no ARP packets, no cache that ages. What
that costs: the first packet to a neighbour meets no resolution delay. The function is where ARP will go.
"""

from __future__ import annotations

from lunar.net.device import Device
from lunar.packet import BROADCAST_MAC


def resolve(device: Device, next_hop: int, broadcast: bool) -> int:
    """The hardware address for `next_hop` on `device`'s medium; -1 when nobody there has it."""
    if broadcast:
        return BROADCAST_MAC
    medium = device.medium
    if medium is None:
        return -1
    return medium.resolve(device, next_hop)
