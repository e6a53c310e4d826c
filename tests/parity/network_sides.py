"""A host with two Ethernet devices, twice: the machine's kernel in a namespace, behind TAP devices, and one of Lunar's.

Both sides take the same command lines and the same frames, and tell which frames came out of which device. On both the
devices have the same hardware addresses, and neighbours that never have to be asked for. `Side.probe` is one exchange:
frames in, and what they brought out.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from typing import Final, Protocol

from lunar.kernel.namespace import Namespace
from lunar.kernel.tun import IFF_TAP, TunDevice
from lunar.links.tap import Tap
from lunar.net.device import Device
from lunar.network import Network
from lunar.wire import ethernet
from weaves.scheduler import IDLE, REACHED

# The devices' hardware addresses, and those of all neighbours behind each.
MACS: Final = (0x0200_0000_0A01, 0x0200_0000_0B01)
NEIGHBOR_MACS: Final = (0x0200_0000_0A99, 0x0200_0000_0B99)
DEVICES: Final = ("eth0", "eth1")

# How long the kernel may take with an answer that it gives at once; its softirqs run in the call that writes the frame,
# so that this is only reached when nothing comes.
_SETTLE_S: Final = 0.01

# Within so long a new member has told of itself, as often as it does.
_REPORTS_S: Final = 2.5
_BUDGET: Final = 1_000_000

Sent = tuple[int, bytes]


class Side(Protocol):
    """One of the two."""

    name: str

    def command(self, line: str) -> None:
        """Run a command line of the host."""

    def neighbor(self, device: int, address: str) -> None:
        """Say that `address` is a neighbour on a device."""

    def settle(self) -> None:
        """Wait until all addresses can be used."""

    def resolve(self) -> None:
        """From now on neighbours have to be asked for, on eth0 and eth1."""

    def join(self, group: str) -> None:
        """A program of the host joins a group on eth0, and stays; its reports go out meanwhile."""

    def probe(self, frames: list[Sent], wait_s: float = 0) -> list[Sent]:
        """Let `frames` arrive, and wait as long for what comes out."""

    def close(self) -> None:
        """Let go of it."""


def joined(group: str, index: int) -> socket.socket:
    """A socket that is a member of `group` on the device of this number."""
    if ":" in group:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        request = socket.inet_pton(socket.AF_INET6, group) + struct.pack("@I", index)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
    else:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        request = socket.inet_aton(group) + struct.pack("@4sI", b"", index)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    return sock


class KernelSide:
    """The machine's kernel. Raises `KernelUnavailable`."""

    name = "kernel"

    def __init__(self) -> None:
        self.namespace = Namespace()
        self._members: list[socket.socket] = []
        self.taps = [TunDevice(self.namespace, name, IFF_TAP) for name in DEVICES]
        for name, mac in zip(DEVICES, MACS, strict=True):
            # What it would send by itself, of its own addresses and for a router.
            for key in ("accept_ra", "dad_transmits", "router_solicitations"):
                self.namespace.sysctl(f"net.ipv6.conf.{name}.{key}", "0")
            self.namespace.command("ip", "link", "set", name, "address", ethernet.mac_text(mac), "up")

    def command(self, line: str) -> None:
        if line.startswith("sysctl -w "):
            name, _, value = line.removeprefix("sysctl -w ").partition("=")
            self.namespace.sysctl(name, value)
        else:
            self.namespace.command(*line.split())

    def neighbor(self, device: int, address: str) -> None:
        mac = ethernet.mac_text(NEIGHBOR_MACS[device])
        self.command(f"ip neigh replace {address} lladdr {mac} dev {DEVICES[device]} nud permanent")

    def settle(self) -> None:
        for _ in range(50):
            if not self.namespace.command("ip", "-6", "addr", "show", "tentative"):
                return
            self._collect(0.1)

    def resolve(self) -> None:
        """The kernel does so anyway."""

    def join(self, group: str) -> None:
        with self.namespace:
            self._members.append(joined(group, socket.if_nametoindex("eth0")))
        self._collect(_REPORTS_S)

    def probe(self, frames: list[Sent], wait_s: float = 0) -> list[Sent]:
        self._collect(0)
        for device, data in frames:
            os.write(self.taps[device].descriptor, data)
        return self._collect(wait_s + _SETTLE_S)

    def _collect(self, wait_s: float) -> list[Sent]:
        found: list[Sent] = []
        while True:
            ready, _, _ = select.select([tap.descriptor for tap in self.taps], [], [], wait_s)
            if not ready:
                return found
            for device, tap in enumerate(self.taps):
                if tap.descriptor in ready:
                    found.append((device, os.read(tap.descriptor, 1 << 16)))

    def close(self) -> None:
        for member in self._members:
            member.close()
        for tap in self.taps:
            tap.close()
        self.namespace.close()


class LunarSide:
    """A virtual host."""

    name = "lunar"

    def __init__(self) -> None:
        self.network = Network(seed=1)
        self.host = self.network.host("host")
        self.scheduler = self.network.scheduler
        self.taps: list[Tap] = []
        self.devices: list[Device] = []
        for mac, neighbor in zip(MACS, NEIGHBOR_MACS, strict=True):
            device = self.host.add_device([])
            device.mac = mac
            tap = Tap(self.scheduler, neighbor)
            device.medium = tap
            self.devices.append(device)
            self.taps.append(tap)

    def command(self, line: str) -> None:
        self.host.sh(line)

    def neighbor(self, device: int, address: str) -> None:
        mac = ethernet.mac_text(NEIGHBOR_MACS[device])
        self.host.sh(f"ip neigh replace {address} lladdr {mac} dev {DEVICES[device]} nud permanent")

    def settle(self) -> None:
        self.probe([], 2)

    def resolve(self) -> None:
        for device in self.devices:
            self.host.set_arp(device, True)

    def join(self, group: str) -> None:
        def member() -> None:
            with joined(group, socket.if_nametoindex("eth0")) as sock:
                sock.recv(1)

        self.network.start(self.host, member)
        self.probe([], _REPORTS_S)

    def probe(self, frames: list[Sent], wait_s: float = 0) -> list[Sent]:
        for tap in self.taps:
            tap.frames.clear()
        for device, data in frames:
            frame = ethernet.frame_of(data)
            frame.target = self.devices[device]
            frame.fire()
        until = self.scheduler.now_ns + int((wait_s + _SETTLE_S) * 1_000_000_000)
        while (reason := self.scheduler.run(until, _BUDGET)) not in (IDLE, REACHED):
            pass
        if reason == IDLE:
            self.scheduler.advance(until)
        found = [
            (at, device, ethernet.encode(frame)) for device, tap in enumerate(self.taps) for at, frame in tap.frames
        ]
        found.sort(key=lambda entry: entry[0])
        return [(device, data) for _, device, data in found]

    def close(self) -> None:
        self.network.close()
