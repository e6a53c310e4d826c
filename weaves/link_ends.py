"""The ends of links: which devices a link joins, and whether their addresses can meet on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import attrs

from weaves.endpoints import Endpoint, check_mtu, check_pair, format_endpoint, link_mtu
from weaves.host_groups import DEVICE_END, Group
from weaves.tables import LinkTable, QueueTable
from weaves.tapestry import (
    DeviceDescription,
    HostDescription,
    KernelDescription,
    LinkDescription,
    RedDescription,
    UdpDescription,
)
from weaves.tapestry_errors import Where, suggestion
from weaves.toml_source import TomlSource
from weaves.units import REORDER_BY_NS, format_address, format_network

# The bits of its addresses, the first of them, the prefix length.
_Network: TypeAlias = tuple[int, int, int]

_MTU: Final = 1500  # of Ethernet

_RED_KEYS = ("min", "max", "probability", "weight", "ecn")


def _red(source: TomlSource, number: int, queue: QueueTable) -> RedDescription | None:
    """The early drops of a queue; None where there are none."""

    def where(key: str) -> Where:
        return source.where("links", number, "queue", key)

    if queue.kind != "red":
        for key in _RED_KEYS:
            if getattr(queue, key) is not None:
                raise where(key).error(f'a queue of kind "{queue.kind}" has no {key}; expected kind = "red"')
        return None
    in_bytes = queue.limit[1] is not None
    unit = "bytes" if in_bytes else "packets"
    limit = queue.limit[in_bytes]
    assert limit is not None, "a limit is of one or the other"
    sizes: dict[str, int | None] = {"min": None, "max": None}
    for key in ("min", "max"):
        given = getattr(queue, key)
        if given is None:
            continue
        sizes[key] = given[in_bytes]
        if sizes[key] is None:
            raise where(key).error(f"{key} and limit have different units; expected a number of {unit}")
    # Floyd and Jacobson: the upper threshold is three times the lower one. Room is left above for bursts.
    least = sizes["min"] or max((sizes["max"] or limit // 3) // 3, 1)
    most = sizes["max"] or min(3 * least, limit)
    if least > most:
        raise where("min" if sizes["min"] else "max").error(f"min is {least} and max {most}; expected min up to max")
    if most > limit:
        raise where("max").error(f"max is {most} and limit {limit}; expected max up to limit")
    return RedDescription(
        least=least,
        most=most,
        in_bytes=in_bytes,
        probability=0.02 if queue.probability is None else queue.probability,
        weight=0.002 if queue.weight is None else queue.weight,
        ecn=bool(queue.ecn),
    )


@attrs.frozen(slots=True)
class _Named:
    """What a name in `ends` stands for: hosts of a table or a kernel, and the devices that each has."""

    devices: list[str]
    where: Where
    members: tuple[HostDescription | KernelDescription, ...]

    @property
    def taps(self) -> list[str]:
        """The names of their devices that lead to the kernel."""
        first = self.members[0]
        return [tap.name for tap in first.taps] if isinstance(first, HostDescription) else []


class Links:
    """Resolves the ends of links, and remembers which names and devices are taken."""

    def __init__(self, groups: dict[str, Group], kernels: Sequence[KernelDescription] = ()) -> None:
        self._known = [*groups, *(kernel.name for kernel in kernels)]
        self._hosts: dict[str, _Named] = {}
        for name, group in groups.items():
            for host in group.hosts:
                self._hosts[host.name] = _Named(group.devices, group.where, (host,))
            self._hosts[name] = _Named(group.devices, group.where, tuple(group.hosts))
        for kernel in kernels:
            self._hosts[kernel.name] = _Named([device.name for device in kernel.devices], kernel.where, (kernel,))
        self._names: dict[str, Where] = {}
        self._used: dict[tuple[str, str], Where] = {}  # device -> the end that it is on
        self._bound: dict[Endpoint, Where] = {}  # addresses of the machine's

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
        udp = self._udp(source, number, table)
        if len(ends) < 2 and udp is None:
            devices, away = ("1 device", ", or udp = { ... } to another process") if ends else ("0 devices", "")
            raise where.error(f"{devices}; expected a link between 2 devices or more{away}")
        if not ends:
            raise where.error("no device; expected one or more on a link to another process")
        # A key that changes nothing would be believed in.
        if table.loss_burst > 1 and not table.loss:
            raise source.where("links", number, "loss_burst").error("this link loses nothing; expected loss, too")
        if table.reorder_by != REORDER_BY_NS and not table.reorder:
            raise source.where("links", number, "reorder_by").error("nothing is reordered; expected reorder, too")
        if udp is not None and table.arp is False:
            message = "who is behind a link to another process has to be asked for"
            raise source.where("links", number, "arp").error(f"{message}; expected arp = true, as it is without")
        # Who is behind a link that leaves the process has addresses, too.
        open_ends = ends if udp is not None else [end for end in ends if self._has_route_to_device(end)]
        _check_addresses(where, ends, set(open_ends))
        return LinkDescription(
            name=self._name(source, number, table.name, list(ends), udp),
            ends=tuple(ends),
            rate_bps=table.rate,
            delay_ns=table.delay,
            loss=table.loss,
            loss_burst=table.loss_burst,
            reorder=table.reorder,
            reorder_by_ns=table.reorder_by,
            duplicate=table.duplicate,
            corrupt=table.corrupt,
            queue_kind=table.queue.kind,
            queue_limit_packets=table.queue.limit[0],
            queue_limit_bytes=table.queue.limit[1],
            red=_red(source, number, table.queue),
            mtu=_mtu(source, number, table.mtu, udp),
            arp=table.arp,
            where=source.where("links", number),
            udp=udp,
        )

    def _udp(self, source: TomlSource, number: int, table: LinkTable) -> UdpDescription | None:
        """The end of a link that is in another process; None where there is none."""
        udp = table.udp
        if udp is None:
            return None

        def where(*key: str) -> Where:
            return source.where("links", number, "udp", *key)

        if udp.local is None:
            raise where().error('no local; expected local = PORT or local = "ADDRESS:PORT", of this process')
        if udp.remote is None:
            raise where().error('no remote; expected remote = "ADDRESS:PORT", of the other process')
        if udp.key is not None and udp.key_file is not None:
            raise where("key_file").error("there is a key, too; expected one of the two")
        try:
            check_pair(udp.local, udp.remote, udp.key is not None or udp.key_file is not None)
        except ValueError as wrong:
            raise where().error(str(wrong)) from None
        if table.arp is False:
            message = "nobody here knows the hardware address of who is behind udp; expected arp = true"
            raise source.where("links", number, "arp").error(message)
        here = where("local")
        if (other := self._bound.setdefault(udp.local, here)) is not here:
            message = f"another link has {format_endpoint(udp.local)} already, in line {other.line}"
            raise here.error(f"{message}; expected a port of its own for each link")
        path = None if udp.key_file is None else source.path.absolute().parent / udp.key_file
        return UdpDescription(udp.local, udp.remote, udp.key, path, where("key_file" if path else "key"))

    def _has_route_to_device(self, end: tuple[str, str]) -> bool:
        """Whether a `net` line of the host sends a network to the device itself: `ip route add ... dev eth0`."""
        host, device = end
        return any(_is_route_to(line.text.split(), device) for line in self._hosts[host].members[0].net)

    def _name(
        self, source: TomlSource, number: int, given: str | None, ends: list[tuple[str, str]],
        udp: UdpDescription | None,
    ) -> str:
        name = given
        if name is None and udp is not None and len(ends) == 1:
            name = f"{'.'.join(ends[0])} - {format_endpoint(udp.remote)}"
        elif name is None:
            name = " - ".join(f"{host}.{device}" for host, device in ends) if len(ends) == 2 else f"switch-{number + 1}"
        where = source.where("links", number, "name")
        if (other := self._names.setdefault(name, where)) is not where:
            message = f'two links have the name "{name}", first in line {other.line}'
            raise where.error(f"{message}; expected a name of its own for each link")
        return name

    def _resolve(self, where: Where, text: str) -> list[tuple[HostDescription | KernelDescription, DeviceDescription]]:
        name, device = text, ""
        if text not in self._hosts and (split := DEVICE_END.fullmatch(text)) is not None:
            name, device = split[1], split[2]
        if name not in self._hosts:
            host, dot, tap = name.rpartition(".")
            if dot and host in self._hosts and tap in self._hosts[host].taps:
                message = f"{name} leads to the machine's kernel already"
                raise where.error(f"{message}; expected an ethN, on a link to a [kernels.NAME] for more than that")
            raise where.error(f'there is no host "{name}"; {suggestion(name, self._known)}')
        group = self._hosts[name]
        there = ", ".join(group.devices)
        if not group.devices:
            raise where.error(f'{name} has no device; expected eth0 = "ADDRESS/PREFIX" in {group.where.table}')
        if device and device not in group.devices:
            raise where.error(f"{name} has no {device}; expected one of {there}")
        if not device and len(group.devices) > 1:
            raise where.error(f'{name} has several devices ({there}); expected one named, as in "{name}.{there[:4]}"')
        position = group.devices.index(device) if device else 0
        return [(host, host.devices[position]) for host in group.members]


def _mtu(source: TomlSource, number: int, given: int | None, udp: UdpDescription | None) -> int:
    if udp is None:
        return _MTU if given is None else given
    keyed = udp.key is not None or udp.key_file is not None
    if given is None:
        return link_mtu(udp.local, keyed)
    try:
        check_mtu(given, keyed)
    except ValueError as wrong:
        raise source.where("links", number, "mtu").error(str(wrong)) from None
    return given


def check_taps(hosts: Iterable[HostDescription], kernels: Iterable[KernelDescription]) -> None:
    """Whether hosts and the kernel can meet where a device leads to it, and no two want the same device there."""
    # The devices of a namespace that is made for a kernel are its own.
    taken: dict[tuple[str | None, str], str] = {
        (kernel.netns, device.name): f"{kernel.name}.{device.name}"
        for kernel in kernels
        if kernel.netns is not None
        for device in kernel.devices
    }
    for host in hosts:
        for tap in host.taps:
            name = f"{host.name}.{tap.name}"
            if (other := taken.setdefault((tap.netns, tap.device), name)) != name:
                message = f"{other} and {name} both lead to the device {tap.device} of the machine"
                raise tap.where.error(f"{message}; expected a device of its own for each")
            if tap.kernel:
                ends = {
                    (host.name, tap.name): DeviceDescription(tap.name, tap.addresses),
                    ("the kernel", tap.device): DeviceDescription(tap.device, tap.kernel),
                }
                _check_addresses(tap.where, ends, set())


def _check_addresses(
    where: Where, ends: dict[tuple[str, str], DeviceDescription], routed: set[tuple[str, str]]
) -> None:
    # Every address must lie in a network of another end, or nobody on this link could answer it; unless a route to the
    # device says that the other end's network is on this link too (`routed`), or another end finds its IPv6 addresses
    # by itself. A device that reaches others by one family may have addresses of the other that nobody else has.
    # One pass collects the networks and who has them; there are few, whatever the number of ends.
    owners: dict[int, tuple[str, str]] = {}
    networks: dict[_Network, tuple[str, str] | None] = {}  # its one end, None for several
    for end, device in ends.items():
        for address, prefix in device.addresses:
            if (other := owners.setdefault(address, end)) != end:
                message = f"{'.'.join(other)} and {'.'.join(end)} both have {format_address(address)}"
                raise where.error(f"{message}; expected each address once on a link")
            network = _network(address, prefix)
            networks[network] = end if networks.get(network, end) == end else None
    prefixes = {(bits, prefix) for bits, _, prefix in networks}
    open_to_all = sum(device.auto for device in ends.values())
    for end, device in ends.items():
        if end in routed:
            continue
        lonely = [
            (address, prefix)
            for address, prefix in device.addresses
            if not (_bits(address) == 128 and open_to_all > device.auto)
            and not any(
                (key := _network(address, other_prefix)) in networks and networks[key] != end
                for bits, other_prefix in prefixes
                if bits == _bits(address)
            )
        ]
        for address, prefix in lonely:
            # Whoever has IPv6 has an address of the link, too.
            of_link = _is_of_link(address)
            others = [
                format_network(network, other_prefix)
                for (bits, network, other_prefix), owner in networks.items()
                if owner != end and bits == _bits(address) and (of_link or not _is_of_link(network))
            ]
            if (not others and len(lonely) < len(device.addresses)) or (others and of_link):
                continue
            message = f"{format_address(address)}/{prefix} of {'.'.join(end)} is in no network of this link"
            if not others:
                family = "IPv4" if _bits(address) == 32 else "IPv6"
                raise where.error(f"{message}; expected another device with {family}")
            shown = " or ".join(others[:3]) + (" ..." if len(others) > 3 else "")
            raise where.error(f"{message}; expected an address in {shown}")


def _is_route_to(words: list[str], device: str) -> bool:
    """Whether a command makes a route to a network that is on the link of `device`."""
    adds = words[:2] == ["route", "add"] or (words[:1] == ["ip"] and "route" in words[1:3] and "add" in words[2:4])
    return adds and device in words[2:] and "gw" not in words and "via" not in words


def _bits(address: int) -> int:
    """How long addresses of its family are."""
    return 32 if address < 1 << 32 else 128


def _is_of_link(address: int) -> bool:
    return address >> 118 == 0xFE80 >> 6


def _network(address: int, prefix: int) -> _Network:
    free = _bits(address) - prefix
    return _bits(address), address >> free << free, prefix
