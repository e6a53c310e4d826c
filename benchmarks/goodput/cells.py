"""What is measured: the cells of the table, each a link and a congestion control, and how often and how long.

A link's loss falls on both directions, frame by frame from a generator of its own, so that the n-th frame of a
repetition is lost on both sides of the comparison or on none.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Final

CONGESTION: Final = ("reno", "cubic")

MSS_BYTES: Final = 1448  # MTU 1500 with timestamps
FRAME_BYTES: Final = 1514

# Buffers that are large enough for all of these links: what is compared is how TCP fills the link.
SYSCTLS: Final = {
    "net.ipv4.tcp_rmem": "4096 131072 33554432",
    "net.ipv4.tcp_wmem": "4096 16384 33554432",
}

# A lossy cell is repeated until about so many losses have been seen, as chance has less to say then.
_LOSSES: Final = 300
_LEAST, _MOST = 5, 25


@dataclass(frozen=True)
class Cell:
    """A link: rate in Mbit/s, delay one way in ms, loss as a probability, queue in multiples of the path's BDP."""

    rate_mbit: int
    delay_ms: int
    loss: float
    queue_bdp: float

    @property
    def name(self) -> str:
        return f"{self.rate_mbit} Mbit/s, {self.delay_ms} ms, {100 * self.loss:g}%, {self.queue_bdp:g} BDP"

    @property
    def rate_bps(self) -> int:
        return self.rate_mbit * 1_000_000

    @property
    def delay_ns(self) -> int:
        return self.delay_ms * 1_000_000

    @property
    def rtt_s(self) -> float:
        return 2 * self.delay_ms / 1000

    @property
    def queue_packets(self) -> int:
        """The limit of the queue. Shorter than eight packets it would hold no burst of a slow start at all."""
        return max(8, round(self.queue_bdp * self.rate_mbit * 1e6 * self.rtt_s / 8 / FRAME_BYTES))

    @property
    def expected_mbit(self) -> float:
        """About what TCP makes of it: the rate, or what the loss leaves (Mathis et al. 1997). Only to plan by."""
        if not self.loss:
            return self.rate_mbit
        by_loss = 1.22 * MSS_BYTES * 8 / (max(self.rtt_s, 0.003) * math.sqrt(self.loss)) / 1e6
        return min(self.rate_mbit, by_loss)

    @property
    def seconds(self) -> int:
        """How long a repetition lasts."""
        return 40 if self.rtt_s >= 0.2 and self.loss else 20 if self.rtt_s >= 0.1 else 10

    @property
    def repetitions(self) -> int:
        if not self.loss:
            return 3
        losses = self.expected_mbit * 1e6 * self.seconds / 8 / MSS_BYTES * self.loss
        return min(max(math.ceil(_LOSSES / losses), _LEAST), _MOST)


CELLS: Final = (
    # The queue decides.
    Cell(1, 20, 0, 4),
    Cell(2, 50, 0, 1),
    Cell(5, 10, 0, 1),
    Cell(10, 20, 0, 0.5),
    Cell(10, 50, 0, 1),
    Cell(20, 100, 0, 1),
    Cell(20, 200, 0, 0.5),
    Cell(50, 10, 0, 1),
    Cell(50, 20, 0, 0.25),
    Cell(100, 5, 0, 1),
    Cell(100, 20, 0, 2),
    # The loss decides.
    Cell(1, 20, 0.01, 4),
    Cell(2, 200, 0.001, 1),
    Cell(5, 50, 0.001, 1),
    Cell(5, 1, 0.03, 8),
    Cell(10, 10, 0.01, 1),
    Cell(10, 20, 0.03, 1),
    Cell(10, 100, 0.001, 1),
    Cell(20, 5, 0.03, 1),
    Cell(50, 1, 0.01, 4),
    Cell(50, 50, 0.01, 1),
    Cell(100, 1, 0.001, 4),
    Cell(100, 10, 0.001, 1),
    Cell(100, 200, 0.01, 0.5),
)


@dataclass(frozen=True)
class Run:
    """One repetition of a cell."""

    cell: Cell
    congestion: str
    number: int

    def generators(self) -> tuple[random.Random, random.Random]:
        """What the losses are drawn from: of the data's direction, and of the acknowledgements'."""
        seed = f"{self.cell}/{self.number}"
        return random.Random(f"{seed}/data"), random.Random(f"{seed}/acks")


def runs(cells: tuple[Cell, ...], congestion: tuple[str, ...], repetitions: int | None) -> list[Run]:
    """All repetitions of all cells, or `repetitions` of each."""
    return [
        Run(cell, control, number)
        for cell in cells
        for control in congestion
        for number in range(cell.repetitions if repetitions is None else repetitions)
    ]


def batches(wanted: list[Run], most_mbit: float) -> list[list[Run]]:
    """Runs that can go on at once: of the same length, and together not above `most_mbit`, if not alone."""
    found: list[tuple[float, list[Run]]] = []
    for run in sorted(wanted, key=lambda run: (run.cell.seconds, -run.cell.expected_mbit)):
        need = run.cell.expected_mbit
        for number, (taken, batch) in enumerate(found):
            if batch[0].cell.seconds == run.cell.seconds and taken + need <= most_mbit and len(batch) < _AT_ONCE:
                batch.append(run)
                found[number] = (taken + need, batch)
                break
        else:
            found.append((need, [run]))
    return [batch for _, batch in found]


# How many connections at once: as many threads of programs wait for their sockets.
_AT_ONCE: Final = 80
