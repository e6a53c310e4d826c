"""A switch: a link of more than two devices.

Each device has a wire to the switch and one back. The wire to the switch carries the link's rate, delay and loss; the
wire back carries its rate and its queue, where frames for one device compete. So the delay between any two devices is
the link's delay once, and a frame is sent twice at the link's rate (store and forward, as switches do).

The switch knows the hardware addresses of its ports from the start. It floods broadcasts and what goes to groups, as
one without IGMP snooping does; the devices take what is for them. Only behind a port that leads out of the run does it
not know who is there: it learns them by what they send, and floods to such ports what it does not know.
"""

from __future__ import annotations

from typing import Final, final

from lunar.links.link import Wire
from lunar.links.outside_link import Doorway
from lunar.net.device import Device, Medium
from lunar.packet import GROUP_BIT, ArpMessage, Frame, Port
from lunar.wire import arp, ethernet

# As many as a bridge of Linux may be told to keep (fdb_max_learned); who floods it with others gets no more by it.
_MOST_LEARNED: Final = 1024


@final
class SwitchPort(Port):
    """Where the frames of one device come into the switch, or of what is behind the port `device`."""

    def __init__(self, switch: Switch, device: Port) -> None:
        self.switch: Switch = switch
        self.device: Port = device

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
        self.unknown_destination: int = 0
        self.outside: dict[Port, Wire] = {}  # the wires to ports that lead out of the run
        self.learned: dict[int, Port] = {}  # hardware address -> the one of them behind which it is

    def plug(self, device: Device, up: Wire, down: Wire) -> None:
        """Join `device` by its two wires."""
        self.devices.append(device)
        self.uplinks[device] = up
        self.downlinks[device] = down
        self.wires[int(device.mac)] = down
        for address in device.addresses:
            self.neighbors[address.address] = device

    def plug_outside(self, port: Port, down: Wire) -> None:
        """Join what is outside of the run by the wire to `port`."""
        self.outside[port] = down

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

    def forward(self, frame: Frame, came_from: Port) -> None:
        """Send a frame that reached the switch out of the right port; a broadcast or multicast out of all others."""
        if self.outside and came_from in self.outside:
            self._learn(int(frame.eth_src), came_from)
        if not frame.eth_dst & GROUP_BIT:
            wire = self.wires.get(int(frame.eth_dst))
            if wire is not None:
                wire.send(frame)
            elif self.outside:
                self._send_outside(frame, came_from)
            else:
                self.unknown_destination += 1
            return
        for device in self.devices:
            if device is not came_from:
                self.downlinks[device].send(_copy(frame))
        for port, down in self.outside.items():
            if port is not came_from:
                down.send(_copy(frame))

    def _learn(self, mac: int, port: Port) -> None:
        """Whoever has `mac` is behind `port`, for all that is known."""
        if mac & GROUP_BIT or mac in self.wires:
            return
        if mac in self.learned or len(self.learned) < _MOST_LEARNED:
            self.learned[mac] = port

    def _send_outside(self, frame: Frame, came_from: Port) -> None:
        """A frame for nobody of the run: out of the port behind which its address is, or of all such others."""
        known = self.learned.get(int(frame.eth_dst))
        if known is came_from:
            return  # behind that port they hear one another without the switch
        if known is not None:
            self.outside[known].send(frame)
            return
        if len(self.outside) == 1 and came_from in self.outside:
            self.unknown_destination += 1
        for port, down in self.outside.items():
            if port is not came_from:
                down.send(_copy(frame))


@final
class SwitchDoor:
    """A port that leads out of the run: its wire ends in `doorway`. Who is there finds it like an `OutsideLink`."""

    def __init__(self, switch: Switch, doorway: Doorway, out: Wire) -> None:
        self.name: str = switch.name
        self.doorway: Doorway = doorway
        self._entrance: Port = SwitchPort(switch, doorway)
        switch.plug_outside(doorway, out)

    def arrival(self, data: bytes) -> Frame:
        """The event that a frame which came in as `data` is, whatever it holds."""
        frame = ethernet.frame_of(data)
        frame.target = self._entrance
        return frame


def _copy(frame: Frame) -> Frame:
    # ARP is what is flooded most, and needs no bytes for a copy.
    return arp.copy(frame) if isinstance(frame, ArpMessage) else ethernet.copy(frame)
