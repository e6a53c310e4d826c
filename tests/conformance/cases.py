"""Runs modules of unittest's cases and records their outcomes: what recorder.py is to pytest.

    python -m cases --record FILE [--leave-out JSON] [--package PACKAGE] MODULE ...

CPython's own tests are written for unittest: they have fixtures of modules and subtests, and pytest's reading of these
is another. A test's name in the record is "module::Class.method". With `--package test`, that of CPython's tests, what
may be used is said as its own runner says it: the network, as which its modules count the loopback interface, too.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from record import Record

_Error = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Run modules of unittest's cases and record their outcomes.")
    parser.add_argument("--record", type=Path, required=True, help="where outcomes are written, and read at the start")
    parser.add_argument("--leave-out", type=json.loads, default={}, help="JSON: part of a name -> why it is not run")
    parser.add_argument("--package", default="", help="the package that the modules are in")
    parser.add_argument("modules", nargs="+", metavar="MODULE")
    arguments = parser.parse_args()
    record = Record(arguments.record, arguments.leave_out)
    if arguments.package == "test":
        support: Any = importlib.import_module("test.support")
        support.use_resources = ["network"]
    for module in arguments.modules:
        _run(record, module, f"{arguments.package}.{module}".lstrip("."))
    record.over(arguments.modules)


def _run(record: Record, module: str, path: str) -> None:
    """Run what is left of the module at `path`, called `module` in the record."""
    try:
        loaded = unittest.defaultTestLoader.loadTestsFromName(path)
    except unittest.SkipTest as skip:
        record.ended(module, "skipped", _line(str(skip)))
        return
    if broken := list(unittest.defaultTestLoader.errors):
        record.ended(module, "failed", f"not loaded: {_line(str(broken[-1]).splitlines()[-1])}")
        return
    suite = unittest.TestSuite(case for case in _cases(loaded) if record.wants(_name(module, case)))
    if suite.countTestCases():
        # A suite, and not case by case: it is what runs the fixtures of classes and modules.
        suite.run(_Outcomes(record, module))


def _cases(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for entry in suite:
        if isinstance(entry, unittest.TestSuite):
            yield from _cases(entry)
        else:
            yield entry


def _name(module: str, case: Any) -> str:
    # What stands for a fixture of a class or a module has an id only: "setUpClass (package.module.Class)".
    method = getattr(case, "_testMethodName", None)
    return f"{module}::{case.id() if method is None else f'{type(case).__qualname__}.{method}'}"


class _Outcomes(unittest.TestResult):
    """Writes the worst that is said of each test."""

    def __init__(self, record: Record, module: str) -> None:
        super().__init__(sys.stdout)
        self._record = record
        self._module = module
        self._running: Any = None
        self._said: list[tuple[str, str]] = []

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._said.clear()
        self._running = test
        self._record.begun(_name(self._module, test))

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        self._running = None
        for outcome in ("failed", "skipped"):
            for known, reason in self._said:
                if known == outcome:
                    self._record.ended(_name(self._module, test), outcome, reason)
                    return
        self._record.ended(_name(self._module, test), "passed")

    def _say(self, test: unittest.TestCase, outcome: str, reason: str) -> None:
        if self._running is None:
            # A fixture of a class or of the module; none of its tests is run.
            self._record.ended(_name(self._module, test), outcome, reason)
        else:
            self._said.append((outcome, reason))

    def _fail(self, test: unittest.TestCase, error: _Error) -> None:
        if error[0] is not None and error[0].__name__ == "GreenletExit":
            self._record.stalled(_name(self._module, self._running or test))
        print(f"{_name(self._module, test)}\n{self._exc_info_to_string(error, test)}", flush=True)  # type: ignore[attr-defined]
        self._say(test, "failed", _line(f"{error[0].__name__ if error[0] else ''}: {error[1]}"))

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        self._fail(test, err)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        self._fail(test, err)

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        if err is not None:
            self._fail(test, err)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self._say(test, "skipped", _line(reason))

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        self._say(test, "skipped", "expected to fail by itself")

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        self._say(test, "failed", "was expected to fail by itself, and did not")


def _line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[0].strip() if lines else "no reason given"


if __name__ == "__main__":
    main()
