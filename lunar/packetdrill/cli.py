"""`weave packetdrill [OPTION...] SCRIPT_OR_FOLDER...`: run scripts, say which passed and what is wrong with the others.

Exit codes: 0 all passed; 1 one failed; 2 wrong input.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NoReturn

from lunar.kernel.namespace import KernelUnavailable
from lunar.packetdrill import options, suite
from lunar.packetdrill.backend import Backend, Settings
from lunar.packetdrill.lunar_host import LunarHost
from lunar.packetdrill.suite import Result

PASSED: Final = 0
FAILED: Final = 1
WRONG_INPUT: Final = 2

_FAMILIES: Final = {options.IPV4: "IPv4", options.IPV6: "IPv6", options.MAPPED: "IPv4"}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_INPUT, f"{self.prog}: {message}; {self.prog} --help says more\n")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a count; expected 1 or more")
    return int(text)


def _arguments(words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = _Parser(
        prog="weave packetdrill",
        usage="weave packetdrill [-v] [-q] [--kernel | --both] [--tries N] [--jobs N] [-D NAME=VALUE] "
        "[--OPTION=VALUE] SCRIPT_OR_FOLDER ...",
        description="Run packetdrill scripts against a virtual host, in virtual time, or the machine's kernel.",
        epilog="Other options are the tool's own, as --tolerance_usecs=10000 or --mtu=1500: docs/packetdrill.md has "
        "them all. Exit codes: 0 all passed; 1 one failed; 2 wrong input.",
        allow_abbrev=False,
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="print each packet")
    parser.add_argument("-q", "--quiet", action="store_true", help="of scripts that pass print nothing")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--kernel", action="store_true", help="against the machine's kernel, in a network namespace; needs root"
    )
    where.add_argument(
        "--both", action="store_true", help="show the packets of Lunar and of the machine's kernel side by side"
    )
    parser.add_argument(
        "--tries", type=_count, default=1, metavar="N",
        help="with --kernel, run a script that fails because of a time up to N times: the machine may have been busy",
    )
    parser.add_argument("--jobs", type=_count, default=1, metavar="N", help="run so many at once, each in a process")
    parser.add_argument("-D", "--define", action="append", default=[], metavar="NAME=VALUE", help="what a word means")
    parser.add_argument("paths", nargs="*", type=Path, metavar="SCRIPT_OR_FOLDER")
    return parser.parse_known_args(words)


def main(words: Sequence[str]) -> int:
    """What follows `weave packetdrill`; the exit code. Raises `SystemExit` as argparse does."""
    given, others = _arguments(words)
    try:
        settings = _settings(given, others)
        paths = suite.find(given.paths, settings.ip_version)
        if not given.paths:
            raise ValueError("expected a script or a folder with some")
        if not paths:
            where = " ".join(map(str, given.paths))
            raise ValueError(f"there are no scripts (*.pkt) for {_FAMILIES[settings.ip_version]} in {where}")
    except (ValueError, FileNotFoundError) as error:
        print(f"weave packetdrill: {error}", file=sys.stderr)
        return WRONG_INPUT
    results: list[Result] = []
    try:
        if given.both:
            return _side_by_side(paths, settings)
        for result in _run_all(paths, settings, given):
            results.append(result)
            _tell(result, given.quiet)
    except KernelUnavailable as unavailable:
        print(f"weave packetdrill: {unavailable}", file=sys.stderr)
        return WRONG_INPUT
    if len(paths) > 1 or given.paths[0].is_dir():
        print()
        print(suite.table(results, _root(given.paths)))
    return PASSED if all(result.passed for result in results) else FAILED


def _side_by_side(paths: list[Path], settings: Settings) -> int:
    from lunar.packetdrill import beside

    passed = True
    for path in paths:
        text, both = beside.run(path, settings)
        print(f"{path}\n{text}\n")
        passed = passed and all(result.passed for result in both)
    return PASSED if passed else FAILED


def _settings(given: argparse.Namespace, others: list[str]) -> Settings:
    pairs = [("define", value) for value in given.define]
    for word in others:
        if not word.startswith("--"):
            raise ValueError(f'"{word}" is not an option; expected --NAME=VALUE')
        name, _, value = word[2:].partition("=")
        pairs.append((name, value))
    version = next((value for name, value in reversed(pairs) if name == "ip_version"), options.IPV4)
    return options.apply(options.default_settings(version), pairs)


def _run_all(paths: list[Path], settings: Settings, given: argparse.Namespace) -> Iterator[Result]:
    work = [(path, settings, given.verbose) for path in paths]
    if given.kernel:
        # Only who asks for it pays for what it imports.
        from lunar.packetdrill import kernel_runs

        yield from kernel_runs.run_all(paths, settings, given.jobs, given.verbose, given.tries)
    elif given.jobs > 1:
        with multiprocessing.get_context("spawn").Pool(min(given.jobs, len(paths))) as pool:
            yield from pool.imap(_run_one, work, chunksize=4)
    else:
        yield from map(_run_one, work)


def _run_one(work: tuple[Path, Settings, bool]) -> Result:
    path, settings, verbose = work
    return suite.run(path, settings, lunar_backend, verbose)


def lunar_backend(settings: Settings) -> Backend:
    """A virtual host for one run."""
    return LunarHost(settings)


def _tell(result: Result, quiet: bool) -> None:
    if result.error is None:
        if not quiet:
            print(f"OK   [{result.path}]")
    else:
        print(f"FAIL [{result.path}]\n{result.error}")
    sys.stdout.flush()


def _root(paths: list[Path]) -> Path:
    """What all paths are below; the table's names are from there on."""
    folders = [path if path.is_dir() else path.parent for path in paths]
    if len({folder.is_absolute() for folder in folders}) > 1:
        folders = [folder.absolute() for folder in folders]
    return Path(os.path.commonpath(folders))


