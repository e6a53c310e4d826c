"""From a description to a live tapestry: hosts and links by the network's builder, weaves and strings here.

`load` raises `TapestryError` for everything that can be known before the first string runs.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from weaves import beads
from weaves.clock import format_duration
from weaves.expand import program_of
from weaves.realtime import Stalled, drive, drive_blocking
from weaves.scheduler import STOPPED
from weaves.strings import FAILED, String, Weave
from weaves.supervisor import Supervisor
from weaves.tapestry import StringDescription, Tapestry, read

# The networks that a tapestry can name. By name, because this package knows no network.
_BUILDERS: Final = {"lunar": "lunar.builder"}


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

    def __init__(self, description: Tapestry, network: LiveNetwork) -> None:
        self.description = description
        self.network = network
        self.supervisor = network.supervisor
        self.until_ns = description.until_ns
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
        """Run until every string that is not in the background has ended, or until `until`.

        Awaited inside any running asyncio or uvloop loop. `on_slice` is called every few milliseconds.
        """
        reason = STOPPED
        while reason == STOPPED and not self.supervisor.over:
            reason = await drive(self.supervisor.scheduler, self.until_ns, on_slice)
        self._judge(reason)

    def run_blocking(self) -> None:
        """As `run`, without a loop."""
        reason = STOPPED
        while reason == STOPPED and not self.supervisor.over:
            reason = drive_blocking(self.supervisor.scheduler, self.until_ns)
        self._judge(reason)

    def _judge(self, reason: int) -> None:
        if reason != STOPPED and self.until_ns is None:
            self.stalled = self.supervisor.waiting()

    def stall_report(self) -> str:
        """Which strings wait for what cannot come."""
        names = [f"{string.name} on {string.weave.host.name}" for string in self.stalled]
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        return (
            f"at {format_duration(self.now_ns)} nothing was left that could wake {shown}: no packet on its way, no timer "
            f"set. If it is a server that others outlive, say background = true, or set until."
        )

    def close(self) -> None:
        """End what still runs and close the captures."""
        self.network.close()


def load(source: str | Path | Tapestry, *, seed: int | None = None, through_bytes: bool = False) -> LiveTapestry:
    """Make everything that a tapestry describes. `seed` replaces its seed. Raises `TapestryError`."""
    description = source if isinstance(source, Tapestry) else read(source)
    builder = importlib.import_module(_BUILDERS[description.network])
    network: LiveNetwork = builder.build(
        description, seed=description.seed if seed is None else seed, through_bytes=through_bytes
    )
    network.supervisor.on_error = description.on_error
    folder = str(description.folder.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    functions: dict[str, Callable[..., Any]] = {}
    for host_description in description.hosts:
        host = network.hosts[host_description.name]
        for string in host_description.strings:
            start_string(network, host, description, string, functions)
    return LiveTapestry(description, network)


def start_string(
    network: LiveNetwork, host: LiveHost, description: Tapestry, string: StringDescription,
    functions: dict[str, Callable[..., Any]],
) -> String:
    """Make the weave and the string of one description, and let it start at its time."""
    if string.call is not None:
        if string.call not in functions:
            functions[string.call] = _function(string)
        weave = host.new_weave(string.name)
        function, args, kwargs = functions[string.call], string.args, string.kwargs
    else:
        assert string.run is not None
        program = program_of(string.run)
        args, kwargs = (), {}
        if program.module is not None:
            module = program.module
            weave = host.new_weave(string.name, [module, *program.args])
            function = lambda: beads.run_module(module)  # noqa: E731
        else:
            path = (description.folder / str(program.path)).resolve()
            _check_compiles(string, path)
            if str(path.parent) not in sys.path:
                sys.path.append(str(path.parent))
            weave = host.new_weave(string.name, [str(program.path), *program.args])
            function = lambda: beads.run_file(path)  # noqa: E731
    live = String(weave, string.name, function, args, kwargs, background=string.background, on_error=string.on_error)
    network.supervisor.start(live, string.start_ns)
    if string.stop_ns is not None:
        network.supervisor.stop_at(live, string.stop_ns)
    return live


def _function(string: StringDescription) -> Callable[..., Any]:
    assert string.call is not None
    module, _, name = string.call.partition(":")
    try:
        found = beads.function(string.call)
    except AttributeError as error:
        if name.split(".")[0] in str(error):
            raise string.where.error(f'module "{module}" has no "{name}"; expected a function of it') from None
        raise string.where.error(_failed_import(module, error)) from None
    except (Exception, SystemExit) as error:  # whatever the module's own code raises is what the user has to hear
        raise string.where.error(_failed_import(module, error)) from None
    if not callable(found):
        raise string.where.error(f'"{string.call}" is not a function but {type(found).__name__}; expected a function')
    checked: Callable[..., Any] = found
    return checked


def _failed_import(module: str, error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    text = str(error).splitlines()[0] if str(error) else ""
    return f'module "{module}" fails at import: {type(error).__name__}: {text}{place}; expected a module that imports'


def _check_compiles(string: StringDescription, path: Path) -> None:
    try:
        beads.compiled(path / "__main__.py" if path.is_dir() else path)
    except SyntaxError as error:
        raise string.where.error(
            f'program "{path.name}" does not compile: {error.msg} (line {error.lineno}); expected a Python program'
        ) from None
    except (OSError, ValueError) as error:
        raise string.where.error(f'program "{path.name}" cannot be read: {error}; expected a Python program') from None


__all__ = ["LiveTapestry", "Stalled", "load"]
