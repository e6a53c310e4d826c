"""The pace of a run in real time: which virtual time it is by the machine's clock, and how late the run is for it."""

from __future__ import annotations

import time
from typing import Any, Final, Literal, TypeAlias, final

from mypy_extensions import i64, mypyc_attr

# The machine's own: this module is imported before the names of `time` are replaced (interpose/).
perf_counter_ns: Final[Any] = time.perf_counter_ns

# The clocks that a run can have.
VIRTUAL: Final = "virtual"
REAL: Final = "real"

BEST_EFFORT: Final = "best-effort"
HARD_LIMIT: Final = "hard-limit"
Late: TypeAlias = Literal["best-effort", "hard-limit"]

LATE_LIMIT_NS: Final = 10_000_000
BUSY_POLL_NS: Final = 50_000


@mypyc_attr(native_class=False)
class TooLate(RuntimeError):
    """The run fell behind the machine's clock by more than its hard limit."""


@final
class Pace:
    """`speed` is in virtual seconds a real one; `late_limit_ns`, of real time, is what "hard-limit" allows.

    `busy_poll_ns`, of real time, is how long the driver looks for what comes next before it sleeps, after something
    came: a process that is woken costs more than that.
    """

    def __init__(
        self, speed: float = 1.0, late: Late = BEST_EFFORT, late_limit_ns: i64 = LATE_LIMIT_NS,
        busy_poll_ns: i64 = BUSY_POLL_NS,
    ) -> None:
        self.speed: float = speed
        self.late: Late = late
        self.late_limit_ns: i64 = late_limit_ns
        self.busy_poll_ns: i64 = busy_poll_ns
        self.late_us: dict[int, int] = {}  # how often what was due was how late, in microseconds of real time
        self._as_real: bool = speed == 1.0
        self._real_ns: i64 = 0
        self._virtual_ns: i64 = 0

    def begin(self, virtual_ns: i64) -> None:
        """It is `virtual_ns` now, whatever went before."""
        self._virtual_ns = virtual_ns
        self._real_ns = perf_counter_ns()

    def at(self, real_ns: i64) -> i64:
        """The virtual time when the machine's clock (`perf_counter_ns`) shows `real_ns`."""
        spent_ns: i64 = real_ns - self._real_ns
        return self._virtual_ns + (spent_ns if self._as_real else i64(float(spent_ns) * self.speed))

    def now_ns(self) -> int:
        """The virtual time by the machine's clock."""
        real_ns: i64 = perf_counter_ns()
        return int(self.at(real_ns))

    def real_ns(self, virtual_ns: i64) -> int:
        """How long `virtual_ns` of virtual time takes."""
        return int(virtual_ns) if self._as_real else int(float(virtual_ns) / self.speed)

    def judge(self, late_ns: i64) -> None:
        """What was due happens now, `late_ns` of virtual time late. Raises `TooLate`."""
        real_ns: i64 = late_ns if self._as_real else self.real_ns(late_ns)
        late_us = int(real_ns // 1000)
        self.late_us[late_us] = self.late_us.get(late_us, 0) + 1
        if real_ns > self.late_limit_ns and self.late == HARD_LIMIT:
            raise TooLate(
                f"the run is {float(real_ns) / 1e6:.3f} ms behind the machine's clock; its hard limit is "
                f"{float(self.late_limit_ns) / 1e6:g} ms"
            )
