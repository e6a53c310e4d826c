"""Chapter 4 of the thesis again: transfers and echoes between two processes, with Lunar over a UDP link and without.

    python benchmarks/thesis.py [--quick] [--rounds N] [--only TEXT] [--output FOLDER]

The same program (thesis/program.py) runs on two virtual hosts in real time, each in a process of its own, and on the
kernel's TCP over loopback with the same MTU and rate in a network namespace, in turn, round by round. The second needs
root, ip, tc and ethtool. A whole run writes its results and figures into thesis/. README.md says how to read them.
Ctrl-C ends it with what was measured until then.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).with_name("thesis")
sys.path.insert(1, str(FOLDER))

import sides  # noqa: E402
from experiments import Batch, batches  # noqa: E402
from figures import figures, spread, table  # noqa: E402
from times import Times  # noqa: E402

import weaves  # noqa: E402
from lunar.kernel.namespace import KernelUnavailable  # noqa: E402

# Rounds of a batch: at 100 Mbit/s they take long, and differ little.
_ROUNDS = {"100mbit": 3, "1gbit": 5, "": 5}
_QUICK_ROUNDS = {"100mbit": 1, "1gbit": 3, "": 3}


def main() -> int:
    """Exit code 0 if all overheads are within the thesis' own; 2 if the kernel's side is not to be had."""
    options = _options()
    wanted = [batch for batch in batches(options.quick) if options.only in batch.name]
    times = Times()
    rounds = {b: options.rounds or (_QUICK_ROUNDS if options.quick else _ROUNDS)[b.rate] for b in wanted}
    try:
        _measure(wanted, rounds, times)
    except KeyboardInterrupt:
        print("interrupted: what follows was measured until then", file=sys.stderr)
    except KernelUnavailable as error:
        print(f"not measured without Lunar: {error}", file=sys.stderr)
        return 2
    except sides.Failed as error:
        print(f"failed: {error}", file=sys.stderr)
        return 2
    text, good = table(wanted, times)
    print(text)
    whole = not options.quick and not options.only
    folder = options.output or (FOLDER if whole else None)
    if folder is not None:
        _write(folder, wanted, times)
    return 0 if good else 1


def _write(folder: Path, wanted: list[Batch], times: Times) -> None:
    """The results and the figures."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "python": platform.python_version(), "kernel": platform.release(), "processors": os.cpu_count(),
        "compiled": weaves.COMPILED,
    }
    times.save(folder / "results.json", **about)
    for name, svg in figures(wanted, times).items():
        (folder / name).write_text(svg)


def _measure(wanted: list[Batch], rounds: dict[Batch, int], times: Times) -> None:
    """All batches, on all sides in turn; who is first in one round is last in the next."""
    started = time.monotonic()
    for number in range(max(rounds.values(), default=0)):
        for batch in wanted:
            if number >= rounds[batch]:
                continue
            turns = batch.sides if number % 2 == 0 else tuple(reversed(batch.sides))
            for side in turns:
                for cell, seconds in zip(batch.cells, sides.measure(side, batch), strict=True):
                    times.add(batch, side, cell, seconds)
            times.end_round(batch)
            _tell(started, f"round {number + 1} of {rounds[batch]}, {batch.name}: {spread(times.overheads(batch))}")


def _tell(started: float, text: str) -> None:
    print(f"{time.monotonic() - started:4.0f} s  {text}", file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="thesis", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few sizes and rounds: about a minute")
    parser.add_argument("--rounds", type=int, metavar="N", help="of each batch; by default by its rate")
    parser.add_argument("--only", default="", metavar="TEXT", help='only batches with this in their name ("MTU 1458")')
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help=f"for results.json and the figures; of a whole run {FOLDER}"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
