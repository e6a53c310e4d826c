"""Random early detection (Floyd and Jacobson, 1993): a queue that drops, or marks by ECN, before it is full.

The length of the queue is averaged over arrivals, so that bursts pass. Below `least` nothing happens; from there to
`most` a frame is chosen with a probability that grows to `probability`, spread so that the frames chosen are about as
far from one another; at `most` and above each one is. A chosen frame is dropped; with `ecn` one whose sender can do ECN
(RFC 3168) is marked in its place. With `weight` 1 there is no average, and with `least` equal to `most` the queue is
the threshold that DCTCP wants (RFC 8257 section 3.1).
"""

from __future__ import annotations

import random
from typing import Final, final

from mypy_extensions import i64

from lunar.packet import Frame, Packet, RawFrame
from lunar.wire import ethernet
from lunar.wire.ethernet import CE

KEEP: Final = 0
MARK: Final = 1
DROP: Final = 2


@final
class RedLimits:
    """What a queue of this kind is told: `least` and `most` in packets, or in bytes if `in_bytes`.

    Raises `ValueError` for what makes no sense.
    """

    def __init__(
        self, least: int, most: int, in_bytes: bool, probability: float = 0.02, weight: float = 0.002, ecn: bool = False
    ) -> None:
        if not 0 <= least <= most:
            raise ValueError(f"least is {least} and most {most}; expected 0 <= least <= most")
        if not 0 <= probability <= 1:
            raise ValueError(f"probability is {probability}; expected 0 to 1")
        if not 0 < weight <= 1:
            raise ValueError(f"weight is {weight}; expected more than 0, and 1 at most")
        self.least: int = least
        self.most: int = most
        self.in_bytes: bool = in_bytes
        self.probability: float = probability
        self.weight: float = weight
        self.ecn: bool = ecn


@final
class Red:
    """The state of one queue."""

    def __init__(self, limits: RedLimits, rng: random.Random) -> None:
        self.limits: RedLimits = limits
        self.rng: random.Random = rng
        self.average: float = 0.0
        self.since: i64 = 0  # frames since the last that was chosen

    def judge(self, frame: Frame, waiting: i64, now_ns: i64, idle_since_ns: i64, send_ns: i64) -> i64:
        """KEEP, MARK or DROP. `waiting` is in the unit of the limits; the link is idle since `idle_since_ns` if
        nothing waits or is being sent, -1 otherwise; `send_ns` is how long a frame like this takes to send.
        """
        limits = self.limits
        if idle_since_ns >= 0:
            # As if so many frames had found it empty.
            missed: float = int(now_ns - idle_since_ns) / max(int(send_ns), 1)
            self.average *= (1.0 - limits.weight) ** missed
        self.average += limits.weight * (int(waiting) - self.average)
        if self.average < limits.least:
            self.since = -1
            return KEEP
        if self.average < limits.most:
            self.since += 1
            chance: float = limits.probability * (self.average - limits.least) / (limits.most - limits.least)
            # Uniform, not geometric: the n-th frame after the last chosen one has chance / (1 - n chance).
            spread: float = 1.0 - int(self.since) * chance
            if spread > 0.0 and self.rng.random() >= chance / spread:
                return KEEP
            self.since = 0
        else:
            self.since = -1
        if limits.ecn and isinstance(frame, Packet) and frame.tos & CE:
            frame.tos |= CE
            return MARK
        if limits.ecn and isinstance(frame, RawFrame):
            marked = ethernet.mark_congested(frame.data)
            if marked:
                frame.data = marked
                return MARK
        return DROP
