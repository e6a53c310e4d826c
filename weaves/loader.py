"""From a description to a live tapestry: hosts and links by the network's builder, weaves and strings here.

`load` raises `TapestryError` for everything that can be known before the first string runs.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import attrs

from weaves.beads import Function, Main, argv0
from weaves.clock import NS_PER_S, format_duration
from weaves.clock_plan import VIRTUAL, ClockPlan
from weaves.deadlock import named, told
from weaves.drivers import NoClock, check_clock, drive_run, drive_run_blocking
from weaves.hang import Hang
from weaves.library import Library, Policy, roots_of
from weaves.machine_modules import release
from weaves.modules import Bead, Modules
from weaves.pace import pace_of
from weaves.programs import Program, program_of
from weaves.realtime import CollectorHeld, Stalled
from weaves.replay import Replay
from weaves.scheduler import IDLE, STOPPED
from weaves.session import Session
from weaves.session_log import SessionLog, header
from weaves.strings import FAILED, String
from weaves.supervisor import Supervisor
from weaves.tapestry import BeadDescription, EventDescription, StringDescription, Tapestry, WeaveDescription, read
from weaves.tapestry_errors import TapestryError, Where, suggestion
from weaves.toml_source import TomlSource, key_text
from weaves.trial import Untold, attempt
from weaves.weave import Weave

# The networks that a tapestry can name. By name, because this package knows no network.
_BUILDERS: Final = {"lunar": "lunar.builder"}

_PACKAGE: Final = Path(__file__).parent

# How long a run with links to the outside goes on after its strings, at most and at a time, in virtual time. Over a
# link that loses half of all frames four repetitions of a FIN get through; whoever is gone will not come in an hour.
LINGER_NS: Final = 10_000_000_000
_LINGER_STEP_NS: Final = 10_000_000


class LiveHost(Protocol):
    """What the loader needs of a host."""

    name: str
    boots: int
    launches: list[Callable[[], None]]

    def new_weave(
        self,
        name: str,
        argv: list[str] | None = None,
        environ: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> Weave:
        """A weave for a program on this host."""

    def kill(self, signum: int, weave: str | None = None) -> None:
        """Deliver a signal to one of its weaves, or to all. Raises `ValueError` if it is not there."""


class LiveNetwork(Protocol):
    """What the loader needs of a network; lunar.network.Network is one."""

    hosts: Any  # by their names; each can crash, boot, pause, resume, shutdown and reboot besides
    supervisor: Supervisor
    seed: int

    def digest(self) -> str:
        """The digest of what happened so far."""

    def watch(self, watchdog: float | None, on_hang: Any, *, dump: bool = False) -> None:
        """Set the watchdog, in real seconds; None is without."""

    def close(self) -> None:
        """End everything."""

    def totals(self) -> dict[str, int]:
        """At least `hosts` and `packets`."""

    def link_figures(self) -> list[dict[str, Any]]:
        """A row for each link."""

    def tcp_figures(self) -> dict[str, int]:
        """Sums over all hosts."""

    def outside_figures(self) -> dict[str, Any]:
        """What went through the ways out of the run, by the kind of the way."""

    def plug(self, link: str, plugged: bool) -> None:
        """Pull the cables of a link, or plug them in."""

    def capture(self, directory: str | Path) -> Any:
        """Write captures to `directory`."""

    def unfinished(self) -> bool:
        """Whether something that programs have sent before they ended is still on its way out."""


class LiveTapestry:
    """A tapestry whose hosts, links and strings exist. Run it once, then close it."""

    def __init__(
        self, description: Tapestry, network: LiveNetwork, until_ns: int | None, library: Library
    ) -> None:
        self.description = description
        self._library = library
        self.network = network
        self.supervisor = network.supervisor
        self.until_ns = until_ns
        self.stalled: list[String] = []

    @property
    def replay(self) -> Replay | None:
        """The session that it repeats, if it does."""
        return self.supervisor.replay

    @property
    def now_ns(self) -> int:
        """Virtual time in nanoseconds."""
        return int(self.supervisor.scheduler.now_ns)

    @property
    def ok(self) -> bool:
        """Whether no string failed for good, and none waits for what cannot come; nor a program of the machine's."""
        failed = self.supervisor.forgotten[FAILED] or any(
            string.state == FAILED for string in self.supervisor.strings
        )
        return not self.stalled and not self.supervisor.hangs and not failed and not self.supervisor.others_failed

    async def run(self, on_slice: Callable[[], None] | None = None) -> None:
        """Run until every string that is not in the background has ended, or until `until`, whichever comes first.

        Awaited inside any running asyncio or uvloop loop. `on_slice` is called every few milliseconds.
        """
        self._check_clock()
        reason = STOPPED
        while reason == STOPPED and not self._over:
            reason = await drive_run(self.supervisor, self.until_ns, on_slice)
        self._judge(reason)
        for until_ns in self._lingering(reason):
            await drive_run(self.supervisor, until_ns, on_slice)

    def run_blocking(self) -> None:
        """As `run`, without a loop."""
        self._check_clock()
        reason = STOPPED
        while reason == STOPPED and not self._over:
            reason = drive_run_blocking(self.supervisor, self.until_ns)
        self._judge(reason)
        for until_ns in self._lingering(reason):
            drive_run_blocking(self.supervisor, until_ns)

    def _check_clock(self) -> None:
        """A way to the outside needs a clock that waits for what comes. Raises `TapestryError`."""
        try:
            check_clock(self.supervisor)
        except NoClock as wrong:
            raise where_of(self.description, "tapestry", "clock").error(str(wrong)) from None

    @property
    def _over(self) -> bool:
        # Where all strings are in the background, nobody's end is waited for: such a tapestry has an `until`.
        nobody = all(string.background for string in self.supervisor.strings) and not self.supervisor.has_others
        return self.supervisor.over and (not nobody or self.supervisor.stopped)

    def _judge(self, reason: int) -> None:
        if reason == STOPPED:
            return
        if self.until_ns is None:
            self.stalled = self.supervisor.waiting()
        elif reason == IDLE:
            # Nothing was left to happen; time goes by all the same.
            self.supervisor.scheduler.advance(max(self.until_ns, self.now_ns))

    def _lingering(self, reason: int) -> Iterator[int]:
        """Until when the run goes on after its strings, each time: as long as there is work for the stacks.

        Where nobody is outside the end of a run is the end of all of it. Otherwise the others still want what was sent,
        as they get it from a kernel whose programs have ended. By virtual time alone, so that a replay does the same.
        """
        if reason != STOPPED or not self.supervisor.gates.gates or self.supervisor.halted_by is not None:
            return
        ended_ns = self.now_ns
        for until_ns in range(ended_ns + _LINGER_STEP_NS, ended_ns + LINGER_NS + 1, _LINGER_STEP_NS):
            if not self.network.unfinished():
                return
            yield until_ns if self.until_ns is None else min(until_ns, self.until_ns)

    def stall_report(self) -> str:
        """Which strings wait for what cannot come."""
        return (
            f"stalled at {format_duration(self.now_ns)}: nothing is left that could wake {named(self.stalled)}: "
            "no packet is on its way, no timer is set. "
            "For a server that outlives its clients say background = true, or set until."
            + told(string.weave for string in self.stalled)
        )

    def close(self) -> None:
        """End what still runs and close the captures."""
        try:
            self.network.close()
        finally:
            release(self._library)


def load(
    source: str | Path | Tapestry,
    *,
    seed: int | None = None,
    until_ns: int | None = None,
    through_bytes: bool = False,
    watchdog_ns: int | None = None,
    dump: bool = False,
    clock: ClockPlan | None = None,
    record: str | os.PathLike[str] | None = None,
    options: dict[str, Any] | None = None,
    replay: str | os.PathLike[str] | Session | None = None,
) -> LiveTapestry:
    """Make everything that a tapestry describes. `seed`, `until_ns`, `watchdog_ns` and `clock` replace its own.

    Without a watchdog in the tapestry or here (or with 0) there is none. `dump`: see `weaves.watchdog.Watchdog`.
    `record` is the file to log what comes in from outside to, with `options` that are noted there; `replay` is such a
    file, or a `Session`, to repeat in virtual time, with its seed. Raises `TapestryError`, and `OSError` and
    `SessionError` for these files.
    """
    description = describe(source)
    until_ns = description.until_ns if until_ns is None else until_ns
    clock = description.clock if clock is None else clock
    session = Session(replay) if isinstance(replay, (str, os.PathLike)) else replay
    if session is not None:
        seed = session.seed
        description = _without_keys(description)
    if clock.kind == VIRTUAL and session is None:
        _check_ends(description, until_ns)
    seed = description.seed if seed is None else seed
    log: SessionLog | None = None
    if record is not None:
        what = header(seed, description.path, options)
        log = SessionLog(record)
        log.begin(what)
    # What is made here stays. A collector that looks for garbage meanwhile takes three quarters of the time.
    try:
        with CollectorHeld():
            tapestry = _made(description, seed, until_ns, through_bytes, watchdog_ns, dump)
    except BaseException:
        if log is not None:
            log.close()
        raise
    supervisor = tapestry.supervisor
    supervisor.log = log
    if session is not None:
        supervisor.replay = Replay(supervisor, session)
    else:
        supervisor.pace = pace_of(clock)
    return tapestry


def _without_keys(description: Tapestry) -> Tapestry:
    """Without the keys of UDP links: a replay opens none, perhaps on a machine that does not have the files."""
    links = [
        link if link.udp is None else attrs.evolve(link, udp=attrs.evolve(link.udp, key=None, key_file=None))
        for link in description.links
    ]
    return attrs.evolve(description, links=tuple(links))


def _made(
    description: Tapestry,
    seed: int,
    until_ns: int | None,
    through_bytes: bool,
    watchdog_ns: int | None,
    dump: bool,
) -> LiveTapestry:
    builder = importlib.import_module(_BUILDERS[description.network])
    network: LiveNetwork = builder.build(description, seed=seed, through_bytes=through_bytes)
    limit_ns = description.watchdog_ns if watchdog_ns is None else watchdog_ns
    network.watch((limit_ns or 0) / NS_PER_S, description.on_hang, dump=dump)
    watchdog = network.supervisor.watchdog
    library = Library()
    try:
        weaves = _Weaves(description, network, library)
        with contextlib.nullcontext() if watchdog is None else watchdog.on_duty():
            for weave in description.weaves:
                weaves.start(weave)
                network.hosts[weave.host].launches.append(partial(weaves.start, weave))
        for event in description.events:
            network.supervisor.at(event.at_ns, partial(happen, event, network))
    except BaseException:
        network.close()
        release(library)
        raise
    return LiveTapestry(description, network, until_ns, library)


def happen(event: EventDescription, network: LiveNetwork) -> None:
    """What `event` says, now."""
    if event.link:
        network.plug(event.link, event.do == "link-up")
    elif event.do == "signal":
        assert event.signum is not None, "a signal event has a signal"
        host = network.hosts[event.host]
        with contextlib.suppress(ValueError):  # a host that is down has no weaves
            host.kill(event.signum, event.weave)
    else:
        getattr(network.hosts[event.host], event.do)()


def describe(source: str | Path | Tapestry) -> Tapestry:
    """The description of a tapestry that has hosts, in a network that is known. Raises `TapestryError`."""
    description = source if isinstance(source, Tapestry) else read(source)
    if description.network not in _BUILDERS:
        known = " or ".join(f'"{name}"' for name in _BUILDERS)
        where = where_of(description, "tapestry", "network")
        raise where.error(f'"{description.network}" is not known; expected {known}')
    if not description.hosts and not description.kernels:
        expected = f'expected a table [hosts.NAME], or one of [[beads]] with module = "{description.network}"'
        raise TapestryError(str(description.path), None, "", "", f"there are no hosts; {expected}")
    return description


def where_of(description: Tapestry, *path: str | int) -> Where:
    """The place of a key, which descriptions do not keep. It is looked up in the file again, now that it is wrong."""
    try:
        return TomlSource.read(description.path).where(*path)
    except TapestryError:
        return Where(str(description.path), None, "", key_text(path))


def _check_ends(description: Tapestry, until_ns: int | None) -> None:
    strings = [string for weave in description.weaves for string in weave.strings]
    nobody = bool(strings) and all(string.background for string in strings)
    if until_ns is None and nobody and not description.gateway.is_open:
        message = "every string is in the background, so that the run would be over at once"
        where = where_of(description, *strings[0].path, "background")
        raise where.error(f"{message}; expected one that is not, or [tapestry] until")


class _Weaves:
    """Makes the weaves and strings of a tapestry. Each module is found and compiled once, whatever number of beads."""

    def __init__(self, description: Tapestry, network: LiveNetwork, library: Library) -> None:
        self._description = description
        self._network = network
        self._library = library
        self._folder = description.folder.resolve()
        self._home = sys.intern(str(self._folder))
        self._mains: dict[Program, Main] = {}
        self._functions: dict[tuple[str, Policy], Callable[..., Any] | None] = {}
        self._fitting: set[tuple[Any, ...]] = set()
        self._named_by = Counter(id(bead) for weave in description.weaves for bead in weave.beads)
        self._beads: dict[tuple[int, int], Bead] = {}
        self._hosts_of: dict[int, set[str]] = {}
        for weave in description.weaves:
            for bead in weave.beads:
                if self._named_by[id(bead)] > 1:
                    self._hosts_of.setdefault(id(bead), set()).add(weave.host)
        # Files may have come since the import system looked into their folders.
        importlib.invalidate_caches()

    def start(self, description: WeaveDescription) -> None:
        """Make the weave, and let each of its strings start at its time. Raises `TapestryError`."""
        host: LiveHost = self._network.hosts[description.host]
        where = _Place(self._description)
        main: Main | None = None
        argv = [description.name]
        folder: Path | None = None
        for string in description.strings:
            if string.run is not None:
                program = program_of(string.run)
                main = self._main(program, string, where)
                argv = [argv0(main, program.path), *program.args]
                folder = None if program.path is None else Path(str(main.file)).parent
        environ = self._environ(description.strings, where)
        cwd = self._cwd(description.strings, where)
        policy = self._policy(description, folder)
        weave = host.new_weave(description.name, argv, environ, cwd)
        weave.modules = Modules(weave, self._library, policy, [self._bead(bead, host) for bead in description.beads])
        for string in description.strings:
            function: Any
            if string.call is not None:
                self._check_call(string, description.host, policy, where)
                function = Function(string.call)
            else:
                assert main is not None, "a string has one of run and call"
                function = main.run
            live = String(
                weave,
                weave.name if len(description.strings) == 1 else string.name,
                function,
                string.args,
                string.kwargs,
                background=string.background,
                on_error=string.on_error,
                restart=string.restart,
            )
            now_ns = int(self._network.supervisor.scheduler.now_ns)
            self._network.supervisor.start(live, now_ns + string.start_ns)
            if string.stop_ns is not None:
                self._network.supervisor.stop_at(live, now_ns + string.stop_ns)

    # Beads

    def _policy(self, description: WeaveDescription, folder: Path | None) -> Policy:
        """What the weave isolates: all that its modules name, and the application's code if one names nothing."""
        modules = [bead.module for bead in description.beads]
        named = {top for module in modules for top in module.isolate or ()}
        if any(module.isolate is None for module in modules):
            names = None
            named |= {top for bead in description.beads for top in self._tops(bead)}
        else:
            names = tuple(sorted(named))
        share = [
            entry if ":" in entry else f"{module.module or '__main__'}:{entry}"
            for module in modules for entry in module.share
        ]  # fmt: skip
        return self._library.policy(roots_of(folder, self._folder), names, tuple(sorted(named)), tuple(share))

    def _tops(self, bead: BeadDescription) -> tuple[str, ...]:
        """The top-level packages that a bead which several weaves name consists of."""
        if self._named_by[id(bead)] < 2:
            return ()
        module = bead.module
        own = () if module.module is None else (module.module.partition(".")[0],)
        return tuple(dict.fromkeys((*own, *(module.isolate or ()))))

    def _bead(self, description: BeadDescription, host: LiveHost) -> Bead:
        # One that all weaves of one host have in common goes with the host; one of several hosts outlives each of them.
        boots = 0 if len(self._hosts_of.get(id(description), ())) > 1 else host.boots
        key = (id(description), boots)
        if key not in self._beads:
            self._beads.pop((id(description), boots - 1), None)
            self._beads[key] = Bead(description.name, self._tops(description))
        return self._beads[key]

    def _environ(self, strings: Sequence[StringDescription], where: _Place) -> dict[str, str]:
        """The environment of a weave, which has one, as a process: of all its strings."""
        found: dict[str, str] = {}
        for string in strings:
            for name, text in string.env.items():
                if not name or "=" in name or "\0" in name + text:
                    message = f'"{name}" cannot be set; expected a name without "=", and no null characters'
                    raise where.error(string, "env", message)
                if found.setdefault(name, text) != text:
                    message = f'"{name}" has another value in a string of the same weave; expected the same'
                    raise where.error(string, "env", message)
        return found

    def _cwd(self, strings: Sequence[StringDescription], where: _Place) -> str:
        """The working directory of a weave, which has one, as a process: that of its strings."""
        found: str | None = None
        for string in strings:
            if string.cwd is None:
                continue
            path = self._folder / string.cwd
            if not path.is_dir():
                message = f'there is no folder "{string.cwd}"; expected one, from the tapestry\'s folder'
                raise where.error(string, "cwd", message)
            if found not in (None, str(path)):
                raise where.error(string, "cwd", f'a string of the same weave has "{found}"; expected the same')
            found = str(path)
        # One object for all that share a folder: see directory.py.
        return self._home if found is None else sys.intern(found)

    # Programs

    def _main(self, program: Program, string: StringDescription, where: _Place) -> Main:
        code = attrs.evolve(program, args=())
        if code not in self._mains:
            self._mains[code] = self._loaded(code, string, where)
        return self._mains[code]

    def _loaded(self, program: Program, string: StringDescription, where: _Place) -> Main:
        name = str(program.module if program.path is None else program.path)
        try:
            if program.path is None:
                return Main.of_module(name, self._library, [str(self._folder), *sys.path])
            return Main.of_file((self._folder / program.path).resolve())
        except SyntaxError as error:
            at = f"{Path(error.filename or name).name}, line {error.lineno}" if error.lineno else name
            message = f'"{name}" does not compile: {error.msg} ({at}); expected a Python program'
            raise where.error(string, "run", message) from None
        except OSError as error:
            message = f'"{name}" cannot be read: {error.strerror}; expected a Python program'
            raise where.error(string, "run", message) from None
        except (ImportError, ValueError) as error:  # ValueError: a null character in the source
            raise where.error(string, "run", _failed_import(name, error)) from None

    # Functions

    def _check_call(self, string: StringDescription, host: str, policy: Policy, where: _Place) -> None:
        """Find out now, not when the string starts, that there is no such function or that it takes other arguments."""
        assert string.call is not None, "a string has one of run and call"
        known = (string.call, policy)
        if known not in self._functions:
            self._functions[known] = self._tried(string, host, policy, where)
        # The arguments' values differ from host to host, their number and names do not.
        shape = (string.call, policy, len(string.args), *string.kwargs)
        function = self._functions[known]
        if function is not None and shape not in self._fitting:
            _check_fits(function, string, where)
            self._fitting.add(shape)

    def _tried(
        self, string: StringDescription, host: str, policy: Policy, where: _Place
    ) -> Callable[..., Any] | None:
        named = Function(str(string.call))
        watchdog = self._network.supervisor.watchdog
        subject = f"host {host}, string {string.name}, at import,"
        found: Callable[..., Any] | None = None
        watched = contextlib.nullcontext() if watchdog is None else watchdog.watched(subject, loading=True)
        with contextlib.suppress(Untold, Hang), watched:
            found = attempt(
                lambda modules: self._imported(named, modules, string, where),
                host, self._network.seed, self._library, policy,
            )  # fmt: skip
        for report in () if watchdog is None else watchdog.take_raised():
            raise where.error(string, "call", f"{report.summary}; expected a module that imports")
        return found

    def _imported(
        self, named: Function, modules: Modules, string: StringDescription, where: _Place
    ) -> Callable[..., Any]:
        try:
            module = modules.import_module(named.module)
        except Untold:
            raise
        # Whatever the module's own code raises is what the user has to hear.
        except (Exception, SystemExit) as error:
            raise where.error(string, "call", _failed_import(named.module, error)) from error
        found: Any = module
        for part in named.path.split("."):
            owner = found
            try:
                found = getattr(owner, part)
            except AttributeError:
                # What it has to offer, if it is the module itself that lacks it.
                names = [name for name in dir(module) if name[0] != "_" and callable(getattr(module, name))]
                advice = suggestion(part, names) if names and owner is module else "expected a function of it"
                message = f'module "{named.module}" has no "{named.path}"; {advice}'
                raise where.error(string, "call", message) from None
        if not callable(found):
            message = f'"{named.text}" is not a function but {type(found).__name__}; expected a function'
            raise where.error(string, "call", message)
        if inspect.isgeneratorfunction(found) or inspect.isasyncgenfunction(found):
            what = "is a generator, which nobody would iterate over; expected a function or async function"
            raise where.error(string, "call", f'"{named.text}" {what}')
        function: Callable[..., Any] = found
        return function


class _Place:
    """The file of a tapestry, for messages."""

    def __init__(self, description: Tapestry) -> None:
        self._description = description

    def error(self, string: StringDescription, key: str, message: str) -> TapestryError:
        """A mistake in `key` of a string."""
        return where_of(self._description, *string.path, key).error(message)


def _check_fits(function: Callable[..., Any], string: StringDescription, where: _Place) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-in functions have none
        return
    try:
        signature.bind(*string.args, **string.kwargs)
    except TypeError as error:
        key = "args" if string.args else "kwargs" if string.kwargs else "call"
        name = str(string.call).rpartition(":")[2]
        message = f'"{string.call}" cannot be called so: {error}; expected {name}{signature}'
        raise where.error(string, key, message) from None


def _failed_import(module: str, error: BaseException) -> str:
    told = str(error).splitlines()[0] if str(error) else ""
    # Where in the user's files; the import system's frames and ours say nothing.
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and not Path(frame.filename).is_relative_to(_PACKAGE)
    ]  # fmt: skip
    if isinstance(error, SyntaxError) and error.filename:
        told = error.msg
        place = f" ({error.filename}:{error.lineno})"
    else:
        place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    said = f"{type(error).__name__}: {told}" if told else type(error).__name__
    return f'module "{module}" fails at import: {said}{place}; expected a module that imports'


__all__ = ["LiveTapestry", "Stalled", "describe", "load", "where_of"]
