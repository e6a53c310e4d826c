"""The names of ICMP's and ICMPv6's types and codes in rules: (name, type, first code, last code)."""

from __future__ import annotations

from typing import Final

from lunar.net_tools.iptables.names import parse_number
from lunar.packet import AF_INET

ANY: Final = 255  # the type that stands for all of IPv4's

# Of several names for one thing the first is printed.
_ICMP: Final = (
    ("any", ANY, 0, 255), ("echo-reply", 0, 0, 255), ("pong", 0, 0, 255), ("destination-unreachable", 3, 0, 255),
    ("network-unreachable", 3, 0, 0), ("host-unreachable", 3, 1, 1), ("protocol-unreachable", 3, 2, 2),
    ("port-unreachable", 3, 3, 3), ("fragmentation-needed", 3, 4, 4), ("source-route-failed", 3, 5, 5),
    ("network-unknown", 3, 6, 6), ("host-unknown", 3, 7, 7), ("network-prohibited", 3, 9, 9),
    ("host-prohibited", 3, 10, 10), ("TOS-network-unreachable", 3, 11, 11), ("TOS-host-unreachable", 3, 12, 12),
    ("communication-prohibited", 3, 13, 13), ("host-precedence-violation", 3, 14, 14),
    ("precedence-cutoff", 3, 15, 15), ("source-quench", 4, 0, 255), ("redirect", 5, 0, 255),
    ("network-redirect", 5, 0, 0), ("host-redirect", 5, 1, 1), ("TOS-network-redirect", 5, 2, 2),
    ("TOS-host-redirect", 5, 3, 3), ("echo-request", 8, 0, 255), ("ping", 8, 0, 255),
    ("router-advertisement", 9, 0, 255), ("router-solicitation", 10, 0, 255), ("time-exceeded", 11, 0, 255),
    ("ttl-exceeded", 11, 0, 255), ("ttl-zero-during-transit", 11, 0, 0), ("ttl-zero-during-reassembly", 11, 1, 1),
    ("parameter-problem", 12, 0, 255), ("ip-header-bad", 12, 0, 0), ("required-option-missing", 12, 1, 1),
    ("timestamp-request", 13, 0, 255), ("timestamp-reply", 14, 0, 255), ("address-mask-request", 17, 0, 255),
    ("address-mask-reply", 18, 0, 255),
)  # fmt: skip
_ICMPV6: Final = (
    ("destination-unreachable", 1, 0, 255), ("no-route", 1, 0, 0), ("communication-prohibited", 1, 1, 1),
    ("beyond-scope", 1, 2, 2), ("address-unreachable", 1, 3, 3), ("port-unreachable", 1, 4, 4),
    ("failed-policy", 1, 5, 5), ("reject-route", 1, 6, 6), ("packet-too-big", 2, 0, 255), ("time-exceeded", 3, 0, 255),
    ("ttl-exceeded", 3, 0, 255), ("ttl-zero-during-transit", 3, 0, 0), ("ttl-zero-during-reassembly", 3, 1, 1),
    ("parameter-problem", 4, 0, 255), ("bad-header", 4, 0, 0), ("unknown-header-type", 4, 1, 1),
    ("unknown-option", 4, 2, 2), ("echo-request", 128, 0, 255), ("ping", 128, 0, 255), ("echo-reply", 129, 0, 255),
    ("pong", 129, 0, 255), ("router-solicitation", 133, 0, 255), ("router-advertisement", 134, 0, 255),
    ("neighbour-solicitation", 135, 0, 255), ("neighbor-solicitation", 135, 0, 255),
    ("neighbour-advertisement", 136, 0, 255), ("neighbor-advertisement", 136, 0, 255), ("redirect", 137, 0, 255),
)  # fmt: skip


def _table(family: int) -> tuple[tuple[str, int, int, int], ...]:
    return _ICMP if family == AF_INET else _ICMPV6


def parse(family: int, text: str) -> tuple[int, int, int] | None:
    """(type, first code, last code) of a name or its beginning, of TYPE, or of TYPE/CODE; None for anything else."""
    lower = text.lower()
    begun = [row for row in _table(family) if row[0].lower().startswith(lower)] if text else []
    exact = [row for row in begun if row[0].lower() == lower]
    for found in (exact, begun):
        if len(found) == 1:
            return found[0][1], found[0][2], found[0][3]
    type_text, slash, code_text = text.partition("/")
    type = parse_number(type_text, 0, 255)
    code = parse_number(code_text, 0, 255) if slash else 0
    if type is None or code is None:
        return None
    return (type, code, code) if slash else (type, 0, 255)


def name_of(family: int, type: int, first: int, last: int) -> str | None:
    """The first name for this type and these codes."""
    return next((row[0] for row in _table(family) if row[1:] == (type, first, last)), None)
