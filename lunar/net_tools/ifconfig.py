"""ifconfig(8) of net-tools: show devices; set addresses, aliases, MTU, flags.

A second IPv4 address is an alias with a name of its own ("eth0:1"). What is left out, and refused: tunnels, media,
memory addresses, metrics, point to point.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import attrs

from lunar.net.address import Address
from lunar.net.device import Device
from lunar.net_tools import flags
from lunar.net_tools.errors import CommandError, parsed
from lunar.net_tools.ip.link import Changes, hardware_address
from lunar.packet import AF_INET, AF_INET6
from lunar.wire.address import ipv4_text, ipv6_text, network_mask, parse_ipv4, parse_ipv6
from lunar.wire.ethernet import mac_text

if TYPE_CHECKING:
    from lunar.host import Host

_EXPECTED: Final = (
    "an address, netmask, broadcast, mtu, up, down, [-]arp, [-]promisc, [-]allmulti, txqueuelen, hw ether, add or del"
)
# How ifconfig writes the scopes of IPv6 addresses, by rtnetlink's number.
_SCOPES: Final = {0: "0x0<global>", 200: "0x40<site>", 253: "0x20<link>", 254: "0x10<host>"}
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def run(host: Host, words: list[str]) -> str:
    """`ifconfig [-a] [-s] [DEV]`, `ifconfig DEV [inet] ADDRESS[/LEN] [netmask M] [broadcast B] [mtu N] [up|down] ...`,
    `ifconfig DEV [inet6] add|del ADDRESS/LEN`.
    """
    options = [word for word in words if re.fullmatch("-[asv]", word)]
    rest = [word for word in words if word not in options]
    if options and len(rest) > 1:
        raise CommandError(f'ifconfig: {options[0]} with "{rest[1]}"; expected a device at most')
    if len(rest) <= 1:
        return _show(host, rest[0] if rest else "", "-a" in options, "-s" in options)
    device = _device(host, rest[0])
    _change(host, device, rest[0], rest[1:])
    return ""


def _device(host: Host, name: str) -> Device:
    device = host.devices.get(name.partition(":")[0])
    if device is None:
        raise CommandError(f"ifconfig: {name}: no such device; {host.name} has {', '.join(host.devices)}")
    return device


# Setting


@attrs.define
class _Wanted:
    """What a command says, besides what `Changes` has."""

    address: int = -1
    prefix: int = -1
    broadcast: int = -1
    added: list[tuple[int, int]] = attrs.field(factory=list)
    removed: list[tuple[int, int]] = attrs.field(factory=list)


def _change(host: Host, device: Device, name: str, rest: list[str]) -> None:
    changes = Changes()
    wanted = _Wanted()
    while rest:
        _word(device, rest, changes, wanted)
    alias = ":" in name
    own = _named(device, name)
    if wanted.address < 0 and (wanted.prefix >= 0 or wanted.broadcast >= 0) and own is None:
        raise CommandError("ifconfig: a netmask without an address")
    for address, prefix in wanted.removed:
        if not any((one.address, one.prefix) == (address, prefix) for one in device.addresses):
            raise CommandError(f"ifconfig: del {ipv6_text(address)}/{prefix}: {device.name} has no such address")
    for address, _ in wanted.added:
        if address in host.ip.local:
            raise CommandError(f"ifconfig: add {ipv6_text(address)}: there is such an address already")
    if wanted.added and device.inet6.disable_ipv6:
        raise CommandError("SIOCSIFADDR: Permission denied")
    # All words are good: only now does anything change.
    if alias and changes.up is False:
        # An alias that goes down is gone; its device stays.
        changes.up = None
        if own is not None:
            host.remove_address(device, own)
    elif wanted.address == 0:
        if own is not None:
            host.remove_address(device, own)
    else:
        if wanted.address > 0 and changes.up is None:
            changes.up = True
        _set_address(host, device, name if alias else "", own, wanted)
    for address, prefix in wanted.removed:
        host.remove_address(
            device, next(one for one in device.addresses if (one.address, one.prefix) == (address, prefix))
        )
    for address, prefix in wanted.added:
        host.add_address(device, address, prefix)
    changes.apply(host, device)


def _word(device: Device, rest: list[str], changes: Changes, wanted: _Wanted) -> None:
    """Take a word, or a word and its value, from the front of `rest`."""
    word = rest.pop(0)
    off, plain = word[:1] == "-", word.lstrip("-")
    if word in ("up", "down"):
        changes.up = word == "up"
    elif plain == "arp":
        changes.arp = not off
    elif plain == "promisc":
        changes.promiscuous = not off
    elif plain == "allmulti":
        changes.allmulti = not off
    elif word == "mtu":
        changes.mtu = parsed(int, _value(word, rest), "an MTU")
        if not 68 <= changes.mtu <= 65535:
            raise CommandError(f"ifconfig: mtu {changes.mtu}: expected 68 to 65535")
    elif word == "netmask":
        wanted.prefix = prefix_of_mask(parsed(parse_ipv4, _value(word, rest), "a netmask"))
    elif word == "broadcast":
        wanted.broadcast = parsed(parse_ipv4, _value(word, rest), "an IPv4 address")
    elif word == "txqueuelen":
        changes.txqueuelen = parsed(int, _value(word, rest), "a queue length")
        if changes.txqueuelen < 0:
            raise CommandError(f"ifconfig: txqueuelen {changes.txqueuelen}: expected 0 or more")
    elif word == "hw":
        if _value(word, rest) != "ether":
            raise CommandError("ifconfig: hw: only ether is supported")
        changes.mac = hardware_address(_value("hw ether", rest), device)
    elif word in ("add", "del"):
        address, prefix = _ipv6(_value(word, rest))
        (wanted.added if word == "add" else wanted.removed).append((address, prefix))
    elif word in ("inet", "inet6"):
        if not rest:
            raise CommandError(f"ifconfig: {word}: a value is missing")
    elif wanted.address < 0 and word[:1].isdigit() and ":" not in word:
        text, slash, length = word.partition("/")
        wanted.address = parsed(parse_ipv4, text, "an IPv4 address")
        if slash:
            wanted.prefix = prefix_length(length, "ifconfig")
    else:
        raise CommandError(f'ifconfig: "{word}" is not supported; expected {_EXPECTED}')


def _value(word: str, rest: list[str]) -> str:
    if not rest:
        raise CommandError(f"ifconfig: {word}: a value is missing")
    return rest.pop(0)


def _ipv6(word: str) -> tuple[int, int]:
    text, slash, length = word.partition("/")
    address = parsed(parse_ipv6, text, "an IPv6 address")
    if 1 < address < 1 << 32 or address == 0:
        raise CommandError(f"ifconfig: {text}: expected an address that a host can have")
    return address, prefix_length(length, "ifconfig", 128) if slash else 128


def _named(device: Device, name: str) -> Address | None:
    """The IPv4 address that goes by `name`, the device's or an alias' (SIOCGIFADDR)."""
    label = "" if name == device.name else name
    return next((own for own in device.addresses if own.family == AF_INET and own.label == label), None)


def _set_address(host: Host, device: Device, label: str, own: Address | None, wanted: _Wanted) -> None:
    """What SIOCSIFADDR, SIOCSIFNETMASK and SIOCSIFBRDADDR make of the address of this name."""
    if wanted.address < 0 and wanted.prefix < 0 and wanted.broadcast < 0:
        return
    if wanted.address < 0:
        assert own is not None, "checked before"
        address, prefix = own.address, int(own.prefix) if wanted.prefix < 0 else wanted.prefix
    else:
        address = wanted.address
        prefix = class_prefix(address) if wanted.prefix < 0 else wanted.prefix
    if own is not None:
        host.remove_address(device, own)
    made = Address(AF_INET, address, prefix)
    made.label = label
    if wanted.broadcast >= 0:
        made.broadcast = wanted.broadcast
    elif prefix < 31:
        made.broadcast = address | (~network_mask(prefix) & 0xFFFF_FFFF)
    host.assign(device, made)


def prefix_length(text: str, tool: str, most: int = 32) -> int:
    """The prefix length that `text` says. Raises CommandError."""
    prefix = parsed(int, text, "a prefix length")
    if not 0 <= prefix <= most:
        raise CommandError(f"{tool}: /{text}: expected a prefix length from 0 to {most}")
    return prefix


def class_prefix(address: int) -> int:
    """The prefix length of the address's class (RFC 791), which the real tools take when none is given."""
    first = address >> 24
    return 8 if first < 128 else 16 if first < 192 else 24


def prefix_of_mask(mask: int) -> int:
    """The prefix length of a netmask. Raises CommandError for one with holes."""
    for prefix in range(33):
        if network_mask(prefix) == mask:
            return prefix
    raise CommandError(f'"{ipv4_text(mask)}" is not a netmask')


# Showing


def _show(host: Host, name: str, all_devices: bool, short: bool) -> str:
    if name:
        device = _device(host, name)
        if ":" in name and _named(device, name) is None:
            raise CommandError(f"ifconfig: {name}: {device.name} has no such alias")
        shown = [(device, name)]
    else:
        shown = [pair for pair in entries(host) if pair[0].up or all_devices]
    if short:
        head = "Iface      MTU    RX-OK RX-ERR RX-DRP RX-OVR    TX-OK TX-ERR TX-DRP TX-OVR Flg\n"
        return head + "".join(short_line(device, one) for device, one in shown)
    return "".join(f"{_text(device, one)}\n" for device, one in shown)


def entries(host: Host) -> list[tuple[Device, str]]:
    """The devices and their aliases by name, as net-tools lists them: numbers in names count as numbers."""
    found: list[tuple[Device, str]] = []
    for device in sorted(host.devices.values(), key=lambda one: _by_number(one.name)):
        labels = {own.label for own in device.addresses if own.family == AF_INET and own.label}
        found += [(device, name) for name in (device.name, *sorted(labels, key=_by_number))]
    return found


def _by_number(name: str) -> list[tuple[str, int]]:
    return [(letters, int(digits or "0")) for letters, digits in re.findall(r"(\D*)(\d*)", name)]


def short_line(device: Device, name: str) -> str:
    """A line of `ifconfig -s` and of `netstat -i`."""
    head = f"{name:<15.15} {int(device.mtu):>5} "
    if name != device.name:
        return f"{head}     - no statistics available -                        {flags.letters(device)}\n"
    received = f"{int(device.rx_packets):>8} {0:>6} {int(device.rx_dropped):>6} {0:<6} "
    sent = f"{int(device.tx_packets):>8} {0:>6} {int(device.tx_dropped):>6} {0:>6} "
    return f"{head}{received}{sent}{flags.letters(device)}\n"


def _text(device: Device, name: str) -> str:
    lines = [f"{name}: flags={flags.flags(device)}<{flags.of_ifconfig(device)}>  mtu {int(device.mtu)}"]
    own = _named(device, name)
    if own is not None:
        line = f"        inet {ipv4_text(own.address)}  netmask {ipv4_text(network_mask(int(own.prefix)))}"
        if own.peer:
            line += f"  destination {ipv4_text(own.peer)}" if device.name == "lo" else ""
        lines.append(line if device.name == "lo" else f"{line}  broadcast {ipv4_text(own.broadcast)}")
    is_alias = name != device.name
    for own in [] if is_alias else reversed(device.addresses):
        if own.family == AF_INET6:
            scope = _SCOPES.get(int(own.scope), "0x80<compat,global>")
            lines.append(f"        inet6 {ipv6_text(own.address)}  prefixlen {int(own.prefix)}  scopeid {scope}")
    if device.name == "lo":
        lines.append(f"        loop  txqueuelen {int(device.txqueuelen)}  (Local Loopback)")
    else:
        mac = mac_text(int(device.mac))
        lines.append(f"        ether {mac}  txqueuelen {int(device.txqueuelen)}  (Ethernet)")
    if not is_alias:
        received, sent = int(device.rx_bytes), int(device.tx_bytes)
        lines += [
            f"        RX packets {int(device.rx_packets)}  bytes {received} ({_scaled(received)})",
            f"        RX errors 0  dropped {int(device.rx_dropped)}  overruns 0  frame 0",
            f"        TX packets {int(device.tx_packets)}  bytes {sent} ({_scaled(sent)})",
            f"        TX errors 0  dropped {int(device.tx_dropped)} overruns 0  carrier 0  collisions 0",
        ]
    return "\n".join(lines) + "\n"


def _scaled(count: int) -> str:
    """As 940.0 B, 1.8 KiB: what is more than 1024 of a unit is told in the next; the rest is cut off."""
    power = 0
    while power + 1 < len(_UNITS) and count > 1024 ** (power + 1):
        power += 1
    tenths = count * 10 // 1024**power
    return f"{tenths // 10}.{tenths % 10} {_UNITS[power]}"
