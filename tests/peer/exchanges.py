"""The rows of cases.toml: programs that do something to one another, and what is wrong with their logs and captures.

Cases of the same setting are played at once, in one bed. One that lets the router stand still has a bed for itself: all
others would stand still with it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bed import Bed, Flow, Outcome, Setting
from checks import check
from transfers import Result, crossed

_DATA: Final = tomllib.loads(Path(__file__).with_name("cases.toml").read_text())


@dataclass(frozen=True)
class Case:
    """One case in one of its four ways."""

    table: dict[str, Any]
    a_is_us: bool
    family: int

    @property
    def name(self) -> str:
        return f"{self.table['name']}, a is {'ours' if self.a_is_us else 'the kernel'}, IPv{self.family}"

    def flow(self) -> Flow:
        """Its programs."""
        pair = (self.table["a"], self.table["b"]) if self.a_is_us else (self.table["b"], self.table["a"])
        return Flow(self.name, *pair, self.family)

    def wrong(self, outcome: Outcome) -> Iterator[str]:
        """What is wrong with what came of it."""
        a, b = (outcome.ours, outcome.theirs) if self.a_is_us else (outcome.theirs, outcome.ours)
        for who, log in (("a", a), ("b", b)):
            expected = self.table.get(f"{who}_says", [])
            if len(log) < 2 or log[:-2] != expected:
                yield f"{who} says {'; '.join(log)}"
                return
        if self.table.get("intact", True):
            yield from crossed(a, b)
        for word in self.table.get("wire", []):
            problem = check(word, outcome, self.a_is_us)
            if problem is not None:
                yield problem


@dataclass(frozen=True)
class Row:
    """What is played in one bed."""

    name: str
    setting: Setting
    cases: tuple[Case, ...]


def rows() -> list[Row]:
    """All of them."""
    together: dict[str, list[Case]] = {}
    alone: list[Row] = []
    for table in _DATA["case"]:
        for a_is_us in (True, False):
            for family in (4, 6):
                case = Case(table, a_is_us, family)
                if "tell hold" in f"{table['a']}; {table['b']}":
                    alone.append(Row(case.name, Setting(), (case,)))
                else:
                    together.setdefault(table.get("setting", "plain"), []).append(case)
    found = [
        Row(f"exchanges, {name}", Setting(**_DATA["settings"].get(name, {})), tuple(cases))
        for name, cases in together.items()
    ]
    return found + alone


def play(row: Row, captures: Path, seed: int = 1, two_kernels: bool = False) -> Result:
    """Play the row, or what it were between two kernels. Raises `KernelUnavailable`."""
    bed = Bed(row.setting, captures, seed, two_kernels)
    try:
        outcomes = bed.run([case.flow() for case in row.cases])
    finally:
        bed.close()
    result = Result(len(outcomes), bed.our_counters, bed.counters)
    for case, outcome in zip(row.cases, outcomes, strict=True):
        for what in case.wrong(outcome):
            result.add(case.name, what)
    return result
