"""The medium of `lo`: what is sent comes back at the same instant, in a turn of its own.

That turn comes before all that wait: on Linux, too, a packet over `lo` has been through both ends when the system call
that sent it returns, or soon after, and programs that talk to themselves count on it. It comes behind the turn that
sends, so that a sender is never inside its own receive path.
"""

from __future__ import annotations

from collections import deque
from typing import final

from lunar.net.device import Device, Medium
from lunar.packet import Frame, Port
from weaves.scheduler import Scheduler


@final
class Loopback(Medium):
    """One host's loopback."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler: Scheduler = scheduler
        self._frames: deque[Frame] | None = None  # made when first needed: hosts are many

    def transmit(self, frame: Frame, device: Device) -> None:
        self._bring(frame, device)

    def _bring(self, frame: Frame, port: Port) -> None:
        frame.target = port
        if self._frames is None:
            self._frames = deque()
        if not self._frames:
            self.scheduler.turns.appendleft(self)
        self._frames.append(frame)

    def bring_back(self, frame: Frame, port: Port) -> None:
        self._bring(frame, port)

    def turn(self) -> None:
        """Let one frame arrive; only the scheduler calls this."""
        frames = self._frames
        if not frames:
            return  # the host has crashed since
        frame = frames.popleft()
        if frames:
            # Before all others again: what arrives may wake somebody, who is to find the rest, too.
            self.scheduler.turns.appendleft(self)
        target = frame.target
        assert target is not None, "a frame without a target was sent over lo"
        target.arrive(frame)

    def cut(self, device: Device) -> None:
        self._frames = None

    def resolve(self, device: Device, next_hop: int) -> int:
        return int(device.mac)
