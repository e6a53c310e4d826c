"""A switch: a link of more than two devices.

Each device has a wire to the switch and one back. The wire to the switch carries the link's rate, delay and loss; the
wire back carries its rate and its queue, where frames for one device compete. So the delay between any two devices is
the link's delay once, and a frame is sent twice at the link's rate (store and forward, as switches do).

The switch knows the hardware addresses of its ports from the start: it does not learn. It floods broadcasts and what
goes to groups, as one without IGMP snooping does; the devices take what is for them.

One port may lead out of the run (`SwitchDoor`). Whose address no other port has is behind that one.
"""

from __future__ import annotations

from typing import final

from lunar.links.link import Wire
from lunar.links.outside_link import Doorway
from lunar.net.device import Device, Medium
from lunar.packet import GROUP_BIT, ArpMessage, Frame, Port
from lunar.wire import arp, ethernet


@final
class SwitchPort(Port):
    """Where the frames of one device come into the switch, or (None) those from outside."""

    def __init__(self, switch: Switch, device: Device | None) -> None:
        self.switch: Switch = switch
        self.device: Device | None = device

    def arrive(self, frame: Frame) -> None:
        self.switch.forward(frame, self.device)


@final
class Switch(Medium):
    """Joins any number of devices."""

    def __init__(self, name: str) -> None:
        self.name: str = name
        self.devices: list[Device] = []
        self.uplinks: dict[Device, Wire] = {}  # the wire from a device
        self.downlinks: dict[Device, Wire] = {}  # the wire to it
        self.wires: dict[int, Wire] = {}  # the same by its hardware address; of two with one the last
        self.neighbors: dict[int, Device] = {}  # network address -> the device that has, or had it
        self.outward: Wire | None = None  # the wire out of the run
        self.unknown_destination: int = 0

    def plug(self, device: Device, up: Wire, down: Wire) -> None:
        """Join `device` by its two wires."""
        self.devices.append(device)
        self.uplinks[device] = up
        self.downlinks[device] = down
        self.wires[int(device.mac)] = down
        for address in device.addresses:
            self.neighbors[address.address] = device

    def transmit(self, frame: Frame, device: Device) -> None:
        self.uplinks[device].send(frame)

    def cut(self, device: Device) -> None:
        self.uplinks[device].cut()

    def way_out(self, device: Device) -> object | None:
        return self.uplinks.get(device)

    def readdress(self, device: Device, old: int) -> None:
        self.wires.pop(old, None)
        for other in self.devices:
            if other.mac == old:
                self.wires[old] = self.downlinks[other]  # it had the same
        self.wires[int(device.mac)] = self.downlinks[device]

    def resolve(self, device: Device, next_hop: int) -> int:
        known = self.neighbors.get(next_hop)
        if known is not None and known.has_address(next_hop):
            return int(known.mac)
        # A device may have got its address, or lost it, after it was plugged in (ifconfig).
        for other in self.devices:
            if other.has_address(next_hop):
                self.neighbors[next_hop] = other
                return int(other.mac)
        return -1

    def forward(self, frame: Frame, came_from: Device | None) -> None:
        """Send a frame that reached the switch out of the right port; a broadcast or multicast out of all others.

        `came_from` is None for one from outside.
        """
        outward = self.outward if came_from is not None else None
        if not frame.eth_dst & GROUP_BIT:
            wire = self.wires.get(int(frame.eth_dst))
            if wire is None:
                wire = outward
            if wire is None:
                self.unknown_destination += 1
                return
            wire.send(frame)
            return
        for device in self.devices:
            if device is not came_from:
                self.downlinks[device].send(_copy(frame))
        if outward is not None:
            outward.send(_copy(frame))


@final
class SwitchDoor:
    """The port that leads out of the run: its wire ends in `doorway`. Who is there finds it like an `OutsideLink`."""

    def __init__(self, switch: Switch, doorway: Doorway, out: Wire) -> None:
        self.name: str = switch.name
        self.doorway: Doorway = doorway
        self._entrance: Port = SwitchPort(switch, None)
        switch.outward = out

    def arrival(self, data: bytes) -> Frame:
        """The event that a frame which came in as `data` is, whatever it holds."""
        frame = ethernet.frame_of(data)
        frame.target = self._entrance
        return frame


def _copy(frame: Frame) -> Frame:
    # ARP is what is flooded most, and needs no bytes for a copy.
    return arp.copy(frame) if isinstance(frame, ArpMessage) else ethernet.copy(frame)
