"""The groups that a device listens to, for the tools that show them: of the kernel's own and of programs' joining."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lunar.net.device import Device
from lunar.net.groups import hardware_address
from lunar.packet import AF_INET, AF_INET6

if TYPE_CHECKING:
    from lunar.host import Host

ALL_HOSTS: Final = 0xE000_0001  # 224.0.0.1
ALL_NODES: Final = 0xFF02 << 112 | 1  # ff02::1
ALL_NODES_OF_THE_DEVICE: Final = 0xFF01 << 112 | 1  # ff01::1
_SOLICITED: Final = 0xFF02 << 112 | 0x1_FF00_0000  # ff02::1:ff00:0/104


def memberships(host: Host, device: Device, family: int) -> list[tuple[int, int]]:
    """The groups of one family and how often each was joined, as Linux tells them: the newest first."""
    joined = [] if device.memberships is None else [
        (group.address, len(group.members)) for group in device.memberships.values()
        if group.members and (group.address < 1 << 32) == (family == AF_INET)
    ]  # fmt: skip
    joined.reverse()
    if family == AF_INET:
        return [*joined, (ALL_HOSTS, 1)]
    own6 = [own.address for own in device.addresses if own.family == AF_INET6]
    if not own6:
        return joined
    known = {group for group, _ in joined}
    solicited: dict[int, int] = {}
    if device.name != "lo":
        for address in own6:
            group = _SOLICITED | (address & 0xFF_FFFF)
            if group not in known:
                solicited[group] = solicited.get(group, 0) + 1
    return [*joined, *reversed(solicited.items()), (ALL_NODES, 1), (ALL_NODES_OF_THE_DEVICE, 1)]


def hardware_groups(host: Host, device: Device) -> list[int]:
    """The hardware addresses of groups that it takes. `lo` has none."""
    if device.name == "lo":
        return []
    told = [
        group for family in (AF_INET6, AF_INET) for group, _ in reversed(memberships(host, device, family))
        if group >> 112 != 0xFF01
    ]  # fmt: skip
    # Everybody's first, then the others in the order in which they were joined.
    told.sort(key=lambda group: group not in (ALL_HOSTS, ALL_NODES))
    return list(dict.fromkeys(hardware_address(group) for group in told))
