"""Readers of values: a TOML value in, what its key means out, or a `ValueError` with what was expected.

Each raises it for a value of the wrong kind, too: a file should say what it means. Texts that may hold `{i}` stay
texts; they mean something only for a host.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from weaves.clock_plan import parse_speed
from weaves.endpoints import Endpoint, check_key, parse_endpoint, parse_forward, parse_listen
from weaves.units import (
    LIMIT,
    parse_burst,
    parse_loss,
    parse_queue_limit,
    parse_rate,
    parse_wait,
)

# ip-link(8) takes 68 as the least MTU of an IPv4 device (RFC 791: every module must forward 68 bytes); 16 bits of
# length.
MTU_MIN: Final = 68
MTU_MAX: Final = 65535


def expect(value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    """`value`, if it is of that kind; `what` names the kind. Raises `ValueError`."""
    # bool is an int to Python, not to TOML.
    if (isinstance(value, bool) and kind is not bool) or not isinstance(value, kind):
        raise ValueError(f"{_described(value)}; expected {what}")
    return value


def _described(value: Any) -> str:
    match value:
        case bool():
            return f"{str(value).lower()} is a boolean"
        case str():
            return f'"{value if len(value) <= 40 else value[:37] + "..."}" is a string'
        case int() | float():
            return f"{value} is {'an integer' if isinstance(value, int) else 'a number'}"
        case date() | time():
            return f"{value} is a date or time"
        case list():
            return "this is an array"
        case _:
            return "this is a table"


def string(value: Any) -> str:
    """A string."""
    return str(expect(value, str, "a string"))


def integer(value: Any) -> int:
    """An integer."""
    return int(expect(value, int, "an integer"))


def setting(value: Any) -> int | str:
    """The value of a parameter of a network's: a number or a text."""
    found: int | str = expect(value, (int, str), "an integer or a string")
    return found


def boolean(value: Any) -> bool:
    """A boolean."""
    return bool(expect(value, bool, "true or false"))


def one_or_more(value: Any) -> str | tuple[str, ...]:
    """A string, or an array of strings as a tuple."""
    for item in expect(value, (str, list), "a string or an array of strings"):
        expect(item, str, "a string or an array of strings")
    return value if isinstance(value, str) else tuple(value)


def arguments(value: Any) -> str | list[Any]:
    """Arguments: an array, or where a program gets them the text of its line."""
    return expect(value, (str, list), "an array")  # type: ignore[no-any-return]


def duration_text(value: Any) -> str:
    """The text of a duration, not parsed: it may hold `{i}`."""
    if value == 0 and type(value) is int:  # zero needs no unit
        return "0"
    return str(expect(value, str, 'a duration with a unit, such as "5ms"'))


def duration(value: Any) -> int:
    """A duration in nanoseconds."""
    return parse_wait(duration_text(value))


def restart_delay(value: Any) -> int:
    """How long a program is dead before it is started again, in nanoseconds; more than nothing."""
    if not (delay_ns := duration(value)):
        # A program that fails at once would keep the clock from moving.
        raise ValueError(f"{value} is no time; expected a duration above 0")
    return delay_ns


def patience(value: Any) -> int:
    """A duration in nanoseconds; 0, "off", is without end."""
    return 0 if value == "off" else duration(value)


def count(value: Any) -> int:
    """A number of hosts, at least 1."""
    if integer(value) < 1:
        raise ValueError(f"{value} is too few; expected a count of 1 or more")
    return int(value)


def mtu(value: Any) -> int:
    """An MTU in bytes."""
    if not MTU_MIN <= integer(value) <= MTU_MAX:
        raise ValueError(f"{value} is out of range; expected an MTU of {MTU_MIN} to {MTU_MAX} bytes")
    return int(value)


def rate(value: Any) -> int:
    """Bits per second."""
    return parse_rate(expect(value, str, 'a rate with a unit, such as "100mbit"'))


def local_endpoint(value: Any) -> Endpoint:
    """A port of 127.0.0.1, or an address of this machine with a port."""
    return parse_endpoint(expect(value, (int, str), 'a port, or "ADDRESS:PORT"'), "local")


def remote_endpoint(value: Any) -> Endpoint:
    """An address and port."""
    return parse_endpoint(expect(value, str, '"ADDRESS:PORT", such as "127.0.0.1:8193"'), "remote")


def secret(value: Any) -> str:
    """A shared key. What is wrong with it is told without it."""
    if not isinstance(value, str):
        raise ValueError("the key is no string; expected one")
    return check_key(value)


def loss(value: Any) -> float:
    """A probability from 0 to 1."""
    return parse_loss(expect(value, (str, int, float), 'a percentage such as "1%", or a number from 0 to 1'))


def share(value: Any) -> float:
    """A probability from 0 to 1, of something else than loss."""
    return parse_loss(expect(value, (str, int, float), 'a percentage such as "1%", or a number from 0 to 1'), "share")


def burst(value: Any) -> float:
    """The mean number of frames lost in a row, at least 1."""
    return parse_burst(expect(value, (int, float), "a mean number of frames, 1 or more"))


def span(value: Any) -> int:
    """A duration above 0 in nanoseconds."""
    if not (span_ns := duration(value)):
        raise ValueError(f"{value} is no time; expected a duration above 0")
    return span_ns


def speed(value: Any) -> float:
    """Virtual seconds a real one."""
    return parse_speed(expect(value, (int, float), "a number of virtual seconds a real one, such as 2.0"))


def file_name(value: Any) -> str:
    """The name of a file."""
    if not string(value) or "\0" in value:
        raise ValueError(f'"{value}" is no name; expected that of a file'.replace("\0", "\\0"))
    return str(value)


def queue_limit(value: Any) -> tuple[int | None, int | None]:
    """The limit of a queue, in packets and in bytes; one is None. Raises `ValueError`."""
    return parse_queue_limit(expect(value, str, 'a limit with a unit, such as "100 packets" or "64 kb"'))


def epoch(value: Any) -> int:
    """A date and time, in ns since 1970-01-01T00:00:00Z."""
    expected = 'expected a date and time from 1970 to 2116, such as "2000-01-01T00:00:00Z"'
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f'"{value}" is not a date; {expected}') from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        raise ValueError(f"{_described(value)}; {expected}")
    # No zone is UTC: a virtual host has none of its own, and the machine's would differ from run to run.
    value = value if value.tzinfo else value.replace(tzinfo=UTC)
    # In integers: a float of seconds is too coarse for nanoseconds.
    epoch_ns = (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
    if not 0 <= epoch_ns < LIMIT:
        raise ValueError(f"{value.isoformat()} is out of range; {expected}")
    return int(epoch_ns)


def listen(value: Any) -> tuple[str, int]:
    """Where something listens on the machine: a port of 127.0.0.1, or "ADDRESS:PORT"."""
    return parse_listen(str(expect(value, (int, str), 'a port, or "ADDRESS:PORT"')))


def forwards(value: Any) -> tuple[tuple[str, int, str, int], ...]:
    """What is forwarded: "ADDRESS:PORT -> NAME:PORT", or an array of such."""
    texts = one_or_more(value)
    return tuple(parse_forward(text) for text in ((texts,) if isinstance(texts, str) else texts))


def one_of(*words: str) -> Callable[[Any], str]:
    """A reader of one of `words`."""
    expected = " or ".join(f'"{word}"' for word in words)

    def reader(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"{_described(value)}; expected {expected}")
        if value not in words:
            near = difflib.get_close_matches(value, words, 1)
            raise ValueError(
                f'"{value}" is not known; ' + (f'did you mean "{near[0]}"?' if near else f"expected {expected}")
            )
        return value

    return reader
