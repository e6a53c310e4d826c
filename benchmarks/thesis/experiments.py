"""What is measured: transfers by size, size of writes, MTU and rate, and echoes by how often.

The sizes are those of the thesis' chapter 4. A batch is what goes through one link, by the same two processes; a round
measures each batch on all sides in turn, so that a ratio is of neighbours in time.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final, Self

MB: Final = 2**20
KB: Final = 2**10

SMALL_MTU: Final = 1458
LARGE_MTU: Final = 8958
MTUS: Final = (SMALL_MTU, LARGE_MTU)
RATES: Final = ("100mbit", "1gbit", "")  # "": unpaced
SIZES_MB: Final = (10, 20, 30)
WRITES_KB: Final = (1, 5, 10, 20, 30, 40, 55)
ECHOES: Final = (100, 10_000)
ECHO_BYTES: Final = 4

WITHOUT: Final = "without"
WITH: Final = "with"
# As `without`, with the kernel's segmentation offloads on. Where there is a pace they change nothing.
OFFLOADED: Final = "without, offloads on"
# As `with`, with the device's own on: `ethtool -K eth0 gso on gro on`.
WITH_OFFLOADS: Final = "with, offloads on"
# As `without`, with both ends on the same processor: no other one has to be woken.
ONE_PROCESSOR: Final = "without, one processor"

# An echo of 100 takes some milliseconds: so many are measured in a round.
_FEW_ECHOES: Final = 10


@dataclass(frozen=True)
class Cell:
    """One thing to measure. An echo has `echoes`, a transfer `size_mb` and `write_kb`."""

    size_mb: int = 0
    write_kb: int = 0
    echoes: int = 0

    @property
    def name(self) -> str:
        """How results and progress call it."""
        if self.echoes:
            return f"{self.echoes:,} echoes of {ECHO_BYTES} bytes"
        return f"{self.size_mb} MB by writes of {self.write_kb} KB"


@dataclass(frozen=True)
class Batch:
    """The cells that are measured one after another through one link."""

    mtu: int
    rate: str
    cells: tuple[Cell, ...]
    echo: bool = False

    @property
    def name(self) -> str:
        """What it is measured through."""
        return f"{'echo, ' if self.echo else ''}MTU {self.mtu}, {RATE_NAMES[self.rate]}"

    @property
    def sides(self) -> tuple[str, ...]:
        """Who is measured, in turn."""
        if self.rate == RATES[0]:
            return WITHOUT, WITH
        if self.rate or self.echo:
            return WITHOUT, WITH, ONE_PROCESSOR
        return WITHOUT, WITH, ONE_PROCESSOR, WITH_OFFLOADS, OFFLOADED

    def text(self) -> str:
        """As JSON, for the process of an end."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Self:
        """The batch that `text()` said."""
        fields = json.loads(text)
        return cls(**{**fields, "cells": tuple(Cell(**cell) for cell in fields["cells"])})


RATE_NAMES: Final = {"100mbit": "100 Mbit/s", "1gbit": "1 Gbit/s", "": "unpaced"}


def batches(quick: bool) -> list[Batch]:
    """All of them; with `quick` those that the goals are said of, and few sizes."""
    sizes, writes = (SIZES_MB[:1], (1, 10, 55)) if quick else (SIZES_MB, WRITES_KB)
    made = []
    for rate in RATES:
        for mtu in MTUS:
            made.append(Batch(mtu, rate, tuple(Cell(size, write) for write in writes for size in sizes)))
    few = _FEW_ECHOES // 2 if quick else _FEW_ECHOES
    made.append(Batch(SMALL_MTU, "", (Cell(echoes=ECHOES[0]),) * few + (Cell(echoes=ECHOES[1]),), echo=True))
    return made
