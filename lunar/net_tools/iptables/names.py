"""Names that rules may have in place of numbers: protocols, services, users and groups, levels of the log."""

from __future__ import annotations

from typing import Final

from lunar import services
from lunar.net_tools.iptables.errors import ParameterProblem

# What Debian's /etc/protocols calls them.
_PROTOCOLS: Final = {
    "icmp": 1, "igmp": 2, "ggp": 3, "ipencap": 4, "st": 5, "tcp": 6, "egp": 8, "igp": 9, "pup": 12, "udp": 17,
    "hmp": 20, "xns-idp": 22, "rdp": 27, "iso-tp4": 29, "dccp": 33, "xtp": 36, "ddp": 37, "idpr-cmtp": 38, "ipv6": 41,
    "ipv6-route": 43, "ipv6-frag": 44, "idrp": 45, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "skip": 57,
    "ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "rspf": 73, "vmtp": 81, "eigrp": 88, "ospf": 89, "ax.25": 93,
    "ipip": 94, "etherip": 97, "encap": 98, "pim": 103, "ipcomp": 108, "vrrp": 112, "l2tp": 115, "isis": 124,
    "sctp": 132, "fc": 133, "mobility-header": 135, "udplite": 136, "mpls-in-ip": 137, "hip": 139, "shim6": 140,
    "wesp": 141, "rohc": 142,
}  # fmt: skip
_PROTOCOL_NAMES: Final = {number: name for name, number in _PROTOCOLS.items()}
_ALIASES: Final = {"icmpv6": 58, "ipv6-mh": 135, "mh": 135, "ospfigp": 89, "all": 0}

# Users and groups that every Debian has.
_USERS: Final = {"root": 0, "daemon": 1, "bin": 2, "sys": 3, "mail": 8, "www-data": 33, "nobody": 65534}
_GROUPS: Final = {"root": 0, "daemon": 1, "bin": 2, "sys": 3, "adm": 4, "mail": 8, "www-data": 33, "nogroup": 65534}

LEVELS: Final = ("emerg", "alert", "crit", "error", "warn", "notice", "info", "debug")
_LEVEL_ALIASES: Final = {"panic": 0, "err": 3, "warning": 4}


def protocol_number(text: str) -> int:
    """The number of a protocol by its name or number, 0 for all."""
    number = parse_number(text, 0, 255)
    if number is None:
        lower = text.lower()
        number = _PROTOCOLS.get(lower, _ALIASES.get(lower))
    if number is None:
        raise ParameterProblem(f'unknown protocol "{text}" specified')
    return number


def protocol_name(number: int) -> str:
    """How a protocol is written in rules."""
    return _PROTOCOL_NAMES.get(number, str(number))


def parse_number(text: str, lowest: int, highest: int) -> int | None:
    """A number as strtoul(3) reads it with base 0, all of `text`, within the bounds; None for anything else."""
    digits = text.lower()
    try:
        if digits.startswith("0x"):
            value = int(digits[2:], 16)
        elif digits.startswith("0") and len(digits) > 1:
            value = int(digits, 8)
        else:
            value = int(digits) if digits.isdigit() else -1
    except ValueError:
        return None
    return value if lowest <= value <= highest else None


def port(text: str, protocol: str | None) -> int | None:
    """A port by its number or by the name of its service; None if there is none."""
    number = parse_number(text, 0, 65535)
    return number if number is not None else services.port_of(text, protocol)


def port_text(number: int, protocol: str | None, numeric: bool) -> str:
    """A port as it is listed."""
    name = None if numeric else services.name_of(number, protocol)
    return str(number) if name is None else name


def user(text: str) -> int | None:
    """A user's number by its name."""
    return _USERS.get(text)


def group(text: str) -> int | None:
    """A group's number by its name."""
    return _GROUPS.get(text)


def user_name(number: int) -> str:
    """A user's name, or the number."""
    return next((name for name, known in _USERS.items() if known == number), str(number))


def group_name(number: int) -> str:
    """A group's name, or the number."""
    return next((name for name, known in _GROUPS.items() if known == number), str(number))


def level(text: str) -> int | None:
    """A level of syslog's by its number or name."""
    number = parse_number(text, 0, 7)
    if number is not None:
        return number
    return LEVELS.index(text) if text in LEVELS else _LEVEL_ALIASES.get(text)


def quoted(text: str) -> str:
    """`text` as `-S` writes it: bare if it can be, else in quotes, with a backslash before what would change it."""
    if text and text.isascii() and all(char.isalnum() or char in "_-" for char in text):
        return text
    return '"' + "".join("\\" + char if char in "\"\\'" else char for char in text) + '"'
