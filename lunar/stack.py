"""Another network stack for a host: what it gets from below, and what it gives to above.

Below a stack there are three calls, those of the thesis' *Lunar*: it sends by `Boundary.write_msg(id, data)`, is handed
what comes in by its own `read_msg(id, data)`, and has its `timer()` called at the time that it asked for. `id` is the
number of a device of the host, from 0, `data` an Ethernet frame without its frame check sequence. Above it are the
socket calls: `socket` makes one, a `ForeignSock` (lunar/sockets/foreign.py), by which all of the host's programs reach
the stack, blocking or asyncio. docs/stacks.md has an example.

Bytes are made and read at this boundary only: the rest of the network carries packets as objects.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from lunar.net.device import Device, Receiver
from lunar.packet import ETHERNET_HEADER_BYTES, Frame
from lunar.sockets.foreign import ForeignSock
from lunar.wire import ethernet
from weaves.scheduler import Call

if TYPE_CHECKING:
    from lunar.host import Host

__all__ = ["Boundary", "ForeignSock", "Stack"]

_NO_NEIGHBOR: Final = -1


class Stack:
    """What the author of a stack writes: a subclass, whose objects serve one host from a boot to its crash.

    It is made with its `Boundary`, when the host boots, before the host has its devices. Whatever it raises is an error
    of the run: a frame that is bad is to be counted and dropped.
    """

    def __init__(self, boundary: Boundary) -> None:
        self.boundary = boundary

    def read_msg(self, id: int, data: bytes) -> None:
        """A frame has arrived at device `id`: addressed to it, to all or to a group."""
        raise NotImplementedError

    def timer(self) -> None:
        """The time that `Boundary.set_timer` was told has come."""

    def socket(self, family: int, type: int, protocol: int) -> ForeignSock:
        """socket(2). Raises `OSError`: EAFNOSUPPORT, EPROTONOSUPPORT ..."""
        raise NotImplementedError(f"{self.__class__.__name__}.socket: a stack makes the sockets of its host")

    def configured(self) -> None:
        """A device of the host has come, or its addresses have changed, or it went up or down."""


class Boundary:
    """What is under a stack: the host's devices, virtual time and one timer. Made by the host."""

    def __init__(self, host: Host, make: Callable[[Boundary], Stack]) -> None:
        self._host = host
        self._plan: Call | None = None
        self.stack = make(self)
        if not isinstance(self.stack, Stack):
            raise TypeError(f"{make!r} gave {self.stack!r}; expected a lunar.stack.Stack")

    @property
    def now_ns(self) -> int:
        """Virtual time in nanoseconds."""
        return int(self._host.scheduler.now_ns)

    @property
    def rng(self) -> random.Random:
        """The host's generator: what is drawn from it is the same in each run with the same seed."""
        generator: random.Random = self._host.ip.rng
        return generator

    @property
    def devices(self) -> list[Device]:
        """The host's devices but `lo`, in the order of their ids: name, mac, mtu, addresses, up."""
        return [device for device in self._host.devices.values() if device.name != "lo"]

    def write_msg(self, id: int, data: bytes) -> None:
        """Send the Ethernet frame `data` by device `id`. Its source address is the device's, whatever it says.

        Raises `IndexError` for a device that is not there, `ValueError` for what is shorter than Ethernet's header.
        """
        if len(data) < ETHERNET_HEADER_BYTES:
            raise ValueError(f"a frame of {len(data)} bytes; expected an Ethernet header of 14 bytes and more")
        self.devices[id].transmit(ethernet.frame_of(data))

    def set_timer(self, at_ns: int | None) -> None:
        """Have `timer()` called at `at_ns`, in place of the time that was asked for before; None: not at all."""
        host = self._host
        if self._plan is not None and self._plan.queued:
            host.scheduler.cancel(self._plan)
        self._plan = None
        if at_ns is not None:
            self._plan = Call(self._fire, None)
            host.scheduler.post(self._plan, host.lane, max(at_ns, self.now_ns))

    def _fire(self, _nothing: None) -> None:
        self._plan = None
        self.stack.timer()

    def hardware_address(self, id: int, next_hop: int) -> int | None:
        """The hardware address of the neighbour that has the network address `next_hop`, as the medium knows it.

        None when nobody there has it. With it a stack needs no ARP; nothing keeps it from speaking ARP all the same.
        """
        device = self.devices[id]
        found = _NO_NEIGHBOR if device.medium is None else device.medium.resolve(device, next_hop)
        return None if found == _NO_NEIGHBOR else found


class StackInput(Receiver):
    """Where the frames of such a host come in."""

    def __init__(self, boundary: Boundary) -> None:
        self.boundary = boundary

    def receive_frame(self, frame: Frame, device: Device) -> None:
        data = ethernet.encode(frame)
        self.boundary.stack.read_msg(self.boundary.devices.index(device), data)
