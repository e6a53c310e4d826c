"""From a description to a live tapestry: hosts and links by the network's builder, weaves and strings here.

`load` raises `TapestryError` for everything that can be known before the first string runs.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from weaves.beads import Main
from weaves.clock import format_duration
from weaves.programs import Program, program_of
from weaves.realtime import Stalled, drive, drive_blocking
from weaves.scheduler import IDLE, STOPPED
from weaves.strings import FAILED, String, Weave
from weaves.supervisor import Supervisor
from weaves.tapestry import HostDescription, StringDescription, Tapestry, read, suggestion
from weaves.tapestry_errors import TapestryError, Where
from weaves.toml_source import TomlSource, key_text

# The networks that a tapestry can name. By name, because this package knows no network.
_BUILDERS: Final = {"lunar": "lunar.builder"}

_PACKAGE: Final = Path(__file__).parent


class LiveHost(Protocol):
    """What the loader needs of a host."""

    name: str

    def new_weave(self, name: str, argv: list[str] | None = None) -> Weave:
        """A weave for a program on this host."""


class LiveNetwork(Protocol):
    """What the loader needs of a network; lunar.network.Network is one."""

    hosts: Any
    supervisor: Supervisor
    seed: int

    def digest(self) -> str:
        """The digest of what happened so far."""

    def close(self) -> None:
        """End everything."""

    def totals(self) -> dict[str, int]:
        """At least `hosts` and `packets`."""

    def link_figures(self) -> list[dict[str, Any]]:
        """A row for each link."""

    def tcp_figures(self) -> dict[str, int]:
        """Sums over all hosts."""

    def capture(self, directory: str | Path) -> Any:
        """Write captures to `directory`."""


class LiveTapestry:
    """A tapestry whose hosts, links and strings exist. Run it once, then close it."""

    def __init__(self, description: Tapestry, network: LiveNetwork, until_ns: int | None) -> None:
        self.description = description
        self.network = network
        self.supervisor = network.supervisor
        self.until_ns = until_ns
        self.stalled: list[String] = []

    @property
    def now_ns(self) -> int:
        """Virtual time in nanoseconds."""
        return int(self.supervisor.scheduler.now_ns)

    @property
    def ok(self) -> bool:
        """Whether no string failed for good, and none waits for what cannot come."""
        return not self.stalled and not any(string.state == FAILED for string in self.supervisor.strings)

    async def run(self, on_slice: Callable[[], None] | None = None) -> None:
        """Run until every string that is not in the background has ended, or until `until`, whichever comes first.

        Awaited inside any running asyncio or uvloop loop. `on_slice` is called every few milliseconds.
        """
        reason = STOPPED
        while reason == STOPPED and not self._over:
            reason = await drive(self.supervisor.scheduler, self.until_ns, on_slice)
        self._judge(reason)

    def run_blocking(self) -> None:
        """As `run`, without a loop."""
        reason = STOPPED
        while reason == STOPPED and not self._over:
            reason = drive_blocking(self.supervisor.scheduler, self.until_ns)
        self._judge(reason)

    @property
    def _over(self) -> bool:
        # Where all strings are in the background, nobody's end is waited for: such a tapestry has an `until`.
        nobody = all(string.background for string in self.supervisor.strings)
        return self.supervisor.over and (not nobody or self.supervisor.stopped_by is not None)

    def _judge(self, reason: int) -> None:
        if reason == STOPPED:
            return
        if self.until_ns is None:
            self.stalled = self.supervisor.waiting()
        elif reason == IDLE:
            # Nothing was left to happen; time goes by all the same.
            self.supervisor.scheduler.advance(max(self.until_ns, self.now_ns))

    def stall_report(self) -> str:
        """Which strings wait for what cannot come."""
        names = [f"{string.name} on {string.weave.host.name}" for string in self.stalled]
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        return (
            f"stalled at {format_duration(self.now_ns)}: nothing is left that could wake {shown}: no packet is on its "
            f"way, no timer is set. For a server that outlives its clients say background = true, or set until."
        )

    def close(self) -> None:
        """End what still runs and close the captures."""
        self.network.close()


def load(
    source: str | Path | Tapestry, *, seed: int | None = None, until_ns: int | None = None, through_bytes: bool = False
) -> LiveTapestry:
    """Make everything that a tapestry describes. `seed` and `until_ns` replace its own. Raises `TapestryError`."""
    description = describe(source)
    until_ns = description.until_ns if until_ns is None else until_ns
    _check_ends(description, until_ns)
    builder = importlib.import_module(_BUILDERS[description.network])
    network: LiveNetwork = builder.build(
        description, seed=description.seed if seed is None else seed, through_bytes=through_bytes
    )
    try:
        strings = _Strings(description, network)
        for host in description.hosts:
            strings.start(host)
    except BaseException:
        network.close()
        raise
    return LiveTapestry(description, network, until_ns)


def describe(source: str | Path | Tapestry) -> Tapestry:
    """The description of a tapestry that has hosts, in a network that is known. Raises `TapestryError`."""
    description = source if isinstance(source, Tapestry) else read(source)
    if description.network not in _BUILDERS:
        known = " or ".join(f'"{name}"' for name in _BUILDERS)
        where = where_of(description, "tapestry", "network")
        raise where.error(f'"{description.network}" is not known; expected {known}')
    if not description.hosts:
        raise TapestryError(str(description.path), None, "", "", "there are no hosts; expected a table [hosts.NAME]")
    return description


def where_of(description: Tapestry, *path: str | int) -> Where:
    """The place of a key, which descriptions do not keep. It is looked up in the file again, now that it is wrong."""
    try:
        return TomlSource.read(description.path).where(*path)
    except TapestryError:
        return Where(str(description.path), None, "", key_text(path))


def _check_ends(description: Tapestry, until_ns: int | None) -> None:
    strings = [string for host in description.hosts for string in host.strings]
    if until_ns is None and strings and all(string.background for string in strings):
        group = next(host.group for host in description.hosts if host.strings)
        message = "every string is in the background, so that the run would be over at once"
        where = where_of(description, "hosts", group, "strings", 0, "background")
        raise where.error(f"{message}; expected one that is not, or [tapestry] until")


class _Strings:
    """Makes the weaves and strings of a tapestry. Each program is compiled once, each function imported once."""

    def __init__(self, description: Tapestry, network: LiveNetwork) -> None:
        self._description = description
        self._network = network
        self._folder = description.folder.resolve()
        self._functions: dict[str, Callable[..., Any]] = {}
        self._mains: dict[Program, Main] = {}
        self._fitting: set[tuple[Any, ...]] = set()
        # Files may have come since the import system looked into their folders.
        importlib.invalidate_caches()
        if str(self._folder) not in sys.path:
            sys.path.insert(0, str(self._folder))

    def start(self, description: HostDescription) -> None:
        """Make the weaves and strings of a host, and let each start at its time."""
        host: LiveHost = self._network.hosts[description.name]
        for number, string in enumerate(description.strings):
            where = _Place(self._description, description, number)
            if string.env:
                raise where.error("env", "a program's environment is not here yet; expected arguments in run")
            if string.cwd is not None:
                raise where.error("cwd", "a working directory is not here yet; expected paths in run")
            if string.call is not None:
                weave = host.new_weave(string.name)
                function = self._function(string, where)
            else:
                assert string.run is not None, "a string has one of run and call"
                program = program_of(string.run)
                weave = host.new_weave(string.name, [program.path or str(program.module), *program.args])
                function = self._main(program, where).run
            live = String(
                weave,
                weave.name,
                function,
                string.args,
                string.kwargs,
                background=string.background,
                on_error=string.on_error,
            )
            self._network.supervisor.start(live, string.start_ns)
            if string.stop_ns is not None:
                self._network.supervisor.stop_at(live, string.stop_ns)

    # Programs

    def _main(self, program: Program, where: _Place) -> Main:
        if program not in self._mains:
            self._mains[program] = self._loaded(program, where)
        return self._mains[program]

    def _loaded(self, program: Program, where: _Place) -> Main:
        name = str(program.module if program.path is None else program.path)
        try:
            if program.path is None:
                self._check_not_another(name, where, "run")
                return Main.of_module(name)
            path = (self._folder / program.path).resolve()
            # As `python FILE` does, which puts the program's folder first. Here several programs share the path.
            folder = str(path if path.is_dir() else path.parent)
            if folder not in sys.path:
                sys.path.append(folder)
            return Main.of_file(path)
        except SyntaxError as error:
            at = f"{Path(error.filename or name).name}, line {error.lineno}" if error.lineno else name
            message = f'"{name}" does not compile: {error.msg} ({at}); expected a Python program'
            raise where.error("run", message) from None
        except OSError as error:
            raise where.error("run", f'"{name}" cannot be read: {error.strerror}; expected a Python program') from None
        except TapestryError:
            raise
        # Whatever a package's own code raises is what the user has to hear.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            raise where.error("run", _failed_import(name, error)) from None

    # Functions

    def _function(self, string: StringDescription, where: _Place) -> Callable[..., Any]:
        call = string.call
        assert call is not None, "a string has one of run and call"
        if call not in self._functions:
            self._functions[call] = self._imported(call, where)
        function = self._functions[call]
        # The arguments' values differ from host to host, their number and names do not.
        shape = (call, len(string.args), *string.kwargs)
        if shape not in self._fitting:
            _check_fits(function, string, where)
            self._fitting.add(shape)
        return function

    def _imported(self, call: str, where: _Place) -> Callable[..., Any]:
        module_name, _, path = call.partition(":")
        self._check_not_another(module_name, where, "call")
        try:
            module = importlib.import_module(module_name)
        # Whatever the module's own code raises is what the user has to hear.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            raise where.error("call", _failed_import(module_name, error)) from None
        found: Any = module
        for part in path.split("."):
            owner = found
            try:
                found = getattr(owner, part)
            except AttributeError:
                # What it has to offer, if it is the module itself that lacks it.
                names = [name for name in dir(module) if name[0] != "_" and callable(getattr(module, name))]
                advice = suggestion(part, names) if names and owner is module else "expected a function of it"
                raise where.error("call", f'module "{module_name}" has no "{path}"; {advice}') from None
        if not callable(found):
            raise where.error("call", f'"{call}" is not a function but {type(found).__name__}; expected a function')
        if inspect.isgeneratorfunction(found) or inspect.isasyncgenfunction(found):
            message = f'"{call}" is a generator, which nobody would iterate over; expected a function or async function'
            raise where.error("call", message)
        function: Callable[..., Any] = found
        return function

    def _check_not_another(self, module: str, where: _Place, key: str) -> None:
        """A module of this name may be loaded already: by another tapestry of this process, or by Python itself."""
        loaded = getattr(sys.modules.get(module), "__file__", None)
        search = [str(self._folder)]
        spec = None
        for part in module.split("."):
            spec = importlib.machinery.PathFinder.find_spec(part, search)
            if spec is None:
                return
            search = list(spec.submodule_search_locations or [])
        ours = None if spec is None else spec.origin
        if loaded is not None and ours is not None and not Path(loaded).samefile(ours):
            message = f'a module "{module}" is loaded already, from {loaded}; expected another name than that'
            raise where.error(key, message)


class _Place:
    """A string of a tapestry, for messages."""

    def __init__(self, description: Tapestry, host: HostDescription, number: int) -> None:
        self._description = description
        self._host = host
        self._number = number

    def error(self, key: str, message: str) -> TapestryError:
        """A mistake in `key` of the string."""
        path = ("hosts", self._host.group, "strings", self._number, key)
        return where_of(self._description, *path).error(message)


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
        raise where.error(key, f'"{string.call}" cannot be called so: {error}; expected {name}{signature}') from None


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
