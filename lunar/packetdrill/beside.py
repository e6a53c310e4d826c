"""A script's packets on Lunar and on the machine's kernel, side by side: `weave packetdrill --both SCRIPT`.

A row is a packet: "<" goes to the stack, ">" comes from it, at the time in front. Between the columns a "|" says that
the packets differ, a "(" or a ")" that only the left or the right stack has it. Times are not compared, nor the values
of timestamps and cookies, which each stack draws for itself.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import re
from pathlib import Path
from typing import Final

from lunar.packetdrill import kernel_runs, suite
from lunar.packetdrill.backend import Settings
from lunar.packetdrill.lunar_host import LunarHost
from lunar.packetdrill.suite import Result

_PACKET: Final = re.compile(r"(inbound injected|outbound sniffed) packet:\s+([0-9.]+) (.*)")
_DRAWN: Final = re.compile(r"TS val \d+ ecr \d+|FO(EXP)? [0-9a-f]+")
_TITLES: Final = ("Lunar", "the machine's kernel")


def run(path: Path, settings: Settings) -> tuple[str, tuple[Result, Result]]:
    """The text, and what came of the script on Lunar and on the kernel. Raises `KernelUnavailable`."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        ours = suite.run(path, settings, LunarHost, verbose=True)
    theirs, said_there = kernel_runs.run_one(path, settings)
    columns = (said.getvalue(), ours), (said_there, theirs)
    rows = _rows(*(_packets(text) for text, _ in columns))
    width = max([len(left) for left, _, _ in rows] + [len(_TITLES[0])])
    lines = [f"{_TITLES[0]:{width}}   {_TITLES[1]}"]
    lines += [f"{left:{width}} {mark} {right}".rstrip() for left, mark, right in rows]
    for title, (_, result) in zip(_TITLES, columns, strict=True):
        lines += ["", f"{title}: {'OK' if result.error is None else result.error}"]
    return "\n".join(lines), (ours, theirs)


def _packets(text: str) -> list[tuple[str, str]]:
    """(time, packet) of each packet that the runner has told of."""
    found = []
    for line in text.splitlines():
        told = _PACKET.match(line)
        if told is not None:
            found.append((told[2], f"{'<' if told[1].startswith('in') else '>'} {told[3].strip()}"))
    return found


def _rows(ours: list[tuple[str, str]], theirs: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """Left, mark, right; packets that are the same stand in one row."""
    left, right = ([_DRAWN.sub("", packet) for _, packet in side] for side in (ours, theirs))
    rows: list[tuple[str, str, str]] = []
    for kind, first, end, other_first, other_end in difflib.SequenceMatcher(None, left, right, False).get_opcodes():
        here = [" ".join(packet) for packet in ours[first:end]]
        there = [" ".join(packet) for packet in theirs[other_first:other_end]]
        for at in range(max(len(here), len(there))):
            if at >= len(here):
                rows.append(("", ")", there[at]))
            elif at >= len(there):
                rows.append((here[at], "(", ""))
            else:
                rows.append((here[at], " " if kind == "equal" else "|", there[at]))
    return rows
