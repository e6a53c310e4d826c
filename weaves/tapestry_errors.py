"""A mistake in a tapestry: what it says, and the place that it points to.

Whoever finds a mistake, from the TOML parser to the loader of a running tapestry, raises the one `TapestryError`. The
later stages no longer hold the file: each description carries the `Where` it came from, and they `raise
where.error(...)`.
"""

from __future__ import annotations

import difflib
from typing import Final

import attrs

# Between what is wrong and what would be right, in the text of a message. Parsers that know no place (units, durations)
# raise `ValueError` with such a text, and it becomes a `TapestryError` without loss.
_EXPECTED: Final = "; expected "


class TapestryError(Exception):
    """A tapestry that cannot be: `str()` is one line, for example

    site.toml:12: [hosts.client] eth0: 10.9.9 is not an address; expected an IPv4 address with a prefix length, ...

    `file` is the path as it was given. `line` counts from 1, and is None where no line can be told, as for a missing
    file. `table` is the header as the file has it ("[hosts.client]", "[[links]]"), `key` the key below it
    ("strings[0].run"); each is "" where there is none. `message` says what is wrong, `expected` what would be right
    ("" if nothing helps).
    """

    def __init__(
        self, file: str, line: int | None, table: str, key: str, message: str, expected: str | None = None
    ) -> None:
        # All arguments go to `Exception`, so that an error survives pickling on its way from another process.
        super().__init__(file, line, table, key, message, expected)
        if expected is None:
            head, separator, tail = message.rpartition(_EXPECTED)
            message, expected = (head, tail) if separator else (message, "")
        self.file = file
        self.line = line
        self.table = table
        self.key = key
        self.message = message
        self.expected = expected

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        subject = " ".join(part for part in (self.table, self.key) if part)
        text = self.message + (_EXPECTED + self.expected if self.expected else "")
        line = f"{place}: {subject}: {text}" if subject else f"{place}: {text}"
        # A value or a quoted key can hold anything; the message stays one line that a terminal shows as it is.
        return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)


@attrs.frozen(slots=True)
class Where:
    """A place in a tapestry; the fields are those of `TapestryError`."""

    file: str
    line: int | None
    table: str
    key: str

    def error(self, message: str) -> TapestryError:
        """The error to raise: `message` says what is wrong, then, if there is more to say, "; expected ..."."""
        return TapestryError(self.file, self.line, self.table, self.key, message)


def suggestion(word: str, known: list[str]) -> str:
    """What to say after an unknown `word`: the near miss, or what there is."""
    if near := difflib.get_close_matches(word, known, 1):
        return f'did you mean "{near[0]}"?'
    if not known:
        return "expected none, for there is none"
    shown = sorted(known)[:12]
    return f"expected one of {', '.join(shown)}{' ...' if len(known) > len(shown) else ''}"
