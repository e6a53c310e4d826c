"""Scripts against the machine's kernel, each in a process of its own: what it leaves open or blocked ends with it.

A script's times are the machine's here, so scripts that run at once disturb each other where processors are few. What
fails because of a time may have met a busy machine, and may be tried again.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

from lunar.kernel.namespace import KernelUnavailable
from lunar.packetdrill import suite
from lunar.packetdrill.backend import Settings
from lunar.packetdrill.kernel_host import KernelHost
from lunar.packetdrill.script import ScriptError
from lunar.packetdrill.suite import Result

# What the errors that are about a time have in their words.
_ABOUT_TIME: Final = ("timing error:", "Expected timestamp")


def run_all(paths: Sequence[Path], settings: Settings, jobs: int, verbose: bool, tries: int = 1) -> Iterator[Result]:
    """The results in the order of `paths`, `jobs` at once; prints what scripts print. Raises `KernelUnavailable`.

    A script that fails because of a time is run up to `tries` times; the last result counts.
    """
    left = list(enumerate(paths))
    tried = dict.fromkeys(range(len(paths)), 0)
    running: dict[Connection, tuple[int, BaseProcess]] = {}
    ended: dict[int, tuple[Result, str]] = {}
    told = 0
    try:
        while left or running:
            while left and len(running) < jobs:
                number, path = left.pop(0)
                receiving, process = _start(path, settings, verbose)
                running[receiving] = number, process
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                number, process = running.pop(ready)
                answer = _answer(ready, process, paths[number])
                tried[number] += 1
                if tried[number] < tries and _is_about_time(answer[0]):
                    left.insert(0, (number, paths[number]))
                else:
                    ended[number] = answer
            while told in ended:
                result, said = ended.pop(told)
                sys.stdout.write(said)
                yield result
                told += 1
    finally:
        for _, process in running.values():
            _end(process)


def _is_about_time(result: Result) -> bool:
    return result.error is not None and any(words in result.error.message for words in _ABOUT_TIME)


def run_one(path: Path, settings: Settings) -> tuple[Result, str]:
    """The result of one script, and what it and the runner have printed. Raises `KernelUnavailable`."""
    receiving, process = _start(path, settings, True)
    try:
        return _answer(receiving, process, path)
    finally:
        _end(process)


def _end(process: BaseProcess) -> None:
    """Stop the script, and take away what the suite's set_sysctls.py wrote for its last line, which is not run."""
    process.kill()
    process.join()
    Path(f"/tmp/sysctl_restore_{process.pid}.sh").unlink(missing_ok=True)


def _start(path: Path, settings: Settings, verbose: bool) -> tuple[Connection, BaseProcess]:
    receiving, sending = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_run, args=(sending, path, settings, verbose))
    process.start()
    sending.close()
    return receiving, process


def _run(answer: Connection, path: Path, settings: Settings, verbose: bool) -> None:
    # Ctrl-C goes to all processes of a terminal; what there is to say of it the first one says.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # What is printed goes with the result, so that the words of two scripts do not mix.
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            result = suite.run(path, settings, KernelHost, verbose)
        except KernelUnavailable as unavailable:
            answer.send(str(unavailable))
        else:
            answer.send((result, said.getvalue()))
    answer.close()
    # Not by the common way: a thread that is blocked in the kernel would be waited for.
    os._exit(0)


def _answer(receiving: Connection, process: BaseProcess, path: Path) -> tuple[Result, str]:
    try:
        answer = receiving.recv()
    except EOFError:
        process.join()
        return Result(path, ScriptError(str(path), 0, f"its process ended with code {process.exitcode}")), ""
    finally:
        receiving.close()
    process.join()
    if isinstance(answer, str):
        raise KernelUnavailable(answer)
    result, said = answer
    assert isinstance(result, Result)
    return result, said
