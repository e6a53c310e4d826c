"""What is composed of what: the beads and weaves of a tapestry.

A file says it in either of two ways. [modules], [[beads]] and [[weaves]] name everything. A string of [hosts] is short
hand for a weave of its own, with the host's stack and one bead of the module that its code is in. Both become the same
descriptions here, so that whoever makes weaves sees one form.

A weave may name the stack of a host of [hosts] too, since that is a Lunar bead like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from weaves.fields import Field, text_field
from weaves.host_groups import Group, Names
from weaves.named_modules import SIMULATOR, Modules, code_of
from weaves.programs import Programs
from weaves.string_entry import StringEntry
from weaves.tables import BeadTable, RootTable, WeaveTable
from weaves.tapestry import BeadDescription, HostDescription, StringDescription, WeaveDescription
from weaves.tapestry_errors import Where, suggestion
from weaves.toml_source import TomlSource
from weaves.weave import free_weave_name


def implied_weaves(host: HostDescription, modules: Modules) -> Iterator[WeaveDescription]:
    """The weaves that the strings of `host` are short hand for."""
    taken: set[str] = set()
    for string in host.strings:
        name = free_weave_name(string.name, taken)
        taken.add(name)
        bead = BeadDescription(name, modules.of_string(string), string.where)
        yield WeaveDescription(name, host.name, (bead,), (string,), string.where)


class Beads:
    """The beads that a weave can name: those of the application, the stacks of hosts, the simulator.

    `groups` has the hosts that [[beads]] of the network's module are, by the name of the table.
    """

    def __init__(self, source: TomlSource, root: RootTable, modules: Modules, names: Names) -> None:
        self._source = source
        self._modules = modules
        self._network = root.tapestry.network
        self._names = names
        self.simulator = SIMULATOR
        self._simulator_where: Where | None = None
        self.groups: dict[str, Group] = {}
        self._beads: dict[str, BeadDescription | HostDescription | None] = {}  # None: the simulator
        self._counts: dict[str, int] = {}  # of the tables that are groups
        self._tables: list[str] = []
        for number, table in enumerate(root.beads):
            self._add(number, table)

    def add_hosts(self, groups: dict[str, Group]) -> None:
        """Let weaves name the hosts of [hosts]."""
        for name, group in groups.items():
            self._tables.append(name)
            if group.is_group:
                self._counts[name] = len(group.hosts)
            self._beads.update((host.name, host) for host in group.hosts)

    def find(self, name: str, where: Where) -> BeadDescription | HostDescription | None:
        """The bead of that name, None for the simulator. Raises `TapestryError`."""
        try:
            return self._beads[name]
        except KeyError:
            if (count := self._counts.get(name)) is not None:
                message = f'"{name}" is a group of {count:,}; expected one of it, such as "{name}-0" or "{name}-{{i}}"'
            else:
                message = f'there is no bead "{name}"; {suggestion(name, self._tables)}'
            raise where.error(message) from None

    def _add(self, number: int, table: BeadTable) -> None:
        where = self._source.where("beads", number)
        if table.name is None:
            raise where.error("no name; expected a name that weaves can give")
        if table.module is None:
            raise where.error(f'no module; expected "{self._network}", or one of [modules]')
        if table.module == self._network:
            group = Group(self._source, ("beads", number), table.name, table, self._names)
            self.groups[table.name] = group
            self.add_hosts({table.name: group})
            return
        of_hosts = {"net": table.net, "names": table.names, "stack": table.stack, "files": table.files}
        for key, value in (*table.devices.items(), *of_hosts.items()):
            if value:
                message = f"only a host's stack has {'devices' if key in table.devices else key}"
                expected = f'expected it on a bead of module "{self._network}"'
                raise self._source.where("beads", number, key).error(f"{message}; {expected}")
        self._tables.append(table.name)
        if table.module == SIMULATOR:
            self._add_simulator(number, table.name, table.count)
            return
        module = self._modules.named.get(table.module)
        if module is None:
            known = [*self._modules.named, self._network, SIMULATOR]
            message = f'there is no module "{table.module}"; {suggestion(table.module, known)}'
            raise self._source.where("beads", number, "module").error(message)
        if table.count is not None:
            self._names.take(table.name, where, "bead")
            self._counts[table.name] = table.count
        for index in range(table.count or 1):
            name = table.name if table.count is None else f"{table.name}-{index}"
            self._names.take(name, where, "bead")
            self._beads[name] = BeadDescription(name, module, where)

    def _add_simulator(self, number: int, name: str, count: int | None) -> None:
        where = self._source.where("beads", number)
        if count is not None:
            where = self._source.where("beads", number, "count")
            raise where.error("a run has one simulator; expected no count")
        if self._simulator_where is not None:
            message = f"a run has one simulator, here in line {self._simulator_where.line}"
            raise where.error(f"{message}; expected no other")
        self._names.take(name, where, "bead")
        self._simulator_where = where
        self.simulator = name
        self._beads[name] = None


def explicit_weaves(
    source: TomlSource, root: RootTable, beads: Beads, hosts: Iterable[HostDescription], programs: Programs
) -> list[WeaveDescription]:
    """The weaves of [[weaves]]. Raises `TapestryError`."""
    names = Names()
    weaves: list[WeaveDescription] = []
    # Names of the weaves that strings of hosts imply, which no other weave of the host may have.
    taken = {host.name: host.strings for host in hosts if host.strings} if root.weaves else {}
    for number, table in enumerate(root.weaves):
        entry = _Weave(source, number, table, root, beads, programs)
        for index in range(table.count or 1):
            weave = entry.description(index)
            names.take(weave.name, weave.where, "weave")
            for string in taken.get(weave.host, ()):
                if string.name == weave.name:
                    message = f'a string of {weave.host} is a weave "{weave.name}" already, in line {string.where.line}'
                    raise weave.where.error(f"{message}; expected another name")
            weaves.append(weave)
    _check_common_beads(weaves)
    return weaves


def _check_common_beads(weaves: list[WeaveDescription]) -> None:
    """A bead that weaves have in common must be one that they can have in common."""
    users: dict[BeadDescription, list[str]] = {}
    for weave in weaves:
        for bead in weave.beads:
            users.setdefault(bead, []).append(weave.name)
            if bead.module.run is not None and len(users[bead]) > 1:
                # It is executed from the top for whoever runs it, so that nothing would be left of the other's data.
                message = f'"{bead.name}" is the program of the weave "{users[bead][0]}" already'
                expected = f"expected a bead of its own, and share in {bead.module.where.table}"
                raise weave.where.error(f"{message}; {expected}")
    for weave in weaves:
        packages: dict[str, BeadDescription] = {}
        for bead in weave.beads:
            if bead.module.module is None:
                continue
            # Isolation goes by whole packages (their classes know each other), and so does having them in common.
            other = packages.setdefault(bead.module.module.partition(".")[0], bead)
            if users[other] != users[bead]:
                message = f'"{other.name}" and "{bead.name}" are of one package, which a weave has once'
                raise weave.where.error(f"{message}; expected both in the same weaves")


@attrs.frozen(slots=True)
class _Chosen:
    """The beads of a weave, sorted out."""

    host: str
    beads: tuple[BeadDescription, ...]
    program: tuple[str, ...]  # empty: none of them is a program


class _Weave:
    """A table of [[weaves]], ready to be described for each weave of its group."""

    def __init__(
        self, source: TomlSource, number: int, table: WeaveTable, root: RootTable, beads: Beads, programs: Programs
    ) -> None:
        path = ("weaves", number)
        self._source = source
        self._known = beads
        self._network = root.tapestry.network
        self.where = source.where(*path)
        if table.name is None:
            raise self.where.error("no name; expected a name for the weave")
        self._name = table.name
        self._is_group = table.count is not None
        self._beads_where = source.where(*path, "beads")
        self._beads = [text_field(source.where(*path, "beads", at), text, str) for at, text in enumerate(table.beads)]
        on_error = table.on_error or root.tapestry.on_error
        self._strings = [
            StringEntry(source, (*path, "strings", at), string, on_error, programs, in_weave=True)
            for at, string in enumerate(table.strings)
        ]
        runs = [string for string in self._strings if string.runs_program]
        if len(runs) > 1:
            message = "a second string that runs the weave's program; expected one, the others with call"
            raise runs[1].where.error(f"{message}, or another weave")
        self._chosen: _Chosen | None = None
        self._fitting: set[tuple[str, tuple[str, ...]]] = set()

    def description(self, index: int) -> WeaveDescription:
        """The weave with this number in its group."""
        chosen = self._chosen or self._choose(index)
        if all(field.constant for field in self._beads):
            self._chosen = chosen
        strings: list[StringDescription] = []
        for entry in self._strings:
            if entry.runs_program and not chosen.program:
                message = "no bead of the weave is a program, and there is no call"
                raise entry.where.error(f"{message}; expected call, or a bead of a module that has run")
            string = entry.description(index, chosen.host, chosen.program)
            if string.call is not None:
                self._check_call(string.call, string, chosen)
            strings.append(string)
        name = f"{self._name}-{index}" if self._is_group else self._name
        return WeaveDescription(name, chosen.host, chosen.beads, tuple(strings), self.where)

    def _choose(self, index: int) -> _Chosen:
        hosts: list[HostDescription] = []
        beads: list[BeadDescription] = []
        simulators = 0
        for field in self._beads:
            # The host is one of the beads, so its name is not there yet: {host} stays what it is, and is no bead.
            bead = self._known.find(name := field.of(index, "{host}"), field.where)
            if bead in hosts or bead in beads or (bead is None and simulators):
                raise field.where.error(f'"{name}" is there twice; expected each bead once')
            if isinstance(bead, HostDescription):
                hosts.append(bead)
                if len(hosts) == 2:
                    message = f"{hosts[0].name} and {name} are both {self._network} beads"
                    raise field.where.error(f"{message}; expected one, the stack of the weave's host")
            elif bead is None:
                simulators += 1
            else:
                self._check_names_are_clear(bead, beads, field)
                beads.append(bead)
        if not hosts:
            message = f"no {self._network} bead among them; expected one, the stack of the weave's host"
            raise self._beads_where.error(message)
        if not beads:
            message = "no bead of the application among them; expected one of a module in [modules]"
            raise self._beads_where.error(message)
        programs = [bead.module.run for bead in beads if bead.module.run is not None]
        return _Chosen(hosts[0].name, tuple(beads), programs[0] if programs else ())

    def _check_names_are_clear(self, bead: BeadDescription, others: list[BeadDescription], field: Field[str]) -> None:
        for other in others:
            if code_of(other.module) == code_of(bead.module):
                code = bead.module.name if other.module is bead.module else "the same code"
                message = f"{other.name} and {bead.name} are both instances of {code}"
                raise field.where.error(f"{message}; expected one, so that each name means one thing in the weave")
            if other.module.run is not None and bead.module.run is not None:
                message = f"{other.name} and {bead.name} are both programs"
                raise field.where.error(f"{message}; expected one program in a weave")

    def _check_call(self, call: str, string: StringDescription, chosen: _Chosen) -> None:
        modules = tuple([bead.module.module for bead in chosen.beads if bead.module.module is not None])
        if (call, modules) in self._fitting:
            return
        name = call.partition(":")[0]
        if not any(name == module or name.startswith(f"{module}.") for module in modules):
            message = f'no bead of the weave is an instance of "{name}"'
            expected = f"expected a function in {' or '.join(modules)}" if modules else "expected one that is"
            raise self._source.where(*string.path, "call").error(f"{message}; {expected}")
        self._fitting.add((call, modules))
