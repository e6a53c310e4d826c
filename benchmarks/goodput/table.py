"""The table: median goodputs of both sides, their ratio, and which cells are within 10%."""

from __future__ import annotations

from typing import Final

from cells import CELLS, CONGESTION
from results import Results

WITHIN: Final = 0.10
# Issue 5: 18 of 20 cells.
_SHARE: Final = 0.9


def table(results: Results) -> tuple[str, bool]:
    """The text, and whether enough of the cells that were measured on both sides are within 10%."""
    lines = [
        "| link: rate, delay one way, loss, queue | control | kernel Mbit/s | Lunar Mbit/s | ratio | within 10% |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    within = compared = 0
    for cell in CELLS:
        for control in CONGESTION:
            theirs, ours = (results.median(side, cell, control) for side in ("kernel", "lunar"))
            if theirs is None and ours is None:
                continue
            ratio = ours / theirs if ours is not None and theirs else None
            good = ratio is not None and abs(ratio - 1) <= WITHIN
            compared += ratio is not None
            within += good
            shown = "" if ratio is None else f"{ratio:.3f}"
            mark = "" if ratio is None else "yes" if good else "**no**"
            lines.append(f"| {cell.name} | {control} | {_mbit(theirs)} | {_mbit(ours)} | {shown} | {mark} |")
    lines += ["", f"{within} of {compared} cells are within 10% of the kernel's goodput."]
    return "\n".join(lines), compared > 0 and within >= _SHARE * compared


def _mbit(bits: float | None) -> str:
    return "" if bits is None else f"{bits / 1e6:.3f}" if bits < 10e6 else f"{bits / 1e6:.2f}"
