"""What was measured, kept in a file: goodputs by run, so that one side can be measured again without the other."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from cells import Cell, Run


class Results:
    """Goodputs in bits a second, of the kernel and of Lunar, by cell and congestion control."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: dict[str, dict[str, list[float]]] = json.loads(path.read_text()) if path.exists() else {}

    def add(self, side: str, run: Run, goodput: float) -> None:
        """Keep the goodput of one more repetition."""
        self._kept.setdefault(side, {}).setdefault(_key(run.cell, run.congestion), []).append(round(goodput))

    def forget(self, side: str, run: Run) -> None:
        """Drop what was measured of the run's cell before."""
        self._kept.get(side, {}).pop(_key(run.cell, run.congestion), None)

    def save(self) -> None:
        text = json.dumps(self._kept, indent=1, sort_keys=True)
        self._path.write_text(text + "\n")

    def goodputs(self, side: str, cell: Cell, congestion: str) -> list[float]:
        """All goodputs of the repetitions; empty where nothing was measured."""
        return self._kept.get(side, {}).get(_key(cell, congestion), [])

    def median(self, side: str, cell: Cell, congestion: str) -> float | None:
        """The median in bits a second."""
        values = self.goodputs(side, cell, congestion)
        return statistics.median(values) if values else None


def _key(cell: Cell, congestion: str) -> str:
    return f"{congestion}: {cell.name}"
