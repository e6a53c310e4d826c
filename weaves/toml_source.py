"""TOML that remembers its lines: `tomllib` for the data, and a scanner beside it for the line of every key.

The standard parser checks the syntax and forgets where things stood. A second pass walks the same text and notes the
line of each table, key and array element. It relies on the first pass for validity, hence it is short: it finds the
ends of things and does not look inside numbers, dates or most strings.
"""

from __future__ import annotations

import os
import re
import tomllib
from bisect import bisect_right
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

from weaves.tapestry_errors import TapestryError, Where

TomlPath: TypeAlias = tuple[str | int, ...]

# What `tomllib` puts after its messages. Newer versions have attributes for it; the text is there in all of them.
_PLACE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")

# Possessive quantifiers (`++`, `*+`) keep these linear: no text makes them try twice.
_BLANK: Final = re.compile(r"(?:[ \t\n]++|#[^\n]*+)*+")
_BLANK_STARTS: Final = frozenset(" \t\n#")
_SPACE: Final = re.compile(r"[ \t]*+")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]++")
_SCALAR: Final = re.compile(r"[^,\]}#\n]++")
# By what they open with. A multi-line string may end in up to two quotes of its own.
_STRINGS: Final = {
    '"""': re.compile(r'"""(?:[^"\\]++|\\.|"{1,2}(?!"))*+"{3,5}', re.DOTALL),
    "'''": re.compile(r"'''(?:[^']++|'{1,2}(?!'))*+'{3,5}"),
    '"': re.compile(r'"(?:[^"\\\n]++|\\.)*+"'),
    "'": re.compile(r"'[^'\n]*+'"),
}
# What ends a row inside a multi-line string. In a basic one also an escaped line end; a backslash at the end of a
# line eats the line end and the blanks after it, and ends no row; any other escape is skipped, so that its second
# character is not misread.
_LITERAL_ROWS: Final = re.compile(r"(?P<row>\n)")
_BASIC_ROWS: Final = re.compile(r"(?P<eaten>\\[ \t]*+\n[ \t\n]*+)|(?P<row>\n|\\n)|\\.")


class TomlSource:
    """A TOML text, its data, and the line of everything in it. A path is keys and array indices: ("links", 0, "ends").

    Raises `TapestryError` for what is not TOML.
    """

    def __init__(self, text: str, path: Path) -> None:
        self.path = path
        self._file = str(path)
        self._text = text.replace("\r\n", "\n")
        try:
            self.data: dict[str, Any] = tomllib.loads(self._text)
        # Besides TOMLDecodeError (a ValueError): an integer too long for int(), arrays nested too deeply to parse.
        except (ValueError, RecursionError) as error:
            raise self._syntax_error(error) from None
        self._scan = _Scan(self._text)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> TomlSource:
        """Parse the file at `path`. Raises `TapestryError` also for a file that cannot be read or is not UTF-8."""
        path = Path(path)
        try:
            content = path.read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a null character in the path
            reason = getattr(error, "strerror", None) or str(error)
            raise TapestryError(str(path), None, "", "", f"{reason}; expected a TOML file") from None
        try:
            # "-sig": editors on Windows put a byte order mark in front.
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise TapestryError(str(path), line, "", "", "not UTF-8; expected a TOML file in UTF-8") from None
        return cls(text, path)

    def line(self, *path: str | int) -> int:
        """The line, from 1, of the table, key or array element at `path`, or else of its nearest parent."""
        for end in range(len(path), 0, -1):
            if (line := self._scan.lines.get(path[:end])) is not None:
                return line
        return 1

    def line_of_row(self, row: int, *path: str | int) -> int:
        """The line where row `row`, from 0, of the string at `path` stands: of its key, unless it spans lines."""
        token = self._scan.multi_line.get(path)
        if token is None:
            return self.line(*path)
        start, end = token
        row_start = start + (4 if self._text[start + 3] == "\n" else 3)  # a line end after the quotes is not content
        for found in (_LITERAL_ROWS if self._text[start] == "'" else _BASIC_ROWS).finditer(self._text, row_start, end):
            if found.lastgroup == "eaten" and found.start() == row_start:
                row_start = found.end()
            elif found.lastgroup == "row":
                if row == 0:
                    break
                row -= 1
                row_start = found.end()
        return self._scan.line_at(row_start)

    def where(self, *path: str | int) -> Where:
        """The place of `path` as errors name it: the header it stands under, and the key below that header."""
        headers = self._scan.headers
        split = len(path)
        while split and path[:split] not in headers:
            split -= 1
        return Where(self._file, self.line(*path), headers.get(path[:split], ""), key_text(path[split:]))

    def _syntax_error(self, error: ValueError | RecursionError) -> TapestryError:
        if isinstance(error, RecursionError):
            return TapestryError(self._file, None, "", "", "nested too deeply; expected a TOML file")
        message = str(error)
        place = _PLACE.search(message)
        if place is None:
            return TapestryError(self._file, None, "", "", f"not TOML: {message}")
        line, column = int(place[1] or self._text.count("\n") + 1), place[2]
        if (twice := self._said_twice(line)) is not None:
            return twice
        message = message[: place.start()] + (f" in column {column}" if column else " at the end of the file")
        return TapestryError(self._file, line, "", "", f"not TOML: {message}")

    def _said_twice(self, last_line: int) -> TapestryError | None:
        # The parser says "Cannot overwrite a value", and not which or where the other one is. Up to its complaint the
        # text is sound, hence scanned reliably.
        self._scan = _Scan("\n".join(self._text.split("\n")[:last_line]))
        if self._scan.twice is None:
            return None
        path, line = self._scan.twice
        where = self.where(*path)
        what = "table" if path in self._scan.headers else "key"
        message = f"this {what} is there twice, first in line {where.line}; expected each {what} once"
        return TapestryError(where.file, line, where.table, where.key, message)


def key_text(path: TomlPath) -> str:
    """A path as people write it: `strings[0].run`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE_KEY.fullmatch(part) else f'"{part}"')
    return text


class _LostError(Exception):
    """The text is not what valid TOML would have here."""


class _Scan:
    """One pass over a text that `tomllib` found valid."""

    def __init__(self, text: str) -> None:
        self.lines: dict[TomlPath, int] = {}
        self.headers: dict[TomlPath, str] = {}
        self.multi_line: dict[TomlPath, tuple[int, int]] = {}  # path -> start and end of the string's token
        self.twice: tuple[TomlPath, int] | None = None  # the first path said again, and the line of that
        self._explicit: set[TomlPath] = set()
        self._array_lengths: dict[TomlPath, int] = {}  # of arrays of tables
        self._text = text
        self._position = 0
        self._line_ends = [found.start() for found in re.finditer("\n", text)]
        # Lost only in text that is invalid, or nested as deep as the parser just managed. Lines found so far stay good,
        # and the rest falls back to its parents.
        with suppress(_LostError, RecursionError):
            self._document()

    def line_at(self, position: int) -> int:
        return bisect_right(self._line_ends, position - 1) + 1

    def _document(self) -> None:
        table: TomlPath = ()
        while True:
            self._skip(_BLANK)
            if self._position == len(self._text):
                return
            if self._text[self._position] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> TomlPath:
        start = self._position
        brackets = 2 if self._text.startswith("[[", start) else 1
        self._position += brackets
        keys = self._dotted_key()
        self._expect("]" * brackets)
        path: TomlPath = ()
        for key in keys[:-1]:
            path = (*path, key)
            self.lines.setdefault(path, self.line_at(start))
            if path in self._array_lengths:  # [a.b] after [[a]] is in the newest a
                path = (*path, self._array_lengths[path] - 1)
        path = (*path, keys[-1])
        if brackets == 2:
            self.lines.setdefault(path, self.line_at(start))
            index = self._array_lengths.get(path, 0)
            self._array_lengths[path] = index + 1
            path = (*path, index)
        self._note(path, start)
        self.headers[path] = self._text[start : self._position]
        return path

    def _pair(self, table: TomlPath) -> None:
        start = self._position
        path = table
        keys = self._dotted_key()
        for key in keys[:-1]:
            path = (*path, key)
            self.lines.setdefault(path, self.line_at(start))
        path = (*path, keys[-1])
        self._note(path, start)
        self._expect("=")
        self._skip(_SPACE)
        self._value(path)

    def _dotted_key(self) -> list[str]:
        keys: list[str] = []
        while True:
            self._skip(_SPACE)
            keys.append(self._key())
            self._skip(_SPACE)
            if not self._text.startswith(".", self._position):
                return keys
            self._position += 1

    def _key(self) -> str:
        if (bare := self._match(_BARE_KEY)) is not None:
            return bare
        for quote in ('"', "'"):
            if (quoted := self._match(_STRINGS[quote])) is not None:
                # Escapes are rare in keys and many in kind: the parser knows them all.
                escaped = quote == '"' and "\\" in quoted
                return str(tomllib.loads(f"key = {quoted}")["key"]) if escaped else quoted[1:-1]
        raise _LostError

    def _value(self, path: TomlPath) -> None:
        opening = self._text[self._position : self._position + 1]
        if opening == "[":
            self._array(path)
        elif opening == "{":
            self._inline_table(path)
        elif opening in ('"', "'"):
            start = self._position
            tripled = self._text.startswith(opening * 3, start)
            if self._match(_STRINGS[opening * 3 if tripled else opening]) is None:
                raise _LostError
            if tripled:
                self.multi_line[path] = (start, self._position - 3)
        elif self._match(_SCALAR) is None:
            raise _LostError

    def _array(self, path: TomlPath) -> None:
        self._position += 1
        index = 0
        while True:
            self._skip(_BLANK)
            if self._text.startswith("]", self._position):
                self._position += 1
                return
            self.lines[(*path, index)] = self.line_at(self._position)
            self._value((*path, index))
            index += 1
            self._skip(_BLANK)
            if self._text.startswith(",", self._position):
                self._position += 1

    def _inline_table(self, path: TomlPath) -> None:
        self._position += 1
        while True:
            # TOML 1.0 has an inline table on one line; 1.1 lets it span lines and end in a comma. Both pass here.
            self._skip(_BLANK)
            if self._text.startswith("}", self._position):
                self._position += 1
                return
            self._pair(path)
            self._skip(_BLANK)
            if self._text.startswith(",", self._position):
                self._position += 1

    def _note(self, path: TomlPath, position: int) -> None:
        line = self.line_at(position)
        if path in self._explicit:
            self.twice = self.twice or (path, line)
            return
        self._explicit.add(path)
        self.lines[path] = line

    def _expect(self, text: str) -> None:
        if not self._text.startswith(text, self._position):
            raise _LostError
        self._position += len(text)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        if self._text[self._position : self._position + 1] in _BLANK_STARTS:
            found = pattern.match(self._text, self._position)
            assert found is not None, "a pattern of blanks matches the empty text"
            self._position = found.end()

    def _match(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self._text, self._position)
        if found is None:
            return None
        self._position = found.end()
        return found.group()
