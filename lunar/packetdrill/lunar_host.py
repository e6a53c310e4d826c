"""A virtual host as the stack under test, in virtual time.

One host with `lo` and `tun0`, no link and no other host. What it sends into `tun0` is kept with its time; what the
script sends arrives there. System calls are those of lunar/syscalls, each in a flow of its own, which may park.

Where the interpreter and the stack have something to do at the same nanosecond, the interpreter comes first: a timer of
the kernel's fires a bit late, and a script that is written against the kernel counts on that. It is done by a lane that
comes before all others.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from lunar import syscalls
from lunar.links.tap import Tap
from lunar.net.route import Route
from lunar.network import Network
from lunar.packet import AF_INET6, IcmpMessage, Packet, TcpSegment
from lunar.packetdrill import shell
from lunar.packetdrill.backend import HOUSEKEEPING, SentPacket, Settings, Task
from lunar.wire import inet
from lunar.wire.address import parse_address, parse_ipv4
from lunar.wire.malformed import Malformed
from weaves.bridge import Flow
from weaves.scheduler import IDLE, REACHED, Call
from weaves.weave import Weave

# A run begins with the clock here: a kernel has been up for a while when somebody tests it.
_START_NS: Final = 1_000_000_000_000
_GATEWAY_MAC: Final = 0x0200_5E00_0001
# Enough events and turns for anything between two events of a script; what takes more goes on in another round.
_BUDGET: Final = 1_000_000


def _is_housekeeping(packet: Packet) -> bool:
    """Whether it is of neighbour discovery or of listeners to groups, of which no script speaks."""
    return isinstance(packet, IcmpMessage) and packet.family == AF_INET6 and packet.type in HOUSEKEEPING


class FlowTask:
    """A function in a flow of the host."""

    def __init__(self, weave: Weave, function: Callable[[], Any]) -> None:
        self.done = False
        self.ended_ns = 0
        self._scheduler = weave.scheduler
        self._result: Any = None
        self._error: BaseException | None = None
        Flow(weave, function, self._end).start()

    def _end(self, result: Any, error: BaseException | None) -> None:
        self.done = True
        self.ended_ns = int(self._scheduler.now_ns)
        self._result, self._error = result, error
        self._scheduler.stop()

    def result(self) -> Any:
        """What the function returned; raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._result


class _Calls:
    """lunar.syscalls, and `open`, which is of the machine's files: `sendfile` reads them."""

    def __init__(self) -> None:
        self._opened: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(syscalls, name)

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        """`open(2)` of a file of the machine."""
        fd = os.open(path, flags, mode)
        self._opened.append(fd)
        return fd

    def close(self, fd: int) -> None:
        """`close(2)` of the host's or of a file."""
        if fd in self._opened:
            self._opened.remove(fd)
            os.close(fd)
        else:
            syscalls.close(fd)

    def close_files(self) -> None:
        for fd in self._opened:
            os.close(fd)


class LunarHost:
    """A `Backend` (see there)."""

    def __init__(self, settings: Settings) -> None:
        self._network = Network(seed=1)
        self._scheduler = self._network.scheduler
        self._lane = self._network.supervisor.new_lane()  # before the host's
        self.host = self._network.host("packetdrill")
        self.device = self.host.add_device([], "tun0", settings.mtu)
        self.tap = Tap(self._scheduler, _GATEWAY_MAC)
        self.device.medium = self.tap
        self.device.gso = True
        self._scheduler.advance(_START_NS)
        self._add_addresses(settings)
        self._calls = _Calls()
        self.syscalls: Any = self._calls
        self._shell = shell.Shell(self.host)

    def _add_addresses(self, settings: Settings) -> None:
        """The device's address, and the way to the remote side: by a router behind tun0, which over IPv4 is the second
        address of its network by the tool's custom.
        """
        _, remote = parse_address(settings.remote_ip)
        family, address = parse_address(settings.local_ip)
        if family == AF_INET6:
            self.host.add_address(self.device, address, 48)
            _, router = parse_address(settings.gateway_ip)
            self.host.ip.inet6.routes.add(Route(remote, 128, router, self.device, 0, 0, AF_INET6))
            return
        mask = parse_ipv4(settings.netmask_ip)
        self.host.add_address(self.device, address, mask.bit_count())
        network = address & mask
        gateway = network + 2 if address != network + 2 else network + 1
        self.host.ip.inet.routes.add(Route(remote, 32, gateway, self.device, 0, 0))

    def now_ns(self) -> int:
        """Virtual time."""
        return int(self._scheduler.now_ns)

    def wall_ns(self) -> int:
        """Virtual time on the host's wall clock."""
        return self._network.epoch_ns + self.now_ns()

    def start(self, function: Callable[[], Any]) -> Task:
        """Let `function` run in a flow of the host until it waits or ends."""
        task = FlowTask(self.host.weave, function)
        self._settle()
        return task

    def wait(self, task: Task, until_ns: int) -> bool:
        """Let time go by until the task has ended, to `until_ns` at most."""
        while not task.done and self._goes_on(until_ns):
            pass
        return task.done

    def sleep_until(self, at_ns: int) -> None:
        """Let time go by until `at_ns`; the stack's own events of this instant come later."""
        if at_ns <= self._scheduler.now_ns:
            return
        arrived: list[bool] = []

        def arrive(_nothing: None) -> None:
            arrived.append(True)
            self._scheduler.stop()

        self._scheduler.post(Call(arrive, None), self._lane, at_ns)
        while not arrived:
            self._scheduler.run(at_ns, _BUDGET)
        self._settle()

    def inject(self, data: bytes, mss: int = 0) -> None:
        """Let a packet arrive at `tun0`. One that is malformed is dropped there, and counted by nobody."""
        packet = inet.decode(data)
        if isinstance(packet, Malformed):
            return
        assert isinstance(packet, Packet)
        packet.eth_dst = self.device.mac
        packet.target = self.device
        if isinstance(packet, TcpSegment) and 0 < mss < len(packet.payload):
            packet.gso_bytes = mss
        self.device.arrive(packet)
        self._settle()

    def sent(self, until_ns: int) -> SentPacket | None:
        """The next packet of the host, if there is one until `until_ns`."""
        frames = self.tap.frames
        while True:
            while not frames:
                if not self._goes_on(max(until_ns, self.now_ns())) and not frames:
                    return None
            at_ns, frame = frames.popleft()
            assert isinstance(frame, Packet), "a host sends IP packets"
            if not _is_housekeeping(frame):
                return SentPacket(at_ns, inet.encode(frame))

    def shell(self, text: str, folder: Path) -> str:
        """Obey command lines by our own tools."""
        complaints = self._shell.run(text, folder)
        self._settle()
        return complaints

    def close(self) -> None:
        """Let go of the host."""
        self._calls.close_files()
        self._network.close()

    def _goes_on(self, until_ns: int) -> bool:
        """Let things happen until something stops the scheduler, or until `until_ns`. Whether it is not that yet."""
        reason = self._scheduler.run(until_ns, _BUDGET)
        if reason == IDLE and until_ns > self._scheduler.now_ns:
            self._scheduler.advance(until_ns)  # nothing is left to happen; time goes by all the same
        return reason not in (IDLE, REACHED)

    def _settle(self) -> None:
        """Let all that waits for its turn have it. The clock stays, and no event of this instant happens."""
        while self._scheduler.turns:
            self._scheduler.run(self.now_ns() - 1, _BUDGET)
        self._scheduler.forget_stop()
