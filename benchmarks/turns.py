"""Runs contestants in turn, several rounds in one go, and prints medians and ratios.

A machine's speed drifts; what is measured side by side, A B A B ..., can be compared all the same. Each contestant is a
process of its own (this interpreter, the benchmark's file, the contestant's name) that prints one number.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Sequence


def measure(command: Sequence[str]) -> float | str:
    """The number that `command` prints last, or why there is none."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        return (done.stderr.strip().splitlines() or ["no output"])[-1]
    return float(lines[-1])


def compare(title: str, unit: str, contestants: dict[str, Sequence[str]], rounds: int, goal: float | None) -> None:
    """Measure each contestant `rounds` times in turn. Ratios are of the first to each other one, round by round."""
    print(f"{title}: {rounds} rounds, each contestant in turn")
    figures: dict[str, list[float]] = {name: [] for name in contestants}
    broken: dict[str, str] = {}
    for number in range(rounds):
        for name, command in contestants.items():
            if name in broken:
                continue
            result = measure(command)
            if isinstance(result, str):
                broken[name] = result
            else:
                figures[name].append(result)
        print(f"  round {number + 1}: " + ", ".join(f"{n} {f[-1]:,.0f}" for n, f in figures.items() if f), flush=True)
    first = next(iter(contestants))
    for name, values in figures.items():
        if name in broken:
            print(f"  {name:<34} not measured: {broken[name]}")
        else:
            low, middle, high = min(values), statistics.median(values), max(values)
            print(f"  {name:<34} median {middle:>12,.0f} {unit}   (min {low:,.0f}, max {high:,.0f})")
    if first in broken:
        sys.exit(1)
    for name, values in list(figures.items())[1:]:
        if name not in broken:
            ratios = [ours / theirs for ours, theirs in zip(figures[first], values, strict=True)]
            aim = f"   (goal: at least {goal}x)" if goal is not None else ""
            print(f"  ratio {first} / {name}: median {statistics.median(ratios):.2f}x{aim}")
            goal = None
    print()
