"""Random networks by the thousand: `python -m tests.property --networks 20000 --seed 1`.

Each network has a number; `--seed` says which numbers. A network that fails prints its number, what is wrong, and the
command that repeats it, with the features that play no part taken out. `--show` prints every segment of one network.

    python -m tests.property --networks 20000 --seed 1     all must hold; exit status 1 if not
    python -m tests.property --case 1000017                one network
    python -m tests.property --case 1000017 --without loss,reorder --show
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from pathlib import Path

# The checkout itself goes to the end of the path, so that what is tested is what was installed, if something is.
_ROOT = Path(__file__).resolve().parents[2]
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _ROOT]
sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(_ROOT))

import plans  # noqa: E402
from campaign import Outcome, attempt, kind, smaller  # noqa: E402
from worlds import Figures, World  # noqa: E402

_HARDEST = 10
_SPAN = 1_000_000  # so many networks can a seed have


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.property", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--networks", type=int, default=1000, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="which ones")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="in so many processes")
    parser.add_argument("--case", type=int, help="this network alone")
    parser.add_argument("--without", default="", help="features that are left plain, with commas between")
    parser.add_argument("--show", action="store_true", help="print every segment of --case")
    parser.add_argument("--most", type=int, default=50, help="stop after so many failures")
    return parser.parse_args()


def main() -> int:
    """The command. Returns the exit status."""
    arguments = _arguments()
    if arguments.case is not None:
        return _one(arguments)
    first = arguments.seed * _SPAN
    began = time.monotonic()
    failures: list[Outcome] = []
    figures: list[Figures] = []
    with multiprocessing.get_context("fork").Pool(arguments.jobs) as pool:
        for done, outcome in enumerate(
            pool.imap_unordered(attempt, range(first, first + arguments.networks), chunksize=8), 1
        ):
            if outcome.figures is not None:
                figures.append(outcome.figures)
            else:
                failures.append(outcome)
                print(f"network {outcome.number}: {outcome.problem}", flush=True)
                if len(failures) >= arguments.most:
                    print(f"stopped after {done} networks")
                    break
            if done % 1000 == 0:
                print(f"{done} networks, {time.monotonic() - began:.0f} s", flush=True)
    _tell(figures)
    kinds: dict[str, list[Outcome]] = {}
    for failure in failures:
        kinds.setdefault(kind(failure.problem), []).append(failure)
    for alike in kinds.values():
        failure = min(alike, key=lambda one: len(plans.not_plain(plans.draw(one.number))))
        print(f"\n{len(alike)} like this one:", end="")
        left = smaller(failure)
        print(f" network {failure.number}: {left.problem}\n  {plans.describe(plans.draw(left.number, left.without))}")
        print(f"  python -m tests.property --case {left.number}{_without(left.without)} --show")
    took = time.monotonic() - began
    print(f"{len(figures) + len(failures)} networks, {len(failures)} failed, {took:.0f} s")
    return 1 if failures else 0


def _one(arguments: argparse.Namespace) -> int:
    without = tuple(filter(None, arguments.without.split(",")))
    if unknown := [name for name in without if name not in plans.FEATURES and name not in plans.SYSCTLS]:
        print(f"no such feature: {', '.join(unknown)}; there are {', '.join(plans.FEATURES)}")
        return 2
    plan = plans.draw(arguments.case, without)
    print(plans.describe(plan))
    world = World(plan, show=print if arguments.show else None)
    print(world.run())
    return 0


def _tell(figures: list[Figures]) -> None:
    if not figures:
        return
    total = sum(one.events for one in figures)
    print(f"{total} events, {sum(one.retransmissions for one in figures)} segments sent again")
    print("the hardest, by segments sent again:")
    for one in sorted(figures, key=lambda one: one.retransmissions, reverse=True)[:_HARDEST]:
        print(f"  {one}")
    print("the longest:")
    for one in sorted(figures, key=lambda one: one.virtual_s, reverse=True)[:3]:
        print(f"  {one}")


def _without(names: tuple[str, ...]) -> str:
    return f" --without {','.join(names)}" if names else ""


if __name__ == "__main__":
    sys.exit(main())
