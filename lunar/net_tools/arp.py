"""arp(8) of net-tools: show the neighbours of IPv4, put some there by hand, answer for others.

`ip neigh` (neigh.py) shows the same and more. Left out: files of entries (-f), hardware other than Ethernet (-H).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from lunar.net.device import Device
from lunar.net.neighbor import NO_ADDRESS, NONE, PERMANENT, STALE, VALID, Neighbor
from lunar.net_tools import neigh
from lunar.net_tools.errors import CommandError
from lunar.net_tools.peer import NAME_SERVERS_TAKE_TIME
from lunar.packet import AF_INET
from lunar.wire.address import ipv4_text, parse_ipv4
from lunar.wire.ethernet import mac_text, parse_mac

if TYPE_CHECKING:
    from lunar.host import Host

_HEADER: Final = "Address                  HWtype  HWaddress           Flags Mask            Iface\n"
_FROM_DEVICE: Final = "<from_interface>"


@attrs.frozen
class _Line:
    """One of what the kernel lists in /proc/net/arp: a neighbour, or an address that is answered for."""

    address: int
    device: str
    mac: int = NO_ADDRESS
    permanent: bool = False
    published: bool = False


@attrs.define
class _Options:
    action: str = ""
    numeric: bool = False
    verbose: bool = False
    all: bool = False
    use_device: bool = False
    device: str = ""


def run(host: Host, words: list[str]) -> str:
    """`arp [-evn] [-a] [-i IF] [HOST]`, `arp -s HOST MAC [temp] [pub]`, `arp -Ds HOST IF pub`, `arp -d HOST [pub]`."""
    options, rest = _options(words)
    if options.action == "s":
        return _set(host, options, rest)
    if options.action == "d":
        return _delete(host, options, rest)
    return _show(host, options, rest)


def _options(words: list[str]) -> tuple[_Options, list[str]]:
    options = _Options()
    rest = list(words)
    long = {
        "--all": "a", "--verbose": "v", "--numeric": "n", "--set": "s", "--delete": "d", "--device": "i",
        "--use-device": "D",
    }  # fmt: skip
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word.startswith("--") and word not in long:
            raise CommandError(f"arp: unrecognized option '{word}'")
        letters = long[word] if word in long else word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in "sd":
                options.action = letter
            elif letter == "n":
                options.numeric = True
            elif letter == "v":
                options.verbose = True
            elif letter == "a":
                options.all = True
            elif letter == "D":
                options.use_device = True
            elif letter == "i":
                options.device = letters or (rest.pop(0) if rest else "")
                letters = ""
                if not options.device:
                    raise CommandError("arp: option requires an argument -- 'i'")
            elif letter != "e":
                raise CommandError(f"arp: invalid option -- '{letter}'")
    return options, rest


def lines(host: Host) -> list[_Line]:
    """All that the kernel would list."""
    table = neigh.table_of(host, AF_INET)
    if table is None:
        return []
    found = [
        _Line(entry.address, entry.device.name, int(entry.mac), entry.state == PERMANENT)
        for entry in table.all()
        if entry.state != NONE
    ]
    return found + [_Line(address, name or "*", NO_ADDRESS, True, True) for address, name in table.proxies]


def proc_text(host: Host) -> str:
    """/proc/net/arp."""
    text = "IP address       HW type     Flags       HW address            Mask     Device\n"
    for line in lines(host):
        flags = 0xC if line.published else (0x2 if line.mac != NO_ADDRESS else 0) | (0x4 if line.permanent else 0)
        mac = mac_text(max(line.mac, 0))
        text += f"{ipv4_text(line.address):<16} {'0x1':<12}{f'{flags:#x}':<12}{mac}     *        {line.device}\n"
    return text


def _show(host: Host, options: _Options, rest: list[str]) -> str:
    wanted = _address(host, rest[0]) if rest else None
    every = lines(host)
    found = [
        line
        for line in every
        if (wanted is None or line.address == wanted) and options.device in ("", line.device)
    ]
    text = ""
    if not options.all and found:
        text = _HEADER
    for line in found:
        name = "" if options.numeric else _name(host, line.address)
        text += _bsd(line, name) if options.all else _linux(line, name)
    if options.verbose:
        text += f"Entries: {len(every)}\tSkipped: {len(every) - len(found)}\tFound: {len(found)}\n"
    if not found:
        if rest and not options.all:
            return text + f"{rest[0]} ({ipv4_text(wanted or 0)}) -- no entry\n"
        if rest or options.device:
            return text + f"arp: in {len(every)} entries no match found.\n"
    return text


def _linux(line: _Line, name: str) -> str:
    shown = f"{name or ipv4_text(line.address):<23.23}  "
    if line.mac == NO_ADDRESS and not line.published:
        return f"{shown}{'':<8}{'(incomplete)':<41} {line.device}\n"
    kind, mac = ("*", _FROM_DEVICE) if line.published else ("ether", mac_text(line.mac))
    flags = ("" if line.published else "C") + ("M" if line.permanent else "") + ("P" if line.published else "")
    return f"{shown}{kind:<8}{mac:<20}{flags:<6}{'':<15} {line.device}\n"


def _bsd(line: _Line, name: str) -> str:
    text = f"{name or '?'} ({ipv4_text(line.address)}) at "
    if line.published:
        text += f"{_FROM_DEVICE} "
    elif line.mac == NO_ADDRESS:
        text += "<incomplete> "
    else:
        text += f"{mac_text(line.mac)} [ether] "
    if line.permanent:
        text += "PERM "
    if line.published:
        text += "PUB "
    return f"{text}on {line.device}\n"


def _name(host: Host, address: int) -> str:
    text = ipv4_text(address)
    try:
        name = host.getnameinfo((text, 0))[0]
    except RuntimeError:
        return ""  # only a name server could tell, and outside of all strings there is no time to ask it
    return "" if name == text else name


def _address(host: Host, word: str) -> int:
    try:
        return parse_ipv4(word)
    except ValueError:
        pass
    try:
        found = host.getaddrinfo(word, None, AF_INET)
    except (OSError, UnicodeError):
        raise CommandError(f"{word}: Unknown host") from None
    except RuntimeError:
        raise CommandError(f"arp: {word}: {NAME_SERVERS_TAKE_TIME}") from None
    return parse_ipv4(found[0][4][0])


def _device_for(host: Host, options: _Options, address: int, call: str) -> Device:
    if options.device:
        device = host.devices.get(options.device)
        if device is None:
            raise CommandError(f"{call}: No such device")
        return device
    route = host.ip.inet.routes.lookup(address)
    if route is None or route.gateway:
        raise CommandError(f"{call}: Network is unreachable")
    return route.device


def _set(host: Host, options: _Options, rest: list[str]) -> str:
    if len(rest) < 2:
        raise CommandError(f"arp: need {'hardware address' if rest else 'host name'}")
    address = _address(host, rest[0])
    if options.use_device:
        device = host.devices.get(rest[1])
        if device is None:
            raise CommandError(f"arp: cant get HW-Address for `{rest[1]}': No such device.")
        mac = int(device.mac)
    else:
        try:
            mac = parse_mac(rest[1])
        except ValueError:
            raise CommandError("arp: invalid hardware address") from None
    temporary = published = False
    for word in rest[2:]:
        if word == "temp":
            temporary = True
        elif word == "pub":
            published = True
        else:
            raise CommandError(f'arp: "{word}" is not supported; expected temp or pub')
    table = neigh.make_table(host, AF_INET)
    if published:
        # Only what is a device's own can stand for another's: that is the address which is told.
        owner = next((one for one in host.ip.devices if one.mac == mac and one.name != "lo"), None)
        if options.device:
            owner = _device_for(host, options, address, "SIOCSARP")
        if owner is None:
            raise CommandError("SIOCSARP: No such device")
        if (address, owner.name) not in table.proxies:
            table.proxies.append((address, owner.name))
        return ""
    device = _device_for(host, options, address, "SIOCSARP")
    neigh.put(table, device, address, mac, STALE if temporary else PERMANENT)
    return ""


def _delete(host: Host, options: _Options, rest: list[str]) -> str:
    if not rest:
        raise CommandError("arp: need host name")
    address = _address(host, rest[0])
    table = neigh.table_of(host, AF_INET)
    entry: Neighbor | None = None
    if table is not None:
        if "pub" not in rest[1:]:
            for one in table.all():
                if one.address == address and options.device in ("", one.device.name) and one.state & VALID:
                    entry = one
            if entry is not None:
                table.remove(entry)
                return ""
        for known in table.proxies:
            # What is answered at one device alone is found only with that.
            if known == (address, options.device):
                table.proxies.remove(known)
                return ""
    return f"No ARP entry for {rest[0]}\n"
