"""What a run says of itself: the progress line, and the summary as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from weaves.clock import format_duration
from weaves.loader import LiveTapestry
from weaves.realtime import perf_counter
from weaves.strings import ENDED, FAILED, KILLED

# How often the progress is shown, in seconds of the machine's clock: on a terminal, and as plain lines.
_TERMINAL_EVERY_S: Final = 0.1
_PLAIN_EVERY_S: Final = 5.0


class Progress:
    """Shows how far a run is: one changing line on a terminal, a line every few seconds elsewhere."""

    def __init__(self, tapestry: LiveTapestry, console: Console, quiet: bool) -> None:
        self._tapestry = tapestry
        self._console = console
        self._quiet = quiet
        self._started = perf_counter()
        self._shown = self._started
        self._line_open = False

    @property
    def wall_s(self) -> float:
        """Seconds of the machine's clock since the run began."""
        return perf_counter() - self._started

    def __call__(self) -> None:
        """Called after each slice of the run."""
        if self._quiet:
            return
        now = perf_counter()
        if now - self._shown < (_TERMINAL_EVERY_S if self._console.is_terminal else _PLAIN_EVERY_S):
            return
        self._shown = now
        text = self._text()
        if self._console.is_terminal:
            width = self._console.width
            self._console.file.write(f"\r\x1b[2K{text[: width - 1]}")
            self._console.file.flush()
            self._line_open = True
        else:
            print(text, file=self._console.file, flush=True)

    def _text(self) -> str:
        figures = self._tapestry.network.totals()
        strings = self._tapestry.supervisor.strings
        over = sum(1 for string in strings if string.over)
        until = self._tapestry.until_ns
        limit = f" of {format_duration(until)}" if until is not None else ""
        return (
            f"virtual {self._tapestry.now_ns / 1e9:.3f} s{limit} | wall {self.wall_s:.1f} s | "
            f"{figures['packets']:,} packets | {figures['hosts']:,} hosts | {over:,} of {len(strings):,} strings ended"
        )

    def clear(self) -> None:
        """Take the progress line away, before something else is printed."""
        if self._line_open:
            self._console.file.write("\r\x1b[2K")
            self._console.file.flush()
            self._line_open = False


def figures(tapestry: LiveTapestry, wall_s: float, interrupted: bool) -> dict[str, Any]:
    """Everything that the summary says, for `--json`. Times in seconds, sizes in bytes."""
    strings = tapestry.supervisor.strings
    states = [string.state for string in strings]
    network = tapestry.network
    return {
        "tapestry": tapestry.description.name,
        "seed": network.seed,
        "digest": network.digest(),
        "interrupted": interrupted,
        "ok": tapestry.ok and not interrupted,
        "virtual_s": tapestry.now_ns / 1e9,
        "wall_s": round(wall_s, 3),
        "events": int(tapestry.supervisor.scheduler.fired),
        **network.totals(),
        "strings": {
            "total": len(states),
            "ended": states.count(ENDED),
            "failed": states.count(FAILED),
            "killed": states.count(KILLED),
            "running": sum(1 for string in strings if not string.over),
            "stalled": len(tapestry.stalled),
            "restarts": sum(string.restarts for string in strings),
        },
        "links": network.link_figures(),
        "tcp": network.tcp_figures(),
    }


def print_summary(figures: dict[str, Any], console: Console) -> None:
    """The table at the end of `weave run`."""
    links = Table(title=None, header_style="bold", box=None, pad_edge=False)
    links.add_column("link", overflow="fold")
    for heading in ("packets", "bytes", "lost", "queue drops", "mean queueing"):
        links.add_column(heading, justify="right", no_wrap=True)
    for link in figures["links"]:
        links.add_row(
            link["name"], f"{link['packets']:,}", f"{link['bytes']:,}", f"{link['lost']:,}",
            f"{link['queue_drops']:,}", format_duration(round(link["mean_queueing_s"] * 1e9)),
        )  # fmt: skip
    console.print()
    if figures["links"]:
        console.print(links)
        console.print()
    tcp, strings = figures["tcp"], figures["strings"]
    rows = [
        ("tcp", f"{tcp['connections']:,} connections, {tcp['segments_sent']:,} segments sent, "
                f"{tcp['retransmissions']:,} retransmitted"),
        ("strings", f"{strings['ended']:,} ended well, {strings['failed']:,} failed, {strings['killed']:,} killed, "
                    f"{strings['running']:,} still running" + (f", {strings['restarts']:,} restarts"
                                                               if strings["restarts"] else "")),
        ("packets", f"{figures['packets']:,} on {figures['hosts']:,} hosts"),
        ("time", f"{figures['virtual_s']:.6f} s virtual in {figures['wall_s']:.2f} s"),
        ("digest", figures["digest"]),
    ]  # fmt: skip
    for name, text in rows:
        console.print(f"[bold]{name:<8}[/bold] {text}", highlight=False, soft_wrap=True)
    if figures["interrupted"]:
        console.print("[bold]interrupted[/bold]: these are the figures so far", highlight=False)


def write_json(path: Path, figures: dict[str, Any]) -> None:
    """Write the figures to `path`, whole or not at all. Raises `OSError`."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def console_for_run() -> Console:
    """The console that the run writes to: standard error for progress, so that it can be piped away from results."""
    return Console(file=sys.stdout, highlight=False)
