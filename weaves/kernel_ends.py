"""What of a tapestry is the machine's kernel: devices of hosts that lead to it, and kernels as ends of links."""

from __future__ import annotations

import shlex

from weaves.fields import Field, text_field
from weaves.host_groups import Names, address_fields, device_of, net_fields
from weaves.tables import KernelTable, OneOrMore, TapTable
from weaves.tapestry import DeviceDescription, KernelDescription, NetLine, TapDescription
from weaves.tapestry_errors import Where
from weaves.toml_source import TomlPath, TomlSource
from weaves.units import ADDRESS_EXPECTED, parse_device_name


class TapEntry:
    """tap0, tun0 ... of a host's table, for each host of the group."""

    def __init__(self, source: TomlSource, path: TomlPath, name: str, table: TapTable) -> None:
        self.name = name
        self.where = source.where(*path)
        self._table = table
        self._addresses = self._fields(source, path, "address", table.address)
        self._kernel = self._fields(source, path, "kernel", table.kernel)
        if not self._addresses:
            raise self.where.error(f"{name} has no address; {ADDRESS_EXPECTED}")
        device = name if table.device is None else table.device
        self._device = text_field(_place(source, path, "device"), device, parse_device_name)
        netns = table.netns
        self._netns = None if netns is None else text_field(_place(source, path, "netns"), netns, _netns_name)

    @staticmethod
    def _fields(
        source: TomlSource, path: TomlPath, key: str, texts: OneOrMore
    ) -> list[Field[tuple[int, int] | None]]:
        return [] if texts == () else address_fields(source, _place_path(source, path, key), texts)

    def description(self, index: int, host: str) -> TapDescription:
        """That of the host with this index and name. Raises `TapestryError`."""
        own = device_of(self.name, self._addresses, index, host)
        kernel = device_of(self.name, self._kernel, index, host)
        if own.auto or kernel.auto:
            raise self.where.error(f'{self.name} cannot have "auto"; {ADDRESS_EXPECTED}')
        return TapDescription(
            name=self.name,
            addresses=own.addresses,
            kernel=kernel.addresses,
            device=self._device.of(index, host),
            netns=None if self._netns is None else self._netns.of(index, host),
            mtu=self._table.mtu,
            up=self._table.up,
            where=self.where,
        )


def _place_path(source: TomlSource, path: TomlPath, key: str) -> TomlPath:
    """Where `key` of a tap stands: in its table, or, where a text or an array is short for one, where that is."""
    value = source.data
    for step in path:
        value = value[step]  # type: ignore[index]
    return (*path, key) if isinstance(value, dict) else path


def _place(source: TomlSource, path: TomlPath, key: str) -> Where:
    return source.where(*_place_path(source, path, key))


def _netns_name(text: str) -> str:
    if not text or text in (".", "..") or "/" in text or "\0" in text:
        raise ValueError(f'"{text}" is not the name of a network namespace; expected one of `ip netns list`')
    return text


def kernel_description(source: TomlSource, name: str, table: KernelTable, names: Names) -> KernelDescription:
    """The kernel of the table [kernels.NAME]. Raises `TapestryError`."""
    path: TomlPath = ("kernels", name)
    where = source.where(*path)
    names.take(name, where, "kernel")
    devices: list[DeviceDescription] = []
    for device in sorted(table.devices, key=lambda one: int(one[3:])):
        found = device_of(device, address_fields(source, (*path, device), table.devices[device]), 0, name)
        if found.auto:
            raise source.where(*path, device).error(f'a kernel cannot have "auto" here; {ADDRESS_EXPECTED}')
        devices.append(found)
    if table.netns is not None:
        try:
            _netns_name(table.netns)
        except ValueError as wrong:
            raise source.where(*path, "netns").error(str(wrong)) from None
    return KernelDescription(
        name=name,
        devices=tuple(devices),
        netns=table.netns,
        net=tuple(field.of(0, name) for field in net_fields(source, (*path, "net"), table.net)),
        run=_commands(source, path, "run", table.run),
        background=_commands(source, path, "background", table.background),
        where=where,
    )


def _commands(source: TomlSource, path: TomlPath, key: str, texts: OneOrMore) -> tuple[NetLine, ...]:
    lines = tuple(field.of(0, str(path[-1])) for field in net_fields(source, (*path, key), texts))
    for line in lines:
        try:
            shlex.split(line.text)
        except ValueError as wrong:
            raise line.where.error(f'"{line.text}": {wrong}; expected a command') from None
    return lines
