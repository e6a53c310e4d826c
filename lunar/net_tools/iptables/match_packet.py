"""`-m mark`, `connmark`, `ttl`, `hl`, `tos`, `dscp`, `length`, `mac`, `comment` as text."""

from __future__ import annotations

from typing import ClassVar, Final

from lunar.net_tools.iptables import names
from lunar.net_tools.iptables.errors import ParameterProblem
from lunar.net_tools.iptables.option import (
    FORWARD,
    IN,
    PRE,
    Extension,
    MatchExtension,
    Option,
    anything,
    mark_mask,
    pair,
    uint,
    uint_range,
)
from lunar.net_tools.iptables.tos_names import parse_dscp_class, parse_tos, tos_name
from lunar.netfilter import match_packet as run
from lunar.netfilter.match_state import ConnmarkMatch
from lunar.netfilter.netfilter import Netfilter
from lunar.netfilter.rule import Match
from lunar.packet import AF_INET, AF_INET6

_ALL_BITS: Final = 0xFFFF_FFFF
_MOST_COMMENT: Final = 255


class Comment(MatchExtension):
    """`-m comment`."""

    name = "comment"
    options = (Option("comment", "comment", anything, must=True),)

    def accept(self, option: Option, text: str, inverted: bool) -> None:
        if len(text.encode()) > _MOST_COMMENT:
            raise ParameterProblem("Argument must have a maximum length of 255 characters\n")
        super().accept(option, text, inverted)

    def save(self) -> str:
        return f" --comment {names.quoted(self.values['comment'])}"

    def show(self, numeric: bool) -> str:
        return f" /* {self.values['comment']} */"

    def build(self, netfilter: Netfilter) -> Match:
        return run.CommentMatch()


class Mark(MatchExtension):
    """`-m mark`."""

    name = "mark"
    said: ClassVar[str] = "mark match"
    options = (Option("mark", "mark", mark_mask, invert=True, must=True),)

    def _text(self) -> str:
        mark, mask = self.values["mark"]
        return f"0x{mark:x}" if mask == _ALL_BITS else f"0x{mark:x}/0x{mask:x}"

    def save(self) -> str:
        return f" {self.bang('mark')}--mark {self._text()}"

    def show(self, numeric: bool) -> str:
        return f" {self.said}{' !' if self.inverted else ''} {self._text()}"

    def build(self, netfilter: Netfilter) -> Match:
        mark, mask = self.values["mark"]
        return run.MarkMatch(mark, mask, bool(self.inverted))


class Connmark(Mark):
    """`-m connmark`."""

    name = "connmark"
    tracks = True

    def show(self, numeric: bool) -> str:
        return f" connmark match {'!' if self.inverted else ''} {self._text()}"

    def build(self, netfilter: Netfilter) -> Match:
        mark, mask = self.values["mark"]
        return ConnmarkMatch(mark, mask, bool(self.inverted))


class Ttl(MatchExtension):
    """`-m ttl`."""

    name = "ttl"
    families = (AF_INET,)
    options = (
        Option("ttl-lt", "lt", uint(0, 255), not_with=("gt", "eq")),
        Option("ttl-gt", "gt", uint(0, 255), not_with=("lt", "eq")),
        Option("ttl-eq", "eq", uint(0, 255), invert=True, not_with=("lt", "gt")),
    )

    def check(self) -> None:
        if not self.values:
            raise ParameterProblem("TTL match: You must specify one of `--ttl-eq', `--ttl-lt', `--ttl-gt")

    def save(self) -> str:
        key, value = next(iter(self.values.items()))
        return f" {self.bang(key)}--{self.name}-{key} {value}"

    def show(self, numeric: bool) -> str:
        key, value = next(iter(self.values.items()))
        sign = {"lt": "<", "gt": ">"}.get(key, "!=" if self.inverted else "==")
        upper = self.name.upper()
        return f" {upper} match {upper} {sign} {value}"

    def build(self, netfilter: Netfilter) -> Match:
        key, value = next(iter(self.values.items()))
        mode = {"lt": run.LESS, "gt": run.GREATER}.get(key, run.NOT_EQUAL if self.inverted else run.EQUAL)
        return run.HopsMatch(mode, value)


class HopLimit(Ttl):
    """`-m hl`."""

    name = "hl"
    families = (AF_INET6,)
    options = (
        Option("hl-lt", "lt", uint(0, 255), not_with=("gt", "eq")),
        Option("hl-gt", "gt", uint(0, 255), not_with=("lt", "eq")),
        Option("hl-eq", "eq", uint(0, 255), invert=True, not_with=("lt", "gt")),
    )

    def check(self) -> None:
        if not self.values:
            raise ParameterProblem("HL match: You must specify one of `--hl-eq', `--hl-lt', `--hl-gt'")


class Tos(MatchExtension):
    """`-m tos`."""

    name = "tos"
    options = (Option("tos", "tos", parse_tos(0x3F), invert=True, must=True),)

    def save(self) -> str:
        value, mask = self.values["tos"]
        return f" {self.bang('tos')}--tos 0x{value:02x}/0x{mask:02x}"

    def show(self, numeric: bool) -> str:
        value, mask = self.values["tos"]
        bang = "!" if self.inverted else ""
        name = None if numeric else tos_name(value, mask)
        # The real tool leaves this space out, too.
        return f" tos match{bang}0x{value:02x}/0x{mask:02x}" if name is None else f" tos match{bang} {name}"

    def build(self, netfilter: Netfilter) -> Match:
        value, mask = self.values["tos"]
        return run.TosMatch(value, mask, bool(self.inverted))


class Dscp(MatchExtension):
    """`-m dscp`."""

    name = "dscp"
    options = (
        Option("dscp", "dscp", uint(0, 63), invert=True, not_with=("class",)),
        Option("dscp-class", "class", parse_dscp_class, invert=True, not_with=("dscp",)),
    )

    def check(self) -> None:
        if not self.values:
            raise ParameterProblem("DSCP match: Parameter --dscp is required")

    def _value(self) -> int:
        return int(self.values["dscp"] if "dscp" in self.values else self.values["class"])

    def save(self) -> str:
        return f" {'! ' if self.inverted else ''}--dscp 0x{self._value():02x}"

    def show(self, numeric: bool) -> str:
        return f" DSCP match {'!' if self.inverted else ''}0x{self._value():02x}"

    def build(self, netfilter: Netfilter) -> Match:
        return run.TosMatch(self._value() << 2, 0xFC, bool(self.inverted))


class Length(MatchExtension):
    """`-m length`."""

    name = "length"
    options = (Option("length", "length", uint_range(65535), invert=True, must=True),)

    def save(self) -> str:
        return f" {self.bang('length')}--length {pair(self.values['length'])}"

    def show(self, numeric: bool) -> str:
        return f" length {'!' if self.inverted else ''}{pair(self.values['length'])}"

    def build(self, netfilter: Netfilter) -> Match:
        first, last = self.values["length"]
        return run.LengthMatch(first, last, bool(self.inverted))


def _mac(extension: Extension, option: Option, text: str) -> int:
    parts = text.split(":")
    values = [names.parse_number("0x" + part, 0, 255) for part in parts]
    if len(values) != 6 or None in values:
        raise ParameterProblem("Invalid MAC address specified.")
    return int.from_bytes(bytes(value for value in values if value is not None), "big")


class Mac(MatchExtension):
    """`-m mac`."""

    name = "mac"
    points = PRE | IN | FORWARD
    options = (Option("mac-source", "mac", _mac, invert=True, must=True),)

    def _text(self) -> str:
        return str(self.values["mac"].to_bytes(6, "big").hex(":"))

    def save(self) -> str:
        return f" {self.bang('mac')}--mac-source {self._text()}"

    def show(self, numeric: bool) -> str:
        return f" MAC{' !' if self.inverted else ''} {self._text()}"

    def build(self, netfilter: Netfilter) -> Match:
        return run.MacMatch(self.values["mac"], bool(self.inverted))


EXTENSIONS: Final = (Comment, Mark, Connmark, Ttl, HopLimit, Tos, Dscp, Length, Mac)
