"""The medium of `lo`: what is sent comes back at the same instant, as an event of its own.

By way of the heap and not by a call, so that a sender is never inside its own receive path.
"""

from __future__ import annotations

from typing import final

from lunar.net.device import Device, Medium
from lunar.packet import Frame
from weaves.scheduler import Lane, Scheduler


@final
class Loopback(Medium):
    """One host's loopback."""

    def __init__(self, scheduler: Scheduler, lane: Lane) -> None:
        self.scheduler: Scheduler = scheduler
        self.lane: Lane = lane

    def transmit(self, frame: Frame, device: Device) -> None:
        frame.target = device
        self.scheduler.post(frame, self.lane, self.scheduler.now_ns)

    def resolve(self, device: Device, next_hop: int) -> int:
        return int(device.mac)
