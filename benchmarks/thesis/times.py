"""What was measured: seconds by batch, side and cell, a list for each round; and the ratios that are read from them."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Final

from experiments import WITH, WITHOUT, Batch, Cell

_INDENT: Final = 1


class Times:
    """Seconds of each cell on each side. A list has an entry for each round, of a repeated cell its median there."""

    def __init__(self) -> None:
        self._seconds: dict[str, dict[str, dict[str, list[float]]]] = {}
        # Whose median of a round is still being gathered.
        self._open: dict[tuple[str, str, str], list[float]] = {}

    @classmethod
    def read(cls, path: Path) -> Times:
        made = cls()
        made._seconds = json.loads(path.read_text())["seconds"]
        return made

    def add(self, batch: Batch, side: str, cell: Cell, seconds: float) -> None:
        """Keep what the cell took in this round; several times, if it is measured several times in one."""
        self._open.setdefault((batch.name, side, cell.name), []).append(seconds)

    def end_round(self, batch: Batch) -> None:
        """All sides have measured the batch once more. Without this call a round does not count."""
        for name, side, cell in [key for key in self._open if key[0] == batch.name]:
            kept = self._seconds.setdefault(name, {}).setdefault(side, {}).setdefault(cell, [])
            kept.append(round(statistics.median(self._open.pop((name, side, cell))), 7))

    def save(self, path: Path, **about: object) -> None:
        """Write all of it as JSON, with `about` before it."""
        path.write_text(json.dumps({**about, "seconds": self._seconds}, indent=_INDENT) + "\n")

    def seconds(self, batch: Batch, side: str, cell: Cell) -> list[float]:
        """Of each round; empty where nothing was measured."""
        return self._seconds.get(batch.name, {}).get(side, {}).get(cell.name, [])

    def median(self, batch: Batch, side: str, cell: Cell) -> float | None:
        """The median over the rounds."""
        values = self.seconds(batch, side, cell)
        return statistics.median(values) if values else None

    def overhead(self, batch: Batch, cell: Cell, peer: str = WITHOUT, side: str = WITH) -> float | None:
        """The median over the rounds of (time of `side` / time of `peer`) - 1."""
        pairs = zip(self.seconds(batch, side, cell), self.seconds(batch, peer, cell), strict=False)
        ratios = [ours / theirs for ours, theirs in pairs]
        return statistics.median(ratios) - 1 if ratios else None

    def overheads(self, batch: Batch, peer: str = WITHOUT, side: str = WITH) -> list[float]:
        """Of each cell of the batch that was measured on both sides."""
        found = [self.overhead(batch, cell, peer, side) for cell in dict.fromkeys(batch.cells)]
        return [each for each in found if each is not None]
