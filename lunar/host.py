"""A virtual host: the one place where a stack's parts are put together.

A host owns its devices, tables, descriptors, counters and weaves; there is no state outside of it. An idle host is
small: its loop and its generator are made when they are first used. Its devices last as long as the run. The stack over
them lasts from a boot to the crash that ends it, and so do its weaves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from lunar import addresses, socket_classes, waiting
from lunar.asyncio.loop import HostLoop
from lunar.files import Files
from lunar.host_files.tree import HostFiles
from lunar.kernel_log import KernelLog
from lunar.life import DOWN, UP, Life
from lunar.links.loopback import Loopback
from lunar.lookups import Lookups
from lunar.name_service import NameService
from lunar.net import fib
from lunar.net.address import (
    Address,
)
from lunar.net.autoconf import Autoconf
from lunar.net.counters import Counters
from lunar.net.device import LOOPBACK_MTU, Device, Nobody, Receiver
from lunar.net.icmp import Icmp
from lunar.net.igmp import Igmp
from lunar.net.ip import Ip
from lunar.net.ip_input import IpInput
from lunar.net.route import Route
from lunar.net.rule import TABLE_LOCAL
from lunar.net.sock import POLLNVAL, Sock
from lunar.netfilter.netfilter import Netfilter
from lunar.packet import AF_INET, AF_INET6, ICMP, ICMPV6, IGMP, TCP, UDP
from lunar.personalities import Personality
from lunar.poll_calls import Select
from lunar.senders import Senders
from lunar.socket_tls import SocketTls
from lunar.sockets import syscalls
from lunar.sockets.fdtable import FdTable
from lunar.sockets.unix import UnixTable
from lunar.stack import Boundary, Stack, StackInput
from lunar.tcp.demux import Tcp
from lunar.tcp.sock import TcpSock
from lunar.tcp.tcb import CLOSED
from lunar.udp import Udp
from lunar.waits import block
from lunar.wire.address import address_text
from weaves import seeds
from weaves.weave import Weave, free_weave_name

if TYPE_CHECKING:
    from lunar.network import Network

_LOOPBACK_ADDRESS: Final = 0x7F00_0001
_LOOPBACK6_ADDRESS: Final = 1
_LOOPBACK_BROADCAST: Final = 0x7FFF_FFFF
# Locally administered (IEEE 802): 02:00 and the device's number in the run.
_MAC_BASE: Final = 0x0200_0000_0000


_NOBODY: Final = Nobody()

# How long programs have to end at a shutdown, as docker stop gives them.
_GRACE_S: Final = 10
_COUNTERS: Final = [name for name in dir(Counters()) if name[0] != "_"]

class Host:
    """One virtual host with `lo` and no other device; `add_device` gives it more. Made by `Network.host`.

    `name` is what others find it by. `devices` are its devices by their names ("lo", "eth0" ...); one that is not
    `plugged` neither sends nor receives, as with its cable out. `state` is "up", "paused" or "down". `launches` are
    called at each boot but the first, and start the host's programs; `boots` counts them. A `weaves.weave.Stack`.

    `stack` is which system it behaves as (lunar/personalities.py), or makes another stack, by which its programs reach
    the network in place of Lunar's (lunar/stack.py).
    """

    def __init__(
        self, network: Network, name: str, stack: Personality | Callable[[Boundary], Stack] | None = None
    ) -> None:
        self.network = network
        self.name = name
        self.scheduler = network.supervisor.scheduler
        self.lane = network.supervisor.new_lane()
        self.state = UP
        self.boots = 0
        self.launches: list[Callable[[], None]] = []
        self.devices: dict[str, Device] = {}
        self._renamed: dict[str, str] = {}  # the names that devices were made with, by those that they got
        # What each boot starts from: the addresses that devices were made with, and the commands that configure.
        self._addresses: dict[str, list[tuple[int, int]]] = {}
        self._commands: list[str] = []
        self._weave: Weave | None = None
        self._weaves: dict[str, Weave] = {}
        self._life: Life | None = None
        self._paths: HostFiles | None = None
        self.nstat_before: dict[str, int] = {}  # what nstat has shown of the counters
        self._past_counters: Counters | None = None  # made with the first crash
        self._stack = stack
        lo = Device("lo", 0, LOOPBACK_MTU, _NOBODY)
        lo.medium = Loopback(self.scheduler)
        self.devices["lo"] = lo
        self._make_stack()

    def __repr__(self) -> str:
        return f"<Host {self.name!r}>"

    def _make_stack(self) -> None:
        """A stack that knows no device but `lo`: tables, counters and secrets of its own."""
        self.ip = Ip(self.scheduler, self.lane, seeds.LazyGenerator(self.network.seed, "host", self._drawn(self.name)))
        self.ip.epoch_ns = self.network.epoch_ns
        self._input: Receiver = IpInput(self.ip)
        # Of a host that another stack serves: what is under it. Devices, addresses, descriptors are here all the same.
        self.boundary: Boundary | None = None
        self.icmp = Icmp(self.ip)
        self.udp = Udp(self.ip)
        self.tcp = Tcp(self.ip)
        self.ip.handlers[ICMP] = self.icmp
        self.ip.handlers[IGMP] = Igmp(self.ip)
        self.ip.handlers[ICMPV6] = self.icmp
        self.ip.handlers[UDP] = self.udp
        self.ip.handlers[TCP] = self.tcp
        self._autoconf: Autoconf | None = None  # made with the first IPv6 address
        self.descriptors = FdTable()
        self._files: Files | None = None
        self._select: Select | None = None
        self._lookups: Lookups | None = None
        self._netfilter: Netfilter | None = None
        self._kernel_log: KernelLog | None = None
        self._name_service: NameService | None = None
        self.node_name = self.name  # what the host's programs find as its name, and may set
        self._unix: UnixTable | None = None
        self._last_pid = 1  # init's
        lo = self.devices["lo"]
        lo.receiver = self._input
        lo.addresses[:] = [Address(AF_INET, _LOOPBACK_ADDRESS, 8), Address(AF_INET6, _LOOPBACK6_ADDRESS, 128)]
        self.ip.devices.append(lo)
        self._set_defaults(lo)
        self.ip.local[_LOOPBACK_ADDRESS] = lo
        self.ip.local[_LOOPBACK6_ADDRESS] = lo
        self.ip.broadcasts[_LOOPBACK_BROADCAST] = lo
        self.ip.inet.loopback_route = Route(_LOOPBACK_ADDRESS, 32, 0, lo, 0, 0)
        self.ip.inet6.loopback_route = Route(_LOOPBACK6_ADDRESS, 128, 0, lo, 0, 0, AF_INET6)
        of_lo = Route(0x7F00_0000, 8, 0, lo, 0, _LOOPBACK_ADDRESS)
        of_lo.table = TABLE_LOCAL  # where Linux has it; here it is found with the others
        self.ip.inet.routes.add(of_lo)
        if isinstance(self._stack, Personality):
            self._stack.apply(self)
        elif self._stack is not None:
            self.boundary = Boundary(self, self._stack)
            self._input = StackInput(self.boundary)

    def _drawn(self, name: str) -> str:
        """What a generator of this boot is seeded with: a host that boots again draws other numbers."""
        return name if self.boots == 0 else f"{name}, boot {self.boots}"

    # Its life

    def crash(self) -> None:
        """The host loses its power: everything in it is gone at once, and none of its code runs any more.

        Its peers find out as on a network. Frames on their way to it are dropped at its devices, frames that it had
        not sent wholly are lost. Nothing happens to a host that is down. Called by the host's own programs, it happens
        when their turn is over.
        """
        self.life.crash()

    def boot(self) -> None:
        """A host that is down boots: a new stack with the same addresses, and its programs from their beginning.

        Nothing happens to a host that is up or paused.
        """
        if self.state != DOWN:
            return
        self.boots += 1
        for device in self.devices.values():
            device.name = self._renamed.get(device.name, device.name)
        self._renamed.clear()
        self.devices = {device.name: device for device in self.devices.values()}
        for device in self.devices.values():
            device.boot()
        self._make_stack()
        addresses.forget_advertised(self)
        for device in self.devices.values():
            if device.name != "lo":
                self._configure(device)
        self.life.change(UP, "boots")
        commands, self._commands = self._commands, []
        for command in commands:
            self.sh(command, each_boot=True)
        for launch in self.launches:
            launch()

    def pause(self) -> None:
        """The host stands still, as a virtual machine that is paused: no program runs, no timer fires, and what arrives
        waits in its devices' rings, of 256 frames each, or is dropped. Its clocks go on.

        Nothing happens to a host that is down or paused. Called by the host's own programs, it happens when their turn
        is over.
        """
        self.life.pause()

    def resume(self) -> None:
        """A paused host goes on: what its devices kept arrives, then the timers fire that are late, in their order.

        Nothing happens to a host that is not paused.
        """
        self.life.resume()

    def kill(self, signum: int, weave: str | None = None) -> None:
        """Deliver a signal to the weave of this name, or to all of the host. On a paused host when it goes on.

        Raises `ValueError` for a number that is no signal's, and for a name that no weave here has.
        """
        self.life.kill(signum, weave)

    def shutdown(self, grace: str | float = _GRACE_S) -> None:
        """SIGTERM to all programs, and when they have ended, at the latest after `grace`, the power goes off.

        `grace` is a duration ("10s") or seconds. Nothing happens to a host that is not up.
        """
        self.life.shutdown(grace)

    def reboot(self, grace: str | float = _GRACE_S) -> None:
        """As `shutdown`, and `boot` at once. A host that is down boots."""
        self.life.reboot(grace)

    @property
    def life(self) -> Life:
        if self._life is None:
            self._life = Life(self)
        return self._life

    def drop_stack(self, open_then: list[Sock]) -> None:
        """Let go of the stack. Whoever outside the host holds a part of it must find it without any way out."""
        for sock in open_then:
            sock.waiters.clear()
            if isinstance(sock, TcpSock):
                sock.state = CLOSED
        past = self._past_counters = self.past_counters
        for name in _COUNTERS:
            setattr(past, name, getattr(past, name) + getattr(self.ip.counters, name))
        self.ip.counters = Counters()
        self.ip.inet.counters = self.ip.counters
        tables = self.tcp.tables
        for table in (
            tables.connections, tables.listeners, tables.ports, self.udp.ports, self.ip.local, self.ip.broadcasts,
            self.ip.handlers,
        ):  # fmt: skip
            table.clear()
        self._files, self._select, self._unix, self._lookups, self._name_service = None, None, None, None, None
        self._netfilter, self.ip.filter = None, None
        self.ip.inet.loopback_route = None
        self.ip.inet6.loopback_route = None
        for device in self.ip.devices:
            fib.device_down(self.ip, device)
        for device in self.devices.values():
            device.receiver = _NOBODY
            device.groups, device.memberships = None, None
            device.sniffer, device.promiscuity, device.group_watchers = None, 0, 0

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
        self._addresses[name] = addresses.copy()
        self.ip.devices.append(device)
        self._set_defaults(device)
        device.sniffer = self.ip.sniffer
        device.arp_at_boot = self.network.arp
        self.set_arp(device, device.arp_at_boot)
        for address, prefix in addresses:
            self.add_address(device, address, prefix, at_once=True)
        return device

    def _configure(self, device: Device) -> None:
        """As a boot finds it: up, with the addresses that it was made with."""
        for own in device.addresses:
            self.network.names.remove(self.name, own.address)
        device.addresses.clear()
        if device.queue is not None:
            from lunar.net_tools import queues

            queues.take_away(device)
        device.receiver = self._input
        self.ip.devices.append(device)
        self._set_defaults(device)
        device.sniffer = self.ip.sniffer
        self.set_arp(device, device.arp_at_boot)
        for address, prefix in self._addresses[device.name]:
            self.add_address(device, address, prefix, at_once=True)

    def _set_defaults(self, device: Device) -> None:
        """net.ipv4.conf.DEV and the like begin with the values for devices to come."""
        self.ip.inet.confs.begin(device)
        self.ip.inet6.confs.begin(device)

    @property
    def has_autoconf(self) -> bool:
        """Whether a device of it has, or had, IPv6."""
        return self._autoconf is not None

    @property
    def autoconf(self) -> Autoconf:
        """The IPv6 addresses of its devices, and what routers have advertised."""
        if self._autoconf is None:
            self._autoconf = Autoconf(self.ip, addresses.AddressKeeper(self))
        return self._autoconf

    def add_address(self, device: Device, address: int, prefix: int, at_once: bool = False) -> None:
        """Give `device` an address, with the route to its network, and the host's name to the address.

        It is an IPv6 address if it is 2**32 or more (lunar/wire/address.py). One of a device with `arp` is there when
        nobody else on the network has it (RFC 4862), unless it is to be there `at_once`.
        """
        addresses.add(self, device, address, prefix, at_once)

    def assign(self, device: Device, made: Address, at_once: bool = False) -> None:
        """Give `device` the address `made`, as `add_address` does; `ip addr add` says more of it."""
        addresses.assign(self, device, made, at_once)

    def renew_address(self, device: Device, own: Address, valid_until_ns: int, preferred_until_ns: int) -> None:
        """Give an address of `device` other lifetimes, points of virtual time or FOREVER."""
        addresses.renew(self, device, own, valid_until_ns, preferred_until_ns)

    def remove_address(self, device: Device, old: Address) -> None:
        """Take an address from `device`, and with it the route to its network, if no other address is in that."""
        addresses.remove(self, device, old)

    def rename_device(self, device: Device, name: str) -> None:
        """Give `device` another name until the next boot; labels of its addresses go with it. Raises `ValueError`."""
        if name != device.name:
            if name in self.devices:
                raise ValueError(f"host {self.name} has a device {name} already")
            self._renamed[name] = self._renamed.pop(device.name, device.name)
            addresses.rename(device, name)
            # In their old places: a device's number is its place among them.
            self.devices = {one.name: one for one in self.devices.values()}

    def set_mac(self, device: Device, mac: int) -> None:
        """Give `device` another hardware address."""
        addresses.set_mac(self, device, mac)

    def set_up(self, device: Device, up: bool) -> None:
        """Take `device` up or down. Down, its routes are lost; up again, only those to its own networks are back."""
        addresses.set_up(self, device, up)

    def set_arp(self, device: Device, on: bool) -> None:
        """Let `device` ask for its neighbours' hardware addresses and answer who asks, by ARP and neighbour discovery;
        or take what the medium tells at once (`ifconfig eth0 -arp`).
        """
        addresses.set_arp(self, device, on)

    def add_name(self, name: str) -> None:
        """Let others find the host by `name` ("www.example.org") besides its own, at the addresses that it has now."""
        for device in self.devices.values():
            if device.name != "lo":
                for own in device.addresses:
                    self.network.names.add(name, own.address)

    @property
    def past_counters(self) -> Counters:
        """The sums over the stacks before this one."""
        return Counters() if self._past_counters is None else self._past_counters

    @property
    def address(self) -> str:
        """The first address of the first device besides `lo`, "127.0.0.1" if there is none."""
        for device in self.devices.values():
            if device.name != "lo" and device.addresses:
                return address_text(int(device.addresses[0].family), device.addresses[0].address)
        return "127.0.0.1"

    # Commands

    def sh(
        self,
        command: str,
        *,
        each_boot: bool = False,
        write: Callable[[str], None] | None = None,
        stdin: str = "",
    ) -> str:
        """Run one command line of the real tools' (`route add ...`, `ip addr`, `ping -c 3 ...`) on this host.

        Returns what it prints; with `write` it is given there, piece by piece. One that takes time, as ping does, runs
        the network forward until it has ended; called by a string it blocks that string. With `each_boot` it is run
        again at each boot, as the `net` lines of a tapestry are, and one that takes time goes on beside all else.
        `stdin` is for those that read it: iptables-restore.
        Raises `lunar.net_tools.CommandError` with what is wrong.
        """
        from lunar import net_tools

        if not each_boot:
            return net_tools.run(self, command, write, stdin)
        printed = net_tools.start(self, command)
        self._commands.append(command)
        return printed

    async def sh_async(self, command: str) -> str:
        """As `sh`, awaited: by a string, or by a loop of the machine's, as with `Network.run_async`."""
        from lunar import net_tools

        return await net_tools.run_async(self, command)

    @property
    def commands(self) -> list[str]:
        """The commands that `sh` knows."""
        from lunar import net_tools

        return net_tools.names()

    def new_pid(self) -> int:
        """The number of a new process."""
        self._last_pid += 1
        return self._last_pid

    def sysctl(self, name: str, values: tuple[int | str, ...] = ()) -> tuple[Any, ...]:
        """The values, commonly one, of a parameter ("net.ipv4.ip_forward"); it is set to `values` before, if given.

        They are integers, and of a few parameters texts: ("cubic",) of "net.ipv4.tcp_congestion_control".

        Raises `LookupError` for one that this stack does not obey, `ValueError` for a value that it cannot have.
        """
        from lunar.net_tools import sysctl

        if values:
            sysctl.write(self, name, values)
        return sysctl.read(self, name)

    # What a weave asks of its host (weaves.weave.Stack)

    @property
    def weave(self) -> Weave:
        """The weave of the strings that are started directly on this host."""
        if self._weave is None:
            self._weave = self.new_weave(self.name)
        return self._weave

    def new_weave(
        self,
        name: str,
        argv: list[str] | None = None,
        environ: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> Weave:
        """A new weave on this host; with `argv` it is a program's, whose end closes what it has open.

        `environ` and `cwd` are as for `Weave`: its environment variables and its working directory. A name that is
        taken gets a number, because seeds go by names. Raises `RuntimeError` while the host is down.
        """
        if self.state == DOWN:
            raise RuntimeError(f"host {self.name} is down: it starts programs after it has booted")
        name = free_weave_name(name, self._weaves)
        rng = seeds.LazyGenerator(self.network.seed, "weave", self._drawn(f"{self.name}/{name}"))
        weave = Weave(
            name,
            self,
            self.network.supervisor,
            rng,
            argv,
            self.network.epoch_ns,
            is_program=argv is not None,
            environ=environ,
            cwd=cwd,
            pid=self.new_pid(),
        )
        if self._life is not None:
            weave.held = self._life.held
        self._weaves[name] = weave
        return weave

    @property
    def hardware_address(self) -> int | None:
        for device in self.devices.values():
            if device.name != "lo":
                return int(device.mac)
        return None

    def new_loop(self, weave: Weave, direct: bool = False) -> HostLoop:
        """A loop for a program that makes its own, or the `direct` one of a weave."""
        return HostLoop(weave, self, direct)

    def new_socket(self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return socket_classes.new_socket(cls, args, kwargs)

    def new_plain_socket(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return socket_classes.PlainSocket(*args, **kwargs)

    def new_socketpair(self, family: int, type: int, proto: int) -> tuple[Any, Any]:
        return socket_classes.socketpair(self, family, type, proto)

    def wrap_tls(
        self, context: Any, sock: Any, server_side: bool, server_hostname: str | None, owner: Any, session: Any
    ) -> SocketTls:
        return SocketTls(context, sock, server_side, server_hostname, owner, session)

    @property
    def unix(self) -> UnixTable:
        """The names of Unix sockets."""
        if self._unix is None:
            self._unix = UnixTable()
        return self._unix

    @property
    def files(self) -> Files:
        """The calls on descriptors, for programs that hold their numbers."""
        if self._files is None:
            self._files = Files(self)
        return self._files

    @property
    def paths(self) -> HostFiles:
        """The files that the host has of its own: /proc/sys/net, /etc/hosts ... They last as its disk does."""
        if self._paths is None:
            self._paths = HostFiles(self)
        return self._paths

    @property
    def has_ipv6(self) -> bool:
        """Whether a device besides `lo` has an IPv6 address, if only that of its link."""
        return any(
            own.family == AF_INET6
            for device in self.devices.values()
            if device.name != "lo"
            for own in device.addresses
        )

    @property
    def select(self) -> Select:
        """The calls that wait for descriptors."""
        if self._select is None:
            self._select = Select(self)
        return self._select

    @property
    def lookups(self) -> Lookups:
        """The functions of `socket` that look something up here."""
        if self._lookups is None:
            self._lookups = Lookups(self)
        return self._lookups

    @property
    def netfilter(self) -> Netfilter:
        """The tables of iptables. Packets meet them from the first rule on."""
        if self._netfilter is None:
            self._netfilter = Netfilter(self.ip, self._log, Senders(self))
        return self._netfilter

    @property
    def kernel_log(self) -> KernelLog:
        """What the kernel has written: dmesg(1)."""
        if self._kernel_log is None:
            self._kernel_log = KernelLog()
        return self._kernel_log

    def _log(self, level: int, text: str) -> None:
        self.kernel_log.write(int(self.scheduler.now_ns), level, text)

    def weaves(self) -> list[Weave]:
        """The programs on this host, in the order of their start."""
        return list(self._weaves.values())

    def take_weaves(self) -> tuple[list[Weave], Weave | None]:
        """Let go of the programs: all of them, and that of the strings that were started directly."""
        weaves, self._weaves = list(self._weaves.values()), {}
        own, self._weave = self._weave, None
        return weaves, own

    def close_descriptor(self, descriptor: int, lingers: bool = True) -> None:
        """close(2). A call that waits in the socket goes on, and holds the socket until it ends, as on Linux.

        With `lingers` a stream with SO_LINGER waits for its peer.
        """
        sock = self.descriptors.remove(descriptor)
        if sock is not None:
            sock.wake(POLLNVAL)  # an event loop's task that waits for it finds it closed
            syscalls.close_unused(sock)
            if lingers and sock.linger_on:
                waiting.linger(self, sock)

    def weave_with_pid(self, pid: int) -> Weave | None:
        """The program of this number, if it runs."""
        return next((weave for weave in self._weaves.values() if weave.pid == pid and weave.runs), None)

    def close_descriptors(self, descriptors: list[int]) -> None:
        """What the end of a program does with those that it had open."""
        for descriptor in descriptors:
            sock = self.descriptors.remove(descriptor)
            if sock is not None and not sock.descriptors:
                syscalls.close(sock)

    def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        return block(self, self.name_service.getaddrinfo(host, port, family, type, proto, flags))

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int = 0) -> tuple[str, str]:
        return block(self, self.name_service.getnameinfo(sockaddr, flags))

    @property
    def name_service(self) -> NameService:
        """Where the host looks names up."""
        if self._name_service is None:
            self._name_service = NameService(self)
        return self._name_service

    @property
    def files_at_hand(self) -> HostFiles | None:
        """`paths`, if anybody has asked for it yet: a host of which no file was read or written has said nothing."""
        return self._paths

    def close(self) -> None:
        """The end of the run: close the loops; nothing runs any more."""
        for weave in self._weaves.values():
            for loop in list(weave.loops):
                loop.discard()
        # A socket that the program never closed would send a FIN when the collector finds it.
        self.descriptors = FdTable()
