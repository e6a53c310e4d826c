"""Our own scripts in packetdrill's language, a rule each, against a virtual host.

They are in packetdrill/AREA/*.pkt beside this file; the same scripts run against the machine's kernel with
`weave packetdrill --kernel tests/scenarios/packetdrill`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from lunar.packetdrill import options, suite
from lunar.packetdrill.cli import lunar_backend

FOLDER = Path(__file__).parent / "packetdrill"
SCRIPTS = sorted(FOLDER.rglob("*.pkt"))


def test_there_are_scripts() -> None:
    assert SCRIPTS, f"no script below {FOLDER}"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_script(script: Path) -> None:
    result = suite.run(script, options.default_settings(), lunar_backend)
    assert result.error is None, f"\n{result.error}"
