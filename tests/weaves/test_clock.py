"""Durations: what each text is worth in nanoseconds, and how nanoseconds read."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weaves.clock import EPOCH_NS, format_duration, parse_duration

EXPECTED = "expected a number and a unit (ns, us, ms, s, m, h, d)"


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("0", 0),
        ("0s", 0),
        ("1ns", 1),
        ("250us", 250_000),
        ("250µs", 250_000),
        ("5ms", 5_000_000),
        ("1s", 10**9),
        ("1sec", 10**9),
        ("2m", 120 * 10**9),
        ("2min", 120 * 10**9),
        ("3h", 3 * 3600 * 10**9),
        ("1d", 86400 * 10**9),
        ("1.5 s", 1_500_000_000),
        (".5s", 500_000_000),
        ("2.s", 2 * 10**9),
        ("0.1s", 100_000_000),
        ("1_000ms", 10**9),
        ("1m30s", 90 * 10**9),
        (" 1h 2m 3s ", 3723 * 10**9),
        ("1.0000000019s", 1_000_000_001),  # what is below a nanosecond is cut off
    ],
)
def test_parse(text: str, ns: int) -> None:
    assert parse_duration(text) == ns


@pytest.mark.parametrize("text", ["", "5", "ms", "-5ms", "5 parsecs", "1s2", "5,5s", "1m -30s", "\u00b2s", "\u0663s"])
def test_what_is_not_a_duration_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_duration(text)
    assert str(caught.value) == f'"{text}" is not a duration; {EXPECTED}'


@pytest.mark.parametrize(("text", "number"), [("1.2.3s", "1.2.3"), (".s", "."), ("_ms", "_")])
def test_what_is_not_a_number_is_named(text: str, number: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_duration(text)
    assert str(caught.value) == f'"{text}" is not a duration; "{number}" is not a number'


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (999, "999ns"),
        (1_000, "1us"),
        (1_500, "1.5us"),
        (250_000, "250us"),
        (5_000_000, "5ms"),
        (1_250_000_000, "1.25s"),
        (10_007_520, "10.00752ms"),
        (1_000_000_001, "1s"),  # six digits after the point are shown, and no zeros at the end
        (1_500_000_001, "1.5s"),
        (59_999_999_999, "59.999999s"),
        (60 * 10**9, "1m"),
        (123_500_000_000, "2m3.5s"),
        (60_005_000_000, "1m5ms"),
        (60_000_999_999, "1m"),  # beside minutes, less than a millisecond is noise
        (7200 * 10**9, "120m"),
        (-5_000_000, "-5ms"),
    ],
)
def test_format(ns: int, text: str) -> None:
    assert format_duration(ns) == text


@given(st.integers(min_value=0, max_value=59_999_999).map(lambda us: us * 1_000))
def test_whole_microseconds_below_a_minute_survive_format_and_parse(ns: int) -> None:
    assert parse_duration(format_duration(ns)) == ns


def test_the_epoch_is_the_first_instant_of_the_year_2000() -> None:
    assert datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC).timestamp() * 10**9 == EPOCH_NS
