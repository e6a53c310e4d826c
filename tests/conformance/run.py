"""Runs other people's tests on a virtual host and on the machine, and prints both results.

    python tests/conformance/run.py [--cache DIR] [--only PACKAGE ...] [--file PART] [--inside-only]

pytest itself is the program: `python -m pytest` in a tapestry of one host, as anybody would write it. For CPython's own
tests it is cases.py, by unittest. What a test needs and a virtual host does not have is in expected.toml with its
reason. The exit code is 0 when exactly those tests fail that are expected to, of those that the machine passes; 1
otherwise; 2 when the sources could not be had.

A process that dies, stalls or hangs is begun again behind the test at which it did; that test has failed (recorder.py).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import verdict
from record import read
from sources import HERE, NotFetched, Package, fetched, packages
from verdict import Outcome

# The CPython whose own tests expected.toml names. Another has others as well, and lacks some.
EXPECTED_OF = (3, 11)
# Seconds of the machine's clock without a word from a test until it counts as hanging. The slowest test that is known
# takes 10 s outside.
HANG_S = 60.0
# How often the record is looked at, in seconds.
POLL_S = 0.2

_TAPESTRY = """\
[tapestry]
name = "conformance of {name}"
{isolate}

[hosts.machine]
eth0 = "10.0.0.1/24"
strings = [{{ run = {command}, cwd = {folder} }}]
"""


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Run other people's tests on a virtual host.")
    parser.add_argument("--cache", type=Path, default=Path(".conformance"), help="where sources and results are kept")
    parser.add_argument("--only", nargs="+", metavar="PACKAGE", help="these packages alone")
    parser.add_argument("--file", default="", metavar="PART", help="only files whose names have this in them")
    parser.add_argument("--inside-only", action="store_true", help="take the machine's results of the last run")
    arguments = parser.parse_args()
    chosen = [package for package in packages() if not arguments.only or package.name in arguments.only]
    results = []
    try:
        for package in chosen:
            folder = fetched(package, arguments.cache)
            files = [name for name in package.files if arguments.file in name]
            if files:
                outside = _record(package, arguments.cache, "machine", keep=arguments.inside_only)
                inside = _record(package, arguments.cache, "virtual", keep=False)
                _run_all(package, folder, files, outside, inside=False)
                _run_all(package, folder, files, inside, inside=True)
                results.append(verdict.Result(package, files, _outcomes(inside), _outcomes(outside)))
    except NotFetched as error:
        print(f"not fetched: {error}", file=sys.stderr)
        return 2
    expected = verdict.expectations(HERE / "expected.toml", [result.package.name for result in results])
    other = sys.version_info[:2] != EXPECTED_OF and any(result.package.interpreter for result in results)
    return verdict.show(results, expected, partial=bool(arguments.file) or other)


def _record(package: Package, cache: Path, where: str, keep: bool) -> Path:
    path = (cache / f"{package.name}-{package.version}.{where}.jsonl").absolute()
    if not keep:
        path.unlink(missing_ok=True)
        path.with_suffix(".log").unlink(missing_ok=True)
    return path


def _run_all(package: Package, folder: Path, files: list[str], record: Path, inside: bool) -> None:
    """Run the tests until they have come to their end, from where they stopped if they did not."""
    while not set(files) <= {name for line in read(record) if line[0] == "over" for name in line[1:]}:
        known = len(read(record))
        end = _run_once(package, folder, files, record, inside)
        lines = read(record)
        begun = [line[1] for line in lines if line[0] == "begun"]
        ended = {line[1] for line in lines if line[0] == "ended"}
        left = [test for test in begun if test not in ended]
        with record.open("a") as file:
            for test in left:
                file.write(json.dumps(["ended", test, "failed", end]) + "\n")
            if len(lines) == known and not left:
                # It could not even begin: the reason is in its output, and it would be the same again.
                for name in files:
                    file.write(json.dumps(["ended", name, "failed", f"the tests did not run: {end}"]) + "\n")
                file.write(json.dumps(["over", *files]) + "\n")


def _run_once(package: Package, folder: Path, files: list[str], record: Path, inside: bool) -> str:
    """Run one process; how it ended, in a line."""
    runner = ["cases", "--package", package.interpreter] if package.interpreter else [
        "pytest", "-p", "recorder", "-p", "no:cacheprovider", "--continue-on-collection-errors"
    ]  # fmt: skip
    recording = ["--record", str(record), "--leave-out", json.dumps(package.leave_out)]
    command = [sys.executable, "-P", "-m", *runner, *recording, *package.options, *files]
    print(f"{package.title} {'on a virtual host' if inside else 'on the machine'} ...", file=sys.stderr, flush=True)
    if inside:
        tapestry = record.with_suffix(".toml")
        program = shlex.join(["python", *command[2:]]).replace("{", "{{").replace("}", "}}")  # no templates
        isolate = "" if package.isolate is None else f"isolate = {json.dumps(package.isolate)}"
        words = {"command": json.dumps(program), "folder": json.dumps(folder.name), "isolate": isolate}
        tapestry.write_text(_TAPESTRY.format(name=package.name, **words))
        # Whole files of tests go by in one turn of the program; whether one hangs is seen by the record (_watch).
        command = [sys.executable, "-P", "-m", "weaves.cli", "run", "--watchdog", "off", str(tapestry)]
    # The package's own folder is on the path for the helpers that its tests import, ours for the recorder.
    path = [str(folder.absolute()), str(HERE.absolute()), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    log = record.with_suffix(".log")
    # A folder for temporary files that is gone afterwards: on a virtual host the next run would draw the same names.
    with log.open("a") as output, tempfile.TemporaryDirectory() as temporary:
        process = subprocess.Popen(
            command, cwd=folder, env={**environment, "TMPDIR": temporary}, stdin=subprocess.DEVNULL, stdout=output,
            stderr=output, start_new_session=True,
        )
        try:
            return _watch(process, record)
        finally:
            _end(process)


def _watch(process: subprocess.Popen[bytes], record: Path) -> str:
    size, changed = -1, time.monotonic()
    while True:
        try:
            code = process.wait(POLL_S)
        except subprocess.TimeoutExpired:
            now = record.stat().st_size if record.exists() else 0
            if now != size:
                size, changed = now, time.monotonic()
            elif time.monotonic() - changed > HANG_S:
                return f"hung: no end after {HANG_S:.0f} s"
        else:
            return f"the process exited with {code}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and those that its tests started."""
    with contextlib.suppress(ProcessLookupError):  # all have ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _outcomes(record: Path) -> dict[str, Outcome]:
    return {line[1]: Outcome(line[2], line[3]) for line in read(record) if line[0] == "ended"}


if __name__ == "__main__":
    sys.exit(main())
