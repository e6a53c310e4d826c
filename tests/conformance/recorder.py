"""A pytest plugin: writes each test's outcome to a file as it ends, and goes on where a run before stopped.

It runs inside the virtual host as well as outside. What the file has is said in record.py.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from record import Record


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", type=Path, required=True, help="where outcomes are written, and read at the start")
    parser.addoption("--leave-out", type=json.loads, default={}, help="JSON: part of a name -> why it is not run")


def pytest_configure(config: pytest.Config) -> None:
    _tell_of_ipv6()
    recorder = Recorder(Record(config.getoption("record"), config.getoption("leave_out")))
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

    def __init__(self, record: Record) -> None:
        self._record = record
        self._phases: list[tuple[str, str]] = []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if self._record.wants(item.nodeid)]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.outcome != "passed":
            self._record.ended(report.nodeid, report.outcome, f"not collected: {_reason(report)}")

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._phases.clear()
        self._record.begun(nodeid)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        if call.excinfo is not None and call.excinfo.typename == "GreenletExit":
            self._record.stalled(item.nodeid)
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
                    self._record.ended(nodeid, outcome, reason)
                    return
        self._record.ended(nodeid, "passed")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self._record.over(session.config.args)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """What failed, or why it was skipped, in one line."""
    text: Any = report.longrepr
    if isinstance(text, tuple):
        text = text[2]
    elif getattr(text, "reprcrash", None) is not None:
        text = text.reprcrash.message
    lines = [line for line in str(text).splitlines() if line.strip()]
    return lines[0].strip().removeprefix("Skipped: ") if lines else "no reason given"
