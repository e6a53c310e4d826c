"""`weave run` and `weave replay`: a tapestry that is run to its end, with all that is said of it.

A session that `weave run --record` has logged is run by `weave replay` in the same way, in virtual time; what differs
is where its options come from, and that its end is compared with the recorded one.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, Self

import attrs
import uvloop

from weaves import report
from weaves.clock import format_duration
from weaves.clock_plan import REAL, VIRTUAL, ClockError, ClockPlan, changed
from weaves.endpoints import parse_forward, parse_listen
from weaves.live_run import CannotOpen
from weaves.loader import LiveTapestry, describe, load
from weaves.logs import LogDirectory
from weaves.output import Streams
from weaves.pace import TooLate
from weaves.replay import Replay, ReplayDiffers, SessionEnded
from weaves.report import Report
from weaves.session import Session, SessionError
from weaves.session_log import content_hash
from weaves.supervisor import Supervisor
from weaves.tapestry import Tapestry
from weaves.tapestry_errors import suggestion
from weaves.watchdog import DEFAULT_S

OK: Final = 0
FAILED: Final = 1
WRONG_INPUT: Final = 2
BY_SIGNAL: Final = 128

# The options of `weave run` that what happens depends on, besides the tapestry: a session is recorded with them, and
# repeated with them. Their values are plain data.
SHAPING: Final = ("seed", "until", "through_bytes", "proxy", "forward", "gateway")


class Unknown(ValueError):
    """An option names what the tapestry has not."""


def run(options: argparse.Namespace) -> int:
    """`weave run`."""
    return _obeyed("run", _run_tapestry, options)


def replay(options: argparse.Namespace) -> int:
    """`weave replay`."""
    return _obeyed("replay", _replay_session, options)


def _obeyed(command: str, action: Callable[[argparse.Namespace, _Signals], int], options: argparse.Namespace) -> int:
    """What is wrong with a file of ours, or with what is real, ends the command with a line and `WRONG_INPUT`."""
    with _Signals() as signals:
        try:
            _check_writable(options.json)
            return action(options, signals)
        except BrokenPipeError:
            raise
        except CannotOpen as error:
            wrong = str(error.strerror)
        except ClockError as error:
            option = error.key.replace("_", "-")
            wrong = f"--{option} {error.what}; expected --{error.needs} {error.value} with it"
        except (SessionError, Unknown) as error:
            wrong = str(error)
        except OSError as error:
            if error.filename is None:
                raise  # not of a file of ours: a bug, which a traceback describes best
            wrong = f"{error.filename}: {error.strerror}"
    print(f"weave {command}: {wrong}", file=sys.stderr)
    return WRONG_INPUT


def _run_tapestry(options: argparse.Namespace, signals: _Signals) -> int:
    description = _opened(describe(options.tapestry), options)
    implied = description.gateway.is_open and description.clock.kind == VIRTUAL and options.clock is None
    if implied and not options.quiet:
        print("the clock is real, for those who come in by the gateway", file=sys.stderr)
    clock = changed(
        description.clock, clock=REAL if implied else options.clock, speed=options.speed, late=options.late,
        late_limit=options.late_limit, busy_poll=options.busy_poll, record=options.record,
    )  # fmt: skip
    record = options.record or (description.record if clock.kind == REAL else None)
    return _run(options, _load(options, description, clock=clock, record=record), signals)


def _replay_session(options: argparse.Namespace, signals: _Signals) -> int:
    session = Session(options.session)
    path = tapestry_of(session, options.tapestry)
    print(f"{session.path}: {session.summary()}", file=sys.stderr)
    for text in session.differences(content_hash(path), str(path)):
        print(f"{text}; the replay may differ", file=sys.stderr)
    for name in SHAPING:
        setattr(options, name, session.options.get(name))
    return _run(options, _load(options, _opened(describe(path), options), session=session), signals)


def _opened(description: Tapestry, options: argparse.Namespace) -> Tapestry:
    """The tapestry with the proxy and the forwarded ports that the command line says. Raises `Unknown`."""
    gateway = description.gateway
    if options.gateway is not None:
        hosts = [host.name for host in description.hosts]
        if options.gateway not in hosts:
            raise Unknown(f'there is no host "{options.gateway}"; {suggestion(options.gateway, hosts)}')
        gateway = attrs.evolve(gateway, host=options.gateway)
    if options.proxy is not None:
        gateway = attrs.evolve(gateway, proxy=parse_listen(options.proxy))
    if options.forward:
        forwards = tuple(parse_forward(text) for text in options.forward)
        gateway = attrs.evolve(gateway, forwards=gateway.forwards + forwards)
    return attrs.evolve(description, gateway=gateway)


def hash_seed_of(path: Path) -> str:
    """The hash seed of Python that the session in the file at `path` was recorded with."""
    try:
        return Session(path).hash_seed
    except (OSError, SessionError):
        return "0"  # what is wrong is told when it is read again


def tapestry_of(session: Session, path: Path | None) -> Path:
    """The tapestry that the session is of, or `path` if it is elsewhere now. Raises `SessionError`."""
    if path is not None:
        return path
    if session.tapestry is None:
        raise session.error("was recorded by a program of its own; run that with lunar.Network(replay=...)")
    found = Path(session.tapestry)
    if not found.is_file():
        raise session.error(f"its tapestry {found} is not there; --tapestry says where it is now")
    return found


def _load(
    options: argparse.Namespace,
    description: Tapestry,
    *,
    clock: ClockPlan | None = None,
    record: Path | None = None,
    session: Session | None = None,
) -> LiveTapestry:
    watchdog_ns = description.watchdog_ns if options.watchdog is None else options.watchdog
    return load(
        description,
        seed=options.seed,
        until_ns=options.until,
        through_bytes=bool(options.through_bytes),
        watchdog_ns=round(DEFAULT_S * 1_000_000_000) if watchdog_ns is None else watchdog_ns,
        dump=True,
        clock=clock,
        record=record,
        options={name: getattr(options, name) for name in SHAPING},
        replay=session,
    )


def _run(options: argparse.Namespace, tapestry: LiveTapestry, signals: _Signals) -> int:
    try:
        capture = None if options.pcap is None else tapestry.network.capture(options.pcap)
        logs = None if options.logs is None else LogDirectory(options.logs)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_run_and_report(tapestry, options, capture, logs, signals))
    finally:
        tapestry.close()


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
    end: TooLate | SessionEnded | ReplayDiffers | None = None
    unwritten: OSError | None = None
    with Streams(told.printed, told.printed_error) as streams:
        # A string's last line may have no newline.
        tapestry.supervisor.trace.subscribe_strings(lambda _time, string, _what: streams.finish(string.weave))
        try:
            with signals.asking(tapestry.supervisor):
                await tapestry.run(on_slice)
        except KeyboardInterrupt as error:
            ended_by = signals.caught or signum_of(error)
        except (TooLate, SessionEnded, ReplayDiffers) as error:
            end = error
        finally:
            told.clear()
        figures = report.figures(tapestry, told.wall_s, bool(ended_by))
        if end is not None:
            figures["ok"] = False
        same = True
        if tapestry.replay is not None and not signals.caught and told.broken is None:
            same = _judge(tapestry.replay, figures)
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
    if end is not None:
        print(f"stopped at {format_duration(tapestry.now_ns)}: {end}", file=sys.stderr)
    report.print_summary(figures)
    if unwritten is not None:
        raise unwritten
    if tapestry.replay is not None and not signals.caught:
        return OK if same else FAILED
    if ended_by:
        return BY_SIGNAL + ended_by
    return OK if tapestry.ok and end is None else FAILED


def _judge(replay: Replay, figures: dict[str, Any]) -> bool:
    """Note in `figures` whether the run was the recorded one, and return it."""
    verdict = replay.last_verdict()
    session = replay.session
    figures["replay"] = {
        "session": session.path,
        "same": verdict.same,
        "text": verdict.text,
        "recorded_digest": verdict.recorded or None,
        "cut_off": session.cut_off,
        "inputs": session.inputs,
    }
    return verdict.same


class _Signalled(KeyboardInterrupt):
    """Ended early by signal `signum`."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def signum_of(error: KeyboardInterrupt) -> int:
    """The signal that raised it."""
    return int(getattr(error, "signum", signal.SIGINT))


class _Signals:
    """The signals that end `weave run`, as a context. While strings run (`asking`), the first one is noted in `caught`
    and stops the scheduler between two events; otherwise, and for the second one, `_Signalled` is raised at once.
    """

    def __init__(self) -> None:
        self.caught = 0
        self._supervisor: Supervisor | None = None
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
    def asking(self, supervisor: Supervisor) -> Iterator[None]:
        """Within it, the first signal is a request."""
        self._supervisor = supervisor
        try:
            yield
        finally:
            self._supervisor = None

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        if self._supervisor is None or self.caught:
            raise _Signalled(signum)
        self.caught = signum
        self._supervisor.stop()


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
