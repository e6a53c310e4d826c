"""`-m addrtype` as text."""

from __future__ import annotations

from typing import Final

from lunar.net_tools.iptables.errors import ParameterProblem, invalid
from lunar.net_tools.iptables.option import IN, OUT, POST, PRE, Extension, MatchExtension, Option
from lunar.netfilter import match_packet as run
from lunar.netfilter.netfilter import Netfilter
from lunar.netfilter.rule import Match
from lunar.packet import AF_INET6

_ADDRESS_TYPES: Final = (
    "UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST", "BLACKHOLE", "UNREACHABLE", "PROHIBIT", "THROW",
    "NAT", "XRESOLVE",
)  # fmt: skip
_NOT_OF_IPV6: Final = ("BROADCAST", "BLACKHOLE", "PROHIBIT", "THROW", "NAT", "XRESOLVE")


def _address_types(extension: Extension, option: Option, text: str) -> int:
    bits = 0
    for word in text.split(","):
        if word.upper() not in _ADDRESS_TYPES:
            raise ParameterProblem(f'addrtype: bad type "{word}"')
        bits |= 1 << _ADDRESS_TYPES.index(word.upper())
    return bits


class AddrType(MatchExtension):
    """`-m addrtype`."""

    name = "addrtype"
    options = (
        Option("src-type", "src", _address_types, invert=True),
        Option("dst-type", "dst", _address_types, invert=True),
        Option("limit-iface-in", "limit-in", None, not_with=("limit-out",)),
        Option("limit-iface-out", "limit-out", None, not_with=("limit-in",)),
    )

    def check(self) -> None:
        if "src" not in self.values and "dst" not in self.values:
            raise ParameterProblem("addrtype: you must specify --src-type or --dst-type")

    def refuse(self, points: int, table: str) -> None:
        asked = self.get("src", 0) | self.get("dst", 0)
        if self.family == AF_INET6 and any(asked >> _ADDRESS_TYPES.index(name) & 1 for name in _NOT_OF_IPV6):
            raise invalid()
        if "limit-in" in self.values and points & (OUT | POST):
            raise invalid()
        if "limit-out" in self.values and points & (PRE | IN):
            raise invalid()

    def _types(self, key: str) -> str:
        return ",".join(name for number, name in enumerate(_ADDRESS_TYPES) if self.values[key] >> number & 1)

    def save(self) -> str:
        text = "".join(
            f" {self.bang(key)}--{key}-type {self._types(key)}" for key in ("src", "dst") if key in self.values
        )
        if "limit-in" in self.values:
            text += " --limit-iface-in"
        return text + (" --limit-iface-out" if "limit-out" in self.values else "")

    def show(self, numeric: bool) -> str:
        text = " ADDRTYPE match"
        for key in ("src", "dst"):
            if key in self.values:
                text += f" {key}-type {'!' if key in self.inverted else ''}{self._types(key)}"
        if "limit-in" in self.values:
            text += " limit-in"
        return text + (" limit-out" if "limit-out" in self.values else "")

    def build(self, netfilter: Netfilter) -> Match:
        return run.AddrTypeMatch(
            self.get("src", 0), "src" in self.inverted, self.get("dst", 0), "dst" in self.inverted,
            "limit-in" in self.values, "limit-out" in self.values,
        )  # fmt: skip


EXTENSIONS: Final = (AddrType,)
