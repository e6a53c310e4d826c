"""What a conformance run says of outcomes: which failures are held against the virtual host, and the exit code."""

from __future__ import annotations

from pathlib import Path

import pytest
from sources import Package, Selection, packages
from verdict import Expectation, Outcome, Result, expectations, show

PASSED = Outcome("passed", "")
FAILED = Outcome("failed", "AssertionError: it is not so")
SKIPPED = Outcome("skipped", "no such thing here")
EXPECTED = [Expectation("shop", "tests/test_till.py::test_open[*]", "a till is needed")]


def result(inside: dict[str, Outcome], outside: dict[str, Outcome]) -> list[Result]:
    package = Package("shop", "1.0", [], ["tests/test_till.py"], [], [], {})

    def named(outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
        return {f"tests/test_till.py::{name}": outcome for name, outcome in outcomes.items()}

    return [Result(package, package.files, named(inside), named(outside))]


@pytest.mark.parametrize(
    ("inside", "outside", "code"),
    [
        ({"test_close": PASSED, "test_open[1]": FAILED}, {"test_close": PASSED, "test_open[1]": PASSED}, 0),
        # Not expected: that it fails, that it is skipped or missing, that it passes, that it is not there.
        ({"test_close": FAILED, "test_open[1]": FAILED}, {"test_close": PASSED, "test_open[1]": PASSED}, 1),
        ({"test_open[1]": PASSED}, {"test_open[1]": PASSED}, 1),
        ({"test_close": PASSED}, {"test_close": PASSED}, 1),
        ({"test_close": SKIPPED, "test_open[1]": FAILED}, {"test_close": PASSED, "test_open[1]": PASSED}, 1),
        ({"test_open[1]": FAILED}, {"test_close": PASSED, "test_open[1]": PASSED}, 1),
        ({"test_open[1]": SKIPPED}, {"test_open[1]": PASSED}, 0),
        # One that the machine fails or skips as well is neither; but not one that fails where the machine skips.
        ({"test_close": FAILED, "test_open[1]": FAILED}, {"test_close": FAILED, "test_open[1]": FAILED}, 0),
        ({"test_close": FAILED, "test_open[1]": FAILED}, {"test_close": SKIPPED, "test_open[1]": PASSED}, 1),
        ({"test_close": SKIPPED, "test_open[1]": FAILED}, {"test_close": SKIPPED, "test_open[1]": PASSED}, 0),
    ],
)
def test_the_exit_code_says_whether_exactly_the_expected_failed(
    inside: dict[str, Outcome], outside: dict[str, Outcome], code: int
) -> None:
    assert show(result(inside, outside), EXPECTED, partial=False) == code


def test_a_file_that_cannot_be_collected_is_not_excused_by_the_machine() -> None:
    (made,) = result({}, {})
    lost = Outcome("failed", "not collected: ImportError")
    assert show([made._replace(inside={made.files[0]: lost}, outside={made.files[0]: lost})], [], partial=False) == 1


def test_a_run_of_a_part_misses_no_expectation() -> None:
    assert show(result({"test_close": PASSED}, {"test_close": PASSED}), EXPECTED, partial=True) == 0


def test_every_reason_and_both_columns_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    show(result({"test_close": SKIPPED, "test_open[1]": FAILED}, {"test_lock": PASSED}), EXPECTED, partial=False)
    printed = capsys.readouterr().out
    assert "tests/test_till.py       0       1        1       1       0        0" in printed
    assert "shop: skipped: 1\n     1  no such thing here\n" in printed
    assert "shop: failed or skipped as expected: 1\n     1  a till is needed\n" in printed
    assert "not expected: 1\n    shop: tests/test_till.py::test_lock\n      missing: did not run\n" in printed
    assert "0 passed, 1 failed, 1 skipped on the virtual host; 1 failures are not expected" in printed


def test_a_selection_is_counted_apart(capsys: pytest.CaptureFixture[str]) -> None:
    (made,) = result({"Till.test_open": PASSED, "Till.test_lock": FAILED, "Shelf.test_open": PASSED}, {})
    chosen = Selection(made.files[0], "need a till", ["Till.*"], ["*close"])
    show([made._replace(package=made.package._replace(select=(chosen,)))], [], partial=False)
    assert "of the 2 tests that need a till,\n    1 pass on the virtual host, 0 on" in capsys.readouterr().out


def test_what_is_expected_speaks_of_files_that_run() -> None:
    known = packages()
    found = expectations(Path(__file__).parent / "expected.toml", [package.name for package in known])
    files = {(package.name, file) for package in known for file in package.files}
    assert found
    assert [entry for entry in found if (entry.package, entry.test.partition("::")[0]) not in files] == []
    assert all(entry.reason for entry in found)
