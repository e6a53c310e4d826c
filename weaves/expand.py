"""From the tables of a tapestry to its descriptions: groups become hosts, texts values, links find their devices.

What is checked on the way is what needs more than one key to see: names, addresses on a link, programs on the disk. The
types and units of single values were checked in tables.py.
"""

from __future__ import annotations

from weaves.clock_plan import REAL, VIRTUAL, VIRTUAL_TIME, ClockError, ClockPlan, changed
from weaves.composition import Beads, explicit_weaves, implied_weaves
from weaves.endpoints import format_endpoint
from weaves.host_groups import Group, Names
from weaves.kernel_ends import TapEntry, kernel_description
from weaves.link_ends import Links, check_taps
from weaves.named_modules import Modules
from weaves.programs import Programs
from weaves.string_entry import StringEntry
from weaves.tables import HostTable, RootTable, TapestryTable
from weaves.tapestry import GatewayDescription, StackDescription, Tapestry
from weaves.tapestry_errors import suggestion
from weaves.timed_events import Events
from weaves.toml_source import TomlSource


def expand(source: TomlSource, root: RootTable) -> Tapestry:
    """The tapestry that `root`, the tables of `source`, describes. Raises `TapestryError`."""
    folder = source.path.absolute().parent
    names = Names()
    programs = Programs(folder)
    groups = {
        name: Group(
            source, ("hosts", name), name, table, names, _strings(source, root, name, table, programs),
            _taps(source, name, table),
        )
        for name, table in root.hosts.items()
    }
    kernels = tuple(kernel_description(source, name, table, names) for name, table in root.kernels.items())
    modules = Modules(source, root, programs)
    beads = Beads(source, root, modules, names)
    beads.add_hosts(groups)
    groups |= beads.groups
    hosts = tuple(host for group in groups.values() for host in group.hosts)
    links = Links(groups, kernels)
    link_descriptions = tuple(links.link(source, number, table) for number, table in enumerate(root.links))
    check_taps(hosts, kernels)
    weaves = (
        *(weave for host in hosts for weave in implied_weaves(host, modules)),
        *explicit_weaves(source, root, beads, hosts, programs),
    )
    events = Events(source, groups, link_descriptions, weaves)
    return Tapestry(
        path=source.path,
        name=source.path.stem if root.tapestry.name is None else root.tapestry.name,
        seed=root.tapestry.seed,
        until_ns=root.tapestry.until,
        on_error=root.tapestry.on_error,
        epoch_ns=root.tapestry.epoch,
        network=root.tapestry.network,
        hosts=hosts,
        links=link_descriptions,
        weaves=weaves,
        events=tuple(
            event for number, table in enumerate(root.events) for event in events.descriptions(number, table)
        ),
        simulator=beads.simulator,
        folder=folder,
        stacks=tuple(
            StackDescription(name, table.based_on, dict(table.sysctl), dict(table.rules), source.where("stacks", name))
            for name, table in root.stacks.items()
        ),
        watchdog_ns=root.tapestry.watchdog,
        on_hang=root.tapestry.on_hang,
        arp=root.tapestry.arp,
        gateway=_gateway(source, root, [host.name for host in hosts]),
        clock=_clock(source, root.tapestry),
        record=None if root.tapestry.record is None else folder / root.tapestry.record,
        kernels=kernels,
    )


def _gateway(source: TomlSource, root: RootTable, hosts: list[str]) -> GatewayDescription:
    table = root.tapestry
    if table.gateway is not None and table.gateway not in hosts:
        message = f'there is no host "{table.gateway}"; {suggestion(table.gateway, hosts)}'
        raise source.where("tapestry", "gateway").error(message)
    taken: set[tuple[str, int] | None] = {table.proxy}
    for forward in table.forward:
        here = forward[:2]
        if here in taken and here[1] != 0:  # the machine chooses another each time where it is 0
            message = f"{format_endpoint(here)} is taken already; expected a port of its own for each"
            raise source.where("tapestry", "forward").error(message)
        taken.add(here)
    return GatewayDescription(table.gateway or next(iter(hosts), ""), table.proxy, table.forward)


def _clock(source: TomlSource, table: TapestryTable) -> ClockPlan:
    # Whoever comes by a proxy lives in real time.
    clock = table.clock
    for key in ("proxy", "forward"):
        if not getattr(table, key):
            continue
        if table.clock == VIRTUAL:
            raise source.where("tapestry", key).error('is of a real clock; expected clock = "real" with it')
        clock = REAL
    try:
        return changed(
            VIRTUAL_TIME, clock=clock, speed=table.speed, late=table.late, late_limit=table.late_limit,
            busy_poll=table.busy_poll, record=table.record,
        )  # fmt: skip
    except ClockError as wrong:
        expected = f'expected {wrong.needs} = "{wrong.value}" with it'
        raise source.where("tapestry", wrong.key).error(f"{wrong.what}; {expected}") from None


def _taps(source: TomlSource, host: str, table: HostTable) -> list[TapEntry]:
    return [TapEntry(source, ("hosts", host, name), name, tap) for name, tap in table.taps.items()]


def _strings(source: TomlSource, root: RootTable, host: str, table: HostTable, programs: Programs) -> list[StringEntry]:
    on_error = table.on_error or root.tapestry.on_error
    return [
        StringEntry(source, ("hosts", host, "strings", number), string, on_error, programs)
        for number, string in enumerate(table.strings)
    ]
