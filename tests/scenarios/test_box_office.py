"""tapestries/blocking.toml: a server of threads and a lock, blocking customers with and without TLS, and asyncio ones.

Each seat is sold once, and the printer of the box office has one customer at a time.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import weaves

TAPESTRY = Path(__file__).parents[2] / "tapestries" / "blocking.toml"
# Where `weaves` comes from here; a process in another folder must find the same.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(weaves.__file__).parent.parent)}
TIMEOUT_S = 120  # that only a hanging process meets
SEATS = 60
PRINTING_S = 0.05


def run(figures: Path) -> tuple[str, dict[str, Any]]:
    """What `weave run` prints, and its figures."""
    python = [sys.executable, *(["-P"] if sys.flags.safe_path else [])]
    command = [*python, "-m", "weaves.cli", "run", str(TAPESTRY), "--json", str(figures)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, json.loads(figures.read_text())


def test_each_seat_is_sold_once_and_again_to_the_same(tmp_path: Path) -> None:
    out, figures = run(tmp_path / "first.json")
    customers = re.findall(r"\] (\S+) has (\d+) seats: ([\d ]+)$", out, re.MULTILINE)
    assert [name for name, _, _ in sorted(customers)] == ["anna", "bert", *(f"group-{i}" for i in range(5))]
    bought = [int(seat) for _, _, seats in customers for seat in seats.split()]
    assert sorted(bought) == list(range(1, SEATS + 1))

    printed = re.findall(r"^\[ *([\d.]+) server +\] seat (\d+) to (\S+) in (Thread-\d+)", out, re.MULTILINE)
    assert [int(number) for _, number, _, _ in printed] == list(range(1, SEATS + 1))
    times = [float(at) for at, _, _, _ in printed]
    assert all(later - at >= PRINTING_S - 1e-9 for at, later in itertools.pairwise(times))
    assert len({thread for _, _, _, thread in printed}) == 2 + 5 * 4  # one for each connection

    out_again, figures_again = run(tmp_path / "second.json")
    assert figures_again["digest"] == figures["digest"]
    assert re.findall(r".* has \d+ seats.*", out_again) == re.findall(r".* has \d+ seats.*", out)
