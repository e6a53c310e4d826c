"""The words about a clock: which go together, in a tapestry, on the command line, in Python."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import lunar
from weaves.clock_plan import HARD_LIMIT, REAL, VIRTUAL, VIRTUAL_TIME, ClockError, ClockPlan, changed, parse_speed
from weaves.tapestry import parse
from weaves.tapestry_errors import TapestryError

MS = 1_000_000


def plan_of(head: str) -> ClockPlan:
    return parse(f"[tapestry]\n{head}\n[hosts.a]\n", "site.toml").clock


def test_virtual_time_is_what_there_is_without_a_word() -> None:
    assert plan_of("") == changed(VIRTUAL_TIME) == ClockPlan() == VIRTUAL_TIME
    assert VIRTUAL_TIME.kind == VIRTUAL


def test_all_words() -> None:
    head = 'clock = "real"\nspeed = 2\nlate = "hard-limit"\nlate_limit = "3ms"\nbusy_poll = 0'
    assert plan_of(head) == ClockPlan(REAL, 2.0, HARD_LIMIT, 3 * MS, 0)


def test_a_speed_says_that_the_clock_is_real() -> None:
    assert plan_of("speed = 0.5") == ClockPlan(REAL, 0.5)


def test_a_log_is_beside_the_tapestry(tmp_path: Path) -> None:
    text = '[tapestry]\nclock = "real"\nrecord = "a/b.log"\n[hosts.a]\n'
    assert parse(text, tmp_path / "site.toml").record == tmp_path / "a/b.log"
    assert parse("[hosts.a]\n", tmp_path / "site.toml").record is None


@pytest.mark.parametrize(
    ("head", "line", "message"),
    [
        ('clock = "rael"', 2, 'clock: "rael" is not known; did you mean "real"?'),
        ('clock = "wall"', 2, 'clock: "wall" is not known; expected "virtual" or "real"'),
        ("clock = 1", 2, 'clock: 1 is an integer; expected "virtual" or "real"'),
        ('speed = "x"', 2, 'speed: "x" is a string; expected a number of virtual seconds a real one, such as 2.0'),
        ("speed = 0", 2, "speed: 0 is not a speed; expected virtual seconds a real one, 0.001 to 1,000,000"),
        ("speed = -1.5", 2, "speed: -1.5 is not a speed; expected virtual seconds a real one, 0.001 to 1,000,000"),
        ("speed = inf", 2, "speed: inf is not a speed; expected virtual seconds a real one, 0.001 to 1,000,000"),
        ("speed = nan", 2, "speed: nan is not a speed; expected virtual seconds a real one, 0.001 to 1,000,000"),
        ("speed = true", 2, "speed: true is a boolean; expected a number of virtual seconds a real one, such as 2.0"),
        ('clock = "real"\nlate = "hard-limits"', 3, 'late: "hard-limits" is not known; did you mean "hard-limit"?'),
        ('late = "hard-limit"', 2, 'late: is of a real clock; expected clock = "real" with it'),
        ('clock = "virtual"\nspeed = 2', 3, 'speed: is of a real clock; expected clock = "real" with it'),
        ('busy_poll = "1us"', 2, 'busy_poll: is of a real clock; expected clock = "real" with it'),
        ('record = "x.log"', 2, 'record: is of a real clock; expected clock = "real" with it'),
        ('speed = 1\nrecord = ""', 3, 'record: "" is no name; expected that of a file'),
        (
            'speed = 1\nlate_limit = "1ms"', 3,
            'late_limit: is not of late "best-effort"; expected late = "hard-limit" with it',
        ),
        (
            'speed = 1\nlate = "hard-limit"\nlate_limit = "0s"', 4,
            "late_limit: 0s is no time; expected a duration above 0",
        ),
        ('speed = 1\nbusy_poll = "-1us"', 3, 'busy_poll: "-1us" is negative; expected a duration of 0 or more'),
    ],
)  # fmt: skip
def test_a_mistake_has_its_place(head: str, line: int, message: str) -> None:
    with pytest.raises(TapestryError) as error:
        plan_of(head)
    assert str(error.value) == f"site.toml:{line}: [tapestry] {message}"


def test_the_command_line_is_in_place_of_the_tapestry() -> None:
    plan = ClockPlan(REAL, 2.0, HARD_LIMIT, 3 * MS, 0)
    assert changed(plan) == plan
    assert changed(plan, speed=4.0) == ClockPlan(REAL, 4.0, HARD_LIMIT, 3 * MS, 0)
    assert changed(plan, late_limit=5 * MS).late_limit_ns == 5 * MS
    assert changed(plan, clock=VIRTUAL) == VIRTUAL_TIME
    with pytest.raises(ClockError, match="speed is of a real clock; expected clock='real' with it"):
        changed(plan, clock=VIRTUAL, speed=4.0)


@pytest.mark.parametrize("speed", [0, -1, math.inf, math.nan, True, "fast", 1e7])
def test_no_speed(speed: Any) -> None:
    with pytest.raises(ValueError, match="is not a speed; expected virtual seconds a real one"):
        parse_speed(speed)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"clock": "wall"}, "clock 'wall': expected \"virtual\" or \"real\""),
        ({"clock": "real", "late": "never"}, "late 'never': expected \"best-effort\" or \"hard-limit\""),
        ({"late": "hard-limit"}, "late is of a real clock; expected clock='real' with it"),
        ({"clock": "real", "late_limit": "1ms"}, "late_limit is not of late \"best-effort\"; expected late="),
        ({"record": "x.log"}, "record is of a real clock"),
        ({"speed": 0}, "0 is not a speed"),
        ({"clock": "real", "busy_poll": -1}, "busy_poll -1: expected seconds of 0 or more"),
    ],
)
def test_a_mistake_in_python(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match="^" + said.replace("(", r"\(")):
        lunar.Network(**arguments)


def test_a_clock_in_python() -> None:
    with lunar.Network(speed=2.0, late="hard-limit", late_limit="10ms", busy_poll=0) as net:
        assert net.supervisor.pace is not None
        assert net.supervisor.pace.plan == ClockPlan(REAL, 2.0, HARD_LIMIT, 10 * MS, 0)
    with lunar.Network() as net:
        assert net.supervisor.pace is None
        assert net.lateness() is None
