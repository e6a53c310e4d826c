"""From the tables of a tapestry to its descriptions: groups become hosts, texts values, links find their devices.

A group's texts differ from host to host only in `{i}`, so each is parsed once (`Template`) and, where it has no
braces, its value is made once and shared. That is what lets ten thousand hosts load in a fraction of a second.

What is checked here is what needs more than one key to see: names, addresses on a link, programs on the disk. The
types and units of single values were checked in tapestry.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import attrs

from weaves.composition import Modules
from weaves.programs import Programs, program_of
from weaves.tapestry import (
    DeviceDescription,
    HostDescription,
    HostTable,
    LinkDescription,
    LinkTable,
    NetLine,
    OneOrMore,
    OnError,
    RootTable,
    StringDescription,
    StringTable,
    Tapestry,
    suggestion,
)
from weaves.tapestry_errors import Where
from weaves.templates import Template
from weaves.toml_source import TomlPath, TomlSource
from weaves.units import ADDRESS_EXPECTED, format_address, format_network, parse_address, parse_wait

T = TypeVar("T")


# RFC 1123, 2.1, with the underscore that people use all the same.
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_DEVICE_END: Final = re.compile(r"(.+)\.(eth(?:0|[1-9][0-9]*))")


def expand(source: TomlSource, root: RootTable) -> Tapestry:
    """The tapestry that `root`, the tables of `source`, describes. Raises `TapestryError`."""
    folder = source.path.absolute().parent
    names = _Names()
    programs = Programs(folder)
    groups = {
        name: _Group(source, name, table, root.tapestry.on_error, names, programs) for name, table in root.hosts.items()
    }
    links = _Links(groups)
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


class _Field(Generic[T]):
    """A value that may differ from host to host: how to make it, and the place to blame when that fails."""

    __slots__ = ("_make", "_shared", "constant", "where")

    def __init__(self, where: Where, constant: bool, make: Callable[[int, str], T]) -> None:
        self.where = where
        self.constant = constant
        self._make = make
        self._shared: T | None = None
        if constant:
            self._shared = self._try(0, "")

    def of(self, index: int, host: str) -> T:
        # The T of a constant field may itself be None, then so is what is shared.
        return self._shared if self.constant else self._try(index, host)  # type: ignore[return-value]

    def _try(self, index: int, host: str) -> T:
        try:
            return self._make(index, host)
        except ValueError as error:
            raise self.where.error(str(error)) from None


def _text_field(where: Where, text: str, read: Callable[[str], T]) -> _Field[T]:
    template = _template(where, text)
    return _Field(where, template.constant, lambda index, host: read(template.render(index, host)))


def _template(where: Where, text: str) -> Template:
    try:
        return Template(text)
    except ValueError as error:
        raise where.error(str(error)) from None


def _value_field(source: TomlSource, path: TomlPath, value: Any) -> _Field[Any]:
    # An array or a table is made anew for each host: a program that changes its arguments must not change another's.
    where = source.where(*path)
    if isinstance(value, str):
        return _text_field(where, value, str)
    if isinstance(value, list):
        items = [_value_field(source, (*path, number), item) for number, item in enumerate(value)]
        return _Field(where, False, lambda index, host: [item.of(index, host) for item in items])
    if isinstance(value, dict):
        members = {key: _value_field(source, (*path, key), item) for key, item in value.items()}
        return _Field(where, False, lambda index, host: {key: item.of(index, host) for key, item in members.items()})
    return _Field(where, True, lambda index, host: value)


class _Names:
    """The names of hosts, of groups, and the aliases: each means one thing."""

    def __init__(self) -> None:
        self._taken: dict[str, Where] = {}

    def take(self, name: str, where: Where) -> None:
        if not _HOST_NAME.fullmatch(name) or _DEVICE_END.fullmatch(name):
            what = "ends like a device" if _HOST_NAME.fullmatch(name) else "is not a host name"
            raise where.error(f'"{name}" {what}; expected letters, digits, "-", "." and "_", such as "client-0"')
        if (other := self._taken.get(name)) is not None:
            at = f", first in line {other.line}" if other.line != where.line else ""
            raise where.error(f'two hosts have the name "{name}"{at}; expected a name of its own for each host')
        self._taken[name] = where


class _Group:
    """The hosts of one table [hosts.NAME], and the names of the devices that each of them has."""

    def __init__(
        self, source: TomlSource, name: str, table: HostTable, on_error: OnError, names: _Names, programs: Programs
    ) -> None:
        path = ("hosts", name)
        self.where = source.where(*path)
        self.devices = sorted(table.devices, key=lambda device: int(device[3:]))
        addresses = [_address_fields(source, (*path, device), table.devices[device]) for device in self.devices]
        net = list(_net_fields(source, (*path, "net"), table.net))
        aliases = [
            _text_field(source.where(*path, "names", number), alias, str) for number, alias in enumerate(table.names)
        ]
        strings = [
            _String(source, (*path, "strings", number), string, table.on_error or on_error, programs)
            for number, string in enumerate(table.strings)
        ]
        if table.count is not None:
            names.take(name, self.where)  # links name the group by it
        self.hosts: list[HostDescription] = []
        for index in range(table.count or 1):
            host = name if table.count is None else f"{name}-{index}"
            names.take(host, self.where)
            own_names = tuple([alias.of(index, host) for alias in aliases])
            for alias, own_name in zip(aliases, own_names, strict=True):
                names.take(own_name, alias.where)
            self.hosts.append(
                HostDescription(
                    name=host,
                    group=name,
                    index=index,
                    devices=tuple(
                        [
                            DeviceDescription(device, _addresses(fields, index, host))
                            for device, fields in zip(self.devices, addresses, strict=True)
                        ]
                    ),
                    net=tuple([line.of(index, host) for line in net]),
                    names=own_names,
                    strings=tuple([string.description(index, host) for string in strings]),
                    where=self.where,
                )
            )


def _address_fields(source: TomlSource, path: TomlPath, texts: OneOrMore) -> list[_Field[tuple[int, int]]]:
    if not texts:
        raise source.where(*path).error(f"no address; {ADDRESS_EXPECTED}")
    if isinstance(texts, str):
        return [_text_field(source.where(*path), texts, parse_address)]
    return [_text_field(source.where(*path, number), text, parse_address) for number, text in enumerate(texts)]


def _addresses(fields: list[_Field[tuple[int, int]]], index: int, host: str) -> tuple[tuple[int, int], ...]:
    addresses = tuple([field.of(index, host) for field in fields])
    if len(addresses) > 1:
        for number, (address, _) in enumerate(addresses):
            if any(address == earlier for earlier, _ in addresses[:number]):
                message = f"{format_address(address)} is there twice; expected each address once on a device"
                raise fields[number].where.error(message)
    return addresses


def _net_fields(source: TomlSource, path: TomlPath, texts: OneOrMore) -> Iterable[_Field[NetLine]]:
    entries = [(path, texts)] if isinstance(texts, str) else [((*path, at), text) for at, text in enumerate(texts)]
    for entry, text in entries:
        for row, line in enumerate(text.split("\n")):
            # As in a shell: blank lines and comments say nothing.
            if line.strip() and not line.lstrip().startswith("#"):
                where = attrs.evolve(source.where(*entry), line=source.line_of_row(row, *entry))
                yield _text_field(where, line.strip(), partial(NetLine, where=where))


class _String:
    """One entry of `strings`, ready to be described for each host of its group."""

    def __init__(
        self, source: TomlSource, path: TomlPath, table: StringTable, on_error: OnError, programs: Programs
    ) -> None:
        def place(*key: str | int) -> Where:
            return source.where(*path, *key)

        self.where = place()
        if (table.run is None) == (table.call is None):
            message = "both run and call" if table.run is not None else "neither run nor call"
            raise self.where.error(f'{message}; expected run = "program.py ..." or call = "package.module:function"')
        if table.call is None and (table.args or table.kwargs):
            key = "args" if table.args else "kwargs"
            raise place(key).error("there is no call to pass these to; expected arguments in the program line of run")
        self._background = table.background
        self._on_error = table.on_error or on_error
        self._run: _Field[tuple[str, ...]] | None = None
        self._call: _Field[str] | None = None
        if table.run is not None:
            self._run = _run_field(place("run"), table.run, programs)
        if table.call is not None:
            self._call = _text_field(place("call"), table.call, programs.checked_call)
        self._args = [_value_field(source, (*path, "args", at), value) for at, value in enumerate(table.args)]
        self._kwargs = {key: _value_field(source, (*path, "kwargs", key), item) for key, item in table.kwargs.items()}
        self._env = {key: _text_field(place("env", key), text, str) for key, text in table.env.items()}
        self._start = None if table.start is None else _text_field(place("start"), table.start, parse_wait)
        self._stop = None if table.stop is None else _text_field(place("stop"), table.stop, parse_wait)
        self._cwd = None if table.cwd is None else _text_field(place("cwd"), table.cwd, _folder)
        self._name = None if table.name is None else _text_field(place("name"), table.name, str)

    def description(self, index: int, host: str) -> StringDescription:
        run = self._run.of(index, host) if self._run else None
        call = self._call.of(index, host) if self._call else None
        start_ns = self._start.of(index, host) if self._start else 0
        stop_ns = self._stop.of(index, host) if self._stop else None
        if self._stop and stop_ns is not None and stop_ns < start_ns:
            raise self._stop.where.error("stops before it starts; expected a time in the run that is not before start")
        return StringDescription(
            name=self._name.of(index, host) if self._name else _default_name(run, call),
            run=run,
            call=call,
            args=tuple([value.of(index, host) for value in self._args]),
            kwargs={key: value.of(index, host) for key, value in self._kwargs.items()},
            start_ns=start_ns,
            stop_ns=stop_ns,
            background=self._background,
            on_error=self._on_error,
            env={key: text.of(index, host) for key, text in self._env.items()},
            cwd=self._cwd.of(index, host) if self._cwd else None,
            where=self.where,
        )


def _default_name(run: tuple[str, ...] | None, call: str | None) -> str:
    if run is None:
        assert call is not None, "a string has one of run and call"
        return call.rpartition(":")[2].rpartition(".")[2]
    program = program_of(run)
    return program.module.rpartition(".")[2] if program.module is not None else Path(program.path or "").stem


def _folder(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("there is no such folder; expected the path of a folder, from the tapestry's folder")
    return text


def _run_field(where: Where, text: str, programs: Programs) -> _Field[tuple[str, ...]]:
    try:
        words = Template(text).words()
    except ValueError as error:
        raise where.error(f"{error}; expected a program line") from None
    constant = all(word.constant for word in words)

    def make(index: int, host: str) -> tuple[str, ...]:
        return programs.checked_run(tuple([word.render(index, host) for word in words]))

    return _Field(where, constant, make)


class _Links:
    """Resolves the ends of links, and remembers which names and devices are taken."""

    def __init__(self, groups: dict[str, _Group]) -> None:
        self._known = list(groups)
        self._hosts: dict[str, tuple[_Group, list[HostDescription]]] = {}
        for name, group in groups.items():
            for host in group.hosts:
                self._hosts[host.name] = (group, [host])
            self._hosts[name] = (group, group.hosts)
        self._names: dict[str, Where] = {}
        self._used: dict[tuple[str, str], Where] = {}  # device -> the end that it is on

    def link(self, source: TomlSource, number: int, table: LinkTable) -> LinkDescription:
        """The description of the link that stands at `number`, from 0, in the file."""
        ends: dict[tuple[str, str], DeviceDescription] = {}
        for at, text in enumerate(table.ends):
            where = source.where("links", number, "ends", at)
            for host, device in self._resolve(where, text):
                end = (host.name, device.name)
                if end in ends:
                    message = f"{'.'.join(end)} is on this link twice; expected a link between different devices"
                    raise where.error(message)
                if (other := self._used.setdefault(end, where)) is not where:
                    message = f"{'.'.join(end)} is on another link already, in line {other.line}"
                    raise where.error(f"{message}; expected each device on one link")
                ends[end] = device
        where = source.where("links", number, "ends")
        if len(ends) < 2:
            raise where.error(f"{len(ends)} device{'s'[: len(ends) != 1]}; expected a link between 2 devices or more")
        _check_addresses(where, ends, {end for end in ends if self._has_route_to_device(end)})
        return LinkDescription(
            name=self._name(source, number, table.name, list(ends)),
            ends=tuple(ends),
            rate_bps=table.rate,
            delay_ns=table.delay,
            loss=table.loss,
            queue_kind=table.queue.kind,
            queue_limit_packets=table.queue.limit[0],
            queue_limit_bytes=table.queue.limit[1],
            mtu=table.mtu,
            where=source.where("links", number),
        )

    def _has_route_to_device(self, end: tuple[str, str]) -> bool:
        """Whether a `net` line of the host sends a network to the device itself: `route add -net ... dev eth0`."""
        host, device = end
        return any(
            (words := line.text.split())[:2] == ["route", "add"] and "gw" not in words and device in words[2:]
            for line in self._hosts[host][1][0].net
        )

    def _name(self, source: TomlSource, number: int, given: str | None, ends: list[tuple[str, str]]) -> str:
        name = given
        if name is None:
            name = " - ".join(f"{host}.{device}" for host, device in ends) if len(ends) == 2 else f"switch-{number + 1}"
        where = source.where("links", number, "name")
        if (other := self._names.setdefault(name, where)) is not where:
            message = f'two links have the name "{name}", first in line {other.line}'
            raise where.error(f"{message}; expected a name of its own for each link")
        return name

    def _resolve(self, where: Where, text: str) -> list[tuple[HostDescription, DeviceDescription]]:
        name, device = text, ""
        if text not in self._hosts and (split := _DEVICE_END.fullmatch(text)) is not None:
            name, device = split[1], split[2]
        if name not in self._hosts:
            raise where.error(f'there is no host "{name}"; {suggestion(name, self._known)}')
        group, hosts = self._hosts[name]
        there = ", ".join(group.devices)
        if not group.devices:
            raise where.error(f'{name} has no device; expected eth0 = "ADDRESS/PREFIX" in {group.where.table}')
        if device and device not in group.devices:
            raise where.error(f"{name} has no {device}; expected one of {there}")
        if not device and len(group.devices) > 1:
            raise where.error(f'{name} has several devices ({there}); expected one named, as in "{name}.{there[:4]}"')
        position = group.devices.index(device) if device else 0
        return [(host, host.devices[position]) for host in hosts]


def _check_addresses(
    where: Where, ends: dict[tuple[str, str], DeviceDescription], routed: set[tuple[str, str]]
) -> None:
    # Every address must lie in a network of another end, or nobody on this link could answer it; unless a route to the
    # device says that the other end's network is on this link too (`routed`). One pass collects the networks and who
    # has them; there are few, whatever the number of ends.
    owners: dict[int, tuple[str, str]] = {}
    networks: dict[tuple[int, int], tuple[str, str] | None] = {}  # (network, prefix) -> its one end, None for several
    for end, device in ends.items():
        for address, prefix in device.addresses:
            if (other := owners.setdefault(address, end)) != end:
                message = f"{'.'.join(other)} and {'.'.join(end)} both have {format_address(address)}"
                raise where.error(f"{message}; expected each address once on a link")
            network = (_network(address, prefix), prefix)
            networks[network] = end if networks.get(network, end) == end else None
    prefixes = {prefix for _, prefix in networks}
    for end, device in ends.items():
        if end in routed:
            continue
        for address, prefix in device.addresses:
            if not any(
                (key := (_network(address, other_prefix), other_prefix)) in networks and networks[key] != end
                for other_prefix in prefixes
            ):
                others = [format_network(*network) for network, owner in networks.items() if owner != end]
                shown = " or ".join(others[:3]) + (" ..." if len(others) > 3 else "")
                message = f"{format_address(address)}/{prefix} of {'.'.join(end)} is in no network of this link"
                raise where.error(f"{message}; expected an address in {shown}")


def _network(address: int, prefix: int) -> int:
    return address >> (32 - prefix) << (32 - prefix)
