"""A device of the machine's kernel as an end of a link: a TAP or TUN device, in one of the kernel's network namespaces.

What the kernel sends there comes in by a gate; what the link brings is written after each slice of the run. The device
is opened with the run and closed with it. One that goes down takes nothing, one that is deleted is no more: what is
lost by that is counted, as on a cable that nobody holds, and the run goes on.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from typing import Any, Final

import attrs

from lunar.kernel.namespace import KernelUnavailable, Namespace
from lunar.kernel.tun import IFF_TAP, IFF_TUN, TunDevice
from lunar.links.outside_link import Doorway
from lunar.packet import ETHERNET_HEADER_BYTES
from lunar.wire.ethernet import mac_text
from weaves import units
from weaves.outside import Gate, Gates

# Frames of one device that are read before the others have their turn.
_AT_A_TIME: Final = 64
# A frame may have two VLAN tags (IEEE 802.1ad) besides what the MTU counts.
_TAGS_BYTES: Final = 8

_FRAME_OF_IPV4: Final = b"\x08\x00"
_FRAME_OF_IPV6: Final = b"\x86\xdd"
_FRAME_OF_NOTHING: Final = b"\x00\x00"


@attrs.frozen(kw_only=True)
class KernelSettings:
    """What the device is in the kernel: its name, its addresses there ("10.9.0.2/24"), and whether it is brought up.

    With `packets` it is a TUN device, which carries IP packets without Ethernet's header.
    """

    device: str
    addresses: tuple[str, ...] = ()
    up: bool = True
    packets: bool = False


def namespace_of(netns: str | Namespace | None) -> Namespace:
    """The namespace of that name; None is the one that the process is in. Raises `KernelUnavailable`."""
    if netns is None:
        return Namespace.current()
    return Namespace.named(netns) if isinstance(netns, str) else netns


class KernelDevices:
    """Those of one run. What waits for them is written by one look at all."""

    def __init__(self, gates: Gates, tell: Callable[[str, str], None]) -> None:
        self.gates = gates
        self.tell = tell  # called as tell(name, what) when something befalls one
        self.waiting: list[Doorway] = []
        self._behind: dict[Doorway, KernelDevice] = {}
        gates.on_flush(self._flush)

    def doorway(self, device: KernelDevice) -> Doorway:
        """The end of the link's way to `device`."""
        made = Doorway(self.gates, self.waiting)
        self._behind[made] = device
        return made

    def _flush(self) -> None:
        if self.waiting:
            for doorway in self.waiting:
                self._behind[doorway].write(doorway.frames)
                doorway.frames.clear()
            self.waiting.clear()


class KernelDevice:
    """One device; `name` is what the run knows it by. `find` gives its namespace, once the run begins."""

    def __init__(
        self, devices: KernelDevices, name: str, settings: KernelSettings, find: Callable[[], Namespace]
    ) -> None:
        self.name = name
        self.settings = settings
        # By its names, so that it is the same in each run.
        digest = hashlib.blake2b(f"kernel/{name}/{settings.device}".encode(), digest_size=5).digest()
        self.mac = 0x06 << 40 | int.from_bytes(digest)
        self.doorway = devices.doorway(self)
        self.medium: object | None = None  # the link that it is on
        self.mtu = 1500
        # Of the real device, so that all are 0 in a replay. `refused`: what it did not take; `oversized`: what was
        # larger than the MTU, and thrown away.
        self.received = self.sent = self.refused = self.oversized = 0
        self.down = self.gone = False
        self._devices = devices
        self._find = find
        self._gate: Gate | None = None
        self._device: TunDevice | None = None
        self._read_most = 0

    def plug(self, link: object, mtu: int, event_of: Any, mac: int) -> None:
        """Put it on `link`, where `event_of` makes the event of a frame; `mac` is the device's at the other end."""
        self.medium = link
        self.mtu = mtu
        if self.settings.packets:
            header = mac.to_bytes(6, "big") + bytes(6)

            def frame_of(packet: bytes) -> Any:
                version = packet[0] >> 4 if packet else 0
                kind = {4: _FRAME_OF_IPV4, 6: _FRAME_OF_IPV6}.get(version, _FRAME_OF_NOTHING)
                return event_of(header + kind + packet)

            self._gate = self._devices.gates.gate(self.name, frame_of)
        else:
            self._gate = self._devices.gates.gate(self.name, event_of)

    @property
    def is_open(self) -> bool:
        """Whether the kernel's device is there, in a run that is live."""
        return self._device is not None

    def primary_address(self) -> int:
        """Its first IPv4 address, 0 if it has none, as of a device of the run."""
        parsed = [units.parse_address(text)[0] for text in self.settings.addresses]
        return next((address for address in parsed if address < 1 << 32), 0)

    def open(self) -> None:
        """Make the device, or attach to the one that is there. Raises `OSError` with a text that says what is wrong."""
        settings = self.settings
        try:
            device = TunDevice(self._find(), settings.device, IFF_TUN if settings.packets else IFF_TAP)
            try:
                device.configure(
                    settings.addresses, mac="" if settings.packets else mac_text(self.mac), mtu=self.mtu, up=settings.up
                )
            except BaseException:
                device.close()
                raise
        except KernelUnavailable as error:
            raise OSError(errno.ENODEV, f"{self.name}: {error}") from None
        header = 0 if settings.packets else ETHERNET_HEADER_BYTES
        self._read_most = self.mtu + header + _TAGS_BYTES + 1
        self._device = device
        self._devices.gates.watch(device.descriptor, self._readable)

    def close(self) -> None:
        """Close it, if it is open: one that was made is gone by that."""
        device = self._device
        if device is not None:
            self._device = None
            if not self.gone:
                self._devices.gates.unwatch(device.descriptor)
            device.close()

    def _readable(self) -> None:
        device, gate = self._device, self._gate
        assert device is not None and gate is not None, "nobody watches it otherwise"
        admit, descriptor, most = gate.admit, device.descriptor, self._read_most
        for _ in range(_AT_A_TIME):
            try:
                data = os.read(descriptor, most)
            except BlockingIOError:
                return
            except OSError as error:
                self._lost(error)
                return
            if len(data) == most:
                self.oversized += 1
                continue
            self.received += 1
            admit(data)

    def write(self, frames: list[bytes]) -> None:
        """Let the kernel have `frames`."""
        if self._device is None:
            self.refused += len(frames)
            return
        descriptor = self._device.descriptor
        skip = ETHERNET_HEADER_BYTES if self.settings.packets else 0
        for data in frames:
            try:
                os.write(descriptor, data[skip:] if skip else data)
                self.sent += 1
                if self.down:
                    self.down = False
                    self._devices.tell(self.name, f"{self.settings.device} of the machine is up again")
            except OSError as error:
                self.refused += 1
                if error.errno == errno.EIO and not self.down:
                    self.down = True
                    self._devices.tell(
                        self.name, f"{self.settings.device} of the machine is down: what is sent to it is lost"
                    )
                elif error.errno == errno.EBADFD:
                    self._lost(error)

    def _lost(self, error: OSError) -> None:
        """It was deleted, or can not be read for another reason: nothing comes of it any more."""
        if not self.gone and self._device is not None:
            self.gone = True
            self._devices.gates.unwatch(self._device.descriptor)
            why = "was deleted" if error.errno == errno.EBADFD else f"cannot be read: {error.strerror}"
            self._devices.tell(self.name, f"{self.settings.device} of the machine {why}: what is sent to it is lost")

    def figures(self) -> dict[str, Any]:
        """What `weave run --json` tells of it."""
        return {
            "name": self.name,
            "device": self.settings.device,
            "received": self.received,
            "sent": self.sent,
            "refused": self.refused,
            "oversized": self.oversized,
            "state": "gone" if self.gone else "down" if self.down else "up",
        }
