"""Goodput beside the kernel's: Reno and CUBIC over links of all kinds, kernel to kernel and Lunar to Lunar.

    python benchmarks/goodput [--kernel] [--lunar] [--only TEXT] [--repetitions N] [--results FILE] [--svg FILE]

Both sides go through the same link code (lunar/links): the kernel's through TAP devices in two namespaces in real
time, which needs root and about a quarter of an hour in which the machine has nothing else to do; Lunar's in virtual
time. Without --kernel and --lunar both are measured; what was measured before is read from the results' file.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import lunar_side
from cells import CELLS, CONGESTION, Run, batches, runs
from kernel_side import KernelSide
from plot import svg
from results import Results
from table import table

from lunar.kernel.namespace import KernelUnavailable

# What the forwarder carries on time with one processor of a small machine.
_MOST_MBIT = 100.0
_TELL_EVERY = 20  # runs


def main() -> int:
    """Exit code 0 if at least nine of ten cells are within 10%; 2 if the kernel is not to be had."""
    options = _options()
    results = Results(options.results)
    both = not options.kernel and not options.lunar
    cells = tuple(cell for cell in CELLS if options.only in cell.name)
    wanted = runs(cells, tuple(options.congestion.split(",")), options.repetitions)
    if options.kernel or both:
        try:
            _measure_kernel(wanted, results)
        except KernelUnavailable as error:
            print(f"the kernel's side is not measured: {error}", file=sys.stderr)
            return 2
    if options.lunar or both:
        for run in wanted:
            results.forget("lunar", run)
        for number, run in enumerate(wanted):
            results.add("lunar", run, lunar_side.measure(run))
            if (number + 1) % _TELL_EVERY == 0:
                _progress(f"Lunar: {number + 1} of {len(wanted)} runs")
        results.save()
    text, good = table(results)
    print(text)
    if options.svg is not None:
        options.svg.write_text(svg(results))
    return 0 if good else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="goodput", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kernel", action="store_true", help="measure the kernel's side only")
    parser.add_argument("--lunar", action="store_true", help="measure Lunar's side only")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cells with this text in their name")
    parser.add_argument("--congestion", default=",".join(CONGESTION), metavar="NAMES", help="separated by commas")
    parser.add_argument("--repetitions", type=int, metavar="N", help="of each cell; by default by what it loses")
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).with_name("results.json"), metavar="FILE",
        help="where goodputs are kept",
    )
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the plot")
    return parser.parse_args()


def _measure_kernel(wanted: list[Run], results: Results) -> None:
    side = KernelSide()
    planned = batches(wanted, _MOST_MBIT)
    for run in wanted:
        results.forget("kernel", run)
    started = time.monotonic()
    for number, batch in enumerate(planned):
        for run, goodput in zip(batch, side.measure(batch), strict=True):
            results.add("kernel", run, goodput)
        results.save()
        _progress(f"kernel: {number + 1} of {len(planned)} batches, {time.monotonic() - started:.0f} s")
    print(side.punctuality())


def _progress(text: str) -> None:
    print(f"\r{text}", end="\n" if not sys.stderr.isatty() else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
