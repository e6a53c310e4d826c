"""The figures 4.3 to 4.7, each an SVG, and the table of overheads beside those that the thesis found."""

from __future__ import annotations

import statistics
from typing import Final

from chart import Bars, Line, Words, bars, lines
from experiments import (
    ECHOES,
    OFFLOADED,
    ONE_PROCESSOR,
    RATE_NAMES,
    RATES,
    SMALL_MTU,
    WITH,
    WITH_OFFLOADS,
    WITHOUT,
    Batch,
    Cell,
)
from times import Times

# The thesis' overheads of the time without Lunar, by rate; the echo's.
GOALS: Final = {"100mbit": 0.02, "1gbit": 0.39}
ECHO_GOAL: Final = 0.57

_COLOURS: Final = ("#1f6feb", "#d1741f", "#2a9d55")
_SIDES: Final = {WITHOUT: "#9aa4b2", WITH: "#1f6feb", ONE_PROCESSOR: "#c9ced6"}
_NAMES: Final = {WITHOUT: "without Lunar", WITH: "with Lunar", ONE_PROCESSOR: ONE_PROCESSOR}
_WRITES: Final = "size of the writes in KB"
_SECONDS: Final = "seconds"
_HOW: Final = "Line: with Lunar, a UDP link between two processes. Dashed: without, the kernel's TCP over loopback."


def figures(measured: list[Batch], times: Times) -> dict[str, str]:
    """The SVG files by name; of what was not measured there is none."""
    made: dict[str, str] = {}
    for name, rate in (("4.3", "100mbit"), ("4.4", "1gbit"), ("4.5", "")):
        batch = _batch(measured, SMALL_MTU, rate)
        if batch is not None and times.overheads(batch):
            made[f"figure-{name}.svg"] = _transfers(name, batch, times)
    paced = [batch for batch in measured if not batch.echo and times.overheads(batch)]
    if len({batch.mtu for batch in paced}) > 1:
        made["figure-4.6.svg"] = _mtus(paced, times)
    for batch in measured:
        if batch.echo and times.overheads(batch):
            made["figure-4.7.svg"] = _echoes(batch, times)
    return made


def _transfers(name: str, batch: Batch, times: Times) -> str:
    """Seconds against the size of writes, a colour for each size of transfer."""
    drawn = []
    for colour, size in zip(_COLOURS, sorted({cell.size_mb for cell in batch.cells}), strict=False):
        for side in batch.sides:
            if side in (WITHOUT, WITH):
                points = _points(batch, side, size, times)
                drawn.append(Line(f"{size} MB, {side}", points, colour, side == WITHOUT))
    goal = GOALS.get(batch.rate)
    notes = [f"Overhead of Lunar: {spread(times.overheads(batch))}" + (f"; the thesis' {goal:.0%}" if goal else "")]
    if times.overheads(batch, OFFLOADED, WITH_OFFLOADS):
        notes.append(f"With the offloads of both: {spread(times.overheads(batch, OFFLOADED, WITH_OFFLOADS))}")
    title = f"Figure {name}: transfers, {RATE_NAMES[batch.rate]}, MTU {batch.mtu}"
    return lines(Words(title, _HOW, _WRITES, _SECONDS, tuple(notes)), drawn)


def _mtus(measured: list[Batch], times: Times) -> str:
    """Seconds of the largest transfer at the highest rate against the size of writes, a colour for each MTU."""
    drawn = []
    rate = next((rate for rate in reversed(RATES) if rate and len([b for b in measured if b.rate == rate]) > 1), "")
    shown = [batch for batch in measured if batch.rate == rate]
    size = max(cell.size_mb for cell in shown[0].cells)
    for colour, batch in zip(_COLOURS, shown, strict=False):
        for side in (WITHOUT, WITH):
            points = _points(batch, side, size, times)
            drawn.append(Line(f"MTU {batch.mtu}, {side}", points, colour, side == WITHOUT))
    notes = [f"{batch.name}: overhead {spread(times.overheads(batch))}" for batch in measured]
    title = f"Figure 4.6: MTU 1458 against 8958, {size} MB, {RATE_NAMES[rate]}"
    return lines(Words(title, _HOW, _WRITES, _SECONDS, tuple(notes)), drawn)


def _echoes(batch: Batch, times: Times) -> str:
    drawn = []
    notes = []
    for cell in dict.fromkeys(batch.cells):
        medians = [(_NAMES[side], times.median(batch, side, cell), _SIDES[side]) for side in batch.sides]
        each = tuple((name, value / cell.echoes * 1e6, colour) for name, value, colour in medians if value is not None)
        drawn.append(Bars(f"{cell.echoes:,} times", each))
        overhead = times.overhead(batch, cell)
        if overhead is not None:
            other = times.overhead(batch, cell, ONE_PROCESSOR)
            beside = "" if other is None else f"; {other:+.1%} of the kernel's time on one processor"
            notes.append(f"{cell.echoes:,} times: overhead {overhead:+.1%}; the thesis' {ECHO_GOAL:.0%}{beside}")
    title = "Figure 4.7: echo of 4 bytes"
    return bars(Words(title, "One at a time, there and back.", "", "microseconds a round trip", tuple(notes)), drawn)


def table(measured: list[Batch], times: Times) -> tuple[str, bool]:
    """Overheads by batch as a Markdown table; whether all of those with a goal are within it.

    The last column has the median overhead where without Lunar both ends share a processor.
    """
    rows = [
        "| through | without, s | with, s | overhead: median (from, to) | the thesis' | within | one processor |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: |",
    ]
    good = True
    for batch in measured:
        goal = ECHO_GOAL if batch.echo else GOALS.get(batch.rate)
        cells = [Cell(echoes=count) for count in ECHOES] if batch.echo else [batch.cells[-1]]
        for cell in cells:
            overheads = [o for o in [times.overhead(batch, cell)] if o is not None]
            medians = [times.median(batch, side, cell) for side in (WITHOUT, WITH)]
            if not overheads or None in medians:
                continue
            other = [o for o in [times.overhead(batch, cell, ONE_PROCESSOR)] if o is not None]
            if not batch.echo:
                overheads, other = times.overheads(batch), times.overheads(batch, ONE_PROCESSOR)
            within = "" if goal is None else "yes" if statistics.median(overheads) <= goal else "**no**"
            good = good and within != "**no**"
            shown = " | ".join(f"{value:.4f}" for value in medians)
            aim = "" if goal is None else f"{goal:.0%}"
            beside = f"{statistics.median(other):+.1%}" if other else ""
            rows.append(f"| {batch.name}: {cell.name} | {shown} | {spread(overheads)} | {aim} | {within} | {beside} |")
    return "\n".join(rows), good


def spread(overheads: list[float]) -> str:
    """The median, and from where to where they go."""
    middle = f"{statistics.median(overheads):+.1%}"
    return middle if len(overheads) == 1 else f"{middle} ({min(overheads):+.1%} to {max(overheads):+.1%})"


def _batch(measured: list[Batch], mtu: int, rate: str) -> Batch | None:
    return next((b for b in measured if b.mtu == mtu and b.rate == rate and not b.echo), None)


def _points(batch: Batch, side: str, size: int, times: Times) -> tuple[tuple[float, float], ...]:
    found = [(c.write_kb, times.median(batch, side, c)) for c in batch.cells if c.size_mb == size]
    return tuple((float(write), seconds) for write, seconds in found if seconds is not None)
