"""What a picture of a tapestry shows, and how it is arranged: before it is text (figure.py) or SVG (svg.py).

As in the thesis: a weave is a column of beads, with its strings running down through them; the beads of the application
are above, a host's stack below, the simulator at the foot. A bead that several weaves share is drawn once and spans
their columns. What differs only in its number (a group of hosts, or of weaves) is one column with a multiplicity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final, Generic, TypeVar

import attrs

from weaves.programs import program_of
from weaves.tapestry import (
    BeadDescription,
    DeviceDescription,
    HostDescription,
    ModuleDescription,
    StringDescription,
    Tapestry,
    WeaveDescription,
)
from weaves.units import format_address

T = TypeVar("T")

# A code or bead name longer than this is cut in pictures, at its start: the end of a path says more.
_LONGEST: Final = 26

# In a bead that has been drawn before.
SAME: Final = "(same)"

# In a bead that all weaves of a group have.
COMMON: Final = "one for all"

# Before a number of things that are drawn once.
TIMES: Final = "\N{MULTIPLICATION SIGN}"


@attrs.frozen(slots=True)
class Group(Generic[T]):
    """What is drawn once for `count` things: the first and the last of them."""

    first: T
    last: T
    count: int


@attrs.frozen(slots=True, eq=False)
class Bead:
    """A bead of the application, or a group of them. It is the same in each column that has it."""

    beads: Group[BeadDescription]
    explicit: bool  # it has a name of its own

    @property
    def lines(self) -> list[str]:
        """What is written in it: its name, if it has one, and its code."""
        code = _code(self.beads.first.module)
        if not self.explicit:
            return [_cut(code)]
        name = span(self.beads.first.name, self.beads.last.name)
        return [_cut(name), _cut(code)] if name != code else [_cut(name)]


@attrs.frozen(slots=True, eq=False)
class Column:
    """A weave, or a group of them."""

    weaves: Group[WeaveDescription]
    beads: tuple[Bead, ...]

    @property
    def name(self) -> str:
        """The weave's name; that of a group in the words of its first and last."""
        return span(self.weaves.first.name, self.weaves.last.name)

    @property
    def lines(self) -> list[str]:
        """What may be written in its beads."""
        more = [SAME, COMMON] if self.weaves.count > 1 else [SAME]
        return [line for bead in self.beads for line in (*bead.lines, *more)]

    @property
    def strings(self) -> list[tuple[StringDescription, StringDescription]]:
        """The strings of the first and of the last weave."""
        return list(zip(self.weaves.first.strings, self.weaves.last.strings, strict=True))


@attrs.frozen(slots=True, eq=False)
class HostEntry:
    """A host, or a group of them, with the weaves that use its stack."""

    hosts: Group[HostDescription]
    columns: tuple[Column, ...]

    @property
    def name(self) -> str:
        """The host's name; that of a group in the words of its first and last."""
        return span(self.hosts.first.name, self.hosts.last.name)

    @property
    def devices(self) -> list[tuple[str, str]]:
        """The names of the devices, and their addresses as they are written in a picture."""
        pairs = zip(self.hosts.first.devices, self.hosts.last.devices, strict=True)
        return [(device.name, _addresses(device, last)) for device, last in pairs]

    def split(self, room: int, size: Callable[[Column], int], between: int) -> list[HostEntry]:
        """This host as often as it takes to have its weaves in `room`."""
        if not self.columns:
            return [self]
        return [attrs.evolve(self, columns=tuple(columns)) for columns in packed(self.columns, room, size, between)]


@attrs.frozen(slots=True)
class Box:
    """A bead where it is drawn: from column `start` to column `end`, which belongs to it; `in_group`: of a group."""

    bead: Bead
    start: int
    end: int
    in_group: bool


    def lines(self, drawn: set[Bead]) -> list[str]:
        """What is written in it; `drawn` has the beads that were drawn before, and gets this one."""
        lines = list(self.bead.lines)
        if self.bead.beads.count > 1 and self.start != self.end:
            lines[-1] += f" {TIMES} {self.bead.beads.count:,}"
        elif self.bead.beads.count == 1 and self.in_group:
            lines.append(COMMON)
        if self.bead in drawn:  # weaves that share it stand apart
            lines.append(SAME)
        drawn.add(self.bead)
        return lines


def picture(tapestry: Tapestry) -> list[HostEntry]:
    """The hosts of `tapestry`, in its order; beads that weaves share stand side by side where that is possible."""
    hosts: dict[str, list[HostDescription]] = {}
    for host in tapestry.hosts:
        hosts.setdefault(host.group, []).append(host)
    group_of = {host.name: host.group for host in tapestry.hosts}
    # Weaves of one table are one column, if their hosts are in one group too.
    weaves: dict[str, dict[object, list[WeaveDescription]]] = {name: {} for name in hosts}
    for weave in tapestry.weaves:
        # Two strings in one line have the same place; their number tells them apart.
        key = (weave.where, weave.strings[0].path if weave.strings else None)
        weaves[group_of[weave.host]].setdefault(key, []).append(weave)
    beads: dict[tuple[BeadDescription, BeadDescription, int], Bead] = {}
    return [
        HostEntry(
            Group(members[0], members[-1], len(members)),
            tuple(_side_by_side([_column(group, beads) for group in weaves[name].values()])),
        )
        for name, members in hosts.items()
    ]


def _column(weaves: list[WeaveDescription], known: dict[tuple[BeadDescription, BeadDescription, int], Bead]) -> Column:
    beads: list[Bead] = []
    for position, first in enumerate(weaves[0].beads):
        # Of a group the weaves may have a bead each, or one for all of them.
        members = dict.fromkeys(weave.beads[position] for weave in weaves if position < len(weave.beads))
        last = next(reversed(members))
        explicit = all(first.where != string.where for string in weaves[0].strings)
        key = (first, last, len(members))
        beads.append(known.setdefault(key, Bead(Group(first, last, len(members)), explicit)))
    return Column(Group(weaves[0], weaves[-1], len(weaves)), tuple(beads))


def _side_by_side(columns: list[Column]) -> list[Column]:
    """The columns in their order, but each followed by those that it shares a bead with."""
    left, ordered = list(columns), []
    while left:
        front = [left.pop(0)]
        while front:
            column = front.pop(0)
            ordered.append(column)
            near = [other for other in left if any(bead in other.beads for bead in column.beads)]
            left = [other for other in left if other not in near]
            front += near
    return ordered


def layers(columns: Sequence[Column]) -> list[list[Box]]:
    """The rows of beads above the stacks, from the top, for columns that are drawn side by side.

    A column's own beads stand above those that it shares, so that these can span.
    """

    def box(bead: Bead, start: int, end: int) -> Box:
        return Box(bead, start, end, any(column.weaves.count > 1 for column in columns[start : end + 1]))

    places: dict[Bead, list[int]] = {}
    for number, column in enumerate(columns):
        for bead in column.beads:
            places.setdefault(bead, []).append(number)
    own = [[bead for bead in column.beads if len(places[bead]) == 1] for column in columns]
    height = max(map(len, own), default=0)
    rows: list[list[Box]] = [[] for _ in range(height)]
    for number, beads in enumerate(own):
        for at, bead in enumerate(beads):
            rows[height - len(beads) + at].append(box(bead, number, number))
    shared: list[list[Box]] = []
    for bead, numbers in places.items():
        if len(numbers) > 1:
            boxes = [box(bead, start, end) for start, end in _runs(numbers)]
            free = (row for row in shared if not any(_meet(one, other) for one in boxes for other in row))
            row = next(free, None)
            if row is None:
                shared.append(boxes)
            else:
                row += boxes
    return rows + shared


def _runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Neighbours together: [1, 2, 4] is (1, 2) and (4, 4)."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _meet(first: Box, second: Box) -> bool:
    return first.start <= second.end and second.start <= first.end


def packed(items: Iterable[T], room: int, size: Callable[[T], int], between: int) -> Iterator[list[T]]:
    """`items` in as many lists as it takes for each to fit in `room`, but for an item that is too large by itself."""
    fitting: list[T] = []
    used = 0
    for item in items:
        if fitting and used + size(item) > room:
            yield fitting
            fitting, used = [], 0
        fitting.append(item)
        used += size(item) + between
    if fitting:
        yield fitting


def span(first: str, last: str) -> str:
    """Two texts of the ends of a group as one."""
    return first if first == last else f"{first} ... {last}"


def _code(module: ModuleDescription) -> str:
    """The code of a module, as short as it is clear."""
    if module.run is None:
        return str(module.module)
    program = program_of(module.run)
    if program.path is None:
        return f"python -m {program.module}"
    return PurePosixPath(program.path).name or program.path


def _addresses(device: DeviceDescription, last: DeviceDescription) -> str:
    if not device.addresses:
        return "auto"
    (address, prefix), more = device.addresses[0], len(device.addresses) - 1
    text = span(format_address(address), format_address(last.addresses[0][0]))
    return f"{text}/{prefix}" + (f" and {more} more" if more else "")


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else "..." + text[3 - _LONGEST :]
