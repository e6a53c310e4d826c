"""A link whose other end is outside of the run: another process, or the machine's kernel.

What its device sends goes by a `Wire` (rate, delay, loss and queue as of any link) to the `Doorway`, where it waits as
bytes for who takes it out. What comes in is made a frame by `arrival` and is the event of a gate (weaves/outside.py);
it arrives at the device at once, or by a wire of its own.

Nobody here knows the hardware addresses behind the door, so the device has to ask for them (`Device.arp`).
"""

from __future__ import annotations

from typing import Final, final

from lunar.links.link import Wire
from lunar.links.outlet import RawFrame
from lunar.net.device import Device, Medium
from lunar.packet import Frame, Port
from lunar.wire import ethernet

_NOBODY: Final = -1


@final
class Doorway(Port):
    """Where frames leave the run: `frames` are their bytes, Ethernet header included, in the order of their arrival."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def arrive(self, frame: Frame) -> None:
        self.frames.append(frame.data if isinstance(frame, RawFrame) else ethernet.encode(frame))


@final
class WayIn(Port):
    """Where frames from outside come to a wire."""

    def __init__(self, wire: Wire) -> None:
        self.wire: Wire = wire

    def arrive(self, frame: Frame) -> None:
        self.wire.send(frame)


@final
class OutsideLink(Medium):
    """Joins `device` with the outside. Without a wire `inward` what comes in arrives at once."""

    def __init__(self, name: str, device: Device, doorway: Doorway, out: Wire, inward: Wire | None) -> None:
        self.name: str = name
        self.device: Device = device
        self.doorway: Doorway = doorway
        self.out: Wire = out
        self.inward: Wire | None = inward
        self._entrance: Port = device if inward is None else WayIn(inward)

    def transmit(self, frame: Frame, device: Device) -> None:
        self.out.send(frame)

    def arrival(self, data: bytes) -> Frame:
        """The event that a frame which came in as `data` is, whatever it holds."""
        frame = ethernet.frame_of(data)
        frame.target = self._entrance
        return frame

    def cut(self, device: Device) -> None:
        self.out.cut()

    def way_out(self, device: Device) -> object | None:
        return self.out

    def resolve(self, device: Device, next_hop: int) -> int:
        return _NOBODY
