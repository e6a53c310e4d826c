"""What CPython's C makes of the arguments of a socket's methods, with its words where they are wrong."""

from __future__ import annotations

import math
import operator
import sys
from typing import Any, Final

_NS_PER_S: Final = 1_000_000_000
# What CPython calls its nanoseconds, in messages too; public, and hence without the underscore, from 3.13 on.
TIME_TYPE: Final = "PyTime_t" if sys.version_info >= (3, 13) else "_PyTime_t"


def parse_timeout(value: Any) -> float | None:
    """A timeout in seconds as `settimeout` takes it. Raises what that raises, with its words."""
    if value is None:
        return None
    seconds = value if isinstance(value, float) else operator.index(value)
    if isinstance(seconds, float) and math.isnan(seconds):
        raise ValueError("Invalid value NaN (not a number)")
    if abs(seconds) >= 2**63 / _NS_PER_S:
        if isinstance(seconds, float):
            raise OverflowError("timestamp out of range for platform time_t")
        raise OverflowError(f"timestamp too large to convert to C {TIME_TYPE}")
    if seconds < 0:
        raise ValueError("Timeout value out of range")
    # CPython counts nanoseconds, and rounds up.
    return max(float(seconds), 1 / _NS_PER_S) if seconds else 0.0


def c_int(value: Any) -> int:
    """`value` as the C int that it shall become. TypeError, OverflowError."""
    number = operator.index(value)
    if not -(2**31) <= number < 2**31:
        raise OverflowError("Python int too large to convert to C int")
    return number


def bytes_of(data: Any) -> bytes:
    """The bytes of an object with a buffer. Nobody changes those of `bytes`, so they are not copied."""
    if type(data) is bytes:
        return data
    try:
        return bytes(memoryview(data))
    except TypeError:
        raise TypeError(f"a bytes-like object is required, not {type(data).__name__!r}") from None


def listed(values: Any, wrong: str) -> list[Any]:
    """The items of an iterable; TypeError with the words `wrong` for what is none."""
    try:
        return list(values)
    except TypeError:
        raise TypeError(wrong) from None


def size_of(value: Any, negative: str) -> int:
    """A size; ValueError with the words `negative` for a negative one."""
    size = operator.index(value)
    if size < 0:
        raise ValueError(negative)
    return size


def writable(buffer: Any) -> memoryview:
    """A view of the bytes of `buffer`, to be written to. TypeError."""
    try:
        view = memoryview(buffer).cast("B")
    except TypeError:
        view = None
    if view is None or view.readonly:
        raise TypeError(f"a read-write bytes-like object is required, not {type(buffer).__name__!r}")
    return view
