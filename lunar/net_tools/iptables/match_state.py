"""`-m state`, `conntrack`, `connlimit` as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from lunar.net_tools.iptables import names
from lunar.net_tools.iptables.address import network_text, parse_network
from lunar.net_tools.iptables.errors import ParameterProblem
from lunar.net_tools.iptables.option import Extension, MatchExtension, Option, pair, uint, uint_range
from lunar.netfilter import match_state as run
from lunar.netfilter.match_rate import all_ones
from lunar.netfilter.netfilter import Netfilter
from lunar.netfilter.rule import Match

# In the order in which they are printed.
_STATES: Final = {
    "INVALID": run.INVALID, "NEW": run.NEW, "RELATED": run.RELATED, "ESTABLISHED": run.ESTABLISHED,
    "UNTRACKED": run.UNTRACKED, "SNAT": run.SNAT, "DNAT": run.DNAT,
}  # fmt: skip
_STATUS: Final = {"EXPECTED": 1, "SEEN_REPLY": 2, "ASSURED": 4, "CONFIRMED": 8}
_ADDRESSES: Final = {
    "ctorigsrc": run.ORIGINAL_SRC, "ctorigdst": run.ORIGINAL_DST, "ctreplsrc": run.REPLY_SRC,
    "ctrepldst": run.REPLY_DST,
}  # fmt: skip
_PORTS: Final = {
    "ctorigsrcport": run.ORIGINAL_SRC_PORT, "ctorigdstport": run.ORIGINAL_DST_PORT,
    "ctreplsrcport": run.REPLY_SRC_PORT, "ctrepldstport": run.REPLY_DST_PORT,
}  # fmt: skip


def _bits(known: dict[str, int], words: Iterable[str], what: str) -> int:
    bits = 0
    for word in words:
        if word.upper() not in known:
            raise ParameterProblem(f'Bad {what} "{word}"')
        bits |= known[word.upper()]
    return bits


def _states(what: str, natted: bool) -> Callable[[Extension, Option, str], int]:
    known = _STATES if natted else {name: bit for name, bit in _STATES.items() if name not in ("SNAT", "DNAT")}

    def parse(extension: Extension, option: Option, text: str) -> int:
        return _bits(known, text.split(","), what)

    return parse


def _listed(known: dict[str, int], bits: int) -> str:
    return ",".join(name for name, bit in known.items() if bits & bit)


class State(MatchExtension):
    """`-m state`."""

    name = "state"
    tracks = True
    options = (Option("state", "state", _states("state", False), invert=True, must=True),)

    def _text(self) -> str:
        # This one alone is not in the order of the others.
        order = ("INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED")
        return ",".join(name for name in order if self.values["state"] & _STATES[name])

    def save(self) -> str:
        return f" {self.bang('state')}--state {self._text()}"

    def show(self, numeric: bool) -> str:
        return f" {self.bang('state')}state {self._text()}"

    def build(self, netfilter: Netfilter) -> Match:
        return run.StateMatch(self.values["state"], bool(self.inverted))


def _status(extension: Extension, option: Option, text: str) -> int:
    known = {"NONE": 0, **_STATUS}
    return _bits(known, text.split(","), "ctstatus")


def _protocol(extension: Extension, option: Option, text: str) -> int:
    number = names.protocol_number(text)
    if number == 0 and "ctproto" in extension.inverted:
        raise ParameterProblem("conntrack: rule would never match protocol")
    return number


def _network(extension: Extension, option: Option, text: str) -> tuple[int, int]:
    found = parse_network(extension.family, text)
    if len(found) != 1:
        raise ParameterProblem("conntrack: only one address is allowed")
    return found[0]


def _direction(extension: Extension, option: Option, text: str) -> str:
    if text.upper() not in ("ORIGINAL", "REPLY"):
        raise ParameterProblem(f'conntrack: Bad value for "--ctdir" option: "{text}"')
    return text.upper()


class Conntrack(MatchExtension):
    """`-m conntrack`."""

    name = "conntrack"
    tracks = True
    options = (
        Option("ctstate", "ctstate", _states("ctstate", True), invert=True),
        Option("ctproto", "ctproto", _protocol, invert=True),
        *(Option(name, name, _network, invert=True) for name in _ADDRESSES),
        *(Option(name, name, uint_range(65535), invert=True) for name in _PORTS),
        Option("ctstatus", "ctstatus", _status, invert=True),
        Option("ctexpire", "ctexpire", uint_range(0xFFFF_FFFF), invert=True),
        Option("ctdir", "ctdir", _direction),
    )

    def check(self) -> None:
        if not self.values:
            raise ParameterProblem("conntrack: At least one option is required")

    def _parts(self) -> list[tuple[str, str]]:
        """What was asked in the order in which it is printed: (option, value)."""
        parts: list[tuple[str, str]] = []
        get = self.values.get

        def add(key: str, text: Callable[[Any], str]) -> None:
            if key in self.values:
                parts.append((key, text(get(key))))

        add("ctstate", lambda bits: _listed(_STATES, bits))
        add("ctproto", str)
        for key in _ADDRESSES:
            add(key, self._network_text)
        for key in _PORTS:
            add(key, pair)
        add("ctstatus", lambda bits: _listed(_STATUS, bits) or "NONE")
        add("ctexpire", pair)
        add("ctdir", str)
        return parts

    def _network_text(self, network: tuple[int, int]) -> str:
        return network_text(self.family, *network)

    def save(self) -> str:
        return "".join(f" {self.bang(key)}--{key} {text}" for key, text in self._parts())

    def show(self, numeric: bool) -> str:
        return "".join(f" {self.bang(key)}{key} {text}" for key, text in self._parts())

    def build(self, netfilter: Netfilter) -> Match:
        if self.values.keys() == {"ctstate"}:
            return run.StateMatch(self.values["ctstate"], bool(self.inverted))
        bits = {
            "ctstate": run.STATE, "ctproto": run.PROTOCOL, "ctstatus": run.STATUS, "ctexpire": run.EXPIRES,
            "ctdir": run.DIRECTION, **_ADDRESSES, **_PORTS,
        }  # fmt: skip
        match = run.ConntrackMatch(sum(bits[key] for key in self.values), sum(bits[key] for key in self.inverted))
        match.states = self.get("ctstate", 0)
        match.status = self.get("ctstatus", 0)
        match.protocol = self.get("ctproto", 0)
        match.reply = self.get("ctdir") == "REPLY"
        match.first_expire_s, match.last_expire_s = self.get("ctexpire", (0, 0))
        match.addresses = [(bits[key], *self.values[key]) for key in _ADDRESSES if key in self.values]
        match.ports = [(bits[key], *self.values[key]) for key in _PORTS if key in self.values]
        return match


class Connlimit(MatchExtension):
    """`-m connlimit`."""

    name = "connlimit"
    tracks = True
    options = (
        Option("connlimit-upto", "upto", uint(), invert=True, not_with=("above",)),
        Option("connlimit-above", "above", uint(), invert=True, not_with=("upto",)),
        Option("connlimit-mask", "mask", uint(0, 128)),
        Option("connlimit-saddr", "saddr", None, not_with=("daddr",)),
        Option("connlimit-daddr", "daddr", None, not_with=("saddr",)),
    )

    def check(self) -> None:
        if "upto" not in self.values and "above" not in self.values:
            raise ParameterProblem('You must specify "--connlimit-above" or "--connlimit-upto".')

    def _up_to(self) -> bool:
        return ("upto" in self.values) != bool(self.inverted)

    def _limit(self) -> int:
        return int(self.values["upto"] if "upto" in self.values else self.values["above"])

    def _mask(self) -> int:
        bits = 32 if self.family == 2 else 128
        return min(int(self.get("mask", bits)), bits)

    def save(self) -> str:
        return (
            f" --connlimit-{'upto' if self._up_to() else 'above'} {self._limit()} --connlimit-mask {self._mask()}"
            f" --connlimit-{'daddr' if 'daddr' in self.values else 'saddr'}"
        )

    def show(self, numeric: bool) -> str:
        side = "dst" if "daddr" in self.values else "src"
        return f" #conn {side}/{self._mask()} {'<=' if self._up_to() else '>'} {self._limit()}"

    def build(self, netfilter: Netfilter) -> Match:
        return run.ConnlimitMatch(
            self._limit(), all_ones(self.family, self._mask()), "daddr" in self.values, self._up_to()
        )


EXTENSIONS: Final = (State, Conntrack, Connlimit)
