"""The benchmark of the thesis' chapter 4: what is planned, how ratios are read and drawn, and that both sides do it.

How long anything takes is not looked at here, only that it is measured: the machine has other work.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "thesis"
# Its modules lie beside its program and are no package, as those of all benchmarks.
sys.path.append(str(FOLDER))

import chart  # noqa: E402
import sides  # noqa: E402
from experiments import LARGE_MTU, MTUS, OFFLOADED, RATES, SMALL_MTU, WITH, WITH_OFFLOADS, WITHOUT, Batch, Cell, batches  # noqa: E402
from figures import figures, table  # noqa: E402
from times import Times  # noqa: E402

from lunar.kernel.namespace import KernelUnavailable  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"
SMALL = Cell(size_mb=10, write_kb=1)
LARGE = Cell(size_mb=10, write_kb=55)
ECHO = Cell(echoes=100)


def test_the_plan_is_the_chapters() -> None:
    planned = batches(quick=False)
    transfers = [batch for batch in planned if not batch.echo]
    assert [(batch.rate, batch.mtu) for batch in transfers] == [(rate, mtu) for rate in RATES for mtu in MTUS]
    for batch in transfers:
        assert {cell.size_mb for cell in batch.cells} == {10, 20, 30}
        assert (min(c.write_kb for c in batch.cells), max(c.write_kb for c in batch.cells)) == (1, 55)
    (echo,) = [batch for batch in planned if batch.echo]
    assert {cell.echoes for cell in echo.cells} == {100, 10_000}


def test_a_quick_plan_leaves_no_link_out() -> None:
    assert [batch.name for batch in batches(quick=True)] == [batch.name for batch in batches(quick=False)]


def test_a_batch_comes_to_its_processes_whole() -> None:
    for batch in batches(quick=False):
        assert Batch.of(batch.text()) == batch


def measured(batch: Batch, rounds: list[tuple[float, float]]) -> Times:
    """Each cell took so long without and with Lunar in each round."""
    made = Times()
    for without, with_ in rounds:
        for cell in batch.cells:
            made.add(batch, WITHOUT, cell, without)
            made.add(batch, WITH, cell, with_)
        made.end_round(batch)
    return made


def test_overhead_is_the_median_of_the_rounds_own_ratios() -> None:
    batch = Batch(SMALL_MTU, "1gbit", (SMALL,))
    # Ratios 1.5, 1.2, 1.1; that of the medians would be 1.1.
    times = measured(batch, [(1.0, 1.5), (2.0, 2.4), (3.0, 3.3)])
    assert times.overhead(batch, SMALL) == pytest.approx(0.2)
    assert times.median(batch, WITHOUT, SMALL) == 2.0
    assert times.overheads(batch, OFFLOADED) == []


def test_what_is_measured_often_in_a_round_counts_once() -> None:
    batch = Batch(SMALL_MTU, "", (ECHO,) * 3, echo=True)
    times = Times()
    for seconds in (1.0, 5.0, 2.0):
        times.add(batch, WITH, ECHO, seconds)
    times.end_round(batch)
    assert times.seconds(batch, WITH, ECHO) == [2.0]


def test_a_round_that_was_broken_off_does_not_count() -> None:
    batch = Batch(SMALL_MTU, "1gbit", (SMALL,))
    times = measured(batch, [(1.0, 1.5)])
    times.add(batch, WITHOUT, SMALL, 9.0)
    assert times.seconds(batch, WITHOUT, SMALL) == [1.0]


def test_results_are_kept(tmp_path: Path) -> None:
    batch = Batch(SMALL_MTU, "1gbit", (SMALL,))
    measured(batch, [(1.0, 1.5)]).save(tmp_path / "r.json", processors=2)
    assert json.loads((tmp_path / "r.json").read_text())["processors"] == 2
    assert Times.read(tmp_path / "r.json").overhead(batch, SMALL) == pytest.approx(0.5)


def test_the_table_says_what_is_within_the_thesis_own() -> None:
    slow, fast = Batch(SMALL_MTU, "100mbit", (SMALL,)), Batch(SMALL_MTU, "1gbit", (SMALL,))
    cases = [(slow, 1.01, "yes"), (slow, 1.03, "**no**"), (fast, 1.38, "yes"), (fast, 1.4, "**no**")]
    for batch, ratio, within in cases:
        text, good = table([batch], measured(batch, [(1.0, ratio)]))
        assert text.endswith(f"| {within} |  |") and good == (within == "yes")
    unpaced = Batch(SMALL_MTU, "", (SMALL,))
    text, good = table([unpaced], measured(unpaced, [(1.0, 9.0)]))
    assert "+800.0%" in text and good


def test_there_is_a_figure_for_all_that_was_measured() -> None:
    cells = (SMALL, LARGE)
    planned = [Batch(mtu, rate, cells) for rate in RATES for mtu in MTUS]
    planned.append(Batch(SMALL_MTU, "", (ECHO,), echo=True))
    times = Times()
    for batch in planned:
        for cell in batch.cells:
            for side in batch.sides:
                times.add(batch, side, cell, 1.0)
        times.end_round(batch)
    drawn = figures(planned, times)
    assert list(drawn) == [f"figure-4.{number}.svg" for number in (3, 4, 5, 6, 7)]
    for svg in drawn.values():
        ElementTree.fromstring(svg)
    assert figures(planned, Times()) == {}


def test_a_line_goes_where_its_points_are() -> None:
    words = chart.Words("a < b", "", "x", "y")
    drawn = ElementTree.fromstring(chart.lines(words, [chart.Line("l", ((0, 0), (50, 1), (25, 0.5)), "#000")]))
    places = [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in drawn.iter(f"{SVG}circle")]
    # Scales from 0 to 50 and to 1: their ends are those of the points.
    assert places == [(74, 78 + 330), (74 + 560, 78), (74 + 280, 78 + 165)]


def test_a_bar_is_as_high_as_its_number() -> None:
    words = chart.Words("t", "", "x", "y")
    drawn = ElementTree.fromstring(chart.bars(words, [chart.Bars("g", (("a", 5.0, "#111"), ("b", 10.0, "#222")))]))
    shown = [bar for bar in drawn.iter(f"{SVG}rect") if bar.find(f"{SVG}title") is not None]
    # The axis of 330 goes to 12, so that there is room for the number above the highest.
    assert [float(bar.attrib["height"]) for bar in shown] == [137.5, 275]


BATCHES = [
    Batch(LARGE_MTU, "1gbit", (Cell(size_mb=1, write_kb=55), Cell(size_mb=1, write_kb=1))),
    Batch(SMALL_MTU, "", (Cell(echoes=20),), echo=True),
]


@pytest.mark.parametrize("batch", BATCHES, ids=lambda batch: batch.name)
@pytest.mark.parametrize("side", [WITH, WITH_OFFLOADS, WITHOUT, OFFLOADED])
def test_a_side_measures_each_cell(side: str, batch: Batch) -> None:
    try:
        seconds = list(sides.measure(side, batch))
    except KernelUnavailable as error:
        pytest.skip(str(error))
    assert len(seconds) == len(batch.cells) and min(seconds) > 0


def test_an_end_that_fails_is_told() -> None:
    broken = Batch(12, "", (SMALL,))
    with pytest.raises(sides.Failed, match="mtu 12"):
        list(sides.measure(WITH, broken))
