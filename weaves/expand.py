"""From the tables of a tapestry to its descriptions: groups become hosts, texts values, links find their devices.

What is checked on the way is what needs more than one key to see: names, addresses on a link, programs on the disk. The
types and units of single values were checked in tables.py.
"""

from __future__ import annotations

from weaves.composition import Modules
from weaves.host_groups import Group, Names
from weaves.link_ends import Links
from weaves.programs import Programs
from weaves.tables import RootTable
from weaves.tapestry import Tapestry
from weaves.toml_source import TomlSource


def expand(source: TomlSource, root: RootTable) -> Tapestry:
    """The tapestry that `root`, the tables of `source`, describes. Raises `TapestryError`."""
    folder = source.path.absolute().parent
    names = Names()
    programs = Programs(folder)
    groups = {
        name: Group(source, name, table, root.tapestry.on_error, names, programs) for name, table in root.hosts.items()
    }
    links = Links(groups)
    modules = Modules()
    hosts = tuple(host for group in groups.values() for host in group.hosts)
    return Tapestry(
        path=source.path,
        name=source.path.stem if root.tapestry.name is None else root.tapestry.name,
        seed=root.tapestry.seed,
        until_ns=root.tapestry.until,
        on_error=root.tapestry.on_error,
        epoch_ns=root.tapestry.epoch,
        network=root.tapestry.network,
        hosts=hosts,
        links=tuple(links.link(source, number, table) for number, table in enumerate(root.links)),
        weaves=tuple(weave for host in hosts for weave in modules.implied_weaves(host)),
        folder=folder,
    )
