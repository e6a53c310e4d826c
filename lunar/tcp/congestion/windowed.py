"""The least or the greatest value within a time that moves along, in constant memory (Kathleen Nichols' algorithm).

Three candidates are kept: the best of the whole window, the best of what came after it, and of what came after that. A
better value replaces all; the best is forgotten when it leaves the window, and the second takes its place.
"""

from __future__ import annotations

from typing import final

from mypy_extensions import i64


@final
class WindowedMin:
    """The least value of the last `window` units of time; of negated values it is the greatest."""

    def __init__(self, nothing: i64) -> None:
        self.best: i64 = nothing
        self.best_at: i64 = 0
        self.second: i64 = nothing
        self.second_at: i64 = 0
        self.third: i64 = nothing
        self.third_at: i64 = 0

    def reset(self, at: i64, value: i64) -> None:
        """Forget all but `value`."""
        self.best = self.second = self.third = value
        self.best_at = self.second_at = self.third_at = at

    def update(self, window: i64, at: i64, value: i64) -> None:
        """`value` was seen at time `at`."""
        if value <= self.best or at - self.third_at > window:
            self.reset(at, value)
            return
        if value <= self.second:
            self.second = self.third = value
            self.second_at = self.third_at = at
        elif value <= self.third:
            self.third = value
            self.third_at = at
        age: i64 = at - self.best_at
        if age > window:
            # The best is too old: the next takes its place, once more if that is too old as well.
            self._shift(at, value)
            if at - self.best_at > window:
                self._shift(at, value)
        elif self.second_at == self.best_at and age > window >> 2:
            # A quarter of the window without a second choice: take one from this quarter.
            self.second = self.third = value
            self.second_at = self.third_at = at
        elif self.third_at == self.second_at and age > window >> 1:
            self.third = value
            self.third_at = at

    def _shift(self, at: i64, value: i64) -> None:
        self.best = self.second
        self.best_at = self.second_at
        self.second = self.third
        self.second_at = self.third_at
        self.third = value
        self.third_at = at
