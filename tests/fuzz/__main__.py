"""Frames that nobody should send, by the million, into every state: `python -m tests.fuzz --frames 10000000`.

No exception, no leak, every frame counted, and the connection beside whole; exit status 1 if not. A round that fails is
repeated by `python -m tests.fuzz --seed S --round N`.
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
sys.path[:0] = [str(Path(__file__).parent), str(_ROOT / "tests" / "property")]
sys.path.append(str(_ROOT))

from rounds import Round, play  # noqa: E402

_ROUND_FRAMES = 100_000
# Objects more than after the process' second round (the first fills caches), and memory, that count as no leak.
_OBJECTS_SLACK = 500
_MEMORY_SLACK_KB = 30_000


def main() -> int:
    """The command. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--frames", type=int, default=1_000_000, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="which ones")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="in so many processes")
    parser.add_argument("--round", type=int, help="this round alone")
    arguments = parser.parse_args()
    if arguments.round is not None:
        print(play(arguments.seed, arguments.round, _ROUND_FRAMES))
        return 0
    began = time.monotonic()
    rounds = max(1, -(-arguments.frames // _ROUND_FRAMES))
    size = min(arguments.frames, _ROUND_FRAMES)
    jobs = min(arguments.jobs, rounds)
    shares = [(arguments.seed, list(range(first, rounds, jobs)), size) for first in range(jobs)]
    failed = 0
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for problems, told in pool.imap_unordered(_share, shares):
            print("\n".join(told))
            failed += problems
    print(f"{rounds * size} frames, {failed} problems, {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


def _share(share: tuple[int, list[int], int]) -> tuple[int, list[str]]:
    """The rounds of one process, and whether its memory grew from its second round to its last."""
    seed, numbers, size = share
    told: list[str] = []
    problems = 0
    done: list[Round] = []
    for number in numbers:
        played = play(seed, number, size)
        if played.problem:
            problems += 1
            told.append(f"round {number}: {played.problem}\n  python -m tests.fuzz --seed {seed} --round {number}")
        else:
            done.append(played)
    if len(done) > 2:
        first, last = done[1], done[-1]
        told.append(
            f"{len(done)} rounds: {first.objects} objects after the second, {last.objects} after the last; "
            f"{first.peak_kb} kB of memory, {last.peak_kb} kB"
        )
        if last.objects > first.objects + _OBJECTS_SLACK or last.peak_kb > first.peak_kb + _MEMORY_SLACK_KB:
            problems += 1
            told.append("  that is a leak")
    return problems, told


if __name__ == "__main__":
    sys.exit(main())
