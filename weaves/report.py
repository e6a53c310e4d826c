"""What a run says of itself: while it goes on (`Report`), and at its end, as a table for people, as JSON for programs.

Programs' output and the summary go to standard output; progress and failures to standard error, so that a pipe or a
file gets results only.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from weaves.clock import format_duration
from weaves.clock_plan import HARD_LIMIT, REAL, VIRTUAL
from weaves.hang import HangReport
from weaves.lateness import lateness_of
from weaves.loader import LiveTapestry
from weaves.logs import LogDirectory
from weaves.realtime import perf_counter
from weaves.strings import ENDED, FAILED, KILLED, String
from weaves.supervisor import Supervisor
from weaves.weave import Weave

# How often the progress is shown, in seconds of the machine's clock: on a terminal, and as plain lines.
TERMINAL_EVERY_S: Final = 0.1
PLAIN_EVERY_S: Final = 5.0

# So many failures are told with their tracebacks. Where thousands of hosts fail, they mostly fail alike.
FULL_FAILURES: Final = 10

# So many links are in the table of the summary, the busiest; the JSON has all.
TABLE_LINKS: Final = 20

_HANGS: Final = "ended by the machine's clock, so this run is not repeatable"

# Lines of programs are aligned behind names of up to so many characters.
_LABEL_WIDTH: Final = 24

_PACKAGE: Final = str(Path(__file__).parent)
_IMPORTS: Final = str(Path(__file__).with_name("modules.py"))


class Report:
    """What people see of a run that goes on: lines of its programs, failures, and how far it is.

    On a terminal the progress is one changing line, elsewhere a line every few seconds, in real time only if something
    has moved since the last: a server is not to fill a file with lines that say nothing. `broken` is set once standard
    output takes no more; nobody is told of that here, because the caller may be a program inside a weave.
    """

    def __init__(self, tapestry: LiveTapestry, quiet: bool, logs: LogDirectory | None = None) -> None:
        self._tapestry = tapestry
        self._quiet = quiet
        self._logs = logs
        self._output: Final[TextIO] = sys.stdout
        self._errors: Final[TextIO] = sys.stderr
        self._on_terminal = self._errors.isatty() and os.environ.get("TERM") != "dumb"
        self._every_s = TERMINAL_EVERY_S if self._on_terminal else PLAIN_EVERY_S
        self._started = perf_counter()
        self._shown = self._started
        self._line_open = False
        self._told = ""
        self._failures = 0
        self.broken: OSError | None = None
        self._labels = _labels(string.weave for string in tapestry.supervisor.strings)
        self._width = min(_LABEL_WIDTH, max(map(len, self._labels.values()), default=0))

    @property
    def wall_s(self) -> float:
        """Seconds of the machine's clock since the run began."""
        return perf_counter() - self._started

    # The programs

    def printed(self, weave: Weave, text: str) -> None:
        """A program has written a line to its standard output."""
        self._program_line(self._output, weave, text)

    def printed_error(self, weave: Weave, text: str) -> None:
        """A program has written a line to its standard error."""
        self._program_line(self._errors, weave, text)

    def _program_line(self, stream: TextIO, weave: Weave, text: str) -> None:
        if self._logs is not None:
            self._logs.write(weave, self._tapestry.now_ns, "out" if stream is self._output else "err", text)
        if not self._quiet:
            label = self._labels.get((weave.host.name, weave.name), weave.host.name)
            self._say(stream, f"[{self._tapestry.now_ns / 1e9:11.6f} {label:<{self._width}}] {text}\n")

    def raw(self, text: str) -> None:
        """Text as it is, on standard output."""
        self._say(self._output, text)

    def change(self, time_ns: int, name: str, what: str) -> None:
        """Something befell a host or a link."""
        if not self._quiet:
            self._say(self._errors, f"[{time_ns / 1e9:11.6f} {name:<{self._width}}] {what}\n")

    def failure(self, string: String) -> None:
        """A string has failed: the first ones with all that is known, the others in a line each."""
        self._failures += 1
        at = format_duration(self._tapestry.now_ns)
        self._say(self._errors, f"failed at {at}: {failure_text(string, self._failures <= FULL_FAILURES)}\n")
        if self._failures == FULL_FAILURES:
            self._say(self._errors, f"({FULL_FAILURES} failures so far; from here on each is one line)\n")

    def hang(self, report: HangReport) -> None:
        """The watchdog, perhaps in its own thread, tells of code that keeps the others from going on."""
        self._say(self._errors, f"{report.text()}\n")

    # How far it is

    def on_slice(self) -> None:
        """Called every few milliseconds of the run: show how far it is, when it is time to."""
        self.flush()
        if self._quiet:
            return
        now = perf_counter()
        if now - self._shown < self._every_s:
            return
        self._shown = now
        text, moved = self._progress()
        if not moved and not self._on_terminal and self._tapestry.supervisor.pace is not None:
            return
        with suppress(OSError):
            if self._on_terminal:
                width = os.get_terminal_size(self._errors.fileno()).columns or 80
                self._errors.write(f"\r\x1b[2K{text[: width - 1]}")
                self._line_open = True
            else:
                self._errors.write(f"{text}\n")
            self._errors.flush()

    def _progress(self) -> tuple[str, bool]:
        """How far it is, and whether anything but time has moved since the last call."""
        figures = self._tapestry.network.totals()
        strings = self._tapestry.supervisor.strings
        over = sum(1 for string in strings if string.over)
        until = self._tapestry.until_ns
        limit = f" of {format_duration(until)}" if until is not None else ""
        pace = self._tapestry.supervisor.pace
        late = "" if pace is None else f"late by up to {_short(int(pace.meter.max_ns))} | "
        packets, hosts = figures["packets"], figures["hosts"]
        done = f"{packets:,} packets | {hosts:,} hosts | {over:,} of {len(strings):,} strings ended"
        moved, self._told = done != self._told, done
        return f"virtual {self._tapestry.now_ns / 1e9:.3f} s{limit} | wall {self.wall_s:.1f} s | {late}{done}", moved

    def clear(self) -> None:
        """Take the progress line away, before something else is printed."""
        if self._line_open:
            self._line_open = False
            with suppress(OSError):
                self._errors.write("\r\x1b[2K")
                self._errors.flush()

    def flush(self) -> None:
        """Let what was written be seen."""
        if self.broken is None:
            try:
                self._output.flush()
            except OSError as error:
                self.broken = error

    def _say(self, stream: TextIO, text: str) -> None:
        self.clear()
        if stream is self._errors:
            self.flush()  # in the order of events, where both are one file
            with suppress(OSError):
                stream.write(text)
                stream.flush()
        elif self.broken is None:
            try:
                stream.write(text)
            except OSError as error:
                self.broken = error


def _labels(weaves: Iterable[Weave]) -> dict[tuple[str, str], str]:
    """Whose line it is: the host's name, with the weave's where the host has several. By names: a host that boots again
    has other weaves of the same names.
    """
    named = dict.fromkeys((weave.host.name, weave.name) for weave in weaves)
    on_host = Counter(host for host, _ in named)
    return {(host, name): host if on_host[host] == 1 else f"{host}/{name}" for host, name in named}


def failure_text(string: String, full: bool) -> str:
    """Host, weave, string and why: with the traceback if `full`, otherwise in one line."""
    error = string.error
    assert error is not None, "the failure of a string that has not failed"
    place = f"host {string.weave.host.name}, weave {string.weave.name}, string {string.name}"
    if isinstance(error, SystemExit):
        # What the program decided itself: its code, or its words, which Python prints and makes code 1.
        code = error.code
        said = f"exited with code {int(code)}" if isinstance(code, int) else f"exited with code 1: {code}"
    elif full:
        return f"{place}:\n{_traceback(error)}"
    else:
        said = "".join(traceback.format_exception_only(error)).strip()
    return f"{place}: {said if full else _first_line(said)}"


def _first_line(text: str) -> str:
    head, newline, _ = text.partition("\n")
    return f"{head} ..." if newline else head


def _traceback(error: BaseException) -> str:
    told = traceback.TracebackException.from_exception(error)
    # How this package called the program, and what it did for an import, says nothing to the program's author.
    while told.stack and os.path.dirname(told.stack[0].filename) == _PACKAGE:
        del told.stack[0]
    told.stack[:] = [frame for frame in told.stack if frame.filename != _IMPORTS]
    return "".join(told.format()).rstrip()


# The end of a run


def figures(tapestry: LiveTapestry, wall_s: float, interrupted: bool) -> dict[str, Any]:
    """Everything that the summary says, for `--json`. Times in seconds, sizes in bytes."""
    strings = tapestry.supervisor.strings
    past = tapestry.supervisor.forgotten
    states = Counter(string.state for string in strings)
    states.update({state: past[state] for state in (ENDED, FAILED, KILLED)})
    network = tapestry.network
    return {
        "tapestry": tapestry.description.name,
        "seed": network.seed,
        "digest": network.digest(),
        "interrupted": interrupted,
        "ok": tapestry.ok and not interrupted,
        "hangs": len(tapestry.supervisor.hangs),
        "virtual_s": tapestry.now_ns / 1e9,
        "wall_s": round(wall_s, 3),
        "events": int(tapestry.supervisor.scheduler.fired),
        **network.totals(),
        "strings": {
            "total": states.total(),
            "ended": states[ENDED],
            "failed": states[FAILED],
            "killed": states[KILLED],
            "running": sum(1 for string in strings if not string.over),
            "stalled": len(tapestry.stalled),
            "restarts": past["restarts"] + sum(string.restarts for string in strings),
            "exit_codes": _exit_codes(strings),
        },
        "links": network.link_figures(),
        "tcp": network.tcp_figures(),
        **network.outside_figures(),
        "clock": _clock_figures(tapestry.supervisor),
    }


def _clock_figures(supervisor: Supervisor) -> dict[str, Any]:
    pace, log = supervisor.pace, supervisor.log
    if pace is None:
        return {"kind": VIRTUAL}
    lateness = lateness_of(pace.meter)
    return {
        "kind": REAL,
        "speed": pace.plan.speed,
        "late": pace.plan.late,
        "late_limit_s": pace.plan.late_limit_ns / 1e9 if pace.plan.late == HARD_LIMIT else None,
        "events": lateness.events,
        "lateness_median_s": lateness.median_s,
        "lateness_p99_s": lateness.p99_s,
        "lateness_max_s": lateness.max_s,
        "later_than_1ms": lateness.late,
        "recorded": None if log is None else {"file": log.path, "inputs": log.inputs},
    }


def _exit_codes(strings: list[String]) -> dict[str, int]:
    """How many strings ended with each exit code, in the order of the codes."""
    codes = Counter(string.exit_code for string in strings if string.exit_code is not None)
    return {str(code): codes[code] for code in sorted(codes)}


def print_summary(figures: dict[str, Any]) -> None:
    """The tables at the end of `weave run`, on standard output."""
    console = Console(file=sys.stdout, highlight=False, markup=False, soft_wrap=True)
    console.print()
    if figures["links"]:
        console.print(_links_table(figures["links"]))
        if len(figures["links"]) > TABLE_LINKS:
            console.print(f"the busiest {TABLE_LINKS} of {len(figures['links']):,} links; --json FILE has all")
        console.print()
    tcp, strings = figures["tcp"], figures["strings"]
    strings_text = (
        f"{strings['ended']:,} ended well, {strings['failed']:,} failed, {strings['killed']:,} killed, "
        f"{strings['running']:,} still running"
    )
    if strings["restarts"]:
        strings_text += f", {strings['restarts']:,} restarts"
    rows = [
        (
            "tcp",
            f"{tcp['connections']:,} connections, {tcp['segments_sent']:,} segments sent, "
            f"{tcp['retransmissions']:,} retransmitted",
        ),
        # A replay opens no socket: there "0 frames" would be beside the packets that its links carried.
        *(("udp", _udp_text(link)) for link in figures["udp_links"] if "replay" not in figures),
        *(("gateway", _gateway_text(gateway)) for gateway in figures["gateway"]),
        *(("kernel", _tap_text(tap)) for tap in figures["taps"] if tap["sent"] or tap["received"] or tap["refused"]),
        ("strings", strings_text),
        ("packets", f"{figures['packets']:,} on {figures['hosts']:,} hosts"),
        ("time", f"{figures['virtual_s']:.6f} s virtual in {figures['wall_s']:.2f} s"),
        *_clock_rows(figures["clock"]),
        ("digest", figures["digest"]),
    ]
    if "replay" in figures:
        rows.append(("replay", figures["replay"]["text"]))
    if figures["hangs"]:
        rows.append(("watchdog", f"hangs: {figures['hangs']:,}; {_HANGS}"))
    if figures["interrupted"]:
        rows.append(("interrupted", "these are the figures so far"))
    for name, text in rows:
        console.print(Text.assemble((f"{name:<8}", "bold"), " ", text))


# What befell a UDP link, as its figures name it, and as it is told where there was some of it.
_UDP_TROUBLE: Final = {
    "refused": "refused", "foreign": "foreign", "short": "too short", "long": "too long", "bad_tag": "with a wrong tag",
    "replayed": "replayed", "missing": "missing", "no_room_in": "without room here",
    "no_room_out": "without room to leave",
    "failed_out": "not sent", "unsent": "without a key agreed", "early": "too early",
}  # fmt: skip


# The same of a device of the machine's kernel.
_TAP_TROUBLE: Final = {"refused": "not taken by the device", "oversized": "larger than the MTU"}


def _udp_text(link: dict[str, Any]) -> str:
    trouble = "".join(f", {link[key]:,} {text}" for key, text in _UDP_TROUBLE.items() if link[key])
    return f"{link['name']}: {link['frames_out']:,} frames out, {link['frames_in']:,} in{trouble}"


def _gateway_text(gateway: dict[str, Any]) -> str:
    return (
        f"{gateway['connections']:,} connections by {gateway['host']}, {gateway['failed']:,} failed, "
        f"{gateway['bytes_in']:,} bytes in, {gateway['bytes_out']:,} out"
    )


def _short(ns: int) -> str:
    """A duration with three digits."""
    digits = len(str(ns)) - 3
    return format_duration(round(ns, -digits) if digits > 0 else ns)


def _clock_rows(clock: dict[str, Any]) -> list[tuple[str, str]]:
    if clock["kind"] == VIRTUAL:
        return []
    late = [_short(round(clock[f"lateness_{name}_s"] * 1e9)) for name in ("median", "p99", "max")]
    text = f"real, speed {clock['speed']:g}: events late by {late[0]} (median), {late[1]} (99%), {late[2]} (most); "
    rows = [("clock", f"{text}{clock['later_than_1ms']:,} of {clock['events']:,} by more than 1ms")]
    if clock["recorded"] is not None:
        rows.append(("session", f"{clock['recorded']['inputs']:,} inputs recorded to {clock['recorded']['file']}"))
    return rows


def _tap_text(tap: dict[str, Any]) -> str:
    trouble = "".join(f", {tap[key]:,} {text}" for key, text in _TAP_TROUBLE.items() if tap[key])
    return f"{tap['name']}: {tap['sent']:,} frames out, {tap['received']:,} in{trouble}"


def _links_table(links: list[dict[str, Any]]) -> Table:
    table = Table(title=None, header_style="bold", box=None, pad_edge=False)
    table.add_column("link", overflow="fold")
    for heading in ("packets", "bytes", "lost", "queue drops", "mean queueing"):
        table.add_column(heading, justify="right", no_wrap=True)
    busiest = sorted(links, key=lambda link: int(link["packets"]), reverse=True)[:TABLE_LINKS]
    for link in busiest if len(links) > TABLE_LINKS else links:
        table.add_row(
            Text(link["name"]), f"{link['packets']:,}", f"{link['bytes']:,}", f"{link['lost']:,}",
            f"{link['queue_drops']:,}", format_duration(round(link["mean_queueing_s"] * 1e9)),
        )  # fmt: skip
    return table


def write_json(path: Path, figures: dict[str, Any]) -> None:
    """Write the figures to `path`, whole or not at all. Raises `OSError` with the path."""
    text = json.dumps(figures, indent=2) + "\n"
    try:
        if path.exists() and not path.is_file():  # a pipe, /dev/null
            path.write_text(text, encoding="utf-8")
            return
        target = path.resolve()  # what a link points to, not the link
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            beside.write_text(text, encoding="utf-8")
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"cannot write the figures: {error.strerror}", str(path)) from error
