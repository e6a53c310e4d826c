"""`ip addr`: the addresses of devices, as ip-address(8) shows and sets them.

Of IPv6 addresses the newest of a scope is shown first, as Linux keeps them; of IPv4 the order is the devices' own.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import attrs

from lunar.net.address import (
    FOREVER,
    IFA_F_DADFAILED,
    IFA_F_DEPRECATED,
    IFA_F_MANAGETEMPADDR,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_F_OPTIMISTIC,
    IFA_F_PERMANENT,
    IFA_F_SECONDARY,
    IFA_F_STABLE_PRIVACY,
    IFA_F_TENTATIVE,
    SCOPE_GLOBAL,
    SCOPE_HOST,
    SCOPE_LINK,
    SCOPE_SITE,
    Address,
)
from lunar.net.device import Device
from lunar.net_tools.errors import CommandError
from lunar.net_tools.ip import link
from lunar.net_tools.ip.shown import Row, shown
from lunar.net_tools.ip.words import Style, Words, device_named, parse_prefix
from lunar.packet import AF_INET, AF_INET6
from lunar.wire.address import address_text, network_mask

if TYPE_CHECKING:
    from lunar.host import Host

SCOPES: Final = {"global": SCOPE_GLOBAL, "site": SCOPE_SITE, "link": SCOPE_LINK, "host": SCOPE_HOST, "nowhere": 255}
_SCOPE_NAMES: Final = {number: name for name, number in SCOPES.items()}
_NS: Final = 1_000_000_000
_FOREVER_S: Final = 0xFFFF_FFFF
# The flags in the order of ip(8), whose words they are.
_FLAGS: Final = (
    (IFA_F_SECONDARY, "secondary"), (IFA_F_TENTATIVE, "tentative"), (IFA_F_DEPRECATED, "deprecated"),
    (IFA_F_DADFAILED, "dadfailed"), (IFA_F_NODAD, "nodad"), (IFA_F_OPTIMISTIC, "optimistic"),
    (IFA_F_MANAGETEMPADDR, "mngtmpaddr"), (IFA_F_NOPREFIXROUTE, "noprefixroute"),
    (IFA_F_STABLE_PRIVACY, "stable-privacy"),
)  # fmt: skip
_FLAG_WORDS: Final = {"nodad": IFA_F_NODAD, "noprefixroute": IFA_F_NOPREFIXROUTE, "mngtmpaddr": IFA_F_MANAGETEMPADDR}
_ADD: Final = "dev, peer, broadcast, scope, label, valid_lft, preferred_lft, nodad, noprefixroute or mngtmpaddr"
_SHOW: Final = "a device, scope, to, label, up, primary, secondary, permanent, dynamic, deprecated or tentative"


def run(host: Host, style: Style, words: Words) -> str:
    """`ip addr [show ...]`, `ip addr add|change|replace|del IFADDR dev DEV ...`, `ip addr flush ...`."""
    action = words.choose(("show", "list", "lst", "add", "change", "chg", "replace", "delete", "flush"), "show")
    words.what = f"ip addr {action}"
    if action in ("show", "list", "lst"):
        return _show(host, style, _filter(host, style, words))
    if action == "flush":
        return _flush(host, style, words)
    if action == "delete":
        _delete(host, style, words)
    else:
        _add(host, style, words, action)
    return ""


# Setting


@attrs.define
class _Wanted:
    """What a command says of an address."""

    made: Address | None = None
    given_prefix: bool = False
    device: Device | None = None
    broadcast: str = ""
    scope: int = -1
    valid_s: int = _FOREVER_S
    preferred_s: int = _FOREVER_S
    flags: int = 0


def _read(host: Host, style: Style, words: Words) -> tuple[_Wanted, Address, Device]:
    """What the words say. Raises `CommandError`."""
    wanted = _Wanted()
    label = ""
    peer: tuple[int, int, int] | None = None
    while words:
        if words.takes("peer", "remote"):
            peer = words.prefix(style.family)
        elif words.takes("broadcast", "brd", short=3):
            wanted.broadcast = words.take("an address, + or -")
        elif words.takes("scope"):
            wanted.scope = scope_number(words.take("a scope"))
        elif words.takes("dev"):
            wanted.device = words.device(host)
        elif words.takes("label"):
            label = words.take("a label")
        elif words.takes("valid_lft"):
            wanted.valid_s = _lifetime(words)
        elif words.takes("preferred_lft"):
            wanted.preferred_s = _lifetime(words)
        elif words.now in _FLAG_WORDS:
            wanted.flags |= _FLAG_WORDS[words.take()]
        elif words.takes("local") or wanted.made is None:
            wanted.given_prefix = "/" in words.now
            family, address, prefix = words.prefix(style.family, "prefix")
            wanted.made = Address(family, address, prefix)
        else:
            raise words.refuse(_ADD)
    if wanted.made is None:
        raise CommandError(f"{words.what}: an address is missing")
    if wanted.device is None:
        raise CommandError('Not enough information: "dev" argument is required.')
    made, device = wanted.made, wanted.device
    if peer is not None:
        if peer[0] != made.family:
            raise CommandError(f"{words.what}: peer: expected an address of the same family")
        made.peer, made.prefix = peer[1], peer[2]
    if made.family == AF_INET:
        if label and label != device.name and not label.startswith(device.name + ":"):
            raise CommandError(f'"dev" ({device.name}) must match "label" ({label}).')
        made.label = "" if label == device.name else label
    if wanted.valid_s < wanted.preferred_s and wanted.preferred_s != _FOREVER_S:
        raise CommandError("preferred_lft is greater than valid_lft")
    return wanted, made, device


def scope_number(word: str) -> int:
    """The number of a scope. Raises `CommandError`."""
    if word in SCOPES:
        return SCOPES[word]
    if word.isdigit() and int(word) < 256:
        return int(word)
    raise CommandError(f'invalid scope "{word}"; expected {", ".join(SCOPES)} or a number')


def scope_name(number: int) -> str:
    """The name of a scope, a number if it has none."""
    return _SCOPE_NAMES.get(number, str(number))


def _lifetime(words: Words) -> int:
    if words.takes("forever"):
        return _FOREVER_S
    return words.number("lifetime", 0, _FOREVER_S)


def _add(host: Host, style: Style, words: Words, action: str) -> None:
    wanted, made, device = _read(host, style, words)
    if not made.address or (made.family == AF_INET and (made.address >> 28 == 14 or made.address == 0xFFFF_FFFF)):
        raise CommandError("RTNETLINK answers: Invalid argument")
    if made.family == AF_INET6 and made.address >> 120 == 0xFF:
        raise CommandError("RTNETLINK answers: Cannot assign requested address")
    made.flags |= wanted.flags
    if wanted.scope >= 0 and made.family == AF_INET:
        made.scope = wanted.scope
    if made.family == AF_INET:
        made.broadcast = _broadcast(made, wanted.broadcast)
    if wanted.valid_s == 0:
        raise CommandError("RTNETLINK answers: Invalid argument")
    now = int(host.scheduler.now_ns)
    if wanted.valid_s != _FOREVER_S:
        made.flags &= ~IFA_F_PERMANENT
        made.valid_until_ns = now + wanted.valid_s * _NS
    if wanted.preferred_s != _FOREVER_S:
        made.preferred_until_ns = now + wanted.preferred_s * _NS
    old = next(
        (own for own in device.addresses if own.address == made.address and
         (own.family == AF_INET6 or (own.prefix, own.peer) == (made.prefix, made.peer))), None
    )  # fmt: skip
    tested = [own.address for own in _tested(host, device)]
    # Another device may have the same, and of IPv4 this one with another prefix.
    if made.address in tested or (old is not None and action == "add"):
        ipv4 = made.family == AF_INET
        raise CommandError(f"Error: {'ipv4: Address' if ipv4 else 'ipv6: address'} already assigned.")
    if old is None and made.family == AF_INET6 and device.inet6.disable_ipv6:
        raise CommandError("Error: ipv6: IPv6 is disabled on this device.")
    if old is None and action in ("change", "chg") and made.family == AF_INET6:
        raise CommandError("RTNETLINK answers: No such file or directory")
    if old is not None:
        host.renew_address(device, old, made.valid_until_ns, made.preferred_until_ns)
    else:
        host.assign(device, made)


def _broadcast(made: Address, word: str) -> int:
    if word in ("", "-"):
        return 0
    if word == "+":
        if made.prefix > 30:
            return 0
        return made.address | (~network_mask(int(made.prefix)) & 0xFFFF_FFFF)
    return parse_prefix(word, AF_INET, "address")[1]


def _delete(host: Host, style: Style, words: Words) -> None:
    wanted, made, device = _read(host, style, words)
    for own in device.addresses:
        if own.family != made.family or own.address != made.address:
            continue
        if wanted.given_prefix and own.prefix != made.prefix:
            continue
        if made.label and own.label != made.label:
            continue
        host.remove_address(device, own)
        return
    if made.family == AF_INET6 and host.has_autoconf and host.autoconf.take_back(device, made.address):
        return
    raise CommandError(f"Error: {'ipv4: Address' if made.family == AF_INET else 'ipv6: address'} not found.")


def _flush(host: Host, style: Style, words: Words) -> str:
    if not words:
        raise CommandError("Flush requires arguments.")
    chosen = _filter(host, style, words)
    for device in chosen.devices:
        for own in list(device.addresses):
            if own in device.addresses and chosen.keeps(own, device, host):
                host.remove_address(device, own)
        for own in _tested(host, device):
            if chosen.keeps(own, device, host):
                host.autoconf.take_back(device, own.address)
    return ""


# Showing


@attrs.define
class _Filter:
    """Which addresses a command is about."""

    devices: list[Device]
    family: int
    narrow: bool = False  # what is asked for is not all: devices without any of it are left out
    up: bool = False
    scope: int = -1
    network: tuple[int, int, int] | None = None
    label: str = ""
    set_flags: int = 0
    clear_flags: int = 0

    def keeps(self, own: Address, device: Device, host: Host) -> bool:
        flags = _flags_of(own, host)
        return (
            self.family in (0, own.family)
            and self.scope in (-1, own.scope)
            and (self.network is None or _inside(own, self.network))
            and (not self.label or (own.family == AF_INET and fnmatch.fnmatch(own.label or device.name, self.label)))
            and flags & self.set_flags == self.set_flags
            and not flags & self.clear_flags
        )


def _inside(own: Address, network: tuple[int, int, int]) -> bool:
    family, address, prefix = network
    return own.family == family and (own.address ^ address) >> (int(own.bits) - prefix) == 0


def _filter(host: Host, style: Style, words: Words) -> _Filter:
    found = _Filter(list(host.devices.values()), style.family, narrow=style.family != 0)
    named = False
    flags = {
        "secondary": IFA_F_SECONDARY, "temporary": IFA_F_SECONDARY, "permanent": IFA_F_PERMANENT,
        "deprecated": IFA_F_DEPRECATED, "tentative": IFA_F_TENTATIVE, "dadfailed": IFA_F_DADFAILED,
    }  # fmt: skip
    while words:
        if words.takes("up"):
            found.up = True
            continue
        if words.takes("scope"):
            word = words.take("a scope")
            found.scope = -1 if word == "all" else scope_number(word)
        elif words.takes("to"):
            found.network = words.prefix(style.family)
            found.family = style.family = found.network[0]
        elif words.takes("label"):
            found.label = words.take("a label")
        elif words.now in flags:
            found.set_flags |= flags[words.take()]
        elif words.takes("primary"):
            found.clear_flags |= IFA_F_SECONDARY
        elif words.takes("dynamic"):
            found.clear_flags |= IFA_F_PERMANENT
        elif words.takes("dev") or not named:
            if words.now in ("type", "master", "vrf", "nomaster", "primary"):
                raise words.refuse(_SHOW)
            found.devices = [device_named(host, words.take("a device"))]
            named = True
            continue
        else:
            raise words.refuse(_SHOW)
        found.narrow = True
    if found.up:
        found.devices = [device for device in found.devices if device.up]
    return found


def _show(host: Host, style: Style, chosen: _Filter) -> str:
    rows = []
    for device in chosen.devices:
        own = [one for one in in_order(device, host) if chosen.keeps(one, device, host)]
        if not own and chosen.narrow:
            continue
        row = link.row_of(host, device, style, of_link=False)
        if style.brief and style.json:
            row = {"ifname": row["ifname"], "operstate": row["operstate"]}
        row["addr_info"] = [row_of(one, device, host) for one in own]
        rows.append(row)
    if style.brief:
        return shown(rows, style, _brief)
    if style.oneline:
        return shown(rows, style, lambda row: "".join(f"{row['ifindex']}: {row['ifname']}{_text(one, chr(92))}"
                                                      for one in row["addr_info"]))  # fmt: skip
    return shown(rows, style, lambda row: _device_text(row, style))


def _tested(host: Host, device: Device) -> list[Address]:
    """The addresses that a device does not have yet, or that another has: tentative ones."""
    return host.autoconf.pending(device) if host.has_autoconf else []


def in_order(device: Device, host: Host) -> Iterator[Address]:
    """A device's addresses as they are shown: IPv4 first, of IPv6 the widest scope, and the newest, first; with those
    that are under test.
    """
    yield from (own for own in device.addresses if own.family == AF_INET)
    own_ones = [*device.addresses, *_tested(host, device)]
    of_ipv6 = [own for own in reversed(own_ones) if own.family == AF_INET6]
    yield from sorted(of_ipv6, key=lambda own: int(own.scope))


def _flags_of(own: Address, host: Host) -> int:
    """An address' flags, with what its lifetime makes of it now."""
    flags = int(own.flags)
    if own.preferred_until_ns != FOREVER and own.preferred_until_ns <= host.scheduler.now_ns:
        flags |= IFA_F_DEPRECATED
    return flags


def row_of(own: Address, device: Device, host: Host) -> Row:
    """An address as a row."""
    family = int(own.family)
    row: Row = {"family": "inet" if family == AF_INET else "inet6", "local": address_text(family, own.address)}
    if own.peer:
        row["address"] = address_text(family, own.peer)
    row["prefixlen"] = int(own.prefix)
    if own.broadcast:
        row["broadcast"] = address_text(family, own.broadcast)
    row["scope"] = scope_name(int(own.scope))
    flags = _flags_of(own, host)
    if not flags & IFA_F_PERMANENT:
        row["dynamic"] = True
    for bit, name in _FLAGS:
        if flags & bit:
            row["temporary" if bit == IFA_F_SECONDARY and family == AF_INET6 else name] = True
    if family == AF_INET:
        row["label"] = own.label or device.name
    row["valid_life_time"] = _left_s(int(own.valid_until_ns), host)
    row["preferred_life_time"] = _left_s(int(own.preferred_until_ns), host)
    return row


def _left_s(until_ns: int, host: Host) -> int:
    return _FOREVER_S if until_ns == FOREVER else max(0, (until_ns - int(host.scheduler.now_ns)) // _NS)


_FLAG_NAMES: Final = ("secondary", "temporary", "tentative", "deprecated", "dadfailed", "dynamic", "nodad",
                      "optimistic", "mngtmpaddr", "noprefixroute", "stable-privacy")  # fmt: skip


def _text(row: Row, end: str) -> str:
    address = row["local"] if "address" not in row else f"{row['local']} peer {row['address']}"
    text = f"    {row['family']} {address}/{row['prefixlen']} "
    text += f"brd {row['broadcast']} " if "broadcast" in row else ""
    text += f"scope {row['scope']} " + "".join(f"{name} " for name in _FLAG_NAMES if name in row)
    text += row.get("label", "")
    valid, preferred = _seconds(row["valid_life_time"]), _seconds(row["preferred_life_time"])
    return f"{text}{end}       valid_lft {valid} preferred_lft {preferred}\n"


def _seconds(value: int) -> str:
    return "forever" if value == _FOREVER_S else f"{value}sec"


def _device_text(row: Row, style: Style) -> str:
    # Of one family alone, nothing is said of the link.
    head = link.text_of(row, style) if not style.family else link.first_line(row, style.family) + "\n"
    return head + "".join(_text(one, style.end) for one in row["addr_info"])


def _brief(row: Row) -> str:
    addresses = ""
    for one in row["addr_info"]:
        peer = f" peer {one['address']}" if "address" in one else ""
        addresses += f"{one['local']}{peer}/{one['prefixlen']} "
    return f"{row['ifname']:<16} {row['operstate']:<14} {addresses}\n"
