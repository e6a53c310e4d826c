"""`weave shell`: a prompt on the hosts of a tapestry, with virtual time under one's hand.

A line is one of the words of `_WORDS`, which are about the run, or a command of the host where the prompt is, which
goes to the host as it stands: this package knows no network. Time stands still at the prompt. It goes on by `run` and
`step`, and while a command takes time; what programs print meanwhile is printed as by `weave run`. With a real clock it
goes on at that pace then (`step` does not wait), and what comes from outside at the prompt waits for the next `run`.

Lines may come from a file or a pipe: then there is no prompt, and what is refused is told with its line.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final, TextIO

from weaves.clock import format_duration
from weaves.commands import CommandError
from weaves.drivers import NoClock, drive_run_blocking
from weaves.live_run import CannotOpen
from weaves.loader import LiveTapestry
from weaves.output import Streams
from weaves.pace import TooLate
from weaves.realtime import IDLE, STOPPED, Stalled, step
from weaves.report import Report, failure_text
from weaves.strings import String
from weaves.tapestry_errors import suggestion
from weaves.units import format_address, parse_wait

_HELP: Final = """\
run                  until every string that is waited for has ended, or until the tapestry's `until`
run 5s               for so long
run until 10s        until this time of the run
step [N]             the next event, or the next N, and what programs do at once because of them
hosts                the hosts, what they are doing, and their addresses
host NAME            go to another host
python EXPRESSION    of `host`, where the prompt is, `net`, the network, and `hosts`, its hosts by their names
help                 this list, and the commands of hosts
quit                 the end; so is the end of the input
"""
_STEPS_MOST: Final = 1_000_000


class Shell:
    """The lines of one session. `refused` counts those that could not be obeyed."""

    def __init__(self, tapestry: LiveTapestry, host: str, report: Report) -> None:
        self._tapestry = tapestry
        self._network: Any = tapestry.network
        self._scheduler = tapestry.supervisor.scheduler
        self._report = report
        self._host: Any = self._network.hosts[host]
        self._names: dict[str, Any] = {}
        self.refused = 0
        self.over = False
        self._failed: list[String] = []
        self._words: dict[str, Callable[[list[str]], None]] = {
            "run": self._run,
            "step": self._step,
            "hosts": self._hosts,
            "host": self._go_to,
            "help": self._help,
            "?": self._help,
            "quit": self._quit,
            "exit": self._quit,
        }

    @property
    def prompt(self) -> str:
        return f"{self._host.name}:{format_duration(self._tapestry.now_ns)}$ "

    def obey(self, line: str, where: str = "") -> None:
        """One line. What is refused is told on standard error, behind `where`; nothing is raised but by Ctrl-C."""
        try:
            self._obey(line)
        except (CommandError, ValueError, Stalled, NoClock, TooLate) as error:
            self._refuse(where, str(error))
        except CannotOpen as error:
            self._refuse(where, str(error.strerror))
        except KeyboardInterrupt:
            self._flush()
            print(f"stopped at {format_duration(self._tapestry.now_ns)}", file=sys.stderr)
        finally:
            self._flush()

    def _obey(self, line: str) -> None:
        word, _, rest = line.strip().partition(" ")
        if not word or word.startswith("#"):
            return
        if word == "python":
            self._python(rest.strip())
        elif word in self._words:
            self._words[word](rest.split())
        else:
            try:
                self._host.sh(line.strip(), write=self._print)
            except (CommandError, KeyboardInterrupt, Stalled, NoClock, TooLate):
                raise
            except RuntimeError as error:
                # A failure that stopped the run has been told by the report; the prompt goes on after it.
                raise CommandError(str(error)) from None

    def _refuse(self, where: str, text: str) -> None:
        self.refused += 1
        self._flush()
        print(f"{where}{text}", file=sys.stderr, flush=True)

    def _print(self, text: str) -> None:
        self._report.clear()
        # Perhaps from inside a weave, whose output is another: this is the command's.
        self._report.raw(text)

    def _flush(self) -> None:
        self._report.flush()
        with contextlib.suppress(OSError):
            sys.stdout.flush()

    # Time

    def _run(self, words: list[str]) -> None:
        if words[:1] == ["until"] and len(words) == 2:
            until = parse_wait(words[1])
            if until < self._tapestry.now_ns:
                raise CommandError(f"run until {words[1]}: it is {format_duration(self._tapestry.now_ns)} already")
            self._run_to(until)
        elif len(words) == 1:
            self._run_to(self._tapestry.now_ns + parse_wait(words[0]))
        elif not words:
            self._tapestry.run_blocking()
            self._look_at_the_end()
        else:
            raise CommandError(f'run: "{" ".join(words)}": expected a time such as 5s, or until and a time')

    def _run_to(self, until_ns: int) -> None:
        supervisor = self._tapestry.supervisor
        reason = STOPPED
        # That all strings have ended stops the scheduler; here time goes on.
        while reason == STOPPED and not supervisor.stopped:
            reason = drive_run_blocking(supervisor, until_ns)
        if reason == IDLE and self._tapestry.now_ns < until_ns:
            self._scheduler.advance(until_ns)
        self._look_at_the_end()

    def _step(self, words: list[str]) -> None:
        count = 1
        if words:
            if len(words) > 1 or not words[0].isdigit() or not 1 <= int(words[0]) <= _STEPS_MOST:
                raise CommandError(f'step: "{" ".join(words)}": expected a number of events, 1 to {_STEPS_MOST:,}')
            count = int(words[0])
        for _ in range(count):
            if not step(self._scheduler, self._tapestry.supervisor.watchdog):
                raise CommandError("step: nothing is left to happen: no packet is on its way, no timer is set")
        self._look_at_the_end()

    def _look_at_the_end(self) -> None:
        """What a run came to is told, and forgotten: the person at the prompt decides how it goes on."""
        supervisor = self._tapestry.supervisor
        failed, supervisor.stopped_by = supervisor.stopped_by, None
        supervisor.halted_by = None
        if failed is not None:
            print(f"the run stopped at {format_duration(self._tapestry.now_ns)}: "
                  f"{failure_text(failed, False)}", file=sys.stderr)
        if self._tapestry.stalled:
            print(self._tapestry.stall_report(), file=sys.stderr)
            self._tapestry.stalled = []

    # Hosts

    def _hosts(self, words: list[str]) -> None:
        if words:
            raise CommandError(f'hosts: "{" ".join(words)}": expected nothing more')
        width = max(len(host.name) for host in self._tapestry.description.hosts)
        for described in self._tapestry.description.hosts:
            addresses = ", ".join(
                f"{format_address(address)}/{prefix}" for device in described.devices
                for address, prefix in device.addresses
            )  # fmt: skip
            mark = "*" if described.name == self._host.name else " "
            state = self._network.hosts[described.name].state
            print(f"{mark} {described.name:<{width}}  {state:<6}  {addresses}".rstrip())

    def _go_to(self, words: list[str]) -> None:
        if len(words) != 1:
            raise CommandError("host: expected the name of one host")
        if words[0] not in self._network.hosts:
            advice = suggestion(words[0], list(self._network.hosts))
            raise CommandError(f'host: there is no host "{words[0]}"; {advice}')
        self._host = self._network.hosts[words[0]]

    def _python(self, text: str) -> None:
        if not text:
            raise CommandError("python: expected an expression or a statement")
        self._names |= {"host": self._host, "net": self._network, "hosts": self._network.hosts}
        try:
            try:
                value = eval(compile(text, "<shell>", "eval"), self._names)
            except SyntaxError:
                exec(compile(text, "<shell>", "exec"), self._names)
                value = None
            if value is not None:
                print(repr(value))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever the person's own line raises is what it has to tell
            raise CommandError(f"python: {type(error).__name__}: {error}") from None

    def _help(self, words: list[str]) -> None:
        if words:
            raise CommandError(f'help: "{" ".join(words)}": expected nothing more')
        print(f"{_HELP}{', '.join(self._host.commands)}\n{'':<21}commands of the host; docs/tools.md has them")

    def _quit(self, _words: list[str]) -> None:
        self.over = True

    # Completion

    def complete(self, text: str, line: str) -> list[str]:
        """The words that `text`, the last of `line`, can become."""
        before = line[: len(line) - len(text)].split()
        if not before:
            choice = [*self._words, "python", *self._host.commands]
        elif before == ["host"]:
            choice = list(self._network.hosts)
        elif before == ["run"]:
            choice = ["until"]
        else:
            choice = [*self._network.hosts, *self._host.devices]
        return sorted({one for one in choice if one.startswith(text) and one != "?"})


def run(tapestry: LiveTapestry, host: str, lines: TextIO) -> int:
    """A session whose lines come from `lines`, a terminal or a file. Returns how many of them were refused."""
    report = Report(tapestry, quiet=False)
    tapestry.supervisor.on_failure = report.failure
    tapestry.supervisor.trace.subscribe_changes(report.change)
    tapestry.supervisor.on_hang = report.hang
    shell = Shell(tapestry, host, report)
    with Streams(report.printed, report.printed_error) as streams:
        tapestry.supervisor.trace.subscribe_strings(lambda _time, string, _what: streams.finish(string.weave))
        if lines.isatty():
            _converse(shell)
        else:
            for number, line in enumerate(lines, 1):
                shell.obey(line, f"{getattr(lines, 'name', '<stdin>')}:{number}: ")
                if shell.over or report.broken is not None:
                    break
    if report.broken is not None:
        raise report.broken
    return shell.refused


def _converse(shell: Shell) -> None:
    with _line_editor(shell):
        while not shell.over:
            try:
                line = input(shell.prompt)
            except EOFError:
                print()
                return
            except KeyboardInterrupt:
                print()
                continue
            shell.obey(line)


@contextlib.contextmanager
def _line_editor(shell: Shell) -> Any:
    """History and completion, where Python has readline."""
    try:
        readline: ModuleType = importlib.import_module("readline")
    except ImportError:
        yield
        return
    before = readline.get_completer()

    def complete(text: str, state: int) -> str | None:
        found = shell.complete(text, readline.get_line_buffer()[: readline.get_endidx()])
        return f"{found[state]} " if state < len(found) else None

    readline.set_completer(complete)
    delimiters = readline.get_completer_delims()
    readline.set_completer_delims(" \t")
    readline.parse_and_bind("tab: complete")
    try:
        yield
    finally:
        readline.set_completer(before)
        readline.set_completer_delims(delimiters)
