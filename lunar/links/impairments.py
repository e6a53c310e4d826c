"""What a link does to frames besides delaying them: each impairment gives a verdict on each frame.

A verdict lists the copies of the frame that go on: none when it is lost, two when it is doubled; how much later than
due each arrives, and which of its bits are flipped. `PASS` and `LOST` are the common ones. `Series` combines several:
each is asked about what the one before it let through. netem's loss, duplicate, corrupt and reorder (tc-netem(8)) are
the models. Left out: rates that change with time, and slots.
"""

from __future__ import annotations

import random
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from lunar.packet import ETHERTYPE_IPV4, ETHERTYPE_IPV6, Frame, Packet, RawFrame


@final
class Copy:
    """One copy of a frame: it arrives `delay_ns` later than it would, with the bits `flipped` of its IP packet changed.

    Bit 0 is the highest bit of the first byte, as RFC 791 draws them.
    """

    def __init__(self, delay_ns: i64, flipped: tuple[int, ...]) -> None:
        self.delay_ns: i64 = delay_ns
        self.flipped: tuple[int, ...] = flipped


@final
class Verdict:
    """What becomes of a frame: the copies that go on, in the order in which they are sent."""

    def __init__(self, copies: list[Copy]) -> None:
        self.copies: list[Copy] = copies


PASS: Final = Verdict([Copy(0, ())])
LOST: Final = Verdict([])


@mypyc_attr(allow_interpreted_subclasses=True)
class Impairment:
    """Subclass it for one of your own: `drops` if it only loses frames, else `judge`.

    It is asked once for each frame that enters the wire, in order.
    """

    def judge(self, frame: Frame) -> Verdict:
        """What becomes of the frame."""
        return LOST if self.drops(frame) else PASS

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


@final
class BurstLoss(Impairment):
    """Frames are lost in rows: a line is good or bad, and changes between frames (Gilbert 1960, Elliott 1963).

    `probability` is the share of frames lost, above 0 and below 1; `burst` the mean number lost in a row, at least 1;
    it is longer where the share asks for that. In the good state nothing is lost, in the bad one everything.
    """

    def __init__(self, probability: float, burst: float, rng: random.Random) -> None:
        assert 0.0 < probability < 1.0 and burst >= 1.0, "a line that loses all has no good state"
        # The stationary share of the bad state is p / (p + r), its mean length 1 / r frames.
        self.recover: float = min(1.0 / burst, (1.0 - probability) / probability)
        self.fail: float = self.recover * probability / (1.0 - probability)
        self.rng: random.Random = rng
        self.bad: bool = rng.random() < probability

    def drops(self, frame: Frame) -> bool:
        bad = self.bad
        if bad:
            if self.rng.random() < self.recover:
                self.bad = False
        elif self.rng.random() < self.fail:
            self.bad = True
        return bad


@final
class Reordering(Impairment):
    """A frame is held back with `probability`, by up to `most_ns`, while those behind it go on."""

    def __init__(self, probability: float, most_ns: i64, rng: random.Random) -> None:
        self.probability: float = probability
        self.most_ns: i64 = most_ns
        self.rng: random.Random = rng

    def judge(self, frame: Frame) -> Verdict:
        if self.rng.random() >= self.probability:
            return PASS
        return Verdict([Copy(1 + self.rng.randrange(int(self.most_ns)), ())])


@final
class Duplication(Impairment):
    """A frame is sent twice with `probability`; the second copy is queued behind the first."""

    def __init__(self, probability: float, rng: random.Random) -> None:
        self.probability: float = probability
        self.rng: random.Random = rng

    def judge(self, frame: Frame) -> Verdict:
        if self.rng.random() >= self.probability:
            return PASS
        return Verdict([Copy(0, ()), Copy(0, ())])


@final
class Corruption(Impairment):
    """One bit of the IP packet is flipped with `probability`. Who receives it finds out by the checksums."""

    def __init__(self, probability: float, rng: random.Random) -> None:
        self.probability: float = probability
        self.rng: random.Random = rng

    def judge(self, frame: Frame) -> Verdict:
        if self.rng.random() >= self.probability or not _has_bits(frame):
            return PASS
        return Verdict([Copy(0, (self.rng.randrange(8 * int(frame.size_bytes)),))])


def _has_bits(frame: Frame) -> bool:
    """Whether there is an IP packet in it of which a bit can be flipped."""
    if isinstance(frame, RawFrame):
        return frame.size_bytes > 0 and (frame.ethertype == ETHERTYPE_IPV4 or frame.ethertype == ETHERTYPE_IPV6)
    return isinstance(frame, Packet)


@final
class Series(Impairment):
    """Several impairments one behind the other: each copy that one lets through is judged by the next."""

    def __init__(self, parts: list[Impairment]) -> None:
        self.parts: list[Impairment] = parts

    def judge(self, frame: Frame) -> Verdict:
        verdict = PASS
        for part in self.parts:
            if verdict is PASS:
                verdict = part.judge(frame)
                continue
            copies: list[Copy] = []
            for copy in verdict.copies:
                for after in part.judge(frame).copies:
                    copies.append(Copy(copy.delay_ns + after.delay_ns, copy.flipped + after.flipped))
            verdict = Verdict(copies) if copies else LOST
        return verdict
