"""Our stack under somebody else's simulator or event loop: what that gives to it, and what it has to call.

The mirror image of stack.py, in which another stack is under our network. The calls are the same three, those of the
thesis' *Lunar*: the stack sends by `Surroundings.write_msg(id, data)`, is handed what comes in by `read_msg(id, data)`,
and has its `timer()` called at the time that it asked for. `id` is the number of a device, from 0 in the order in which
they were opened, `data` an Ethernet frame without its frame check sequence. docs/stacks.md has examples.

Time is the surroundings'. The stack looks at it when it is called, lets all happen that is due by then, and says when
the next is due; programs run in the middle of such a call, in no time. Bytes are made and read at this boundary only.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from lunar.host import Host
from lunar.links.link import Wire
from lunar.links.outside_link import OutsideLink
from lunar.net.device import Device
from lunar.network import Network, StringFailed
from lunar.personalities import Personality
from lunar.stack import Boundary, Stack
from lunar.wire import ethernet
from weaves import units
from weaves.here import pins
from weaves.realtime import CollectorHeld, run_slice
from weaves.scheduler import BUDGET_SPENT, FOREVER, IDLE, REACHED
from weaves.strings import String
from weaves.supervisor import RETURN

# That nothing is known of what the surroundings still have to call: they are told in any case.
_UNTOLD: Final = -1


class Surroundings(Protocol):
    """What is under the stack: its author writes a subclass, or any class with these names.

    A `lunar.stack.Boundary` has them, too: a host of our own network may have such a stack.
    """

    @property
    def now_ns(self) -> int:
        """The time in nanoseconds, an `int` that never goes back. Where it begins does not matter.

        Where time is a float of seconds, round it: what was asked for has to come back as the same number.
        """
        raise NotImplementedError

    def write_msg(self, id: int, data: bytes) -> None:
        """Device `id` sends the frame `data`, now. It may be handed on at once, or later, or be lost.

        It is called outside of all programs of the stack, and may call the stack's methods. What it raises comes out of
        the call during which it was called; what else was to be sent goes out with the next one.
        """
        raise NotImplementedError

    def set_timer(self, at_ns: int | None) -> None:
        """Call `Embedded.timer` at `at_ns`, in place of the time that was asked for before; None: not at all.

        It may be now, and is never before. A call at another time does no harm, so that a simulator which cannot take a
        plan back may leave it.
        """
        raise NotImplementedError


class Embedded:
    """Hosts of ours whose devices lead to `surroundings`; by `network` also others, and links between them.

    `network` is one that exists, of a tapestry for example, of which `open` then opens devices; else one is made, with
    `options`, which are those of `lunar.Network`. Its clock begins where it stands, whatever the surroundings' shows,
    and goes as that goes. Same seed and same calls at the same times: the same frames at the same times, and the same
    `digest`. For that, as long as it is open, the garbage collector runs by the count of the stack's events; in a
    program whose main work is another, let it not be `repeatable`.

    Call `read_msg`, `timer` and all else from the thread that made it. They are not for programs that run on it. It may
    be used inside a running asyncio loop. As a context manager it is closed at the end.
    """

    def __init__(
        self, surroundings: Surroundings, network: Network | None = None, *, repeatable: bool = True, **options: Any
    ) -> None:
        if network is not None and options:
            raise TypeError(f"{', '.join(options)}: the network is there already, and has its own")
        if network is None:
            network = Network(**{"arp": True, **options})
        supervisor = network.supervisor
        if supervisor.pace is not None or supervisor.replay is not None or supervisor.gates.gates:
            raise ValueError("the network is the machine's, by its clock or its links; expected one in virtual time")
        if network.embedded:
            raise ValueError("the network is embedded already")
        self.surroundings = surroundings
        self.network = network
        self._thread = pins()
        self._links: list[OutsideLink] = []
        self._arrived: deque[tuple[Wire, bytes]] = deque()  # not yet in the network
        self._leaving: deque[tuple[int, bytes]] = deque()  # not yet written
        self._ends: list[tuple[String, Callable[[String], object]]] = []
        self._told_ns: int | None = None  # for when a call of `timer` is to come
        self._seen_ns = self._read_clock()
        self._ahead_ns = self._seen_ns - int(network.scheduler.now_ns)  # of their clock to the network's
        self._busy = False
        self._closed = False
        self._held = contextlib.ExitStack()
        if repeatable:
            self._held.enter_context(CollectorHeld())
        network.embedded = True

    def __enter__(self) -> Embedded:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # Building

    def host(
        self,
        name: str,
        *addresses: str | Sequence[str],
        stack: str | Personality | Callable[[Boundary], Stack] | None = None,
        **traits: Any,
    ) -> Host:
        """A new host; each of `addresses` makes a device that is open: eth0, eth1 ...

        `name`, `addresses` and `stack` are as for `Network.host`, `traits` as for `open`. Seeds and hardware addresses
        go by names: where several stacks meet, let their hosts have different ones. Raises `ValueError`.
        """
        host = self.network.host(name, *addresses, stack=stack)
        for device in list(host.devices.values()):
            if device.name != "lo":
                self.open(device, **traits)
        return host

    def open(self, end: Host | Device | str, *, mac: int | None = None, **traits: Any) -> int:
        """Let a device lead to the surroundings, and return its id. `end` is as for `Network.link`.

        It has the hardware address `mac`, else one that is made of the seed, its name and its host's. `traits` are
        those of `Network.link` for both directions, as `mtu`: there is no rate, delay or loss but what they say. With
        `arp=False` it asks nobody for hardware addresses: `arp` and `ip neigh` tell them. Raises `ValueError`.
        """
        salt = f"{self.network.seed} embedded"
        link = self.network.outside_link(end, salt=salt, mac=mac, both_ways=True, **{"arp": True, **traits})
        self._links.append(link)
        return len(self._links) - 1

    def start(
        self,
        host: Host,
        function: Callable[..., Any] | Any,
        *args: Any,
        at: str | float = 0,
        on_end: Callable[[String], object] | None = None,
        **options: Any,
    ) -> String:
        """Start a string on `host`, as `Network.start` does, `at` from the surroundings' time on.

        It begins with a call of `timer`, which is asked for. `on_end` is called with it when it has ended, outside of
        all programs: its `result` and `error` say how. A failure is then nobody else's to see.
        """
        self._check()
        if self._closed:
            raise RuntimeError("the stack was closed")
        behind_ns = self._now() - int(self.network.scheduler.now_ns)
        if on_end is not None:
            options.setdefault("on_error", RETURN)
        string = self.network.start(host, function, *args, at=f"{units.parse_span('at', at) + behind_ns}ns", **options)
        if on_end is not None:
            self._ends.append((string, on_end))
        if not self._busy:
            self._ask()
        return string

    # What the surroundings call

    def read_msg(self, id: int, data: bytes | bytearray | memoryview) -> None:
        """The frame `data` arrives at device `id`, now.

        Whatever it holds, it raises nothing: what the device does not take is counted and dropped, there or where it is
        understood. Raises `IndexError` for a device that is not open, `TypeError` for what is no bytes; `StringFailed`
        as `timer` does, when the frame has been taken. A stack that was closed takes nothing.
        """
        self._check()
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"a frame is bytes, not {type(data).__name__}")
        if not 0 <= id < len(self._links):
            raise IndexError(f"device {id} of {len(self._links)} open ones, which count from 0")
        if self._closed:
            return
        wire = self._links[id].inward
        assert wire is not None, "it was made with both ways"
        self._arrived.append((wire, bytes(data)))
        self._proceed()

    def timer(self) -> None:
        """The time has come that `set_timer` named; or any other: what is due by now happens, and nothing else.

        Called late, what is due happens late, in its order, and sees on its own clock the time that it was due. Call it
        before and after what you do with the network's hosts by yourself (`Host.crash`, `Host.sh`), so that it happens
        now, and what follows from it is known.

        Raises `ValueError` where time went back, and `lunar.StringFailed` when a program failed whose `on_error` is
        "stop", as `Network.run` does; calls after that go on.
        """
        self._check()
        if self._closed:
            return
        told = self._told_ns
        self._told_ns = None if told is None or told <= self._read_clock() else _UNTOLD
        self._proceed()

    @property
    def over(self) -> bool:
        """Whether every string that is not in the background has ended."""
        return self.network.supervisor.over

    def digest(self) -> str:
        """What happened so far, as a hexadecimal digest: equal runs have equal digests."""
        return self.network.digest()

    def close(self) -> None:
        """End all programs; they send nothing more. Frames and calls of `timer` that still come are ignored.

        Safe to call twice.
        """
        if self._closed:
            return
        self._check()
        self._closed = True
        try:
            self.network.close()
        finally:
            self._held.close()
            if self._told_ns is not None:
                self.surroundings.set_timer(None)

    # How it goes on

    def _check(self) -> None:
        if pins() is not self._thread:
            raise RuntimeError("a stack is called from the thread that made it, and from no other")

    def _read_clock(self) -> int:
        now_ns = self.surroundings.now_ns
        if not isinstance(now_ns, int):
            raise TypeError(f"now_ns is {now_ns!r}; expected a whole number of nanoseconds")
        return now_ns

    def _now(self) -> int:
        """The surroundings' time by the clock of the network."""
        now_ns = self._read_clock()
        if now_ns < self._seen_ns:
            raise ValueError(f"time went back: now_ns is {now_ns} after {self._seen_ns}")
        self._seen_ns = now_ns
        return now_ns - self._ahead_ns

    def _proceed(self) -> None:
        """Let in what has arrived, let happen what is due, and hand out what follows, until nothing does."""
        if self._busy:
            return  # it was called from within, and the outermost call goes on anyway
        self._busy = True
        try:
            while True:
                self._run()
                if self._arrived:
                    # After what was due before, as on a link of ours, whose lane is behind the hosts'.
                    while self._arrived:
                        wire, data = self._arrived.popleft()
                        wire.send(ethernet.frame_of(data))
                elif not self._hand_out():
                    break
        finally:
            self._busy = False
            self._ask()
        self._tell_ends()
        self._raise_failure()

    def _run(self) -> None:
        now_ns = self._now()
        supervisor = self.network.supervisor
        scheduler = supervisor.scheduler
        if not scheduler.turns and scheduler.next_ns() > now_ns:
            scheduler.advance(now_ns)
            return
        watchdog = supervisor.watchdog
        with CollectorHeld(), contextlib.nullcontext() if watchdog is None else watchdog.on_duty():
            while True:
                reason = run_slice(scheduler, now_ns, watchdog)
                if reason == IDLE:
                    scheduler.advance(now_ns)
                if reason in (IDLE, REACHED) or (reason != BUDGET_SPENT and supervisor.stopped):
                    return

    def _hand_out(self) -> bool:
        """Write what has left the network. False when there was nothing."""
        for id, link in enumerate(self._links):
            frames = link.doorway.frames
            if frames:
                self._leaving.extend((id, frame) for frame in frames)
                frames.clear()
        if not self._leaving:
            return False
        while self._leaving:
            self.surroundings.write_msg(*self._leaving.popleft())
        return True

    def _ask(self) -> None:
        """Let the surroundings know when `timer` is to be called, if that is another time than they know."""
        scheduler = self.network.scheduler
        due_ns: int | None = None
        if self._leaving or self._arrived or scheduler.turns:
            due_ns = self._seen_ns
        elif scheduler.next_ns() < FOREVER:
            due_ns = max(scheduler.next_ns() + self._ahead_ns, self._seen_ns)
        if due_ns != self._told_ns:
            self._told_ns = due_ns
            self.surroundings.set_timer(due_ns)

    def _tell_ends(self) -> None:
        if any(string.over for string, _ in self._ends):
            ended = [pair for pair in self._ends if pair[0].over]
            self._ends = [pair for pair in self._ends if not pair[0].over]
            for string, on_end in ended:
                self.network.supervisor.forget(string.weave, string)
                on_end(string)

    def _raise_failure(self) -> None:
        supervisor = self.network.supervisor
        halted, supervisor.halted_by = supervisor.halted_by, None
        if halted is not None:
            raise RuntimeError(f"{halted.who} {halted.summary}")
        failed, supervisor.stopped_by = supervisor.stopped_by, None
        if failed is not None:
            raise StringFailed(failed) from failed.error
