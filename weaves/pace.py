"""The pace of a run in real time: which virtual time it is by the machine's clock, and how late the run is for it."""

from __future__ import annotations

from collections import Counter
from typing import Final, Literal, TypeAlias

from weaves import interpose

perf_counter_ns = interpose.real_perf_counter_ns

# The clocks that a run can have.
VIRTUAL: Final = "virtual"
REAL: Final = "real"

BEST_EFFORT: Final = "best-effort"
HARD_LIMIT: Final = "hard-limit"
Late: TypeAlias = Literal["best-effort", "hard-limit"]

LATE_LIMIT_NS: Final = 10_000_000
BUSY_POLL_NS: Final = 50_000


class TooLate(RuntimeError):
    """The run fell behind the machine's clock by more than its hard limit."""


class Pace:
    """`speed` is in virtual seconds a real one; `late_limit_ns`, of real time, is what "hard-limit" allows.

    `busy_poll_ns`, of real time, is how long the driver looks for what comes next before it sleeps, after something
    came: a process that is woken costs more than that.
    """

    def __init__(
        self, speed: float = 1.0, late: Late = BEST_EFFORT, late_limit_ns: int = LATE_LIMIT_NS,
        busy_poll_ns: int = BUSY_POLL_NS,
    ) -> None:
        self.speed = speed
        self.late = late
        self.late_limit_ns = late_limit_ns
        self.busy_poll_ns = busy_poll_ns
        self.late_us: Counter[int] = Counter()
        self._real_ns = self._virtual_ns = 0

    def begin(self, virtual_ns: int) -> None:
        """It is `virtual_ns` now, whatever went before."""
        self._virtual_ns = virtual_ns
        self._real_ns = perf_counter_ns()

    def now_ns(self) -> int:
        """The virtual time by the machine's clock."""
        spent_ns = perf_counter_ns() - self._real_ns
        return self._virtual_ns + (spent_ns if self.speed == 1.0 else int(spent_ns * self.speed))

    def real_ns(self, virtual_ns: int) -> int:
        """How long `virtual_ns` of virtual time takes."""
        return virtual_ns if self.speed == 1.0 else int(virtual_ns / self.speed)

    def judge(self, late_ns: int) -> None:
        """What was due happens now, `late_ns` of virtual time late. Raises `TooLate`."""
        real_ns = self.real_ns(late_ns)
        self.late_us[real_ns // 1000] += 1
        if self.late == HARD_LIMIT and real_ns > self.late_limit_ns:
            raise TooLate(
                f"the run is {real_ns / 1e6:.3f} ms behind the machine's clock; its hard limit is "
                f"{self.late_limit_ns / 1e6:g} ms"
            )
