"""The record of a run of tests: each test's outcome, written as it ends, so that the next process goes on behind it.

A line of the file is a JSON list: ["begun", test], ["ended", test, outcome, reason] or ["over", file, ...]. Outcomes
are passed, failed and skipped. A test that began and has no end is where the process died, or was ended because it
hung; run.py writes that end. Who writes it otherwise is recorder.py for pytest and cases.py for unittest, inside the
virtual host as well as outside.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NoReturn

STALLED = "stalled: nothing was left that could wake it"


class Record:
    """The record at `path`, to be gone on with. `leave_out`: parts of names of tests that are not run -> the reason."""

    def __init__(self, path: Path, leave_out: dict[str, str]) -> None:
        self._path = path
        self._leave_out = leave_out
        self._known = {line[1] for line in read(path) if line[0] != "over"}

    def wants(self, test: str) -> bool:
        """Whether it is to be run: no process before has begun it, and it is not left out, which is written down."""
        if test in self._known:
            return False
        reason = next((reason for part, reason in self._leave_out.items() if part in test), None)
        if reason is not None:
            self.ended(test, "skipped", f"left out: {reason}")
        return reason is None

    def begun(self, test: str) -> None:
        self._write("begun", test)

    def ended(self, test: str, outcome: str, reason: str = "") -> None:
        self._write("ended", test, outcome, reason)

    def over(self, files: list[str]) -> None:
        self._write("over", *files)

    def stalled(self, test: str) -> NoReturn:
        """The run has stalled in `test`, and ends this program: whatever it did from here on, would not be so."""
        self.ended(test, "failed", STALLED)
        os._exit(1)

    def _write(self, *line: str) -> None:
        # Opened anew each time: what is written must be there even if the process ends at once.
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def read(path: Path) -> list[list[str]]:
    """The lines of a record; none if it does not exist. What was cut off in the middle is left out."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
