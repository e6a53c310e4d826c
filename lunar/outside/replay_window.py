"""A window over sequence numbers, after RFC 6479: each number is taken once, in whatever order they come.

The bits of the last numbers stand in a ring of words. When a higher number comes, the words between are cleared and
nothing is shifted; so the window is a word shorter than the ring. What lies below it is taken for a replay, because
nobody remembers any more whether it is one.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

_WORD_BITS: Final = 32
_WORDS: Final = 64  # a power of two
# How far behind the highest number another may come, at least: far more than a network reorders.
WINDOW: Final = (_WORDS - 1) * _WORD_BITS


@final
class ReplayWindow:
    """The numbers that have been taken, from 0 up to 2**56 - 1."""

    def __init__(self) -> None:
        self.highest: i64 = -1
        self.taken: i64 = 0
        self._words: list[i64] = [0] * 64

    def take(self, number: i64) -> bool:
        """Take `number`; False for one that was taken before, or lies below the window."""
        highest = self.highest
        word: i64 = number >> 5
        if number > highest:
            # -1 >> 5 is -1: at first the words from 0 on are cleared.
            ahead: i64 = word - (highest >> 5)
            if ahead > 64:
                ahead = 64
            while ahead > 0:
                ahead -= 1
                self._words[(word - ahead) & 63] = 0
            self.highest = number
        elif highest - number > WINDOW:
            return False
        bit: i64 = 1
        bit <<= number & 31
        bits: i64 = self._words[word & 63]
        if bits & bit:
            return False
        self._words[word & 63] = bits | bit
        self.taken += 1
        return True

    @property
    def missing(self) -> int:
        """How many numbers up to the highest have not been taken."""
        return int(self.highest + 1 - self.taken)
