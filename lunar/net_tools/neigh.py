"""The neighbour tables as commands see them: `ip neigh`, ip-neighbour(8). The states are those of net/neighbor.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from lunar.net import arp
from lunar.net.device import Device
from lunar.net.neighbor import (
    DELAY,
    FAILED,
    INCOMPLETE,
    NO_ADDRESS,
    NOARP,
    NONE,
    PERMANENT,
    PROBE,
    REACHABLE,
    STALE,
    Neighbor,
    Neighbors,
)
from lunar.net_tools.errors import CommandError, parsed
from lunar.packet import AF_INET, AF_INET6
from lunar.wire.address import address_text, parse_address
from lunar.wire.ethernet import mac_text, parse_mac

if TYPE_CHECKING:
    from lunar.host import Host

STATES: Final = {
    "incomplete": INCOMPLETE, "reachable": REACHABLE, "stale": STALE, "delay": DELAY, "probe": PROBE, "failed": FAILED,
    "noarp": NOARP, "none": NONE, "permanent": PERMANENT,
}  # fmt: skip
_NAMES: Final = {number: name.upper() + " " for name, number in STATES.items()} | {NONE: ""}
_CHANGES: Final = ("add", "change", "chg", "replace", "delete", "del")
_S: Final = 1_000_000_000


def table_of(host: Host, family: int) -> Neighbors | None:
    """The host's table of a family; None where it has never had a neighbour to ask for."""
    found = host.ip.family(family).neighbors
    return found if isinstance(found, Neighbors) else None


def make_table(host: Host, family: int) -> Neighbors:
    """As `table_of`, made if there is none."""
    return arp.of(host.ip).table if family == AF_INET else host.autoconf.ndisc.table


@attrs.define
class _Choice:
    """What `show` and `flush` are about."""

    family: int = 0
    device: Device | None = None
    address: int = 0
    prefix: int = 0
    bits: int = 32
    states: int = 0
    proxy: bool = False

    def has(self, entry: Neighbor) -> bool:
        if self.device not in (None, entry.device):
            return False
        if self.bits and self.prefix and (entry.address ^ self.address) >> (self.bits - self.prefix):
            return False
        return not self.states or bool(entry.state & self.states) or (entry.state == NONE and self.states == -1)


def run(host: Host, family: int, words: list[str], statistics: bool = False) -> str:
    """`ip [-4|-6] [-s] neigh [show|flush|add|change|replace|del|get ...]`; `family` 0 is both."""
    action = words[0] if words else "show"
    if action in ("show", "list", "lst", "ls"):
        return _show(host, _chosen(host, family, words[1:], "show"), statistics)
    if action == "flush":
        return _flush(host, _chosen(host, family, words[1:], "flush"), statistics)
    if action == "get":
        return _get(host, words[1:])
    if action in _CHANGES:
        _change(host, action, words[1:])
        return ""
    if not words or words[0] in ("to", "dev", "nud", "unused", "proxy"):
        return _show(host, _chosen(host, family, words, "show"), statistics)
    raise CommandError(f'Command "{action}" is unknown, try "ip neigh help".')


def _device(host: Host, name: str) -> Device:
    device = host.devices.get(name)
    if device is None:
        raise CommandError(f'Cannot find device "{name}"')
    return device


def _chosen(host: Host, family: int, words: list[str], what: str) -> _Choice:
    chosen = _Choice(family)
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "proxy":
            chosen.proxy = True
            continue
        if word in ("dev", "nud", "to"):
            if not rest:
                raise CommandError("Command line is not complete. Try option \"help\"")
            value = rest.pop(0)
        else:
            word, value = "to", word
        if word == "dev":
            chosen.device = _device(host, value)
        elif word == "nud":
            chosen.states |= 0xFF if value == "all" else _state(value)
        elif value in ("all", "any", "default"):
            chosen.prefix = 0
        else:
            text, slash, length = value.partition("/")
            chosen.family, chosen.address = parsed(parse_address, text, "a valid address")
            chosen.bits = 32 if chosen.family == AF_INET else 128
            chosen.prefix = parsed(int, length, "a valid prefix length") if slash else chosen.bits
            if not 0 <= chosen.prefix <= chosen.bits:
                raise CommandError(f'Error: any valid prefix is expected rather than "{value}".')
    if what == "flush" and not words:
        raise CommandError("Flush requires arguments.")
    return chosen


def _state(word: str) -> int:
    if word not in STATES:
        raise CommandError(f'Error: argument "{word}" is wrong: nud state is bad')
    return STATES[word]


def _tables(host: Host, family: int) -> list[Neighbors]:
    # The kernel tells IPv4's first.
    found = [table_of(host, number) for number in (AF_INET, AF_INET6) if family in (0, number)]
    return [table for table in found if table is not None]


def _show(host: Host, chosen: _Choice, statistics: bool) -> str:
    if chosen.proxy:
        return "".join(
            f"{address_text(int(table.family), address)}{f' dev {name}' if name else ''} proxy \n"
            for table in _tables(host, chosen.family)
            for address, name in table.proxies
            if chosen.device is None or name in ("", chosen.device.name)
        )
    lines = []
    for table in _tables(host, chosen.family):
        for entry in table.all():
            # What needs no question is shown to who asks for it.
            if chosen.has(entry) and (chosen.states or entry.state not in (NONE, NOARP)):
                lines.append(line_of(host, table, entry, statistics, chosen.device is None) + "\n")
    return "".join(lines)


def line_of(host: Host, table: Neighbors, entry: Neighbor, statistics: bool, with_device: bool = True) -> str:
    """An entry as `ip neigh` shows it."""
    # The real one puts its blanks so: one behind each word, and with the statistics one more, or one less.
    line = address_text(int(table.family), entry.address) + " "
    if with_device:
        line += f"dev {entry.device.name} "
    if entry.mac != NO_ADDRESS:
        line += f"lladdr {mac_text(int(entry.mac))} "
    if entry.is_router:
        line += "router "
    if statistics:
        now = int(host.scheduler.now_ns)
        used, confirmed, updated = (
            (now - int(at)) // _S for at in (entry.used_ns, entry.confirmed_ns, entry.updated_ns)
        )
        held = "ref 1 " if entry.timer is not None else ""
        line += f" {held}used {used}/{confirmed}/{updated}probes {entry.probes} "
    return line + _NAMES[int(entry.state)]


def _flush(host: Host, chosen: _Choice, statistics: bool) -> str:
    states = chosen.states or 0xFF & ~(PERMANENT | NOARP)
    count = 0
    for table in _tables(host, chosen.family):
        for entry in table.all():
            if chosen.has(entry) and entry.state & states:
                table.remove(entry)
                count += 1
    if not statistics:
        return ""
    if not count:
        return "Nothing to flush.\n"
    return f"\n*** Round 1, deleting {count} entries ***\n*** Flush is complete after 1 round ***\n"


def _get(host: Host, words: list[str]) -> str:
    family, address, device, _ = _read(host, "get", words)
    table = table_of(host, family)
    entry = None if table is None else table.find(device, address)
    if table is None or entry is None:
        raise CommandError("Error: Neighbour entry not found.")
    return line_of(host, table, entry, False) + "\n"


@attrs.define
class _Said:
    """What a change says."""

    mac: int = NO_ADDRESS
    state: int = PERMANENT
    proxy: bool = False
    router: bool = False


def _read(host: Host, action: str, words: list[str]) -> tuple[int, int, Device, _Said]:
    said = _Said()
    family, address = 0, 0
    device: Device | None = None
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "router":
            said.router = True
            continue
        if word in ("lladdr", "nud", "dev", "proxy", "to"):
            if not rest:
                raise CommandError('Command line is not complete. Try option "help"')
            value = rest.pop(0)
        else:
            word, value = "to", word
        if word == "lladdr":
            try:
                said.mac = parse_mac(value)
            except ValueError:
                raise CommandError(f'"{value}" is invalid lladdr.') from None
        elif word == "nud":
            said.state = _state(value)
        elif word == "dev":
            device = _device(host, value)
        else:
            if family:
                raise CommandError('Error: duplicate "to": "' + value + '" is the second value.')
            said.proxy = word == "proxy"
            try:
                family, address = parse_address(value)
            except ValueError:
                raise CommandError(f'Error: any valid address is expected rather than "{value}".') from None
    if not family:
        raise CommandError("Device and destination are required arguments.")
    if device is None and not said.proxy:
        raise CommandError("Device and destination are required arguments.")
    return family, address, device or host.devices["lo"], said


def _change(host: Host, action: str, words: list[str]) -> None:
    family, address, device, said = _read(host, action, words)
    removes = action in ("del", "delete")
    if said.proxy:
        name = device.name if "dev" in words else ""
        proxies = make_table(host, family).proxies
        if removes and (address, name) not in proxies:
            raise CommandError("RTNETLINK answers: No such file or directory")
        if removes:
            proxies.remove((address, name))
        elif (address, name) not in proxies:
            proxies.append((address, name))
        return
    table = make_table(host, family)
    entry = table.find(device, address)
    if removes:
        if entry is None:
            raise CommandError("RTNETLINK answers: No such file or directory")
        table.remove(entry)
        return
    if action == "add" and entry is not None:
        raise CommandError("RTNETLINK answers: File exists")
    if entry is None and action in ("change", "chg"):
        raise CommandError("RTNETLINK answers: No such file or directory")
    put(table, device, address, said.mac, said.state)
    made = table.find(device, address)
    if made is not None and family == AF_INET6:
        made.is_router = said.router


def put(table: Neighbors, device: Device, address: int, mac: int, state: int) -> None:
    """Let the entry for `address` be as the administrator says. Raises `CommandError`."""
    entry = table.find(device, address)
    known = entry is not None and entry.mac != NO_ADDRESS
    if mac == NO_ADDRESS and not known and state not in (NONE, INCOMPLETE, FAILED):
        raise CommandError("Error: No link layer address given.")
    entry = table.make(device, address)
    if entry is None:
        raise CommandError("RTNETLINK answers: No buffer space available")
    table.put(entry, entry.mac if mac == NO_ADDRESS else mac, state)
