"""Lines of a TOML file: where tables, keys, elements and rows stand, however the file is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from weaves.tapestry_errors import TapestryError
from weaves.toml_source import TomlSource, key_text


def source(text: str) -> TomlSource:
    return TomlSource(text, Path("site.toml"))


# Each value, or the `at` of a table, is the number of its line: the text says itself what to expect of it.
NUMBERED = '''\
top = 1
"quoted key" = 2
'literal.key' = 3
dotted.a.b = 4
dotted."a".c = 5
"\\u0061bc" = 6

[table] # [not.a.table]
at = 9
[table.sub]
at = 11
[ table . "quoted sub" ]
at = 13
[[rows]]
at = 15
[rows.sub]
at = 17
[[rows.inner]]
at = 19
[[rows.inner]]
at = 21
[[rows]]
at = 23
[rows.sub]
at = 25

[values]
text = """
[no.table]
no = "key" \\""" more
"""
after_text = 32
literal = \'\'\'
no = 1 \\\'\'\'
after_literal = 35
quotes = """""two quotes at both ends"""""
after_quotes = 37
date = 1979-05-27 07:32:00
after_date = 39
hash = "# no comment, ] no end, } no end" # a ] comment }
after_hash = 41
array = [ # a comment with ] in it
    43,
    44, 44,
    # another
    [46,
     47],
    { at = 48 }, { at = 48, sub = { at = 48 } },
    "]",
    \'\'\'
]\'\'\',
    52,
]
inline = { at = 54, deep.er = 54, "q k" = [ { at = 54 }, 54 ] }
empty_array = []
empty_table = {}
empty_text = ""
empty_texts = """"""
last = 59'''


def numbers(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], int]]:
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in numbers(item, (*path, key))]
    if isinstance(value, list):
        return [found for index, item in enumerate(value) for found in numbers(item, (*path, index))]
    return [(path, value)] if isinstance(value, int) else []


@pytest.mark.parametrize(("path", "line"), numbers(source(NUMBERED).data), ids=str)
def test_a_value_stands_where_it_says(path: tuple[str | int, ...], line: int) -> None:
    assert source(NUMBERED).line(*path) == line


def test_no_number_was_lost_on_the_way() -> None:
    assert len(numbers(source(NUMBERED).data)) == 34


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("table",), 8),
        (("table", "sub"), 10),
        (("table", "quoted sub"), 12),
        (("rows",), 14),
        (("rows", 0), 14),
        (("rows", 0, "sub"), 16),
        (("rows", 0, "inner", 1), 20),
        (("rows", 1), 22),
        (("rows", 1, "sub"), 24),
        (("values", "text"), 28),
        (("values", "array", 4), 48),
        (("values", "array", 6), 49),
        (("values", "array", 7), 50),
        (("dotted",), 4),
        (("dotted", "a"), 4),
    ],
)
def test_a_table_or_element_stands_where_it_begins(path: tuple[str | int, ...], line: int) -> None:
    assert source(NUMBERED).line(*path) == line


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("table", "sub", "missing"), 10),
        (("rows", 1, "missing", "deeper"), 22),
        (("rows", 7), 14),
        (("values", "inline", "missing"), 54),
        (("missing",), 1),
        ((), 1),
    ],
)
def test_what_is_not_there_stands_at_its_nearest_parent(path: tuple[str | int, ...], line: int) -> None:
    assert source(NUMBERED).line(*path) == line


def test_a_table_said_after_its_subtable_stands_at_its_own_header() -> None:
    assert source("[a.b]\n[a]\n").line("a") == 2


def test_windows_line_ends_count_once() -> None:
    assert source('a = """\r\nx\r\n"""\r\nb = 1\r\n').line("b") == 4


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('k = "one"', [1]),
        ('k = "one\\ntwo"', [1, 1]),
        ('k = """one\ntwo"""', [1, 2]),
        ('k = """\none\n\nthree"""', [2, 3, 4]),
        ("k = '''\none\\n\ntwo'''", [2, 3]),
        ('k = """\none \\\n  still one\ntwo\\nthree\nfour"""', [2, 4, 4, 5]),
        ('k = """\\\n   one\ntwo"""', [2, 3]),
        ('k = """\none \\\\\ntwo"""', [2, 3]),  # an escaped backslash eats no line end
    ],
)
def test_rows_of_a_text(text: str, lines: list[int]) -> None:
    parsed = source(text)
    assert [parsed.line_of_row(row, "k") for row in range(parsed.data["k"].count("\n") + 1)] == lines


@pytest.mark.parametrize(
    ("path", "table", "key"),
    [
        (("top",), "", "top"),
        (("table", "at"), "[table]", "at"),
        (("table", "quoted sub", "at"), '[ table . "quoted sub" ]', "at"),
        (("rows", 1), "[[rows]]", ""),
        (("rows", 0, "sub", "at"), "[rows.sub]", "at"),
        (("rows", 0, "inner", 1, "at"), "[[rows.inner]]", "at"),
        (("values", "array", 4, "sub", "at"), "[values]", "array[4].sub.at"),
        (("values", "inline", "q k", 0, "at"), "[values]", 'inline."q k"[0].at'),
    ],
)
def test_where_names_the_header_and_the_key_below_it(path: tuple[str | int, ...], table: str, key: str) -> None:
    where = source(NUMBERED).where(*path)
    assert (where.file, where.table, where.key) == ("site.toml", table, key)


def test_key_text() -> None:
    assert key_text(("strings", 0, "run", 'a "b"')) == 'strings[0].run."a "b""'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1\nb = = 2", "site.toml:2: not TOML: Invalid value in column 5"),
        ("a = 1\n\n[b", "site.toml:3: not TOML: Expected ']' at the end of a table declaration at the end of the file"),
        ("[a]\n[b]\n[a]", "site.toml:3: [a]: this table is there twice, first in line 1; expected each table once"),
        ("a = 1\n[a]", "site.toml:2: [a]: this table is there twice, first in line 1; expected each table once"),
        ('a = 1\n"a" = 2', "site.toml:2: a: this key is there twice, first in line 1; expected each key once"),
        (
            "[[t]]\na = 1\n[[t]]\na = 1\nb.c = 1\nb.c = 2",
            "site.toml:6: [[t]] b.c: this key is there twice, first in line 5; expected each key once",
        ),
        (
            "t = [\n{ a = 1 },\n{ a = 1, a = 2 }]",
            "site.toml:3: t[1].a: this key is there twice, first in line 3; expected each key once",
        ),
    ],
)
def test_what_is_not_toml(text: str, message: str) -> None:
    with pytest.raises(TapestryError) as caught:
        source(text)
    assert str(caught.value) == message


def test_an_integer_of_too_many_digits_is_not_toml() -> None:
    with pytest.raises(TapestryError, match=r"^site\.toml: not TOML: "):
        source("a = " + "9" * 5000)
