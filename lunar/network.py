"""Network: hosts, links and a scheduler; the Python face of a tapestry.

    net = lunar.Network(seed=1)
    server = net.host("server", "10.0.0.2/24")
    client = net.host("client", "10.0.0.3/24")
    net.link(server, client, rate="100mbit", delay="5ms", loss="1%")
    net.start(server, serve, "0.0.0.0", 80)
    result = net.run(fetch("http://server/"), on=client)
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import hashlib
import inspect
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from lunar import personalities, stats, unfinished
from lunar.addresses import make_mac
from lunar.gateway.gateway import Gateway
from lunar.gateway.service import Forward, Proxy
from lunar.host import Host
from lunar.kernel.namespace import Namespace
from lunar.link_plan import LinkPlan, parse_plan
from lunar.links.impairments import Impairment
from lunar.links.link import QUEUE_PACKETS, Link, Wire
from lunar.links.outside_link import Doorway, OutsideLink
from lunar.links.red import RedLimits
from lunar.links.switch import Switch, SwitchDoor, SwitchPort
from lunar.names import NameTable
from lunar.net.device import Device
from lunar.outside.kernel import Kernel
from lunar.outside.kernel_device import KernelDevice, KernelDevices, KernelSettings, namespace_of
from lunar.outside.kernel_link import KernelPair, join, with_arp
from lunar.outside.udp_link import UdpLink, read_key
from lunar.packet import Frame, Port
from lunar.pcap import CaptureDirectory
from lunar.personalities import Personality
from lunar.stack import Boundary, Stack
from lunar.wire.address import ipv4_text
from weaves import deadlock, interpose, units
from weaves.clock import EPOCH_NS
from weaves.clock_plan import (
    BEST_EFFORT,
    HARD_LIMIT,
    REAL,
    VIRTUAL,
    VIRTUAL_TIME,
    Clock,
    ClockPlan,
    Late,
    changed,
    parse_speed,
)
from weaves.collector import collector_weave
from weaves.drivers import drive_run, drive_run_blocking
from weaves.endpoints import (
    Endpoint,
    check_key,
    check_mtu,
    check_pair,
    format_endpoint,
    link_mtu,
    parse_endpoint,
    parse_listen,
    parse_target,
)
from weaves.hang import Hang
from weaves.lateness import Lateness, lateness_of
from weaves.pace import pace_of
from weaves.realtime import Stalled, settle
from weaves.replay import Replay, ReplayDiffers
from weaves.restart import RestartPolicy
from weaves.scheduler import STOPPED, Lane
from weaves.session import session_of
from weaves.session_log import SessionLog, header
from weaves.strings import FAILED, KILLED, String
from weaves.supervisor import RETURN, STOP, Supervisor
from weaves.trace import digest
from weaves.units import REORDER_BY_NS
from weaves.watchdog import THE_RUN, THE_STRING, OnHang, Watchdog

AnyLink: TypeAlias = Link | Switch | OutsideLink | KernelPair

_NS: Final = 1_000_000_000
_AUTO: Final = "auto"
# How many events and turns each string may cost when the network is closed.
_CLOSING_TURNS: Final = 100


class StringFailed(RuntimeError):
    """A string other than the awaited one failed, and `on_error` says to stop. The cause is its exception."""

    def __init__(self, string: String) -> None:
        super().__init__(f"string {string.name} on host {string.weave.host.name} failed: {string.error!r}")
        self.string = string


class Network:
    """A virtual network. `seed` fixes everything that is random; `epoch_ns` is the hosts' wall clock at time 0 (Unix
    time in nanoseconds; by default the beginning of the year 2000).

    `on_error` says what a failed string does to the run: "stop", "continue" or "restart". `hosts` are the hosts by
    their names. Used as a context manager, it is closed at the end.

    With `arp` hosts ask for each other's hardware addresses, by ARP and neighbour discovery, as on a real network;
    without, each knows them at once. A link or a device may have it otherwise.

    `through_bytes` makes and parses the bytes of each packet on each hop, for tests of the wire formats.

    `watchdog` is how long, in real time ("10s" or seconds), a program may hold the processor or the clock before it is
    named and stopped, alone or with the whole run (`on_hang`: "string" or "run"). There is none by default: a library
    starts no threads and takes no signals of a process unasked, and a test runner has timeouts of its own.

    With `clock` "real" runs keep pace with the machine's clock, at `speed` virtual seconds a real one, and links may
    lead out of the process. `late` says what follows when a run falls behind: "best-effort" goes on as fast as it can,
    "hard-limit" ends it with `lunar.TooLate` beyond `late_limit`, in real time ("10ms" or seconds). `busy_poll`: how
    long, in real time, to look for what comes next without sleeping, after something came.

    What comes in from outside is logged to the file `record`; with that file as `replay` the same program repeats its
    runs exactly, in virtual time and without anything of the outside (docs/realtime.md), whatever `clock` says.
    """

    def __init__(
        self,
        seed: int = 1,
        *,
        on_error: str = STOP,
        epoch_ns: int = EPOCH_NS,
        through_bytes: bool = False,
        arp: bool = False,
        watchdog: str | float | None = None,
        on_hang: OnHang = THE_RUN,
        clock: Clock | None = None,
        speed: float | None = None,
        late: Late | None = None,
        late_limit: str | float | None = None,
        busy_poll: str | float | None = None,
        record: str | os.PathLike[str] | None = None,
        replay: str | os.PathLike[str] | None = None,
    ) -> None:
        interpose.install()
        self.seed = seed
        self.epoch_ns = epoch_ns
        self.through_bytes = through_bytes
        self.arp = arp
        self.supervisor = Supervisor(seed, on_error)
        self.scheduler = self.supervisor.scheduler
        self.scheduler.collector = collector_weave(self.supervisor, epoch_ns)
        self.watch(watchdog, on_hang)
        self.supervisor.digest = self.digest
        if replay is not None:
            self.supervisor.replay = Replay(self.supervisor, session_of(replay, seed))
        else:
            self.supervisor.pace = pace_of(_clock_plan(clock, speed, late, late_limit, busy_poll, record))
            if record is not None:
                self.supervisor.log = SessionLog(record)
                self.supervisor.log.begin(header(seed))
        self.names = NameTable()
        self.hosts: dict[str, Host] = {}
        self.kernels: dict[str, Kernel] = {}
        self.links: list[AnyLink] = []
        self.udp_links: list[UdpLink] = []
        self.taps: list[KernelDevice] = []
        self.gateways: dict[str, Gateway] = {}  # by the names of their hosts
        self.wires: dict[str, list[Wire]] = {}  # the wires of each link, by its name
        self._devices = 0
        self._capture: CaptureDirectory | None = None
        self._closed = False
        self.embedded = False  # its time is somebody else's (embedded.py)
        # A network that nobody closed is closed with the interpreter: its captures are written, its strings ended.
        _open_networks.add(self)

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @property
    def now(self) -> float:
        """Virtual time in seconds."""
        return self.scheduler.now_ns / _NS

    def watch(self, watchdog: str | float | None, on_hang: OnHang = THE_RUN, *, dump: bool = False) -> None:
        """Set or take away the watchdog. `dump`: see `weaves.watchdog.Watchdog`. Raises `ValueError`."""
        if on_hang not in (THE_STRING, THE_RUN):
            raise ValueError(f'on_hang {on_hang!r}: expected "{THE_STRING}" or "{THE_RUN}"')
        limit_ns = 0 if watchdog is None else units.parse_span("watchdog", watchdog)
        self.supervisor.watchdog = (
            Watchdog(self.supervisor, limit_ns / _NS, on_hang, dump=dump) if limit_ns else None
        )

    def lateness(self) -> Lateness | None:
        """How late for the machine's clock events have been so far; None in virtual time, where nothing is late."""
        pace = self.supervisor.pace
        return None if pace is None else lateness_of(pace.meter)

    # Building

    def host(
        self,
        name: str,
        *addresses: str | Sequence[str],
        stack: str | Personality | Callable[[Boundary], Stack] | None = None,
    ) -> Host:
        """A new host; each of `addresses` ("10.0.0.2/24", or ["10.0.0.2/24", "2001:db8::2/64"] for several) makes a
        device: eth0, eth1, ... One that is to find its IPv6 addresses by itself, from what routers say, has "auto".

        `stack` is which system it behaves as, by name ("linux-2.4") or as a `lunar.personalities.Personality`, or
        makes another stack for it (a class derived from `lunar.stack.Stack`).

        Raises `ValueError` for a name that is taken, for what is not an address with a prefix length, and for a stack
        that there is not.
        """
        if name in self.hosts:
            raise ValueError(f"there is a host {name} already")
        devices = [[entry] if isinstance(entry, str) else list(entry) for entry in addresses]
        parsed = [[units.parse_address(text) for text in texts if text != _AUTO] for texts in devices]
        host = Host(self, name, personalities.find(stack) if isinstance(stack, str) else stack)
        self.hosts[name] = host
        for texts, pairs in zip(devices, parsed, strict=True):
            device = host.add_device(pairs)
            if _AUTO in texts:
                host.sh(f"sysctl -w net.ipv6.conf.{device.name}.disable_ipv6=0", each_boot=True)
        return host

    def next_device_number(self) -> int:
        """A number for a new device, from which its hardware address is made."""
        self._devices += 1
        return self._devices

    def link(
        self,
        *ends: Host | Kernel | Device | KernelDevice | str,
        rate: str | int | None = None,
        delay: str | int = 0,
        loss: str | float = 0.0,
        loss_burst: float = 1.0,
        reorder: str | float = 0.0,
        reorder_by: str | int = REORDER_BY_NS,
        duplicate: str | float = 0.0,
        corrupt: str | float = 0.0,
        queue: str | int = QUEUE_PACKETS,
        red: RedLimits | None = None,
        mtu: int = 1500,
        arp: bool | None = None,
        name: str | None = None,
        impairment: Callable[[], Impairment] | None = None,
    ) -> AnyLink:
        """Join two devices by a link, or more by a switch.

        An end is a device, "host.eth1", or a host whose first device without a link is meant; a kernel is as a host.
        `rate` is in tc's units ("100mbit") or bits per second, None for unlimited; `delay` one way ("5ms" or
        nanoseconds); `loss` a probability (0.01 or "1%"), and so are `reorder`, by up to `reorder_by`, `duplicate` and
        `corrupt`; `loss_burst` the mean number of frames lost in a row; `queue` packets, or "64 kb"; `red` lets the
        queue drop or mark early; `impairment` makes one for each direction in place of all the losses; `arp` is as the
        network's for its devices, None for that, or on where a kernel is. Raises `ValueError` for a wrong value.
        """
        named = [self._end_of(end) for end in ends]
        if len({id(end) for _, end in named}) != len(named):
            raise ValueError("a link joins different devices")
        plan = parse_plan(
            rate=rate, delay=delay, loss=loss, loss_burst=loss_burst, reorder=reorder, reorder_by=reorder_by,
            duplicate=duplicate, corrupt=corrupt, queue=queue, red=red, mtu=mtu, arp=arp, impairment=impairment,
        )  # fmt: skip
        return self.add_link(
            name or " - ".join(label for label, _ in named[:2]), [end for _, end in named], plan,
        )

    def add_link(self, name: str, ends: Sequence[Device | KernelDevice], plan: LinkPlan) -> AnyLink:
        """As `link`, with plain values."""
        if len(ends) < 2:
            raise ValueError("a link joins two devices or more")
        devices = [end for end in ends if isinstance(end, Device)]
        if len(devices) < len(ends):
            plan = with_arp(ends, plan)
            name, wires = self._new_link(name, ends)
            for device in devices:
                host = self._host_of(device)
                make_mac(host, device, _outside_mac(host, device, 0))
            joined = join(name, ends, plan, functools.partial(self._wire, wires, name, plan))
            self._plug_in(joined, devices, plan)
            return joined
        if len(devices) > 2:
            return self._switch(name, devices, plan)[0]
        name, wires = self._new_link(name, devices)
        a, b = devices
        a_to_b = self._wire(wires, name, plan, a, b, plan.delay_ns)
        link = Link(name, a, b, a_to_b, self._wire(wires, name, plan, b, a, plan.delay_ns))
        self._plug_in(link, devices, plan)
        return link

    def _switch(self, name: str, devices: list[Device], plan: LinkPlan) -> tuple[Switch, list[Wire]]:
        name, wires = self._new_link(name, devices)
        switch = Switch(name)
        for device in devices:
            up = self._wire(wires, name, plan, device, SwitchPort(switch, device), plan.delay_ns)
            switch.plug(device, up, self._wire(wires, name, plan, device, device, 0, False))
        self._plug_in(switch, devices, plan)
        return switch, wires

    def _wire(
        self, wires: list[Wire], name: str, plan: LinkPlan, source: Device | KernelDevice, target: Port, delay_ns: int,
        lossy: bool = True,
    ) -> Wire:
        end = ipv4_text(source.primary_address()) if source.primary_address() else ""
        made = plan.wire(self.supervisor, wires, name, end, target, delay_ns, lossy)
        made.through_bytes = self.through_bytes
        return made

    def _new_link(self, name: str, devices: Sequence[Device | KernelDevice]) -> tuple[str, list[Wire]]:
        """The name of a new link between `devices`, and the list of its wires. Raises `ValueError`."""
        if name in self.wires:
            name = f"{name} #{len(self.links)}"
        for device in devices:
            if device.medium is not None:
                raise ValueError(f"a device {device.name} is on a link already")
        wires = self.wires[name] = []
        return name, wires

    def _plug_in(self, link: AnyLink, devices: list[Device], plan: LinkPlan) -> None:
        for device in devices:
            assert not isinstance(link, KernelPair), "that has no device of the run"
            device.mtu = plan.mtu
            device.medium = link
            if plan.arp is not None:
                device.arp_at_boot = plan.arp
                self._host_of(device).set_arp(device, plan.arp)
            if self._capture is not None:
                device.tap = self._tap
        self.links.append(link)

    def udp_link(
        self, *ends: Host | Device | str, local: int | str, remote: str, key: str | None = None,
        key_file: str | Path | None = None, name: str | None = None, **traits: Any,
    ) -> UdpLink:
        """Join a device with one in another process, by UDP: frames go from the address `local` (a port of 127.0.0.1,
        or "ADDRESS:PORT") to `remote` ("ADDRESS:PORT"), whose link has the two the other way round. Several devices are
        on a switch, one port of which leads out.

        An address that is not of the machine's loopback needs a `key`, a text of 16 characters or more, or a `key_file`
        that has it. `traits` are those of `link`, for what this end sends; the MTU is by default what fits Ethernet's
        1500 in a datagram, 1458 in IPv4 without a key. Needs `clock="real"`, and takes part in each `run`. Raises
        `ValueError`.
        """
        own, peer = parse_endpoint(local, "local"), parse_endpoint(remote, "remote")
        if key is not None and key_file is not None:
            raise ValueError("key and key_file: expected one of the two")
        keyed = key is not None or key_file is not None
        check_pair(own, peer, keyed)
        if key is not None:
            check_key(key)
        elif key_file is not None:
            key = read_key(Path(key_file))
        plan = parse_plan(**{"mtu": link_mtu(own, keyed), "arp": True, **traits})
        if not plan.arp:
            raise ValueError("arp: nobody here knows the hardware address of who is behind a UDP link; expected True")
        check_mtu(plan.mtu, keyed)
        pairs = [self._end(end) for end in ends]
        if name is None:
            name = f"{' - '.join(f'{host.name}.{device.name}' for host, device in pairs[:1])} - {format_endpoint(peer)}"
        return self.add_udp_link(name, [device for _, device in pairs], plan, own, peer, key)

    def add_udp_link(
        self, name: str, devices: list[Device], plan: LinkPlan, local: Endpoint, remote: Endpoint, key: str | None
    ) -> UdpLink:
        """As `udp_link`, with plain values."""
        if not devices:
            raise ValueError("a UDP link joins a device or more")
        end: OutsideLink | SwitchDoor
        if len(devices) == 1:
            end = self._outside_link(name, self._host_of(devices[0]), devices[0], plan, local[1])
        else:
            end = self._outside_switch(name, devices, plan, local[1])

        def notice(text: str) -> None:
            self.supervisor.trace.change(int(self.scheduler.now_ns), made.name, text)

        made = UdpLink(self.supervisor.gates, end, plan.mtu, local, remote, key, notice)
        self.udp_links.append(made)
        return made

    def tap(
        self, host: Host, *addresses: str, name: str = "tap0", kernel: str | Sequence[str] = (),
        device: str | None = None, netns: str | Namespace | None = None, up: bool = True, **traits: Any,
    ) -> KernelDevice:
        """A device of `host` with `addresses` whose link leads to the machine's kernel: to a TAP device there, or if
        `name` begins with "tun" to a TUN device, which carries IP packets without Ethernet.

        In the kernel it is called `device` (as `name`, if nothing is said), in the namespace `netns` (by its name; None
        is where the process is), with the addresses `kernel` ("10.9.0.2/24", or several), and is brought `up`. `traits`
        are those of `link`, for both directions. Needs `clock="real"`. Raises `ValueError`.
        """
        packets = name.startswith("tun")
        settings = KernelSettings(
            device=units.parse_device_name(name if device is None else device), addresses=_texts(kernel), up=up,
            packets=packets,
        )
        for text in settings.addresses:
            units.parse_address(text)
        plan = parse_plan(**traits)
        parsed = [units.parse_address(text) for text in addresses]
        made = host.add_device(parsed, name)
        end = KernelDevice(self._kernel_devices, f"{host.name}.{name}", settings, lambda: namespace_of(netns))
        self.add_link(f"{host.name}.{name} - kernel", [made, end], plan)
        self.supervisor.gates.on_open(end.open)
        self.supervisor.gates.on_close(end.close)
        self.taps.append(end)
        return end

    def kernel(
        self, name: str, *addresses: str | Sequence[str], netns: str | Namespace | None = None,
        net: Sequence[str] = (),
    ) -> Kernel:
        """The machine's kernel, in a namespace, as an end of links: each of `addresses` makes a device, as of a host.

        `netns` is the namespace, by its name; if nothing is said, one with the name of the kernel is made for the run.
        `net` are commands that are run in it before the run begins. Needs `clock="real"`. Raises `ValueError`.
        """
        if name in self.hosts or name in self.kernels:
            raise ValueError(f"there is a host {name} already")
        devices = [(f"eth{number}", _texts(texts)) for number, texts in enumerate(addresses)]
        return self.add_kernel(name, devices, netns, net)

    def add_kernel(
        self, name: str, devices: Sequence[tuple[str, Sequence[str]]], netns: str | Namespace | None,
        net: Sequence[str],
    ) -> Kernel:
        """As `kernel`, with the names of its devices."""
        for _, texts in devices:
            for text in texts:
                self.names.add(name, units.parse_address(text)[0])
        made = Kernel(self.supervisor, self._kernel_devices, name, netns, devices, net)
        self.kernels[name] = made
        return made

    @functools.cached_property
    def _kernel_devices(self) -> KernelDevices:
        def tell(name: str, what: str) -> None:
            self.supervisor.trace.change(self.scheduler.now_ns, name, what)

        return KernelDevices(self.supervisor.gates, tell)

    def outside_link(
        self, end: Host | Device | str, *, salt: int | str, mac: int | None = None, both_ways: bool = False,
        **traits: Any,
    ) -> OutsideLink:
        """Join a device with what is outside of the run and comes by no gate: who asks for it takes the frames out.

        `traits` are those of `link`, for what goes out, or for both ways. The device's hardware address is `mac`, or
        made of its name, its host's and `salt`. Raises `ValueError`.
        """
        host, device = self._end(end)
        name = f"{host.name}.{device.name} - outside"
        link = self._outside_link(name, host, device, parse_plan(**traits), salt, both_ways)
        link.doorway.gates = None  # the frames wait in virtual time, too
        if mac is not None:
            make_mac(host, device, mac)
        return link

    def proxy(self, listen: int | str = 1080, *, host: Host | None = None) -> Proxy:
        """Let programs of the machine reach the virtual hosts: a SOCKS5 and HTTP proxy, while a run goes on.

        It listens at `listen`, a port of 127.0.0.1 or "ADDRESS:PORT"; with port 0 the machine chooses, and `port` of
        what this returns says which. Its connections are made by `host`, the first one by default, and names are
        looked up there. Needs `clock="real"`. A run without `main` and `until` goes on as long as nobody ends it.
        Raises `ValueError`.
        """
        address, port = parse_listen(str(listen))
        return self.gateway(host).proxy(address, port)

    def forward(self, listen: int | str, target: str, *, host: Host | None = None) -> Forward:
        """Let each connection to `listen`, as for `proxy`, go on to `target`, "NAME:PORT" of the virtual network."""
        address, port = parse_listen(str(listen))
        return self.gateway(host).forward(address, port, *parse_target(target))

    def gateway(self, host: Host | None = None) -> Gateway:
        """The way in by `host`, the first one by default. Raises `ValueError`."""
        if host is None:
            host = next(iter(self.hosts.values()), None)
        if host is None:
            raise ValueError("there is no host yet; expected one, which makes the connections")
        if host.name not in self.gateways:
            self.gateways[host.name] = Gateway(host)
            # Who has a proxy may come to use it at any time.
            self.supervisor.await_one_more()
        return self.gateways[host.name]

    def _outside_link(
        self, name: str, host: Host, device: Device, plan: LinkPlan, salt: int | str, both_ways: bool = False
    ) -> OutsideLink:
        name, wires = self._new_link(name, [device])
        make_mac(host, device, _outside_mac(host, device, salt))
        doorway = Doorway(self.supervisor.gates)
        out = plan.wire(self.supervisor, wires, name, "out", doorway, plan.delay_ns)
        inward = plan.wire(self.supervisor, wires, name, "in", device, plan.delay_ns) if both_ways else None
        link = OutsideLink(name, device, doorway, out, inward)
        self._plug_in(link, [device], plan)
        return link

    def _outside_switch(self, name: str, devices: list[Device], plan: LinkPlan, salt: int) -> SwitchDoor:
        """A switch of `devices` with a port that leads out: its wire has the rate and the queue, as those to them."""
        for device in devices:
            host = self._host_of(device)
            make_mac(host, device, _outside_mac(host, device, salt))
        switch, wires = self._switch(name, devices, plan)
        doorway = Doorway(self.supervisor.gates)
        return SwitchDoor(switch, doorway, plan.wire(self.supervisor, wires, name, "out", doorway, 0, False))

    def _host_of(self, device: Device) -> Host:
        for host in self.hosts.values():
            if host.devices.get(device.name) is device:
                return host
        raise ValueError(f"device {device.name} is of another network")

    def _end_of(self, end: Host | Kernel | Device | KernelDevice | str) -> tuple[str, Device | KernelDevice]:
        """A device that a link can have at its end, and what it is called."""
        if isinstance(end, str) and end.partition(".")[0] in self.kernels:
            name, _, device_name = end.partition(".")
            kernel = self.kernels[name]
            if device_name and device_name not in kernel.devices:
                raise ValueError(f"kernel {name} has no device {device_name}")
            end = kernel.devices[device_name] if device_name else kernel
        if isinstance(end, Kernel):
            free = [device for device in end.devices.values() if device.medium is None]
            if not free:
                raise ValueError(f"kernel {end.name} has no device that is free for a link")
            end = free[0]
        if isinstance(end, KernelDevice):
            return end.name, end
        host, device = self._end(end)
        return f"{host.name}.{device.name}", device

    def _end(self, end: Host | Device | str) -> tuple[Host, Device]:
        if isinstance(end, Device):
            return self._host_of(end), end
        if isinstance(end, str):
            name, _, device_name = end.partition(".")
            if name not in self.hosts:
                raise ValueError(f"there is no host {name}")
            host = self.hosts[name]
            if device_name:
                if device_name not in host.devices:
                    raise ValueError(f"host {name} has no device {device_name}")
                return host, host.devices[device_name]
            end = host
        for device in end.devices.values():
            if device.name != "lo" and device.medium is None:
                return end, device
        raise ValueError(f"host {end.name} has no device that is free for a link")

    def plug(self, link: str, plugged: bool) -> None:
        """Pull the cables of the link of this name, or plug them in: its devices lose what they send and what arrives.

        Its hosts do not know of it, as `Device.plugged` says. Raises `ValueError` for a name that no link has.
        """
        for known in self.links:
            if known.name == link:
                for end in ends_of(known):
                    end.plugged = plugged
                what = "is plugged in" if plugged else "is unplugged"
                self.supervisor.trace.change(self.scheduler.now_ns, link, what)
                return
        raise ValueError(f"there is no link {link}")

    def capture(self, directory: str | Path) -> CaptureDirectory:
        """Write what each device of a link sends and receives to `directory`, one file a device, until `close`."""
        self._capture = CaptureDirectory(Path(directory), self.epoch_ns)
        self._device_hosts = {id(device): host.name for host in self.hosts.values() for device in host.devices.values()}
        for host in self.hosts.values():
            for device in host.devices.values():
                if device.name != "lo":
                    device.tap = self._tap
        for kernel in self.kernels.values():
            for end in kernel.devices.values():
                end.doorway.tap = functools.partial(self._tap_kernel, kernel.name, end.settings.device)
        return self._capture

    def _tap(self, device: Device, frame: Frame) -> None:
        assert self._capture is not None
        name = self._device_hosts.get(id(device))
        if name is None:
            name = next(host.name for host in self.hosts.values() if device in host.devices.values())
            self._device_hosts[id(device)] = name
        self._capture.record(name, device.name, self.scheduler.now_ns, frame)

    def _tap_kernel(self, kernel: str, device: str, _doorway: Doorway, frame: Frame) -> None:
        assert self._capture is not None, "a capture sets it"
        self._capture.record(kernel, device, self.scheduler.now_ns, frame)

    # Running

    def start(
        self,
        host: Host,
        function: Callable[..., Any] | Any,
        *args: Any,
        at: str | float = 0,
        name: str | None = None,
        background: bool = False,
        on_error: str | None = None,
        restart: RestartPolicy | None = None,
        **kwargs: Any,
    ) -> String:
        """Start a string on `host`: a coroutine function, a coroutine, or a blocking function with its arguments.

        `at` is a duration ("5ms") or seconds from now. A `background` string does not keep the run going. `on_error` is
        as the network's, for this string; `restart` says when it is started again. `name` is for messages; by default
        the function's. Raises `RuntimeError` while the host is down.
        """
        delay_ns = units.parse_span("at", at)
        string = String(
            host.weave, name or _name_of(function), function, args, kwargs, background=background, on_error=on_error,
            restart=restart,
        )
        self.supervisor.start(string, self.scheduler.now_ns + delay_ns)
        return string

    def at(self, when: str | float, function: Callable[..., object], *args: Any) -> None:
        """Call `function` with `args` at the virtual time `when`, a duration from the start of the run or seconds.

        It is called outside of all hosts, before everything else that happens at that time: `net.at("5s", host.crash)`.
        A run without an `until` goes on at least until then. Raises `ValueError` for a time that has gone by.
        """
        at_ns = units.parse_span("at", when)
        if at_ns < self.scheduler.now_ns:
            raise ValueError(f"at {when!r}: it is {self.now} s already; expected a time to come")
        self.supervisor.at(at_ns, lambda: function(*args))

    def run(
        self, main: Any = None, *args: Any, on: Host | None = None, until: str | float | None = None
    ) -> Any:
        """Run the network, like asyncio.run.

        With `main`, a coroutine or a function (with `args`) for host `on`: until it ends; its result, or its exception.
        Without: until every string that is not in the background has ended. `until` (a time of the virtual clock:
        "10s" or seconds) bounds both; TimeoutError if `main` has not ended by then. Raises `StringFailed` if another
        string failed, and `weaves.Stalled` if nothing is left that could wake the strings that are waited for.
        """
        string, until_ns = self._prepare(main, args, on, until)
        if not self._nothing_to_do(string, until_ns):
            try:
                reason = drive_run_blocking(self.supervisor, until_ns)
                while self._goes_on(string, until_ns is not None, reason):
                    reason = drive_run_blocking(self.supervisor, until_ns)
            except BaseException:  # Ctrl-C, or a live run that could not begin or go on
                self._give_up(string)
                raise
            self._check_replay(string)
        return self._result(string, until_ns)

    async def run_async(
        self,
        main: Any = None,
        *args: Any,
        on: Host | None = None,
        until: str | float | None = None,
        on_slice: Callable[[], None] | None = None,
    ) -> Any:
        """As `run`, awaited inside a running asyncio or uvloop loop, which gets a turn every few milliseconds."""
        string, until_ns = self._prepare(main, args, on, until)
        if not self._nothing_to_do(string, until_ns):
            reason = await drive_run(self.supervisor, until_ns, on_slice)
            while self._goes_on(string, until_ns is not None, reason):
                reason = await drive_run(self.supervisor, until_ns, on_slice)
            self._check_replay(string)
        return self._result(string, until_ns)

    def _check_replay(self, string: String | None) -> None:
        """Whether what has just been run was the recorded run. Raises `ReplayDiffers`."""
        if self.supervisor.replay is not None:
            try:
                self.supervisor.replay.check()
            except ReplayDiffers:
                self._give_up(string)
                raise

    def _prepare(
        self, main: Any, args: tuple[Any, ...], on: Host | None, until: str | float | None
    ) -> tuple[String | None, int | None]:
        try:
            if self._closed:
                raise RuntimeError("the network was closed")
            if self.embedded:
                raise RuntimeError("the network is embedded: its time goes on by Embedded.timer, not by run")
            until_ns = None if until is None else units.parse_span("until", until)
            if main is None:
                return None, until_ns
            if on is None:
                raise TypeError("run() with a coroutine or function needs on=HOST")
        except (RuntimeError, TypeError, ValueError):
            if inspect.iscoroutine(main):
                main.close()  # or Python would complain that nobody awaited it
            raise
        # Its failure is the caller's to see, as an exception: not printed, and the others go on.
        string = String(on.weave, _name_of(main), main, args, on_error=RETURN)
        self.supervisor.stopped_by = None
        self.supervisor.start(string, self.scheduler.now_ns)
        return string, until_ns

    def _nothing_to_do(self, string: String | None, until_ns: int | None) -> bool:
        return string is None and until_ns is None and self.supervisor.over

    def _goes_on(self, string: String | None, bounded: bool, reason: int) -> bool:
        """Whether a stop of the scheduler was not the end that is waited for."""
        if reason != STOPPED or self.supervisor.stopped:
            return False
        # The watchdog stops the scheduler, too, to see to what hung; that is the end of nothing.
        return not string.over if string is not None else bounded or not self.supervisor.over

    def _result(self, string: String | None, until_ns: int | None) -> Any:
        halted = self.supervisor.halted_by
        if halted is not None:
            self.supervisor.halted_by = None
            self._give_up(string)
            raise RuntimeError(f"{halted.who} {halted.summary}")
        failed = self.supervisor.stopped_by
        if failed is not None:
            self.supervisor.stopped_by = None
            self._give_up(string)
            raise StringFailed(failed) from failed.error
        if string is None:
            if until_ns is not None and self.scheduler.now_ns < until_ns:
                self.scheduler.advance(until_ns)  # nothing was left to happen; time goes by all the same
            waiting = self.supervisor.waiting()
            if waiting and until_ns is None:
                raise Stalled(stall_message(waiting))
            threads = self.supervisor.waiting_threads()
            if threads and until_ns is None:
                raise Stalled(
                    "nothing is left that could wake threads of strings that have ended: "
                    f"no packet is on its way and no timer is set{deadlock.told(threads)}"
                )
            return None
        if string.state == FAILED:
            assert string.error is not None
            if isinstance(string.error, Hang):
                raise StringFailed(string) from string.error  # a test runner need not know of exceptions like that
            raise string.error
        if string.state == KILLED:
            raise asyncio.CancelledError(f"string {string.name} was killed")
        if not string.over:
            if until_ns is not None and self.scheduler.now_ns >= until_ns:
                self._give_up(string)
                raise TimeoutError(f"string {string.name} had not ended at the virtual time {until_ns / _NS} s")
            message = stall_message([string])  # as long as it still waits
            self._give_up(string)
            raise Stalled(message)
        # Whoever runs the network ten thousand times shall not keep ten thousand strings.
        self.supervisor.forget(string.weave, string)
        return string.result

    def _give_up(self, string: String | None) -> None:
        """Nobody will ask for the main string again: it must not keep a later run waiting."""
        if string is not None and not string.over:
            string.kill()

    # The end

    def lanes(self) -> Iterator[Lane]:
        """Everything that makes events."""
        yield self.supervisor.gates.lane
        for host in self.hosts.values():
            yield host.lane
        for wires in self.wires.values():
            for wire in wires:
                yield wire.lane

    def digest(self) -> str:
        """What happened so far, as a hexadecimal digest: equal runs have equal digests."""
        return digest(self.lanes())

    def totals(self) -> dict[str, int]:
        """`hosts`, and `packets`: the frames that links took so far, counted at each hop."""
        return stats.totals(self.hosts.values(), self.wires)

    def link_figures(self) -> list[dict[str, Any]]:
        """A dictionary for each link, with the fields of `links[]` in the JSON figures of `weave run`."""
        return stats.links(self.wires)

    def outside_figures(self) -> dict[str, Any]:
        """What went out of the run and came in: `udp_links`, `taps`, `programs`, `gateway`, as in the JSON figures."""
        ends = [*self.taps, *(end for kernel in self.kernels.values() for end in kernel.devices.values())]
        return {
            "udp_links": [link.figures() for link in self.udp_links],
            "taps": [end.figures() for end in ends],
            "programs": [program.figures() for kernel in self.kernels.values() for program in kernel.programs],
            "gateway": [gateway.figures() for gateway in self.gateways.values()],
        }

    def tcp_figures(self) -> dict[str, int]:
        """What TCP did on all hosts: the fields of `tcp` in the JSON figures of `weave run`."""
        return stats.tcp(self.hosts.values())

    def unfinished(self) -> bool:
        """Whether something that programs have sent before they ended is still on its way out (lunar/unfinished.py)."""
        return unfinished.is_left(self.hosts.values(), self.scheduler)

    def close(self) -> None:
        """End all strings and close the captures. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        watchdog = self.supervisor.watchdog
        try:
            with contextlib.ExitStack() as stack:
                if watchdog is not None:
                    stack.enter_context(watchdog.on_duty())
                    stack.enter_context(watchdog.watched("the end of the run"))
                self.supervisor.close()
                # What was cancelled gets its turn, inside, for its `finally` clauses. A bound, as they may not end.
                settle(self.scheduler, _CLOSING_TURNS * (1 + len(self.supervisor.strings)), watchdog)
                for host in self.hosts.values():
                    host.close()
        finally:
            self.supervisor.close_outside()
            if self._capture is not None:
                self._capture.close()


def ends_of(link: AnyLink) -> list[Device | Doorway]:
    """What has the cables of `link`: the devices of this run, and the ways to what is outside of it."""
    if isinstance(link, Switch):
        return [*link.devices, *(port for port in link.outside if isinstance(port, Doorway))]
    if isinstance(link, KernelPair):
        return [link.a.doorway, link.b.doorway]
    return [link.a, link.b] if isinstance(link, Link) else [link.device]


_open_networks: Final[weakref.WeakSet[Network]] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for network in list(_open_networks):
        network.close()


def stall_message(waiting: list[String]) -> str:
    """Who waits for nothing."""
    who = deadlock.named(waiting)
    waits = deadlock.told(string.weave for string in waiting)
    return f"nothing is left that could wake {who}: no packet is on its way and no timer is set{waits}"


def _outside_mac(host: Host, device: Device, salt: int | str) -> int:
    """A hardware address for a link that leads out: another process numbers its devices from 1, too."""
    digest = hashlib.blake2b(f"{host.name}/{device.name}/{salt}".encode(), digest_size=5).digest()
    return 0x02 << 40 | int.from_bytes(digest, "big")


def _texts(texts: str | Sequence[str]) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) else tuple(texts)


def _clock_plan(
    clock: Any, speed: float | None, late: Any, late_limit: str | float | None, busy_poll: str | float | None,
    record: object,
) -> ClockPlan:
    """The clock that these arguments of Network say. Raises `ValueError`."""
    if clock not in (None, VIRTUAL, REAL):
        raise ValueError(f'clock {clock!r}: expected "{VIRTUAL}" or "{REAL}"')
    if late not in (None, BEST_EFFORT, HARD_LIMIT):
        raise ValueError(f'late {late!r}: expected "{BEST_EFFORT}" or "{HARD_LIMIT}"')
    return changed(
        VIRTUAL_TIME,
        clock=clock,
        speed=None if speed is None else parse_speed(speed),
        late=late,
        late_limit=None if late_limit is None else units.parse_span("late_limit", late_limit),
        busy_poll=None if busy_poll is None else units.parse_span("busy_poll", busy_poll),
        record=record,
    )


def _name_of(function: Any) -> str:
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    return str(name) if name else type(function).__name__
