"""From the text of a script to tokens.

A token is a kind and its text; kinds are below. Blanks and comments (`//`, `/* */`) go. Where a token stands is kept as
an offset, and made a line when somebody asks. `--define` is obeyed here: a word that is defined is its definition.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Mapping
from typing import Final

from lunar.packetdrill.script import ScriptError

OPTION: Final = "option"  # --name or --name=value
CODE: Final = "code"  # %{ ... }%
COMMAND: Final = "command"  # `...`
STRING: Final = "string"  # "..."
ELLIPSIS: Final = "ellipsis"
ADDRESS: Final = "address"  # of IPv4 or IPv6
FLOAT: Final = "float"
INTEGER: Final = "integer"
HEX: Final = "hex"
WORD: Final = "word"
PUNCTUATION: Final = "punctuation"  # one character
END: Final = "end"  # of the text

# Before a token: what separates it from the last one. Its kind is the name of the group that matched.
_TOKEN: Final = re.compile(
    r"""(?:\s+|//[^\n]*|/\*.*?\*/)*(?:
    (?P<option>--[A-Za-z]\w*(?:=(?:"[^"]*"|`[^`]*`|[^\s"`])*)?)
    |(?P<code>%\{.*?\}%)
    |(?P<command>`[^`]*`)
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<ellipsis>\.\.\.)
    |(?P<address>\d+\.\d+\.\d+\.\d+|(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}|[0-9A-Fa-f:]*::[0-9A-Fa-f:.]*)
    |(?P<float>\d*\.\d+)
    |(?P<hex>0[xX][0-9A-Fa-f]+)
    |(?P<integer>-?\d+(?!\w))
    |(?P<word>\w+)
    |(?P<end>\Z)
    |(?P<punctuation>.)
    )""",
    re.VERBOSE | re.DOTALL,
)


class Tokens:
    """The tokens of a text, one after the other: `kinds[i]` and `texts[i]`."""

    def __init__(self, path: str, text: str, define: Mapping[str, str]) -> None:
        self.path = path
        self.text = text
        self.kinds: list[str] = []
        self.texts: list[str] = []
        self._offsets: list[int] = []
        self._line_ends: list[int] | None = None
        for found in _TOKEN.finditer(text):
            kind = found.lastgroup
            assert kind is not None, "one of the groups matches anything"
            word = found[kind]
            if kind == WORD and word in define:
                # Of one token or of several, as if they stood there.
                for part in _TOKEN.finditer(define[word]):
                    if part.lastgroup is not None and part.lastgroup != END:
                        self._add(part.lastgroup, part[part.lastgroup], found.start(kind))
                continue
            self._add(kind, word, found.start(kind))
            if kind == END:
                break

    def _add(self, kind: str, text: str, offset: int) -> None:
        self.kinds.append(kind)
        self.texts.append(text)
        self._offsets.append(offset)

    def line(self, index: int) -> int:
        """The line, counted from 1, where the token of this index begins."""
        if self._line_ends is None:
            self._line_ends = [found.start() for found in re.finditer("\n", self.text)]
        return bisect.bisect_left(self._line_ends, self._offsets[index]) + 1

    def error(self, index: int, what: str = "syntax error") -> ScriptError:
        """A complaint about the token of this index."""
        return ScriptError(self.path, self.line(index), f"parse error at '{self.texts[index]}': {what}")
