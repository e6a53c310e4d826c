"""The plot: a row for each cell, Lunar's median goodput as a part of the kernel's, and how far each side's runs spread.

An SVG file written by hand: a scale of ratios, logarithmic, with the band of 10% that is asked for.
"""

from __future__ import annotations

import math
import statistics
from typing import Final
from xml.sax.saxutils import escape

from cells import CELLS, CONGESTION, Cell
from results import Results
from table import WITHIN

_COLOURS: Final = {"reno": "#1f6feb", "cubic": "#d1741f"}
_LEFT, _WIDTH, _RIGHT = 300, 560, 40
_TOP, _ROW, _BOTTOM = 76, 30, 44
_LOWEST, _HIGHEST = 0.5, 2.0
_TICKS: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 1.75, 2.0)
_STYLE: Final = """text { font: 13px Helvetica, Arial, sans-serif; fill: #222 }
.page { fill: #fff } .band { fill: #dff3e3 } .grid { stroke: #ddd } .one { stroke: #777 } .row { fill: #f6f7f9 }
.bold { font-weight: bold; font-size: 16px } .quiet { fill: #666; font-size: 12px } .middle { text-anchor: middle }
.end { text-anchor: end }"""


def svg(results: Results) -> str:
    """The file."""
    cells = [cell for cell in CELLS if any(_ratio(results, cell, control) is not None for control in CONGESTION)]
    height = _TOP + _ROW * len(cells) + _BOTTOM
    width = _LEFT + _WIDTH + _RIGHT
    foot = _TOP + _ROW * len(cells)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img">\n<title>Goodput of Lunar beside the kernel\'s</title>\n<style>\n{_STYLE}\n</style>',
        f'<rect class="page" width="{width}" height="{height}"/>',
        '<text class="bold" x="16" y="26">Goodput of Lunar as a part of the kernel\'s</text>',
        '<text class="quiet" x="16" y="46">Dot: median of Lunar\'s runs. Thick line: half of Lunar\'s runs lie there; '
        "thin line: half of the kernel's. Green: within 10%.</text>",
    ]
    for row in range(0, len(cells), 2):
        parts.append(f'<rect class="row" x="0" y="{_TOP + _ROW * row}" width="{width}" height="{_ROW}"/>')
    left, right = _x(1 - WITHIN), _x(1 + WITHIN)
    parts.append(f'<rect class="band" x="{left}" y="{_TOP}" width="{round(right - left, 1)}" height="{foot - _TOP}"/>')
    for tick in _TICKS:
        kind = "one" if tick == 1 else "grid"
        parts.append(f'<path class="{kind}" d="M{_x(tick)} {_TOP} V{foot}"/>')
        parts.append(f'<text class="quiet middle" x="{_x(tick)}" y="{foot + 18}">{tick:g}</text>')
    x = _LEFT
    for control in CONGESTION:
        parts.append(f'<circle cx="{x}" cy="62" r="5" fill="{_COLOURS[control]}"/>')
        parts.append(f'<text class="quiet" x="{x + 10}" y="66">{control}</text>')
        x += 80
    for row, cell in enumerate(cells):
        y = _TOP + _ROW * row
        parts.append(f'<text class="end" x="{_LEFT - 14}" y="{y + 20}">{escape(cell.name)}</text>')
        for number, control in enumerate(CONGESTION):
            parts += _mark(results, cell, control, y + 10 + 10 * number)
    return "\n".join(parts) + "\n</svg>\n"


def _mark(results: Results, cell: Cell, control: str, y: int) -> list[str]:
    ratio = _ratio(results, cell, control)
    theirs = results.median("kernel", cell, control)
    if ratio is None or not theirs:
        return []
    colour = _COLOURS[control]
    parts = []
    for side, thickness in (("kernel", 1), ("lunar", 4)):
        low, high = _half(results.goodputs(side, cell, control))
        parts.append(
            f'<path d="M{_x(low / theirs)} {y} H{_x(high / theirs)}" stroke="{colour}" stroke-width="{thickness}" '
            f'opacity="{1 if side == "kernel" else 0.35}"/>'
        )
    tip = f"{cell.name}, {control}: {ratio:.3f}"
    parts.append(f'<circle cx="{_x(ratio)}" cy="{y}" r="4.5" fill="{colour}"><title>{escape(tip)}</title></circle>')
    return parts


def _half(values: list[float]) -> tuple[float, float]:
    """Between which values the middle half of all lies."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def _ratio(results: Results, cell: Cell, control: str) -> float | None:
    theirs, ours = (results.median(side, cell, control) for side in ("kernel", "lunar"))
    return None if not theirs or ours is None else ours / theirs


def _x(ratio: float) -> float:
    """Where a ratio is on the scale; what lies beyond its ends is shown at the end."""
    share = math.log(min(max(ratio, _LOWEST), _HIGHEST) / _LOWEST) / math.log(_HIGHEST / _LOWEST)
    return round(_LEFT + _WIDTH * share, 1)
