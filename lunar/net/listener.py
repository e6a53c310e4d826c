"""Who tells multicast routers what a device hears, and answers their questions: a host's side of IGMP and MLD.

Read RFC 3376 section 5 and RFC 3810 section 6, which is the same with longer addresses; here both are one state
machine. A `Listener` is of one device and one family, made with the first membership there. What a report looks like
its `Speaker` knows (igmp.py, mld.py). Routers with an older version are met in that version (RFC 3376 section 7).

Times are Linux': a first report two ticks after the change, the following ones by chance within the interval. Nothing
is told over lo. A querier is a router's work, and not here.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net.device import Device
from lunar.net.groups import EXCLUDE, Group, Membership, Record, hardware_address
from lunar.net.ip import Ip
from weaves.scheduler import Event

# Linux waits by its clock's ticks, commonly of 4 ms (CONFIG_HZ 250), and two of them for a first report.
TICK_NS: Final = 4_000_000
_FIRST_TICKS: Final = 2
_S: Final = 1_000_000_000

# What a `Due` is for.
CHANGES: Final = 0  # a report of changes
GENERAL: Final = 1  # the answer to a query for all groups
GROUP: Final = 2  # the answer for one, and of older versions the report of a new one

# RFC 3376 sections 8.2 and 8.3, before a router has said other: the interval of queries, the time for answers.
_QUERY_INTERVAL_S: Final = 125
_RESPONSE_NS: Final = 10 * _S


class Speaker:
    """How a family's hosts and multicast routers talk. `newest` is the version that has source lists."""

    def __init__(self) -> None:
        self.newest: i64 = 3
        self.everybody: int = 0  # the group of all hosts, which all hear and nobody tells of

    def is_told(self, ip: Ip, group: int) -> bool:
        """Whether routers are told of `group`."""
        raise NotImplementedError

    def robustness(self, ip: Ip) -> i64:
        raise NotImplementedError

    def forced(self, device: Device) -> i64:
        """The version that the administrator wants, 0 for none."""
        raise NotImplementedError

    def interval_ms(self, device: Device, version: i64) -> i64:
        """The unsolicited report interval."""
        raise NotImplementedError

    def report(self, ip: Ip, device: Device, records: list[Record]) -> None:
        """Send a report of the newest version, or several."""
        raise NotImplementedError

    def report_one(self, ip: Ip, device: Device, group: int, version: i64) -> None:
        """Send a report of an older version."""
        raise NotImplementedError

    def leave(self, ip: Ip, device: Device, group: int) -> None:
        """Tell that nobody here hears `group` any more, in an older version that can."""
        raise NotImplementedError


@final
class Due(Event):
    """Something is to be sent at a time."""

    def __init__(self, listener: Listener, what: i64, group: Group | None) -> None:
        super().__init__()
        self.listener: Listener = listener
        self.what: i64 = what
        self.group: Group | None = group

    def fire(self) -> None:
        self.listener.fired(self.what, self.group)


@final
class Listener:
    """One device's memberships of one family."""

    def __init__(self, ip: Ip, device: Device, speaker: Speaker) -> None:
        self.ip: Ip = ip
        self.device: Device = device
        self.speaker: Speaker = speaker
        self.groups: dict[int, Group] = {}  # the oldest first
        self.changes: Due | None = None
        self.changes_left: i64 = 0  # reports of changes that are still to go
        self.general: Due | None = None
        # What the last query of the newest version has said; 0 for nothing.
        self.told_robustness: i64 = 0
        self.query_interval_s: i64 = _QUERY_INTERVAL_S
        self.response_ns: i64 = _RESPONSE_NS
        # Until when routers of versions 1 and 2 are believed to be there; -1 for never heard.
        self.first_until_ns: i64 = -1
        self.second_until_ns: i64 = -1

    # Memberships

    def add(self, member: Membership) -> None:
        group = self.groups.get(member.group)
        if group is None:
            group = Group(member.group)
            self.groups[member.group] = group
        group.members.append(member)
        self.changed(group)

    def remove(self, member: Membership) -> None:
        group = self.groups.get(member.group)
        if group is not None and member in group.members:
            group.members.remove(member)
            self.changed(group)

    def changed(self, group: Group) -> None:
        """A membership of `group` has come, gone or changed its sources."""
        was_heard = not group.is_empty()
        if not group.update(self.robustness()):
            return
        heard = not group.is_empty()
        if heard != was_heard:
            self._hear(group.address, heard)
        told = self.speaks() and self.speaker.is_told(self.ip, group.address)
        if not told:
            group.mode_left = 0
            group.sources_left.clear()
        if told:
            self._tell(group, was_heard, heard)
        if not heard and not group.has_news():
            self._forget(group)

    def _tell(self, group: Group, was_heard: bool, heard: bool) -> None:
        version: i64 = self.version()
        if version == self.speaker.newest:
            if group.has_news():
                self._changes_are_due()
            return
        group.mode_left = 0
        group.sources_left.clear()
        if heard and not was_heard:
            group.unsolicited = self.robustness()
            self._arm(GROUP, group, _FIRST_TICKS * TICK_NS)
        elif was_heard and not heard and group.reporter and version == self.speaker.newest - 1:
            self.speaker.leave(self.ip, self.device, group.address)

    def _hear(self, address: int, on: bool) -> None:
        """Let the device take frames for the group, or no more."""
        device = self.device
        if on:
            device.join(hardware_address(address))
        else:
            device.leave(hardware_address(address))
        memberships = device.memberships
        if memberships is None:
            memberships = {}
            device.memberships = memberships
        if on:
            memberships[address] = self.groups[address]
        else:
            memberships.pop(address, None)

    def _forget(self, group: Group) -> None:
        self._disarm(group)
        if not group.members:  # one whose lists let nobody through may still be changed
            self.groups.pop(group.address, None)

    # What is said

    def speaks(self) -> bool:
        """Whether anything is sent at all: not over lo, and not by a device that is down."""
        return self.device.up and self.device is not self.ip.loopback_device()

    def robustness(self) -> i64:
        return self.told_robustness if self.told_robustness > 0 else self.speaker.robustness(self.ip)

    def version(self) -> i64:
        """The version that is spoken: the newest, or that of an older router that was heard not long ago."""
        forced: i64 = self.speaker.forced(self.device)
        if forced > 0:
            return forced
        now: i64 = self.ip.scheduler.now_ns
        oldest: i64 = 1
        if now < self.first_until_ns:
            return oldest
        if now < self.second_until_ns:
            return oldest + 1
        return self.speaker.newest

    def came_up(self) -> None:
        """The device is up: all groups are told of anew."""
        for group in self.groups.values():
            if not self.speaker.is_told(self.ip, group.address):
                continue
            if self.version() == self.speaker.newest:
                group.announce(self.robustness())
                self._changes_are_due()
            else:
                group.unsolicited = self.robustness()
                self._arm(GROUP, group, _FIRST_TICKS * TICK_NS)

    def went_down(self) -> None:
        """The device is down: nothing more is said."""
        self._stop_changes()
        if self.general is not None:
            self.ip.scheduler.cancel(self.general)
            self.general = None
        for group in list(self.groups.values()):
            self._disarm(group)
            group.mode_left = 0
            group.sources_left.clear()
            if group.is_empty():
                self._forget(group)

    def fired(self, what: i64, group: Group | None) -> None:
        """A time has come; called by `Due` alone."""
        if what == CHANGES:
            self.changes = None
            self._send_changes()
        elif what == GENERAL:
            self.general = None
            records: list[Record] = []
            for one in self._newest_first():
                if not one.is_empty() and self.speaker.is_told(self.ip, one.address):
                    records.append(one.state())
            if records:
                self.speaker.report(self.ip, self.device, records)
        elif group is not None:
            group.due = None
            self._send_state(group)

    def _send_changes(self) -> None:
        records: list[Record] = []
        # Linux lists what has gone first, and of either the newest first.
        for gone in (True, False):
            for group in self._newest_first():
                if group.is_empty() == gone and group.has_news():
                    records += group.news()
                    if gone and not group.has_news():
                        self._forget(group)
        if records:
            self.speaker.report(self.ip, self.device, records)
        self.changes_left -= 1
        if self.changes_left > 0:
            interval: i64 = self.speaker.interval_ms(self.device, self.speaker.newest) * 1_000_000
            self.changes = self._post(CHANGES, None, self._chance(interval))

    def _send_state(self, group: Group) -> None:
        """Answer for one group, or report a new one in an older version."""
        version: i64 = self.version()
        if version == self.speaker.newest:
            asked = group.asked
            group.asked = None
            record = group.state() if asked is None else group.state_of(asked)
            if record is not None and not group.is_empty():
                self.speaker.report(self.ip, self.device, [record])
            return
        if group.is_empty():
            return
        if group.unsolicited > 0:
            group.unsolicited -= 1
            if group.unsolicited > 0:
                interval: i64 = self.speaker.interval_ms(self.device, version) * 1_000_000
                group.due = self._post(GROUP, group, self._chance(interval))
        group.reporter = True
        self.speaker.report_one(self.ip, self.device, group.address, version)

    def _newest_first(self) -> list[Group]:
        found = list(self.groups.values())
        found.reverse()
        return found

    # What is heard

    def heard_query(
        self, version: i64, group: int, sources: list[int], response_ns: i64, robustness: i64, interval_s: i64
    ) -> None:
        """A router asks for `group` (0: all), of it for some `sources` (none: all). The answer is due by chance within
        `response_ns`. Of the newest version it tells its `robustness` and `interval_s` (0: nothing).
        """
        now: i64 = self.ip.scheduler.now_ns
        if version < self.speaker.newest:
            # RFC 3376 (7.2.1, 8.12): the older version holds for a while, and what was to be told in the newest lapses.
            until: i64 = now + self.robustness() * self.query_interval_s * _S + self.response_ns
            if version == 1:
                self.first_until_ns = until
            else:
                self.second_until_ns = until
            self._stop_changes()
        spoken: i64 = self.version()
        if version == self.speaker.newest and spoken == version:
            self.told_robustness = robustness
            self.query_interval_s = interval_s if interval_s > 0 else _QUERY_INTERVAL_S
            self.response_ns = response_ns
            if group == 0:
                if not sources and self.general is None:
                    self.general = self._post(GENERAL, None, self._chance(response_ns))
                elif not sources and self.general is not None:
                    self.general = self._sooner(self.general, response_ns)
                return
        for one in self._newest_first():
            if (group and one.address != group) or one.is_empty() or not self.speaker.is_told(self.ip, one.address):
                continue
            self._ask(one, sources if spoken == self.speaker.newest else [], response_ns)

    def _ask(self, group: Group, sources: list[int], response_ns: i64) -> None:
        """RFC 3376 (5.2): the answers to several questions become one. Who hears all but some sources answers with the
        whole list then, as Linux does.
        """
        if sources:
            sources = [source for source in sources if group.allows(source)]
            if not sources:
                return  # nobody that is asked for is heard
            if group.mode == EXCLUDE:
                sources = []
        due = group.due
        if due is None:
            group.asked = sources.copy() if sources else None
            group.due = self._post(GROUP, group, self._chance(response_ns))
            return
        known = group.asked
        if not sources or known is None:
            group.asked = None
        else:
            for source in sources:
                if source not in known:
                    known.append(source)
        group.due = self._sooner(due, response_ns)

    def heard_report(self, address: int) -> None:
        """Another host has reported the group in an older version: one is enough."""
        group = self.groups.get(address)
        if group is not None and self.version() < self.speaker.newest:
            self._disarm(group)
            group.unsolicited = 0
            group.reporter = False

    # Times

    def _changes_are_due(self) -> None:
        self.changes_left = self.robustness()
        due = self.changes
        at: i64 = self.ip.scheduler.now_ns + _FIRST_TICKS * TICK_NS
        if due is not None:
            if due.at_ns <= at:
                return
            self.ip.scheduler.cancel(due)
        self.changes = self._post(CHANGES, None, _FIRST_TICKS * TICK_NS)

    def _stop_changes(self) -> None:
        self.changes_left = 0
        if self.changes is not None:
            self.ip.scheduler.cancel(self.changes)
            self.changes = None
        for group in list(self.groups.values()):
            group.mode_left = 0
            group.sources_left.clear()
            if group.is_empty():
                self._forget(group)

    def _chance(self, within_ns: i64) -> i64:
        """A time by chance within `within_ns`, in ticks, as Linux draws it."""
        ticks: i64 = within_ns // TICK_NS
        drawn: i64 = self.ip.rng.randrange(int(ticks)) if ticks > 1 else 0
        return (drawn + _FIRST_TICKS) * TICK_NS

    def _sooner(self, due: Due, within_ns: i64) -> Due:
        """The earlier of what is due and a time by chance within `within_ns`."""
        now: i64 = self.ip.scheduler.now_ns
        if due.at_ns - now < within_ns:
            return due
        self.ip.scheduler.cancel(due)
        return self._post(due.what, due.group, self._chance(within_ns))

    def _arm(self, what: i64, group: Group, after_ns: i64) -> None:
        self._disarm(group)
        group.due = self._post(what, group, after_ns)

    def _disarm(self, group: Group) -> None:
        due = group.due
        if due is not None:
            self.ip.scheduler.cancel(due)
            group.due = None
        group.asked = None

    def _post(self, what: i64, group: Group | None, after_ns: i64) -> Due:
        due = Due(self, what, group)
        self.ip.scheduler.post(due, self.ip.lane, self.ip.scheduler.now_ns + after_ns)
        return due


@final
class Listeners:
    """All listeners of a host, of either family."""

    def __init__(self, ip: Ip) -> None:
        self.ip: Ip = ip
        self.all: list[Listener] = []

    def find(self, device: Device, speaker: Speaker) -> Listener | None:
        for listener in self.all:
            if listener.device is device and listener.speaker is speaker:
                return listener
        return None

    def at(self, device: Device, speaker: Speaker) -> Listener:
        """The listener there, made if there is none yet."""
        found = self.find(device, speaker)
        if found is None:
            found = Listener(self.ip, device, speaker)
            self.all.append(found)
        return found


def find(ip: Ip, device: Device, speaker: Speaker) -> Listener | None:
    """Who listens at `device`, if there is any membership."""
    listeners = ip.listeners
    if listeners is None:
        return None
    assert isinstance(listeners, Listeners), "only this file puts something there"
    return listeners.find(device, speaker)


def at(ip: Ip, device: Device, speaker: Speaker) -> Listener:
    listeners = ip.listeners
    if listeners is None:
        listeners = Listeners(ip)
        ip.listeners = listeners
    assert isinstance(listeners, Listeners), "only this file puts something there"
    return listeners.at(device, speaker)


def device_changed(ip: Ip, device: Device) -> None:
    """`device` has come up or gone down."""
    listeners = ip.listeners
    if listeners is None:
        return
    assert isinstance(listeners, Listeners), "only this file puts something there"
    for listener in listeners.all:
        if listener.device is device:
            if device.up:
                listener.came_up()
            else:
                listener.went_down()


