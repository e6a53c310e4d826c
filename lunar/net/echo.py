"""What a host sends to everybody or to a group, and hears itself: the copy comes back at the device that it left by.

Linux calls it loopback, though it is not `lo` by which it comes. It is neither counted nor captured at the device.
"""

from __future__ import annotations

from typing import final

from lunar.net.device import Device
from lunar.net.ip import Ip
from lunar.packet import Frame, Packet, Port


@final
class Echo(Port):
    """Where copies come back that have left by `device`."""

    def __init__(self, device: Device) -> None:
        self.device: Device = device

    def arrive(self, frame: Frame) -> None:
        device = self.device
        frame.target = device
        if device.running:
            device.receiver.receive_frame(frame, device)


def come_back(ip: Ip, copy: Packet, device: Device, mac: int) -> None:
    """Let `copy`, which went to the hardware address `mac`, come back at `device`."""
    loopback = ip.loopback_device()
    if loopback is None or loopback.medium is None:
        return
    copy.eth_src = device.mac
    copy.eth_dst = mac
    loopback.medium.bring_back(copy, Echo(device))


def is_echo(packet: Packet, device: Device) -> bool:
    """Whether the packet, which has come in at `device`, left by it."""
    return packet.eth_src == device.mac and packet.eth_dst != device.mac
