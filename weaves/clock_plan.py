"""Which clock a run has: virtual time, or the machine's at some speed, and what follows when the run falls behind that.

The same words are keys of a tapestry, options of `weave run` and arguments of `lunar.Network`: here they are put
together, and what does not go with what is found. pace.py keeps a run to its plan.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import attrs

from weaves.clock import NS_PER_MS, NS_PER_US

VIRTUAL: Final = "virtual"
REAL: Final = "real"
Clock: TypeAlias = Literal["virtual", "real"]

BEST_EFFORT: Final = "best-effort"
HARD_LIMIT: Final = "hard-limit"
Late: TypeAlias = Literal["best-effort", "hard-limit"]

LATE_LIMIT_NS: Final = 10 * NS_PER_MS
BUSY_POLL_NS: Final = 50 * NS_PER_US

# Slower than that, the watchdog would take the clock for one that stands; faster, a nanosecond of the machine's clock
# is a millisecond of the run's.
SPEED_MIN: Final = 0.001
SPEED_MAX: Final = 1_000_000.0


@attrs.frozen(slots=True)
class ClockPlan:
    """The clock of a run. `speed` is in virtual seconds a real one; the other times are real, in ns.

    `late` says what follows when the run falls behind: "hard-limit" ends it beyond `late_limit_ns`. `busy_poll_ns` is
    how long the driver looks for what comes next before it sleeps, after something came: a process that is woken costs
    more than that.
    """

    kind: Clock = VIRTUAL
    speed: float = 1.0
    late: Late = BEST_EFFORT
    late_limit_ns: int = LATE_LIMIT_NS
    busy_poll_ns: int = BUSY_POLL_NS


VIRTUAL_TIME: Final = ClockPlan()


class ClockError(ValueError):
    """The word `key` does not go with the others; it needs the word `needs` to be `value`."""

    def __init__(self, key: str, what: str, needs: str, value: str) -> None:
        super().__init__(f"{key} {what}; expected {needs}={value!r} with it")
        self.key = key
        self.what = what
        self.needs = needs
        self.value = value


def changed(
    plan: ClockPlan,
    *,
    clock: Clock | None = None,
    speed: float | None = None,
    late: Late | None = None,
    late_limit: int | None = None,
    busy_poll: int | None = None,
    record: object = None,
) -> ClockPlan:
    """`plan` with the words that are said, those that are not None. A speed says that the clock is real.

    `record` is said, too, where a session is recorded. Raises `ClockError`.
    """
    kind = clock or (plan.kind if speed is None else REAL)
    if kind == VIRTUAL:
        said = {"speed": speed, "late": late, "late_limit": late_limit, "busy_poll": busy_poll, "record": record}
        for key, value in said.items():
            if value is not None:
                raise ClockError(key, "is of a real clock", "clock", REAL)
        return VIRTUAL_TIME
    policy = late or plan.late
    if late_limit is not None and policy != HARD_LIMIT:
        raise ClockError("late_limit", f'is not of late "{policy}"', "late", HARD_LIMIT)
    return ClockPlan(
        REAL,
        plan.speed if speed is None else speed,
        policy,
        plan.late_limit_ns if late_limit is None else late_limit,
        plan.busy_poll_ns if busy_poll is None else busy_poll,
    )


def parse_speed(speed: float | str) -> float:
    """A speed: a number, or the text of one. Raises `ValueError`."""
    try:
        value = float(speed)
    except (TypeError, ValueError):
        value = 0.0
    if isinstance(speed, bool) or not SPEED_MIN <= value <= SPEED_MAX:
        shown = f'"{speed}"' if isinstance(speed, str) else repr(speed)
        raise ValueError(
            f"{shown} is not a speed; expected virtual seconds a real one, {SPEED_MIN:g} to {SPEED_MAX:,.0f}"
        )
    return value
