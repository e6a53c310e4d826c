"""The program that runs unittest's cases: what it records of each, and that it goes on where another stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from record import Record, read

CASES = """
import unittest

class Till(unittest.TestCase):
    def test_open(self):
        pass

    def test_lock(self):
        self.assertEqual(1, 2)

    def test_drawers(self):
        for drawer in range(2):
            with self.subTest(drawer=drawer):
                self.assertEqual(drawer, 0)

    @unittest.skip("no coins")
    def test_count(self):
        pass

    @unittest.expectedFailure
    def test_known(self):
        raise ValueError

class Shelf(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise OSError("it fell down")

    def test_fill(self):
        pass
"""


def outcomes(folder: Path, leave_out: str = "{}") -> dict[str, tuple[str, str]]:
    """What is in the record after a run of the cases."""
    (folder / "shop.py").write_text(CASES)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).parent)])}
    record = folder / "record.jsonl"
    command = [sys.executable, "-P", "-m", "cases", "--record", str(record), "--leave-out", leave_out, "shop"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert read(record)[-1] == ["over", "shop"]
    return {line[1].removeprefix("shop::"): (line[2], line[3]) for line in read(record) if line[0] == "ended"}


def test_each_case_has_its_outcome_and_its_reason(tmp_path: Path) -> None:
    assert outcomes(tmp_path) == {
        "Till.test_open": ("passed", ""),
        "Till.test_lock": ("failed", "AssertionError: 1 != 2"),
        "Till.test_drawers": ("failed", "AssertionError: 1 != 0"),
        "Till.test_count": ("skipped", "no coins"),
        "Till.test_known": ("skipped", "expected to fail by itself"),
        "setUpClass (shop.Shelf)": ("failed", "OSError: it fell down"),
    }


def test_what_is_left_out_is_recorded_with_the_reason(tmp_path: Path) -> None:
    found = outcomes(tmp_path, '{"Till": "sold", "Shelf": "broken"}')
    assert found["Till.test_lock"] == ("skipped", "left out: sold")
    assert found["Shelf.test_fill"] == ("skipped", "left out: broken")
    assert len(found) == 6


def test_a_case_that_a_process_before_has_begun_is_not_run_again(tmp_path: Path) -> None:
    record = Record(tmp_path / "record.jsonl", {})
    record.begun("shop::Till.test_lock")
    record.ended("shop::Till.test_lock", "failed", "the process exited with 1")
    assert outcomes(tmp_path)["Till.test_lock"] == ("failed", "the process exited with 1")
