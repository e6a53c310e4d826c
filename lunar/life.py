"""What becomes of a host in the course of a run: it loses its power, stands still and goes on, is shut down.

Here is in which order its parts are stopped and let go; how a program is dropped without running any more of it is in
weaves/unwinding.py. A boot is in lunar/host.py, where a stack is put together. What is promised of each is said there,
too, at the methods of the same names that people call.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from lunar.sockets.fdtable import FdTable
from weaves import units
from weaves.here import here
from weaves.scheduler import Call, Event
from weaves.strings import WAITING_TO_START, String
from weaves.weave import Weave

if TYPE_CHECKING:
    from lunar.host import Host

# What a host is doing.
UP: Final = "up"
PAUSED: Final = "paused"
DOWN: Final = "down"

# What a host's lane folds when the host changes so.
_FOLDED: Final = {"crashes": 11, "boots": 12, "is paused": 13, "goes on": 14, "powers off": 15}


class _Change:
    """A turn of the scheduler's: what a host's own program did to it happens as soon as the program's turn is over."""

    def __init__(self, change: Callable[[], None]) -> None:
        self.turn = change


class Life:
    """One host's. Made when something first happens to it: most hosts do nothing but run."""

    def __init__(self, host: Host) -> None:
        self._host = host
        # While it is paused: turns, events and signals that wait until it goes on.
        self.held: list[Any] | None = None
        self._held_events: list[Event] = []
        self._held_signals: list[tuple[Weave, int]] = []
        self._power_plan: Call | None = None  # when a shutdown will be complete
        self._later: list[String] = []  # to be started at their time, after a crash that came before it

    def crash(self) -> None:
        if self._host.state != DOWN and not self._put_off(self.crash):
            self._lose_power("crashes")

    def _lose_power(self, what: str) -> None:
        host = self._host
        self.change(DOWN, what)
        self._let_power_be()
        for device in host.devices.values():
            device.power_off()
        host.scheduler.drop_lane(host.lane, -1)
        self.held, self._held_events = None, []
        self._held_signals.clear()
        # From here on whoever closes a descriptor finds that it is not open.
        open_then, host.descriptors = host.descriptors.all(), FdTable()
        weaves, own = host.take_weaves()
        if own is not None:
            # Programs that are to be started later, from outside, are not in the host yet.
            self._later += [string for string in own.strings if _is_to_come(string)]
            own.strings[:] = [string for string in own.strings if not _is_to_come(string)]
        for string in self._later:
            self._post_late(string)
        for weave in weaves:
            weave.held = None
            weave.on_exit = None
            weave.vanish()
        host.drop_stack(open_then)
        for weave in weaves:
            host.network.supervisor.forget(weave)

    def _post_late(self, string: String) -> None:
        self._host.scheduler.post(Call(self._begin_late, string), self._host.lane, string.start_ns)

    def _begin_late(self, string: String) -> None:
        """The time has come to start a string that was given to the host before it crashed."""
        self._later.remove(string)
        if self._host.state == DOWN:
            string.kill()  # there is no host to start it
        elif not string.over:
            string.move(self._host.weave)
            self._host.network.supervisor.begin(string)

    def pause(self) -> None:
        host = self._host
        if host.state != UP or self._put_off(self.pause):
            return
        self.change(PAUSED, "is paused")
        for device in host.devices.values():
            device.hold()
        self.held = []
        for weave in host.weaves():
            weave.held = self.held
        self._held_events = host.scheduler.hold_lane(host.lane)

    def resume(self) -> None:
        host = self._host
        if host.state != PAUSED:
            return
        self.change(UP, "goes on")
        held, self.held = self.held, None
        for weave in host.weaves():
            weave.held = None
        host.scheduler.turns.extend(held or [])
        events, self._held_events = self._held_events, []
        host.scheduler.release(events, host.lane)
        for device in host.devices.values():
            device.running = True  # all of them: a router sends by one what another has kept
        for device in host.devices.values():
            device.go_on()
        signals, self._held_signals = self._held_signals, []
        for weave, signum in signals:
            if weave.runs:
                weave.signals.deliver(signum)

    def kill(self, signum: int, name: str | None) -> None:
        signum = signal.Signals(signum)
        host = self._host
        weaves = [weave for weave in host.weaves() if name is None or weave.name == name]
        if name is not None and not weaves:
            known = ", ".join(weave.name for weave in host.weaves()) or "none"
            raise ValueError(f"host {host.name} has no weave {name}; it has {known}")
        if host.state != DOWN:
            self._tell(f"{'' if name is None else name + ' '}gets {signal.Signals(signum).name}")
        for weave in weaves:
            if not weave.runs:
                continue  # it is to start, again or for the first time, or has ended: there is no process
            if host.state == PAUSED:
                self._held_signals.append((weave, signum))
            else:
                weave.signals.deliver(signum)

    def shutdown(self, grace: str | float) -> None:
        self._shut_down(grace, self._power_off)

    def reboot(self, grace: str | float) -> None:
        if self._host.state == DOWN:
            self._host.boot()
        else:
            self._shut_down(grace, self._power_cycle)

    def _shut_down(self, grace: str | float, power: Callable[[], None]) -> None:
        host = self._host
        if host.state != UP:
            return
        self._tell("shuts down")
        supervisor = host.network.supervisor
        weaves = host.weaves()
        self._let_power_be()  # of two shutdowns the later one decides
        asked = False

        def check() -> None:
            nonlocal asked
            if not asked and self._power_plan and all(string.over for weave in weaves for string in weave.strings):
                asked = True
                self._let_power_be()
                self._power_plan = supervisor.at(host.scheduler.now_ns, power)

        for weave in weaves:
            weave.on_exit = check
            for string in weave.strings:
                string.stopped = True
            weave.signals.deliver(signal.SIGTERM)
        self._power_plan = supervisor.at(host.scheduler.now_ns + units.parse_span("grace", grace), power)
        check()

    def _let_power_be(self) -> None:
        """A shutdown that is on its way does not come to its end."""
        if self._power_plan is not None:
            self._host.network.supervisor.take_back(self._power_plan)
            self._power_plan = None

    def _power_off(self) -> None:
        if self._host.state != DOWN:
            self._lose_power("powers off")

    def _power_cycle(self) -> None:
        self._power_off()
        self._host.boot()

    def _put_off(self, change: Callable[[], None]) -> bool:
        """Whether one of the host's own programs asks, which cannot vanish while it runs; then later."""
        asking = here.weave
        if asking is None or asking.host is not self._host:
            return False
        self._host.scheduler.turns.appendleft(_Change(change))
        return True

    def change(self, state: str, what: str) -> None:
        """The host is in `state` from now on, for it `what`: "boots"."""
        host = self._host
        host.state = state
        host.lane.fold(host.scheduler.now_ns)
        host.lane.fold(_FOLDED[what])
        self._tell(what)

    def _tell(self, what: str) -> None:
        host = self._host
        host.network.supervisor.trace.change(host.scheduler.now_ns, host.name, what)


def _is_to_come(string: String) -> bool:
    return string.state == WAITING_TO_START and not string.restarts
