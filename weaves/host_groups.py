"""The hosts of a table: a host alone, or a group of them with `{i}` in their texts."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs

from weaves.fields import Field, text_field
from weaves.string_entry import StringEntry
from weaves.tables import BeadTable, HostTable, OneOrMore
from weaves.tapestry import DeviceDescription, FileDescription, HostDescription, NetLine
from weaves.tapestry_errors import Where
from weaves.toml_source import TomlPath, TomlSource
from weaves.units import ADDRESS_EXPECTED, format_address, parse_address

if TYPE_CHECKING:
    from weaves.kernel_ends import TapEntry

# RFC 1123, 2.1, with the underscore that people use all the same.
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
# In place of an address: the device has IPv6 addresses by what routers say.
AUTO: Final = "auto"
DEVICE_END: Final = re.compile(r"(.+)\.(eth(?:0|[1-9][0-9]*))")


class Names:
    """The names of hosts, of groups, of beads, and the aliases: each means one thing."""

    def __init__(self) -> None:
        self._taken: dict[str, tuple[Where, str]] = {}

    def take(self, name: str, where: Where, what: str = "host") -> None:
        """Keep `name` for the `what` that stands at `where`. Raises `TapestryError` if it is none, or taken."""
        if not _HOST_NAME.fullmatch(name) or DEVICE_END.fullmatch(name):
            wrong = "ends like a device" if _HOST_NAME.fullmatch(name) else f"is not a {what} name"
            raise where.error(f'"{name}" {wrong}; expected letters, digits, "-", "." and "_", such as "client-0"')
        if (taken := self._taken.get(name)) is not None:
            other, other_what = taken
            at = f", first in line {other.line}" if other.line != where.line else ""
            if other_what != what:
                message = f'a {other_what} has the name "{name}" already, in line {other.line}'
                raise where.error(f"{message}; expected a name of its own")
            raise where.error(f'two {what}s have the name "{name}"{at}; expected a name of its own for each {what}')
        self._taken[name] = where, what


class Group:
    """The hosts of one table, [hosts.NAME] or a Lunar bead's, and the names of the devices that each of them has."""

    def __init__(
        self,
        source: TomlSource,
        path: TomlPath,
        name: str,
        table: HostTable | BeadTable,
        names: Names,
        strings: Sequence[StringEntry] = (),
        taps: Sequence[TapEntry] = (),
    ) -> None:
        what = "host" if isinstance(table, HostTable) else "bead"
        self.where = source.where(*path)
        self.devices = sorted(table.devices, key=lambda device: int(device[3:]))
        addresses = [address_fields(source, (*path, device), table.devices[device]) for device in self.devices]
        files = list(_file_fields(source, (*path, "files"), table.files))
        net = list(net_fields(source, (*path, "net"), table.net))
        aliases = [
            text_field(source.where(*path, "names", number), alias, str) for number, alias in enumerate(table.names)
        ]
        if table.count is not None:
            names.take(name, self.where, what)  # links name the group by it
        self.is_group = table.count is not None
        self.hosts: list[HostDescription] = []
        for index in range(table.count or 1):
            host = name if table.count is None else f"{name}-{index}"
            names.take(host, self.where, what)
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
                            device_of(device, fields, index, host)
                            for device, fields in zip(self.devices, addresses, strict=True)
                        ]
                    ),
                    net=tuple([line.of(index, host) for line in net]),
                    names=own_names,
                    strings=tuple([string.description(index, host) for string in strings]),
                    where=self.where,
                    stack=table.stack,
                    stack_where=source.where(*path, "stack"),
                    files=tuple([file.of(index, host) for file in files]),
                    taps=tuple([tap.description(index, host) for tap in taps]),
                )
            )


def address_fields(source: TomlSource, path: TomlPath, texts: OneOrMore) -> list[Field[tuple[int, int] | None]]:
    """The addresses of a device, None for "auto"."""
    if not texts:
        raise source.where(*path).error(f"no address; {ADDRESS_EXPECTED}")
    if isinstance(texts, str):
        return [text_field(source.where(*path), texts, _address)]
    return [text_field(source.where(*path, number), text, _address) for number, text in enumerate(texts)]


def _address(text: str) -> tuple[int, int] | None:
    """An address; None for "auto"."""
    return None if text == AUTO else parse_address(text)


def device_of(name: str, fields: list[Field[tuple[int, int] | None]], index: int, host: str) -> DeviceDescription:
    """The device of that name with the addresses that `fields` give it. Raises `TapestryError`."""
    found = [field.of(index, host) for field in fields]
    if len(found) > 1:
        for number, entry in enumerate(found):
            if entry is None and None in found[:number]:
                raise fields[number].where.error(f'"{AUTO}" is there twice; expected it once on a device')
            if entry is not None and any(other is not None and entry[0] == other[0] for other in found[:number]):
                message = f"{format_address(entry[0])} is there twice; expected each address once on a device"
                raise fields[number].where.error(message)
    return DeviceDescription(name, tuple([entry for entry in found if entry is not None]), None in found)


def _file_fields(source: TomlSource, path: TomlPath, files: dict[str, str]) -> Iterable[Field[FileDescription]]:
    for name, text in files.items():
        where = source.where(*path, name)
        refused = ("//", "/proc/", "/sys/")
        if not name.startswith("/") or posixpath.normpath(name) != name or name == "/" or name.startswith(refused):
            message = f'"{name}" is not the path of a file that a host can have'
            raise where.error(f'{message}; expected one like "/etc/resolv.conf"')
        yield text_field(where, text, partial(FileDescription, name, where=where))


def net_fields(source: TomlSource, path: TomlPath, texts: OneOrMore) -> Iterable[Field[NetLine]]:
    """The lines of commands, without blank ones and comments."""
    entries = [(path, texts)] if isinstance(texts, str) else [((*path, at), text) for at, text in enumerate(texts)]
    for entry, text in entries:
        for row, line in enumerate(text.split("\n")):
            # As in a shell: blank lines and comments say nothing.
            if line.strip() and not line.lstrip().startswith("#"):
                where = attrs.evolve(source.where(*entry), line=source.line_of_row(row, *entry))
                yield text_field(where, line.strip(), partial(NetLine, where=where))
