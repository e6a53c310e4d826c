"""Multicast groups as sockets have them, and as a device has them in sum: RFC 3376 sections 2 and 3, RFC 3810 2 to 4.

A `Membership` is one socket's wish to hear a group at a device: all sources but those listed (EXCLUDE), or those listed
(INCLUDE). `Group` is what a device hears in sum, and what it has still to tell the routers of a change. Both are of
either family, as an address says of itself which one it is. Who tells the routers is in listener.py; the calls of
sockets are in multicast.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from lunar.packet import AF_INET

if TYPE_CHECKING:
    from lunar.net.device import Device
    from lunar.net.listener import Due

# linux/in.h: MCAST_EXCLUDE, MCAST_INCLUDE.
EXCLUDE: Final = 0
INCLUDE: Final = 1

# Types of group records, RFC 3376 section 4.2.12; RFC 3810 section 5.2.12 has the same.
IS_INCLUDE: Final = 1
IS_EXCLUDE: Final = 2
TO_INCLUDE: Final = 3
TO_EXCLUDE: Final = 4
ALLOW: Final = 5
BLOCK: Final = 6


def is_multicast(address: int) -> bool:
    """Whether `address` is a group: 224.0.0.0/4 or ff00::/8."""
    return 0xE000_0000 <= address <= 0xEFFF_FFFF or address >> 120 == 0xFF


def hardware_address(group: int) -> int:
    """The Ethernet address of a group: RFC 1112 section 6.4, RFC 2464 section 7."""
    if group >> 32:
        return 0x3333_0000_0000 | (group & 0xFFFF_FFFF)
    return 0x0100_5E00_0000 | (group & 0x7F_FFFF)


@final
class Membership:
    """One socket's (or the kernel's own) membership of `group` at `device`."""

    def __init__(self, group: int, device: Device, mode: i64) -> None:
        self.group: int = group
        self.device: Device = device
        self.mode: i64 = mode
        self.sources: list[int] = []  # the newest first, as Linux lists them
        self.has_list: bool = False  # whether there has been a source, since all of them were set at once

    def allows(self, source: int) -> bool:
        return (source in self.sources) == (self.mode == INCLUDE)


@final
class Record:
    """One record of a report: its type, the group, the sources that it names."""

    def __init__(self, type: i64, group: int, sources: list[int]) -> None:
        self.type: i64 = type
        self.group: int = group
        self.sources: list[int] = sources


@final
class Group:
    """A group at a device: the sum of the memberships. One without members stays while there is something to tell."""

    def __init__(self, address: int) -> None:
        self.address: int = address
        self.members: list[Membership] = []
        self.mode: i64 = INCLUDE
        self.sources: list[int] = []
        # RFC 3376 section 5.1: in how many reports more a change of the mode is told, and that of each source.
        self.mode_left: i64 = 0
        self.sources_left: dict[int, i64] = {}
        # The answer to a query that is due, and the sources that were asked for; None for all.
        self.due: Due | None = None
        self.asked: list[int] | None = None
        # Of the older versions: the unsolicited reports that are left, and whether ours was the last one heard.
        self.unsolicited: i64 = 0
        self.reporter: bool = False

    def allows(self, source: int) -> bool:
        """Whether the device takes what `source` sends to the group."""
        return (source in self.sources) == (self.mode == INCLUDE)

    def is_empty(self) -> bool:
        return self.mode == INCLUDE and not self.sources

    def update(self, robustness: i64) -> bool:
        """Add the memberships up anew (RFC 3376, 3.2), and note what is to be told of the change. Whether there is one.

        A change of the mode is told with all sources, one of sources alone with those that came and went.
        """
        mode, sources = self._sum()
        before = self.sources
        if mode != self.mode:
            self.mode_left = robustness
            self.sources_left.clear()
        else:
            changed = False
            # In the order of the lists: a set has none that is the same in every run.
            for source in sources:
                if source not in before:
                    self.sources_left[source] = robustness
                    changed = True
            for source in before:
                if source not in sources:
                    self.sources_left[source] = robustness
                    changed = True
            if not changed:
                return False
        self.mode = mode
        self.sources = sources
        return True

    def _sum(self) -> tuple[i64, list[int]]:
        wanted: list[int] = []
        for member in self.members:
            if member.mode == INCLUDE:
                for source in member.sources:
                    if source not in wanted:
                        wanted.append(source)
        excluded: list[int] | None = None
        for member in self.members:
            if member.mode != EXCLUDE:
                continue
            if excluded is None:
                excluded = [source for source in member.sources if source not in wanted]
            else:
                excluded = [source for source in excluded if source in member.sources]
        if excluded is None:
            return INCLUDE, wanted
        return EXCLUDE, excluded

    def announce(self, robustness: i64) -> None:
        """Tell of the group as if it were new: its device has come up."""
        self.sources_left.clear()
        if self.mode == EXCLUDE:
            self.mode_left = robustness
        else:
            for source in self.sources:
                self.sources_left[source] = robustness

    def has_news(self) -> bool:
        return self.mode_left > 0 or len(self.sources_left) > 0

    def news(self) -> list[Record]:
        """The records that tell of the changes once more (RFC 3376, 5.1)."""
        found: list[Record] = []
        if self.mode_left > 0:
            self.mode_left -= 1
            found.append(Record(TO_EXCLUDE if self.mode == EXCLUDE else TO_INCLUDE, self.address, self.sources))
        else:
            allowed: list[int] = []
            blocked: list[int] = []
            for source in self.sources_left:
                if self.allows(source):
                    allowed.append(source)
                else:
                    blocked.append(source)
            if allowed:
                found.append(Record(ALLOW, self.address, allowed))
            if blocked:
                found.append(Record(BLOCK, self.address, blocked))
        for source in list(self.sources_left):
            left: i64 = self.sources_left[source] - 1
            if left > 0:
                self.sources_left[source] = left
            else:
                del self.sources_left[source]
        return found

    def state(self) -> Record:
        """The record that answers a query."""
        return Record(IS_EXCLUDE if self.mode == EXCLUDE else IS_INCLUDE, self.address, self.sources)

    def state_of(self, asked: list[int]) -> Record | None:
        """The record that answers a query for some sources: those of them that are heard (RFC 3376, 5.2); or none."""
        heard = [source for source in asked if self.allows(source)]
        return Record(IS_INCLUDE, self.address, heard) if heard else None


@final
class Multicast:
    """A socket's part in multicast of one family; a socket that has set nothing has none."""

    def __init__(self, family: i64) -> None:
        self.family: i64 = family
        self.device: Device | None = None  # IP_MULTICAST_IF, IPV6_MULTICAST_IF; None: as the routes say
        self.source: int = 0  # the address that IP_MULTICAST_IF named the device by
        self.ttl: i64 = 1  # IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS
        self.loops: bool = True  # IP_MULTICAST_LOOP
        self.all: bool = True  # IP_MULTICAST_ALL: groups that others on this host are in are heard, too
        self.memberships: list[Membership] = []

    def find(self, group: int, device: Device) -> Membership | None:
        for member in self.memberships:
            if member.group == group and member.device is device:
                return member
        return None

    def hears(self, group: int, source: int, device: Device) -> bool:
        """Whether the socket wants what `source` has sent to `group` and came in at `device`."""
        for member in self.memberships:
            # IPv6 does not ask by which device the group was joined.
            if member.group == group and (member.device is device or self.family != AF_INET):
                return member.allows(source)
        return self.all
