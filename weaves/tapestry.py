"""The description of a run: what the TOML file says, checked, with every host spelled out.

`read()` is the way in. It goes through three forms: the text (toml_source.py), the tables as written (tables.py), and
the descriptions here, where groups have become hosts and texts have become numbers. expand.py makes the last from the
second.

All of it is frozen data. It knows no packets: what a queue kind or a line of `net` means is for the network that the
tapestry names. A mistake is a `TapestryError`; nothing here is half valid.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs

from weaves.clock_plan import VIRTUAL_TIME, ClockPlan
from weaves.endpoints import Endpoint
from weaves.restart import RestartPolicy
from weaves.tapestry_errors import TapestryError, Where
from weaves.toml_source import TomlPath, TomlSource

__all__ = [
    "BeadDescription",
    "DeviceDescription",
    "EventDescription",
    "FileDescription",
    "GatewayDescription",
    "HostDescription",
    "KernelDescription",
    "LinkDescription",
    "ModuleDescription",
    "NetLine",
    "StringDescription",
    "TapDescription",
    "Tapestry",
    "TapestryError",
    "UdpDescription",
    "WeaveDescription",
    "Where",
    "parse",
    "read",
]

OnError: TypeAlias = Literal["stop", "continue", "restart"]
Action: TypeAlias = Literal[
    "crash", "boot", "pause", "resume", "shutdown", "reboot", "signal", "link-down", "link-up"
]
OnHang: TypeAlias = Literal["string", "run"]
QueueKind: TypeAlias = Literal["fifo", "red"]


@attrs.frozen(slots=True)
class DeviceDescription:
    """A device of one host: its addresses with their prefix lengths. An IPv4 address is below 2**32, an IPv6 one not.

    With `auto` it finds IPv6 addresses by itself, from what routers say.
    """

    name: str
    addresses: tuple[tuple[int, int], ...]
    auto: bool = False


@attrs.frozen(slots=True)
class TapDescription:
    """A device of a host that leads to the machine's kernel: its addresses, those of the kernel's `device`, and which
    network namespace that is in, None for the one of the process. `name` is tapN for Ethernet, tunN for IP alone.
    """

    name: str
    addresses: tuple[tuple[int, int], ...]
    kernel: tuple[tuple[int, int], ...]
    device: str
    netns: str | None
    mtu: int
    up: bool
    where: Where


@attrs.frozen(slots=True)
class FileDescription:
    """A file that a host has of its own, by its absolute path."""

    path: str
    text: str
    where: Where


@attrs.frozen(slots=True)
class NetLine:
    """A line of `net`: a command of a net tool, stripped, never empty and no comment."""

    text: str
    where: Where


@attrs.frozen(slots=True)
class StringDescription:
    """A string to start: either `run`, the words of a program line, or `call`, "package.module:function".

    `weaves.programs.program_of` tells what the words of `run` name. Times count from the start of the run.
    """

    name: str
    run: tuple[str, ...] | None
    call: str | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    start_ns: int
    stop_ns: int | None
    background: bool
    on_error: OnError
    restart: RestartPolicy | None  # None: as `on_error` says
    env: dict[str, str]
    cwd: str | None  # from the tapestry's folder; None: that folder
    where: Where
    path: TomlPath  # of its entry in the file, for the places of its keys


@attrs.frozen(slots=True)
class ModuleDescription:
    """A piece of code: a program, as the words of `run` without arguments, or an importable `module`; one is None.

    `isolate` has the top-level packages that get data of their own in a weave that uses the module; None: the
    application's code. `share` has the names that all beads of the module share, each NAME or "package.module:NAME".
    """

    name: str
    run: tuple[str, ...] | None
    module: str | None
    isolate: tuple[str, ...] | None
    share: tuple[str, ...]
    where: Where


@attrs.frozen(slots=True, eq=False)
class BeadDescription:
    """An instance of a module of the application. It is one thing in all weaves that name it, so compare by identity.

    The beads of the string of a host are implied: one a weave, with the weave's name.
    """

    name: str
    module: ModuleDescription
    where: Where


@attrs.frozen(slots=True, eq=False)
class WeaveDescription:
    """A program: beads of the application, the stack of `host` (its name), and the strings that run in it.

    No two of its beads are instances of the same code.
    """

    name: str
    host: str
    beads: tuple[BeadDescription, ...]
    strings: tuple[StringDescription, ...]
    where: Where


@attrs.frozen(slots=True)
class HostDescription:
    """A host. `group` is the NAME of its table [hosts.NAME], `index` its number there, 0 for a host that is alone.

    `strings` are those of its table, the short hand: each is in a weave of the tapestry, too.
    """

    name: str
    group: str
    index: int
    devices: tuple[DeviceDescription, ...]  # in the order of their numbers
    net: tuple[NetLine, ...]
    names: tuple[str, ...]
    strings: tuple[StringDescription, ...]
    where: Where
    stack: str | None = None  # the name of its kind, for the network to know; None: the usual one
    stack_where: Where | None = None
    files: tuple[FileDescription, ...] = ()
    taps: tuple[TapDescription, ...] = ()


@attrs.frozen(slots=True)
class KernelDescription:
    """The machine's kernel as an end of links, [kernels.NAME]: its devices in the network namespace `netns`; None: one
    of this name is made for the run. Commands that configure it, programs that the run waits for, and that it does not.
    """

    name: str
    devices: tuple[DeviceDescription, ...]
    netns: str | None
    net: tuple[NetLine, ...]
    run: tuple[NetLine, ...]
    background: tuple[NetLine, ...]
    where: Where


@attrs.frozen(slots=True)
class StackDescription:
    """A kind of host of the tapestry's own, [stacks.NAME]: what is different from the one of the name `based_on`."""

    name: str
    based_on: str | None
    sysctl: dict[str, Any]
    rules: dict[str, Any]
    where: Where


@attrs.frozen(slots=True)
class RedDescription:
    """Early drops of a queue: its thresholds, both in packets or both in bytes, and how it chooses (0 to 1)."""

    least: int
    most: int
    in_bytes: bool
    probability: float
    weight: float
    ecn: bool


@attrs.frozen(slots=True)
class UdpDescription:
    """The other end of a link, in another process: datagrams go from `local` to `remote`, addresses of the machine's.

    Each is authenticated with `key`, or with that in `key_file`, an absolute path; at most one is there.
    """

    local: Endpoint
    remote: Endpoint
    key: str | None = attrs.field(repr=False)
    key_file: Path | None
    where: Where  # of key_file, if there is one


@attrs.frozen(slots=True)
class LinkDescription:
    """A link: two ends are a point-to-point link, more are a switch. An end is the name of a host and of its device.

    With `udp` there is one end more, in another process: one end here is a point-to-point link, more are a switch.

    A queue is limited in packets or in bytes; the other limit is None. `rate_bps` is in bits per second, None is
    unlimited; `loss`, `reorder`, `duplicate` and `corrupt` are probabilities from 0 to 1; `loss_burst` is the mean
    number of frames lost in a row; `mtu` is in bytes.
    """

    name: str
    ends: tuple[tuple[str, str], ...]
    rate_bps: int | None
    delay_ns: int
    loss: float
    loss_burst: float
    reorder: float
    reorder_by_ns: int
    duplicate: float
    corrupt: float
    queue_kind: QueueKind
    queue_limit_packets: int | None
    queue_limit_bytes: int | None
    red: RedDescription | None
    mtu: int
    where: Where
    arp: bool | None = None  # whether its devices ask for hardware addresses; None: as the tapestry says
    udp: UdpDescription | None = None

    @property
    def is_switch(self) -> bool:
        """Whether it joins more than two."""
        return len(self.ends) + (self.udp is not None) > 2


@attrs.frozen(slots=True)
class EventDescription:
    """What happens at a time of the run: to `host`, for link events to `link`; the other is "".

    A "signal" is for the weave of that name, None for all of the host. `entry` is the number of its table in the file,
    from 0: events of one entry differ in their hosts and times.
    """

    at_ns: int
    do: Action
    host: str
    link: str
    weave: str | None
    signum: int | None
    entry: int
    where: Where


@attrs.frozen(slots=True)
class GatewayDescription:
    """How programs of the machine come into the run: connections are made by `host`, a name; "" without hosts.

    `proxy` is (address, port) of the machine where a proxy listens, None: there is none. Each of `forwards` is such an
    address and port, and the name and port of a virtual host.
    """

    host: str = ""
    proxy: tuple[str, int] | None = None
    forwards: tuple[tuple[str, int, str, int], ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether anybody can come in."""
        return self.proxy is not None or bool(self.forwards)


@attrs.frozen(slots=True)
class Tapestry:
    """A whole run. `epoch_ns` is the wall clock of the hosts at its start, in ns since 1970-01-01T00:00:00Z."""

    path: Path
    name: str
    seed: int
    until_ns: int | None  # None: until every string has ended
    on_error: OnError
    epoch_ns: int
    network: str
    hosts: tuple[HostDescription, ...]
    links: tuple[LinkDescription, ...]
    weaves: tuple[WeaveDescription, ...]  # those of the hosts' strings, then the explicit ones
    events: tuple[EventDescription, ...]  # in the order of the file
    simulator: str  # the name of the simulator's bead, of which a run has one
    folder: Path  # absolute: where programs and modules are looked for
    stacks: tuple[StackDescription, ...] = ()  # in the order of the file
    watchdog_ns: int | None = None  # of real time; 0 is off, None leaves it to who runs the tapestry
    on_hang: OnHang = "run"
    arp: bool = False  # whether hosts ask for hardware addresses, on links that do not say otherwise
    gateway: GatewayDescription = GatewayDescription()
    clock: ClockPlan = VIRTUAL_TIME
    record: Path | None = None  # absolute: the file to log a session to
    kernels: tuple[KernelDescription, ...] = ()  # in the order of the file


def read(path: str | os.PathLike[str]) -> Tapestry:
    """The tapestry in the TOML file at `path`. Raises `TapestryError` for whatever is wrong with it."""
    return _expanded(TomlSource.read(path))


def parse(text: str, path: str | os.PathLike[str]) -> Tapestry:
    """The tapestry in `text`, as if it stood in a file at `path`, which need not exist. Raises `TapestryError`."""
    return _expanded(TomlSource(text, Path(path)))


def _expanded(source: TomlSource) -> Tapestry:
    # Both build on the classes of this file, so they import this one, and are imported here only when they are needed.
    from weaves.expand import expand
    from weaves.tables import structure

    try:
        return expand(source, structure(source))
    except RecursionError:
        raise TapestryError(str(source.path), None, "", "", "nested too deeply; expected a tapestry") from None
