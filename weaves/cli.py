"""The command `weave`: run, check and show a tapestry, and open a shell on its hosts.

Exit codes: 0 all well; 1 a string failed or stalled; 2 wrong input, or an output that cannot be written; 128 + N ended
early by signal N, as shells count: 130 by Ctrl-C, 143 by SIGTERM, 141 because nobody reads the output any more.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import importlib
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn, Self

import uvloop

import weaves
from weaves import report, shell, show
from weaves.figure import in_ascii
from weaves.loader import LiveTapestry, describe, load
from weaves.logs import LogDirectory
from weaves.output import Streams
from weaves.picture import picture
from weaves.report import Report
from weaves.scheduler import Scheduler
from weaves.svg import svg
from weaves.tapestry_errors import TapestryError, suggestion
from weaves.units import parse_wait
from weaves.watchdog import DEFAULT_S

OK: Final = 0
FAILED: Final = 1
WRONG_INPUT: Final = 2
BY_SIGNAL: Final = 128

# Commands that belong to the network, by the name of their module: this package knows no network.
_TOOLS: Final = {"packetdrill": "lunar.packetdrill.cli"}

# In characters, for `weave show` where no terminal tells its width.
_PICTURE_WIDTH: Final = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point of `weave`; returns the exit code. Raises `SystemExit` as argparse does."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words and words[0] in _TOOLS:
        return _run_tool(words[0], words[1:])
    options = _parser().parse_args(arguments)
    if arguments is None and options.action in (_run, _shell):
        _fix_hash_seed()
        _fix_zone()
    try:
        code = int(options.action(options))
        sys.stdout.flush()
        return code
    except TapestryError as error:
        print(error, file=sys.stderr)
        return WRONG_INPUT
    except KeyboardInterrupt as error:
        # Before the run began, or for the second time within it.
        print("interrupted", file=sys.stderr)
        return BY_SIGNAL + _signum(error)
    except BrokenPipeError:
        _forget_output()
        return BY_SIGNAL + signal.SIGPIPE


def _run_tool(name: str, words: list[str]) -> int:
    """A command of the network's, which reads its own arguments."""
    try:
        code = int(importlib.import_module(_TOOLS[name]).main(words))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return BY_SIGNAL + signal.SIGINT
    except BrokenPipeError:
        _forget_output()
        return BY_SIGNAL + signal.SIGPIPE


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with a command line in one line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_INPUT, f"{self.prog}: {message}; {self.prog} --help says more\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="weave",
        description="Run real Python network programs on thousands of virtual hosts, in virtual time.",
        epilog="Exit codes: 0 all well; 1 a string failed or stalled; 2 wrong input, or an output that cannot be "
        "written; 128 + N ended early by signal N (130 Ctrl-C, 143 SIGTERM, 141 nobody reads the output).",
    )
    build = "compiled" if weaves.COMPILED else "interpreted: no C compiler at its installation, or LUNAR_PURE=1"
    parser.add_argument("--version", action="version", version=f"weave {weaves.__version__} ({build})")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    run = commands.add_parser(
        "run",
        help="run a tapestry",
        description="Run a tapestry and print what happened. What its programs print goes to standard output, each "
        "line with the virtual time and the host; progress and failures go to standard error.",
        epilog="Ctrl-C or SIGTERM ends the run early: summary, captures and JSON are of what happened so far.",
    )
    run.add_argument("--seed", type=_integer, metavar="N", help="use this seed in place of the tapestry's")
    run.add_argument("--until", type=_duration, metavar="TIME", help='stop at this virtual time ("90s")')
    run.add_argument("--pcap", type=Path, metavar="DIR", help="write one capture a device to this folder")
    run.add_argument("--logs", type=Path, metavar="DIR", help="write what each weave prints to a file in this folder")
    run.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file, for programs")
    run.add_argument(
        "--watchdog",
        type=_patience,
        metavar="TIME",
        help="how long, in real time, a program may hold up all others before it is named and stopped; "
        f'"off" for ever; default is the tapestry\'s, or {DEFAULT_S:.0f}s',
    )
    run.add_argument(
        "--through-bytes",
        action="store_true",
        help="make and parse the bytes of every packet on every hop (a self-test)",
    )
    run.add_argument("--quiet", action="store_true", help="no progress and no output of the programs, only the summary")
    run.set_defaults(action=_run)

    check = commands.add_parser(
        "check",
        help="validate a tapestry",
        description="Find what is wrong with a tapestry without running it. Its modules are imported, its programs "
        "compiled, its net lines obeyed.",
    )
    check.set_defaults(action=_check)

    opened = commands.add_parser(
        "shell",
        help="open a prompt on the hosts of a tapestry",
        description="Open a prompt on a host of a tapestry, with virtual time under your hand: run 5s, step, and the "
        "commands of hosts (ip, ping, ss ...). help lists them. Lines may come from a file or a pipe, too.",
    )
    opened.add_argument("--host", metavar="NAME", help="begin on this host; default is the first")
    opened.add_argument("--seed", type=_integer, metavar="N", help="use this seed in place of the tapestry's")
    opened.add_argument("--pcap", type=Path, metavar="DIR", help="write one capture a device to this folder")
    opened.set_defaults(action=_shell)

    shown = commands.add_parser(
        "show",
        help="print what a tapestry makes",
        description="Print a picture of the beads, weaves and strings of a tapestry, and what they are. Nothing of it "
        "is imported.",
    )
    shown.add_argument("--svg", type=Path, metavar="FILE", help="write the picture to this file, and print nothing")
    shown.set_defaults(action=_show)
    commands.add_parser(
        "packetdrill", help="run packetdrill scripts", description="weave packetdrill --help says more."
    )
    for command in (run, check, opened, shown):
        command.add_argument("tapestry", type=Path, help="the TOML file")
    return parser


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not an integer') from None


def _duration(text: str) -> int:
    try:
        return parse_wait(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _patience(text: str) -> int:
    return 0 if text == "off" else _duration(text)


def _check(options: argparse.Namespace) -> int:
    tapestry = load(options.tapestry)
    description = tapestry.description
    tapestry.close()
    counts = (
        _count(len(description.hosts), "host"),
        _count(len(description.links), "link"),
        _count(sum(len(weave.strings) for weave in description.weaves), "string"),
    )
    print(f"{options.tapestry}: {', '.join(counts)}: no mistake found")
    return OK


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s'[: number != 1]}"


def _show(options: argparse.Namespace) -> int:
    description = describe(options.tapestry)
    if options.svg is not None:
        try:
            options.svg.write_text(svg(description, picture(description)), encoding="utf-8")
        except OSError as error:
            print(f"weave show: {options.svg}: {error.strerror}", file=sys.stderr)
            return WRONG_INPUT
        return OK
    text = show.as_text(description, shutil.get_terminal_size((_PICTURE_WIDTH, 0)).columns)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        # What a tapestry's own texts hold is escaped, as in its errors.
        text = in_ascii(text).encode(sys.stdout.encoding, "backslashreplace").decode(sys.stdout.encoding)
    print(text)
    return OK


def _shell(options: argparse.Namespace) -> int:
    description = describe(options.tapestry)
    names = [host.name for host in description.hosts]
    if options.host is not None and options.host not in names:
        print(f'weave shell: there is no host "{options.host}"; {suggestion(options.host, names)}', file=sys.stderr)
        return WRONG_INPUT
    watchdog_ns = description.watchdog_ns
    tapestry = load(
        description,
        seed=options.seed,
        watchdog_ns=round(DEFAULT_S * 1_000_000_000) if watchdog_ns is None else watchdog_ns,
        dump=True,
    )
    try:
        if options.pcap is not None:
            tapestry.network.capture(options.pcap)
        return WRONG_INPUT if shell.run(tapestry, options.host or names[0], sys.stdin) else OK
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.filename is None:
            raise  # not of a file of ours
        print(f"weave shell: {error.filename}: {error.strerror}", file=sys.stderr)
        return WRONG_INPUT
    finally:
        tapestry.close()


def _run(options: argparse.Namespace) -> int:
    with _Signals() as signals:
        try:
            _check_writable(options.json)
            description = describe(options.tapestry)
            watchdog_ns = description.watchdog_ns if options.watchdog is None else options.watchdog
            tapestry = load(
                description,
                seed=options.seed,
                until_ns=options.until,
                through_bytes=options.through_bytes,
                watchdog_ns=round(DEFAULT_S * 1_000_000_000) if watchdog_ns is None else watchdog_ns,
                dump=True,
            )
            try:
                capture = None if options.pcap is None else tapestry.network.capture(options.pcap)
                logs = None if options.logs is None else LogDirectory(options.logs)
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    return runner.run(_run_and_report(tapestry, options, capture, logs, signals))
            finally:
                tapestry.close()
        except BrokenPipeError:
            raise
        except OSError as error:
            if error.filename is None:
                raise  # not of a file of ours: a bug, which a traceback describes best
            print(f"weave run: {error.filename}: {error.strerror}", file=sys.stderr)
            return WRONG_INPUT


async def _run_and_report(
    tapestry: LiveTapestry, options: argparse.Namespace, capture: Any, logs: LogDirectory | None, signals: _Signals
) -> int:
    told = Report(tapestry, options.quiet, logs)
    tapestry.supervisor.on_failure = told.failure
    tapestry.supervisor.trace.subscribe_changes(told.change)
    tapestry.supervisor.on_hang = told.hang

    def on_slice() -> None:
        told.on_slice()
        for files in (capture, logs):
            if files is not None and files.error is not None:
                raise files.error
        if signals.caught or told.broken is not None:
            raise _Signalled(signals.caught or signal.SIGPIPE)

    ended_by = 0
    unwritten: OSError | None = None
    with Streams(told.printed, told.printed_error) as streams:
        # A string's last line may have no newline.
        tapestry.supervisor.trace.subscribe_strings(lambda _time, string, _what: streams.finish(string.weave))
        try:
            with signals.asking(tapestry.supervisor.scheduler):
                await tapestry.run(on_slice)
        except KeyboardInterrupt as error:
            ended_by = signals.caught or _signum(error)
        finally:
            told.clear()
        figures = report.figures(tapestry, told.wall_s, bool(ended_by))
        try:
            tapestry.close()  # what programs say in their `finally` clauses still belongs to the run
        except OSError as error:
            unwritten = error
    try:
        if logs is not None:
            logs.close()
    except OSError as error:
        unwritten = unwritten or error
    told.flush()
    try:
        if options.json is not None:
            report.write_json(options.json, figures)
    except OSError as error:
        unwritten = unwritten or error
    if told.broken is not None:
        raise told.broken
    if tapestry.stalled:
        print(tapestry.stall_report(), file=sys.stderr)
    report.print_summary(figures)
    if unwritten is not None:
        raise unwritten
    if ended_by:
        return BY_SIGNAL + ended_by
    return OK if tapestry.ok else FAILED


class _Signalled(KeyboardInterrupt):
    """Ended early by signal `signum`."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def _signum(error: KeyboardInterrupt) -> int:
    return error.signum if isinstance(error, _Signalled) else signal.SIGINT


class _Signals:
    """The signals that end `weave run`, as a context. While strings run (`asking`), the first one is noted in `caught`
    and stops the scheduler between two events; otherwise, and for the second one, `_Signalled` is raised at once.
    """

    def __init__(self) -> None:
        self.caught = 0
        self._scheduler: Scheduler | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                # One that is ignored stays so: nohup(1) asks for that.
                if signal.getsignal(signum) is not signal.SIG_IGN:
                    self._before[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(self, *_exc: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    @contextmanager
    def asking(self, scheduler: Scheduler) -> Iterator[None]:
        """Within it, the first signal is a request."""
        self._scheduler = scheduler
        try:
            yield
        finally:
            self._scheduler = None

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        if self._scheduler is None or self.caught:
            raise _Signalled(signum)
        self.caught = signum
        self._scheduler.stop()


def _check_writable(path: Path | None) -> None:
    """Find out now, not after the run, that the figures cannot be written. Raises `OSError`."""
    if path is None:
        return
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder; expected a file to write the figures to", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder to write the figures to", str(path.parent))
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(errno.EACCES, "not writable; expected a file to write the figures to", str(path))


def _forget_output() -> None:
    """Whoever read our output has gone; the interpreter must not complain of it at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fix_hash_seed() -> None:
    """Start again with a fixed hash seed: the order of a set of strings would differ from run to run otherwise."""
    if not sys.flags.hash_randomization or "PYTHONHASHSEED" in os.environ or not sys.executable:
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "PYTHONHASHSEED": "0"})


def _fix_zone() -> None:
    """Let local time be UTC: what a program prints of it would differ from machine to machine otherwise."""
    os.environ["TZ"] = "UTC"
    time.tzset()


if __name__ == "__main__":
    sys.exit(main())
