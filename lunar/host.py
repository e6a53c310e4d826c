"""A virtual host: the one place where a stack's parts are put together.

A host owns its devices, tables, descriptors, counters and event loops; there is no state outside of it. An idle host is
small: its loop and its generator are made when they are first used.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from lunar import socket as lunar_socket
from lunar.asyncio.loop import HostLoop
from lunar.files import Files
from lunar.links.loopback import Loopback
from lunar.net.device import LOOPBACK_MTU, Device
from lunar.net.icmp import Icmp
from lunar.net.ip import Ip
from lunar.net.ip_input import IpInput
from lunar.net.route import Route
from lunar.packet import ICMP, TCP, UDP
from lunar.sockets import syscalls
from lunar.sockets.fdtable import FdTable
from lunar.tcp.demux import Tcp
from lunar.udp import Udp
from lunar.wire.address import ipv4_text, network_mask
from weaves import seeds
from weaves.strings import Weave, free_weave_name

if TYPE_CHECKING:
    from lunar.network import Network

_LOOPBACK_ADDRESS: Final = 0x7F00_0001
# Locally administered (IEEE 802): 02:00 and the device's number in the run.
_MAC_BASE: Final = 0x0200_0000_0000


class Host:
    """One virtual host with `lo` and no other device; `add_device` gives it more. Made by `Network.host`.

    `name` is what others find it by. `devices` are its devices by their names ("lo", "eth0" ...); one that is not
    `plugged` neither sends nor receives, as with its cable out. A `weaves.strings.Stack`.
    """

    def __init__(self, network: Network, name: str) -> None:
        self.network = network
        self.name = name
        self.scheduler = network.supervisor.scheduler
        self.lane = network.supervisor.new_lane()
        self.ip = Ip(self.scheduler, self.lane, seeds.LazyGenerator(network.seed, "host", name))
        self._input = IpInput(self.ip)
        self.icmp = Icmp(self.ip)
        self.udp = Udp(self.ip)
        self.tcp = Tcp(self.ip)
        self.ip.handlers[ICMP] = self.icmp
        self.ip.handlers[UDP] = self.udp
        self.ip.handlers[TCP] = self.tcp
        self.descriptors = FdTable()
        self.devices: dict[str, Device] = {}
        self._files: Files | None = None
        self._weave: Weave | None = None
        self._weave_names: set[str] = set()
        self._loops: list[HostLoop] = []
        lo = Device("lo", 0, LOOPBACK_MTU, self._input)
        lo.medium = Loopback(self.scheduler, self.lane)
        self.devices["lo"] = lo
        self.ip.devices.append(lo)
        lo.addresses.append((_LOOPBACK_ADDRESS, 8))
        self.ip.local[_LOOPBACK_ADDRESS] = lo
        self.ip.loopback_route = Route(_LOOPBACK_ADDRESS, 32, 0, lo, 0, 0)
        self.ip.routes.add(Route(0x7F00_0000, 8, 0, lo, 0, _LOOPBACK_ADDRESS))

    def __repr__(self) -> str:
        return f"<Host {self.name!r}>"

    # Devices

    def add_device(self, addresses: list[tuple[int, int]], name: str | None = None, mtu: int = 1500) -> Device:
        """A new device with `addresses` (address, prefix length), called `ethN` with the next free N by default."""
        if name is None:
            number = 0
            while f"eth{number}" in self.devices:
                number += 1
            name = f"eth{number}"
        elif name in self.devices:
            raise ValueError(f"host {self.name} has a device {name} already")
        device = Device(name, _MAC_BASE + self.network.next_device_number(), mtu, self._input)
        self.devices[name] = device
        self.ip.devices.append(device)
        for address, prefix in addresses:
            self.add_address(device, address, prefix)
        return device

    def add_address(self, device: Device, address: int, prefix: int) -> None:
        """Give `device` an address, with the route to its network, and the host's name to the address."""
        device.addresses.append((address, prefix))
        self.ip.local[address] = device
        network = address & network_mask(prefix)
        if prefix < 31:
            self.ip.broadcasts[network | (~network_mask(prefix) & 0xFFFF_FFFF)] = device
        if device.up:
            self._add_network_route(device, address, prefix)
        self.network.names.add(self.name, address)

    def add_name(self, name: str) -> None:
        """Let others find the host by `name` ("www.example.org") besides its own, at the addresses that it has now."""
        for device in self.devices.values():
            if device.name != "lo":
                for address, _prefix in device.addresses:
                    self.network.names.add(name, address)

    def replace_address(self, device: Device, address: int, prefix: int) -> None:
        """Give `device` this address in place of the first that it has; routes that need the old one go with it."""
        if device.addresses:
            old, old_prefix = device.addresses.pop(0)
            del self.ip.local[old]
            network = old & network_mask(old_prefix)
            self.ip.broadcasts.pop(network | (~network_mask(old_prefix) & 0xFFFF_FFFF), None)
            self.ip.routes.remove_network(network, old_prefix, device)
            self.network.names.remove(self.name, old)
        others = device.addresses.copy()
        device.addresses.clear()
        self.add_address(device, address, prefix)
        device.addresses.extend(others)

    def set_up(self, device: Device, up: bool) -> None:
        """Take `device` up or down. Down, its routes are lost; up again, only those to its own networks are back."""
        if device.up == up:
            return
        device.up = up
        if up:
            for address, prefix in device.addresses:
                self._add_network_route(device, address, prefix)
        else:
            self.ip.routes.remove_device(device)

    def _add_network_route(self, device: Device, address: int, prefix: int) -> None:
        with contextlib.suppress(FileExistsError):  # a second address in the same network
            self.ip.routes.add(Route(address & network_mask(prefix), prefix, 0, device, 0, address))

    @property
    def address(self) -> str:
        """The first address of the first device besides `lo`, "127.0.0.1" if there is none."""
        for device in self.devices.values():
            if device.name != "lo" and device.addresses:
                return ipv4_text(device.addresses[0][0])
        return "127.0.0.1"

    # Commands

    def sh(self, command: str) -> str:
        """Run one command line of the real tools' (`route add ...`, `sysctl -w ...`) on this host.

        Returns what it prints. Raises `lunar.net_tools.CommandError` with what is wrong.
        """
        from lunar import net_tools

        return net_tools.run(self, command)

    # What a weave asks of its host (weaves.strings.Stack)

    @property
    def weave(self) -> Weave:
        """The weave of the strings that are started directly on this host."""
        if self._weave is None:
            self._weave = self.new_weave(self.name)
        return self._weave

    def new_weave(self, name: str, argv: list[str] | None = None) -> Weave:
        """A new weave on this host; with `argv` it is a program's, whose end closes what it has open.

        A name that is taken gets a number, because seeds go by names.
        """
        name = free_weave_name(name, self._weave_names)
        self._weave_names.add(name)
        rng = seeds.LazyGenerator(self.network.seed, "weave", f"{self.name}/{name}")
        return Weave(name, self, self.network.supervisor, rng, argv, self.network.epoch_ns, argv is not None)

    def new_loop(self, weave: Weave, direct: bool = False) -> HostLoop:
        """A loop for a program that makes its own, or the `direct` one of a weave."""
        loop = HostLoop(weave, self, direct)
        self._loops = [known for known in self._loops if not known.is_closed()]
        self._loops.append(loop)
        return loop

    def new_socket(self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return lunar_socket.new_socket(cls, args, kwargs)

    def new_socketpair(self, family: int, type: int, proto: int) -> tuple[Any, Any]:
        return lunar_socket.socketpair(self, family, type, proto)

    @property
    def files(self) -> Files:
        """The calls on descriptors, for programs that hold their numbers."""
        if self._files is None:
            self._files = Files(self)
        return self._files

    def close_descriptors(self, descriptors: list[int]) -> None:
        for descriptor in descriptors:
            sock = self.descriptors.remove(descriptor)
            if sock is not None and not sock.descriptors:
                syscalls.close(sock)

    def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        return self.network.names.getaddrinfo(self.name, host, port, family, type, proto, flags)

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int = 0) -> tuple[str, str]:
        return self.network.names.getnameinfo(sockaddr, flags)

    def close(self) -> None:
        """The end of the run: close the loops; nothing runs any more."""
        for loop in self._loops:
            loop.discard()
        # A socket that the program never closed would send a FIN when the collector finds it.
        self.descriptors = FdTable()


