"""What a link does to frames besides delaying them: each impairment is asked for a verdict on each frame."""

from __future__ import annotations

import random
from typing import final

from mypy_extensions import mypyc_attr

from lunar.packet import Frame


@mypyc_attr(allow_interpreted_subclasses=True)
class Impairment:
    """Subclass it for one of your own. It is asked once for each frame that enters the wire, in order."""

    def drops(self, frame: Frame) -> bool:
        """Whether the frame is lost."""
        raise NotImplementedError


@final
class RandomLoss(Impairment):
    """Each frame is lost with `probability`, independently."""

    def __init__(self, probability: float, rng: random.Random) -> None:
        self.probability: float = probability
        self.rng: random.Random = rng

    def drops(self, frame: Frame) -> bool:
        return self.rng.random() < self.probability
