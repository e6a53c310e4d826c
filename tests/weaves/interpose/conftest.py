"""Makes lonely_hosts.py importable (importlib mode has no packages), and gives each test what it needs:

two hosts, and a way to run a function on one of them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from weaves.loader import load

sys.path.insert(0, str(Path(__file__).parent))

from lonely_hosts import Programs, World


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.net.close()


@pytest.fixture
def programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Programs:
    """Run programs, one on each of the hosts a, b, c ..., in one tapestry; returns what they printed, line by line."""

    def run(*sources: str, keys: str = "", ok: bool = True) -> list[str]:
        text = ""
        for number, source in enumerate(sources):
            (tmp_path / f"program{number}.py").write_text(source)
            text += f'[hosts.{chr(ord("a") + number)}]\n'
            text += f'strings = [{{ run = "program{number}.py"{keys} }}]\n'
        path = tmp_path / "site.toml"
        path.write_text(text)
        tapestry = load(path)
        try:
            tapestry.run_blocking()
            assert tapestry.ok is ok
        finally:
            tapestry.close()
        return capsys.readouterr().out.splitlines()

    return run
