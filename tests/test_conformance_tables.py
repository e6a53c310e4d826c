"""docs/conformance.md: each requirement's row names tests that exist, and the summary counts what the pages have."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


def tables() -> ModuleType:
    """docs/make_conformance.py, which is no package's."""
    spec = importlib.util.spec_from_file_location("make_conformance", ROOT / "docs" / "make_conformance.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_conformance"] = module
    spec.loader.exec_module(module)
    return module


TABLES = tables()
PAGES = TABLES.pages()


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_what_a_row_names_exists(page: Path) -> None:
    TABLES.title(page)
    wrong = []
    for row in TABLES.rows(page):
        if row.left_out:
            continue
        if not row.proofs:
            wrong.append(f'{row.page}:{row.line}: names no test, and does not begin with "left out: "')
        for proof in row.proofs:
            path, _, name = proof.partition("::")
            file = ROOT / path
            if not file.is_file():
                wrong.append(f"{row.page}:{row.line}: there is no {path}")
            elif name and not re.search(rf"^(async )?def {re.escape(name)}\(", file.read_text("utf-8"), re.MULTILINE):
                wrong.append(f"{row.page}:{row.line}: {path} has no {name}")
            elif not name and not path.endswith(".pkt"):
                wrong.append(f"{row.page}:{row.line}: {path} is a whole file; expected a test in it")
    assert not wrong, "\n".join(wrong)


def test_the_summary_is_of_today() -> None:
    text = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
    assert TABLES.renewed(text) == text, "run docs/make_conformance.py"


def test_a_bad_row_is_told_with_its_line(tmp_path: Path) -> None:
    page = tmp_path / "rfc1.md"
    header = "| section | level | what | shown by |\n| --- | --- | --- | --- |\n"
    page.write_text(f"# RFC 1: Host\n\n{header}| 1 | OUGHT | x | y |\n")
    with pytest.raises(ValueError, match=r"rfc1\.md:5: the level is 'OUGHT'"):
        TABLES.rows(page)
    page.write_text("# RFC 1: Host\n\n| 1 | MUST | x |\n")
    with pytest.raises(ValueError, match=r"rfc1\.md:3: expected four cells"):
        TABLES.rows(page)
    page.write_text("# RFC 2: Host\n")
    with pytest.raises(ValueError, match=r"rfc1\.md:1: expected '# RFC 1: "):
        TABLES.title(page)
