"""The picture of a tapestry as text, for a terminal: columns of beads, and the strings that run down through them.

    web        copy           a weave has its name on top
     ║          ║             a string
  ╭──╫───╮  ╭───╫───╮
  │ site │  │ visit │         beads of the application
  ╰──╫───╯  ╰───╫───╯
  ┌──╫──────────╫───┐
  │     server      │         the stack of their host, which they share
  └────────┬────────┘
  ┌────────┴────────┐
  │    simulator    │
  └─────────────────┘

Hosts that do not fit beside each other stand in several bands. The simulator, of which there is one, is at the foot of
each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from weaves.picture import TIMES, Bead, Box, Column, HostEntry, layers, packed
from weaves.tapestry import Tapestry

_LEFT: Final = 2  # columns of a terminal before the first host
_BETWEEN_HOSTS: Final = 3
_BETWEEN_COLUMNS: Final = 2
# More strings of a weave than this are drawn as this many; the list below the picture has them all.
_STRINGS: Final = 3

# The four corners of the box of a bead, and of a stack.
_ROUND: Final = "╭╮╰╯"
_SQUARE: Final = "┌┐└┘"
_ASCII: Final = str.maketrans(f"╭╮╰╯┌┐└┘─│║╫┬┴{TIMES}", "++++++++-|:+++x")


def figure(tapestry: Tapestry, hosts: Sequence[HostEntry], width: int) -> list[str]:
    """The lines of the picture, of at most `width` characters where the widest host allows that."""
    lines: list[str] = []
    drawn: set[Bead] = set()
    parts = [part for host in hosts for part in _parts(host, width - _LEFT)]
    for band in packed(parts, width - _LEFT, lambda part: part.width, _BETWEEN_HOSTS):
        lines += [""] * bool(lines) + _draw(band, _simulator(tapestry), drawn)
    return lines


def in_ascii(text: str) -> str:
    """`text` for a terminal that has no lines and corners."""
    return text.translate(_ASCII)


def _simulator(tapestry: Tapestry) -> str:
    switches = sum(link.is_switch for link in tapestry.links)
    counts = [(len(tapestry.links) - switches, "link", "links"), (switches, "switch", "switches")]
    named = [f"{count:,} {one if count == 1 else many}" for count, one, many in counts if count]
    return f"{tapestry.simulator}: {', '.join(named)}" if named else tapestry.simulator


@attrs.frozen(slots=True, eq=False)
class _Part:
    """A host in a band: all its weaves, or as many as fit."""

    host: HostEntry
    widths: tuple[int, ...]
    title: str

    @property
    def width(self) -> int:
        return sum(self.widths) + _BETWEEN_COLUMNS * (max(len(self.widths), 1) - 1)

    @property
    def lines(self) -> list[str]:
        """What is written in the stack."""
        count = [f"{TIMES} {self.host.hosts.count:,}"] if self.host.hosts.count > 1 else []
        return [self.title, *count, *(" ".join(device) for device in self.host.devices)]


def _parts(host: HostEntry, room: int) -> list[_Part]:
    pieces = host.split(room, _width, _BETWEEN_COLUMNS)
    parts = []
    for number, piece in enumerate(pieces):
        title = host.name if len(pieces) == 1 else f"{host.name} ({number + 1} of {len(pieces)})"
        part = _Part(piece, tuple(map(_width, piece.columns)), title)
        parts.append(attrs.evolve(part, widths=_widened(part, max(map(len, part.lines)) + 4)))
    return parts


def _widened(part: _Part, least: int) -> tuple[int, ...]:
    """The widths of the columns, at least `least` with all that is between: the stack's own text may need more."""
    if not part.widths:
        return (least,)
    missing, count = max(least - part.width, 0), len(part.widths)
    return tuple(width + (missing + number) // count for number, width in enumerate(part.widths))


def _width(column: Column) -> int:
    beads = max(map(len, column.lines)) + 4
    return max(beads, len(column.name), len(_count(column)), 3 * len(_drawn_strings(column)) + 2)


def _count(column: Column) -> str:
    return f"{TIMES} {column.weaves.count:,}" if column.weaves.count > 1 else ""


def _drawn_strings(column: Column) -> Sequence[object]:
    return column.weaves.first.strings[:_STRINGS]


class _Canvas:
    """Characters in rows, and which of them are text that no line crosses."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.rows: list[list[str]] = []
        self._text: set[tuple[int, int]] = set()

    def grow(self, rows: int) -> int:
        """Add empty rows at the foot; returns the number of the first."""
        start = len(self.rows)
        self.rows += [[" "] * self.width for _ in range(rows)]
        return start

    def text(self, row: int, left: int, right: int, text: str) -> None:
        """`text` in the middle between `left` and `right`."""
        start = left + max((right - left + 1 - len(text)) // 2, 0)
        self.rows[row][start : start + len(text)] = text
        # With the blanks around it, so that no line clings to it.
        self._text.update((row, start + at) for at in range(-1, len(text) + 1))

    def box(self, top: int, bottom: int, left: int, right: int, corners: str, lines: Sequence[str]) -> None:
        """A box with `lines` in its middle."""
        for row in range(top, bottom + 1):
            self.rows[row][left : right + 1] = " " * (right - left + 1)
            self.rows[row][left] = self.rows[row][right] = "│"
        for row, pair in ((top, corners[:2]), (bottom, corners[2:])):
            self.rows[row][left : right + 1] = [pair[0], *"─" * (right - left - 1), pair[1]]
        start = top + 1 + (bottom - top - 1 - len(lines)) // 2
        for at, line in enumerate(lines):
            self.text(start + at, left + 1, right - 1, line)

    def string(self, top: int, bottom: int, column: int) -> None:
        """A string from row `top` to row `bottom`, through what is there."""
        for row in range(top, bottom + 1):
            if (row, column) not in self._text:
                self.rows[row][column] = "╫" if self.rows[row][column] == "─" else "║"

    def lines(self) -> list[str]:
        """The rows, without blanks at their ends."""
        return ["".join(row).rstrip() for row in self.rows]


def _draw(band: list[_Part], simulator: str, drawn: set[Bead]) -> list[str]:
    columns = [column for part in band for column in part.host.columns]
    rows = layers(columns)
    places: list[tuple[int, int]] = []  # of the columns: first and last character
    stacks: list[tuple[int, int]] = []
    left = _LEFT
    for part in band:
        start = left
        for width in part.widths:
            if part.host.columns:
                places.append((left, left + width - 1))
            left += width + _BETWEEN_COLUMNS
        stacks.append((start, left - _BETWEEN_COLUMNS - 1))
        left += _BETWEEN_HOSTS - _BETWEEN_COLUMNS
    foot = max(stacks[-1][1], _LEFT + len(simulator) + 3)
    canvas = _Canvas(foot + 1)
    _headers(canvas, columns, places)
    start = len(canvas.rows)
    for row in rows:
        _beads(canvas, row, places, drawn)
    top = canvas.grow(2 + max(len(part.lines) for part in band))
    bottom = len(canvas.rows) - 1
    for part, (first, last) in zip(band, stacks, strict=True):
        canvas.box(top, bottom, first, last, _SQUARE, part.lines)
    for column, (first, last) in zip(columns, places, strict=True):
        strings = len(_drawn_strings(column))
        for number in range(strings):
            canvas.string(start - 1, top, (first + last) // 2 + 3 * number - 3 * (strings - 1) // 2)
    top = canvas.grow(3)
    canvas.box(top, top + 2, _LEFT, foot, _SQUARE, [simulator])
    for part, (first, last) in zip(band, stacks, strict=True):
        devices = len(part.host.hosts.first.devices)
        for number in range(devices):
            at = first + (last - first) * (number + 1) // (devices + 1)
            canvas.rows[bottom][at], canvas.rows[top][at] = "┬", "┴"
    return canvas.lines()


def _headers(canvas: _Canvas, columns: list[Column], places: list[tuple[int, int]]) -> None:
    if not columns:
        return
    counts = any(_count(column) for column in columns)
    top = canvas.grow(3 if counts else 2)
    for column, (first, last) in zip(columns, places, strict=True):
        count = _count(column)
        canvas.text(top if count or not counts else top + 1, first, last, column.name)
        if count:
            canvas.text(top + 1, first, last, count)


def _beads(canvas: _Canvas, row: list[Box], places: list[tuple[int, int]], drawn: set[Bead]) -> None:
    texts = [box.lines(drawn) for box in row]
    height = 2 + max(map(len, texts))
    top = canvas.grow(height)
    for box, lines in zip(row, texts, strict=True):
        left, right = places[box.start][0], places[box.end][1]
        canvas.box(top + height - 2 - len(lines), top + height - 1, left, right, _ROUND, lines)
