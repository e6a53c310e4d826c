"""A TAP device of the machine's kernel at the other end of a link: the kernel is a neighbour of the virtual host."""

from __future__ import annotations

import os
from typing import Final

from lunar.kernel.namespace import Namespace
from lunar.kernel.tun import IFF_TAP, TunDevice
from lunar.links.outside_link import OutsideLink
from weaves.outside import Gates

_LARGEST: Final = 65_535
_AT_A_TIME: Final = 64


class TapLink:
    """Joins `link` with the device `name` of the kernel, in `namespace`; it is up as soon as the run has begun."""

    def __init__(self, gates: Gates, link: OutsideLink, name: str, namespace: Namespace) -> None:
        self.link = link
        self.name = name
        self.namespace = namespace
        self.refused = 0  # frames that the device did not take
        self._gates = gates
        self._gate = gates.gate(link.name, link.arrival)
        self._device: TunDevice | None = None
        gates.on_open(self._open)
        gates.on_close(self._close)
        gates.on_flush(self._flush)

    def _open(self) -> None:
        self._device = TunDevice(self.namespace, self.name, IFF_TAP)
        self.namespace.command("ip", "link", "set", self.name, "mtu", str(self.link.device.mtu), "up")
        self._gates.watch(self._device.descriptor, self._readable)

    def _close(self) -> None:
        if self._device is not None:
            self._gates.unwatch(self._device.descriptor)
            self._device.close()
            self._device = None

    def _readable(self) -> None:
        assert self._device is not None, "nobody watches it otherwise"
        for _ in range(_AT_A_TIME):
            try:
                data = os.read(self._device.descriptor, _LARGEST)
            except BlockingIOError:
                return
            self._gate.admit(data)

    def _flush(self) -> None:
        frames = self.link.doorway.frames
        if self._device is not None:
            for frame in frames:
                try:
                    self._device.write(frame)
                except OSError:
                    self.refused += 1
        frames.clear()
