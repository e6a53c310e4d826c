"""Numbers that ip(8) writes as names: tables, protocols, types of routes (/etc/iproute2)."""

from __future__ import annotations

from typing import Final

from lunar.net import route
from lunar.net_tools.errors import CommandError

TABLES: Final = {"default": 253, "main": 254, "local": 255}
PROTOCOLS: Final = {
    "unspec": 0, "redirect": 1, "kernel": 2, "boot": 3, "static": 4, "gated": 8, "ra": 9, "mrt": 10, "zebra": 11,
    "bird": 12, "dnrouted": 13, "xorp": 14, "ntk": 15, "dhcp": 16, "keepalived": 18, "babel": 42, "bgp": 186,
    "isis": 187, "ospf": 188, "rip": 189, "eigrp": 192,
}  # fmt: skip
TYPES: Final = {
    "unicast": route.UNICAST, "local": route.LOCAL, "broadcast": route.BROADCAST, "anycast": route.ANYCAST,
    "multicast": route.MULTICAST, "blackhole": route.BLACKHOLE, "unreachable": route.UNREACHABLE,
    "prohibit": route.PROHIBIT, "throw": route.THROW,
}  # fmt: skip

_TABLE_MOST: Final = 0xFFFF_FFFF


def number(names: dict[str, int], word: str, what: str, most: int) -> int:
    """The number that a name stands for, or that is written. Raises `CommandError` in iproute2's words."""
    if word in names:
        return names[word]
    try:
        value = int(word, 0)
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        raise CommandError(f'argument "{word}" is wrong: "{what}" value is invalid; expected {", ".join(names)}')
    return value


def table_number(word: str) -> int:
    """The number of a table."""
    return number(TABLES, word, "table", _TABLE_MOST)


def protocol_number(word: str) -> int:
    """The number of who made a route."""
    return number(PROTOCOLS, word, "protocol", 255)


def name(names: dict[str, int], value: int) -> str:
    """The name of a number, or the number as a text."""
    return next((text for text, one in names.items() if one == value), str(value))
