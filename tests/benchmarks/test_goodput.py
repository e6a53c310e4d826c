"""The benchmark of goodput: how its runs are planned, told and drawn; and that Lunar still gets what the kernel got.

What the kernel got is in benchmarks/goodput/results.json. Here a few cells that need little time are measured again on
virtual hosts, which gives the same number each time.
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "goodput"
# Its modules lie beside its program and are no package, as those of all benchmarks.
sys.path.append(str(FOLDER))

import cells  # noqa: E402
import lunar_side  # noqa: E402
import plot  # noqa: E402
from cells import CELLS, CONGESTION, Cell, Run, batches, runs  # noqa: E402
from results import Results  # noqa: E402
from table import table  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"


def test_the_cells_are_those_that_were_asked_for() -> None:
    assert len(CELLS) >= 20 and len({cell.name for cell in CELLS}) == len(CELLS)
    assert {cell.loss for cell in CELLS} == {0, 0.001, 0.01, 0.03}
    assert (min(cell.rate_mbit for cell in CELLS), max(cell.rate_mbit for cell in CELLS)) == (1, 100)
    assert (min(cell.delay_ms for cell in CELLS), max(cell.delay_ms for cell in CELLS)) == (1, 200)


def test_a_queue_is_counted_in_what_the_path_holds() -> None:
    # 10 Mbit/s over 100 ms there and back hold 125,000 bytes, 82.6 frames of 1,514.
    assert Cell(10, 50, 0, 1).queue_packets == 83
    assert Cell(10, 50, 0, 0.5).queue_packets == 41
    assert Cell(1, 1, 0, 1).queue_packets == 8


def test_all_runs_are_planned_once_and_none_beyond_what_can_be_carried() -> None:
    wanted = runs(CELLS, CONGESTION, 2)
    planned = batches(wanted, 100)
    assert sorted(map(repr, (run for batch in planned for run in batch))) == sorted(map(repr, wanted))
    for batch in planned:
        assert len({run.cell.seconds for run in batch}) == 1
        assert len(batch) == 1 or sum(run.cell.expected_mbit for run in batch) <= 100


def test_both_sides_draw_the_same_losses() -> None:
    run = Run(CELLS[0], "reno", 3)
    here, there = run.generators(), Run(CELLS[0], "cubic", 3).generators()
    assert [each.random() for each in here] == [each.random() for each in there]
    assert Run(CELLS[0], "reno", 4).generators()[0].random() != run.generators()[0].random()


def results_of(path: Path, ratios: list[float]) -> Results:
    made = Results(path)
    for cell, ratio in zip(CELLS, ratios, strict=False):
        for number, goodput in enumerate((1e6, 2e6, 9e6)):
            made.add("kernel", Run(cell, "reno", number), goodput)
            made.add("lunar", Run(cell, "reno", number), goodput * ratio)
    return made


def test_the_table_marks_what_is_within_ten_percent(tmp_path: Path) -> None:
    text, good = table(results_of(tmp_path / "r.json", [1.0, 1.09, 0.89]))
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert rows[0] == f"| {CELLS[0].name} | reno | 2.000 | 2.000 | 1.000 | yes |"
    assert [row.rpartition(" | ")[2] for row in rows] == ["yes |", "yes |", "**no** |"]
    assert text.endswith("2 of 3 cells are within 10% of the kernel's goodput.") and not good
    assert table(results_of(tmp_path / "s.json", [1.0] * 9 + [2.0]))[1]


def test_results_are_kept(tmp_path: Path) -> None:
    kept = results_of(tmp_path / "r.json", [1.0])
    kept.save()
    assert Results(tmp_path / "r.json").goodputs("kernel", CELLS[0], "reno") == [1e6, 2e6, 9e6]
    kept.forget("kernel", Run(CELLS[0], "reno", 0))
    assert kept.median("kernel", CELLS[0], "reno") is None


def test_the_plot_has_a_dot_for_each_cell_where_its_ratio_is(tmp_path: Path) -> None:
    drawn = ElementTree.fromstring(plot.svg(results_of(tmp_path / "r.json", [1.0, 0.1])))
    dots = [dot for dot in drawn.iter(f"{SVG}circle") if dot.find(f"{SVG}title") is not None]
    # The scale is logarithmic from a half to the double: 1 is in its middle, less than its begin at the begin.
    assert [float(dot.attrib["cx"]) for dot in dots] == [300 + 560 / 2, 300]


MEASURED_AGAIN = [Cell(2, 50, 0, 1), Cell(5, 10, 0, 1), Cell(10, 20, 0.03, 1)]


@pytest.mark.parametrize("cell", MEASURED_AGAIN, ids=lambda cell: cell.name)
@pytest.mark.parametrize("control", CONGESTION)
def test_goodput_is_still_the_kernels(cell: Cell, control: str, tmp_path: Path) -> None:
    assert cell in cells.CELLS
    kernels = Results(FOLDER / "results.json").median("kernel", cell, control)
    assert kernels is not None
    ours = Results(tmp_path / "r.json")
    for run in runs((cell,), (control,), None):
        ours.add("lunar", run, lunar_side.measure(run))
    assert ours.median("lunar", cell, control) == pytest.approx(kernels, rel=0.1)
