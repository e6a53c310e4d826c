"""`-m string` as text."""

from __future__ import annotations

from typing import Final

from lunar.net_tools.iptables.errors import ParameterProblem, invalid, no_such
from lunar.net_tools.iptables.option import Extension, MatchExtension, Option, anything, uint
from lunar.netfilter import match_packet as run
from lunar.netfilter.netfilter import Netfilter
from lunar.netfilter.rule import Match

_MOST_PATTERN: Final = 128


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


EXTENSIONS: Final = (String,)
