"""A bed for both: a virtual host, a link of ours with its impairments, a virtual router, and the kernel behind its TAP.
With `two_kernels` another kernel is in our place: what both sides' programs then do is what ours is held to.

    us 10.8.0.2 --- the link --- 10.8.0.1 router 10.9.0.1 --- TAP --- 10.9.0.2 the kernel

What goes either way goes over the link, so that both sides' frames are lost, doubled and overtaken by the same code.
The captures of `us` show what it received, those of the router's tap0 what the kernel received.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from asyncio_player import AsyncioPlayer
from kernel import KernelPlayers
from player import Player
from wire import Segment, connections

import lunar
from lunar.host import Host
from lunar.kernel.namespace import KernelUnavailable, Namespace

US: Final = {4: "10.8.0.2", 6: "2001:db8:8::2"}
ROUTER: Final = {4: "10.8.0.1", 6: "2001:db8:8::1"}
GATEWAY: Final = {4: "10.9.0.1", 6: "2001:db8:9::1"}
KERNEL: Final = {4: "10.9.0.2", 6: "2001:db8:9::2"}
_OUR_PORT: Final = 10_000
_KERNEL_PORT: Final = 20_000

# What a program can tell the bed, and what both programs hear when it is done: no packet of the flow passes any more;
# the router stands still and keeps what comes; it goes on.
_ORDERS: Final = {"cut": "is-cut", "hold": "held", "release": "released"}

_LINK: Final = {"delay": "1ms", "queue": 10_000}
_PATIENCE_S: Final = 60  # of a run; nothing is measured by it
_REST_S: Final = 0.1  # for the last acknowledgements

Capture = dict[tuple[int, int], list[Segment]]


@dataclass(frozen=True)
class Flow:
    """A program on either side. `family` is 4 or 6; `face` how ours is written: "blocking" or "asyncio"."""

    name: str
    ours: str
    theirs: str
    family: int = 4
    face: str = "blocking"


@dataclass
class Outcome:
    """The logs of a flow, and what the capture of each side has of it, in the order of the connections."""

    flow: Flow
    ours: list[str]
    theirs: list[str]
    at_us: list[list[Segment]]
    at_kernel: list[list[Segment]]


@dataclass
class Setting:
    """What a bed is like: sysctls and commands on either side, and the link's keywords for `Network.link`."""

    ours: Mapping[str, Any] = field(default_factory=dict)
    kernel: Mapping[str, Any] = field(default_factory=dict)
    link: Mapping[str, Any] = field(default_factory=dict)
    tap: Mapping[str, Any] = field(default_factory=dict)
    our_commands: tuple[str, ...] = ()
    kernel_commands: tuple[str, ...] = ()
    mtu: int = 1500


class Bed:
    """Made for one run. Raises `KernelUnavailable` where there is no right to namespaces, or no TAP device, and from
    `run`, where the kernel does not know a setting.
    """

    def __init__(self, setting: Setting, captures: Path, seed: int = 1, two_kernels: bool = False) -> None:
        self.setting = setting
        self.captures = captures
        self.seed = seed
        self.net = lunar.Network(seed=seed, clock="real")
        self.desk = self.net.host("desk")  # from where the bed is looked after
        self.router = self.net.host("router", [f"{ROUTER[4]}/24", f"{ROUTER[6]}/64"])
        link = {**_LINK, "mtu": setting.mtu, **setting.link}
        addresses = [f"{US[4]}/24", f"{US[6]}/64"]
        self.us: Host | None = None
        self.stand_in: KernelPlayers | None = None
        if two_kernels:
            self.our_namespace = Namespace()
            self.net.kernel("us", addresses, netns=self.our_namespace)
            self.net.link("us", self.router, **link)
            self.stand_in = KernelPlayers(self.our_namespace)
        else:
            self.us = self.net.host("us", addresses)
            self.net.link(self.us, self.router, **link)
            self._prepare_ours(self.us)
        self.namespace = Namespace()
        self.net.tap(
            self.router, f"{GATEWAY[4]}/24", f"{GATEWAY[6]}/64", name="tap0", netns=self.namespace,
            kernel=(f"{KERNEL[4]}/24", f"{KERNEL[6]}/64"), **{"mtu": setting.mtu, **setting.tap},
        )  # fmt: skip
        self.router.sh("sysctl -w net.ipv4.ip_forward=1")
        self.router.sh("sysctl -w net.ipv6.conf.all.forwarding=1")
        self.net.capture(captures)
        self.kernel = KernelPlayers(self.namespace)
        self._runs: dict[str, _Run] = {}
        # After the gateway's own, which makes the kernel's device and gives it its addresses.
        self.net.supervisor.gates.on_open(self._opened)

    def run(self, flows: list[Flow]) -> list[Outcome]:
        """Play all flows at once, to their ends. What has not ended after a long time has a log that says so."""
        runs = [_Run(self, flow, number) for number, flow in enumerate(flows)]
        self._runs = {run.flow.name: run for run in runs}
        assert len(self._runs) == len(flows), "two flows have the same name"
        with contextlib.suppress(TimeoutError):
            self.net.run(self._obey, on=self.desk, until=_PATIENCE_S)
        # -a: since the beginning. The kernel's would leave a file with what it said last; -s: it does not.
        self.counters = counted(self.namespace.command("nstat", "-as"))
        ours = self.our_namespace.command("nstat", "-as") if self.us is None else self.us.sh("nstat -a")
        self.our_counters = counted(ours)
        self.net.close()
        addresses = set(US.values())
        at_us = connections(self.captures / ("us-eth0.pcap" if self.us is not None else "router-eth0.pcap"), addresses)
        at_kernel = connections(self.captures / "router-tap0.pcap", addresses)
        return [run.outcome(at_us, at_kernel) for run in runs]

    def close(self) -> None:
        self.net.close()
        self.kernel.close()
        self.namespace.close()
        if self.stand_in is not None:
            self.stand_in.close()
            self.our_namespace.close()

    def _prepare_ours(self, us: Host) -> None:
        us.sh(f"ip route add default via {ROUTER[4]}")
        us.sh(f"ip -6 route add default via {ROUTER[6]}")
        for name, value in self.setting.ours.items():
            us.sh(f"sysctl -w '{name}={value}'")
        for command in self.setting.our_commands:
            us.sh(command)

    def _opened(self) -> None:
        """The kernel's device is there: see to routes and settings, and begin the programs that wait for packets."""
        setting = self.setting
        _prepare_kernel(self.namespace, "tap0", GATEWAY, setting.kernel, setting.kernel_commands)
        if self.stand_in is not None:
            _prepare_kernel(self.our_namespace, "eth0", ROUTER, setting.ours, setting.our_commands)
        for run in self._runs.values():
            run.begin()

    def _over(self) -> bool:
        return all(run.log is not None and run.flow.name in self.kernel.logs for run in self._runs.values())

    async def _obey(self) -> None:
        """Do what programs tell the bed by marks of theirs, until all have ended."""
        while not self._over():
            await asyncio.sleep(0.005)
            for run in self._runs.values():
                run.hear_stand_in()
                told = (run.marks | run.heard) & _ORDERS.keys()
                for mark in sorted(told - run.obeyed):
                    run.obeyed.add(mark)
                    self._do(mark, run)
                    run.both_hear(_ORDERS[mark])
        await asyncio.sleep(_REST_S)

    def _do(self, mark: str, run: _Run) -> None:
        if mark == "hold":
            self.router.pause()
        elif mark == "release":
            self.router.resume()
        else:
            for port in (run.us[1], run.kernel[1]):
                for tool in ("iptables", "ip6tables"):
                    for end in ("--sport", "--dport"):
                        self.router.sh(f"{tool} -A FORWARD -p tcp {end} {port} -j DROP")


def counted(printed: str) -> dict[str, int]:
    """What nstat(8) has printed, by name."""
    lines = printed.splitlines()
    return {words[0]: int(words[1]) for words in map(str.split, lines) if len(words) == 3 and words[1].isdigit()}


def _prepare_kernel(
    namespace: Namespace, device: str, gateway: Mapping[int, str], sysctls: Mapping[str, Any], commands: tuple[str, ...]
) -> None:
    namespace.command(
        "ip", "-batch", "-",
        input=f"link set {device} txqueuelen 10000\n"
        f"route add default via {gateway[4]}\n"
        f"route add default via {gateway[6]}\n",
    )  # fmt: skip
    # What one connection has learnt of the path is nothing that the next may know.
    for name, value in {"net.ipv4.tcp_no_metrics_save": 1, **sysctls}.items():
        try:
            namespace.sysctl(name, str(value))
        except OSError as error:
            raise KernelUnavailable(f"{name} = {value}: {error.strerror}") from error
    for command in commands:
        namespace.command(*command.split())


class _Run:
    """A flow in a bed: its two places, its marks, and in the end its logs."""

    def __init__(self, bed: Bed, flow: Flow, number: int) -> None:
        self.bed, self.flow = bed, flow
        self.us = (US[flow.family], _OUR_PORT + number)
        self.kernel = (KERNEL[flow.family], _KERNEL_PORT + number)
        self.seed = (bed.seed * 1000 + number) * 20
        self.marks: set[str] = set()  # told by us
        self.heard = bed.kernel.marks.setdefault(flow.name, set())  # told by the kernel's side, and by the bed
        self.obeyed: set[str] = set()
        self.passed_on: set[str] = set()
        self.log: list[str] | None = None

    def begin(self) -> None:
        """Who waits begins first: the other one's first packet finds it listening."""
        waits = _waits(self.flow.theirs)
        if waits or not _waits(self.flow.ours):
            self._begin_theirs()
        if waits:
            self.bed.kernel.wait_for_mark(self.flow.name, "listening")
        if self.bed.us is None:
            assert self.bed.stand_in is not None, "one of both is in our place"
            self.bed.stand_in.begin(self.flow.name, self.flow.ours, self.us, self.kernel, self.seed)
            return
        play = self._play_async if self.flow.face == "asyncio" else self._play
        self.bed.net.start(self.bed.us, play, name=self.flow.name, background=True)

    def both_hear(self, mark: str) -> None:
        self.heard.add(mark)
        self.bed.kernel.tell(self.flow.name, mark)

    def hear_stand_in(self) -> None:
        """Pass on what the kernel in our place has told since the last time."""
        stand_in, name = self.bed.stand_in, self.flow.name
        if stand_in is not None:
            for mark in sorted(stand_in.marks.get(name, set()) - self.marks):
                self._tell(mark)
            for mark in sorted(self.heard - self.passed_on):
                self.passed_on.add(mark)
                stand_in.tell(name, mark)
            self.log = stand_in.logs.get(name)

    def outcome(self, at_us: Capture, at_kernel: Capture) -> Outcome:
        def mine(capture: Capture) -> list[list[Segment]]:
            return [found for ports, found in capture.items() if ports[0] == self.us[1] or ports[1] == self.kernel[1]]

        ours = ["has not ended"] if self.log is None else self.log
        return Outcome(self.flow, ours, self.bed.kernel.log(self.flow.name), mine(at_us), mine(at_kernel))

    def _begin_theirs(self) -> None:
        self.bed.kernel.begin(self.flow.name, self.flow.theirs, self.kernel, self.us, self.seed + 10)

    def _tell(self, mark: str) -> None:
        self.marks.add(mark)
        if mark == "listening" and not _waits(self.flow.theirs):
            self._begin_theirs()
        self.bed.kernel.tell(self.flow.name, mark)

    def _play(self) -> None:
        self.log = Player(self.us, self.kernel, self.seed, self.heard, self._tell).play(self.flow.ours)

    async def _play_async(self) -> None:
        player = AsyncioPlayer(self.us, self.kernel, self.seed, self.heard, self._tell)
        self.log = await player.play(self.flow.ours)


def _waits(program: str) -> bool:
    """Whether a program waits for the other side's first packet."""
    return any(part.split()[:1] in (["listen"], ["udp"]) for part in program.split(";"))
