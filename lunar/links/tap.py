"""The medium of a device behind which there is no network but somebody who asks what was sent: frames wait here.

So is `tun0` of a host that packetdrill's scripts test. What arrives there is handed to the device itself.
"""

from __future__ import annotations

from collections import deque
from typing import final

from mypy_extensions import i64

from lunar.net.device import Device, Medium
from lunar.packet import Frame
from weaves.scheduler import Scheduler


@final
class Tap(Medium):
    """Frames of one device, each with the time at which it was sent. Whoever runs the scheduler is stopped by each.

    `mac` is the hardware address of all neighbours.
    """

    def __init__(self, scheduler: Scheduler, mac: i64) -> None:
        self.scheduler: Scheduler = scheduler
        self.mac: i64 = mac
        self.frames: deque[tuple[int, Frame]] = deque()

    def transmit(self, frame: Frame, device: Device) -> None:
        self.frames.append((int(self.scheduler.now_ns), frame))
        self.scheduler.stop()

    def cut(self, device: Device) -> None:
        self.frames.clear()

    def resolve(self, device: Device, next_hop: int) -> int:
        return int(self.mac)
