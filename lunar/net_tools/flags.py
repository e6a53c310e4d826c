"""The flags of a device, as the tools name them: of netdevice(7), which all of them show a part of."""

from __future__ import annotations

from typing import Final

from lunar.net.device import Device

IFF_UP: Final = 0x1
IFF_BROADCAST: Final = 0x2
IFF_LOOPBACK: Final = 0x8
IFF_RUNNING: Final = 0x40
IFF_NOARP: Final = 0x80
IFF_PROMISC: Final = 0x100
IFF_ALLMULTI: Final = 0x200
IFF_MULTICAST: Final = 0x1000

# In the order of ip(8) and of ifconfig(8).
_OF_IP: Final = (
    (IFF_LOOPBACK, "LOOPBACK"), (IFF_BROADCAST, "BROADCAST"), (IFF_MULTICAST, "MULTICAST"), (IFF_NOARP, "NOARP"),
    (IFF_ALLMULTI, "ALLMULTI"), (IFF_PROMISC, "PROMISC"), (IFF_UP, "UP"),
)  # fmt: skip
_OF_IFCONFIG: Final = (
    (IFF_UP, "UP"), (IFF_BROADCAST, "BROADCAST"), (IFF_LOOPBACK, "LOOPBACK"), (IFF_RUNNING, "RUNNING"),
    (IFF_NOARP, "NOARP"), (IFF_PROMISC, "PROMISC"), (IFF_ALLMULTI, "ALLMULTI"), (IFF_MULTICAST, "MULTICAST"),
)  # fmt: skip
# One letter each: ifconfig -s and netstat -i.
_LETTERS: Final = (
    (IFF_ALLMULTI, "A"), (IFF_BROADCAST, "B"), (IFF_LOOPBACK, "L"), (IFF_MULTICAST, "M"), (IFF_NOARP, "O"),
    (IFF_PROMISC, "P"), (IFF_RUNNING, "R"), (IFF_UP, "U"),
)  # fmt: skip


def flags(device: Device) -> int:
    """IFF_UP and the like. `lo` has no ARP either, and Linux does not say so of it."""
    if device.name == "lo":
        return IFF_LOOPBACK | (IFF_UP | IFF_RUNNING if device.up else 0)
    found = IFF_BROADCAST | IFF_MULTICAST
    if device.up:
        # A host does not know that its cable is out (Device.plugged); one that was never on a link does.
        found |= IFF_UP | (IFF_RUNNING if device.medium is not None else 0)
    found |= 0 if device.arp else IFF_NOARP
    found |= IFF_PROMISC if device.promiscuous else 0
    return found | (IFF_ALLMULTI if device.allmulti else 0)


def of_ip(device: Device) -> list[str]:
    """As ip has them: ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"]."""
    found = flags(device)
    names = ["NO-CARRIER"] if found & IFF_UP and not found & IFF_RUNNING else []
    names += [name for bit, name in _OF_IP if found & bit]
    return [*names, "LOWER_UP"] if found & IFF_UP and found & IFF_RUNNING else names


def of_ifconfig(device: Device) -> str:
    """As ifconfig has them: "UP,BROADCAST,RUNNING,MULTICAST"."""
    found = flags(device)
    return ",".join(name for bit, name in _OF_IFCONFIG if found & bit)


def letters(device: Device) -> str:
    """One letter each: "BMRU"."""
    found = flags(device)
    return "".join(letter for bit, letter in _LETTERS if found & bit)
