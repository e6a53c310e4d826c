"""The example of the thesis: unmodified telnetlib3, aioftp and aiohttp, three servers and three clients, two stacks.

The clients check what they get; a server that says something else fails them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import weaves
from weaves.tapestry import read

TAPESTRIES = Path(__file__).parents[2] / "tapestries"
# Where `weaves` comes from here; a process in another folder must find the same.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(weaves.__file__).parent.parent)}
TIMEOUT_S = 120  # that only a hanging process meets


def run(tapestry: Path, figures: Path) -> tuple[int, str, str, dict[str, Any]]:
    """`weave run`: exit code, output, errors, figures."""
    python = [sys.executable, *(["-P"] if sys.flags.safe_path else [])]
    command = [*python, "-m", "weaves.cli", "run", str(tapestry), "--json", str(figures)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    return done.returncode, done.stdout, done.stderr, json.loads(figures.read_text())


def test_two_stacks_of_three_weaves_each() -> None:
    tapestry = read(TAPESTRIES / "thesis.toml")
    assert [host.name for host in tapestry.hosts] == ["server", "client"]
    assert [weave.host for weave in tapestry.weaves] == ["server"] * 3 + ["client"] * 3
    beads = [bead for weave in tapestry.weaves for bead in weave.beads]
    assert len(set(beads)) == 6
    assert tapestry.simulator == "simulator"


def test_the_clients_get_what_the_servers_have_and_again_the_same(tmp_path: Path) -> None:
    code, out, err, figures = run(TAPESTRIES / "thesis.toml", tmp_path / "first.json")
    assert (code, err) == (0, "")
    assert "hello, vt220 of 132 x 43; 3 pages, 300 lines as they should be" in out
    assert "4 files, 250,000 bytes there and back as they were" in out
    assert figures["strings"]["ended"] == figures["strings"]["running"] == 3
    assert figures["links"][0]["lost"] > 0
    _, out_again, _, figures_again = run(TAPESTRIES / "thesis.toml", tmp_path / "second.json")
    assert figures_again["digest"] == figures["digest"]

    # But for the real time that the run took.
    def told(out: str) -> list[str]:
        return [line for line in out.splitlines() if not line.startswith("time ")]

    assert told(out_again) == told(out)


@pytest.mark.parametrize(
    ("program", "right", "wrong", "message"),
    [
        ("telnetd.py", 'f"{number}:{line}"', 'f"{number}:{line // 2}"', "page 1, line 1 is"),
        ("ftpd.py", '"secret"', '"other"', "530"),
        ("site.py", "return web.Response(body=body", "return web.Response(body=body[:-1]", "/small: 999 bytes"),
    ],
)
def test_a_wrong_server_fails_its_client(tmp_path: Path, program: str, right: str, wrong: str, message: str) -> None:
    shutil.copytree(TAPESTRIES, tmp_path / "tapestries")
    path = tmp_path / "tapestries" / "apps" / program
    text = path.read_text()
    assert text.count(right) == 1
    path.write_text(text.replace(right, wrong))
    code, _, err, figures = run(tmp_path / "tapestries" / "thesis.toml", tmp_path / "figures.json")
    assert (code, figures["strings"]["failed"]) == (1, 1)
    assert message in err
