"""`weave run --logs`: a file a weave, with every line that it wrote."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from weaves.cli import main
from weaves.logs import LogDirectory

TEXT = """
[hosts.a]
strings = [{ run = "p.py" }, { run = "p.py", name = "second", start = "1s" }]
[hosts.quiet]
strings = [{ run = "nothing.py" }]
"""
PROGRAM = (
    "import sys, time, os\n"
    "os.chdir('/')\n"
    "print('begun')\n"
    "time.sleep(0.25)\n"
    "print('wrong', file=sys.stderr)\n"
    "print('no newline', end='')\n"
)


def weave(host: str, name: str) -> Any:
    return SimpleNamespace(host=SimpleNamespace(name=host), name=name)


def test_each_weave_has_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("site.toml").write_text(TEXT)
    Path("p.py").write_text(PROGRAM)
    Path("nothing.py").write_text("")
    assert main(["run", "--quiet", "--logs", "logs", "site.toml"]) == 0
    monkeypatch.chdir(tmp_path)
    assert {path.name: path.read_text() for path in Path("logs").iterdir()} == {
        "a-p.log": "[   0.000000 out] begun\n[   0.250000 err] wrong\n[   0.250000 out] no newline\n",
        "a-second.log": "[   1.000000 out] begun\n[   1.250000 err] wrong\n[   1.250000 out] no newline\n",
    }
    assert "begun" not in capsys.readouterr().out


def test_a_file_in_place_of_the_directory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("site.toml").write_text(TEXT)
    Path("p.py").write_text(PROGRAM)
    Path("nothing.py").write_text("")
    assert main(["run", "--logs", "p.py", "site.toml"]) == 2
    assert capsys.readouterr().err == "weave run: p.py: cannot write logs to this directory: File exists\n"


def test_a_disk_that_is_full_ends_the_logging_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = LogDirectory(tmp_path)

    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    logs.write(weave("a", "w"), 0, "out", "a line")
    monkeypatch.setattr(os, "write", full)
    logs.write(weave("a", "w"), 0, "out", "x" * 100_000)
    assert logs.error is not None and logs.error.filename == str(tmp_path / "a-w.log")
    logs.write(weave("a", "w"), 0, "out", "dropped")
    with pytest.raises(OSError, match="No space left"):
        logs.close()
    monkeypatch.undo()
    logs.close()
    assert (tmp_path / "a-w.log").read_text().startswith("[   0.000000 out] a line\n")


def test_what_cannot_be_encoded_is_escaped(tmp_path: Path) -> None:
    logs = LogDirectory(tmp_path)
    logs.write(weave("../a", "w/x"), 1, "out", "\ud800")
    logs.close()
    assert (tmp_path / "..%2Fa-w%2Fx.log").read_text() == "[   0.000000 out] \\ud800\n"
