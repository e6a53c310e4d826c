"""Links in real time: each joins two TAP devices by the wires of lunar/links, driven by the machine's clock.

What a device sends is read, put into its wire at that moment, and written to the other device when the wire says. The
machine is not always on time: `late_us` counts frames by how much after their time they left, in microseconds.
"""

from __future__ import annotations

import gc
import os
import select
import time
from collections import Counter
from typing import Final

from lunar.kernel.tun import TunDevice
from lunar.links.impairments import Impairment
from lunar.links.link import Wire
from lunar.links.outlet import Outlet
from lunar.packet import RawFrame
from weaves.scheduler import Lane, Scheduler

_ALL: Final = 1 << 60  # a budget that is never spent
_AT_A_TIME: Final = 32  # frames of one device, before the others have their turn
_LONGEST_WAIT_NS: Final = 50_000_000


class Forwarder:
    """Add links, then run."""

    def __init__(self) -> None:
        self.late_us: Counter[int] = Counter()
        self.refused = 0  # frames that a device did not take
        self._scheduler = Scheduler()
        self._lanes = 0
        self._wires: dict[int, Wire] = {}
        self._poll = select.epoll()
        self._started_ns = time.monotonic_ns()

    def join(
        self, a: TunDevice, b: TunDevice, rate_bps: int, delay_ns: int, packets: int,
        impairments: tuple[Impairment, ...],
    ) -> None:
        """Join two devices; the impairments, none or two, are those of the frames of `a` and of `b`."""
        for number, (source, target) in enumerate(((a, b), (b, a))):
            self._lanes += 1
            self._wires[source.descriptor] = Wire(
                self._scheduler, Lane(self._lanes), Outlet(self._writer(target.descriptor)), rate_bps, delay_ns,
                packets, 0, impairments[number] if impairments else None,
            )
            self._poll.register(source.descriptor, select.EPOLLIN)

    def _writer(self, descriptor: int) -> object:
        def write(data: bytes, at_ns: int) -> None:
            self.late_us[(self._elapsed_ns() - at_ns) // 1000] += 1
            try:
                os.write(descriptor, data)
            except OSError:
                # The device's own queue is full, or it is down: a frame lost, as a cable would lose it.
                self.refused += 1

        return write

    def _elapsed_ns(self) -> int:
        return time.monotonic_ns() - self._started_ns

    def run(self, stop: int) -> None:
        """Carry frames until the descriptor `stop` can be read."""
        scheduler = self._scheduler
        poll, wires = self._poll, self._wires
        poll.register(stop, select.EPOLLIN)
        gc.collect()
        gc.disable()
        try:
            while True:
                self._catch_up()
                wait_ns = min(scheduler.next_ns() - self._elapsed_ns(), _LONGEST_WAIT_NS)
                # epoll_wait(2) counts in milliseconds; select(2), with the poll itself to watch, in microseconds.
                if wait_ns > 0 and not select.select([poll], [], [], wait_ns / 1e9)[0]:
                    continue
                for descriptor, _ in poll.poll(0):
                    if descriptor == stop:
                        return
                    self._take(descriptor, wires[descriptor])
        finally:
            gc.enable()
            poll.unregister(stop)

    def _catch_up(self) -> None:
        """Write what is due, and set the scheduler's clock to the machine's, also where nothing was to be done."""
        now_ns = self._elapsed_ns()
        self._scheduler.run(now_ns, _ALL)
        if self._scheduler.now_ns < now_ns:
            self._scheduler.advance(now_ns)

    def _take(self, descriptor: int, wire: Wire) -> None:
        for _ in range(_AT_A_TIME):
            try:
                data = os.read(descriptor, 2048)
            except BlockingIOError:
                return
            self._catch_up()
            wire.send(RawFrame(data))

    def dropped(self, device: TunDevice) -> tuple[int, int]:
        """How many frames of `device` the queue and the loss have taken."""
        wire = self._wires[device.descriptor]
        return int(wire.dropped_queue), int(wire.dropped_loss)

    def close(self) -> None:
        self._poll.close()
