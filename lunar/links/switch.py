"""A switch: a link of more than two devices.

Each device has a wire to the switch and one back. The wire to the switch carries the link's rate, delay and loss; the
wire back carries its rate and its queue, where frames for one device compete. So the delay between any two devices is
the link's delay once, and a frame is sent twice at the link's rate (store and forward, as switches do).

The switch knows the hardware addresses of its ports from the start: it does not learn, and floods only broadcasts.
"""

from __future__ import annotations

from typing import final

from lunar.links.link import Wire
from lunar.net.device import Device, Medium
from lunar.packet import BROADCAST_MAC, Frame, Port
from lunar.wire import ethernet


@final
class SwitchPort(Port):
    """Where the frames of one device come into the switch."""

    def __init__(self, switch: Switch, device: Device) -> None:
        self.switch: Switch = switch
        self.device: Device = device

    def arrive(self, frame: Frame) -> None:
        self.switch.forward(frame, self.device)


@final
class Switch(Medium):
    """Joins any number of devices."""

    def __init__(self, name: str) -> None:
        self.name: str = name
        self.devices: list[Device] = []
        self.uplinks: dict[int, Wire] = {}  # hardware address -> the wire from that device
        self.downlinks: dict[int, Wire] = {}  # hardware address -> the wire to it
        self.hardware: dict[int, int] = {}  # network address -> hardware address
        self.unknown_destination: int = 0

    def plug(self, device: Device, up: Wire, down: Wire) -> None:
        """Join `device` by its two wires."""
        mac = int(device.mac)
        self.devices.append(device)
        self.uplinks[mac] = up
        self.downlinks[mac] = down
        for address in device.addresses:
            self.hardware[address[0]] = mac

    def transmit(self, frame: Frame, device: Device) -> None:
        self.uplinks[int(device.mac)].send(frame)

    def resolve(self, device: Device, next_hop: int) -> int:
        mac = self.hardware.get(next_hop, -1)
        return mac if mac >= 0 else self._look_around(next_hop)

    def _look_around(self, next_hop: int) -> int:
        # A device may have got its address after it was plugged in (ifconfig).
        for device in self.devices:
            for address in device.addresses:
                if address[0] == next_hop:
                    mac = int(device.mac)
                    self.hardware[next_hop] = mac
                    return mac
        return -1

    def forward(self, frame: Frame, came_from: Device) -> None:
        """Send a frame that reached the switch out of the right port; a broadcast out of all others."""
        if frame.eth_dst != BROADCAST_MAC:
            wire = self.downlinks.get(int(frame.eth_dst))
            if wire is None:
                self.unknown_destination += 1
                return
            wire.send(frame)
            return
        data = ethernet.encode(frame)
        for device in self.devices:
            if device is not came_from:
                copy = ethernet.decode(data)
                assert isinstance(copy, Frame), "a frame of ours did not survive its own bytes"
                self.downlinks[int(device.mac)].send(copy)
