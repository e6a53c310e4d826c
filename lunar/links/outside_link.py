"""A link whose other end is outside of the run: another process, or the machine's kernel.

What its device sends goes by a `Wire` (rate, delay, loss and queue as of any link) to the `Doorway`, where it waits as
bytes for who takes it out. What comes in is made a frame by `arrival` and is the event of a gate (weaves/outside.py);
it arrives at the device at once, or by a wire of its own.

Nobody here knows the hardware addresses behind the door, so the device has to ask for them (`Device.arp`).

Frames that came in together are one event (`Train`), as a network card is asked for all that it has: a program that
waits for data is woken once for them.

Between two doors frames stay the bytes that they are (`RawFrame`): a `WayIn` makes them, wires carry them, and where a
wire of a switch leads to a device of the run, an `Intake` reads them.
"""

from __future__ import annotations

from typing import Any, Final, final

from mypy_extensions import i64

from lunar.links.link import Wire
from lunar.net import offload
from lunar.net.device import Device, Medium
from lunar.packet import Frame, Port, RawFrame, TcpSegment
from lunar.wire import ethernet
from weaves.outside import Gates
from weaves.scheduler import Event

_NOBODY: Final = -1


@final
class Doorway(Port):
    """Where frames leave the run: `frames` are their bytes, Ethernet header included, in the order of their arrival.

    With `gates` nothing waits unless they are open, as nobody takes it out in a replay. With `noted`, the doorway notes
    itself there as soon as a frame waits: who takes them from many need not look at each. Without its cable (`plugged`)
    nothing comes through.
    """

    def __init__(self, gates: Gates | None = None, noted: list[Doorway] | None = None) -> None:
        self.gates: Gates | None = gates
        self.noted: list[Doorway] | None = noted
        self.frames: list[bytes] = []
        self.plugged: bool = True
        self.tap: Any = None  # a capture, as of a device: called as tap(doorway, frame) for each frame out and in

    def arrive(self, frame: Frame) -> None:
        if not self.plugged:
            return
        if self.tap is not None:
            self.tap(self, frame)
        if self.gates is None or self.gates.live:
            if self.noted is not None and not self.frames:
                self.noted.append(self)
            if isinstance(frame, TcpSegment) and frame.gso_bytes > 0:
                for part in offload.cut(frame):
                    self.frames.append(ethernet.encode(part))
            else:
                self.frames.append(ethernet.encode(frame))


@final
class WayIn(Port):
    """Where frames from outside come to a wire. `doorway` is the way out of the same end, if that is no device's."""

    def __init__(self, wire: Wire, doorway: Doorway | None = None) -> None:
        self.wire: Wire = wire
        self.doorway: Doorway | None = doorway

    def arrival(self, data: bytes) -> Frame:
        """The event that a frame which came in as `data` is: it is carried as it is."""
        frame = RawFrame(data)
        frame.target = self
        return frame

    def arrive(self, frame: Frame) -> None:
        doorway = self.doorway
        if doorway is not None:
            if not doorway.plugged:
                return
            if doorway.tap is not None:
                doorway.tap(doorway, frame)
        self.wire.send(frame)


@final
class Intake(Port):
    """The end of a wire where frames from outside become packets, for `device`."""

    def __init__(self, device: Device) -> None:
        self.device: Device = device

    def arrive(self, frame: Frame) -> None:
        if isinstance(frame, RawFrame):
            self.device.arrive(ethernet.frame_of(frame.data))
        else:
            self.device.arrive(frame)


@final
class Train(Event):
    """Frames that came in together, for `target`: all of `data`, `size` bytes each, the last one what is left.

    Where `gathers`, TCP segments among them that follow one another arrive as one (GRO).
    """

    def __init__(self, data: bytes, at: i64, size: i64, target: Port, gathers: bool) -> None:
        super().__init__()
        self.data: bytes = data
        self.at: i64 = at
        self.size: i64 = size
        self.target: Port = target
        self.gathers: bool = gathers

    def fire(self) -> None:
        data = self.data
        count: i64 = len(data)
        at: i64 = self.at
        frames: list[Frame] = []
        while at < count:
            frames.append(ethernet.frame_of(data[at : min(at + self.size, count)]))
            at += self.size
        if self.gathers:
            frames = offload.gather(frames)
        for frame in frames:
            self.target.arrive(frame)


@final
class OutsideLink(Medium):
    """Joins `device` with the outside. Without a wire `inward` what comes in arrives at once.

    `neighbor` is the hardware address of whoever is outside, of a link without such addresses (a TUN device's).
    """

    def __init__(self, name: str, device: Device, doorway: Doorway, out: Wire, inward: Wire | None) -> None:
        self.name: str = name
        self.device: Device = device
        self.doorway: Doorway = doorway
        self.out: Wire = out
        self.inward: Wire | None = inward
        self.neighbor: int = _NOBODY
        self._entrance: Port = device if inward is None else WayIn(inward)

    def transmit(self, frame: Frame, device: Device) -> None:
        if isinstance(frame, TcpSegment) and frame.gso_bytes > 0:
            for part in offload.cut(frame):
                self.out.send(part)
        else:
            self.out.send(frame)

    def arrival(self, data: bytes) -> Frame:
        """The event that a frame which came in as `data` is, whatever it holds."""
        frame = ethernet.frame_of(data)
        frame.target = self._entrance
        return frame

    def train(self, data: bytes) -> Event:
        """The event that frames are which came in together: two bytes with the length of each, and the frames. The
        last one may be shorter. Raises `ValueError` for what is no such thing, in a log that somebody else has written.
        """
        if len(data) < 2 or not (data[0] or data[1]):
            raise ValueError("frames without a length")
        first: i64 = data[0]
        second: i64 = data[1]
        return Train(data, 2, first << 8 | second, self._entrance, self.device.gro)

    def cut(self, device: Device) -> None:
        self.out.cut()

    def way_out(self, device: Device) -> object | None:
        return self.out

    def resolve(self, device: Device, next_hop: int) -> int:
        return self.neighbor
