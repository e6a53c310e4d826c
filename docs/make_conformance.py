"""Write the summary in conformance.md from the tables in rfc/: `python docs/make_conformance.py`.

Each file rfc/rfcNNNN.md has a title, `# RFC NNNN: ...`, and tables of rows: | section | level | what | shown by |.
"Shown by" names tests and scripts in backticks, or begins with "left out: " and gives the reason.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
LEVELS = ("MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY")
BEGIN = "<!-- made by make_conformance.py -->\n"
END = "<!-- end -->\n"


class Row(NamedTuple):
    """One requirement."""

    page: str
    line: int
    section: str
    level: str
    what: str
    shown_by: str

    @property
    def left_out(self) -> bool:
        return self.shown_by.startswith("left out: ")

    @property
    def proofs(self) -> list[str]:
        """The tests and scripts that the row names."""
        return re.findall(r"`(tests/[^`]+)`", self.shown_by)


def pages() -> list[Path]:
    """The files of rfc/, by number."""
    return sorted((HERE / "rfc").glob("rfc*.md"), key=lambda page: int(page.stem.removeprefix("rfc")))


def title(page: Path) -> str:
    """What the RFC is called, without its number."""
    first = page.read_text(encoding="utf-8").split("\n", 1)[0]
    found = re.fullmatch(r"# RFC (\d+): (.+)", first)
    if found is None or f"rfc{found[1]}" != page.stem:
        raise ValueError(f"{page.name}:1: expected '# RFC {page.stem.removeprefix('rfc')}: ...'")
    return found[2]


def rows(page: Path) -> list[Row]:
    """The requirements of one RFC. Raises ValueError for a row that is none."""
    found = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("|") or line.startswith(("| section |", "| ---", "|---")):
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) != 4 or not all(cells):
            raise ValueError(f"{page.name}:{number}: expected four cells: section, level, what, shown by")
        if cells[1] not in LEVELS:
            raise ValueError(f"{page.name}:{number}: the level is {cells[1]!r}; expected one of {', '.join(LEVELS)}")
        found.append(Row(page.name, number, *cells))
    if not found:
        raise ValueError(f"{page.name}: no table of requirements")
    return found


def summary() -> str:
    """The table of all RFCs, with how many requirements are shown and left out."""
    lines = ["| RFC | | MUST | SHOULD, MAY | shown | left out |", "| --- | --- | ---: | ---: | ---: | ---: |"]
    total = [0, 0, 0, 0]
    for page in pages():
        found = rows(page)
        must = sum(row.level.startswith("MUST") for row in found)
        out = sum(row.left_out for row in found)
        counts = [must, len(found) - must, len(found) - out, out]
        total = [a + b for a, b in zip(total, counts, strict=True)]
        number = page.stem.removeprefix("rfc")
        lines.append(f"| [{number}](rfc/{page.name}) | {title(page)} | " + " | ".join(map(str, counts)) + " |")
    lines.append("| all | | " + " | ".join(map(str, total)) + " |")
    return "\n".join(lines) + "\n"


def renewed(text: str) -> str:
    """conformance.md with the summary of today."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{summary()}\n{END}{after}"


def main() -> None:
    page = HERE / "conformance.md"
    try:
        text = renewed(page.read_text(encoding="utf-8"))
    except ValueError as wrong:
        sys.exit(str(wrong))
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
