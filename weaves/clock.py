"""Virtual time: an integer count of nanoseconds since the start of the run.

Here are the units and their text form. The time itself lives in the scheduler (`Scheduler.now_ns`), is passed in as an
argument, and moves only when the next event is due. Nothing in this file reads the machine's clock.
"""

from __future__ import annotations

from typing import Final

NS_PER_US: Final = 1_000
NS_PER_MS: Final = 1_000_000
NS_PER_S: Final = 1_000_000_000

# 2000-01-01T00:00:00Z. The wall clock of a virtual host starts here unless the tapestry says otherwise: a fixed date,
# so that a run that prints dates repeats exactly, and late enough for certificates made today to be tested with any
# epoch.
EPOCH_NS: Final = 946_684_800 * 1_000_000_000

_UNITS: Final = {
    "ns": 1,
    "us": NS_PER_US,
    "µs": NS_PER_US,
    "ms": NS_PER_MS,
    "s": NS_PER_S,
    "sec": NS_PER_S,
    "m": 60 * NS_PER_S,
    "min": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
    "d": 86400 * NS_PER_S,
}


def parse_duration(text: str) -> int:
    """The nanoseconds that `text` says: a number and a unit, "5ms", "1.5 s", "2h", or several, "1m30s".

    Units: ns us ms s m (min) h d. A bare "0" needs none. Raises `ValueError` with what was expected.
    """
    rest = text.strip()
    if rest == "0":
        return 0
    total = 0
    seen = False
    while rest:
        digits = 0
        while digits < len(rest) and rest[digits] in "0123456789._":
            digits += 1
        letters = digits
        while letters < len(rest) and rest[letters] == " ":
            letters += 1
        end = letters
        while end < len(rest) and rest[end].isalpha():
            end += 1
        number, unit = rest[:digits], rest[letters:end]
        if not number or unit not in _UNITS:
            raise ValueError(f'"{text}" is not a duration; expected a number and a unit (ns, us, ms, s, m, h, d)')
        total += _scaled(number, _UNITS[unit], text)
        rest = rest[end:].lstrip()
        seen = True
    if not seen:
        raise ValueError('"" is not a duration; expected a number and a unit (ns, us, ms, s, m, h, d)')
    return total


def _scaled(number: str, unit_ns: int, text: str) -> int:
    # Decimal arithmetic on the digits: 0.1 s is exactly 100,000,000 ns, which a float product need not be.
    whole, point, fraction = number.replace("_", "").partition(".")
    if not (whole or fraction) or "." in fraction:
        raise ValueError(f'"{text}" is not a duration; "{number}" is not a number')
    ns = int(whole or "0") * unit_ns
    if point and fraction:
        ns += int(fraction) * unit_ns // 10 ** len(fraction)
    return ns


def format_duration(ns: int) -> str:
    """`ns` as people read it: "0s", "250us", "5ms", "1.25s", "2m3.5s"."""
    if ns < 0:
        return "-" + format_duration(-ns)
    if ns == 0:
        return "0s"
    if ns >= 60 * NS_PER_S:
        minutes, rest = divmod(ns, 60 * NS_PER_S)
        return f"{minutes}m" + (format_duration(rest) if rest >= NS_PER_MS else "")
    for unit, unit_ns in (("s", NS_PER_S), ("ms", NS_PER_MS), ("us", NS_PER_US)):
        if ns >= unit_ns:
            whole, rest = divmod(ns, unit_ns)
            fraction = f"{rest * 1_000_000 // unit_ns:06d}".rstrip("0")
            return f"{whole}.{fraction}{unit}" if fraction else f"{whole}{unit}"
    return f"{ns}ns"
