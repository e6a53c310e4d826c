"""How a match or target takes its options, as libxtables does: what may be inverted, left out, repeated, combined.

An `Extension` is one `-m` or `-j` of one rule. Its class says which `Option`s there are; the values that were given are
in `values` by their keys, the keys of those behind a "!" in `inverted`. From that it is printed back (`save` for -S and
iptables-save, `show` for -L) and made into what lunar/netfilter runs (`build`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

import attrs

from lunar.net_tools.iptables import names
from lunar.net_tools.iptables.errors import ParameterProblem
from lunar.netfilter.netfilter import Netfilter
from lunar.netfilter.rule import Match, Target
from lunar.packet import AF_INET

# The points of a packet's way as bits, for what may stand where.
PRE: Final = 1 << 0
IN: Final = 1 << 1
FORWARD: Final = 1 << 2
OUT: Final = 1 << 3
POST: Final = 1 << 4
EVERYWHERE: Final = 31

_UINT32: Final = 0xFFFF_FFFF


@attrs.frozen
class Option:
    """One option. `parse` gets the extension, the option and the text; None for an option without an argument.

    `key` is what the values go by: two options with one key are two ways to say the same.
    """

    name: str
    key: str = ""
    parse: Callable[[Extension, Option, str], Any] | None = None
    invert: bool = False
    must: bool = False
    multi: bool = False
    not_with: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    words: int = 1  # how many arguments it takes

    @property
    def id(self) -> str:
        """The key, by default the name."""
        return self.key or self.name


class Extension:
    """One match or target in one rule."""

    name: ClassVar[str]
    options: ClassVar[tuple[Option, ...]] = ()
    families: ClassVar[tuple[int, ...]] = (AF_INET, 10)
    # What the kernel asks for: the points at which it may be asked, the table, the rule's protocol.
    points: int = EVERYWHERE
    table: ClassVar[str] = ""
    protocol: int = 0
    tracks: bool = False  # needs connection tracking

    def __init__(self, family: int) -> None:
        self.family = family
        self.values: dict[str, Any] = {}
        self.inverted: set[str] = set()
        self.rule_protocol = 0  # that of the rule, which some take into account
        self.rule_protocol_inverted = False

    def accept(self, option: Option, text: str, inverted: bool) -> None:
        """Take one option of the command line."""
        if option.id in self.values and not option.multi:
            raise ParameterProblem(f'{self.name}: option "--{option.name}" can only be used once.\n')
        if inverted and not option.invert:
            raise ParameterProblem(f'{self.name}: option "--{option.name}" cannot be inverted.\n')
        value = True if option.parse is None else option.parse(self, option, text)
        self.values[option.id] = value
        if inverted:
            self.inverted.add(option.id)

    def finish(self) -> None:
        """All options have been taken: check that they go together."""
        self.check()
        for option in self.options:
            if option.id not in self.values:
                continue
            for other in option.not_with:
                if other in self.values:
                    both = f'"--{option.name}" cannot be used together with "--{self._named(other)}"'
                    raise ParameterProblem(f"{self.name}: option {both}.\n")
            for other in option.also:
                if other not in self.values:
                    raise ParameterProblem(
                        f'{self.name}: option "--{option.name}" also requires "--{self._named(other)}".\n'
                    )
        for option in self.options:
            if option.must and option.id not in self.values:
                raise ParameterProblem(f'{self.name}: option "--{option.name}" must be specified\n')

    def _named(self, key: str) -> str:
        return next(option.name for option in self.options if option.id == key)

    def check(self) -> None:
        """What the extension itself checks at the end."""

    def refuse(self, points: int, table: str) -> None:
        """What the kernel checks; `points` are those from which the rule can be reached. Raises `Refused`."""

    def save(self) -> str:
        """The options as -S writes them, each with a space before it."""
        raise NotImplementedError

    def show(self, numeric: bool) -> str:
        """What -L prints, with a space before it."""
        raise NotImplementedError

    # Help for the subclasses

    def get(self, key: str, default: Any = None) -> Any:
        """The value of an option, `default` if it was not given."""
        return self.values.get(key, default)

    def bang(self, key: str) -> str:
        """A "! " for an option that is inverted."""
        return "! " if key in self.inverted else ""


class MatchExtension(Extension):
    """A `-m`."""

    def build(self, netfilter: Netfilter) -> Match:
        """What is asked for each packet."""
        raise NotImplementedError


class TargetExtension(Extension):
    """A `-j`. `listed` is how -L calls it."""

    def build(self, netfilter: Netfilter) -> Target:
        """What is done with each packet."""
        raise NotImplementedError

    @property
    def listed(self) -> str:
        """The name in a listing."""
        return self.name


# Parsers of arguments


def uint(lowest: int = 0, highest: int = _UINT32) -> Callable[[Extension, Option, str], int]:
    """A number within bounds."""

    def parse(extension: Extension, option: Option, text: str) -> int:
        value = names.parse_number(text, lowest, highest)
        if value is None:
            raise ParameterProblem(
                f'{extension.name}: bad value for option "--{option.name}", or out of range ({lowest}-{highest}).\n'
            )
        return value

    return parse


def uint_range(highest: int) -> Callable[[Extension, Option, str], tuple[int, int]]:
    """`5`, `5:7`, `:7` or `5:`, which goes up to `highest`."""

    def one(extension: Extension, option: Option, text: str, near: str) -> int:
        value = names.parse_number(text, 0, highest)
        if value is None:
            raise ParameterProblem(
                f'{extension.name}: bad value for option "--{option.name}" near "{near}", or out of range '
                f"(0-{highest}).\n"
            )
        return value

    def parse(extension: Extension, option: Option, text: str) -> tuple[int, int]:
        first, colon, last = text.partition(":")
        if not colon:
            value = one(extension, option, first, text)
            return value, value
        low = one(extension, option, first, text) if first else 0
        return low, one(extension, option, last, last) if last else highest

    return parse


def mark_mask(extension: Extension, option: Option, text: str) -> tuple[int, int]:
    """`MARK` or `MARK/MASK`, of 32 bits."""
    value, slash, mask = text.partition("/")
    first = names.parse_number(value, 0, _UINT32)
    second = names.parse_number(mask, 0, _UINT32) if slash else _UINT32
    if first is None or second is None:
        raise ParameterProblem(f'{extension.name}: bad integer value for option "--{option.name}", or out of range.\n')
    return first, second


def anything(extension: Extension, option: Option, text: str) -> str:
    """The text as it is."""
    return text


def pair(span: tuple[int, int], between: str = ":") -> str:
    """A range as it is printed: one number if both are the same."""
    first, last = span
    return str(first) if first == last else f"{first}{between}{last}"
