"""The table of a conformance run, and whether it went as expected.

What the machine does not pass is not held against the virtual host, and neither expected nor unexpected. Of the tests
that it passes all are to pass but those that expected.toml names: one that is skipped or missing has not passed. One
that is named and passes is as wrong as one that is not named and fails, because then the file no longer says what is
so. A whole file that could not be collected is never excused: something is missing in the environment.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sources import Package

STATES = ("passed", "failed", "skipped")
# How many characters of a reason are printed.
WIDTH = 110


class Outcome(NamedTuple):
    """How a test ended: passed, failed or skipped, and why if not passed."""

    state: str
    reason: str


class Result(NamedTuple):
    """What came of one package's tests, by their names."""

    package: Package
    files: list[str]
    inside: dict[str, Outcome]
    outside: dict[str, Outcome]


class Expectation(NamedTuple):
    """Tests that are expected to fail, by a name in which `*` stands for anything, and why."""

    package: str
    test: str
    reason: str

    def meets(self, package: str, test: str) -> bool:
        """Whether it speaks of this test."""
        pattern = ".*".join(re.escape(part) for part in self.test.split("*"))
        return package == self.package and re.fullmatch(pattern, test) is not None


def expectations(path: Path, names: list[str]) -> list[Expectation]:
    """What the file says of the packages `names`."""
    tables = tomllib.loads(path.read_text()).get("expected", [])
    return [
        Expectation(table["package"], test, table["reason"])
        for table in tables
        if table["package"] in names
        for test in table["tests"]
    ]


def show(results: list[Result], expected: list[Expectation], partial: bool) -> int:
    """Print everything; the exit code. `partial`: not all files ran, so what is named and was not met says nothing."""
    _table(results)
    for result in results:
        _selections(result)
    used: set[Expectation] = set()
    unexpected: list[str] = []
    passes: list[str] = []
    for result in results:
        name = result.package.name
        skips: Counter[str] = Counter()
        known: Counter[str] = Counter()
        both: Counter[str] = Counter()
        missing = {test: Outcome("missing", "did not run") for test in _passed(result.outside) - result.inside.keys()}
        for test, outcome in {**result.inside, **dict(sorted(missing.items()))}.items():
            met = [expectation for expectation in expected if expectation.meets(name, test)]
            used.update(met)
            outside = result.outside.get(test)
            if outcome.state == "passed":
                passes += [f"{name}: {test}" for _ in met[:1]]
            elif outcome.state == "skipped" and (outside is None or outside.state != "passed"):
                skips[outcome.reason] += 1
            elif outside is not None and outside.state == "failed" and "::" in test:
                both[outcome.reason] += 1
            elif met:
                known[met[0].reason] += 1
            else:
                how = "" if outcome.state == "failed" else f"{outcome.state}: "
                unexpected.append(f"{name}: {test}\n      {how}{outcome.reason[:WIDTH]}")
        _group(f"{name}: skipped", skips)
        _group(f"{name}: failed on the machine as well", both)
        _group(f"{name}: failed or skipped as expected", known)
    idle = [f"{e.package}: {e.test}" for e in expected if e not in used] if not partial else []
    _list("passes on the machine and not here, not expected", unexpected)
    _list("expected to fail, passed", passes)
    _list("expected to fail, no such test", idle)
    if not results:
        print("nothing ran")
        return 1
    sums = Counter(outcome.state for result in results for outcome in result.inside.values())
    counts = ", ".join(f"{sums[state]} {state}" for state in STATES)
    print(f"\n{counts} on the virtual host; {len(unexpected)} failures are not expected")
    return 1 if unexpected or passes or idle else 0


def _passed(outcomes: dict[str, Outcome]) -> set[str]:
    return {test for test, outcome in outcomes.items() if outcome.state == "passed"}


def _selections(result: Result) -> None:
    """How many passed of the tests that are counted apart."""
    for selection in result.package.select:
        tests = {test for test in result.inside.keys() | result.outside.keys() if selection.has(test)}
        if tests:
            inside, outside = (len(tests & _passed(outcomes)) for outcomes in (result.inside, result.outside))
            print(f"\n{selection.file}: of the {len(tests)} tests that {selection.what},")
            print(f"    {inside} pass on the virtual host, {outside} on the machine")


def _table(results: list[Result]) -> None:
    rows = []
    totals: dict[str, Counter[str]] = {"inside": Counter(), "outside": Counter()}
    for result in results:
        for file in result.files:
            cells = [result.package.title, file]
            for where, outcomes in (("inside", result.inside), ("outside", result.outside)):
                counts = Counter(outcome.state for test, outcome in outcomes.items() if test.partition("::")[0] == file)
                totals[where].update(counts)
                cells += [str(counts[state]) for state in STATES]
            rows.append(cells)
    rows.append(["all", "", *(str(totals[where][state]) for where in totals for state in STATES)])
    heads = ["package", "file", *STATES, *STATES]
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    names = sum(widths[:2]) + 4
    inside = sum(widths[2:5]) + 4
    print(f"{'':{names}}{'on the virtual host':<{inside}}  on the machine")
    for row in [heads, *rows]:
        left = "  ".join(cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True))
        print(left, *(cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)), sep="  ")


def _group(title: str, reasons: Counter[str]) -> None:
    if reasons:
        print(f"\n{title}: {sum(reasons.values())}")
        for reason, count in sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0])):
            print(f"{count:6}  {reason[:WIDTH]}")


def _list(title: str, lines: list[str]) -> None:
    if lines:
        print(f"\n{title}: {len(lines)}")
        for line in lines:
            print(f"    {line}")
