"""Thousands of strings of all kinds in one run: blocking, awaiting, and with pools of threads.

The run is made twice, in processes of their own with different hash seeds, and must be the same: the digest of what was
on the wires, and every line that the strings have printed, in its order.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import weaves

HERE = Path(__file__).parent
TIMEOUT_S = 300

BLOCKING, AWAITING, POOLED = 1000, 1000, 100

TAPESTRY = f"""
[tapestry]
seed = 5

[hosts.threads]
eth0 = "10.0.0.1/8"
strings = [{{ call = "kinds:serve_blocking", background = true }}]

[hosts.loop]
eth0 = "10.0.0.2/8"
strings = [{{ call = "kinds:serve_awaiting", background = true }}]

[hosts.blocking]
count = {BLOCKING}
eth0 = "10.1.{{i // 250}}.{{i % 250 + 1}}/8"
strings = [{{ call = "kinds:blocking", args = ["10.0.0.{{i % 2 + 1}}"], start = "{{100 + i}}ms" }}]

[hosts.awaiting]
count = {AWAITING}
eth0 = "10.2.{{i // 250}}.{{i % 250 + 1}}/8"
strings = [{{ call = "kinds:awaiting", args = ["10.0.0.{{i % 2 + 1}}"], start = "{{100 + i}}ms" }}]

[hosts.pooled]
count = {POOLED}
eth0 = "10.3.0.{{i + 1}}/8"
strings = [{{ call = "kinds:pooled", args = ["10.0.0.1", "10.0.0.2"], start = "{{100 + 10*i}}ms" }}]

[[links]]
ends = ["threads", "loop", "blocking", "awaiting", "pooled"]
rate = "100mbit"
delay = "3ms"
loss = "0.5%"
queue = "1000 packets"
"""


def environment(hash_seed: str) -> dict[str, str]:
    """Ours, with a PYTHONPATH that holds in any folder."""
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    root = str(Path(weaves.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, root]), "PYTHONHASHSEED": hash_seed}


def run(folder: Path, hash_seed: str) -> tuple[dict[str, Any], list[str]]:
    """The figures of a run in a process of its own, and the lines that its strings printed."""
    folder.mkdir()
    shutil.copy(HERE / "kinds.py", folder)
    (folder / "kinds.toml").write_text(TAPESTRY, encoding="utf-8")
    done = subprocess.run(
        [
            sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", "weaves.cli", "run", "kinds.toml",
            "--json", "figures.json",
        ],
        env=environment(hash_seed), cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    figures: dict[str, Any] = json.loads((folder / "figures.json").read_text())
    return figures, [line for line in done.stdout.splitlines() if line.startswith("[")]


def test_thousands_of_strings_of_all_kinds_are_the_same_twice(tmp_path: Path) -> None:
    (first, lines), (second, lines_again) = run(tmp_path / "first", "1"), run(tmp_path / "second", "99")
    assert first["strings"]["ended"] == BLOCKING + AWAITING + POOLED
    assert first["strings"]["failed"] == 0
    # Each prints one line; those with pools have called `blocking` twice besides.
    assert len(lines) == BLOCKING + AWAITING + 3 * POOLED
    assert first["tcp"]["retransmissions"] > 100
    assert first["digest"] == second["digest"]
    assert lines == lines_again
