"""The command `weave`: run, replay, check and show a tapestry, and open a shell on its hosts.

Exit codes: 0 all well; 1 a string failed or stalled; 2 wrong input, or an output that cannot be written; 128 + N ended
early by signal N, as shells count: 130 by Ctrl-C, 143 by SIGTERM, 141 because nobody reads the output any more.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

import weaves
from weaves import run_command, shell, show
from weaves.clock_plan import BEST_EFFORT, HARD_LIMIT, REAL, VIRTUAL, parse_speed
from weaves.endpoints import parse_forward, parse_listen
from weaves.figure import in_ascii
from weaves.loader import describe, load
from weaves.picture import picture
from weaves.readers import span
from weaves.run_command import BY_SIGNAL, OK, WRONG_INPUT, hash_seed_of, signum_of
from weaves.svg import svg
from weaves.tapestry_errors import TapestryError, suggestion
from weaves.units import parse_wait
from weaves.watchdog import DEFAULT_S

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
    if arguments is None and options.action in (run_command.run, run_command.replay, _shell):
        _fix_hash_seed(hash_seed_of(options.session) if options.action is run_command.replay else "0")
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
        return BY_SIGNAL + signum_of(error)
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
    _add_outputs(run)
    _add_clock(run)
    _add_gateway(run)
    run.add_argument(
        "--through-bytes",
        action="store_true",
        help="make and parse the bytes of every packet on every hop (a self-test)",
    )
    run.set_defaults(action=run_command.run)

    replay = commands.add_parser(
        "replay",
        help="repeat a session that weave run --record has logged",
        description="Repeat a session exactly, in virtual time and without anything of the outside: the same inputs at "
        "the same moments. Prints what its programs print, as weave run does, and whether the digest is the recorded "
        "one.",
        epilog="Exit codes: 0 the run is the recorded one; 1 it differs; 2 wrong input; 128 + N ended early by signal "
        "N.",
    )
    _add_outputs(replay)
    replay.add_argument("--tapestry", type=Path, metavar="FILE", help="where the tapestry is, if it is elsewhere now")
    replay.add_argument("session", type=Path, help="the file that the session was recorded to")
    replay.set_defaults(action=run_command.replay)

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


def _add_outputs(command: argparse.ArgumentParser) -> None:
    """The options that say what is told of a run, and where."""
    command.add_argument("--pcap", type=Path, metavar="DIR", help="write one capture a device to this folder")
    command.add_argument(
        "--logs", type=Path, metavar="DIR", help="write what each weave prints to a file in this folder"
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file, for programs")
    command.add_argument(
        "--watchdog",
        type=_patience,
        metavar="TIME",
        help="how long, in real time, a program may hold up all others before it is named and stopped; "
        f'"off" for ever; default is the tapestry\'s, or {DEFAULT_S:.0f}s',
    )
    command.add_argument(
        "--quiet", action="store_true", help="no progress and no output of the programs, only the summary"
    )


def _add_clock(command: argparse.ArgumentParser) -> None:
    """The options of a run in real time; each is in place of the tapestry's."""
    command.add_argument(
        "--clock", choices=(VIRTUAL, REAL), help="virtual time, which jumps, or that of the machine's clock"
    )
    command.add_argument(
        "--speed", type=_speed, metavar="X", help="so many virtual seconds a real one; the clock is real then"
    )
    command.add_argument(
        "--late",
        choices=(BEST_EFFORT, HARD_LIMIT),
        help="when the run falls behind the machine's clock: go on as fast as it can, or stop past a bound",
    )
    command.add_argument("--late-limit", type=_span, metavar="TIME", help='that bound, in real time ("10ms")')
    command.add_argument(
        "--busy-poll",
        type=_duration,
        metavar="TIME",
        help='how long to look for what comes next without sleeping, after something came, in real time ("50us")',
    )
    command.add_argument(
        "--record", type=Path, metavar="FILE", help="log all that comes in from outside to this file, for weave replay"
    )


def _add_gateway(command: argparse.ArgumentParser) -> None:
    """The options by which programs of the machine come in. They stay texts, with which a session is recorded."""
    command.add_argument(
        "--proxy",
        type=_listen,
        metavar="PORT",
        help="let programs of this machine reach the hosts by a SOCKS5 and HTTP proxy at this port of 127.0.0.1, or at "
        "ADDRESS:PORT; the clock is real then, and the run goes on until Ctrl-C or --until",
    )
    command.add_argument(
        "--forward",
        type=_forward,
        action="append",
        metavar='"PORT -> HOST:PORT"',
        help='let a port of this machine be one of a virtual host: "8080 -> server:80"; may be given several times',
    )
    command.add_argument("--gateway", metavar="HOST", help="the host that makes the connections; default is the first")


def _listen(text: str) -> str:
    return _checked(parse_listen, text)


def _forward(text: str) -> str:
    return _checked(parse_forward, text)


def _checked(parse: Callable[[str], object], text: str) -> str:
    try:
        parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _speed(text: str) -> float:
    try:
        return parse_speed(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _span(text: str) -> int:
    try:
        return span(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


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
        *([_count(len(description.kernels), "kernel")] if description.kernels else []),
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
    if not names:
        print("weave shell: there is no virtual host to open a prompt on", file=sys.stderr)
        return WRONG_INPUT
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


def _forget_output() -> None:
    """Whoever read our output has gone; the interpreter must not complain of it at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fix_hash_seed(seed: str) -> None:
    """Start again with this hash seed: the order of a set of strings would differ from run to run otherwise."""
    if not sys.flags.hash_randomization or "PYTHONHASHSEED" in os.environ or not sys.executable:
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "PYTHONHASHSEED": seed})


def _fix_zone() -> None:
    """Let local time be UTC: what a program prints of it would differ from machine to machine otherwise."""
    os.environ["TZ"] = "UTC"
    time.tzset()


if __name__ == "__main__":
    sys.exit(main())
