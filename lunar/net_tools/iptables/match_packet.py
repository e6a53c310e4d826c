"""`-m mark`, `connmark`, `ttl`, `hl`, `tos`, `dscp`, `length`, `mac`, `addrtype`, `string`, `owner`, `comment`."""

from __future__ import annotations

from typing import ClassVar, Final

from lunar.net_tools.iptables import names
from lunar.net_tools.iptables.errors import ParameterProblem, invalid, no_such
from lunar.net_tools.iptables.option import (
    FORWARD,
    IN,
    OUT,
    POST,
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
_ADDRESS_TYPES: Final = (
    "UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST", "BLACKHOLE", "UNREACHABLE", "PROHIBIT", "THROW",
    "NAT", "XRESOLVE",
)  # fmt: skip
_NOT_OF_IPV6: Final = ("BROADCAST", "BLACKHOLE", "PROHIBIT", "THROW", "NAT", "XRESOLVE")
_MOST_COMMENT: Final = 255
_MOST_PATTERN: Final = 128


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


def _plain_pattern(extension: Extension, option: Option, text: str) -> bytes:
    pattern = text.encode(errors="surrogateescape")
    if len(pattern) > _MOST_PATTERN:
        raise ParameterProblem(f'STRING too long "{text}"')
    return pattern


def _hex_pattern(extension: Extension, option: Option, text: str) -> bytes:
    pattern = b""
    for number, part in enumerate(text.split("|")):
        if number % 2 == 0:
            pattern += part.encode(errors="surrogateescape")
            continue
        digits = part.replace(" ", "")
        if len(digits) % 2:
            raise ParameterProblem("Odd number of hex digits")
        try:
            pattern += bytes.fromhex(digits)
        except ValueError:
            raise ParameterProblem(f'Invalid hex char in "{text}"') from None
    if len(pattern) > _MOST_PATTERN:
        raise ParameterProblem(f'STRING too long "{text}"')
    return pattern


class String(MatchExtension):
    """`-m string`."""

    name = "string"
    options = (
        Option("from", "from", uint(0, 65535)),
        Option("to", "to", uint(0, 65535)),
        Option("algo", "algo", anything, must=True),
        Option("string", "string", _plain_pattern, invert=True, not_with=("hex-string",)),
        Option("hex-string", "hex-string", _hex_pattern, invert=True, not_with=("string",)),
        Option("icase", "icase", None),
    )

    def check(self) -> None:
        if "string" not in self.values and "hex-string" not in self.values:
            raise ParameterProblem("STRING match: You must specify `--string' or `--hex-string'")

    def refuse(self, points: int, table: str) -> None:
        if self.values["algo"] not in ("bm", "kmp"):
            raise no_such()
        if self.get("from", 0) > self.get("to", 65535):
            raise invalid()

    def _pattern(self) -> bytes:
        return bytes(self.values["string"] if "string" in self.values else self.values["hex-string"])

    def _text(self) -> tuple[bool, str]:
        """Whether it has to be written in hex, and how it is written."""
        pattern = self._pattern()
        if any(not 32 <= byte < 127 for byte in pattern) or (pattern.endswith(b"|") and pattern.startswith(b"|")):
            return True, f'"|{pattern.hex()}|"'
        text = pattern.decode()
        return False, '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def save(self) -> str:
        is_hex, text = self._text()
        line = f" {'! ' if self.inverted else ''}--{'hex-string' if is_hex else 'string'} {text}"
        line += f" --algo {self.values['algo']}"
        if self.get("from", 0):
            line += f" --from {self.values['from']}"
        if self.get("to", 65535) != 65535:
            line += f" --to {self.values['to']}"
        return line + (" --icase" if "icase" in self.values else "")

    def show(self, numeric: bool) -> str:
        line = f" STRING match {'!' if self.inverted else ''} {self._text()[1]} ALGO name {self.values['algo']}"
        if self.get("from", 0):
            line += f" FROM {self.values['from']}"
        if self.get("to", 65535) != 65535:
            line += f" TO {self.values['to']}"
        return line + (" ICASE" if "icase" in self.values else "")

    def build(self, netfilter: Netfilter) -> Match:
        return run.StringMatch(
            self._pattern(), self.get("from", 0), self.get("to", 65535), "icase" in self.values, bool(self.inverted)
        )


def _owner(lookup_user: bool) -> object:
    def parse(extension: Extension, option: Option, text: str) -> tuple[int, int]:
        known = names.user(text) if lookup_user else names.group(text)
        if known is not None:
            return known, known
        first, dash, last = text.partition("-")
        low = names.parse_number(first, 0, _ALL_BITS - 1)
        high = names.parse_number(last, 0, _ALL_BITS - 1) if dash else low
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
        Option("uid-owner", "uid", _owner(True), invert=True),  # type: ignore[arg-type]
        Option("gid-owner", "gid", _owner(False), invert=True),  # type: ignore[arg-type]
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


EXTENSIONS: Final = (Comment, Mark, Connmark, Ttl, HopLimit, Tos, Dscp, Length, Mac, AddrType, String, Owner)
