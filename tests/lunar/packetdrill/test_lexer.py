"""Tokens of packetdrill's language."""

from __future__ import annotations

import pytest

from lunar.packetdrill import lexer
from lunar.packetdrill.lexer import Tokens


def tokens(text: str, **define: str) -> list[tuple[str, str]]:
    found = Tokens("x.pkt", text, define)
    assert found.kinds[-1] == lexer.END
    return list(zip(found.kinds[:-1], found.texts[:-1], strict=True))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("17", lexer.INTEGER),
        ("-1", lexer.INTEGER),
        ("0x1F", lexer.HEX),
        (".05", lexer.FLOAT),
        ("1.5", lexer.FLOAT),
        ("sackOK", lexer.WORD),
        ("3021b9d889017eeb", lexer.WORD),  # a cookie, not a number
        ("...", lexer.ELLIPSIS),
        ("192.0.2.1", lexer.ADDRESS),
        ("2001:db8::1", lexer.ADDRESS),
        ('"a \\" b"', lexer.STRING),
        ("`one\ntwo`", lexer.COMMAND),
        ("%{ assert a % b }%", lexer.CODE),
        ("--mss=1000", lexer.OPTION),
        ('--define=A="x y"', lexer.OPTION),
        ("<", lexer.PUNCTUATION),
    ],
)
def test_one_token(text: str, kind: str) -> None:
    assert tokens(text) == [(kind, text)]


def test_times_of_a_blocking_call() -> None:
    assert [text for _, text in tokens("+0...0.200 read")] == ["+", "0", "...", "0.200", "read"]
    assert [text for _, text in tokens("+.1~+.2")] == ["+", ".1", "~", "+", ".2"]


def test_sequence_numbers_are_no_address() -> None:
    assert [text for _, text in tokens("1:1001(1000)")] == ["1", ":", "1001", "(", "1000", ")"]


def test_comments_and_blanks_go() -> None:
    assert tokens("// all of it\n  a /* and\n this */ b // c") == [(lexer.WORD, "a"), (lexer.WORD, "b")]


def test_a_defined_word_is_its_definition() -> None:
    assert tokens("FO COOKIE", COOKIE="abcd") == [(lexer.WORD, "FO"), (lexer.WORD, "abcd")]
    assert [text for _, text in tokens("X", X="SOL_IP | 0x1")] == ["SOL_IP", "|", "0x1"]
    assert tokens('"COOKIE"', COOKIE="abcd") == [(lexer.STRING, '"COOKIE"')]


def test_lines() -> None:
    found = Tokens("x.pkt", "a\n\n`b\nc` d\ne", {})
    assert [found.line(index) for index in range(4)] == [1, 3, 4, 5]


def test_a_complaint_names_file_line_and_token() -> None:
    found = Tokens("x.pkt", "a\nb", {})
    assert str(found.error(1)) == "x.pkt:2: parse error at 'b': syntax error"
