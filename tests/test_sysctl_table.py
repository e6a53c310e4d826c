"""docs/sysctl.md: the table is made from the code."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent


def maker() -> ModuleType:
    """docs/make_sysctl.py, which is no package's."""
    spec = importlib.util.spec_from_file_location("make_sysctl", ROOT / "docs" / "make_sysctl.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_of_today() -> None:
    made = maker()
    text = made.PAGE.read_text(encoding="utf-8")
    assert made.renewed(text) == text, "run docs/make_sysctl.py"
