"""The command `weave`: run, check and show a tapestry.

Exit codes: 0 all well; 1 a string failed or stalled; 2 wrong input; 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import uvloop

import weaves
from weaves import report, show
from weaves.clock import format_duration
from weaves.loader import LiveTapestry, load
from weaves.output import Streams
from weaves.strings import String, Weave
from weaves.tapestry import read
from weaves.tapestry_errors import TapestryError
from weaves.units import parse_wait

OK: Final = 0
FAILED: Final = 1
WRONG_INPUT: Final = 2
INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point of `weave`; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    # Called with arguments, we are a part of somebody's process, which is not ours to start again.
    options.restart = arguments is None
    if options.command is None:
        parser.print_help()
        return WRONG_INPUT
    try:
        return int(options.action(options))
    except TapestryError as error:
        print(error, file=sys.stderr)
        return WRONG_INPUT
    except KeyboardInterrupt:
        # Before the run began, or for the second time within it.
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; the interpreter must not complain of it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="weave",
        description="Run real Python network programs on thousands of virtual hosts, in virtual time.",
        epilog="Exit codes: 0 all well, 1 a string failed or stalled, 2 wrong input, 130 interrupted.",
    )
    build = "compiled" if weaves.COMPILED else "interpreted: no C compiler at its installation, or LUNAR_PURE=1"
    parser.add_argument("--version", action="version", version=f"weave {weaves.__version__} ({build})")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    run = commands.add_parser("run", help="run a tapestry", description="Run a tapestry and print what happened.")
    run.add_argument("tapestry", type=Path, help="the TOML file")
    run.add_argument("--seed", type=int, help="use this seed in place of the tapestry's")
    run.add_argument("--until", type=_duration, metavar="TIME", help='stop at this virtual time ("90s")')
    run.add_argument("--pcap", type=Path, metavar="DIR", help="write one capture a device to this folder")
    run.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file, for programs")
    run.add_argument(
        "--through-bytes", action="store_true", help="make and parse the bytes of every packet on every hop (a self-test)"
    )
    run.add_argument("--quiet", action="store_true", help="no progress and no output of the programs, only the summary")
    run.set_defaults(action=_run)

    check = commands.add_parser(
        "check", help="validate a tapestry", description="Find what is wrong with a tapestry without running it."
    )
    check.add_argument("tapestry", type=Path, help="the TOML file")
    check.set_defaults(action=_check)

    shown = commands.add_parser(
        "show", help="print what a tapestry makes", description="Print the hosts, weaves and strings of a tapestry."
    )
    shown.add_argument("tapestry", type=Path, help="the TOML file")
    shown.set_defaults(action=_show)
    return parser


def _duration(text: str) -> int:
    try:
        return parse_wait(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _check(options: argparse.Namespace) -> int:
    tapestry = load(options.tapestry)
    description = tapestry.description
    strings = sum(len(host.strings) for host in description.hosts)
    tapestry.close()
    print(
        f"{options.tapestry}: {len(description.hosts)} hosts, {len(description.links)} links, {strings} strings: no mistake found"
    )
    return OK


def _show(options: argparse.Namespace) -> int:
    print(show.as_text(read(options.tapestry)))
    return OK


def _run(options: argparse.Namespace) -> int:
    if options.restart:
        _fix_hash_seed()
    tapestry = load(options.tapestry, seed=options.seed, through_bytes=options.through_bytes)
    if options.until is not None:
        tapestry.until_ns = options.until
    try:
        if options.pcap is not None:
            tapestry.network.capture(options.pcap)
        _check_writable(options.json)
    except OSError as error:
        tapestry.close()
        print(f"weave run: {error}" if error.filename is None else f"weave run: {error.filename}: {error.strerror}",
              file=sys.stderr)
        return WRONG_INPUT
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run_and_report(tapestry, options))


async def _run_and_report(tapestry: LiveTapestry, options: argparse.Namespace) -> int:
    console = report.console_for_run()
    progress = report.Progress(tapestry, console, options.quiet)

    def line(weave: Weave, text: str) -> None:
        if not options.quiet:
            progress.clear()
            print(f"[{tapestry.now_ns / 1e9:11.6f} {weave.host.name}] {text}", file=console.file)

    def failure(string: String) -> None:
        progress.clear()
        at = format_duration(tapestry.now_ns)
        print(f"failed at {at}: {string.describe_failure()}", file=sys.__stderr__, flush=True)

    tapestry.supervisor.on_failure = failure
    interrupted = False
    try:
        with Streams(line):
            await tapestry.run(progress)
    except asyncio.CancelledError:
        # Ctrl-C: asyncio's runner cancels the main task at the first one.
        interrupted = True
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()
    finally:
        progress.clear()
        wall_s = progress.wall_s
        figures = report.figures(tapestry, wall_s, interrupted)
        tapestry.close()
    if tapestry.stalled:
        print(tapestry.stall_report(), file=sys.stderr)
    report.print_summary(figures, console)
    if options.json is not None:
        report.write_json(options.json, figures)
    if interrupted:
        return INTERRUPTED
    return OK if tapestry.ok else FAILED


def _check_writable(path: Path | None) -> None:
    """Find out now, not after the run, that the figures cannot be written."""
    if path is None:
        return
    if path.is_dir():
        raise IsADirectoryError(21, "is a folder; expected a file to write the figures to", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(2, "no such folder", str(path.parent))
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(13, "not writable", str(path.parent))


def _fix_hash_seed() -> None:
    """Start again with a fixed hash seed: the order of a set of strings would differ from run to run otherwise."""
    if not sys.flags.hash_randomization or os.environ.get("PYTHONHASHSEED", "random") != "random":
        return
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    sys.stdout.flush()
    sys.stderr.flush()
    # The command as it was typed: `-m weaves.cli` in its place would find the packages of the current folder first.
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


if __name__ == "__main__":
    sys.exit(main())
