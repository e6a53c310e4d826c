"""A pytest plugin: writes each test's outcome to a file as it ends, and goes on where a run before stopped.

A line of the file is a JSON list: ["begun", test], ["ended", test, outcome, reason] or ["over"]. Outcomes are passed,
failed and skipped. A test that began and has no end is where the process died, or was ended because it hung; run.py
writes that end. The plugin runs inside the virtual host as well as outside.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", type=Path, required=True, help="where outcomes are written, and read at the start")
    parser.addoption("--leave-out", type=json.loads, default={}, help="JSON: part of a name -> why it is not run")


def pytest_configure(config: pytest.Config) -> None:
    _tell_of_ipv6()
    recorder = Recorder(config.getoption("record"), config.getoption("leave_out"))
    config.pluginmanager.register(recorder, "recorder-of-outcomes")


def _tell_of_ipv6() -> None:
    """Without an IPv6 address be as a Python without IPv6: anyio's fixture for free ports tries ::1 for ever."""
    if socket.has_ipv6:
        try:
            with socket.socket(socket.AF_INET6) as sock:
                sock.bind(("::1", 0))
        except OSError:
            socket.has_ipv6 = False


class Recorder:
    """The outcomes of one run of pytest."""

    def __init__(self, path: Path, leave_out: dict[str, str]) -> None:
        self._path = path
        self._leave_out = leave_out
        self._phases: list[tuple[str, str]] = []

    def _write(self, *line: str) -> None:
        # Opened anew each time: what is written must be there even if the process ends at once.
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        known = {line[1] for line in read(self._path) if line[0] != "over"}
        kept = []
        for item in items:
            if item.nodeid in known:
                continue
            reason = next((reason for part, reason in self._leave_out.items() if part in item.nodeid), None)
            if reason is None:
                kept.append(item)
            else:
                self._write("ended", item.nodeid, "skipped", f"left out: {reason}")
        items[:] = kept

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.outcome != "passed":
            self._write("ended", report.nodeid, report.outcome, f"not collected: {_reason(report)}")

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._phases.clear()
        self._write("begun", nodeid)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        if call.excinfo is not None and call.excinfo.typename == "GreenletExit":
            # The run has stalled and ends this program. Whatever pytest did from here on, teardown and further tests,
            # would be done by a program that is gone.
            self._write("ended", item.nodeid, "failed", "stalled: nothing was left that could wake it")
            os._exit(1)
        yield

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if hasattr(report, "wasxfail") and report.skipped:
            self._phases.append(("skipped", f"xfail: {report.wasxfail}".removesuffix(": ")))
        elif report.outcome != "passed":
            self._phases.append((report.outcome, _reason(report)))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        # The worst of setup, call and teardown.
        for outcome in ("failed", "skipped"):
            for known, reason in self._phases:
                if known == outcome:
                    self._write("ended", nodeid, outcome, reason)
                    return
        self._write("ended", nodeid, "passed", "")

    def pytest_sessionfinish(self) -> None:
        self._write("over")


def read(path: Path) -> list[list[str]]:
    """The lines of a record; none if it does not exist. What was cut off in the middle is left out."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """What failed, or why it was skipped, in one line."""
    text: Any = report.longrepr
    if isinstance(text, tuple):
        text = text[2]
    elif getattr(text, "reprcrash", None) is not None:
        text = text.reprcrash.message
    lines = [line for line in str(text).splitlines() if line.strip()]
    return lines[0].strip().removeprefix("Skipped: ") if lines else "no reason given"
