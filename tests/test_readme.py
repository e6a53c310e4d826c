"""The README keeps what it promises: its example is run as it stands, its commands are there, and it is one screen.

A block whose first line names a file (```toml hello.toml) is that file. `python run` is tested by test_docs.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import weaves

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```\w+ ([\w.]+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL))


def weave(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `weave`, as it is installed or importable here, in `folder`."""
    return subprocess.run(
        [sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", "weaves.cli", *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(Path(weaves.__file__).parent.parent)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def shape(line: str) -> str:
    """A line without its numbers and its padding, which a change of the stack or another machine may change."""
    return re.sub(r"\b[0-9a-f]{32}\b|[0-9][0-9,.]*", "#", " ".join(line.replace("]", " ]").split()))


def test_the_tapestry_runs_and_prints_what_is_shown(tmp_path: Path) -> None:
    for name in ("hello.toml", "hello.py"):
        (tmp_path / name).write_text(BLOCKS[name], encoding="utf-8")
    done = weave("run", "hello.toml", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = [shape(line) for line in done.stdout.splitlines()]
    at = 0
    for line in BLOCKS["output"].splitlines():
        if line != "...":
            assert shape(line) in printed[at:], f"{line!r} was not printed"
            at = printed.index(shape(line), at) + 1
    assert len([line for line in printed if "hello, client-#" in line]) == 100


def test_it_runs_alike_twice(tmp_path: Path) -> None:
    for name in ("hello.toml", "hello.py"):
        (tmp_path / name).write_text(BLOCKS[name], encoding="utf-8")
    first, second = (weave("run", "hello.toml", folder=tmp_path).stdout.splitlines() for _ in range(2))
    assert [line for line in first if "virtual in" not in line] == [line for line in second if "virtual in" not in line]


def test_the_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"


def test_it_is_one_screen() -> None:
    assert len(README.splitlines()) <= 110
    for name in ("hello.toml", "hello.py"):
        assert len(BLOCKS[name].splitlines()) < 20


def test_the_picture_is_there() -> None:
    picture = re.search(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert picture is not None and (ROOT / picture[1]).is_file()
