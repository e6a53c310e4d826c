"""`-m owner` as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lunar.net_tools.iptables import names
from lunar.net_tools.iptables.errors import ParameterProblem
from lunar.net_tools.iptables.option import OUT, POST, Extension, MatchExtension, Option, anything, pair, uint
from lunar.netfilter import match_packet as run
from lunar.netfilter.netfilter import Netfilter
from lunar.netfilter.rule import Match

_MOST_ID: Final = 0xFFFF_FFFE


def _owner(lookup_user: bool) -> Callable[[Extension, Option, str], tuple[int, int]]:
    def parse(extension: Extension, option: Option, text: str) -> tuple[int, int]:
        known = names.user(text) if lookup_user else names.group(text)
        if known is not None:
            return known, known
        first, dash, last = text.partition("-")
        low = names.parse_number(first, 0, _MOST_ID)
        high = names.parse_number(last, 0, _MOST_ID) if dash else low
        if low is None or high is None:
            raise ParameterProblem(f'owner: Bad value for "--{option.name}" option: "{text}"')
        return low, high

    return parse


def _suppl(extension: Extension, option: Option, text: str) -> bool:
    if "gid" not in extension.values:
        raise ParameterProblem('owner: Bad value for "--suppl-groups" option: "you need to use --gid-owner first"')
    return True


class Owner(MatchExtension):
    """`-m owner`. `--cmd-owner` and `--pid-owner` are those of Linux until 2.6.14: a program's name is its weave's."""

    name = "owner"
    points = OUT | POST
    options = (
        Option("uid-owner", "uid", _owner(True), invert=True),
        Option("gid-owner", "gid", _owner(False), invert=True),
        Option("socket-exists", "socket", None, invert=True),
        Option("suppl-groups", "suppl", None),
        Option("pid-owner", "pid", uint(0, 0x7FFF_FFFF), invert=True),
        Option("cmd-owner", "cmd", anything, invert=True),
    )

    def accept(self, option: Option, text: str, inverted: bool) -> None:
        if option.id == "suppl" and not inverted:
            _suppl(self, option, text)
        super().accept(option, text, inverted)

    def check(self) -> None:
        if not self.values:
            raise ParameterProblem("owner: At least one of --uid-owner, --gid-owner or --socket-exists is required")

    def save(self) -> str:
        text = ""
        if "socket" in self.values:
            text += f" {self.bang('socket')}--socket-exists"
        for key in ("uid", "gid"):
            if key in self.values:
                text += f" {self.bang(key)}--{key}-owner {pair(self.values[key], '-')}"
        if "suppl" in self.values:
            text += " --suppl-groups"
        if "pid" in self.values:
            text += f" {self.bang('pid')}--pid-owner {self.values['pid']}"
        if "cmd" in self.values:
            text += f" {self.bang('cmd')}--cmd-owner {names.quoted(self.values['cmd'])}"
        return text

    def show(self, numeric: bool) -> str:
        text = f" {self.bang('socket')}owner socket exists" if "socket" in self.values else ""
        for key, label, name_of in (("uid", "UID", names.user_name), ("gid", "GID", names.group_name)):
            if key in self.values:
                first, last = self.values[key]
                shown = pair((first, last), "-") if numeric or first != last else name_of(first)
                text += f" {self.bang(key)}owner {label} match {shown}"
        if "suppl" in self.values:
            text += " incl. suppl. groups"
        if "pid" in self.values:
            text += f" {self.bang('pid')}owner PID match {self.values['pid']}"
        if "cmd" in self.values:
            text += f" {self.bang('cmd')}owner CMD match {self.values['cmd']}"
        return text

    def build(self, netfilter: Netfilter) -> Match:
        asks = inverted = 0
        for key, bit in (
            ("uid", run.UID), ("gid", run.GID), ("socket", run.SOCKET), ("pid", run.PID), ("cmd", run.COMMAND),
        ):  # fmt: skip
            asks |= bit if key in self.values else 0
            inverted |= bit if key in self.inverted else 0
        match = run.OwnerMatch(self.get("uid", (0, 0)), self.get("gid", (0, 0)), asks, inverted)
        match.pid = self.get("pid", 0)
        match.command = self.get("cmd", "")
        return match


EXTENSIONS: Final = (Owner,)
