"""A chart as SVG, written by hand: lines over a scale of numbers, or pairs of bars. No more than the figures need."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

_LEFT, _WIDTH, _RIGHT = 74, 560, 190
_TOP, _HEIGHT, _BOTTOM = 78, 330, 78
_BAR, _BAR_GAP = 40, 6
# Above each bar stands how high it is.
_ROOM_FOR_NUMBERS: Final = 1.1
_LEGEND_ROW: Final = 22
_STYLE: Final = """text { font: 13px Helvetica, Arial, sans-serif; fill: #222 }
.page { fill: #fff } .grid { stroke: #e2e2e2 } .axis { stroke: #777 } .line { fill: none; stroke-width: 2 }
.bold { font-weight: bold; font-size: 16px } .quiet { fill: #666; font-size: 12px } .middle { text-anchor: middle }
.end { text-anchor: end }"""


@dataclass(frozen=True)
class Line:
    """Points (x, y) and how they are drawn."""

    name: str
    points: tuple[tuple[float, float], ...]
    colour: str
    dashed: bool = False


@dataclass(frozen=True)
class Bars:
    """Bars side by side, each with its name, height and colour."""

    name: str
    bars: tuple[tuple[str, float, str], ...]


@dataclass(frozen=True)
class Words:
    """What is written around a chart. `notes` stand below it."""

    title: str
    subtitle: str
    x: str
    y: str
    notes: tuple[str, ...] = ()


def lines(words: Words, drawn: list[Line]) -> str:
    """A chart of lines. Both scales begin at 0."""
    xs = _Scale(max((x for line in drawn for x, _ in line.points), default=1), _LEFT, _WIDTH)
    ys = _Scale(max((y for line in drawn for _, y in line.points), default=1), _TOP + _HEIGHT, -_HEIGHT)
    parts = _grid(ys)
    for tick in xs.ticks:
        parts.append(f'<text class="quiet middle" x="{xs.at(tick)}" y="{_TOP + _HEIGHT + 18}">{tick:g}</text>')
    for number, line in enumerate(drawn):
        dash = ' stroke-dasharray="6 4"' if line.dashed else ""
        path = " L".join(f"{xs.at(x)} {ys.at(y)}" for x, y in line.points)
        if path:
            parts.append(f'<path class="line" d="M{path}" stroke="{line.colour}"{dash}/>')
        for x, y in line.points:
            fill = "#fff" if line.dashed else line.colour
            tip = escape(f"{line.name}, {x:g}: {_short(y)}")
            parts.append(
                f'<circle cx="{xs.at(x)}" cy="{ys.at(y)}" r="3.5" fill="{fill}" stroke="{line.colour}">'
                f"<title>{tip}</title></circle>"
            )
        row = _TOP + 8 + _LEGEND_ROW * number
        left = _LEFT + _WIDTH + 18
        parts.append(f'<path class="line" d="M{left} {row} h28" stroke="{line.colour}"{dash}/>')
        parts.append(f'<text class="quiet" x="{left + 36}" y="{row + 4}">{escape(line.name)}</text>')
    return _page(words, parts)


def bars(words: Words, drawn: list[Bars]) -> str:
    """A chart of groups of bars, each with its height above it."""
    highest = max((height for group in drawn for _, height, _ in group.bars), default=1)
    ys = _Scale(highest * _ROOM_FOR_NUMBERS, _TOP + _HEIGHT, -_HEIGHT)
    parts = _grid(ys)
    legend: dict[str, str] = {}
    for number, group in enumerate(drawn):
        middle = _LEFT + _WIDTH * (number + 0.5) / len(drawn)
        left = middle - ((_BAR + _BAR_GAP) * len(group.bars) - _BAR_GAP) / 2
        for name, height, colour in group.bars:
            legend[name] = colour
            top = ys.at(height)
            parts.append(
                f'<rect x="{left:.1f}" y="{top}" width="{_BAR}" height="{round(_TOP + _HEIGHT - top, 1)}" '
                f'fill="{colour}"><title>{escape(f"{group.name}, {name}: {_short(height)}")}</title></rect>'
            )
            parts.append(f'<text class="quiet middle" x="{left + _BAR / 2:.1f}" y="{top - 6}">{_short(height)}</text>')
            left += _BAR + _BAR_GAP
        parts.append(f'<text class="middle" x="{middle:.1f}" y="{_TOP + _HEIGHT + 20}">{escape(group.name)}</text>')
    for number, (name, colour) in enumerate(legend.items()):
        row = _TOP + _LEGEND_ROW * number
        left = _LEFT + _WIDTH + 18
        parts.append(f'<rect x="{left}" y="{row}" width="14" height="14" fill="{colour}"/>')
        parts.append(f'<text class="quiet" x="{left + 22}" y="{row + 12}">{escape(name)}</text>')
    return _page(words, parts)


class _Scale:
    """Numbers from 0 on as places from `start` on, `length` long (negative: upwards), with round ticks."""

    def __init__(self, most: float, start: float, length: float) -> None:
        most = most or 1.0
        power = 10.0 ** math.floor(math.log10(most / 5))
        step = next(power * factor for factor in (1, 2, 5, 10) if most / (power * factor) <= 7)
        self._start = start
        self._each = length / (step * math.ceil(most / step - 1e-9))
        self.ticks = [step * number for number in range(math.ceil(most / step - 1e-9) + 1)]

    def at(self, value: float) -> float:
        return round(self._start + self._each * value, 1)


def _grid(ys: _Scale) -> list[str]:
    parts = []
    for tick in ys.ticks:
        y = ys.at(tick)
        parts.append(f'<path class="{"grid" if tick else "axis"}" d="M{_LEFT} {y} h{_WIDTH}"/>')
        parts.append(f'<text class="quiet end" x="{_LEFT - 8}" y="{y + 4}">{tick:g}</text>')
    return parts


def _page(words: Words, parts: list[str]) -> str:
    width = _LEFT + _WIDTH + _RIGHT
    height = _TOP + _HEIGHT + _BOTTOM + 18 * len(words.notes)
    foot = _TOP + _HEIGHT + 42
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img">\n<title>{escape(words.title)}</title>\n<style>\n{_STYLE}\n</style>',
        f'<rect class="page" width="{width}" height="{height}"/>',
        f'<text class="bold" x="16" y="28">{escape(words.title)}</text>',
        f'<text class="quiet" x="16" y="48">{escape(words.subtitle)}</text>',
        f'<text class="quiet" x="16" y="{_TOP - 10}">{escape(words.y)}</text>',
        f'<text class="quiet middle" x="{_LEFT + _WIDTH / 2}" y="{foot}">{escape(words.x)}</text>',
    ]
    for number, note in enumerate(words.notes):
        head.append(f'<text class="quiet" x="16" y="{foot + 26 + 18 * number}">{escape(note)}</text>')
    return "\n".join(head + parts) + "\n</svg>\n"


def _short(value: float) -> str:
    """Three digits that count."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
